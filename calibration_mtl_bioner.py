"""Scores of entities that mean what they say, and can be compared between heads.

An entity's score is the mean probability of its words' labels. A temperature for each task, fitted on development data
(Guo et al. 2017), makes these scores the share of entities that are right. What is found does not change.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modeling_mtl_bioner import WordSpan


TEMPERATURES = torch.logspace(-0.5, 0.7, 97).tolist()  # 0.32 to 5.0
LEAST_ENTITIES = 50  # fewer tell too little


def fit_temperature(
    word_logits: Sequence[Tensor],
    spans: Sequence[Sequence[WordSpan]],
    right: Sequence[Sequence[bool]],
    labels: Sequence[str],
) -> float:
    """The temperature of a task under which its entities' scores predict best whether they are right (least log loss).

    Args:
        word_logits: per text (words, at least `len(labels)`).
        spans: per text its decoded entities.
        right: for each of them, whether it is one of the gold.
        labels: the task's BIO labels.

    Returns:
        The temperature, 1 where there are too few entities to tell.
    """
    targets = torch.tensor([hit for own in right for hit in own], dtype=torch.float32)  # (entities,)
    if len(targets) < LEAST_ENTITIES:
        return 1.0
    index = {label: i for i, label in enumerate(labels)}
    pieces, chosen, owners = [], [], []
    for logits, own in zip(word_logits, spans, strict=True):
        for span in own:
            owners += [len(pieces)] * (span.end - span.start)
            chosen += [index[f"B-{span.type}"]] + [index[f"I-{span.type}"]] * (span.end - span.start - 1)
            pieces.append(logits[span.start : span.end, : len(labels)].float())
    words, owner = torch.cat(pieces), torch.tensor(owners)  # (words, labels), (words,)
    picked = torch.tensor(chosen)[:, None]  # (words, 1)

    def loss(temperature: float) -> float:
        probabilities = (words / temperature).softmax(-1).gather(1, picked)[:, 0]  # (words,)
        sums = torch.zeros_like(targets).index_add(0, owner, probabilities)  # (entities,)
        scores = (sums / owner.bincount(minlength=len(targets))).clamp(1e-6, 1 - 1e-6)
        return torch.nn.functional.binary_cross_entropy(scores, targets).item()

    return min(TEMPERATURES, key=loss)
