"""Logits to entities: always legal IOB2, always the most probable, the same as the decoding of corpora."""

import itertools

import pytest
import torch
from toys import assert_same_entities

from data_collators import fill_word_logits
from dataset_scripts.bio import DEFAULT_WORD_PATTERN, decode_bio
from modeling_mtl_bioner import (
    MtlBionerConfig,
    Span,
    Window,
    decode_labels,
    decode_spans,
    find_best_labels,
)


LABELS = ["O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"]
OUT, B_D, I_D, B_C, I_C = range(5)


def is_legal(path: list[int]) -> bool:
    """IOB2, said in another way than in the model."""
    tags = ["O", *(LABELS[label] for label in path)]
    return all(new[0] != "I" or old in (f"B{new[1:]}", new) for old, new in itertools.pairwise(tags))


def random_log_probs(*shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, len(LABELS), generator=generator)).log_softmax(-1)


def as_logits(path: list[int], margin: float = 30.0) -> torch.Tensor:
    return margin * torch.nn.functional.one_hot(torch.tensor(path, dtype=torch.long), len(LABELS)).float()


def places(spans: list[Span]) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, span.type) for span in spans]


def test_word_pattern_of_model_and_corpora() -> None:
    assert MtlBionerConfig().word_pattern == DEFAULT_WORD_PATTERN


def test_inside_follows_begin_or_inside_of_its_type_alone() -> None:
    labels = ["O", "B-X", "I-X", "B-XX", "I-XX"]
    allowed = [
        [True, True, False, True, False],
        [True, True, True, True, False],
        [True, True, True, True, False],
        [True, True, False, True, True],
        [True, True, False, True, True],
    ]
    for old, new in itertools.product(range(5), repeat=2):
        path = [old - 1, old, new] if labels[old][0] == "I" else [old, new]
        assert (decode_labels(as_logits(path)[None], [len(path)], labels) == [path]) == allowed[old][new]
        assert (decode_labels(as_logits([new])[None], [1], labels) == [[new]]) == allowed[0][new]  # as behind an O


def test_decoding_is_the_best_of_all_legal_sequences() -> None:
    for length, seed in itertools.product((1, 2, 3, 4), range(25)):
        log_probs = random_log_probs(1, length, seed=seed, scale=1 + seed % 4)
        (path,) = decode_labels(log_probs, [length], LABELS)
        scores = {
            candidate: log_probs[0, torch.arange(length), torch.tensor(candidate)].double().sum().item()
            for candidate in itertools.product(range(5), repeat=length)
            if is_legal(list(candidate))
        }
        assert tuple(path) == max(scores, key=scores.get)


@pytest.mark.parametrize(
    ("best", "decoded"),
    [
        ([I_D, I_D], [B_D, I_D]), ([B_D, I_C, I_C], [B_D, B_C, I_C]), ([OUT, I_D, OUT], [OUT, B_D, OUT]),
        ([B_D, B_D, I_D], [B_D, B_D, I_D]),
    ],
)  # fmt: skip
def test_illegal_sequences_are_repaired(best: list[int], decoded: list[int]) -> None:
    """Second choice at each word is `B-` of the same type."""
    logits = as_logits(best, 10.0)
    for word, label in enumerate(best):
        if label in (I_D, I_C):
            logits[word, label - 1] = 9.0
    assert decode_labels(logits.log_softmax(-1)[None], [len(best)], LABELS) == [decoded]


def test_an_inner_word_can_turn_out_better_than_its_first_choice() -> None:
    """The best legal sequence is no word-by-word repair: `O I-D I-D I-D` at equal odds becomes one entity."""
    logits = torch.tensor([[1.0, 0.9, 0, 0, 0], [0, -9, 5, 0, 0], [0, -9, 5, 0, 0]])
    assert decode_labels(logits.log_softmax(-1)[None], [3], LABELS) == [[B_D, I_D, I_D]]


def test_always_legal_also_of_impossible_and_infinite_scores() -> None:
    for seed in range(20):
        log_probs = random_log_probs(1, 12, seed=seed)
        log_probs[0, seed % 12, :] = torch.finfo(torch.float32).min
        log_probs[0, (seed + 5) % 12, 0] = torch.finfo(torch.float32).min
        log_probs[0, (seed + 7) % 12, 1:] = -torch.inf
        assert is_legal(*decode_labels(log_probs, [12], LABELS))


def test_ties_go_to_the_first_label() -> None:
    zeros = torch.zeros(2, 4, 5).log_softmax(-1)
    assert decode_labels(zeros, [4, 2], LABELS) == [[OUT] * 4, [OUT] * 2]
    tied = torch.tensor([[0.0, 3, -9, 3, -9], [0, 0, 3, 0, 3]]).log_softmax(-1)
    assert all(decode_labels(tied[None], [2], LABELS) == [[B_D, I_D]] for _ in range(5))


@pytest.mark.parametrize("scale", [0.3, 1, 3, 10])
@pytest.mark.parametrize("drawn_to", [None, I_D, OUT])
def test_runs_around_illegal_places_give_what_viterbi_gives(scale: float, drawn_to: int | None) -> None:
    for seed in range(20):
        lengths = torch.randint(1, 120, (6,), generator=torch.Generator().manual_seed(seed)).tolist()
        logits = random_log_probs(sum(lengths), scale=scale, seed=seed)
        if drawn_to is not None:
            logits[:, drawn_to] += scale  # many illegal places, or few
        log_probs, text = logits.log_softmax(-1), torch.arange(6).repeat_interleave(torch.tensor(lengths))
        whole = [decode_labels(of_text[None], [len(of_text)], LABELS)[0] for of_text in log_probs.split(lengths)]
        assert find_best_labels(log_probs, text, LABELS).tolist() == [label for path in whole for label in path]


