"""Train, evaluate and predict with one multi-task model, from corpus files to entity scores.

    accelerate launch run_mtl_ner.py --tasks ncbi,bc5cdr
    python run_mtl_ner.py --tasks ncbi,bc5cdr --data_dir sample --model_name_or_path PATH_OR_HUB_ID
    python run_mtl_ner.py --tasks ncbi                              # one task: the single-task baseline
    python run_mtl_ner.py --tasks ncbi,mine=./corpus                # a corpus of your own
    python run_mtl_ner.py --tasks ncbi,bc5cdr --teachers none       # without the single-task models that teach it
    python run_mtl_ner.py --do_predict --tasks ncbi=./other:Disease --model_name_or_path outputs/ncbi
    python run_mtl_ner.py --tasks ncbi,bc5cdr --search 20           # tries arguments, writes the best to a file
    python run_mtl_ner.py arguments.json                            # arguments from a file, others may follow

Without a --do_train, --do_eval or --do_predict flag all three are done. The stages, in the order of the Hugging Face
run_*.py scripts: arguments, corpora, leaks, tokenizer and model, rows, training, evaluation, prediction, results.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from data_collators import MultiTaskCollator, TaskRows
from dataset_scripts import CorpusError, LoadedCorpus, list_corpora
from dataset_scripts.bio import DEFAULT_WORD_PATTERN
from dataset_scripts.tasks import Task, parse_tasks
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel
from mtl_bioner.hub.model_card import write_card
from mtl_bioner.hub.push import PushError
from mtl_bioner.messages import print_error
from mtl_bioner.reporting import files, plots, predictions, run_record, tables
from mtl_bioner.training import search
from mtl_bioner.training.argument_checks import check_metric
from mtl_bioner.training.argument_files import as_argv
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.checkpointing import (
    INPUTS,
    begun_with,
    check_begun_with,
    check_same_inputs,
    last_complete_checkpoint,
    resume_argument,
    resumes,
)
from mtl_bioner.training.dataset import check_texts, load_tasks, task_fractions, task_texts
from mtl_bioner.training.distillation import (
    AUTO,
    add_soft_labels,
    list_named_teachers,
    load_teachers,
    teacher_arguments,
)
from mtl_bioner.training.loss_weights import parse_loss_weights
from mtl_bioner.training.model_building import freeze_all_but
from mtl_bioner.training.model_setup import (
    check_heads,
    dropped_tasks,
    find_tokenizer,
    get_hub_options,
    make_model,
    saved_model_config,
    settle_arguments,
    settle_teachers,
    whole_head,
)
from mtl_bioner.training.parsing import collect_given_arguments, parse_arguments
from mtl_bioner.training.runtime import LaunchError, check_processes, shut_down_processes, use_all_cores
from mtl_bioner.training.trainer import MultiTaskTrainer
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


logger = logging.getLogger("run_mtl_ner")


def old_tasks(saved: MtlBionerConfig | None, names: Sequence[str]) -> str:
    """The other heads of a saved model as `--tasks` would name them, as far as their corpora are registered ones."""
    specs = []
    for task in saved.tasks if saved else ():
        corpora = task.get("corpora", ())
        if task["name"] not in names and corpora and all(corpus in list_corpora() for corpus in corpora):
            types = "|".join(task["types"])
            specs.append(f"{task['name']}={'+'.join(f'{corpus}:{types}' for corpus in corpora)}")
    return ",".join(specs)


def old_rows(run: Run, saved: MtlBionerConfig | None, names: Sequence[str]) -> TaskRows | None:
    """The test documents of heads that are not trained, to see what they forget; None if there are none.

    They are those of the splits that the heads were trained with, as the saved model's record tells: in another cut
    some would be training documents. Heads that the record doesn't know, of an earlier training, are left out.
    """
    kept = [*names, *dropped_tasks(run.model_args)]
    if not (run.args.do_train and run.args.do_predict and run.data_args.data_dir and old_tasks(saved, kept)):
        return None
    known, splits = recorded_before(run.model_args)
    unknown = [name for name in saved.task_names if name not in (*kept, *known)]
    if unknown:
        logger.warning("what %s forget is not measured: nothing tells which split they saw", ", ".join(unknown))
    wanted = old_tasks(saved, [*kept, *unknown])
    if not wanted:
        return None
    data_args = replace(run.data_args, tasks=wanted, leak_corpora=None, **splits)
    try:
        tasks, corpora, _ = load_tasks(data_args, run.model.config.word_pattern, training=False, scoring_only=False)
    except CorpusError as error:  # what was asked for is training; this is a report beside it
        logger.warning("what other heads forget is not measured: %s", error)
        return None
    return make_rows(replace(run, tasks=tasks, corpora=corpora, data_args=data_args), "test", None)


def recorded_before(model_args: ModelArguments) -> tuple[list[str], dict[str, Any]]:
    """The tasks of the training that a saved model is from, and its arguments for splits; none if nobody tells."""
    path = cached_file(
        model_args.model_name_or_path, run_record.RECORD, _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False, **get_hub_options(model_args),
    )  # fmt: skip
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))["arguments"]
        test_size, names = found["test_size"], [spec.name for spec in parse_tasks(found["tasks"])]
        splits = {"test_size": test_size and float(test_size), "dev_size": float(found["dev_size"])}
        return names, splits | {"split_seed": int(found["split_seed"])}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CorpusError):  # none, or changed by hand
        return [], {}


@dataclass
class Run:
    """Everything that is settled before training starts."""

    model_args: ModelArguments
    data_args: DataArguments
    args: MultiTaskTrainingArguments
    tasks: list[Task]
    corpora: dict[str, LoadedCorpus]
    leak_report: dict[str, Any]
    tokenizer: Any
    model: MtlBionerModel
    rows: dict[str, TaskRows]  # of the splits that are needed
    given: dict[str, Any]  # the arguments that were given, by name
    old: TaskRows | None = None  # test documents of a saved model's other heads
    teachers: list[str] = field(default_factory=list)  # models that label the training rows
    taught_by: dict[str, MtlBionerModel] = field(default_factory=dict)  # the same by the tasks that they teach
    teaching_seconds: float = 0.0  # that they took for it

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """Hashes of the encoder, or saved model, and of every corpus' files, by name."""
        return {
            "base_model": run_record.hash_model(self.model_args.model_name_or_path, self.model_args.model_revision),
            "corpora": {name: corpus.hashes for name, corpus in self.corpora.items()},
        }


