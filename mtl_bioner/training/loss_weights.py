"""Weights of the tasks in the loss."""

import math

from data_collators import TaskBatchSampler, TaskRows
from modeling_mtl_bioner import IGNORE


def parse_loss_weights(text: str, task_names: list[str]) -> list[float] | None:
    """Return the weights in the order of the tasks, all 1 for `equal`; None for `balanced`.

    Raises ValueError for an unknown task, a weight below 0 or not finite, or none above 0.
    """
    if text in ("balanced", "equal"):
        return None if text == "balanced" else [1.0] * len(task_names)
    weights = values_by_task("--task_loss_weights", "weight", text, task_names)
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ValueError(f"--task_loss_weights gives {name} the weight {weight}; it must be 0 or more, and finite")
    if not any(weights.values()):
        remedy = "give at least one task a weight above 0"
        raise ValueError(f"--task_loss_weights {text} leaves nothing to learn; {remedy}")
    return list(weights.values())


def values_by_task(argument: str, what: str, text: str | None, task_names: list[str]) -> dict[str, float]:
    """Parse the number of each task from `ncbi=1,bc5cdr=0.5`; 1 for a task that is not named.

    Raises ValueError, with the names of the argument and of its numbers (`what`), for an unknown task or no number.
    """
    values = dict.fromkeys(task_names, 1.0)
    for item in filter(None, (text or "").split(",")):
        name, _, value = item.rpartition("=") if item.count("=") > 1 else item.partition("=")
        if name not in values:
            task, _, number = item.rpartition(":")
            hint = f"write {task}={number}" if task in values else f"the tasks are {', '.join(task_names)}"
            raise ValueError(f"{argument} names {name!r}; {hint}")
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f"{argument} gives {name} the {what} {value!r}; write {name}=0.5") from None
    return values


def balanced_weights(rows: TaskRows, sampler: TaskBatchSampler, tasks: int) -> list[float]:
    """Return the inverse of each task's share of the labelled tokens in an epoch: the loss sums the tasks' means."""
    labelled = [0.0] * tasks
    for row in rows.rows:
        labelled[row.task_id] += sum(label != IGNORE for label in row.labels)
    drawn = [labelled[t] * sampler.draws[t] / len(sampler.rows[t]) if t in sampler.rows else 0.0 for t in range(tasks)]
    return [sum(drawn) / count if count else 1.0 for count in drawn]
