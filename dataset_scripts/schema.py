"""What every corpus becomes: documents of text with typed character spans, and a ledger of what was read and lost.

A reader of `formats` yields `RawDocument`s, which say what the file says. `documents.py` turns them into `Document`s:
offsets checked, types harmonised, duplicates merged. Every mention is either kept or counted in the `Ledger` with the
reason it was dropped.
"""

from __future__ import annotations

import functools
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple


# Causes of loss, in the order in which a mention can meet them. All but the last three are found while reading, and
# such mentions are no gold. The last three concern BIO labels only: the mention stays gold, and the model misses it.
DUPLICATE_DOCUMENT = "duplicate document"
NO_TYPE = "no type"
OUTSIDE_TEXT = "outside the text"
EMPTY_SPAN = "empty span"
COORDINATION = "coordination"
OTHER_TYPE = "other type"
DISCONTINUOUS = "discontinuous"
DUPLICATE_MENTION = "duplicate mention"
NESTED = "nested"
CROSSING = "crossing"
NOT_ALIGNABLE = "not alignable"

Span = tuple[int, int]  # half-open character offsets
TypeMap = Callable[[str], str | None]  # a file's type name -> its harmonised name, None for a type to drop
LINE_BREAKERS = str.maketrans("\t\n\r", "   ")  # no line format can hold these; a space for each keeps the offsets


class CorpusError(ValueError):
    """A corpus file or argument that can't be used; the message names the file and line, the value and the remedy."""

    def __init__(self, message: str) -> None:
        whole = len(message) <= 900  # a damaged file may hold an id of any length
        super().__init__(message if whole else f"{message[:600]} ... {message[-290:]}")


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file that several readings fit; None detects, or refuses what can't be known."""

    tag_column: str | None = None  # CoNLL: its number from 1, -1 for the last; tables and data sets: its name
    token_column: str | None = None  # the same, of the tokens
    tag_scheme: str | None = None  # of `formats.tags.SCHEMES`
    strict: bool = False  # refuse a file with mentions that can't be read, instead of counting them as lost
    allow_losses: bool = False  # accept a corpus that loses more than half of its mentions


DETECT = ReadOptions()


@dataclass(frozen=True)
class Mention:
    """A mention as a file states it."""

    spans: tuple[Span, ...]  # into the document's text; more than one if discontinuous
    type: str  # the corpus' own name; "" if the file names none
    text: str | None = None  # as the file repeats it; None if the format doesn't
    where: str = ""  # `file:line`, for messages
    lost: str = ""  # a cause of loss that the reader itself establishes (such as `COORDINATION`)
    score: float | None = None  # probability of a prediction; None for gold
    task: str = ""  # that predicted it; "" for gold
    infons: Mapping[str, Any] | None = field(default=None, compare=False)  # what else is stated: {"identifier": ...}

    def cut(self, text: str) -> str:
        """Return the document's text at the spans, joined by spaces."""
        return " ".join(text[start:end] for start, end in self.spans)

    def lies_inside(self, text: str) -> bool:
        """Whether there are spans, and each lies in the text and has a length."""
        return bool(self.spans) and all(0 <= start < end <= len(text) for start, end in self.spans)

    def fits(self, text: str) -> bool:
        """Whether the document's text at the spans is the stated one, but for line breaks and tabs shown as spaces."""
        return self.cut(text).translate(LINE_BREAKERS) == (self.text or "").translate(LINE_BREAKERS)

    def restore_line_breaks(self, text: str) -> Mention:
        """Take line breaks and tabs from the document's text, so that they count as no difference."""
        cut = self.cut(text)
        return replace(self, text=cut) if cut != self.text and self.fits(text) else self


class Passage(NamedTuple):
    """A part of a document, such as its title."""

    start: int
    end: int  # exclusive
    infons: Mapping[str, Any]  # what a file states of it, as BioC names it: {"type": "title"}


@dataclass
class RawDocument:
    """A document as a file states it; offsets count characters (code points)."""

    document_id: str
    text: str
    mentions: list[Mention] = field(default_factory=list)  # all that the file states, in its order
    alternatives: list[Mention] = field(default_factory=list)  # other acceptable spans (BC2GM), not counted
    group: str = ""  # documents of one group stay together in cuts; "" means the document alone
    where: str = ""  # `file:line` of its beginning, for messages
    passages: list[Passage] = field(default_factory=list)  # ascending, if known