def prepare(argv: Sequence[str]) -> Run:
    """All stages up to training. Whatever is wrong with the input is found here, but an optimizer that can't be made.

    Raises:
        ValueError, CorpusError, LaunchError: one line that names the argument or the file, and the remedy.
    """
    model_args, data_args, args = parse_arguments(argv)
    check_processes(args.world_size)
    use_all_cores(args.device)
    saved = saved_model_config(model_args)
    pattern = saved.word_pattern if saved else DEFAULT_WORD_PATTERN
    names = [spec.name for spec in parse_tasks(data_args.tasks)]
    check_heads(model_args, names, saved, args.do_train)
    settle_teachers(model_args, args.do_train and not data_args.search, names, saved)
    given = collect_given_arguments(argv)
    check_begun_with(begun_with(given, model_args.teachers, args), args)
    task_fractions(data_args.train_fraction, names)
    parse_loss_weights(args.task_loss_weights, list(dict.fromkeys([*(saved.task_names if saved else []), *names])))
    tasks, corpora, leak_report = load_tasks(data_args, pattern, args.do_train)
    check_metric(args, tasks)
    set_seed(args.seed)
    tokenizer = find_tokenizer(model_args, saved)
    heads = tasks if args.do_train else [whole_head(task, saved) for task in tasks]
    model = make_model(model_args, heads, saved)
    settle_arguments(model, tokenizer, model_args, data_args)
    run = Run(model_args, data_args, args, tasks, corpora, leak_report, tokenizer, model, {}, given)
    if resumes(args):
        check_same_inputs(run.inputs, args)
    check_own_teachers(run)
    run.teachers = list_named_teachers(model_args.teachers)
    run.taught_by = load_teachers(run.teachers, names, model.config, tokenizer)
    for split, limit in needed_splits(run).items():
        run.rows[split] = make_rows(run, split, limit)
    run.old = old_rows(run, saved, names)
    if model_args.freeze_encoder:
        freeze_all_but(model, names)
    return run


