"""run_mtl_ner.py from arguments to files, in this process, with a toy encoder on the sample corpus; and bad input."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file
from toys import document, write_jsonl

import run_mtl_ner
from dataset_scripts import CorpusError, load_corpus
from dataset_scripts.formats import read_any
from modeling_mtl_bioner import IGNORE, SHARING, MtlBionerModel, MtlBionerPipeline
from mtl_bioner.reporting.plots import plot_curves
from mtl_bioner.reporting.run_record import get_processor_name, hash_model
from mtl_bioner.reporting.tables import format_forgetting
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training import model_setup
from mtl_bioner.training.dataset import corpus_names


ROOT = Path(__file__).parents[1]
Main = Callable[..., int]

SAMPLE = [
    "--data_dir",
    "sample",
    "--max_seq_length",
    "64",
    "--context_size",
    "8",
    "--use_cpu",
    "--disable_tqdm",
    "true",
    "--teachers",
    "none",
]
FEW = ["--max_train_samples", "6", "--max_eval_samples", "3", "--max_predict_samples", "4", "--num_train_epochs", "1"]
SMALL = [*SAMPLE, *FEW]
TIMES = ("runtime", "samples_per_second", "steps_per_second", "preparation_time")
SECRET = "hf_thisisnorealtoken"


@pytest.fixture(scope="session")
def encoder(toy_encoder: Callable[[str], str]) -> str:
    return toy_encoder("bert")


@pytest.fixture(scope="module")
def trained(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model of two tasks."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    status = run_mtl_ner.main(
        ["--tasks", "ncbi,bc5cdr", "--model_name_or_path", encoder, "--output_dir", str(folder), *SMALL,
         "--hub_token", SECRET, "--cache_dir", str(folder.parent / "cache")]
    )  # fmt: skip
    assert status == 0
    return folder


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def scores(folder: Path) -> dict[str, float]:
    """`all_results.json` without the times."""
    return {key: value for key, value in read_json(folder / "all_results.json").items() if not key.endswith(TIMES)}


# ------------------------------------------------------------------------------------------------- what a run leaves


def test_without_a_flag_all_three_are_done_and_everything_is_written(trained: Path) -> None:
    names = {path.name for path in trained.iterdir() if path.is_file()}
    assert names >= {
        "model.safetensors",
        "config.json",
        "modeling_mtl_bioner.py",
        "tokenizer.json",
        "tokenizer_config.json",
        "all_results.json",
        "run.json",
        "ledger.json",
        "predictions_ncbi.jsonl",
        "predictions_ncbi.pubtator",
        "predictions_bc5cdr.jsonl",
        "predictions_bc5cdr.pubtator",
        "learning_curves.png",
    }
    assert not [name for name in names if ".tmp" in name]
    assert (trained / "learning_curves.png").read_bytes().startswith(b"\x89PNG")
    config = read_json(trained / "config.json")
    assert [{key: task[key] for key in ("name", "types", "corpora")} for task in config["tasks"]] == [
        {"name": "ncbi", "types": ["Disease"], "corpora": ["ncbi"]},
        {"name": "bc5cdr", "types": ["Chemical", "Disease"], "corpora": ["bc5cdr"]},
    ]
    assert (config["max_seq_length"], config["context_size"]) == (64, 8)


def test_results_have_the_keys_of_the_interface_and_values_from_0_to_1(trained: Path) -> None:
    results = read_json(trained / "all_results.json")
    kinds = ("precision", "recall", "f1", "support")
    parts = {"ncbi": ("", "_Disease"), "bc5cdr": ("", "_Chemical", "_Disease")}
    expected = {
        f"{split}_{task}_{kind}{end}"
        for split in ("eval", "test")
        for task, ends in parts.items()
        for kind in kinds
        for end in ends
    }
    expected |= {
        f"{split}_{name}"
        for split in ("eval", "test")
        for name in ("macro_f1", "micro_f1", "micro_precision", "micro_recall", "loss", "ncbi_ece", "bc5cdr_ece")
    }
    assert {key for key in results if key.startswith(("eval_", "test_")) and not key.endswith(TIMES)} == expected
    for key, value in results.items():
        if any(f"_{kind}" in key for kind in ("precision", "recall", "f1")):
            assert 0 <= value <= 1, key
    assert results["train_loss"] > 0
    for split in ("eval", "test"):
        assert results[f"{split}_macro_f1"] == pytest.approx(
            (results[f"{split}_ncbi_f1"] + results[f"{split}_bc5cdr_f1"]) / 2
        )
        for task in parts:
            right = results[f"{split}_{task}_recall"] * results[f"{split}_{task}_support"]
            assert right == pytest.approx(round(right), abs=1e-9)


@pytest.mark.parametrize("task", ["ncbi", "bc5cdr"])
def test_predictions_are_spans_of_the_test_documents(trained: Path, task: str) -> None:
    records = [json.loads(line) for line in (trained / f"predictions_{task}.jsonl").open(encoding="utf-8")]
    assert len(records) == 4
    entities = [(record, entity) for record in records for entity in record["entities"]]
    assert entities  # an untrained head finds a lot
    for record, entity in entities:
        assert record["text"][entity["start"] : entity["end"]] == entity["text"]
        assert 0 < entity["score"] <= 1
        assert entity["task"] == task
        assert entity["type"] in ("Chemical", "Disease")
    pubtator = list(read_any(trained / f"predictions_{task}.pubtator"))
    assert [raw.document_id for raw in pubtator] == [record["document_id"] for record in records]
    assert [len(raw.mentions) for raw in pubtator] == [len(record["entities"]) for record in records]


def test_scores_are_those_of_the_written_predictions(trained: Path) -> None:
    """From the files alone: gold of the sample corpus, predictions of the JSONL."""
    from dataset_scripts import load_corpus

    gold = {
        (d.document_id, e.start, e.end, e.type)
        for d in load_corpus("bc5cdr", "sample").splits["test"][:4]
        for e in d.entities
    }
    records = [json.loads(line) for line in (trained / "predictions_bc5cdr.jsonl").open(encoding="utf-8")]
    found = {(r["document_id"], e["start"], e["end"], e["type"]) for r in records for e in r["entities"]}
    results = read_json(trained / "all_results.json")
    assert results["test_bc5cdr_support"] == len(gold)
    assert results["test_bc5cdr_precision"] == len(gold & found) / len(found)
    assert results["test_bc5cdr_recall"] == len(gold & found) / len(gold)


def test_the_record_names_the_processor(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.00GHz\n\nprocessor\t: 1\n"
    )
    assert get_processor_name(cpuinfo) == "Intel(R) Xeon(R) CPU @ 2.00GHz"
    assert get_processor_name(tmp_path / "none") == (platform.processor() or platform.machine())


def test_record_of_the_run_names_no_path_of_this_machine_and_no_token(trained: Path, encoder: str) -> None:
    record = read_json(trained / "run.json")
    assert record["arguments"]["tasks"] == "ncbi,bc5cdr"
    assert record["arguments"]["model_name_or_path"] == Path(encoder).name
    assert record["base_model"] is None and record["base_model_hash"] == hash_model(encoder)
    assert record["arguments"]["output_dir"] == "model"
    assert record["arguments"]["average_tokens_across_devices"] is True  # its name only resembles a secret's
    assert record["seed"] == 42
    assert record["versions"]["torch"]
    assert all(len(digest) == 64 for hashes in record["corpora"].values() for digest in hashes.values())
    assert record["ledger"] == read_json(trained / "ledger.json")
    assert record["ledger"]["ncbi"]["test"]["read"] == 148
    for path in trained.iterdir():
        if path.suffix in (".json", ".jsonl", ".pubtator", ".py"):
            text = path.read_text(encoding="utf-8")
            for private in (str(trained.parent), str(ROOT), str(Path(encoder).parent), SECRET):
                assert private not in text, f"{path.name} holds {private}"


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ("/home/me/data", "data"),
        ("/home/me/data/", "data/"),
        ("/home/me//data", "data"),
        ("mine=//home/me/data", "mine=data"),
        ("mine=/home/me/my corpus/a.jsonl:Disease+/srv/b.conll,ncbi", "mine=a.jsonl:Disease+b.conll,ncbi"),
        ("mine=./corpus/a.jsonl", "mine=a.jsonl"),
        ("../shared/corpora", "corpora"),
        ("outputs/ncbi,bc5cdr", "outputs/ncbi,bc5cdr"),
        ("dmis-lab/biobert-base-cased-v1.2", "dmis-lab/biobert-base-cased-v1.2"),
        ({"config_file": "/home/me/fsdp.json", "n": 1}, {"config_file": "fsdp.json", "n": 1}),
        (["/a/b", 2, None], ["b", 2, None]),
    ],
)
def test_paths_are_recorded_by_their_last_part(value: Any, recorded: Any) -> None:
    from mtl_bioner.reporting.run_record import collect_arguments

    run = SimpleNamespace(
        model_args=SimpleNamespace(value=value),
        data_args=SimpleNamespace(),
        args=SimpleNamespace(to_dict=lambda: {"hub_token": SECRET}),
    )
    assert collect_arguments(run) == {"value": recorded}


def test_a_folder_named_sample_is_not_the_embedded_one() -> None:
    from mtl_bioner.reporting.run_record import collect_arguments

    def recorded(data_dir: str) -> str:
        given = SimpleNamespace(to_dict=dict)
        data_args = SimpleNamespace(data_dir=data_dir)
        return collect_arguments(SimpleNamespace(model_args=SimpleNamespace(), data_args=data_args, args=given))

    assert recorded("sample") == {"data_dir": "sample"}
    assert recorded("/data/sample") == {"data_dir": "a folder named sample"}


def test_predictions_of_two_tasks_are_two_files(tmp_path: Path) -> None:
    """The one of `disease` over several corpora has the name of the task `disease_ncbi`."""
    from mtl_bioner.reporting.predictions import write_predictions

    texts = [
        SimpleNamespace(task_id=task, corpus=corpus, document=SimpleNamespace(document_id="1", text=corpus))
        for task, corpus in ((0, "ncbi"), (0, "bc5cdr"), (1, "ncbi"))
    ]
    write_predictions(tmp_path, SimpleNamespace(texts=texts), [[], [], []], ["disease", "disease_ncbi"])
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {
        "predictions_disease_ncbi.jsonl", "predictions_disease_bc5cdr.jsonl", "predictions_disease_ncbi-2.jsonl"
    }  # fmt: skip


def test_a_json_file_of_arguments_gives_the_same_scores(
    trained: Path, encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = {
        "tasks": "ncbi,bc5cdr",
        "model_name_or_path": encoder,
        "data_dir": "sample",
        "max_seq_length": 64,
        "context_size": 8,
        "num_train_epochs": 1,
        "max_train_samples": 6,
        "max_eval_samples": 3,
        "max_predict_samples": 4,
        "use_cpu": True,
        "disable_tqdm": True,
        "cache_dir": None,
        "teachers": ["none"],
    }
    path = tmp_path / "arguments.json"
    path.write_text(json.dumps(arguments), encoding="utf-8")
    assert run_mtl_ner.main([str(path), "--output_dir", str(tmp_path / "out")]) == 0
    assert scores(tmp_path / "out") == scores(trained)
    table = capsys.readouterr().out
    assert "macro over tasks" in table and "micro over tasks" in table
    assert f"{100 * scores(trained)['test_bc5cdr_f1_Chemical']:.2f}" in table


def test_one_task_is_the_single_task_baseline(encoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    arguments = ["--tasks", "bc2gm", "--model_name_or_path", encoder, "--output_dir", str(folder), *SMALL]
    assert run_mtl_ner.main(arguments) == 0
    results = scores(folder)
    assert results["test_macro_f1"] == results["test_bc2gm_f1"] == results["test_micro_f1"]
    assert 0 <= results["test_bc2gm_f1"] <= results["test_bc2gm_official_f1"] <= 1
    config = read_json(folder / "config.json")
    assert config["id2label"] == {"0": "O", "1": "B-Gene", "2": "I-Gene"}


def test_a_task_of_several_corpora_is_scored_by_corpus_too(encoder: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    spec = "disease=ncbi+bc5cdr:Disease"
    arguments = ["--tasks", spec, "--model_name_or_path", encoder, "--output_dir", str(folder), *SAMPLE]
    arguments += ["--do_train", "--do_predict", "--max_steps", "1"]
    assert run_mtl_ner.main(arguments) == 0
    results = scores(folder)
    assert results["test_disease_support"] == 148 + 111
    assert results["test_disease_support_ncbi"] == results["test_disease_support_ncbi_Disease"] == 148
    assert results["test_disease_support_bc5cdr_Disease"] == 111
    assert read_json(folder / "config.json")["tasks"] == [
        {"name": "disease", "types": ["Disease"], "corpora": ["ncbi", "bc5cdr"]}
    ]
    written = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.jsonl")}
    assert written == {"predictions_disease_ncbi.jsonl": 20, "predictions_disease_bc5cdr.jsonl": 18}


# ------------------------------------------------------------------------------------------ saved models, own corpora


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's corpus: one file of ten documents without splits."""
    documents = [
        document(str(n), f"Case {n} had lupus number {n} and then gout.", [("lupus", "Disease"), ("gout", "Disease")])
        for n in range(10)
    ]
    return write_jsonl(tmp_path / "corpora" / "own.jsonl", documents)


