"""spaCy training data in JSON, in the forms that its versions and the tools around it write.

    ["Gout hurts.", {"entities": [[0, 4, "Disease"]]}]             one in a list, or a line
    {"text": "Gout hurts.", "entities": [[0, 4, "Disease"]]}       also with objects: start, end, label
    {"text": "Gout hurts.", "ents": [{"start": 0, "end": 4, "label": "Disease"}]}      Doc.to_json
    {"id": 0, "paragraphs": [{"raw": "Gout.", "sentences": [{"tokens": [{"orth": "Gout", "ner": "U-Disease"}]}]}]}
    {"classes": ["Disease"], "annotations": [["Gout hurts.", {"entities": [[0, 4, "Disease"]]}]]}
Source: https://spacy.io/api/data-formats
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from dataset_scripts.formats.files import format_count
from dataset_scripts.formats.json_records import (
    Record,
    check_list,
    check_text,
    get_document_id,
    has_keys,
    is_triples,
    read_mentions,
    starts_with,
)
from dataset_scripts.formats.tagged_tokens import join_tokens, read_tags
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import CorpusError, RawDocument, Span


logger = logging.getLogger(__name__)


def is_spacy_record(record: Record) -> bool:
    """Whether a record has one of the forms above."""
    fields = record.fields
    entities = fields.get("entities")
    return (
        _is_pair(record.value)
        or is_triples(entities)
        or (has_keys(entities, ("start", "end", "label")) and "type" not in entities[0])
        or has_keys(fields.get("ents"), ("start", "end"))
        or starts_with(fields.get("paragraphs"), dict)
        or (starts_with(fields.get("annotations"), list) and _is_pair(fields["annotations"][0]))
    )


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def read_spacy_json(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read training data of spaCy; tags of spaCy's own JSON are BILUO, and `-` (a missing tag) is read as O."""
    reader: TagReader | None = None
    unread: list[str] = []
    for record in records:
        reader = reader or TagReader(record.where.rpartition(":")[0])
        if "paragraphs" in record.fields:
            yield from _read_paragraphs(record, reader)
        elif "annotations" in record.fields:  # of the NER Annotator of tecoholic, which writes null for skipped texts
            pairs = check_list(record.fields["annotations"], "annotations", record.where)
            stem = record.default_id.rpartition("-")[0]
            for number, pair in enumerate(pairs, 1):
                if pair is not None:
                    yield _read_text_with_entities(Record(pair, record.where, f"{stem}-{number}"))
        else:
            yield _read_text_with_entities(record)
            unread += [record.where] * bool(
                (record.value[1] if _is_pair(record.value) else record.fields).get("spans")
            )
    if reader:
        reader.report()
    if unread:
        logger.warning("%s: spans are not read, only entities (%s)", unread[0], format_count(len(unread), "record"))


def _read_text_with_entities(record: Record) -> RawDocument:
    if not _is_pair(record.value) and not record.fields:
        raise CorpusError(f"{record.where}: {record.value!r:.100}; expected a text and its entities")
    text, fields = record.value if _is_pair(record.value) else (record.fields.get("text"), record.fields)
    text = check_text(text, record.where)
    key = "ents" if "ents" in fields else "entities"
    items = check_list(fields.get(key), key, record.where)
    objects = [item for item in items if isinstance(item, dict)]
    triples = [item for item in items if not isinstance(item, dict)]
    mentions = read_mentions(triples, key, (0, 1, 2), record.where)
    mentions += read_mentions(objects, key, ("start", "end", "label"), record.where)
    return RawDocument(get_document_id(record, fields), text, mentions, where=record.where)


def _read_paragraphs(record: Record, reader: TagReader) -> Iterator[RawDocument]:
    where, paragraphs = record.where, check_list(record.fields["paragraphs"], "paragraphs", record.where)
    for number, paragraph in enumerate(paragraphs, 1):
        try:
            rows = [token for sentence in paragraph["sentences"] for token in sentence["tokens"]]
            tokens = [check_text(row["orth"], where) for row in rows]
            tags = ["O" if row.get("ner") in ("-", None) else str(row["ner"]) for row in rows]
            raw = paragraph.get("raw")
        except (KeyError, TypeError, AttributeError):
            expected = "expected sentences with tokens, each with orth and ner"
            raise CorpusError(f"{where}: the paragraph {paragraph!r:.100}; {expected}") from None
        text, offsets = join_tokens(tokens) if raw is None else (check_text(raw, where), _find(tokens, raw, where))
        document_id = get_document_id(record, record.fields) + (f"-{number}" if len(paragraphs) > 1 else "")
        yield RawDocument(document_id, text, read_tags(offsets, tags, where, reader), where=where)


def _find(tokens: Sequence[str], text: str, where: str) -> list[Span]:
    """Return the half-open offsets of tokens in the text that they were cut from."""
    offsets, at = [], 0
    for token in tokens:
        start = text.find(token, at)
        if start < 0:
            raise CorpusError(f"{where}: the token {token[:60]!r} is not in the raw text after character {at}")
        at = start + len(token)
        offsets.append((start, at))
    return offsets
