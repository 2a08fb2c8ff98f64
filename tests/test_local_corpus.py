"""Load a user's own corpus: files and folders named by split, what is left out, and what is refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from toys import document, put, sizes, write_jsonl

from dataset_scripts import CorpusError, LoadedCorpus, load_corpus
from dataset_scripts.splits import infer_split


CONLL = "Oak\tB-Plant\ngrows\tO\n\n"


def plants(first: int, last: int, type_name: str = "Plant", **changes: str) -> list[dict[str, object]]:
    return [document(f"d{n}", f"oak {n}", [("oak", type_name)]) | changes for n in range(first, last + 1)]


def write_files(folder: Path, **files: list[dict[str, object]]) -> None:
    """Write JSONL files, named without their ending."""
    for name, rows in files.items():
        write_jsonl(folder / f"{name}.jsonl", rows)


def write_pair(folder: Path, *names: str, pack: Callable[[bytes], bytes] = bytes, ending: str = "") -> None:
    """Write brat pairs."""
    for name in names:
        put(folder / f"{name}.txt{ending}", pack(b"An oak.\n"))
        put(folder / f"{name}.ann{ending}", pack(b"T1\tPlant 3 6\toak\n"))


def ids(corpus: LoadedCorpus) -> dict[str, list[str]]:
    return {split: [document.document_id for document in documents] for split, documents in corpus.splits.items()}


@pytest.mark.parametrize(("split", "names"), [
    ("train", "train.conll CDR_TrainingSet.PubTator.txt"),
    ("dev", "my-DEV.jsonl devel development.txt valid.tsv Validation NCBIdevelopset_corpus.txt"),
    ("test", "CDR_TestSet.PubTator.txt NCBItestset_corpus.txt TEST.jsonl"),
    (None, "latest.txt contest.txt Strain.txt constraint.jsonl device.txt train_dev.tsv"),
])  # fmt: skip
def test_a_split_is_a_whole_word_of_the_name(split, names):
    assert {name: infer_split(name) for name in names.split()} == dict.fromkeys(names.split(), split)


def test_a_folder_of_files_named_by_split(tmp_path):
    write_files(tmp_path, plants_train=plants(1, 3), plants_dev=plants(4, 5, "Tree"), plants_test=plants(6, 6))
    put(tmp_path / "README.txt", "Not a corpus file.")
    corpus = load_corpus(tmp_path)
    assert ids(corpus) == {"train": ["d1", "d2", "d3"], "dev": ["d4", "d5"], "test": ["d6"]}
    assert (corpus.types, corpus.info) == (("Plant", "Tree"), None)
    assert list(corpus.hashes) == ["plants_train.jsonl", "plants_dev.jsonl", "plants_test.jsonl"]


def test_tags_without_a_type_get_the_type_asked_for(tmp_path, caplog):
    put(tmp_path / "train.tsv", "BRCA1\tB\ngene\tI\n\n" * 3)
    put(tmp_path / "devel.tsv", "TP53\tB\n")
    put(tmp_path / "test.tsv", "p53\tB\n")
    assert load_corpus(tmp_path).types == ("Entity",)
    corpus = load_corpus(tmp_path, untyped="Gene")
    assert corpus.types == ("Gene",)
    (entity,) = corpus.splits["train"][0].entities
    assert (entity.start, entity.end, entity.type) == (0, 10, "Gene")
    put(tmp_path / "test.tsv", "p53\tB-Protein\n")  # so `Entity` may be a type of its own
    assert set(load_corpus(tmp_path, untyped="Protein").types) == {"Entity", "Protein"}
    assert "tags without a type (B, I) are read as the type Entity, beside Protein; give them a type" in caplog.text


def test_brat_pairs_in_subfolders_plain_or_gzipped_or_in_a_flat_folder(tmp_path):
    for split, names in {"train": "abc", "valid": "de", "test": "f"}.items():
        write_pair(tmp_path / "plain" / split, *names)
        write_pair(tmp_path / "gzip" / split, *names, pack=gzip.compress, ending=".gz")
    for folder in ("plain", "gzip"):
        corpus = load_corpus(f"{tmp_path}/{folder}")
        assert ids(corpus) == {"train": ["a", "b", "c"], "dev": ["d", "e"], "test": ["f"]}
        assert [entity.type for entity in corpus.splits["train"][0].entities] == ["Plant"]
    write_pair(tmp_path / "flat", *map(str, range(20)))
    assert sizes(load_corpus(tmp_path / "flat")) == [15, 2, 3]


@pytest.mark.parametrize(("files", "options", "expected", "told"), [
    ({"plants.jsonl": 20}, {}, [15, 2, 3], ""),
    ({"plants.jsonl": 20}, {"test_size": 0.1, "dev_size": 0.5}, [9, 9, 2], ""),
    ({"plants.jsonl": 20}, {"scoring_only": True}, [0, 0, 20], "--test_size of that training (0.15 by default)"),
    ({"plants.jsonl": 20}, {"scoring_only": True, "test_size": 0.15}, [15, 2, 3], ""),
    ({"my_test.jsonl": 3}, {}, [0, 0, 3], "can be scored, not trained on"),
    ({"c/train.jsonl": 20}, {}, [15, 2, 3], "no test split"),
    ({"c/train/a.jsonl": 3, "c/train/more/b.jsonl": 3, "c/test/c.jsonl": 2}, {"dev_size": 0.2}, [5, 1, 2], ""),
])  # fmt: skip
def test_missing_splits_are_cut_from_training_or_the_whole(tmp_path, caplog, files, options, expected, told):
    for number, (name, count) in enumerate(files.items()):
        write_jsonl(tmp_path / name, plants(100 * number, 100 * number + count - 1))
    assert sizes(load_corpus(tmp_path / next(iter(files)).split("/")[0], **options)) == expected
    assert told in caplog.text and bool(told) == bool(caplog.records)


def test_pairs_of_a_bionlp_shared_task_are_read(tmp_path):
    put(tmp_path / "1.txt", "An oak.\n")
    put(tmp_path / "1.a1", "T1\tPlant 3 6\toak\n")
    put(tmp_path / "1.a2", "T2\tGrowth 0 2\tAn\nE1\tGrowth:T2 Theme:T1\n")
    corpus = load_corpus(tmp_path, test_size=0.1)
    assert [(e.start, e.end, e.type) for e in corpus.splits["train"][0].entities] == [(3, 6, "Plant")]


def test_a_word_list_named_as_a_split_is_left_out(tmp_path, caplog):
    write_files(tmp_path, train=plants(1, 3), test=plants(4, 4))
    put(tmp_path / "train.txt", "d1\nd2\n")
    assert sizes(load_corpus(tmp_path)) == [2, 1, 1]
    assert "train.txt:1: 'd1' is neither PubTator" in caplog.text and "it is left out, since its split" in caplog.text


def test_an_empty_file_of_a_split_is_named(tmp_path):
    write_files(tmp_path, train=plants(1, 3), dev=[], test=plants(4, 4))
    with pytest.raises(CorpusError, match="dev.jsonl holds no document; fill it, or remove it so that its split is"):
        load_corpus(tmp_path)


def test_files_of_one_split_are_joined_and_unclear_ones_left_out(tmp_path, caplog):
    write_files(tmp_path, train_1=plants(1, 2), train_2=plants(3, 4), train_dev=plants(1, 9))
    write_files(tmp_path, dev=plants(10, 10), test=plants(11, 11))
    assert ids(load_corpus(tmp_path))["train"] == ["d1", "d2", "d3", "d4"]
    assert "train_dev.jsonl: its name states no split, or several; it is left out" in caplog.text


def test_gold_files_of_bc2gm_in_subfolders_are_not_said_to_be_left_out(tmp_path, caplog):
    for split in ("train", "test"):
        put(tmp_path / split / "a.in", "".join(f"{split}{n} BRCA1 gene\n" for n in range(20)))
        put(tmp_path / split / "GENE.eval", "".join(f"{split}{n}|0 4|BRCA1\n" for n in range(20)))
    assert load_corpus(tmp_path).ledgers["test"].kept == 20
    assert "left out" not in caplog.text
    put(tmp_path / "test/b.yaml", "{}")
    load_corpus(tmp_path)
    assert "b.yaml: its ending can't be read; 1 such file left out" in caplog.text


def test_an_unreadable_file_is_left_out_only_if_its_split_is_there_in_another(tmp_path, caplog):
    write_files(tmp_path, train=plants(1, 1, text="oak train"), dev=plants(1, 1, text="oak dev"))
    put(tmp_path / "test.yaml", "[]")
    with pytest.raises(CorpusError, match=r"test.yaml: .yaml ending, which can't be read; supported are .pubtator"):
        load_corpus(str(tmp_path))
    write_jsonl(tmp_path / "test.jsonl", plants(2, 2))
    assert len(load_corpus(str(tmp_path)).splits["test"]) == 1
    assert "test.yaml: .yaml ending, which can't be read; it is left out" in caplog.text


@pytest.mark.parametrize(("count", "names", "told"), [
    (30, ("NA",), "0 of 30 documents are held out instead of a share of 0.15: 30 have the id or group 'NA'"),
    (20, ("a", "b"), "10 of 20 documents are held out instead of a share of 0.15: 10 have the id or group"),
])  # fmt: skip
def test_documents_of_one_id_that_make_a_cut_too_small_or_too_large_are_told(tmp_path, caplog, count, names, told):
    rows = [row | {"document_id": names[n * len(names) // count]} for n, row in enumerate(plants(1, count))]
    corpus = load_corpus(write_jsonl(tmp_path / "one.jsonl", rows))
    assert told in caplog.text
    assert len(names) == 2 or sizes(corpus) == [30, 0, 0]


def test_more_than_two_per_cent_of_lost_mentions_are_told(tmp_path, caplog):
    rows = [document(str(n), "an oak", [("oak"[: 2 if n < 2 else 3], "Tree")]) for n in range(100)]
    path = write_jsonl(tmp_path / "c.jsonl", rows[1:])
    load_corpus(path)
    assert "become no labels" not in caplog.text
    load_corpus(write_jsonl(path, [*rows[:2], *rows[:1], *rows[3:]]))
    told = f"{path}: 3 of 100 mentions become no labels (2 not alignable, 1 duplicate document); check that offsets"
    assert f"{told} count characters" in caplog.text


WARNINGS = [
    # hidden files are no data, what a Mac packs neither; a README may have a split in its name
    ({"train/a.jsonl": plants(1, 10), "train/licenses_of_trees.jsonl": plants(13, 20), "train/._a.jsonl": "\x00",
      "train/.ipynb_checkpoints/a-checkpoint.jsonl": plants(11, 12), "train/b.yaml": "[]",
      "train/dataset_info.json": "{}"}, [13, 2, 3],
     ["b.yaml: its ending can't be read; 1 such file left out", "no test split"]),
    ({"TRAIN.JSONL": plants(1, 10), "__MACOSX/dev.jsonl": "\x00", "README.test.md": "How it was tested."}, [7, 1, 2],
     ["PATH has no test split; 0.15 of its training documents are held out"]),
    # a repeated document with other mentions; type names that are likely wrong
    ({"train_trees.jsonl": plants(1, 9, "Tree"), "train_wholes.jsonl": plants(9, 9, "Whole")}, [7, 1, 1],
     ["no test split", "PATH train: 1 document with id and text of an earlier one, such as d9; 1 mention that "
      "only a later one has added to it", "1 of 10 mentions become no labels (1 nested)"]),
    ({"train.jsonl": plants(1, 9, "Tree"), "dev.jsonl": plants(10, 12, "Tree"), "test.jsonl": plants(13, 15, "tree")},
     [9, 3, 3], ["the types Tree, tree differ in case only, and are learned apart",
                 "tree has no training mention, so nothing will predict it"]),
]  # fmt: skip


@pytest.mark.parametrize(("files", "expected", "told"), WARNINGS)
def test_doubtful_files_of_a_folder_are_told_and_nothing_else(tmp_path, caplog, files, expected, told):
    for name, content in files.items():
        put(tmp_path / name, content) if isinstance(content, str) else write_jsonl(tmp_path / name, content)
    assert sizes(load_corpus(tmp_path)) == expected
    for part, message in zip(told, caplog.messages, strict=True):
        assert part.replace("PATH", str(tmp_path)) in message


@pytest.mark.parametrize(("files", "told"), [
    ({"c/a": None, "c/train/b": None}, "c: brat pairs beside train/, which holds data too"),
    ({"c/train": None, "c/test": None}, "c: the names of brat pairs state several splits"),
    ({"c/train": None, "c/test": None}, "put the pairs of each into a folder of its own: train/, test/"),
    ({"c/train.jsonl": "{}", "c/train.conll": CONLL}, "several formats (train.conll, train.jsonl); keep one"),
    ({"c/dev.jsonl": "{}"}, "c: a development split alone; add train (and test)"),
    ({"c/a.jsonl": "{}"}, "c: no file or subfolder is named by split (such as train.jsonl, dev.jsonl, test.jsonl"),
    ({f"c/{n}": "" for n in range(5)}, "found 0, 1, 2, 3, 4; rename them"),
    ({f"c/{n}": "" for n in range(6)}, "found 0, 1, 2, 3, 4, ...; rename them"),
])  # fmt: skip
def test_a_folder_whose_splits_are_unclear_is_refused(tmp_path, files, told):
    for name, text in files.items():
        if text is None:
            write_pair((tmp_path / name).parent, Path(name).name)
        else:
            put(tmp_path / name, text)
    with pytest.raises(CorpusError) as caught:
        load_corpus(tmp_path / "c")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_link_is_refused(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", plants(1, 10))
    (tmp_path / "test.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    with pytest.raises(CorpusError, match=r"test.jsonl: a link to a file that isn't there; fetch the data first"):
        load_corpus(tmp_path)
