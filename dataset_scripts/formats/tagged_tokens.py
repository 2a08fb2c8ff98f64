"""Tokens and their BIO tags, as records of Hugging Face data sets hold them.

    {"id": "0", "tokens": ["Gout", "hurts", "."], "ner_tags": ["B-Disease", "O", "O"]}
Source: https://huggingface.co/docs/datasets
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from dataset_scripts.formats.conll import UNTYPED
from dataset_scripts.formats.files import OffsetText
from dataset_scripts.schema import CorpusError, Mention, RawDocument, Span, strip_invisible


TOKEN_COLUMNS = ("tokens", "words")
TAG_COLUMNS = ("ner_tags", "tags", "labels", "ner")
_TAG = re.compile(r"O|([BIESLU])(?:-(.+))?", re.DOTALL)
_IOBES = {"L": "E", "U": "S"}  # BILOU's names of the last and the only token


def join_tokens(tokens: Sequence[str]) -> tuple[str, list[Span]]:
    """Join tokens by one space; return the text and the half-open offsets of each token."""
    text = OffsetText()
    offsets = [text.add(token, " ") for token in tokens]
    return text.getvalue(), offsets


def build_tagged_document(
    document_id: str, tokens: Sequence[str], tags: Sequence[str], where: str, strays: list[str] | None = None
) -> RawDocument:
    """Join tokens by one space to a text, and IOB1, IOB2, IOBES or BILOU tags to mentions; see `read_tags`."""
    text, offsets = join_tokens(tokens)
    return RawDocument(document_id, text, read_tags(offsets, tags, where, strays), where=where)


def read_tags(
    offsets: Sequence[Span], tags: Sequence[str], where: str, strays: list[str] | None = None
) -> list[Mention]:
    """Join the tags of tokens to mentions.

    A mention that begins with an inner tag is read as in IOB1; `where` is then added to `strays`. Bare tags (`B`,
    `I`) give the type `UNTYPED`. Raises CorpusError for a tag of no known scheme, and for unequal numbers.
    """
    if len(offsets) != len(tags):
        raise CorpusError(f"{where}: {len(offsets)} tokens, but {len(tags)} tags; each token needs one")
    mentions: list[Mention] = []
    open_type = ""  # the type of the mention that the next token may continue
    for (start, end), tag in zip(offsets, tags, strict=True):
        match = _TAG.fullmatch(tag)
        if match is None:
            expected = (
                "expected O, B-TYPE, I-TYPE (IOBES: also E-TYPE, S-TYPE; BILOU: L-TYPE, U-TYPE), or bare B and I"
            )
            raise CorpusError(f"{where}: the tag {tag[:60]!r}; {expected}")
        prefix = _IOBES.get(match[1], match[1] or "O")
        mention_type = "" if prefix == "O" else strip_invisible(match[2] or "") or UNTYPED
        if prefix in "IE" and mention_type == open_type:
            mentions[-1] = replace(mentions[-1], spans=((mentions[-1].spans[0][0], end),))
        elif prefix != "O":
            if prefix in "IE" and strays is not None:
                strays.append(where)
            mentions.append(Mention(((start, end),), mention_type, where=where))
        open_type = "" if prefix in "OES" else mention_type
    return mentions
