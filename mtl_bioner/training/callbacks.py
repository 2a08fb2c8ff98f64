"""Callbacks of the trainer: epochs of the sampler, a log for every epoch, logs in one line."""

import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import IntervalStrategy


logger = logging.getLogger(__name__)


def add_callbacks(trainer: Trainer) -> None:
    """Add the project's callbacks to a `MultiTaskTrainer`, in place of those that print logs as a dict."""
    trainer.add_callback(SetEpoch(trainer))
    trainer.add_callback(TrainingTotals())
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(SpeedProgress(trainer))
    trainer.pop_callback(PrinterCallback)
    trainer.add_callback(OneLineLog(trainer))
    if trainer.args.early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(trainer.args.early_stopping_patience))


def format_log(logs: Mapping[str, float], task_names: list[str]) -> str:
    """Return a log in one line; "" for one that says nothing new.

    `epoch 1.50  loss 0.1103  ncbi 0.1020  bc5cdr 0.1200`, `epoch 2.00  dev F1  ncbi 81.14  bc5cdr 81.27  macro 81.21`.
    """
    epoch = f"epoch {logs.get('epoch', 0):.2f}"
    if "eval_macro_f1" in logs:
        scores = [(name, logs.get(f"eval_{name}_f1")) for name in (*task_names, "macro")]
        return "  ".join([epoch, "dev F1", *(f"{name} {100 * f1:.2f}" for name, f1 in scores if f1 is not None)])
    if "loss" in logs:
        losses = [(name, logs.get(f"loss_{name}")) for name in task_names]
        losses = [("loss", logs["loss"]), *losses, ("teachers", logs.get("teacher_loss"))]
        return "  ".join([epoch, *(f"{name} {loss:.4f}" for name, loss in losses if loss is not None)])
    return f"trained in {logs['train_runtime']:.0f} s" if "train_runtime" in logs else ""


class OneLineLog(TrainerCallback):
    """Print logs as `format_log` returns them, above the progress bar if there is one.

    Log at the end of an epoch shorter than `logging_steps`, so that short trainings have learning curves; after a
    longer epoch, the mean of its few last steps would stick out of the curves.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.task_names = trainer.task_names

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Warn before a training that ends before its first evaluation, so that there is no best checkpoint."""
        if args.eval_strategy == IntervalStrategy.STEPS and state.eval_steps > state.max_steps:
            logger.warning(
                "the training has %d steps, and --eval_steps is %d: no checkpoint is evaluated, the last one is kept",
                state.max_steps,
                state.eval_steps,
            )

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not any("loss" in entry and entry["epoch"] > state.epoch - 1 for entry in state.log_history):
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        line = format_log(logs or {}, self.task_names)
        if line and state.is_world_process_zero:
            tqdm.write(line)
            sys.stdout.flush()  # or a log file shows nothing for minutes


class SpeedProgress(ProgressCallback):
    """Show the progress bar with sub-words per second."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer = trainer
        self.step_start = self.seconds = 0.0  # of training steps alone, not of evaluations between them

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.step_start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.step_start
        if self.training_bar is not None and state.global_step % 10 == 0:
            rate = int(self.trainer.subwords) * args.world_size / self.seconds
            self.training_bar.set_postfix_str(f"{rate:,.0f} sub-words/s", refresh=False)
        super().on_step_end(args, state, control, **kwargs)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Leave logs to `OneLineLog`."""


class TrainingTotals(TrainerCallback, ExportableState):
    """Keep loss and time of the earlier parts of a training that was resumed; Trainer knows the last part only.

    Attributes:
        loss, seconds: summed over the steps of the earlier parts; a checkpoint holds those up to its step.
    """

    def __init__(self) -> None:
        self.loss = self.seconds = 0.0
        self.began = self.loss_so_far = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.loss_so_far = time.perf_counter(), 0.0
        state.stateful_callbacks.setdefault(type(self).__name__, {})  # checkpoints of 0.1 are without

    def state(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self.began if self.began else 0.0
        return {"args": {}, "attributes": {"loss": self.loss + self.loss_so_far, "seconds": self.seconds + seconds}}

    def complete(self, metrics: dict[str, float], loss: float, steps: int) -> None:
        """Make `train_loss` and `train_runtime` those of the whole training.

        `loss` is that of this part, summed over its steps; `steps` are all of the training.
        """
        if self.loss:
            metrics["train_loss"] = (self.loss + loss) / steps
            metrics["train_runtime"] += self.seconds


class SetEpoch(TrainerCallback):
    """Tell the sampler the epoch, also after a resume, when accelerate's wrappers for several processes don't."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.train_sampler.set_epoch(int(state.epoch or 0))
