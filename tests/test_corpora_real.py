"""The four real corpora (`../shared/corpora`): every mention accounted for, exports exact, leaks known."""

import functools
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import put, sizes

from dataset_scripts import LoadedCorpus, bio, drop_leaks, file_ledgers, get_corpus, load_corpus, loading
from dataset_scripts.__main__ import main
from dataset_scripts.corpus import compute_sha256
from dataset_scripts.export import export_corpus, list_labels
from dataset_scripts.training_texts import collect_training_texts, find_trained


CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
NAMES = ("ncbi", "bc5cdr", "bc2gm", "jnlpba")

pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="the real corpora are not beside the project")

JNLPBA_TRAIN = {"Protein": 30269, "DNA": 9533, "CellType": 6718, "CellLine": 3830, "RNA": 951}
JNLPBA_TEST = {"Protein": 5067, "CellType": 1921, "DNA": 1056, "CellLine": 500, "RNA": 118}
# Columns: corpus, split, documents, mentions read, dropped by cause, types.
OFFICIAL = [
    ("ncbi", "train", 592, 5145, {"duplicate document": 11, "not alignable": 2}, {"Disease": 5145}),
    ("ncbi", "dev", 100, 787, {}, {"Disease": 787}),
    ("ncbi", "test", 100, 960, {}, {"Disease": 960}),
    ("bc5cdr", "train", 500, 9383, {}, {"Chemical": 5201, "Disease": 4182}),
    ("bc5cdr", "dev", 500, 9591, {"not alignable": 10}, {"Chemical": 5347, "Disease": 4244}),
    ("bc5cdr", "test", 500, 9796, {"not alignable": 5}, {"Chemical": 5372, "Disease": 4424}),
    ("bc2gm", "train", 15000, 18265, {"nested": 7}, {"Gene": 18265}),
    ("bc2gm", "test", 5000, 6331, {"nested": 6}, {"Gene": 6331}),
    ("jnlpba", "train", 2000, 51301, {"not alignable": 19}, JNLPBA_TRAIN),
    ("jnlpba", "test", 404, 8662, {"not alignable": 11}, JNLPBA_TEST),
]


@pytest.fixture(scope="module", autouse=True)
def read_once() -> Iterator[None]:
    """Each file is read once, each text is split once, and no garbage is looked for among so many objects."""
    gc.disable()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_read", functools.cache(loading._read))
        patch.setattr(bio, "split_words", functools.cache(bio.split_words))
        yield
    gc.enable()


@pytest.fixture(scope="module")
def corpora(read_once) -> dict[str, LoadedCorpus]:
    return {name: load_corpus(name, str(CORPORA)) for name in NAMES}


