"""Training arguments of multi-task training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from transformers import (
    TrainingArguments,
)
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from mtl_bioner.training.runtime import has_fast_bf16


# Arguments of Trainer that `MultiTaskTrainingArguments` refuses where they are not the default, and why.
REFUSED = {
    **dict.fromkeys(
        (
            "label_smoothing_factor",
            "dataloader_drop_last",
            "batch_eval_metrics",
            "prediction_loss_only",
            "optim_target_modules",
        ),
        "has no effect on multi-task training",
    ),
    "label_names": "would score something else than labels",
    "use_liger_kernel": "serves language models only",
    **dict.fromkeys(("bf16_full_eval", "fp16_full_eval"), "would leave the saved weights in that type"),
    "eval_do_concat_batches": "false leaves nothing to score whole documents by",
    "average_tokens_across_devices": "false would scale the loss by devices",
    "train_sampling_strategy": "is {}, which multi-task batches don't follow",
}


@dataclass
class MultiTaskTrainingArguments(TrainingArguments):
    """TrainingArguments and what tasks add to them; defaults are those of this project."""

    output_dir: str | None = field(
        default=None, metadata={"help": "Where everything is written; default outputs/<tasks>."}
    )
    do_train: bool = field(
        default=False, metadata={"help": "Train. Without any --do_*: train, score and predict, all three."}
    )
    do_eval: bool = field(
        default=False,
        metadata={"help": "Score the development split, and after training fit entities' scores to be chances."},
    )
    do_predict: bool = field(
        default=False, metadata={"help": "Score the test split, and write what is found in it to files."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "`true`: go on from the newest whole checkpoint in --output_dir, with the arguments that the "
            "training was begun with; or the folder of a checkpoint."
        },
    )
    task_sampling_alpha: float = field(
        default=1.0,
        metadata={"help": "P(task) ~ rows^alpha: 1 proportional, 0.5 square-root, 0 uniform sampling."},
    )
    max_tokens_per_batch: int = field(
        default=1024,
        metadata={
            "help": "Most sub-words of a training batch on a device, padding included; 0 for no bound. A batch has at "
            "most --per_device_train_batch_size windows too."
        },
    )
    one_task_batches: bool = field(default=False, metadata={"help": "Each batch holds rows of one task only."})
    task_loss_weights: str = field(
        default="balanced",
        metadata={
            "help": "Weight of each task's cross-entropy: `balanced` gives the plain sum of the tasks' means, `equal` "
            "the mean over all labelled tokens; or `ncbi=1,bc5cdr=0.5` (1 where not named)."
        },
    )
    loss_weighting: str = field(
        default="fixed",
        metadata={
            "help": "`fixed`: as --task_loss_weights says. `uncertainty`: besides, exp(-s_t) with an s_t that is "
            "learned for each task, and s_t/2 added to the loss (Kendall et al. 2018)."
        },
    )
    mask_probability: float = field(
        default=0.15,
        metadata={
            "help": "Share of sub-words that training replaces by the mask token, anew at each step, so that "
            "mentions are told by their context too."
        },
    )
    teacher_weight: float = field(
        default=2.0, metadata={"help": "With --teachers: weight of the loss on what they say of other tasks' rows."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better --metric_for_best_model."}
    )
    learning_rate: float | None = field(
        default=None,
        metadata={"help": "Peak learning rate; default 5e-5, and 3e-4 for small encoders (hidden size below 512)."},
    )
    num_train_epochs: float = field(default=8.0, metadata={"help": "Epochs over the rows of all tasks."})
    per_device_train_batch_size: int = field(
        default=64, metadata={"help": "Most windows of a training batch on a device; see --max_tokens_per_batch."}
    )
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "Windows of an evaluation batch."})
    warmup_steps: float = field(default=0.1, metadata={"help": "Steps of linear warm-up; below 1, a share of all."})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay of AdamW."})
    logging_steps: float = field(default=50, metadata={"help": "Log every so many steps; below 1, a share of all."})
    eval_strategy: IntervalStrategy | str = field(
        default="epoch", metadata={"help": "When to score the development split."}
    )
    save_strategy: SaveStrategy | str | None = field(
        default=None,
        metadata={
            "help": "When to write a checkpoint: no, steps, epoch or best; default: when the development split is "
            "scored, and each epoch if it never is."
        },
    )
    save_steps: float | None = field(
        default=None,
        metadata={
            "help": "Write a checkpoint every so many steps; below 1, a share of all; default: when the development "
            "split is scored, and every 500 if it isn't scored by steps."
        },
    )
    save_total_limit: int | None = field(default=1, metadata={"help": "Checkpoints kept, besides the best."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Keep the best epoch, not the last."})
    metric_for_best_model: str | None = field(default="macro_f1", metadata={"help": "What `best` goes by."})
    bf16: bool | None = field(
        default=None,
        metadata={"help": "Train in bfloat16 (autocast); default: where the CPU or GPU computes it in hardware."},
    )
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Go on counting towards early stopping when a training is resumed."}
    )
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Has no effect: rows are no columns."})

    def __post_init__(self) -> None:
        self._check_values()
        asked = (self.do_train, self.do_eval, self.do_predict)
        if not torch.accelerator.is_available():
            self.use_cpu = True  # else two processes on CPUs would be two trainings that know nothing of each other
        if self.bf16 is None:
            self.bf16 = not self.fp16 and has_fast_bf16(self.use_cpu)
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = True  # a process may see no row of a task; Trainer's own default varies
        if self.eval_strategy == IntervalStrategy.NO:
            if self.early_stopping_patience is not None:
                raise ValueError("--early_stopping_patience needs evaluations; leave out --eval_strategy no")
            self.load_best_model_at_end = False  # nobody knows the best: the last is kept
        self._settle_checkpoints()
        super().__post_init__()  # turns do_eval on wherever there is an eval_strategy
        if self.accelerator_config.split_batches:
            raise ValueError("--accelerator_config has split_batches, which batches of tasks can't be; leave it out")
        self.do_train, self.do_eval, self.do_predict = asked if any(asked) else (True, True, True)
        if not self.do_train:
            self.eval_strategy = IntervalStrategy.NO  # else Trainer wants a development set even to predict
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # there is no device to copy to; torch would warn at every loader

    def _settle_checkpoints(self) -> None:
        """When they are written, where it isn't said. A Trainer keeps the best only if there is one of that step."""
        by_steps, eval_steps = self.eval_strategy == IntervalStrategy.STEPS, self.eval_steps or self.logging_steps
        if self.save_strategy is None:
            self.save_strategy = SaveStrategy.STEPS if by_steps else SaveStrategy.EPOCH
        elif self.save_strategy not in list(SaveStrategy):
            raise ValueError(f"--save_strategy is {self.save_strategy!r}; choose one of {', '.join(SaveStrategy)}")
        saves_by_steps = self.save_strategy == SaveStrategy.STEPS
        if self.save_steps is None:
            self.save_steps = eval_steps if by_steps and saves_by_steps else 500
        if not self.load_best_model_at_end or self.save_strategy == SaveStrategy.BEST:
            return
        if self.save_strategy != self.eval_strategy or (saves_by_steps and self.save_steps != eval_steps):
            steps = f" (--save_steps {self.save_steps:g}, --eval_steps {eval_steps:g})" if saves_by_steps else ""
            raise ValueError(
                f"--save_strategy is {SaveStrategy(self.save_strategy).value}, --eval_strategy "
                f"{IntervalStrategy(self.eval_strategy).value}{steps}; the best checkpoint is kept, so one is needed "
                "whenever dev is scored: leave out --save_strategy and --save_steps, or give "
                "--load_best_model_at_end false"
            )

    def _check_values(self) -> None:
        least = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1}
        least |= {"max_tokens_per_batch": 0, "early_stopping_patience": 1}
        least |= {"task_sampling_alpha": 0, "teacher_weight": 0}
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and not bound <= value < math.inf:
                raise ValueError(f"--{name} is {value}; give {bound} or more")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise ValueError(f"--learning_rate is {self.learning_rate}; give more than 0")
        if self.eval_steps is not None and self.eval_strategy == IntervalStrategy.EPOCH:
            raise ValueError(f"--eval_steps {self.eval_steps:g} has no effect without --eval_strategy steps; add that")
        if self.loss_weighting not in ("fixed", "uncertainty"):
            raise ValueError(f"--loss_weighting is {self.loss_weighting!r}; choose one of fixed, uncertainty")
        if not 0 <= self.mask_probability < 1:
            raise ValueError(f"--mask_probability is {self.mask_probability}; give a share from 0 to below 1")
        if self.num_train_epochs <= 0 and self.max_steps <= 0:
            raise ValueError(f"--num_train_epochs is {self.num_train_epochs}; give more than 0")
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise ValueError("--dataloader_persistent_workers needs --dataloader_num_workers of 1 or more")
        if self.torch_compile_mode is not None:
            modes = list(torch._inductor.list_mode_options())
            if self.torch_compile_mode not in modes:
                raise ValueError(f"--torch_compile_mode is {self.torch_compile_mode}; choose of {', '.join(modes)}")
        for name, why in REFUSED.items():
            if (value := getattr(self, name)) != getattr(TrainingArguments, name):
                raise ValueError(f"--{name} {why.format(value)}; leave it out")
