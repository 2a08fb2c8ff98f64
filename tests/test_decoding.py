"""Logits to entities: always legal IOB2, always the most probable, the same as the decoding of corpora."""

from __future__ import annotations

import itertools

import pytest
import torch

from dataset_scripts.bio import DEFAULT_WORD_PATTERN, decode_bio
from modeling_mtl_bioner import (
    MtlBionerConfig,
    Window,
    WordSpan,
    build_transition_mask,
    decode_labels,
    decode_spans,
    gather_word_logits,
)


LABELS = ["O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"]
OUT, B_D, I_D, B_C, I_C = range(5)


def legal(path: list[int]) -> bool:
    """IOB2, said in another way than in the model."""
    tags = ["O", *(LABELS[label] for label in path)]
    return all(new[0] != "I" or old in (f"B{new[1:]}", new) for old, new in itertools.pairwise(tags))


def random_log_probs(*shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, len(LABELS), generator=generator)).log_softmax(-1)


def as_logits(path: list[int], margin: float = 30.0) -> torch.Tensor:
    return margin * torch.nn.functional.one_hot(torch.tensor(path), len(LABELS)).float()


def test_word_pattern_of_model_and_corpora() -> None:
    assert MtlBionerConfig().word_pattern == DEFAULT_WORD_PATTERN == r"(?:[^\W_][\u0300-\u036f]*)+|\S"


def test_transition_mask() -> None:
    start, follow = build_transition_mask(["O", "B-X", "I-X", "B-XX", "I-XX"])
    assert start.eq(0).tolist() == [True, True, False, True, False]
    assert follow.eq(0).tolist() == [
        [True, True, False, True, False],
        [True, True, True, True, False],
        [True, True, True, True, False],
        [True, True, False, True, True],
        [True, True, False, True, True],
    ]
    assert start.isfinite().all() and follow.isfinite().all()


def test_decoding_is_the_best_of_all_legal_sequences() -> None:
    for length, seed in itertools.product((1, 2, 3, 4), range(25)):
        log_probs = random_log_probs(1, length, seed=seed, scale=1 + seed % 4)
        (path,) = decode_labels(log_probs, [length], LABELS)
        scores = {
            candidate: log_probs[0, torch.arange(length), torch.tensor(candidate)].double().sum().item()
            for candidate in itertools.product(range(5), repeat=length)
            if legal(list(candidate))
        }
        assert tuple(path) == max(scores, key=scores.get)


@pytest.mark.parametrize(
    ("wanted", "decoded"),
    [
        ([I_D, I_D], [B_D, I_D]),
        ([B_D, I_C, I_C], [B_D, B_C, I_C]),
        ([OUT, I_D, OUT], [OUT, B_D, OUT]),
        ([B_D, B_D, I_D], [B_D, B_D, I_D]),
    ],
)
def test_repair_of_illegal_sequences(wanted: list[int], decoded: list[int]) -> None:
    """Second choice at each word is `B-` of the same type."""
    logits = as_logits(wanted, 10.0)
    for word, label in enumerate(wanted):
        if label in (I_D, I_C):
            logits[word, label - 1] = 9.0
    assert decode_labels(logits.log_softmax(-1)[None], [len(wanted)], LABELS) == [decoded]


def test_an_inner_word_can_turn_out_better_than_its_first_choice() -> None:
    """The best legal sequence is no word-by-word repair: `O I-D I-D I-D` at equal odds becomes one entity."""
    logits = torch.tensor([[1.0, 0.9, 0, 0, 0], [0, -9, 5, 0, 0], [0, -9, 5, 0, 0]])
    assert decode_labels(logits.log_softmax(-1)[None], [3], LABELS) == [[B_D, I_D, I_D]]


def test_always_legal_also_of_impossible_and_infinite_scores() -> None:
    minimum = torch.finfo(torch.float32).min
    for seed in range(20):
        logits = random_log_probs(1, 12, seed=seed)
        logits[0, seed % 12, :] = minimum
        logits[0, (seed + 5) % 12, 0] = minimum
        logits[0, (seed + 7) % 12, 1:] = -torch.inf
        (path,) = decode_labels(logits, [12], LABELS)
        assert legal(path)


def test_ties_go_to_the_first_label() -> None:
    zeros = torch.zeros(2, 4, 5).log_softmax(-1)
    assert decode_labels(zeros, [4, 2], LABELS) == [[OUT] * 4, [OUT] * 2]
    tied = torch.tensor([[0.0, 3, -9, 3, -9], [0, 0, 3, 0, 3]]).log_softmax(-1)
    assert all(decode_labels(tied[None], [2], LABELS) == [[B_D, I_D]] for _ in range(5))


