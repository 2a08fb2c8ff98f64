"""The command line: list, stats, export; and that what was exported can be read back."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toys import document, put, read_jsonl, write_jsonl

from dataset_scripts import CorpusError, load_corpus
from dataset_scripts.__main__ import add_commands, main, run_command
from dataset_scripts.bio import decode_bio, label_words
from dataset_scripts.export import FORMATS, export_corpus, list_labels
from dataset_scripts.formats.conll import read_conll
from dataset_scripts.schema import ReadOptions


ROOT = Path(__file__).parents[1]
SPLITS = ("train", "dev", "test")
DOCUMENT_FORMATS = ("jsonl", "pubtator", "bioc", "bioc-json", "brat", "csv", "doccano", "label-studio", "prodigy")
MENTIONS = [(4, 13, "Gene"), (4, 18, "Gene"), (22, 43, "Cell"), (57, 60, "Gene")]
RECORD = {
    "text": "The TNF-alpha gene in B cells. Beta-catenin\nWas not; E. coli was.",
    "entities": [{"start": start, "end": end, "type": name} for start, end, name in MENTIONS],
}


@pytest.fixture
def local(tmp_path) -> Path:
    """A user's own corpus: two documents a split, each with a nested, a sentence-crossing and an unaligned mention."""
    for split in SPLITS:
        write_jsonl(tmp_path / f"local/{split}.jsonl", [{"document_id": f"{split} {n}"} | RECORD for n in range(2)])
    return tmp_path / "local"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_labels_are_numbered_in_the_order_of_types():
    assert list_labels(["Gene", "Cell"]) == ["O", "B-Gene", "I-Gene", "B-Cell", "I-Cell"]


def test_conll_has_a_blank_line_after_each_sentence_but_none_in_a_mention(local, tmp_path, capsys):
    assert run("export", local, "--to", "conll", "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: train 2, dev 2, test 2 documents\n"
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "dev.conll", "test.conll", "train.conll"]
    rows = (
        "The O\nTNF B-Gene\n- I-Gene\nalpha I-Gene\ngene I-Gene\nin O\n"
        "B B-Cell\ncells I-Cell\n. I-Cell\nBeta I-Cell\n- I-Cell\ncatenin I-Cell\n\n"
        "Was O\nnot O\n; O\nE O\n. O\ncoli O\nwas O\n. O\n\n"
    ).replace(" ", " -X- _ ")
    assert (tmp_path / "out/dev.conll").read_text() == f"-DOCSTART- -X- O O\n\n{rows}" * 2


def test_conll_holds_the_kept_mentions(local, tmp_path):
    corpus = load_corpus(local)
    again = load_corpus(export_corpus(corpus, "conll", tmp_path / "out"))
    assert again.types == corpus.types == ("Cell", "Gene")
    assert corpus.ledgers["dev"].dropped == {"nested": 2, "not alignable": 2}
    for split in SPLITS:
        ledger = again.ledgers[split]
        assert (ledger.documents, ledger.read, ledger.kept) == (2, corpus.ledgers[split].kept, 4)
        assert (ledger.dropped, ledger.types) == ({}, {"Cell": 2, "Gene": 2})


@pytest.mark.parametrize("name", ["ncbi", "bc5cdr", "bc2gm", "jnlpba"])
def test_conll_of_the_sample_holds_the_kept_mentions(tmp_path, name):
    corpus = load_corpus(name, "sample")
    folder = export_corpus(corpus, "conll", tmp_path / "out")
    for split, documents in corpus.splits.items():
        raws = list(read_conll(folder / f"{split}.conll"))
        assert [raw.document_id for raw in raws] == [f"{split}-{n}" for n in range(1, len(documents) + 1)]
        for doc, raw in zip(documents, raws, strict=True):
            words, tags, _ = label_words(doc)
            kept = [("".join(doc.text[e.start : e.end].split()), e.type) for e in decode_bio(words, tags)]
            assert [("".join(raw.text[slice(*m.spans[0])].split()), m.type) for m in raw.mentions] == kept


@pytest.mark.parametrize("to", DOCUMENT_FORMATS)
def test_whole_documents_hold_all_gold_mentions(local, tmp_path, to):
    corpus = load_corpus(local)
    again = load_corpus(export_corpus(corpus, to, tmp_path / "out"))
    for split in SPLITS:
        read, written = again.splits[split], corpus.splits[split]
        assert [(d.document_id, d.entities) for d in read] == [(d.document_id, d.entities) for d in written]
    if to == "jsonl":
        assert (again.splits, again.ledgers) == (corpus.splits, corpus.ledgers)


