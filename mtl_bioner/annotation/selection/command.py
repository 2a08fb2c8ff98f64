"""Select texts to annotate by hand: those a model is least sure of, spread over the collection.

    mtl-bioner select outputs/quickstart abstracts/ -n 200 --output selected.json
    mtl-bioner select outputs/quickstart notes.csv --output selected.jsonl --to doccano --exclude answers.jsonl

The model's entities are suggestions to correct. The inputs are those of mtl-bioner annotate. Of texts with the same
words, or nearly so, one is taken. Exit status: 0 done, 1 some texts can't be read or annotated, 2 bad input.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import re
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_scripts.formats import write_doccano, write_label_studio, write_prodigy
from dataset_scripts.formats.files import NOT_IN_NAMES, format_count
from dataset_scripts.formats.json_records import read_json_records
from dataset_scripts.formats.label_studio import (
    is_label_studio_task,
    read_label_studio_texts,
    write_labelling_config,
)
from dataset_scripts.messages import escape_controls, set_up_logging
from dataset_scripts.schema import CorpusError, Document, Entity
from mtl_bioner.annotation import engine, parts, sources
from mtl_bioner.annotation.parts import Item, Part, SourceDocument, Unreadable
from mtl_bioner.annotation.progress import Progress
from mtl_bioner.annotation.readers import Inputs, read_source
from mtl_bioner.annotation.selection.candidates import hash_text
from mtl_bioner.annotation.selection.strategies import DEFAULT_STRATEGY, STRATEGIES, Selector
from mtl_bioner.annotation.sources import Source
from mtl_bioner.annotation.tables import ColumnOptions
from mtl_bioner.messages import LineParser, print_error


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline


PROGRAM = "mtl-bioner select"
ENDINGS = {"label-studio": ".json", "doccano": ".jsonl", "prodigy": ".jsonl"}  # by which the tools know the formats
LONGEST = 100_000  # characters; no one corrects a longer text in a browser
_SHOWN = 5  # problems that are told one by one


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    set_up_logging(logging.WARNING)
    try:
        return select_texts(make_parser().parse_intermixed_args(argv))
    except (ValueError, OSError) as error:
        print_error(PROGRAM, error)
        return 2


def make_parser() -> LineParser:
    """Make the parser of the command."""
    parser = LineParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    # fmt: off
    add("model", metavar="MODEL", help="--output_dir of a training, or OWNER/NAME on the Hub")
    add("inputs", metavar="TEXTS", nargs="+", help="file, folder, - for standard input, or hf:OWNER/NAME")
    add("-n", "--number", type=_parse_number, default=200, help="texts to select (default: %(default)s)")
    add("--output", metavar="FILE", required=True, type=Path, help="new file: .json for Label Studio, else .jsonl")
    add("--to", choices=ENDINGS, default="label-studio", help="tool to annotate with (default: %(default)s)")
    add("--tasks", metavar="A,B", help="tasks whose entities are suggested, and which must be unsure (default: all)")
    add("--strategy", choices=STRATEGIES, default=DEFAULT_STRATEGY,
        help="the least sure texts, spread over the collection or not, or texts whatever the model thinks of them, "
             "spread or at random (default: %(default)s)")
    add("--new_types", metavar="A,B", default="", help="types to annotate that the model doesn't know")
    add("--no_suggestions", action="store_true", help="write the texts without the model's entities")
    add("--threshold", type=_parse_share, default=0.5, help="least score of a suggestion (default: %(default)s)")
    add("--exclude", metavar="FILE", nargs="+", default=[],
        help="corpora, answers or earlier selections, in any format that is read: their texts are not selected again")
    add("--seed", type=int, default=42, help="of whatever is drawn (default: %(default)s)")
    add("--lines", action="store_true", help="plain text: each line is a document, not each file")
    add("--text_column", metavar="NAME", help="column or key of the text in tables and JSONL, as for annotate")
    add("--id_column", metavar="NAME", help="column or key of the document id")
    add("--dtype", choices=engine.DTYPES, default=engine.DEFAULT_DTYPE,
        help="auto: bfloat16 where the CPU or GPU has hardware for it (default: %(default)s)")
    add("--trust_remote_code", action="store_true",
        help="run the code that the model's tokenizer brings along, if it does; read it first")
    # fmt: on
    return parser


def _parse_number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _parse_share(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def select_texts(arguments: argparse.Namespace) -> int:
    """Select, write and say what comes next; return the exit status."""
    check_output(arguments.output, arguments.to)
    new_types = _split_names(arguments.new_types, "--new_types")
    tasks = tuple(_split_names(arguments.tasks, "--tasks")) if arguments.tasks else None
    options = engine.EngineOptions(
        arguments.model, tasks, arguments.threshold, "best", None, arguments.dtype, arguments.trust_remote_code
    )
    engine.check_model(options)
    options = replace(options, revision=engine.find_revision(options.model))
    columns = ColumnOptions(arguments.text_column, arguments.id_column, keep_extra=False)
    try:
        excluded = {hash_text(text) for text in read_excluded(arguments.exclude)}
    except CorpusError as error:
        raise CorpusError(f"--exclude {error}") from error
    with tempfile.TemporaryDirectory() as spool:
        place = Path(spool) if sources.STANDARD_INPUT in arguments.inputs else arguments.output
        inputs = Inputs(sources.find_sources(arguments.inputs, columns, place, arguments.lines), columns)
        to_read = read_parts(inputs)
        ner = engine.load_engine(options)
        selector = Selector(ner, arguments.number, arguments.strategy, tasks, arguments.seed, excluded)
        problems = offer_parts(selector, to_read, arguments.to, Progress(inputs.total))
    selected = [candidate.document for candidate in selector.select()]
    if not selected:
        raise CorpusError("no text is left to select: all are excluded, too long, or without a word; give other TEXTS")
    documents = suggest(ner, selected, is_empty=arguments.no_suggestions)
    types = list(dict.fromkeys([*new_types, *([] if arguments.no_suggestions else list_types(ner, tasks))]))
    write_selection(documents, arguments.output, arguments.to, types, ner.model.config.word_pattern)
    report(arguments, selector, documents, problems)
    sys.stderr.write(explain_next_steps(arguments, types, new_types))
    return int(bool(problems))


def check_output(output: Path, to: str) -> None:
    """Raise CorpusError for a file that must not, or can't, be written."""
    if output.suffix.lower() != ENDINGS[to]:
        raise CorpusError(f"--output {output}: the import of {to} needs a name that ends in {ENDINGS[to]}")
    for path in [output, *([get_config_path(output)] if to == "label-studio" else [])]:
        if path.exists():
            raise CorpusError(f"--output {output}: {path} is there already; give another name, or move it away")
    if not output.resolve().parent.is_dir():
        raise CorpusError(f"--output {output}: no such folder {output.parent}; make it first")


