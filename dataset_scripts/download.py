"""Fetch a registered corpus from its owner's site: checked, unpacked safely, and put in place in one step.

The cache is `$MTL_BIONER_CACHE`, else `~/.cache/mtl-bioner`; it has the layout of `--data_dir`. An archive is data of
others: only https is spoken, and no member may lie outside the folder, be a link or device, or make the whole too big.
What is checked: SHA-256 of archives before unpacking and of files after it, where one is known, then the counts of
documents. The module of each corpus says what its hashes are from, and where there are none.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import lzma
import os
import stat
import tarfile
import tempfile
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from .corpus import Archive, Corpus, count_problem, present, read_files, sha256_of
from .schema import CorpusError


logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0
MAX_BYTES = 1 << 30
MAX_FILES = 50_000
_CHUNK = 1 << 16
# What the unpackers raise at bad bytes (RuntimeError: a password), and at one name used twice.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, EOFError, RuntimeError,
    FileExistsError, NotADirectoryError, UnicodeDecodeError,
)  # fmt: skip
_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class Member(NamedTuple):
    """A file of an archive: its name and an open stream."""

    name: str
    stream: IO[bytes]


def cache_dir() -> Path:
    """Where downloaded corpora are kept."""
    configured = os.environ.get("MTL_BIONER_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "mtl-bioner"


def is_offline() -> bool:
    """Whether the environment forbids downloads, by the variables that `datasets` and `huggingface_hub` heed."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


def fetch(info: Corpus) -> Path:
    """The cache folder with the corpus in it, usable as `--data_dir`; downloads what isn't there yet.

    Several processes may call it at once: each works in a folder of its own, and the first to finish is used by all.

    Raises:
        CorpusError: offline or unreachable, an unsafe or damaged archive, a wrong hash or count; nothing stays behind.
    """
    root = cache_dir()
    if (root / info.folder).exists():
        return root
    if is_offline():
        raise CorpusError(_cannot_fetch(info, info.archives[0], "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set"))
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{info.folder}-", dir=root) as work:
            _fetch_into(info, Path(work))
            _put_in_place(Path(work) / info.folder, root / info.folder)
    except OSError as error:
        raise CorpusError(f"{info.name}: can't write to the cache {root}: {error}; set MTL_BIONER_CACHE") from error
    return root


def _fetch_into(info: Corpus, work: Path) -> None:
    for number, archive in enumerate(info.archives):
        packed = work / f"{number}-{_file_name(archive)}"
        _download(info, archive, packed)
        if archive.sha256 and sha256_of(packed) != archive.sha256:
            raise CorpusError(_wrong_hash(info, archive.url, archive.sha256, sha256_of(packed)))
        unpack(packed, work / info.folder / archive.into)
    verify(info, work)


def _put_in_place(finished: Path, target: Path) -> None:
    try:
        finished.rename(target)
    except OSError:
        if not target.exists():
            raise
        logger.info("%s was finished by another process; its copy is used", target)


def _file_name(archive: Archive) -> str:
    return PurePosixPath(urllib.parse.urlsplit(archive.url).path).name


def _cannot_fetch(info: Corpus, archive: Archive, reason: object) -> str:
    return (
        f"{info.name}: {_file_name(archive)} can't be fetched from {archive.url} ({reason}); download it elsewhere, "
        f"unpack it as {Path('D') / info.folder / archive.into} and give --data_dir D (or try --data_dir sample)"
    )


def _wrong_hash(info: Corpus, what: str, expected: str, found: str) -> str:
    return (
        f"{info.name}: {what} has SHA-256 {found}, expected {expected}; it is refused: download it by hand, look what "
        f"changed, and give its folder as --data_dir"
    )


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects only to addresses that could have been asked for in the first place."""

    def redirect_request(self, request, stream, code, message, headers, url):  # type: ignore[no-untyped-def]
        check_address(url)
        return super().redirect_request(request, stream, code, message, headers, url)


def check_address(url: str) -> None:
    """Refuse everything but https, and http on this machine (tests).

    Raises:
        CorpusError: naming the address.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS):
        raise CorpusError(f"{url} is no https address; corpora are fetched over https only")