def test_a_saved_head_scores_the_whole_of_another_corpus(
    trained: Path, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "out"
    arguments = ["--do_predict", "--tasks", f"ncbi={own}:Disease", "--model_name_or_path", str(trained)]
    assert run_mtl_ner.main([*arguments, "--output_dir", str(folder), "--use_cpu"]) == 0
    results = scores(folder)
    assert results["test_ncbi_support"] == 20
    assert not [key for key in results if key.startswith(("eval", "train"))]
    assert len((folder / "predictions_ncbi.jsonl").read_text().splitlines()) == 10
    assert "all of it is scored" in caplog.text
    assert "custom code" not in capsys.readouterr().out  # as AutoTokenizer asks, and waits
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "all_results.json",
        "run.json",
        "ledger.json",
        "reliability.png",
        "predictions_ncbi.jsonl",
        "predictions_ncbi.pubtator",
    }
    record = read_json(folder / "run.json")
    assert record["arguments"]["tasks"] == "ncbi=own.jsonl:Disease"
    assert record["arguments"]["max_seq_length"] == 64  # the saved model's, not the default
    assert list(record["corpora"]) == ["own.jsonl"]
    assert str(tmp_path) not in (folder / "run.json").read_text()


def test_a_head_is_scored_on_a_corpus_with_some_of_its_types(
    trained: Path, own: Path, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "scored"
    arguments = ["--tasks", f"bc5cdr={own}:Disease", "--model_name_or_path", str(trained)]
    assert run_mtl_ner.main([*arguments, "--do_predict", "--output_dir", str(folder), "--use_cpu"]) == 0
    results = scores(folder)
    assert (results["test_bc5cdr_support"], results["test_bc5cdr_support_Disease"]) == (20, 20)
    assert not [key for key in results if "Chemical" in key]
    found = [json.loads(line)["entities"] for line in (folder / "predictions_bc5cdr.jsonl").read_text().splitlines()]
    assert {entity["type"] for entities in found for entity in entities} <= {"Disease"}
    assert "Chemical" not in capsys.readouterr().out
    assert "the model's head of that name" in fails(*arguments, "--do_train")


def test_the_held_out_part_can_be_scored_again(trained: Path, own: Path, tmp_path: Path) -> None:
    """With `--test_size` of the training, or its default, the same documents are held out."""
    common = ["--tasks", f"mine={own}", "--output_dir", str(tmp_path / "out"), "--max_seq_length", "64", "--use_cpu"]
    training = run_mtl_ner.prepare([*common, "--model_name_or_path", str(trained)])
    scoring = run_mtl_ner.prepare(
        ["--do_predict", "--tasks", f"ncbi={own}", "--output_dir", str(tmp_path / "out"), "--use_cpu"]
        + ["--model_name_or_path", str(trained), "--test_size", "0.15"]
    )
    held_out = [text.document.document_id for text in training.rows["test"].texts]
    assert len(held_out) == 2
    assert [text.document.document_id for text in scoring.rows["test"].texts] == held_out


def test_training_goes_on_with_a_new_task_and_without_a_dropped_one(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    arguments = ["--tasks", "bc2gm", "--drop_tasks", "ncbi", "--model_name_or_path", str(trained), *SMALL]
    several_steps = ["--per_device_train_batch_size", "2"]  # the first one warms up with a learning rate of 0
    assert run_mtl_ner.main([*arguments, *several_steps, "--output_dir", str(folder)]) == 0
    assert [task["name"] for task in read_json(folder / "config.json")["tasks"]] == ["bc5cdr", "bc2gm"]
    before, after = load_file(trained / "model.safetensors"), load_file(folder / "model.safetensors")
    assert "heads.ncbi.weight" not in after
    assert after["heads.bc5cdr.weight"].equal(before["heads.bc5cdr.weight"])  # no rows: untouched
    name = "encoder.encoder.layer.0.output.dense.weight"
    assert not after[name].equal(before[name])
    assert "test_bc2gm_f1" in scores(folder)
    assert "test_bc5cdr_f1" not in scores(folder)


def test_a_new_task_is_trained_though_the_corpora_of_old_heads_are_not_there(
    trained: Path, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "corpora" / "ncbi_disease").mkdir()
    arguments = ["--model_name_or_path", str(trained), "--tasks", f"mine={own}", "--output_dir", str(tmp_path / "a")]
    arguments += ["--data_dir", str(tmp_path / "corpora"), "--use_cpu", *FEW]
    assert run_mtl_ner.main(arguments) == 0
    assert "what other heads forget is not measured" in caplog.text


@pytest.mark.parametrize("freeze", [True, False])
def test_old_heads_are_scored_before_and_after_a_new_one_is_added(
    trained: Path, own: Path, tmp_path: Path, freeze: bool, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "grown"
    options = ["--learning_rate", "0.01", "--warmup_steps", "0", *(["--freeze_encoder"] if freeze else [])]
    arguments = ["--model_name_or_path", str(trained), "--tasks", f"mine={own}", "--output_dir", str(output), *SMALL]
    assert run_mtl_ner.main([*arguments, *options, "--num_train_epochs", "4"]) == 0
    found = scores(output)
    heads = [task["name"] for task in read_json(trained / "config.json")["tasks"]]
    assert heads and all({f"before_{name}_f1", f"after_{name}_f1"} <= found.keys() for name in heads)
    assert "heads that were not trained" in capsys.readouterr().out
    old, new = load_file(trained / "model.safetensors"), load_file(output / "model.safetensors")
    changed = [key for key in old if not torch.equal(old[key], new[key])]
    assert not any(key.startswith("heads.") for key in changed)
    assert bool(changed) != freeze
    if freeze:
        assert all(found[f"before_{name}_f1"] == found[f"after_{name}_f1"] for name in heads)


def test_old_heads_are_scored_on_the_test_split_of_their_own_training(
    trained: Path, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = Path(shutil.copytree(trained, tmp_path / "saved"))
    record = read_json(saved / "run.json")
    record["arguments"] |= {"tasks": "ncbi", "test_size": 0.3, "split_seed": 7}  # bc5cdr is of an earlier training
    (saved / "run.json").write_text(json.dumps(record))
    arguments = ["--model_name_or_path", str(saved), "--tasks", f"mine={own}", "--output_dir", str(tmp_path / "a")]
    run = run_mtl_ner.prepare([*arguments, *SMALL, "--test_size", "0.15"])
    assert "what bc5cdr forget is not measured: nothing tells which split they saw" in caplog.text
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=7).splits["test"]
    assert [text.document.document_id for text in run.old.texts] == [document.document_id for document in expected]
    changes = [{"tasks": None}, {"tasks": "a=,"}, {"test_size": "x"}, {"split_seed": None}]
    for changed in ([], {"arguments": None}, *({"arguments": record["arguments"] | change} for change in changes)):
        (saved / "run.json").write_text(json.dumps(changed))
        assert run_mtl_ner.prepare([*arguments, *SMALL]).old is None


def test_calibration_errors_are_those_that_the_fit_leaves(encoder: str, tmp_path: Path) -> None:
    common = ["--tasks", "ill=ncbi+bc5cdr:Disease", "--use_cpu", "--data_dir", "sample", "--bf16", "false"]
    trained, again = tmp_path / "trained", tmp_path / "again"
    options = ["--do_train", "--do_eval", "--learning_rate", "1e-2", "--num_train_epochs", "3"]
    assert run_mtl_ner.main([*common, *options, "--model_name_or_path", encoder, "--output_dir", str(trained)]) == 0
    saved = ["--model_name_or_path", str(trained), "--output_dir", str(again)]
    assert run_mtl_ner.main([*common, "--do_eval", *saved]) == 0
    errors = {key: value for key, value in scores(again).items() if "_ece" in key}
    assert set(errors) == {"eval_ill_ece", "eval_ill_ece_ncbi", "eval_ill_ece_bc5cdr"}
    assert errors == pytest.approx({key: scores(trained)[key] for key in errors}, abs=1e-4)


def test_the_best_epoch_by_the_f1_of_a_type(encoder: str, tmp_path: Path) -> None:
    arguments = ["--tasks", "bc5cdr", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "a"), *SMALL]
    assert run_mtl_ner.main([*arguments, "--do_train", "--metric_for_best_model", "bc5cdr_f1_Chemical"]) == 0


def test_a_dry_run_makes_no_repository(encoder: str, tmp_path: Path) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "a"), *SMALL]
    assert not run_mtl_ner.prepare([*arguments, "--push_to_hub", "--dry_run"]).args.push_to_hub
    assert run_mtl_ner.prepare([*arguments, "--push_to_hub"]).args.push_to_hub


