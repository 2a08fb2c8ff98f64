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
import random
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from transformers import PreTrainedConfig, set_seed
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

import results_mtl_bioner as results
import search_mtl_bioner as search
from arguments_mtl_bioner import (
    INPUTS,
    DataArguments,
    ModelArguments,
    as_argv,
    begun_with,
    check_begun_with,
    check_metric,
    check_same_inputs,
    given_arguments,
    parse_arguments,
    resume_argument,
    resumes,
)
from data_collators import MultiTaskCollator, TaskRows, TaskText, length_limit, load_tokenizer
from dataset_scripts import CorpusError, Document, LoadedCorpus, list_corpora, load_corpus, with_dev_in_train
from dataset_scripts.leaks import Leak, drop_leaks
from dataset_scripts.segments import DEFAULT_WORD_PATTERN, SENTENCE_PATTERN, labelled
from dataset_scripts.tasks import Task, only_type, parse_tasks, resolve_tasks
from hub_mtl_bioner import PushError
from launch_mtl_bioner import LaunchError, check_processes, leave_processes, use_all_cores
from model_card_mtl_bioner import write_card
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, sentence_breaks
from teachers_mtl_bioner import AUTO, NONE, load_teachers, named_teachers, teach, teacher_arguments
from trainer_mtl_bioner import (
    MultiTaskTrainer,
    MultiTaskTrainingArguments,
    last_complete_checkpoint,
    parse_loss_weights,
    values_by_task,
)


logger = logging.getLogger("run_mtl_ner")

# What --sharing can be adjusted by, kept in the model's config.
SHARING_OPTIONS = ("sharing", "sharing_size", "adversarial_weight", "difference_weight")

# The names that encoders give to the dropout of attention weights.
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")


# ------------------------------------------------------------------------------------------------- corpora and tasks


def load_tasks(
    data_args: DataArguments, pattern: str, training: bool, scoring_only: bool | None = None
) -> tuple[list[Task], dict[str, LoadedCorpus], dict[str, list[dict]]]:
    """The tasks; their corpora by `corpus_names`, each read once, without leaks; and the report of the leaks.

    The report lists training text that is held-out text (`train`), and development text that is test text (`dev`).

    Args:
        training: whether these tasks are trained, so that leaks count.
        scoring_only: whether nothing is trained at all, by default if these tasks aren't (see `load_corpus`).
    """
    specs = parse_tasks(data_args.tasks)
    sources = list(dict.fromkeys(source.corpus for spec in specs for source in spec.sources))
    others = [name for name in (data_args.leak_corpora or "").split(",") if name and name not in sources]
    loaded = {
        source: load_corpus(
            source,
            data_args.data_dir,
            test_size=data_args.test_size,
            dev_size=data_args.dev_size,
            seed=data_args.split_seed,
            word_pattern=pattern,
            scoring_only=not training if scoring_only is None else scoring_only,
            untyped=only_type(specs, source),
        )
        for source in (sources + others if training else sources)
    }
    if data_args.train_on_dev and training:
        loaded = {source: with_dev_in_train(corpus) for source, corpus in loaded.items()}
    corpora = {source: loaded[source] for source in sources}
    tasks = resolve_tasks(specs, {source: corpus.types for source, corpus in corpora.items()})
    found: list[list[Leak]] = [[], []]
    if training:
        corpora, *found = drop_leaks(corpora, data_args.leaks, {name: loaded[name] for name in others})
    names = corpus_names(loaded, {name for task in tasks for name in task.types})
    report: dict[str, Any] = {
        split: [leak.as_dict() | {"train": names[leak.train], "held_out": names[leak.held_out]} for leak in leaks]
        for split, leaks in zip(("train", "dev"), found, strict=True)
    }
    report["train_documents"] = len({(leak.train, name) for leak in found[0] for name in leak.document_ids})
    tasks = [replace(task, corpora=tuple(names[source] for source in task.corpora)) for task in tasks]
    return tasks, {names[source]: corpora[source] for source in sources}, report


