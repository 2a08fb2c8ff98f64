"""Recognise a file's split by its name, and cut the splits that a corpus lacks, by documents and seeded."""

import itertools
import logging
import random
import re
from collections import Counter
from collections.abc import Sequence

from dataset_scripts.schema import Document


logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
WHOLE = "all"  # the only part of a corpus that is published without splits
DEFAULT_TEST_SIZE = 0.15

Splits = dict[str, list[Document]]

_SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "devel", "develop", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# `CDR_TestSet` -> CDR, Test, Set; the second also takes an acronym off a lower-case word: `NCBItrainset_corpus`
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ACRONYM = re.compile(r"[A-Z]{2,}(?=[a-z]{3})|[A-Z]?[a-z]+|[A-Z]+")


def infer_split(name: str) -> str | None:
    """Return the split that a file or folder name states as a whole word; None if it states none or several.

    `train.conll`, `my_dev.jsonl`, `CDR_TestSet.PubTator.txt` and `validation/` state one; `latest.txt` and
    `train_dev.tsv` don't.
    """
    words = {word.lower().removesuffix("set") for word in (*_CAMEL.findall(name), *_ACRONYM.findall(name))}
    stated = {_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD}
    return stated.pop() if len(stated) == 1 else None


def complete_splits(
    name: str,
    splits: Splits,
    test_size: float | None,
    dev_size: float,
    seed: int,
    scoring_only: bool,
    is_conll: bool = False,
) -> Splits:
    """Cut the splits that are missing from the training documents; with `test_size`, pool all documents first.

    With `scoring_only`, a corpus without splits is all test, unless `test_size` is given. `is_conll` concerns advice.
    """
    if scoring_only and test_size is None and WHOLE in splits:
        logger.warning("%s has no splits and nothing is trained, so all of it is scored; if the model was trained on "
                       "a part of it, give the --test_size of that training (%s by default)", name,
                       DEFAULT_TEST_SIZE)  # fmt: skip
        return {"test": splits[WHOLE]}
    if WHOLE in splits or test_size is not None:
        splits = {"train": list(itertools.chain(*splits.values()))}
    elif "train" in splits and "test" not in splits:
        logger.warning("%s has no test split; %s of its training documents are held out", name, DEFAULT_TEST_SIZE)
    for split, share in (("test", test_size or DEFAULT_TEST_SIZE), ("dev", dev_size)):
        if "train" in splits and split not in splits:
            rest, held_out = hold_out(splits["train"], share, seed)
            _warn_of_large_groups(name, splits["train"], len(held_out), share, is_conll)
            splits = {**splits, "train": rest, split: held_out}
    return splits


def hold_out(documents: Sequence[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Hold out a share of the documents; return `(the others, held out)`, each in the order given.

    Whole groups are drawn until the share is reached, so sentences of one abstract, or documents of one id, stay
    together. The draw depends on ids, groups and seed only, not on the order of the files. At least one group is held
    out, and at least one is left, if there are two.
    """
    # A repeated document counts once.
    distinct = {(document.document_id, document.text): _get_group(document) for document in documents}
    sizes = Counter(distinct.values())
    groups = sorted(sizes)
    random.Random(seed).shuffle(groups)
    target = max(1, round(share * len(distinct)))
    sums = itertools.accumulate((sizes[group] for group in groups), initial=0)  # of the documents in earlier groups
    drawn = {group for group, drawn_before in zip(groups[:-1], sums, strict=False) if drawn_before < target}
    rest = [document for document in documents if _get_group(document) not in drawn]
    return rest, [document for document in documents if _get_group(document) in drawn]


def _get_group(document: Document) -> str:
    return document.group or document.document_id


def _warn_of_large_groups(
    name: str, documents: Sequence[Document], held_out: int, share: float, is_conll: bool
) -> None:
    """Warn if documents that stay together made the cut far larger, or smaller, than the share."""
    far_off = len(documents) >= 20 and not share / 2 <= held_out / len(documents) <= 2 * share
    if documents and (far_off or not held_out):
        group, size = Counter(map(_get_group, documents)).most_common(1)[0]
        remedy = "begin each text with a -DOCSTART- line" if is_conll else "give each text its own id"
        logger.warning(
            "%s: %d of %d documents are held out instead of a share of %g: %d have the id or group %r and stay "
            "together; %s", name, held_out, len(documents), share, size, group, remedy,
        )  # fmt: skip
