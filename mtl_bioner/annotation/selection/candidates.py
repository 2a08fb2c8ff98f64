"""Hold the texts that may be selected: the best ranked so far, without copies, in bounded memory."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mtl_bioner.annotation.parts import SourceDocument


NEAR = 0.8  # Jaccard index of the words from which on two texts are near-equal
_BANDS, _ROWS = 6, 3  # of MinHash: finds 99 % of the pairs of index 0.8 (Broder 1997)
_PRIME = np.uint64((1 << 31) - 1)
_FACTORS = np.random.default_rng(0).integers(1, int(_PRIME), (2, _BANDS * _ROWS, 1), dtype=np.uint64)
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A text that may be selected."""

    document: SourceDocument
    rank: float  # the greater the sooner it is selected
    terms: np.ndarray  # of its words, see `hash_terms`


def hash_text(text: str) -> int:
    """Hash the words of a text, whatever the case, spaces and punctuation, to 64 bits; 0 for a text without any."""
    words = _WORD.findall(text.casefold())
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "big") if words else 0


def hash_terms(text: str) -> np.ndarray:
    """Hash the distinct words of a text, (terms,), ascending; all numbers are one word, as in copies of a form."""
    words = {_NUMBER.sub("0", word) for word in _WORD.findall(text.casefold())}
    hashes = (int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "big") for word in words)
    return np.unique(np.fromiter(hashes, np.uint32, len(words)))


def draw(seed: int, key: int) -> float:
    """Draw a number from 0 to 1 for a text, which depends on nothing but the seed and the text."""
    digest = hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


class Pool:
    """The best ranked `size` of the texts that were offered, near-equal ones once; at most twice as many are held."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.least = -1.0  # a lower rank doesn't get in
        self.candidates: list[Candidate] = []
        self.near_copies = 0  # that were left out

    def offer(self, document: SourceDocument, rank: float) -> None:
        """Take a text in if it may be among the best."""
        if rank > self.least:
            self.candidates.append(Candidate(document, rank, hash_terms(document.text)))
            if len(self.candidates) >= 2 * self.size:
                self._cut()

    def list_best(self) -> list[Candidate]:
        """Return the best candidates, the first in rank first."""
        self._cut()
        return self.candidates

    def _cut(self) -> None:
        ranked = sorted(self.candidates, key=lambda candidate: -candidate.rank)  # stable: of equals the earlier
        distinct = drop_near_copies(ranked)
        self.near_copies += len(ranked) - len(distinct)
        self.candidates = distinct[: self.size]
        if len(distinct) >= self.size:
            self.least = self.candidates[-1].rank


def drop_near_copies(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Keep the first of near-equal texts."""
    kept: list[Candidate] = []
    places: dict[tuple[int, ...], list[int]] = defaultdict(list)  # in `kept`, by band of hashes
    for candidate in candidates:
        bands = _find_bands(candidate.terms)
        others = {place for band in bands for place in places.get(band, ())}
        if not any(compare_terms(candidate.terms, kept[place].terms) >= NEAR for place in others):
            for band in bands:
                places[band].append(len(kept))
            kept.append(candidate)
    return kept


def _find_bands(terms: np.ndarray) -> list[tuple[int, ...]]:
    """Return the bands of a text's MinHash signature: near-equal texts have one in common."""
    if not len(terms):
        return []
    hashed = (terms.astype(np.uint64) % _PRIME * _FACTORS[0] + _FACTORS[1]) % _PRIME  # (hashes, terms)
    signature = hashed.min(1).reshape(_BANDS, _ROWS).tolist()
    return [(number, *band) for number, band in enumerate(signature)]


def compare_terms(first: np.ndarray, second: np.ndarray) -> float:
    """Compute the Jaccard index of the words of two texts."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / max(1, len(first) + len(second) - shared)