def corpus_names(sources: Iterable[str], types: Collection[str] = ()) -> dict[str, str]:
    """A name for each source: of a path only its last part, so that no path of this machine gets into results, and
    never that of a registered corpus, whose it is not, or of a type, whose scores would have the same name."""
    names: dict[str, str] = {}
    for source in sources:
        base = name = Path(source).resolve().name if "/" in source else source
        number = 1
        while name in names.values() or (name != source and name in list_corpora()) or name in types:
            number += 1
            name = f"{base}-{number}"
        names[source] = name
    return names


def task_texts(
    tasks: Sequence[Task],
    corpora: Mapping[str, LoadedCorpus],
    split: str,
    task_ids: Mapping[str, int],
    config: MtlBionerConfig,
    limit: int | None,
    fractions: Mapping[str, float] | None = None,
    seed: int = 42,
) -> list[TaskText]:
    """The documents of a split as each task sees them.

    Args:
        limit: most documents of a corpus.
        fractions: of each task, the share of its documents that is drawn by `seed`; all by default.
    """
    texts = []
    for task in tasks:
        share = (fractions or {}).get(task.name, 1)
        for corpus in task.corpora:
            for document in sample_documents(corpora[corpus].splits[split], share, seed)[:limit]:
                words, tags, _ = labelled(document, config.word_pattern, task.types)
                breaks = sentence_breaks(document.text, words, config.sentence_pattern)
                texts.append(TaskText(task_ids[task.name], corpus, document, words, tags, breaks, task.types))
    return texts


def task_fractions(text: str | None, names: Sequence[str]) -> dict[str, float]:
    """The share of training documents of each task that `--train_fraction` says.

    Raises:
        ValueError: an unknown task, or a share that is not above 0 and at most 1.
    """
    try:
        fractions = dict.fromkeys(names, float(text or 1))
    except ValueError:
        fractions = values_by_task("--train_fraction", "share", text, list(names))
    for name, share in fractions.items():
        if not 0 < share <= 1:
            raise ValueError(f"--train_fraction gives {name} the share {share}; give more than 0, at most 1")
    return fractions


def sample_documents(documents: Sequence[Document], share: float, seed: int) -> list[Document]:
    """That share of the documents, at least one, in their order; a larger share holds the smaller one."""
    shuffled = random.Random(seed).sample(range(len(documents)), len(documents))
    return [documents[i] for i in sorted(shuffled[: max(1, round(share * len(documents)))])]


def check_texts(split: str, tasks: Sequence[Task], texts: Sequence[TaskText], task_ids: Mapping[str, int]) -> None:
    """Raises CorpusError for a task without a text, or none of whose training texts holds a mention."""
    for task in tasks:
        own = [text for text in texts if text.task_id == task_ids[task.name]]
        if not any(text.words for text in own):
            raise CorpusError(
                f"task {task.name} has no {split} document with a word in it; add some to {', '.join(task.corpora)}, "
                "or leave the task out, or choose what is done by --do_train, --do_eval (on dev), --do_predict (on "
                "test), and with --eval_strategy no train without evaluations; if the leak check above dropped them, "
                "--leaks warn keeps them"
            )
        if split == "train" and not any(tag != "O" for text in own for tag in text.tags):
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
        problem = "is no folder, and the Hub can't be reached"
        if local or hub_answers(name, model_args.model_revision):
            problem = f"can't be loaded ({first_line(error)})"
        raise ValueError(
            f"--model_name_or_path {name}: {problem}; give the folder of a downloaded encoder with "
            "--model_name_or_path, or check the name and the network"
        ) from error
    return MtlBionerConfig.from_dict(found) if found.get("model_type") == MtlBionerConfig.model_type else None


def hub_options(model_args: ModelArguments) -> dict[str, Any]:
    """What `from_pretrained` needs to know of the Hub."""
    if os.path.isdir(model_args.model_name_or_path):
        return {}
    return {
        "revision": model_args.model_revision,
        "cache_dir": model_args.cache_dir,
        "local_files_only": not hub_answers(model_args.model_name_or_path, model_args.model_revision),
    }


@functools.cache
def hub_answers(name: str, revision: str) -> bool:
    """Whether the Hub can be reached, by one request: `from_pretrained` would try each file for half a minute."""
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision))
    except HfHubHTTPError as error:  # no such model, or no access: `from_pretrained` says it best
        return error.response.status_code < 500
    except Exception as error:  # offline mode, or whatever the HTTP library of the day raises
        logger.debug("%s: %s", name, error)
        return False
    return True


