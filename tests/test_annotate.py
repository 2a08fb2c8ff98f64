"""The command `annotate`: files in, entities out; nothing lost, nothing twice, bad input told in one line."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import collect, put, read_json, read_jsonl

import mtl_bioner
import run_annotate
from dataset_scripts.formats import read_any
from mtl_bioner.annotation import local, parts, progress, sources
from mtl_bioner.annotation.engine import EngineOptions, load_engine
from mtl_bioner.annotation.parts import Part
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.training import runtime


ROOT = Path(__file__).parents[1]
GOUT = {"start": 0, "end": 4, "type": "Disease", "text": "Gout", "score": 0.75, "task": "ncbi"}
PUBTATOR = "7|t|Gout.\n7|a|It hurts.\n7\t0\t4\tGout\tDisease\n\n"
BIOC = (
    "<collection><document><id>7</id><passage><offset>0</offset><text>Gout.</text></passage></document>"
    "<document><id>8</id><passage><offset>0</offset><text>Gout and gout.</text></passage></document></collection>"
)
PUBMED = (
    "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID><Article><ArticleTitle>Gout.</ArticleTitle>"
    "<Abstract><AbstractText>It hurts.</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
    "</PubmedArticleSet>"
)
BIOC_JSON = '{"documents": [{"id": "7", "passages": [{"offset": 0, "text": "Gout.", "annotations": []}]}]}'


def find_gout(texts: list[str], threshold: float = 0) -> list[list[dict[str, Any]]]:
    """Stand for a pipeline: each `gout` is a disease."""
    keys = {"entity_group": "Disease", "score": 0.75, "task": "ncbi"}
    return [
        [
            {**keys, "word": m[0], "start": m.start(), "end": m.end()}
            for m in re.finditer("(?i)gout", text)
            if threshold < 0.75
        ]
        for text in texts
    ]


find_gout.subwords = 0  # as a pipeline counts them


class InlinePool(local.Pool):
    """Annotates in this process; dies before the part `dies_at`."""

    dies_at = -1

    def submit(self, part: Part) -> Iterator[local.PartRecord]:
        self.on_ready(local.Ready("float32", 0))
        if part.number == self.dies_at:
            raise KeyboardInterrupt
        yield local.process_part(find_gout, part, self.options)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model that is never loaded."""
    config = {"model_type": "mtl_bioner", "tasks": [{"name": "ncbi", "types": ["Disease"]}]}
    put(tmp_path / "model/model.safetensors", "x")
    return put(tmp_path / "model/config.json", json.dumps(config)).parent


