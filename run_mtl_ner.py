"""Train, evaluate and predict with one multi-task model, from corpus files to entity scores.

    accelerate launch run_mtl_ner.py --tasks ncbi,bc5cdr
    python run_mtl_ner.py --tasks ncbi,bc5cdr --data_dir sample --model_name_or_path PATH_OR_HUB_ID
    python run_mtl_ner.py --tasks ncbi                              # one task: the single-task baseline
    python run_mtl_ner.py --tasks ncbi,mine=./corpus                # a corpus of your own
    python run_mtl_ner.py --do_predict --tasks ncbi=./other:Disease --model_name_or_path outputs/ncbi
    python run_mtl_ner.py arguments.json                            # the same arguments from a file

Without a --do_train, --do_eval or --do_predict flag all three are done. The stages, in the order of the Hugging Face
run_*.py scripts: arguments, corpora, leaks, tokenizer and model, rows, training, evaluation, prediction, results.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, HfArgumentParser, PreTrainedConfig, set_seed
from transformers.utils import logging as transformers_logging

import results_mtl_bioner as results
from data_collators import MultiTaskCollator, TaskRows, TaskText, length_limit, load_tokenizer
from dataset_scripts import CorpusError, LoadedCorpus, load_corpus
from dataset_scripts.leaks import drop_leaks
from dataset_scripts.schema import Document
from dataset_scripts.segments import DEFAULT_WORD_PATTERN, labelled, split_sentences
from dataset_scripts.tasks import Task, parse_tasks, resolve_tasks
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel
from trainer_mtl_bioner import MultiTaskTrainer, MultiTaskTrainingArguments, parse_loss_weights, predicted_entities


logger = logging.getLogger("run_mtl_ner")

DEFAULT_OUTPUT = "outputs/<tasks>"


@dataclass
class ModelArguments:
    """Which encoder, and what stands between it and the heads."""

    model_name_or_path: str = field(
        default="dmis-lab/biobert-base-cased-v1.2",
        metadata={"help": "Hub id or folder of an encoder, or of a saved multi-task model to go on with."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit on the Hub."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloaded models are kept."})
    sharing: str = field(default="hard", metadata={"help": "Sharing layer between encoder and heads."})
    head_dropout: float = field(default=0.1, metadata={"help": "Dropout before the heads."})
    attention_dropout: float = field(
        default=0.0,
        metadata={"help": "Dropout of attention weights; 0 allows the fused attention kernel (1.6 times faster on CPU)."},
    )
    drop_tasks: str | None = field(
        default=None, metadata={"help": "Heads of a saved model to leave out, separated by commas."}
    )


@dataclass
class DataArguments:
    """Which corpora, how they are split, and how text becomes rows."""

    tasks: str = field(metadata={"help": "Tasks, separated by commas: [name=]source[:Type|Type][+source...]"})
    data_dir: str | None = field(
        default=None,
        metadata={"help": "Folder with ncbi_disease/, bc5cdr/, ...; `sample` is the embedded one; default: download."},
    )
    test_size: float | None = field(
        default=None, metadata={"help": "Pool the official splits and hold out this share of the documents."}
    )
    dev_size: float = field(
        default=0.1, metadata={"help": "Share of training documents cut off where a corpus has no development split."}
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of these cuts, apart from the training's seed."})
    leaks: str = field(
        default="drop", metadata={"help": "Training text that is held-out text of a task: drop, warn or error."}
    )
    max_seq_length: int = field(default=320, metadata={"help": "Sub-words of a window; longer text becomes several."})
    context_size: int = field(default=32, metadata={"help": "Sub-words of context a window has on each side."})
    text_unit: str = field(
        default="passage",
        metadata={"help": "`passage` fills windows with whole text; `sentence` starts one at each sentence."},
    )
    label_subwords: str = field(
        default="first", metadata={"help": "Which sub-words of a word are labelled in training: `first` or `all`."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Documents per task, for debugging."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Documents per task, for debugging."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Documents per task, for debugging."})
    overwrite_output: bool = field(default=False, metadata={"help": "Write into a non-empty output folder."})


# ---------------------------------------------------------------------------------------------------------- arguments


def parse_arguments(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, MultiTaskTrainingArguments]:
    """Arguments of the command line, or of one JSON file; every value that needs no file is checked here."""
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, MultiTaskTrainingArguments), description=__doc__.split("\n\n")[0]
    )
    parser.set_defaults(output_dir=DEFAULT_OUTPUT)
    if len(argv) == 1 and argv[0].endswith(".json"):
        if not Path(argv[0]).is_file():
            raise ValueError(f"{argv[0]}: no such argument file")
        model_args, data_args, args = parser.parse_json_file(argv[0])
    else:
        model_args, data_args, args = parser.parse_args_into_dataclasses(argv)
    if args.output_dir in (None, DEFAULT_OUTPUT, "trainer_output"):
        args.output_dir = "outputs/" + re.sub(r"[^\w=+,.-]", "_", data_args.tasks)
    check_choice("--text_unit", data_args.text_unit, ("passage", "sentence"))
    check_choice("--label_subwords", data_args.label_subwords, ("first", "all"))
    check_choice("--leaks", data_args.leaks, ("drop", "warn", "error"))
    check_output(args, data_args)
    return model_args, data_args, args


def check_choice(argument: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{argument} is {value!r}; choose one of {', '.join(choices)}")


def check_output(args: MultiTaskTrainingArguments, data_args: DataArguments) -> None:
    """Raises ValueError for a non-empty output folder that nobody said may be written to."""
    folder = Path(args.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output_dir {folder} is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not (data_args.overwrite_output or args.resume_from_checkpoint):
        raise ValueError(
            f"--output_dir {folder} is not empty; choose another, or give --overwrite_output or "
            "--resume_from_checkpoint"
        )


# ------------------------------------------------------------------------------------------------- corpora and tasks


def load_tasks(data_args: DataArguments, pattern: str) -> tuple[list[Task], dict[str, LoadedCorpus], list[dict]]:
    """Corpora of all tasks, each read once, without leaks; the tasks; and the report of the leaks."""
    specs = parse_tasks(data_args.tasks)
    names = dict.fromkeys(source.corpus for spec in specs for source in spec.sources)
    corpora = {
        name: load_corpus(
            name,
            data_args.data_dir,
            test_size=data_args.test_size,
            dev_size=data_args.dev_size,
            seed=data_args.split_seed,
            word_pattern=pattern,
        )
        for name in names
    }
    tasks = resolve_tasks(specs, {name: corpus.types for name, corpus in corpora.items()})
    corpora, leaks, _ = drop_leaks(corpora, data_args.leaks)
    return tasks, corpora, [leak.as_dict() for leak in leaks]


def task_texts(
    tasks: Sequence[Task],
    corpora: Mapping[str, LoadedCorpus],
    split: str,
    task_ids: Mapping[str, int],
    data_args: DataArguments,
    pattern: str,
    limit: int | None,
) -> list[TaskText]:
    """The documents of a split as each task sees them."""
    texts = []
    for task in tasks:
        documents = [(corpus, document) for corpus in task.corpora for document in corpora[corpus].splits[split]]
        for corpus, document in documents[:limit]:
            words, tags, _ = labelled(document, pattern, task.types)
            breaks = sentence_breaks(document, words) if data_args.text_unit == "sentence" else []
            texts.append(TaskText(task_ids[task.name], corpus_name(corpus), document, words, tags, breaks))
    return texts


def corpus_name(source: str) -> str:
    """A name for results: of a path only its last part, so that no path of this machine gets into them."""
    return Path(source).name if "/" in source else source


def sentence_breaks(document: Document, words: Sequence[tuple[int, int]]) -> list[int]:
    """Indices of the words that begin a sentence."""
    starts = [start for start, _ in split_sentences(document.text)]
    breaks, sentence = [], 0
    for index, (start, _) in enumerate(words):
        if sentence < len(starts) and start >= starts[sentence]:
            breaks.append(index)
            while sentence < len(starts) and start >= starts[sentence]:
                sentence += 1
    return breaks


def check_training_mentions(tasks: Sequence[Task], texts: Sequence[TaskText], task_ids: Mapping[str, int]) -> None:
    """Raises CorpusError for a task none of whose training texts holds a mention."""
    for task in tasks:
        if not any(tag != "O" for text in texts if text.task_id == task_ids[task.name] for tag in text.tags):
            raise CorpusError(
                f"task {task.name} has no training mention of {', '.join(task.types)}; check its corpora, or "
                "--max_train_samples"
            )


# -------------------------------------------------------------------------------------------------------------- model


def saved_model_config(model_args: ModelArguments) -> MtlBionerConfig | None:
    """The config of a saved multi-task model; None if the name is an encoder's.

    Raises:
        ValueError: nothing can be loaded from there; says how to avoid the Hub.
    """
    name = model_args.model_name_or_path
    local = os.path.isdir(name)
    if not local and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise ValueError(f"--model_name_or_path {name}: no such folder")
    if local and not (Path(name) / "config.json").is_file():
        raise ValueError(f"--model_name_or_path {name}: the folder has no config.json")
    try:
        found, _ = PreTrainedConfig.get_config_dict(name, **hub_options(model_args))
    except OSError as error:
        raise ValueError(
            f"--model_name_or_path {name}: can't be loaded from the Hub ({first_line(error)}); give the folder of a "
            "downloaded encoder with --model_name_or_path, or check the name and the network"
        ) from error
    return MtlBionerConfig.from_dict(found) if found.get("model_type") == MtlBionerConfig.model_type else None


def hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """What `from_pretrained` needs to know of the Hub."""
    if os.path.isdir(model_args.model_name_or_path):
        return {}
    return {"revision": model_args.model_revision, "cache_dir": model_args.cache_dir}


def first_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def make_model(
    model_args: ModelArguments, data_args: DataArguments, tasks: Sequence[Task], saved: MtlBionerConfig | None
) -> MtlBionerModel:
    """A model with a head for each task: fresh on an encoder, or a saved one with its heads continued."""
    wanted = [{"name": t.name, "types": list(t.types), "corpora": [corpus_name(c) for c in t.corpora]} for t in tasks]
    options = hub_options(model_args)
    if saved is not None:
        model = MtlBionerModel.from_pretrained(model_args.model_name_or_path, dtype=torch.float32, **options)
        return model.with_tasks(wanted, drop=(model_args.drop_tasks or "").split(","))
    return MtlBionerModel.from_encoder(
        model_args.model_name_or_path,
        wanted,
        # the names encoders give to the dropout of attention weights
        {"attention_probs_dropout_prob": model_args.attention_dropout, "attention_dropout": model_args.attention_dropout},
        options,
        sharing=model_args.sharing,
        head_dropout=model_args.head_dropout,
        max_seq_length=data_args.max_seq_length,
        context_size=data_args.context_size,
    )  # fmt: skip


def check_length(model: MtlBionerModel, tokenizer: Any, data_args: DataArguments) -> None:
    """Raises ValueError for windows the encoder can't take."""
    limit = length_limit(tokenizer, model.config.encoder_config)
    if not 8 <= data_args.max_seq_length <= limit:
        raise ValueError(
            f"--max_seq_length is {data_args.max_seq_length}; this encoder takes 8 to {limit} (longer text becomes "
            "several windows, nothing is cut)"
        )
    model.config.max_seq_length = data_args.max_seq_length
    model.config.context_size = data_args.context_size


