"""Write the annotated documents of a part in each output format."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dataset_scripts.formats import write_bioc, write_bioc_json, write_brat, write_csv, write_pubtator
from dataset_scripts.formats.files import NOT_IN_NAMES, write_text, write_then_rename
from dataset_scripts.schema import Document, Entity, Mention
from mtl_bioner.annotation.engine import Annotated
from mtl_bioner.annotation.pages import write_page
from mtl_bioner.annotation.parts import GIVEN


_LONGEST_NAME = 200  # bytes of a file's name; file systems take 255


def write_part(annotated: Sequence[Annotated], output: Path, number: int, to: str) -> Path:
    """Write a part under its final name, or not at all; return its path."""
    write, ending = WRITERS[to]
    path = output / name_part(number, to)
    if path.is_dir():  # of brat, damaged: a folder is replaced as a whole
        shutil.rmtree(path)
    write(annotated, path)
    return path


def name_part(number: int, to: str) -> str:
    """Return the name of a part's file or folder."""
    return f"part-{number:05d}{WRITERS[to][1]}"


def find_id_fault(to: str) -> Callable[[str], str]:
    """Return a function that tells why an output format can't hold a document id, "" if it can."""

    def find(document_id: str) -> str:
        if to == "pubtator" and re.search(r"\|[ta](\||$)", document_id):
            return f"document id {document_id!r} can't stand in PubTator; rename it or write --to jsonl"
        if to == "brat" and len(quote(document_id)) > _LONGEST_NAME:
            return f"document id {document_id[:60]!r}... is too long for the name of a brat file; write --to jsonl"
        return ""

    return find


def _write_with(write: Callable[[Iterable[Document], Path], None]) -> Callable[[Sequence[Annotated], Path], None]:
    """Make a writer of `dataset_scripts.formats` take annotated documents."""
    return lambda annotated, path: write(map(_build_document, annotated), path)


def _build_document(annotated: Annotated) -> Document:
    document, entities = annotated
    kept = [Entity(e["start"], e["end"], e["type"], score=e["score"], task=e["task"]) for e in entities]
    given = document.extra.get(GIVEN)
    mentions = [build_mention(value, len(document.text)) for value in given] if isinstance(given, list) else []
    mentions = [mention for mention in mentions if mention]
    passages = [passage._replace(infons=_clean(passage.infons)) for passage in document.passages]
    return Document(document.document_id, document.text, kept, passages=passages, input_mentions=mentions)


def build_mention(value: object, length: int) -> Mention | None:
    """Build the mention of an annotation in the form of our JSONL; None for another form, or one outside the text."""
    fields = value if isinstance(value, dict) else {}
    spans = fields.get("spans") or [[fields.get("start"), fields.get("end")]]
    name, infons = fields.get("type"), fields.get("infons")
    try:
        spans = tuple((int(start), int(end)) for start, end in spans)
    except (TypeError, ValueError, OverflowError):
        return None
    is_inside = all(0 <= start < end <= length for start, end in spans)
    if not (is_inside and name and isinstance(name, str)) or NOT_IN_NAMES.search(name):
        return None
    return Mention(spans, name, infons=_clean(infons) if isinstance(infons, dict) else None)


def _clean(infons: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what all formats can hold: numbers, booleans, None, and strings without halves of surrogate pairs."""

    def format_text(value: object) -> str:
        return str(value).encode("utf-8", "replace").decode()

    is_plain = (int, float, type(None))
    return {format_text(key): v if isinstance(v, is_plain) else format_text(v) for key, v in infons.items()}


def _write_jsonl(annotated: Sequence[Annotated], path: Path) -> None:
    write_text(path, (_format_line(one.as_line()) for one in annotated))


def _format_line(value: object) -> str:
    line = json.dumps(value, ensure_ascii=False, default=str)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair in a further key of the input
        line = json.dumps(value, default=str)
    return f"{line}\n"


def _write_parquet(annotated: Sequence[Annotated], path: Path) -> None:
    import pyarrow as pa  # takes long, and only this format needs it
    from pyarrow import parquet

    offsets = [("start", pa.int64()), ("end", pa.int64())]
    names = [("type", pa.string()), ("text", pa.string())]
    prediction = [("score", pa.float64()), ("task", pa.string()), ("tasks", pa.list_(pa.string()))]
    entity = pa.struct([*offsets, *names, *prediction])
    schema = pa.schema([("document_id", pa.string()), ("text", pa.string()), ("entities", pa.list_(entity))])
    rows = [
        {
            "document_id": document.document_id,
            "text": document.text,
            "entities": [{"tasks": [e["task"]], **e} for e in entities],
        }
        for document, entities in annotated
    ]
    with write_then_rename(path) as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)


# format -> writer, ending of its files ("": a folder)
WRITERS: dict[str, tuple[Callable[[Sequence[Annotated], Path], None], str]] = {
    "jsonl": (_write_jsonl, ".jsonl"),
    "pubtator": (_write_with(write_pubtator), ".pubtator"),
    "bioc": (_write_with(write_bioc), ".xml"),
    "bioc-json": (_write_with(write_bioc_json), ".json"),
    "brat": (_write_with(write_brat), ""),
    "csv": (_write_with(write_csv), ".csv"),
    "parquet": (_write_parquet, ".parquet"),
    "html": (write_page, ".html"),
}
FORMATS = tuple(WRITERS)
