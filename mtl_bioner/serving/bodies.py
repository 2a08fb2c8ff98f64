"""Read the body of a request, and write that of its answer, with the readers and writers of `mtl-bioner annotate`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataset_scripts.formats import read_bioc
from dataset_scripts.formats.bioc_json import is_bioc_record, read_bioc_json
from dataset_scripts.formats.files import MemoryFile
from dataset_scripts.formats.json_records import Record
from dataset_scripts.formats.pubtator import TEXT_LINE
from dataset_scripts.schema import CorpusError, RawDocument
from mtl_bioner.annotation.engine import Annotated
from mtl_bioner.annotation.parts import Item, SourceDocument, check_documents, number_ids
from mtl_bioner.annotation.readers import READERS, build_record, convert_document
from mtl_bioner.annotation.sinks import WRITERS, find_id_fault
from mtl_bioner.annotation.sources import Source
from mtl_bioner.annotation.tables import ColumnOptions
from mtl_bioner.serving.batching import CallOptions
from mtl_bioner.serving.limits import Limits, Refusal


Overlaps = Literal["by_type", "all", "longest", "best"]
Format = Literal["json", "jsonl", "pubtator", "bioc", "bioc-json"]
MEDIA_TYPES: dict[str, str] = {  # of answers
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "pubtator": "text/plain; charset=utf-8",
    "bioc": "application/xml",
    "bioc-json": "application/json",
}
KINDS = {"application/json": "json", "text/plain": "text", "application/xml": "bioc", "text/xml": "bioc"}
_ACCEPTED = {"application/json": "json", "application/x-ndjson": "jsonl", "text/plain": "pubtator",
             "application/xml": "bioc", "text/xml": "bioc"}  # fmt: skip
_NAME = "body"  # in messages


class Choices(BaseModel):
    """Which entities an answer holds; what is left out is as the server was started."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] | None = Field(None, description="names of tasks; /info lists them")
    threshold: float | None = Field(None, ge=0, le=1, description="least score of an entity")
    overlaps: Overlaps | None = Field(None, description="of overlapping entities of several tasks, those to keep")


class Query(Choices):
    """Parameters of the address, for all formats."""

    tasks: str | None = Field(None, description="names of tasks, separated by commas; /info lists them")
    to: Format | None = Field(None, description="format of the answer; without it `Accept`, or else that of the body")


class JsonBody(Choices):
    """Texts, or documents: objects with a `text`, and perhaps `document_id` and further keys, which are kept."""

    texts: list[str] | None = Field(None, examples=[["Cisplatin caused acute renal failure."]])
    documents: list[dict[str, Any]] | None = Field(None, examples=[None])


class EntityModel(BaseModel):
    """An entity: `text[start:end]` of the document."""

    start: int
    end: int
    type: str
    text: str
    score: float
    task: str
    tasks: list[str] | None = Field(None, description="that agree, with `overlaps` by_type")


class DocumentModel(BaseModel):
    """A document with its entities, as a line of `mtl-bioner annotate`."""

    document_id: str
    text: str
    entities: list[EntityModel]


class Answer(BaseModel):
    """The documents in the order of the request."""

    documents: list[DocumentModel]


class Parsed(NamedTuple):
    """A request as it is read."""

    documents: list[SourceDocument]
    options: CallOptions
    to: str


def parse_body(body: bytes, content_type: str, accept: str, query: Query, limits: Limits) -> Parsed:
    """Read the documents and options of a request.

    Raises:
        Refusal: 406 and 415 for unknown formats, 413 for too much, 422 for what can't be read.
    """
    kind = find_kind(content_type)
    parsed_json, choices = None, Choices()
    if kind == "json":
        parsed_json = _parse_json(body)
        kind = "bioc-json" if is_bioc_record(Record(parsed_json, _NAME, "1")) and not _is_plain(parsed_json) else kind
    if kind == "json":
        parsed_json, choices = _validate(parsed_json)
    default, items = _READERS[kind](parsed_json if parsed_json is not None else body)
    to = query.to or choose_format(accept, default)
    try:
        documents = list(_check_items(items, to, limits))
    except CorpusError as error:
        raise Refusal(422, str(error)) from None
    tasks = choices.tasks if choices.tasks is not None else query.tasks and query.tasks.split(",")
    threshold = query.threshold if choices.threshold is None else choices.threshold
    options = CallOptions(None if tasks is None else tuple(tasks), threshold, choices.overlaps or query.overlaps)
    return Parsed(documents, options, to)


def find_kind(content_type: str) -> str:
    """Return the kind of a body by its Content-Type; raise Refusal for another one."""
    name, *parameters = (part.strip().lower() for part in content_type.split(";"))
    values = dict(parameter.partition("=")[::2] for parameter in parameters)
    charset = values.get("charset", "utf-8").strip('"')
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise Refusal(415, f"charset {charset[:60]!r}; send UTF-8")
    if name not in KINDS:
        raise Refusal(415, f"Content-Type {name[:60]!r}; expected one of {', '.join(KINDS)}")
    return KINDS[name]


