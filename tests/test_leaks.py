"""Training text that is held-out text, by id and by text, within and across corpora."""

import json

import pytest
from toys import write_jsonl

from dataset_scripts import CorpusError, Document, Entity, Ledger, LoadedCorpus, drop_leaks, find_leaks, load_corpus
from dataset_scripts.bio import split_words


SENTENCE = "The IL-2 receptor (CD25) binds p53 strongly in cells."
SAME = "the il - 2 receptor ( cd25 ) binds p53 strongly in cells ."
SIX = "One two three four five six."
NOTICE = "Copyright 1998 by The American Society of Oaks."
FORMULA = "The patient was discharged home in stable condition."
LONG = "Nothing is known of oaks. We asked why. {} No oak was seen again after that day."


Documents = dict[str, list[Document]]  # by corpus or split


def document(document_id: str, text: str, mentions: int = 1) -> Document:
    entities = [Entity(start, end, "Gene") for start, end in split_words(text)[:mentions]]
    assert len(entities) == mentions
    return Document(document_id, text, entities, group=document_id)


def find(train: Documents, held_out: dict[str, Documents]) -> list[tuple[str, str, str, str, tuple[str, ...], int]]:
    leaks = find_leaks(train, held_out)
    return [(leak.train, leak.held_out, leak.split, leak.by, leak.document_ids, leak.mentions) for leak in leaks]


def test_pubmed_ids_are_compared_across_corpora():
    train = {"ncbi": [document("17", "One text."), document("18", "Other text.", 3)]}
    held_out = {"bc5cdr": {"dev": [document("17", "A text.")], "test": [document("18", "B text.")]}}
    found = [("ncbi", "bc5cdr", "dev", "id", ("17",), 1), ("ncbi", "bc5cdr", "test", "id", ("18",), 3)]
    assert find(train, held_out) == found


@pytest.mark.parametrize(("corpus", "ours", "other", "theirs", "leaks"), [
    ("genia", "98282479", "jnlpba", "98282479-2", True),  # one MEDLINE abstract, numbered
    ("genia", "98282479-2", "jnlpba", "98282479", True),
    ("jnlpba", "98282479-3", "jnlpba", "98282479-2", True),
    ("bc2gm", "P1-2", "bc2gm", "P1", False),  # a number at the end of an id means nothing here
    ("ncbi", "17", "jnlpba", "17", False),  # ids of different kinds
    ("bc2gm", "17", "jnlpba", "17", False),
    ("ncbi", "17", "./mine", "17", False),
    ("bc2gm", "17", "./mine", "17", False),
])  # fmt: skip
def test_ids_are_compared_within_an_id_space_only(corpus, ours, other, theirs, leaks):
    found = find({corpus: [document(ours, "One text.")]}, {other: {"test": [document(theirs, "Another.")]}})
    assert [leak[:4] for leak in found] == ([(corpus, other, "test", "id")] if leaks else [])


def test_row_numbers_of_an_own_corpus_are_no_leak_but_the_same_text_is():
    train = {"./mine": [document("1", "Oak and ash."), document("2", "Elm and fir.")]}
    held_out = {"./mine": {"test": [document("1", "Rose, lily."), document("2", "elm AND fir!")]}}
    assert find(train, held_out) == [("./mine", "./mine", "test", "id", ("2",), 1)]


@pytest.mark.parametrize(("ours", "theirs", "leaks"), [
    ("Magnetotherapy of hepatitis A and B in children.", "A and B of Rat7 bind in cells.", False),
    ("Title of it.", "Title of it. And the whole text, which is much longer than that.", True),
    ("?!", "Some text.", False),
    ("One two three four five.", "One two three four six.", True),  # four fifths
    ("One two three four.", "One two three five.", False),
])  # fmt: skip
def test_texts_of_one_row_number_leak_if_one_is_in_the_other(ours, theirs, leaks):
    found = find({"./mine": [document("1", ours, 0)]}, {"./mine": {"test": [document("1", theirs, 0)]}})
    assert [leak[3] for leak in found] == (["id"] if leaks else [])


