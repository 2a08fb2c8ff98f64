"""Temperatures that make scores the share that is right, and the error that is left."""

from __future__ import annotations

import pytest
import torch

from calibration_mtl_bioner import fit_temperature
from metrics_mtl_bioner import calibration_error, reliability
from modeling_mtl_bioner import decode_spans


LABELS = ["O", "B-Gene", "I-Gene"]


def test_reliability_by_hand() -> None:
    scores, right = [0.05, 0.92, 0.98, 1.0, 0.55], [False, True, False, True, True]
    assert reliability(scores, right) == [
        (0.05, 0.0, 1),
        (0.55, 1.0, 1),
        (pytest.approx((0.92 + 0.98 + 1.0) / 3), pytest.approx(2 / 3), 3),
    ]
    assert calibration_error(scores, right) == pytest.approx((0.05 + 0.45 + 3 * (2.9 / 3 - 2 / 3)) / 5)
    assert calibration_error([], []) == 0.0 and reliability([], []) == []


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_the_logits_were_made_with_is_found(true_temperature: float) -> None:
    """Words are genes with the probability that logits / temperature say; then the scores are calibrated."""
    generator = torch.Generator().manual_seed(0)
    gene = torch.rand(4000, generator=generator) * 6 * true_temperature  # more than 0, so that all are found
    logits = torch.stack([torch.zeros(4000), gene, torch.full((4000,), -50.0)], -1)
    texts = list(logits.view(4000, 1, 3))  # texts of one word
    chances = (logits / true_temperature).softmax(-1)[:, 1]
    right = [[bool(hit)] for hit in torch.rand(4000, generator=generator) < chances]
    spans = decode_spans(texts, LABELS)
    assert all(len(own) == 1 for own in spans)
    found = fit_temperature(texts, spans, right, LABELS)
    assert found == pytest.approx(true_temperature, rel=0.15)
    scores = [own[0].score for own in decode_spans(texts, LABELS, temperature=found)]
    flat = [own[0] for own in right]
    assert calibration_error(scores, flat) < 0.02
    if true_temperature != 1:
        raw = [own[0].score for own in spans]
        assert calibration_error(raw, flat) > 0.04


def test_too_few_entities_leave_the_scores_as_they_are() -> None:
    texts = [torch.tensor([[0.0, 3.0, 0.0]])] * 10
    assert fit_temperature(texts, decode_spans(texts, LABELS), [[False]] * 10, LABELS) == 1.0


def test_a_temperature_changes_scores_but_not_what_is_found() -> None:
    logits = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    plain, warm = (decode_spans([logits], LABELS, temperature=t)[0] for t in (1.0, 3.0))
    assert [(s.start, s.end, s.type) for s in plain] == [(s.start, s.end, s.type) for s in warm]
    assert sum(s.score for s in warm) < sum(s.score for s in plain)
