"""What the writers write, that the readers read it back, and that a failure leaves no trace."""

import errno
import gzip
import logging
import os
import stat
import unicodedata
from pathlib import Path

import pytest
from format_tools import FEW, describe
from hypothesis import given
from hypothesis import strategies as st
from toys import collect, put

from dataset_scripts import formats
from dataset_scripts.formats.files import write_then_rename
from dataset_scripts.schema import CorpusError, Document, Entity


PREDICTED = Document(
    "p/1",
    "Gout\tand\r\ncolic \U0001f9ec",
    [Entity(0, 4, "Disease", "SpecificDisease"), Entity(5, 15, "Disease", score=0.25, task="ncbi")],
)
JSON_WRITERS = [formats.write_bioc_json, formats.write_doccano, formats.write_label_studio, formats.write_prodigy]
AWKWARD = st.sampled_from("\t\n\r\x00\x0b\x1f\x85 \u2028\ufeff|;<&\U0001f9ec")
CHARACTERS = st.characters(exclude_categories=["Cs"]) | AWKWARD
IDS = st.text("abc123-_./%| é", min_size=1, max_size=8).filter(lambda s: s.strip() == s and "|" not in s)


def test_pubtator_literally(tmp_path):
    formats.write_pubtator([PREDICTED], tmp_path / "new" / "c.pubtator")
    mentions = "p/1\t0\t4\tGout\tDisease\t-\np/1\t5\t15\tand  colic\tDisease\t-\n\n"
    written = (tmp_path / "new" / "c.pubtator").read_bytes().decode()
    assert written == f"p/1|t|Gout and \np/1|a|colic \U0001f9ec\n{mentions}"
    for name in ("a|t|b", "a|t"):
        with pytest.raises(CorpusError, match="can't stand in PubTator"):
            formats.write_pubtator([Document(name, "x")], tmp_path / "x.pubtator")
    assert os.listdir(tmp_path) == ["new"]


def test_jsonl_literally(tmp_path):
    formats.write_jsonl([PREDICTED], tmp_path / "c.jsonl")
    assert (tmp_path / "c.jsonl").read_bytes().decode() == (
        '{"document_id": "p/1", "text": "Gout\\tand\\r\\ncolic \U0001f9ec", "entities": ['
        '{"start": 0, "end": 4, "type": "Disease", "text": "Gout"}, '
        '{"start": 5, "end": 15, "type": "Disease", "text": "and\\r\\ncolic", "score": 0.25, "task": "ncbi"}]}\n'
    )
    formats.write_jsonl([PREDICTED], tmp_path / "c.jsonl.gz")
    first = (tmp_path / "c.jsonl.gz").read_bytes()
    formats.write_jsonl([PREDICTED], tmp_path / "c.jsonl.gz")
    assert first == (tmp_path / "c.jsonl.gz").read_bytes()
    assert gzip.decompress(first) == (tmp_path / "c.jsonl").read_bytes()
    assert first[3:8] == bytes(5)  # neither a name nor a time, by which the same documents would differ


def test_brat_literally(tmp_path):
    (tmp_path / "b").mkdir()
    formats.write_brat([PREDICTED, Document("..", "x")], tmp_path / "b")
    assert sorted(os.listdir(tmp_path / "b")) == ["%2E..ann", "%2E..txt", "p%2F1.ann", "p%2F1.txt"]
    assert (tmp_path / "b" / "p%2F1.txt").read_bytes().decode() == PREDICTED.text
    mentions = "T1\tDisease 0 4\tGout\nT2\tDisease 5 15\tand  colic\n#2\tAnnotatorNotes T2\tscore=0.25 task=ncbi\n"
    assert (tmp_path / "b" / "p%2F1.ann").read_bytes().decode() == mentions
    assert [raw.document_id for raw in formats.read_brat(tmp_path / "b")] == ["..", "p/1"]
    with pytest.raises(CorpusError, match="not empty"):
        formats.write_brat([], tmp_path / "b")
    with pytest.raises(CorpusError, match="'1' appears twice"):
        formats.write_brat([Document("1", ""), Document("1", "")], tmp_path / "c")
    assert os.listdir(tmp_path) == ["b"]


def test_bioc_keeps_markup_in_names_as_text(tmp_path):
    formats.write_bioc([Document("a<b&c", "Gout", [Entity(0, 4, "A&B <x>", task="<t>")])], tmp_path / "c.xml")
    (raw,) = formats.read_bioc(tmp_path / "c.xml")
    assert describe(raw) == ("a<b&c", "Gout", "6:0-4 A&B <x> Gout")


def test_other_programs_read_our_bioc(tmp_path):
    bioc = pytest.importorskip("bioc")
    document = Document("1", "Gout & colic", [Entity(0, 4, "Disease", score=0.5, task="t")])
    formats.write_bioc([document], tmp_path / "c.xml")
    with open(tmp_path / "c.xml", encoding="utf-8") as file:
        (read,) = bioc.load(file).documents
    (annotation,) = read.passages[0].annotations
    assert (read.id, read.passages[0].text, annotation.text) == ("1", "Gout & colic", "Gout")
    assert annotation.infons == {"type": "Disease", "score": "0.5", "task": "t"}


