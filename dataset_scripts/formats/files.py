"""Open, decode and replace files, and whatever else several formats share."""

import gzip
import io
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dataset_scripts.schema import CorpusError, Span


FilePath = str | os.PathLike[str]

BLANK = " \t"  # never str.strip() or str.split() without argument: a text may hold U+00A0, \x85 and others
COLUMN = re.compile(f"[^{BLANK}]+")
INTEGER = re.compile(r"[0-9]{1,15}")
OFFSET = re.compile(r"-?[0-9]{1,15}")  # one below 0 is outside the text, which isn't for readers to judge
BOM = "\ufeff"
_BOM = BOM.encode()
_BLOCK = 1 << 18  # bytes
MAX_LINE = 1 << 27  # bytes; a small gzip file can hold a line without an end
_MAX_WHOLE = 1 << 30  # bytes of a file that is read as a whole
_MAX_GAP = 100_000  # between passages; a larger one is a wrong offset, not padding worth its memory
_MAX_PADDING = 10 * _MAX_GAP  # of a document, so that a small file can't ask for gigabytes of spaces
SURROGATES = "\ud800-\udfff"  # halves of a character; JSON can escape them, UTF-8 and tokenizers can't hold them
NOT_IN_NAMES = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029{SURROGATES}]")  # of documents and types
_NOTES, _SETTINGS = "readme|licen[cs]es?|notices?|citations?|changelog", "dataset_infos?|dataset_dict|config|metadata"
NO_DATA = re.compile(rf"({_NOTES})(\..*)?|({_SETTINGS})\.json", re.IGNORECASE)  # beside a corpus


class MemoryFile:
    """A file in memory, which readers and writers of text take in the place of a path; gzip inside is not unpacked."""

    def __init__(self, name: str, content: bytes = b"") -> None:
        self.name, self.content = name, content

    def __fspath__(self) -> str:
        return self.name

    __str__ = __fspath__


_being_read: list[BinaryIO] = []  # the files as they lie on the disk, the latest last


def get_read_position() -> int:
    """Return how many bytes of the latest open file are read, packed if it is gzip: for displays of progress."""
    return _being_read[-1].tell() if _being_read else 0


@contextmanager
def open_file(path: FilePath) -> Iterator[BinaryIO]:
    """Open a plain or gzip file for reading bytes; raise CorpusError for the system's errors."""
    if isinstance(path, MemoryFile):
        yield io.BytesIO(path.content)
        return
    try:
        with open(path, "rb") as file, _note_reading(file):
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, OSError) as error:
        raise CorpusError(f"{path}: can't be read ({error}); if it is gzip, copy or download it again") from error


@contextmanager
def _note_reading(file: BinaryIO) -> Iterator[None]:
    _being_read.append(file)
    try:
        yield
    finally:
        _being_read.remove(file)


def read_text(path: FilePath) -> str:
    """Read a whole file as it is."""
    with open_file(path) as file:
        data = file.read(_MAX_WHOLE + 1)
    if len(data) > _MAX_WHOLE:
        raise CorpusError(f"{path}: more than {_MAX_WHOLE >> 20} MB, which can't be read as a whole; divide the file")
    return _decode(data, path)


def read_lines(path: FilePath, skip_blank: bool = False, keep_ends: bool = False) -> Iterator[tuple[str, str]]:
    """Yield each line as (`file:line`, text). Only LF ends a line: a text may hold U+2028, \\x0b or \\x85."""
    name = os.fspath(path)
    for first, lines in read_blocks(path, keep_ends):
        for number, line in enumerate(lines, first):
            if not skip_blank or line.strip(BLANK):
                yield f"{name}:{number}", line


def too_long(path: FilePath, number: int) -> CorpusError:
    """Return the error of a line that exceeds `MAX_LINE`."""
    problem = f"{path}:{number}: a line of more than {MAX_LINE >> 20} MB"
    return CorpusError(f"{problem}; is it the right file? If so, divide its documents among lines")


