"""Check arguments before any long work starts."""

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers.integrations import get_available_reporting_integrations
from transformers.trainer_utils import IntervalStrategy

from dataset_scripts.tasks import Task
from mtl_bioner.reporting import run_record, tables
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.bounds import check_bounds
from mtl_bioner.training.checkpointing import check_files, find_resumed_checkpoint, is_complete, is_resumed
from mtl_bioner.training.distillation import AUTO, NONE, list_named_teachers
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


SEARCH_DATABASE = "search.db"


def check_arguments(model_args: ModelArguments, data_args: DataArguments, args: MultiTaskTrainingArguments) -> None:
    """Check all that needs no corpus and no model; raises ValueError with the argument, its value and the remedy."""
    check_bounds(model_args)
    check_bounds(data_args)
    if data_args.search and importlib.util.find_spec("optuna") is None:
        raise ValueError("--search needs optuna, which is not installed: pip install optuna")
    if args.push_to_hub and args.hub_model_id is None:
        name = Path(args.output_dir).name
        try:
            validate_repo_id(name)
        except HFValidationError as error:
            message = f"--push_to_hub: {name!r}, the name of --output_dir, can't be that of a repository"
            raise ValueError(f"{message}; give --hub_model_id OWNER/NAME") from error
    if data_args.search and (data_args.dry_run or not args.do_train or args.eval_strategy == IntervalStrategy.NO):
        raise ValueError(
            "--search trains and goes by development scores; leave out --train_on_dev, --eval_strategy no, --dry_run, "
            "--do_*"
        )
    check_teachers(model_args, data_args, args)
    if data_args.train_on_dev and args.do_train and model_args.report_gates:
        raise ValueError("--report_gates reads the development split, which --train_on_dev takes; leave one out")
    installed = get_available_reporting_integrations()
    for name in args.report_to:
        if name not in installed:
            raise ValueError(
                f"--report_to names {name!r}, which is not installed, or unknown; installed here: "
                f"{', '.join(installed) or 'none'} (pip install tensorboard gives that)"
            )
    check_output(args, data_args, model_args)


def check_teachers(model_args: ModelArguments, data_args: DataArguments, args: MultiTaskTrainingArguments) -> None:
    """Raises ValueError for `--teachers` where nothing is trained, and for a word in a place of its own."""
    teachers = model_args.teachers or [NONE]
    if teachers != [NONE] and not args.do_train:
        raise ValueError("--teachers label training text, and nothing is trained; leave it out, or add --do_train")
    if NONE in teachers and len(teachers) > 1:
        raise ValueError(f"--teachers {' '.join(teachers)}: {NONE} goes with no other teacher; leave it out")
    if AUTO in teachers and (len(teachers) > 1 or data_args.search):
        raise ValueError("--teachers auto goes with no other teacher and no --search; train them first, and name them")


def check_metric(args: MultiTaskTrainingArguments, tasks: Sequence[Task]) -> None:
    """Raises ValueError for a `--metric_for_best_model` that no evaluation of these tasks can give."""
    metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
    known = ["loss", "macro_f1", "micro_precision", "micro_recall", "micro_f1"]
    for task in tasks:  # a single corpus has no scores of its own
        keys = tables.list_score_keys(task.name, task.types, task.corpora if len(task.corpora) > 1 else ())
        known += [key for own in keys.values() for key in own[:3]]
    if args.do_train and metric not in known:
        raise ValueError(
            f"--metric_for_best_model is {args.metric_for_best_model}; give macro_f1, micro_f1, loss, "
            f"{tasks[0].name}_f1 or {tasks[0].name}_f1_{tasks[0].types[0]}"
        )


def check_output(args: MultiTaskTrainingArguments, data_args: DataArguments, model_args: ModelArguments) -> None:
    """Raises ValueError for an output folder that can't be written to, or holds files still needed or not given up."""
    folder, resume = Path(args.output_dir), find_resumed_checkpoint(args)
    if not args.do_train and Path(model_args.model_name_or_path).resolve() == folder.resolve():
        raise ValueError(
            f"--output_dir {folder} is the model's own folder, where scores would take the place of the record of its "
            "training; name another"
        )
    check_sources(args, model_args)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"--output_dir {folder}: {existing.name} is a file; name a folder")
    if not os.access(existing, os.W_OK):
        raise ValueError(f"--output_dir {folder}: {existing} can't be written to; name another folder")
    goes_on = is_resumed(args) or (data_args.search and (folder / SEARCH_DATABASE).is_file())
    may = data_args.overwrite_output or data_args.dry_run or goes_on
    if any(folder.glob("[!.]*")) and not may:
        raise ValueError(
            f"--output_dir {folder} is not empty; choose another, go on with an interrupted training by "
            "--resume_from_checkpoint true, or delete results and teachers that are there by --overwrite_output"
        )
    if resume is not None and not is_complete(Path(resume)):
        problem = "no such folder; give one named checkpoint-N, or `true`"
        if Path(resume).is_dir():
            problem = "this checkpoint was not written to its end; give another, or `true` for the newest whole one"
        raise ValueError(f"--resume_from_checkpoint {resume}: {problem}")
    if resume is not None:
        check_files(Path(resume))


def check_sources(args: MultiTaskTrainingArguments, model_args: ModelArguments) -> None:
    """Raises ValueError for a model that training begins with, or is taught by, among what it deletes."""
    folder = Path(args.output_dir).resolve()
    sources = [("teachers", name) for name in list_named_teachers(model_args.teachers)]
    for argument, name in [("model_name_or_path", model_args.model_name_or_path), *sources]:
        path = Path(name).resolve()
        top = path.relative_to(folder).parts[0] if folder in path.parents else ""
        deleted = (top == run_record.TEACHERS or top.startswith("checkpoint-")) and not is_resumed(args)
        if deleted or (argument == "teachers" and path == folder):
            raise ValueError(
                f"--{argument} {name} is in --output_dir {args.output_dir}, where it would be deleted; give another "
                "--output_dir"
            )