def test_stats_are_the_counts_of_the_owners(capsys):
    assert main(["stats", "--data_dir", str(CORPORA), "--json"]) == 0
    expected = {name: {} for name in NAMES}
    for name, split, documents, read, dropped, types in OFFICIAL:
        counts = {"documents": documents, "read": read, "kept": read - sum(dropped.values())}
        expected[name][split] = counts | {"dropped": dropped, "types": types}
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(("folder", "counts", "edition"), [
    ("bc5cdr_official", [(500, 9385, {}), (500, 9591, {"not alignable": 10}), (500, 9809, {"not alignable": 5})],
     "note: bc5cdr: this is the official edition\n"),
    ("bc5cdr", [(500, 9383, {}), (500, 9591, {"not alignable": 10}), (500, 9796, {"not alignable": 5})],
     "note: bc5cdr: this is the flattened copy in ncbi/AIONER\n"),
])  # fmt: skip
def test_the_edition_of_bc5cdr_is_told(tmp_path, capsys, caplog, folder, counts, edition):
    (tmp_path / "bc5cdr").symlink_to(CORPORA / folder)
    assert main(["stats", "bc5cdr", "--data_dir", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    splits = json.loads(out)["bc5cdr"]
    assert [(split["documents"], split["read"], split["dropped"]) for split in splits.values()] == counts
    assert (err, caplog.records) == (edition, [])
    assert f"note: bc5cdr: this is {load_corpus('bc5cdr', tmp_path).edition}\n" == edition


def test_official_bc5cdr_in_bioc_equals_pubtator():
    folder = CORPORA / "bc5cdr_official/CDR_Data/CDR.Corpus.v010516"
    bioc, pubtator = (folder / f"CDR_TestSet.{name}" for name in ("BioC.xml", "PubTator.txt"))
    assert load_corpus(bioc, scoring_only=True).splits == load_corpus(pubtator, scoring_only=True).splits
    ledger = file_ledgers(bioc)["test"]  # the parts of composite mentions are annotated too
    assert (ledger.read, ledger.dropped) == (9928, {"discontinuous": 37, "nested": 82, "not alignable": 5})
    assert 9928 - 37 - 82 == 9809 == file_ledgers(pubtator)["test"].read


@pytest.mark.parametrize(("name", "train", "dev"), [
    ("ncbi", (592, 5145, 5132), (100, 787, 787)),
    ("bc5cdr", (500, 9383, 9383), (500, 9591, 9581)),
    ("bc2gm", (13500, 16454, 16448), (1500, 1811, 1810)),
    ("jnlpba", (1800, 46443, 46424), (200, 4858, 4858)),
])  # fmt: skip
def test_ledgers_after_the_cut(corpora, name, train, dev):
    corpus = corpora[name]
    for split, expected in (("train", train), ("dev", dev)):
        ledger = corpus.ledgers[split]
        assert (ledger.documents, ledger.read, ledger.kept) == expected
        assert len(corpus.splits[split]) == ledger.documents
    official = sum(read for corpus_name, _, _, read, *_ in OFFICIAL if corpus_name == name)
    assert sum(ledger.read for ledger in corpus.ledgers.values()) == official
    groups = [{document.group for document in corpus.splits[split]} for split in ("train", "dev")]
    assert not groups[0] & groups[1]


@pytest.mark.parametrize("name", NAMES)
def test_parquet_holds_exactly_the_kept_mentions(corpora, tmp_path, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    corpus = corpora[name]
    folder = export_corpus(corpus, "parquet", tmp_path / "out")
    names = list_labels(corpus.types)
    for split, file in {"train": "train", "dev": "validation", "test": "test"}.items():
        rows = parquet.read_table(folder / f"{file}.parquet").to_pylist()
        decoded = 0
        for row, document in zip(rows, corpus.splits[split], strict=True):
            words = list(zip(row["starts"], row["ends"], strict=True))
            entities = bio.decode_bio(words, [names[tag] for tag in row["ner_tags"]])
            assert row["text"] == document.text and set(entities) <= set(document.entities)
            decoded += len(set(entities))
        assert decoded == corpus.ledgers[split].kept


def test_recorded_hashes_are_those_of_the_files():
    hashes = {CORPORA / get_corpus(name).folder / path: expected for name in NAMES
              for path, expected in get_corpus(name).sha256.items()}  # fmt: skip
    assert len(hashes) == 11 and {path: compute_sha256(path) for path in hashes} == hashes


def test_pooling_counts_every_document_once():
    corpus = load_corpus("ncbi", str(CORPORA), test_size=0.15)
    assert sizes(corpus) == [606, 67, 119]
    assert sum(ledger.read for ledger in corpus.ledgers.values()) == 5145 + 787 + 960
    assert sum(ledger.dropped["duplicate document"] for ledger in corpus.ledgers.values()) == 11


def test_official_jnlpba_test_file_equals_standoff(tmp_path):
    train = put(tmp_path / "jnlpba/Genia4ERtask2.iob2", "###MEDLINE:1\n\nIL-2\tB-protein\n")
    train.with_name("Genia4EReval2.iob2").symlink_to(CORPORA / "jnlpba/original-data/test/Genia4EReval2.iob2")
    ledger = file_ledgers("jnlpba", tmp_path)["test"]
    assert (ledger.documents, ledger.read, ledger.types) == (404, 8662, JNLPBA_TEST)


def test_leaks_between_all_four_are_known(corpora):
    cleaned, leaks, overlaps = drop_leaks(corpora)
    numbers = {f"{x.train} {x.held_out} {x.split} {x.by}": len(x.document_ids) for x in leaks}
    assert numbers == {
        "ncbi ncbi test text": 1,
        "bc5cdr bc5cdr test text": 2,
        "bc2gm bc2gm test text": 13,
        "bc2gm bc5cdr test text": 1,
        "bc2gm jnlpba dev text": 7,
        "bc2gm jnlpba test text": 10,
        "jnlpba bc2gm dev text": 6,
        "jnlpba bc2gm test text": 19,
        "jnlpba jnlpba test id": 9,
    }
    assert [(x.train, x.held_out, x.split, x.by, len(x.document_ids)) for x in overlaps] == [
        ("bc2gm", "bc2gm", "test", "text", 4),
        ("bc5cdr", "bc5cdr", "test", "text", 1),
        ("jnlpba", "bc2gm", "test", "text", 1),
        ("jnlpba", "jnlpba", "test", "id", 1),
    ]
    dropped = [len(corpora[name].splits["train"]) - len(cleaned[name].splits["train"]) for name in NAMES]
    assert dropped == [1, 2, 31, 32]
    assert [cleaned[name].ledgers["train"].dropped["leak"] for name in NAMES] == [11, 35, 90, 1157]
    check_training_texts(cleaned)


def check_training_texts(cleaned: dict[str, LoadedCorpus]) -> None:
    """No held-out text is in a record of the cleaned training text; of BioRED's 100 test abstracts 11 are."""
    train = {name: corpus.splits["train"] for name, corpus in cleaned.items()}
    record = collect_training_texts(train, {(name, item.document_id) for name in train for item in train[name]})
    held_out = {name: {split: corpus.splits[split] for split in ("dev", "test")} for name, corpus in cleaned.items()}
    assert find_trained(record, held_out) == {}
    path = CORPORA / "biored" / "BioRED_Test.PubTator"
    found = find_trained(record, {"biored": load_corpus(path, scoring_only=True).splits})
    assert [*found["biored", "test"].values()] == ["id"] * 11
    assert len(json.dumps(record.as_dict())) < 500_000
