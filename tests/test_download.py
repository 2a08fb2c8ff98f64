"""Fetching archives from a server on this machine: the good way, and every bad one, after which nothing is left."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dataset_scripts import CorpusError, download, load_corpus
from dataset_scripts.corpora import CORPORA
from dataset_scripts.corpus import Archive, Corpus, Files
from dataset_scripts.formats.pubtator import read_pubtator


TEXT = b"1|t|lupus\n1\t0\t5\tlupus\tDisease\tD1\n"
SPLITS = ("train", "dev", "test")


def zip_of(files: dict[str, bytes], **attributes: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            item = zipfile.ZipInfo(name)
            item.compress_type = zipfile.ZIP_DEFLATED
            item.external_attr = attributes.get("external_attr", 0o100644 << 16)
            archive.writestr(item, content)
    return packed.getvalue()


def tar_of(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            item = tarfile.TarInfo(name)
            item.type, item.linkname = kind, link
            item.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(item, io.BytesIO(content))
    return packed.getvalue()


GOOD = {f"data/{split}.txt": TEXT for split in SPLITS}


class Site:
    """A web server on this machine: `pages` maps a path to what it answers."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.promised: dict[str, int | None] = {}
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
                self.wfile.write(page or b"")

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTL_BIONER_CACHE", str(tmp_path / "cache"))
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def tiny(*urls: str, **changes: object) -> Corpus:
    corpus = Corpus(
        name="tiny",
        title="Tiny",
        folder="tiny_folder",
        type_map={"Disease": "Disease"},
        files={split: Files(read_pubtator, (f"data/{split}.txt",)) for split in SPLITS},
        archives=tuple(Archive(url) for url in urls),
        id_space="pmid",
        citation="",
        licence="",
        homepage="",
    )
    return replace(corpus, **changes)  # type: ignore[arg-type]


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(CorpusError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_clean(cache: Path) -> bool:
    return not cache.exists() or not list(cache.iterdir())


@pytest.mark.parametrize(("name", "packed"), [("tiny.zip", zip_of(GOOD)), ("tiny.tar.gz", tar_of(GOOD))])
def test_fetched_once_and_read(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, packed: bytes
) -> None:
    site.pages[f"/{name}"] = packed
    monkeypatch.setitem(CORPORA, "tiny", tiny(f"{site.address}/{name}"))
    corpus = load_corpus("tiny")
    assert [len(corpus.splits[split]) for split in SPLITS] == [1, 1, 1]
    assert list(corpus.hashes) == [f"tiny_folder/data/{split}.txt" for split in SPLITS]
    load_corpus("tiny")
    assert site.asked == [f"/{name}"]
    assert [path.name for path in cache.iterdir()] == ["tiny_folder"]


def test_several_archives_each_into_its_folder(site: Site, cache: Path) -> None:
    site.pages = {f"/{split}.tar.gz": tar_of({f"./{split}.txt": TEXT}) for split in SPLITS}
    archives = tuple(Archive(f"{site.address}/{split}.tar.gz", into="data") for split in SPLITS)
    assert download.fetch(tiny(archives=archives)) == cache
    assert (cache / "tiny_folder/data/dev.txt").read_bytes() == TEXT


def test_hash_of_an_archive_is_checked(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = packed = zip_of(GOOD)
    right, wrong = hashlib.sha256(packed).hexdigest(), "0" * 64
    message = error_of(lambda: download.fetch(tiny(archives=(Archive(f"{site.address}/tiny.zip", sha256=wrong),))))
    assert wrong in message and right in message and is_clean(cache)
    download.fetch(tiny(archives=(Archive(f"{site.address}/tiny.zip", sha256=right),)))
    assert not is_clean(cache)


def test_hash_of_an_unpacked_file_is_checked(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    info = tiny(f"{site.address}/tiny.zip", sha256={"data/dev.txt": "0" * 64})
    message = error_of(lambda: download.fetch(info))
    assert "data/dev.txt" in message and "0" * 64 in message and hashlib.sha256(TEXT).hexdigest() in message
    assert "--data_dir" in message and is_clean(cache)
    download.fetch(replace(info, sha256={"data/dev.txt": hashlib.sha256(TEXT).hexdigest()}))


def test_counts_are_checked(site: Site, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    info = tiny(f"{site.address}/tiny.zip", expected={"test": (2,)})
    assert "tiny test: 1 documents, 2 expected" in error_of(lambda: download.fetch(info))
    assert is_clean(cache)
    download.fetch(replace(info, expected={"test": (1, 7, 8)}))
    assert "1 mentions, 7 or 8 expected" in caplog.text


def test_missing_file_in_the_archive(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of({"data/train.txt": TEXT})
    assert "dev.txt" in error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert is_clean(cache)


@pytest.mark.parametrize(
    "name", ["../evil.txt", "data/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil.txt", "C:evil.txt"]
)
@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_no_member_outside_the_folder(
    site: Site, cache: Path, tmp_path: Path, pack: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    site.pages["/tiny"] = pack({**GOOD, name: b"evil"})
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert repr(name) in message and "outside its folder" in message
    assert is_clean(cache)
    assert not list(tmp_path.rglob("*evil*")) and not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize(
    "packed",
    [
        tar_of({"data/link": b""}, tarfile.SYMTYPE, "/etc/passwd"),
        tar_of({"data/link": b""}, tarfile.LNKTYPE, "../../evil"),
        tar_of({"data/link": b""}, tarfile.CHRTYPE),
        tar_of({"data/link": b""}, tarfile.FIFOTYPE),
        zip_of({"data/link": b"/etc/passwd"}, external_attr=0o120777 << 16),
    ],
    ids=["symbolic", "hard", "device", "pipe", "zip"],
)
def test_no_link_and_no_device(site: Site, cache: Path, packed: bytes) -> None:
    site.pages["/tiny"] = packed
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert "'data/link', which is a link or a device" in message and is_clean(cache)


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_size_is_bounded_while_unpacking(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1_000_000)
    site.pages["/tiny"] = packed = pack({"data/a": b"\0" * 600_000, "data/b": b"\0" * 600_000})
    assert len(packed) < 10_000
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert "unpacks to more than 1000000 bytes" in message and is_clean(cache)


def test_number_of_files_is_bounded(site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_FILES", 5)
    site.pages["/tiny"] = tar_of({f"data/{n}": b"" for n in range(6)})
    assert "more than 5 files" in error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert is_clean(cache)


def test_size_of_a_download_is_bounded(site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    site.pages["/tiny"] = b"x" * 2000
    assert "larger than 1000 bytes" in error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert is_clean(cache)


def test_truncated_download(site: Site, cache: Path) -> None:
    packed = zip_of(GOOD)
    site.pages["/tiny.zip"] = packed[:100]
    site.promised["/tiny.zip"] = len(packed)
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert f"100 of {len(packed)} bytes arrived" in message and is_clean(cache)


@pytest.mark.parametrize(
    "packed",
    [b"<html>moved</html>", b"", zip_of(GOOD)[:-30], tar_of(GOOD)[:60], tar_of({"a": b"1", "a/b": b"2"})],
    ids=["html", "empty", "zip", "tar", "file as folder"],
)
def test_damaged_archive(site: Site, cache: Path, packed: bytes) -> None:
    site.pages["/tiny"] = packed
    assert "is damaged or no archive" in error_of(lambda: download.fetch(tiny(f"{site.address}/tiny")))
    assert is_clean(cache)


def test_unreachable_names_file_address_and_flag(site: Site, cache: Path) -> None:
    url = f"{site.address}/gone.zip"
    message = error_of(lambda: download.fetch(tiny(url)))
    assert message.startswith(f"tiny: {url} can't be fetched (Not Found)")
    assert "--data_dir" in message and "tiny_folder" in message and is_clean(cache)


def test_no_listener_is_said_within_seconds(cache: Path) -> None:
    begin = time.monotonic()
    message = error_of(lambda: download.fetch(tiny("http://127.0.0.1:9/tiny.zip")))
    assert time.monotonic() - begin < 5
    assert "Connection refused" in message and is_clean(cache)


@pytest.mark.parametrize(("variable", "value"), [("HF_HUB_OFFLINE", "1"), ("HF_DATASETS_OFFLINE", "true")])
def test_offline_by_environment_asks_nobody(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    site.pages["/tiny.zip"] = zip_of(GOOD)
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert "tiny.zip" in message and site.address in message and "--data_dir" in message and variable in message
    assert not site.asked and is_clean(cache)


@pytest.mark.parametrize("url", ["http://example.org/a.zip", "ftp://127.0.0.1/a.zip", "file:///etc/passwd"])
def test_only_https(site: Site, cache: Path, url: str) -> None:
    assert f"{url} is no https address" in error_of(lambda: download.fetch(tiny(url)))
    site.redirects["/a.zip"] = url
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/a.zip")))
    assert f"{url} is no https address" in message or f"{url!r} is not allowed" in message
    assert is_clean(cache)


def test_the_first_of_two_processes_wins(site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    verify = download.verify

    def other_process_finishes(info: Corpus, root: Path) -> None:
        (cache / "tiny_folder/data").mkdir(parents=True)
        (cache / "tiny_folder/data/theirs.txt").write_bytes(TEXT)
        verify(info, root)

    monkeypatch.setattr(download, "verify", other_process_finishes)
    download.fetch(tiny(f"{site.address}/tiny.zip"))
    assert [path.name for path in (cache / "tiny_folder/data").iterdir()] == ["theirs.txt"]
    assert [path.name for path in cache.iterdir()] == ["tiny_folder"]


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert download.get_cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("MTL_BIONER_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download.get_cache_dir() == tmp_path / ".cache/mtl-bioner"
    monkeypatch.setenv("MTL_BIONER_CACHE", "~/corpora")
    assert download.get_cache_dir() == tmp_path / "corpora"


def test_cache_that_cannot_be_written(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MTL_BIONER_CACHE", str(tmp_path / "file"))
    assert "MTL_BIONER_CACHE" in error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))


def test_a_server_need_not_tell_the_size(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    site.promised["/tiny.zip"] = None
    assert download.fetch(tiny(f"{site.address}/tiny.zip")) == cache


def test_a_zip_made_where_files_have_no_mode(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD, external_attr=0)
    download.fetch(tiny(f"{site.address}/tiny.zip"))
    assert (cache / "tiny_folder/data/dev.txt").read_bytes() == TEXT


def test_a_zip_with_a_password(site: Site, cache: Path) -> None:
    packed = bytearray(zip_of(GOOD))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), bytes(packed)):
            packed[match.start() + flags] |= 1  # says that it is encrypted
    site.pages["/tiny.zip"] = bytes(packed)
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert "tiny.zip is damaged or no archive" in message and "password" in message and is_clean(cache)


def test_no_member_with_a_null_in_its_name() -> None:
    assert "holds 'a\\x00b', which would be written" in error_of(lambda: download.check_name("x.tar", "a\0b"))


def test_a_hash_of_a_file_that_is_not_there(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    info = tiny(f"{site.address}/tiny.zip", sha256={"data/more.txt": "0" * 64})
    assert "data/more.txt has SHA-256 none (the file is missing)" in error_of(lambda: download.fetch(info))
    assert is_clean(cache)


def test_mentions_are_not_compared_where_their_number_is_unknown(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.pages["/tiny.zip"] = zip_of(GOOD)
    download.fetch(tiny(f"{site.address}/tiny.zip", expected={"test": (1,)}))
    assert not caplog.records


def test_a_finished_download_that_cannot_be_put_in_place(
    site: Site, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    site.pages["/tiny.zip"] = zip_of(GOOD)
    monkeypatch.setattr(Path, "rename", refuse)
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert "can't write to the cache" in message and "not here" in message and is_clean(cache)


def test_an_archive_with_one_name_twice(site: Site, cache: Path) -> None:
    site.pages["/tiny.zip"] = zip_of({**GOOD, "data/tost.txt": b"other"}).replace(b"tost.txt", b"test.txt")
    message = error_of(lambda: download.fetch(tiny(f"{site.address}/tiny.zip")))
    assert "tiny.zip is damaged or no archive" in message and "File exists" in message and is_clean(cache)
