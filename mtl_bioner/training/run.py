"""A run: everything that is settled before training starts, and its record."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_collators import TaskRows
from dataset_scripts import LoadedCorpus
from dataset_scripts.tasks import Task
from modeling_mtl_bioner import MtlBionerModel
from mtl_bioner.reporting import run_record
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.plots import plot_curves
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.parsing import Arguments
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


@dataclass
class Run:
    """Everything that is settled before training starts.

    Attributes:
        corpora: by name, without leaked documents.
        leaks: the report of `load_tasks`.
        rows: of each split that the run needs.
        other_heads: test rows of a saved model's heads that are not trained, to measure what they forget.
        teachers: names of the models that label the training rows.
        teacher_models: these models, by the task that each teaches, until they have labelled the rows.
        teaching_seconds: the time that labelling took.
    """

    arguments: Arguments
    tasks: list[Task]
    corpora: dict[str, LoadedCorpus]
    leaks: dict[str, Any]
    tokenizer: Any
    model: MtlBionerModel
    rows: dict[str, TaskRows] = field(default_factory=dict)
    other_heads: TaskRows | None = None
    teachers: list[str] = field(default_factory=list)
    teacher_models: dict[str, MtlBionerModel] = field(default_factory=dict)
    teaching_seconds: float = 0.0

    @property
    def model_args(self) -> ModelArguments:
        return self.arguments.model

    @property
    def data_args(self) -> DataArguments:
        return self.arguments.data

    @property
    def args(self) -> MultiTaskTrainingArguments:
        return self.arguments.training

    @property
    def output(self) -> Path:
        """The output folder."""
        return Path(self.args.output_dir)

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks of this run, which may be fewer than the model's heads."""
        return [task.name for task in self.tasks]

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """Hashes of the encoder or saved model, and of every corpus file by name."""
        return {
            "base_model": run_record.hash_model(self.model_args.model_name_or_path, self.model_args.model_revision),
            "corpora": {name: corpus.hashes for name, corpus in self.corpora.items()},
        }


def write_run(run: Run, scores: Mapping[str, float], history: Sequence[Mapping[str, Any]]) -> None:
    """Write `all_results.json`, `run.json`, `ledger.json` and `learning_curves.png` to the output folder.

    Args:
        history: the log of the Trainer.
    """
    run.output.mkdir(parents=True, exist_ok=True)
    ledger = {
        name: {split: ledger.as_dict() for split, ledger in corpus.ledgers.items()}
        for name, corpus in run.corpora.items()
    }
    write_json(run.output / "all_results.json", dict(scores))
    write_json(run.output / "ledger.json", ledger)
    write_json(run.output / run_record.RECORD, describe_run(run) | {"ledger": ledger, "history": list(history)})
    plot_curves(run.output / "learning_curves.png", history, run.model.config.task_names)


def describe_run(run: Run) -> dict[str, Any]:
    """Return what lets others repeat a run: versions, machine, arguments, hashes of inputs, leaks, documents used."""
    return {
        "versions": run_record.get_versions(),
        "machine": {
            **run_record.describe_machine(),
            "device": run.args.device.type,
            "processes": run.args.world_size,
        },
        "seed": run.args.seed,
        "base_model": run_record.get_hub_name(run.model_args.model_name_or_path),
        "base_model_hash": run.inputs["base_model"],
        "arguments": collect_arguments(run.arguments),
        "teachers": [{"name": Path(name).name if Path(name).is_dir() else name, "model": run_record.hash_model(name)}
                     for name in run.teachers],
        "corpora": run.inputs["corpora"],
        "documents_used": count_documents(run.rows),
        "leaks": run.leaks,
    }  # fmt: skip


def collect_arguments(arguments: Arguments) -> dict[str, Any]:
    """Return all arguments by name as a record may hold them: of paths only the last part, no secrets."""
    values = {**vars(arguments.model), **vars(arguments.data), **arguments.training.to_dict()}
    data_dir = values.get("data_dir") or ""
    if data_dir != "sample" and Path(data_dir).name == "sample":
        values["data_dir"] = "a folder named sample"  # which alone means the embedded corpus
    kept = {name: value for name, value in sorted(values.items()) if not name.endswith("_token")}
    return run_record.strip_paths(kept)


def count_documents(rows: Mapping[str, TaskRows]) -> dict[str, dict[str, int]]:
    """Return by corpus and split the number of documents that the run really used."""
    documents: dict[str, dict[str, set[str]]] = {}
    for split, split_rows in rows.items():
        for text in split_rows.texts:
            documents.setdefault(text.corpus, {}).setdefault(split, set()).add(text.document.document_id)
    return {corpus: {split: len(ids) for split, ids in splits.items()} for corpus, splits in documents.items()}
