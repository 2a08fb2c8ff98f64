"""Measure the gates of cross-sharing."""

import torch

from data_collators import TaskRows
from mtl_bioner.training.trainer import MultiTaskTrainer


@torch.inference_mode()
def measure_gates(trainer: MultiTaskTrainer, rows: TaskRows) -> list[list[float | None]]:
    """Return how far task k opens the gate of task t on t's rows, on average: [t][k], 0 to 1, or None without one."""
    model, tasks = trainer.model.eval(), len(trainer.task_names)
    sums = torch.zeros(tasks, tasks, device=trainer.args.device)  # (tasks, others and, last, the sub-words)
    for inputs in trainer.get_eval_dataloader(rows):
        projected = model.sharing.project(model.encode(inputs["input_ids"], inputs["attention_mask"]))
        gates = model.sharing.open_gates(projected, inputs["task_id"]).mean(-1)  # (rows, others, length)
        mask = inputs["attention_mask"][:, None]  # (rows, 1, length)
        row_sums = torch.cat([(gates * mask).sum(-1), mask.sum(-1)], 1)  # (rows, others + 1)
        sums.index_add_(0, inputs["task_id"], row_sums.to(sums))
    means = []
    for task, (*openings, subwords) in enumerate(trainer.accelerator.reduce(sums).tolist()):
        means.append([opening / subwords if subwords else None for opening in openings])
        means[task].insert(task, None)
    return means
