"""Load tasks and corpora, and build the rows of each split."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_collators import TaskText
from dataset_scripts import CorpusError, Document, LoadedCorpus, list_corpora, load_corpus, with_dev_in_train
from dataset_scripts.bio import label_words
from dataset_scripts.leaks import Leak, drop_leaks
from dataset_scripts.tasks import Task, infer_single_type, parse_tasks, resolve_tasks
from modeling_mtl_bioner import MtlBionerConfig, find_sentence_breaks
from mtl_bioner.training.arguments import DataArguments
from mtl_bioner.training.loss_weights import values_by_task


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
            untyped=infer_single_type(specs, source),
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
                words, tags, _ = label_words(document, config.word_pattern, task.types)
                breaks = find_sentence_breaks(document.text, words, config.sentence_pattern)
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
