"""Train, evaluate and predict with one multi-task model, from corpus files to entity scores.

    accelerate launch run_mtl_ner.py --tasks ncbi,bc5cdr
    python run_mtl_ner.py --tasks ncbi,bc5cdr --data_dir sample --model_name_or_path PATH_OR_HUB_ID
    python run_mtl_ner.py --tasks ncbi                              # one task: the single-task baseline
    python run_mtl_ner.py --tasks ncbi,mine=./corpus.jsonl          # a corpus of your own
    python run_mtl_ner.py --tasks ncbi,bc5cdr --teachers none       # without distillation from single-task models
    python run_mtl_ner.py --do_predict --tasks ncbi=./other:Disease --model_name_or_path outputs/ncbi
    python run_mtl_ner.py arguments.json                            # arguments from a file, others may follow

Without --do_train, --do_eval or --do_predict all three are done. The stages follow the Hugging Face run_*.py scripts:
corpora, tasks, leak filter, model, rows, trainer, train, evaluate, predict, results, push.
"""

import contextlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers import set_seed
from transformers.utils import logging as transformers_logging

from data_collators import MultiTaskCollator
from dataset_scripts import CorpusError
from dataset_scripts.bio import DEFAULT_WORD_PATTERN
from dataset_scripts.tasks import parse_tasks
from modeling_mtl_bioner import MtlBionerModel
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.hub.push import PushError
from mtl_bioner.messages import print_error
from mtl_bioner.reporting import tables
from mtl_bioner.training.argument_checks import check_metric
from mtl_bioner.training.checkpointing import (
    check_same_beginning,
    check_same_inputs,
    describe_beginning,
    find_resumed_checkpoint,
)
from mtl_bioner.training.dataset import build_rows, list_needed_splits, load_tasks, parse_fractions
from mtl_bioner.training.distillation import list_named_teachers, load_teachers
from mtl_bioner.training.forgetting import build_other_rows, score_other_heads
from mtl_bioner.training.loss_weights import parse_loss_weights
from mtl_bioner.training.model_building import freeze_all_but
from mtl_bioner.training.model_setup import (
    check_heads,
    find_tokenizer,
    load_saved_config,
    make_model,
    settle_arguments,
    widen_to_head,
)
from mtl_bioner.training.parsing import Arguments, parse_arguments
from mtl_bioner.training.planning import check_optimizer, describe_plan
from mtl_bioner.training.results import begin_training, describe_next_step, write_results
from mtl_bioner.training.run import Run
from mtl_bioner.training.runtime import (
    LaunchError,
    check_processes,
    set_up_process,
    shut_down_processes,
    stop_cleanly,
    use_all_cores,
)
from mtl_bioner.training.saving import explain_failure, explain_stop
from mtl_bioner.training.score_calibration import calibrate_scores
from mtl_bioner.training.scored_texts import check_scored_texts
from mtl_bioner.training.search import show_search
from mtl_bioner.training.teachers import (
    check_own_teachers,
    choose_teachers,
    label_rows,
    prepare_teacher,
    train_teachers,
)
from mtl_bioner.training.trainer import MultiTaskTrainer


logger = logging.getLogger("run_mtl_ner")


def prepare(source: Arguments | Sequence[str] | Mapping[str, Any]) -> Run:
    """Do everything up to the trainer, so that whatever is wrong with the input is found before any long work.

    Args:
        source: arguments, a command line, or values by argument name.

    Raises:
        ValueError, CorpusError, LaunchError: one line that names the argument or file, its value and the remedy.
    """
    arguments = source if isinstance(source, Arguments) else parse_arguments(source)
    model_args, data_args, args = arguments.model, arguments.data, arguments.training
    check_processes(args.world_size)
    use_all_cores(args.device)

    # What the arguments alone tell: tasks, the saved model whose heads they continue, teachers, a resumed training.
    names = [spec.name for spec in parse_tasks(data_args.tasks)]
    saved = load_saved_config(model_args)
    check_heads(model_args, names, saved, args.do_train)
    choose_teachers(model_args, args.do_train and not data_args.search, names, saved)
    check_same_beginning(describe_beginning(arguments.explicit, model_args.teachers, args), args)
    parse_fractions(data_args.train_fraction, names)
    parse_loss_weights(args.task_loss_weights, list(dict.fromkeys([*(saved.task_names if saved else []), *names])))

    # Corpora and tasks, without training text that is held-out text.
    word_pattern = saved.word_pattern if saved else DEFAULT_WORD_PATTERN
    tasks, corpora, leaks = load_tasks(data_args, word_pattern, args.do_train)
    check_metric(args, tasks)

    # Tokenizer and model.
    set_seed(args.seed)
    tokenizer = find_tokenizer(model_args, saved)
    model = make_model(model_args, tasks if args.do_train else [widen_to_head(task, saved) for task in tasks], saved)
    settle_arguments(model, tokenizer, model_args, data_args)
    run = Run(arguments, tasks, corpora, leaks, tokenizer, model)
    check_same_inputs(run.inputs, args)
    check_own_teachers(run)
    if saved is not None:
        check_scored_texts(run)
    run.teachers = list_named_teachers(model_args.teachers)
    run.teacher_models = load_teachers(run.teachers, names, model.config, tokenizer, model_args.trust_remote_code)

    # Rows of each split that is needed.
    for split, limit in list_needed_splits(run).items():
        run.rows[split] = build_rows(run, split, limit)
    run.other_heads = build_other_rows(run, saved)
    if model_args.freeze_encoder:
        freeze_all_but(model, names)
    return run


