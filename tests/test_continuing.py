"""Going on from a saved model: scoring its heads, adding, dropping and freezing heads; and resuming a training."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from toys import FEW, gout_cases, list_ids, read_json, read_jsonl, read_scores, write_jsonl

import run_mtl_ner
from dataset_scripts import load_corpus
from modeling_mtl_bioner import SHARING, MtlBionerModel
from mtl_bioner.training.checkpointing import describe_beginning
from mtl_bioner.training.parsing import parse_arguments


Argv = Callable[..., list[str]]
Fails = Callable[..., str]


# ------------------------------------------------------------------------------------------------------------- scoring


def test_a_saved_head_scores_the_whole_of_another_corpus(
    argv: Argv, trained: Path, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: Any
) -> None:
    folder = tmp_path / "out"
    assert (
        run_mtl_ner.main(argv("--do_predict", "--use_cpu", tasks=f"ncbi={own}:Disease", model=trained, data=[])) == 0
    )
    results = read_scores(folder)
    assert results["test_ncbi_support"] == 20
    assert not [key for key in results if key.startswith(("eval", "train"))]
    assert len(read_jsonl(folder / "predictions_ncbi.jsonl")) == 10
    assert "all of it is scored" in caplog.text
    assert "custom code" not in capsys.readouterr().out  # as AutoTokenizer asks, and waits
    assert {path.name for path in folder.glob("[!.]*")} == {
        "all_results.json", "run.json", "ledger.json", "reliability.png", "predictions_ncbi.jsonl",
        "predictions_ncbi.pubtator", "errors.html",
    }  # fmt: skip
    record = read_json(folder / "run.json")
    assert record["arguments"]["tasks"] == "ncbi=own.jsonl:Disease"
    assert record["arguments"]["max_seq_length"] == 64  # the saved model's, not the default
    assert list(record["corpora"]) == ["own.jsonl"]
    assert str(tmp_path) not in (folder / "run.json").read_text()


def test_a_head_is_scored_on_a_corpus_with_some_of_its_types(
    argv: Argv, trained: Path, own: Path, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture
) -> None:
    folder, tasks = tmp_path / "scored", f"bc5cdr={own}:Disease"
    command = argv("--do_predict", "--use_cpu", tasks=tasks, model=trained, output="scored", data=[])
    assert run_mtl_ner.main(command) == 0
    results = read_scores(folder)
    assert (results["test_bc5cdr_support"], results["test_bc5cdr_support_Disease"]) == (20, 20)
    assert not [key for key in results if "Chemical" in key]
    predicted = [item["entities"] for item in read_jsonl(folder / "predictions_bc5cdr.jsonl")]
    assert {entity["type"] for entities in predicted for entity in entities} <= {"Disease"}
    assert "Chemical" not in capsys.readouterr().out
    message = fails("--tasks", tasks, "--model_name_or_path", str(trained), "--do_train")
    assert "the model's head of that name" in message


def test_the_held_out_part_can_be_scored_again(argv: Argv, trained: Path, own: Path) -> None:
    """With `--test_size` of the training, or its default, the same documents are held out."""
    training = argv("--max_seq_length", "64", "--use_cpu", tasks=f"mine={own}", model=trained, data=[])
    held_out = list_ids(run_mtl_ner.prepare(training).rows["test"])
    scoring = ["--do_predict", "--use_cpu", "--test_size", "0.15"]
    run = run_mtl_ner.prepare(argv(*scoring, tasks=f"ncbi={own}", model=trained, data=[]))
    assert list_ids(run.rows["test"]) == held_out and len(held_out) == 2


def test_scoring_alone_fits_no_scores_and_writes_no_model(argv: Argv, trained: Path, tmp_path: Path) -> None:
    assert run_mtl_ner.main(argv("--do_eval", tasks="ncbi,bc5cdr", model=trained)) == 0
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "all_results.json", "run.json", "ledger.json", "errors.html",
    }  # fmt: skip


def test_scoring_does_not_overwrite_the_record_of_the_training(
    argv: Argv, trained: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--do_predict", "--overwrite_output"]
    assert run_mtl_ner.main(argv(*options, model=trained, output=trained)) == 2
    assert "is the model's own folder" in capsys.readouterr().err


def test_settings_left_out_are_those_of_the_saved_model_and_recorded(
    argv: Argv, trained: Path, tmp_path: Path
) -> None:
    assert run_mtl_ner.main(argv("--do_predict", model=trained)) == 0
    recorded = read_json(tmp_path / "out" / "run.json")["arguments"]
    assert [recorded[name] for name in ("sharing", "head_dropout", "attention_dropout")] == ["hard", 0.1, 0.0]


# ------------------------------------------------------------------------------------------------------------ training


def test_training_goes_on_with_a_head_of_the_saved_model(argv: Argv, trained: Path) -> None:
    run = run_mtl_ner.prepare(argv(tasks="bc5cdr", model=trained))
    before, state = load_file(trained / "model.safetensors"), run.model.state_dict()
    assert state.keys() == before.keys()
    assert all(state[name].equal(before[name]) for name in before)
    assert {row.task_id for row in run.rows["train"].rows} == {1}


def test_training_goes_on_with_a_new_task_and_without_a_dropped_one(argv: Argv, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    several_steps = ["--per_device_train_batch_size", "2"]  # the first one warms up with a learning rate of 0
    assert run_mtl_ner.main(argv("--drop_tasks", "ncbi", *several_steps, tasks="bc2gm", model=trained)) == 0
    assert [task["name"] for task in read_json(folder / "config.json")["tasks"]] == ["bc5cdr", "bc2gm"]
    before, after = load_file(trained / "model.safetensors"), load_file(folder / "model.safetensors")
    assert "heads.ncbi.weight" not in after
    assert after["heads.bc5cdr.weight"].equal(before["heads.bc5cdr.weight"])  # no rows: untouched
    name = "encoder.encoder.layer.0.output.dense.weight"
    assert not after[name].equal(before[name])
    assert "test_bc2gm_f1" in read_scores(folder) and "test_bc5cdr_f1" not in read_scores(folder)


def test_dropout_of_a_saved_model_can_be_changed(argv: Argv, trained: Path) -> None:
    run = run_mtl_ner.prepare(argv("--head_dropout", "0.25", "--attention_dropout", "0.5", model=trained))
    assert run.model.dropout.p == run.model.config.head_dropout == 0.25
    assert run.model.config.encoder_config.attention_probs_dropout_prob == run.model_args.attention_dropout == 0.5


def test_a_saved_model_in_half_precision_is_trained_in_full(argv: Argv, trained: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(trained, tmp_path / "half"))
    MtlBionerModel.from_pretrained(half).to(torch.bfloat16).save_pretrained(half)
    assert {p.dtype for p in run_mtl_ner.prepare(argv(model=half)).model.parameters()} == {torch.float32}


def test_saved_model_and_its_heads(fails: Fails, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SHARING, "other", SHARING["hard"])
    for arguments, *parts in (
        (["--tasks", "jnlpba", "--do_predict"], "--tasks names 'jnlpba'", "whose heads are ncbi, bc5cdr"),
        (["--drop_tasks", "jnlpba"], "--drop_tasks names 'jnlpba'", "its heads are ncbi, bc5cdr"),
        (["--drop_tasks", "bc5cdr,ncbi"], "which --tasks uses"),
        (
            ["--tasks", "bc5cdr:Disease,ncbi=bc5cdr"],
            "task ncbi finds Chemical, Disease, the model's head of that name Disease",
        ),
        (["--sharing", "cross"], f"--sharing is 'cross', but {trained} has 'hard'; leave it out"),
        (["--sharing_size", "5"], f"--sharing_size is 5, but {trained} has 2; leave it out"),
    ):
        message = fails(*arguments, "--model_name_or_path", str(trained))
        assert all(part in message for part in parts), message


# ---------------------------------------------------------------------------------------------------------- forgetting


@pytest.mark.parametrize("freeze", [True, False])
def test_old_heads_are_scored_before_and_after_a_new_one_is_added(
    argv: Argv, trained: Path, own: Path, tmp_path: Path, freeze: bool, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: dict[str, list[int]] = {}
    predict = run_mtl_ner.MultiTaskTrainer.predict

    def note(trainer: Any, rows: Any, metric_key_prefix: str) -> Any:
        steps.setdefault(metric_key_prefix, []).append(trainer.state.global_step)
        return predict(trainer, rows, metric_key_prefix=metric_key_prefix)

    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "predict", note)
    options = ["--learning_rate", "0.01", "--warmup_steps", "0", "--num_train_epochs", "4"]
    options += ["--freeze_encoder"] if freeze else []
    assert run_mtl_ner.main(argv(*options, tasks=f"mine={own}", model=trained)) == 0
    # Once before the first step, and once after the last.
    assert steps["before"] == [0] and len(steps["after"]) == 1 and steps["after"][0] > 0
    scores = read_scores(tmp_path / "out")
    assert {f"{when}_{head}_f1" for when in ("before", "after") for head in ("ncbi", "bc5cdr")} <= scores.keys()
    assert "heads that were not trained" in capsys.readouterr().out
    old, new = (load_file(folder / "model.safetensors") for folder in (trained, tmp_path / "out"))
    changed = [key for key in old if not torch.equal(old[key], new[key])]
    assert not any(key.startswith("heads.") for key in changed)
    assert bool(changed) != freeze
    if freeze:
        assert all(scores[f"before_{head}_f1"] == scores[f"after_{head}_f1"] for head in ("ncbi", "bc5cdr"))


def test_a_new_task_is_trained_though_the_corpora_of_old_heads_are_not_there(
    argv: Argv, trained: Path, own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own.parent / "ncbi_disease").mkdir()
    options = ["--data_dir", str(own.parent), "--use_cpu", *FEW]
    assert run_mtl_ner.main(argv(tasks=f"mine={own}", model=trained, data=options)) == 0
    assert "forgetting of other heads is not measured" in caplog.text


def test_old_heads_are_scored_on_the_test_split_of_their_own_training(
    argv: Argv, trained: Path, own: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = Path(shutil.copytree(trained, tmp_path / "saved"))
    record = read_json(saved / "run.json")
    record["arguments"] |= {"tasks": "ncbi", "test_size": 0.3, "split_seed": 7}  # bc5cdr is of an earlier training
    (saved / "run.json").write_text(json.dumps(record))
    command = argv(tasks=f"mine={own}", model=saved)
    run = run_mtl_ner.prepare([*command, "--test_size", "0.15"])
    told = "forgetting of bc5cdr is not measured: no record tells which splits they were trained on"
    assert told in caplog.text
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=7).splits["test"]
    assert list_ids(run.other_heads) == [document.document_id for document in expected]
    changes = [{"tasks": None}, {"tasks": "a=,"}, {"test_size": "x"}, {"split_seed": None}]
    for content in ([], {"arguments": None}, *({"arguments": record["arguments"] | change} for change in changes)):
        (saved / "run.json").write_text(json.dumps(content))
        assert run_mtl_ner.prepare(command).other_heads is None


# ------------------------------------------------------------------------------------------------------------ resuming


def test_a_training_goes_on_only_with_the_arguments_that_it_was_begun_with(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "out"
    assert run_mtl_ner.main(argv("--hub_token", "hf_secret")) == 0
    assert "hf_secret" not in (folder / "begun_with.json").read_text()
    capsys.readouterr()
    again = argv("--resume_from_checkpoint", "true")
    for other, message in {
        ("--seed", "7"): f"the training in {folder} was begun without --seed, not with --seed=7; give the same",
        ("--num_train_epochs", "5"): "not with --num_train_epochs=5.0; give the same",
        ("--mask_probability", "0"): "not with --mask_probability=0",
    }.items():
        assert run_mtl_ner.main([*again, *other]) == 2
        assert message in capsys.readouterr().err
    weights = (folder / "model.safetensors").read_bytes()
    assert run_mtl_ner.main([*again, "--logging_first_step", "--save_total_limit", "3"]) == 0
    assert (folder / "model.safetensors").read_bytes() == weights
    shutil.rmtree(next(folder.glob("checkpoint-*")))  # as if killed before the first one was written
    assert run_mtl_ner.main(again) == 0
    assert (folder / "model.safetensors").read_bytes() == weights


def test_a_training_does_not_go_on_without_what_it_was_begun_with(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, command = tmp_path / "out", argv("--resume_from_checkpoint", "true")
    parsed = parse_arguments(argv())
    beginning = describe_beginning(parsed.explicit, ["none"], parsed.training)
    folder.mkdir()
    for other, told in {
        ("seed", 7): "was begun with --seed=7, not without --seed; give the same",
        ("bf16", not beginning["bf16"]): f"with --bf16={json.dumps(not beginning['bf16'])}, not with --bf16=",
        ("processes", 2): "was begun with 2 processes, not with 1; launch as many, or begin anew",
    }.items():
        (folder / "begun_with.json").write_text(json.dumps(beginning | dict([other])))
        assert run_mtl_ner.main(command) == 2
        assert told in capsys.readouterr().err
    (folder / "begun_with.json").write_text("{")
    assert run_mtl_ner.main(command) == 2
    assert "begun_with.json is damaged" in capsys.readouterr().err
    old = {key: value for key, value in beginning.items() if key not in ("bf16", "processes")}  # earlier versions
    (folder / "begun_with.json").write_text(json.dumps(old))
    assert run_mtl_ner.main(command) == 0


def test_a_training_does_not_go_on_with_other_corpora_or_another_encoder(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(encoder, tmp_path / "a" / "encoder")
    rows = gout_cases(20)
    write_jsonl(tmp_path / "a" / "mine.jsonl", rows)

    def build(folder: str) -> list[str]:
        own = tmp_path / folder
        tasks = ["--tasks", f"ncbi,m={own}/mine.jsonl", "--data_dir", "sample"]
        return [*tasks, "--model_name_or_path", str(own / "encoder"), "--output_dir", str(tmp_path / "out"), *FEW]

    assert run_mtl_ner.main(build("a")) == 0
    (tmp_path / "a").rename(tmp_path / "b")  # other folders are no other inputs
    again = [*build("b"), "--resume_from_checkpoint", "true"]
    assert run_mtl_ner.main(again) == 0
    config = tmp_path / "b" / "encoder" / "config.json"
    config.write_text(config.read_text() + " ")
    assert run_mtl_ner.main(again) == 2
    assert "the encoder is not the one that the training in" in capsys.readouterr().err
    write_jsonl(tmp_path / "b" / "mine.jsonl", rows[:-1])
    assert run_mtl_ner.main(again) == 2
    assert "the corpus mine.jsonl is not the one that the training in" in capsys.readouterr().err


def test_a_training_does_not_go_on_without_an_optimizer(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = argv("--save_only_model", "true")
    assert run_mtl_ner.main(command) == 0
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    assert run_mtl_ner.main([*command, "--resume_from_checkpoint", "true"]) == 2
    assert (
        f"{checkpoint} lacks the optimizer, the scheduler or the random states (as with --save_only"
        in capsys.readouterr().err
    )


def test_the_checkpoint_that_training_begins_with_is_not_deleted(
    argv: Argv, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    checkpoint = Path(shutil.copytree(trained, tmp_path / "checkpoint-5"))
    assert run_mtl_ner.main(argv("--overwrite_output", model=checkpoint, output=tmp_path)) == 2
    assert "where it would be deleted; give another --output_dir" in capsys.readouterr().err
    assert (checkpoint / "config.json").is_file()


def test_training_anew_removes_what_an_earlier_run_wrote(argv: Argv, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-999").mkdir()
    for name in ("predictions_old.jsonl", "predictions_old.pubtator", "notes.txt"):
        (tmp_path / name).write_text("old")
    assert run_mtl_ner.main(argv("--overwrite_output", output=tmp_path)) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert not names & {"checkpoint-999", "predictions_old.jsonl", "predictions_old.pubtator"}
    assert {"notes.txt", "predictions_ncbi.jsonl"} <= names


@pytest.mark.parametrize("other", [["--optim", "no_such"], ["--lr_scheduler_type", "cosine_with_min_lr"]])
def test_what_training_cannot_begin_with_is_told_before_results_are_deleted(
    other: list[str], argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "all_results.json").write_text("{}")
    assert run_mtl_ner.main(argv("--overwrite_output", *other, output=tmp_path)) == 2
    assert other[1] in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "all_results.json").exists()
