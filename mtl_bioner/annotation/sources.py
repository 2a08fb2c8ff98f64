"""Find the inputs, and tell by content how each is read.

An input is a file, a folder of any mixture, `-` for standard input, or `hf:OWNER/NAME` for a data set on the Hub.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from dataset_scripts.corpus import compute_sha256
from dataset_scripts.formats import CONLL_ENDINGS, find_companion_files
from dataset_scripts.formats.brat import ENDINGS as BRAT_ENDINGS
from dataset_scripts.formats.conll import is_conll_line
from dataset_scripts.formats.files import BOM, NO_DATA, get_stem, open_file, write_then_rename
from dataset_scripts.formats.pubtator import TEXT_LINE
from dataset_scripts.formats.saved_dataset import is_saved_dataset, load_saved_dataset
from dataset_scripts.hub_corpus import is_hub_source, load_splits
from dataset_scripts.local_corpus import HIDDEN
from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.tables import (
    ColumnOptions,
    MissingColumnError,
    choose_columns,
    open_parquet,
    read_first_record,
    split_header,
)


logger = logging.getLogger(__name__)

STANDARD_INPUT = "-"
TEXT_ENDINGS = ("", ".txt", ".text", ".md")  # of files in folders that are read as plain text
_HEAD = 1 << 14  # bytes that tell the format
_XML = re.compile(r"<(\?xml|!DOCTYPE|!--|[A-Za-z][\w.-]*[\s/>])")
_XML_IN_TEXT = re.compile(r"<(\?xml |!DOCTYPE |(collection|set|article|pmc-articleset|\w+CitationSet|\w+Set)[\s>])")
_JSON_IN_TEXT = re.compile(r'\{\s*"|\[\s*\{')  # an abstract may begin with a bracket


@dataclass(frozen=True)
class Source:
    """A file or data set with the way to read it."""

    name: str  # as given, for messages
    kind: str  # a key of `readers.READERS`; "" if it can't be read
    path: Path | None = None
    ending: str = ""  # for `corpus`: the ending that chooses the reader
    problem: str = ""  # why it can't be read
    dataset: Any = None  # of `datasets`, with the stem of its ids
    identity: str = ""  # of a data set on the Hub: its commit
    annotations: Path | None = None  # of a text of brat


def find_sources(
    inputs: Sequence[str], columns: ColumnOptions, output: Path, lines: bool = False, stdin: BinaryIO | None = None
) -> list[Source]:
    """List the files of all inputs in their order, folders walked in the order of names.

    Raises:
        CorpusError: an input that is missing, empty or given twice; a column that isn't there.
    """
    sources: list[Source] = []
    for name in inputs:
        if name == STANDARD_INPUT:
            path = spool(stdin or sys.stdin.buffer, output)
            sources.append(replace(_detect(path, columns, lines, name="standard input"), name="standard input"))
        elif is_hub_source(name):
            commit, splits = load_splits(name)
            for split, dataset in splits.items():
                choose_columns(dataset.column_names, columns, f"{name} {split}")
                sources.append(Source(f"{name} {split}", "dataset", dataset=dataset, identity=commit))
        else:
            sources += _find_files(Path(name).expanduser(), columns, output, lines)
    _refuse_duplicates(sources)
    return sources


def spool(stream: BinaryIO, output: Path) -> Path:
    """Write standard input to a file in the output folder, so that its format and hash are known before the work."""
    output.mkdir(parents=True, exist_ok=True)
    path = get_spool(output)
    with write_then_rename(path) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return path


def get_spool(output: Path) -> Path:
    """Return the file that holds this process' standard input."""
    return output / f".standard-input.{os.getpid()}"


