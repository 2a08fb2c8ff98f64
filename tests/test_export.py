"""The command line: list, stats, export; and that what was exported can be read back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dataset_scripts import CorpusError, load_corpus
from dataset_scripts.__main__ import main
from dataset_scripts.bio import decode_bio, label_words
from dataset_scripts.export import export_corpus, list_labels
from dataset_scripts.formats.conll import read_conll


ROOT = Path(__file__).parents[1]
RECORDS = [
    {
        "document_id": f"{split} {n}",
        "text": "The TNF-alpha gene in B cells. Beta-catenin\nWas not; E. coli was.",
        "entities": [
            {"start": 4, "end": 13, "type": "Gene"},
            {"start": 4, "end": 18, "type": "Gene"},
            {"start": 22, "end": 43, "type": "Cell"},
            {"start": 57, "end": 60, "type": "Gene"},
        ],
    }
    for split in ("train", "dev", "test")
    for n in range(2)
]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two documents a split, with a nested, a sentence-crossing and an unaligned mention."""
    folder = tmp_path / "own"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        lines = (json.dumps(record) for record in RECORDS if record["document_id"].startswith(split))
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_list_labels_are_numbered_in_order() -> None:
    assert list_labels(["Gene", "Cell"]) == ["O", "B-Gene", "I-Gene", "B-Cell", "I-Cell"]


def test_conll(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", own, "--to", "conll", "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: train 2, dev 2, test 2 documents\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "dev.conll", "test.conll", "train.conll",
    ]  # fmt: skip
    first = (tmp_path / "out/dev.conll").read_text().split("###")[1]
    assert first == (
        "MEDLINE:dev_0\n\n"
        "The\tO\nTNF\tB-Gene\n-\tI-Gene\nalpha\tI-Gene\ngene\tI-Gene\nin\tO\n"
        "B\tB-Cell\ncells\tI-Cell\n.\tI-Cell\nBeta\tI-Cell\n-\tI-Cell\ncatenin\tI-Cell\n\n"
        "Was\tO\nnot\tO\n;\tO\nE\tO\n.\tO\ncoli\tO\nwas\tO\n.\tO\n\n"
    )


def test_conll_is_read_back_as_own_corpus(own: Path, tmp_path: Path) -> None:
    corpus = load_corpus(own)
    again = load_corpus(export_corpus(corpus, "conll", tmp_path / "out"))
    assert again.types == corpus.types == ("Cell", "Gene")
    for split in ("train", "dev", "test"):
        assert again.ledgers[split].as_dict() == {
            "documents": 2,
            "read": corpus.ledgers[split].kept,
            "kept": 4,
            "dropped": {},
            "types": {"Cell": 2, "Gene": 2},
        }
    assert corpus.ledgers["dev"].dropped == {"nested": 2, "not alignable": 2}


def test_jsonl_holds_all_gold(own: Path, tmp_path: Path) -> None:
    corpus = load_corpus(own)
    again = load_corpus(export_corpus(corpus, "jsonl", tmp_path / "out"))
    assert again.splits == corpus.splits
    assert again.ledgers == corpus.ledgers


@pytest.mark.parametrize("to", ["pubtator", "bioc", "brat"])
def test_whole_documents_are_read_back_as_own_corpus(own: Path, tmp_path: Path, to: str) -> None:
    corpus = load_corpus(own)
    again = load_corpus(export_corpus(corpus, to, tmp_path / "out"))
    for split in ("train", "dev", "test"):
        assert [(d.document_id, d.entities) for d in again.splits[split]] == [
            (d.document_id, d.entities) for d in corpus.splits[split]
        ]


def test_a_type_with_a_space_is_no_tag(tmp_path: Path) -> None:
    entity = {"start": 0, "end": 4, "type": "Cell Line"}
    record = {"document_id": "1", "text": "HeLa cells.", "entities": [entity]}
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(record | {"document_id": split}))
    with pytest.raises(CorpusError, match="the tag 'B-Cell Line' holds white space"):
        export_corpus(load_corpus(tmp_path), "conll", tmp_path / "out")