def test_a_batch_of_different_lengths_equals_one_by_one() -> None:
    texts = [random_log_probs(length, seed=length) for length in (5, 1, 9, 3, 9, 2)]
    together = decode_spans(texts, LABELS)
    alone = [decode_spans([text], LABELS)[0] for text in texts]
    assert sum(map(len, alone)) > 5
    assert_same_entities(*([vars(span) for text in texts for span in text] for texts in (together, alone)))
    assert list(map(len, together)) == list(map(len, alone))
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=123.0)
    paths = [decode_labels(text[None], [len(text)], LABELS)[0] for text in texts]
    assert decode_labels(padded, [len(text) for text in texts], LABELS) == paths


def test_spans_by_hand() -> None:
    paths = ([B_D, I_D, B_D, OUT, B_C, B_D], [], [OUT])
    # Behind the task's classes are some of other tasks, to be ignored.
    logits = [torch.cat([as_logits(path), torch.full((len(path), 4), 1000.0)], dim=1) for path in paths]
    offsets = [[(0, 4), (5, 7), (7, 9), (9, 10), (12, 20), (21, 22)], [], [(3, 4)]]
    by_words, by_characters = decode_spans(logits, LABELS), decode_spans(logits, LABELS, offsets)
    assert by_words[1:] == by_characters[1:] == [[], []]
    assert places(by_words[0]) == [(0, 2, "Disease"), (2, 3, "Disease"), (4, 5, "Chemical"), (5, 6, "Disease")]
    assert places(by_characters[0]) == [
        (0, 7, "Disease"), (7, 9, "Disease"), (12, 20, "Chemical"), (21, 22, "Disease"),
    ]  # fmt: skip
    assert all(span.score == pytest.approx(1.0) for span in by_words[0])


def test_same_entities_as_the_decoding_of_corpora() -> None:
    words = [(5 * word, 5 * word + 4) for word in range(20)]
    for seed in range(50):
        log_probs = random_log_probs(20, seed=seed)
        (path,) = decode_labels(log_probs[None], [20], LABELS)
        (spans,) = decode_spans([log_probs], LABELS, [words])
        assert is_legal(path) and places(spans) == places(decode_bio(words, [LABELS[label] for label in path]))


def test_a_small_margin_counts_also_at_the_end_of_a_long_text() -> None:
    """10,000 words of probability 1/41: the sum of logarithms is -37,000, where float32 has steps of 0.004."""
    labels = ["O", *(f"{prefix}-{number}" for number in range(20) for prefix in "BI")]
    logits = torch.zeros(10_000, 41)
    logits[-1, 5] = 0.0001
    assert places(*decode_spans([logits], labels)) == [(9_999, 10_000, "2")]


def fill(window: Window, logits: torch.Tensor) -> torch.Tensor:
    word_logits = torch.full((window.core[1], 5), -torch.inf)
    fill_word_logits(word_logits, window, logits)
    return word_logits


def test_logits_of_words_are_those_of_their_first_subword() -> None:
    logits = torch.arange(25.0).view(5, 5)
    wider = torch.nn.functional.pad(logits, (0, 2))  # by labels of other tasks
    words = fill(Window((1, 5), [2, 7, 8, 9, 3], [1, -1, 3, -1], [2, 0, 1, 0]), wider)
    assert words[[1, 3]].tolist() == logits[[1, 3]].tolist()
    assert words[[0, 2, 4]].isneginf().all()  # of another window, and without sub-words
    assert torch.equal(wider[:, :5], logits)  # taken, not changed
    assert fill(Window((0, 0), [2, 3], [], []), torch.zeros(2, 5)).shape == (0, 5)


@pytest.mark.parametrize(
    ("positions", "third", "expected"),
    [
        ([1, -1, 3, -1], B_D, [(0, 1, "Disease"), (2, 3, "Disease")]),
        ([1, -1, 3, -1], I_D, [(0, 3, "Disease")]),  # one entity from the first word to the third, not to the last
        ([-1, -1], B_D, []),
    ],
)
def test_words_without_subwords_are_passed_over(positions: list[int], third: int, expected: list[tuple]) -> None:
    logits = as_logits([B_D, B_D, B_D, third, B_D], 9.0)
    (spans,) = decode_spans([fill(Window((0, len(positions)), [2, 7, 8, 9, 3], positions, []), logits)], LABELS)
    assert places(spans) == expected
    (alone,) = decode_spans([logits[[position for position in positions if position >= 0]]], LABELS)
    assert [span.score for span in spans] == [span.score for span in alone]


def test_score_of_a_single_word() -> None:
    """Mean of log P(begins here) and log P(no word more of it), both 0.8."""
    logits = torch.tensor([[0.1, 0.8, 0.1], [0.7, 0.1, 0.2]]).log()
    (span,) = decode_spans([logits], ["O", "B-Gene", "I-Gene"])[0]
    assert span.score == pytest.approx(0.8)