@pytest.mark.parametrize(("ours", "theirs", "leaks"), [
    (SENTENCE, SAME, True),  # tokenised
    (SAME, LONG.format(SENTENCE), True),  # in a held-out abstract
    (LONG.format(SENTENCE), SAME, True),  # in a training abstract
    (SENTENCE, f"x\n{SAME}\ny", True),  # between line breaks
    (SIX, SIX, True),  # just long enough
    ("Meißner corpuscles of the skin were counted.", "MEISSNER CORPUSCLES OF THE SKIN WERE COUNTED.", True),
    ("Fever and rash. No cough. Aspirin given daily.", "FEVER AND RASH. NO COUGH. ASPIRIN GIVEN DAILY.", True),
    ("Only five words stand here.", "Only five words stand here.", False),
    ("One two three four five six seven.", "One two three four five six eight.", False),
    (SIX, "Zero one two three four five.", False),
    (f"Oaks are tall. {NOTICE}", f"Elms are small. {NOTICE}", False),
])  # fmt: skip
def test_the_same_sentence_or_text_in_another_corpus_is_a_leak_unless_it_is_short_or_a_notice(ours, theirs, leaks):
    train = {"bc2gm": [document("P1", "No such sentence is to be found here."), document("P2", ours, 2)]}
    found = find(train, {"jnlpba": {"test": [document("9", theirs)]}})
    assert found == [("bc2gm", "jnlpba", "test", "text", ("P2",), 2)] * leaks


@pytest.mark.parametrize(("uses", "leaks"), [(3, True), (4, False)])
def test_a_sentence_of_many_documents_is_a_formula_and_no_leak(uses, leaks):
    cases = [document(str(n), f"Case {n} was unlike others. {FORMULA}") for n in range(uses)]
    further = [document("x", f"A further one. {FORMULA}")]
    assert len(find({"./mine": cases}, {"./mine": {"test": further}})) == leaks
    assert len(find({"./mine": further}, {"./mine": {"test": cases}})) == leaks


def test_copies_of_a_text_and_texts_that_several_corpora_annotate_are_no_formula():
    copies = [document(str(number), SENTENCE) for number in range(5)]
    found = find({"ncbi": copies}, {"bc5cdr": {"test": [document("9", SENTENCE)]}})
    assert found == [("ncbi", "bc5cdr", "test", "text", ("0", "1", "2", "3", "4"), 5)]
    train = {name: [document("1", f"Findings in mice. {SENTENCE}")] for name in ("./a", "./b", "./c", "./d")}
    leaks = find_leaks(train, {"./test": {"test": [document("x", SENTENCE)]}})
    assert [leak.train for leak in leaks] == ["./a", "./b", "./c", "./d"]


def test_a_document_found_by_its_id_is_not_counted_by_its_text_too():
    same = document("1", SENTENCE)
    assert find({"ncbi": [same]}, {"ncbi": {"test": [same]}}) == [("ncbi", "ncbi", "test", "id", ("1",), 1)]


def test_a_report_is_json_with_five_examples():
    train = {"ncbi": [document(str(n), f"a b c d e f {n}", n) for n in range(7)]}
    (leak,) = find_leaks(train, {"ncbi": {"test": train["ncbi"]}})
    names = {"train": "ncbi", "held_out": "ncbi", "split": "test", "by": "id"}
    counts = {"documents": 7, "mentions": 21, "examples": ["0", "1", "2", "3", "4"]}
    assert json.dumps(leak.as_dict()) == json.dumps(names | counts)


def load(name: str, **splits: list[Document]) -> LoadedCorpus:
    splits = {split: splits.get(split, []) for split in ("train", "dev", "test")}
    ledgers = {split: Ledger(len(docs), sum(len(doc.entities) for doc in docs)) for split, docs in splits.items()}
    return LoadedCorpus(name, None, ("Gene",), splits, ledgers)


@pytest.fixture
def corpora() -> dict[str, LoadedCorpus]:
    return {
        "ncbi": load("ncbi", train=[document("1", SENTENCE, 4), document("2", "Oaks.")]),
        "bc2gm": load("bc2gm", dev=[document("P1", SAME)], test=[document("P2", SAME)]),
    }


def train_ids(corpus: LoadedCorpus) -> list[str]:
    return [document.document_id for document in corpus.splits["train"]]


def test_dropping_counts_mentions_in_the_ledger_and_leaves_the_caller_s_corpora(corpora, caplog):
    cleaned, leaks, overlaps = drop_leaks(corpora, "drop")
    assert train_ids(cleaned["ncbi"]) == ["2"]
    ledger = cleaned["ncbi"].ledgers["train"]
    assert (ledger.documents, ledger.read, ledger.kept, ledger.dropped) == (1, 5, 1, {"leak": 4})
    assert [(leak.split, leak.by) for leak in leaks] == [("dev", "text"), ("test", "text")]
    assert [(leak.train, leak.split) for leak in overlaps] == [("bc2gm", "test")]
    assert len(corpora["ncbi"].splits["train"]) == 2 and corpora["ncbi"].ledgers["train"].kept == 5
    assert "dropped from training" in caplog.text and "development document of bc2gm" in caplog.text
    assert [document.document_id for document in cleaned["bc2gm"].splits["dev"]] == ["P1"]


