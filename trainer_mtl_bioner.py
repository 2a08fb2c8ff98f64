"""MultiTaskTrainer: what multi-task training changes in the Hugging Face Trainer, and nothing else.

The order of batches (`TaskBatchSampler`), the loss (weighted sum over the tasks), evaluation (character spans of whole
documents instead of labels of windows), and checkpoints that a killed training can be resumed from.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import EvalLoopOutput, HubStrategy, IntervalStrategy, SaveStrategy

from calibration_mtl_bioner import fit_calibration
from data_collators import TaskBatchSampler, TaskRows, TaskText, padded_length
from hub_mtl_bioner import PushError, explained, push_folder
from launch_mtl_bioner import check_processes, has_fast_bf16, use_byte_dropout, use_plain_attention
from metrics_mtl_bioner import Score, calibration_error, score_with_alternatives, summarise, task_metrics
from modeling_mtl_bioner import IGNORE, MtlBionerModel, multi_task_loss
from progress_mtl_bioner import OneLinePrinter, OneLineProgress
from teachers_mtl_bioner import soft_loss


logger = logging.getLogger(__name__)


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


class SetEpoch(TrainerCallback):
    """Tells the sampler the epoch also after a resume, where accelerate's wrappers don't on several processes."""

    def __init__(self, trainer: MultiTaskTrainer) -> None:
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


class MultiTaskTrainer(Trainer):
    """A Trainer whose rows belong to tasks.

    `train_dataset` and `eval_dataset` are `TaskRows`; evaluation gives the keys of `metrics_mtl_bioner.py` for every
    task, macro and micro F1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_processes(self.args.world_size)
        if self.model_init is None:
            self._prepare_model(self.model)
        if self.args.learning_rate is None:
            self.args.learning_rate = 3e-4 if self.model.config.encoder_config.hidden_size < 512 else 5e-5
        self.task_names: list[str] = self.model.config.task_names
        self._set_sampling_and_weights()
        self.add_callback(SetEpoch(self))
        self.add_callback(LogEachEpoch())
        for stock, own in ((ProgressCallback, OneLineProgress), (PrinterCallback, OneLinePrinter)):
            if self.pop_callback(stock) is not None:
                self.add_callback(own(self))
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))
        # Summed cross-entropy and labelled tokens of each task since the last log.
        self._loss_log = torch.zeros(2, len(self.task_names) + 1, device=self.args.device)  # the last is of teachers
        self.subwords = torch.zeros((), dtype=torch.long, device=self.args.device)  # trained on by this process
        has_mask = getattr(self.processing_class, "mask_token_id", None) is not None
        self.mask_probability = self.args.mask_probability if has_mask else 0.0
        if self.train_sampler:
            frozen = not any(parameter.requires_grad for parameter in self.model.encoder.parameters())
            # They were those of the heads, and of the encoder, before this training.
            for task in self.train_sampler.rows if frozen else range(len(self.task_names)):
                for name in ("temperature", "score_bias"):
                    self.model.config.tasks[task].pop(name, None)
        self.entities: list[list[dict[str, Any]]] = []  # per text, of the last evaluation or prediction

    def _prepare_model(self, model: MtlBionerModel) -> None:
        if self.args.loss_weighting == "uncertainty":
            model.learn_loss_weights()
        if self.args.device.type == "cpu":
            use_byte_dropout(model)
            if self.args.bf16:
                use_plain_attention(model.encoder)

    def _set_sampling_and_weights(self) -> None:
        """What the arguments say of them; again for each trial of a search."""
        self.train_sampler = self._make_sampler() if self.train_dataset is not None else None
        weights = parse_loss_weights(self.args.task_loss_weights, self.task_names)
        if weights is None and self.train_dataset is not None:
            weights = balanced_weights(self.train_dataset, self.train_sampler, len(self.task_names))
        self.task_weights = torch.tensor(weights or [1.0] * len(self.task_names))

    # -- search

    def call_model_init(self, trial: Any = None) -> MtlBionerModel:
        """As Trainer's."""
        model = super().call_model_init(trial)
        self._prepare_model(model)
        return model

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        """As Trainer's, but the best score so far, which a training would keep, and by the number of evaluations: only
        equal ones are compared for pruning, and steps differ between trials."""
        if trial is not None:
            self._scores_of_trial.append(metrics["eval_macro_f1"])
            step, metrics = len(self._scores_of_trial), {**metrics, "eval_macro_f1": max(self._scores_of_trial)}
        super()._report_to_hp_search(trial, step, metrics)

    def _hp_search_setup(self, trial: Any) -> None:
        """As Trainer's, which sets the arguments of a trial."""
        super()._hp_search_setup(trial)
        if trial is not None:
            self._scores_of_trial: list[float] = []
            self._set_sampling_and_weights()

    # -- order of batches

    def _make_sampler(self) -> TaskBatchSampler:
        devices = max(1, self.args.n_gpu)  # that one process feeds
        return TaskBatchSampler(
            self.train_dataset.task_ids,
            self.train_dataset.lengths,
            self.args.per_device_train_batch_size * devices,
            self.args.task_sampling_alpha,
            not self.args.one_task_batches,
            self.args.data_seed if self.args.data_seed is not None else self.args.seed,
            self.args.max_tokens_per_batch * devices,
            self.args.world_size,
        )

    def get_train_dataloader(self) -> DataLoader:
        """Batches of `TaskBatchSampler`, batch i to process i modulo their number."""
        if self._train_batch_size != self.train_sampler.rows_per_batch:  # --auto_find_batch_size
            self.train_sampler.limit_rows(self._train_batch_size)
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.train_sampler,
            collate_fn=replace(self.data_collator, padded_lengths=self.train_sampler.padded_lengths),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
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
        soft_labels = inputs.get("soft_labels")
        features = {key: value for key, value in inputs.items() if key not in ("labels", "soft_labels")}
        if soft_labels is not None:
            features["tasks"] = self.train_dataset.taught
        if model.training and self.mask_probability:
            features["input_ids"] = self._mask(features["input_ids"])
        outputs = model(**features)
        loss, sums, counts = multi_task_loss(
            outputs.logits,
            inputs["labels"],
            inputs["task_id"],
            self.task_weights,
            num_items_in_batch,
            outputs.penalty,
            outputs.log_variance,
        )
        if soft_labels is not None:
            n = torch.as_tensor(counts.sum() if num_items_in_batch is None else num_items_in_batch).clamp(min=1)
            taught = soft_loss(outputs.task_logits, soft_labels, inputs["labels"])
            loss = loss + self.args.teacher_weight * taught / n
        if model.training:
            self._loss_log[:, :-1] += torch.stack([sums, counts])
            if soft_labels is not None:
                self._loss_log[:, -1] += torch.stack([taught.detach(), counts.sum()])
            self.subwords += inputs["attention_mask"].sum()
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, N is their sum
        return (loss, outputs) if return_outputs else loss

    def _mask(self, input_ids: Tensor) -> Tensor:
        """Some sub-words replaced by the mask token, so that context has to tell what is there; never special ones.

        Drawn in the training step and not by the collator, whose draws a resumed training could not repeat.
        """
        special = torch.tensor(self.processing_class.all_special_ids, device=input_ids.device)
        drawn = torch.rand(input_ids.shape, device=input_ids.device) < self.mask_probability
        return input_ids.masked_fill(drawn & ~torch.isin(input_ids, special), self.processing_class.mask_token_id)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `loss_{task}`, the mean cross-entropy of a task's labelled tokens since the last log, and that on what
        teachers say of them, `teacher_loss`."""
        if "loss" in logs:
            total = self.accelerator.reduce(self._loss_log.clone())
            self._loss_log.zero_()
            names = [*(f"loss_{name}" for name in self.task_names), "teacher_loss"]
            for name, loss, count in zip(names, *total.tolist(), strict=True):
                if count:
                    logs[name] = round(loss / count, 4)
            if self.model.log_variances is not None:
                for name, log_variance in zip(
                    self.task_names, self.model.scaled_log_variances().tolist(), strict=True
                ):
                    logs[f"weight_{name}"] = round(math.exp(-log_variance), 4)
        super().log(logs, start_time)

    def check_optimizer(self) -> None:
        """Raises ValueError where optimizer or scheduler can't be made, which Trainer does when training starts."""
        try:
            self.create_optimizer_and_scheduler(num_training_steps=100)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            args = self.args
            raise ValueError(
                f"--optim {getattr(args.optim, 'value', args.optim)}, --lr_scheduler_type "
                f"{getattr(args.lr_scheduler_type, 'value', args.lr_scheduler_type)} or their arguments: {error}"
            ) from error
        self.optimizer = self.lr_scheduler = None

    def plan(self) -> tuple[str, float]:
        """What training would do: rows and sub-words of each task, steps, and the time they take, tried on a few; and
        this time alone, in minutes."""
        sampler, args = self.train_sampler, self.args
        lines = [f"{'task':24}{'rows':>10}{'sub-words':>12}{'drawn in an epoch':>19}"]
        for task, rows in sampler.rows.items():
            subwords = sum(sampler.lengths[row] for row in rows)
            lines.append(f"{self.task_names[task]:24}{len(rows):10,}{subwords:12,}{sampler.draws[task]:19,}")
        padded = sum(len(batch) * self._padded(batch) for batch in sampler)
        real = sum(sampler.lengths[row] for batch in sampler for row in batch)
        updates = -(-len(sampler) // (args.world_size * args.gradient_accumulation_steps))
        steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * updates)
        rate = self._training_rate()
        minutes = steps / updates * real / rate / 60
        lines += [
            f"an epoch: {updates:,} steps of {args.world_size} process(es), {real:,} sub-words, "
            f"{100 * (1 - real / padded):.1f} % padding",
            f"training: {steps:,} steps, about {minutes:.1f} minutes without evaluation, at {rate:,.0f} sub-words/s",
        ]
        return "\n".join(lines), minutes

    def _padded(self, batch: list[int]) -> int:
        longest = max(self.train_sampler.lengths[row] for row in batch)
        return padded_length(longest, self.train_sampler.padded_lengths)

    def _training_rate(self, batches: int = 4) -> float:
        """Sub-words a second of all processes, forward and backward, of some batches after a first one."""
        seconds, subwords = 0.0, 0
        self.model.train()
        for number, inputs in enumerate(itertools.islice(self.get_train_dataloader(), batches + 1)):
            begun = time.perf_counter()
            with self.accelerator.autocast():  # which training wraps the model in
                loss = self.compute_loss(self.model, inputs)
            loss.backward()
            if number or len(self.train_sampler) == self.args.world_size:
                seconds += time.perf_counter() - begun
                subwords += int(inputs["attention_mask"].sum())
        self.model.zero_grad()
        return subwords / seconds * self.args.world_size

    # -- saving and checkpoints

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """As Trainer's, which would write the token of the Hub into `training_args.bin`."""
        token, self.args.hub_token = self.args.hub_token, None
        try:
            super()._save(output_dir, state_dict)
        finally:
            self.args.hub_token = token

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As Trainer's, before training starts; what the Hub refuses is said in one line."""
        what = str(self.args.hub_model_id or Path(self.args.output_dir).name)
        explained(lambda: super(MultiTaskTrainer, self).init_hf_repo(token, private), what)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Pushes a whole checkpoint, code included, where Trainer's own leaves a repository that can't be loaded."""
        if self.is_world_process_zero() and self.args.hub_strategy != HubStrategy.END:
            try:
                self._push(checkpoint_folder, f"Training in progress, step {self.state.global_step}")
            except PushError as error:  # the next one may succeed; training goes on
                logger.warning("%s", error)

    def push_to_hub(self, commit_message: str = "End of training", **kwargs: Any) -> str | None:
        """Pushes the output folder, in one commit, and without `training_args.bin`, which Trainer's would add."""
        return self._push(self.args.output_dir, commit_message) if self.is_world_process_zero() else None

    def _push(self, folder: str, message: str) -> str:
        args = self.args
        return push_folder(
            folder, self.hub_model_id, args.hub_private_repo, args.hub_revision, message, args.hub_token
        )

    def _save_rng_state(self, output_dir: str) -> None:
        """As Trainer's; then all processes wait: `trainer_state.json`, which comes last, means that all is there."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    # -- evaluation

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """As Trainer's, with entity scores of all tasks among the metrics; `entities` holds what was found.

        Logits and labels are lists with an array for each row, and the loss is the mean over the labelled tokens,
        whatever the batches. (Trainer copies all logits so far at each batch, padded to the longest row, and takes the
        mean over rows of their batch's loss.)
        """
        self.args.eval_do_concat_batches = False
        try:
            output = super().evaluation_loop(dataloader, description, False, ignore_keys, metric_key_prefix)
        finally:
            self.args.eval_do_concat_batches = True
        logits, labels = ([row for batch in own for row in batch] for own in (output.predictions, output.label_ids))
        output = output._replace(predictions=logits, label_ids=labels)
        rows = dataloader.dataset
        output.metrics[f"{metric_key_prefix}_loss"] = self.loss_of(rows, logits, labels)
        self.entities = predicted_entities(rows, output.predictions, self.calibrations())
        output.metrics.update(span_metrics(rows, self.entities, self.model.config, metric_key_prefix))
        return output

    def loss_of(self, rows: TaskRows, logits: Sequence[Any], labels: Sequence[Any]) -> float:
        """Mean over the labelled tokens of the weighted cross-entropy. The weights are those of the training, which
        `balanced` takes from its rows (1 where nothing was trained): losses of other trainings can't be compared.

        Args:
            logits, labels: of each row, (length, labels) and (length,), as arrays.
        """
        loss, tokens = 0.0, 0
        arrays = zip(logits, labels, strict=True)
        for row, (own, wanted) in zip(rows.rows, (map(torch.as_tensor, pair) for pair in arrays), strict=True):
            summed = torch.nn.functional.cross_entropy(own, wanted, ignore_index=IGNORE, reduction="sum")
            loss += float(self.task_weights[row.task_id] * summed)
            tokens += int((wanted != IGNORE).sum())
        return loss / max(tokens, 1)

    def calibrate(self, rows: TaskRows, logits: Any) -> dict[str, float]:
        """Fit temperature and bias of each task's scores, kept in the model's config, on development rows' logits.

        Returns:
            The calibration errors that are left on these rows.
        """
        self.entities = predicted_entities(rows, logits)
        for task, found in self.scored(rows).items():
            if calibration := fit_calibration(*found):
                own = self.model.config.tasks[self.task_names.index(task)]
                own["temperature"], own["score_bias"] = calibration
        self.entities = predicted_entities(rows, logits, self.calibrations())
        metrics = span_metrics(rows, self.entities, self.model.config, "eval")
        return {key: value for key, value in metrics.items() if "_ece" in key}

    def calibrations(self) -> list[tuple[float, float]]:
        """Temperature and bias of each task's scores."""
        return [self.model.config.score_calibration(task) for task in range(len(self.task_names))]

    def scored(self, rows: TaskRows) -> dict[str, tuple[list[float], list[bool]]]:
        """By task, score of each of the last found `entities` of these rows, and whether it is right."""
        found: dict[str, tuple[list[float], list[bool]]] = {}
        for text, own in zip(rows.texts, self.entities, strict=True):
            scores, right = found.setdefault(self.task_names[text.task_id], ([], []))
            gold = gold_of(text)
            scores += [e["score"] for e in own]
            right += [(e["start"], e["end"], e["type"]) in gold for e in own]
        return found

    @torch.inference_mode()
    def mean_gates(self, rows: TaskRows) -> list[list[float | None]]:
        """With cross-sharing, how far task k opens the gates of task t on t's rows: [t][k], 0 to 1, or None."""
        model, tasks = self.model.eval(), len(self.task_names)
        sums = torch.zeros(tasks, tasks, device=self.args.device)  # (tasks, others and, last, the sub-words)
        for inputs in self.get_eval_dataloader(rows):
            projected = model.sharing.project(model.encode(inputs["input_ids"], inputs["attention_mask"]))
            gates = model.sharing.open_gates(projected, inputs["task_id"]).mean(-1)  # (rows, others, length)
            mask = inputs["attention_mask"][:, None]  # (rows, 1, length)
            found = torch.cat([(gates * mask).sum(-1), mask.sum(-1)], 1)  # (rows, others + 1)
            sums.index_add_(0, inputs["task_id"], found.to(sums))
        sums = self.accelerator.reduce(sums)
        means = [[v / own[-1] if own[-1] else None for v in own[:-1]] for own in sums.tolist()]
        return [[*own[:task], None, *own[task:]] for task, own in enumerate(means)]


def last_complete_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """The newest whole `checkpoint-N` in a folder, None if there is none."""
    found = [(path.name.removeprefix("checkpoint-"), path) for path in Path(folder).glob("checkpoint-*")]
    numbered = sorted(((int(step), path) for step, path in found if step.isdecimal()), reverse=True)
    return next((str(path) for _, path in numbered if is_complete(path)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the Trainer writes `trainer_state.json` last."""
    try:
        return "global_step" in json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def parse_loss_weights(text: str, task_names: list[str]) -> list[float] | None:
    """Weights in the order of the tasks, all 1 for `equal`; None for `balanced`.

    Raises:
        ValueError: an unknown task, a weight below 0 or not finite, or none above 0.
    """
    if text == "balanced":
        return None
    if text == "equal":
        return [1.0] * len(task_names)
    weights = values_by_task("--task_loss_weights", "weight", text, task_names)
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"--task_loss_weights gives {name} the weight {weight}; it must be 0 or more, and finite")
    if not any(weights.values()):
        raise ValueError(
            f"--task_loss_weights {text} leaves nothing to learn; give at least one task a weight above 0"
        )
    return list(weights.values())


def values_by_task(argument: str, what: str, text: str | None, task_names: list[str]) -> dict[str, float]:
    """The number of each task in `ncbi=1,bc5cdr=0.5`, 1 where it isn't named.

    Raises:
        ValueError: an unknown task, or no number.
    """
    values = dict.fromkeys(task_names, 1.0)
    for item in filter(None, (text or "").split(",")):
        name, _, value = item.rpartition("=") if item.count("=") > 1 else item.partition("=")
        if name not in values:
            raise ValueError(f"{argument} names {name!r}; the tasks are {', '.join(task_names)}")
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f"{argument} gives {name} the {what} {value!r}; write {name}=0.5") from None
    return values


def balanced_weights(rows: TaskRows, sampler: TaskBatchSampler, tasks: int) -> list[float]:
    """Inverse of each task's share of the labelled tokens that an epoch draws: the loss is the sum of task means."""
    labelled = [0.0] * tasks
    for row in rows.rows:
        labelled[row.task_id] += sum(label != IGNORE for label in row.labels)
    drawn = [labelled[t] * sampler.draws[t] / len(sampler.rows[t]) if t in sampler.rows else 0.0 for t in range(tasks)]
    return [sum(drawn) / count if count else 1.0 for count in drawn]


def predicted_entities(
    rows: TaskRows, logits: Any, calibrations: list[tuple[float, float]] | None = None
) -> list[list[dict[str, Any]]]:
    """Per text its predicted entities `{start, end, type, score}`, character offsets into the document; of the types
    that the text is scored for."""
    return [
        [
            {"start": text.words[s.start][0], "end": text.words[s.end - 1][1], "type": s.type, "score": s.score}
            for s in spans
            if text.types is None or s.type in text.types
        ]
        for text, spans in zip(rows.texts, rows.decode(logits, calibrations), strict=True)
    ]


def gold_of(text: TaskText) -> set[tuple[int, int, str]]:
    """The gold entities of a document, of all types."""
    return {(e.start, e.end, e.type) for e in text.document.entities}


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
        scored = [rows.texts[i].types or config.tasks[task]["types"] for i in own]
        types = [name for name in config.tasks[task]["types"] if any(name in known for known in scored)]
        corpora = sorted({rows.texts[i].corpus for i in own})
        scores, totals[name] = _score_texts(f"{prefix}_{name}", rows, own, predicted, types)
        metrics |= scores
        for corpus in corpora if len(corpora) > 1 else ():
            part = [i for i in own if rows.texts[i].corpus == corpus]
            metrics |= _score_texts(f"{prefix}_{name}", rows, part, predicted, types, f"_{corpus}")[0]
    return metrics | summarise(prefix, totals)


def _score_texts(
    prefix: str, rows: TaskRows, own: list[int], predicted: list[list[dict]], types: list[str], suffix: str = ""
) -> tuple[dict[str, float], Score]:
    """Scores of some texts of a task, with the keys of `task_metrics`, `{prefix}_ece{suffix}` and, of a corpus with
    alternatives, `{prefix}_official_..{suffix}`."""
    gold = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.entities if e.type in types}
    found = {(i, e["start"], e["end"], e["type"]): e["score"] for i in own for e in predicted[i]}
    metrics, total = task_metrics(prefix, gold, found, types, suffix)
    metrics[f"{prefix}_ece{suffix}"] = calibration_error(list(found.values()), [span in gold for span in found])
    other = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.alternatives if e.type in types}
    if other:
        official = score_with_alternatives(gold, other, found)
        for kind in ("precision", "recall", "f1"):
            metrics[f"{prefix}_official_{kind}{suffix}"] = getattr(official, kind)
    return metrics, total
