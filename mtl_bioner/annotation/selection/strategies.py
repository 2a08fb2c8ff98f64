"""Select texts from a stream: rank each, hold the best ranked, and spread the selection over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mtl_bioner.annotation.parts import SourceDocument
from mtl_bioner.annotation.selection.candidates import Candidate, Pool, draw, hash_text
from mtl_bioner.annotation.selection.spread import spread
from mtl_bioner.annotation.selection.uncertainty import measure_texts


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline


class Strategy(NamedTuple):
    """How texts are ranked, and how many for each that is selected are spread over."""

    by_uncertainty: bool  # else at random
    candidates: int  # 1: the best ranked are selected


STRATEGIES = {
    "random": Strategy(by_uncertainty=False, candidates=1),
    "spread": Strategy(by_uncertainty=False, candidates=10),
    "uncertain": Strategy(by_uncertainty=True, candidates=1),
    "uncertain_spread": Strategy(by_uncertainty=True, candidates=4),
}
DEFAULT_STRATEGY = "uncertain_spread"


class Selector:
    """Select `count` texts from parts of a collection.

    What is selected depends on the texts, their order, the model and the seed. Texts are told apart by their words:
    those in `excluded` (hashes by `hash_text`), those without a word and later copies are left out.
    """

    def __init__(
        self,
        ner: MtlBionerPipeline,
        count: int,
        strategy: str = DEFAULT_STRATEGY,
        tasks: Sequence[str] | None = None,
        seed: int = 42,
        excluded: Iterable[int] = (),
    ) -> None:
        self.ner, self.count, self.tasks, self.seed = ner, count, tasks, seed
        self.strategy = STRATEGIES[strategy]
        self.pool = Pool(count * self.strategy.candidates)
        self.excluded = set(excluded)
        self.seen = {0}  # hashes of the texts so far, 8 bytes each; 0 is a text without a word
        self.known = self.copies = self.offered = 0  # texts that were excluded, repeated, and ranked

    def offer(self, documents: Iterable[SourceDocument]) -> None:
        """Rank the texts of a part, and hold the best."""
        fresh: dict[int, SourceDocument] = {}
        for document in documents:
            key = hash_text(document.text)
            if key in self.excluded:
                self.known += 1
            elif key in self.seen or key in fresh:
                self.copies += 1
            else:
                fresh[key] = document
        self.seen.update(fresh)
        self.offered += len(fresh)
        texts = list(fresh.values())
        if self.strategy.by_uncertainty:
            ranks = measure_texts(self.ner, texts, self.tasks) if texts else []
        else:
            ranks = [draw(self.seed, key) for key in fresh]
        for document, rank in zip(texts, ranks, strict=True):
            self.pool.offer(document, rank)

    def select(self) -> list[Candidate]:
        """Select from the texts offered so far, the first in rank first."""
        return spread(self.pool.list_best(), self.count, self.seed)
