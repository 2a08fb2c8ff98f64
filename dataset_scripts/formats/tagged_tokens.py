"""Build a document of tokens and their tags, as JSON lists and tables hold them."""

import re
from collections.abc import Sequence
from dataclasses import replace

from dataset_scripts.formats.conll import UNTYPED
from dataset_scripts.formats.files import OffsetText
from dataset_scripts.schema import CorpusError, Mention, RawDocument, strip_invisible


_TAG = re.compile(r"O|([BIES])(?:-(.+))?", re.DOTALL)


def build_tagged_document(document_id: str, tokens: Sequence[str], tags: Sequence[str], where: str) -> RawDocument:
    """Join tokens by spaces to a text, and their IOB1, IOB2 or IOBES tags to mentions.

    An `I-` or `E-` tag that continues nothing begins a mention, as in IOB1. Bare tags (`B`, `I`) give `UNTYPED`.
    """
    text, mentions, open_type = OffsetText(), [], ""  # the type of the mention that the next token may continue
    for token, tag in zip(tokens, tags, strict=True):
        start, end = text.add(token, " ")
        match = _TAG.fullmatch(tag)
        if match is None:
            raise CorpusError(f"{where}: tag {tag[:60]!r}; expected O, B-TYPE, I-TYPE (IOBES: also E-TYPE, S-TYPE)")
        prefix, mention_type = match[1], strip_invisible(match[2] or "") or UNTYPED
        if prefix and prefix in "IE" and mention_type == open_type:
            mentions[-1] = replace(mentions[-1], spans=((mentions[-1].spans[0][0], end),))
        elif prefix:
            mentions.append(Mention(((start, end),), mention_type, where=where))
        open_type = mention_type if prefix and prefix in "BI" else ""
    return RawDocument(document_id, text.getvalue(), mentions, where=where)
