"""Find out how a file counts the offsets of its mentions, where their texts don't stand at them.

    if diagnosis := diagnose(read_any("mine.pubtator")):
        print(diagnosis)  # of 50 mentions in 14 documents, 2 fit as written, 48 if the offsets count UTF-16 units ...

A hypothesis reads the offsets of a document's mentions in its own way. The same reading counts how many mentions fit,
and corrects them, so what is told is what `fix-offsets` does. Nothing here changes what a reader reads.
"""

import html
import itertools
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from dataset_scripts.formats.files import format_count
from dataset_scripts.schema import LINE_BREAKERS, Mention, RawDocument, Span


MAX_DOCUMENTS = 200  # with misfits, and as many without; more would not change the diagnosis
_MAX_CHARACTERS = 1_000_000  # of the documents of each kind
_MAX_MENTIONS = 500  # of a document
_REACH = 1000  # characters within which a shifted mention is looked for
_MAX_LINES = 100  # of a document, each of which may be a passage that offsets count from

Spans = tuple[Span, ...]


class Hypothesis(Protocol):
    """A way in which a file may count offsets."""

    name: str  # as `--as` takes it
    claim: str  # completes "the mentions fit if ..."

    def read(self, raw: RawDocument) -> list[Spans | None]:
        """Return the spans in our count of each mention, None where the hypothesis has no place for it."""


@dataclass(frozen=True)
class Counting:
    """One count over the whole text, in which some parts are longer or shorter than their characters."""

    name: str
    claim: str
    unit: str = "(?!)"  # pattern of the parts of a text that the file doesn't count one a character
    measure: Callable[[str], int] = len  # the length of such a part in the file's count
    first: int = 0  # offset of the first character
    inclusive: bool = False  # an end is the offset of the last character

    def read(self, raw: RawDocument) -> list[Spans | None]:
        """Read the offsets as counted from the text's beginning or, if that doesn't fit, from a BioC passage's."""
        positions = [_Positions(self, raw.text, self.unit)]
        if "\n " in raw.text:  # the BioC reader pads the text where the offset of a passage counts more than it does
            positions.append(_Positions(self, raw.text, rf"\n +|{self.unit}"))
        return [_choose(raw, m, [place.convert(m.spans) for place in positions]) for m in raw.mentions]


class _Positions:
    """The places where the file's count and ours part; from each to the next, both count one a character."""

    def __init__(self, counting: Counting, text: str, unit: str) -> None:
        self.counting = counting
        self.theirs, self.ours = [0], [0]  # alternating: behind a unit, and before the next one
        for match in re.finditer(unit, text):
            start = self.theirs[-1] + match.start() - self.ours[-1]
            is_padding = match[0].startswith("\n ")  # a passage begins behind it, where both counts agree
            end = max(start, match.end()) if is_padding else start + counting.measure(match[0])
            self.theirs += [start, end]
            self.ours += [match.start(), match.end()]

    def convert(self, spans: Spans) -> Spans | None:
        """Return our spans, None if an offset lies before the text or inside a unit."""
        first, last = self.counting.first, self.counting.inclusive
        places = [(self.find(s - first, False), self.find(e - first + last, True)) for s, e in spans]
        return tuple(places) if all(None not in place for place in places) else None

    def find(self, offset: int, is_end: bool) -> int | None:
        """Convert an offset. One beside a unit that doesn't count is behind it as a start, before it as an end."""
        if offset < 0:
            return None
        index = bisect_left(self.theirs, offset) if is_end else bisect_right(self.theirs, offset) - 1
        if index == len(self.theirs) or self.theirs[index] > offset:
            index -= 1
        beyond = offset - self.theirs[index]
        return None if beyond and index % 2 else self.ours[index] + beyond


class Passages:
    """Offsets count from the passage, such as the abstract, not from the document: each line may be one."""

    name, claim = "passage", "the offsets count from the beginning of the passage"

    def read(self, raw: RawDocument) -> list[Spans | None]:
        """Read each mention in the first line where its text stands, for which its place as written comes first."""
        lines = itertools.islice(re.finditer("\n *", raw.text), _MAX_LINES)
        starts = [0, *(line.end() for line in lines)]
        return [_choose(raw, m, (_move(m.spans, start) for start in starts)) for m in raw.mentions]


