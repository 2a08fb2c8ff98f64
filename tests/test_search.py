"""The search for hyper-parameters: its space, going on after an interruption, its argument file."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

import run_mtl_ner
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.training import search as search_module
from mtl_bioner.training import trainer as trainer_module
from mtl_bioner.training.search import SearchSpace, format_trials, search


ROOT = Path(__file__).parents[1]


def test_space_holds_what_matters_for_the_tasks_and_the_sharing_layer() -> None:
    values = {"learning_rate": 1e-4, "task_sampling_alpha": 0.5, "weight a": 0.5, "weight b": 2.0, "sharing_size": 64}
    trial = optuna.trial.FixedTrial(values)
    assert SearchSpace(2e-4, 1.0, {"a": 1.0, "b": 7.0}, 96)(trial) == {
        "learning_rate": 1e-4,
        "task_sampling_alpha": 0.5,
        "task_loss_weights": "a=0.5,b=14",
        "sharing_size": 64,
    }
    assert SearchSpace(2e-4, 1.0, {}, None)(trial) == {"learning_rate": 1e-4}


def test_space_starts_with_what_was_given() -> None:
    space = SearchSpace(2e-4, 1.0, {"a": 1.5, "b": 7.0}, 96)
    assert space(optuna.trial.FixedTrial(space.get_first_trial())) == {
        "learning_rate": 2e-4,
        "task_sampling_alpha": 1.0,
        "task_loss_weights": "a=1.5,b=7",
        "sharing_size": 96,
    }
    alone = SearchSpace(2e-4, 1.0, {}, None)
    assert alone(optuna.trial.FixedTrial(alone.get_first_trial())) == {"learning_rate": 2e-4}


def test_table_is_sorted_by_score() -> None:
    rows = [
        {"trial": 0, "macro_f1": 0.5, "stopped": False, "learning_rate": 0.00012345},
        {"trial": 1, "macro_f1": 0.75, "stopped": True, "learning_rate": 0.001},
    ]
    assert format_trials(rows).splitlines() == [
        "trial  macro F1  learning_rate",
        "    1     75.00          0.001 (stopped)",
        "    0     50.00       0.000123",
    ]


@pytest.fixture
def arguments(toy_encoder: Callable[[str], str]) -> list[str]:
    few = ["--max_train_samples", "6", "--max_eval_samples", "3", "--num_train_epochs", "1", "--use_cpu"]
    return ["--tasks", "ncbi,bc5cdr", "--data_dir", "sample", "--model_name_or_path", toy_encoder("bert"), *few]


def trials(folder: Path) -> dict[int, str]:
    """State of each trial by number; none before there is a search.

    Only reads: optuna would make the tables where there are none yet, in the way of the search that is about to.
    """
    try:
        with closing(sqlite3.connect(f"file:{folder / 'search.db'}?mode=ro", uri=True)) as database:
            return dict(database.execute("SELECT number, state FROM trials").fetchall())
    except sqlite3.OperationalError:
        return {}


def test_a_search_goes_on_and_its_argument_file_trains(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "a"
    given = [*arguments, "--output_dir", str(output), "--overwrite_output", "--learning_rate", "2e-3"]
    assert run_mtl_ner.main([*given, "--search", "2"]) == 0
    assert len(trials(output)) == 2
    capsys.readouterr()
    assert run_mtl_ner.main([*given, "--search", "3"]) == 0
    assert len(trials(output)) == 3
    finished = optuna.load_study(study_name="mtl-bioner", storage=f"sqlite:///{output / 'search.db'}").trials
    assert [trial.params["learning_rate"] == 2e-3 for trial in finished] == [True, False, False]
    printed = capsys.readouterr().out
    assert "macro F1" in printed and "search_best.json" in printed

    best = json.loads((output / "search_best.json").read_text())
    assert best["tasks"] == "ncbi,bc5cdr" and best["max_train_samples"] == 6
    assert not {"search", "output_dir", "overwrite_output"} & best.keys()
    assert best["learning_rate"] == max(finished, key=lambda trial: trial.value).params["learning_rate"]
    assert 0.0 <= best["task_sampling_alpha"] <= 1.0 and "ncbi=" in best["task_loss_weights"]
    trained = tmp_path / "b"
    assert run_mtl_ner.main([str(output / "search_best.json"), "--output_dir", str(trained), "--do_train"]) == 0
    recorded = json.loads((trained / "run.json").read_text())["arguments"]
    assert recorded["learning_rate"] == best["learning_rate"]
    assert recorded["task_loss_weights"] == best["task_loss_weights"]


def test_trials_differ_and_each_uses_its_own_arguments(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, weights = [], []
    real = run_mtl_ner.MultiTaskTrainer.evaluate

    def evaluate(trainer: run_mtl_ner.MultiTaskTrainer, *args: object, **kwargs: object) -> dict[str, float]:
        sharing = trainer.model.sharing.shared.out_features
        used.append((trainer.args.learning_rate, tuple(trainer.train_sampler.draws.values()), sharing))
        weights.append(trainer.task_weights.tolist())
        return real(trainer, *args, **kwargs)

    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "evaluate", evaluate)
    given = ["--learning_rate", "2e-3", "--task_loss_weights", "ncbi=2,bc5cdr=0.5", "--sharing_size", "96"]
    options = ["--output_dir", str(tmp_path / "a"), "--sharing", "cross", *given, "--search", "4"]
    assert run_mtl_ner.main([*arguments, *options]) == 0
    rate, _, sharing = used[0]
    assert (rate, sharing, weights[0]) == (2e-3, 96, [2.0, 0.5])  # as given
    assert all(len({one[i] for one in used}) > 1 for i in range(3))
    assert all(weight not in ([1.0, 1.0], [2.0, 0.5]) for weight in weights[1:])


def test_a_trial_counts_as_its_best_evaluation_and_a_bad_one_is_stopped(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The first four trials are never stopped; the fifth is, below their median at its first evaluation."""
    curves = [[0.2, 0.6, 0.5, 0.4]] * 4 + [[0.1]]
    scores = iter([f1 for curve in curves for f1 in curve])

    def evaluate(trainer: run_mtl_ner.MultiTaskTrainer, *args: object, **kwargs: object) -> dict[str, float]:
        trainer.control.should_evaluate = False  # as when it has
        return {"eval_macro_f1": next(scores)}

    monkeypatch.setattr(run_mtl_ner.MultiTaskTrainer, "evaluate", evaluate)
    steps = ["--max_tokens_per_batch", "64", "--eval_strategy", "steps", "--eval_steps", "0.25"]
    assert run_mtl_ner.main([*arguments, *steps, "--output_dir", str(tmp_path / "a"), "--search", "5"]) == 0
    finished = optuna.load_study(study_name="mtl-bioner", storage=f"sqlite:///{tmp_path / 'a' / 'search.db'}").trials
    assert [trial.value for trial in finished] == [0.6, 0.6, 0.6, 0.6, 0.1]
    assert [trial.state.name for trial in finished] == ["COMPLETE"] * 4 + ["PRUNED"]
    assert finished[0].intermediate_values == {1: 0.2, 2: 0.6, 3: 0.6, 4: 0.6}
    assert "10.00" in capsys.readouterr().out.splitlines()[-2] and next(scores, None) is None


