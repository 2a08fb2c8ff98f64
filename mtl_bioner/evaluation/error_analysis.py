"""Classify a model's errors, and measure recall of mentions seen and unseen in training.

Every gold mention that was not found is one error, and so is every wrong prediction that explains none of them:

    wrong type      same place, another type
    wrong boundary  same type, overlapping places
    missed          a gold mention that is neither
    spurious        a prediction that is neither
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mtl_bioner.evaluation.metrics import Span


KINDS = ("missed", "spurious", "wrong boundary", "wrong type")


@dataclass(frozen=True)
class Error:
    """A gold mention that was not found (None if the error is spurious), and the predictions in its place."""

    kind: str
    gold: Span | None
    predicted: tuple[Span, ...] = ()

    @property
    def span(self) -> Span:
        """The place that the error is listed by: the gold mention's, if there is one."""
        return self.gold or self.predicted[0]


def pair_errors(gold: Collection[Span], predicted: Collection[Span]) -> list[Error]:
    """Pair each gold mention that was not found with what was predicted in its place; spurious predictions are last.

    A prediction that overlaps several gold mentions of its type is a boundary error of each.
    """
    gold, predicted = set(gold), set(predicted)
    wrong, explained, errors = predicted - gold, set(), []
    wrong_by_text: dict[Any, list[Span]] = defaultdict(list)
    for span in sorted(wrong, key=lambda s: s[1:]):
        wrong_by_text[span[0]].append(span)
    for span in sorted(gold - predicted, key=_sort_key):
        overlapping = [p for p in wrong_by_text[span[0]] if p[1] < span[2] and span[1] < p[2]]
        same_place = [p for p in overlapping if p[1:3] == span[1:3]]
        same_type = [p for p in overlapping if p[3] == span[3]]
        kind = "wrong type" if same_place else "wrong boundary" if same_type else "missed"
        errors.append(Error(kind, span, (*same_place, *same_type)))
        explained.update(same_place, same_type)
    return errors + [Error("spurious", None, (span,)) for span in sorted(wrong - explained, key=_sort_key)]


def classify_errors(gold: Collection[Span], predicted: Collection[Span]) -> list[tuple[str, Span]]:
    """Return the kind and the span of each error, in the order of `pair_errors`.

    A gold mention and what was predicted in its place are one error, listed by the gold span.
    """
    return [(error.kind, error.span) for error in pair_errors(gold, predicted)]


def _sort_key(span: Span) -> tuple[Any, ...]:
    return (str(span[0]), *span[1:])


def build_error_report(
    gold: Collection[Span], predicted: Collection[Span], texts: Mapping[Any, str], seen: Collection[tuple[str, str]],
    examples: int = 100,
) -> dict[str, Any]:  # fmt: skip
    """Count errors by kind and type, list the most frequent ones, and measure recall of seen and unseen mentions.

    Args:
        texts: text of each span's document.
        seen: `normalize_mention` of each mention in training.

    Returns:
        `{"by_type": {type: {kind: count}}, "examples": {kind: [[mention, type, count], ...]}, "recall": {"seen" and
        "unseen": [number found, number of mentions]}}`
    """
    by_type: dict[str, Counter] = defaultdict(Counter)
    mentions: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    for kind, span in classify_errors(gold, predicted):
        by_type[span[3]][kind] += 1
        mentions[kind][normalize_mention(texts[span[0]], span)] += 1
    recall = {"seen": [0, 0], "unseen": [0, 0]}
    predicted = set(predicted)
    for span in set(gold):
        counts = recall["seen" if normalize_mention(texts[span[0]], span) in seen else "unseen"]
        counts[0] += span in predicted
        counts[1] += 1
    return {
        "by_type": {name: {kind: counts[kind] for kind in KINDS} for name, counts in sorted(by_type.items())},
        "examples": {kind: _most_common(counter, examples) for kind, counter in mentions.items()},
        "recall": recall,
    }


def normalize_mention(text: str, span: Span) -> tuple[str, str]:
    """Return a mention's words, case-folded and separated by single spaces, and its type."""
    return " ".join(text[span[1] : span[2]].casefold().split()), span[3]


def _most_common(counter: Counter, number: int) -> list[list[Any]]:
    """Return `[mention, type, count]` of the most frequent mentions, ties in alphabetical order."""
    ranked = sorted(counter.items(), key=lambda item: (-item[1], item[0]))
    return [[mention, name, count] for (mention, name), count in ranked[:number]]


def average_error_reports(reports: Iterable[Mapping[str, Any]], trainings: int, examples: int = 10) -> dict[str, Any]:
    """Add up reports of one corpus (of several tasks and seeds) and divide by the number of trainings of each task."""
    by_type: dict[str, Counter] = defaultdict(Counter)
    mentions: dict[str, Counter] = {kind: Counter() for kind in KINDS}
    recall = {"seen": [0, 0], "unseen": [0, 0]}
    for report in reports:
        for name, counts in report["by_type"].items():
            by_type[name].update(counts)
        for kind, listed in report["examples"].items():
            mentions[kind].update({(mention, name): count for mention, name, count in listed})
        for name, counts in report["recall"].items():
            recall[name] = [total + count for total, count in zip(recall[name], counts, strict=True)]
    return {
        "by_type": {t: {kind: n / trainings for kind, n in by_type[t].items()} for t in sorted(by_type)},
        "examples": {
            kind: [[*mention, count / trainings] for *mention, count in _most_common(counter, examples)]
            for kind, counter in mentions.items()
        },
        "recall": {name: [count / trainings for count in counts] for name, counts in recall.items()},
    }
