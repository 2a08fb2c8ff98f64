"""doccano: a text and its labels, or its entities if the project has relations.

    {"id": 1, "text": "Gout hurts.", "label": [[0, 4, "Disease"]]}
    {"id": 1, "text": "Gout.", "entities": [{"id": 7, "label": "Disease", "start_offset": 0, "end_offset": 4}], ...}
Source: https://doccano.github.io/doccano/; older versions name the list `labels`, some the text `data`
"""

import logging
import re
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import FilePath, format_count
from dataset_scripts.formats.json_records import (
    Keys,
    Record,
    check_text,
    get_document_id,
    has_keys,
    is_triples,
    read_mentions,
    write_json_lines,
)
from dataset_scripts.schema import Document, RawDocument


logger = logging.getLogger(__name__)

_WIDE = re.compile("[\U00010000-\U0010ffff]")
_RELATION_KEYS: Keys = ("start_offset", "end_offset", "label")


def is_doccano_record(record: Record) -> bool:
    """Whether a record has labels, or entities, of doccano's."""
    fields = record.fields
    return any(is_triples(fields.get(key)) for key in ("label", "labels")) or has_keys(
        fields.get("entities"), _RELATION_KEYS
    )


def read_doccano(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read both forms of doccano; relations and comments are skipped.

    doccano counts UTF-16 units (https://github.com/doccano/doccano/issues/2290), but labels that were imported are as
    they were. A warning counts the texts of its exports, which have an `id`, where it makes a difference.
    """
    wide: list[str] = []
    for record in records:
        fields, where = record.fields, record.where
        text = check_text(fields.get("text", fields.get("data")), where)
        mentions = read_mentions(fields.get("entities"), "entities", _RELATION_KEYS, where)
        for key in ("label", "labels"):
            mentions += read_mentions(fields.get(key), key, (0, 1, 2), where)
        first = _WIDE.search(text) if "id" in fields else None
        if first and any(mention.spans[-1][1] > first.start() for mention in mentions):
            wide.append(where)
        yield RawDocument(get_document_id(record, fields), text, mentions, where=where)
    if wide:
        problem = "labels behind a character that doccano counts as two (such as an emoji)"
        remedy = "if they were made there, correct the file: mtl-bioner corpora fix-offsets FILE COPY --as utf-16"
        logger.warning("%s: %s, in %s; %s", wide[0], problem, format_count(len(wide), "text"), remedy)


def write_doccano(documents: Iterable[Document], path: FilePath) -> None:
    """Write JSON lines to import into doccano, which keeps `document_id` as meta data; gzip if the name ends so."""
    write_json_lines(map(_format_document, documents), path)


def _format_document(document: Document) -> dict[str, object]:
    labels = [[entity.start, entity.end, entity.type] for entity in document.entities]
    return {"document_id": document.document_id, "text": document.text, "label": labels}
