"""Measure what the other heads of a saved model forget while some are trained."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from data_collators import TaskRows
from dataset_scripts import CorpusError, list_corpora
from dataset_scripts.tasks import parse_tasks
from modeling_mtl_bioner import MtlBionerConfig
from mtl_bioner.reporting import run_record
from mtl_bioner.training.arguments import ModelArguments
from mtl_bioner.training.dataset import build_rows, load_tasks
from mtl_bioner.training.model_setup import list_dropped_tasks, read_saved_record
from mtl_bioner.training.run import Run
from mtl_bioner.training.trainer import MultiTaskTrainer


logger = logging.getLogger(__name__)


def build_other_rows(run: Run, saved: MtlBionerConfig | None) -> TaskRows | None:
    """Build the test rows of the heads that are not trained; None if there are none to measure.

    The splits are those of the heads' own training, from the saved model's record: in another cut some test documents
    would be training documents. Heads of an earlier training, which the record doesn't know, are left out.
    """
    used = [*run.task_names, *list_dropped_tasks(run.model_args)]
    is_measured = run.args.do_train and run.args.do_predict and run.data_args.data_dir
    if saved is None or not is_measured or not spell_other_tasks(saved, used):
        return None
    recorded, splits = read_recorded_splits(run.model_args)
    unknown = [name for name in saved.task_names if name not in (*used, *recorded)]
    if unknown:
        message = "forgetting of %s is not measured: no record tells which splits they were trained on"
        logger.warning(message, ", ".join(unknown))
    tasks = spell_other_tasks(saved, [*used, *unknown])
    if not tasks:
        return None
    data_args = replace(run.data_args, tasks=tasks, leak_corpora=None, **splits)
    try:
        others, corpora, _ = load_tasks(data_args, run.model.config.word_pattern, training=False, scoring_only=False)
    except CorpusError as error:  # this is a report beside the training that was asked for
        logger.warning("forgetting of other heads is not measured: %s", error)
        return None
    arguments = replace(run.arguments, data=data_args)
    return build_rows(replace(run, tasks=others, corpora=corpora, arguments=arguments), "test")


def spell_other_tasks(saved: MtlBionerConfig, used: Sequence[str]) -> str:
    """Spell the heads that are not used as `--tasks` would, as far as their corpora are registered ones."""
    specs = []
    for task in saved.tasks:
        corpora = task.get("corpora", ())
        if task["name"] not in used and corpora and all(corpus in list_corpora() for corpus in corpora):
            types = "|".join(task["types"])
            specs.append(f"{task['name']}={'+'.join(f'{corpus}:{types}' for corpus in corpora)}")
    return ",".join(specs)


def read_recorded_splits(model_args: ModelArguments) -> tuple[list[str], dict[str, Any]]:
    """Return the tasks of a saved model's training and its arguments for splits; none without a record."""
    try:
        recorded = read_saved_record(model_args, run_record.RECORD)["arguments"]
        test_size, names = recorded["test_size"], [spec.name for spec in parse_tasks(recorded["tasks"])]
        splits = {"test_size": test_size and float(test_size), "dev_size": float(recorded["dev_size"])}
        return names, splits | {"split_seed": int(recorded["split_seed"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CorpusError):  # no record, or edited by hand
        return [], {}


def score_other_heads(run: Run, trainer: MultiTaskTrainer, when: str) -> dict[str, float]:
    """Return the F1 of heads that are not trained, `before` or `after` training; nothing if there are none."""
    if run.other_heads is None:
        return {}
    scores = trainer.predict(run.other_heads, metric_key_prefix=when).metrics
    left_out = (f"{when}_macro_f1", f"{when}_micro_f1", "_seqeval")
    return {key: value for key, value in scores.items() if "_f1" in key and not any(part in key for part in left_out)}