@st.composite
def documents(draw) -> Document:
    text = draw(st.text(CHARACTERS, max_size=30))
    offsets = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(offsets, offsets, st.sampled_from(["Gene", "cell line", "a-b"])), max_size=4))
    candidates = (Entity(min(a, b), max(a, b), kind) for a, b, kind in pairs)
    hidden = {c for c in text if c.isspace() or unicodedata.category(c) in ("Cc", "Cf")}
    hidden |= {c for c in text if c < " " or c in "\ufffe\uffff"}  # XML makes them spaces
    entities = {e for e in candidates if e.start < e.end and not {text[e.start], text[e.end - 1]} & hidden}
    return Document(draw(IDS), text, sorted(entities))


def flatten_for_pubtator(text: str) -> str:
    """The first line break stays, tabs and other line breaks become spaces; a text without line break ends in one."""
    title, _, abstract = text.translate(str.maketrans("\t\r", "  ")).partition("\n")
    return title + "\n" + abstract.replace("\n", " ")


def blank_for_xml(text: str) -> str:
    """Characters that XML can't hold become spaces."""
    return "".join(" " if (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" else c for c in text)


def as_set(corpus: list[Document], change=str) -> list[tuple]:
    return sorted((d.document_id, change(d.text), [(e.start, e.end, e.type) for e in d.entities]) for d in corpus)


@pytest.mark.parametrize(("write", "read", "change"), [
    (formats.write_jsonl, formats.read_jsonl, str),
    (formats.write_brat, formats.read_brat, str),
    (formats.write_pubtator, formats.read_pubtator, flatten_for_pubtator),
    (formats.write_bioc, formats.read_bioc, blank_for_xml),
    *((write, formats.read_json, str) for write in JSON_WRITERS),
])  # fmt: skip
@FEW
@given(corpus=st.lists(documents(), min_size=1, max_size=3, unique_by=lambda d: d.document_id.lower()))
def test_documents_survive_a_round_trip(tmp_path_factory, caplog, write, read, change, corpus):
    path = tmp_path_factory.mktemp("r") / "c"
    write(corpus, path)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        back, ledger = collect(read(path))
    assert not caplog.records  # no mention disagrees with its text
    assert ledger.kept == ledger.read
    assert as_set(back) == as_set(corpus, change)


@FEW
@given(st.text(CHARACTERS.filter(lambda c: c not in "\n\r"), max_size=30), st.data())
def test_offsets_of_bc2gm_survive_a_round_trip(tmp_path_factory, sentence, data):
    """Any mention that neither begins nor ends with a space comes back from offsets that leave out spaces."""
    edges = st.sampled_from([i for i, c in enumerate(sentence) if c != " "] or [None])
    pairs = data.draw(st.lists(st.tuples(edges, edges), max_size=4)) if sentence.strip(" ") else []
    spans = [(min(pair), max(pair) + 1) for pair in pairs]
    counts = [[len(sentence[:offset].replace(" ", "")) for offset in span] for span in spans]
    texts = [sentence[start:end] for start, end in spans]
    lines = (f"S1|{first} {end - 1}|{text}\n" for (first, end), text in zip(counts, texts, strict=True))
    folder = tmp_path_factory.mktemp("g")
    (raw,) = formats.read_bc2gm(put(folder / "t.in", f"S1 {sentence}\n"), put(folder / "GENE.eval", "".join(lines)))
    assert (raw.text, [m.spans[0] for m in raw.mentions], [m.text for m in raw.mentions]) == (sentence, spans, texts)


@pytest.mark.parametrize("write", [formats.write_pubtator, formats.write_bioc, formats.write_gliner, *JSON_WRITERS])
def test_an_interrupted_writer_leaves_the_old_file(tmp_path, write):
    target = put(tmp_path / "c", "old")

    def interrupt():
        yield PREDICTED
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupt(), target)
    assert os.listdir(tmp_path) == ["c"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(("umask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_the_umask_decides_the_mode(tmp_path, umask, file_mode, folder_mode):
    before = os.umask(umask)
    try:
        formats.write_jsonl([PREDICTED], tmp_path / "c.jsonl.gz")
        formats.write_brat([PREDICTED], tmp_path / "b")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("c.jsonl.gz", "b/p%2F1.txt", "b")]
    assert modes == [file_mode, file_mode, folder_mode]


@pytest.mark.parametrize("write", [formats.write_jsonl, formats.write_brat])
@pytest.mark.parametrize("names_file", [True, False])  # as open() does, and write() doesn't
def test_a_full_disk_is_one_line_that_names_the_target(tmp_path, monkeypatch, write, names_file):
    def fill_disk(path: Path, *args, **kwargs):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device", *[str(path)] * names_file)

    monkeypatch.setattr(Path, "open", fill_disk)
    with pytest.raises(OSError) as error:
        write([PREDICTED], tmp_path / "c")
    reason = "can't be written (No space left on device); free some space or choose another folder"
    assert (str(error.value), error.value.errno) == (f"{tmp_path / 'c'}: {reason}", errno.ENOSPC)
    assert os.listdir(tmp_path) == []


def test_an_error_of_another_file_stays_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), write_then_rename(tmp_path / "c"):
        (tmp_path / "elsewhere").read_bytes()