@pytest.mark.parametrize(
    ("history", "width"),
    [
        ([{"epoch": 1, "loss": 0.5, "loss_a": 0.5}, {"epoch": 1, "eval_a_f1": 0.5}], 1200),
        ([{"epoch": 1, "loss": 0.5, "loss_a": 0.5}], 600),  # no empty half
        ([{"epoch": 1, "eval_a_f1": 0.5}], None),  # nothing was trained
    ],
)
def test_learning_curves_show_what_there_is(
    history: list[dict[str, float]], width: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "learning_curves.png"
    plot_curves(path, history, ["a"])
    assert (int.from_bytes(path.read_bytes()[16:20], "big") if path.exists() else None) == width


def test_after_a_failed_push_the_model_is_there_and_no_process_waits(
    encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: Any) -> str:
        raise run_mtl_ner.PushError("the Hub refused me/ner")

    def name_it(self: Any, *_: Any) -> None:
        self.hub_model_id = "me/ner"

    left: list[Any] = []
    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "init_hf_repo", name_it)
    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "push_to_hub", fail)
    monkeypatch.setattr(run_mtl_ner, "shut_down_processes", left.append)
    output = tmp_path / "a"
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL, "--do_train"]
    assert run_mtl_ner.main([*arguments, "--push_to_hub", "--save_strategy", "no", "--eval_strategy", "no"]) == 1
    message = capsys.readouterr().err
    assert f"refused me/ner; the model is in {output}: mtl-bioner-push {output} me/ner" in message
    assert (output / "model.safetensors").is_file() and len(left) == 1


def test_no_path_has_the_name_of_a_registered_corpus() -> None:
    sources = ["ncbi", "/data/ncbi", "./bc5cdr", "/data/mine", "./mine"]
    assert list(corpus_names(sources).values()) == ["ncbi", "ncbi-2", "bc5cdr-2", "mine", "mine-2"]


def test_no_corpus_has_the_name_of_a_type() -> None:
    """Else the scores of the one stood in the place of the other's."""
    names = corpus_names(["/data/Disease", "ncbi"], {"Disease", "Gene"})
    assert names == {"/data/Disease": "Disease-2", "ncbi": "ncbi"}


def test_training_goes_on_with_a_head_of_the_saved_model(trained: Path, tmp_path: Path) -> None:
    run = run_mtl_ner.prepare(
        ["--tasks", "bc5cdr", "--model_name_or_path", str(trained), "--output_dir", str(tmp_path / "out"), *SMALL]
    )
    before = load_file(trained / "model.safetensors")
    state = run.model.state_dict()
    assert state.keys() == before.keys()
    assert all(state[name].equal(before[name]) for name in before)
    assert {row.task_id for row in run.rows["train"].rows} == {1}


@pytest.mark.parametrize(
    ("flags", "splits"),
    [
        ([], {"train": 6, "dev": 3, "test": 4}),
        (["--do_train"], {"train": 6, "dev": 3}),
        (["--do_train", "--eval_strategy", "no"], {"train": 6}),
    ],
)
def test_documents_per_task_are_limited_by_split(
    encoder: str, tmp_path: Path, flags: list[str], splits: dict[str, int]
) -> None:
    run = run_mtl_ner.prepare(
        ["--tasks", "ncbi,bc2gm", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "o"), *SMALL, *flags]
    )
    counted = {split: [text.task_id for text in rows.texts] for split, rows in run.rows.items()}
    assert counted == {split: [0] * limit + [1] * limit for split, limit in splits.items()}


def test_a_fraction_of_the_training_documents(encoder: str, tmp_path: Path) -> None:
    def documents(fraction: str, *seed: str) -> dict[str, list[str]]:
        arguments = ["--tasks", "ncbi,bc5cdr", "--data_dir", "sample", "--model_name_or_path", encoder, "--use_cpu"]
        run = run_mtl_ner.prepare(
            [*arguments, "--output_dir", str(tmp_path / "a"), *seed, "--train_fraction", fraction]
        )
        assert len({text.document.document_id for text in run.rows["test"].texts}) > 10  # only training is cut
        found: dict[str, list[str]] = {"ncbi": [], "bc5cdr": []}
        for text in run.rows["train"].texts:
            found[text.corpus].append(text.document.document_id)
        return found

    whole, half, tenth = documents("1"), documents("0.5"), documents("0.1")
    for name in whole:
        assert len(half[name]) == round(len(whole[name]) / 2) and len(tenth[name]) == round(len(whole[name]) / 10)
        assert half[name] == [i for i in whole[name] if i in set(half[name])]
        assert set(tenth[name]) < set(half[name])
    assert documents("0.5", "--seed", "43") != half
    of_one = documents("ncbi=0.5")
    assert of_one == {"ncbi": half["ncbi"], "bc5cdr": whole["bc5cdr"]}


def test_development_documents_can_be_trained_on(encoder: str, tmp_path: Path) -> None:
    output = tmp_path / "a"
    arguments = ["--tasks", "ncbi,bc2gm", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL]
    before = run_mtl_ner.prepare(arguments)
    dev = {text.document.document_id for text in before.rows["dev"].texts}
    run = run_mtl_ner.prepare([*arguments[: -len(FEW)], "--train_on_dev", "--save_strategy", "steps"])
    assert dev < {text.document.document_id for text in run.rows["train"].texts}
    assert "dev" not in run.rows
    assert run_mtl_ner.main([*arguments, "--train_on_dev"]) == 0
    found = scores(output)
    assert "test_ncbi_f1" in found and not any(key.startswith("eval_") for key in found)
    scoring = [str(output) if argument == encoder else argument for argument in arguments]
    scoring[scoring.index("--output_dir") + 1] = str(tmp_path / "b")
    assert "dev" in run_mtl_ner.prepare([*scoring, "--train_on_dev", "--do_eval"]).rows  # where nothing is trained
    ledger = read_json(output / "ledger.json")["ncbi"]
    assert ledger["dev"]["documents"] == 0
    for own in ledger.values():
        assert own["read"] == own["kept"] + sum(own["dropped"].values())


