"""The card of a model: what it is made from, what the Hub reads in it, and that it says nothing else."""

from __future__ import annotations

import copy
import json
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
RESULTS: dict[str, float] = {"train_runtime": 600.0, "eval_ncbi_f1": 0.9}
for name, value in {
    "ncbi_{}": 0.81, "ncbi_{}_Disease": 0.81, "chem_{}": 0.72, "chem_{}_Chemical": 0.73, "chem_{}_Drug": 0.71,
    "chem_{}_bc5cdr": 0.61, "chem_{}_mine|<b>": 0.51,
}.items():  # fmt: skip
    for number, metric in enumerate(("precision", "recall", "f1")):
        RESULTS[f"test_{name.format(metric)}"] = value + number / 1000
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


def text(**changes: Any) -> str:
    return str(make_card(CONFIG, RESULTS, {**RUN, **changes}, "me/ner"))


def test_metadata_that_the_hub_reads() -> None:
    data = ModelCard(text()).data
    assert (data.pipeline_tag, data.library_name, data.language) == ("token-classification", "transformers", "en")
    assert data.license == "other" and data.base_model is None
    assert data.datasets == ["ncbi/ncbi_disease", "bigbio/bc5cdr"]
    assert {"text": "Naloxone reverses the hypotension caused by clonidine."} in data.widget
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results}
    assert found["NCBI Disease", "f1"] == 0.812
    assert found["BC5CDR", "precision"] == 0.61
    assert len(found) == 6  # nobody knows what the test split of `mine` is


def test_the_official_rule_is_in_the_card_and_the_table() -> None:
    """That of BC2GM: its test split lists alternatives."""
    scores = {f"test_gene_official_{metric}_bc2gm": 0.861 for metric in ("precision", "recall", "f1")}
    task = {"name": "gene", "types": ["Gene"], "corpora": ["bc2gm", "mine"]}
    card = str(make_card(CONFIG | {"tasks": [task]}, scores, RUN))
    assert "| gene | bc2gm official rule | 86.10 | 86.10 | 86.10 |" in card
    (row,) = [row for row in format_scores(scores, SimpleNamespace(tasks=[task])).splitlines() if "official" in row]
    assert row.split() == ["test", "gene", "bc2gm", "official", "rule", "86.10", "86.10", "86.10"]


def test_results_of_heads_on_one_corpus_are_apart() -> None:
    """The Hub's library puts results of one data set and config together, under the name of the first."""
    tasks = [{"name": name, "types": [name.title()], "corpora": ["bc5cdr"]} for name in ("disease", "chemical")]
    scores = (("disease", 0.7), ("chemical", 0.8))
    results = {f"test_{name}_{metric}": value for name, value in scores for metric in ("precision", "recall", "f1")}
    run = RUN | {"ledger": {"bc5cdr": RUN["ledger"]["ncbi"]}}
    found = ModelCard(str(make_card(CONFIG | {"tasks": tasks}, results, run))).data.eval_results
    assert {(r.task_name, r.metric_value) for r in found} == {("disease: Disease", 0.7), ("chemical: Chemical", 0.8)}


@pytest.mark.parametrize("other", [{"data_dir": "sample"}, {"test_size": 0.15}, {"max_predict_samples": 5}])
def test_scores_on_another_test_split_than_the_official_one_are_no_result_of_the_corpus(other: dict[str, Any]) -> None:
    card = ModelCard(text(arguments=RUN["arguments"] | other))
    assert card.data.eval_results is None and "| ncbi | all | 81.00" in card.text
    sample = "data_dir" in other
    assert (card.data.datasets is None) == sample
    assert ("scores say nothing of them" in card.text) == sample and ("bibtex" in card.text) != sample


def test_scores_of_a_head_that_went_on_are_those_of_the_corpus_it_went_on_with() -> None:
    config = copy.deepcopy(CONFIG)
    config["tasks"] = [{"name": "disease", "types": ["Disease"], "corpora": ["ncbi", "bc5cdr"]}]
    found = ModelCard(str(make_card(config, dict.fromkeys(KEYS, 0.8), RUN))).data.eval_results
    assert [(result.dataset_name, result.metric_value) for result in found] == [("NCBI Disease", 0.8)] * 3


KEYS = ("test_disease_precision", "test_disease_recall", "test_disease_f1")


