"""Scores of span sets: literal values, agreement with seqeval on label sequences, and the `evaluate` metric."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset_scripts.bio import decode_bio
from mtl_bioner.evaluation.metrics import (
    Score,
    Span,
    compute_task_metrics,
    score_spans,
    score_spans_by_type,
    score_with_alternatives,
    summarise,
)
from mtl_bioner.evaluation.significance import bootstrap_difference, correct_holm


ROOT = Path(__file__).parents[1]

GOLD: list[Span] = [("a", 0, 5, "Gene"), ("a", 7, 9, "Disease"), ("b", 0, 5, "Gene"), ("b", 8, 9, "Gene")]
FOUND: list[Span] = [
    ("a", 0, 5, "Gene"),  # right
    ("a", 7, 10, "Disease"),  # one character too long
    ("b", 0, 5, "Disease"),  # another type
    ("b", 8, 9, "Gene"),  # right
    ("c", 0, 5, "Gene"),  # another document
]


def test_a_span_is_right_when_document_start_end_and_type_are() -> None:
    score = score_spans(GOLD, FOUND)
    assert score == Score(right=2, predicted=5, gold=4)
    assert (score.precision, score.recall) == (0.4, 0.5)
    assert score.f1 == pytest.approx(4 / 9, abs=1e-15)


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        ([], [], (0.0, 0.0, 0.0)),
        (GOLD, [], (0.0, 0.0, 0.0)),
        ([], FOUND, (0.0, 0.0, 0.0)),
        (GOLD, GOLD, (1.0, 1.0, 1.0)),
        (GOLD, GOLD[:3], (1.0, 0.75, 6 / 7)),
    ],
)
def test_extremes(gold: list[Span], found: list[Span], expected: tuple[float, float, float]) -> None:
    score = score_spans(gold, found)
    assert (score.precision, score.recall, score.f1) == expected


def test_a_span_given_twice_counts_once() -> None:
    assert score_spans([*GOLD, *GOLD], [*FOUND, *FOUND]) == Score(2, 5, 4)


def test_by_type_in_the_order_asked_for() -> None:
    assert list(score_spans_by_type(GOLD, FOUND, ["Gene", "Disease", "RNA"]).items()) == [
        ("Gene", Score(2, 3, 3)),
        ("Disease", Score(0, 2, 1)),
        ("RNA", Score(0, 0, 0)),
    ]


def test_keys_and_values_of_a_task() -> None:
    metrics, total = compute_task_metrics("test_ncbi", GOLD, FOUND, ["Gene", "Disease"])
    assert total == Score(2, 5, 4)
    assert metrics == {
        "test_ncbi_precision": 0.4,
        "test_ncbi_recall": 0.5,
        "test_ncbi_f1": pytest.approx(4 / 9),
        "test_ncbi_support": 4,
        "test_ncbi_precision_Gene": pytest.approx(2 / 3),
        "test_ncbi_recall_Gene": pytest.approx(2 / 3),
        "test_ncbi_f1_Gene": pytest.approx(2 / 3),
        "test_ncbi_support_Gene": 3,
        "test_ncbi_precision_Disease": 0.0,
        "test_ncbi_recall_Disease": 0.0,
        "test_ncbi_f1_Disease": 0.0,
        "test_ncbi_support_Disease": 1,
    }


def test_macro_is_the_mean_of_tasks_and_micro_counts_spans() -> None:
    assert summarise("eval", {"small": Score(1, 1, 1), "large": Score(3, 10, 6)}) == {
        "eval_macro_f1": 0.6875,  # (1 + 6/16) / 2
        "eval_micro_precision": 4 / 11,
        "eval_micro_recall": 4 / 7,
        "eval_micro_f1": 8 / 18,
    }


def test_macro_of_nothing_is_zero() -> None:
    assert summarise("eval", {})["eval_macro_f1"] == 0.0


SPANS = st.frozensets(
    st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(5, 7), st.sampled_from(["Gene", "Disease"]))
)


@given(SPANS, SPANS)
def test_recall_times_support_and_precision_times_predictions_are_whole_numbers(
    gold: frozenset[Span], found: frozenset[Span]
) -> None:
    metrics, total = compute_task_metrics("t", gold, found, ["Gene", "Disease"])
    for suffix in ("", "_Gene", "_Disease"):
        right = metrics[f"t_recall{suffix}"] * metrics[f"t_support{suffix}"]
        assert right == pytest.approx(round(right), abs=1e-9)
    assert metrics["t_support"] == len(gold)
    assert total == Score(len(gold & found), len(found), len(gold))
    assert total.f1 == pytest.approx(2 * len(gold & found) / max(1, len(found) + len(gold)))


# ------------------------------------------------------------------------------------------------------ official rule


def gene(start: int, end: int, document: str = "a") -> Span:
    return (document, start, end, "Gene")


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        ([gene(10, 20)], Score(1, 1, 1)),  # the mention itself
        ([gene(12, 18)], Score(1, 1, 1)),  # an alternative inside it
        ([gene(5, 25)], Score(1, 1, 1)),  # around it
        ([gene(5, 12)], Score(1, 1, 1)),  # over its beginning
        ([gene(18, 25)], Score(1, 1, 1)),  # over its end
        ([gene(11, 18)], Score(0, 1, 1)),  # overlaps, but nobody listed it
        ([gene(20, 30)], Score(0, 0, 1)),  # listed, touches the mention only: neither right nor wrong
        ([gene(12, 18, "b")], Score(0, 1, 1)),  # another document
        ([gene(12, 18), gene(5, 25)], Score(1, 1, 1)),  # two alternatives find it once
        ([gene(12, 18), gene(10, 20), gene(1, 2)], Score(1, 2, 1)),
        ([], Score(0, 0, 1)),
    ],
)
def test_official_rule_of_bc2gm(predicted: list[Span], expected: Score) -> None:
    alternatives = [gene(12, 18), gene(5, 25), gene(5, 12), gene(18, 25), gene(20, 30)]
    assert score_with_alternatives([gene(10, 20)], alternatives, predicted) == expected


def test_one_alternative_can_find_two_mentions() -> None:
    gold, alternatives = [gene(0, 4), gene(6, 9)], [gene(0, 9)]
    assert score_with_alternatives(gold, alternatives, [gene(0, 9)]) == Score(2, 2, 2)


# ------------------------------------------------------------------------------------------------------------ seqeval

LABELS = ["O", "B-Gene", "I-Gene", "B-Disease", "I-Disease"]


def legal(tags: list[str]) -> list[str]:
    """The sequence with an `I-` that continues nothing turned into `B-`."""
    fixed: list[str] = []
    for tag in tags:
        continues = bool(fixed) and fixed[-1] != "O" and fixed[-1][2:] == tag[2:]
        fixed.append("B" + tag[1:] if tag.startswith("I-") and not continues else tag)
    return fixed


def spans_of(sequences: list[list[str]]) -> list[Span]:
    """The entities of label sequences, each label a word of one character."""
    words = [(i, i + 1) for i in range(max(map(len, sequences), default=0))]
    return [
        (index, entity.start, entity.end, entity.type)
        for index, tags in enumerate(sequences)
        for entity in decode_bio(words[: len(tags)], tags)
    ]


def pairs_of_sequences(change) -> st.SearchStrategy:
    pair = st.integers(1, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.sampled_from(LABELS), min_size=n, max_size=n).map(change)] * 2)
    )
    return st.lists(pair, min_size=1, max_size=4)


def check_with_seqeval(pairs: list[tuple[list[str], list[str]]]) -> None:
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    gold, found = map(list, zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "ill-defined" where nothing is predicted
        theirs = [
            measure(gold, found, mode="strict", scheme=IOB2, zero_division=0)
            for measure in (precision_score, recall_score, f1_score)
        ]
    score = score_spans(spans_of(gold), spans_of(found))
    assert [score.precision, score.recall, score.f1] == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(pairs_of_sequences(legal))
def test_seqeval_strict_gives_the_same_on_legal_sequences(pairs: list[tuple[list[str], list[str]]]) -> None:
    check_with_seqeval(pairs)


@settings(max_examples=100, deadline=None)
@given(pairs_of_sequences(list))
def test_seqeval_strict_gives_the_same_on_any_sequences(pairs: list[tuple[list[str], list[str]]]) -> None:
    check_with_seqeval(pairs)


# ---------------------------------------------------------------------------------------------------------- EntityF1

REFERENCES = [
    [{"start": 0, "end": 5, "type": "Disease"}, {"start": 9, "end": 12, "type": "Gene"}],
    [{"start": 0, "end": 5, "type": "Disease"}],
    [],
]
PREDICTIONS = [[{"start": 0, "end": 5, "type": "Disease"}], [], [{"start": 0, "end": 5, "type": "Disease"}]]
EXPECTED = {
    "precision": 0.5,
    "recall": pytest.approx(1 / 3),
    "f1": 0.4,
    "support": 3,
    "precision_Disease": 0.5,
    "recall_Disease": 0.5,
    "f1_Disease": 0.5,
    "support_Disease": 2,
    "precision_Gene": 0.0,
    "recall_Gene": 0.0,
    "f1_Gene": 0.0,
    "support_Gene": 1,
}


def test_evaluate_metric_made_directly() -> None:
    from mtl_bioner.evaluation.entity_f1 import EntityF1

    metric = EntityF1()
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == EXPECTED
    scored = [[span | {"score": 0.5} for span in spans] for spans in PREDICTIONS]  # as this project's are
    metric.add(prediction=scored[0], reference=REFERENCES[0])
    metric.add_batch(predictions=scored[1:], references=REFERENCES[1:])
    assert metric.compute() == EXPECTED
    assert metric.compute(predictions=[[]], references=[[]]) == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 0,
    }


LOAD = """
import json, sys, evaluate
metric = evaluate.load(sys.argv[1])
given = json.load(sys.stdin)
print(json.dumps(metric.compute(**given)))
"""


@pytest.mark.slow
def test_evaluate_loads_it_by_path_offline_and_leaves_nothing_but_its_code(tmp_path: Path) -> None:
    given_input = json.dumps({"predictions": PREDICTIONS, "references": REFERENCES})
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(ROOT / "entity_f1.py")],
        input=given_input,
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED
    assert list((tmp_path / "home").rglob("*.arrow")) == []


# ------------------------------------------------------------------------------------------------------- significance


def counts_of(*rights: int, documents: int = 50) -> np.ndarray:
    """A training for each number: so many of the documents' one mention each are found, nothing else is predicted."""
    rows = [[[1, 1, 1]] * right + [[0, 0, 1]] * (documents - right) for right in rights]
    return np.array(rows)


