"""JSON lines: one document a line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import _BLANK, FilePath, _lines, _score_and_task, _write
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


logger = logging.getLogger(__name__)


_SURROGATES = "\ud800-\udfff"  # halves of a character, which JSON can escape but UTF-8 and tokenizers can't hold


_NOT_IN_NAMES = re.compile(f"[\t\n\r{_SURROGATES}]")  # of documents and types


def read_jsonl(path: FilePath) -> Iterator[RawDocument]:
    """Read one JSON object a line: `{"document_id", "text", "entities": [{"start", "end", "type", "text"}]}`.

    Offsets are half-open and count characters. `entities` may be missing (a warning tells if lists have other names),
    as may an entity's `text`; other keys (`score`, `task`) are not read.

    Raises:
        CorpusError: invalid JSON, a key that is missing or stands twice, or a value of another type.
    """
    others: list[tuple[str, list[str]]] = []
    for where, line in _lines(path):
        if not line.strip(_BLANK):
            continue
        try:
            record = json.loads(line, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            array = ", and no array" if line.lstrip(_BLANK).startswith("[") else ""
            raise CorpusError(f"{where}: invalid JSON ({error}); expected one object a line{array}") from None
        yield _json_document(record, where)
        if "entities" not in record and (lists := [key for key, value in record.items() if _may_hold_mentions(value)]):
            others.append((where, lists))
    if others:
        logger.warning(
            "%s: no entities, but %s; it is read as a text without mentions (so are %d others), and if these are its "
            "mentions, name them entities", others[0][0], ", ".join(others[0][1])[:100], len(others) - 1,
        )  # fmt: skip


def _may_hold_mentions(value: object) -> bool:
    """As a list of objects or lists does, and one of authors or MeSH terms doesn't."""
    return isinstance(value, list) and any(isinstance(own, (dict, list)) for own in value)


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises ValueError for a key that stands twice, of which JSON takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return found


def _json_document(record: object, where: str) -> RawDocument:
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a JSON {type(record).__name__}; expected an object with document_id and text")
    for key in ("document_id", "text"):
        if record.get(key) is None:
            raise CorpusError(f"{where}: no {key}; expected an object with document_id and text")
    document_id, text, entities = record["document_id"], record["text"], record.get("entities")
    entities = [] if entities is None else entities
    if type(document_id) is int:
        document_id = str(document_id)  # PMIDs are often written as numbers
    if not isinstance(document_id, str) or not document_id or _NOT_IN_NAMES.search(document_id):
        raise CorpusError(f"{where}: document_id {document_id!r}; expected a string without tabs or line breaks")
    if not isinstance(text, str) or re.search(f"[{_SURROGATES}]", text):
        raise CorpusError(f"{where}: text is {str(text)[:60]!r}; expected a string without lone surrogates")
    if not isinstance(entities, list):
        raise CorpusError(f"{where}: entities is {str(entities)[:60]!r}; expected a list, or none")
    return RawDocument(document_id, text, [_json_mention(entity, where) for entity in entities], where=where)


def _json_mention(entity: object, where: str) -> Mention:
    if isinstance(entity, dict):
        start, end, mention_type, text = (entity.get(key) for key in ("start", "end", "type", "text"))
        integers = type(start) is int and type(end) is int  # bool is no offset
        named = isinstance(mention_type, str) and mention_type and mention_type == mention_type.strip()
        if integers and named and not _NOT_IN_NAMES.search(mention_type) and isinstance(text, str | None):
            return Mention(((start, end),), mention_type, text, where)
    raise CorpusError(
        f"{where}: entity {str(entity)[:100]}; expected start and end (whole numbers) and type (a string "
        "without blanks around it or line breaks)"
    )


def write_jsonl(documents: Iterable[Document], path: FilePath) -> None:
    """Write what `read_jsonl` reads, with `score` and `task` of predicted entities; gzip if the name ends so."""
    _write(path, (_json_line(document) for document in documents))


def _json_line(document: Document) -> str:
    entities = [
        {"start": e.start, "end": e.end, "type": e.type, "text": document.text[e.start : e.end], **_score_and_task(e)}
        for e in document.entities
    ]
    record = {"document_id": document.document_id, "text": document.text, "entities": entities}
    return json.dumps(record, ensure_ascii=False) + "\n"
