"""Damaged and hostile archives of a corpus: fetched whole, or refused in one line, with nothing left or let out."""

import io
import lzma
import random
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cases import Cases, check_message
from mutations import blow_up
from test_download import EVIL, GOOD, TEXT, Site, pack_tar, pack_zip

from dataset_scripts import CorpusError, download


pytestmark = pytest.mark.slow


def repack(mode: str) -> Callable[[dict[str, bytes]], bytes]:
    """Make a function that packs a tar archive by another compression."""

    def pack(files: dict[str, bytes]) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(pack_tar(files))) as archive:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode=mode) as other:
                for item in archive:
                    other.addfile(item, archive.extractfile(item))
        return out.getvalue()

    return pack


PACKS = {"zip": pack_zip, "tar.gz": pack_tar} | {f"tar{e}": repack(f"w:{e[1:]}") for e in ("", ".bz2", ".xz")}
NAMES = [*EVIL, "data/./../../evil.txt", "....//evil.txt", "\\\\host\\evil.txt", "~/evil.txt", "data/evil\x1b[31m.txt",
         "data/evil\n.txt", "e" * 300 + "evil", "a/" * 3000 + "evil", "", ".", "..", "/", "data", "data/dev.txt/evil",
         "data/evil\u202e.txt", "//evil", "C:/evil.txt", "a:evil"]  # fmt: skip


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    """A server on this machine, and small limits."""
    monkeypatch.setenv("MTL_BIONER_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(download, "MAX_FILES", 50)
    site = Site()
    threading.Thread(target=site.server.serve_forever, args=(0.02,)).start()
    yield site
    site.server.shutdown()
    site.server.server_close()


def try_archive(site: Site, packed: bytes, folder: Path, is_checked: bool) -> bool:
    """Fetch an archive and check what becomes of it; return whether it was accepted.

    `is_checked`: whether what is accepted must be what was packed. A plain tar has no check sum; the known SHA-256 of
    a corpus tells.
    """
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    try:
        download.fetch(site.offer(packed))
    except CorpusError as error:
        check_message(str(error))
        assert not cache.exists() or not list(cache.iterdir()), list(cache.iterdir())
        return False
    finally:
        outside = [path for path in folder.rglob("*") if "evil" in path.name and not path.is_relative_to(cache)]
        assert not outside and not Path("/tmp/evil.txt").exists()
        assert [path.name for path in folder.iterdir()] in ([], ["cache"])
    if is_checked:
        assert all((cache / "tiny_folder" / name).read_bytes() == TEXT for name in GOOD)
    assert not [path for path in cache.rglob("*") if path.is_symlink()]
    return True


@pytest.mark.parametrize("kind", PACKS)
def test_damaged_archives(site, tmp_path, cases: Cases, kind):
    whole, accepted = PACKS[kind](GOOD), 0
    for rng in cases.seeds(30):
        packed = whole
        for _ in range(rng.choice([1, 1, 2, 4])):
            packed = flip(rng, packed) if rng.random() < 0.5 else blow_up(rng, packed)
        with cases.case():
            accepted += try_archive(site, packed, tmp_path, is_checked=kind != "tar")
    assert accepted < cases.number


def flip(rng: random.Random, packed: bytes) -> bytes:
    """Put another value in place of one byte, two or four, as sizes, offsets, types and check sums have."""
    at, size = rng.randrange(len(packed) + 1), rng.choice([1, 1, 2, 4])
    value = rng.choice([b"\0" * size, b"\xff" * size, rng.randbytes(size), b"7" * size])
    return packed[:at] + value + packed[at + size :]


LINKS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE,
         tarfile.GNUTYPE_SPARSE, b"Z"]  # fmt: skip


def make_hostile(rng: random.Random) -> bytes:
    """An archive of names that lead outside, of links and devices, of too many files or bytes, or of archives."""
    pack, kind = rng.choice([*PACKS.values()]), rng.randrange(6)
    if kind == 0:
        name = rng.choice(NAMES)
        return pack({**GOOD, name: b"evil"} if rng.random() < 0.5 else {name: b"evil", **GOOD})
    if kind == 1:
        link = rng.choice(["/etc/passwd", "../../evil", "data/train.txt", "", "/dev/zero"])
        return pack_tar({"data/evil": b"", **GOOD}, rng.choice(LINKS), link)
    if kind == 2:
        mode = rng.choice([0o120777, 0o020666, 0o010666, 0o140777])
        return pack_zip({"data/evil": b"/etc/passwd", **GOOD}, mode)
    if kind == 3:
        return pack({**GOOD, "data/evil": b"\0" * rng.choice([1 << 20, 3 << 20])})
    if kind == 4:
        return pack({**GOOD, **{f"data/evil{n}": b"" for n in range(rng.choice([49, 60, 2000]))}})
    inner = pack(GOOD)
    nested = [pack_zip({"tiny.zip": inner}), inner + pack_zip({"../evil.txt": b"evil"}), pack_zip(GOOD) + inner]
    return rng.choice([*nested, lzma.compress(inner), lzma.compress(b"\0" * (3 << 20))])


def test_hostile_archives(site, tmp_path, cases: Cases):
    for rng in cases.seeds(40):
        with cases.case():
            try_archive(site, make_hostile(rng), tmp_path, is_checked=False)
