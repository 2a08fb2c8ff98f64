"""MultiTaskTrainer: what multi-task training changes in the Hugging Face Trainer, and nothing else.

Three things: the order of batches (`TaskBatchSampler`), the loss (weighted sum over the tasks), and evaluation
(character spans of whole documents instead of labels of windows).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy, SaveStrategy

from data_collators import TaskBatchSampler, TaskRows
from metrics_mtl_bioner import Score, score_with_alternatives, summarise, task_metrics
from modeling_mtl_bioner import IGNORE, multi_task_loss


@dataclass
class MultiTaskTrainingArguments(TrainingArguments):
    """TrainingArguments and what tasks add to them; defaults are those of this project."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Where everything is written; default outputs/<tasks>."}
    )
    task_sampling_alpha: float = field(
        default=1.0,
        metadata={"help": "P(task) ~ rows^alpha: 1 proportional, 0.5 square-root, 0 uniform sampling."},
    )
    one_task_batches: bool = field(default=False, metadata={"help": "Each batch holds rows of one task only."})
    task_loss_weights: str | None = field(
        default=None,
        metadata={
            "help": "Weight of each task's cross-entropy: `ncbi=1,bc5cdr=0.5` (1 where not named), or `balanced`, "
            "which gives the plain sum of the tasks' means."
        },
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better development macro F1."}
    )
    learning_rate: float = field(default=3e-4, metadata={"help": "Peak learning rate."})
    num_train_epochs: float = field(default=6.0, metadata={"help": "Epochs over the rows of all tasks."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Windows of a training batch."})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Windows of an evaluation batch."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of linear warm-up; below 1, a share of all."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    logging_steps: float = field(default=50, metadata={"help": "Log every so many steps; below 1, a share of all."})
    eval_strategy: IntervalStrategy | str = field(
        default="epoch", metadata={"help": "When to score the development split."}
    )
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "When to write a checkpoint."})
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best epoch, not the last."})
    metric_for_best_model: str | None = field(default="macro_f1", metadata={"help": "What `best` goes by."})
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Has no effect: rows are no columns."})

    def __post_init__(self) -> None:
        asked = (self.do_train, self.do_eval, self.do_predict)
        super().__post_init__()  # turns do_eval on wherever there is an eval_strategy
        self.do_train, self.do_eval, self.do_predict = asked if any(asked) else (True, True, True)
        if not self.do_train:
            self.eval_strategy = IntervalStrategy.NO  # else Trainer wants a development set even to predict
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # there is no device to copy to; torch would warn at every loader