def test_held_out_text_of_further_corpora_is_kept_out_of_training(encoder: str, tmp_path: Path) -> None:
    shared = document("1", "A woman of middle age was treated for severe gout.", [("gout", "Disease")])
    other = document("2", "Nobody knows what became of the man with asthma.", [("asthma", "Disease")])
    write_jsonl(tmp_path / "mine" / "train.jsonl", [shared, other])
    for split in ("dev", "test"):
        write_jsonl(tmp_path / "mine" / f"{split}.jsonl", [document(split, "No gout here.", [("gout", "Disease")])])
        write_jsonl(tmp_path / "theirs" / f"{split}.jsonl", [shared | {"document_id": split}])
    write_jsonl(tmp_path / "theirs" / "train.jsonl", [other])
    arguments = ["--tasks", f"mine={tmp_path / 'mine'}", "--model_name_or_path", encoder, "--use_cpu"]
    arguments += ["--output_dir", str(tmp_path / "out")]

    def training_ids(*options: str) -> list[str]:
        run = run_mtl_ner.prepare([*arguments, *options])
        assert list(run.corpora) == ["mine"]
        return [text.document.document_id for text in run.rows["train"].texts]

    assert training_ids() == ["1", "2"]
    assert training_ids("--leak_corpora", str(tmp_path / "theirs")) == ["2"]


def test_corpora_of_one_name_are_told_apart(encoder: str, tmp_path: Path) -> None:
    for folder, word in (("a", "lupus"), ("b", "gout")):
        documents = [document(f"{folder}{n}", f"Case {n} of {word}.", [(word, "Disease")]) for n in range(8)]
        write_jsonl(tmp_path / folder / "own.jsonl", documents)
    spec = f"both={tmp_path}/a/own.jsonl+{tmp_path}/b/own.jsonl"
    run = run_mtl_ner.prepare(
        ["--tasks", spec, "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "out"), *SMALL]
    )
    assert list(run.corpora) == ["own.jsonl", "own.jsonl-2"]
    assert run.tasks[0].corpora == ("own.jsonl", "own.jsonl-2")
    assert run.model.config.tasks[0]["corpora"] == ["own.jsonl", "own.jsonl-2"]
    trainer = run_mtl_ner.make_trainer(run)
    metrics = trainer.predict(run_mtl_ner.make_rows(run, "test", None)).metrics
    assert metrics["test_both_support_own.jsonl"] == metrics["test_both_support_own.jsonl-2"] == 1


def test_sentences_begin_windows_if_they_are_the_unit(encoder: str, own: Path, tmp_path: Path) -> None:
    text = "Gout is old. Lupus (e.g. in women) came later! It hurts."  # words 0-3, 4-15, 16-18
    write_jsonl(own, [document(str(n), text, [("Gout", "Disease"), ("Lupus", "Disease")]) for n in range(5)])
    common = ["--tasks", f"mine={own}", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "out"), *SMALL]
    for unit, cores in (("passage", [(0, 19)]), ("sentence", [(0, 4), (4, 16), (16, 19)])):
        run = run_mtl_ner.prepare([*common, "--text_unit", unit, "--leaks", "warn"])
        for rows in run.rows.values():
            assert sorted(row.window.core for row in rows.rows if row.text == 0) == cores
        # What the pipeline makes of the text is what the model was trained and scored on.
        run.model.save_pretrained(tmp_path / unit)
        ner = MtlBionerPipeline(MtlBionerModel.from_pretrained(tmp_path / unit), tokenizer=run.tokenizer)
        assert [window.core for window in ner.preprocess(text)["windows"]] == cores


def test_what_a_run_found_is_kept_whatever_the_document_ids(encoder: str, tmp_path: Path) -> None:
    """PubTator can't hold such an id; everything else is written."""
    documents = [document(f"10.1|t|{n}", f"Case {n} had gout.", [("gout", "Disease")]) for n in range(20)]
    own = write_jsonl(tmp_path / "own.jsonl", documents)
    arguments = ["--tasks", f"mine={own}", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "out")]
    assert run_mtl_ner.main([*arguments, *SMALL, "--leaks", "warn"]) == 0
    assert "test_mine_f1" in scores(tmp_path / "out")
    found = [json.loads(line) for line in (tmp_path / "out" / "predictions_mine.jsonl").read_text().splitlines()]
    assert all(item["document_id"].startswith("10.1|t|") for item in found)
    assert not (tmp_path / "out" / "predictions_mine.pubtator").exists()


def test_the_hub_token_is_in_no_file(trained: Path) -> None:
    assert (trained / "training_args.bin").is_file()
    for path in trained.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_learning_rate_goes_by_the_size_of_the_encoder(trained: Path) -> None:
    assert read_json(trained / "run.json")["arguments"]["learning_rate"] == 3e-4  # hidden size 16


