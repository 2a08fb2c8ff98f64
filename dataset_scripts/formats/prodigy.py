"""Prodigy: a text, its spans and the annotator's answer.

    {"text": "Gout hurts.", "spans": [{"start": 0, "end": 4, "label": "Disease"}], "answer": "accept", ...}
Source: https://prodi.gy/docs/api-interfaces
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dataset_scripts.bio import split_words
from dataset_scripts.formats.files import FilePath
from dataset_scripts.formats.json_records import (
    Keys,
    Record,
    check_text,
    get_document_id,
    has_keys,
    read_mentions,
    write_json_lines,
)
from dataset_scripts.schema import CorpusError, Document, RawDocument, Span


logger = logging.getLogger(__name__)

_KEYS: Keys = ("start", "end", "label")
_Span = tuple[tuple[Span, ...], str]  # of a mention, and its type


def is_prodigy_record(record: Record) -> bool:
    """Whether a record has spans, an answer or the hash of an input."""
    fields = record.fields
    return has_keys(fields.get("spans"), ("start", "end")) or "_input_hash" in fields or "answer" in fields


def read_prodigy(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read the accepted records; a warning counts the others, and those that repeat an accepted one.

    Two accepted records of one input with different spans, as of two annotators, raise CorpusError: which of them is
    gold can't be known.
    """
    left_out: Counter[str] = Counter()
    accepted: dict[str, tuple[str, set[_Span]]] = {}  # place and spans by hash of the input
    first = ""
    for record in records:
        first = first or record.where
        answer = record.fields.get("answer", "accept")
        if answer != "accept":
            left_out[answer if answer in ("reject", "ignore") else "other"] += 1
            continue
        document = _read_document(record)
        spans = {(mention.spans, mention.type) for mention in document.mentions}
        where, known = record.where, spans
        if "_input_hash" in record.fields:
            where, known = accepted.setdefault(str(record.fields["_input_hash"]), (where, spans))
        if known is spans:
            yield document
        elif known != spans:
            problem = f"{record.where}: another answer to the input of {where} (the same _input_hash)"
            remedy = "keep the records of one annotator or session, or merge them with `prodigy review`"
            raise CorpusError(f"{problem}; {remedy}")
        else:
            left_out["repeated"] += 1
    if left_out:
        counts = ", ".join(f"{count} {answer}" for answer, count in sorted(left_out.items()))
        logger.warning("%s: records that are not accepted, or repeated, are left out (%s)", first, counts)


def _read_document(record: Record) -> RawDocument:
    text = check_text(record.fields.get("text"), record.where)
    mentions = read_mentions(record.fields.get("spans"), "spans", _KEYS, record.where)
    return RawDocument(get_document_id(record, record.fields), text, mentions, where=record.where)


def write_prodigy(documents: Iterable[Document], path: FilePath, word_pattern: str | None = None) -> None:
    """Write JSON lines for `prodigy db-in`, with the document id in `meta`; gzip if the name ends so.

    With a `word_pattern`, the words are written as `tokens`. Prodigy takes these instead of its own, which are longer
    (`IL-2-induced`), and refuses spans that don't begin and end at tokens.
    """
    write_json_lines((_format_document(document, word_pattern) for document in documents), path)


def _format_document(document: Document, word_pattern: str | None) -> dict[str, object]:
    spans = [{"start": entity.start, "end": entity.end, "label": entity.type} for entity in document.entities]
    record = {"text": document.text, "spans": spans, "meta": {"document_id": document.document_id}}
    return record | (_list_tokens(document.text, spans, word_pattern) if word_pattern else {})


def _list_tokens(text: str, spans: list[dict[str, Any]], word_pattern: str) -> dict[str, object]:
    """Return `tokens`, and the `spans` with their first and last token; nothing if a span doesn't fit the words."""
    words = split_words(text, word_pattern)
    first, last = ({word[side]: number for number, word in enumerate(words)} for side in (0, 1))
    if not all(span["start"] in first and span["end"] in last for span in spans):
        return {}
    tokens = [
        {"text": text[start:end], "start": start, "end": end, "id": number, "ws": text[end : end + 1].isspace()}
        for number, (start, end) in enumerate(words)
    ]
    return {
        "tokens": tokens,
        "spans": [span | {"token_start": first[span["start"]], "token_end": last[span["end"]]} for span in spans],
    }