def test_parquet_is_read_by_datasets_offline(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    corpus = load_corpus(own)
    folder = export_corpus(corpus, "parquet", tmp_path / "out")
    tables = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in tables.items()} == {"train": 2, "validation": 2, "test": 2}
    tags = tables["validation"].features["ner_tags"]
    assert isinstance(tags, datasets.List)
    assert tags.feature.names == ["O", "B-Cell", "I-Cell", "B-Gene", "I-Gene"]
    row = tables["validation"][0]
    assert row["document_id"] == "dev 0"
    assert row["tokens"][:4] == ["The", "TNF", "-", "alpha"]
    assert row["ner_tags"][:8] == [0, 3, 4, 4, 4, 0, 1, 2]
    assert [row["text"][s:e] for s, e in zip(row["starts"], row["ends"], strict=True)] == row["tokens"]
    words = list(zip(row["starts"], row["ends"], strict=True))
    entities = decode_bio(words, [tags.feature.names[tag] for tag in row["ner_tags"]])
    assert [(e.start, e.end, e.type) for e in entities] == [(4, 18, "Gene"), (22, 43, "Cell")]


@pytest.mark.parametrize("name", ["ncbi", "bc5cdr", "bc2gm", "jnlpba"])
def test_conll_of_the_sample_holds_the_kept_mentions(tmp_path: Path, name: str) -> None:
    corpus = load_corpus(name, "sample")
    folder = export_corpus(corpus, "conll", tmp_path / "out")
    for split, documents in corpus.splits.items():
        found = {raw.document_id: raw for raw in read_conll(folder / f"{split}.conll")}
        assert list(found) == [document.document_id for document in documents]
        for document in documents:
            words, tags, _ = label_words(document)
            kept = [("".join(document.text[e.start : e.end].split()), e.type) for e in decode_bio(words, tags)]
            raw = found[document.document_id]
            mentions = [("".join(raw.text[slice(*m.spans[0])].split()), m.type) for m in raw.mentions]
            assert mentions == kept


