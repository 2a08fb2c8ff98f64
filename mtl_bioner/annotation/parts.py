"""The unit of work: a part of the documents, formed in the order of the inputs.

Where a part begins and ends depends on the inputs and `--part_size` only, so that a run that was killed forms the same
parts again.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dataset_scripts.formats.files import NOT_IN_NAMES, SURROGATES
from dataset_scripts.schema import CorpusError, Passage


PART_SIZE = 200  # documents: some seconds of work, so that workers end together and little is lost by a kill
MOST_CHARACTERS = 4_000_000  # of a part; a longer document is a part of its own
LONGEST_TEXT = 10_000_000  # characters of a document; some twenty books

GIVEN = "input_entities"  # the key of annotations that the input has already

_SURROGATE = re.compile(f"[{SURROGATES}]")


@dataclass(slots=True)
class SourceDocument:
    """A document of the input."""

    document_id: str
    text: str
    where: str  # `file:line` of its beginning
    extra: dict[str, Any] = field(default_factory=dict)  # further keys of the input, and `GIVEN`
    passages: list[Passage] = field(default_factory=list)


class Unreadable(NamedTuple):
    """A document, a file or the rest of a file that can't be read; a line of `errors.jsonl`."""

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


Item = SourceDocument | Unreadable


class Part(NamedTuple):
    """Some documents that are annotated and written together."""

    number: int  # from 0
    documents: list[SourceDocument]
    problems: list[Unreadable]
    position: int  # bytes of the inputs that were read when the part was complete
    is_last: bool = False


class StrictError(ValueError):
    """Something can't be read, and `--strict` was given."""


def make_unreadable(where: str, reason: object) -> Unreadable:
    """Split `file:line` from what a reader says, which may begin with it."""
    message = str(reason)
    name = re.sub(r":\d+$", "", where)
    if stated := re.match(rf"{re.escape(name)}(:\d+)?:? ", message):
        where, message = f"{name}{stated[1] or ''}", message[stated.end() :]
    line = re.search(r":(\d+)$", where)
    return Unreadable(name, int(line[1]) if line else None, message)


def check_documents(items: Iterable[Item], find_fault: Callable[[str], str] = lambda name: "") -> Iterator[Item]:
    """Put an `Unreadable` in the place of a document that can't be annotated or written.

    `find_fault` tells why an output format can't hold a document's id, "" if it can.
    """
    for item in items:
        if isinstance(item, SourceDocument) and (reason := _find_fault(item) or find_fault(item.document_id)):
            item = make_unreadable(item.where, reason)
        yield item


def _find_fault(document: SourceDocument) -> str:
    text, document_id = document.text, document.document_id
    if not document_id or NOT_IN_NAMES.search(document_id):
        return f"document id {document_id[:60]!r}; expected a string without tabs, line breaks and the like"
    if len(text) > LONGEST_TEXT:
        return f"a text of {len(text):,} characters; at most {LONGEST_TEXT:,} are read, so split it"
    if half := _SURROGATE.search(text):
        code = ord(half[0])  # bytes that are not UTF-8 are read as U+DC80 to U+DCFF
        is_byte = 0xDC80 <= code <= 0xDCFF
        return f"byte 0x{code - 0xDC00:02x} is not UTF-8; save the file as UTF-8" if is_byte else (
            f"half of a surrogate pair (U+{code:04X}), which is no character; export the text again"
        )  # fmt: skip
    return ""


def number_ids(items: Iterable[Item]) -> Iterator[Item]:
    """Keep documents of one id apart: the second `7` becomes `7-2`, or what is free behind it."""
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the last number given to a repeated id
    for item in items:
        if isinstance(item, SourceDocument):
            stated = document_id = item.document_id
            while document_id in taken:
                numbers[stated] = numbers.get(stated, 1) + 1
                document_id = f"{stated}-{numbers[stated]}"
            taken.add(document_id)
            item = item if document_id == stated else replace(item, document_id=document_id)
        yield item


def stop_at_problems(items: Iterable[Item]) -> Iterator[Item]:
    """Raise StrictError for the first document or file that can't be read."""
    for item in items:
        if isinstance(item, Unreadable):
            raise StrictError(f"{item}; leave out --strict to go on without it")
        yield item


def form_parts(
    items: Iterable[Item], size: int = PART_SIZE, get_position: Callable[[], int] = lambda: 0
) -> Iterator[Part]:
    """Form parts of `size` items; what can't be read counts too, so that a part is bounded."""
    number, documents, problems, characters = 0, [], [], 0
    for item in items:
        length = len(item.text) if isinstance(item, SourceDocument) else 0
        count = len(documents) + len(problems)
        if count and (count >= size or characters + length > MOST_CHARACTERS):
            yield Part(number, documents, problems, get_position())
            number, documents, problems, characters = number + 1, [], [], 0
        (documents if isinstance(item, SourceDocument) else problems).append(item)
        characters += length
    if documents or problems:
        yield Part(number, documents, problems, get_position(), is_last=True)


def read_to_first_document(parts: Iterator[Part]) -> Iterator[Part]:
    """Read on to the first part with a document, and return all parts; raise CorpusError if none has one."""
    first: list[Part] = []
    for part in parts:
        first.append(part)
        if part.documents:
            return itertools.chain(first, parts)
    problems = [problem for part in first for problem in part.problems]
    if not problems:
        raise CorpusError("the inputs hold no document; is it the right folder?")
    more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
    raise CorpusError(f"no document can be read: {problems[0]}{more}")
