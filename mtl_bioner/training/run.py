"""A run: everything that is settled before training starts."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_collators import TaskRows
from dataset_scripts import LoadedCorpus
from dataset_scripts.tasks import Task
from dataset_scripts.training_texts import TrainingTexts
from modeling_mtl_bioner import MtlBionerModel
from mtl_bioner.reporting import run_record
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.parsing import Arguments
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


@dataclass
class Run:
    """Everything that is settled before training starts.

    Attributes:
        corpora: by name, without leaked documents.
        leaks: the report of `load_tasks`, and of `check_scored_texts`.
        earlier_texts: what a saved model was trained on before this run.
        rows: of each split that the run needs.
        entities: per text of a scored split, the entities that the model predicts.
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
    earlier_texts: TrainingTexts = TrainingTexts()
    rows: dict[str, TaskRows] = field(default_factory=dict)
    entities: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)
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