def needed_splits(run: Run) -> dict[str, int | None]:
    """The splits that will be used, each with the most documents of a corpus."""
    args, data_args = run.args, run.data_args
    splits = {}
    if args.do_train:
        splits["train"] = data_args.max_train_samples
    if args.do_eval or run.model_args.report_gates or (args.do_train and args.eval_strategy != "no"):
        splits["dev"] = data_args.max_eval_samples
    if args.do_predict:
        splits["test"] = data_args.max_predict_samples
    return splits


def make_rows(run: Run, split: str, limit: int | None) -> TaskRows:
    """The rows of all tasks in a split."""
    config, data_args = run.model.config, run.data_args
    task_ids = {name: index for index, name in enumerate(config.task_names)}
    names = [task.name for task in run.tasks]
    fractions = task_fractions(data_args.train_fraction, names) if split == "train" else None
    texts = task_texts(run.tasks, run.corpora, split, task_ids, config, limit, fractions, run.args.seed)
    check_texts(split, run.tasks, texts, task_ids)
    labels = [config.labels(task) for task in range(len(task_ids))]
    mode = data_args.label_subwords if split == "train" else "first"
    rows = TaskRows(texts, labels, run.tokenizer, data_args.max_seq_length, data_args.context_size, mode)
    return rows if split == "train" else rows.sort_by_length()


def make_trainer(run: Run, model_init: Callable[..., MtlBionerModel] | None = None) -> MultiTaskTrainer:
    """The trainer with the rows of the splits it needs; with `model_init`, each training begins with what it makes."""
    return MultiTaskTrainer(
        model=None if model_init else run.model,
        model_init=model_init,
        args=run.args,
        train_dataset=run.rows.get("train"),
        eval_dataset=run.rows.get("dev"),
        data_collator=MultiTaskCollator(run.tokenizer.pad_token_id or 0),
        processing_class=run.tokenizer,
    )


def check_own_teachers(run: Run) -> None:
    """Raises ValueError where `--teachers auto` can't train its teachers."""
    wanted, output = arguments_of_teachers(run), Path(run.args.output_dir)
    for arguments, task in zip(wanted.values(), run.tasks, strict=bool(wanted)):
        *_, args = parse_arguments([*as_argv(arguments), "--overwrite_output"])
        check_metric(args, [task])
    places = [place for place in (output / run_record.TEACHERS / name for name in wanted) if place.exists()]
    if places and not run_record.trains_own_teachers(output):
        raise ValueError(
            f"{places[0]} is not from --teachers {AUTO}, which would write there; give another --output_dir"
        )


def label_rows(run: Run) -> None:
    """Let the teachers, if there are any, label the training rows."""
    if run.taught_by:
        begun = time.perf_counter()
        add_soft_labels(
            run.rows["train"], run.taught_by, run.model.config, run.tokenizer, run.args.device, run.args.bf16
        )
        run.teaching_seconds, run.taught_by = time.perf_counter() - begun, {}


def arguments_of_teachers(run: Run) -> dict[str, dict[str, Any]]:
    """By task, the arguments of its teacher's training, with `--teachers auto`."""
    if AUTO not in run.model_args.teachers:
        return {}
    folder = Path(run.args.output_dir) / run_record.TEACHERS
    fractions = task_fractions(run.data_args.train_fraction, [task.name for task in run.tasks])
    return teacher_arguments(run.given, folder, fractions)


def prepare_teacher(run: Run, arguments: Mapping[str, Any]) -> Run:
    """What `prepare` gives for a teacher; of the `--max_steps` of its student it takes its share by rows, as it would
    of epochs."""
    teacher = prepare([*as_argv(arguments), "--overwrite_output"])
    if run.args.max_steps > 0:
        share = len(teacher.rows["train"]) / len(run.rows["train"])
        teacher.args.max_steps = max(1, round(share * run.args.max_steps))
    return teacher


