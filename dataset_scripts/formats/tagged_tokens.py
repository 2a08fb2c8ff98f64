"""Tokens and their tags, as records of Hugging Face data sets hold them.

    {"id": "0", "tokens": ["Gout", "hurts", "."], "ner_tags": ["B-Disease", "O", "O"]}
Source: https://huggingface.co/docs/datasets
"""

import itertools
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from dataset_scripts.bio import DEFAULT_WORD_PATTERN, label_words
from dataset_scripts.formats.files import FilePath, OffsetText, list_names
from dataset_scripts.formats.json_records import Record, check_text, get_document_id, write_json_lines
from dataset_scripts.formats.tags import TagReader, is_tag
from dataset_scripts.schema import DETECT, CorpusError, Document, Mention, RawDocument, ReadOptions, Span


logger = logging.getLogger(__name__)

TOKEN_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner")
_HEAD = 256  # records in which other columns of tags are looked for
OTHER_TAGS = "%s: the mentions are read from %s, not from %s (mentions, too); choose with --tag_column"


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[Span]]:
    """Join tokens by one space; return the text and the half-open offsets of each token."""
    text = OffsetText()
    offsets = [text.add(token, " ") for token in tokens]
    return text.getvalue(), offsets


def build_tagged_document(
    document_id: str, tokens: Sequence[str], tags: Sequence[str], where: str, reader: TagReader
) -> RawDocument:
    """Join tokens by one space to a text, and their tags to mentions."""
    text, offsets = join_tokens(tokens)
    return RawDocument(document_id, text, read_tags(offsets, tags, where, reader), where=where)


def read_tags(offsets: Sequence[Span], tags: Sequence[str], where: str, reader: TagReader) -> list[Mention]:
    """Join the tags of tokens to mentions; raise CorpusError for another number of tags than of tokens."""
    if len(offsets) != len(tags):
        raise CorpusError(f"{where}: {len(offsets)} tokens, but {len(tags)} tags; each token needs one")
    ranges = reader.find_mentions(tags, lambda index: where)
    return [Mention(((offsets[first][0], offsets[last][1]),), name, where=where) for first, last, name in ranges]


def is_tagged_record(record: Record, options: ReadOptions = DETECT) -> bool:
    """Whether a record has a list of tokens, and no spans."""
    tokens = record.fields.get(_find_column(record, options.token_column, TOKEN_COLUMNS))
    tags = _find_column(record, options.tag_column, TAG_COLUMNS)
    return isinstance(tokens, list) and isinstance(tokens[0] if tokens else "", str) and tags is not None


def read_tagged(records: Iterable[Record], options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read tokens and tags."""
    records = iter(records)
    if head := list(itertools.islice(records, _HEAD)):
        where = head[0].where
        reader = TagReader(where.rpartition(":")[0], options.tag_scheme)
        used = options.tag_column or choose_tags(head[0].fields, where)
        others = {name for record in head for name, value in record.fields.items() if is_tag_list(value)} - {used}
        if others and options.tag_column is None:
            logger.warning(OTHER_TAGS, where, used, list_names(sorted(others), " or "))
        for record in itertools.chain(head, records):
            yield _read_tagged_record(record, options, reader)
        reader.report()


def _read_tagged_record(record: Record, options: ReadOptions, reader: TagReader) -> RawDocument:
    fields, where = record.fields, record.where
    token_column = _find_column(record, options.token_column, TOKEN_COLUMNS)
    tag_column = _find_column(record, options.tag_column, TAG_COLUMNS)
    tokens, tags = fields.get(token_column), fields.get(tag_column)
    if not isinstance(tokens, list) or not isinstance(tags, list):
        expected = f"expected lists under {token_column or TOKEN_COLUMNS[0]} and {tag_column or TAG_COLUMNS[0]}"
        raise CorpusError(f"{where}: the keys {list(fields)!r:.100}; {expected}")
    if any(type(tag) is int for tag in tags):
        remedy = "write the names in their place, as `features[...].feature.int2str` of `datasets` gives them"
        raise CorpusError(f"{where}: {tag_column} holds numbers without the names of the tags; {remedy}")
    if not all(isinstance(tag, str) for tag in tags):
        raise CorpusError(f"{where}: {tag_column} is {tags!r:.60}; expected strings such as B-Disease and O")
    tokens = [check_text(token, where) for token in tokens]
    return build_tagged_document(get_document_id(record, fields), tokens, tags, where, reader)


def choose_tags(columns: Container[str], where: str) -> str | None:
    """Return the known name of a column of tags; raise CorpusError if any of several could be meant."""
    present = [name for name in TAG_COLUMNS if name in columns]
    if len(present) > 1 and present[0] != TAG_COLUMNS[0]:
        raise CorpusError(f"{where}: the tags may be in {' or '.join(present)}; choose with --tag_column")
    return present[0] if present else None


def is_tag_list(value: Any) -> bool:
    """Whether a value is a list of tags, one of which begins a mention."""
    tags = [tag for tag in value if isinstance(tag, str) and is_tag(tag)] if isinstance(value, list) else []
    return bool(tags) and len(tags) == len(value) and any(tag.startswith("B-") for tag in tags)


def _find_column(record: Record, chosen: str | None, known: Sequence[str]) -> str | None:
    return chosen or next((column for column in known if column in record.fields), None)


def write_tokens(documents: Iterable[Document], path: FilePath, word_pattern: str = DEFAULT_WORD_PATTERN) -> None:
    """Write a record a document, with the mentions that BIO tags hold; gzip if the name ends so."""
    write_json_lines((_format_document(document, word_pattern) for document in documents), path)


def _format_document(document: Document, word_pattern: str) -> dict[str, object]:
    words, tags, _ = label_words(document, word_pattern)
    tokens = [document.text[start:end] for start, end in words]
    return {"id": document.document_id, "tokens": tokens, "ner_tags": tags}