def first_line(error: Exception) -> str:
    """The first line of an error's message, and those that it announces."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[:4] if lines[0].endswith(":") else lines[:1])


def find_tokenizer(model_args: ModelArguments, saved: MtlBionerConfig | None) -> Any:
    """The encoder's tokenizer.

    Raises:
        ValueError: there is none, or a slow one only.
    """
    options = hub_options(model_args)
    if saved is not None:  # else AutoTokenizer looks for the config's class, and asks whether to trust a saved model
        options["config"] = saved.encoder_config
    try:
        return load_tokenizer(model_args.model_name_or_path, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"--model_name_or_path {model_args.model_name_or_path}: {first_line(error)}") from error


def make_model(model_args: ModelArguments, tasks: Sequence[Task], saved: MtlBionerConfig | None) -> MtlBionerModel:
    """A model with a head for each task: fresh on an encoder, or a saved one with its heads continued.

    Raises:
        ValueError: no weights there, an encoder that can't be used, or a head of other types.
    """
    try:
        model = _make_model(model_args, tasks, saved)
    except (OSError, RuntimeError, SafetensorError) as error:  # no weights, of other shapes, or damaged
        raise ValueError(f"--model_name_or_path {model_args.model_name_or_path}: {first_line(error)}") from error
    check_encoder(model, model_args.model_name_or_path)
    return model


@torch.no_grad()
def check_encoder(model: MtlBionerModel, name: str) -> None:
    """Raises ValueError for an encoder that gives no hidden state for each sub-word of a text (T5, ...)."""
    ids = torch.ones(1, 4, dtype=torch.long)
    try:
        hidden = model.eval().encode(ids, torch.ones_like(ids))
        shape = tuple(hidden.shape)
        model.classify(hidden, model.config.task_names[:1])  # of another width than the config says?
        reason = "" if shape[:2] == (1, 4) else f"4 sub-words become hidden states of shape {shape}"
    except Exception as error:  # whatever the code of the encoder raises
        reason = f"{type(error).__name__}: {first_line(error)}"
    if reason:
        kind = model.config.encoder_config.model_type
        raise ValueError(
            f"--model_name_or_path {name}: the encoder, of type {kind}, can't be used ({reason}); choose one as BERT, "
            "RoBERTa, ELECTRA or DeBERTa"
        )


def _make_model(model_args: ModelArguments, tasks: Sequence[Task], saved: MtlBionerConfig | None) -> MtlBionerModel:
    wanted = [{"name": task.name, "types": list(task.types), "corpora": list(task.corpora)} for task in tasks]
    options = hub_options(model_args)
    dropout = dict.fromkeys(ATTENTION_DROPOUT, model_args.attention_dropout or 0.0)
    if saved is None:
        return MtlBionerModel.from_encoder(
            model_args.model_name_or_path,
            wanted,
            dropout,
            options,
            sentence_pattern=SENTENCE_PATTERN,
            **given(model_args, (*SHARING_OPTIONS, "head_dropout")),
        )
    for name, value in given(model_args, ("adversarial_weight", "difference_weight", "head_dropout")).items():
        setattr(saved, name, value)
    for name in ATTENTION_DROPOUT if model_args.attention_dropout is not None else ():
        if hasattr(saved.encoder_config, name):
            setattr(saved.encoder_config, name, model_args.attention_dropout)
    model = MtlBionerModel.from_pretrained(model_args.model_name_or_path, config=saved, dtype=torch.float32, **options)
    return model.with_tasks(wanted, drop=dropped_tasks(model_args))


def given(arguments: Any, names: Iterable[str]) -> dict[str, Any]:
    """Those of the named arguments that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def dropped_tasks(model_args: ModelArguments) -> list[str]:
    """Names in `--drop_tasks`."""
    return [name.strip() for name in (model_args.drop_tasks or "").split(",") if name.strip()]