def get_config_path(output: Path) -> Path:
    """Return the file of Label Studio's labelling configuration, beside the tasks."""
    return output.with_suffix(".config.xml")


def _split_names(text: str, argument: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if wrong := [name for name in names if NOT_IN_NAMES.search(name) or set(name) & set("|+")]:
        raise CorpusError(f"{argument}: {wrong[0]!r} is no name; separate names by commas, without | and +")
    return names


# ------------------------------------------------------------------------------------------------------------- reading


def read_excluded(names: Sequence[str]) -> Iterator[str]:
    """Yield the texts of corpora, answers and selections; raise CorpusError for what can't be read."""
    columns = ColumnOptions(keep_extra=False)
    for source in sources.find_sources(names, columns, Path(os.devnull)) if names else ():
        if source.kind == "corpus" and source.ending == ".json" and _is_label_studio(source):
            yield from read_label_studio_texts(read_json_records(source.path))
            continue
        for item in read_source(source, columns):
            if isinstance(item, Unreadable):
                raise CorpusError(str(item))
            yield item.text


def _is_label_studio(source: Source) -> bool:
    first = next(iter(read_json_records(source.path)), None)
    return first is not None and is_label_studio_task(first)


def read_parts(inputs: Inputs) -> Iterator[Part]:
    """Form parts of the inputs; raise CorpusError at once if no document can be read."""
    items: Iterator[Item] = parts.number_ids(parts.check_documents(inputs))
    found = parts.read_to_first_document(parts.form_parts(items, get_position=inputs.get_position))
    return itertools.chain([next(found)], found)


def offer_parts(selector: Selector, to_read: Iterator[Part], to: str, progress: Progress) -> list[Unreadable]:
    """Offer all documents that the tool can show; return those it can't, and what can't be read."""
    problems: list[Unreadable] = []
    progress.start()
    for part in to_read:
        faults = [find_fault(document.text, to) for document in part.documents]
        pairs = list(zip(part.documents, faults, strict=True))
        selector.offer(document for document, fault in pairs if not fault)
        problems += part.problems
        problems += [parts.make_unreadable(document.where, fault) for document, fault in pairs if fault]
        progress.documents += len(part.documents)
        progress.subwords, progress.position = selector.ner.subwords, part.position
        progress.show()
    progress.close()
    return problems


def find_fault(text: str, to: str) -> str:
    """Tell why a text can't be annotated with a tool, "" if it can."""
    if len(text) > LONGEST:
        return f"a text of {len(text):,} characters, too long; split it"
    if to == "doccano" and (wide := re.search("[\U00010000-\U0010ffff]", text)):
        return f"the character U+{ord(wide[0]):X}, which doccano counts as two; choose another tool for this text"
    return ""


# ------------------------------------------------------------------------------------------------------------- writing


def suggest(ner: MtlBionerPipeline, selected: list[SourceDocument], is_empty: bool = False) -> list[Document]:
    """Return the selected texts with the model's entities, none of which overlap, or without."""
    if is_empty:
        return [Document(document.document_id, document.text) for document in selected]
    return [
        Document(document.document_id, document.text, [
            Entity(entity["start"], entity["end"], entity["type"], score=entity["score"], task=entity["task"])
            for entity in entities
        ])
        for document, entities in engine.annotate_documents(ner, selected)
    ]  # fmt: skip


def list_types(ner: MtlBionerPipeline, tasks: Sequence[str] | None) -> list[str]:
    """List the types of tasks, in the order of the model."""
    chosen = [task for task in ner.model.config.tasks if tasks is None or task["name"] in tasks]
    return [name for task in chosen for name in task["types"]]


def write_selection(documents: list[Document], output: Path, to: str, types: Sequence[str], word_pattern: str) -> None:
    """Write the tasks; for Label Studio, its labelling configuration first."""
    if to == "label-studio":
        write_labelling_config(types, get_config_path(output))
        write_label_studio(documents, output, predicted=True)
    elif to == "doccano":
        write_doccano(documents, output)
    else:
        write_prodigy(documents, output, word_pattern)


def report(
    arguments: argparse.Namespace, selector: Selector, documents: list[Document], problems: list[Unreadable]
) -> None:
    """Print the problems to standard error, and a line about what was selected to standard output."""
    for problem in problems[:_SHOWN]:
        sys.stderr.write(escape_controls(f"left out: {problem}\n"))
    counts = Counter(entity.type for document in documents for entity in document.entities)
    by_type = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
    line = f"{arguments.output}: {format_count(len(documents), 'text')} of {selector.offered:,}, "
    line += f"{counts.total():,} suggestions" + (f" ({by_type})" if by_type else "")
    left_out = {"excluded": selector.known, "copies": selector.copies, "left out": len(problems)}
    line += "".join(f"; {number:,} {name}" for name, number in left_out.items() if number)
    if len(documents) < arguments.number:
        line += f"; no more than {len(documents):,} differ enough"
    sys.stdout.write(escape_controls(line) + "\n")


def explain_next_steps(arguments: argparse.Namespace, types: Sequence[str], new_types: Sequence[str]) -> str:
    """Say how the file is imported, how answers come out, and how a model is trained with them."""
    output, answers = shlex.quote(str(arguments.output)), f"answers{ENDINGS[arguments.to]}"
    names = shlex.quote(",".join(types) or "TYPE")
    steps = {
        "label-studio": f"in Label Studio, make a project with the labelling configuration "
        f"{get_config_path(arguments.output)} (Settings, Labeling Interface, Code), import {output}, "
        f"annotate, and export JSON as {answers}",
        "doccano": f"in doccano, make a project of sequence labeling, import {output} as JSONL, annotate, "
        f"and export the approved documents as JSONL, as {answers}",
        "prodigy": f"prodigy ner.manual NAME blank:en {output} --label {names}; prodigy db-out NAME > {answers}",
    }[arguments.to]
    chosen = "|".join(new_types or types) or "TYPE"
    name = arguments.tasks if arguments.tasks and "," not in arguments.tasks and not new_types else "new"
    task = shlex.quote(f"{name}={answers}:{chosen}")
    train = f"mtl-bioner train --model_name_or_path {shlex.quote(arguments.model)} --tasks {task} --output_dir DIR"
    return escape_controls(f"next: {steps}\nthen: mtl-bioner corpora stats {answers}\nthen: {train}\n")
