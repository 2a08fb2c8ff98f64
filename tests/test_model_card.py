"""The card of a model: which files it is made from, what the Hub reads in it, and that it says nothing else."""

import copy
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from mtl_bioner.hub.model_card import is_edited, make_card, name_repository, write_card
from mtl_bioner.reporting.tables import escape_markdown, format_scores


CONFIG: dict[str, Any] = {
    "tasks": [
        {"name": "ncbi", "types": ["Disease"], "corpora": ["ncbi"]},
        {"name": "chem", "types": ["Chemical", "Drug"], "corpora": ["bc5cdr", "mine|<b>"]},
    ],
    "sharing": "hard",
    "encoder_config": {"model_type": "bert"},
    "max_seq_length": 320,
}
METRICS = ("precision", "recall", "f1")
RESULTS: dict[str, float] = {"train_runtime": 600.0, "eval_ncbi_f1": 0.9}
for name, value in {
    "ncbi_{}": 0.81, "ncbi_{}_Disease": 0.81, "chem_{}": 0.72, "chem_{}_Chemical": 0.73, "chem_{}_Drug": 0.71,
    "chem_{}_bc5cdr": 0.61, "chem_{}_mine|<b>": 0.51,
}.items():  # fmt: skip
    RESULTS |= {f"test_{name.format(metric)}": value + number / 1000 for number, metric in enumerate(METRICS)}
RUN: dict[str, Any] = {
    "versions": {"torch": "2.13.0", "seqeval": None},
    "machine": {"processor": "x86_64", "cpus": 2},
    "seed": 42,
    "base_model": None,
    "arguments": {"seed": 42, "leaks": "drop", "learning_rate": 0.0004, "tasks": "ncbi,chem=bc5cdr+mine"},
    "corpora": {"ncbi": {}, "bc5cdr": {}, "mine|<b>": {}},
    "ledger": {
        "ncbi": {"train": {"documents": 591, "read": 5145, "kept": 5121, "dropped": {"leak": 11, "not alignable": 2}}},
        "mine|<b>": {"train": {"documents": 3, "read": 4, "kept": 4, "dropped": {}}},
    },
    "leaks": {"train": [{"documents": 1}, {"documents": 2}], "dev": [], "train_documents": 3},
}


def build(arguments: dict[str, Any] | None = None, results: dict[str, float] = RESULTS, **changes: Any) -> ModelCard:
    """The card with further arguments of the training, or changes to its record."""
    run = RUN | {"arguments": RUN["arguments"] | (arguments or {})} | changes
    return make_card(CONFIG, results, run, "me/ner")


def render(*arguments: Any, **changes: Any) -> str:
    """The text of the card, with the lines of prose joined."""
    return re.sub(r"(?<=[a-z.:])\n(?=[A-Za-z*`])", " ", build(*arguments, **changes).text)


def test_metadata_that_the_hub_reads():
    data = build().data
    assert (data.pipeline_tag, data.library_name, data.language) == ("token-classification", "transformers", "en")
    assert data.license == "other" and data.base_model is None
    assert build(base_model="dmis-lab/biobert").data.base_model == "dmis-lab/biobert"
    assert data.datasets == ["ncbi/ncbi_disease", "bigbio/bc5cdr"]
    assert {"text": "Naloxone reverses the hypotension caused by clonidine."} in data.widget
    index = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results}
    assert index["NCBI Disease", "f1"] == 0.812 and index["BC5CDR", "precision"] == 0.61
    assert len(index) == 6  # nobody knows what the test split of `mine` is


def test_results_of_heads_on_one_corpus_are_apart():
    """The Hub's library puts results of one data set and config together, under the name of the first."""
    tasks = [{"name": name, "types": [name.title()], "corpora": ["bc5cdr"]} for name in ("disease", "chemical")]
    scores = {"disease": 0.7, "chemical": 0.8}
    results = {f"test_{name}_{metric}": value for name, value in scores.items() for metric in METRICS}
    run = RUN | {"ledger": {"bc5cdr": RUN["ledger"]["ncbi"]}}
    index = make_card(CONFIG | {"tasks": tasks}, results, run).data.eval_results
    assert {(r.task_name, r.metric_value) for r in index} == {("disease: Disease", 0.7), ("chemical: Chemical", 0.8)}


