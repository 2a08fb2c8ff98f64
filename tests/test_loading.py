"""Load registered corpora: official layouts, types, splits and their cuts, ledgers, hashes, and bad input."""

import gzip
import json
from pathlib import Path

import pytest
from toys import document, put, sizes, write_jsonl

from dataset_scripts import CorpusError, LoadedCorpus, file_ledgers, get_corpus, hash_corpus, list_corpora, load_corpus
from dataset_scripts.bio import flatten
from dataset_scripts.loading import with_dev_in_train
from dataset_scripts.schema import Document, Entity, Ledger, ReadOptions
from dataset_scripts.splits import hold_out


def pubtator(first: int, last: int, type_name: str = "SpecificDisease") -> str:
    """Write documents `first` to `last`, each with the mention `lupus` at 4-9."""
    record = "{0}|t|The lupus of case {0}\n{0}|a|Nothing more.\n{0}\t4\t9\tlupus\t{1}\tD1\n\n"
    return "".join(record.format(n, type_name) for n in range(first, last + 1))


def write_ncbi(folder: Path, split: str, text: str) -> Path:
    return put(folder / f"ncbi_disease/NCBI{split}set_corpus.txt", text)


def write_plants(path: Path, first: int, last: int) -> Path:
    return write_jsonl(path, [document(f"d{n}", f"oak {n}", [("oak", "Plant")]) for n in range(first, last + 1)])


@pytest.fixture
def ncbi(tmp_path) -> Path:
    write_ncbi(tmp_path, "train", pubtator(1, 4) + pubtator(4, 4))
    write_ncbi(tmp_path, "develop", pubtator(11, 12, "Modifier"))
    write_ncbi(tmp_path, "test", pubtator(21, 23, "CompositeMention"))
    return tmp_path


def ids(corpus: LoadedCorpus, split: str) -> list[str]:
    return [document.document_id for document in corpus.splits[split]]


def counts(ledger: Ledger) -> tuple[object, ...]:
    return ledger.documents, ledger.read, ledger.kept, ledger.dropped, ledger.types


