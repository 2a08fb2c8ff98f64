"""The Hugging Face Trainer for several tasks: order of batches, loss, and evaluation on character spans."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from data_collators import TaskBatchSampler, TaskRows
from modeling_mtl_bioner import IGNORE, MtlBionerModel, multi_task_loss
from mtl_bioner.evaluation.seqeval_scores import compute_seqeval_scores
from mtl_bioner.evaluation.spans import compute_span_metrics, decode_entities
from mtl_bioner.training.callbacks import TrainingTotals, add_callbacks
from mtl_bioner.training.distillation import distillation_loss
from mtl_bioner.training.loss_weights import balanced_weights, parse_loss_weights
from mtl_bioner.training.runtime import check_processes, use_byte_dropout
from mtl_bioner.training.saving import SavingTrainer
from mtl_bioner.training.score_calibration import forget_calibrations, list_calibrations


class MultiTaskTrainer(SavingTrainer):
    """Train and evaluate a model on rows of several tasks.

    `train_dataset` and `eval_dataset` are `TaskRows`; evaluation returns the metrics of `compute_span_metrics`.

    Attributes:
        entities: per text, the entities that the last evaluation or prediction found.
        subwords: number of sub-words that this process has trained on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_processes(self.args.world_size)
        if self.model_init is None:
            self._prepare_model(self.model)
        config = self.model.config
        if self.args.learning_rate is None:
            self.args.learning_rate = 3e-4 if config.encoder_config.hidden_size < 512 else 5e-5
        self.task_names: list[str] = config.task_names
        self._set_sampling_and_weights()
        add_callbacks(self)
        # Summed cross-entropy and labelled tokens of each task, and last of the teachers, since the last log.
        self._loss_log = torch.zeros(2, len(self.task_names) + 1, device=self.args.device)
        self.subwords = torch.zeros((), dtype=torch.long, device=self.args.device)
        has_mask = getattr(self.processing_class, "mask_token_id", None) is not None
        self.mask_probability = self.args.mask_probability if has_mask else 0.0
        if self.train_sampler:
            frozen = not any(parameter.requires_grad for parameter in self.model.encoder.parameters())
            forget_calibrations(config, self.train_sampler.rows if frozen else range(len(self.task_names)))
        self.entities: list[list[dict[str, Any]]] = []

    def _prepare_model(self, model: MtlBionerModel) -> None:
        if self.args.loss_weighting == "uncertainty":  # checkpoints keep learned weights, a loaded model has none
            model.log_variances = nn.Parameter(torch.zeros(len(model.config.tasks), device=model.device))
        if self.args.device.type == "cpu":
            use_byte_dropout(model)
            if self.args.bf16:
                model.encoder.set_attn_implementation("eager")  # the fused one's backward pass is slow in bfloat16

    def _set_sampling_and_weights(self) -> None:
        """Make the sampler and the tasks' weights from the arguments, which differ between trials of a search."""
        self.train_sampler = self._make_sampler() if self.train_dataset is not None else None
        weights = parse_loss_weights(self.args.task_loss_weights, self.task_names)
        if weights is None and self.train_dataset is not None:
            weights = balanced_weights(self.train_dataset, self.train_sampler, len(self.task_names))
        self.task_weights = torch.tensor(weights or [1.0] * len(self.task_names))

    def call_model_init(self, trial: Any = None) -> MtlBionerModel:
        """Make the model of a trial."""
        model = super().call_model_init(trial)
        self._prepare_model(model)
        return model

    def _hp_search_setup(self, trial: Any) -> None:
        """Set the arguments of a trial."""
        super()._hp_search_setup(trial)
        if trial is not None:
            self._trial_scores: list[float] = []
            self._set_sampling_and_weights()

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        """Report the best score so far, which a training would keep, and as step the number of evaluations.

        Pruning compares scores of equal steps only, and trials are evaluated at different steps of training.
        """
        if trial is not None:
            self._trial_scores.append(metrics["eval_macro_f1"])
            step, metrics = len(self._trial_scores), {**metrics, "eval_macro_f1": max(self._trial_scores)}
        super()._report_to_hp_search(trial, step, metrics)

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
        """Return the batches of `TaskBatchSampler`; batch i goes to process i modulo their number."""
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

    def compute_loss(
        self, model: nn.Module, inputs: Mapping[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return `multi_task_loss` with the tasks' weights; its N counts the labelled tokens of the whole update."""
        soft_labels = inputs.get("soft_labels")
        features = {key: value for key, value in inputs.items() if key not in ("labels", "soft_labels")}
        if soft_labels is not None:
            features["tasks"] = self.train_dataset.taught
        if model.training and self.mask_probability:
            features["input_ids"] = self._mask_subwords(features["input_ids"])
        outputs = model(**features)
        task_id, labels, n = inputs["task_id"], inputs["labels"], num_items_in_batch
        loss, sums, counts = multi_task_loss(
            outputs.logits, labels, task_id, self.task_weights, n, outputs.penalty, outputs.log_variance
        )
        if soft_labels is not None:
            tokens = torch.as_tensor(counts.sum() if n is None else n).clamp(min=1)
            teacher_loss = distillation_loss(outputs.task_logits, soft_labels, labels)
            loss = loss + self.args.teacher_weight * teacher_loss / tokens
        if model.training:
            self._loss_log[:, :-1] += torch.stack([sums, counts])
            if soft_labels is not None:
                self._loss_log[:, -1] += torch.stack([teacher_loss.detach(), counts.sum()])
            self.subwords += inputs["attention_mask"].sum()
        if n is not None:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes, N is their sum
        return (loss, outputs) if return_outputs else loss

    def _mask_subwords(self, input_ids: Tensor) -> Tensor:
        """Replace a share of the sub-words by the mask token, never special ones, so that context has to tell them.

        They are drawn in the training step, since a resumed training could not repeat draws of the collator.
        """
        special = torch.tensor(self.processing_class.all_special_ids, device=input_ids.device)
        drawn = torch.rand(input_ids.shape, device=input_ids.device) < self.mask_probability
        return input_ids.masked_fill(drawn & ~torch.isin(input_ids, special), self.processing_class.mask_token_id)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add mean cross-entropies of labelled tokens since the last log, `loss_{task}` and `teacher_loss`.

        Learned weights are added as `weight_{task}`.
        """
        if "loss" in logs:
            total = self.accelerator.reduce(self._loss_log.clone())
            self._loss_log.zero_()
            names = [*(f"loss_{name}" for name in self.task_names), "teacher_loss"]
            logs |= {name: round(s / n, 4) for name, s, n in zip(names, *total.tolist(), strict=True) if n}
            if self.model.log_variances is not None:
                log_variances = zip(self.task_names, self.model.scaled_log_variances().tolist(), strict=True)
                logs |= {f"weight_{name}": round(math.exp(-value), 4) for name, value in log_variances}
        if "train_runtime" in logs:
            self._find_totals().complete(logs, self._total_loss_scalar, self.state.global_step)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save a checkpoint, with the totals of the training so far."""
        self._find_totals().loss_so_far = self._total_loss_scalar + float(self._tr_loss)
        super()._save_checkpoint(model, trial)

    def _find_totals(self) -> TrainingTotals:
        """Find the callback, which a resumed training replaces by that of the checkpoint."""
        return next(one for one in self.callback_handler.callbacks if isinstance(one, TrainingTotals))

    def evaluation_loop(
        self, dataloader: DataLoader, description: str, *, metric_key_prefix: str = "eval", **options: Any
    ) -> EvalLoopOutput:
        """Run the model, decode `entities`, and score them for all tasks.

        Logits and labels are lists with an array for each row, and the loss is the mean over labelled tokens, whatever
        the batches. (Trainer copies all logits so far at each batch, padded to the longest row, and averages over rows
        the loss of their batch.)
        """
        self.args.eval_do_concat_batches = False
        try:
            options |= {"prediction_loss_only": False, "metric_key_prefix": metric_key_prefix}
            output = super().evaluation_loop(dataloader, description, **options)
        finally:
            self.args.eval_do_concat_batches = True
        rows, config = dataloader.dataset, self.model.config
        logits = [row for batch in output.predictions for row in batch]
        labels = [row for batch in output.label_ids for row in batch]
        self.entities = decode_entities(rows, logits, list_calibrations(config))
        output.metrics[f"{metric_key_prefix}_loss"] = self._compute_mean_loss(rows, logits, labels)
        output.metrics.update(compute_span_metrics(rows, self.entities, config, metric_key_prefix))
        output.metrics.update(compute_seqeval_scores(rows, logits, config.task_names, metric_key_prefix))
        return output._replace(predictions=logits, label_ids=labels)

    def _compute_mean_loss(self, rows: TaskRows, logits: Sequence[Any], labels: Sequence[Any]) -> float:
        """Return the mean over the labelled tokens of the weighted cross-entropy, given each row's arrays.

        Losses of different trainings can't be compared: `balanced` takes the weights from the training rows.
        """
        loss, tokens = 0.0, 0
        for row, row_logits, row_labels in zip(rows.rows, logits, labels, strict=True):
            values, targets = torch.as_tensor(row_logits), torch.as_tensor(row_labels)
            summed = nn.functional.cross_entropy(values, targets, ignore_index=IGNORE, reduction="sum")
            loss += float(self.task_weights[row.task_id] * summed)
            tokens += int((targets != IGNORE).sum())
        return loss / max(tokens, 1)