@dataclass
class Shift:
    """All mentions of a document stand at one distance from their offsets; documents may differ in it."""

    name = "shift"
    known: Counter[int] = field(default_factory=Counter)  # how many documents could have this shift

    @property
    def claim(self) -> str:
        """Name the most frequent shifts."""
        shifts = [f"{shift:+d} in {count}" for shift, count in self.known.most_common() if shift]
        shown = ", ".join(shifts[:3] + ["..."] * (len(shifts) > 3))
        return f"all offsets of a document are shifted ({shown})"

    @classmethod
    def learn(cls, raws: Iterable[RawDocument]) -> "Shift":
        """Count the shifts of some documents."""
        shift = cls()
        raws = list(raws)
        shift.known.update(itertools.chain(*(_list_shifts(raw)[0] for raw in raws)))
        shift.known = Counter(found for raw in raws if (found := shift.find(raw)) is not None)
        return shift

    def find(self, raw: RawDocument) -> int | None:
        """Return the shift at which most of a document's mentions fit, None if that can't be told.

        Two mentions of different texts or three of one text tell it, if no other shift fits as many. Else it must be
        among the shifts of three documents.
        """
        shifts, mentions = _list_shifts(raw)
        if 0 in shifts:
            return 0
        texts = {mention.text for mention in mentions}
        if len(shifts) == 1 and (len(texts) > 1 or len(mentions) > 2):
            return shifts[0]
        (best, count), *others = Counter({shift: self.known[shift] for shift in shifts}).most_common(2) or [(0, 0)]
        return best if count > 2 and all(other < count for _, other in others) else None

    def read(self, raw: RawDocument) -> list[Spans | None]:
        """Move all mentions by the document's shift."""
        shift = self.find(raw)
        return [None if shift is None else _move(mention.spans, shift) for mention in raw.mentions]


def _list_shifts(raw: RawDocument) -> tuple[list[int], list[Mention]]:
    """Return the shifts at which the most mentions fit, if more than half do, and the mentions that fit at the first.

    Only mentions of one part tell a shift: the text of several parts doesn't stand in the document as such.
    """
    stated = {mention.spans: mention for mention in raw.mentions if mention.text and len(mention.spans) == 1}
    votes: Counter[int] = Counter()
    for ((start, _),), mention in stated.items():
        nearby = raw.text[max(0, start - _REACH) : max(0, start + _REACH) + len(mention.text)]
        origin = max(0, start - _REACH) - start
        votes.update(match.start() + origin for match in re.finditer(f"(?={re.escape(mention.text)})", nearby))
    most = max(votes.values(), default=0)
    if most <= len(stated) / 2:
        return [], []
    best = [shift for shift, count in votes.items() if count == most]
    return best, [mention for mention in stated.values() if _stands(raw.text, _move(mention.spans, best[0]), mention)]


def _move(spans: Spans, shift: int) -> Spans:
    return tuple((start + shift, end + shift) for start, end in spans)


def _choose(raw: RawDocument, mention: Mention, candidates: Iterable[Spans | None]) -> Spans | None:
    """Return the first spans at which the mention's text stands, or else the first ones."""
    tried = []
    for spans in candidates:
        if spans and mention.text and _stands(raw.text, spans, mention):
            return spans
        tried.append(spans)
    return tried[0]


def _stands(text: str, spans: Spans, mention: Mention) -> bool:
    """Whether the mention's text stands at the spans, but for line breaks and escapes: the places are told by it."""
    if not _is_inside(text, spans):
        return False
    cut, stated = " ".join(text[start:end] for start, end in spans), mention.text or ""
    return cut == stated or _fold(cut) == _fold(stated)


def _is_inside(text: str, spans: Spans) -> bool:
    return all(0 <= start < end <= len(text) for start, end in spans)


