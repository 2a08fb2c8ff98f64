"""Small files that would take all memory or time: each is refused in one line, and honest ones never are."""

import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_scripts import CorpusError, file_ledgers
from dataset_scripts.formats import files, xml
from dataset_scripts.formats.files import read_text
from dataset_scripts.schema import trim_span
from mtl_bioner.annotation.sources import find_sources
from mtl_bioner.annotation.tables import ColumnOptions


XML = b"<?xml version='1.0'?><collection><document><id>1</id><passage><offset>0</offset><text>"
# How a file begins whose first line, or document, has no end.
ENDLESS = {
    "blank.jsonl.gz": (b"", b" ", "blank.jsonl.gz:1: a line of more than 1 MB; is it the right file"),
    "text.jsonl.gz": (b'{"text": "', b"a", "text.jsonl.gz:1: a line of more than 1 MB"),
    "list.json.gz": (b'[{"text": "', b"a", "list.json.gz:1: a line of more than 1 MB"),
    "title.txt.gz": (b"1|t|", b"a", "title.txt.gz:1: a line of more than 1 MB"),
    "words.conll.gz": (b"", b"a", "words.conll.gz:1: a line of more than 1 MB"),
    "bioc.xml.gz": (XML, b"a", "bioc.xml.gz:1: a document over 1 MB; this is no corpus file"),
}


@pytest.fixture
def small_bounds(monkeypatch) -> Iterator[None]:
    """A megabyte in place of 128."""
    monkeypatch.setattr(files, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(files, "_MAX_WHOLE", 1 << 20)
    monkeypatch.setattr(xml, "_MAX_RECORD", 1 << 20)


@pytest.mark.usefixtures("small_bounds")
@pytest.mark.parametrize("name", ENDLESS)
def test_a_packed_file_without_an_end_is_refused_early(tmp_path, name):
    begin, piece, message = ENDLESS[name]
    path = tmp_path / name
    with gzip.open(path, "wb") as file:
        file.write(begin + piece * 5_000_000)
    with pytest.raises(CorpusError, match=message):
        file_ledgers(str(path))


@pytest.mark.usefixtures("small_bounds")
def test_a_text_that_is_read_as_a_whole_is_bounded(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"a" * (1 << 20))
    assert len(read_text(path)) == 1 << 20
    path.write_bytes(b"a" * (1 << 20) + b"b")
    with pytest.raises(CorpusError, match="text.txt: more than 1 MB, which can't be read as a whole; divide the file"):
        read_text(path)


@pytest.mark.usefixtures("small_bounds")
def test_many_lines_below_the_bound_are_read(tmp_path):
    path = tmp_path / "many.jsonl"
    line = json.dumps({"text": "a" * 700_000, "entities": []})
    path.write_text(f"{line}\n{line}\n{line}", encoding="utf-8")
    assert sum(ledger.documents for ledger in file_ledgers(str(path)).values()) == 3


def test_a_named_pipe_in_a_corpus_is_refused(tmp_path):
    os.mkfifo(tmp_path / "train.jsonl")
    with pytest.raises(CorpusError, match="train.jsonl is neither a file nor a folder; take it out of the corpus"):
        file_ledgers(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        (" gout ", (0, 6), (1, 5)),
        ("\x00gout\x1f", (0, 6), (1, 5)),
        ("\u200b(gout)\u00a0", (0, 8), (1, 7)),
        ("gout", (0, 4), (0, 4)),
        ("a \n\x0b b", (1, 5), (5, 5)),
        ("", (0, 0), (0, 0)),
    ],
)
def test_invisible_characters_at_the_edges_are_trimmed(text, span, expected):
    assert trim_span(text, *span) == expected


def test_trimming_takes_time_by_the_length_of_the_text():
    text, begin = "a" + " " * 2_000_000, time.process_time()
    assert trim_span(text, 0, len(text)) == (0, 1)
    assert time.process_time() - begin < 1


DEPTH = 1050  # more than Python's limit of recursion


@pytest.fixture
def deep(tmp_path, monkeypatch) -> Iterator[str]:
    """A folder with a file far down, made and removed level by level, since no call takes the whole path."""
    monkeypatch.chdir(tmp_path)
    Path("top/train").mkdir(parents=True)
    os.chdir("top/train")
    for _ in range(DEPTH):
        os.mkdir("d")
        os.chdir("d")
    Path("1.jsonl").write_text('{"text": "a", "entities": []}', encoding="utf-8")
    bottom = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)
    yield "top"
    os.fchdir(bottom)
    os.close(bottom)
    os.remove("1.jsonl")
    for _ in range(DEPTH):
        os.chdir("..")
        os.rmdir("d")


def test_deep_folders_are_no_traceback(deep, tmp_path):
    assert sum(ledger.documents for ledger in file_ledgers(deep).values()) == 1
    (source,) = find_sources([deep], ColumnOptions(), tmp_path / "out")
    assert source.kind == "json"