def train_teachers(run: Run) -> dict[str, float]:
    """Train the teachers of `--teachers auto` in the output folder.

    Those that were finished before an interruption are taken as they are, and one that was at work goes on.

    Returns:
        Their scores, as `single_test_ncbi_f1`, and the time that all of them took.
    """
    scores = {"teachers_runtime": 0.0}
    for number, (name, arguments) in enumerate(arguments_of_teachers(run).items(), 1):
        folder = Path(run.args.output_dir) / run_record.TEACHERS / name
        goes_on = resumes(run.args)
        if not (goes_on and (folder / run_record.RECORD).is_file()):
            logger.info("teacher %d of %d: %s", number, len(run.tasks), name)
            again = "true" if goes_on and last_complete_checkpoint(folder) else None
            teacher = prepare_teacher(run, {**arguments, "resume_from_checkpoint": again})
            own = make_trainer(teacher)
            execute(teacher, own)
            own.accelerator.wait_for_everyone()
        if run.args.process_index == 0:
            run_record.remove_checkpoints(folder)
        run.teachers.append(str(folder))
        found = run_record.read_scores(folder)
        scores |= run_record.select_single_scores(found, name)
        scores["teachers_runtime"] += found["train_runtime"]
    names = [task.name for task in run.tasks]
    run.taught_by = load_teachers(run.teachers, names, run.model.config, run.tokenizer)
    set_seed(run.args.seed)  # so that training is the same whether or not they were there already
    return scores


def run_search(run: Run) -> str:
    """The trials of `--search`, and the argument file of the best; returns the table of them.

    Raises:
        ValueError: several processes, a search of other arguments in the folder, or another one at work there.
    """
    if run.args.world_size > 1:
        raise ValueError(f"--search was started with {run.args.world_size} processes; it trains on one")
    saved = saved_model_config(run.model_args)
    names = [task.name for task in run.tasks]
    sized = saved is None and run.model.config.sharing != "hard"  # a saved sharing layer has its width

    def fresh_model(trial: Any = None) -> MtlBionerModel:
        size = space(trial).get("sharing_size") if trial is not None else None
        model_args = replace(run.model_args, sharing_size=size or run.model_args.sharing_size)
        model = make_model(model_args, run.tasks, copy.deepcopy(saved))
        settle_arguments(model, run.tokenizer, model_args, run.data_args)
        if model_args.freeze_encoder:
            freeze_all_but(model, [task.name for task in run.tasks])
        return model

    trainer = make_trainer(run, fresh_model)
    label_rows(run)
    weights = dict(zip(trainer.task_names, trainer.task_weights.tolist(), strict=True))  # of a saved model's heads too
    weights = {name: weights[name] for name in names} if len(names) > 1 else {}
    sharing_size = run.model.config.sharing_size if sized else None
    space = search.SearchSpace(trainer.args.learning_rate, trainer.args.task_sampling_alpha, weights, sharing_size)
    own = ("search", "output_dir", "overwrite_output", "resume_from_checkpoint")
    arguments = {k: v for k, v in run.given.items() if k not in own and not k.endswith("_token")}
    output = Path(run.args.output_dir)
    rows = search.search(trainer, space, run.data_args.search, output, arguments)
    return f"{search.format_trials(rows)}\nbest arguments: {output / search.BEST}"


def forgetting(trainer: MultiTaskTrainer, rows: TaskRows, when: str) -> dict[str, float]:
    """F1 of heads that are not trained, `before` or `after` training."""
    found = trainer.predict(rows, metric_key_prefix=when).metrics
    over_tasks = (f"{when}_macro_f1", f"{when}_micro_f1")
    return {key: value for key, value in found.items() if "_f1" in key and key not in over_tasks}