def _fold(text: str) -> str:
    """Show line breaks as spaces and replace `&amp;` and the like, if complete: `&lt` at the end lacks an offset."""
    plain = re.sub(_REFERENCE, lambda reference: html.unescape(reference[0]), text) if "&" in text else text
    return plain.translate(LINE_BREAKERS)


_ESCAPED = {"&": 5, "<": 4, ">": 4, '"': 6, "'": 6}  # &amp; &lt; &gt; &quot; &#x27;
_REFERENCE = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
_UNITS = (
    Counting("utf-16", "the offsets count UTF-16 units", "[\U00010000-\U0010ffff]", lambda _: 2),
    Counting("bytes", "the offsets count UTF-8 bytes", r"[^\x00-\x7f]", lambda c: len(c.encode("utf-8", "replace"))),
    Counting("escaped", "the offsets count & < > escaped, as in &amp;", "[&<>]", _ESCAPED.__getitem__),
    Counting("escaped-quotes", "the offsets count & < > and quotes escaped", "[&<>\"']", _ESCAPED.__getitem__),
    Counting("unescaped", "the offsets count &amp; and the like as one", _REFERENCE, lambda u: len(html.unescape(u))),
    Counting("crlf", "the offsets count a line break as two characters", "\r?\n", lambda _: 2),
    Counting("lf", "the offsets count a line break of two characters as one", "\r\n", lambda _: 1),
    Counting("no-breaks", "the offsets leave out line breaks", "[\r\n]", lambda _: 0),
    Counting("no-spaces", "the offsets leave out spaces", " ", lambda _: 0),
    Counting("no-white-space", "the offsets leave out white space", r"\s", lambda _: 0),
)


def _close(counting: Counting) -> Counting:
    """Return the same counting with inclusive ends."""
    claim = f"{counting.claim} and ends are inclusive"
    return replace(counting, name=f"{counting.name}-inclusive", claim=claim, inclusive=True)


# The simplest first: of hypotheses that fit equally, the first is taken.
_FIXED: tuple[Hypothesis, ...] = (
    Counting("inclusive", "ends are inclusive", inclusive=True),
    *_UNITS,
    Counting("from-1-inclusive", "the offsets count from 1 and ends are inclusive", first=1, inclusive=True),
    *map(_close, _UNITS),
    Passages(),
)
NAMES = (*(hypothesis.name for hypothesis in _FIXED), Shift.name)


@dataclass(frozen=True)
class Diagnosis:
    """The hypothesis that makes a file's mentions fit, with the evidence from the documents that have misfits."""

    hypothesis: Hypothesis
    documents: int  # with misfits; a sample of at most `MAX_DOCUMENTS`
    mentions: int  # in them, that state their text
    fit_as_written: int
    fit: int  # if the hypothesis holds
    documents_fit: int  # in which all mentions then fit

    def __str__(self) -> str:
        if not self.mentions:
            return f"no mention states its text, so it is not checked whether {self.hypothesis.claim}"
        sample = f"{format_count(self.mentions, 'mention')} in {format_count(self.documents, 'document')}"
        fit = f"{self.fit} if {self.hypothesis.claim} (all in {format_count(self.documents_fit, 'document')})"
        return f"of {sample}, {self.fit_as_written} fit as written, {fit}"

    def describe_remedy(self, path: str) -> str:
        """Name the command that writes a corrected copy."""
        return f"mtl-bioner corpora fix-offsets {path} OUT --as {self.hypothesis.name} writes a corrected copy"

    def correct(self, raw: RawDocument) -> list[Spans]:
        """Return the spans of each mention, corrected where it then fits, else as written.

        A mention that doesn't state its text is read as the others. A document whose mentions all fit stays as it is.
        """
        if count_misfits(raw) == 0 and any(mention.text for mention in raw.mentions):
            return [mention.spans for mention in raw.mentions]
        pairs = zip(raw.mentions, self.hypothesis.read(raw), strict=True)
        return [spans if spans and _fits(raw, mention, spans) else mention.spans for mention, spans in pairs]


def _fits(raw: RawDocument, mention: Mention, spans: Spans) -> bool:
    return _stands(raw.text, spans, mention) if mention.text else _is_inside(raw.text, spans)


