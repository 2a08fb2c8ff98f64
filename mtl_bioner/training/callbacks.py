"""Callbacks of the trainer: sampler epochs, logs at epoch ends, one line a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from transformers import ProgressCallback, Trainer, TrainerCallback


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
        losses.append(("teachers", logs.get("teacher_loss")))
        parts = [f"{name} {loss:.4f}" for name, loss in losses if loss is not None]
        return "  ".join([epoch, f"loss {logs['loss']:.4f}", *parts])
    if "train_runtime" in logs:
        return f"trained in {logs['train_runtime']:.0f} s"
    return ""


class OneLineProgress(ProgressCallback):
    """The progress bar with sub-words per second of training, and `log_line` instead of a dict of all scores."""

    def __init__(self, trainer: Any) -> None:
        super().__init__()
        self.trainer, self.task_names = trainer, trainer.task_names
        self.begun = self.seconds = 0.0  # of training steps alone, not of evaluations between them

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.begun
        if self.training_bar is not None and state.global_step % 10 == 0:
            rate = int(self.trainer.subwords) * args.world_size / self.seconds
            self.training_bar.set_postfix_str(f"{rate:,.0f} sub-words/s", refresh=False)
        super().on_step_end(args, state, control, **kwargs)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = log_line(logs or {}, self.task_names)
        if line and state.is_world_process_zero and self.training_bar is not None:
            self.training_bar.write(line)


class OneLinePrinter(TrainerCallback):
    """The same without a progress bar (`--disable_tqdm`)."""

    def __init__(self, trainer: Any) -> None:
        self.task_names = trainer.task_names

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = log_line(logs or {}, self.task_names)
        if line and state.is_local_process_zero:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()  # or a log file shows nothing for minutes


class SetEpoch(TrainerCallback):
    """Tells the sampler the epoch also after a resume, where accelerate's wrappers don't on several processes."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.train_sampler.set_epoch(int(state.epoch or 0))


class LogEachEpoch(TrainerCallback):
    """Logs at the end of an epoch of fewer than `logging_steps`, so that short trainings have learning curves.

    After a longer one it would log the mean of the few steps since the last log, which sticks out of the curves.
    """

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not any("loss" in entry and entry["epoch"] > state.epoch - 1 for entry in state.log_history):
            control.should_log = True
