"""Turn logits into entities, and score them against the corpora's gold."""

from __future__ import annotations

from typing import Any

from data_collators import TaskRows, TaskText
from mtl_bioner.evaluation.calibration import compute_calibration_error
from mtl_bioner.evaluation.metrics import Score, compute_task_metrics, score_with_alternatives, summarise


def decode_entities(
    rows: TaskRows, logits: Any, calibrations: list[tuple[float, float]] | None = None
) -> list[list[dict[str, Any]]]:
    """Per text its predicted entities `{start, end, type, score}`, character offsets into the document; of the types
    that the text is scored for."""
    return [
        [
            {"start": s.start, "end": s.end, "type": s.type, "score": s.score}
            for s in spans
            if text.types is None or s.type in text.types
        ]
        for text, spans in zip(rows.texts, rows.decode(logits, calibrations), strict=True)
    ]


def collect_gold(text: TaskText) -> set[tuple[int, int, str]]:
    """The gold entities of a document, of all types."""
    return {(e.start, e.end, e.type) for e in text.document.entities}


def compute_span_metrics(
    rows: TaskRows, predicted: list[list[dict[str, Any]]], config: Any, prefix: str
) -> dict[str, float]:
    """Scores of all tasks with rows, by corpus and type, against the corpora's gold.

    Args:
        predicted: per text its entities, as from `decode_entities`.
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
    """Score some texts of a task: the keys of `compute_task_metrics`, `{prefix}_ece{suffix}` and, for a corpus with
    alternatives, `{prefix}_official_..{suffix}`."""
    gold = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.entities if e.type in types}
    found = {(i, e["start"], e["end"], e["type"]): e["score"] for i in own for e in predicted[i]}
    metrics, total = compute_task_metrics(prefix, gold, found, types, suffix)
    metrics[f"{prefix}_ece{suffix}"] = compute_calibration_error(
        list(found.values()), [span in gold for span in found]
    )
    other = {(i, e.start, e.end, e.type) for i in own for e in rows.texts[i].document.alternatives if e.type in types}
    if other:
        official = score_with_alternatives(gold, other, found)
        for kind in ("precision", "recall", "f1"):
            metrics[f"{prefix}_official_{kind}{suffix}"] = getattr(official, kind)
    return metrics, total
