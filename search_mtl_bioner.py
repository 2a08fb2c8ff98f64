"""Hyper-parameter search with optuna, through `Trainer.hyperparameter_search`.

    python run_mtl_ner.py --tasks ncbi,bc5cdr --search 20 --num_train_epochs 3 --output_dir outputs/search
    python run_mtl_ner.py outputs/search/search_best.json --num_train_epochs 8 --output_dir outputs/best

Killed, the first command goes on.

Searched are the peak learning rate, `--task_sampling_alpha`, the tasks' loss weights, and the width of the sharing
layer, on development macro F1; all other arguments stay as given. Each trial is a whole training from the start; one
that is worse than the median of the others at the same epoch is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from results_mtl_bioner import write_json


logger = logging.getLogger(__name__)

STUDY = "mtl-bioner"
DATABASE = "search.db"
BEST = "search_best.json"


def search_space(trial: Any, learning_rate: float, task_names: Sequence[str], sized: bool) -> dict[str, Any]:
    """The arguments of a trial.

    Args:
        trial: of optuna.
        learning_rate: the one that would be taken without a search; a third to three times of it are tried.
        task_names: with one task there is nothing to weigh or to sample.
        sized: whether the sharing layer has a width to choose.
    """
    found: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", learning_rate / 3, learning_rate * 3, log=True)
    }
    if len(task_names) > 1:
        found["task_sampling_alpha"] = trial.suggest_float("task_sampling_alpha", 0.0, 1.0)
        weights = {name: trial.suggest_float(f"weight {name}", 1 / 3, 3.0, log=True) for name in task_names}
        found["task_loss_weights"] = ",".join(f"{name}={weight:.4g}" for name, weight in weights.items())
    if sized:
        found["sharing_size"] = trial.suggest_categorical("sharing_size", [64, 128, 256])
    return found


def search(
    trainer: Any, space: Callable[[Any], dict[str, Any]], trials: int, output: Path, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trials up to a number of finished ones, those of an interrupted search in the same folder among them.

    Args:
        trainer: a `MultiTaskTrainer` that was given a `model_init`.
        space: trial -> arguments.
        trials: how many are to be finished.
        output: where the trials are kept (`search.db`) and the argument file of the best is written.
        arguments: what else goes into that file.

    Returns:
        The content of the file, and a row for each finished trial.

    Raises:
        ValueError: the search in the folder was begun with other arguments, or another process is at work on it.
    """
    output.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(output / "search.lock", timeout=0):  # a second one would take a running trial for a killed one
            return _search(trainer, space, trials, output, arguments)
    except Timeout as error:
        raise ValueError(f"another --search is at work in {output}; wait, or give another --output_dir") from error


def _search(
    trainer: Any, space: Callable[[Any], dict[str, Any]], trials: int, output: Path, arguments: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    import optuna

    storage = f"sqlite:///{output / DATABASE}"
    study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True)
    begun_with = study.user_attrs.get("arguments", dict(arguments))
    if begun_with != dict(arguments):
        raise ValueError(
            f"the search in {output} was begun with the arguments {begun_with}; give another --output_dir"
        )
    study.set_user_attr("arguments", dict(arguments))
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):  # killed
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    done = len(finished_trials(study, space))
    logger.info("search: %d of %d trials are done", done, trials)
    if done < trials:
        trainer.hyperparameter_search(
            hp_space=space,
            compute_objective=lambda metrics: metrics["eval_macro_f1"],
            n_trials=trials - done,
            direction="maximize",
            backend="optuna",
            study_name=STUDY,
            storage=storage,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=trainer.args.seed + done),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        )
    rows = finished_trials(study, space)
    best = {**arguments, **space(optuna.trial.FixedTrial(study.best_params))}
    write_json(output / BEST, best)
    return best, rows


def finished_trials(study: Any, space: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """Number, score (the last one, 0 to 1), arguments, and whether it was stopped early, of each finished trial."""
    import optuna

    states = [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    return [
        {
            "trial": trial.number,
            "macro_f1": trial.value if trial.value is not None else max(trial.intermediate_values.values()),
            "stopped": trial.state == optuna.trial.TrialState.PRUNED,
            **space(optuna.trial.FixedTrial(trial.params)),
        }
        for trial in study.get_trials(deepcopy=False, states=states)
    ]


def search_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials, best first, for people."""
    names = [name for name in rows[0] if name not in ("trial", "macro_f1", "stopped")]
    lines = ["  ".join(["trial", "macro F1", *names])]
    for row in sorted(rows, key=lambda row: -row["macro_f1"]):
        values = [f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in names]
        mark = " (stopped)" if row["stopped"] else ""
        cells = [f"{row['trial']:5}", f"{100 * row['macro_f1']:8.2f}"]
        cells += [value.rjust(len(name)) for name, value in zip(names, values, strict=True)]
        lines.append("  ".join(cells) + mark)
    return "\n".join(lines)