def count_misfits(raw: RawDocument, spans: Sequence[Spans | None] | None = None) -> int:
    """Count the mentions whose stated text doesn't stand at these spans, by default at those written."""
    places = [mention.spans for mention in raw.mentions] if spans is None else spans
    return sum(not (at and _fits(raw, m, at)) for m, at in zip(raw.mentions, places, strict=True) if m.text)


class OffsetEvidence:
    """A sample of a file's documents: those that tell how it counts, and those that may contradict."""

    def __init__(self) -> None:
        self.with_misfits: list[RawDocument] = []
        self.without: list[RawDocument] = []

    def add(self, raw: RawDocument) -> None:
        """Take note of a document; give all of a file, in any order."""
        raw = replace(raw, mentions=raw.mentions[:_MAX_MENTIONS])
        if misfits := count_misfits(raw):
            raw.mentions = [mention for mention in raw.mentions if _is_telling(raw.text, mention.text)]
            misfits = count_misfits(raw)
        if any(mention.text for mention in raw.mentions):
            sample = self.with_misfits if misfits else self.without
            if len(sample) < MAX_DOCUMENTS and sum(len(other.text) for other in sample) < _MAX_CHARACTERS:
                sample.append(raw)

    def diagnose(self, name: str | None = None) -> Diagnosis | None:
        """Find the hypothesis that makes most misfits fit, None if none does or misfits are too few to tell.

        `name` says which hypothesis to take; it must still fit more mentions than fit as written.
        """
        shift = Shift.learn(self.with_misfits)
        hypotheses = [h for h in (*_FIXED, shift) if name in (None, h.name)] if self.with_misfits else []
        diagnoses = [self._test(hypothesis) for hypothesis in hypotheses]
        best = max(diagnoses, key=self._compute_gain, default=None)  # the first of equal ones
        if best is None or self._compute_gain(best) <= 0:
            return None
        return best if name or self._is_convincing(best) else None

    def _test(self, hypothesis: Hypothesis) -> Diagnosis:
        left = [count_misfits(raw, hypothesis.read(raw)) for raw in self.with_misfits]
        mentions = _count_stated(self.with_misfits)
        written = mentions - sum(map(count_misfits, self.with_misfits))
        return Diagnosis(hypothesis, len(left), mentions, written, mentions - sum(left), left.count(0))

    def _compute_gain(self, diagnosis: Diagnosis) -> int:
        """Return how many mentions more fit, less those of documents without misfits that no longer would."""
        gain = diagnosis.fit - diagnosis.fit_as_written
        others = self.without if gain > 0 else ()
        return gain - sum(count_misfits(raw, diagnosis.hypothesis.read(raw)) for raw in others)

    def _is_convincing(self, diagnosis: Diagnosis) -> bool:
        """Whether most misfits are gone, and they are three or a tenth of all mentions: single slips tell nothing."""
        misfits, gain = diagnosis.mentions - diagnosis.fit_as_written, self._compute_gain(diagnosis)
        return 2 * gain > misfits and (gain > 2 or 10 * misfits >= diagnosis.mentions + _count_stated(self.without))


def _is_telling(text: str, stated: str | None) -> bool:
    """Whether a mention's text is not so frequent that any offset would fit: no more than a fifth of the document."""
    return not stated or (count := text.count(stated)) < 3 or 5 * count * len(stated) <= len(text)


def _count_stated(raws: Iterable[RawDocument]) -> int:
    return sum(bool(mention.text) for raw in raws for mention in raw.mentions)


def diagnose(raws: Iterable[RawDocument], name: str | None = None) -> Diagnosis | None:
    """Find out how a file counts the offsets of its mentions, see `OffsetEvidence`."""
    evidence = OffsetEvidence()
    for raw in raws:
        evidence.add(raw)
    return evidence.diagnose(name)


def assume(name: str) -> Diagnosis | None:
    """Return a hypothesis without evidence, for a file whose mentions state no text; None for a shift."""
    hypothesis = next((one for one in _FIXED if one.name == name), None)
    return hypothesis and Diagnosis(hypothesis, 0, 0, 0, 0, 0)
