"""Spread a selection over a collection: group the candidates by their words, and take one of each group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtl_bioner.annotation.selection.candidates import Candidate


DIMENSIONS = 256  # of the vectors; words share them by hashing (Weinberger et al. 2009)
_ROUNDS = 10  # of k-means; groups change little after these
_CHUNK = 1 << 24  # numbers of a matrix of distances that is in memory at once


def spread(candidates: Sequence[Candidate], count: int, seed: int) -> list[Candidate]:
    """Select so many candidates: the best ranked of each of `count` groups, in the order of the candidates."""
    if len(candidates) <= count:
        return list(candidates)
    groups = group_vectors(build_vectors(candidates), count, seed)
    first = {int(group): place for place, group in reversed(list(enumerate(groups)))}
    chosen = set(first.values())
    # A group may have lost all its members to others; the best of the rest stand in.
    rest = [place for place in range(len(candidates)) if place not in chosen]
    chosen |= set(rest[: count - len(chosen)])
    return [candidates[place] for place in sorted(chosen)]


def build_vectors(candidates: Sequence[Candidate]) -> np.ndarray:
    """Build a vector of length 1 for each text, (texts, `DIMENSIONS`), in which rare words weigh more.

    A word of one text alone tells nothing about its likeness to others, and doesn't count.
    """
    terms, uses = np.unique(np.concatenate([candidate.terms for candidate in candidates]), return_counts=True)
    weights = (np.log(1 + len(candidates) / uses) * (uses > 1)).astype(np.float32)
    vectors = np.zeros((len(candidates), DIMENSIONS), np.float32)
    for vector, candidate in zip(vectors, candidates, strict=True):
        signs = np.where(candidate.terms & DIMENSIONS, np.float32(1), np.float32(-1))
        np.add.at(vector, candidate.terms % DIMENSIONS, signs * weights[np.searchsorted(terms, candidate.terms)])
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def group_vectors(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Group vectors of length 1 by direction (k-means on a sphere); return the group of each, (texts,)."""
    centers = vectors[choose_centers(vectors, count, seed)]
    groups = np.full(len(vectors), -1)
    for _ in range(_ROUNDS):
        before, groups = groups, find_nearest(vectors, centers)
        if np.array_equal(before, groups):
            break
        sums = np.zeros_like(centers)
        np.add.at(sums, groups, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centers = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centers)
    return groups


def choose_centers(vectors: np.ndarray, count: int, seed: int) -> list[int]:
    """Choose vectors far from each other to begin with, by k-means++ (Arthur and Vassilvitskii 2007)."""
    generator = np.random.default_rng(seed)
    chosen = [int(generator.integers(len(vectors)))]
    distances = np.full(len(vectors), np.inf)
    while len(chosen) < count:
        distances = np.minimum(distances, (1 - vectors @ vectors[chosen[-1]]).clip(0))
        distances[chosen[-1]] = 0.0
        steps = distances.cumsum(dtype=np.float64)
        if steps[-1] <= 0:  # all others are equal to chosen ones
            return chosen + [place for place in range(len(vectors)) if place not in set(chosen)][: count - len(chosen)]
        chosen.append(int(np.searchsorted(steps, generator.random() * steps[-1], side="right")))
    return chosen


def find_nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Find the center of the greatest cosine for each vector, (texts,)."""
    step = max(1, _CHUNK // len(centers))
    parts = [(vectors[i : i + step] @ centers.T).argmax(1) for i in range(0, len(vectors), step)]
    return np.concatenate(parts)
