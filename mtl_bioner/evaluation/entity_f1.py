"""Strict entity F1 on character spans as an `evaluate` metric, without the Hub.

    metric = EntityF1()                         # or evaluate.load("entity_f1.py"), the path of this file
    metric.compute(
        predictions=[[{"start": 0, "end": 5, "type": "Disease"}]],      # a list of spans for each document
        references=[[{"start": 0, "end": 5, "type": "Disease"}, {"start": 9, "end": 12, "type": "Disease"}]],
    )
    # {"precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 2, "precision_Disease": 1.0, ...}

A module of its own, since importing `evaluate` takes seconds. `evaluate.load` copies this file alone, so the project
has to be installed, or its folder on the path, for it to find `metrics_mtl_bioner`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from mtl_bioner.evaluation.metrics import Span, compute_task_metrics


SPAN = {"start": datasets.Value("int64"), "end": datasets.Value("int64"), "type": datasets.Value("string")}


class EntityF1(evaluate.Metric):
    """Precision, recall and F1 of predicted spans, and the number of gold ones (`support`).

    A span `{"start", "end", "type"}` (half-open character offsets; what else it has doesn't count) is right when all
    three equal those of a gold span of the same document. The keys are followed by the same with `_{Type}` for every
    type that occurs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("num_process", 1) == 1:  # several processes exchange their parts through files
            kwargs["keep_in_memory"] = True
        super().__init__(*args, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Strict entity precision, recall and F1 on character spans.",
            citation="",
            inputs_description="predictions, references: for each document a list of {start, end, type}",
            features=datasets.Features({"predictions": [SPAN], "references": [SPAN]}),
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """As evaluate's, of one document."""
        super().add(prediction=_bare([prediction])[0], reference=_bare([reference])[0], **kwargs)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """As evaluate's, which `compute` calls too, without what else a span has, such as a score."""
        super().add_batch(predictions=_bare(predictions), references=_bare(references), **kwargs)

    def _compute(
        self, predictions: Sequence[Sequence[Mapping[str, Any]]], references: Sequence[Sequence[Mapping[str, Any]]]
    ) -> dict[str, float]:
        gold, predicted = _spans(references), _spans(predictions)
        metrics, _ = compute_task_metrics("", gold, predicted, sorted({span[3] for span in gold | predicted}))
        return {key.removeprefix("_"): value for key, value in metrics.items()}


def _bare(documents: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[dict[str, Any]]]:
    return [[{key: span[key] for key in SPAN} for span in spans] for spans in documents]


def _spans(documents: Sequence[Sequence[Mapping[str, Any]]]) -> set[Span]:
    return {(i, span["start"], span["end"], span["type"]) for i, spans in enumerate(documents) for span in spans}
