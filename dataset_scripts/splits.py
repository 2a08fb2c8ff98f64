"""Which split a file belongs to by its name, and how a corpus without a split gets one: cut by documents, seeded."""

from __future__ import annotations

import logging
import random
import re
from collections import Counter
from collections.abc import Sequence

from .schema import CorpusError, RawDocument


logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "develop", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}

# `CDR_TestSet` -> CDR, Test, Set; the second also takes an acronym off a lower-case word: `NCBItrainset_corpus`
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ACRONYM = re.compile(r"[A-Z]{2,}(?=[a-z]{3})|[A-Z]?[a-z]+|[A-Z]+")


def split_of_name(name: str) -> str | None:
    """The split that a file's or folder's name states as a whole word, any case; None if it states none or several.

    `train.conll`, `my_dev.jsonl`, `CDR_TestSet.PubTator.txt` and `validation/` state one; `latest.txt` and
    `train_dev.tsv` don't.
    """
    words = {word.lower().removesuffix("set") for word in (*_CAMEL.findall(name), *_ACRONYM.findall(name))}
    stated = {_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD}
    return stated.pop() if len(stated) == 1 else None


def check_share(name: str, share: float) -> None:
    """Refuse a share of documents outside (0, 1).

    Raises:
        CorpusError: naming the argument, the value and what is expected.
    """
    if not 0 < share < 1:
        raise CorpusError(f"{name} is {share}; a share of the documents between 0 and 1 is needed, such as 0.1")


def cut(raws: Sequence[RawDocument], share: float, seed: int) -> tuple[list[RawDocument], list[RawDocument]]:
    """Hold out a share of the documents; returns `(the others, held out)`, each in the order given.

    Whole groups are drawn until the share is reached, so that sentences of one abstract, or documents of one id, stay
    together. Which ones depends on ids, groups and seed only, not on the order of the files. At least one group is
    held out, and at least one is left, if there are two.
    """
    distinct = {(raw.document_id, raw.text): group_of(raw) for raw in raws}  # a document that stands twice is one
    size = Counter(distinct.values())
    groups = sorted(size)
    random.Random(seed).shuffle(groups)
    wanted, drawn, held_out = max(1, round(share * len(distinct))), 0, set()
    for group in groups[: max(len(groups) - 1, 0)]:
        if drawn >= wanted:
            break
        held_out.add(group)
        drawn += size[group]
    rest = [raw for raw in raws if group_of(raw) not in held_out]
    return rest, [raw for raw in raws if group_of(raw) in held_out]


def group_of(raw: RawDocument) -> str:
    """What stays together in one split."""
    return raw.group or raw.document_id