def choose_format(accept: str, default: str) -> str:
    """Choose the format of an answer by an Accept header; raise Refusal if it accepts none that there is."""
    ranges = []
    for part in filter(None, map(str.strip, accept.split(","))):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        ranges.append((float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0, name))
    for quality, name in sorted(ranges, key=lambda pair: -pair[0]):
        same = MEDIA_TYPES[default].partition(";")[0]
        if quality and name in ("*/*", f"{same.partition('/')[0]}/*", same):
            return default
        if quality and name in _ACCEPTED:
            return _ACCEPTED[name]
    if ranges:
        raise Refusal(406, f"Accept {accept[:60]!r}; the answer can be one of {', '.join(_ACCEPTED)}")
    return default


# -------------------------------------------------------------------------------------------------------- what is read


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _parse_float(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant, parse_float=_parse_float)
    except (ValueError, RecursionError) as error:
        raise Refusal(422, f"invalid JSON ({error})") from None


def _is_plain(value: Any) -> bool:
    """Whether the documents of an object are this project's, which have a text."""
    documents = value.get("documents") if isinstance(value, dict) else None
    return isinstance(documents, list) and all(isinstance(one, dict) and "passages" not in one for one in documents)


def _validate(value: Any) -> tuple[list[Any], Choices]:
    """Return texts or documents, and the options beside them."""
    value = {"documents": value} if isinstance(value, list) else value
    if not isinstance(value, dict):
        raise Refusal(422, 'expected an object with "texts" or "documents", or a list of documents')
    if "text" in value:
        value = {"documents": [value]}
    try:
        body = JsonBody.model_validate(value)
    except ValidationError as error:
        raise Refusal(422, describe_errors(error.errors())) from None
    if (body.texts is None) == (body.documents is None):
        raise Refusal(422, 'expected an object with either "texts" or "documents"')
    return body.documents if body.texts is None else body.texts, body


def describe_errors(errors: Sequence[Any]) -> str:
    """Describe the first error of pydantic in one line, without the value."""
    place = ".".join(str(part)[:60] for part in errors[0]["loc"] if part not in ("query", "body"))
    return f"{place}: {errors[0]['msg']}"


def _read_json(values: Sequence[Any]) -> tuple[str, Iterator[Item]]:
    items = (
        SourceDocument(str(number), value, f"texts.{number - 1}")
        if isinstance(value, str)
        else build_record(value, ColumnOptions(), f"documents.{number - 1}", str(number))
        for number, value in enumerate(values, 1)
    )
    return "json", items


def _read_bioc_json(value: Any) -> tuple[str, Iterator[Item]]:
    return "bioc-json", _convert_all(read_bioc_json([Record(value, _NAME, "1")]))


def _read_bioc(body: bytes) -> tuple[str, Iterator[Item]]:
    return "bioc", _convert_all(read_bioc(MemoryFile(_NAME, body)))


def _convert_all(raws: Iterable[RawDocument]) -> Iterator[Item]:
    source = Source(_NAME, "corpus")
    for raw in raws:
        yield from convert_document(raw, source)


def _read_text(body: bytes) -> tuple[str, Iterator[Item]]:
    """Read PubTator, known by its first line that isn't blank, or else one document of plain text."""
    first = body.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n \t").partition(b"\n")[0].decode("utf-8", "replace")
    file = MemoryFile(_NAME, body)
    if TEXT_LINE.fullmatch(first.rstrip("\r")):
        return "pubtator", READERS["pubtator"](Source(_NAME, "pubtator", file), ColumnOptions())
    return "json", (item if not isinstance(item, SourceDocument) else SourceDocument("1", item.text, _NAME)
                    for item in READERS["text"](Source(_NAME, "text", file), ColumnOptions()))  # fmt: skip


_READERS: dict[str, Callable[[Any], tuple[str, Iterator[Item]]]] = {
    "json": _read_json,
    "bioc-json": _read_bioc_json,
    "bioc": _read_bioc,
    "text": _read_text,
}


def _check_items(items: Iterable[Item], to: str, limits: Limits) -> Iterator[SourceDocument]:
    """Yield the documents; raise Refusal for the first that can't be read or is too much."""
    characters = number = 0
    for number, item in enumerate(number_ids(check_documents(items, find_id_fault(to))), 1):
        if not isinstance(item, SourceDocument):
            raise Refusal(422, str(item))
        characters += len(item.text)
        if number > limits.max_texts:
            raise Refusal(413, f"more than {limits.max_texts:,} texts; send fewer in a request")
        if len(item.text) > limits.max_text:
            size = f"a text of {len(item.text):,} characters ({item.where})"
            raise Refusal(413, f"{size}; at most {limits.max_text:,} are taken, so split it")
        if characters > limits.max_characters:
            raise Refusal(413, f"more than {limits.max_characters:,} characters; send fewer in a request")
        yield item
    if not number:
        raise Refusal(422, "the body holds no document")


# ----------------------------------------------------------------------------------------------------- what is written


def format_answer(annotated: Sequence[Annotated], to: str) -> bytes:
    """Write annotated documents in a format; raise Refusal for what the format can't hold."""
    file = MemoryFile("answer")
    write, _ = WRITERS["jsonl" if to == "json" else to]
    try:
        write(annotated, file)
    except CorpusError as error:
        raise Refusal(422, str(error)) from None
    if to == "json":
        return b'{"documents": [' + b", ".join(file.content.splitlines()) + b"]}\n"
    return file.content
