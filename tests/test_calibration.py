"""Temperature and bias that make scores the share that is right, and the error that is left."""

from __future__ import annotations

import math

import pytest
import torch

from modeling_mtl_bioner import calibrate_score, decode_spans
from mtl_bioner.evaluation.calibration import bin_by_score, compute_calibration_error, fit_calibration


LABELS = ["O", "B-Gene", "I-Gene"]


def test_reliability_by_hand() -> None:
    scores, right = [0.05, 0.92, 0.98, 1.0, 0.55], [False, True, False, True, True]
    assert bin_by_score(scores, right) == [
        (0.05, 0.0, 1),
        (0.55, 1.0, 1),
        (pytest.approx((0.92 + 0.98 + 1.0) / 3), pytest.approx(2 / 3), 3),
    ]
    assert compute_calibration_error(scores, right) == pytest.approx((0.05 + 0.45 + 3 * (2.9 / 3 - 2 / 3)) / 5)
    assert compute_calibration_error([], []) == 0.0 and bin_by_score([], []) == []


@pytest.mark.parametrize(("temperature", "bias"), [(0.5, 0.3), (1.0, 0.0), (2.5, -1.0)])
def test_what_the_chances_were_made_with_is_found(temperature: float, bias: float) -> None:
    """Entities are right with the chance that their score, temperature and bias say; then scores are calibrated."""
    generator = torch.Generator().manual_seed(0)
    odds = torch.randn(4000, generator=generator) * 2 * temperature
    chances = (odds / temperature + bias).sigmoid()
    right = (torch.rand(4000, generator=generator) < chances).tolist()
    found = fit_calibration(odds.sigmoid().tolist(), right)
    assert found == pytest.approx((temperature, bias), rel=0.15, abs=0.15)
    fitted = [calibrate_score(math.log(score), *found) for score in odds.sigmoid().tolist()]
    assert compute_calibration_error(fitted, right) < 0.02
    if temperature != 1:
        assert compute_calibration_error(odds.sigmoid().tolist(), right) > 0.04


def test_where_nothing_can_be_told_the_scores_stay_as_they_are() -> None:
    assert fit_calibration([0.9] * 10, [True, False] * 5) is None
    assert fit_calibration([0.9] * 100, [False] * 100) is None
    assert fit_calibration([0.9, 0.1] * 100, [False, True] * 100) is None  # the higher, the more often wrong


def test_the_score_by_hand() -> None:
    """Words B I, then O: mean of ln 0.8, ln 0.6 and ln(1 - 0.1)."""
    logits = torch.tensor([[0.1, 0.8, 0.1], [0.3, 0.1, 0.6], [0.8, 0.1, 0.1]]).log()
    (span,) = decode_spans([logits], LABELS)[0]
    mean = (0.8 * 0.6 * 0.9) ** (1 / 3)
    assert (span.start, span.end) == (0, 2) and span.score == pytest.approx(mean)
    (span,) = decode_spans([logits], LABELS, calibration=(2.0, -0.5))[0]
    assert span.score == pytest.approx(1 / (1 + math.exp(-(math.log(mean / (1 - mean)) / 2 - 0.5))))
    (span,) = decode_spans([logits[:2]], LABELS)[0]  # at the text's end
    assert span.score == pytest.approx(0.48 ** (1 / 3))


def test_calibration_changes_scores_but_neither_what_is_found_nor_their_order() -> None:
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    plain, warm = (decode_spans([logits], LABELS, calibration=c)[0] for c in ((1.0, 0.0), (3.0, -1.0)))
    assert [(s.start, s.end, s.type) for s in plain] == [(s.start, s.end, s.type) for s in warm]
    ranks = [sorted(range(len(own)), key=lambda i, own=own: own[i].score) for own in (plain, warm)]
    assert ranks[0] == ranks[1] and plain[0].score != warm[0].score


@pytest.mark.parametrize("height", [1e4, -1e4])
def test_scores_of_extreme_logits_are_finite(height: float) -> None:
    for logits in (torch.tensor([[0.0, height, 0.0]]), torch.tensor([[0.0, 5.0, -height], [-height, 0.0, height]])):
        for span in decode_spans([logits], LABELS)[0]:
            assert 0 <= span.score <= 1


def test_fifty_entities_are_enough() -> None:
    scores, right = [0.9] * 30 + [0.6] * 20, [True] * 24 + [False] * 6 + [True] * 10 + [False] * 10
    temperature, bias = fit_calibration(scores, right)
    for score, share in ((0.9, 0.8), (0.6, 0.5)):
        assert calibrate_score(math.log(score), temperature, bias) == pytest.approx(share)
    assert fit_calibration(scores[1:], right[1:]) is None


@pytest.mark.parametrize(
    ("scores", "shares"),
    [((0.99, 0.01), (0.52, 0.48)), ((0.55, 0.45), (0.95, 0.05))],
    ids=["temperature 57", "temperature 0.07"],
)
def test_no_temperature_is_out_of_bounds(scores: tuple[float, float], shares: tuple[float, float]) -> None:
    right = [n < 100 * share for share in shares for n in range(100)]
    assert fit_calibration([score for score in scores for _ in range(100)], right) is None
