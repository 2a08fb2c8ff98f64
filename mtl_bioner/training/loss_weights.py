"""Weights of the tasks in the loss."""

from __future__ import annotations

from data_collators import TaskBatchSampler, TaskRows
from modeling_mtl_bioner import IGNORE


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