def error_of(*arguments: object, **options: object) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(*arguments, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_corpora_are_registered_in_order_with_types_terms_and_https_addresses():
    biology = ("Protein", "DNA", "RNA", "CellType", "CellLine")
    types = [("Disease",), ("Chemical", "Disease"), ("Gene",), biology, biology]
    assert list_corpora() == ("ncbi", "bc5cdr", "bc2gm", "jnlpba", "genia")
    for name, expected in zip(list_corpora(), types, strict=True):
        info = get_corpus(name)
        assert info.types == expected
        assert info.citation.startswith("@") and info.licence and info.homepage.startswith("http")
        assert all(archive.url.startswith("https://") for archive in info.archives)


def test_official_splits_types_and_counts_of_a_corpus(ncbi, caplog):
    corpus = load_corpus("ncbi", ncbi)
    assert [ids(corpus, split) for split in corpus.splits] == [["1", "2", "3", "4"], ["11", "12"], ["21", "22", "23"]]
    assert corpus.types == ("Disease",)
    assert counts(corpus.ledgers["train"]) == (4, 5, 4, {"duplicate document": 1}, {"Disease": 5})
    entity = corpus.splits["dev"][0].entities[0]
    assert (entity.start, entity.end, entity.type, entity.native_type) == (4, 9, "Disease", "Modifier")
    assert "ncbi train: 4 documents, 592 expected; is the file complete?" in caplog.text
    native = load_corpus("ncbi", ncbi, native_types=True)
    assert native.types == ("CompositeMention", "Modifier", "SpecificDisease")
    assert native.splits["dev"][0].entities[0].type == "Modifier"


def test_files_are_hashed_by_relative_name_and_gzipped_ones_are_as_good(tmp_path):
    for split in ("train", "develop", "test"):
        path = write_ncbi(tmp_path, split, "1|t|lupus\n1\t0\t5\tlupus\tModifier\tD1\n")
    expected = "1c32e831733ade30089d447fbc7e6d85f261cf2ea0c248fdfed64130b2f411bb"
    names = [f"ncbi_disease/NCBI{split}set_corpus.txt" for split in ("train", "develop", "test")]
    plain = load_corpus("ncbi", tmp_path)
    assert list(plain.hashes.items()) == [(name, expected) for name in names]
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    packed = load_corpus("ncbi", tmp_path)
    assert packed.splits == plain.splits and list(packed.hashes) == [*names[:2], f"{names[2]}.gz"]


def test_words_that_cross_the_edges_of_mentions_lose_them(ncbi):
    ledger = load_corpus("ncbi", ncbi, word_pattern=r"\S+ \S+|\S+").ledgers["test"]
    assert counts(ledger) == (3, 3, 0, {"not alignable": 3}, {"Disease": 3})


def test_losses_of_a_flat_tag_sequence_are_counted_by_cause(tmp_path):
    """Of nested mentions the outermost is kept, of crossing ones the first, of two of one place the first by type."""
    places = [(4, 9, "Gene"), (0, 9, "Gene"), (4, 17, "Gene"), (18, 23, "Z"), (18, 23, "A"), (0, 3, "Gene")]
    entities = [{"start": start, "end": end, "type": name} for start, end, name in [*places, (24, 26, "Gene")]]
    record = {"document_id": "1", "text": "TNF alpha binding cells p53", "entities": entities}
    path = put(tmp_path / "test.jsonl", json.dumps(record))
    assert "5 of 7 mentions become no labels (3 nested, 1 crossing, 1 not alignable); correct" in error_of(path)
    ledger = load_corpus(path, options=ReadOptions(allow_losses=True)).ledgers["test"]
    assert (ledger.read, ledger.kept, ledger.dropped) == (7, 2, {"nested": 3, "crossing": 1, "not alignable": 1})
    kept, lost = flatten([Entity(0, 3, "Z"), Entity(0, 3, "A")])  # in whatever order they come
    assert (kept, lost) == ([Entity(0, 3, "A")], {"nested": 1})


@pytest.mark.parametrize("name", ["ncbi", "bc5cdr", "bc2gm", "jnlpba"])
def test_the_embedded_sample_has_enough_to_score_and_is_not_said_to_be_incomplete(name, caplog):
    corpus = load_corpus(name, "sample")
    assert all(corpus.splits.values()) and not caplog.records
    assert corpus.ledgers["test"].kept >= 100
    assert {entity.type for document in corpus.splits["train"] for entity in document.entities} == set(corpus.types)


def test_a_home_folder_in_data_dir_and_in_a_path_is_expanded(ncbi, monkeypatch):
    monkeypatch.setenv("HOME", str(ncbi))
    write_plants(ncbi / "plants_test.jsonl", 1, 2)
    assert ids(load_corpus("ncbi", "~"), "test") == ["21", "22", "23"]
    corpus = load_corpus("~/plants_test.jsonl")
    assert (corpus.name, ids(corpus, "test")) == ("~/plants_test.jsonl", ["d1", "d2"])
    assert hash_corpus("~/plants_test.jsonl") == hash_corpus(ncbi / "plants_test.jsonl")


def test_a_hash_tells_the_names_and_contents_of_all_files_that_are_read(tmp_path):
    plants = write_plants(tmp_path / "plants.jsonl", 1, 3)
    assert len(hash_corpus(plants)) == 16 and hash_corpus(str(plants)) == hash_corpus(plants)
    pair = put(tmp_path / "brat/1.txt", "An oak.\n")
    put(tmp_path / "brat/1.ann", "T1\tPlant 3 6\toak\n")
    genes = put(tmp_path / "genes/train/train.in", "P1 BRCA1 gene\n").parents[1]
    put(genes / "train/GENE.eval", "P1|0 4|BRCA1\n")
    for source, file, text in [
        (plants, plants, '{"document_id": "d1", "text": "oak"}\n'),
        (pair.parent, pair.with_suffix(".ann"), "T1\tTree 3 6\toak\n"),
        (genes, genes / "train/GENE.eval", "P1|0 8|BRCA1 gene\n"),
        (genes / "train/train.in", genes / "train/ALTGENE.eval", "P1|0 8|BRCA1 gene\n"),
        (genes / "train/train.in", genes / "train/train.idmap", "P00000042T0001 P1\n"),
    ]:
        before = hash_corpus(source)
        put(file, text)
        assert hash_corpus(source) != before
    before = hash_corpus(pair.parent)
    for ending in (".txt", ".ann"):
        pair.with_suffix(ending).rename(pair.with_name(f"2{ending}"))
    assert hash_corpus(pair.parent) != before  # names count too
    assert hash_corpus("ncbi", "sample") == hash_corpus("ncbi", "sample") != hash_corpus("bc5cdr", "sample")
    with pytest.raises(CorpusError, match="did you mean 'ncbi'"):
        hash_corpus("nbci", "sample")
    with pytest.raises(CorpusError, match="no such file or folder"):
        hash_corpus(tmp_path / "nowhere.jsonl")


def test_test_size_pools_all_documents(ncbi):
    corpus = load_corpus("ncbi", ncbi, test_size=0.34, dev_size=0.2)
    assert sizes(corpus) == [5, 1, 3]
    pooled = sorted(document_id for split in corpus.splits for document_id in ids(corpus, split))
    assert pooled == ["1", "11", "12", "2", "21", "22", "23", "3", "4"]
    assert sum(ledger.read for ledger in corpus.ledgers.values()) == 10
    for split, ledger in corpus.ledgers.items():
        assert ledger.documents == len(corpus.splits[split])
        assert ledger.read == ledger.kept + sum(ledger.dropped.values())


@pytest.mark.parametrize(("present", "missing", "size"), [("test", "dev", 4), ("dev", "test", 6), ("", "test", 12)])
def test_a_cut_depends_on_the_seed_only(tmp_path, present, missing, size):
    """The cut of a missing development or test split, and that of pooled documents."""
    write_plants(tmp_path / "train.jsonl", 1, 40)
    write_plants(tmp_path / f"{present or 'test'}.jsonl", 41, 42)
    options = {} if present else {"test_size": 12 / 42}
    held_out = [tuple(ids(load_corpus(tmp_path, seed=seed, **options), missing)) for seed in (*range(6), 0)]
    assert len(set(held_out)) > 3 and {len(documents) for documents in held_out} == {size}
    assert held_out[0] == held_out[-1]


def make_documents(count: int, groups: int) -> list[Document]:
    return [Document(f"d{n:03}", "text", group=f"g{n % groups}") for n in range(count)]


def test_a_cut_ignores_the_order_of_files_and_keeps_groups_whole():
    documents = make_documents(60, 20)
    rest, held_out = hold_out(documents, 0.1, 7)
    _, reversed_held_out = hold_out(documents[::-1], 0.1, 7)
    assert len(held_out) == 6 and len(rest) == 54
    assert {d.document_id for d in held_out} == {d.document_id for d in reversed_held_out}
    assert not {d.group for d in held_out} & {d.group for d in rest}
    assert [d.document_id for d in rest] == sorted(d.document_id for d in rest)


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1))])
def test_a_cut_of_very_few_documents_leaves_one_on_each_side(count, expected):
    rest, held_out = hold_out(make_documents(count, count), 0.1, 42)
    assert (len(rest), len(held_out)) == expected


