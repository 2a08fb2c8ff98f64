"""Fit and measure the calibration of entity scores."""

from collections.abc import Sequence

import numpy as np
import torch


MIN_ENTITIES = 50  # fewer give no reliable fit
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.1, 10.0


def bin_by_score(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """Compute mean score, share of correct entities and number of entities of the equally wide bins that hold any."""
    values, hits = np.asarray(scores, float), np.asarray(right, float)
    places = np.minimum((values * bins).astype(int), bins - 1)
    masks = [places == number for number in range(bins)]
    return [(float(values[mask].mean()), float(hits[mask].mean()), int(mask.sum())) for mask in masks if mask.any()]


def compute_calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Compute the expected calibration error (Naeini et al. 2015) of at least one entity, from 0 to 1.

    It is the difference between a bin's mean score and its share of correct entities, averaged over the entities.
    """
    return sum(count * abs(score - share) for score, share, count in bin_by_score(scores, right)) / len(scores)


def fit_calibration(scores: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """Fit the temperature and bias with which a task's scores best predict correctness (least log loss).

    Args:
        scores: of the decoded entities, with temperature 1 and bias 0.
        right: whether each of them is correct.

    Returns:
        None if there are too few entities, if all or none are correct, or if higher scores are not better.
    """
    if len(scores) < MIN_ENTITIES or all(right) or not any(right):
        return None
    targets = torch.tensor(right, dtype=torch.float64)
    odds = torch.tensor(scores, dtype=torch.float64).logit(eps=1e-7)
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
    inputs = torch.stack([odds, torch.ones_like(odds)])  # (2, entities)
    for _ in range(100):  # Newton's method
        chances = (weights @ inputs).sigmoid()
        gradient = inputs @ (chances - targets)
        curvature = (inputs * (chances * (1 - chances))) @ inputs.T + 1e-6 * torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(curvature, gradient)
        weights = weights - step / step.norm().clamp(min=1)
        if step.norm() < 1e-9:
            slope, bias = weights.tolist()
            return (1 / slope, bias) if 1 / MAX_TEMPERATURE <= slope <= 1 / MIN_TEMPERATURE else None
    return None
