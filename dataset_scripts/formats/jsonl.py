"""JSON lines: one document a line, with half-open offsets that count characters.

    {"document_id": "1", "text": "Gout.", "entities": [{"start": 0, "end": 4, "type": "Disease", "text": "Gout"}]}
    {"document_id": "2", "text": "No disease."}
Source: this project
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import BLANK, NOT_IN_NAMES, SURROGATES, FilePath, read_lines, write_text
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


logger = logging.getLogger(__name__)


def read_jsonl(path: FilePath) -> Iterator[RawDocument]:
    """Read one JSON object a line; `text` of an entity may be missing, and keys not shown above are not read.

    `entities` may be missing too; a warning names lists in its place. A key that appears twice is an error.
    """
    unread: list[tuple[str, list[str]]] = []  # where, and the keys of lists that may hold mentions, unlike authors
    for where, line in read_lines(path, skip_blank=True):
        try:
            record = json.loads(line, object_pairs_hook=_build_object)
        except (ValueError, RecursionError) as error:
            array = ", and no array" if line.lstrip(BLANK).startswith("[") else ""
            raise CorpusError(f"{where}: invalid JSON ({error}); expected one object a line{array}") from None
        yield _read_document(record, where)
        others = {} if "entities" in record else record
        lists = {key: value for key, value in others.items() if isinstance(value, list)}
        if keys := [key for key, items in lists.items() if any(isinstance(item, dict | list) for item in items)]:
            unread.append((where, keys))
    if unread:
        logger.warning(
            "%s: no entities, but %s; it is read as a text without mentions (so are %d others), and if these are its "
            "mentions, name them entities", unread[0][0], ", ".join(unread[0][1])[:100], len(unread) - 1,
        )  # fmt: skip


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that appears twice: JSON would keep the last value only."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return record


def _read_document(record: object, where: str) -> RawDocument:
    expected = "expected an object with document_id and text"
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a JSON {type(record).__name__}; {expected}")
    document_id, text, entities = (record.get(key) for key in ("document_id", "text", "entities"))
    if document_id is None or text is None:
        raise CorpusError(f"{where}: no {'document_id' if document_id is None else 'text'}; {expected}")
    if type(document_id) is int:
        document_id = str(document_id)  # PMIDs are often written as numbers
    if not isinstance(document_id, str) or not document_id or NOT_IN_NAMES.search(document_id):
        raise CorpusError(f"{where}: document_id {document_id!r}; expected a string without tabs or line breaks")
    if not isinstance(text, str) or re.search(f"[{SURROGATES}]", text):
        raise CorpusError(f"{where}: text is {str(text)[:60]!r}; expected a string without lone surrogates")
    if not isinstance(entities, list | None):
        raise CorpusError(f"{where}: entities is {str(entities)[:60]!r}; expected a list, or none")
    return RawDocument(document_id, text, [_read_mention(entity, where) for entity in entities or []], where=where)


def _read_mention(entity: object, where: str) -> Mention:
    if isinstance(entity, dict):
        start, end, name, text = (entity.get(key) for key in ("start", "end", "type", "text"))
        has_offsets = type(start) is int and type(end) is int  # bool is no offset
        has_type = isinstance(name, str) and name and name == name.strip() and not NOT_IN_NAMES.search(name)
        if has_offsets and has_type and isinstance(text, str | None):
            return Mention(((start, end),), name, text, where)
    expected = "start and end (whole numbers) and type (a string without blanks around it or line breaks)"
    raise CorpusError(f"{where}: entity {str(entity)[:100]}; expected {expected}")


def write_jsonl(documents: Iterable[Document], path: FilePath) -> None:
    """Write what `read_jsonl` reads, with `score` and `task` of predicted entities; gzip if the name ends so."""
    write_text(path, (_format_document(document) for document in documents))


def _format_document(document: Document) -> str:
    text, entities = document.text, []
    for e in document.entities:
        entity = {"start": e.start, "end": e.end, "type": e.type, "text": text[e.start : e.end]}
        entities.append(entity | e.get_prediction_fields())
    record = {"document_id": document.document_id, "text": text, "entities": entities}
    return json.dumps(record, ensure_ascii=False) + "\n"