def test_development_documents_in_training_get_their_own_ids_in_a_user_corpus_only(tmp_path, ncbi):
    for split in ("train", "dev", "test"):
        write_plants(tmp_path / f"plants/{split}.jsonl", 1, 3)
    joined = with_dev_in_train(load_corpus(tmp_path / "plants"))
    assert ids(joined, "train") == ["d1", "d2", "d3", "dev d1", "dev d2", "dev d3"] and joined.splits["dev"] == []
    ledger = joined.ledgers["train"]
    assert (ledger.documents, ledger.read, ledger.kept) == (6, 6, 6)
    write_ncbi(ncbi, "develop", pubtator(4, 5))
    assert ids(with_dev_in_train(load_corpus("ncbi", ncbi)), "train") == ["1", "2", "3", "4", "4", "5"]


def test_bc2gm_development_split_keeps_abstracts_together(tmp_path):
    train, test = tmp_path / "bc2gm/bc2geneMention/train", tmp_path / "bc2gm/BC2GM/test"
    sentences = [f"P{abstract:08}A{n:04} gene x{n}" for abstract in range(10) for n in range(4)]
    for path, text in {
        train / "train.in": "\n".join(sentences) + "\n",
        train / "GENE.eval": "".join(f"{line.split()[0]}|0 3|gene\n" for line in sentences),
        train / "ALTGENE.eval": "P00000000A0000|0 5|gene x0\n",
        test / "test.in": "BC2GM1 gene a\n",
        test / "GENE.eval": "BC2GM1|0 3|gene\n",
        test / "ALTGENE.eval": "",
        test / "test.idmap": "P00000099A0000 BC2GM1\n",
    }.items():
        put(path, text)
    corpus = load_corpus("bc2gm", tmp_path, dev_size=0.2)
    assert sizes(corpus) == [32, 8, 1]
    train_groups, dev_groups = ({document.group for document in corpus.splits[s]} for s in ("train", "dev"))
    assert len(dev_groups) == 2 and not train_groups & dev_groups
    assert {s: ledger.read for s, ledger in file_ledgers("bc2gm", tmp_path).items()} == {"train": 40, "test": 1}


