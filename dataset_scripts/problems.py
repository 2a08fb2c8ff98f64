"""Gather what is wrong with the mentions of a file, to one message for each cause."""

import logging
from dataclasses import dataclass, field

from dataset_scripts.formats.files import format_count
from dataset_scripts.offsets import MAX_DOCUMENTS, diagnose
from dataset_scripts.schema import EMPTY_SPAN, NO_TYPE, OUTSIDE_TEXT, CorpusError, Mention, RawDocument


logger = logging.getLogger(__name__)

TRIMMED = "trimmed"
OTHER_TEXT = "other text"

# Causes in the order of their messages: what is wrong with mentions, and what becomes of them.
_DROPPED = {
    OUTSIDE_TEXT: "outside the document's text, dropped",
    EMPTY_SPAN: "without a visible character, dropped",
    NO_TYPE: "without a type, dropped",
}
_KEPT = {
    OTHER_TEXT: "with another text than at the offsets",
    TRIMMED: "with white space or invisible characters at an end, which are left out",
}


@dataclass
class Problem:
    """The mentions of a file that have one problem."""

    example: str  # the first one, with `file:line`
    document: RawDocument  # the last one that was counted
    mentions: int = 0
    documents: int = 0

    def count(self, document: RawDocument) -> None:
        self.documents += not self.mentions or document is not self.document
        self.document = document
        self.mentions += 1


@dataclass
class Problems:
    """What is wrong with the mentions of one file or folder."""

    problems: dict[str, Problem] = field(default_factory=dict)  # by cause
    stated: int = 0  # mentions whose text the file states
    misfits: list[RawDocument] = field(default_factory=list)  # documents that may show how the file counts offsets
    others: list[RawDocument] = field(default_factory=list)  # some of the others, which may contradict

    def add_document(self, raw: RawDocument) -> None:
        """Take note of a document, before its mentions."""
        if len(self.others) < MAX_DOCUMENTS:
            self.others.append(raw)

    def add(self, cause: str, raw: RawDocument, mention: Mention) -> None:
        """Count a mention under a cause that has a message."""
        if cause in _DROPPED or cause in _KEPT:
            if cause not in self.problems:
                self.problems[cause] = Problem(_describe(cause, raw, mention), raw)
            self.problems[cause].count(raw)
        is_new = not self.misfits or self.misfits[-1] is not raw
        if cause in (OTHER_TEXT, OUTSIDE_TEXT) and is_new and len(self.misfits) < MAX_DOCUMENTS:
            self.misfits.append(raw)

    def compare_texts(self, raw: RawDocument, mention: Mention) -> None:
        """Count a mention whose stated text is not the one at its offsets."""
        if mention.text is not None:
            self.stated += 1
            if mention.text != mention.cut(raw.text):
                self.add(OTHER_TEXT, raw, mention)

    def report(self, name: str, strict: bool = False, allow_losses: bool = False) -> None:
        """Log one line for each cause.

        Raises:
            CorpusError: with `strict`, for the first cause that drops mentions; without `allow_losses`, if most
                mentions state another text than stands at their offsets.
        """
        causes = (OTHER_TEXT, OUTSIDE_TEXT)
        misfits = sum(self.problems[cause].mentions for cause in causes if cause in self.problems)
        sample = {id(raw): raw for raw in (*self.others, *self.misfits)}.values()
        diagnosis = diagnose(sample) if misfits > 1 else None  # a single slip tells nothing
        remedy = f"{diagnosis}: {diagnosis.describe_remedy(name)}" if diagnosis else ""
        for cause, what in (_DROPPED | _KEPT).items():
            if problem := self.problems.get(cause):
                mentions = format_count(problem.mentions, "mention")
                documents = format_count(problem.documents, "document")
                line = f"{name}: {mentions} in {documents} {what}; the first is {problem.example}"
                if strict and cause in _DROPPED:
                    raise CorpusError(f"{line}; {remedy or 'correct the file'}, or read it without --strict")
                if cause == OTHER_TEXT and problem.mentions > self.stated / 2 and not allow_losses:
                    raise CorpusError(f"{line}; {remedy or 'correct the offsets'}, or trust them with --allow_losses")
                logger.warning("%s%s", line, "; the offsets are trusted" if cause == OTHER_TEXT else "")
        if diagnosis:
            logger.warning("%s: %s", name, remedy)


def _describe(cause: str, raw: RawDocument, mention: Mention) -> str:
    offsets = " ".join(f"{start}-{end}" for start, end in mention.spans) or "without offsets"
    place = f"{mention.type[:60] or '?'} {offsets[:60]} of document {raw.document_id[:60]} ({mention.where})"
    if cause == OUTSIDE_TEXT:
        return f"{place}, whose text has {len(raw.text)} characters"
    if cause == OTHER_TEXT:
        return f"{place}, {mention.cut(raw.text)[:80]!r} in the text and {(mention.text or '')[:80]!r} in the mention"
    return place
