"""Training arguments of multi-task training."""

from dataclasses import dataclass
from typing import Literal

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from mtl_bioner.training.bounds import check_bounds
from mtl_bioner.training.options import EVALUATION, OUTPUT, SWITCH, TEACHERS, TRAINING, option
from mtl_bioner.training.runtime import has_fast_bf16


NO_EFFECT = "has no effect on multi-task training"
# Arguments of Trainer that `MultiTaskTrainingArguments` refuses unless they have their default, and why.
REFUSED = {
    **dict.fromkeys(("label_smoothing_factor", "dataloader_drop_last", "batch_eval_metrics"), NO_EFFECT),
    **dict.fromkeys(("prediction_loss_only", "optim_target_modules"), NO_EFFECT),
    "label_names": "would score something else than labels",
    "use_liger_kernel": "serves language models only",
    **dict.fromkeys(("bf16_full_eval", "fp16_full_eval"), "would leave the saved weights in that type"),
    "eval_do_concat_batches": "false leaves nothing to score whole documents by",
    "average_tokens_across_devices": "false would scale the loss by devices",
    "train_sampling_strategy": "is {}, which multi-task batches don't follow",
}
STAGES = ("do_train", "do_eval", "do_predict")


@dataclass
class MultiTaskTrainingArguments(TrainingArguments):
    """TrainingArguments and what tasks add to them; defaults are those of this project."""

    output_dir: str | None = option(OUTPUT, None, "Folder for everything that is written; default outputs/<tasks>.")
    do_train: bool | None = option(TRAINING, None, "Train. With no --do_* argument, all three are done.", **SWITCH)
    do_eval: bool | None = option(EVALUATION, None, "Score the development split; calibrate after training.", **SWITCH)
    do_predict: bool | None = option(EVALUATION, None, "Score the test split, and write predictions.", **SWITCH)
    num_train_epochs: float = option(TRAINING, 8.0, "Epochs over the rows of all tasks.")
    learning_rate: float | None = option(
        TRAINING, None, "Peak learning rate; default 5e-5, or 3e-4 for an encoder with a hidden size below 512."
    )
    per_device_train_batch_size: int = option(TRAINING, 64, "Most windows in a training batch on a device.")
    max_tokens_per_batch: int = option(TRAINING, 1024, "Most sub-words per training batch, with padding; 0: no limit.")
    task_sampling_alpha: float = option(
        TRAINING, 1.0, "P(task) ~ rows^alpha: 1 samples in proportion to size, 0.5 by its square root, 0 uniformly."
    )
    one_task_batches: bool = option(TRAINING, False, "Fill each batch with rows of one task only.")
    task_loss_weights: str = option(
        TRAINING,
        "balanced",
        "Weight of each task's cross-entropy: `balanced` sums the means of the tasks, `equal` takes the mean over all "
        "labelled tokens; or ncbi=1,bc5cdr=0.5 (1 for a task that is not named).",
    )
    loss_weighting: Literal["fixed", "uncertainty"] = option(
        TRAINING,
        "fixed",
        "`uncertainty` also weights each task by exp(-s_t), s_t being learned (Kendall et al. 2018).",
    )
    mask_probability: float = option(TRAINING, 0.15, "Share of sub-words that are masked, drawn anew at each step.")
    teacher_weight: float = option(TEACHERS, 2.0, "Weight of the teachers' soft labels in the loss.")
    warmup_steps: float = option(TRAINING, 0.1, "Steps of linear warm-up; below 1, a share of all steps.")
    weight_decay: float = option(TRAINING, 0.01, "Weight decay of AdamW.")
    bf16: bool | None = option(
        TRAINING, None, "Train in bfloat16 (autocast); default: if the CPU or GPU has hardware for it.", **SWITCH
    )
    eval_strategy: IntervalStrategy | str = option(EVALUATION, "epoch", "When to score the development split.")
    per_device_eval_batch_size: int = option(EVALUATION, 32, "Windows in an evaluation batch on a device.")
    metric_for_best_model: str | None = option(EVALUATION, "macro_f1", "Score that decides which checkpoint is best.")
    load_best_model_at_end: bool = option(EVALUATION, True, "Keep the best checkpoint instead of the last.")
    early_stopping_patience: int | None = option(
        EVALUATION, None, "Stop after this many evaluations without a better --metric_for_best_model."
    )
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = option(
        OUTPUT, None, "When to write a checkpoint; default: at each evaluation, or each epoch without evaluations."
    )
    save_steps: float | None = option(
        OUTPUT, None, "Steps between checkpoints; below 1, a share of all steps; default --eval_steps, else 500."
    )
    save_total_limit: int | None = option(OUTPUT, 1, "Most checkpoints to keep, besides the best.")
    resume_from_checkpoint: str | None = option(
        OUTPUT, None, "`true` resumes from the newest whole checkpoint in --output_dir; or the folder of a checkpoint."
    )
    restore_callback_states_from_checkpoint: bool = option(OUTPUT, True, "Resume counting for early stopping too.")
    logging_steps: float = option(OUTPUT, 50, "Steps between logs; below 1, a share of all steps.")
    remove_unused_columns: bool | None = option(TRAINING, False, "Has no effect: rows have no columns.")

    def __post_init__(self) -> None:
        self._check_values()
        self._set_hardware_defaults()
        stages = self._choose_stages()
        if self.eval_strategy == IntervalStrategy.NO:
            self.load_best_model_at_end = False  # without scores there is no best checkpoint: the last is kept
        self._set_checkpoint_schedule()
        super().__post_init__()  # turns do_eval on wherever there is an eval_strategy
        if self.accelerator_config.split_batches:
            raise ValueError("--accelerator_config has split_batches, which batches of tasks can't be; leave it out")
        self.do_train, self.do_eval, self.do_predict = stages
        if not self.do_train:
            self.eval_strategy = IntervalStrategy.NO  # else Trainer wants a development set even to predict
        if not torch.accelerator.is_available():
            self.dataloader_pin_memory = False  # there is no device to copy to; torch would warn at every loader

    def _choose_stages(self) -> list[bool]:
        """Return whether to train, evaluate and predict: the stages that are true; if none is, those not false."""
        named = [getattr(self, stage) for stage in STAGES]
        chosen = [not any(named) if value is None else value for value in named]
        if not any(chosen):
            raise ValueError(f"--{', --'.join(STAGES)} are all false; there is nothing to do: leave one out")
        return chosen

    def _set_hardware_defaults(self) -> None:
        if not torch.accelerator.is_available():
            self.use_cpu = True  # else two processes on CPUs would be two trainings that know nothing of each other
        if self.bf16 is None:
            self.bf16 = not self.fp16 and has_fast_bf16(self.use_cpu)
        if self.ddp_find_unused_parameters is None:
            self.ddp_find_unused_parameters = True  # a process may see no row of a task; Trainer's own default varies

    def _set_checkpoint_schedule(self) -> None:
        """Fill in when checkpoints are written. Trainer can keep the best only if each evaluation has its own."""
        by_steps, eval_steps = self.eval_strategy == IntervalStrategy.STEPS, self.eval_steps or self.logging_steps
        if self.save_strategy is None:
            self.save_strategy = SaveStrategy.STEPS if by_steps else SaveStrategy.EPOCH
        saves_by_steps = self.save_strategy == SaveStrategy.STEPS
        if self.save_steps is None:
            self.save_steps = eval_steps if by_steps and saves_by_steps else 500
        if not self.load_best_model_at_end or self.save_strategy == SaveStrategy.BEST:
            return
        if self.save_strategy != self.eval_strategy or (saves_by_steps and self.save_steps != eval_steps):
            steps = f" (--save_steps {self.save_steps:g}, --eval_steps {eval_steps:g})" if saves_by_steps else ""
            raise ValueError(
                f"--save_strategy is {SaveStrategy(self.save_strategy).value}, --eval_strategy "
                f"{IntervalStrategy(self.eval_strategy).value}{steps}; the best checkpoint can be kept only if one is "
                "written at each evaluation: leave out --save_strategy and --save_steps, or give "
                "--load_best_model_at_end false"
            )

    def _check_values(self) -> None:
        check_bounds(self)
        if self.early_stopping_patience is not None and self.eval_strategy == IntervalStrategy.NO:
            raise ValueError("--early_stopping_patience needs evaluations; leave out --eval_strategy no")
        if self.eval_steps is not None and self.eval_strategy == IntervalStrategy.EPOCH:
            raise ValueError(f"--eval_steps {self.eval_steps:g} has no effect without --eval_strategy steps; add that")
        if self.num_train_epochs <= 0 and self.max_steps <= 0:
            raise ValueError(f"--num_train_epochs is {self.num_train_epochs}; give more than 0")
        if self.dataloader_persistent_workers and not self.dataloader_num_workers:
            raise ValueError("--dataloader_persistent_workers needs --dataloader_num_workers of 1 or more")
        modes = list(torch._inductor.list_mode_options()) if self.torch_compile_mode is not None else [None]
        if self.torch_compile_mode not in modes:
            raise ValueError(f"--torch_compile_mode is {self.torch_compile_mode}; choose of {', '.join(modes)}")
        for name, reason in REFUSED.items():
            if (value := getattr(self, name)) != getattr(TrainingArguments, name):
                raise ValueError(f"--{name} {reason.format(value)}; leave it out")
