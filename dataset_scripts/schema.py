"""What every corpus becomes: documents of text with typed character spans, and a ledger of what was read and lost.

A reader of `formats.py` yields `RawDocument`s, which say what the file says. `to_documents` turns them into
`Document`s: offsets checked, types harmonised, duplicates dropped and counted. Nothing is lost in silence: a mention
that was read is either kept or counted in the `Ledger` under the cause of its loss.
"""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


logger = logging.getLogger(__name__)

# Causes of loss, in the order in which a mention can meet them. The first five are found while reading and such
# mentions are no gold; the last three concern BIO labels only: the mention stays gold, and is a miss for the model.
DUPLICATE_DOCUMENT = "duplicate document"
COORDINATION = "coordination"
OTHER_TYPE = "other type"
DISCONTINUOUS = "discontinuous"
DUPLICATE_MENTION = "duplicate mention"
NESTED = "nested"
CROSSING = "crossing"
NOT_ALIGNABLE = "not alignable"


class CorpusError(ValueError):
    """A corpus file or argument that can't be used; the message names the file and line, the value and the remedy."""


@dataclass(frozen=True)
class Mention:
    """A mention as a file states it.

    Attributes:
        spans: half-open `(start, end)` character offsets into the document's text; more than one if discontinuous.
        type: the corpus' own type name.
        text: the mention's text as the file repeats it, or None if the format doesn't.
        where: `file:line` for messages.
        lost: a cause of loss the reader itself establishes (`COORDINATION`), else "".
    """

    spans: tuple[tuple[int, int], ...]
    type: str
    text: str | None = None
    where: str = ""
    lost: str = ""


@dataclass
class RawDocument:
    """A document as a file states it: what `formats.py` yields.

    Attributes:
        document_id: the corpus' own id.
        text: the whole text; all offsets count its characters (code points).
        mentions: every mention the file states, in its order.
        alternatives: other acceptable spans (BC2GM's ALTGENE), never counted as mentions.
        group: documents of one group stay together when a development split is cut; "" means the document alone.
        where: `file:line` of the document's beginning, for messages.
    """

    document_id: str
    text: str
    mentions: list[Mention] = field(default_factory=list)
    alternatives: list[Mention] = field(default_factory=list)
    group: str = ""
    where: str = ""


@dataclass(frozen=True, order=True)
class Entity:
    """A typed span, gold or predicted. Two are equal when start, end and type are.

    Attributes:
        start, end: half-open character offsets into the document's text.
        type: harmonised type name.
        native_type: the corpus' own type name ("" for predictions).
        score: probability of a prediction, None for gold.
        task: name of the task that predicted it, "" for gold.
    """

    start: int
    end: int
    type: str
    native_type: str = field(default="", compare=False)
    score: float | None = field(default=None, compare=False)
    task: str = field(default="", compare=False)


@dataclass
class Document:
    """A text and its distinct mentions, sorted; nested and crossing ones are among them (they are gold)."""

    document_id: str
    text: str
    entities: list[Entity] = field(default_factory=list)
    alternatives: list[Entity] = field(default_factory=list)
    group: str = ""


@dataclass
class Ledger:
    """Where every mention of a split went: `read == kept + sum(dropped.values())` always holds.

    Attributes:
        documents: distinct documents.
        read: mentions stated by the files.
        dropped: mentions by cause of loss.
        types: mentions read by harmonised type (those of no harmonised type are not in it).
        trimmed: where mentions stand that were kept without what can't be seen at their edges.
    """

    documents: int = 0
    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    trimmed: list[str] = field(default_factory=list, compare=False)

    @property
    def kept(self) -> int:
        """Mentions that reached BIO labels."""
        return self.read - sum(self.dropped.values())

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger(
            self.documents + other.documents,
            self.read + other.read,
            self.dropped + other.dropped,
            self.types + other.types,
            self.trimmed + other.trimmed,
        )

    def as_dict(self) -> dict[str, object]:
        """The form of `stats --json` and `ledger.json`."""
        return {
            "documents": self.documents,
            "read": self.read,
            "kept": self.kept,
            "dropped": dict(sorted(self.dropped.items())),
            "types": dict(sorted(self.types.items())),
        }