@dataclass(frozen=True, order=True, slots=True)
class Entity:
    """A typed span, gold or predicted. Two are equal when start, end and type are."""

    start: int
    end: int  # exclusive
    type: str  # harmonised name
    native_type: str = field(default="", compare=False)  # the corpus' own name; "" for predictions
    score: float | None = field(default=None, compare=False)  # probability of a prediction; None for gold
    task: str = field(default="", compare=False)  # that predicted it; "" for gold

    def get_prediction_fields(self) -> dict[str, float | str]:
        """Return `score` and `task` of a prediction, as far as it has them."""
        score = {} if self.score is None else {"score": float(self.score)}
        return score | ({"task": self.task} if self.task else {})


@dataclass(slots=True)
class Document:
    """A text and its distinct mentions, sorted; nested and crossing ones are among them (they are gold)."""

    document_id: str
    text: str
    entities: list[Entity] = field(default_factory=list)
    alternatives: Sequence[Entity] = ()
    group: str = ""
    loss: Ledger | None = field(default=None, repr=False, compare=False)  # what reading lost of its mentions
    passages: Sequence[Passage] = field(default=(), compare=False)  # for writers of formats that have them
    input_mentions: Sequence[Mention] = field(default=(), compare=False)  # to be written beside predicted entities
    word_offsets: dict | None = field(default=None, init=False, repr=False, compare=False)  # see `bio.find_words`

    def count_read(self) -> int:
        """Return the number of mentions that the file states."""
        return len(self.entities) + (self.loss.read if self.loss else 0)


@dataclass
class Ledger:
    """Where every mention of a split went: `read == kept + sum(dropped.values())` always holds."""

    documents: int = 0  # distinct ones
    read: int = 0  # mentions that the files state
    dropped: Counter[str] = field(default_factory=Counter)  # mentions by cause of loss
    types: Counter[str] = field(default_factory=Counter)  # mentions read by harmonised type, if they have one

    @property
    def kept(self) -> int:
        """Mentions that reached BIO labels."""
        return self.read - sum(self.dropped.values())

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(*(getattr(self, count.name) + getattr(other, count.name) for count in fields(Ledger)))

    def add_lost(self, cause: str, type_name: str = "") -> None:
        """Count a mention that is read and lost."""
        self.read += 1
        self.dropped[cause] += 1
        if type_name:
            self.types[type_name] += 1

    def add_document(self, document: Document) -> None:
        """Count a document and what reading lost of it."""
        self.documents += 1
        self.read += document.count_read()
        self.types.update([entity.type for entity in document.entities])
        if document.loss:
            self.dropped.update(document.loss.dropped)
            self.types.update(document.loss.types)

    def as_dict(self) -> dict[str, object]:
        """Return the form of `stats --json` and `ledger.json`."""
        counts = {"documents": self.documents, "read": self.read, "kept": self.kept}
        return {**counts, "dropped": dict(sorted(self.dropped.items())), "types": dict(sorted(self.types.items()))}


def trim_span(text: str, start: int, end: int) -> Span:
    """Return the range without white space, control and format characters (zero-width space) at its edges."""
    if start >= end or not (_is_invisible(text[start]) or _is_invisible(text[end - 1])):  # most mentions
        return start, end
    span = text[start:end]
    kept = span.lstrip(_list_invisible())
    start = end - len(kept)
    return start, start + len(kept.rstrip(_list_invisible()))


def _is_invisible(character: str) -> bool:
    return not character.isalnum() and (character.isspace() or unicodedata.category(character) in ("Cc", "Cf"))


@functools.cache
def _list_invisible() -> str:
    """List all such characters, since `str.strip` is much faster than a look at each."""
    return "".join(filter(_is_invisible, map(chr, range(sys.maxunicode + 1))))


def strip_invisible(text: str) -> str:
    """Strip what `trim_span` does: in the name of a type it would make another type."""
    start, end = trim_span(text, 0, len(text))
    return text[start:end]
