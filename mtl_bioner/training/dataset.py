"""Load tasks and corpora, and build the rows of each split."""

import itertools
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from data_collators import TaskRows, TaskText
from dataset_scripts import CorpusError, Document, LoadedCorpus, list_corpora, load_corpus, with_dev_in_train
from dataset_scripts.bio import label_words
from dataset_scripts.hub_corpus import is_hub_source, parse_hub_source
from dataset_scripts.leaks import Leak, drop_leaks
from dataset_scripts.schema import ReadOptions
from dataset_scripts.tasks import Task, infer_single_type, parse_tasks, resolve_tasks
from modeling_mtl_bioner import find_sentence_breaks
from mtl_bioner.training.arguments import DataArguments
from mtl_bioner.training.loss_weights import values_by_task
from mtl_bioner.training.run import Run


def load_tasks(
    data_args: DataArguments, word_pattern: str, training: bool, scoring_only: bool | None = None
) -> tuple[list[Task], dict[str, LoadedCorpus], dict[str, Any]]:
    """Load the corpora of `--tasks`, each once, and drop training text that is held-out text of any of them.

    Args:
        training: whether these tasks are trained, so that leaks count.
        scoring_only: whether nothing is trained at all, by default if these tasks aren't (see `load_corpus`).

    Returns:
        The tasks; the corpora by name; and the report of leaks, which lists training text that is held-out text
        (`train`), development text that is test text (`dev`), and how many training documents leak.
    """
    specs = parse_tasks(data_args.tasks)
    sources = list(dict.fromkeys(source.corpus for spec in specs for source in spec.sources))
    read_options = ReadOptions(**{field.name: getattr(data_args, field.name) for field in fields(ReadOptions)})
    leak_sources = [name for name in (data_args.leak_corpora or "").split(",") if name and name not in sources]
    loaded = {
        source: load_corpus(
            source,
            data_args.data_dir,
            test_size=data_args.test_size,
            dev_size=data_args.dev_size,
            seed=data_args.split_seed,
            word_pattern=word_pattern,
            scoring_only=not training if scoring_only is None else scoring_only,
            untyped=infer_single_type(specs, source),
            options=read_options,
        )
        for source in (sources + leak_sources if training else sources)
    }
    if data_args.train_on_dev and training:
        loaded = {source: with_dev_in_train(corpus) for source, corpus in loaded.items()}
    corpora = {source: loaded[source] for source in sources}
    if untrainable := [source for source in sources if training and not corpora[source].splits["train"]]:
        remedy = (
            "add training files, score it with --do_predict alone, or cut all splits from it with --test_size 0.15"
        )
        raise CorpusError(f"{untrainable[0]} has a test split only, so nothing can be trained on it; {remedy}")
    tasks = resolve_tasks(specs, {source: corpus.types for source, corpus in corpora.items()})
    leaks: list[list[Leak]] = [[], []]
    if training:
        corpora, *leaks = drop_leaks(corpora, data_args.leaks, {name: loaded[name] for name in leak_sources})
    names = name_corpora(loaded, {name for task in tasks for name in task.types})
    tasks = [replace(task, corpora=tuple(names[source] for source in task.corpora)) for task in tasks]
    report: dict[str, Any] = {
        split: [leak.as_dict() | {"train": names[leak.train], "held_out": names[leak.held_out]} for leak in found]
        for split, found in zip(("train", "dev"), leaks, strict=True)
    }
    report["train_documents"] = len({(leak.train, name) for leak in leaks[0] for name in leak.document_ids})
    report |= {"scored": [], "earlier_texts_known": True}  # unless a saved model says otherwise
    return tasks, {names[source]: corpora[source] for source in sources}, report