def check_heads(
    model_args: ModelArguments, names: Sequence[str], saved: MtlBionerConfig | None, training: bool
) -> None:
    """Raises ValueError for a head that is dropped and used, or used and never trained, or another sharing layer."""
    model, heads = model_args.model_name_or_path, saved.task_names if saved else []
    if saved is not None and saved.sharing == "cross" and model_args.freeze_encoder and set(names) != set(heads):
        raise ValueError(
            "--freeze_encoder: the tasks of a cross-sharing model open gates for each other, so the other heads can't "
            f"stay as they are; leave it out, or name all heads in --tasks ({', '.join(heads)})"
        )
    for name, value in given(model_args, SHARING_OPTIONS[:2]).items() if saved is not None else ():
        if value != getattr(saved, name):
            raise ValueError(f"--{name} is {value!r}, but {model} has {getattr(saved, name)!r}; leave it out")
    for name in dropped_tasks(model_args):
        if name not in heads:
            have = f"its heads are {', '.join(heads)}" if saved else "it is an encoder without heads"
            raise ValueError(f"--drop_tasks names {name!r}, which {model} does not have; {have}")
        if name in names:
            raise ValueError(f"--drop_tasks names {name!r}, which --tasks uses; take it out of one of them")
    for name in names:
        if name not in heads and not training:
            have = f"whose heads are {', '.join(heads)}" if saved else "which is an encoder without heads"
            raise ValueError(
                f"--tasks names {name!r}, but nothing is trained and there is no such head in {model}, {have}; add "
                "--do_train, or write HEAD=SOURCE:TYPE to score a head on another corpus"
            )


def whole_head(task: Task, saved: MtlBionerConfig) -> Task:
    """A task that is scored only, with all types of its head, of which its corpora may annotate some only."""
    types = next(tuple(own["types"]) for own in saved.tasks if own["name"] == task.name)
    return replace(task, types=types) if set(task.types) < set(types) else task


def settle_teachers(
    model_args: ModelArguments, training: bool, names: Sequence[str], saved: MtlBionerConfig | None
) -> None:
    """Take `auto` for `--teachers` where nothing was said, and several tasks are trained from an encoder.

    Raises:
        ValueError: teachers of a single task, or `auto` that doesn't begin with an encoder.
    """
    if model_args.teachers not in (None, [NONE]) and len(names) < 2:
        raise ValueError(f"--teachers label the text of other tasks, and {names[0]} is the only one; leave it out")
    if AUTO in (model_args.teachers or ()) and saved is not None:
        raise ValueError(
            f"--teachers auto trains each teacher from an encoder, and {model_args.model_name_or_path} is a saved "
            "multi-task model; name its encoder, or teachers that you trained"
        )
    if model_args.teachers is None:
        model_args.teachers = [NONE]
        if training and len(names) > 1 and saved is None and not model_args.freeze_encoder:
            model_args.teachers = [AUTO]
            logger.info(
                "--teachers %s: %d single-task models are trained first, which then teach the model; "
                "--teachers %s leaves them out, in half the time", AUTO, len(names), NONE,
            )  # fmt: skip


def settle_arguments(
    model: MtlBionerModel, tokenizer: Any, model_args: ModelArguments, data_args: DataArguments
) -> None:
    """What was left to the model is taken from it, so that the record says what was used; window sizes are set in it.

    Raises:
        ValueError: windows that the encoder can't take, or gates to report where there are none.
    """
    config = model.config
    for name in (*SHARING_OPTIONS, "head_dropout"):
        setattr(model_args, name, getattr(config, name))
    dropouts = (getattr(config.encoder_config, name, None) for name in ATTENTION_DROPOUT)
    model_args.attention_dropout = next((value for value in dropouts if value is not None), None)
    if data_args.text_unit is not None:
        config.sentence_pattern = SENTENCE_PATTERN if data_args.text_unit == "sentence" else ""
    data_args.text_unit = "sentence" if config.sentence_pattern else "passage"
    limit = length_limit(tokenizer, config.encoder_config)
    if data_args.max_seq_length is None:
        data_args.max_seq_length = min(config.max_seq_length, limit)
    if data_args.context_size is None:
        data_args.context_size = config.context_size
    if data_args.context_size < 0:
        raise ValueError(f"--context_size is {data_args.context_size}; give 0 or more")
    if not 8 <= data_args.max_seq_length <= limit:
        raise ValueError(
            f"--max_seq_length is {data_args.max_seq_length}; this encoder takes 8 to {limit} (longer text becomes "
            "several windows, nothing is cut)"
        )
    model.config.max_seq_length = data_args.max_seq_length
    model.config.context_size = data_args.context_size
    if model_args.report_gates and (config.sharing != "cross" or len(config.tasks) < 2):
        raise ValueError(
            f"--report_gates: there are no gates in --sharing {config.sharing} with {len(config.tasks)} task(s); give "
            "--sharing cross and two tasks or more"
        )


