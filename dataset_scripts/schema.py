"""What every corpus becomes: documents of text with typed character spans, and a ledger of what was read and lost.

A reader of `formats` yields `RawDocument`s, which say what the file says. `to_documents` turns them into `Document`s:
offsets checked, types harmonised, duplicates dropped. Every mention is either kept or counted in the `Ledger` with the
reason it was dropped.
"""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace


logger = logging.getLogger(__name__)

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
TypeMap = Mapping[str, str]  # a file's type name -> its harmonised name
LINE_BREAKERS = str.maketrans("\t\n\r", "   ")  # no line format can hold these; a space for each keeps the offsets


class CorpusError(ValueError):
    """A corpus file or argument that can't be used; the message names the file and line, the value and the remedy."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file that several readings fit; None detects, or refuses what can't be known."""

    tag_column: str | None = None  # CoNLL: its number from 1, -1 for the last; tables and data sets: its name
    token_column: str | None = None  # the same, of the tokens
    tag_scheme: str | None = None  # of `bio.SCHEMES`


DETECT = ReadOptions()


@dataclass(frozen=True)
class Mention:
    """A mention as a file states it."""

    spans: tuple[Span, ...]  # into the document's text; more than one if discontinuous
    type: str  # the corpus' own name
    text: str | None = None  # as the file repeats it; None if the format doesn't
    where: str = ""  # `file:line`, for messages
    lost: str = ""  # a cause of loss that the reader itself establishes (`COORDINATION`, `NO_TYPE`)
    score: float | None = None  # probability of a prediction; None for gold
    task: str = ""  # that predicted it; "" for gold

    def cut(self, text: str) -> str:
        """Return the document's text at the spans, joined by spaces."""
        return " ".join(text[start:end] for start, end in self.spans)

    def fits(self, text: str) -> bool:
        """Whether the document's text at the spans is the stated one, but for line breaks and tabs shown as spaces."""
        return self.cut(text).translate(LINE_BREAKERS) == (self.text or "").translate(LINE_BREAKERS)

    def restore_line_breaks(self, text: str) -> Mention:
        """Take line breaks and tabs from the document's text, so that they count as no difference."""
        cut = self.cut(text)
        return replace(self, text=cut) if cut != self.text and self.fits(text) else self


@dataclass
class RawDocument:
    """A document as a file states it; offsets count characters (code points)."""

    document_id: str
    text: str
    mentions: list[Mention] = field(default_factory=list)  # all that the file states, in its order
    alternatives: list[Mention] = field(default_factory=list)  # other acceptable spans (BC2GM), not counted
    group: str = ""  # documents of one group stay together in cuts; "" means the document alone
    where: str = ""  # `file:line` of its beginning, for messages


@dataclass(frozen=True, order=True)
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


@dataclass
class Document:
    """A text and its distinct mentions, sorted; nested and crossing ones are among them (they are gold)."""

    document_id: str
    text: str
    entities: list[Entity] = field(default_factory=list)
    alternatives: list[Entity] = field(default_factory=list)
    group: str = ""
    word_offsets: dict = field(default_factory=dict, init=False, repr=False, compare=False)  # see `bio.find_words`


@dataclass
class Ledger:
    """Where every mention of a split went: `read == kept + sum(dropped.values())` always holds."""

    documents: int = 0  # distinct ones
    read: int = 0  # mentions that the files state
    dropped: Counter[str] = field(default_factory=Counter)  # mentions by cause of loss
    types: Counter[str] = field(default_factory=Counter)  # mentions read by harmonised type, if they have one
    trimmed: list[str] = field(default_factory=list, compare=False)  # where mentions lost invisible edges

    @property
    def kept(self) -> int:
        """Mentions that reached BIO labels."""
        return self.read - sum(self.dropped.values())

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(*(getattr(self, count.name) + getattr(other, count.name) for count in fields(Ledger)))

    def as_dict(self) -> dict[str, object]:
        """Return the form of `stats --json` and `ledger.json`."""
        counts = {"documents": self.documents, "read": self.read, "kept": self.kept}
        return {**counts, "dropped": dict(sorted(self.dropped.items())), "types": dict(sorted(self.types.items()))}


