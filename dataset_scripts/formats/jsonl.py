"""JSON lines of this project: one document a line, with half-open offsets that count characters.

    {"document_id": "1", "text": "Gout.", "entities": [{"start": 0, "end": 4, "type": "Disease", "text": "Gout"}]}
    {"document_id": "2", "text": "No disease."}
Entities of a prediction have a `score`, and the `task` that predicted them.
Source: this project
"""

import logging
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import FilePath, format_count, list_names
from dataset_scripts.formats.json_records import (
    Record,
    check_list,
    check_text,
    check_type,
    get_document_id,
    has_keys,
    read_json_records,
    write_json_lines,
)
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


logger = logging.getLogger(__name__)


def is_own_record(record: Record) -> bool:
    """Whether a record has entities of this form."""
    return has_keys(record.fields.get("entities"), ("start", "end", "type"))


def read_jsonl(path: FilePath) -> Iterator[RawDocument]:
    """Read a file of this form; see `read_own_records`."""
    return read_own_records(read_json_records(path))


def read_own_records(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read documents; `text` of an entity may be missing, and keys not shown above are not read.

    `entities` may be missing too; a warning names lists in its place. Another counts predictions: gold has no score.
    """
    unread: list[tuple[str, list[str]]] = []  # where, and the keys of lists that may hold mentions, unlike authors
    predicted: list[str] = []
    for record in records:
        document = _read_document(record)
        predicted += [mention.where for mention in document.mentions if mention.score is not None]
        yield document
        others = {} if "entities" in record.value else record.value
        lists = {key: value for key, value in others.items() if isinstance(value, list)}
        if keys := [key for key, items in lists.items() if any(isinstance(item, dict | list) for item in items)]:
            unread.append((record.where, keys))
    if predicted:
        logger.warning("%s: entities with a score are predictions (%d); as training or test data they count as gold",
                       predicted[0], len(predicted))  # fmt: skip
    if unread:
        logger.warning(
            "%s: no entities, but %s; %s read as text without mentions; if these are mentions, name them entities",
            unread[0][0], list_names(unread[0][1]), format_count(len(unread), "such record"),
        )  # fmt: skip


def _read_document(record: Record) -> RawDocument:
    value, where = record.value, record.where
    expected = "expected an object with document_id and text"
    if not isinstance(value, dict):
        raise CorpusError(f"{where}: a JSON {type(value).__name__}; {expected}")
    if value.get("text") is None:
        raise CorpusError(f"{where}: no text; {expected}")
    text = check_text(value["text"], where)
    entities = check_list(value.get("entities"), "entities", where)
    mentions = [_read_mention(entity, where) for entity in entities]
    return RawDocument(get_document_id(record, value), text, mentions, where=where)


def _read_mention(entity: object, where: str) -> Mention:
    if isinstance(entity, dict):
        start, end, text = (entity.get(key) for key in ("start", "end", "text"))
        has_offsets = type(start) is int and type(end) is int  # bool is no offset
        if has_offsets and "type" in entity and isinstance(text, str | None):
            score, task = entity.get("score"), entity.get("task")
            score = float(score) if type(score) in (int, float) else None
            name = check_type(entity["type"], where)
            return Mention(((start, end),), name, text, where, "", score, task if isinstance(task, str) else "")
    raise CorpusError(f"{where}: entity {entity!r:.100}; expected start and end (whole numbers) and type (a string)")


def write_jsonl(documents: Iterable[Document], path: FilePath) -> None:
    """Write what `read_jsonl` reads, with `score` and `task` of predicted entities; gzip if the name ends so."""
    write_json_lines(map(_format_document, documents), path)


def _format_document(document: Document) -> dict[str, object]:
    text, entities = document.text, []
    for e in document.entities:
        entity = {"start": e.start, "end": e.end, "type": e.type, "text": text[e.start : e.end]}
        entities.append(entity | e.get_prediction_fields())
    return {"document_id": document.document_id, "text": text, "entities": entities}
