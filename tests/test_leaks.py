"""Training text that is held-out text, by id and by text, within and across corpora."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_scripts import CorpusError, Document, Entity, Ledger, LoadedCorpus, drop_leaks, find_leaks, load_corpus
from dataset_scripts.bio import split_words


SENTENCE = "The IL-2 receptor (CD25) binds p53 strongly in cells."
SAME = "the il - 2 receptor ( cd25 ) binds p53 strongly in cells ."
NOTICE = "Copyright 1998 by The American Society of Oaks."
LONG = "Nothing is known of oaks. We asked why. {} No oak was seen again after that day."


def document(document_id: str, text: str, mentions: int = 1) -> Document:
    entities = [Entity(start, end, "Gene") for start, end in split_words(text)[:mentions]]
    assert len(entities) == mentions
    return Document(document_id, text, entities, group=document_id)


def pairs(
    train: dict[str, list[Document]], held_out: dict[str, dict[str, list[Document]]]
) -> list[tuple[object, ...]]:
    found = find_leaks(train, held_out)
    return [(leak.train, leak.held_out, leak.split, leak.by, leak.document_ids, leak.mentions) for leak in found]


def test_pubmed_ids_are_compared_across_corpora() -> None:
    train = {"ncbi": [document("17", "One text."), document("18", "Other text.", 3)]}
    held_out = {"bc5cdr": {"dev": [document("17", "A text.")], "test": [document("18", "B text.")]}}
    assert pairs(train, held_out) == [
        ("ncbi", "bc5cdr", "dev", "id", ("17",), 1),
        ("ncbi", "bc5cdr", "test", "id", ("18",), 3),
    ]


def test_ids_of_different_kinds_are_not_compared() -> None:
    train = {"ncbi": [document("17", "One text.")], "bc2gm": [document("17", "One text.")]}
    held_out = {name: {"test": [document("17", "Another.")]} for name in ("jnlpba", "./mine")}
    assert pairs(train, held_out) == []


def test_numbered_medline_ids_are_one_abstract() -> None:
    train = {"genia": [document("98282479", "One text.")], "jnlpba": [document("98282479-3", "One text.")]}
    held_out = {"jnlpba": {"test": [document("98282479-2", "Another.")]}}
    assert [(leak[0], leak[3]) for leak in pairs(train, held_out)] == [("genia", "id"), ("jnlpba", "id")]


def test_numbered_documents_of_genia_are_one_abstract_too() -> None:
    train = {"genia": [document("98282479-2", "One text.")]}
    held_out = {"jnlpba": {"test": [document("98282479", "Another.")]}}
    assert [leak[:4] for leak in pairs(train, held_out)] == [("genia", "jnlpba", "test", "id")]


def test_numbers_end_a_bc2gm_id_without_meaning_the_same() -> None:
    assert pairs({"bc2gm": [document("P1-2", "A.")]}, {"bc2gm": {"test": [document("P1", "B.")]}}) == []


def test_row_numbers_of_an_own_corpus_are_no_leak_but_the_same_text_is() -> None:
    train = {"./mine": [document("1", "Oak and ash."), document("2", "Elm and fir.")]}
    held_out = {"./mine": {"test": [document("1", "Rose, lily."), document("2", "elm AND fir!")]}}
    assert pairs(train, held_out) == [("./mine", "./mine", "test", "id", ("2",), 1)]


@pytest.mark.parametrize(
    ("ours", "theirs", "leaks"),
    [
        ("Magnetotherapy of hepatitis A and B in children.", "A and B of Rat7 bind in cells.", False),
        ("Title of it.", "Title of it. And the whole text, which is much longer than that.", True),
        ("?!", "Some text.", False),
        ("One two three four five.", "One two three four six.", True),  # four fifths
        ("One two three four.", "One two three five.", False),
    ],
)
def test_texts_of_one_row_number_leak_if_one_is_in_the_other(ours: str, theirs: str, leaks: bool) -> None:
    found = pairs({"./mine": [document("1", ours, 0)]}, {"./mine": {"test": [document("1", theirs, 0)]}})
    assert [leak[3] for leak in found] == (["id"] if leaks else [])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(SENTENCE, SAME), (SAME, LONG.format(SENTENCE)), (LONG.format(SENTENCE), SAME), (SENTENCE, f"x\n{SAME}\ny")],
    ids=["tokenised", "in a held-out abstract", "in a training abstract", "between line breaks"],
)
def test_same_sentence_in_another_corpus(ours: str, theirs: str) -> None:
    train = {"bc2gm": [document("P1", "No such sentence is to be found here."), document("P2", ours, 2)]}
    assert pairs(train, {"jnlpba": {"test": [document("9", theirs)]}}) == [
        ("bc2gm", "jnlpba", "test", "text", ("P2",), 2)
    ]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Only five words stand here.", "Only five words stand here."),
        ("One two three four five six seven.", "One two three four five six eight."),
        ("One two three four five six.", "Zero one two three four five."),
        (f"Oaks are tall. {NOTICE}", f"Elms are small. {NOTICE}"),
    ],
    ids=["five words", "other end", "shifted", "notice"],
)
def test_what_is_no_leak(ours: str, theirs: str) -> None:
    assert pairs({"ncbi": [document("1", ours)]}, {"bc2gm": {"test": [document("2", theirs)]}}) == []


def test_six_words_are_enough() -> None:
    six = "One two three four five six."
    assert len(pairs({"ncbi": [document("1", six)]}, {"ncbi": {"test": [document("2", six)]}})) == 1


def test_a_document_found_by_its_id_is_not_counted_by_its_text_too() -> None:
    same = document("1", SENTENCE)
    assert pairs({"ncbi": [same]}, {"ncbi": {"test": [same]}}) == [("ncbi", "ncbi", "test", "id", ("1",), 1)]


def test_report_is_json_with_five_examples() -> None:
    train = {"ncbi": [document(str(n), f"a b c d e f {n}", n) for n in range(7)]}
    (leak,) = find_leaks(train, {"ncbi": {"test": train["ncbi"]}})
    assert json.loads(json.dumps(leak.as_dict())) == {
        "train": "ncbi",
        "held_out": "ncbi",
        "split": "test",
        "by": "id",
        "documents": 7,
        "mentions": 21,
        "examples": ["0", "1", "2", "3", "4"],
    }


def loaded(name: str, **splits: list[Document]) -> LoadedCorpus:
    every = {split: splits.get(split, []) for split in ("train", "dev", "test")}
    ledgers = {
        split: Ledger(len(documents), sum(len(document.entities) for document in documents))
        for split, documents in every.items()
    }
    return LoadedCorpus(name, None, ("Gene",), every, ledgers)


def corpora() -> dict[str, LoadedCorpus]:
    return {
        "ncbi": loaded("ncbi", train=[document("1", SENTENCE, 4), document("2", "Oaks.")]),
        "bc2gm": loaded("bc2gm", dev=[document("P1", SAME)], test=[document("P2", SAME)]),
    }


def test_dropping_keeps_the_ledger_and_the_caller_s_corpora(caplog: pytest.LogCaptureFixture) -> None:
    given = corpora()
    cleaned, leaks, overlaps = drop_leaks(given, "drop")
    assert [document.document_id for document in cleaned["ncbi"].splits["train"]] == ["2"]
    ledger = cleaned["ncbi"].ledgers["train"]
    assert (ledger.documents, ledger.read, ledger.kept, ledger.dropped) == (1, 5, 1, {"leak": 4})
    assert [(leak.split, leak.by) for leak in leaks] == [("dev", "text"), ("test", "text")]
    assert [(leak.train, leak.split) for leak in overlaps] == [("bc2gm", "test")]
    assert len(given["ncbi"].splits["train"]) == 2 and given["ncbi"].ledgers["train"].kept == 5
    assert "dropped from training" in caplog.text and "development document(s) of bc2gm" in caplog.text
    assert [document.document_id for document in cleaned["bc2gm"].splits["dev"]] == ["P1"]


def test_mentions_lost_before_are_not_counted_twice() -> None:
    given = corpora()
    crossing = Document("1", SENTENCE, [Entity(0, 3, "Gene"), Entity(0, 8, "Gene"), Entity(9, 13, "Gene")])
    given["ncbi"] = loaded("ncbi", train=[crossing])
    given["ncbi"].ledgers["train"].dropped.update({"nested": 1, "not alignable": 1})
    ledger = drop_leaks(given, "drop")[0]["ncbi"].ledgers["train"]
    assert ledger.kept == 0
    assert ledger.dropped == {"nested": 1, "not alignable": 1, "leak": 1}


def test_leaks_of_both_held_out_splits_are_dropped() -> None:
    other = "Nobody knows what became of the man with asthma."
    given = {
        "ncbi": loaded("ncbi", train=[document("1", SENTENCE), document("2", other), document("3", "Oaks.")]),
        "bc2gm": loaded("bc2gm", dev=[document("P1", SAME)], test=[document("P2", other)]),
    }
    assert [d.document_id for d in drop_leaks(given)[0]["ncbi"].splits["train"]] == ["3"]


def test_leaks_of_corpora_that_are_not_trained_on_are_theirs() -> None:
    mine = {"./mine": loaded("./mine", train=[document("1", "Oaks.")])}
    theirs = {"./yours": loaded("./yours", train=[document("1", SENTENCE)], test=[document("9", SAME)])}
    assert drop_leaks(mine, "error", others=theirs)[1:] == ([], [])


def test_warning_only(caplog: pytest.LogCaptureFixture) -> None:
    cleaned, leaks, _ = drop_leaks(corpora(), "warn")
    assert len(cleaned["ncbi"].splits["train"]) == 2 and len(leaks) == 2
    assert "kept (--leaks warn)" in caplog.text


def test_error_names_the_corpora() -> None:
    with pytest.raises(CorpusError, match="training document\\(s\\) of ncbi, such as 1, .* of bc2gm.*--leaks drop"):
        drop_leaks(corpora(), "error")
    clean = {"ncbi": corpora()["ncbi"]}
    assert drop_leaks(clean, "error") == (clean, [], [])


def test_unknown_mode() -> None:
    with pytest.raises(CorpusError, match="'ignore'; one of drop, warn, error"):
        drop_leaks(corpora(), "ignore")


def test_own_corpus_against_a_registered_one(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir()
    sample = load_corpus("ncbi", "sample")
    held_out = sample.splits["test"][0]
    record = {"document_id": "x", "text": held_out.text, "entities": [{"start": 0, "end": 1, "type": "Disease"}]}
    other = {"document_id": "y", "text": "Oak.", "entities": [{"start": 0, "end": 3, "type": "Disease"}]}
    (path / "train.jsonl").write_text(f"{json.dumps(record)}\n{json.dumps(other)}\n")
    (path / "dev.jsonl").write_text(f"{json.dumps(other | {'text': 'Ash.'})}\n")
    (path / "test.jsonl").write_text(f"{json.dumps(other | {'text': 'Fir.'})}\n")
    cleaned, leaks, _ = drop_leaks({"ncbi": sample, str(path): load_corpus(path)})
    assert [(leak.held_out, leak.by, leak.document_ids) for leak in leaks if leak.train == str(path)] == [
        ("ncbi", "text", ("x",))
    ]
    assert [document.document_id for document in cleaned[str(path)].splits["train"]] == ["y"]


def test_the_same_text_of_short_sentences_or_of_many_documents_is_a_leak() -> None:
    short = "Fever and rash. No cough. Aspirin given daily. Patient recovered well."
    assert pairs({"ncbi": [document("1", short)]}, {"bc5cdr": {"test": [document("2", short.upper())]}}) == [
        ("ncbi", "bc5cdr", "test", "text", ("1",), 1)
    ]
    copies = [document(str(number), SENTENCE) for number in range(5)]
    assert pairs({"ncbi": copies}, {"bc5cdr": {"test": [document("9", SENTENCE)]}}) == [
        ("ncbi", "bc5cdr", "test", "text", ("0", "1", "2", "3", "4"), 5)
    ]


def test_a_formula_of_many_documents_is_no_leak() -> None:
    formula = "The patient was discharged home in stable condition."
    for uses, leaking in ((3, 3), (4, 0)):
        train = {"./mine": [document(str(i), f"Case {i} was unlike others. {formula}") for i in range(uses)]}
        held_out = {"./mine": {"test": [document("x", f"A further one. {formula}")]}}
        assert sum(len(leak.document_ids) for leak in find_leaks(train, held_out)) == leaking


def test_what_several_corpora_annotate_is_no_formula() -> None:
    """One text in four corpora, each for a type of its own, was taken for a formula, and its leak not found."""
    text = f"Findings in mice. {SENTENCE}"
    train = {name: [document("1", text)] for name in ("./a", "./b", "./c", "./d")}
    leaks = find_leaks(train, {"./test": {"test": [document("x", SENTENCE)]}})
    assert [leak.train for leak in leaks] == ["./a", "./b", "./c", "./d"]


def test_a_formula_of_many_held_out_documents_is_no_leak() -> None:
    formula = "The authors declare that they have no conflict of interest."
    train = {"./mine": [document("1", f"A case. {formula}")]}
    for uses, leaking in ((3, 1), (4, 0)):
        held_out = {"./mine": {"test": [document(f"x{i}", f"Number {i}. {formula}") for i in range(uses)]}}
        assert len(find_leaks(train, held_out)) == leaking


def test_a_corpus_keeps_the_same_documents_alone_and_beside_others() -> None:
    """Two and two uses of a sentence make a formula of four, whether the second corpus is trained on or not."""
    formula = "The patient was discharged home in stable condition."
    both = {
        name: loaded(name, train=[document(f"{name}{i}", f"Case {i} of {name}. {formula}") for i in range(2)])
        for name in ("./mine", "./yours")
    }
    both["./yours"].splits["test"].append(document("x", f"A further one. {formula}"))
    together, leaks, _ = drop_leaks(both)
    assert leaks == [] and len(together["./mine"].splits["train"]) == 2
    alone, leaks, _ = drop_leaks({"./mine": both["./mine"]}, others={"./yours": both["./yours"]})
    assert leaks == [] and alone == {"./mine": both["./mine"]}
    without_training = loaded("./yours", test=both["./yours"].splits["test"])
    alone, (leak,), _ = drop_leaks({"./mine": both["./mine"]}, others={"./yours": without_training})
    assert leak.document_ids == ("./mine0", "./mine1") and alone["./mine"].splits["train"] == []


def test_case_is_folded_not_only_lowered() -> None:
    train = {"ncbi": [document("1", "Meißner corpuscles of the skin were counted.")]}
    held_out = {"bc2gm": {"test": [document("2", "MEISSNER CORPUSCLES OF THE SKIN WERE COUNTED.")]}}
    assert [leak[3] for leak in pairs(train, held_out)] == ["text"]


def test_development_text_that_is_test_text_is_no_error() -> None:
    given = {"bc2gm": corpora()["bc2gm"]}
    cleaned, leaks, overlaps = drop_leaks(given, "error")
    assert (cleaned, leaks, len(overlaps)) == (given, [], 1)
