"""Measure how unsure a model is of a text, by the label probabilities of its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mtl_bioner.annotation.parts import SourceDocument


if TYPE_CHECKING:
    from torch import Tensor

    from modeling_mtl_bioner import MtlBionerPipeline

# Words of a text that count. Nearly all words are surely outside of entities, so a mean over all would tell how many
# names a text has, and a sum how long it is.
LEAST_SURE = 10


def measure_texts(
    ner: MtlBionerPipeline, documents: Sequence[SourceDocument], tasks: Sequence[str] | None = None
) -> list[float]:
    """Measure the uncertainty of each text, from 0 to 1; a word takes that of the least sure task."""
    items: list[dict[str, Any]] = [ner.preprocess(document.text) for document in documents]
    logits = ner.compute_word_logits(items, tasks=tasks)
    by_task = [[measure_words(of_text) for of_text in of_task] for of_task in logits.values()]
    return [summarize_words(of_text) for of_text in zip(*by_task, strict=True)]


def measure_words(logits: Tensor) -> Tensor:
    """Compute 1 minus the margin of each word, (words,): how close its second-best label comes to the best.

    Args:
        logits: (words, labels), minus infinity for a word without sub-words, which counts as sure.
    """
    best = logits.float().softmax(-1).topk(2).values  # (words, 2)
    return (1 - best[:, 0] + best[:, 1]).nan_to_num(0.0)


def summarize_words(by_task: Sequence[Tensor]) -> float:
    """Return the mean uncertainty of the `LEAST_SURE` words of a text; words that it lacks count as sure.

    Args:
        by_task: for each task, the uncertainty of the words, (words,).
    """
    import torch

    words = torch.stack(list(by_task)).amax(0)
    return float(words.topk(min(LEAST_SURE, len(words))).values.sum()) / LEAST_SURE
