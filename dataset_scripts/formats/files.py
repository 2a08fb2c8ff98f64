"""Open, decode and replace the files of a format."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from dataset_scripts.schema import CorpusError, Entity, Mention, trim_span


FilePath = str | os.PathLike[str]


# A line format can't hold these in a text; writers put one space for each, so that offsets stay.
_LINE_BREAKERS = str.maketrans("\t\n\r", "   ")


_BLANK = " \t"  # never str.strip() or str.split() without argument: U+00A0, \x85 and others may stand in a text


_BOM = "\ufeff"


# Files beside those of a corpus.
NO_DATA = re.compile(r"(readme|licen[cs]es?|notices?|citations?|changelog)(\..*)?", re.IGNORECASE)
_INTEGER = re.compile(r"[0-9]{1,15}")


@contextmanager
def _opened(path: FilePath) -> Iterator[BinaryIO]:
    """The bytes of a plain or gzip file; the system's errors come out as CorpusErrors."""
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, OSError) as error:
        raise CorpusError(f"{path}: can't be read ({error}); if it is gzip, copy or download it again") from error


def _lines(path: FilePath) -> Iterator[tuple[str, str]]:
    """Each line as (`file:line`, text), split at LF only: U+2028, \\x0b, \\x85 are ordinary characters of a text."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(_BOM.encode())
            yield f"{path}:{number}", _decoded(line.removesuffix(b"\n").removesuffix(b"\r"), path, number)


def _decoded(data: bytes, path: FilePath, first_line: int = 1) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise CorpusError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _columns(line: str) -> list[str]:
    return re.split(f"[{_BLANK}]+", line.strip(_BLANK))


def _stripped(name: str) -> str:
    """The name of a type without what can't be seen around it, which would make it another type."""
    start, end = trim_span(name, 0, len(name))
    return name[start:end]


def _at(text: str, spans: Iterable[tuple[int, int]]) -> str:
    return " ".join(text[start:end] for start, end in spans)


def _agrees(text: str, mention: Mention) -> bool:
    """Whether the offsets hold the text that the file states, but for line breaks and tabs it can't repeat."""
    return _at(text, mention.spans).translate(_LINE_BREAKERS) == (mention.text or "").translate(_LINE_BREAKERS)


def _as_found(text: str, mention: Mention) -> Mention:
    """The mention with its text as the document has it, so that a line break shown as a space is no difference."""
    return replace(mention, text=_at(text, mention.spans)) if _agrees(text, mention) else mention


class _Text:
    """A text put together from parts whose offsets matter."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0

    def __str__(self) -> str:
        return "".join(self.parts)

    def add(self, part: str) -> tuple[int, int]:
        """Append; returns the part's half-open range."""
        start = self.length
        self.parts.append(part)
        self.length += len(part)
        return start, self.length


def _score_and_task(entity: Entity) -> dict[str, float | str]:
    """What a prediction has besides, as far as it has it."""
    score = {} if entity.score is None else {"score": float(entity.score)}
    return score | ({"task": entity.task} if entity.task else {})


@contextmanager
def write_then_rename(path: FilePath) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write a file or folder to; rename it at the end, delete it after an error.

    So a reader never sees half a file, and a killed process leaves none. A folder may replace an empty one only.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # not the name another process would choose
    try:
        yield temporary
        if temporary.is_dir() and target.exists():
            target.rmdir()  # os.replace takes no existing folder on Windows
        os.replace(temporary, target)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def _write(path: FilePath, parts: Iterable[str]) -> None:
    """Write the parts of a text file, gzipped if its name ends in `.gz`, as `write_then_rename` does."""
    with write_then_rename(path) as temporary, temporary.open("wb") as file:
        if os.fspath(path).endswith(".gz"):  # without name and time, so that the same documents give the same bytes
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed, io.BufferedWriter(packed) as buffered:
                buffered.writelines(part.encode() for part in parts)
        else:
            file.writelines(part.encode() for part in parts)