def test_parquet_is_read_by_datasets_offline(local, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = export_corpus(load_corpus(local), "parquet", tmp_path / "out")
    tables = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in tables.items()} == {"train": 2, "validation": 2, "test": 2}
    tags, row = tables["validation"].features["ner_tags"], tables["validation"][0]
    assert isinstance(tags, datasets.List)
    assert tags.feature.names == ["O", "B-Cell", "I-Cell", "B-Gene", "I-Gene"]
    assert (row["document_id"], row["tokens"][:4]) == ("dev 0", ["The", "TNF", "-", "alpha"])
    assert row["ner_tags"][:8] == [0, 3, 4, 4, 4, 0, 1, 2]
    words = list(zip(row["starts"], row["ends"], strict=True))
    assert [row["text"][start:end] for start, end in words] == row["tokens"]
    entities = decode_bio(words, [tags.feature.names[tag] for tag in row["ner_tags"]])
    assert [(e.start, e.end, e.type) for e in entities] == [(4, 18, "Gene"), (22, 43, "Cell")]


def test_parquet_holds_the_words_that_the_ledger_was_counted_with(local, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = export_corpus(load_corpus(local, word_pattern=r"\S+"), "parquet", tmp_path / "out")
    table = datasets.Dataset.from_parquet(str(folder / "validation.parquet"), cache_dir=str(tmp_path / "cache"))
    assert table[0]["tokens"][:3] == ["The", "TNF-alpha", "gene"]
    assert table[0]["ner_tags"][:3] == [0, 3, 4]  # O, B-Gene, I-Gene


@pytest.mark.parametrize("to", FORMATS)
def test_exported_files_have_the_mode_that_the_user_chose(local, tmp_path, to):
    if to == "spacy":
        pytest.importorskip("spacy")
    old = os.umask(0o027)
    try:
        folder = export_corpus(load_corpus(local), to, tmp_path / "out")
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o640}
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*")) if path.is_dir()} == {0o750}


def test_the_readme_of_an_export_tells_source_terms_and_counts(local, tmp_path):
    corpus = load_corpus("ncbi", "sample")
    readme = (export_corpus(corpus, "jsonl", tmp_path / "out") / "README.md").read_text()
    for part in (corpus.info.homepage, f"Terms: {corpus.info.licence}", corpus.info.citation):
        assert part in readme
    assert "test: 20 documents, 148 of 148 mentions as BIO tags" in readme
    readme = (export_corpus(load_corpus(local), "conll", tmp_path / "local-out") / "README.md").read_text()
    assert "dev: 2 documents, 4 of 8 mentions as BIO tags" in readme


def test_empty_splits_have_no_file(tmp_path):
    path = write_jsonl(tmp_path / "test.jsonl", [{"document_id": "a\u00a0b c", "text": "No digits. Then 5."}])
    folder = export_corpus(load_corpus(path, word_pattern=r"\d+"), "conll", tmp_path / "out")
    assert (folder / "test.conll").read_text() == "-DOCSTART- -X- O O\n\n5 -X- _ O\n\n"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "test.conll"]


def test_an_export_that_fails_leaves_nothing(local, tmp_path):
    output = tmp_path / "exports/out"
    with pytest.raises(CorpusError, match="the word 'The TNF' holds white space"):
        export_corpus(
            load_corpus(local, word_pattern=r"The TNF|\S+", options=ReadOptions(allow_losses=True)), "conll", output
        )
    path = write_jsonl(tmp_path / "test.jsonl", [document("1", "HeLa cells.", [("HeLa", "Cell Line")])])
    with pytest.raises(CorpusError, match="the tag 'B-Cell Line' holds white space"):
        export_corpus(load_corpus(path), "conll", output)
    assert not list(output.parent.iterdir())
    with pytest.raises(CorpusError, match="'docx'; one of jsonl, pubtator"):
        export_corpus(load_corpus(path), "docx", output)


def test_an_output_that_cannot_be_used_is_left_alone(local, tmp_path, capsys):
    output = put(tmp_path / "out/mine.txt", "mine").parent
    assert run("export", local, "--to", "conll", "--output", output) == 2
    assert capsys.readouterr().err == f"error: {output} is not empty; give a new folder\n"
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
    assert run("export", local, "--to", "jsonl", "--output", output / "mine.txt/out") == 2
    assert capsys.readouterr().err.startswith("error: ")  # what the system says
    (output / "mine.txt").unlink()
    assert run("export", local, "--to", "conll", "--output", output) == 0