def make_trainer(run: Run, model_init: Callable[..., MtlBionerModel] | None = None) -> MultiTaskTrainer:
    """Make the trainer of a run; with `model_init`, each training begins with the model that it makes."""
    return MultiTaskTrainer(
        model=None if model_init else run.model,
        model_init=model_init,
        args=run.args,
        train_dataset=run.rows.get("train"),
        eval_dataset=run.rows.get("dev"),
        data_collator=MultiTaskCollator(run.tokenizer.pad_token_id or 0),
        processing_class=run.tokenizer,
    )


def train(run: Run, trainer: MultiTaskTrainer) -> dict[str, float]:
    """Train, with teachers first if there are any; return losses, times, and scores of teachers and other heads."""
    begin_training(run, trainer)
    scores = train_teachers(run, train_teacher) if "auto" in run.model_args.teachers else {}
    label_rows(run)
    scores |= score_other_heads(run, trainer, "before")
    scores |= trainer.train(resume_from_checkpoint=find_resumed_checkpoint(run.args)).metrics
    trainer.save_model(_internal_call=True)  # which doesn't push: there are no scores yet
    return scores | score_other_heads(run, trainer, "after")


def train_teacher(arguments: Arguments, student: Run) -> None:
    """Train and score a teacher of another run."""
    run = prepare_teacher(arguments, student, prepare)
    trainer = make_trainer(run)
    execute(run, trainer)
    trainer.accelerator.wait_for_everyone()


def evaluate(run: Run, trainer: MultiTaskTrainer) -> dict[str, float]:
    """Score the development split; after training, fit entities' scores to the chance that they are right."""
    output = trainer.predict(run.rows["dev"], metric_key_prefix="eval")
    run.entities["dev"] = trainer.entities
    if run.args.do_train:
        output.metrics.update(calibrate_scores(run.model.config, run.rows["dev"], output.predictions))
        trainer.save_model(_internal_call=True)
    return output.metrics


def predict(run: Run, trainer: MultiTaskTrainer) -> dict[str, float]:
    """Score the test split; the run keeps the predicted entities for `write_results`."""
    metrics = trainer.predict(run.rows["test"], metric_key_prefix="test").metrics
    run.entities["test"] = trainer.entities
    return metrics


def execute(run: Run, trainer: MultiTaskTrainer) -> dict[str, float]:
    """Train, evaluate, predict as the arguments say, write the results, and return all scores."""
    scores: dict[str, float] = {}
    if run.args.do_train:
        scores |= train(run, trainer)
    if run.args.do_eval:
        scores |= evaluate(run, trainer)
    elif run.args.do_train:
        logger.warning("no development split is scored, so the scores of entities are not calibrated")
    if run.args.do_predict:
        scores |= predict(run, trainer)
    write_results(run, trainer, scores)
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0; 1 if the run failed on the way, or its push; 2 for input that can't be used."""
    is_first, lock = set_up_process(), contextlib.ExitStack()
    try:
        run = prepare(sys.argv[1:] if argv is None else argv)
        trainer = None if run.data_args.search else make_trainer(run)
        if trainer is not None and run.args.do_train:
            check_optimizer(trainer)
        if is_first and not run.data_args.dry_run:
            lock.enter_context(lock_folder(run.output, "run_mtl_ner"))
    except (CorpusError, LaunchError, PushError, ValueError, OSError, ImportError) as error:
        print_error("run_mtl_ner", error)
        return 2
    transformers_logging.set_verbosity_warning()
    with lock, stop_cleanly("run_mtl_ner", lambda: explain_stop(run.output), reports=is_first):
        if trainer is None:
            return show_search(run, make_trainer)
        return show_plan(run, trainer, is_first) if run.data_args.dry_run else show_run(run, trainer, is_first)


def show_plan(run: Run, trainer: MultiTaskTrainer, is_first: bool) -> int:
    """Print what `--dry_run` is asked for."""
    plan = describe_plan(run, trainer, prepare, make_trainer)
    if is_first:
        sys.stdout.write(f"{plan}\n")
        with contextlib.suppress(OSError):  # the folder holds something
            run.output.rmdir()
    return 0


def show_run(run: Run, trainer: MultiTaskTrainer, is_first: bool) -> int:
    """Execute a run, print its tables and the next step, and push if that is asked for."""
    status = 0
    try:
        scores = execute(run, trainer)
        if is_first:
            sys.stdout.write(tables.format_scores(scores, run.model.config) + "\n")
            sys.stdout.write(tables.format_trained_documents(run.leaks["scored"]))
            sys.stdout.write(tables.format_forgetting(scores) + tables.format_sharing_gain(scores))
            sys.stdout.write(describe_next_step(run))
        if run.args.push_to_hub:
            trainer.push_to_hub()
    except Exception as error:
        if (reason := explain_failure(error, run.output, getattr(trainer, "hub_model_id", None))) is None:
            raise
        print_error("run_mtl_ner", reason)
        status = 1
    shut_down_processes(trainer)
    return status


if __name__ == "__main__":
    sys.exit(main())
