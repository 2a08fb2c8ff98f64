"""Entity-level precision, recall and F1 on sets of character spans.

A span is `(text, start, end, type)`; `text` is any hashable key of the document. A predicted span is right when all
four equal a gold span's (strict match). Gold comes from the corpus, so a mention that could not be labelled is a miss.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass


Span = tuple[Hashable, int, int, str]


@dataclass(frozen=True)
class Score:
    """Counts of right, predicted and gold spans, and what follows from them (all from 0 to 1; 0/0 is 0)."""

    right: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        return self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.predicted + self.gold) if self.right else 0.0

    def __add__(self, other: Score) -> Score:
        return Score(self.right + other.right, self.predicted + other.predicted, self.gold + other.gold)

    def as_dict(self, prefix: str, suffix: str = "") -> dict[str, float]:
        """`{prefix}_precision{suffix}` and recall, f1, support (the number of gold spans)."""
        values = {"precision": self.precision, "recall": self.recall, "f1": self.f1, "support": self.gold}
        return {f"{prefix}_{name}{suffix}": value for name, value in values.items()}


def score_spans(gold: Collection[Span], predicted: Collection[Span]) -> Score:
    """Strict match of two sets of spans; a span given twice counts once."""
    gold, predicted = set(gold), set(predicted)
    return Score(len(gold & predicted), len(predicted), len(gold))


def score_spans_by_type(gold: Collection[Span], predicted: Collection[Span], types: Iterable[str]) -> dict[str, Score]:
    """`score_spans` of each type alone."""
    return {
        name: score_spans([s for s in gold if s[3] == name], [s for s in predicted if s[3] == name]) for name in types
    }


def score_with_alternatives(
    gold: Collection[Span], alternatives: Collection[Span], predicted: Collection[Span]
) -> Score:
    """The official rule of BioCreative II Gene Mention (`alt_eval.perl`).

    A gold mention is found if it is predicted, or if a listed alternative that overlaps it is; a prediction is false
    if it is neither a gold mention nor an alternative. So several predictions can find one mention, one prediction
    several mentions, and `right` counts found gold mentions.
    """
    gold, predicted = set(gold), set(predicted)
    accepted: dict[Hashable, list[Span]] = {}
    for alternative in set(alternatives) & predicted:
        accepted.setdefault(alternative[0], []).append(alternative)
    found = sum(
        span in predicted or any(a[1] < span[2] and span[1] < a[2] for a in accepted.get(span[0], ())) for span in gold
    )
    false = len(predicted - gold - set(alternatives))
    return Score(found, found + false, len(gold))


def compute_task_metrics(
    prefix: str, gold: Collection[Span], predicted: Collection[Span], types: Iterable[str], suffix: str = ""
) -> tuple[dict[str, float], Score]:
    """Keys `{prefix}_{precision,recall,f1,support}{suffix}`, the same with `_{Type}`; and the score over all types."""
    total = score_spans(gold, predicted)
    metrics = total.as_dict(prefix, suffix)
    for name, score in score_spans_by_type(gold, predicted, types).items():
        metrics |= score.as_dict(prefix, f"{suffix}_{name}")
    return metrics, total


def summarise(prefix: str, totals: Mapping[str, Score]) -> dict[str, float]:
    """`{prefix}_macro_f1`, the mean of the tasks' F1, and `{prefix}_micro_{precision,recall,f1}` over all spans."""
    micro = sum(totals.values(), Score(0, 0, 0))
    return {
        f"{prefix}_macro_f1": sum(score.f1 for score in totals.values()) / max(1, len(totals)),
        f"{prefix}_micro_precision": micro.precision,
        f"{prefix}_micro_recall": micro.recall,
        f"{prefix}_micro_f1": micro.f1,
    }
