"""Define the command `mtl-bioner view`: a page that shows the annotated documents of a file or folder.

mtl-bioner view outputs/quickstart/predictions_ncbi.jsonl
mtl-bioner view annotated/ --output annotated.html
"""

import argparse
import itertools
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset_scripts.formats import is_corpus_path, read_any
from dataset_scripts.formats.files import NO_DATA, format_count, write_text
from dataset_scripts.local_corpus import find_local_files
from dataset_scripts.messages import escape_controls, set_up_logging
from dataset_scripts.schema import CorpusError, Mention, RawDocument
from mtl_bioner.messages import print_error
from mtl_bioner.reporting.entity_page import build_entity_page


PROGRAM = "mtl-bioner view"
LIMIT = 1000  # documents
MOST_CHARACTERS = 10_000_000  # of a page's texts, so that a browser can open it
_MARK = b'<meta name="generator" content="MTL-BioNER">'  # of a page that may be overwritten
_HEAD = 2000  # bytes of a page that hold the mark
# What the folders of our own commands hold; all files of the first pattern that fits are read.
_OUR_FILES = ("part-*", "predictions_*.jsonl")


class Shown(NamedTuple):
    """The documents of a page, and what is said about them."""

    documents: list[dict[str, Any]]
    notes: list[str]
    is_complete: bool  # false if something can't be read or shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, 1 if something can't be shown, 2 for bad input."""
    arguments = make_parser().parse_args(argv)
    set_up_logging(logging.ERROR)
    try:
        path = arguments.path
        output = arguments.output or path.resolve().with_name(f"{path.resolve().name}.html")
        check_output(output, is_stated=arguments.output is not None)
        shown = collect_documents(list_readings(path), arguments.limit, str(path))
        page = build_entity_page(path.resolve().name, shown.documents, shown.notes)
        write_text(output, [page])
    except (ValueError, OSError) as error:
        print_error(PROGRAM, error)
        return 2
    for note in shown.notes:
        sys.stderr.write(f"{escape_controls(note)}\n")
    sys.stdout.write(f"{output}\n")
    sys.stderr.write("next: open the page in a browser\n")
    return int(not shown.is_complete)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("path", metavar="FILE", type=Path, help="file or folder with annotations, in any format that is read")
    add("--output", metavar="PAGE.html", type=Path, help="page to write (default: FILE.html beside it)")
    add("--limit", type=_parse_limit, default=LIMIT, help="most documents to show (default: %(default)s)")
    return parser


def _parse_limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def check_output(output: Path, is_stated: bool) -> None:
    """Raise CorpusError if a page would overwrite something else."""
    if not output.exists():
        return
    if output.is_file():
        with output.open("rb") as file:
            if _MARK in file.read(_HEAD):
                return
    other = "another --output" if is_stated else "--output PAGE.html"
    raise CorpusError(f"{output} is there, and no page of this project; give {other}")


def list_readings(path: Path) -> Iterator[Iterator[RawDocument]]:
    """Yield the documents of each file of a file or folder; raise CorpusError if there is none that can be read."""
    if path.is_dir():
        for pattern in _OUR_FILES:
            if files := sorted(path.glob(pattern)):
                if files[0].suffix == ".html":
                    raise CorpusError(f"{path} holds pages already; open {path / 'index.html'} in a browser")
                yield from map(read_any, files)
                return
        try:
            parts = find_local_files(path)
        except CorpusError:  # no file is named by split
            files = [file for file in sorted(path.iterdir()) if file.is_file() and is_corpus_path(file.name)]
            files = [file for file in files if not NO_DATA.fullmatch(file.name)]
            if not files:
                raise
            yield from map(read_any, files)
        else:
            yield from (part.read() for part in parts)
    else:
        yield read_any(path)


def collect_documents(readings: Iterator[Iterator[RawDocument]], limit: int, name: str) -> Shown:
    """Read up to `limit` documents; after an error in the middle, those before it are kept, and a note tells of it."""
    documents: list[dict[str, Any]] = []
    notes: list[str] = []
    lost, characters, is_whole = 0, 0, True
    try:
        for raw in itertools.chain.from_iterable(readings):
            characters += len(raw.text)
            if len(documents) == limit or (documents and characters > MOST_CHARACTERS):
                remedy = "--limit N shows more" if len(documents) == limit else "a page can't hold them"
                number = format_count(len(documents), "document")
                notes.append(f"Shows the first {number}; more follow in {name}, and {remedy}.")
                break
            entities = [
                _shape_mention(mention) for mention in raw.mentions if mention.type and mention.lies_inside(raw.text)
            ]
            lost += len(raw.mentions) - len(entities)
            documents.append({"document_id": raw.document_id, "text": raw.text, "entities": entities})
    except CorpusError as error:
        if not documents:
            raise
        is_whole = False
        notes.append(f"Read up to an error: {error}")
    if not documents:
        raise CorpusError(f"{name} holds no document; is it the right file?")
    if lost:
        notes.append(f"{format_count(lost, 'mention')} left out, whose offsets or types can't be used.")
    return Shown(documents, notes, is_complete=is_whole and not lost)


def _shape_mention(mention: Mention) -> dict[str, Any]:
    return {"spans": mention.spans, "type": mention.type, "score": mention.score, "task": mention.task}
