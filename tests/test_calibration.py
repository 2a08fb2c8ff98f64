"""Fitted temperature and bias turn scores into chances of being correct; the calibration error that is left."""

import math

import pytest
import torch

from modeling_mtl_bioner import calibrate_score, decode_spans
from mtl_bioner.evaluation.calibration import bin_by_score, compute_calibration_error, fit_calibration


LABELS = ["O", "B-Gene", "I-Gene"]


def test_reliability_by_hand() -> None:
    scores, right = [0.05, 0.92, 0.98, 1.0, 0.55], [False, True, False, True, True]
    last = (pytest.approx((0.92 + 0.98 + 1.0) / 3), pytest.approx(2 / 3), 3)
    assert bin_by_score(scores, right) == [(0.05, 0.0, 1), (0.55, 1.0, 1), last]
    assert compute_calibration_error(scores, right) == pytest.approx((0.05 + 0.45 + 3 * (2.9 / 3 - 2 / 3)) / 5)
    assert bin_by_score([], []) == []


@pytest.mark.parametrize(("temperature", "bias"), [(0.5, 0.3), (1.0, 0.0), (2.5, -1.0)])
def test_the_fit_recovers_temperature_and_bias_of_random_entities(temperature: float, bias: float) -> None:
    """Entities are correct with the chance that follows from their score, temperature and bias."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(4000, generator=generator) * 2 * temperature
    chances = (odds / temperature + bias).sigmoid()
    right = (torch.rand(4000, generator=generator) < chances).tolist()
    scores = odds.sigmoid().tolist()
    fitted = fit_calibration(scores, right)
    assert fitted == pytest.approx((temperature, bias), rel=0.15, abs=0.15)
    assert compute_calibration_error([calibrate_score(math.log(score), *fitted) for score in scores], right) < 0.02
    assert temperature == 1 or compute_calibration_error(scores, right) > 0.04


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([0.9] * 10, [True, False] * 5),  # too few
        ([0.9] * 29 + [0.6] * 20, [True] * 23 + [False] * 6 + [True] * 10 + [False] * 10),  # one too few
        ([0.9] * 100, [False] * 100),
        ([0.9, 0.1] * 100, [False, True] * 100),  # the higher the score, the more often wrong
        ([0.99] * 100 + [0.01] * 100, [n < 52 for n in range(100)] + [n < 48 for n in range(100)]),  # temperature 57
        ([0.55] * 100 + [0.45] * 100, [n < 95 for n in range(100)] + [n < 5 for n in range(100)]),  # temperature 0.07
    ],
)
def test_scores_that_allow_no_sound_fit_stay_as_they_are(scores: list[float], right: list[bool]) -> None:
    assert fit_calibration(scores, right) is None


def test_fifty_entities_are_enough() -> None:
    fitted = fit_calibration([0.9] * 30 + [0.6] * 20, [True] * 24 + [False] * 6 + [True] * 10 + [False] * 10)
    for score, share in ((0.9, 0.8), (0.6, 0.5)):
        assert calibrate_score(math.log(score), *fitted) == pytest.approx(share)


def test_the_score_by_hand() -> None:
    """Words B I, then O: mean of ln 0.8, ln 0.6 and ln(1 - 0.1)."""
    logits = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.8, 0.1, 0.1]]).log()
    mean = (0.8 * 0.6 * 0.9) ** (1 / 3)
    calibrated = 1 / (1 + math.exp(-(math.log(mean / (1 - mean)) / 2 - 0.5)))
    at_the_end = 0.48 ** (1 / 3)
    for words, calibration, expected in (
        (3, (1.0, 0.0), mean),
        (3, (2.0, -0.5), calibrated),
        (2, (1.0, 0.0), at_the_end),
    ):
        (span,) = decode_spans([logits[:words]], LABELS, calibration=calibration)[0]
        assert (span.start, span.end, span.score) == (0, 2, pytest.approx(expected))


def test_calibration_changes_scores_but_neither_spans_nor_their_order() -> None:
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    plain, warm = (decode_spans([logits], LABELS, calibration=c)[0] for c in ((1.0, 0.0), (3.0, -1.0)))
    assert [(s.start, s.end, s.type) for s in plain] == [(s.start, s.end, s.type) for s in warm]
    by_score = [sorted(spans, key=lambda span: span.score) for spans in (plain, warm)]
    assert [s.start for s in by_score[0]] == [s.start for s in by_score[1]] and plain[0].score != warm[0].score


@pytest.mark.parametrize("height", [1e4, -1e4])
def test_scores_of_extreme_logits_are_finite(height: float) -> None:
    for logits in (torch.tensor([[0.0, height, 0.0]]), torch.tensor([[0.0, 5.0, -height], [-height, 0.0, height]])):
        assert all(0 <= span.score <= 1 for span in decode_spans([logits], LABELS)[0])