def test_a_card_tells_whether_it_was_edited(tmp_path: Path) -> None:
    for name, content in (("config", CONFIG), ("all_results", RESULTS), ("run", RUN)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    card = tmp_path / "README.md"
    assert not is_edited(tmp_path)
    write_card(tmp_path)
    name_repository(tmp_path, "me/one")
    name_repository(tmp_path, "me/two")
    assert not is_edited(tmp_path)
    assert 'model="me/two"' in card.read_text() and "me/one" not in card.read_text()
    mine = 'Not for my enemies. Compare `pipeline("ner", model="dmis-lab/biobert-ner")`.'
    card.write_text(card.read_text().replace("## Limits", f"## Limits\n\n{mine}"))
    name_repository(tmp_path, "me/three")
    assert is_edited(tmp_path) and 'model="me/three"' in card.read_text() and mine in card.read_text()


def test_base_model_is_an_encoder_of_the_hub_or_none() -> None:
    assert ModelCard(text(base_model="dmis-lab/biobert")).data.base_model == "dmis-lab/biobert"
    assert "dmis-lab/biobert" in text(base_model="dmis-lab/biobert")
    assert "has no name on the Hub" in text()


def test_sections_hold_what_was_recorded() -> None:
    card = text()
    assert "| ncbi | all | 81.00 | 81.10 | 81.20 |" in card
    assert "| chem | Drug | 71.00 | 71.10 | 71.20 |" in card
    assert "| chem | bc5cdr | 61.00 | 61.10 | 61.20 |" in card
    assert "| ncbi | 591 | 5,145 | 5,121 | 11 leak, 2 not alignable |" in card
    assert "US Government work, public domain" in card and "@article{dogan2014ncbi" in card
    assert "held-out text of one of these corpora: 3. They were left out" in card
    assert "10 minutes" in card and "torch 2.13.0" in card and "seqeval" not in card
    assert "| learning_rate | 0.0004 |" in card
    assert 'model="me/ner"' in card and 'tasks=["ncbi"]' in card


def test_text_of_users_is_no_markup() -> None:
    assert "<b>" not in text().split("---\n", 2)[2]
    assert "mine\\|&lt;b&gt;" in text()
    odd = "_u_ ~s~ shared_private x\u202ey\x07\u200b [l](u)\n`c` *"
    assert escape_markdown(odd) == r"\_u\_ \~s\~ shared_private xy \[l\](u) \`c\` \*"


def test_every_recorded_number_is_in_the_card() -> None:
    """Changing any of them changes the card."""
    before = text()
    for key in (key for key in RESULTS if key.startswith("test_") and not key.endswith("_Disease")):
        changed = RESULTS | {key: 0.123}
        assert str(make_card(CONFIG, changed, RUN, "me/ner")) != before, key
    assert str(make_card(CONFIG, RESULTS | {"train_runtime": 6000.0}, RUN, "me/ner")) != before
    other = copy.deepcopy(RUN)
    other["ledger"]["ncbi"]["train"]["kept"] = 7
    assert str(make_card(CONFIG, RESULTS, other, "me/ner")) != before
    assert text(arguments=RUN["arguments"] | {"leaks": "warn"}) != before


def test_spread_over_seeds_where_it_is_known() -> None:
    card = str(make_card(CONFIG, RESULTS, RUN, "me/ner", {"test_ncbi_f1": 0.0123}))
    assert "| ncbi | all | 81.00 | 81.10 | 81.20 | 1.23 |" in card
    assert "| chem | all | 72.00 | 72.10 | 72.20 |  |" in card


def test_development_scores_where_there_are_no_others_and_no_index_of_them() -> None:
    results = {f"eval_ncbi_{metric}": 0.5 for metric in ("precision", "recall", "f1")}
    card = make_card(CONFIG, results, RUN)
    assert "| ncbi | all | 50.00 | 50.00 | 50.00 |" in str(card) and "development split" in str(card)
    assert card.data.eval_results is None


@pytest.mark.parametrize(("given", "said"), [("true", True), ("checkpoint-8", True), ("false", False), (None, False)])
def test_the_time_of_a_resumed_training_is_not_all_of_it(given: str | None, said: bool) -> None:
    run = RUN | {"arguments": RUN["arguments"] | {"resume_from_checkpoint": given}}
    assert ("since it was resumed" in str(make_card(CONFIG, RESULTS | {"train_runtime": 60.0}, run))) == said


def test_card_is_written_from_the_files_of_a_training(tmp_path: Path) -> None:
    for name, content in (("config", CONFIG), ("all_results", RESULTS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"run.json: no such file; a card is made from what run_mtl_ner.py writes"):
        write_card(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json:1: "):
        write_card(tmp_path)
    assert not (tmp_path / "README.md").exists()
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "learning_curves.png").write_bytes(b"")
    write_card(tmp_path, "me/ner")
    assert "\n\n![learning_curves.png](learning_curves.png)\n" in (tmp_path / "README.md").read_text()