@pytest.fixture
def run(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`run(input, ..., option, ...)` annotates into `out` with `find_gout`; returns the exit status."""
    monkeypatch.setattr(run_annotate, "Pool", InlinePool)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, output="out": run_annotate.main([str(model), "--output", output, *map(str, arguments)])


def read_parts(folder: Path) -> list[dict[str, Any]]:
    return [line for path in sorted(folder.glob("part-*.jsonl")) for line in read_jsonl(path)]


def read_folder(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------------- inputs


def pack_parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), file := io.BytesIO())
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "options", "expected"),
    [
        ("7.txt", "Gout.\n", [], [("7", "Gout.\n")]),
        ("7", "\ufeffGout.\r\nIt hurts.", [], [("7", "Gout.\r\nIt hurts.")]),
        ("7.txt.gz", gzip.compress(b"Gout.", mtime=0), [], [("7", "Gout.")]),
        ("n.txt", "Gout.\n\n  Colic.\r\n", ["--lines"], [("n-1", "Gout."), ("n-3", "Colic.")]),
        ("n.txt", "[Gout.]\nIt hurts.", [], [("n", "[Gout.]\nIt hurts.")]),
        ("n.jsonl", '{"text": "Gout."}\n\n{"text": "", "id": 9}\n', [], [("n-1", "Gout."), ("9", "")]),
        ("n.json", '[{"text": "Gout.", "pmid": 9},\n {"text": "Colic."}]', [], [("9", "Gout."), ("n-2", "Colic.")]),
        ("n.txt", '{"text": "Gout."}', [], [("n-1", "Gout.")]),
        ("n.json", '{"a": "Gout.", "b": "7"}', ["--text_column", "a", "--id_column", "b"], [("7", "Gout.")]),
        ("n.csv", 'pmid,text\n7,"Gout, and\n""colic""."\n8,\n', [], [("7", 'Gout, and\n"colic".'), ("8", "")]),
        ("n.csv", "id;Title;Abstract\n7;Gout.;It hurts.\n8;Gout.;\n", [], [("7", "Gout.\nIt hurts."), ("8", "Gout.")]),
        ("n.tsv", "note\tname\nGout.\ta\n", ["--text_column", "note", "--id_column", "name"], [("a", "Gout.")]),
        ("n.csv", "document_id,text,start,end,type\n7,Gout.,0,4,D\n7,Gout.,1,2,D\n", [], [("7", "Gout.")]),
        ("n.parquet", pack_parquet([{"abstract": "Gout.", "n": 1}, {"abstract": None, "n": 2}]), [],
         [("n-1", "Gout."), ("n-2", "")]),
        ("n.parquet", pack_parquet([{"tokens": ["Gout", "."], "ner_tags": ["B-D", "O"]}]), [], [("n-1", "Gout .")]),
        ("n.pubtator", PUBTATOR, [], [("7", "Gout.\nIt hurts.")]),
        ("n.txt", PUBTATOR, [], [("7", "Gout.\nIt hurts.")]),
        ("n.xml", BIOC, [], [("7", "Gout."), ("8", "Gout and gout.")]),
        ("n.xml.gz", gzip.compress(PUBMED.encode(), mtime=0), [], [("7", "Gout.\nIt hurts.")]),
        ("n", BIOC, [], [("7", "Gout."), ("8", "Gout and gout.")]),
        ("n.json", BIOC_JSON, [], [("7", "Gout.")]),
        ("n.conll", "Gout\tB-D\nhurts\tO\n.\tO\n", [], [("n-1", "Gout hurts .")]),
        ("n.txt", "Gout B-D\nhurts O\n. O\n", [], [("n-1", "Gout hurts .")]),
    ],
)  # fmt: skip
def test_formats_are_known_by_content(run, tmp_path, name, content, options, expected):
    assert run(put(tmp_path / name, content), *options) == 0
    lines = read_parts(tmp_path / "out")
    assert [(line["document_id"], line["text"]) for line in lines] == expected
    assert [[e["text"] for e in line["entities"]] for line in lines] == [
        re.findall("(?i)gout", text) for _, text in expected
    ]


def test_standard_input_is_read_like_a_file(run, tmp_path, monkeypatch):
    for number, (content, expected) in enumerate({
        '{"text": "Gout."}\n': ["Gout."], PUBTATOR: ["Gout.\nIt hurts."], BIOC: ["Gout.", "Gout and gout."],
        "Gout.\nColic.": ["Gout.\nColic."],
    }.items()):  # fmt: skip
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert run("-", output=f"out{number}") == 0
        assert [line["text"] for line in read_parts(tmp_path / f"out{number}")] == expected
        assert not list((tmp_path / f"out{number}").glob(".standard*"))
    assert read_parts(tmp_path / "out3")[0]["document_id"] == "standard-input"


def test_a_folder_of_any_mixture_is_walked_in_order(run, tmp_path):
    files = {
        "b.jsonl": '{"text": "b"}', "a/2.txt": "two", "a/10.1%2Fx.txt": "ten", "a/10.1%2Fx.ann": "T1\tD 0 3\tten\n",
        ".hidden": "x", "README.md": "x", "c.pubtator": PUBTATOR,
    }  # fmt: skip
    for name, content in files.items():
        put(tmp_path / "in" / name, content)
    for output in (tmp_path / "in/out", tmp_path / "in/out"):  # the second time, the output lies there too
        assert run(tmp_path / "in", output=str(output)) == 0
    assert [line["document_id"] for line in read_parts(tmp_path / "in/out")] == ["10.1/x", "2", "b-1", "7"]


def test_data_sets_of_the_library_datasets_are_read(run, tmp_path, monkeypatch):
    from datasets import Dataset, DatasetDict

    dataset = Dataset.from_list([{"text": "Gout.", "pmid": "7", "year": 1999}])
    DatasetDict({"train": dataset, "test": dataset}).save_to_disk(tmp_path / "saved")
    assert run(tmp_path / "saved") == 0
    line = {"text": "Gout.", "pmid": "7", "year": 1999, "entities": [GOUT]}
    assert read_parts(tmp_path / "out") == [{"document_id": "7", **line}, {"document_id": "7-2", **line}]
    monkeypatch.setattr(sources, "load_splits", lambda name: ("c0ffee", {"extra": dataset}))
    assert run("hf:me/notes", output="hub") == 0
    assert read_parts(tmp_path / "hub") == [{"document_id": "7", **line}]
    assert read_json(tmp_path / "hub/manifest.json")["inputs"] == [
        {"name": "hf:me/notes extra", "size": 1, "sha256": "c0ffee"}
    ]


# ---------------------------------------------------------------------------------------------------------- outputs


def test_a_line_of_jsonl_keeps_what_the_input_says(run, tmp_path, capsys):
    given = {"start": 0, "end": 2, "type": "X", "text": "Go"}
    record = {"text": "Gout.", "year": 1999, "authors": [{"name": "\ud800"}], "entities": [given], "document_id": "7"}
    put(tmp_path / "in.jsonl", json.dumps(record) + "\n" + json.dumps({"text": "Gout.", "document_id": "7"}))
    put(tmp_path / "in.pubtator", PUBTATOR)
    assert run("in.jsonl", "in.pubtator") == 0
    assert read_parts(tmp_path / "out") == [
        {"document_id": "7", "text": "Gout.", "year": 1999, "authors": [{"name": "\ud800"}],
         "input_entities": [given], "entities": [GOUT]},
        {"document_id": "7-2", "text": "Gout.", "entities": [GOUT]},
        {"document_id": "7-3", "text": "Gout.\nIt hurts.",
         "passages": [{"start": 0, "end": 5, "infons": {"type": "title"}},
                      {"start": 6, "end": 15, "infons": {"type": "abstract"}}],
         "input_entities": [{"start": 0, "end": 4, "type": "Disease", "text": "Gout"}], "entities": [GOUT]},
    ]  # fmt: skip
    shown = capsys.readouterr()
    assert shown.out.startswith("out: 3 documents, 3 entities (Disease 3); ") and shown.out.count("\n") == 1
    assert shown.err == f"next: look at {Path('out/part-00000*')}\n"


AWKWARD = [("1", 'Gout,\n"hurts"\tgout\u2028 \U0001f9ec gout'), ("a/b 2", "No disease."), ("3", "gout")]


@pytest.mark.parametrize("to", ["jsonl", "pubtator", "bioc", "bioc-json", "brat", "csv", "parquet"])
def test_each_output_can_be_read_back(run, tmp_path, to):
    rows = [json.dumps({"document_id": name, "text": text}) for name, text in AWKWARD]
    assert run(put(tmp_path / "in.jsonl", "\n".join(rows)), "--to", to, "--part_size", 2) == 0
    paths = sorted((tmp_path / "out").glob("part-*"))
    assert len(paths) == 2
    documents, _ = collect(document for path in paths for document in read_any(path))
    texts = dict(AWKWARD)
    if to == "pubtator":  # tabs are spaces, and there is always an abstract
        texts = {"1": texts["1"].replace("\t", " "), "a/b 2": "No disease.\n", "3": "gout\n"}
    assert {document.document_id: document.text for document in documents} == texts
    found = {document.document_id: [(e.start, e.end, e.type) for e in document.entities] for document in documents}
    assert found == {"1": [(0, 4, "Disease"), (14, 18, "Disease"), (22, 26, "Disease")], "a/b 2": [],
                     "3": [(0, 4, "Disease")]}  # fmt: skip
    if to in ("jsonl", "bioc", "bioc-json", "brat"):
        assert "0.75" in "".join(path.read_text() for p in paths for path in ([p] if p.is_file() else p.glob("*.ann")))


@pytest.mark.parametrize("to", ["jsonl", "csv"])
def test_passages_and_empty_texts_can_be_read_back(run, tmp_path, to):
    assert run(put(tmp_path / "a.pubtator", "7|t|Colic.\n7|a|It hurts.\n\n"), "--to", to, output="one") == 0
    assert run(put(tmp_path / "b.jsonl", '{"document_id": "8", "text": ""}\n'), "--to", to, output="two") == 0
    raws = [raw for name in ("one", "two") for path in (tmp_path / name).glob("part-*") for raw in read_any(path)]
    assert [(raw.document_id, raw.text) for raw in raws] == [("7", "Colic.\nIt hurts."), ("8", "")]


def test_pages_have_an_index_and_are_the_same_after_a_kill(run, tmp_path, monkeypatch, capsys):
    put(tmp_path / "in.txt", "Gout.\nNo disease.\nGout and </script> gout.\n")
    options = ["in.txt", "--lines", "--to", "html", "--part_size", 2]
    assert run(*options) == 0
    assert capsys.readouterr().err == f"next: look at {Path('out/index.html')}\n"
    index = (tmp_path / "out/index.html").read_text()
    assert '<a href="part-00001.html">part-00001.html</a><td>1<td>2' in index and "<td>Disease<td>3" in index
    assert "3 annotated documents" in index and "Content-Security-Policy" in index
    monkeypatch.setattr(InlinePool, "dies_at", 1)
    with pytest.raises(KeyboardInterrupt):
        run(*options, output="other")
    monkeypatch.setattr(InlinePool, "dies_at", -1)
    assert run(*options, output="other") == 0
    pages = {name: content for name, content in read_folder(tmp_path / "out").items() if name.endswith(".html")}
    assert len(pages) == 3 and pages.items() <= read_folder(tmp_path / "other").items()


def test_tables_hold_scores(run, tmp_path):
    import pandas

    put(tmp_path / "in.txt", "Gout and gout.")
    assert [run("in.txt", "--to", to, output=to) for to in ("csv", "parquet")] == [0, 0]
    assert (tmp_path / "csv/part-00000.csv").read_text() == (
        "document_id,text,start,end,type,mention,score,task\n"
        "in,Gout and gout.,0,4,Disease,Gout,0.75,ncbi\nin,,9,13,Disease,gout,0.75,ncbi\n"
    )
    (row,) = pandas.read_parquet(tmp_path / "parquet/part-00000.parquet").to_dict("records")
    assert row["entities"][0] == {**GOUT, "tasks": ["ncbi"]} or row["entities"][0]["tasks"].tolist() == ["ncbi"]


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("files", "arguments", "told"),
    [
        ({}, ["/dev/null"], "/dev/null is neither a file nor a folder; give - as INPUT, and pipe it to"),
        ({}, ["absent"], "absent: no such file or folder; check the path"),
        ({"a.txt": ""}, ["a.txt"], "a.txt: the file is empty"),
        ({"a.txt": " \n"}, ["a.txt"], "no document can be read: a.txt: no text, only white space"),
        ({"in/README.md": "x"}, ["in"], "in: no file in this folder; check the path"),
        ({"in/a.jpg": "x"}, ["in"], "no document can be read: in/a.jpg: .jpg ending, and no known format inside"),
        ({"a.txt": b"x\xff"}, ["a.txt"], "no document can be read: a.txt:1: byte 0xff is not UTF-8; save the file as"),
        ({"a.txt": "x".encode("utf-16")}, ["a.txt"], "a.txt:1: byte 0xff is not UTF-8"),
        ({"a.pdf": b"%PDF\0\1"}, ["a.pdf"], "a.pdf: holds NUL bytes, so it is no text"),
        ({"a.gz": gzip.compress(b"Gout.", mtime=0)[:-9]}, ["a.gz"], "a.gz: can't be read (Compressed file ended"),
        ({"a.xml": "<html></html>"}, ["a.xml"], "a.xml: XML root <html>; expected"),
        ({"a.xml": "<collection><"}, ["a.xml"], "no document can be read: a.xml:1: not well-formed XML"),
        ({"a.jsonl": '{"txt": "x"}'}, ["a.jsonl"], "a.jsonl:1: the keys ['txt']; expected text and entities"),
        ({"a.jsonl": '{"txt": "x"}'}, ["a.jsonl", "--text_column", "t"],
         "a.jsonl: no column 't' for --text_column; the columns are txt"),
        ({"a.csv": "x,y\n1,2\n"}, ["a.csv"], "a.csv: no column text, abstract or the like; the columns are x, y; cho"),
        ({"a.csv": "x,text\n1,2\n"}, ["a.csv", "--id_column", "pmid"],
         "a.csv: no column 'pmid' for --id_column; the columns are x, text"),
        ({"a.txt": "Gout.", "z.csv": "x,text\n1,2\n"}, [".", "--text_column", "t"], "z.csv: no column 't' for"),
        ({"a.parquet": b"PAR1 x"}, ["a.parquet"], "a.parquet: no Parquet file ("),
        ({"a.txt": "x"}, ["a.txt", "./a.txt"], "a.txt is there twice among the inputs; name it once"),
        ({"in/a.txt": "x"}, ["in", "in/a.txt"], "in/a.txt is there twice among the inputs; name it once"),
        ({"a.txt": "x", "out/mine": "x"}, ["a.txt"], "--output out is not empty, and no run of annotate; give a new"),
        ({"a.txt": "x", "out/manifest.json": "{}"}, ["a.txt"], "manifest.json is no manifest of annotate"),
        ({"a.txt": "x", "out": "x"}, ["a.txt"], "--output out is a file; give a folder"),
        ({"a.txt": "x"}, ["a.txt", "--to", "xls"], "argument --to: invalid choice: 'xls'"),
        ({"a.txt": "x"}, ["a.txt", "--threshold", "2"], "argument --threshold: '2' is no number from 0 to 1; --help"),
        ({"a.txt": "x"}, ["a.txt", "--workers", "0"], "argument --workers: '0' is no whole number from 1; --help"),
        ({"a.txt": "x"}, ["a.txt", "--tasks", "genes"], "--tasks: no task 'genes'; the model's are ncbi"),
        ({"a.txt": "x"}, ["a.txt", "--strict", "b.txt"], "b.txt: no such file or folder"),
        ({"a.jsonl": '{"text": 5}'}, ["a.jsonl", "--strict"], "leave out --strict to go on without it"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_the_model_is_loaded(run, tmp_path, capsys, monkeypatch, files, arguments, told):
    monkeypatch.setattr(InlinePool, "submit", None)
    for name, content in files.items():
        put(tmp_path / name, content)
    before = read_folder(tmp_path)
    (tmp_path / "model").rename(tmp_path / "model2")  # not among the inputs of "."
    monkeypatch.setattr("mtl_bioner.annotation.sources.HIDDEN", (".", "model2"))
    assert run_annotate.main(["model2", "--output", "out", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("mtl-bioner annotate: error: ") and told in shown.err and shown.err.count("\n") == 1
    assert shown.out == ""
    assert {name.replace("model2", "model") for name in read_folder(tmp_path)} == set(before)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "has no config.json; give the --output_dir of a training"),
        ({"config.json": "{"}, "config.json can't be read (Expecting"),
        ({"config.json": '{"model_type": "bert"}'}, "holds a model of type 'bert', not one of this project; the pipe"),
        ({"config.json": '{"model_type": "mtl_bioner"}'}, "has no weights (model.safetensors); copy the model again"),
        (None, "no model folder ./m; give the --output_dir of a training, or OWNER/NAME"),
    ],
)
def test_a_bad_model_is_told_before_it_is_loaded(tmp_path, monkeypatch, capsys, files, told):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "a.txt", "Gout.")
    if files is not None:
        (tmp_path / "m").mkdir()
    for name, content in (files or {}).items():
        put(tmp_path / "m" / name, content)
    assert run_annotate.main(["./m", "a.txt", "--output", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line and not (tmp_path / "out").exists()


BROKEN = {
    "a.jsonl": b'{"text": "Gout."}\n{"text": \n{"text": "caf\xe9"}\n{"text": 5}\n[]\n{"text": "\\ud800"}\n'
    b'{"text": "b", "text": "c"}\n{"text": "b"}',
    "b.csv": b'text,pmid\nGout.,1\na,b,c\ncaf\xe9,2\ngout,"x\ny"\nlast,3\n"open',
    "b.pubtator": f"{PUBTATOR}8|t|bad\n8\t0\tx\tbad\tD\n9|t|ten\n\n10|t|caf".encode() + b"\xe9",
    "c.xml": BIOC.replace("</document></collection>", "").encode() + b"<oops></collection>",
    "d.txt": b"caf\xe9",
    "e.txt": b"",
    "f.gz": gzip.compress(b'{"text": "packed"}\n' + b"".join(b'{"text": "%d"}\n' % n for n in range(9_999)))[:-2_000],
    "g.png": b"\x89PNG\0",
}  # fmt: skip
TOLD = [
    ("in/a.jsonl", 2, "invalid JSON (Expecting value: line 2 column 1 (char 10)); expected one object a line"),
    ("in/a.jsonl", 3, "byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ("in/a.jsonl", 4, "text is '5'; expected a string"),
    ("in/a.jsonl", 5, "a JSON list; expected an object with a text"),
    ("in/a.jsonl", 6, "half of a surrogate pair (U+D800), which is no character; export the text again"),
    ("in/a.jsonl", 7, "invalid JSON (the key 'text' twice); expected one object a line"),
    ("in/b.csv", 3, "3 columns, where the header has 2; put fields that hold ',' into double quotes"),
    ("in/b.csv", 4, "byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ("in/b.csv", 5, "document id 'x\\ny'; expected a string without tabs, line breaks and the like"),
    ("in/b.csv", 8, "no CSV (unexpected end of data); check the quotes, each doubled inside a field; the file "
                    "is read up to there"),
    ("in/b.pubtator", 6, "'0' and 'x' are no offsets, whole numbers from 0; expected, separated by tabs: document id, "
                         "start, end, text, type, and perhaps concept id and the parts of a composite mention"),
    ("in/b.pubtator", 9, "byte 0xe9 is not UTF-8; save the file as UTF-8; the file is read up to there"),
    ("in/c.xml", 1, "not well-formed XML (mismatched tag); correct or copy it again; the file is read up to there"),
    ("in/d.txt", 1, "byte 0xe9 is not UTF-8; save the file as UTF-8"),
    ("in/e.txt", None, "the file is empty"),
    ("in/f.gz", None, "can't be read (Compressed file ended before the end-of-stream marker was reached); if it is "
                      "gzip, copy or download it again; the file is read up to there"),
    ("in/g.png", None, "holds NUL bytes, so it is no text; unpack archives, and convert documents to text"),
    ("in/h.txt", None, "no such file; check the path"),
]  # fmt: skip


def test_what_cannot_be_read_is_told_and_the_rest_annotated(run, tmp_path, capsys):
    for name, content in BROKEN.items():
        put(tmp_path / "in" / name, content)
    (tmp_path / "in/h.txt").symlink_to("absent")
    assert run("in", "--part_size", 7) == 1
    errors = [tuple(error.values()) for error in read_jsonl(tmp_path / "out/errors.jsonl")]
    assert errors == TOLD
    texts = [line["text"] for line in read_parts(tmp_path / "out")]
    assert texts[:6] == ["Gout.", "b", "Gout.", "last", "Gout.\nIt hurts.", "ten"]
    assert texts[6:10] == ["Gout.", "packed", "0", "1"]
    assert len(texts) > 4_000
    shown = capsys.readouterr()
    assert ", 18 not read; " in shown.out
    assert shown.err.endswith(f"next: see {Path('out/errors.jsonl')} for what was left out\n")
    assert run("in", "--part_size", 7) == 1  # finished before; the status stays
    assert "all of it was done before" in capsys.readouterr().out


def test_annotations_of_brat_are_kept_and_changed_ones_are_another_input(run, tmp_path, capsys, caplog):
    files = {"1.txt": "Gout, 5 mg.", "1.ann": "T1\tDose 6 10\t5 mg\n", "1.a2": "E1\tRise:T1\n", "2.txt": "Gout."}
    for name, text in {**files, "3.txt": "Gout.", "3.ann": "T1 Dose\n", "4.ann": ""}.items():
        put(tmp_path / "in" / name, text)
    assert run("in") == 1
    assert "in: 2 files of events, or of annotations without a text, are not read" in caplog.text
    first, second = read_parts(tmp_path / "out")
    assert first["input_entities"] == [{"start": 6, "end": 10, "type": "Dose", "text": "5 mg"}]
    assert "input_entities" not in second
    (error,) = read_jsonl(tmp_path / "out/errors.jsonl")
    assert error["file"] == str(Path("in/3.txt"))
    assert error["reason"].startswith(f"{Path('in/3.ann')}:1: 'T1 Dose'; expected T1<tab>TYPE START END")
    put(tmp_path / "in/1.ann", "T1\tDose 6 10\t5 mg\nT2\tDose 6 7\t5\n")
    assert run("in") == 2
    assert "inputs" in capsys.readouterr().err


def test_annotations_belong_to_one_text_and_those_outside_are_told(run, tmp_path):
    annotations = "T1\tDose 6 10\t5 mg\nT2\tDose 50 60\tfar\nT3\tDose -4 2\tbefore\n"
    for name, text in {"1.txt": "Gout, 5 mg.", "1.ann": annotations, "1.md": "Other gout text."}.items():
        put(tmp_path / "in" / name, text)
    assert run("in") == 1
    by_text = {line["text"]: line.get("input_entities") for line in read_parts(tmp_path / "out")}
    assert by_text == {
        "Gout, 5 mg.": [{"start": 6, "end": 10, "type": "Dose", "text": "5 mg"}], "Other gout text.": None,
    }  # fmt: skip
    (error,) = read_jsonl(tmp_path / "out/errors.jsonl")
    reason = "2 annotations of document '1' outside the text; left out, and the document is annotated"
    assert error["reason"] == reason


def test_a_missing_abstract_is_empty_and_earlier_annotations_stay(run, tmp_path):
    gout = {"start": 0, "end": 4, "type": "D", "text": "Gout"}
    annotated = {"title": "Gout.", "abstract": "", "entities": [gout], "input_entities": [gout | {"type": "C"}]}
    lines = [{"title": "Gout.", "abstract": None}, {"title": None, "abstract": None}, annotated]
    put(tmp_path / "a.jsonl", "".join(f"{json.dumps(line)}\n" for line in lines))
    assert run("a.jsonl", "--text_column", "title,abstract") == 1
    first, second = read_parts(tmp_path / "out")
    assert (first["text"], second["text"]) == ("Gout.", "Gout.")
    assert [one["type"] for one in second["input_entities"]] == ["C", "D"]
    (error,) = read_jsonl(tmp_path / "out/errors.jsonl")
    assert error["reason"] == "title is 'None', abstract is 'None'; expected a string"


def test_files_beside_a_text_are_part_of_the_input(run, tmp_path, capsys):
    put(tmp_path / "in/train.in", "P1 Gout gene\n")
    put(tmp_path / "in/GENE.eval", "P1|0 3|Gout\n")
    assert run("in/train.in") == 0
    put(tmp_path / "in/GENE.eval", "P1|4 7|gene\n")
    assert run("in/train.in") == 2
    assert "inputs" in capsys.readouterr().err


def test_a_packed_parquet_file_is_read(run, tmp_path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": ["Gout."]}), tmp_path / "a.parquet")
    put(tmp_path / "a.parquet.gz", gzip.compress((tmp_path / "a.parquet").read_bytes()))
    assert run("a.parquet.gz") == 0
    assert [line["text"] for line in read_parts(tmp_path / "out")] == ["Gout."]


@pytest.mark.parametrize(("config", "message"), [("[]", "a model of type None"), ("null", "a model of type None"), (
    '{"model_type": "mtl_bioner", "tasks": [{}]}', "no task 'ncbi'; the model's are None")])  # fmt: skip
def test_an_odd_config_is_one_line(run, model, tmp_path, capsys, config, message):
    put(model / "config.json", config)
    put(tmp_path / "in.txt", "Gout.")
    assert run("in.txt", "--tasks", "ncbi") == 2
    assert message in capsys.readouterr().err


def test_a_model_of_the_hub_is_taken_at_one_commit(run, monkeypatch, tmp_path, capsys):
    commit = ["a" * 40]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda name, file: f"/cache/snapshots/{commit[0]}/{file}")
    put(tmp_path / "in.txt", "Gout.")
    arguments = ["team/model", "in.txt", "--output", "out"]
    assert run_annotate.main(arguments) == 0
    assert read_json(tmp_path / "out/manifest.json")["model"] == {"name": "model", "hash": f"team/model@{'a' * 40}"}
    commit[0] = "b" * 40
    assert run_annotate.main(arguments) == 2
    assert "model" in capsys.readouterr().err


def test_a_gzip_file_that_breaks_off_at_once_is_read_up_to_there(run, tmp_path):
    packed = gzip.compress(b'{"text": "Gout."}\n{"text": "' + bytes(range(97, 123)) * 9)
    put(tmp_path / "a.jsonl.gz", packed[:-12])
    put(tmp_path / "b.xml.gz", gzip.compress(BIOC.encode())[:-9])
    assert run("a.jsonl.gz", "b.xml.gz") == 1
    assert [one["text"] for one in read_parts(tmp_path / "out")] == ["Gout.", "Gout.", "Gout and gout."]
    reasons = [error["reason"] for error in read_jsonl(tmp_path / "out/errors.jsonl")]
    assert all(reason.endswith("; the file is read up to there") for reason in reasons) and len(reasons) == 2


def test_strict_stops_at_the_first_and_keeps_whole_parts(run, tmp_path, capsys):
    put(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n{"text": 5}\n')
    assert run("a.jsonl", "--strict", "--part_size", 1) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.jsonl:3: text is '5'; expected a string; leave out --strict to go on without it" in line
    assert [one["text"] for one in read_parts(tmp_path / "out")] == ["a"]
    assert run("a.jsonl", "--part_size", 1) == 1
    assert [one["text"] for one in read_parts(tmp_path / "out")] == ["a", "b"]


@pytest.mark.parametrize(("to", "name"), [("pubtator", "a|t|b"), ("brat", "x" * 300)])
def test_an_id_that_the_format_cannot_hold_is_an_error_of_its_document(run, tmp_path, to, name):
    put(tmp_path / "a.jsonl", f'{{"text": "a", "id": "{name}"}}\n{{"text": "b"}}\n')
    assert run("a.jsonl", "--to", to) == 1
    (error,) = read_jsonl(tmp_path / "out/errors.jsonl")
    assert (error["line"], error["reason"].startswith("document id '")) == (1, True)


def test_a_text_of_absurd_length_is_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "LONGEST_TEXT", 50)
    put(tmp_path / "a.jsonl", f'{{"text": "{"x" * 51}"}}\n{{"text": "b"}}\n')
    assert run("a.jsonl") == 1
    (error,) = read_jsonl(tmp_path / "out/errors.jsonl")
    assert error["reason"] == "a text of 51 characters; at most 50 are read, so split it"


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(run, tmp_path, capsys, monkeypatch):
    put(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    process = local.process_part

    def fill(ner: object, part: Part, options: object) -> local.PartRecord:
        if part.number == 1:
            raise OSError(28, "No space left on device")
        return process(ner, part, options)

    monkeypatch.setattr(local, "process_part", fill)
    assert run("a.jsonl", "--part_size", 1) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device; go on with the same command: mtl-bioner annotate " in line
    monkeypatch.setattr(local, "process_part", process)
    assert run("a.jsonl", "--part_size", 1) == 0
    assert [one["text"] for one in read_parts(tmp_path / "out")] == ["a", "b"]


# ------------------------------------------------------------------------------------------- parts, ids and going on


def test_parts_are_bounded_by_documents_and_characters(monkeypatch):
    monkeypatch.setattr(parts, "MOST_CHARACTERS", 10)
    items = [parts.SourceDocument(str(n), "x" * length, "f:1") for n, length in enumerate((4, 4, 4, 25, 1, 1, 1))]
    formed = parts.form_parts([*items, parts.Unreadable("f", 8, "bad")], 3)
    assert [([d.document_id for d in part.documents], len(part.problems)) for part in formed] == [
        (["0", "1"], 0), (["2"], 0), (["3"], 0), (["4", "5", "6"], 0), ([], 1)
    ]  # fmt: skip


def test_documents_of_one_id_are_kept_apart():
    items = [parts.SourceDocument(name, "x", "") for name in ("7", "7", "7-3", "7", "7-2", "7")]
    ids = [item.document_id for item in parts.number_ids(items)]
    assert ids == ["7", "7-2", "7-3", "7-4", "7-2-2", "7-5"]


def write_cases(path: Path, count: int = 9) -> Path:
    lines = [json.dumps({"text": f"Case {n}: gout", "document_id": str(n % 5)}) for n in range(count)]
    return put(path, "\n".join([*lines, "{", ""]))


@pytest.mark.parametrize("to", ["jsonl", "brat"])
@pytest.mark.parametrize("dies_at", [0, 1, 3])
@pytest.mark.parametrize("damage", ["", "torn line", "lost line", "lost part", "damaged part", "temporary"])
def test_a_run_goes_on_after_any_death_and_ends_equal_to_the_byte(run, tmp_path, monkeypatch, to, dies_at, damage):
    options = (write_cases(tmp_path / "in.jsonl"), "--part_size", 2, "--to", to)
    assert run(*options, output="whole") == 1
    monkeypatch.setattr(InlinePool, "dies_at", dies_at)
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    monkeypatch.setattr(InlinePool, "dies_at", -1)
    log, out = tmp_path / "out/parts.jsonl", tmp_path / "out"
    part = out / ("part-00000" if to == "brat" else "part-00000.jsonl")
    if damage == "temporary":
        put(out / f".{part.name}.77.tmp", "half")
        put(out / ".standard-input.77", "old")
    elif dies_at and damage:
        if damage == "torn line":
            log.write_bytes(log.read_bytes()[:-9])
        elif damage == "lost line":
            log.write_text("")
        elif damage == "lost part":
            part.rename(tmp_path / "lost")
        else:
            (part / "0.txt" if to == "brat" else part).write_text("damaged")
    assert run(*options) == 1
    assert read_folder(tmp_path / "out") == read_folder(tmp_path / "whole")


def test_parts_that_are_done_are_not_annotated_again(run, tmp_path, monkeypatch, capsys):
    options = (write_cases(tmp_path / "in.jsonl"), "--part_size", 2)
    monkeypatch.setattr(InlinePool, "dies_at", 3)
    with pytest.raises(KeyboardInterrupt):
        run(*options)
    monkeypatch.setattr(InlinePool, "dies_at", -1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("part-*")}
    assert run(*options) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before and len(before) == 3
    shown = capsys.readouterr()
    assert shown.err.startswith("goes on behind 3 parts done before\n")
    assert shown.out.startswith("out: 9 documents, 9 entities (Disease 9), 1 not read; 3 of them now; ")


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({}, ["--to", "csv"], "--to was jsonl, is csv"),
        ({}, ["--threshold", "0.5", "--lines"], "--threshold was None, is 0.5; --lines was False, is True"),
        ({"in/a.txt": "Gout"}, [], "the input a.txt has changed"),
        ({"in/c.txt": "c"}, [], "the input c.txt is new"),
        ({"in/a.txt": None}, [], "the input a.txt is missing"),
        ({"model/model.safetensors": "y"}, [], "the model was another (model, "),
    ],
)
def test_other_arguments_or_inputs_are_refused_with_the_difference(run, tmp_path, capsys, change, options, told):
    put(tmp_path / "in/a.txt", "a")
    put(tmp_path / "in/b.txt", "b")
    assert run("in") == 0
    for name, content in change.items():
        put(tmp_path / name, content) if content else (tmp_path / name).unlink()
    before = read_folder(tmp_path / "out")
    capsys.readouterr()
    assert run("in", *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"out holds another run: {told}" in line and line.endswith("; repeat its command, or give a new --output")
    assert read_folder(tmp_path / "out") == before


def test_two_runs_in_one_folder_are_refused(run, tmp_path, capsys):
    put(tmp_path / "a.txt", "Gout.")
    with lock_folder(tmp_path / "out", "another run"):
        assert run("a.txt") == 2
    assert "out is in use by another run (process " in capsys.readouterr().err


def test_progress_tells_rate_and_time_left(monkeypatch):
    now = iter([0.0, 0.0, 40.0, 40.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    stream = io.StringIO()
    shown = progress.Progress(1000, 2, stream)
    shown.begin_at(200)
    shown.start()
    shown.positions[2] = 400
    shown.add(local.PartRecord(2, "part-00002.jsonl", "", 60, 5000, 6000, {}))
    assert stream.getvalue().splitlines() == [
        "goes on behind 2 parts done before",
        "60 documents, 1.5 documents/s, 150 sub-words/s, 40 % read, 2 min 0 s left",
    ]


# ------------------------------------------------------------------------------------------------------------- Python


def test_annotating_in_python_takes_texts_records_and_paths(tmp_path, caplog):
    put(tmp_path / "n.jsonl", '{"text": "no"}\n{')
    inputs = ["Gout.", {"text": "Gout.", "id": 7, "year": 1}, tmp_path / "n.jsonl", 5, {"a": 1}]
    documents = list(mtl_bioner.annotate(iter(inputs), find_gout))
    assert documents == [
        {"document_id": "1", "text": "Gout.", "entities": [GOUT]},
        {"document_id": "7", "text": "Gout.", "id": 7, "year": 1, "entities": [GOUT]},
        {"document_id": "n-1", "text": "no", "entities": []},
    ]
    told = [record.message.removeprefix("left out: ").removeprefix(f"{tmp_path}{os.sep}") for record in caplog.records]
    assert [message[:25] for message in told] == [
        "n.jsonl:2: invalid JSON (", "input 4: a int; expected ", "record 5: no column text,"
    ]  # fmt: skip
    assert [one["text"] for one in mtl_bioner.annotate(str(tmp_path / "n.jsonl"), find_gout)] == ["no"]
    assert [one["text"] for one in mtl_bioner.annotate("Gout.", find_gout)] == ["Gout."]
    assert [one["entities"] for one in mtl_bioner.annotate("Gout.", find_gout, threshold=0.8)] == [[]]
    with pytest.raises(ValueError, match="expected a text, record or Path; leave out --strict"):
        list(mtl_bioner.annotate(inputs[3:], find_gout, strict=True))


def test_annotating_a_generator_is_lazy():
    def endless() -> Iterator[str]:
        while True:
            yield "Gout."

    documents = mtl_bioner.annotate(endless(), find_gout, part_size=2)
    assert [next(documents)["document_id"] for _ in range(5)] == ["1", "2", "3", "4", "5"]


# ----------------------------------------------------------------------------------------------------- real processes


def test_the_command_answers_before_anything_heavy_is_imported():
    code = (
        "import sys, run_annotate; print(sorted({'torch', 'transformers', 'datasets', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


TEXTS = [f"Cisplatin caused renal failure in case {n}, and BRCA1 carriers had breast cancer." for n in range(12)]


@pytest.fixture
def command(trained: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """`command(option, ...)` starts the command on `TEXTS` with the trained model."""

    def start(*options: object, output: str = "out", part_size: int = 2, copies: int = 1) -> subprocess.Popen:
        put(tmp_path / "in.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * copies))
        arguments = ["in.jsonl", "--output", output, "--part_size", part_size, "--dtype", "float32", *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "mtl_bioner", "annotate", str(trained), *map(str, arguments)], cwd=tmp_path,
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_signals,
        )  # fmt: skip

    return start


def heed_signals() -> None:
    """Undo what nohup, or a shell's background job, has a process ignore."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300  # of a slow machine that has other work
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.01)