IOB2 = "###MEDLINE:{0}\n\nIL-2\tB-protein\nbinds\tO\n.\tO\n\nHeLa\tB-cell_line\ncells\tI-cell_line\n\n"


def write_standoff(folder: Path, split: str, name: str) -> None:
    put(folder / f"jnlpba/standoff/{split}/{name}.txt", f"IL-2 {name}\n")
    put(folder / f"jnlpba/standoff/{split}/{name}.ann", "T1\tprotein 0 4\tIL-2\n")


@pytest.mark.parametrize(("train", "test"), [
    ("original-data/train/", "original-data/test/"), ("Genia4ERtraining/", "Genia4ERtest/"), ("", ""),
    ("", "original-data/test/"),
])  # fmt: skip
def test_jnlpba_is_read_from_official_files_wherever_they_were_unpacked(tmp_path, train, test):
    put(tmp_path / f"jnlpba/{train}Genia4ERtask2.iob2", "".join(map(IOB2.format, range(10))))
    put(tmp_path / f"jnlpba/{test}Genia4EReval2.iob2", IOB2.format(99))
    write_standoff(tmp_path, "train", "1")
    corpus = load_corpus("jnlpba", tmp_path)
    assert sizes(corpus) == [9, 1, 1]
    document = corpus.splits["test"][0]
    mentions = [(document.text[e.start : e.end], e.type) for e in document.entities]
    assert mentions == [("IL-2", "Protein"), ("HeLa cells", "CellLine")]


def test_jnlpba_without_both_official_files_is_read_from_standoff(tmp_path):
    put(tmp_path / "jnlpba/original-data/test/Genia4EReval2.iob2", IOB2.format(99))
    for split, name in (("train", "0"), ("train", "1"), ("train", "2"), ("test", "7")):
        write_standoff(tmp_path, split, name)
    corpus = load_corpus("jnlpba", tmp_path)
    assert ids(corpus, "test") == ["7"]
    assert list(corpus.hashes) == ["jnlpba/standoff/train", "jnlpba/standoff/test"]


def test_two_documents_of_one_medline_id_stay_on_one_side(tmp_path):
    for split, names in {"train": [f"{n}{suffix}" for n in range(8) for suffix in ("", "-2")], "test": ["90"]}.items():
        for name in names:
            write_standoff(tmp_path, split, name)
    corpus = load_corpus("jnlpba", tmp_path, dev_size=0.25)
    train, dev = ({name.removesuffix("-2") for name in ids(corpus, split)} for split in ("train", "dev"))
    assert len(corpus.splits["dev"]) == 4 and not train & dev


GENIA = """<?xml version="1.0"?><!DOCTYPE set SYSTEM "gpml.dtd"><set>{}</set>"""
ARTICLE = """<article><articleinfo><bibliomisc>MEDLINE:{0}</bibliomisc></articleinfo><title><sentence>
<cons lex="x" sem="G#other_name"><cons lex="x" sem="G#protein_molecule">IL-2</cons> gene</cons> in
<cons lex="x" sem="G#DNA_domain_or_region">site {0}</cons></sentence></title><abstract><sentence>
<cons lex="x" sem="(AND G#cell_type G#cell_type)"><cons lex="a*">T</cons> and <cons lex="b*">B</cons> cells</cons> of
<cons lex="x" sem="G#protein_N/A">p{0}</cons>.</sentence></abstract></article>"""


