"""GLiNER: tokens, and mentions by their first and last token.

    {"tokenized_text": ["Gout", "hurts", "."], "ner": [[0, 0, "Disease"]]}
Source: https://github.com/urchade/GLiNER
"""

from collections.abc import Iterable, Iterator
from typing import Any

from dataset_scripts.bio import DEFAULT_WORD_PATTERN, decode_bio, label_words
from dataset_scripts.formats.files import FilePath
from dataset_scripts.formats.json_records import (
    Record,
    check_list,
    check_text,
    check_type,
    get_document_id,
    write_json_list,
)
from dataset_scripts.formats.tagged_tokens import join_tokens
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument, Span


def is_gliner_record(record: Record) -> bool:
    """Whether a record has tokens under GLiNER's name."""
    return isinstance(record.fields.get("tokenized_text"), list)


def read_gliner(records: Iterable[Record]) -> Iterator[RawDocument]:
    """Read training data of GLiNER; the text is the tokens joined by one space."""
    for record in records:
        tokens = check_list(record.fields.get("tokenized_text"), "tokenized_text", record.where)
        text, offsets = join_tokens([check_text(token, record.where) for token in tokens])
        if "ner" not in record.fields:
            raise CorpusError(f"{record.where}: no ner beside tokenized_text; expected a list, empty for no mention")
        items = check_list(record.fields["ner"], "ner", record.where)
        mentions = [_read_mention(item, offsets, record.where) for item in items]
        yield RawDocument(get_document_id(record, record.fields), text, mentions, where=record.where)


def _read_mention(item: Any, offsets: list[Span], where: str) -> Mention:
    is_triple = isinstance(item, list) and len(item) >= 3
    if not is_triple or not type(item[0]) is type(item[1]) is int:
        raise CorpusError(f"{where}: mention {item!r:.100}; expected [first token, last token, type]")
    first, last, mention_type = item[0], item[1], check_type(item[2], where)
    end_of_text = offsets[-1][1] if offsets else 0
    if 0 <= first < len(offsets) and 0 <= last < len(offsets):
        span = (offsets[first][0], offsets[last][1] if first <= last else offsets[first][0])  # empty if inverted
    else:
        span = (end_of_text, end_of_text + 1)  # outside the text, where there is no such token
    return Mention((span,), mention_type, where=where)


def write_gliner(documents: Iterable[Document], path: FilePath, word_pattern: str = DEFAULT_WORD_PATTERN) -> None:
    """Write a list of training data; it holds the mentions that BIO tags hold; gzip if the name ends so."""
    write_json_list((_format_document(document, word_pattern) for document in documents), path)


def _format_document(document: Document, word_pattern: str) -> dict[str, object]:
    words, tags, _ = label_words(document, word_pattern)
    first_at = {start: index for index, (start, _) in enumerate(words)}
    last_at = {end: index for index, (_, end) in enumerate(words)}
    ner = [[first_at[entity.start], last_at[entity.end], entity.type] for entity in decode_bio(words, tags)]
    tokens = [document.text[start:end] for start, end in words]
    return {"document_id": document.document_id, "tokenized_text": tokens, "ner": ner}