@pytest.mark.parametrize(("is_fast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_the_hardware_has_it(trained, monkeypatch, is_fast, expected):
    monkeypatch.setattr(runtime, "has_fast_bf16", lambda use_cpu: is_fast)
    assert load_engine(EngineOptions(str(trained))).model.dtype == expected


def test_the_command_writes_what_the_pipeline_finds(command, trained, tmp_path):
    process = command("--workers", 2, "--tasks", "bc5cdr")
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    found = [[(e["start"], e["end"], e["type"], e["task"]) for e in line["entities"]] for line in
             read_parts(tmp_path / "out")]  # fmt: skip
    ner = mtl_bioner.load(trained, tasks="bc5cdr")
    expected = ner(TEXTS)
    assert read_json(tmp_path / "out/manifest.json")["totals"]["subwords"] == ner.subwords > 0
    assert found == [[(e["start"], e["end"], e["entity_group"], e["task"]) for e in one] for one in expected]
    assert out.startswith(f"out: 12 documents, {sum(map(len, found))} entities")
    manifest = read_json(tmp_path / "out/manifest.json")
    assert manifest["dtype"] == "float32" and manifest["totals"]["documents"] == 12


@pytest.mark.parametrize("number", [
    signal.SIGINT, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGTERM, signal.SIGHUP)),
])  # fmt: skip
def test_a_signal_ends_the_run_with_one_line_and_nothing_half_written(command, tmp_path, number):
    process = command(part_size=1, copies=40)
    wait_for(tmp_path / "out/part-00000.jsonl")
    process.send_signal(number)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    *shown, line = error.strip().splitlines()  # on a slow machine, lines of progress come before
    assert not [one for one in shown if one and "documents/s" not in one]
    assert line.startswith(f"mtl-bioner annotate: stopped by {number.name}; what is done is kept, go on with the same")
    assert not list((tmp_path / "out").glob(".*.tmp"))


@pytest.mark.slow
def test_a_killed_worker_is_one_line_and_the_run_can_go_on(command, tmp_path):
    process = command(part_size=1, copies=40)
    wait_for(tmp_path / "out/part-00000.jsonl")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("no /proc")
    for child in children.read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(int(child), signal.SIGKILL)
    _, error = process.communicate(timeout=300)
    *shown, line = error.strip().splitlines()  # on a slow machine, lines of progress come before
    assert not [one for one in shown if one and "documents/s" not in one]
    assert process.returncode == 1
    assert re.search("worker [12] was killed by SIGKILL; if memory was short, give fewer --workers; go on with", line)