def test_options_of_an_export_are_heeded(tmp_path, capsys):
    records = [RECORD | {"document_id": str(n), "text": f"{RECORD['text']} {n}"} for n in range(20)]
    path = write_jsonl(tmp_path / "mine.jsonl", records)
    options = ("--dev_size", "0.5", "--word_pattern", r"\S+")
    assert run("export", path, "--to", "conll", "--output", tmp_path / "out", *options) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: train 9, dev 8, test 3 documents\n"
    assert "\nThe -X- _ O\nTNF-alpha -X- _ B-Gene\ngene -X- _ I-Gene\n" in (tmp_path / "out/dev.conll").read_text()
    options = ("--data_dir", "sample", "--native_types", "--test_size", "0.15", "--seed", "7")
    assert run("export", "ncbi", "--to", "jsonl", "--output", tmp_path / "ncbi", *options) == 0
    records = {split: read_jsonl(tmp_path / f"ncbi/{split}.jsonl") for split in SPLITS}
    total = sum(map(len, load_corpus("ncbi", "sample").splits.values()))
    assert len(records["test"]) == round(0.15 * total) and sum(map(len, records.values())) == total
    types = {entity["type"] for rows in records.values() for row in rows for entity in row["entities"]}
    assert "SpecificDisease" in types and "Disease" not in types


def test_list_shows_every_corpus_and_its_archives(capsys):
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["corpus", "ncbi", "bc5cdr", "bc2gm", "jnlpba", "genia"]
    assert "Chemical, Disease" in lines[2]
    places = [line.split() for line in lines[8:]]
    assert ["bc5cdr/", "https://ftp.ncbi.nlm.nih.gov/pub/lu/BC5CDR/CDR_Data.zip"] in places
    assert [place for place, _ in places].count("ncbi_disease/") == 3
    assert [place for place, url in places if url.endswith("Genia4ERtest.tar.gz")] == ["jnlpba/original-data/test/"]


def test_stats_count_an_own_corpus(local, capsys):
    assert run("stats", local, "--json") == 0
    losses, types = {"nested": 2, "not alignable": 2}, {"Cell": 2, "Gene": 6}
    counts = {"documents": 2, "read": 8, "kept": 4, "dropped": losses, "types": types}
    assert json.loads(capsys.readouterr().out) == {str(local): dict.fromkeys(SPLITS, counts)}


def test_stats_leave_out_the_corpora_that_are_absent(capsys):
    assert run("stats", "--data_dir", "sample", "--json") == 0
    captured = capsys.readouterr()
    shown = json.loads(captured.out)
    assert list(shown) == ["ncbi", "bc5cdr", "bc2gm", "jnlpba"] and list(shown["bc2gm"]) == ["train", "test"]
    for counts in (counts for splits in shown.values() for counts in splits.values()):
        assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert "note: left out: genia" in captured.err
    assert run("stats", "--data_dir", "sample") == 0
    assert capsys.readouterr().out.startswith("corpus  split")


def test_stats_stop_at_a_broken_corpus(tmp_path, capsys):
    for split in ("train", "develop", "test"):
        put(tmp_path / f"ncbi_disease/NCBI{split}set_corpus.txt", "no title\n")
    assert run("stats", "--data_dir", tmp_path) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "NCBItrainset_corpus.txt:1: 'no title' before a title" in last


@pytest.mark.parametrize("arguments", [
    "stats genia --data_dir sample",
    "stats ncbi --data_dir nowhere",
    "stats --data_dir nowhere",
    "stats --data_dir tests",
    "stats nbci --data_dir sample",
    "export ncbi --data_dir sample --to jsonl --output x --test_size 2",
])  # fmt: skip
def test_an_error_is_one_line(arguments, capsys):
    assert run(*arguments.replace("tests", str(ROOT / "tests")).split()) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if not line.startswith(("note: ", "WARNING: "))]
    assert not captured.out and len(errors) == 1 and errors[0].startswith("error: ")


def test_the_commands_can_be_attached_to_another_program(capsys):
    parser = argparse.ArgumentParser(prog="mtl-bioner corpora")
    add_commands(parser.add_subparsers(required=True))
    assert run_command(parser.parse_args(["stats", "ncbi", "--data_dir", "sample"])) == 0
    assert "148" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parser.parse_args(["export", "--help"])
    assert capsys.readouterr().out.startswith("usage: mtl-bioner corpora export [-h]")


def test_the_module_is_a_command_and_loads_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "dataset_scripts", "list"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("corpus")
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "dataset_scripts" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "pyarrow", "numpy", "pandas", "huggingface_hub", "tqdm"}