def to_documents(raws: Iterable[RawDocument], type_map: TypeMap | None = None) -> tuple[list[Document], Ledger]:
    """Check, harmonise and deduplicate documents; count what is lost.

    White space and invisible characters at the edges of a mention are left out of it: no word begins or ends there.
    `type_map` gives the harmonised name of each own type; types not in it are dropped and counted, and None keeps all
    as named. Offsets outside the text, or a mention without a visible character, raise CorpusError.
    """
    ledger = Ledger()
    documents: dict[str, Document] = {}
    ids: defaultdict[str, dict[str, str]] = defaultdict(dict)  # by stated id: text -> id of its document
    for raw in raws:
        ledger.read += len(raw.mentions)
        known_ids = ids[raw.document_id]
        if raw.text in known_ids:  # the same document again, as PMID 8528200 in NCBI's training file
            repeated = Ledger()
            entities = _to_entities(raw, raw.mentions, type_map, repeated)
            new = set(entities) - set(documents[known_ids[raw.text]].entities)
            lost = f", with {len(new)} mentions that the first lacks; put all into one record" if new else ""
            logger.warning("%s: document %s appears twice; the second is dropped%s", raw.where, raw.document_id, lost)
            ledger.dropped[DUPLICATE_DOCUMENT] += len(raw.mentions)
            ledger.types.update(repeated.types)
            continue
        document_id, number = raw.document_id, max(1, len(known_ids))
        while document_id in documents:  # another text has it
            number += 1
            document_id = f"{raw.document_id}-{number}"
        known_ids[raw.text] = document_id
        entities = _to_entities(raw, raw.mentions, type_map, ledger)
        alternatives = _to_entities(raw, raw.alternatives, type_map, Ledger())
        documents[document_id] = Document(document_id, raw.text, entities, alternatives, raw.group or raw.document_id)
    ledger.documents = len(documents)
    if ledger.trimmed:
        logger.warning("%s: a mention begins or ends with white space or invisible characters, which are left out of "
                       "it (%d such mentions in all)", ledger.trimmed[0], len(ledger.trimmed))  # fmt: skip
    return list(documents.values()), ledger


def _to_entities(raw: RawDocument, mentions: list[Mention], type_map: TypeMap | None, ledger: Ledger) -> list[Entity]:
    """Return the distinct entities of a document, sorted; count in the ledger what is lost."""
    entities: set[Entity] = set()
    for mention in mentions:
        _check_mention(raw, mention)
        spans = _join_touching(raw.text, mention.spans)
        harmonised = mention.type if type_map is None else type_map.get(mention.type)
        ledger.types.update([harmonised] if harmonised else [])
        trimmed = trim_span(raw.text, *spans[0])
        if len(spans) == 1 and trimmed != spans[0]:
            ledger.trimmed.append(mention.where)
        entity = Entity(*trimmed, harmonised or "", mention.type, mention.score, mention.task)
        cause = mention.lost or (not harmonised and OTHER_TYPE) or (len(spans) > 1 and DISCONTINUOUS)
        if cause or entity in entities:
            ledger.dropped[cause or DUPLICATE_MENTION] += 1
        else:
            entities.add(entity)
    return sorted(entities)


def trim_span(text: str, start: int, end: int) -> Span:
    """Return the range without white space and format characters (Unicode's Cf: zero-width space) at its edges."""
    while start < end and _is_invisible(text[start]):
        start += 1
    while start < end and _is_invisible(text[end - 1]):
        end -= 1
    return start, end


def _is_invisible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) == "Cf"


def strip_invisible(text: str) -> str:
    """Strip what `trim_span` does: in the name of a type it would make another type."""
    start, end = trim_span(text, 0, len(text))
    return text[start:end]


def _join_touching(text: str, spans: Sequence[Span]) -> list[Span]:
    """Join parts of a mention with nothing but white space between: brat cuts mentions at line breaks."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        if start >= joined[-1][1] and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _check_mention(raw: RawDocument, mention: Mention) -> None:
    for start, end in mention.spans:
        if not 0 <= start < end <= len(raw.text):
            problem = f"{mention.where}: offsets {start}-{end} of a {mention.type} mention are not inside the text of"
            size = f"{len(raw.text)} characters"
            raise CorpusError(f"{problem} document {raw.document_id} ({size}); correct the offsets or the text")
    text = mention.cut(raw.text)
    if not strip_invisible(text):
        problem = f"{mention.where}: no visible character at {mention.spans}, a {mention.type} mention of document"
        raise CorpusError(f"{problem} {raw.document_id}; correct the offsets or the text")
    if mention.text is not None and text != mention.text:
        message = "%s: document %s has %r at %s, the mention says %r; the offsets are trusted"
        logger.warning(message, mention.where, raw.document_id, text[:80], mention.spans, mention.text[:80])
