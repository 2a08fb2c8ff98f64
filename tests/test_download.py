"""Fetch archives from a server on this machine: the good way, and every bad one, after which nothing is left."""

import contextlib
import hashlib
import io
import os
import re
import struct
import tarfile
import threading
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock
from toys import sizes

from dataset_scripts import CorpusError, download, load_corpus
from dataset_scripts.corpora import CORPORA
from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.pubtator import read_pubtator


TEXT = b"1|t|lupus\n1\t0\t5\tlupus\tDisease\tD1\n"
SPLITS = ("train", "dev", "test")
GOOD = {f"data/{split}.txt": TEXT for split in SPLITS}


def pack_zip(files: dict[str, bytes], mode: int = 0o100644) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            item = zipfile.ZipInfo(name)
            item.compress_type, item.external_attr = zipfile.ZIP_DEFLATED, mode << 16
            archive.writestr(item, content)
    return packed.getvalue()


def pack_tar(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, link
            item.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(item, io.BytesIO(content))
    return packed.getvalue()


def patch_zip(packed: bytes, offsets: tuple[int, int], value: bytes) -> bytes:
    """Overwrite a field in all local and central headers."""
    patched = bytearray(packed)
    for signature, offset in zip((b"PK\x03\x04", b"PK\x01\x02"), offsets, strict=True):
        for match in re.finditer(re.escape(signature), packed):
            patched[match.start() + offset : match.start() + offset + len(value)] = value
    return bytes(patched)


class Site:
    """A web server on this machine: `pages` maps a path to its answer, `promised` to the size that it announces."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.promised: dict[str, int | None] = {}
        self.seconds: dict[str, float] = {}  # between two bytes
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                page = site.pages.get(self.path)
                if self.path in site.redirects:
                    self.send_response(302)
                    self.send_header("Location", site.redirects[self.path])
                else:
                    self.send_response(404 if page is None else 200)
                    promised = site.promised.get(self.path, len(page or b""))
                    if promised is not None:
                        self.send_header("Content-Length", str(promised))
                self.end_headers()
                if self.path not in site.seconds:
                    self.wfile.write(page or b"")
                    return
                with contextlib.suppress(OSError):  # who asked has gone
                    for byte in page or b"":
                        self.wfile.write(bytes([byte]))
                        time.sleep(site.seconds[self.path])

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"

    def offer(self, packed: bytes, **changes: object) -> Corpus:
        """Serve an archive as tiny.zip; return a corpus that is fetched from there."""
        self.pages["/tiny.zip"] = packed
        return describe(f"{self.address}/tiny.zip", **changes)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    threading.Thread(target=site.server.serve_forever, args=(0.02,)).start()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MTL_BIONER_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def describe(*urls: str, **changes: object) -> Corpus:
    files = {split: Files(read_pubtator, (f"data/{split}.txt",)) for split in SPLITS}
    archives = tuple(Archive(url) for url in urls)
    corpus = Corpus("tiny", "Tiny", "tiny_folder", {"Disease": "Disease"}, files, archives, "pmid", "", "", "")
    return replace(corpus, **changes)  # type: ignore[arg-type]


def refuse(info: Corpus) -> str:
    """Return the message of a download that fails; nothing of it must be left in the cache."""
    with pytest.raises(CorpusError) as caught:
        download.fetch(info)
    assert "\n" not in str(caught.value)
    cache = download.get_cache_dir()
    assert not cache.is_dir() or not list(cache.iterdir())
    return str(caught.value)


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_a_corpus_is_fetched_once_and_read(site, cache, monkeypatch, pack):
    monkeypatch.setitem(CORPORA, "tiny", site.offer(pack(GOOD)))
    corpus = load_corpus("tiny")
    assert sizes(corpus) == [1, 1, 1]
    assert list(corpus.hashes) == [f"tiny_folder/data/{split}.txt" for split in SPLITS]
    load_corpus("tiny")
    assert site.asked == ["/tiny.zip"]
    assert [path.name for path in cache.iterdir()] == ["tiny_folder"]


def test_several_archives_are_unpacked_each_into_its_folder(site, cache):
    site.pages = {f"/{split}.tar.gz": pack_tar({f"./{split}.txt": TEXT}) for split in SPLITS}
    archives = tuple(Archive(f"{site.address}/{split}.tar.gz", into="data") for split in SPLITS)
    assert download.fetch(describe(archives=archives)) == cache
    assert (cache / "tiny_folder/data/dev.txt").read_bytes() == TEXT


def test_a_zip_without_file_modes_and_a_server_without_sizes_are_good_enough(site, cache):
    site.promised["/tiny.zip"] = None
    assert download.fetch(site.offer(pack_zip(GOOD, mode=0))) == cache
    assert (cache / "tiny_folder/data/dev.txt").read_bytes() == TEXT


def test_the_hash_of_an_archive_is_checked(site):
    info = site.offer(pack_zip(GOOD))
    right, wrong = hashlib.sha256(site.pages["/tiny.zip"]).hexdigest(), "0" * 64
    refusal = refuse(replace(info, archives=(info.archives[0]._replace(sha256=wrong),)))
    assert f"has SHA-256 {right}, expected {wrong}" in refusal
    download.fetch(replace(info, archives=(info.archives[0]._replace(sha256=right),)))


def test_hashes_of_unpacked_files_are_checked(site):
    info, right = site.offer(pack_zip(GOOD)), hashlib.sha256(TEXT).hexdigest()
    message = refuse(replace(info, sha256={"data/dev.txt": "0" * 64}))
    assert f"data/dev.txt has SHA-256 {right}, expected {'0' * 64}" in message and "--data_dir" in message
    missing = replace(info, sha256={"data/more.txt": "0" * 64})
    assert "data/more.txt has SHA-256 none (the file is missing)" in refuse(missing)
    download.fetch(replace(info, sha256={"data/dev.txt": right}))


def test_a_file_that_the_archive_lacks_is_named(site):
    assert "dev.txt is missing" in refuse(site.offer(pack_zip({"data/train.txt": TEXT})))


def test_documents_and_mentions_are_counted(site, cache, caplog):
    info = site.offer(pack_zip(GOOD))
    assert "tiny test: 1 documents, 2 expected" in refuse(replace(info, expected={"test": (2,)}))
    download.fetch(replace(info, expected={"test": (1,)}))  # the number of mentions is unknown
    assert not caplog.records
    (cache / "tiny_folder").rename(cache.parent / "elsewhere")
    download.fetch(replace(info, expected={"test": (1, 7, 8)}))
    assert "1 mentions, 7 or 8 expected" in caplog.text


EVIL = ["../evil.txt", "data/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil.txt"]


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_no_member_is_written_outside_the_folder(site, tmp_path, pack, name):
    message = refuse(site.offer(pack({**GOOD, name: b"evil"})))
    assert repr(name) in message and "outside its folder" in message
    assert not list(tmp_path.rglob("*evil*")) and not Path("/tmp/evil.txt").exists()


def test_no_member_has_a_null_in_its_name():
    with pytest.raises(CorpusError, match=r"holds 'a\\x00b', which would be written"):
        download.check_name("x.tar", "a\0b")


@pytest.mark.parametrize("packed", [
    pack_tar({"data/link": b""}, tarfile.SYMTYPE, "/etc/passwd"),
    pack_tar({"data/link": b""}, tarfile.LNKTYPE, "../../evil"),
    pack_tar({"data/link": b""}, tarfile.CHRTYPE),
    pack_tar({"data/link": b""}, tarfile.FIFOTYPE),
    pack_zip({"data/link": b"/etc/passwd"}, mode=0o120777),
], ids=["symbolic", "hard", "device", "pipe", "zip"])  # fmt: skip
def test_no_link_and_no_device_is_unpacked(site, packed):
    assert "'data/link', which is a link or a device" in refuse(site.offer(packed))


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_sizes_and_numbers_of_files_are_bounded(site, monkeypatch, pack):
    info = site.offer(pack({"data/a": b"\0" * 600_000, "data/b": b"\0" * 600_000}))
    assert len(site.pages["/tiny.zip"]) < 10_000
    for name, limit, told in [
        ("MAX_BYTES", 1_000_000, "unpacks to more than 1000000 bytes"),
        ("MAX_BYTES", 500, "tiny.zip is larger than 500 bytes"),
        ("MAX_FILES", 1, "more than 1 files"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(download, name, limit)
            assert told in refuse(info)


def test_a_download_that_ends_early_is_refused(site):
    info, size = site.offer(pack_zip(GOOD)[:100]), len(pack_zip(GOOD))
    site.promised["/tiny.zip"] = size
    assert f"100 of {size} bytes arrived" in refuse(info)


def test_a_download_that_trickles_ends_at_the_deadline(site, monkeypatch):
    info, site.seconds["/tiny.zip"] = site.offer(pack_zip(GOOD)), 0.02
    monkeypatch.setattr(download, "DEADLINE_SECONDS", 0.1)
    begin = time.monotonic()
    assert "it takes longer than 0.1 seconds" in refuse(info)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("reason", "told"), [
    ("one\ntwo", "(one)"), ("", "(OSError)"), ("\x00" * 999, f"({chr(0) * 200})"),
])  # fmt: skip
def test_what_a_server_says_is_told_in_one_short_line(site, monkeypatch, reason, told):
    def fail(*_: object, **__: object) -> None:
        raise OSError(reason)

    monkeypatch.setattr(urllib.request.OpenerDirector, "open", fail)
    assert f"can't be fetched {told}; download it elsewhere" in refuse(site.offer(b""))


@pytest.mark.parametrize("error", [IndexError("a\nb"), ValueError("a\nb"), struct.error("a"), OverflowError("a")])
def test_whatever_unpackers_raise_is_a_damaged_archive(site, monkeypatch, error):
    def fail(packed: Path) -> None:
        raise error

    monkeypatch.setattr(download.zipfile, "is_zipfile", fail)
    assert "tiny.zip is damaged or no archive (a); try again" in refuse(site.offer(b""))


def test_what_a_killed_process_left_is_removed_unless_another_works_there(site, cache):
    folders = {name: cache / f".tiny_folder-{name}" for name in ("left", "used", "new")}
    for name, folder in folders.items():
        (folder / "tiny_folder").mkdir(parents=True)
        (folder / ".lock").touch()
        if name != "new":
            os.utime(folder / ".lock", (0, 0))
    with FileLock(folders["used"] / ".lock"):
        os.utime(folders["used"] / ".lock", (0, 0))
        for _ in range(2):
            download.fetch(site.offer(pack_zip(GOOD)))
    assert {path.name for path in cache.iterdir()} == {"tiny_folder", ".tiny_folder-used", ".tiny_folder-new"}


@pytest.mark.parametrize(("packed", "reason"), [
    (b"<html>moved</html>", ""),
    (b"", ""),
    (pack_zip(GOOD)[:-30], ""),
    (pack_tar(GOOD)[:60], ""),
    (pack_tar(GOOD)[:-8] + bytes(8), "CRC check failed"),
    (pack_tar({"a": b"1", "a/b": b"2"}), ""),  # a file as a folder
    (patch_zip(pack_zip(GOOD), (6, 8), b"\1"), "password"),  # flagged as encrypted
    (patch_zip(pack_zip(GOOD), (22, 24), struct.pack("<I", 5)), "CRC"),  # says that it unpacks to 5 bytes
    (pack_zip({**GOOD, "data/tost.txt": b"other"}).replace(b"tost.txt", b"test.txt"), "File exists"),
], ids=["html", "empty", "zip", "tar", "sum", "file as folder", "password", "false size", "name twice"])  # fmt: skip
def test_a_damaged_archive_is_refused(site, packed, reason):
    message = refuse(site.offer(packed))
    assert "tiny.zip is damaged or no archive" in message and reason in message


def test_an_address_that_is_gone_is_named_with_the_flag(site):
    message = refuse(describe(f"{site.address}/gone.zip"))
    assert message.startswith(f"tiny: {site.address}/gone.zip can't be fetched (Not Found)")
    assert "--data_dir" in message and "tiny_folder" in message


def test_a_site_that_is_down_is_told_within_seconds():
    begin = time.monotonic()
    assert "Connection refused" in refuse(describe("http://127.0.0.1:9/tiny.zip"))
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("variable", "value"), [("HF_HUB_OFFLINE", "1"), ("HF_DATASETS_OFFLINE", "true")])
def test_nobody_is_asked_if_the_environment_says_offline(site, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    message = refuse(site.offer(pack_zip(GOOD)))
    assert f"{site.address}/tiny.zip" in message and "--data_dir" in message and variable in message
    assert not site.asked


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://127.0.0.1/a.zip", "file:///etc/passwd"])
def test_only_https_is_spoken_also_after_a_redirect(site, url):
    assert f"{url} is no https address" in refuse(describe(url))
    site.redirects["/a.zip"] = url
    message = refuse(describe(f"{site.address}/a.zip"))
    assert f"{url} is no https address" in message or f"{url!r} is not allowed" in message


def test_the_first_of_two_processes_wins(site, cache, monkeypatch):
    verify = download.verify

    def finish_in_another_process(info: Corpus, root: Path) -> None:
        (cache / "tiny_folder/data").mkdir(parents=True)
        (cache / "tiny_folder/data/theirs.txt").write_bytes(TEXT)
        verify(info, root)

    monkeypatch.setattr(download, "verify", finish_in_another_process)
    download.fetch(site.offer(pack_zip(GOOD)))
    assert [path.name for path in (cache / "tiny_folder/data").iterdir()] == ["theirs.txt"]
    assert [path.name for path in cache.iterdir()] == ["tiny_folder"]


def test_the_cache_is_in_the_home_folder_or_where_the_environment_says(monkeypatch, tmp_path):
    assert download.get_cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("MTL_BIONER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.get_cache_dir() == tmp_path / ".cache/mtl-bioner"
    monkeypatch.setenv("MTL_BIONER_CACHE", "~/corpora")
    assert download.get_cache_dir() == tmp_path / "corpora"


def test_a_cache_that_cannot_be_written_is_told(site, tmp_path, monkeypatch):
    def refuse_to_rename(*_: object) -> None:
        raise PermissionError("not here")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse_to_rename)
        message = refuse(site.offer(pack_zip(GOOD)))
    assert "can't write to the cache" in message and "not here" in message
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTL_BIONER_CACHE", str(tmp_path / "file"))
    assert "MTL_BIONER_CACHE" in refuse(site.offer(pack_zip(GOOD)))