class SetEpoch(TrainerCallback):
    """Tells the sampler the epoch also after a resume, where accelerate's wrappers don't on several processes."""

    def __init__(self, sampler: TaskBatchSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.sampler.set_epoch(int(state.epoch or 0))


class LogEachEpoch(TrainerCallback):
    """Logs at the end of every epoch too, so that short trainings have learning curves."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_log = True


def log_line(logs: Mapping[str, float], task_names: list[str]) -> str:
    """What a log says to people, on one line; "" for one that says nothing new.

    `epoch 1.50  loss 0.1103  ncbi 0.1020  bc5cdr 0.1200`, `epoch 2.00  dev F1  ncbi 81.14  bc5cdr 81.27  macro 81.21`.
    """
    epoch = f"epoch {logs.get('epoch', 0):.2f}"
    if "eval_macro_f1" in logs:
        scores = [(name, logs.get(f"eval_{name}_f1")) for name in (*task_names, "macro")]
        return "  ".join([epoch, "dev F1", *(f"{name} {100 * f1:.2f}" for name, f1 in scores if f1 is not None)])
    if "loss" in logs:
        losses = [(name, logs.get(f"loss_{name}")) for name in task_names]
        parts = [f"{name} {loss:.4f}" for name, loss in losses if loss is not None]
        return "  ".join([epoch, f"loss {logs['loss']:.4f}", *parts])
    if "train_runtime" in logs:
        return f"trained in {logs['train_runtime']:.0f} s"
    return ""


class OneLineProgress(ProgressCallback):
    """The progress bar, with `log_line` instead of a dict of all scores."""

    def __init__(self, task_names: list[str]) -> None:
        super().__init__()
        self.task_names = task_names

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = log_line(logs or {}, self.task_names)
        if line and state.is_world_process_zero and self.training_bar is not None:
            self.training_bar.write(line)


class OneLinePrinter(TrainerCallback):
    """The same without a progress bar (`--disable_tqdm`)."""

    def __init__(self, task_names: list[str]) -> None:
        self.task_names = task_names

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = log_line(logs or {}, self.task_names)
        if line and state.is_local_process_zero:
            sys.stdout.write(f"{line}\n")


class MultiTaskTrainer(Trainer):
    """A Trainer whose rows belong to tasks.

    `train_dataset` and `eval_dataset` are `TaskRows`; evaluation gives the keys of `metrics_mtl_bioner.py` for every
    task, macro and micro F1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.task_names: list[str] = self.model.config.task_names
        self.train_sampler = self._make_sampler() if self.train_dataset is not None else None
        self.add_callback(LogEachEpoch())
        for stock, own in ((ProgressCallback, OneLineProgress), (PrinterCallback, OneLinePrinter)):
            if self.pop_callback(stock) is not None:
                self.add_callback(own(self.task_names))
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))
        weights = parse_loss_weights(self.args.task_loss_weights, self.task_names)
        if weights is None and self.train_dataset is not None:
            weights = balanced_weights(self.train_dataset, self.train_sampler, len(self.task_names))
        self.task_weights = torch.tensor(weights or [1.0] * len(self.task_names))
        # Summed cross-entropy and labelled tokens of each task since the last log.
        self._loss_log = torch.zeros(2, len(self.task_names))
        self.entities: list[list[dict[str, Any]]] = []  # per text, of the last evaluation or prediction

    # -- order of batches

    def _make_sampler(self) -> TaskBatchSampler:
        sampler = TaskBatchSampler(
            self.train_dataset.task_ids,
            self.train_dataset.lengths,
            self.args.per_device_train_batch_size,
            self.args.task_sampling_alpha,
            not self.args.one_task_batches,
            self.args.data_seed if self.args.data_seed is not None else self.args.seed,
        )
        self.add_callback(SetEpoch(sampler))
        return sampler

    def get_train_dataloader(self) -> DataLoader:
        """Batches of `TaskBatchSampler`, batch i to process i modulo their number."""
        self.train_sampler.rows_per_batch = self._train_batch_size  # of all GPUs of this process
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.train_sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    # -- loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """`multi_task_loss` with the tasks' weights; N counts the labelled tokens of the whole update."""
        features = {key: value for key, value in inputs.items() if key != "labels"}
        outputs = model(**features)
        loss, sums, counts = multi_task_loss(
            outputs.logits, inputs["labels"], inputs["task_id"], self.task_weights, num_items_in_batch
        )
        if model.training:
            self._loss_log += torch.stack([sums, counts]).cpu()
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, N is their sum
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `loss_{task}`, the mean cross-entropy of a task's labelled tokens since the last log."""
        if "loss" in logs:
            total = self.accelerator.reduce(self._loss_log.to(self.accelerator.device)).cpu()
            self._loss_log.zero_()
            for name, loss, count in zip(self.task_names, *total.tolist(), strict=True):
                if count:
                    logs[f"loss_{name}"] = round(loss / count, 4)
        super().log(logs, start_time)

    # -- evaluation

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As Trainer's, with entity scores of all tasks among the metrics; `entities` holds what was found."""
        output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        rows = dataloader.dataset
        self.entities = predicted_entities(rows, output.predictions)
        output.metrics.update(span_metrics(rows, self.entities, self.model.config, metric_key_prefix))
        return output