def test_a_split_without_a_word_and_damaged_weights_are_found_before_training(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "own"
    for split in ("train", "dev"):
        write_jsonl(folder / f"{split}.jsonl", [document(split, "He had gout.", [("gout", "Disease")])])
    write_jsonl(folder / "test.jsonl", [document("1", "  ", [])])
    arguments = ["--tasks", f"mine={folder}", "--output_dir", str(tmp_path / "out"), *SMALL, "--leaks", "warn"]
    assert run_mtl_ner.main([*arguments, "--model_name_or_path", encoder]) == 2
    assert "task mine has no test document with a word in it" in capsys.readouterr().err
    damaged = tmp_path / "damaged"
    shutil.copytree(encoder, damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    arguments = ["--tasks", "ncbi", "--output_dir", str(tmp_path / "out"), *SMALL]
    assert run_mtl_ner.main([*arguments, "--model_name_or_path", str(damaged)]) == 2
    assert f"error: --model_name_or_path {damaged}: " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_dry_run_says_what_would_be_trained_and_leaves_nothing(
    encoder: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_jsonl(own, [document(str(n), f"Case {n} had gout.", [("gout", "Disease")]) for n in range(20)])
    arguments = ["--tasks", f"mine={own}", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "out")]
    options = ["--dry_run", "--num_train_epochs", "3", "--per_device_train_batch_size", "4", "--leaks", "warn"]
    assert run_mtl_ner.main([*arguments, *SMALL, *options]) == 0
    told = capsys.readouterr().out
    rows, subwords, drawn = re.search(r"^mine +(\d+) +(\d+) +(\d+)$", told, re.MULTILINE).groups()
    steps = -(-int(rows) // 4)
    assert rows == drawn
    assert int(subwords) > 5 * int(rows)
    assert f"an epoch: {steps} steps of 1 process(es), {subwords} sub-words" in told
    assert re.search(rf"training: {3 * steps} steps, about \d+\.\d minutes", told)
    assert not (tmp_path / "out").exists()


def test_text_that_differs_from_its_offsets_is_a_warning_and_the_offsets_are_trusted(
    encoder: str, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    documents = [document(str(n), f"Case {n} had gout.", [("gout", "Disease")]) for n in range(5)]
    documents[3]["entities"][0]["text"] = "lupus"
    write_jsonl(own, documents)
    run = run_mtl_ner.prepare(
        ["--tasks", f"mine={own}", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "out"), *SMALL]
    )
    assert f"{own}:4: document 3 has 'gout' at ((11, 15),), the mention says 'lupus'; the offsets are trusted" in (
        caplog.text
    )
    spans = {(e.start, e.end) for rows in run.rows.values() for text in rows.texts for e in text.document.entities}
    assert spans == {(11, 15)}


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture
def fails(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs arguments that can't be used; gives the one line on stderr."""

    def run(*arguments: str, tasks: str | None = "ncbi", output: bool = True) -> str:
        defaults = {
            "--tasks": tasks,
            "--data_dir": "sample",
            "--model_name_or_path": encoder,
            "--max_seq_length": "64",
        }
        argv = [part for name, value in defaults.items() if name not in arguments and value for part in (name, value)]
        argv += ["--output_dir", str(tmp_path / "out")] if output else []
        capsys.readouterr()
        status = run_mtl_ner.main([*arguments, *argv])
        printed = capsys.readouterr()
        assert status == 2
        lines = printed.err.splitlines()
        assert len(lines) == 1, printed.err
        assert lines[0].startswith("run_mtl_ner: error: ")
        assert printed.out == ""
        assert not output or not (tmp_path / "out").exists()
        return lines[0].removeprefix("run_mtl_ner: error: ")

    return run


Fails = Callable[..., str]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--tasks", "nbci"], ["unknown corpus 'nbci'", "did you mean 'ncbi'?", "./nbci"]),
        (["--tasks", "ncbi:Diseases"], ["'Diseases'", "did you mean 'Disease'?"]),
        (["--tasks", "ncbi+bc5cdr"], ["task ncbi+bc5cdr", "ncbi does not annotate Chemical", "ncbi:Disease"]),
        (["--tasks", "ncbi,ncbi"], ["--tasks names 'ncbi' twice", "other=ncbi"]),
        (["--tasks", "./nowhere.jsonl"], ["nowhere.jsonl: no such file or folder", "check the path"]),
        (["--data_dir", "nowhere"], ["--data_dir nowhere: no such folder", "ncbi_disease/"]),
        (["--max_seq_length", "500"], ["--max_seq_length is 500", "8 to 130", "several windows"]),
        (["--max_seq_length", "4"], ["--max_seq_length is 4", "8 to 130"]),
        (["--context_size", "-1"], ["--context_size is -1", "0 or more"]),
        (["--task_loss_weights", "ncib=1"], ["--task_loss_weights names 'ncib'", "the tasks are ncbi"]),
        (["--task_loss_weights", "ncbi=x"], ["--task_loss_weights gives ncbi the weight 'x'", "ncbi=0.5"]),
        (["--sharing", "soft"], ["--sharing: invalid choice: 'soft'", "'hard'"]),
        (["--sharing", "cross", "--sharing_size", "0"], ["--sharing_size is 0", "1 or more"]),
        (["--adversarial_weight", "-1"], ["--adversarial_weight is -1", "0 or more"]),
        (["--train_fraction", "0"], ["--train_fraction gives ncbi the share 0", "at most 1"]),
        (["--train_fraction", "ncbi=2"], ["--train_fraction gives ncbi the share 2", "at most 1"]),
        (["--train_fraction", "nbci=0.5"], ["--train_fraction names 'nbci'", "the tasks are ncbi"]),
        (["--train_fraction", "few"], ["--train_fraction names 'few'", "the tasks are ncbi"]),
        (
            ["--loss_weighting", "learned"],
            ["--loss_weighting", "invalid choice: 'learned' (choose from", "uncertainty"],
        ),
        (
            ["--report_to", "tensorbord"],
            ["--report_to names 'tensorbord'", "installed here: ", "pip install tensorboard"],
        ),
        (["--train_on_dev", "--early_stopping_patience", "2"], ["--train_on_dev leaves nothing to evaluate on"]),
        (["--save_strategy", "often"], ["--save_strategy", "invalid choice: 'often' (choose from", "best"]),
        (["--save_strategy", "steps"], ["--save_strategy is steps, --eval_strategy epoch", "leave out --save_"]),
        (
            ["--eval_strategy", "steps", "--eval_steps", "10", "--save_steps", "30"],
            ["--save_steps 30, --eval_steps 10", "leave out --save_strategy and --save_steps"],
        ),
        (
            ["--save_strategy", "no"],
            ["--save_strategy is no, --eval_strategy epoch", "--load_best_model_at_end false"],
        ),
        (["--train_on_dev", "--save_strategy", "best"], ["--train_on_dev leaves nothing to evaluate on"]),
        (["--search", "2", "--train_on_dev"], ["--search trains and goes by development scores", "--train_on_dev"]),
        (["--search", "2", "--do_train", "--eval_strategy", "no"], ["--search trains", "--eval_strategy no"]),
        (["--search", "2", "--dry_run"], ["--search trains and goes by development scores", "--dry_run"]),
        (["--search", "2", "--do_predict"], ["--search trains and goes by development scores", "--do_*"]),
        (["--search", "0"], ["--search is 0", "give 1 or more"]),
        (["--train_on_dev", "--report_gates"], ["--report_gates reads the development split", "leave one out"]),
        (["--report_gates"], ["--report_gates", "--sharing cross and two tasks"]),
        (["--test_size", "2"], ["--test_size is 2", "between 0 and 1"]),
        (["--dev_size", "0"], ["--dev_size is 0", "between 0 and 1"]),
        (["--leaks", "foo"], ["--leaks: invalid choice: 'foo' (choose from", "warn"]),
        (["--text_unit", "line"], ["--text_unit", "invalid choice: 'line' (choose from", "passage"]),
        (["--label_subwords", "last"], ["--label_subwords", "invalid choice: 'last' (choose from", "first"]),
        (["--max_train_samples", "0"], ["--max_train_samples is 0", "1 or more"]),
        (["--max_train_samples", "many"], ["--max_train_samples", "invalid int value: 'many'", "--help"]),
        (["--per_device_eval_batch_size", "0"], ["--per_device_eval_batch_size is 0", "give 1 or more"]),
        (["--gradient_accumulation_steps", "0"], ["--gradient_accumulation_steps is 0", "give 1 or more"]),
        (["--task_sampling_alpha", "nan"], ["--task_sampling_alpha is nan", "give 0 or more"]),
        (["--early_stopping_patience", "-1"], ["--early_stopping_patience is -1", "give 1 or more"]),
        (["--num_train_epochs", "-1"], ["--num_train_epochs is -1", "more than 0"]),
        (["--label_smoothing_factor", "0.1"], ["--label_smoothing_factor has no effect"]),
        (["--batch_eval_metrics", "true"], ["--batch_eval_metrics has no effect"]),
        (["--label_names", "labels"], ["--label_names would score something else"]),
        (["--use_liger_kernel"], ["--use_liger_kernel serves language models only"]),
        (["--dataloader_persistent_workers", "true"], ["needs --dataloader_num_workers of 1 or more"]),
        (["--torch_compile_mode", "bad"], ["--torch_compile_mode is bad; choose of default", "max-autotune"]),
        (["--bf16_full_eval", "true"], ["--bf16_full_eval would leave the saved weights in that type"]),
        (["--eval_do_concat_batches", "false"], ["--eval_do_concat_batches false leaves nothing to score"]),
        (["--average_tokens_across_devices", "false"], ["--average_tokens_across_devices false would scale"]),
        (["--train_sampling_strategy", "group_by_length"], ["--train_sampling_strategy is group_by_length"]),
        (["--accelerator_config", '{"split_batches": true}'], ["--accelerator_config has split_batches"]),
        (
            ["--metric_for_best_model", "ncbi_f1_disease"],
            ["--metric_for_best_model is", "loss, ncbi_f1 or ncbi_f1_Disease"],
        ),
        (["--metric_for_best_model", "ncbi_f1_ncbi"], ["--metric_for_best_model is ncbi_f1_ncbi"]),
        (["--learning_rate", "-1"], ["--learning_rate is -1.0; give more than 0"]),
        (["--learning_rate", "0"], ["--learning_rate is 0.0; give more than 0"]),
        (["--eval_steps", "0.5"], ["--eval_steps 0.5 has no effect without --eval_strategy steps"]),
        (["--tasks", "ncbi", "bc5cdr"], ["unknown argument bc5cdr; tasks are separated by commas alone"]),
        (["--metric_for_best_model", "micro_F1"], ["--metric_for_best_model is micro_F1", "give macro_f1"]),
        (["--tasks", "macro=ncbi"], ["task name 'macro'", "take another"]),
        (["--mask_probability", "1.5"], ["--mask_probability is 1.5", "from 0 to below 1"]),
        (["--max_tokens_per_batch", "-1"], ["--max_tokens_per_batch is -1", "give 0 or more"]),
        (["--eval_strategy", "daily"], ["--eval_strategy", "invalid choice: 'daily'", "epoch"]),
        (
            ["--eval_strategy", "no", "--early_stopping_patience", "3"],
            ["--early_stopping_patience", "leave out --eval_strategy no"],
        ),
        (["--data_dri", "sample"], ["unknown argument --data_dri", "did you mean --data_dir?"]),
        (["--colour", "blue"], ["unknown argument --colour", "--help"]),
        (["--task", "ncbi"], ["unknown argument --task", "did you mean --tasks?"]),  # no guessing by beginnings
        (["--resume_from_checkpoint", "true"], ["--resume_from_checkpoint: no whole checkpoint in", "leave it out"]),
        (["--resume_from_checkpoint", "nowhere"], ["--resume_from_checkpoint nowhere: no such folder"]),
        (
            ["--metric_for_best_model", "f1"],
            ["--metric_for_best_model is f1", "micro_f1, loss, ncbi_f1 or"],
        ),
        (["--drop_tasks", "bc5cdr"], ["--drop_tasks names 'bc5cdr'", "an encoder without heads"]),
        (["--do_predict"], ["--tasks names 'ncbi', but nothing is trained", "--do_train"]),
        (["--model_name_or_path", "./nowhere"], ["--model_name_or_path ./nowhere: no such folder"]),
    ],
)
def test_a_bad_value_is_one_line(fails: Fails, arguments: list[str], parts: list[str]) -> None:
    message = fails(*arguments)
    for part in parts:
        assert part in message


@pytest.mark.parametrize("other", [["--optim", "no_such"], ["--lr_scheduler_type", "cosine_with_min_lr"]])
def test_what_training_cannot_begin_with_is_told_before_results_are_deleted(
    other: list[str], encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "all_results.json").write_text("{}")
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path), *SMALL]
    assert run_mtl_ner.main([*arguments, "--overwrite_output", *other]) == 2
    assert other[1] in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "all_results.json").exists()


def test_without_tasks(fails: Fails) -> None:
    assert "required: --tasks" in fails(tasks=None)