# --------------------------------------------------------------------------------------------------------------- main


@dataclass
class Run:
    """Everything that is settled before training starts."""

    model_args: ModelArguments
    data_args: DataArguments
    args: MultiTaskTrainingArguments
    tasks: list[Task]
    corpora: dict[str, LoadedCorpus]
    leak_report: list[dict]
    tokenizer: Any
    model: MtlBionerModel
    rows: Callable[[str, int | None], TaskRows]


def prepare(argv: Sequence[str]) -> Run:
    """All stages up to training. Whatever is wrong with the input is found here.

    Raises:
        ValueError, CorpusError: one line that names the argument or the file, and the remedy.
    """
    model_args, data_args, args = parse_arguments(argv)
    saved = saved_model_config(model_args)
    pattern = saved.word_pattern if saved else DEFAULT_WORD_PATTERN
    specs = [spec.name for spec in parse_tasks(data_args.tasks)]
    parse_loss_weights(args.task_loss_weights, [*(saved.task_names if saved else []), *specs])
    tasks, corpora, leak_report = load_tasks(data_args, pattern)
    set_seed(args.seed)
    tokenizer = load_tokenizer(model_args.model_name_or_path, **hub_options(model_args))
    model = make_model(model_args, data_args, tasks, saved)
    check_length(model, tokenizer, data_args)
    task_ids = {name: index for index, name in enumerate(model.config.task_names)}
    labels = [model.config.labels(task) for task in range(len(task_ids))]

    def rows(split: str, limit: int | None) -> TaskRows:
        texts = task_texts(tasks, corpora, split, task_ids, data_args, pattern, limit)
        if split == "train":
            check_training_mentions(tasks, texts, task_ids)
        mode = data_args.label_subwords if split == "train" else "first"
        return TaskRows(texts, labels, tokenizer, data_args.max_seq_length, data_args.context_size, mode)

    return Run(model_args, data_args, args, tasks, corpora, leak_report, tokenizer, model, rows)


