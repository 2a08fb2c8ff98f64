"""What a model was trained on: the record of hashes, what is found by it, and runs that score such documents."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import document, read_json, read_jsonl, read_scores, write_jsonl

import run_mtl_ner
from dataset_scripts import Document, load_corpus
from dataset_scripts.training_texts import TrainingTexts, collect_training_texts, find_trained
from mtl_bioner.hub.push import collect_push_files


Argv = Callable[..., list[str]]

FIRST = "No oak fell in the storm of May."
SECOND = "An ash did, and it broke the old mill."
OTHER = "Elms were cut down long before anybody wrote of them."


def record(corpus: str, *documents: tuple[str, str]) -> TrainingTexts:
    """What is recorded of a training on documents of a corpus, each an id and a text."""
    train = [Document(*item) for item in documents]
    return collect_training_texts({corpus: train}, {(corpus, item.document_id) for item in train})


def test_the_form_of_the_record_is_the_same_for_ever():
    """Models of today are scored by later versions."""
    texts = record("ncbi", ("17", f"{FIRST} {SECOND}"))
    content = {"version": 1, "complete": True, "ids": "q6bVXEAp", "texts": "P69GEvujT1UqmNaxpKgbWZB5"}
    assert texts.as_dict() == content
    assert TrainingTexts.from_dict(json.loads(json.dumps(content))) == texts
    assert (len(texts.ids), len(texts.texts)) == (1, 3)
    incomplete = TrainingTexts.from_dict(content | {"complete": False})
    assert texts | incomplete == incomplete == TrainingTexts(texts.ids, texts.texts, complete=False)


@pytest.mark.parametrize("content", [
    [], {"version": 1}, {"version": 2, "complete": True, "ids": "", "texts": ""},
    {"version": 1, "complete": True, "ids": "aaaa", "texts": ""},
    {"version": 1, "complete": True, "ids": "a/a=", "texts": ""},
    {"version": 1, "complete": True, "ids": 7, "texts": ""},
])  # fmt: skip
def test_a_damaged_record_is_refused(content):
    with pytest.raises(ValueError):
        TrainingTexts.from_dict(content)


@pytest.mark.parametrize(("corpus", "trained", "scored_corpus", "scored", "way"), [
    ("ncbi", ("17", FIRST), "bc5cdr", ("17", OTHER), "id"),
    ("ncbi", ("17", FIRST), "bc5cdr", ("18", OTHER), None),
    ("ncbi", ("17", FIRST), "bc2gm", ("17", OTHER), None),  # ids of another kind
    ("genia", ("98282479", FIRST), "jnlpba", ("98282479-2", OTHER), "id"),
    ("ncbi", ("17", f"{FIRST} {SECOND}"), "bc2gm", ("P1", "an ASH did and it broke the old mill !"), "text"),
    ("bc2gm", ("P1", SECOND), "ncbi", ("17", f"{FIRST} {SECOND}"), "text"),
    ("ncbi", ("17", "Oak and ash."), "bc2gm", ("P1", "Oak and ash."), None),  # too short to tell
    ("ncbi", ("17", f"{FIRST} {SECOND}"), "red.txt", ("17", f"{OTHER} {SECOND}"), "id"),  # a user's file with PMIDs
    ("ncbi", ("17", f"{FIRST} {SECOND}"), "red.txt", ("1", f"{OTHER} {SECOND}"), "text"),
    ("ncbi", ("17", FIRST), "red.txt", ("17", OTHER), None),  # a row number
    ("a.txt", ("1", "Oak and ash."), "b.txt", ("1", "Oak and ash."), "id"),
    ("a.txt", ("1", FIRST), "b.txt", ("1", OTHER), None),
    ("a.txt", ("17", FIRST), "ncbi", ("17", OTHER), None),
    ("a.txt", ("17", FIRST), "ncbi", ("17", FIRST), "text"),
])  # fmt: skip
def test_documents_are_found_by_id_and_by_text(corpus, trained, scored_corpus, scored, way):
    found = find_trained(record(corpus, trained), {scored_corpus: {"test": [Document(*scored)]}})
    assert found == ({(scored_corpus, "test"): {scored[0]: way}} if way else {})


def test_formulas_are_no_sign_whether_they_are_of_training_or_of_held_out_text():
    cases = [Document(f"t{n}", f"Case {n}. {FIRST}") for n in range(4)]
    held_out = {"a": {"dev": [Document(f"d{n}", f"Case {n + 9}. {SECOND}") for n in range(2)],
                      "test": [Document(f"s{n}", f"Case {n + 99}. {SECOND}") for n in range(2)]}}  # fmt: skip
    assert find_trained(record("b", ("1", SECOND)), held_out) == {}
    used = {("a", "t0")}
    one = collect_training_texts({"a": cases}, used)
    assert find_trained(one, {"b": {"test": [Document("x", f"{OTHER} {FIRST}")]}}) == {}
    fewer = collect_training_texts({"a": cases[:3]}, used)
    assert find_trained(fewer, {"b": {"test": [Document("x", f"{OTHER} {FIRST}")]}}) == {("b", "test"): {"x": "text"}}


def test_only_documents_that_are_used_are_recorded():
    train = {"a": [Document("1", FIRST), Document("2", SECOND)], "b": [Document("1", SECOND)]}
    assert collect_training_texts(train, {("a", "1")}) == record("a", ("1", FIRST))


# ---------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def held_out(tmp_path: Path) -> list[dict[str, Any]]:
    """Two documents that the model `trained` was trained on, by id and by text; a new one; and a row number."""
    first, second = (item.text for item in load_corpus("ncbi", "sample").splits["train"][:2])
    sentence = "Newborn screening offers an unbiased view of allele frequencies."
    assert sentence in second
    return [
        document("90000001", first, [("cystic fibrosis", "Disease")]),
        document("note", f"{sentence} The next case was gout.", [("gout", "Disease")]),
        document("new", "A patient whom nobody had ever seen had lupus.", [("lupus", "Disease")]),
        document("90000002", "A patient with an old number had gout.", [("gout", "Disease")]),
    ]


WARNING = "2 of the 4 test documents of test.jsonl were in this model's training text (1 by id, 1 by text)"
COUNTS = {"corpus": "test.jsonl", "split": "test", "documents": 2, "of": 4, "by_id": 1, "by_text": 1, "dropped": 0}


@pytest.mark.parametrize(("leaks", "told", "line", "kept"), [
    ([], f"{WARNING}; --leaks drop leaves them out of the score", f"{WARNING}\n", 4),
    (["--leaks", "warn"], f"{WARNING}; --leaks drop leaves them out of the score", f"{WARNING}\n", 4),
    (["--leaks", "drop"], f"{WARNING}; left out of the score", f"{WARNING}; left out of the score\n", 2),
])  # fmt: skip
def test_scoring_tells_of_training_text(leaks, told, line, kept, argv, trained, held_out, tmp_path, caplog, capsys):
    path = write_jsonl(tmp_path / "test.jsonl", held_out)
    options = ["--do_predict", "--use_cpu", *leaks]
    assert run_mtl_ner.main(argv(*options, tasks=f"ncbi={path}", model=trained, data=[])) == 0
    assert [text for text in caplog.messages if "training text" in text] == [told]
    assert line in capsys.readouterr().out
    run = read_json(tmp_path / "out" / "run.json")
    assert run["leaks"] == {
        "train": [], "dev": [], "train_documents": 0, "scored": [COUNTS | {"dropped": 4 - kept}],
        "earlier_texts_known": True,
    }  # fmt: skip
    assert run["ledger"]["test.jsonl"]["test"]["dropped"] == ({"training text": 2} if kept == 2 else {})
    assert run["documents_used"] == {"test.jsonl": {"test": kept}}
    assert read_scores(tmp_path / "out")["test_ncbi_support"] == kept
    assert len(read_jsonl(tmp_path / "out" / "predictions_ncbi.jsonl")) == kept


def test_a_limit_counts_what_is_scored(argv, trained, held_out, tmp_path):
    """Without a drop the first documents; after it the first of those that are left."""
    path = write_jsonl(tmp_path / "test.jsonl", held_out)
    options = ["--do_predict", "--max_predict_samples", "1"]
    run = run_mtl_ner.prepare(argv(*options, tasks=f"ncbi={path}", model=trained, data=["--use_cpu"]))
    assert run.leaks["scored"] == [COUNTS | {"documents": 1, "of": 1, "by_text": 0}]
    options += ["--leaks", "drop"]
    run = run_mtl_ner.prepare(argv(*options, tasks=f"ncbi={path}", model=trained, data=["--use_cpu"]))
    assert [text.document.document_id for text in run.rows["test"].texts] == ["new"]
    assert run.leaks["scored"] == [COUNTS | {"dropped": 2}]


def test_training_text_is_refused_or_all_of_it(fails, trained, held_out, tmp_path):
    path = write_jsonl(tmp_path / "test.jsonl", held_out[:2])
    common = ["--tasks", f"ncbi={path}", "--model_name_or_path", str(trained), "--do_predict", "--leaks"]
    message = fails(*common, "error")
    assert message.startswith("2 of the 2 test documents of test.jsonl") and "--leaks warn scores them" in message
    assert "task ncbi has no test document with a word in it" in fails(*common, "drop")


def test_a_model_scores_its_own_held_out_text_without_a_word(argv, trained, caplog):
    run = run_mtl_ner.prepare(argv("--do_eval", "--do_predict", tasks="ncbi,bc5cdr", model=trained))
    assert (run.leaks["scored"], run.leaks["earlier_texts_known"]) == ([], True)
    assert "training text" not in caplog.text


def test_the_record_goes_on_with_the_model(argv, trained, held_out, tmp_path, caplog, capsys):
    """A further training scores text of the first one: told on the card too; its model was trained on both."""
    new = [document(str(n), f"Number {n} of the new cases had gout.", [("gout", "Disease")]) for n in range(4)]
    for split, items in {"train": new[:2], "dev": new[2:], "test": held_out}.items():
        write_jsonl(tmp_path / "mine" / f"{split}.jsonl", items)
    options = ["--use_cpu", "--max_seq_length", "64", "--num_train_epochs", "1", "--leaks", "drop"]
    assert run_mtl_ner.main(argv(*options, tasks=f"ncbi={tmp_path / 'mine'}", model=trained, data=[])) == 0
    later = "a later --do_predict --leaks drop leaves them out of the score"
    assert f"{WARNING.replace('test.jsonl', 'mine')}; {later}" in caplog.messages
    assert f"{WARNING.replace('test.jsonl', 'mine')}\n" in capsys.readouterr().out
    folder = tmp_path / "out"
    card = " ".join((folder / "README.md").read_text().split())
    shown = "**2 of 4 test documents of mine were in the training text of an earlier training of this model.**"
    assert shown in card and read_scores(folder)["test_ncbi_support"] == 4
    before, after = (TrainingTexts.from_dict(read_json(path / "training_texts.json")) for path in (trained, folder))
    texts = [(item["document_id"], item["text"]) for item in new[:2]]
    assert (len(before.ids), after) == (12, before | record("mine", *texts))


def test_of_a_model_without_a_record_nothing_is_known(argv, trained, tmp_path, caplog):
    model = Path(shutil.copytree(trained, tmp_path / "model"))
    (model / "training_texts.json").unlink()
    assert run_mtl_ner.main(argv(tasks="ncbi", model=model)) == 0
    assert "training_texts.json" not in caplog.text
    assert read_json(tmp_path / "out" / "run.json")["leaks"]["earlier_texts_known"] is False
    assert read_json(tmp_path / "out" / "training_texts.json")["complete"] is False
    (model / "training_texts.json").write_text("[]")
    assert run_mtl_ner.prepare(argv("--do_predict", model=model, output="b")).leaks["earlier_texts_known"] is False
    assert "training_texts.json" in caplog.text and "can't be used" in caplog.text


def test_checkpoints_have_a_record_that_is_pushed(argv, tmp_path):
    assert run_mtl_ner.main(argv("--save_strategy", "epoch", tasks="ncbi")) == 0
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    name = "training_texts.json"
    assert collect_push_files(checkpoint)[name].read_text() == (tmp_path / "out" / name).read_text()
