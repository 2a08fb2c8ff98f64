"""Load a user's own corpus: files and folders named by split, what is left out, and what is refused."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import document, write_jsonl

from dataset_scripts import CorpusError, LoadedCorpus, load_corpus
from dataset_scripts.splits import infer_split


Log = pytest.LogCaptureFixture
CONLL = "Oak\tB-Plant\ngrows\tO\n\n"


def plants(first: int, last: int, type_name: str = "Plant", **changes: str) -> list[dict[str, object]]:
    return [document(f"d{n}", f"oak {n}", [("oak", type_name)]) | changes for n in range(first, last + 1)]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_pair(folder: Path, *names: str, pack: Callable[[bytes], bytes] = bytes, ending: str = "") -> None:
    """Write brat pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.txt{ending}").write_bytes(pack(b"An oak.\n"))
        (folder / f"{name}.ann{ending}").write_bytes(pack(b"T1\tPlant 3 6\toak\n"))


def ids(corpus: LoadedCorpus) -> dict[str, list[str]]:
    return {split: [document.document_id for document in documents] for split, documents in corpus.splits.items()}


def sizes(corpus: LoadedCorpus) -> list[int]:
    return [len(corpus.splits[split]) for split in ("train", "dev", "test")]


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train.conll CDR_TrainingSet.PubTator.txt"),
        ("dev", "my-DEV.jsonl devel development.txt valid.tsv Validation NCBIdevelopset_corpus.txt"),
        ("test", "CDR_TestSet.PubTator.txt NCBItestset_corpus.txt TEST.jsonl"),
        (None, "latest.txt contest.txt Strain.txt constraint.jsonl device.txt train_dev.tsv"),
    ],
)
def test_a_split_is_a_whole_word_of_the_name(split: str | None, names: str) -> None:
    assert {name: infer_split(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_a_folder_of_files_named_by_split(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "plants_train.jsonl", plants(1, 3))
    write_jsonl(tmp_path / "plants_dev.jsonl", plants(4, 5, "Tree"))
    write_jsonl(tmp_path / "plants_test.jsonl", plants(6, 6))
    write(tmp_path / "README.txt", "Not a corpus file.")
    corpus = load_corpus(tmp_path)
    assert ids(corpus) == {"train": ["d1", "d2", "d3"], "dev": ["d4", "d5"], "test": ["d6"]}
    assert (corpus.types, corpus.info) == (("Plant", "Tree"), None)
    assert list(corpus.hashes) == ["plants_train.jsonl", "plants_dev.jsonl", "plants_test.jsonl"]


def test_tags_without_a_type_get_the_type_asked_for(tmp_path: Path) -> None:
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


def test_brat_pairs_in_subfolders_plain_or_gzipped(tmp_path: Path) -> None:
    for split, names in {"train": "abc", "valid": "de", "test": "f"}.items():
        write_pair(tmp_path / "plain" / split, *names)
        write_pair(tmp_path / "gzip" / split, *names, pack=gzip.compress, ending=".gz")
    for folder in ("plain", "gzip"):
        corpus = load_corpus(f"{tmp_path}/{folder}")
        assert ids(corpus) == {"train": ["a", "b", "c"], "dev": ["d", "e"], "test": ["f"]}
        assert [entity.type for entity in corpus.splits["train"][0].entities] == ["Plant"]


@pytest.mark.parametrize(
    ("files", "options", "expected", "told"),
    [
        ({"plants.jsonl": 20}, {}, [15, 2, 3], ""),
        ({"plants.jsonl": 20}, {"test_size": 0.1, "dev_size": 0.5}, [9, 9, 2], ""),
        ({"plants.jsonl": 20}, {"scoring_only": True}, [0, 0, 20], "--test_size of that training (0.15 by default)"),
        ({"plants.jsonl": 20}, {"scoring_only": True, "test_size": 0.15}, [15, 2, 3], ""),
        ({"my_test.jsonl": 3}, {}, [0, 0, 3], "can be scored, not trained on"),
        ({"c/train.jsonl": 20}, {}, [15, 2, 3], "no test split"),
        ({"c/train/a.jsonl": 3, "c/train/more/b.jsonl": 3, "c/test/c.jsonl": 2}, {"dev_size": 0.2}, [5, 1, 2], ""),
    ],
)
def test_missing_splits_are_cut_from_training_or_the_whole(
    tmp_path: Path, caplog: Log, files: dict[str, int], options: dict[str, object], expected: list[int], told: str
) -> None:
    for number, (name, count) in enumerate(files.items()):
        write_jsonl(tmp_path / name, plants(100 * number, 100 * number + count - 1))
    assert sizes(load_corpus(tmp_path / next(iter(files)).split("/")[0], **options)) == expected
    assert told in caplog.text and bool(told) == bool(caplog.records)


def test_a_flat_brat_folder_is_split_by_ratio(tmp_path: Path) -> None:
    write_pair(tmp_path / "brat", *map(str, range(20)))
    assert sizes(load_corpus(tmp_path / "brat")) == [15, 2, 3]


def test_files_of_one_split_are_joined_and_unclear_ones_left_out(tmp_path: Path, caplog: Log) -> None:
    write_jsonl(tmp_path / "train-1.jsonl", plants(1, 2))
    write_jsonl(tmp_path / "train-2.jsonl", plants(3, 4))
    write_jsonl(tmp_path / "train_dev.jsonl", plants(1, 9))
    write_jsonl(tmp_path / "dev.jsonl", plants(10, 10))
    write_jsonl(tmp_path / "test.jsonl", plants(11, 11))
    assert ids(load_corpus(tmp_path))["train"] == ["d1", "d2", "d3", "d4"]
    assert "train_dev.jsonl: its name states no split, or several; it is left out" in caplog.text


def test_hidden_files_are_no_data_and_unreadable_ones_are_left_out(tmp_path: Path, caplog: Log) -> None:
    write_jsonl(tmp_path / "train/a.jsonl", plants(1, 10))
    write_jsonl(tmp_path / "train/.ipynb_checkpoints/a-checkpoint.jsonl", plants(11, 12))
    write(tmp_path / "train/._a.jsonl", "\x00")
    write_jsonl(tmp_path / "train/licenses_of_trees.jsonl", plants(13, 20))
    write(tmp_path / "train/b.json", "[]")
    assert sum(sizes(load_corpus(tmp_path))) == 18
    assert "b.json: its ending can't be read; it is left out (and 0 others)" in caplog.text


def test_capitals_what_a_mac_packs_and_a_readme_with_a_split_in_its_name(tmp_path: Path, caplog: Log) -> None:
    write_jsonl(tmp_path / "TRAIN.JSONL", plants(1, 10))
    write(tmp_path / "__MACOSX" / "dev.jsonl", "\x00")
    write(tmp_path / "README.test.md", "How it was tested.")
    assert sum(sizes(load_corpus(tmp_path))) == 10
    assert [record.message for record in caplog.records] == [
        f"{tmp_path} has no test split; 0.15 of its training documents are held out"
    ]


def test_gold_files_of_bc2gm_in_subfolders_are_not_said_to_be_left_out(tmp_path: Path, caplog: Log) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "a.in", "".join(f"{split}{n} BRCA1 gene\n" for n in range(20)))
        write(tmp_path / split / "GENE.eval", "".join(f"{split}{n}|0 4|BRCA1\n" for n in range(20)))
    assert load_corpus(tmp_path).ledgers["test"].kept == 20
    assert "left out" not in caplog.text
    write(tmp_path / "test/b.json", "{}")
    load_corpus(tmp_path)
    assert "b.json: its ending can't be read; it is left out (and 0 others)" in caplog.text


def test_an_unreadable_file_is_left_out_only_if_its_split_is_there_in_another(tmp_path: Path, caplog: Log) -> None:
    for split in ("train", "dev"):
        write_jsonl(tmp_path / f"{split}.jsonl", plants(1, 1, text=f"oak {split}"))
    write(tmp_path / "test.json", "[]")
    with pytest.raises(CorpusError, match=r"test.json: .json ending, which can't be read; supported are .pubtator"):
        load_corpus(str(tmp_path))
    write_jsonl(tmp_path / "test.jsonl", plants(2, 2))
    assert len(load_corpus(str(tmp_path)).splits["test"]) == 1
    assert "test.json: .json ending, which can't be read; it is left out" in caplog.text


@pytest.mark.parametrize(
    ("count", "names", "told"),
    [
        (30, ("NA",), "0 of 30 documents are held out instead of a share of 0.15: 30 have the id or group 'NA'"),
        (20, ("a", "b"), "10 of 20 documents are held out instead of a share of 0.15: 10 have the id or group"),
    ],
)
def test_documents_of_one_id_that_make_a_cut_too_small_or_too_large_are_told(
    tmp_path: Path, caplog: Log, count: int, names: tuple[str, ...], told: str
) -> None:
    rows = [row | {"document_id": names[n * len(names) // count]} for n, row in enumerate(plants(1, count))]
    corpus = load_corpus(write_jsonl(tmp_path / "one.jsonl", rows))
    assert told in caplog.text
    assert len(names) == 2 or sizes(corpus) == [30, 0, 0]


def test_a_repeated_document_with_other_mentions_is_told(tmp_path: Path, caplog: Log) -> None:
    write_jsonl(tmp_path / "train_trees.jsonl", plants(1, 9, "Tree"))
    write_jsonl(tmp_path / "train_wholes.jsonl", plants(9, 9, "Whole"))
    load_corpus(tmp_path)
    assert "document d9" in caplog.text and "the second is dropped, with 1 mentions that the first" in caplog.text


def test_more_than_two_per_cent_of_lost_mentions_are_told(tmp_path: Path, caplog: Log) -> None:
    rows = [{"document_id": str(n), "text": "an oak", "entities": [{"start": 3, "end": 6 - (n < 2), "type": "Tree"}]}
            for n in range(100)]  # fmt: skip
    path = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows[1:])))
    load_corpus(path)
    assert "become no labels" not in caplog.text
    write(path, "\n".join(map(json.dumps, [*rows[:2], *rows[:1], *rows[3:]])))
    load_corpus(path)
    told = f"{path}: 3 of 100 mentions become no labels (2 not alignable, 1 duplicate document); do the offsets count"
    assert f"{told} characters?" in caplog.text


def test_type_names_that_are_likely_wrong_are_told(tmp_path: Path, caplog: Log) -> None:
    write_jsonl(tmp_path / "train.jsonl", plants(1, 9, "Tree"))
    write_jsonl(tmp_path / "dev.jsonl", plants(10, 12, "Tree"))
    write_jsonl(tmp_path / "test.jsonl", plants(13, 15, "tree"))
    assert load_corpus(tmp_path).types == ("Tree", "tree")
    assert "the types Tree, tree differ in case only, and are learned apart" in caplog.text
    assert "tree has no training mention, so nothing will predict it" in caplog.text


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"c/a": None, "c/train/b": None}, "c: brat pairs beside train/, which holds data too"),
        ({"c/train": None, "c/test": None}, "c: the names of brat pairs state several splits"),
        ({"c/train": None, "c/test": None}, "put the pairs of each into a folder of its own: train/, test/"),
        ({"c/train.jsonl": "{}", "c/train.conll": CONLL}, "several formats (train.conll, train.jsonl); keep one"),
        ({"c/dev.jsonl": "{}"}, "c: a development split alone; add train (and test)"),
        ({"c/a.jsonl": "{}"}, "c: no file or subfolder is named by split (such as train.jsonl, dev.jsonl, test.jsonl"),
        ({f"c/{n}": "" for n in range(5)}, "found 0, 1, 2, 3, 4; rename them"),
        ({f"c/{n}": "" for n in range(6)}, "found 0, 1, 2, 3, 4, ...; rename them"),
    ],
)
def test_a_folder_whose_splits_are_unclear_is_refused(tmp_path: Path, files: dict[str, str | None], told: str) -> None:
    for name, text in files.items():
        if text is None:
            write_pair((tmp_path / name).parent, Path(name).name)
        else:
            write(tmp_path / name, text)
    with pytest.raises(CorpusError) as caught:
        load_corpus(tmp_path / "c")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", plants(1, 10))
    (tmp_path / "test.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(CorpusError, match=r"test.jsonl: a link to a file that isn't there; fetch the data first"):
        load_corpus(tmp_path)
