"""Fetch a registered corpus from its owner's site: checked, unpacked safely, and put in place in one step.

The cache is `$MTL_BIONER_CACHE`, else `~/.cache/mtl-bioner`; it has the layout of `--data_dir`. Archives are not
trusted: only https is spoken, and no member may lie outside the folder, be a link or device, or make the whole too
large. Known SHA-256 of archives and unpacked files are checked, and the counts of documents.
"""

import contextlib
import gzip
import http.client
import logging
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import time
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from filelock import FileLock

from dataset_scripts.corpus import Archive, Corpus, compute_sha256, find_path
from dataset_scripts.documents import read_parts
from dataset_scripts.schema import CorpusError


logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10.0  # without a byte
DEADLINE_SECONDS = 1800.0  # of a download
LOCK = ".lock"
MAX_BYTES = 1 << 30
MAX_FILES = 50_000
# Raised by the unpackers for bad bytes (RuntimeError: a password), and for a name that is used twice.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, lzma.LZMAError, zlib.error, struct.error, EOFError,
    RuntimeError, ValueError, LookupError, ArithmeticError, FileExistsError, NotADirectoryError,
)  # fmt: skip


def get_cache_dir() -> Path:
    """Return the folder of downloaded corpora."""
    return Path(os.environ.get("MTL_BIONER_CACHE") or "~/.cache/mtl-bioner").expanduser()


def fetch(info: Corpus) -> Path:
    """Return the cache folder with the corpus in it, usable as `--data_dir`; download the corpus if it is missing.

    Several processes may call it at once: each works in a folder of its own, and the first to finish is used by all.

    Raises:
        CorpusError: offline or unreachable, an unsafe or damaged archive, a wrong hash or count; nothing stays behind.
    """
    root = get_cache_dir()
    target = root / info.folder
    _remove_leftovers(root)
    if target.exists():
        return root
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):  # as `huggingface_hub` and `datasets` read them
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            raise _explain_failure(info, info.archives[0], f"{name} is set")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{info.folder}-", dir=root) as work, FileLock(Path(work, LOCK)):
            for archive in info.archives:
                packed = Path(work, archive.url.rpartition("/")[2])
                _download(info, archive, packed)
                _check_hash(info, archive.url, archive.sha256, packed)
                unpack(packed, Path(work, info.folder, archive.into))
                packed.unlink()
            verify(info, Path(work))
            Path(work, info.folder).rename(target)
    except OSError as error:
        if not target.exists():  # else another process was faster
            problem = f"{info.name}: can't write to the cache {root}: {error}"
            raise CorpusError(f"{problem}; set MTL_BIONER_CACHE to another folder") from error
    return root


def _remove_leftovers(root: Path) -> None:
    """Remove what killed processes left: folders that nobody holds the lock of, but for new ones, not locked yet."""
    for lock in root.glob(f".*/{LOCK}"):
        with contextlib.suppress(OSError):  # in use, which is a Timeout, or gone
            if time.time() - lock.stat().st_mtime > 60:
                with FileLock(lock, timeout=0):
                    shutil.rmtree(lock.parent)


