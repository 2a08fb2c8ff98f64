"""JSON records, one a line or in a list, and what the JSON formats of annotation tools share.

    {"text": "Gout.", "spans": [...]}           one a line (JSONL), or one object over several lines
    [{"text": "Gout.", "spans": [...]}, ...]    a list, read element by element

Both may stand in `.json` and `.jsonl` files.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dataset_scripts.formats.files import (
    BOM,
    NOT_IN_NAMES,
    SURROGATES,
    FilePath,
    get_stem,
    read_lines,
    read_text,
    write_text,
)
from dataset_scripts.schema import CorpusError, Mention, strip_invisible


class Record(NamedTuple):
    """A record of a JSON file."""

    value: Any
    where: str  # `file:line` of its beginning
    default_id: str  # `<file stem>-<n>`, from 1

    @property
    def fields(self) -> dict[str, Any]:
        """The keys and values of an object; none of anything else."""
        return self.value if isinstance(self.value, dict) else {}


Keys = tuple[str | int, str | int, str | int]  # of start, end and type in an object, or their places in a list

_SPACE = re.compile(r"[ \t\n\r]*")
_FIRST = re.compile(r'[ \t]*(?:\{|\[[ \t]*")')  # a line that begins with an object, or with a list that begins so
_ID_KEYS = ("document_id", "doc_id", "id")


def read_json_records(path: FilePath) -> Iterator[Record]:
    """Read JSONL line by line, a list element by element; a key that appears twice in an object is an error."""
    stem = get_stem(path)
    for number, (where, value) in enumerate(_read_values(path), 1):
        yield Record(value, where, f"{stem}-{number}")


def _build_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a key that appears twice: JSON would keep the last value only."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return record


DECODER = json.JSONDecoder(object_pairs_hook=_build_object)


def _read_values(path: FilePath) -> Iterator[tuple[str, Any]]:
    lines = read_lines(path, skip_blank=True)
    where, first = next(lines, ("", ""))
    if not _FIRST.match(first):
        yield from _read_stream(path)
        return
    try:
        value = DECODER.decode(first)
    except (ValueError, RecursionError):  # an object over several lines, or a mistake that `_read_stream` names
        yield from _read_stream(path)
        return
    yield where, value
    for where, line in lines:
        try:
            yield where, DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{where}: invalid JSON ({error}); expected one object a line") from None


def _read_stream(path: FilePath) -> Iterator[tuple[str, Any]]:
    """Yield the elements of a list, or values one after the other, that lines don't part."""
    text, name, line, counted = read_text(path).removeprefix(BOM), os.fspath(path), 1, 0
    at = _SPACE.match(text).end()
    in_list = text.startswith("[", at)
    at = _SPACE.match(text, at + in_list).end()
    while at < len(text) and not (in_list and text[at] == "]"):
        line, counted = line + text.count("\n", counted, at), at
        try:
            value, at = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", line)
            raise CorpusError(f"{name}:{line}: invalid JSON ({error}); correct it or export it again") from None
        yield f"{name}:{line}", value
        at = _SPACE.match(text, at).end()
        if in_list and text.startswith(",", at):
            at = _SPACE.match(text, at + 1).end()
        elif in_list and not text.startswith("]", at):
            line += text.count("\n", counted, at)
            raise CorpusError(f"{name}:{line}: expected , or ] behind an element of the list; is the file complete?")
    if in_list and (at == len(text) or _SPACE.match(text, at + 1).end() < len(text)):
        problem = (
            "the list has no end; is the file complete?" if at == len(text) else "text behind the list; remove it"
        )
        raise CorpusError(f"{name}:{text.count(chr(10)) + 1}: {problem}")


def get_document_id(record: Record, holder: dict[str, Any]) -> str:
    """Return the id that an object states, at the top or in its `meta`, else the default one."""
    meta = holder.get("meta")
    holders = [holder, meta if isinstance(meta, dict) else {}]
    stated = (inner[key] for key in _ID_KEYS for inner in holders if inner.get(key) is not None)
    document_id = next(stated, record.default_id)
    if type(document_id) is int:
        document_id = str(document_id)  # PMIDs are often written as numbers
    if not isinstance(document_id, str) or not document_id or NOT_IN_NAMES.search(document_id):
        raise CorpusError(
            f"{record.where}: document_id {document_id!r}; expected a string without tabs, line breaks and the like"
        )
    return document_id


def check_text(text: object, where: str) -> str:
    """Return a text; raise CorpusError if it is none, or no one that UTF-8 can hold."""
    if not isinstance(text, str) or re.search(f"[{SURROGATES}]", text):
        raise CorpusError(f"{where}: text is {str(text)[:60]!r}; expected a string without lone surrogates")
    return text


def check_list(value: object, name: str, where: str) -> list[Any]:
    """Return a list, empty for None; raise CorpusError for anything else."""
    if not isinstance(value, list | None):
        raise CorpusError(f"{where}: {name} is {str(value)[:60]!r}; expected a list, or none")
    return value or []


def read_mentions(items: object, name: str, keys: Keys, where: str) -> list[Mention]:
    """Read a list of mentions, each an object or a list."""
    return [_read_mention(item, keys, where) for item in check_list(items, name, where)]


def _read_mention(item: Any, keys: Keys, where: str) -> Mention:
    try:
        start, end = item[keys[0]], item[keys[1]]
        label = item.get(keys[2]) if isinstance(item, dict) else item[keys[2]]
        text = item.get("text") if isinstance(item, dict) else None
    except (KeyError, IndexError, TypeError):
        start = end = label = text = None
    if type(start) is not int or type(end) is not int or not isinstance(text, str | None):  # bool is no offset
        expected = "start, end and type in this order" if keys == (0, 1, 2) else ", ".join(map(str, keys))
        raise CorpusError(f"{where}: mention {item!r:.100}; expected {expected}, with whole numbers as offsets")
    return Mention(((start, end),), check_type(label, where), text, where)


def check_type(label: object, where: str) -> str:
    """Return the name of a type without invisible edges, "" for None; raise CorpusError for what is no name."""
    if not isinstance(label, str | None) or NOT_IN_NAMES.search(label or ""):
        raise CorpusError(f"{where}: the type {label!r:.60}; expected a string without tabs, line breaks and the like")
    return strip_invisible(label or "")


def starts_with(items: object, *kinds: type) -> bool:
    """Whether the first element of a list is of one of the given kinds."""
    return isinstance(items, list) and bool(items) and isinstance(items[0], kinds)


def is_triples(items: object) -> bool:
    """Whether a list holds mentions as `[start, end, type]`."""
    return starts_with(items, list) and len(items[0]) >= 3 and type(items[0][0]) is type(items[0][1]) is int


def has_keys(items: object, keys: Sequence[str]) -> bool:
    """Whether a list holds objects with all of the given keys."""
    return starts_with(items, dict) and all(key in items[0] for key in keys)


def write_json_lines(records: Iterable[object], path: FilePath) -> None:
    """Write one record a line; gzip if the name ends so."""
    write_text(path, (json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def write_json_list(records: Iterable[object], path: FilePath, before: str = "[", after: str = "]") -> None:
    """Write a list, one record a line; gzip if the name ends so."""
    parts = (f"{',' * bool(n)}\n{json.dumps(record, ensure_ascii=False)}" for n, record in enumerate(records))
    write_text(path, itertools.chain([before], parts, [f"\n{after}\n"]))