def make_trainer(run: Run) -> MultiTaskTrainer:
    """The trainer with the rows of the splits it needs."""
    args, data_args = run.args, run.data_args
    train = run.rows("train", data_args.max_train_samples) if args.do_train else None
    needs_dev = args.do_eval or (args.do_train and args.eval_strategy != "no")
    dev = run.rows("dev", data_args.max_eval_samples).sort_by_length() if needs_dev else None
    callbacks = []
    if args.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(args.early_stopping_patience))
    return MultiTaskTrainer(
        model=run.model,
        args=args,
        train_dataset=train,
        eval_dataset=dev,
        data_collator=MultiTaskCollator(run.tokenizer.pad_token_id),
        processing_class=run.tokenizer,
        callbacks=callbacks,
    )


def execute(run: Run) -> dict[str, float]:
    """Train, evaluate, predict, and write the results; returns all scores."""
    trainer, args, metrics = make_trainer(run), run.args, {}
    output = Path(args.output_dir)
    if args.do_train:
        resume = args.resume_from_checkpoint
        outcome = trainer.train(resume_from_checkpoint=True if resume in ("True", "true") else resume)
        trainer.save_model()
        metrics |= outcome.metrics
    if args.do_eval:
        metrics |= trainer.evaluate(metric_key_prefix="eval")
    if args.do_predict:
        test = run.rows("test", run.data_args.max_predict_samples).sort_by_length()
        predicted = trainer.predict(test, metric_key_prefix="test")
        metrics |= predicted.metrics
        if trainer.is_world_process_zero():
            entities = predicted_entities(test, predicted.predictions)
            results.write_predictions(output, test, entities, run.model.config.task_names)
    if trainer.is_world_process_zero():
        results.write_run(output, run, metrics, trainer.state.log_history)
    return metrics


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 for input that can't be used."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "datasets", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    torch.set_flush_denormal(True)  # moments of rare embeddings become denormal, which slows a CPU several times over
    try:
        run = prepare(sys.argv[1:] if argv is None else argv)
    except (CorpusError, ValueError) as error:
        sys.stderr.write(f"run_mtl_ner: error: {error}\n")
        return 2
    transformers_logging.set_verbosity_warning()
    metrics = execute(run)
    if run.args.process_index == 0:
        sys.stdout.write(results.score_table(metrics, run.model.config) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
