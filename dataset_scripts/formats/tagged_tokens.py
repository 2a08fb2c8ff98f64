"""Tokens and their tags, as records of Hugging Face data sets hold them.

    {"id": "0", "tokens": ["Gout", "hurts", "."], "ner_tags": ["B-Disease", "O", "O"]}
Source: https://huggingface.co/docs/datasets
"""

from collections.abc import Sequence

from dataset_scripts.formats.files import OffsetText
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import CorpusError, Mention, RawDocument, Span


TOKEN_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner")


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
    found = reader.find_mentions(tags, lambda index: where)
    return [Mention(((offsets[first][0], offsets[last][1]),), name, where=where) for first, last, name in found]
