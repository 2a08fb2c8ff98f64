"""Scores of span sets: literal values, agreement with seqeval, the `evaluate` metric, and significance."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_collators import TaskText
from dataset_scripts.bio import decode_bio
from dataset_scripts.schema import Document, Entity
from mtl_bioner.evaluation.metrics import (
    Score,
    Span,
    compute_task_metrics,
    score_spans,
    score_with_alternatives,
    summarise,
)
from mtl_bioner.evaluation.seqeval_scores import compute_seqeval_scores
from mtl_bioner.evaluation.significance import bootstrap_difference, correct_holm
from mtl_bioner.evaluation.spans import collect_gold, collect_predicted, compute_span_metrics, mark_correct


ROOT = Path(__file__).parents[1]

GOLD: list[Span] = [("a", 0, 5, "Gene"), ("a", 7, 9, "Disease"), ("b", 0, 5, "Gene"), ("b", 8, 9, "Gene")]
PREDICTED: list[Span] = [
    ("a", 0, 5, "Gene"),  # correct
    ("a", 7, 10, "Disease"),  # one character too long
    ("b", 0, 5, "Disease"),  # another type
    ("b", 8, 9, "Gene"),  # correct
    ("c", 0, 5, "Gene"),  # another document
]


@pytest.mark.parametrize(
    ("gold", "predicted", "counts", "values"),
    [
        (GOLD, PREDICTED, (2, 5, 4), (0.4, 0.5, pytest.approx(4 / 9, abs=1e-15))),
        ([*GOLD, *GOLD], [*PREDICTED, *PREDICTED], (2, 5, 4), (0.4, 0.5, pytest.approx(4 / 9))),  # each counts once
        ([], [], (0, 0, 0), (0.0, 0.0, 0.0)),
        (GOLD, [], (0, 0, 4), (0.0, 0.0, 0.0)),
        ([], PREDICTED, (0, 5, 0), (0.0, 0.0, 0.0)),
        (GOLD, GOLD, (4, 4, 4), (1.0, 1.0, 1.0)),
        (GOLD, GOLD[:3], (3, 3, 4), (1.0, 0.75, 6 / 7)),
    ],
)
def test_a_span_is_correct_if_document_start_end_and_type_are(
    gold: list[Span], predicted: list[Span], counts: tuple[int, int, int], values: tuple[float, float, float]
) -> None:
    score = score_spans(gold, predicted)
    assert score == Score(*counts)
    assert (score.precision, score.recall, score.f1) == values


def test_a_task_is_scored_overall_and_by_type_in_the_given_order() -> None:
    metrics, total = compute_task_metrics("test_ncbi", GOLD, PREDICTED, ["Gene", "Disease", "RNA"])
    assert total == Score(2, 5, 4)
    assert list(metrics.items()) == [
        ("test_ncbi_precision", 0.4),
        ("test_ncbi_recall", 0.5),
        ("test_ncbi_f1", pytest.approx(4 / 9)),
        ("test_ncbi_support", 4),
        ("test_ncbi_precision_Gene", pytest.approx(2 / 3)),
        ("test_ncbi_recall_Gene", pytest.approx(2 / 3)),
        ("test_ncbi_f1_Gene", pytest.approx(2 / 3)),
        ("test_ncbi_support_Gene", 3),
        *((f"test_ncbi_{kind}_Disease", 0.0) for kind in ("precision", "recall", "f1")),
        ("test_ncbi_support_Disease", 1),
        *((f"test_ncbi_{kind}_RNA", 0) for kind in ("precision", "recall", "f1", "support")),
    ]


def test_macro_is_the_mean_of_tasks_and_micro_counts_spans() -> None:
    assert summarise("eval", {"small": Score(1, 1, 1), "large": Score(3, 10, 6)}) == {
        "eval_macro_f1": 0.6875,  # (1 + 6/16) / 2
        "eval_micro_precision": 4 / 11,
        "eval_micro_recall": 4 / 7,
        "eval_micro_f1": 8 / 18,
    }
    assert summarise("eval", {})["eval_macro_f1"] == 0.0


# -------------------------------------------------------------------------------------------------- texts of a task


def test_a_task_without_predictions_has_no_calibration_error() -> None:
    document = Document("1", "BRCA1 and gout", [Entity(0, 5, "Gene"), Entity(10, 14, "Disease")])
    texts = [TaskText(task, "own", document, [], []) for task in (0, 1)]
    entities = [
        {"start": 0, "end": 5, "type": "Gene", "score": 0.75},
        {"start": 0, "end": 3, "type": "Gene", "score": 0.5},
    ]
    assert collect_gold(texts[0]) == {(0, 5, "Gene"), (10, 14, "Disease")}
    assert collect_predicted(entities) == {(0, 5, "Gene"), (0, 3, "Gene")}
    assert mark_correct(texts[0], entities) == [(0.75, True), (0.5, False)]
    config = SimpleNamespace(
        task_names=["gene", "ill"], tasks=[{"name": "gene", "types": ["Gene"]}, {"name": "ill", "types": ["Disease"]}]
    )
    metrics = compute_span_metrics(SimpleNamespace(texts=texts), [entities, []], config, "eval")
    assert (metrics["eval_gene_precision"], metrics["eval_gene_recall"], metrics["eval_ill_f1"]) == (0.5, 1.0, 0.0)
    assert {key: value for key, value in metrics.items() if "_ece" in key} == {"eval_gene_ece": 0.375}


# ------------------------------------------------------------------------------------------------------ official rule


def gene(start: int, end: int, document: str = "a") -> Span:
    return (document, start, end, "Gene")


MENTION, ALTERNATIVES = [gene(10, 20)], [gene(12, 18), gene(5, 25), gene(5, 12), gene(18, 25), gene(20, 30)]


@pytest.mark.parametrize(
    ("gold", "alternatives", "predicted", "expected"),
    [
        (MENTION, ALTERNATIVES, [gene(10, 20)], Score(1, 1, 1)),  # the mention itself
        (MENTION, ALTERNATIVES, [gene(12, 18)], Score(1, 1, 1)),  # an alternative inside it
        (MENTION, ALTERNATIVES, [gene(5, 25)], Score(1, 1, 1)),  # around it
        (MENTION, ALTERNATIVES, [gene(5, 12)], Score(1, 1, 1)),  # over its beginning
        (MENTION, ALTERNATIVES, [gene(18, 25)], Score(1, 1, 1)),  # over its end
        (MENTION, ALTERNATIVES, [gene(11, 18)], Score(0, 1, 1)),  # overlaps, but is not listed
        (MENTION, ALTERNATIVES, [gene(20, 30)], Score(0, 0, 1)),  # listed, only touches: neither right nor wrong
        (MENTION, ALTERNATIVES, [gene(12, 18, "b")], Score(0, 1, 1)),  # another document
        (MENTION, ALTERNATIVES, [gene(12, 18), gene(5, 25)], Score(1, 1, 1)),  # two alternatives find it once
        (MENTION, ALTERNATIVES, [gene(12, 18), gene(10, 20), gene(1, 2)], Score(1, 2, 1)),
        (MENTION, ALTERNATIVES, [], Score(0, 0, 1)),
        ([gene(0, 4), gene(6, 9)], [gene(0, 9)], [gene(0, 9)], Score(2, 2, 2)),  # one alternative finds two mentions
    ],
)
def test_the_official_rule_of_bc2gm_accepts_overlapping_alternatives(
    gold: list[Span], alternatives: list[Span], predicted: list[Span], expected: Score
) -> None:
    assert score_with_alternatives(gold, alternatives, predicted) == expected


# ------------------------------------------------------------------------------------------------------------ seqeval


def make_legal(tags: list[str]) -> list[str]:
    """Turn each `I-` that continues nothing into `B-`."""
    legal: list[str] = []
    for tag in tags:
        continues = bool(legal) and legal[-1] != "O" and legal[-1][2:] == tag[2:]
        legal.append("B" + tag[1:] if tag.startswith("I-") and not continues else tag)
    return legal


def collect_spans(sequences: list[list[str]]) -> list[Span]:
    """Decode label sequences, each label a word of one character."""
    return [
        (index, entity.start, entity.end, entity.type)
        for index, tags in enumerate(sequences)
        for entity in decode_bio([(i, i + 1) for i in range(len(tags))], tags)
    ]


TAGS = st.sampled_from(["O", "B-Gene", "I-Gene", "B-Disease", "I-Disease"])
PAIRS = st.integers(1, 12).flatmap(lambda n: st.tuples(*[st.lists(TAGS, min_size=n, max_size=n)] * 2))


@pytest.mark.parametrize("change", [make_legal, list], ids=["legal", "any"])
@settings(max_examples=100, deadline=None)
@given(pairs=st.lists(PAIRS, min_size=1, max_size=4))
def test_seqeval_in_strict_mode_gives_the_same_scores(change, pairs: list[tuple[list[str], list[str]]]) -> None:
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

    gold, predicted = ([change(tags) for tags in sequences] for sequences in zip(*pairs, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "ill-defined" where nothing is predicted
        expected = [
            measure(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
            for measure in (precision_score, recall_score, f1_score)
        ]
    spans = [set(collect_spans(sequences)) for sequences in (gold, predicted)]
    metrics, score = compute_task_metrics("t", *spans, ["Gene", "Disease"])
    assert [score.precision, score.recall, score.f1] == pytest.approx(expected, abs=1e-12)
    assert score == Score(len(spans[0] & spans[1]), len(spans[1]), len(spans[0]))
    for suffix in ("", "_Gene", "_Disease"):
        right = metrics[f"t_recall{suffix}"] * metrics[f"t_support{suffix}"]
        assert right == pytest.approx(round(right), abs=1e-9)


LABELS = ["O", "B-Gene", "I-Gene", "B-Disease", "I-Disease"]


def tag_rows(*rows: tuple[str, str], types: set[str] | None = None) -> tuple[SimpleNamespace, list[np.ndarray]]:
    """Rows of one text each, from gold and best tags; the word `-` has no sub-word, all others have two."""
    texts, windows, logits = [], [], []
    for index, (gold, best) in enumerate(rows):
        tags, places = gold.split(), [-1 if tag == "-" else 1 + 2 * word for word, tag in enumerate(best.split())]
        row_logits = np.zeros((2 * len(tags) + 2, 7))
        row_logits[:, 4] = 1  # what special tokens and further sub-words say doesn't count
        row_logits[:, 6] = 9  # nor the labels of a wider task
        for place, tag in zip(places, best.split(), strict=True):
            if place >= 0:
                row_logits[place, LABELS.index(tag)] = 2
        texts.append(SimpleNamespace(tags=tags, types=types))
        window = SimpleNamespace(core=(0, len(tags)), positions=places)
        windows.append(SimpleNamespace(task_id=0, text=index, window=window))
        logits.append(row_logits)
    return SimpleNamespace(rows=windows, texts=texts, labels=[LABELS]), logits


@pytest.mark.parametrize(
    ("rows", "types", "expected"),
    [
        ([("B-Gene I-Gene O", "B-Gene I-Gene O")], None, (1.0, 1.0, 1.0)),
        ([("O B-Gene I-Gene", "O I-Gene I-Gene")], None, (1.0, 1.0, 1.0)),  # no legal sequence; seqeval begins one
        ([("B-Gene I-Gene O", "B-Gene O B-Gene"), ("B-Disease", "B-Disease")], None, (1 / 3, 0.5, 0.4)),
        ([("B-Gene I-Gene O", "B-Gene - O")], None, (1.0, 1.0, 1.0)),  # without a sub-word a word doesn't count
        ([("O B-Gene", "B-Disease B-Gene")], {"Gene"}, (1.0, 1.0, 1.0)),
        ([("O O", "O O")], None, (0.0, 0.0, 0.0)),
    ],
)
def test_seqeval_scores_are_those_of_the_best_tags_of_words(rows, types, expected):
    scores = compute_seqeval_scores(*tag_rows(*rows, types=types), ["mine"], "test")
    assert scores == pytest.approx(
        dict(zip((f"test_mine_seqeval_{kind}" for kind in ("precision", "recall", "f1")), expected, strict=True))
    )


# ---------------------------------------------------------------------------------------------------------- EntityF1

FIRST, GENE = {"start": 0, "end": 5, "type": "Disease"}, {"start": 9, "end": 12, "type": "Gene"}
REFERENCES, PREDICTIONS = [[FIRST, GENE], [FIRST], []], [[FIRST], [], [FIRST]]
EXPECTED = {
    "precision": 0.5, "recall": pytest.approx(1 / 3), "f1": 0.4, "support": 3,
    "precision_Disease": 0.5, "recall_Disease": 0.5, "f1_Disease": 0.5, "support_Disease": 2,
    "precision_Gene": 0.0, "recall_Gene": 0.0, "f1_Gene": 0.0, "support_Gene": 1,
}  # fmt: skip


def test_the_evaluate_metric_scores_whole_sets_and_batches_and_ignores_other_keys() -> None:
    from mtl_bioner.evaluation.entity_f1 import EntityF1

    metric = EntityF1()
    assert metric.compute(predictions=PREDICTIONS, references=REFERENCES) == EXPECTED
    scored = [[span | {"score": 0.5} for span in spans] for spans in PREDICTIONS]  # as this project's are
    metric.add(prediction=scored[0], reference=REFERENCES[0])
    metric.add_batch(predictions=scored[1:], references=REFERENCES[1:])
    assert metric.compute() == EXPECTED
    nothing = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert metric.compute(predictions=[[]], references=[[]]) == nothing


LOAD = "import evaluate, json, sys; print(json.dumps(evaluate.load(sys.argv[1]).compute(**json.load(sys.stdin))))"


@pytest.mark.slow
def test_evaluate_loads_the_metric_by_path_from_any_folder_offline_and_keeps_only_its_code(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(ROOT / "mtl_bioner" / "evaluation" / "entity_f1.py")],
        input=json.dumps({"predictions": PREDICTIONS, "references": REFERENCES}),
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == EXPECTED
    assert list((tmp_path / "home").rglob("*.arrow")) == []


# ------------------------------------------------------------------------------------------------------- significance


def count(*rights: int, documents: int = 50) -> np.ndarray:
    """Count right, predicted and gold mentions of documents with one each, of which each training finds so many."""
    return np.array([[[1, 1, 1]] * right + [[0, 0, 1]] * (documents - right) for right in rights])


def test_a_difference_of_macro_f1_is_a_mean_over_corpora_and_seeds() -> None:
    baseline = {"a": count(40, 30), "b": count(20, 20)}
    system = {"a": count(40, 40), "b": count(30, 20)}
    f1 = {right: 2 * right / (right + 50) for right in (20, 30, 40)}
    expected = (f1[40] - (f1[40] + f1[30]) / 2 + (f1[30] + f1[20]) / 2 - f1[20]) / 2
    found = bootstrap_difference(baseline, system)
    assert found.difference == pytest.approx(expected)
    assert found.low < expected < found.high


def test_interval_and_p_by_hand() -> None:
    """Of six seeds five are drawn. The difference is 1 in one of them, in one of two corpora: that it is drawn 3 times
    or more has the probability 0.036, so the 97.5 % quantile is 3/5/2; that it is never drawn, 0.402."""
    baseline = {"a": count(*[0] * 6), "b": count(*[25] * 6)}
    system = {"a": count(*[0] * 5, 50), "b": count(*[25] * 6)}
    found = bootstrap_difference(baseline, system)
    assert (found.difference, found.low, found.high) == pytest.approx((1 / 12, 0.0, 0.3))
    assert found.p == pytest.approx(2 * 0.402, abs=0.02)


def test_equal_systems_do_not_differ_and_unlike_ones_do() -> None:
    same, better, worse = (
        bootstrap_difference({"a": count(before)}, {"a": count(after)})
        for before, after in ((25, 25), (10, 40), (40, 10))
    )
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert better.p < 0.01 and better.low > 0.2
    assert worse.p < 0.01 and worse.high < -0.2


def test_only_seeds_whose_differences_differ_widen_the_interval() -> None:
    """A seed that is good or bad for both systems does not: its training documents were so."""

    def width(baseline: tuple[int, ...], system: tuple[int, ...]) -> float:
        found = bootstrap_difference({"a": count(*baseline)}, {"a": count(*system)})
        return found.high - found.low

    constant = width((25, 25, 25), (30, 30, 30))
    assert width((15, 25, 35), (40, 30, 20)) > 1.5 * constant
    assert width((15, 25, 35), (20, 30, 40)) < 1.2 * constant


@pytest.mark.parametrize(
    ("system", "message"),
    [(count(5, documents=40), "not scored on the same documents"), (count(5, 6), "not trained with the same seeds")],
)
def test_systems_of_other_documents_or_seeds_cannot_be_compared(system: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_difference({"a": count(5)}, {"a": system})


def test_the_bootstrap_keeps_false_alarms_at_their_level() -> None:
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        two = [np.stack([hit, hit * 0 + 1, hit * 0 + 1], -1)[None] for hit in generator.integers(0, 2, (2, 60))]
        alarms += bootstrap_difference({"a": two[0]}, {"a": two[1]}, resamples=200).p < 0.05
    assert 2 <= alarms <= 20  # 10 are expected


def test_p_values_are_corrected_by_holm() -> None:
    assert correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_holm([]) == []