def name_corpora(sources: Iterable[str], types: Collection[str] = ()) -> dict[str, str]:
    """Name each source: a path by its last part, so that no path of this machine gets into results.

    A data set of the Hub gets its name without the owner. No path gets the name of a registered corpus, and none that
    of a type, whose scores would have the same key.
    """
    names: dict[str, str] = {}
    for source in sources:
        if is_hub_source(source):
            base = parse_hub_source(source).short_name
        else:
            base = Path(source).resolve().name if "/" in source else source
        name = base
        numbers = itertools.count(2)
        while name in names.values() or (name != source and name in list_corpora()) or name in types:
            name = f"{base}-{next(numbers)}"
        names[source] = name
    return names


def list_needed_splits(run: Run) -> dict[str, int | None]:
    """Return the splits that a run uses, each with the most documents of a corpus."""
    args, data_args = run.args, run.data_args
    splits = {}
    if args.do_train:
        splits["train"] = data_args.max_train_samples
    if args.do_eval or run.model_args.report_gates or (args.do_train and args.eval_strategy != "no"):
        splits["dev"] = data_args.max_eval_samples
    if args.do_predict:
        splits["test"] = data_args.max_predict_samples
    return splits


def build_rows(run: Run, split: str, limit: int | None = None) -> TaskRows:
    """Build the rows of all tasks in a split, of at most `limit` documents of a corpus; errors as in `check_texts`."""
    config, data_args = run.model.config, run.data_args
    task_ids = {name: index for index, name in enumerate(config.task_names)}
    shares = parse_fractions(data_args.train_fraction, run.task_names) if split == "train" else {}
    texts = []
    for task in run.tasks:
        for corpus in task.corpora:
            documents = run.corpora[corpus].splits[split]
            for document in sample_documents(documents, shares.get(task.name, 1), run.args.seed)[:limit]:
                words, tags, _ = label_words(document, config.word_pattern, task.types)
                breaks = find_sentence_breaks(document.text, words, config.sentence_pattern)
                texts.append(TaskText(task_ids[task.name], corpus, document, words, tags, breaks, task.types))
    check_texts(split, run.tasks, texts, task_ids)
    labels = [config.labels(task) for task in range(len(task_ids))]
    label_subwords = data_args.label_subwords if split == "train" else "first"
    rows = TaskRows(texts, labels, run.tokenizer, data_args.max_seq_length, data_args.context_size, label_subwords)
    return rows if split == "train" else rows.sort_by_length()


def parse_fractions(text: str | None, names: Sequence[str]) -> dict[str, float]:
    """Return the share of each task's training documents by `--train_fraction`; raises ValueError if it is none."""
    try:
        fractions = dict.fromkeys(names, float(text or 1))
    except ValueError:
        fractions = values_by_task("--train_fraction", "share", text, list(names))
    for name, share in fractions.items():
        if not 0 < share <= 1:
            raise ValueError(f"--train_fraction gives {name} the share {share}; give more than 0, at most 1")
    return fractions


def sample_documents(documents: Sequence[Document], share: float, seed: int) -> list[Document]:
    """Draw a share of the documents, at least one, in their order; a larger share holds the smaller one."""
    shuffled = random.Random(seed).sample(range(len(documents)), len(documents))
    return [documents[i] for i in sorted(shuffled[: max(1, round(share * len(documents)))])]


def check_texts(split: str, tasks: Sequence[Task], texts: Sequence[TaskText], task_ids: Mapping[str, int]) -> None:
    """Raise CorpusError for a task without any text in the split, or in training without any mention."""
    for task in tasks:
        task_texts = [text for text in texts if text.task_id == task_ids[task.name]]
        if not any(text.words for text in task_texts):
            raise CorpusError(
                f"task {task.name} has no {split} document with a word in it; add some to {', '.join(task.corpora)}, "
                "or leave the task out, or choose what is done by --do_train, --do_eval (on dev), --do_predict (on "
                "test), and with --eval_strategy no train without evaluations; if the leak check above dropped them, "
                "--leaks warn keeps them"
            )
        if split == "train" and not any(tag != "O" for text in task_texts for tag in text.tags):
            mention = f"training mention of {', '.join(task.types)}"
            raise CorpusError(f"task {task.name} has no {mention}; check its corpora, or --max_train_samples")
