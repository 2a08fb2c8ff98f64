"""Scores of entities that mean what they say, and can be compared between heads.

Temperature and bias of a task's scores (see `WordSpan` in `modeling_mtl_bioner.py`), fitted on development data, make
them the chance of an entity to be right (Platt 1999). What is found does not change, nor which score is the higher.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


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