@pytest.mark.parametrize("changed", [{"data_dir": "sample"}, {"test_size": 0.15}, {"max_predict_samples": 5}])
def test_scores_on_another_test_split_than_the_official_one_are_no_result_of_the_corpus(changed):
    data, text, sample = build(changed).data, render(changed), "data_dir" in changed
    assert data.eval_results is None and "| ncbi | all | 81.00" in text
    assert (data.datasets is None) == sample and ("bibtex" in text) != sample
    assert ("Its scores say nothing about the corpora themselves" in text) == sample
    assert ("At most 5 documents of each corpus were scored" in text) == ("max_predict_samples" in changed)


def test_scores_of_a_head_that_went_on_are_results_of_the_corpus_it_went_on_with():
    tasks = [{"name": "disease", "types": ["Disease"], "corpora": ["ncbi", "bc5cdr"]}]
    results = {f"test_disease_{metric}": 0.8 for metric in METRICS}
    index = make_card(CONFIG | {"tasks": tasks}, results, RUN).data.eval_results
    assert [(result.dataset_name, result.metric_value) for result in index] == [("NCBI Disease", 0.8)] * 3


def test_sections_hold_what_was_recorded():
    card = render()
    for part in (
        "| ncbi | all | 81.00 | 81.10 | 81.20 |",
        "| chem | Drug | 71.00 | 71.10 | 71.20 |",
        "| chem | bc5cdr | 61.00 | 61.10 | 61.20 |",
        "| ncbi | 591 | at most 591 | 5,145 | 5,121 | 11 leak, 2 not alignable |",
        "| bc5cdr | earlier training |",
        "US Government work, public domain",
        "@article{dogan2014ncbi",
        "Training took 10 minutes on",
        "Versions: torch 2.13.0.",
        "| learning_rate | 0.0004 |",
        'model="me/ner"',
        'tasks=["ncbi"]',
    ):
        assert part in card
    assert "seqeval" not in card and "limited" not in card


TAUGHT = {"teachers": [{"name": "ncbi", "model": "12ab"}]}
LABELLED = "labelled the training text of the other tasks: ncbi (12ab)."
ALONE = f"{LABELLED} Each was trained for this run on one task alone"
OTHERS = f"{LABELLED} Their own training text may be held-out text of these corpora, unless they were trained with"


@pytest.mark.parametrize(("arguments", "changes", "told"), [
    ({}, {}, "Training took 1 minute on a machine with 2 CPUs (x86_64). It started from an encoder that has"),
    ({"resume_from_checkpoint": "false"}, {}, "Training took 1 minute on"),
    ({"resume_from_checkpoint": "true"}, {}, "Training took 1 minute since it was resumed on"),
    ({"resume_from_checkpoint": "checkpoint-8"}, {}, "Training took 1 minute since it was resumed on"),
    ({}, {"base_model": "dmis-lab/biobert"}, "It started from the encoder dmis-lab/biobert."),
    ({}, {}, "held-out text of one of these corpora: 3. They were left out of training."),
    ({"leaks": "warn"}, {}, "held-out text of one of these corpora: 3. **They were used for training.**"),
    ({"teachers": ["auto"]}, TAUGHT, f"{ALONE}, on no held-out text of any task.\n"),
    ({"teachers": ["auto"], "leaks": "warn"}, TAUGHT, f"{ALONE}.\n"),
    ({"teachers": ["x"]}, TAUGHT, f"{OTHERS} `--leak_corpora`.\n"),
    ({"teacher_weight": 2.0}, TAUGHT, "| teacher_weight | 2.0 |"),
])  # fmt: skip
def test_the_card_tells_how_the_model_was_trained(arguments, changes, told):
    assert told in render(arguments, RESULTS | {"train_runtime": 60.0}, **changes)
    assert "teacher" not in render({"teacher_weight": 2.0})


def test_every_recorded_number_is_in_the_card():
    """Changing any of them changes the card."""
    before = render()
    for key in (key for key in RESULTS if key.startswith("test_") and not key.endswith("_Disease")):
        assert render(results=RESULTS | {key: 0.123}) != before, key
    assert render(results=RESULTS | {"train_runtime": 6000.0}) != before
    ledger = copy.deepcopy(RUN["ledger"])
    ledger["ncbi"]["train"]["kept"] = 7
    assert render(ledger=ledger) != before