def test_mentions_lost_before_are_not_counted_twice(corpora):
    entities = [Entity(0, 3, "Gene"), Entity(0, 8, "Gene"), Entity(9, 13, "Gene")]
    corpora["ncbi"] = load("ncbi", train=[Document("1", SENTENCE, entities)])
    corpora["ncbi"].ledgers["train"].dropped.update({"nested": 1, "not alignable": 1})
    ledger = drop_leaks(corpora, "drop")[0]["ncbi"].ledgers["train"]
    assert (ledger.kept, ledger.dropped) == (0, {"nested": 1, "not alignable": 1, "leak": 1})


def test_leaks_of_both_held_out_splits_are_dropped():
    other = "Nobody knows what became of the man with asthma."
    train = [document("1", SENTENCE), document("2", other), document("3", "Oaks.")]
    held_out = load("bc2gm", dev=[document("P1", SAME)], test=[document("P2", other)])
    assert train_ids(drop_leaks({"ncbi": load("ncbi", train=train), "bc2gm": held_out})[0]["ncbi"]) == ["3"]


def test_leaks_of_corpora_that_are_not_trained_on_are_not_reported():
    mine = {"./mine": load("./mine", train=[document("1", "Oaks.")])}
    theirs = {"./yours": load("./yours", train=[document("1", SENTENCE)], test=[document("9", SAME)])}
    assert drop_leaks(mine, "error", others=theirs)[1:] == ([], [])


def test_a_corpus_keeps_the_same_documents_alone_and_beside_others():
    """Two and two uses of a sentence make a formula of four, whether the second corpus is trained on or not."""
    cases = {name: [document(f"{name}{n}", f"Case {n} of {name}. {FORMULA}") for n in range(2)] for name in ("a", "b")}
    test = [document("x", f"A further one. {FORMULA}")]
    mine, yours = {"./a": load("./a", train=cases["a"])}, {"./b": load("./b", train=cases["b"], test=test)}
    together, leaks, _ = drop_leaks(mine | yours)
    assert leaks == [] and len(together["./a"].splits["train"]) == 2
    assert drop_leaks(mine, others=yours) == (mine, [], [])
    alone, (leak,), _ = drop_leaks(mine, others={"./b": load("./b", test=test)})
    assert leak.document_ids == ("a0", "a1") and alone["./a"].splits["train"] == []


def test_warning_keeps_the_documents(corpora, caplog):
    cleaned, leaks, _ = drop_leaks(corpora, "warn")
    assert len(cleaned["ncbi"].splits["train"]) == 2 and len(leaks) == 2
    assert "kept (--leaks warn)" in caplog.text


def test_an_error_names_the_corpora_and_the_remedy(corpora):
    with pytest.raises(CorpusError, match="training document of ncbi, such as 1, .* of bc2gm.*--leaks drop"):
        drop_leaks(corpora, "error")
    clean, held_out = {"ncbi": corpora["ncbi"]}, {"bc2gm": corpora["bc2gm"]}
    assert drop_leaks(clean, "error") == (clean, [], [])
    cleaned, leaks, overlaps = drop_leaks(held_out, "error")  # development text that is test text is none
    assert (cleaned, leaks, len(overlaps)) == (held_out, [], 1)
    with pytest.raises(CorpusError, match="'ignore'; one of drop, warn, error"):
        drop_leaks(corpora, "ignore")


def test_an_own_corpus_is_compared_with_a_registered_one(tmp_path):
    sample = load_corpus("ncbi", "sample")
    entities = [{"start": 0, "end": 3, "type": "Disease"}]
    leaked = {"document_id": "x", "text": sample.splits["test"][0].text, "entities": []}
    for split, text in {"train": "Oak.", "dev": "Ash.", "test": "Fir."}.items():
        rows = [{"document_id": "y", "text": text, "entities": entities}]
        write_jsonl(tmp_path / f"{split}.jsonl", [leaked] * (split == "train") + rows)
    path = str(tmp_path)
    cleaned, leaks, _ = drop_leaks({"ncbi": sample, path: load_corpus(path)})
    (leak,) = (leak for leak in leaks if leak.train == path)
    assert (leak.held_out, leak.by, leak.document_ids) == ("ncbi", "text", ("x",))
    assert train_ids(cleaned[path]) == ["y"]