def read_blocks(path: FilePath, keep_ends: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of a line, from 1, and some lines from there on, which is faster than one by one."""
    with open_file(path) as file:
        number, rest, waiting = 1, [file.read(len(_BOM)).removeprefix(_BOM)], 0
        while chunk := file.read1(_BLOCK):  # `read` would lose what stands before the place where gzip breaks off
            complete, newline, tail = chunk.rpartition(b"\n")
            if newline:
                for first, lines in _decode_lines(b"".join([*rest, complete]), path, number):
                    yield first, _finish_lines(lines, keep_ends)
                number, rest, waiting = number + len(lines), [tail], len(tail)
            else:
                rest.append(tail)
                waiting += len(tail)
                if waiting > MAX_LINE:
                    raise too_long(path, number)
        for first, lines in _decode_lines(b"".join(rest).removesuffix(b"\n"), path, number) if any(rest) else ():
            yield first, _finish_lines(lines, keep_ends)


def _decode_lines(data: bytes, path: FilePath, number: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line, and the lines; if a byte is not UTF-8, those before it and then raise."""
    try:
        yield number, data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        before, newline, _ = data[: error.start].rpartition(b"\n")
        if newline:
            yield number, before.decode("utf-8").split("\n")
        _decode(data, path, number)


def _finish_lines(lines: list[str], keep_ends: bool) -> list[str]:
    if keep_ends:
        return [f"{line}\n" for line in lines]
    return [line.removesuffix("\r") for line in lines]


def _decode(data: bytes, path: FilePath, first_line: int = 1) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = first_line + data.count(b"\n", 0, error.start), data[error.start]
        raise CorpusError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def check_name(name: str, where: str) -> str:
    """Return the name of a document or type; raise CorpusError for one that line formats can't hold."""
    if NOT_IN_NAMES.search(name):
        raise CorpusError(f"{where}: {name[:60]!r}; expected a name without tabs, line breaks and the like")
    return name


def list_names(names: Iterable[str], separator: str = ", ") -> str:
    """Join names for a message: bounded, and characters that don't print are escaped."""
    return repr(separator.join(names))[1:-1][:200]


def format_count(number: int, noun: str) -> str:
    """Write a number and its noun, in the plural unless the number is 1."""
    return f"{number} {noun}{'s' * (number != 1)}"


def get_stem(path: FilePath) -> str:
    """Return the name of a file without its ending, nor `.gz` behind it."""
    return Path(re.sub(r"\.gz$", "", Path(path).name, flags=re.IGNORECASE)).stem


class OffsetText(io.StringIO):
    """A text built from parts whose offsets matter; `tell()` is its length in characters."""

    padding = 0  # characters so far

    def add(self, part: str, separator: str = "") -> Span:
        """Append a part, after the separator unless the text is empty; return the part's half-open range."""
        start = self.tell() + self.write(separator if self.tell() else "")
        return start, start + self.write(part)

    def pad(self, offset: int, where: str, separator: str) -> None:
        """Fill up to the offset of a passage: the separator, unless the text is empty, and spaces."""
        gap = offset - self.tell()
        if not 0 <= gap <= _MAX_GAP:
            remedy = f"offsets must count characters (not bytes), rise, and leave no gap over {_MAX_GAP}"
            raise CorpusError(f"{where}: offset {offset}, but the text before it ends at {self.tell()}; {remedy}")
        self.padding += gap
        if self.padding > _MAX_PADDING:
            raise CorpusError(f"{where}: gaps of over {_MAX_PADDING} characters between passages; correct the offsets")
        self.write(((separator if self.tell() else " ") + " " * gap)[:gap])


@contextmanager
def write_then_rename(path: FilePath) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write a file or folder to; rename it at the end, delete it after an error.

    So a reader never sees half a file, and a killed process leaves none. A folder may replace an empty one only. The
    user's umask decides the mode. An OSError, such as a full disk, comes out with a message that names `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # not the name another process would choose
    try:
        yield temporary
        if temporary.is_dir() and target.exists():
            target.rmdir()  # os.replace takes no existing folder on Windows
        os.replace(temporary, target)
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(temporary)):
            raise  # it names another file
        reason = error.strerror or error
        clear = OSError(f"{target}: can't be written ({reason}); free some space or choose another folder")
        clear.errno = error.errno
        raise clear from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


def write_text(path: FilePath, parts: Iterable[str]) -> None:
    """Write the parts of a text file by `write_then_rename`, gzipped if its name ends in `.gz`."""
    if isinstance(path, MemoryFile):
        path.content = "".join(parts).encode()
        return
    with write_then_rename(path) as temporary, temporary.open("wb") as file:
        if os.fspath(path).endswith(".gz"):  # without name and time, so that the same documents give the same bytes
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed, io.BufferedWriter(packed) as buffered:
                buffered.writelines(part.encode() for part in parts)
        else:
            file.writelines(part.encode() for part in parts)