def _summarize(error: object) -> str:
    """Return the first line of what a server or an archive led to, in reasonable length."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _explain_failure(info: Corpus, archive: Archive, reason: object) -> CorpusError:
    remedy = f"download it elsewhere, unpack it as {Path('D', info.folder, archive.into)} and give --data_dir D"
    problem = f"{info.name}: {archive.url} can't be fetched ({_summarize(reason)})"
    return CorpusError(f"{problem}; {remedy} (or try --data_dir sample)")


def _check_hash(info: Corpus, name: str, expected: str, path: Path | None) -> None:
    actual = compute_sha256(path) if path else "none (the file is missing)"
    if expected not in ("", actual):
        remedy = "it is refused: download it by hand, look what changed, and give its folder as --data_dir"
        raise CorpusError(f"{info.name}: {name} has SHA-256 {actual}, expected {expected}; {remedy}")


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, stream, code, message, headers, url):  # type: ignore[no-untyped-def]
        check_address(url)
        return super().redirect_request(request, stream, code, message, headers, url)


def check_address(url: str) -> None:
    """Raise CorpusError for an address that is not https; accept http on this machine, for tests."""
    parts = urllib.parse.urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if parts.scheme != "https" and not is_local:
        raise CorpusError(f"{url} is no https address; corpora are fetched over https only")


def _download(info: Corpus, archive: Archive, target: Path) -> None:
    """Download one archive with a progress bar; fewer bytes than announced, or too slow ones, are an error."""
    from tqdm.auto import tqdm

    check_address(archive.url)
    opener = urllib.request.build_opener(_CheckedRedirects)
    request = urllib.request.Request(archive.url, headers={"User-Agent": "mtl-bioner"})
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            announced = int(answer.headers.get("Content-Length") or 0)
            with tqdm(total=announced or None, desc=target.name, unit="B", unit_scale=True) as bar:
                chunks = _read_in_time(answer, bar.update)
                received = _write(chunks, target, MAX_BYTES, f"{target.name} is larger")
        if announced and received != announced:
            raise OSError(f"{received} of {announced} bytes arrived")
    except CorpusError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:  # URLError is an OSError
        raise _explain_failure(info, archive, getattr(error, "reason", error)) from error


def _read_in_time(answer: http.client.HTTPResponse, report: Callable[[int], object]) -> Iterator[bytes]:
    """Yield what arrives as it arrives; raise OSError if that goes on for too long."""
    end = time.monotonic() + DEADLINE_SECONDS
    while chunk := answer.read1(1 << 16):
        if time.monotonic() > end:
            raise OSError(f"it takes longer than {DEADLINE_SECONDS:g} seconds")
        report(len(chunk))
        yield chunk


def _write(chunks: Iterable[bytes], target: Path, limit: int, problem: str) -> int:
    """Write bytes to a new file and return its size; raise CorpusError as soon as it exceeds the limit."""
    size = 0
    with target.open("xb") as out:
        for chunk in chunks:
            size += len(chunk)
            if size > limit:
                raise CorpusError(f"{problem} than {MAX_BYTES} bytes; it can't be the corpus and is refused")
            out.write(chunk)
    return size


def unpack(packed: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into `folder`; raise CorpusError if it is damaged, unsafe or too large.

    Files and bytes are counted while unpacking, not as the archive declares them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    try:
        with closing(_list_members(packed)) as members:
            for number, (name, is_regular, open_member) in enumerate(members, 1):
                if not is_regular:
                    raise CorpusError(f"{packed.name} holds {name!r}, which is a link or a device; it is refused")
                if number > MAX_FILES:
                    raise CorpusError(f"{packed.name} holds more than {MAX_FILES} files; it is refused")
                target = folder / check_name(packed.name, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with open_member() as stream:
                    chunks = iter(partial(stream.read, 1 << 16), b"")
                    size += _write(chunks, target, MAX_BYTES - size, f"{packed.name} unpacks to more")
    except CorpusError:
        raise
    except _DAMAGED as error:
        problem = f"{packed.name} is damaged or no archive ({_summarize(error)})"
        raise CorpusError(f"{problem}; try again or give --data_dir") from error


def _list_members(packed: Path) -> Iterator[tuple[str, bool, Callable[[], IO[bytes]]]]:
    """Yield the name of each member but folders, whether it is a regular file, and the function that opens it."""
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            for item in (item for item in archive.infolist() if not item.is_dir()):
                kind = stat.S_IFMT(item.external_attr >> 16)  # 0 if made on a system without file modes
                yield item.filename, kind in (0, stat.S_IFREG), partial(archive.open, item)
    else:
        with tarfile.open(packed) as archive:
            for item in (item for item in archive if not item.isdir()):
                yield item.name, item.isreg(), partial(archive.extractfile, item)
            # The check sum of a compressed archive comes behind its last member.
            for _ in iter(partial(archive.fileobj.read, 1 << 16), b""):
                pass


def check_name(archive: str, name: str) -> PurePosixPath:
    """Return a member's name as a path; raise CorpusError if it is empty, absolute, or has a drive or a `..` part."""
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ":" in path.parts[0] or ".." in path.parts or "\0" in name:
        raise CorpusError(f"{archive} holds {name!r}, which would be written outside its folder; it is refused")
    return path


def verify(info: Corpus, root: Path) -> None:
    """Check a freshly unpacked corpus: recorded hashes, complete files, the number of documents (CorpusError)."""
    for name, expected in info.sha256.items():
        _check_hash(info, name, expected, find_path(root / info.folder / name))
    for split, documents in read_parts(info.find_files(root)).items():
        number, mentions = info.compare_counts(split, documents)
        if number:
            raise CorpusError(f"{info.name} {split}: {number}; the download is refused, give --data_dir instead")
        if mentions:
            logger.warning("%s %s: %s", info.name, split, mentions)
