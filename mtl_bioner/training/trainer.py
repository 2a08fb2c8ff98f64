"""MultiTaskTrainer: what multi-task training changes in the Hugging Face Trainer, and nothing else.

The order of batches (`TaskBatchSampler`), the loss (weighted sum over the tasks), evaluation (character spans of whole
documents instead of labels of windows), and checkpoints that a killed training can be resumed from.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
)
from transformers.trainer_utils import EvalLoopOutput, HubStrategy

from data_collators import TaskBatchSampler, TaskRows, round_up_length
from modeling_mtl_bioner import IGNORE, MtlBionerModel, multi_task_loss
from mtl_bioner.evaluation.calibration import fit_calibration
from mtl_bioner.evaluation.spans import collect_gold, compute_span_metrics, decode_entities
from mtl_bioner.hub.push import PushError, explain_hub_errors, push_folder
from mtl_bioner.training.callbacks import LogEachEpoch, OneLinePrinter, OneLineProgress, SetEpoch
from mtl_bioner.training.distillation import distillation_loss
from mtl_bioner.training.loss_weights import balanced_weights, parse_loss_weights
from mtl_bioner.training.model_building import learn_loss_weights
from mtl_bioner.training.runtime import check_processes, use_byte_dropout, use_plain_attention


logger = logging.getLogger(__name__)


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
            learn_loss_weights(model)
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
            taught = distillation_loss(outputs.task_logits, soft_labels, inputs["labels"])
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
        return round_up_length(longest, self.train_sampler.padded_lengths)

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
        explain_hub_errors(lambda: super(MultiTaskTrainer, self).init_hf_repo(token, private), what)

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
        self.entities = decode_entities(rows, output.predictions, self.calibrations())
        output.metrics.update(compute_span_metrics(rows, self.entities, self.model.config, metric_key_prefix))
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
        self.entities = decode_entities(rows, logits)
        for task, found in self.scored(rows).items():
            if calibration := fit_calibration(*found):
                own = self.model.config.tasks[self.task_names.index(task)]
                own["temperature"], own["score_bias"] = calibration
        self.entities = decode_entities(rows, logits, self.calibrations())
        metrics = compute_span_metrics(rows, self.entities, self.model.config, "eval")
        return {key: value for key, value in metrics.items() if "_ece" in key}

    def calibrations(self) -> list[tuple[float, float]]:
        """Temperature and bias of each task's scores."""
        return [self.model.config.score_calibration(task) for task in range(len(self.task_names))]

    def scored(self, rows: TaskRows) -> dict[str, tuple[list[float], list[bool]]]:
        """By task, score of each of the last found `entities` of these rows, and whether it is right."""
        found: dict[str, tuple[list[float], list[bool]]] = {}
        for text, own in zip(rows.texts, self.entities, strict=True):
            scores, right = found.setdefault(self.task_names[text.task_id], ([], []))
            gold = collect_gold(text)
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
