"""Train the teachers of a multi-task model: a single-task model for each of its tasks."""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from dataset_scripts.tasks import parse_tasks, split_tasks
from modeling_mtl_bioner import MtlBionerConfig
from mtl_bioner.reporting import run_record
from mtl_bioner.training.argument_checks import check_metric
from mtl_bioner.training.arguments import ModelArguments
from mtl_bioner.training.checkpointing import find_last_checkpoint, is_resumed
from mtl_bioner.training.dataset import parse_fractions
from mtl_bioner.training.distillation import (
    AUTO,
    NONE,
    add_soft_labels,
    find_teacher,
    list_named_teachers,
    load_teachers,
)
from mtl_bioner.training.parsing import Arguments
from mtl_bioner.training.run import Run


logger = logging.getLogger(__name__)

# Arguments that mean nothing to the training of one task from an encoder, or that belong to the student alone.
STUDENT_ARGUMENTS = (
    "teachers", "teacher_weight", "sharing", "sharing_size", "adversarial_weight", "difference_weight", "report_gates",
    "task_loss_weights", "loss_weighting", "task_sampling_alpha", "one_task_batches", "push_to_hub", "hub_model_id",
    "hub_token", "resume_from_checkpoint", "overwrite_output", "dry_run",
)  # fmt: skip


def choose_teachers(
    model_args: ModelArguments, training: bool, names: Sequence[str], saved: MtlBionerConfig | None
) -> None:
    """Set `--teachers` to `auto` where nothing was said and several tasks are trained from an encoder.

    Raises ValueError for teachers of a single task, and for `auto` that doesn't begin with an encoder.
    """
    if model_args.teachers not in (None, [NONE]) and len(names) < 2:
        raise ValueError(f"--teachers label the text of other tasks, and {names[0]} is the only one; leave it out")
    if AUTO in (model_args.teachers or ()) and saved is not None:
        raise ValueError(
            f"--teachers auto trains each teacher from an encoder, and {model_args.model_name_or_path} is a saved "
            "multi-task model; name its encoder, or teachers that you trained"
        )
    for name in list_named_teachers(model_args.teachers):
        find_teacher(name)
    if model_args.teachers is None:
        model_args.teachers = [NONE]
        if training and len(names) > 1 and saved is None and not model_args.freeze_encoder:
            model_args.teachers = [AUTO]
            logger.info(
                "--teachers %s: %d single-task models are trained first, which then teach the model; "
                "--teachers %s leaves them out, in half the time", AUTO, len(names), NONE,
            )  # fmt: skip


def plan_teachers(run: Run) -> dict[str, dict[str, Any]]:
    """Return, with `--teachers auto`, how each teacher's arguments differ from its student's, by the task it teaches.

    A teacher reads no text that is held-out text of any of the student's tasks. The differences are for
    `Arguments.replace`; arguments are made when they are needed, since TrainingArguments reset accelerate's state.
    """
    if AUTO not in run.model_args.teachers:
        return {}
    explicit, tasks = run.arguments.explicit, run.data_args.tasks
    changes: dict[str, Any] = dict.fromkeys(STUDENT_ARGUMENTS)
    if explicit.get("metric_for_best_model", "").removeprefix("eval_") != "loss":  # a score, perhaps of another task
        changes |= {"metric_for_best_model": None, "greater_is_better": None}
    corpora = [source.corpus for spec in parse_tasks(tasks) for source in spec.sources]
    leak_corpora = [name for name in (run.data_args.leak_corpora or "").split(",") if name]
    changes["leak_corpora"] = ",".join(dict.fromkeys([*corpora, *leak_corpora]))
    shares = parse_fractions(run.data_args.train_fraction, run.task_names)
    changes["overwrite_output"] = True
    plans = {}
    for spec, (name, share) in zip(split_tasks(tasks), shares.items(), strict=True):
        plans[name] = {**changes, "tasks": spec, "output_dir": str(run.output / run_record.TEACHERS / name)}
        plans[name]["train_fraction"] = str(share) if share < 1 else None
    return plans


def prepare_teacher(arguments: Arguments, student: Run, prepare: Callable[[Arguments], Run]) -> Run:
    """Prepare the run of a teacher, with its share, by rows, of the student's `--max_steps`."""
    teacher = prepare(arguments)
    if student.args.max_steps > 0:  # epochs need no share: a teacher's are over its own rows
        share = len(teacher.rows["train"]) / len(student.rows["train"])
        teacher.args.max_steps = max(1, round(share * student.args.max_steps))
    return teacher


def check_own_teachers(run: Run) -> None:
    """Raise ValueError if `--teachers auto` can't train a teacher, or would write over what it didn't write."""
    plans = plan_teachers(run)
    for task in run.tasks if plans else ():
        check_metric(run.arguments.replace(**plans[task.name]).training, [task])
    existing = [name for name in plans if (run.output / run_record.TEACHERS / name).exists()]
    if existing and not run_record.trains_own_teachers(run.output):
        place = run.output / run_record.TEACHERS / existing[0]
        raise ValueError(f"{place} is not from --teachers {AUTO}, which would write there; give another --output_dir")


def train_teachers(run: Run, train_one: Callable[[Arguments, Run], None]) -> dict[str, float]:
    """Train the teachers of `--teachers auto`, each in a folder of its own in `teachers/` of the output folder.

    Teachers that were finished before an interruption are taken as they are, and an unfinished one is resumed.

    Args:
        train_one: trains and scores a model with the arguments of a teacher, given its student's run.

    Returns:
        The teachers' scores, as `single_test_ncbi_f1`, and the time that all of them took.
    """
    scores = {"teachers_runtime": 0.0}
    for number, (name, changes) in enumerate(plan_teachers(run).items(), 1):
        folder = Path(changes["output_dir"])
        if not (is_resumed(run.args) and (folder / run_record.RECORD).is_file()):
            logger.info("teacher %d of %d: %s", number, len(run.tasks), name)
            goes_on = is_resumed(run.args) and find_last_checkpoint(folder)
            train_one(run.arguments.replace(**changes | {"resume_from_checkpoint": "true" if goes_on else None}), run)
        if run.args.process_index == 0:
            run_record.remove_checkpoints(folder)
        run.teachers.append(str(folder))
        teacher_scores = run_record.read_scores(folder)
        scores |= run_record.select_single_scores(teacher_scores, name)
        scores["teachers_runtime"] += teacher_scores["train_runtime"]
    trust_remote_code = run.model_args.trust_remote_code
    run.teacher_models = load_teachers(
        run.teachers, run.task_names, run.model.config, run.tokenizer, trust_remote_code
    )
    set_seed(run.args.seed)  # so that training is the same whether or not the teachers were there already
    return scores


def label_rows(run: Run) -> None:
    """Let the teachers, if there are any, label the training rows, and let go of them."""
    if run.teacher_models:
        begin, args = time.perf_counter(), run.args
        add_soft_labels(run.rows["train"], run.teacher_models, run.model.config, run.tokenizer, args.device, args.bf16)
        run.teaching_seconds, run.teacher_models = time.perf_counter() - begin, {}
