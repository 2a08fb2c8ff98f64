"""Hyper-parameter search with optuna, through `Trainer.hyperparameter_search`.

    python run_mtl_ner.py --tasks ncbi,bc5cdr --search 20 --num_train_epochs 3 --output_dir outputs/search
    python run_mtl_ner.py outputs/search/search_best.json --num_train_epochs 8 --output_dir outputs/best

Killed, the first command goes on.

Searched are the peak learning rate, `--task_sampling_alpha`, the tasks' loss weights, and the width of the sharing
layer, on development macro F1, around the values that were given, which the first trial takes; all other arguments
stay as given. Each trial is a whole training from the start, and its score that of its best evaluation; one that is
worse than the median of the others after as many evaluations is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mtl_bioner.reporting.files import write_json


logger = logging.getLogger(__name__)

STUDY = "mtl-bioner"
DATABASE = "search.db"
BEST = "search_best.json"


@dataclass(frozen=True)
class SearchSpace:
    """What a trial may take: a trial of optuna -> arguments.

    Attributes:
        learning_rate, task_sampling_alpha, task_weights, sharing_size: what would be taken without a search, and is
            taken by the first trial. A third to three times of learning rate and weights are tried. No weights with
            one task, where there is nothing to weigh or to sample, and no size where the sharing layer has none to
            choose.
    """

    learning_rate: float
    task_sampling_alpha: float
    task_weights: Mapping[str, float]
    sharing_size: int | None

    def __call__(self, trial: Any) -> dict[str, Any]:
        """The arguments of a trial."""
        rate = self.learning_rate
        found: dict[str, Any] = {"learning_rate": trial.suggest_float("learning_rate", rate / 3, rate * 3, log=True)}
        if self.task_weights:
            found["task_sampling_alpha"] = trial.suggest_float(
                "task_sampling_alpha", 0.0, max(1.0, self.task_sampling_alpha)
            )
            factors = {name: trial.suggest_float(f"weight {name}", 1 / 3, 3.0, log=True) for name in self.task_weights}
            weights = {name: weight * factors[name] for name, weight in self.task_weights.items()}
            found["task_loss_weights"] = ",".join(f"{name}={weight:.4g}" for name, weight in weights.items())
        if self.sharing_size is not None:
            sizes = sorted({64, 128, 256, self.sharing_size})
            found["sharing_size"] = trial.suggest_categorical("sharing_size", sizes)
        return found

    def start(self) -> dict[str, Any]:
        """The parameters of the first trial, so that what is found is no worse than what was given. (Optuna leaves out
        those that a trial doesn't ask for.)"""
        factors = {f"weight {name}": 1.0 for name in self.task_weights}
        rate, alpha, size = self.learning_rate, self.task_sampling_alpha, self.sharing_size
        return {"learning_rate": rate, "task_sampling_alpha": alpha, **factors, "sharing_size": size}


def search(
    trainer: Any, space: SearchSpace, trials: int, output: Path, arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Trials up to a number of finished ones, those of an interrupted search in the same folder among them.

    Args:
        trainer: a `MultiTaskTrainer` that was given a `model_init`.
        space: of the arguments.
        trials: how many are to be finished.
        output: where the trials are kept (`search.db`) and the argument file of the best is written.
        arguments: what else goes into that file.

    Returns:
        What `finished_trials` says.

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
    trainer: Any, space: SearchSpace, trials: int, output: Path, arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
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
    if not done and not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING]):
        study.enqueue_trial(space.start())
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
    write_json(output / BEST, {**arguments, **space(optuna.trial.FixedTrial(study.best_params))})
    return finished_trials(study, space)


def finished_trials(study: Any, space: SearchSpace) -> list[dict[str, Any]]:
    """Number, score (the best one, 0 to 1), arguments, and whether it was stopped early, of each finished trial."""
    import optuna

    states = [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    return [
        {
            "trial": trial.number,
            "macro_f1": trial.value,
            "stopped": trial.state == optuna.trial.TrialState.PRUNED,
            **space(optuna.trial.FixedTrial(trial.params)),
        }
        for trial in study.get_trials(deepcopy=False, states=states)
    ]


def format_trials(rows: Sequence[Mapping[str, Any]]) -> str:
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
