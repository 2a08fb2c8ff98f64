"""Kinds of errors, and recall of seen and unseen mentions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl_bioner.evaluation.error_analysis import average_error_reports, build_error_report, classify_errors


TEXT = "Lung cancer and BRCA1 and asthma and severe gout"
GOLD = [("d", 0, 11, "Disease"), ("d", 16, 21, "Gene"), ("d", 26, 32, "Disease"), ("d", 44, 48, "Disease")]
PREDICTED = [
    ("d", 0, 11, "Disease"),  # right
    ("d", 16, 21, "Chemical"),  # wrong type
    ("d", 37, 48, "Disease"),  # wrong boundary
    ("d", 12, 15, "Gene"),  # spurious
]


@pytest.mark.parametrize(
    ("gold", "predicted", "errors"),
    [
        (GOLD, PREDICTED, [("wrong type", GOLD[1]), ("missed", GOLD[2]), ("wrong boundary", GOLD[3]),
                           ("spurious", PREDICTED[3])]),
        # An overlap with another type is no boundary error.
        ([("d", 0, 11, "A")], [("d", 0, 4, "B"), ("e", 0, 11, "A")],
         [("missed", ("d", 0, 11, "A")), ("spurious", ("d", 0, 4, "B")), ("spurious", ("e", 0, 11, "A"))]),
        # By two heads: what overlaps a mention of its type is not spurious beside a wrong type.
        ([("d", 0, 5, "A")], [("d", 0, 5, "B"), ("d", 0, 3, "A")], [("wrong type", ("d", 0, 5, "A"))]),
        # Spans that touch do not overlap.
        ([("d", 0, 4, "A")], [("d", 4, 8, "A")], [("missed", ("d", 0, 4, "A")), ("spurious", ("d", 4, 8, "A"))]),
    ],
)  # fmt: skip
def test_each_error_has_one_kind(gold: list, predicted: list, errors: list) -> None:
    assert classify_errors(gold, predicted) == errors


def test_report_of_types_examples_and_seen_mentions() -> None:
    report = build_error_report(GOLD, PREDICTED, {"d": TEXT}, {("lung cancer", "Disease"), ("gout", "Disease")})
    assert report["by_type"] == {
        "Disease": {"missed": 1, "spurious": 0, "wrong boundary": 1, "wrong type": 0},
        "Gene": {"missed": 0, "spurious": 1, "wrong boundary": 0, "wrong type": 1},
    }
    assert report["examples"]["missed"] == [["asthma", "Disease", 1]]
    assert report["examples"]["spurious"] == [["and", "Gene", 1]]
    assert report["recall"] == {"seen": [1, 2], "unseen": [0, 2]}
    other_head = {**report, "examples": {"missed": [["asthma", "Disease", 5]]}}
    mean = average_error_reports([report, other_head, report], trainings=2)
    assert mean["by_type"]["Disease"] == {"missed": 1.5, "spurious": 0, "wrong boundary": 1.5, "wrong type": 0}
    assert mean["examples"]["missed"] == [["asthma", "Disease", 3.5]]
    assert mean["recall"] == {"seen": [1.5, 3], "unseen": [0, 3]}


SPANS = st.lists(
    st.tuples(st.sampled_from("de"), st.integers(0, 8), st.integers(1, 4), st.sampled_from(["Gene", "Disease"])).map(
        lambda t: (t[0], t[1], t[1] + t[2], t[3])
    ),
    max_size=8,
)


@given(SPANS, SPANS)
def test_every_gold_mention_is_found_or_one_error(gold: list, predicted: list) -> None:
    errors, false = classify_errors(gold, predicted), set(predicted) - set(gold)
    assert sorted(span for kind, span in errors if kind != "spurious") == sorted(set(gold) - set(predicted))
    assert {span for kind, span in errors if kind == "spurious"} <= false
    for span in (span for kind, span in errors if kind == "missed"):
        assert not any(p[0] == span[0] and p[3] == span[3] and p[1] < span[2] and span[1] < p[2] for p in false)


def test_examples_are_the_most_frequent_and_of_one_key_however_they_are_written() -> None:
    text = "lung  cancer Lung\ncancer gout asthma"
    gold = [("d", 0, 12, "Disease"), ("d", 13, 24, "Disease"), ("d", 25, 29, "Disease"), ("d", 30, 36, "Disease")]
    report = build_error_report(gold[::-1], [], {"d": text}, {("lung cancer", "Disease")}, examples=2)
    assert report["examples"]["missed"] == [["lung cancer", "Disease", 2], ["asthma", "Disease", 1]]
    assert report["recall"] == {"seen": [0, 2], "unseen": [0, 2]}
    assert average_error_reports([report], 1, examples=1)["examples"]["missed"] == [["lung cancer", "Disease", 2]]