def to_documents(
    raw_documents: Iterable[RawDocument], type_map: Mapping[str, str] | None = None
) -> tuple[list[Document], Ledger]:
    """Check, harmonise and deduplicate; count what is lost.

    Args:
        raw_documents: what a reader yields.
        type_map: own type name -> harmonised name; types not in it are dropped and counted. None keeps all as named.

    What can't be seen at the edges of a mention is no part of it: no word of sub-words begins or ends there, so that
    it would be lost.

    Raises:
        CorpusError: offsets outside the text, or a mention without a character that can be seen.
    """
    ledger = Ledger()
    documents: dict[str, Document] = {}
    texts: defaultdict[str, dict[str, str]] = defaultdict(dict)  # by id as stated: text -> id here
    for raw in raw_documents:
        ledger.read += len(raw.mentions)
        there = texts[raw.document_id].get(raw.text)
        if there is not None:  # the same document again, as PMID 8528200 in NCBI's training file
            again = Ledger()
            new = set(_to_entities(raw, raw.mentions, type_map, again)) - set(documents[there].entities)
            lost = f", with {len(new)} mentions that the first doesn't have; put all into one record" if new else ""
            logger.warning("%s: document %s stands twice; the second is dropped%s", raw.where, raw.document_id, lost)
            ledger.dropped[DUPLICATE_DOCUMENT] += len(raw.mentions)
            ledger.types.update(again.types)
            continue
        document_id = texts[raw.document_id][raw.text] = _free_id(raw.document_id, documents, texts)
        entities = _to_entities(raw, raw.mentions, type_map, ledger)
        alternatives = _to_entities(raw, raw.alternatives, type_map, Ledger())
        documents[document_id] = Document(document_id, raw.text, entities, alternatives, raw.group or raw.document_id)
    ledger.documents = len(documents)
    if ledger.trimmed:
        logger.warning("%s: a mention begins or ends with white space, or other characters that can't be seen, which "
                       "is left out of it (so of %d in all)", ledger.trimmed[0], len(ledger.trimmed))  # fmt: skip
    return list(documents.values()), ledger


def _free_id(stated: str, documents: Mapping[str, Document], texts: Mapping[str, Mapping[str, str]]) -> str:
    """The stated id, numbered if another text has it already."""
    document_id, number = stated, max(1, len(texts[stated]))
    while document_id in documents:
        number += 1
        document_id = f"{stated}-{number}"
    return document_id


def _to_entities(
    raw: RawDocument, mentions: Iterable[Mention], type_map: Mapping[str, str] | None, ledger: Ledger
) -> list[Entity]:
    """The distinct entities of one document, sorted; what is lost goes to the ledger."""
    entities: set[Entity] = set()
    for mention in mentions:
        _check_mention(raw, mention)
        spans = _joined(raw.text, mention.spans)
        harmonised = mention.type if type_map is None else type_map.get(mention.type)
        ledger.types.update([harmonised] if harmonised else [])
        seen = trim_span(raw.text, *spans[0])
        if len(spans) == 1 and seen != spans[0]:
            ledger.trimmed.append(mention.where)
        entity = Entity(*seen, harmonised or "", native_type=mention.type)
        if mention.lost:
            ledger.dropped[mention.lost] += 1
        elif not harmonised:
            ledger.dropped[OTHER_TYPE] += 1
        elif len(spans) > 1:
            ledger.dropped[DISCONTINUOUS] += 1
        elif entity in entities:
            ledger.dropped[DUPLICATE_MENTION] += 1
        else:
            entities.add(entity)
    return sorted(entities)


def trim_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The range without white space and format characters (Unicode's Cf, as the zero-width space) at its edges."""

    def unseen(character: str) -> bool:
        return character.isspace() or unicodedata.category(character) == "Cf"

    while start < end and unseen(text[start]):
        start += 1
    while start < end and unseen(text[end - 1]):
        end -= 1
    return start, end


def _joined(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Parts of a mention with nothing but white space between them are one: brat cuts mentions at line breaks."""
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
            raise CorpusError(
                f"{mention.where}: offsets {start}-{end} of a {mention.type} mention are not inside the text of "
                f"document {raw.document_id} ({len(raw.text)} characters); correct the offsets or the text"
            )
    found = " ".join(raw.text[start:end] for start, end in mention.spans)
    start, end = trim_span(found, 0, len(found))
    if start == end:
        raise CorpusError(
            f"{mention.where}: nothing that can be seen at {mention.spans}, a {mention.type} mention of document "
            f"{raw.document_id}; correct the offsets or the text"
        )
    if mention.text is not None and found != mention.text:
        logger.warning(
            "%s: document %s has %r at %s, the mention says %r; the offsets are trusted",
            mention.where, raw.document_id, found[:80], mention.spans, mention.text[:80],
        )  # fmt: skip
