"""Calibrate the entity scores of a model: fit them to the chance that an entity is right."""

from collections.abc import Iterable, Sequence
from typing import Any

from data_collators import TaskRows
from modeling_mtl_bioner import MtlBionerConfig
from mtl_bioner.evaluation.calibration import fit_calibration
from mtl_bioner.evaluation.spans import collect_gold, compute_span_metrics, decode_entities


def calibrate_scores(config: MtlBionerConfig, rows: TaskRows, logits: Any) -> dict[str, float]:
    """Fit temperature and bias of each task's scores on development rows, and set them in the model's config.

    Args:
        logits: of each row, (length, labels), as `trainer.predict` returns them.

    Returns:
        The calibration errors that are left on these rows, `eval_{task}_ece` and by corpus.
    """
    scores_by_task = collect_scores(rows, decode_entities(rows, logits), config.task_names)
    for task, (scores, correct) in scores_by_task.items():
        if calibration := fit_calibration(scores, correct):
            head = config.tasks[config.task_names.index(task)]
            head["temperature"], head["score_bias"] = calibration
    metrics = compute_span_metrics(rows, decode_entities(rows, logits, list_calibrations(config)), config, "eval")
    return {key: value for key, value in metrics.items() if "_ece" in key}


def list_calibrations(config: MtlBionerConfig) -> list[tuple[float, float]]:
    """Return temperature and bias of each task's scores."""
    return [config.score_calibration(task) for task in range(len(config.tasks))]


def forget_calibrations(config: MtlBionerConfig, tasks: Iterable[int]) -> None:
    """Remove temperature and bias of heads that training changes: they no longer apply."""
    for task in tasks:
        for name in ("temperature", "score_bias"):
            config.tasks[task].pop(name, None)


def collect_scores(
    rows: TaskRows, entities: Sequence[Sequence[dict[str, Any]]], task_names: Sequence[str]
) -> dict[str, tuple[list[float], list[bool]]]:
    """Return by task the score of each text's predicted entities (from `decode_entities`), and whether it is right."""
    collected: dict[str, tuple[list[float], list[bool]]] = {}
    for text, predicted in zip(rows.texts, entities, strict=True):
        scores, correct = collected.setdefault(task_names[text.task_id], ([], []))
        gold = collect_gold(text)
        scores += [entity["score"] for entity in predicted]
        correct += [(entity["start"], entity["end"], entity["type"]) in gold for entity in predicted]
    return collected