def test_the_official_rule_is_in_the_card_and_the_table():
    """The test split of BC2GM lists alternatives."""
    scores = {f"test_gene_official_{metric}_bc2gm": 0.861 for metric in METRICS}
    task = {"name": "gene", "types": ["Gene"], "corpora": ["bc2gm", "mine"]}
    card = str(make_card(CONFIG | {"tasks": [task]}, scores, RUN))
    assert "| gene | bc2gm official rule | 86.10 | 86.10 | 86.10 |" in card
    (row,) = [row for row in format_scores(scores, SimpleNamespace(tasks=[task])).splitlines() if "official" in row]
    assert row.split() == ["test", "gene", "bc2gm", "official", "rule", "86.10", "86.10", "86.10"]


def test_the_arguments_that_limited_a_training_and_the_documents_used_are_shown():
    limited = {"num_train_epochs": 8.0, "max_steps": 2, "max_train_samples": 5, "max_eval_samples": 4}
    limited |= {"train_fraction": "ncbi=0.1", "early_stopping_patience": 3, "freeze_encoder": True}
    card = render(limited, documents_used={"ncbi": {"train": 4, "dev": 2}, "mine|<b>": {"train": 3}})
    assert "**Training was limited** by max_steps 2, max_train_samples 5, train_fraction ncbi=0.1." in card
    for name, value in limited.items():
        assert (f"| {name} | {value} |" in card) == (name != "num_train_epochs")  # which max_steps overrides
    assert "| ncbi | 591 | 4 | 5,145 |" in card and "| mine\\|&lt;b&gt; | 3 | 3 | 4 |" in card
    assert "| ncbi | 591 | at most 5 | 5,145 |" in render(limited)  # records of 0.1 don't tell
    whole = render({"num_train_epochs": 8.0, "max_steps": -1, "freeze_encoder": False, "bf16": False})
    assert "| num_train_epochs | 8.0 |" in whole and "| bf16 | False |" in whole
    assert not any(name in whole for name in ("max_steps", "freeze_encoder", "limited"))


MEASURED = "calibration error on the test split: a 0."
NOTHING = "no calibration error for a: the model found no entity"


@pytest.mark.parametrize(("precision", "error", "told"), [
    (0.5, {"test_a_ece": 0.0625}, f"{MEASURED}062."),
    (0.5, {"test_a_ece": 0.0}, f"{MEASURED}000."),
    (0.0, {"test_a_ece": 0.25}, f"{MEASURED}250."),  # all that it found is wrong
    (0.0, {"test_a_ece": 0.0}, NOTHING),
    (0.0, {"test_a_ece": None}, NOTHING),
    (0.0, {}, NOTHING),
])  # fmt: skip
def test_a_task_that_found_nothing_has_no_calibration_error(precision, error, told):
    tasks = [{"name": "a", "types": ["Gene"], "temperature": 1.5}, {"name": "b", "types": ["Gene"]}]
    card = make_card(CONFIG | {"tasks": tasks}, error | {"test_a_precision": precision}, RUN).text
    assert "An entity's score is the probability that it is correct" in card and told in card
    assert "The scores of b are not calibrated." in card
    assert "calibration error" not in make_card(CONFIG | {"tasks": tasks}, {"eval_a_precision": 0.5}, RUN).text


def test_scores_of_other_models_are_in_the_card():
    card = render(results={"single_test_a_f1": 0.5, "test_a_f1": 0.625, "before_b_f1": 0.75, "after_b_f1": 0.25})
    tables = {
        "F1 of a single-task model | F1 of this model": "a | 50.00 | 62.50",
        "F1 before | F1 after": "b | 75.00 | 25.00",
    }
    for header, row in tables.items():
        assert re.search(rf"{re.escape(header)} \|\n[-:| ]+\n\| {re.escape(row)} \|\n", card)
    card = render(results={"single_eval_a_f1": 0.5, "eval_a_f1": 0.5, "test_b_f1": 1.0, "before_init_mem_cpu": 1})
    assert "single-task model" not in card and "F1 before" not in card


def test_spread_over_seeds_where_it_is_known():
    card = str(make_card(CONFIG, RESULTS, RUN, "me/ner", {"test_ncbi_f1": 0.0123}))
    assert "| ncbi | all | 81.00 | 81.10 | 81.20 | 1.23 |" in card
    assert "| chem | all | 72.00 | 72.10 | 72.20 |  |" in card


def test_development_scores_where_there_are_no_others_and_no_index_of_them():
    card = make_card(CONFIG, {f"eval_ncbi_{metric}": 0.5 for metric in METRICS}, RUN)
    assert "| ncbi | all | 50.00 | 50.00 | 50.00 |" in str(card) and "development split" in str(card)
    assert card.data.eval_results is None


