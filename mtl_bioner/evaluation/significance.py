"""Test differences of F1: paired bootstrap over documents and seeds, Holm correction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """A difference of two mean scores, its 95 % interval, and the two-sided p value of no difference."""

    difference: float
    low: float
    high: float
    p: float


def f1_of_counts(counts: np.ndarray) -> np.ndarray:
    """Compute F1 from right, predicted and gold spans in the last dimension; 0 where there are none."""
    right, predicted, gold = np.moveaxis(counts, -1, 0)
    return 2 * right / np.maximum(predicted + gold, 1)


def bootstrap_difference(
    baseline: Mapping[str, np.ndarray], system: Mapping[str, np.ndarray], resamples: int = RESAMPLES, seed: int = 42
) -> Difference:
    """Estimate the difference in macro F1 between a system and a baseline, each averaged over seeds.

    Documents are drawn with replacement within each corpus, the same ones for both (paired bootstrap, Berg-Kirkpatrick
    et al. 2012). Seeds are drawn in pairs too, because a seed decides the training documents and the teachers: the
    interval includes the variation between seeds. Of n seeds n - 1 are drawn, whose mean varies as the mean of n new
    seeds would (Rao and Wu 1988). With one seed, the interval covers the variation between documents only.

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
        sides = ((-1, baseline[corpus]), (1, system[corpus]))
        for sign, counts in sides:
            observed += sign * f1_of_counts(counts.sum(1)).mean()
        for begin in range(0, resamples, 500):  # all at once would take gigabytes
            part = slice(begin, min(begin + 500, resamples))
            weights = generator.multinomial(documents, np.full(documents, 1 / documents), size=part.stop - begin)
            for sign, counts in sides:
                scores = f1_of_counts(np.stack([weights @ of_seed for of_seed in counts], 1))  # (resamples, seeds)
                resampled[part] += sign * np.take_along_axis(scores, drawn[part], 1).mean(1)
    resampled /= len(baseline)
    low, high = np.quantile(resampled, [0.025, 0.975])
    p = 2 * (1 + min((resampled <= 0).sum(), (resampled >= 0).sum())) / (resamples + 1)
    return Difference(float(observed / len(baseline)), float(low), float(high), min(1.0, float(p)))


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p values of several tests for their number (Holm 1979), and return them in their order."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = largest
    return corrected