def _find_files(path: Path, columns: ColumnOptions, output: Path, lines: bool) -> list[Source]:
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder; check the path")
    if not path.is_file() and not path.is_dir():
        raise CorpusError(f"{path} is neither a file nor a folder; give - as INPUT, and pipe it to standard input")
    if path.is_file() or is_saved_dataset(path):
        return [_detect(path, columns, lines)]
    files = list(_walk(path, output.resolve()))
    companions = {companion for file in files if file.is_file() for companion in find_companion_files(file)[1:]}
    annotations = {file for file in files if get_ending(file) in (*BRAT_ENDINGS, ".a2")}
    left_out = companions | annotations
    sources = [_detect_in_folder(file, columns, lines) for file in files if file not in left_out]
    if not sources:
        raise CorpusError(f"{path}: no file in this folder; check the path")
    return _add_annotations(sources, annotations, path)


def _add_annotations(sources: Sequence[Source], annotations: set[Path], folder: Path) -> list[Source]:
    """Give each text of brat the annotations beside it; warn of those that are left over, such as events."""
    beside = {(file.parent, get_stem(file)): file for file in sorted(annotations) if get_ending(file) in BRAT_ENDINGS}
    found = [
        beside.pop((source.path.parent, get_stem(source.path)), None)
        if source.kind == "text" and source.path.name.lower().endswith((".txt", ".txt.gz"))
        else None
        for source in sources
    ]
    if left := annotations.difference(found):
        logger.warning("%s: %d files of events, or of annotations without a text, are not read", folder, len(left))
    return [replace(source, annotations=file) for source, file in zip(sources, found, strict=True)]


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those inside, but for hidden ones, READMEs and the like, and the output."""
    waiting = [folder]  # the next last; a recursion would fail on deep folders
    while waiting:
        path = waiting.pop()
        if path == folder or (path.is_dir() and not is_saved_dataset(path)):
            try:
                children = sorted(path.iterdir(), reverse=True)
            except OSError as error:
                raise CorpusError(f"{path}: can't be read as a folder ({error.strerror}); check the path") from error
            waiting += [child for child in children if not child.name.startswith(HIDDEN) and not _is(child, output)]
        elif (path.is_file() or path.is_dir() or not path.exists()) and not NO_DATA.fullmatch(path.name):
            yield path


def _is(path: Path, resolved: Path) -> bool:
    may_be = path.name == resolved.name or path.is_symlink()  # to resolve every path would take long
    return may_be and path.resolve() == resolved


def _detect_in_folder(path: Path, columns: ColumnOptions, lines: bool) -> Source:
    """Detect what a file is; one of several that can't be read is an error of the run, and no reason to stop it."""
    try:
        source = _detect(path, columns, lines)
    except MissingColumnError:
        raise
    except CorpusError as error:
        return Source(str(path), "", path, problem=str(error))
    if source.kind in ("text", "lines") and get_ending(path) not in TEXT_ENDINGS:
        problem = f"{path}: {get_ending(path)} ending, and no known format inside; name the file itself if it is text"
        return replace(source, kind="", problem=problem)
    return source


def _refuse_duplicates(sources: Sequence[Source]) -> None:
    seen: set[object] = set()
    for source in sources:
        key = source.path.resolve() if source.path else source.name
        if key in seen:
            raise CorpusError(f"{source.name} is there twice among the inputs; name it once")
        seen.add(key)