def test_text_of_users_is_no_markup():
    markdown_it = pytest.importorskip("markdown_it")
    evil = "<b>*x*</b>|`"
    config = copy.deepcopy(CONFIG)
    config["tasks"] = [{"name": evil, "types": [evil, "Gene"], "corpora": [evil], "temperature": 1.0}]
    config |= {"sharing": evil, "encoder_config": {"model_type": evil}}
    results = {f"test_{evil}_{metric}{kind}": 0.5 for metric in (*METRICS, "ece") for kind in ("", f"_{evil}")}
    results |= {f"single_test_{evil}_f1": 0.5, f"before_{evil}_f1": 0.5, f"after_{evil}_f1": 0.5}
    ledger = {"documents": 1, "read": 1, "kept": 0, "dropped": {evil: 1}}
    run = RUN | {"ledger": {evil: {"train": ledger}}, "base_model": evil, "versions": {"torch": evil}}
    run |= {"machine": {"processor": evil, "cpus": 1, "device": evil, "processes": 1}}
    run |= {"teachers": [{"name": evil, "model": evil}], "arguments": {"tasks": evil, "train_fraction": evil}}
    for stock in (None, results | {f"sentences_{evil}_f1": 0.5}):
        card = make_card(config, results, run, evil, plots=[f"{evil}.png"], stock=stock)
        page = markdown_it.MarkdownIt("commonmark").enable("table").render(card.text)
        assert "<b>" not in page and "<em>" not in page
    odd = "_u_ ~s~ shared_private x\u202ey\x07\u200b [l](u)\n`c` *"
    assert escape_markdown(odd) == r"\_u\_ \~s\~ shared_private xy \[l\](u) \`c\` \*"


def test_every_card_is_well_formed():
    """Whichever parts are left out, headings and tables have a blank line before them, and there is one blank line."""
    for results, arguments, (teachers, plots), stock in itertools.product(
        ({}, RESULTS, {"single_test_a_f1": 0.5, "test_a_f1": 0.6, "test_ncbi_precision": 0.0}),
        ({}, {"data_dir": "sample", "max_steps": 2}),
        (([], ()), ([{"name": "a", "model": "b"}], ("a b.png", "c.png"))),
        (None, {}),
    ):
        run = RUN | {"arguments": RUN["arguments"] | arguments, "teachers": teachers}
        text = make_card(CONFIG, results, run, plots=plots, stock=stock).text
        assert "\n\n\n" not in text and not any(line != line.rstrip() for line in text.splitlines())
        lines = ["", *text.splitlines()]
        for before, line in itertools.pairwise(lines):
            if line.startswith(("#", "![", "```p", "```b")) or (line[:1] == "|" != before[:1]):
                assert before == "", line


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, content in (("config", CONFIG), ("all_results", RESULTS), ("run", RUN)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_a_card_tells_whether_it_was_edited(folder):
    card = folder / "README.md"
    assert not is_edited(folder)
    write_card(folder)
    name_repository(folder, "me/one")
    name_repository(folder, "me/two")
    assert not is_edited(folder)
    assert 'model="me/two"' in card.read_text() and "me/one" not in card.read_text()
    mine = 'Not for my enemies. Compare `pipeline("ner", model="dmis-lab/biobert-ner")`.'
    card.write_text(card.read_text().replace("## Limits", f"## Limits\n\n{mine}"))
    name_repository(folder, "me/three")
    assert is_edited(folder) and 'model="me/three"' in card.read_text() and mine in card.read_text()


def test_the_example_works_from_where_the_card_is_read(folder):
    write_card(folder)
    local = (folder / "README.md").read_text()
    assert 'model=".", trust_remote_code=True)' in local and "`.` is the folder of this card: run the code" in local
    name_repository(folder, "me/ner")
    named = (folder / "README.md").read_text()
    write_card(folder, "me/ner")
    assert named == (folder / "README.md").read_text() and "`.` is the folder" not in named


def test_card_is_written_from_the_files_of_a_training(folder):
    (folder / "learning curves.png").write_bytes(b"")
    write_card(folder, "me/ner")
    assert "\n\n![learning curves.png](learning%20curves.png)\n" in (folder / "README.md").read_text()
    (folder / "README.md").unlink()
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json:1: "):
        write_card(folder)
    (folder / "run.json").unlink()
    with pytest.raises(ValueError, match=r"run.json: no such file; a card is made from what run_mtl_ner.py writes"):
        write_card(folder)
    assert not (folder / "README.md").exists()