def test_a_difference_of_macro_f1_is_a_mean_over_corpora_and_seeds() -> None:
    baseline = {"a": counts_of(40, 30), "b": counts_of(20, 20)}
    system = {"a": counts_of(40, 40), "b": counts_of(30, 20)}

    def f1(right: int) -> float:
        return 2 * right / (right + 50)

    expected = (f1(40) - (f1(40) + f1(30)) / 2 + (f1(30) + f1(20)) / 2 - f1(20)) / 2
    found = bootstrap_difference(baseline, system)
    assert found.difference == pytest.approx(expected)
    assert found.low < expected < found.high


def test_interval_and_p_by_hand() -> None:
    """Of six seeds five are drawn. The difference is 1 in one of them, in one of two corpora: that it is drawn 3 times
    or more has the probability 0.036, so the 97.5 % quantile is 3/5/2; that it is never drawn, 0.402."""
    baseline = {"a": counts_of(*[0] * 6), "b": counts_of(*[25] * 6)}
    system = {"a": counts_of(*[0] * 5, 50), "b": counts_of(*[25] * 6)}
    found = bootstrap_difference(baseline, system)
    assert (found.difference, found.low, found.high) == pytest.approx((1 / 12, 0.0, 0.3))
    assert found.p == pytest.approx(2 * 0.402, abs=0.02)


