"""Entity-level precision, recall and F1 on sets of character spans.

A span is `(text, start, end, type)`; `text` is any hashable key of the document. A predicted span is right when all
four equal a gold span's (strict match). Gold comes from the corpus, so a mention that could not be labelled is a miss.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


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


def score_by_type(gold: Collection[Span], predicted: Collection[Span], types: Iterable[str]) -> dict[str, Score]:
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


def task_metrics(
    prefix: str, gold: Collection[Span], predicted: Collection[Span], types: Iterable[str], suffix: str = ""
) -> tuple[dict[str, float], Score]:
    """Keys `{prefix}_{precision,recall,f1,support}{suffix}`, the same with `_{Type}`; and the score over all types."""
    total = score_spans(gold, predicted)
    metrics = total.as_dict(prefix, suffix)
    for name, score in score_by_type(gold, predicted, types).items():
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


# -------------------------------------------------------------------------------------------------------- calibration


def reliability(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share that is right, and number of the entities in each of equally wide bins that holds any."""
    values, hits = np.asarray(scores, float), np.asarray(right, float)
    place = np.minimum((values * bins).astype(int), bins - 1)
    inside = [place == number for number in range(bins)]
    return [(float(values[own].mean()), float(hits[own].mean()), int(own.sum())) for own in inside if own.any()]


def calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error (Naeini et al. 2015): by how much, on average, a score differs from the share that is
    right of the entities in its bin; 0 without entities."""
    found = reliability(scores, right)
    return sum(count * abs(score - share) for score, share, count in found) / max(1, len(scores))


# ------------------------------------------------------------------------------------------------------- significance


@dataclass(frozen=True)
class Difference:
    """A difference of two mean scores, its 95 % interval, and the two-sided p of there being none."""

    difference: float
    low: float
    high: float
    p: float


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """F1 of right, predicted and gold spans in the last dimension; 0 where there are none."""
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    return 2 * right / np.maximum(predicted + gold, 1)


RESAMPLES = 10_000


def bootstrap_difference(
    baseline: Mapping[str, np.ndarray], system: Mapping[str, np.ndarray], resamples: int = RESAMPLES, seed: int = 42
) -> Difference:
    """Macro F1 of a system less that of a baseline, both a mean over seeds, with documents and seeds resampled.

    Documents are drawn with replacement within each corpus, the same for both (a paired bootstrap, Berg-Kirkpatrick et
    al. 2012). Seeds are drawn with replacement too, the same for both, since a seed stands for the same training
    documents in both (`--train_fraction`), and perhaps for the teachers of the one: so the interval holds what another
    seed would change of the difference. Of n seeds n - 1 are drawn, whose mean varies as that of n new ones would (Rao
    and Wu 1988; n draws would vary too little). With one seed it holds the documents' share alone.

    Args:
        baseline, system: corpus -> (seeds, documents, 3) right, predicted and gold spans; the same seeds and documents
            in both.

    Raises:
        ValueError: other corpora, or another number of seeds or documents.
    """
    if {c: a.shape[:2] for c, a in baseline.items()} != {c: a.shape[:2] for c, a in system.items()}:
        raise ValueError("the two were not trained with the same seeds, or not scored on the same documents")
    generator = np.random.default_rng(seed)
    seeds = len(next(iter(baseline.values())))
    drawn = generator.integers(seeds, size=(resamples, max(1, seeds - 1)))
    observed, resampled = 0.0, np.zeros(resamples)
    for corpus in baseline:
        documents = baseline[corpus].shape[1]
        for sign, counts in ((-1, baseline[corpus]), (1, system[corpus])):
            observed += sign * f1_of_counts(counts.sum(1)).mean()
        for begin in range(0, resamples, 500):  # all at once would take gigabytes
            part = slice(begin, min(begin + 500, resamples))
            weights = generator.multinomial(documents, np.full(documents, 1 / documents), size=part.stop - begin)
            for sign, counts in ((-1, baseline[corpus]), (1, system[corpus])):
                scores = f1_of_counts(np.stack([weights @ own for own in counts], 1))  # (resamples, seeds)
                resampled[part] += sign * np.take_along_axis(scores, drawn[part], 1).mean(1)
    resampled /= len(baseline)
    low, high = np.quantile(resampled, [0.025, 0.975])
    p = 2 * (1 + min((resampled <= 0).sum(), (resampled >= 0).sum())) / (resamples + 1)
    return Difference(float(observed / len(baseline)), float(low), float(high), min(1.0, float(p)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected for their number (Holm 1979), in their order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