def test_genia_types_are_mapped_by_prefix_and_its_documents_cut(tmp_path):
    path = tmp_path / "genia/GENIA_term_3.02/GENIAcorpus3.02.xml"
    put(path, GENIA.format("".join(map(ARTICLE.format, range(20)))))
    corpus = load_corpus("genia", tmp_path)
    assert sizes(corpus) == [15, 2, 3]
    types = [(e.type, e.native_type) for e in corpus.splits["train"][0].entities]
    assert types == [("Protein", "protein_molecule"), ("DNA", "DNA_domain_or_region"), ("Protein", "protein_N/A")]
    losses = {"coordination": 20, "other type": 20}
    assert counts(file_ledgers("genia", tmp_path)["all"]) == (20, 100, 60, losses, {"DNA": 20, "Protein": 40})
    native = load_corpus("genia", tmp_path, native_types=True)
    assert native.types == ("DNA_domain_or_region", "protein_N/A", "protein_molecule")


@pytest.mark.parametrize(("source", "options", "parts"), [
    ("bc5cd", {}, ["unknown corpus 'bc5cd'; did you mean 'bc5cdr'? ", "ncbi, bc5cdr, bc2gm, jnlpba, genia; "]),
    ("NCBI", {}, ["unknown corpus 'NCBI'; did you mean 'ncbi'? "]),
    ("zzz", {}, ["unknown corpus 'zzz'; registered are"]),
    ("nowhere.conll", {}, ["nowhere.conll: no such file or folder"]),
    ("ncbi", {"data_dir": "nowhere"}, ["--data_dir nowhere: no such folder"]),
    *(("ncbi", {"test_size": share}, [f"test_size is {share};"]) for share in (0, 1, -0.1, 1.5)),
    *(("ncbi", {"dev_size": share}, [f"dev_size is {share};"]) for share in (0, 1, -0.1, 1.5)),
    ("ncbi", {"word_pattern": "[a"}, ["word_pattern '[a' is not a regular expression"]),
    ("ncbi", {"word_pattern": r"\w*"}, [r"word_pattern '\\w*' matches the empty string"]),
])  # fmt: skip
def test_a_bad_argument_is_named_with_its_value(source, options, parts):
    message = error_of(source, **{"data_dir": "sample"} | options)
    assert all(part in message for part in parts), message


def test_a_missing_file_is_named_with_its_address_and_the_flag(ncbi):
    (ncbi / "ncbi_disease/NCBItestset_corpus.txt").unlink()
    message = error_of("ncbi", ncbi)
    assert f"ncbi: {ncbi / 'ncbi_disease/NCBItestset_corpus.txt'} is missing" in message
    assert "https://www.ncbi.nlm.nih.gov/CBBresearch/Dogan/DISEASE/NCBItestset_corpus.zip" in message
    assert "--data_dir" in message


def test_only_an_unusual_test_size_is_remarked_on(tmp_path, caplog):
    path = write_plants(tmp_path / "plants.jsonl", 1, 20)
    for share in (0.1, 0.15):
        load_corpus(path, test_size=share)
    assert not caplog.records
    load_corpus(path, test_size=0.5)
    assert "test_size is 0.5; 0.10 to 0.15 is usual" in caplog.text


def test_a_corpus_that_is_malformed_empty_or_without_training_mentions_is_refused(tmp_path, ncbi):
    path = put(tmp_path / "empty.jsonl", "\n")
    assert error_of(path) == f"{path} holds no document; is it the right file, and does its ending name its format?"
    malformed = put(tmp_path / "malformed.conll", "Oak\tB-Plant\nno tag here\n")
    assert error_of(malformed).startswith(f"{malformed}:2:")
    assert "training documents holds a mention" in error_of(put(tmp_path / "plain.conll", "Oak\tO\n\n" * 9))
    write_ncbi(ncbi, "train", pubtator(1, 4, "Chemical"))
    assert "none of its 4 training documents holds a mention of Disease" in error_of("ncbi", ncbi)