def test_native_types_and_cuts(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("export", "ncbi", "--data_dir", "sample", "--to", "jsonl", "--output", output, "--native_types",
               "--test_size", "0.15", "--seed", "7") == 0  # fmt: skip
    records = {split: (output / f"{split}.jsonl").read_text().splitlines() for split in ("train", "dev", "test")}
    sample = load_corpus("ncbi", "sample")
    total = sum(map(len, sample.splits.values()))
    assert len(records["test"]) == round(0.15 * total) and sum(map(len, records.values())) == total
    types = {entity["type"] for lines in records.values() for line in lines for entity in json.loads(line)["entities"]}
    assert "SpecificDisease" in types and "Disease" not in types


def test_output_that_is_not_empty_is_left_alone(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    assert run("export", own, "--to", "conll", "--output", output) == 2
    assert capsys.readouterr().err == f"error: --output {output} is not empty; give a new folder\n"
    assert [path.name for path in output.iterdir()] == ["mine.txt"]
    (output / "mine.txt").unlink()
    assert run("export", own, "--to", "conll", "--output", output) == 0


def test_an_export_that_fails_leaves_nothing(own: Path, tmp_path: Path) -> None:
    corpus = load_corpus(own, word_pattern=r"The TNF|\S+")
    with pytest.raises(CorpusError, match="'The TNF' holds white space"):
        export_corpus(corpus, "conll", tmp_path / "exports/out")
    assert not list((tmp_path / "exports").iterdir())
    with pytest.raises(CorpusError, match="'csv'; one of conll, parquet, jsonl"):
        export_corpus(corpus, "csv", tmp_path / "out")


def test_list_shows_every_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["corpus", "ncbi", "bc5cdr", "bc2gm", "jnlpba", "genia"]
    assert "Chemical, Disease" in lines[2]
    places = [line.split() for line in lines[8:]]
    assert ["bc5cdr/", "https://ftp.ncbi.nlm.nih.gov/pub/lu/BC5CDR/CDR_Data.zip"] in places
    assert [place for place, _ in places].count("ncbi_disease/") == 3
    assert [place for place, url in places if url.endswith("Genia4ERtest.tar.gz")] == ["jnlpba/original-data/test/"]


def test_stats_json_of_an_own_corpus(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stats", own, "--json") == 0
    counts = {
        "documents": 2,
        "read": 8,
        "kept": 4,
        "dropped": {"nested": 2, "not alignable": 2},
        "types": {"Cell": 2, "Gene": 6},
    }
    assert json.loads(capsys.readouterr().out) == {str(own): {"train": counts, "dev": counts, "test": counts}}


def test_stats_leaves_out_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("stats", "--data_dir", "sample", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert list(found) == ["ncbi", "bc5cdr", "bc2gm", "jnlpba"]
    assert list(found["bc2gm"]) == ["train", "test"]
    for splits in found.values():
        for counts in splits.values():
            assert counts["read"] == counts["kept"] + sum(counts["dropped"].values())
    assert "left out: genia" in captured.err
    assert run("stats", "--data_dir", "sample") == 0
    assert capsys.readouterr().out.startswith("corpus  split")


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "genia", "--data_dir", "sample"),
        ("stats", "ncbi", "--data_dir", "nowhere"),
        ("stats", "--data_dir", "tests"),
        ("stats", "nbci", "--data_dir", "sample"),
        ("export", "ncbi", "--data_dir", "sample", "--to", "jsonl", "--output", "x", "--test_size", "2"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "dataset_scripts", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "WARNING: "))]
    assert len(errors) == 1 and errors[0].startswith("error: ")


def test_importing_the_corpora_loads_neither_torch_nor_datasets() -> None:
    code = "import sys, dataset_scripts, dataset_scripts.__main__; print({'torch', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n"


def test_parquet_holds_the_words_that_the_ledger_was_counted_with(own: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = export_corpus(load_corpus(own, word_pattern=r"\S+"), "parquet", tmp_path / "out")
    table = datasets.Dataset.from_parquet(str(folder / "validation.parquet"), cache_dir=str(tmp_path / "cache"))
    assert table[0]["tokens"][:3] == ["The", "TNF-alpha", "gene"]
    assert table[0]["ner_tags"][:3] == [0, 3, 4]  # O, B-Gene, I-Gene


def test_source_terms_and_citation_go_with_an_exported_corpus(tmp_path: Path) -> None:
    corpus = load_corpus("ncbi", "sample")
    readme = (export_corpus(corpus, "jsonl", tmp_path / "out") / "README.md").read_text()
    for part in (corpus.info.homepage, f"Terms: {corpus.info.licence}", corpus.info.citation):
        assert part in readme
    assert "test: 20 documents, 148 of 148 mentions as BIO tags" in readme


def test_a_split_without_documents_has_no_file(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps(RECORDS[0]))
    folder = export_corpus(load_corpus(tmp_path / "test.jsonl"), "conll", tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "test.conll"]


def test_readme_tells_the_mentions_that_were_kept_and_read(own: Path, tmp_path: Path) -> None:
    readme = (export_corpus(load_corpus(own), "conll", tmp_path / "out") / "README.md").read_text()
    assert "dev: 2 documents, 4 of 8 mentions as BIO tags" in readme


def test_conll_ids_hold_no_white_space_and_a_document_begins_with_a_word(tmp_path: Path) -> None:
    record = {"document_id": "a\u00a0b c", "text": "No digits are here. Then 5."}
    (tmp_path / "test.jsonl").write_text(json.dumps(record))
    folder = export_corpus(load_corpus(tmp_path / "test.jsonl", word_pattern=r"\d+"), "conll", tmp_path / "out")
    assert (folder / "test.conll").read_text() == "###MEDLINE:a_b_c\n\n5\tO\n\n"


def test_stats_of_all_corpora_stop_at_a_broken_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "develop", "test"):
        path = tmp_path / "ncbi_disease" / f"NCBI{split}set_corpus.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("no title\n")
    assert run("stats", "--data_dir", tmp_path) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and "NCBItrainset_corpus.txt:1: 'no title' before a title" in last


def test_what_the_system_refuses_is_one_line(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("export", own, "--to", "jsonl", "--output", tmp_path / "file" / "out") == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_options_of_an_export_are_heeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{**RECORDS[0], "document_id": str(n), "text": f"{RECORDS[0]['text']} {n}"} for n in range(20)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, records)))
    options = ("--dev_size", "0.5", "--word_pattern", r"\S+")
    assert run("export", tmp_path / "mine.jsonl", "--to", "conll", "--output", tmp_path / "out", *options) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: train 9, dev 8, test 3 documents\n"
    assert "\nThe\tO\nTNF-alpha\tB-Gene\ngene\tI-Gene\n" in (tmp_path / "out/dev.conll").read_text()