class LearningRateTrainer:
    """Its trials train nothing: the score of each is its learning rate."""

    args = SimpleNamespace(seed=1)

    def hyperparameter_search(self, hp_space: SearchSpace, n_trials: int, **options: Any) -> None:
        study = optuna.load_study(**{name: options[name] for name in ("study_name", "storage", "sampler")})
        for _ in range(n_trials):
            trial = study.ask()
            study.tell(trial, hp_space(trial)["learning_rate"])


@pytest.mark.parametrize("state", ["FAIL", "RUNNING"])
def test_a_search_whose_first_trial_was_killed_begins_with_the_given_arguments(tmp_path: Path, state: str) -> None:
    storage = f"sqlite:///{tmp_path / 'search.db'}"
    study = optuna.create_study(study_name="mtl-bioner", storage=storage, direction="maximize")
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState[state]))
    rows = search(LearningRateTrainer(), SearchSpace(2e-4, 1.0, {}, None), 2, tmp_path, {"seed": 1})
    best = json.loads((tmp_path / "search_best.json").read_text())
    assert [row["learning_rate"] == 2e-4 for row in rows] == [True, False]
    assert best == {"seed": 1, "learning_rate": max(row["learning_rate"] for row in rows)}


def test_named_teachers_teach_every_trial_and_the_training_with_what_was_found(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, output, best = tmp_path / "ncbi", tmp_path / "a", tmp_path / "b"
    single = ["ncbi" if argument == "ncbi,bc5cdr" else argument for argument in arguments]
    assert run_mtl_ner.main([*single, "--output_dir", str(teacher), "--do_train"]) == 0
    taught = []
    real = trainer_module.distillation_loss
    monkeypatch.setattr(
        trainer_module, "distillation_loss", lambda *given: taught.append(tuple(given[0])) or real(*given)
    )
    for number in ("1", "2"):
        taught.clear()
        options = ["--teachers", str(teacher), "--search", number, "--output_dir", str(output)]
        assert run_mtl_ner.main([*arguments, *options]) == 0
        assert set(taught) == {("ncbi",)}
    taught.clear()
    assert run_mtl_ner.main([str(output / "search_best.json"), "--output_dir", str(best), "--do_train"]) == 0
    assert set(taught) == {("ncbi",)}
    assert json.loads((best / "run.json").read_text())["teachers"][0]["name"] == "ncbi"


def test_a_search_of_other_arguments_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = ["--output_dir", str(tmp_path / "a"), "--search", "1", "--hub_token", "hf_secret"]
    assert run_mtl_ner.main([*arguments, *options]) == 0
    assert all(b"hf_secret" not in path.read_bytes() for path in (tmp_path / "a").iterdir())
    assert run_mtl_ner.main([*arguments, *options, "--seed", "7"]) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "was begun with the arguments" in message and "--output_dir" in message


FULL = "database or disk is full"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left"),
        optuna.exceptions.StorageInternalError(FULL),
        OperationalError("CREATE", None, sqlite3.OperationalError(FULL)),
    ],
)
def test_a_full_disk_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(search_module, "run_search", fail)
    assert search_module.show_search(SimpleNamespace(output=tmp_path), None) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"run_mtl_ner: error: {tmp_path} can't be written to (") and "the same command" in last


