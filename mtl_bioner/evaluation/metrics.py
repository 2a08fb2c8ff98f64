"""Compute entity-level precision, recall and F1 on sets of character spans.

A span is `(text, start, end, type)`; `text` is any hashable key of the document. A predicted span is correct if a gold
span has the same four values (strict match). Gold comes from the corpus, so a mention that could not be labelled is
missed.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass


Span = tuple[Hashable, int, int, str]


@dataclass(frozen=True)
class Score:
    """Count correct, predicted and gold spans; the scores are from 0 to 1, and 0/0 is 0."""

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
        """Return `{prefix}_{precision,recall,f1}{suffix}`."""
        return {f"{prefix}_{kind}{suffix}": getattr(self, kind) for kind in ("precision", "recall", "f1")}


def score_spans(gold: Collection[Span], predicted: Collection[Span]) -> Score:
    """Score two sets of spans by strict match; a repeated span counts once."""
    gold, predicted = set(gold), set(predicted)
    return Score(len(gold & predicted), len(predicted), len(gold))


def score_with_alternatives(
    gold: Collection[Span], alternatives: Collection[Span], predicted: Collection[Span]
) -> Score:
    """Score spans by the official rule of BioCreative II Gene Mention (`alt_eval.perl`).

    A gold mention is found if it, or a listed alternative that overlaps it, is predicted. A prediction is false if it
    is neither a gold mention nor an alternative. Several predictions can find one mention and one prediction several
    mentions, so `right` counts found gold mentions.
    """
    gold, predicted = set(gold), set(predicted)
    accepted: dict[Hashable, list[Span]] = {}
    for alternative in set(alternatives) & predicted:
        accepted.setdefault(alternative[0], []).append(alternative)
    right = sum(
        span in predicted or any(a[1] < span[2] and span[1] < a[2] for a in accepted.get(span[0], ())) for span in gold
    )
    return Score(right, right + len(predicted - gold - set(alternatives)), len(gold))


def compute_task_metrics(
    prefix: str, gold: Collection[Span], predicted: Collection[Span], types: Iterable[str], suffix: str = ""
) -> tuple[dict[str, float], Score]:
    """Compute `{prefix}_{precision,recall,f1,support}{suffix}`, these with `_{Type}`, and the score of all types."""
    scores = {suffix: score_spans(gold, predicted)}
    for name in types:
        scores[f"{suffix}_{name}"] = score_spans(*([s for s in spans if s[3] == name] for spans in (gold, predicted)))
    metrics: dict[str, float] = {}
    for ending, score in scores.items():
        metrics |= score.as_dict(prefix, ending) | {f"{prefix}_support{ending}": score.gold}
    return metrics, scores[suffix]


def summarise(prefix: str, totals: Mapping[str, Score]) -> dict[str, float]:
    """Compute `{prefix}_macro_f1`, the tasks' mean F1, and `{prefix}_micro_{precision,recall,f1}` of all spans."""
    macro = sum(score.f1 for score in totals.values()) / max(1, len(totals))
    return {f"{prefix}_macro_f1": macro} | sum(totals.values(), Score(0, 0, 0)).as_dict(f"{prefix}_micro")
