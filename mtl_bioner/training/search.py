"""Search hyper-parameters with optuna, through `Trainer.hyperparameter_search`.

    python run_mtl_ner.py --tasks ncbi,bc5cdr --search 20 --num_train_epochs 3 --output_dir outputs/search
    python run_mtl_ner.py outputs/search/search_best.json --num_train_epochs 8 --output_dir outputs/best

Trials vary the peak learning rate, `--task_sampling_alpha`, the tasks' loss weights and the width of the sharing layer
around the given values, which the first trial takes; all other arguments stay as given. Each trial is a whole
training, scored by the development macro F1 of its best evaluation; one that is worse than the median of the others
after as many evaluations is stopped. The same command goes on with an interrupted search.
"""

import copy
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modeling_mtl_bioner import MtlBionerModel
from mtl_bioner.messages import print_error, summarize_error
from mtl_bioner.reporting.files import write_json
from mtl_bioner.training.argument_checks import SEARCH_DATABASE
from mtl_bioner.training.model_building import freeze_all_but
from mtl_bioner.training.model_setup import load_saved_config, make_model, settle_arguments
from mtl_bioner.training.run import Run
from mtl_bioner.training.saving import is_write_failure
from mtl_bioner.training.teachers import label_rows
from mtl_bioner.training.trainer import MultiTaskTrainer


logger = logging.getLogger(__name__)

STUDY = "mtl-bioner"
BEST = "search_best.json"
GO_ON = "free some space, and go on with the same command"


@dataclass(frozen=True)
class SearchSpace:
    """The values that a trial may take; a call maps a trial of optuna to arguments.

    Attributes:
        learning_rate, task_sampling_alpha, task_weights, sharing_size: the values without a search, which the first
            trial takes. Learning rate and weights vary from a third to three times. One task has no weights and no
            sampling to vary, and a sharing layer without a choice of width no size.
    """

    learning_rate: float
    task_sampling_alpha: float
    task_weights: Mapping[str, float]
    sharing_size: int | None

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Return the arguments of a trial."""
        rate = self.learning_rate
        values: dict[str, Any] = {"learning_rate": trial.suggest_float("learning_rate", rate / 3, rate * 3, log=True)}
        if self.task_weights:
            most = max(1.0, self.task_sampling_alpha)
            values["task_sampling_alpha"] = trial.suggest_float("task_sampling_alpha", 0.0, most)
            factors = {name: trial.suggest_float(f"weight {name}", 1 / 3, 3.0, log=True) for name in self.task_weights}
            weights = {name: weight * factors[name] for name, weight in self.task_weights.items()}
            values["task_loss_weights"] = ",".join(f"{name}={weight:.4g}" for name, weight in weights.items())
        if self.sharing_size is not None:
            sizes = sorted({64, 128, 256, self.sharing_size})
            values["sharing_size"] = trial.suggest_categorical("sharing_size", sizes)
        return values

    def get_first_trial(self) -> dict[str, Any]:
        """Return the parameters of the first trial; optuna leaves out those that a trial doesn't ask for."""
        factors = {f"weight {name}": 1.0 for name in self.task_weights}
        rate, alpha, size = self.learning_rate, self.task_sampling_alpha, self.sharing_size
        return {"learning_rate": rate, "task_sampling_alpha": alpha, **factors, "sharing_size": size}


def show_search(run: Run, make_trainer: Callable[..., MultiTaskTrainer]) -> int:
    """Run a search, print its table, and return the exit status."""
    try:
        sys.stdout.write(f"{run_search(run, make_trainer)}\n")
    except ValueError as error:
        print_error("run_mtl_ner", error)
        return 2
    except Exception as error:
        of_database = type(error).__name__ in ("OperationalError", "StorageInternalError")  # of sqlalchemy, of optuna
        if not is_write_failure(error) and not of_database:
            raise
        print_error("run_mtl_ner", f"{run.output} can't be written to ({summarize_error(error)}); {GO_ON}")
        return 1
    return 0