# --------------------------------------------------------------------------------------------------------------- main


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
        model_args.model_name_or_path, results.RECORD, _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False, **hub_options(model_args),
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
            "base_model": results.model_hash(self.model_args.model_name_or_path, self.model_args.model_revision),
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
    given = given_arguments(argv)
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
    run.teachers = named_teachers(model_args.teachers)
    run.taught_by = load_teachers(run.teachers, names, model.config, tokenizer)
    for split, limit in needed_splits(run).items():
        run.rows[split] = make_rows(run, split, limit)
    run.old = old_rows(run, saved, names)
    if model_args.freeze_encoder:
        model.freeze(names)
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
    places = [place for place in (output / results.TEACHERS / name for name in wanted) if place.exists()]
    if places and not results.trained_teachers(output):
        raise ValueError(
            f"{places[0]} is not from --teachers {AUTO}, which would write there; give another --output_dir"
        )


def label_rows(run: Run) -> None:
    """Let the teachers, if there are any, label the training rows."""
    if run.taught_by:
        begun = time.perf_counter()
        teach(run.rows["train"], run.taught_by, run.model.config, run.tokenizer, run.args.device, run.args.bf16)
        run.teaching_seconds, run.taught_by = time.perf_counter() - begun, {}


def arguments_of_teachers(run: Run) -> dict[str, dict[str, Any]]:
    """By task, the arguments of its teacher's training, with `--teachers auto`."""
    if AUTO not in run.model_args.teachers:
        return {}
    folder = Path(run.args.output_dir) / results.TEACHERS
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
        folder = Path(run.args.output_dir) / results.TEACHERS / name
        goes_on = resumes(run.args)
        if not (goes_on and (folder / results.RECORD).is_file()):
            logger.info("teacher %d of %d: %s", number, len(run.tasks), name)
            again = "true" if goes_on and last_complete_checkpoint(folder) else None
            teacher = prepare_teacher(run, {**arguments, "resume_from_checkpoint": again})
            own = make_trainer(teacher)
            execute(teacher, own)
            own.accelerator.wait_for_everyone()
        if run.args.process_index == 0:
            results.remove_checkpoints(folder)
        run.teachers.append(str(folder))
        found = results.read_scores(folder)
        scores |= results.single_scores(found, name)
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
            model.freeze([task.name for task in run.tasks])
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
    return f"{search.search_table(rows)}\nbest arguments: {output / search.BEST}"


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
                results.remove_old(output)
            begun = begun_with(run.given, run.model_args.teachers, args) | {INPUTS: run.inputs}
            results.write_json(output / results.BEGUN, begun)
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
            results.write_gates(output, gates, run.model.config.task_names)
        results.write_run(output, run, metrics, trainer.state.log_history)
        if args.do_predict:
            results.write_predictions(output, run.rows["test"], trainer.entities, run.model.config.task_names)
            results.plot_reliability(output / "reliability.png", trainer.scored(run.rows["test"]))
        if args.do_train:
            write_card(output, getattr(trainer, "hub_model_id", None) or output.name)
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
        sys.stderr.write(f"run_mtl_ner: error: {' '.join(str(error).split())}\n")
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
        sys.stdout.write(results.score_table(metrics, run.model.config) + "\n")
        sys.stdout.write(results.forgetting_table(metrics) + results.sharing_table(metrics))
    status = 0
    try:
        if run.args.push_to_hub:
            trainer.push_to_hub()
    except PushError as error:
        again = f"mtl-bioner-push {run.args.output_dir} {trainer.hub_model_id}"
        sys.stderr.write(f"run_mtl_ner: error: {error}; the model is in {run.args.output_dir}: {again}\n")
        status = 1
    leave_processes(trainer)
    return status


if __name__ == "__main__":
    sys.exit(main())