def _download(info: Corpus, archive: Archive, target: Path) -> None:
    """One archive to a file, with a progress bar; a shorter answer than announced is an error."""
    check_address(archive.url)
    opener = urllib.request.build_opener(_CheckedRedirects)
    request = urllib.request.Request(archive.url, headers={"User-Agent": "mtl-bioner"})
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            announced = int(answer.headers.get("Content-Length") or 0)
            received = _copy_with_progress(answer, target, announced, _file_name(archive))
    except CorpusError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        raise CorpusError(_cannot_fetch(info, archive, getattr(error, "reason", error))) from error
    if announced and received != announced:
        raise CorpusError(_cannot_fetch(info, archive, f"{received} of {announced} bytes arrived"))


def _copy_with_progress(answer: IO[bytes], target: Path, announced: int, name: str) -> int:
    from tqdm.auto import tqdm

    received = 0
    with target.open("wb") as out, tqdm(total=announced or None, unit="B", unit_scale=True, desc=name) as bar:
        while chunk := answer.read(_CHUNK):
            received += len(chunk)
            if received > MAX_BYTES:
                raise CorpusError(f"{name} is larger than {MAX_BYTES} bytes; it can't be the corpus and is refused")
            out.write(chunk)
            bar.update(len(chunk))
    return received


def unpack(packed: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`.

    Raises:
        CorpusError: damaged; a member outside the folder, a link or a device; more than `MAX_FILES` or `MAX_BYTES`,
            counted while unpacking, not by what the archive says of itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files, size = 0, 0
    try:
        with _members(packed) as members:
            for member in members:
                files += 1
                size += _write_member(packed, member, folder, MAX_BYTES - size)
                if files > MAX_FILES:
                    raise CorpusError(f"{packed.name} holds more than {MAX_FILES} files; it is refused")
    except _DAMAGED as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CorpusError(
            f"{packed.name} is damaged or no archive ({reason}); try again or give --data_dir"
        ) from error


def _write_member(packed: Path, member: Member, folder: Path, room: int) -> int:
    """Write one file and return its size."""
    target = folder / safe_name(packed.name, member.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("xb") as out:
        while chunk := member.stream.read(_CHUNK):
            written += len(chunk)
            if written > room:
                raise CorpusError(f"{packed.name} unpacks to more than {MAX_BYTES} bytes; it is refused")
            out.write(chunk)
    return written


def safe_name(archive: str, name: str) -> PurePosixPath:
    """The member's name as a relative path.

    Raises:
        CorpusError: it is absolute, has a drive or a `..` part, or is empty.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    drive = ":" in path.parts[0] if path.parts else True
    if path.is_absolute() or drive or ".." in path.parts or "\0" in name:
        raise CorpusError(f"{archive} holds {name!r}, which would be written outside its folder; it is refused")
    return path


@contextmanager
def _members(packed: Path) -> Iterator[Iterator[Member]]:
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            yield _zip_members(packed.name, archive)
    else:
        with tarfile.open(packed) as archive:
            yield _tar_members(packed.name, archive)


def _zip_members(name: str, archive: zipfile.ZipFile) -> Iterator[Member]:
    for item in archive.infolist():
        kind = stat.S_IFMT(item.external_attr >> 16)
        if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise CorpusError(f"{name} holds {item.filename!r}, which is a link or a device; it is refused")
        if not item.is_dir():
            with archive.open(item) as stream:
                yield Member(item.filename, stream)


def _tar_members(name: str, archive: tarfile.TarFile) -> Iterator[Member]:
    for item in archive:
        if not (item.isreg() or item.isdir()):
            raise CorpusError(f"{name} holds {item.name!r}, which is a link or a device; it is refused")
        stream = archive.extractfile(item) if item.isreg() else None
        if stream is not None:
            yield Member(item.name, stream)


def verify(info: Corpus, root: Path) -> None:
    """Check a freshly unpacked corpus: recorded hashes, all files there, the counts of documents.

    Raises:
        CorpusError: naming both hashes, or both counts.
    """
    folder = root / info.folder
    for name, expected in info.sha256.items():
        path = present(folder / name)
        found = sha256_of(path) if path else "none (the file is missing)"
        if found != expected:
            raise CorpusError(_wrong_hash(info, name, expected, found))
    for split, files in info.find(root).items():
        refused, problem = count_problem(info, split, list(read_files(folder, files)))
        if refused:
            raise CorpusError(f"{info.name} {split}: {problem}; the download is refused, give --data_dir instead")
        if problem:
            logger.warning("%s %s: %s", info.name, split, problem)