def execute(run: Run, trainer: MultiTaskTrainer) -> dict[str, float]:
    """Train, evaluate, predict, and write the results; returns all scores."""
    args, metrics = run.args, {}
    output = Path(args.output_dir)
    if args.do_train:
        trainer.accelerator.wait_for_everyone()  # nobody reads what is deleted now
        if trainer.is_world_process_zero():
            if not resumes(args):
                run_record.remove_old_results(output)
            begun = begun_with(run.given, run.model_args.teachers, args) | {INPUTS: run.inputs}
            files.write_json(output / run_record.BEGUN, begun)
        trainer.accelerator.wait_for_everyone()
        if AUTO in run.model_args.teachers:
            metrics |= train_teachers(run)
        label_rows(run)
        if run.old is not None:
            metrics |= forgetting(trainer, run.old, "before")
        outcome = trainer.train(resume_from_checkpoint=resume_argument(args))
        trainer.save_model(_internal_call=True)  # which doesn't push: there are no scores yet
        metrics |= outcome.metrics
        if run.old is not None:
            metrics |= forgetting(trainer, run.old, "after")
    if args.do_eval:
        found = trainer.predict(run.rows["dev"], metric_key_prefix="eval")
        if args.do_train:
            found.metrics.update(trainer.calibrate(run.rows["dev"], found.predictions))
            trainer.save_model(_internal_call=True)
        metrics |= found.metrics
    elif args.do_train:
        logger.warning("no development split is scored, so entities' scores are not fitted to be their chances")
    if args.do_predict:
        predicted = trainer.predict(run.rows["test"], metric_key_prefix="test")
        metrics |= predicted.metrics
    gates = trainer.mean_gates(run.rows["dev"]) if run.model_args.report_gates else None
    if trainer.is_world_process_zero():
        if gates is not None:
            plots.write_gates(output, gates, run.model.config.task_names)
        run_record.write_run(output, run, metrics, trainer.state.log_history)
        if args.do_predict:
            predictions.write_predictions(output, run.rows["test"], trainer.entities, run.model.config.task_names)
            plots.plot_reliability(output / "reliability.png", trainer.scored(run.rows["test"]))
        if args.do_train:
            write_card(output, getattr(trainer, "hub_model_id", None))
    return metrics


def plan_of(run: Run, trainer: MultiTaskTrainer) -> str:
    """What `--dry_run` shows of the training, and of its teachers'."""
    if not run.args.do_train:
        return "nothing is trained"
    plans, minutes = [], 0.0
    for name, arguments in arguments_of_teachers(run).items():
        # In the student's folder, so that no further one is made.
        teacher = prepare_teacher(run, {**arguments, "output_dir": run.args.output_dir})
        plan, own = make_trainer(teacher).plan()
        plans.append(f"teacher {name}\n{plan}\n")
        minutes += own
    plan, own = trainer.plan()
    if not plans:
        return plan
    total = f"all trainings: about {minutes + own:.1f} minutes without evaluation"
    return "\n".join([*plans, f"the model that they teach\n{plan}\n", total])


def set_up_process() -> bool:
    """What is said on the screen, how the CPU treats tiny numbers; returns whether this process is to report."""
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first else logging.ERROR
    logging.basicConfig(format="%(levelname)s %(message)s", level=level, stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "datasets", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()  # of loading and saving weights
    torch.set_flush_denormal(True)  # moments of rare embeddings become denormal, which slows a CPU several times over
    return first


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, 1 if the push of the trained model failed, or 2 for input that can't be used."""
    first = set_up_process()
    argv = sys.argv[1:] if argv is None else argv
    try:
        run = prepare(argv)
        if run.data_args.search:
            sys.stdout.write(f"{run_search(run)}\n")
            return 0
        trainer = make_trainer(run)
        if run.args.do_train:
            trainer.check_optimizer()
    except (CorpusError, LaunchError, PushError, ValueError, OSError, ImportError) as error:
        print_error("run_mtl_ner", error)
        return 2
    transformers_logging.set_verbosity_warning()
    if run.data_args.dry_run:
        plan = plan_of(run, trainer)
        if first:
            sys.stdout.write(f"{plan}\n")
            with contextlib.suppress(OSError):  # there is something in it
                Path(run.args.output_dir).rmdir()
        return 0
    metrics = execute(run, trainer)
    if first:
        sys.stdout.write(tables.format_scores(metrics, run.model.config) + "\n")
        sys.stdout.write(tables.format_forgetting(metrics) + tables.format_sharing_gain(metrics))
    status = 0
    try:
        if run.args.push_to_hub:
            trainer.push_to_hub()
    except PushError as error:
        again = f"mtl-bioner-push {run.args.output_dir} {trainer.hub_model_id}"
        sys.stderr.write(f"run_mtl_ner: error: {error}; the model is in {run.args.output_dir}: {again}\n")
        status = 1
    shut_down_processes(trainer)
    return status


if __name__ == "__main__":
    sys.exit(main())
