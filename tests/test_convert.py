"""`convert`: any format to any other, as it is; what the target can't hold is told, and nothing is half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import collect, document, put, write_jsonl

from dataset_scripts.__main__ import main
from dataset_scripts.export import ENDINGS
from dataset_scripts.formats import read_any


TEXT = "The TNF-alpha gene in B cells."
MENTIONS = [(4, 13, "Gene"), (4, 18, "Gene"), (22, 29, "Cell"), (26, 28, "Part")]  # nested, one in a word too
SHIFTED = '{"text": "Gout.", "entities": [{"start": 1, "end": 4, "type": "D", "text": "Gout"}]}'
FLAT = [(4, 18, "Gene"), (22, 29, "Cell")]


def run(*arguments: object) -> int:
    return main(["convert", *map(str, arguments)])


def read(path: Path) -> list[tuple]:
    """Ids, texts and mentions, in the order of ids."""
    documents, _ = collect(read_any(path))
    return sorted((d.document_id, d.text, [(e.start, e.end, e.type) for e in d.entities]) for d in documents)


@pytest.fixture
def source(tmp_path) -> Path:
    entities = [{"start": start, "end": end, "type": name} for start, end, name in MENTIONS]
    records = [{"document_id": "b 2", "text": TEXT, "entities": entities}, document("a", "No gene.", [])]
    return write_jsonl(tmp_path / "in.jsonl", records)


@pytest.mark.parametrize("to", ["jsonl", "bioc", "bioc-json", "brat", "csv", "doccano", "label-studio", "prodigy"])
def test_whole_documents_survive_the_way_there_and_back(source, tmp_path, capsys, to):
    target = tmp_path / f"out{ENDINGS[to]}"
    assert run(source, target, "--to", to) == 0
    assert capsys.readouterr().out == f"{target}: 2 documents, 4 mentions\n"
    assert run(target, tmp_path / "back.jsonl", "--to", "jsonl") == 0
    assert read(tmp_path / "back.jsonl") == read(source) == [("a", "No gene.", []), ("b 2", TEXT, MENTIONS)]


@pytest.mark.parametrize(("to", "ids", "text"), [
    ("conll", ["out-1", "out-2"], "The TNF - alpha gene in B cells ."),
    ("gliner", ["b 2", "a"], "The TNF - alpha gene in B cells ."),
    ("tokens", ["b 2", "a"], "The TNF - alpha gene in B cells ."),
    ("spacy", ["b 2", "a"], TEXT),
])  # fmt: skip
def test_words_hold_the_mentions_that_bio_tags_hold(source, tmp_path, capsys, to, ids, text):
    if to == "spacy":
        pytest.importorskip("spacy")
    target = tmp_path / f"out{ENDINGS[to]}"
    assert run(source, target, "--to", to) == 1
    told = "2 documents, 2 mentions; 2 mentions not written (nested 2)"
    assert capsys.readouterr().out == f"{target}: {told}\n"
    raws = list(read_any(target))
    assert [raw.document_id for raw in raws] == ids
    assert (raws[0].text, [m.cut(raws[0].text).replace(" - ", "-") for m in raws[0].mentions]) == (
        text, ["TNF-alpha gene", "B cells"]
    )  # fmt: skip


def test_splits_of_a_folder_stay(tmp_path, capsys):
    for split, count in {"train": 3, "valid": 1}.items():
        rows = [document(f"{split} {n}", f"{n} gout", [("gout", "D")]) for n in range(count)]
        write_jsonl(tmp_path / f"in/{split}.jsonl", rows)
    assert run(tmp_path / "in", tmp_path / "out", "--to", "bioc") == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["dev.xml", "train.xml"]
    assert [len(read(tmp_path / "out" / name)) for name in ("dev.xml", "train.xml")] == [1, 3]
    assert run(tmp_path / "in", tmp_path / "out", "--to", "bioc") == 2
    assert "is not empty; give a new folder" in capsys.readouterr().err
    assert run(tmp_path / "in", tmp_path / "tables", "--to", "parquet") == 0
    assert sorted(os.listdir(tmp_path / "tables")) == ["train.parquet", "validation.parquet"]


def test_predictions_stay_predictions(tmp_path):
    entity = {"start": 2, "end": 6, "type": "D", "text": "gout", "score": 0.75, "task": "ncbi"}
    source = write_jsonl(tmp_path / "in.jsonl", [document("1", "A gout.", []) | {"entities": [entity]}])
    assert run(source, tmp_path / "out.jsonl", "--to", "jsonl") == 0
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    assert run(source, tmp_path / "out.json", "--to", "label-studio") == 0
    (task,) = json.loads((tmp_path / "out.json").read_text())
    assert (task["annotations"], task["predictions"][0]["result"][0]["score"]) == ([], 0.75)


@pytest.mark.parametrize(("content", "output", "to", "told"), [
    (None, "taken.xml", "bioc", "taken.xml exists; give a new name"),
    (None, "out.txt", "bioc", "out.txt: the name of a bioc file must end in .xml, or it can't be read again"),
    ('{"text": "Gout", "entities": [{"start": 0, "end": 4, "type": "a b"}]}', "o.conll", "conll", "holds white space"),
    ("", "o.xml", "bioc", "in.jsonl holds no document"),
    ("{", "o.xml", "bioc", "in.jsonl:1: invalid JSON"),
    (SHIFTED, "o.xml", "bioc", "'out' in the text and 'Gout' in the mention; correct the offsets, or trust them with"),
])  # fmt: skip
def test_what_cannot_be_converted_leaves_nothing(source, tmp_path, capsys, content, output, to, told):
    put(tmp_path / "taken.xml", "mine")
    if content is not None:
        put(source, content)
    assert run(source, tmp_path / output, "--to", to) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and told in line
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "taken.xml"]


@pytest.mark.parametrize("name", ["ncbi", "hf:owner/name"])
def test_corpora_without_a_path_are_exported_instead(tmp_path, capsys, name):
    assert run(name, tmp_path / "o.jsonl", "--to", "jsonl") == 2
    assert f"`mtl-bioner corpora export {name}`" in capsys.readouterr().err


def test_without_spacy_the_error_names_the_remedy(source, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert run(source, tmp_path / "o.spacy", "--to", "spacy") == 2
    assert run(put(tmp_path / "in.spacy", b"x"), tmp_path / "o.jsonl", "--to", "jsonl") == 2
    for line in capsys.readouterr().err.splitlines():
        assert ".spacy files need the library spacy (" in line and line.endswith("; pip install spacy")


def test_spacy_reads_what_we_write_and_we_what_spacy_writes(source, tmp_path, caplog):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin, Span
    from spacy.training import docs_to_json

    awkward = "\n IL-2  binds\u00a0\U0001f9ec, \tx "
    write_jsonl(source, [document("x", awkward, [("IL-2", "Gene"), ("\U0001f9ec", "Cell")])])
    assert run(source, tmp_path / "o.spacy", "--to", "spacy") == 0
    (doc,) = DocBin().from_disk(tmp_path / "o.spacy").get_docs(spacy.blank("en").vocab)
    entities = [(e.start_char, e.end_char, e.label_) for e in doc.ents]
    assert (doc.text, entities) == (awkward, [(2, 6, "Gene"), (14, 15, "Cell")])
    assert read(tmp_path / "o.spacy") == [("x", awkward, entities)]

    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer")
    doc = nlp("Aspirin  may cause bronchial asthma.")
    doc.ents, doc.spans["sc"] = [Span(doc, 0, 1, "Chemical"), Span(doc, 4, 6, "Disease")], [Span(doc, 0, 2, "X")]
    DocBin(docs=[doc]).to_disk(tmp_path / "theirs.spacy")
    put(tmp_path / "training.json", json.dumps([docs_to_json([doc], doc_id=7)]))
    put(tmp_path / "doc.json", json.dumps(doc.to_json()))
    mentions = [(0, 7, "Chemical"), (19, 35, "Disease")]
    for name, document_id in (("theirs.spacy", "theirs-1"), ("training.json", "7"), ("doc.json", "doc-1")):
        assert read(tmp_path / name) == [(document_id, doc.text, mentions)]
    assert "1 spans of span groups are not read" in caplog.text
    assert "no DocBin of spaCy" in _error(put(tmp_path / "bad.spacy", b"no DocBin"))


def _error(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        list(read_any(path))
    return str(error.value)


def test_spacy_convert_knows_the_documents_of_our_conll(source, tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    assert run(source, tmp_path / "out.conll", "--to", "conll") == 1
    command = [sys.executable, "-m", "spacy", "convert", str(tmp_path / "out.conll"), str(tmp_path), "-c", "ner"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    docs = list(DocBin().from_disk(tmp_path / "out.spacy").get_docs(spacy.blank("en").vocab))
    assert [[token.text for token in doc] for doc in docs] == [
        ["The", "TNF", "-", "alpha", "gene", "in", "B", "cells", "."], ["No", "gene", "."]
    ]  # fmt: skip
    assert [(e.text, e.label_) for e in docs[0].ents] == [("TNF - alpha gene", "Gene"), ("B cells", "Cell")]