def test_a_batch_of_different_lengths_equals_one_by_one() -> None:
    texts = [random_log_probs(length, seed=length) for length in (5, 1, 9, 3, 9, 2)]
    together = decode_spans(texts, LABELS)
    assert together == [decode_spans([text], LABELS)[0] for text in texts]
    assert together == decode_spans(texts, LABELS, max_padded_words=2)
    assert sum(map(len, together)) > 5
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=123.0)
    lengths = [len(text) for text in texts]
    alone = [decode_labels(text[None], [len(text)], LABELS)[0] for text in texts]
    assert decode_labels(padded, lengths, LABELS) == alone


def test_spans_by_hand() -> None:
    path = [B_D, I_D, B_D, OUT, B_C, B_D]
    spans = decode_spans([as_logits(path), torch.zeros(0, 5), as_logits([OUT])], LABELS)
    found = [[(span.start, span.end, span.type) for span in text] for text in spans]
    assert found == [[(0, 2, "Disease"), (2, 3, "Disease"), (4, 5, "Chemical"), (5, 6, "Disease")], [], []]
    assert all(span.score == pytest.approx(1.0) for span in spans[0])


def test_classes_of_other_tasks_are_ignored() -> None:
    logits = torch.cat([as_logits([B_D, OUT]), torch.full((2, 4), 1000.0)], dim=1)
    assert decode_spans([logits], LABELS) == [[WordSpan(0, 1, "Disease", pytest.approx(1.0))]]


def test_same_entities_as_the_decoding_of_corpora() -> None:
    for seed in range(50):
        log_probs = random_log_probs(20, seed=seed)
        (path,) = decode_labels(log_probs[None], [20], LABELS)
        assert legal(path)
        words = [(5 * word, 5 * word + 4) for word in range(20)]
        corpus = decode_bio(words, [LABELS[label] for label in path])
        (spans,) = decode_spans([log_probs], LABELS)
        assert [(5 * span.start, 5 * span.end - 1, span.type) for span in spans] == [
            (entity.start, entity.end, entity.type) for entity in corpus
        ]


def test_a_small_margin_counts_also_at_the_end_of_a_long_text() -> None:
    """10,000 words of probability 1/41: the sum of logarithms is -37,000, where float32 has steps of 0.004."""
    labels = ["O", *(f"{prefix}-{number}" for number in range(20) for prefix in "BI")]
    logits = torch.zeros(10_000, 41)
    logits[-1, 5] = 0.0001
    ((span,),) = decode_spans([logits], labels)
    assert (span.start, span.end, span.type) == (9_999, 10_000, "2")


def test_words_without_subwords_are_passed_over() -> None:
    window = Window((0, 4), [2, 7, 8, 9, 3], [1, -1, 3, -1], [2, 0, 1, 0])
    logits = torch.arange(25.0).view(5, 5)
    words = gather_word_logits(logits, window)
    assert words[[0, 2]].tolist() == logits[[1, 3]].tolist()
    assert words[[1, 3]].isneginf().all()
    begins = torch.tensor([[0, 9.0, 0, 0, 0]] * 5)  # B- at each sub-word
    spans = decode_spans([gather_word_logits(begins, window)], LABELS)[0]
    assert [(span.start, span.end) for span in spans] == [(0, 1), (2, 3)]
    goes_on = begins.clone()
    goes_on[3] = torch.tensor([0, 0, 9.0, 0, 0])  # I-: one entity from the first word to the third, not to the last
    (span,) = decode_spans([gather_word_logits(goes_on, window)], LABELS)[0]
    (alone,) = decode_spans([goes_on[[1, 3]]], LABELS)[0]
    assert (span.start, span.end, span.score) == (0, 3, alone.score) and (alone.start, alone.end) == (0, 2)
    nothing = Window((0, 2), [2, 3], [-1, -1], [0, 0])
    assert decode_spans([gather_word_logits(begins, nothing)], LABELS) == [[]]
    assert torch.equal(logits, torch.arange(25.0).view(5, 5))  # taken, not changed


def test_take_words_of_an_empty_core() -> None:
    assert gather_word_logits(torch.zeros(2, 5), Window((0, 0), [2, 3], [], [])).shape == (0, 5)


def test_score_of_a_single_word() -> None:
    """Mean of log P(begins here) and log P(no word more of it), both 0.8."""
    logits = torch.tensor([[0.1, 0.8, 0.1], [0.7, 0.1, 0.2]]).log()
    (span,) = decode_spans([logits], ["O", "B-Gene", "I-Gene"])[0]
    assert span.score == pytest.approx(0.8)