def test_equal_systems_do_not_differ_and_unlike_ones_do() -> None:
    same = bootstrap_difference({"a": counts_of(25)}, {"a": counts_of(25)})
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    better = bootstrap_difference({"a": counts_of(10)}, {"a": counts_of(40)})
    assert better.p < 0.01 and better.low > 0.2
    worse = bootstrap_difference({"a": counts_of(40)}, {"a": counts_of(10)})
    assert worse.p < 0.01 and worse.high < -0.2


def test_seeds_whose_differences_differ_widen_the_interval() -> None:
    """Not seeds that are good or bad for both: their training documents were so."""

    def width(baseline: tuple[int, ...], system: tuple[int, ...]) -> float:
        found = bootstrap_difference({"a": counts_of(*baseline)}, {"a": counts_of(*system)})
        return found.high - found.low

    assert width((15, 25, 35), (40, 30, 20)) > 1.5 * width((25, 25, 25), (30, 30, 30))
    assert width((15, 25, 35), (20, 30, 40)) < 1.2 * width((25, 25, 25), (30, 30, 30))


def test_other_documents_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="not scored on the same documents"):
        bootstrap_difference({"a": counts_of(5)}, {"a": counts_of(5, documents=40)})
    with pytest.raises(ValueError, match="not trained with the same seeds"):
        bootstrap_difference({"a": counts_of(5)}, {"a": counts_of(5, 6)})


def test_bootstrap_keeps_the_false_alarms_at_their_level() -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        two = [np.stack([hit, hit * 0 + 1, hit * 0 + 1], -1)[None] for hit in generator.integers(0, 2, (2, 60))]
        alarms += bootstrap_difference({"a": two[0]}, {"a": two[1]}, resamples=200).p < 0.05
    assert 2 <= alarms <= 20  # 10 are expected


def test_holm_correction() -> None:
    assert correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_holm([]) == []
