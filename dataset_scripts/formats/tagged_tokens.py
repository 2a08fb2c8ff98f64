"""Tokens and their BIO tags, as records of Hugging Face data sets hold them.

    {"id": "0", "tokens": ["Gout", "hurts", "."], "ner_tags": ["B-Disease", "O", "O"]}
Source: https://huggingface.co/docs/datasets
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dataset_scripts.formats.conll import UNTYPED
from dataset_scripts.formats.files import OffsetText
from dataset_scripts.formats.json_records import Record, check_text, check_type, get_document_id
from dataset_scripts.schema import DETECT, CorpusError, Mention, RawDocument, ReadOptions, Span


logger = logging.getLogger(__name__)

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
        mention_type = "" if prefix == "O" else check_type(match[2], where) or UNTYPED
        if prefix in "IE" and mention_type == open_type:
            mentions[-1] = replace(mentions[-1], spans=((mentions[-1].spans[0][0], end),))
        elif prefix != "O":
            if prefix in "IE" and strays is not None:
                strays.append(where)
            mentions.append(Mention(((start, end),), mention_type, where=where))
        open_type = "" if prefix in "OES" else mention_type
    return mentions


def is_tagged_record(record: Record, options: ReadOptions = DETECT) -> bool:
    """Whether a record has a list of tokens, and no spans."""
    tokens = record.fields.get(_find_column(record, options.token_column, TOKEN_COLUMNS))
    tags = _find_column(record, options.tag_column, TAG_COLUMNS)
    return isinstance(tokens, list) and isinstance(tokens[0] if tokens else "", str) and tags is not None


def read_tagged(records: Iterable[Record], options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read tokens and tags; a warning counts mentions that begin with an inner tag."""
    strays: list[str] = []
    for record in records:
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
        document_id = get_document_id(record, fields)
        tokens = [check_text(token, where) for token in tokens]
        yield build_tagged_document(document_id, tokens, tags, where, strays)
    if strays:
        logger.warning("%s: a mention begins with I-, E- or L- instead of B-, S- or U-; such mentions (%d) are read "
                       "as in IOB1", strays[0], len(strays))  # fmt: skip


def _find_column(record: Record, chosen: str | None, known: Sequence[str]) -> str | None:
    return chosen or next((column for column in known if column in record.fields), None)