def get_ending(path: Path) -> str:
    """Return the ending of a name in lower case, without `.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


# -------------------------------------------------------------------------------------------------------- by content


def _detect(path: Path, columns: ColumnOptions, lines: bool, name: str = "") -> Source:
    """Tell how a file is read; raise CorpusError for one that is empty, and for a table without a text."""
    name, ending = name or str(path), get_ending(path)
    if path.is_dir():
        dataset = load_saved_dataset(path)
        choose_columns(dataset.column_names, columns, name)
        return Source(name, "dataset", path, dataset=dataset)
    with open_file(path) as file:
        head = _read_head(file)
    if not head:
        raise CorpusError(f"{name}: the file is empty")
    if head.startswith(b"PAR1"):
        with open_file(path) as file:
            names = open_parquet(file, name).schema_arrow.names
        return _detect_table(Source(name, "parquet", path, ".parquet"), names, columns)
    text = head.decode("utf-8", "ignore").removeprefix(BOM).lstrip()
    first = text.partition("\n")[0]
    if ending in (".spacy", ".in"):
        return Source(name, "corpus", path, ending)
    if (_XML_IN_TEXT if ending in TEXT_ENDINGS else _XML).match(text):
        return Source(name, "corpus", path, ".xml")
    if ending in (".json", ".jsonl", ".ndjson", ".biocjson") or _JSON_IN_TEXT.match(text):
        return _detect_json(Source(name, "json", path, ".json"), columns)
    if TEXT_LINE.fullmatch(first.rstrip("\r")):
        return Source(name, "pubtator", path)
    if ending in (".csv", ".tsv") or (columns.text and columns.text in split_header(first)[0]):
        return _detect_csv(Source(name, "csv", path, ending or ".csv"), first, columns)
    if ending in CONLL_ENDINGS or (ending == ".txt" and _looks_like_conll(text)):
        return Source(name, "corpus", path, ".conll")
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16 gets a message of its own
        raise CorpusError(f"{name}: holds NUL bytes, so it is no text; unpack archives, and convert documents to text")
    return Source(name, "lines" if lines else "text", path)


def _read_head(file: BinaryIO) -> bytes:
    """Read the first bytes; of a gzip file that breaks off among them, what stands before, so that it is annotated."""
    head = b""
    try:
        while len(head) < _HEAD and (piece := file.read1(_HEAD - len(head))):
            head += piece
    except (EOFError, zlib.error, OSError):
        if not head:
            raise
    return head


def _looks_like_conll(text: str) -> bool:
    """Whether each of the first lines ends in a BIO tag."""
    lines = [line for line in text.split("\n") if line.strip()][:3]
    return len(lines) == 3 and all(is_conll_line("", line) for line in lines)


def _detect_json(source: Source, columns: ColumnOptions) -> Source:
    """Read records with a text as rows, which keeps their keys; other JSON in the form of the tool that wrote it."""
    record = read_first_record(source.path)
    if not isinstance(record, dict):
        return replace(source, kind="corpus")
    try:
        choose_columns(list(record), columns, source.name)
    except MissingColumnError:
        raise
    except CorpusError:
        return replace(source, kind="corpus")
    return source


def _detect_csv(source: Source, header: str, columns: ColumnOptions) -> Source:
    names, _ = split_header(header)
    known = {name.strip().casefold() for name in names}
    if columns.text is None and known >= {"text", "start", "end"}:  # a row a mention
        return replace(source, kind="corpus", ending=".csv")
    if source.ending == ".tsv" and len(names) > 1 and is_conll_line("", header):
        return replace(source, kind="corpus")
    return _detect_table(source, names, columns)


def _detect_table(source: Source, names: Sequence[str], columns: ColumnOptions) -> Source:
    try:
        choose_columns(names, columns, source.name)
    except MissingColumnError:
        raise
    except CorpusError:
        if {"tokens", "words", "passages", "token", "word"}.isdisjoint(name.casefold() for name in names):
            raise
        return replace(source, kind="corpus")
    return source


# ------------------------------------------------------------------------------------------------------------ identity


def describe_source(source: Source) -> dict[str, Any]:
    """Return name, size and SHA-256 of an input: what a resumed run must find again."""
    name = source.path.name if source.path and not source.name.startswith("standard") else source.name
    if source.path is None:
        return {"name": name, "size": len(source.dataset), "sha256": source.identity}
    description = {"name": name, "size": measure(source.path), "sha256": _hash(source.path)}
    beside = [source.annotations] if source.annotations else []
    beside += find_companion_files(source.path)[1:] if source.path.is_file() else []
    return description | ({"annotations": [_hash(path) for path in beside]} if beside else {})


def _hash(path: Path) -> str:
    try:
        return compute_sha256(path)
    except OSError:  # such as a broken link; its reader tells
        return "unreadable"


def measure(path: Path | None) -> int:
    """Return the bytes of a file, or of the files in a folder."""
    if path is None:
        return 0
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
