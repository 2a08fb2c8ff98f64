"""Names and paths to documents: official layouts, splits and their cuts, ledgers, a user's own corpus, errors."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from dataset_scripts import (
    CorpusError,
    LoadedCorpus,
    file_ledgers,
    get_corpus,
    hash_corpus,
    list_corpora,
    load_corpus,
    with_dev_in_train,
)
from dataset_scripts.bio import flatten
from dataset_scripts.schema import Entity, RawDocument
from dataset_scripts.splits import cut, split_of_name


def pubtator(first: int, last: int, type_name: str = "SpecificDisease") -> str:
    """Documents `first` to `last`, each with the mention `lupus` at 4-9 and another word that is none."""
    return "".join(
        f"{n}|t|The lupus of case {n}\n{n}|a|Nothing more.\n{n}\t4\t9\tlupus\t{type_name}\tD1\n\n"
        for n in range(first, last + 1)
    )


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def ncbi(tmp_path: Path) -> Path:
    write(tmp_path / "ncbi_disease/NCBItrainset_corpus.txt", pubtator(1, 4) + pubtator(4, 4))
    write(tmp_path / "ncbi_disease/NCBIdevelopset_corpus.txt", pubtator(11, 12, "Modifier"))
    write(tmp_path / "ncbi_disease/NCBItestset_corpus.txt", pubtator(21, 23, "CompositeMention"))
    return tmp_path


def ids(corpus: LoadedCorpus, split: str) -> list[str]:
    return [document.document_id for document in corpus.splits[split]]


def test_registered_names_in_order() -> None:
    assert list_corpora() == ("ncbi", "bc5cdr", "bc2gm", "jnlpba", "genia")


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("ncbi", ("Disease",)),
        ("bc5cdr", ("Chemical", "Disease")),
        ("bc2gm", ("Gene",)),
        ("jnlpba", ("Protein", "DNA", "RNA", "CellType", "CellLine")),
        ("genia", ("Protein", "DNA", "RNA", "CellType", "CellLine")),
    ],
)
def test_harmonised_types(name: str, types: tuple[str, ...]) -> None:
    info = get_corpus(name)
    assert info.types == types
    assert info.citation.startswith("@") and info.licence and info.homepage.startswith("http")
    assert all(archive.url.startswith("https://") for archive in info.archives)


def test_official_splits_types_and_ledger(ncbi: Path) -> None:
    corpus = load_corpus("ncbi", ncbi)
    assert {split: ids(corpus, split) for split in corpus.splits} == {
        "train": ["1", "2", "3", "4"],
        "dev": ["11", "12"],
        "test": ["21", "22", "23"],
    }
    assert corpus.types == ("Disease",)
    assert corpus.ledgers["train"].as_dict() == {
        "documents": 4,
        "read": 5,
        "kept": 4,
        "dropped": {"duplicate document": 1},
        "types": {"Disease": 5},
    }
    entity = corpus.splits["dev"][0].entities[0]
    assert (entity.start, entity.end, entity.type, entity.native_type) == (4, 9, "Disease", "Modifier")


def test_hashes_name_the_files_relative_to_data_dir(tmp_path: Path) -> None:
    for split in ("train", "develop", "test"):
        write(tmp_path / f"ncbi_disease/NCBI{split}set_corpus.txt", "1|t|lupus\n1\t0\t5\tlupus\tModifier\tD1\n")
    hashes = load_corpus("ncbi", tmp_path).hashes
    expected = "1c32e831733ade30089d447fbc7e6d85f261cf2ea0c248fdfed64130b2f411bb"
    assert list(hashes) == [f"ncbi_disease/NCBI{split}set_corpus.txt" for split in ("train", "develop", "test")]
    assert set(hashes.values()) == {expected}


def test_native_types(ncbi: Path) -> None:
    corpus = load_corpus("ncbi", ncbi, native_types=True)
    assert corpus.types == ("CompositeMention", "Modifier", "SpecificDisease")
    assert corpus.splits["dev"][0].entities[0].type == "Modifier"


def test_gzipped_files_are_as_good(ncbi: Path) -> None:
    path = ncbi / "ncbi_disease/NCBItestset_corpus.txt"
    plain = load_corpus("ncbi", ncbi).splits["test"]
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())
    path.unlink()
    corpus = load_corpus("ncbi", ncbi)
    assert corpus.splits["test"] == plain
    assert "ncbi_disease/NCBItestset_corpus.txt.gz" in corpus.hashes


def test_wrong_counts_are_said(ncbi: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_corpus("ncbi", ncbi)
    assert "ncbi train: 4 documents, 592 expected; is the file complete?" in caplog.text


def test_test_size_pools_all_documents(ncbi: Path) -> None:
    corpus = load_corpus("ncbi", ncbi, test_size=0.34, dev_size=0.2)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [5, 1, 3]
    pooled = sorted(document_id for split in corpus.splits for document_id in ids(corpus, split))
    assert pooled == ["1", "11", "12", "2", "21", "22", "23", "3", "4"]
    assert sum(ledger.read for ledger in corpus.ledgers.values()) == 10
    for split, ledger in corpus.ledgers.items():
        assert ledger.documents == len(corpus.splits[split])
        assert ledger.read == ledger.kept + sum(ledger.dropped.values())


def test_cut_depends_on_the_seed(ncbi: Path) -> None:
    held_out = {tuple(sorted(ids(load_corpus("ncbi", ncbi, test_size=0.34, seed=n), "test"))) for n in range(8)}
    assert len(held_out) > 3
    again = [tuple(sorted(ids(load_corpus("ncbi", ncbi, test_size=0.34, seed=3), "test"))) for _ in range(2)]
    assert again[0] == again[1]


def raws(count: int, groups: int) -> list[RawDocument]:
    return [RawDocument(f"d{n:03}", "text", group=f"g{n % groups}") for n in range(count)]


def test_cut_ignores_the_order_of_files_and_keeps_groups_whole() -> None:
    documents = raws(60, 20)
    rest, held_out = cut(documents, 0.1, 7)
    _, reversed_held_out = cut(documents[::-1], 0.1, 7)
    assert len(held_out) == 6 and len(rest) == 54
    assert {d.document_id for d in held_out} == {d.document_id for d in reversed_held_out}
    assert not {d.group for d in held_out} & {d.group for d in rest}
    assert [d.document_id for d in rest] == sorted(d.document_id for d in rest)


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_cut_of_very_few_documents(count: int, expected: tuple[int, int]) -> None:
    rest, held_out = cut(raws(count, count), 0.1, 42)
    assert (len(rest), len(held_out)) == expected


def test_bc2gm_development_split_keeps_abstracts_together(tmp_path: Path) -> None:
    train, test = tmp_path / "bc2gm/bc2geneMention/train", tmp_path / "bc2gm/BC2GM/test"
    sentences = [f"P{abstract:08}A{n:04} gene x{n}" for abstract in range(10) for n in range(4)]
    write(train / "train.in", "\n".join(sentences) + "\n")
    write(train / "GENE.eval", "".join(f"{line.split()[0]}|0 3|gene\n" for line in sentences))
    write(train / "ALTGENE.eval", "P00000000A0000|0 5|gene x0\n")
    write(test / "test.in", "BC2GM1 gene a\n")
    write(test / "GENE.eval", "BC2GM1|0 3|gene\n")
    write(test / "ALTGENE.eval", "")
    write(test / "test.idmap", "P00000099A0000 BC2GM1\n")
    corpus = load_corpus("bc2gm", tmp_path, dev_size=0.2)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [32, 8, 1]
    assert len({document.group for document in corpus.splits["dev"]}) == 2
    assert not {d.group for d in corpus.splits["dev"]} & {d.group for d in corpus.splits["train"]}
    assert {split: ledger.read for split, ledger in file_ledgers("bc2gm", tmp_path).items()} == {
        "train": 40,
        "test": 1,
    }


IOB2 = "###MEDLINE:{0}\n\nIL-2\tB-protein\nbinds\tO\n.\tO\n\nHeLa\tB-cell_line\ncells\tI-cell_line\n\n"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("original-data/train/", "original-data/test/"),
        ("Genia4ERtraining/", "Genia4ERtest/"),
        ("", ""),
        ("", "original-data/test/"),
    ],
)
def test_jnlpba_from_official_files_wherever_they_were_unpacked(tmp_path: Path, train: str, test: str) -> None:
    write(tmp_path / f"jnlpba/{train}Genia4ERtask2.iob2", "".join(map(IOB2.format, range(10))))
    write(tmp_path / f"jnlpba/{test}Genia4EReval2.iob2", IOB2.format(99))
    write(tmp_path / "jnlpba/standoff/train/1.txt", "standoff is not read\n")
    corpus = load_corpus("jnlpba", tmp_path)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [9, 1, 1]
    document = corpus.splits["test"][0]
    assert [(document.text[e.start : e.end], e.type) for e in document.entities] == [
        ("IL-2", "Protein"),
        ("HeLa cells", "CellLine"),
    ]


def test_jnlpba_without_both_official_files_is_read_from_standoff(tmp_path: Path) -> None:
    write(tmp_path / "jnlpba/original-data/test/Genia4EReval2.iob2", IOB2.format(99))
    for n in range(3):
        write(tmp_path / f"jnlpba/standoff/train/{n}.txt", "IL-2 binds.\n")
        write(tmp_path / f"jnlpba/standoff/train/{n}.ann", "T1\tprotein 0 4\tIL-2\n")
    write(tmp_path / "jnlpba/standoff/test/7.txt", "IL-2 binds.\n")
    write(tmp_path / "jnlpba/standoff/test/7.ann", "T1\tprotein 0 4\tIL-2\n")
    corpus = load_corpus("jnlpba", tmp_path)
    assert ids(corpus, "test") == ["7"]
    assert list(corpus.hashes) == ["jnlpba/standoff/train", "jnlpba/standoff/test"]


def test_two_documents_of_one_medline_id_stay_on_one_side(tmp_path: Path) -> None:
    for split, names in {"train": [f"{n}{suffix}" for n in range(8) for suffix in ("", "-2")], "test": ["90"]}.items():
        for name in names:
            write(tmp_path / f"jnlpba/standoff/{split}/{name}.txt", f"IL-2 {name}\n")
            write(tmp_path / f"jnlpba/standoff/{split}/{name}.ann", "T1\tprotein 0 4\tIL-2\n")
    corpus = load_corpus("jnlpba", tmp_path, dev_size=0.25)
    sides = [{name.removesuffix("-2") for name in ids(corpus, split)} for split in ("train", "dev")]
    assert len(corpus.splits["dev"]) == 4
    assert not sides[0] & sides[1]


GENIA = """<?xml version="1.0"?><!DOCTYPE set SYSTEM "gpml.dtd"><set>{}</set>"""
ARTICLE = """<article><articleinfo><bibliomisc>MEDLINE:{0}</bibliomisc></articleinfo><title><sentence>
<cons lex="x" sem="G#other_name"><cons lex="x" sem="G#protein_molecule">IL-2</cons> gene</cons> in
<cons lex="x" sem="G#DNA_domain_or_region">site {0}</cons></sentence></title><abstract><sentence>
<cons lex="x" sem="(AND G#cell_type G#cell_type)"><cons lex="a*">T</cons> and <cons lex="b*">B</cons> cells</cons> of
<cons lex="x" sem="G#protein_N/A">p{0}</cons>.</sentence></abstract></article>"""


def test_genia_is_mapped_by_prefix_and_cut_by_documents(tmp_path: Path) -> None:
    articles = "".join(ARTICLE.format(n) for n in range(20))
    write(tmp_path / "genia/GENIA_term_3.02/GENIAcorpus3.02.xml", GENIA.format(articles))
    corpus = load_corpus("genia", tmp_path)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [15, 2, 3]
    types = [(e.type, e.native_type) for e in corpus.splits["train"][0].entities]
    assert types == [("Protein", "protein_molecule"), ("DNA", "DNA_domain_or_region"), ("Protein", "protein_N/A")]
    assert file_ledgers("genia", tmp_path)["all"].as_dict() == {
        "documents": 20,
        "read": 100,
        "kept": 60,
        "dropped": {"coordination": 20, "other type": 20},
        "types": {"DNA": 20, "Protein": 40},
    }
    native = load_corpus("genia", tmp_path, native_types=True)
    assert native.types == ("DNA_domain_or_region", "protein_N/A", "protein_molecule")


@pytest.mark.parametrize("name", ["ncbi", "bc5cdr", "bc2gm", "jnlpba"])
def test_embedded_sample_has_enough_to_score(name: str) -> None:
    corpus = load_corpus(name, "sample")
    assert all(corpus.splits.values())
    assert corpus.ledgers["test"].kept >= 100
    assert {entity.type for document in corpus.splits["train"] for entity in document.entities} == set(corpus.types)


# ------------------------------------------------------------------------------------------------ a user's own corpus


def jsonl(first: int, last: int, type_name: str = "Plant") -> str:
    records = [
        {"document_id": f"d{n}", "text": f"oak {n}", "entities": [{"start": 0, "end": 3, "type": type_name}]}
        for n in range(first, last + 1)
    ]
    return "".join(f"{json.dumps(record)}\n" for record in records)


CONLL = "Oak\tB-Plant\ngrows\tO\n\n"


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.conll", "train"),
        ("my-DEV.jsonl", "dev"),
        ("devel", "dev"),
        ("development.txt", "dev"),
        ("valid.tsv", "dev"),
        ("Validation", "dev"),
        ("CDR_TestSet.PubTator.txt", "test"),
        ("CDR_TrainingSet.PubTator.txt", "train"),
        ("NCBIdevelopset_corpus.txt", "dev"),
        ("NCBItestset_corpus.txt", "test"),
        ("TEST.jsonl", "test"),
        ("latest.txt", None),
        ("contest.txt", None),
        ("Strain.txt", None),
        ("constraint.jsonl", None),
        ("device.txt", None),
        ("train_dev.tsv", None),
    ],
)
def test_split_is_a_whole_word_of_the_name(name: str, split: str | None) -> None:
    assert split_of_name(name) == split


def test_own_folder_of_named_files(tmp_path: Path) -> None:
    write(tmp_path / "plants_train.jsonl", jsonl(1, 3))
    write(tmp_path / "plants_dev.jsonl", jsonl(4, 5, "Tree"))
    write(tmp_path / "plants_test.jsonl", jsonl(6, 6))
    write(tmp_path / "README.txt", "Not a corpus file.")
    corpus = load_corpus(tmp_path)
    assert {split: ids(corpus, split) for split in corpus.splits} == {
        "train": ["d1", "d2", "d3"],
        "dev": ["d4", "d5"],
        "test": ["d6"],
    }
    assert corpus.types == ("Plant", "Tree")
    assert corpus.info is None
    assert list(corpus.hashes) == ["plants_train.jsonl", "plants_dev.jsonl", "plants_test.jsonl"]


def test_own_tags_without_a_type_are_of_the_one_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "BRCA1\tB\ngene\tI\n\n" * 3)
    write(tmp_path / "devel.tsv", "TP53\tB\n")
    write(tmp_path / "test.tsv", "p53\tB\n")
    assert load_corpus(tmp_path).types == ("Entity",)
    corpus = load_corpus(tmp_path, untyped="Gene")
    assert corpus.types == ("Gene",)
    (entity,) = corpus.splits["train"][0].entities
    assert (entity.start, entity.end, entity.type) == (0, 10, "Gene")
    write(tmp_path / "test.tsv", "p53\tB-Protein\n")  # so `Entity` may be a type of its own
    assert set(load_corpus(tmp_path, untyped="Protein").types) == {"Entity", "Protein"}


def test_own_folder_of_brat_subfolders(tmp_path: Path) -> None:
    for split, names in {"train": "abc", "valid": "de", "test": "f"}.items():
        for name in names:
            write(tmp_path / split / f"{name}.txt", "An oak.\n")
            write(tmp_path / split / f"{name}.ann", "T1\tPlant 3 6\toak\n")
    corpus = load_corpus(str(tmp_path))
    assert {split: ids(corpus, split) for split in corpus.splits} == {
        "train": ["a", "b", "c"],
        "dev": ["d", "e"],
        "test": ["f"],
    }


def test_own_gzipped_brat_and_deeper_folders(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        folder = tmp_path / "brat" / split
        folder.mkdir(parents=True)
        for name, content in (("7.txt", b"An oak."), ("7.ann", b"T1\tPlant 3 6\toak\n")):
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    corpus = load_corpus(f"{tmp_path}/brat")
    assert [entity.type for entity in corpus.splits["train"][0].entities] == ["Plant"]
    write(tmp_path / "deep" / "train" / "a.jsonl", jsonl(1, 3))
    write(tmp_path / "deep" / "train" / "more" / "b.jsonl", jsonl(4, 6))
    write(tmp_path / "deep" / "test" / "c.jsonl", jsonl(7, 8))
    corpus = load_corpus(f"{tmp_path}/deep", dev_size=0.2)
    assert sum(len(corpus.splits[split]) for split in ("train", "dev")) == 6


def test_own_brat_pairs_whose_splits_would_be_lost(tmp_path: Path) -> None:
    def pair(folder: Path, name: str) -> None:
        write(folder / f"{name}.txt", "An oak.\n")
        write(folder / f"{name}.ann", "T1\tPlant 3 6\toak\n")

    pair(tmp_path / "mixed", "a")
    pair(tmp_path / "mixed" / "train", "b")
    with pytest.raises(CorpusError, match="mixed: brat pairs beside train/, which holds data too"):
        load_corpus(tmp_path / "mixed")
    for name in ("train", "test"):
        pair(tmp_path / "named", name)
    with pytest.raises(CorpusError, match="names of brat pairs state several splits; .*: train/, test/"):
        load_corpus(tmp_path / "named")


def test_own_hidden_files_are_no_data_and_others_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train" / "a.jsonl", jsonl(1, 10))
    write(tmp_path / "train" / ".ipynb_checkpoints" / "a-checkpoint.jsonl", jsonl(11, 12))
    write(tmp_path / "train" / "._a.jsonl", "\x00")
    write(tmp_path / "train" / "licenses_of_trees.jsonl", jsonl(13, 20))
    write(tmp_path / "train" / "b.json", "[]")
    corpus = load_corpus(tmp_path)
    assert sum(len(documents) for documents in corpus.splits.values()) == 18
    assert "b.json: its ending can't be read; it is left out (so are 0 others)" in caplog.text
    (tmp_path / "test.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(CorpusError, match=r"test.jsonl: a link to what isn't there"):
        load_corpus(tmp_path)


def test_own_documents_of_one_id_are_told_of_where_none_can_be_held_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "one.jsonl", "".join(line.replace(f'"d{n}"', '"NA"') + "\n" for n, line in
                                          enumerate(jsonl(1, 30).splitlines(), 1)))  # fmt: skip
    assert len(load_corpus(tmp_path / "one.jsonl").splits["train"]) == 30
    assert "0 of 30 documents are held out, where 0.15 of them should be: 30 have the id or group 'NA'" in caplog.text


def test_own_document_that_stands_twice_with_other_mentions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train_trees.jsonl", jsonl(1, 9, "Tree"))
    write(tmp_path / "train_wholes.jsonl", jsonl(9, 9, "Whole"))
    load_corpus(tmp_path)
    told = "document d9 appears twice; the second is dropped, with 1 mentions that the first lacks"
    assert told in caplog.text


def test_own_mentions_that_become_no_labels_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"document_id": str(n), "text": "an oak", "entities": [{"start": 3, "end": 6 - (n < 2), "type": "Tree"}]}
            for n in range(100)]  # fmt: skip
    path = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows[1:])))
    load_corpus(path)
    assert "become no labels" not in caplog.text
    write(path, "\n".join(map(json.dumps, [*rows[:2], *rows[:1], *rows[3:]])))
    load_corpus(path)
    told = "of 100 mentions, 3 become no labels (2 not alignable, 1 duplicate document); are the offsets those of char"
    assert f"{path}: {told}" in caplog.text


def test_own_names_of_types_that_are_likely_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train.jsonl", jsonl(1, 9, "Tree"))
    write(tmp_path / "dev.jsonl", jsonl(10, 12, "Tree"))
    write(tmp_path / "test.jsonl", jsonl(13, 15, "tree"))
    assert load_corpus(tmp_path).types == ("Tree", "tree")
    assert "the types Tree, tree differ in case only, and are learned apart" in caplog.text
    assert "tree has no training mention, so nothing will find it" in caplog.text


def test_own_flat_brat_folder_and_single_file_are_split_by_ratio(tmp_path: Path) -> None:
    for n in range(20):
        write(tmp_path / "brat" / f"{n}.txt", "An oak.\n")
        write(tmp_path / "brat" / f"{n}.ann", "T1\tPlant 3 6\toak\n")
    path = write(tmp_path / "plants.jsonl", jsonl(1, 20))
    for source in (tmp_path / "brat", path):
        corpus = load_corpus(source)
        assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [15, 2, 3]
    corpus = load_corpus(path, test_size=0.1, dev_size=0.5)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [9, 9, 2]


def test_own_folder_without_development_and_test_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "train.conll", CONLL * 20)
    corpus = load_corpus(tmp_path)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [15, 2, 3]
    assert "no test split" in caplog.text


def test_own_split_of_an_ending_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("train.jsonl", "dev.jsonl"):
        entity = '{"start": 0, "end": 3, "type": "Gene"}'
        write(tmp_path / name, f'{{"document_id": "1", "text": "p53 {name}", "entities": [{entity}]}}\n')
    write(tmp_path / "test.json", "[]")
    with pytest.raises(CorpusError, match=r"test.json: .json ending, which can't be read; understood are .pubtator"):
        load_corpus(str(tmp_path))
    write(tmp_path / "test.jsonl", '{"document_id": "2", "text": "p53"}\n')
    assert len(load_corpus(str(tmp_path)).splits["test"]) == 1
    assert "test.json: .json ending, which can't be read; it is left out" in caplog.text


def test_own_test_file_alone_is_for_scoring(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corpus = load_corpus(write(tmp_path / "my_test.conll", CONLL * 3))
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [0, 0, 3]
    assert "can be scored, not trained on" in caplog.text


def test_own_files_of_one_split_are_joined_and_unclear_ones_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "train-1.jsonl", jsonl(1, 2))
    write(tmp_path / "train-2.jsonl", jsonl(3, 4))
    write(tmp_path / "train_dev.jsonl", jsonl(1, 9))
    write(tmp_path / "dev.jsonl", jsonl(10, 10))
    write(tmp_path / "test.jsonl", jsonl(11, 11))
    assert ids(load_corpus(tmp_path), "train") == ["d1", "d2", "d3", "d4"]
    assert "train_dev.jsonl: its name states no split, or several; it is left out" in caplog.text


# -------------------------------------------------------------------------------------------------------- bad input


def error_of(*arguments: object, **options: object) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(*arguments, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_unknown_name_offers_the_nearest(tmp_path: Path) -> None:
    message = error_of("bc5cd", tmp_path)
    assert "unknown corpus 'bc5cd'; did you mean 'bc5cdr'?" in message
    assert "ncbi, bc5cdr, bc2gm, jnlpba, genia" in message
    assert "did you mean" not in error_of("zzz", tmp_path)


def test_missing_file_names_it_its_address_and_the_flag(ncbi: Path) -> None:
    (ncbi / "ncbi_disease/NCBItestset_corpus.txt").unlink()
    message = error_of("ncbi", ncbi)
    assert str(ncbi / "ncbi_disease/NCBItestset_corpus.txt") in message
    assert "https://www.ncbi.nlm.nih.gov/CBBresearch/Dogan/DISEASE/NCBItestset_corpus.zip" in message
    assert "--data_dir" in message


def test_missing_folders(tmp_path: Path) -> None:
    assert "--data_dir" in error_of("ncbi", tmp_path / "nowhere")
    assert "no such file or folder" in error_of(tmp_path / "nowhere.conll")


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5])
def test_shares_outside_zero_and_one(ncbi: Path, value: float) -> None:
    assert error_of("ncbi", ncbi, test_size=value).startswith(f"test_size is {value};")
    assert error_of("ncbi", ncbi, dev_size=value).startswith(f"dev_size is {value};")


def test_unusual_test_size_is_said(ncbi: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_corpus("ncbi", ncbi, test_size=0.5)
    assert "test_size is 0.5; 0.10 to 0.15 is usual" in caplog.text


@pytest.mark.parametrize(("pattern", "reason"), [("[a", "no regular expression"), (r"\w*", "the empty string")])
def test_bad_word_pattern(ncbi: Path, pattern: str, reason: str) -> None:
    message = error_of("ncbi", ncbi, word_pattern=pattern)
    assert repr(pattern) in message and reason in message


def test_empty_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.jsonl", "\n")
    assert error_of(path) == f"{path} holds no document; is it the right file, and is its format the one of its name?"


def test_no_training_mention(tmp_path: Path, ncbi: Path) -> None:
    assert "training documents holds a mention" in error_of(write(tmp_path / "plain.conll", "Oak\tO\n\n" * 9))
    write(ncbi / "ncbi_disease/NCBItrainset_corpus.txt", pubtator(1, 4, "Chemical"))
    assert "none of its 4 training documents holds a mention of Disease" in error_of("ncbi", ncbi)


def test_folder_without_recognisable_split(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", jsonl(1, 2))
    message = error_of(tmp_path)
    assert "named by split" in message and "a.jsonl" in message


def test_one_split_in_two_formats(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", jsonl(1, 2))
    write(tmp_path / "train.conll", CONLL)
    assert "the train split is there in several forms (train.conll, train.jsonl)" in error_of(tmp_path)


def test_development_split_alone(tmp_path: Path) -> None:
    write(tmp_path / "dev.jsonl", jsonl(1, 2))
    assert "a development split alone" in error_of(tmp_path)


def test_malformed_line_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "plants.conll", "Oak\tB-Plant\nno tag here\n")
    assert error_of(path).startswith(f"{path}:2:")


def test_words_that_lose_mentions_are_counted(ncbi: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    ledger = load_corpus("ncbi", ncbi, word_pattern=r"\S+ \S+|\S+").ledgers["test"]
    assert ledger.as_dict() == {
        "documents": 3,
        "read": 3,
        "kept": 0,
        "dropped": {"not alignable": 3},
        "types": {"Disease": 3},
    }


def test_development_documents_that_go_into_training_have_ids_of_their_own(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        write(tmp_path / f"{split}.jsonl", jsonl(1, 3))
    corpus = load_corpus(tmp_path)
    joined = with_dev_in_train(corpus)
    names = [document.document_id for document in joined.splits["train"]]
    assert names == [
        *(d.document_id for d in corpus.splits["train"]),
        *(f"dev {d.document_id}" for d in corpus.splits["dev"]),
    ]
    assert joined.splits["dev"] == [] and len(set(names)) == len(names)
    ledger = joined.ledgers["train"]
    assert (ledger.documents, ledger.read, ledger.kept) == (6, 6, 6)


def test_hash_tells_the_files_of_a_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "plants.jsonl", jsonl(1, 3))
    first = hash_corpus(path)
    assert len(first) == 16 and hash_corpus(str(path)) == first
    write(path, jsonl(1, 4))
    assert hash_corpus(path) != first
    folder = tmp_path / "genes"
    write(folder / "train" / "train.in", "P1 BRCA1 gene\n")
    gold = write(folder / "train" / "GENE.eval", "P1|0 4|BRCA1\n")
    first = hash_corpus(folder)
    gold.write_text("P1|0 8|BRCA1 gene\n")
    assert hash_corpus(folder) != first
    assert hash_corpus("ncbi", "sample") == hash_corpus("ncbi", "sample") != hash_corpus("bc5cdr", "sample")
    with pytest.raises(CorpusError, match="did you mean 'ncbi'"):
        hash_corpus("nbci", "sample")
    with pytest.raises(CorpusError, match="no such file or folder"):
        hash_corpus(tmp_path / "nowhere.jsonl")


def test_hash_tells_what_stands_in_the_files_of_a_brat_folder(tmp_path: Path) -> None:
    write(tmp_path / "1.txt", "An oak.\n")
    gold = write(tmp_path / "1.ann", "T1\tPlant 3 6\toak\n")
    first = hash_corpus(tmp_path)
    gold.write_text("T1\tTree 3 6\toak\n")
    assert hash_corpus(tmp_path) != first


def test_hash_tells_all_that_is_read_with_a_file_of_bc2gm(tmp_path: Path) -> None:
    path = write(tmp_path / "train.in", "P1 BRCA1 gene\n")
    gold = {"GENE.eval": "P1|0 4|BRCA1\n", "ALTGENE.eval": "P1|0 8|BRCA1 gene\n"}
    hashes = {hash_corpus(path)}
    for name, content in {**gold, "train.idmap": "P00000042T0001 P1\n"}.items():
        write(tmp_path / name, content)
        hashes.add(hash_corpus(path))
    assert len(hashes) == 4


def test_own_gold_of_bc2gm_in_subfolders_is_not_told_to_be_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "a.in", "".join(f"{split}{n} BRCA1 gene\n" for n in range(20)))
        write(tmp_path / split / "GENE.eval", "".join(f"{split}{n}|0 4|BRCA1\n" for n in range(20)))
    assert load_corpus(tmp_path).ledgers["test"].kept == 20
    assert "left out" not in caplog.text
    write(tmp_path / "test/b.json", "{}")
    load_corpus(tmp_path)
    assert "b.json: its ending can't be read; it is left out (so are 0 others)" in caplog.text


def test_cut_of_a_development_split_depends_on_the_seed(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", jsonl(1, 40))
    write(tmp_path / "test.jsonl", jsonl(41, 42))
    held_out = {tuple(ids(load_corpus(tmp_path, seed=n), "dev")) for n in range(6)}
    assert len(held_out) > 3 and {len(own) for own in held_out} == {4}


def test_losses_of_a_flat_tag_sequence_by_cause(tmp_path: Path) -> None:
    """Of nested mentions the outermost is kept, of crossing ones the first, of two of one place the first by type."""
    places = [(4, 9, "Gene"), (0, 9, "Gene"), (4, 17, "Gene"), (18, 23, "Z"), (18, 23, "A"), (0, 3, "Gene")]
    entities = [{"start": start, "end": end, "type": name} for start, end, name in [*places, (24, 26, "Gene")]]
    record = {"document_id": "1", "text": "TNF alpha binding cells p53", "entities": entities}
    ledger = load_corpus(write(tmp_path / "test.jsonl", json.dumps(record))).ledgers["test"]
    assert (ledger.read, ledger.kept, ledger.dropped) == (7, 2, {"nested": 3, "crossing": 1, "not alignable": 1})
    kept, lost = flatten([Entity(0, 3, "Z"), Entity(0, 3, "A")])  # in whatever order they come
    assert (kept, lost) == ([Entity(0, 3, "A")], {"nested": 1})


def test_own_files_in_capitals_what_a_mac_packs_and_a_readme_with_a_split_in_its_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "TRAIN.JSONL", jsonl(1, 10))
    write(tmp_path / "__MACOSX" / "dev.jsonl", "\x00")
    write(tmp_path / "README.test.md", "How it was tested.")
    assert sum(len(documents) for documents in load_corpus(tmp_path).splits.values()) == 10
    assert [record.message for record in caplog.records] == [
        f"{tmp_path} has no test split; 0.15 of its training documents are held out"
    ]


@pytest.mark.parametrize(("count", "names"), [(5, "0, 1, 2, 3, 4;"), (6, "0, 1, 2, 3, 4, ...;")])
def test_own_folder_without_splits_names_what_is_there(tmp_path: Path, count: int, names: str) -> None:
    for n in range(count):
        write(tmp_path / str(n), "")
    assert f"found {names} rename them" in error_of(tmp_path)


def test_a_name_in_capitals_offers_the_registered_one(tmp_path: Path) -> None:
    assert "did you mean 'ncbi'?" in error_of("NCBI", tmp_path)


def test_the_sample_is_not_said_to_be_incomplete(caplog: pytest.LogCaptureFixture) -> None:
    load_corpus("ncbi", "sample")
    assert not caplog.records


def test_own_documents_that_stay_together_are_told_of_where_too_many_are_held_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = jsonl(1, 20).splitlines(keepends=True)
    halves = [line.replace(f'"d{n}"', '"a"' if n <= 10 else '"b"') for n, line in enumerate(lines, 1)]
    load_corpus(write(tmp_path / "one.jsonl", "".join(halves)))
    assert "10 of 20 documents are held out, where 0.15 of them should be: 10 have the id or group" in caplog.text


def test_development_documents_of_a_registered_corpus_keep_their_ids(ncbi: Path) -> None:
    write(ncbi / "ncbi_disease/NCBIdevelopset_corpus.txt", pubtator(4, 5))
    assert ids(with_dev_in_train(load_corpus("ncbi", ncbi)), "train") == ["1", "2", "3", "4", "4", "5"]


def test_cut_of_a_missing_test_split_depends_on_the_seed(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", jsonl(1, 40))
    write(tmp_path / "dev.jsonl", jsonl(41, 42))
    held_out = {tuple(ids(load_corpus(tmp_path, seed=n), "test")) for n in range(6)}
    assert len(held_out) > 3 and {len(own) for own in held_out} == {6}


@pytest.mark.parametrize("share", [0.1, 0.15])
def test_usual_test_sizes_are_not_remarked_on(tmp_path: Path, share: float, caplog: pytest.LogCaptureFixture) -> None:
    load_corpus(write(tmp_path / "plants.jsonl", jsonl(1, 20)), test_size=share)
    assert not caplog.records


def test_hash_tells_the_names_in_a_brat_folder(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write(tmp_path / f"{name}.txt", "An oak.\n")
        write(tmp_path / f"{name}.ann", "T1\tPlant 3 6\toak\n")
    first = hash_corpus(tmp_path)
    for ending in (".txt", ".ann"):
        (tmp_path / f"2{ending}").rename(tmp_path / f"3{ending}")
    assert hash_corpus(tmp_path) != first


def test_own_corpus_without_splits_is_scored_whole_unless_a_share_is_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "plants.jsonl", jsonl(1, 20))
    corpus = load_corpus(path, scoring_only=True)
    assert [len(corpus.splits[split]) for split in ("train", "dev", "test")] == [0, 0, 20]
    assert "give the --test_size of that training (0.15 where none was given)" in caplog.text
    corpus = load_corpus(path, scoring_only=True, test_size=0.15)
    assert len(corpus.splits["test"]) == 3