def run_search(run: Run, make_trainer: Callable[..., MultiTaskTrainer]) -> str:
    """Run the trials of `--search`, write the argument file of the best, and return the table of trials.

    Raises ValueError for several processes, and as `search` does. `make_trainer` takes a run and a function that makes
    a trial's model.
    """
    if run.args.world_size > 1:
        raise ValueError(f"--search was started with {run.args.world_size} processes; it trains on one")
    saved = load_saved_config(run.model_args)

    def make_trial_model(trial: Any = None) -> MtlBionerModel:
        size = space(trial).get("sharing_size") if trial is not None else None
        model_args = replace(run.model_args, sharing_size=size or run.model_args.sharing_size)
        model = make_model(model_args, run.tasks, copy.deepcopy(saved))
        settle_arguments(model, run.tokenizer, model_args, run.data_args)
        if model_args.freeze_encoder:
            freeze_all_but(model, run.task_names)
        return model

    trainer = make_trainer(run, make_trial_model)
    label_rows(run)
    space = build_space(run, trainer, has_saved_width=saved is not None)
    of_the_search = ("search", "output_dir", "overwrite_output", "resume_from_checkpoint")
    explicit = run.arguments.explicit
    arguments = {k: v for k, v in explicit.items() if k not in of_the_search and not k.endswith("_token")}
    trials = search(trainer, space, run.data_args.search, run.output, arguments)
    return f"{format_trials(trials)}\nbest arguments: {run.output / BEST}"


def build_space(run: Run, trainer: MultiTaskTrainer, has_saved_width: bool) -> SearchSpace:
    """Build the search space around a run's arguments."""
    weights = dict(zip(trainer.task_names, trainer.task_weights.tolist(), strict=True))  # of a saved model's heads too
    weights = {name: weights[name] for name in run.task_names} if len(run.task_names) > 1 else {}
    size = None if has_saved_width or run.model.config.sharing == "hard" else run.model.config.sharing_size
    return SearchSpace(trainer.args.learning_rate, trainer.args.task_sampling_alpha, weights, size)


def search(
    trainer: MultiTaskTrainer, space: SearchSpace, trials: int, output: Path, arguments: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Run trials up to a number of finished ones, counting those of an interrupted search in the same folder.

    Args:
        trainer: with a `model_init`.
        output: folder of the trials (`search.db`) and of the argument file of the best.
        arguments: further content of that file.

    Returns:
        The trials, as `list_finished_trials`.

    Raises:
        ValueError: the search in the folder was begun with other arguments.
    """
    import optuna

    output.mkdir(parents=True, exist_ok=True)
    database = output / SEARCH_DATABASE
    storage, is_new = f"sqlite:///{database}", not database.is_file()
    try:
        study = optuna.create_study(study_name=STUDY, storage=storage, direction="maximize", load_if_exists=True)
    except Exception:
        if is_new:  # half a database could not be gone on with
            database.unlink(missing_ok=True)
        raise
    recorded = study.user_attrs.get("arguments", dict(arguments))
    if recorded != dict(arguments):
        raise ValueError(f"the search in {output} was begun with the arguments {recorded}; give another --output_dir")
    study.set_user_attr("arguments", dict(arguments))
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):  # killed
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    done = len(list_finished_trials(study, space))
    logger.info("search: %d of %d trials are done", done, trials)
    if not done and not study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.WAITING]):
        study.enqueue_trial(space.get_first_trial())
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
    return list_finished_trials(study, space)


def list_finished_trials(study: Any, space: SearchSpace) -> list[dict[str, Any]]:
    """Return number, best score (0 to 1), arguments, and whether it was stopped early, of each finished trial."""
    import optuna

    states = [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED]
    rows = []
    for trial in study.get_trials(deepcopy=False, states=states):
        row = {"trial": trial.number, "macro_f1": trial.value}
        row["stopped"] = trial.state == optuna.trial.TrialState.PRUNED
        rows.append(row | space(optuna.trial.FixedTrial(trial.params)))
    return rows


def format_trials(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the trials as a table, best first."""
    names = [name for name in rows[0] if name not in ("trial", "macro_f1", "stopped")]
    lines = ["  ".join(["trial", "macro F1", *names])]
    for row in sorted(rows, key=lambda row: -row["macro_f1"]):
        cells = [f"{row['trial']:5}", f"{100 * row['macro_f1']:8.2f}"]
        values = {name: f"{row[name]:.3g}" if isinstance(row[name], float) else str(row[name]) for name in names}
        cells += [value.rjust(len(name)) for name, value in values.items()]
        lines.append("  ".join(cells) + " (stopped)" * row["stopped"])
    return "\n".join(lines)