def test_half_a_database_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        (tmp_path / "search.db").write_bytes(b"half")
        raise OSError(28, "No space left")

    monkeypatch.setattr(optuna, "create_study", fail)
    with pytest.raises(OSError, match="No space left"):
        search(None, None, 1, tmp_path, {})
    assert not (tmp_path / "search.db").exists()


def test_a_second_search_in_the_same_folder_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a").mkdir()
    with lock_folder(tmp_path / "a", "another run"):
        options = ["--output_dir", str(tmp_path / "a"), "--search", "1", "--overwrite_output"]
        assert run_mtl_ner.main([*arguments, *options]) == 2
    assert "a is in use by another run (process" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_killed_search_goes_on(arguments: list[str], tmp_path: Path) -> None:
    output = tmp_path / "a"
    command = [sys.executable, str(ROOT / "run_mtl_ner.py"), *arguments, "--output_dir", str(output), "--search", "4"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and "COMPLETE" not in trials(output).values():
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = trials(output)
    assert "COMPLETE" in before.values() and len(before) <= 4
    assert sum(state in ("COMPLETE", "PRUNED") for state in before.values()) < 4
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    after = trials(output)
    assert sum(state in ("COMPLETE", "PRUNED") for state in after.values()) == 4
    assert "RUNNING" not in after.values()
    assert all(after[number] == state for number, state in before.items() if state == "COMPLETE")


def test_a_third_to_three_times_of_what_was_given_is_tried() -> None:
    trial = optuna.create_study().ask()
    SearchSpace(3e-4, 2.0, {"a": 7.0}, None)(trial)
    assert {name: (own.low, own.high) for name, own in trial.distributions.items()} == {
        "learning_rate": pytest.approx((1e-4, 9e-4)),
        "task_sampling_alpha": (0.0, 2.0),  # so that the first trial can take the 2 that was given
        "weight a": pytest.approx((1 / 3, 3.0)),
    }


def test_a_search_that_goes_on_tries_other_values(tmp_path: Path) -> None:
    for trials in (2, 3):
        rows = search(LearningRateTrainer(), SearchSpace(2e-4, 1.0, {}, None), trials, tmp_path, {})
    assert len({row["learning_rate"] for row in rows}) == 3


def test_a_frozen_encoder_is_so_in_each_trial(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def look(trainer: run_mtl_ner.MultiTaskTrainer, *others: Any) -> list[dict[str, Any]]:
        parameters = trainer.call_model_init().named_parameters()
        trained.extend(name for name, own in parameters if own.requires_grad)
        return [{"trial": 0, "macro_f1": 0.5, "stopped": False}]

    monkeypatch.setattr(search_module, "search", look)
    options = ["--freeze_encoder", "--search", "1", "--output_dir", str(tmp_path / "a")]
    assert run_mtl_ner.main([*arguments, *options]) == 0
    assert trained == [f"heads.{name}.{part}" for name in ("ncbi", "bc5cdr") for part in ("weight", "bias")]


def test_a_search_killed_before_its_first_trial_begins_once_with_the_given_arguments(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="mtl-bioner", storage=f"sqlite:///{tmp_path / 'search.db'}")
    space = SearchSpace(2e-4, 1.0, {}, None)
    study.enqueue_trial(space.get_first_trial())
    rows = search(LearningRateTrainer(), space, 2, tmp_path, {})
    assert [row["learning_rate"] == 2e-4 for row in rows] == [True, False]
