"""Score entity spans with an `evaluate` metric that needs no network.

    metric = EntityF1()  # or evaluate.load("mtl_bioner/evaluation/entity_f1.py")
    documents = [[{"start": 0, "end": 5, "type": "Disease"}], []]  # the spans of each
    metric.compute(predictions=documents, references=documents)
    # {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1, "precision_Disease": 1.0, ...}

`evaluate.load` copies this file alone, so it works from any folder if `mtl_bioner` is installed. Importing `evaluate`
takes seconds, so nothing else imports this module.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from mtl_bioner.evaluation.metrics import compute_task_metrics
from mtl_bioner.evaluation.spans import collect_predicted


Documents = Sequence[Sequence[Mapping[str, Any]]]

SPAN = {"start": datasets.Value("int64"), "end": datasets.Value("int64"), "type": datasets.Value("string")}


class EntityF1(evaluate.Metric):
    """Compute precision, recall, F1 and the number of gold spans (`support`) over all types and by type.

    Spans are `{"start", "end", "type"}`, with half-open character offsets; other keys are ignored. A predicted span is
    correct if a gold span of the document has the same three values.
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

    def add(self, **document: Any) -> None:
        """Add the `prediction` and the `reference` of one document."""
        super().add(**{name: _drop_other_keys([spans])[0] for name, spans in document.items()})

    def add_batch(self, **documents: Any) -> None:
        """Add the `predictions` and `references` of several documents; `compute` does, too."""
        super().add_batch(**{name: _drop_other_keys(spans) for name, spans in documents.items()})

    def _compute(self, predictions: Documents, references: Documents) -> dict[str, float]:
        gold, predicted = (
            {(i, *span) for i, entities in enumerate(documents) for span in collect_predicted(entities)}
            for documents in (references, predictions)
        )
        metrics, _ = compute_task_metrics("", gold, predicted, sorted({span[3] for span in gold | predicted}))
        return {key.removeprefix("_"): value for key, value in metrics.items()}


def _drop_other_keys(documents: Documents) -> list[list[dict[str, Any]]]:
    """Keep what `evaluate` knows of a span; it refuses a score."""
    return [[{key: span[key] for key in SPAN} for span in spans] for spans in documents]