def parse_loss_weights(text: str | None, task_names: list[str]) -> list[float] | None:
    """Weights in the order of the tasks; None for `balanced`.

    Raises:
        ValueError: an unknown task, or a weight that is no positive number.
    """
    if text == "balanced":
        return None
    weights = dict.fromkeys(task_names, 1.0)
    for item in filter(None, (text or "").split(",")):
        name, _, value = item.partition("=")
        if name not in weights:
            raise ValueError(f"--task_loss_weights names {name!r}; the tasks are {', '.join(task_names)}")
        try:
            weights[name] = float(value)
        except ValueError:
            raise ValueError(f"--task_loss_weights gives {name} the weight {value!r}; write {name}=0.5") from None
        if not 0 <= weights[name] < float("inf"):
            raise ValueError(f"--task_loss_weights gives {name} the weight {value}; it must be 0 or more, and finite")
    if not any(weights.values()):
        raise ValueError(
            f"--task_loss_weights {text} leaves nothing to learn; give at least one task a weight above 0"
        )
    return list(weights.values())


def balanced_weights(rows: TaskRows, sampler: TaskBatchSampler, tasks: int) -> list[float]:
    """Inverse of each task's share of the labelled tokens that an epoch draws: the loss is the sum of task means."""
    labelled = [0.0] * tasks
    for row in rows.rows:
        labelled[row.task_id] += sum(label != IGNORE for label in row.labels)
    drawn = [labelled[t] * sampler.draws[t] / len(sampler.rows[t]) if t in sampler.rows else 0.0 for t in range(tasks)]
    return [sum(drawn) / count if count else 1.0 for count in drawn]


def predicted_entities(rows: TaskRows, logits: Any) -> list[list[dict[str, Any]]]:
    """Per text its predicted entities `{start, end, type, score}`, character offsets into the document."""
    return [
        [
            {"start": text.words[s.start][0], "end": text.words[s.end - 1][1], "type": s.type, "score": s.score}
            for s in spans
        ]
        for text, spans in zip(rows.texts, rows.decode(logits), strict=True)
    ]


def span_metrics(rows: TaskRows, predicted: list[list[dict[str, Any]]], config: Any, prefix: str) -> dict[str, float]:
    """Scores of all tasks with rows, by corpus and type, against the corpora's gold.

    Args:
        predicted: per text its entities, as from `predicted_entities`.
    """
    metrics: dict[str, float] = {}
    totals: dict[str, Score] = {}
    for task, name in enumerate(config.task_names):
        own = [i for i, text in enumerate(rows.texts) if text.task_id == task]
        if not own:
            continue
        types = config.tasks[task]["types"]
        corpora = sorted({rows.texts[i].corpus for i in own})
        scores, totals[name] = _score_texts(f"{prefix}_{name}", rows, own, predicted, types)
        metrics |= scores
        for corpus in corpora if len(corpora) > 1 else ():
            part = [i for i in own if rows.texts[i].corpus == corpus]
            suffixed, _ = _score_texts("", rows, part, predicted, types, corpus)
            metrics |= {f"{prefix}_{name}{key}": value for key, value in suffixed.items()}
    return metrics | summarise(prefix, totals)


def _score_texts(
    prefix: str, rows: TaskRows, own: list[int], predicted: list[list[dict]], types: list[str], corpus: str = ""
) -> tuple[dict[str, float], Score]:
    """Scores of some texts of a task; with `corpus` the keys are `_{metric}_{corpus}` and `.._{Type}`."""
    gold = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.entities if e.type in types}
    found = {(i, e["start"], e["end"], e["type"]) for i in own for e in predicted[i]}
    metrics, total = task_metrics(prefix, gold, found, types)
    other = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.alternatives if e.type in types}
    if other:
        metrics |= {
            f"{prefix}_official_{name}": getattr(score_with_alternatives(gold, other, found), name)
            for name in ("precision", "recall", "f1")
        }
    if corpus:
        metrics = {_insert_corpus(key, corpus): value for key, value in metrics.items()}
    return metrics, total


def _insert_corpus(key: str, corpus: str) -> str:
    """`_f1_Gene` -> `_f1_{corpus}_Gene`, `_official_f1` -> `_official_f1_{corpus}`."""
    metric, type_name = re.fullmatch(r"_((?:official_)?[^_]+)(_.+)?", key).groups(default="")
    return f"_{metric}_{corpus}{type_name}"