def test_missing_file_of_a_corpus(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "ncbi_disease"
    folder.mkdir(parents=True)
    (folder / "NCBItrainset_corpus.txt").write_text("1|t|Lupus\n1|a|\n1\t0\t5\tLupus\tSpecificDisease\tD1\n\n")
    message = fails("--data_dir", str(tmp_path / "data"))
    assert "NCBIdevelopset_corpus.txt" in message
    assert "https://" in message
    assert "--data_dir" in message


@pytest.mark.parametrize(
    ("name", "content", "place", "parts"),
    [
        ("own.pubtator", "1|t|Lupus\n1|a|More.\n1\t0\t5\tLupus\n", ":3:", ["4 columns", "expected"]),
        ("own.jsonl", '{"document_id": "1", "text": "Lupus"}\n{"document_id"\n', ":2:", ["invalid JSON"]),
        (
            "own.jsonl",
            '{"document_id": "1", "text": "Lupus", "entities": [{"start": 0, "end": 9, "type": "Disease"}]}\n',
            ":1:",
            ["offsets 0-9", "document 1 (5 characters)", "correct the offsets"],
        ),
        ("own.conll", "Lupus\tB-Disease\nis\tX-Disease\n", ":2:", ["X-Disease"]),
        ("own.jsonl", "", "", ["holds no document", "format"]),
        ("own.txt", "Just some text.\n", ":1:", ["neither PubTator"]),
        ("own.docx", "x", "", [".docx ending", ".jsonl"]),
    ],
)
def test_malformed_file(fails: Fails, tmp_path: Path, name: str, content: str, place: str, parts: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    message = fails("--tasks", f"mine={path}")
    assert message.startswith(f"{path}{place}")
    for part in parts:
        assert part in message


def test_documents_without_annotations_are_for_the_pipeline(trained: Path, fails: Fails, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "plain.jsonl", [document("1", "He has gout.", [])])
    for task in (f"ncbi={path}", f"ncbi={path}:Disease"):
        message = fails("--tasks", task, "--model_name_or_path", str(trained), "--do_predict")
        assert "annotates nothing, so nothing can be trained or scored; to annotate texts, use the pipeline" in message


def test_corpus_without_a_training_mention(fails: Fails, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "own" / "train.jsonl", [document(str(n), "All is well.", []) for n in range(5)])
    write_jsonl(tmp_path / "own" / "test.jsonl", [document("t", "No, gout.", [("gout", "Disease")])])
    assert "none of its 4 training documents holds a mention" in fails("--tasks", f"mine={tmp_path / 'own'}")


def test_task_without_a_training_mention_among_the_first_documents(fails: Fails, tmp_path: Path) -> None:
    documents = [document(str(n), "All is well.", []) for n in range(5)]
    documents += [document(str(n), "He has gout.", [("gout", "Disease")]) for n in range(5, 9)]
    for split in ("train", "dev", "test"):
        changed = [{**item, "document_id": f"{split}{item['document_id']}"} for item in documents]
        write_jsonl(tmp_path / "own" / f"{split}.jsonl", changed)
    message = fails("--tasks", f"mine={tmp_path / 'own'}", "--max_train_samples", "2")
    assert "task mine has no training mention of Disease" in message
    assert "--max_train_samples" in message


def test_corpus_for_scoring_only_cannot_be_trained_on(fails: Fails, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "my_test.jsonl", [document("1", "He has gout.", [("gout", "Disease")])])
    assert "task mine has no train document" in fails("--tasks", f"mine={path}")


def test_leak_as_an_error(fails: Fails, tmp_path: Path) -> None:
    text = "He has had gout for many years now."
    for split in ("train", "test"):
        documents = [document(f"{split}{n}", f"{n}. {text}", [("gout", "Disease")]) for n in range(3)]
        write_jsonl(tmp_path / "own" / f"{split}.jsonl", documents)
    message = fails("--tasks", f"mine={tmp_path / 'own'}", "--leaks", "error")
    assert "training text is held-out text" in message
    assert "--leaks drop" in message


def test_slow_tokenizer(fails: Fails, tmp_path: Path, encoder: str) -> None:
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path / "slow")
    (tmp_path / "slow" / "config.json").write_bytes((Path(encoder) / "config.json").read_bytes())
    message = fails("--model_name_or_path", str(tmp_path / "slow"))
    assert f"--model_name_or_path {tmp_path / 'slow'}" in message
    assert "slow tokenizer (ByT5Tokenizer)" in message
    assert "choose an encoder with a fast one" in message


@pytest.mark.parametrize(("kind", "reason"), [("t5", "ValueError: You must specify"), ("squeezebert", "TypeError: ")])
def test_encoders_of_another_kind(fails: Fails, tmp_path: Path, encoder: str, kind: str, reason: str) -> None:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_heads": 2, "num_layers": 1} if kind == "t5" else {
        "hidden_size": 16, "embedding_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 4,
    }  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tokenizer.save_pretrained(tmp_path)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    message = fails("--model_name_or_path", str(tmp_path))
    assert f"the encoder, of type {kind}, can't be used ({reason}" in message and "choose one as BERT" in message


def test_model_folders_that_lack_something(fails: Fails, tmp_path: Path, encoder: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    assert f"--model_name_or_path {folder}: the folder has no config.json" in fails(
        "--model_name_or_path", str(folder)
    )
    (folder / "config.json").write_text("{")
    assert f"--model_name_or_path {folder}" in fails("--model_name_or_path", str(folder))
    (folder / "config.json").write_bytes((Path(encoder) / "config.json").read_bytes())
    assert f"--model_name_or_path {folder}" in fails("--model_name_or_path", str(folder))  # no tokenizer
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(encoder) / name).read_bytes())
    message = fails("--model_name_or_path", str(folder))
    assert f"--model_name_or_path {folder}" in message
    assert "model.safetensors" in message


