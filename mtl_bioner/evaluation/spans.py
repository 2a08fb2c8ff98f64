"""Decode logits into entities, and score entities against the gold of the corpora."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_collators import TaskRows, TaskText
from mtl_bioner.evaluation.calibration import compute_calibration_error
from mtl_bioner.evaluation.metrics import Score, compute_task_metrics, score_with_alternatives, summarise


def decode_entities(
    rows: TaskRows, logits: Any, calibrations: list[tuple[float, float]] | None = None
) -> list[list[dict[str, Any]]]:
    """Decode per text its entities `{start, end, type, score}`, except types that the text is not scored for.

    Start and end are character offsets into the document, end exclusive.
    """
    return [
        [
            {"start": s.start, "end": s.end, "type": s.type, "score": s.score}
            for s in spans
            if text.types is None or s.type in text.types
        ]
        for text, spans in zip(rows.texts, rows.decode(logits, calibrations), strict=True)
    ]


def collect_gold(text: TaskText) -> set[tuple[int, int, str]]:
    """Collect the gold spans of a document, of all types."""
    return {(e.start, e.end, e.type) for e in text.document.entities}


def collect_predicted(entities: Iterable[Mapping[str, Any]]) -> set[tuple[int, int, str]]:
    """Collect the spans of predicted entities, without their scores."""
    return {(e["start"], e["end"], e["type"]) for e in entities}


def mark_correct(text: TaskText, entities: Iterable[Mapping[str, Any]]) -> list[tuple[float, bool]]:
    """Pair the score of each predicted entity of a text with whether it is correct."""
    gold = collect_gold(text)
    return [(e["score"], (e["start"], e["end"], e["type"]) in gold) for e in entities]


def compute_span_metrics(
    rows: TaskRows, predicted: Sequence[Sequence[Mapping[str, Any]]], config: Any, prefix: str
) -> dict[str, float]:
    """Score the predicted entities of each text: by task, type and, where a task has several, corpus."""
    metrics: dict[str, float] = {}
    totals: dict[str, Score] = {}
    for task_id, (name, task) in enumerate(zip(config.task_names, config.tasks, strict=True)):
        indices = [i for i, text in enumerate(rows.texts) if text.task_id == task_id]
        if not indices:
            continue
        scored = {type_name for i in indices for type_name in rows.texts[i].types or task["types"]}
        types = [type_name for type_name in task["types"] if type_name in scored]
        scores, totals[name] = _score_texts(f"{prefix}_{name}", rows, indices, predicted, types)
        metrics |= scores
        corpora = sorted({rows.texts[i].corpus for i in indices})
        for corpus in corpora if len(corpora) > 1 else ():
            part = [i for i in indices if rows.texts[i].corpus == corpus]
            metrics |= _score_texts(f"{prefix}_{name}", rows, part, predicted, types, f"_{corpus}")[0]
    return metrics | summarise(prefix, totals)


def _score_texts(
    prefix: str, rows: TaskRows, indices: list[int], predicted: Sequence[Any], types: list[str], suffix: str = ""
) -> tuple[dict[str, float], Score]:
    """Score some texts of a task: the keys of `compute_task_metrics`, `{prefix}_ece{suffix}` if there are predictions,
    and `{prefix}_official_{precision,recall,f1}{suffix}` if the corpus has alternatives."""
    texts = {i: rows.texts[i] for i in indices}
    gold = {(i, *span) for i, text in texts.items() for span in collect_gold(text) if span[2] in types}
    found = {(i, *span) for i in texts for span in collect_predicted(predicted[i])}
    metrics, total = compute_task_metrics(prefix, gold, found, types, suffix)
    if marked := [pair for i, text in texts.items() for pair in mark_correct(text, predicted[i])]:
        metrics[f"{prefix}_ece{suffix}"] = compute_calibration_error(*zip(*marked, strict=True))
    entities = [(i, entity) for i, text in texts.items() for entity in text.document.alternatives]
    if alternatives := {(i, e.start, e.end, e.type) for i, e in entities if e.type in types}:
        metrics |= score_with_alternatives(gold, alternatives, found).as_dict(f"{prefix}_official", suffix)
    return metrics, total
