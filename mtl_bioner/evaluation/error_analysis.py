"""What kind of errors a model makes: missed, spurious, wrong boundary, wrong type; and on mentions never seen.

Every gold mention is found, or is an error of one kind; every prediction is right, or an error of one kind:

    wrong type      same place, another type
    wrong boundary  same type, overlapping places
    missed          a gold mention that is neither
    spurious        a prediction that is neither
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from mtl_bioner.evaluation.metrics import Span


KINDS = ("missed", "spurious", "wrong boundary", "wrong type")


def classify_errors(gold: Collection[Span], predicted: Collection[Span]) -> list[tuple[str, Span]]:
    """The kind and the span of each error; a gold mention and a prediction of one mistake are counted once, as gold.

    A prediction that overlaps several gold mentions of its type is a boundary error of each.
    """
    gold, predicted = set(gold), set(predicted)
    false, explained, errors = predicted - gold, set(), []
    by_text: dict[Any, list[Span]] = defaultdict(list)
    for span in sorted(false, key=lambda s: s[1:]):
        by_text[span[0]].append(span)
    for span in sorted(gold - predicted, key=lambda s: (str(s[0]), *s[1:])):
        overlapping = [p for p in by_text[span[0]] if p[1] < span[2] and span[1] < p[2]]
        same_place = [p for p in overlapping if p[1:3] == span[1:3]]
        same_type = [p for p in overlapping if p[3] == span[3]]
        kind = "wrong type" if same_place else "wrong boundary" if same_type else "missed"
        explained.update(same_place, same_type)
        errors.append((kind, span))
    spurious = sorted(false - explained, key=lambda s: (str(s[0]), *s[1:]))
    return errors + [("spurious", span) for span in spurious]


def build_error_report(
    gold: Collection[Span],
    predicted: Collection[Span],
    texts: Mapping[Any, str],
    seen: Collection[tuple[str, str]],
    examples: int = 100,
) -> dict[str, Any]:
    """Errors by kind and type, the most frequent examples, and recall of seen and unseen mentions.

    Args:
        texts: text of each span's document.
        seen: `normalize_mention` of each mention in training.

    Returns:
        `{"by_type": {type: {kind: count}}, "examples": {kind: [[mention, type, count], ...]}, "recall": {"seen" and
        "unseen": [found, of]}}`
    """
    by_type: dict[str, Counter] = defaultdict(Counter)
    mentions: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    for kind, span in classify_errors(gold, predicted):
        by_type[span[3]][kind] += 1
        mentions[kind][normalize_mention(texts[span[0]], span)] += 1
    recall = {"seen": [0, 0], "unseen": [0, 0]}
    found = set(predicted)
    for span in set(gold):
        own = recall["seen" if normalize_mention(texts[span[0]], span) in seen else "unseen"]
        own[0] += span in found
        own[1] += 1
    return {
        "by_type": {name: {kind: counts[kind] for kind in KINDS} for name, counts in sorted(by_type.items())},
        "examples": {
            kind: [[*key, count] for key, count in _most_common(counter, examples)]
            for kind, counter in mentions.items()
        },
        "recall": recall,
    }


def normalize_mention(text: str, span: Span) -> tuple[str, str]:
    """What two mentions have in common that are written alike: their words, case folded, and their type."""
    return " ".join(text[span[1] : span[2]].casefold().split()), span[3]


def _most_common(counter: Counter, number: int) -> list[tuple[tuple[str, str], int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:number]


def average_error_reports(reports: Iterable[Mapping[str, Any]], trainings: int, examples: int = 10) -> dict[str, Any]:
    """Several reports (tasks of one corpus, seeds) added, and divided by the number of trainings of each task."""
    by_type: dict[str, Counter] = defaultdict(Counter)
    found: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    recall = {"seen": [0, 0], "unseen": [0, 0]}
    for report in reports:
        for name, counts in report["by_type"].items():
            by_type[name].update(counts)
        for kind, own in report["examples"].items():
            found[kind].update({(mention, type_name): count for mention, type_name, count in own})
        for name, (hits, of) in report["recall"].items():
            recall[name] = [recall[name][0] + hits, recall[name][1] + of]
    return {
        "by_type": {
            name: {kind: count / trainings for kind, count in counts.items()}
            for name, counts in sorted(by_type.items())
        },
        "examples": {
            kind: [[*key, count / trainings] for key, count in _most_common(own, examples)]
            for kind, own in found.items()
        },
        "recall": {name: [count / trainings for count in own] for name, own in recall.items()},
    }