def test_output_folder_with_something_in_it(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep me")
    message = fails("--output_dir", str(folder), output=False)
    assert f"--output_dir {folder} is not empty" in message
    assert "--overwrite_output" in message
    assert "is a file" in fails("--output_dir", str(folder / "notes.txt"), output=False)


def test_saved_model_and_its_heads(fails: Fails, trained: Path) -> None:
    saved = ("--model_name_or_path", str(trained))
    message = fails(*saved, "--tasks", "jnlpba", "--do_predict")
    assert "--tasks names 'jnlpba'" in message
    assert "whose heads are ncbi, bc5cdr" in message
    message = fails(*saved, "--drop_tasks", "jnlpba")
    assert "--drop_tasks names 'jnlpba'" in message
    assert "its heads are ncbi, bc5cdr" in message
    assert "which --tasks uses" in fails(*saved, "--drop_tasks", "bc5cdr,ncbi")
    message = fails(*saved, "--tasks", "bc5cdr:Disease,ncbi=bc5cdr")
    assert "task ncbi finds Chemical, Disease, the model's head of that name Disease" in message


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ('{"tasks": "ncbi",\n "max_seq_length": 64,,\n}', [":2: ", "an object of arguments"]),
        ('["ncbi"]', ["a JSON list", "an object of arguments"]),
        ('{"tasks": "ncbi", "max_seq_length": "long"}', ["--max_seq_length", "invalid int value: 'long'"]),
        ('{"tasks": "ncbi", "max_seq_length": true}', ["--max_seq_length", "invalid int value: 'true'"]),
        ('{"tasks": "ncbi", "learning_rate": {"a": 1}}', ["--learning_rate", "invalid float value"]),
        ('{"tasks": "ncbi", "do_train": "perhaps"}', ["--do_train", "perhaps"]),
        ('{"tasks": "ncbi", "data_dri": "sample"}', ["unknown argument --data_dri", "did you mean --data_dir?"]),
    ],
)
def test_bad_json_file_of_arguments(
    tmp_path: Path, content: str, parts: list[str], capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "arguments.json"
    path.write_text(content, encoding="utf-8")
    assert run_mtl_ner.main([str(path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"run_mtl_ner: error: {path}:")
    assert message.count("\n") == 1
    for part in parts:
        assert part in message


def test_missing_json_file_of_arguments(capsys: pytest.CaptureFixture) -> None:
    assert run_mtl_ner.main(["nowhere.json"]) == 2
    assert "nowhere.json: no such argument file" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- Hub


def test_hub_out_of_reach_offline(fails: Fails) -> None:
    message = fails("--model_name_or_path", "dmis-lab/no-such-model-in-the-cache")
    assert "--model_name_or_path dmis-lab/no-such-model-in-the-cache: is no folder, and the Hub can't be" in message
    assert "give the folder of a downloaded encoder with --model_name_or_path" in message


def response(status: int) -> HfHubHTTPError:
    return HfHubHTTPError("no", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.mark.parametrize(
    ("raised", "answers"),
    [(None, True), (response(404), True), (response(401), True), (response(503), False), (OSError("no"), False)],
)
def test_one_request_tells_whether_the_hub_answers(
    monkeypatch: pytest.MonkeyPatch, raised: Exception | None, answers: bool
) -> None:
    asked: list[str] = []

    def head(url: str) -> None:
        asked.append(url)
        if raised is not None:
            raise raised

    monkeypatch.setattr(model_setup, "get_hf_file_metadata", head)
    model_setup.hub_answers.cache_clear()
    arguments = run_mtl_ner.ModelArguments(model_name_or_path="me/model", model_revision="v1")
    options = [model_setup.get_hub_options(arguments) for _ in range(3)]
    model_setup.hub_answers.cache_clear()
    assert options[0] == {"revision": "v1", "cache_dir": None, "local_files_only": not answers}
    assert len(asked) == 1
    assert asked[0].endswith("/me/model/resolve/v1/config.json")


TIMED = """
import sys, time
import run_mtl_ner
begin = time.monotonic()
status = run_mtl_ner.main(sys.argv[1:])
print(time.monotonic() - begin)
sys.exit(status)
"""


@pytest.mark.slow
def test_hub_out_of_reach_is_told_in_seconds(tmp_path: Path) -> None:
    """Not in offline mode: nothing listens at the Hub's address."""
    env = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    env.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-c", TIMED, "--tasks", "ncbi", "--data_dir", "sample"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert float(done.stdout) < 10
    assert len(done.stderr.splitlines()) == 1
    assert "--model_name_or_path dmis-lab/biobert-base-cased-v1.2: is no folder" in done.stderr


@pytest.mark.slow
def test_help_from_any_folder_lists_the_arguments_of_the_project(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_mtl_ner.py"), "--help"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("tasks", "data_dir", "leaks", "sharing", "task_loss_weights", "task_sampling_alpha", "drop_tasks"):
        assert f"--{name} " in done.stdout
    assert "outputs/<tasks>" in done.stdout


def test_default_output_folder_is_named_by_the_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for tasks, expected in (
        ("ncbi,bc5cdr", "outputs/ncbi,bc5cdr"),
        ("a=bc5cdr:Disease|Chemical+ncbi", "outputs/a=bc5cdr_Disease_Chemical+ncbi"),
        ("mine=../x/y.jsonl", "outputs/mine=y.jsonl"),
    ):
        _, _, args = run_mtl_ner.parse_arguments(["--tasks", tasks, "--use_cpu"])
        assert args.output_dir == expected
    with pytest.raises(ValueError, match="'ncbi,bc5cdr', the name of --output_dir, can't be .*; give --hub_model_id"):
        run_mtl_ner.parse_arguments(["--tasks", "ncbi,bc5cdr", "--use_cpu", "--push_to_hub"])


def test_errors_of_a_corpus_are_value_errors() -> None:
    assert issubclass(CorpusError, ValueError)


# -------------------------------------------------------------------------------------------- settings and old files


def test_settings_left_out_are_those_of_the_saved_model_and_recorded(trained: Path, tmp_path: Path) -> None:
    arguments = ["--model_name_or_path", str(trained), "--tasks", "ncbi", "--do_predict", *SMALL]
    assert run_mtl_ner.main([*arguments, "--output_dir", str(tmp_path / "a")]) == 0
    recorded = read_json(tmp_path / "a" / "run.json")["arguments"]
    assert [recorded[name] for name in ("sharing", "head_dropout", "attention_dropout")] == ["hard", 0.1, 0.0]


def test_dropout_of_a_saved_model_can_be_changed(trained: Path, tmp_path: Path) -> None:
    run = run_mtl_ner.prepare(
        ["--model_name_or_path", str(trained), "--tasks", "ncbi", "--output_dir", str(tmp_path / "a"), *SMALL,
         "--head_dropout", "0.25", "--attention_dropout", "0.5"]
    )  # fmt: skip
    assert run.model.dropout.p == run.model.config.head_dropout == 0.25
    assert run.model.config.encoder_config.attention_probs_dropout_prob == 0.5
    assert run.model_args.attention_dropout == 0.5


def test_window_length_left_out_is_the_encoders_limit_if_that_is_shorter(
    toy_encoder: Callable, tmp_path: Path
) -> None:
    run = run_mtl_ner.prepare(
        ["--model_name_or_path", toy_encoder("bert"), "--tasks", "ncbi", "--output_dir", str(tmp_path / "a"), *FEW,
         "--data_dir", "sample", "--use_cpu"]
    )  # fmt: skip
    limit = run.model.config.encoder_config.max_position_embeddings
    assert run.data_args.max_seq_length == run.model.config.max_seq_length == min(320, limit)


def test_the_checkpoint_that_training_begins_with_is_not_deleted(
    trained: Path, encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = tmp_path / "checkpoint-5"
    shutil.copytree(trained, checkpoint)
    arguments = ["--tasks", "ncbi", "--model_name_or_path", str(checkpoint), "--output_dir", str(tmp_path), *SMALL]
    assert run_mtl_ner.main([*arguments, "--overwrite_output"]) == 2
    assert "where it would be deleted; give another --output_dir" in capsys.readouterr().err
    assert (checkpoint / "config.json").is_file()


def test_scoring_does_not_overwrite_the_record_of_the_training(trained: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", str(trained), "--output_dir", str(trained), *SMALL]
    assert run_mtl_ner.main([*arguments, "--do_predict", "--overwrite_output"]) == 2
    assert "is the model's own folder" in capsys.readouterr().err


def test_training_anew_removes_what_an_earlier_run_wrote(encoder: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-999").mkdir()
    for name in ("predictions_old.jsonl", "predictions_old.pubtator", "notes.txt"):
        (tmp_path / name).write_text("old")
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path), *SMALL]
    assert run_mtl_ner.main([*arguments, "--overwrite_output"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"checkpoint-999", "predictions_old.jsonl", "predictions_old.pubtator"}
    assert {"notes.txt", "predictions_ncbi.jsonl"} <= names


def test_resuming_switched_off_does_not_open_a_full_folder(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    message = fails("--output_dir", str(tmp_path / "full"), "--resume_from_checkpoint", "false", output=False)
    assert "is not empty" in message


def test_a_training_goes_on_only_with_the_arguments_that_it_was_begun_with(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    begin = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path), *SMALL]
    assert run_mtl_ner.main([*begin, "--hub_token", "hf_secret"]) == 0
    assert "hf_secret" not in (tmp_path / "begun_with.json").read_text()
    capsys.readouterr()
    again = [*begin, "--resume_from_checkpoint", "true"]
    for other, message in {
        ("--seed", "7"): f"the training in {tmp_path} was begun with 'no --seed', not with --seed=7; give the same",
        ("--num_train_epochs", "5"): "not with --num_train_epochs=5.0; give the same",
        ("--mask_probability", "0"): "not with --mask_probability=0",
    }.items():
        assert run_mtl_ner.main([*again, *other]) == 2
        assert message in capsys.readouterr().err
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert run_mtl_ner.main([*again, "--logging_first_step", "--save_total_limit", "3"]) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    shutil.rmtree(next(tmp_path.glob("checkpoint-*")))  # as if killed before the first one was written
    assert run_mtl_ner.main(again) == 0
    assert (tmp_path / "model.safetensors").read_bytes() == weights


def test_output_folder_below_a_file(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    assert "file is a file" in fails("--output_dir", str(tmp_path / "file" / "below"), output=False)


def test_another_sharing_layer_than_the_saved_models(
    fails: Fails, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SHARING, "other", SHARING["hard"])
    message = fails("--tasks", "ncbi", "--model_name_or_path", str(trained), "--sharing", "other")
    assert "--sharing is 'other'" in message and "hard" in message


def test_activation_checkpointing_trains(encoder: str, tmp_path: Path) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "a"), *SMALL]
    assert run_mtl_ner.main([*arguments, "--do_train", "--activation_checkpointing", "true"]) == 0


@pytest.mark.parametrize("sharing", ["shared_private", "adversarial", "cross"])
def test_each_sharing_layer_trains_and_loads_back(
    encoder: str, tmp_path: Path, sharing: str, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "a"
    arguments = ["--tasks", "ncbi,bc5cdr,bc2gm", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL]
    arguments += ["--sharing", sharing, "--sharing_size", "8"]
    arguments += ["--report_gates"] if sharing == "cross" else []
    assert run_mtl_ner.main(arguments) == 0
    again = ["--do_predict", "--tasks", "bc5cdr", "--model_name_or_path", str(output), *SMALL]
    assert run_mtl_ner.main([*again, "--output_dir", str(tmp_path / "b")]) == 0
    before, after = scores(output), scores(tmp_path / "b")
    for key in (key for key in after if "bc5cdr" in key):
        assert after[key] == pytest.approx(before[key], abs=1e-6), key
    recorded = read_json(output / "run.json")["arguments"]
    assert (recorded["sharing"], recorded["sharing_size"], recorded["adversarial_weight"]) == (sharing, 8, 0.01)
    if sharing == "cross":
        gates = read_json(output / "gates.json")
        assert [list(others) for others in gates.values()] == [
            ["bc5cdr", "bc2gm"],
            ["ncbi", "bc2gm"],
            ["ncbi", "bc5cdr"],
        ]
        assert all(0.8 < gate < 0.95 for others in gates.values() for gate in others.values())
        assert (output / "gates.png").stat().st_size > 1000
        grow = ["--tasks", "jnlpba", "--model_name_or_path", str(output), "--freeze_encoder", *SMALL]
        assert run_mtl_ner.main([*grow, "--output_dir", str(tmp_path / "c")]) == 2
        assert "open gates for each other, so the other heads can't stay" in capsys.readouterr().err


def test_tensorboard_shows_the_loss_and_the_score_of_each_task(encoder: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = tmp_path / "a"
    arguments = ["--tasks", "ncbi,bc5cdr", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL]
    assert run_mtl_ner.main([*arguments, "--do_train", "--report_to", "tensorboard"]) == 0
    (events,) = output.rglob("events.out.tfevents.*")
    shown = EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {"train/loss_ncbi", "train/loss_bc5cdr", "eval/ncbi_f1", "eval/bc5cdr_f1", "eval/macro_f1"} <= set(shown)


@pytest.mark.slow
def test_three_ways_to_start_give_the_same(encoder: str, tmp_path: Path) -> None:
    script, folder = str(ROOT / "run_mtl_ner.py"), Path(sys.executable).parent
    accelerate = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--num_processes", "1"]
    ways = [[sys.executable, script], [*accelerate, script], [str(folder / "mtl-bioner-train")]]
    if not (folder / "mtl-bioner-train").exists():
        pytest.skip("the project is not installed in this environment")
    found = []
    for number, way in enumerate(ways):
        output = tmp_path / str(number)
        done = subprocess.run(
            [*way, "--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(output), *SMALL],
            cwd=tmp_path, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert "macro over tasks" in done.stdout
        found.append(scores(output))
    # To the last digits but one: where an array happens to lie in memory changes the order of some sums.
    assert found[0] == pytest.approx(found[1], abs=1e-5) and found[0] == pytest.approx(found[2], abs=1e-5)


def test_calibrations_are_fitted_kept_and_used_by_the_pipeline(encoder: str, tmp_path: Path) -> None:
    output = tmp_path / "a"
    arguments = ["--tasks", "ncbi,bc5cdr", "--model_name_or_path", encoder, "--output_dir", str(output), *SAMPLE]
    # hardly trained, so that much is found, most of it wrong
    # and scored in fp32, as the pipeline computes
    assert run_mtl_ner.main([*arguments, "--num_train_epochs=1", "--learning_rate=1e-6", "--bf16=false"]) == 0
    tasks = {task["name"]: task for task in read_json(output / "config.json")["tasks"]}
    assert tasks["bc5cdr"]["temperature"] != 1.0  # the sample has enough entities for this head
    found = scores(output)
    assert {f"{split}_{name}_ece" for split in ("eval", "test") for name in tasks} <= found.keys()
    assert (output / "reliability.png").stat().st_size > 1000
    predictions = [json.loads(line) for line in (output / "predictions_bc5cdr.jsonl").read_text().splitlines()]
    document = next(one for one in predictions if one["entities"])
    model = MtlBionerModel.from_pretrained(output)
    ner = MtlBionerPipeline(model=model, tokenizer=load_tokenizer(str(output), config=model.config.encoder_config))
    again = ner(document["text"], tasks="bc5cdr")
    assert [(e["start"], e["end"]) for e in again] == [(e["start"], e["end"]) for e in document["entities"]]
    assert [e["score"] for e in again] == pytest.approx([e["score"] for e in document["entities"]], abs=1e-4)
    model.config.tasks[1]["temperature"] *= 2
    assert [e["score"] for e in ner(document["text"], tasks="bc5cdr")] != [e["score"] for e in again]


def test_old_heads_are_scored_once_before_the_first_step_and_once_after_the_last(
    trained: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, int] = {}
    predict = run_mtl_ner.MultiTaskTrainer.predict

    def noted(trainer: run_mtl_ner.MultiTaskTrainer, rows: Any, metric_key_prefix: str) -> Any:
        steps[metric_key_prefix] = trainer.state.global_step
        return predict(trainer, rows, metric_key_prefix=metric_key_prefix)

    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "predict", noted)
    arguments = ["--model_name_or_path", str(trained), "--tasks", f"mine={own}", "--output_dir", str(tmp_path / "a")]
    assert run_mtl_ner.main([*arguments, *SMALL]) == 0
    assert steps["before"] == 0 < steps["after"]


def test_scoring_alone_fits_no_scores_and_writes_no_model(trained: Path, tmp_path: Path) -> None:
    arguments = ["--do_eval", "--tasks", "ncbi,bc5cdr", "--model_name_or_path", str(trained), *SMALL]
    assert run_mtl_ner.main([*arguments, "--output_dir", str(tmp_path / "a")]) == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"all_results.json", "run.json", "ledger.json"}


@pytest.mark.parametrize("mode", ["first", "all"])
def test_further_subwords_are_labelled_in_training_alone_and_if_asked_for(
    encoder: str, tmp_path: Path, mode: str
) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path / "a"), *SMALL]
    for split, rows in run_mtl_ner.prepare([*arguments, "--label_subwords", mode]).rows.items():
        sizes = [size for row in rows.rows for size in row.window.sizes if size]
        labelled = sum(label != IGNORE for row in rows.rows for label in row.labels)
        assert labelled == (sum(sizes) if (mode, split) == ("all", "train") else len(sizes)) and max(sizes) > 1


def test_another_width_of_the_sharing_layer_than_the_saved_models(fails: Fails, trained: Path) -> None:
    message = fails("--tasks", "ncbi", "--model_name_or_path", str(trained), "--sharing_size", "5")
    assert message == f"--sharing_size is 5, but {trained} has 2; leave it out"


def test_a_saved_model_in_half_precision_is_trained_in_full(trained: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(trained, tmp_path / "half"))
    MtlBionerModel.from_pretrained(half).to(torch.bfloat16).save_pretrained(half)
    arguments = ["--tasks", "ncbi", "--model_name_or_path", str(half), "--output_dir", str(tmp_path / "a"), *SMALL]
    assert {own.dtype for own in run_mtl_ner.prepare(arguments).model.parameters()} == {torch.float32}


def test_a_training_does_not_go_on_without_what_it_was_begun_with(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path), *SMALL]
    begun = run_mtl_ner.begun_with(
        run_mtl_ner.collect_given_arguments(arguments), ["none"], run_mtl_ner.parse_arguments(arguments)[2]
    )
    for other, told in {
        ("seed", 7): "was begun with --seed=7, not with 'no --seed'; give the same",
        ("bf16", not begun["bf16"]): f"was begun with --bf16={json.dumps(not begun['bf16'])}, not with --bf16=",
        ("processes", 2): "was begun with 2 processes, not with 1; launch as many, or begin anew",
    }.items():
        (tmp_path / "begun_with.json").write_text(json.dumps(begun | dict([other])))
        assert run_mtl_ner.main([*arguments, "--resume_from_checkpoint", "true"]) == 2
        assert told in capsys.readouterr().err
    old = {key: value for key, value in begun.items() if key not in ("bf16", "processes")}  # of earlier versions
    (tmp_path / "begun_with.json").write_text(json.dumps(old))
    assert run_mtl_ner.main([*arguments, "--resume_from_checkpoint", "true"]) == 0


def test_a_training_does_not_go_on_with_other_corpora_or_another_encoder(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    own = Path(shutil.copytree(encoder, tmp_path / "a" / "encoder"))
    rows = [{"document_id": str(n), "text": f"an oak {n}", "entities": [{"start": 3, "end": 6, "type": "Tree"}]}
            for n in range(20)]  # fmt: skip
    (tmp_path / "a" / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    output = ["--output_dir", str(tmp_path / "out"), *FEW]
    tasks = ["--tasks", f"ncbi,m={tmp_path}/a/mine.jsonl", "--data_dir", "sample"]
    arguments = [*tasks, "--model_name_or_path", str(own)]
    assert run_mtl_ner.main([*arguments, *output]) == 0
    (tmp_path / "a").rename(tmp_path / "b")  # other folders are no other inputs
    arguments = [argument.replace(f"{tmp_path}/a", f"{tmp_path}/b") for argument in arguments]
    again = [*arguments, *output, "--resume_from_checkpoint", "true"]
    assert run_mtl_ner.main(again) == 0
    config = tmp_path / "b" / "encoder" / "config.json"
    config.write_text(config.read_text() + " ")
    assert run_mtl_ner.main(again) == 2
    assert "the encoder is not the one that the training in" in capsys.readouterr().err
    (tmp_path / "b" / "mine.jsonl").write_text("\n".join(map(json.dumps, rows[:-1])))
    assert run_mtl_ner.main(again) == 2
    assert "the corpus mine.jsonl is not the one that the training in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "wanted"), [(["--bf16"], True), (["--bf16", "false"], False), (["--bf16=true"], True)]
)
def test_bf16_alone_means_true(given: list[str], wanted: bool) -> None:
    assert run_mtl_ner.parse_arguments(["--tasks", "ncbi", *given, "--seed", "3"])[2].bf16 is wanted


def test_memory_of_trainer_is_no_score_of_other_heads() -> None:
    metrics = {"before_init_mem_cpu": 1.0, "before_ncbi_f1": 0.5, "after_ncbi_f1": 0.25}
    assert format_forgetting({"before_init_mem_cpu": 1.0}) == ""
    assert format_forgetting(metrics).splitlines()[1].split() == [
        "test", "ncbi", "f1", "50.00", "25.00", "-25.00",
    ]  # fmt: skip


def test_a_training_does_not_go_on_without_an_optimizer(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ["--tasks", "ncbi", "--model_name_or_path", encoder, "--output_dir", str(tmp_path), *SMALL]
    assert run_mtl_ner.main([*arguments, "--save_only_model", "true"]) == 0
    (checkpoint,) = tmp_path.glob("checkpoint-*")
    assert run_mtl_ner.main([*arguments, "--save_only_model", "true", "--resume_from_checkpoint", "true"]) == 2
    assert f"{checkpoint} holds no optimizer (--save_only_model)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "value", "remedy"),
    [
        ("--head_dropout", "1", "give a probability from 0 to below 1"),
        ("--attention_dropout", "-0.1", "give a probability from 0 to below 1"),
        ("--difference_weight", "inf", "give 0 or more"),
    ],
)
def test_dropout_and_penalties_outside_their_range(fails: Fails, argument: str, value: str, remedy: str) -> None:
    assert fails(argument, value) == f"{argument} is {float(value)}; {remedy}"
