"""Fit and measure the calibration of entity scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def bin_by_score(scores: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[tuple[float, float, int]]:
    """Mean score, share that is right, and number of the entities in each of equally wide bins that holds any."""
    values, hits = np.asarray(scores, float), np.asarray(right, float)
    place = np.minimum((values * bins).astype(int), bins - 1)
    inside = [place == number for number in range(bins)]
    return [(float(values[own].mean()), float(hits[own].mean()), int(own.sum())) for own in inside if own.any()]


def compute_calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Expected calibration error (Naeini et al. 2015): by how much, on average, a score differs from the share that is
    right of the entities in its bin; 0 without entities."""
    found = bin_by_score(scores, right)
    return sum(count * abs(score - share) for score, share, count in found) / max(1, len(scores))


LEAST_ENTITIES = 50  # fewer tell too little


STEEPEST, FLATTEST = 0.1, 10.0  # temperatures


def fit_calibration(scores: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """Temperature and bias under which a task's scores predict best whether its entities are right (least log loss).

    Args:
        scores: of the decoded entities, with temperature 1 and bias 0.
        right: for each of them, whether it is one of the gold.

    Returns:
        None where there are too few entities to tell, all are right or all wrong, or a higher score isn't better.
    """
    if len(scores) < LEAST_ENTITIES or all(right) or not any(right):
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
            return (1 / slope, bias) if 1 / FLATTEST <= slope <= 1 / STEEPEST else None
    return None
