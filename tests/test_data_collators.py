"""Tokenizers, rows, batches and their order."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer, BertConfig, CanineConfig, MPNetConfig, RobertaConfig

from data_collators import (
    MultiTaskCollator,
    Row,
    TaskBatchSampler,
    TaskRows,
    TaskText,
    choose_padded_lengths,
    count_rows_per_epoch,
)  # fmt: skip
from modeling_mtl_bioner import IGNORE, split_subwords
from mtl_bioner.tokenizer import get_max_length, load_tokenizer, lowercases_cased_vocabulary


SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CASED = ["EGFR", "BRCA", "Cisplatin", "egfr", "brca", "cisplatin", "##1", *"abcdefghijklmnopqrstuvwxyz", "é"]
UNCASED = [token for token in CASED if token == token.lower()]
DISEASE = ["O", "B-Disease", "I-Disease", "B-B-cell", "I-B-cell"]
GENE = ["O", "B-Gene", "I-Gene"]


def vocabulary_folder(folder: Path, tokens: list[str]) -> str:
    """What several BioBERT repositories hold: `vocab.txt` and `config.json`, no tokenizer files."""
    folder.mkdir(exist_ok=True)
    tokens = list(dict.fromkeys([*SPECIALS, *tokens]))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    BertConfig(vocab_size=len(tokens)).save_pretrained(folder)
    return str(folder)


def pieces(tokenizer: Any, *words: str) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(ids) for ids in split_subwords(tokenizer, words)]


@pytest.mark.parametrize("saved", ["vocab.txt", "tokenizer.json"])
def test_a_lowercasing_tokenizer_of_a_cased_vocabulary_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, saved: str
) -> None:
    folder = vocabulary_folder(tmp_path / "biobert", CASED)
    raw = AutoTokenizer.from_pretrained(folder)
    assert pieces(raw, "EGFR") == [["egfr"]]  # the fault is there
    assert lowercases_cased_vocabulary(raw)
    if saved == "tokenizer.json":
        raw.save_pretrained(folder)
        assert json.loads((tmp_path / "biobert" / saved).read_text())["normalizer"]["lowercase"] is True
    tokenizer = load_tokenizer(folder)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: the vocabulary is cased but its tokenizer lower-cases; lower-casing is off"
    ]
    assert pieces(tokenizer, "EGFR", "BRCA1", "egfr", "é") == [["EGFR"], ["BRCA", "##1"], ["egfr"], ["é"]]

    tokenizer.save_pretrained(tmp_path / "saved")
    caplog.clear()
    for again in (load_tokenizer(str(tmp_path / "saved")), AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert pieces(again, "EGFR", "BRCA1") == [["EGFR"], ["BRCA", "##1"]]
    assert caplog.records == []


def test_an_uncased_tokenizer_stays(tmp_path: Path, minilm: str, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = load_tokenizer(vocabulary_folder(tmp_path / "uncased", UNCASED))
    assert pieces(tokenizer, "EGFR", "BRCA1", "é") == [["egfr"], ["brca", "##1"], ["e"]]
    assert pieces(load_tokenizer(minilm), "Cancer") == [["cancer"]]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (CanineConfig(), r"has only a slow tokenizer \(CanineTokenizer\); choose an encoder with a"),
        # transformers would make a tokenizer that knows no word
        (BertConfig(), "has no vocabulary, and every word would be unknown; put its tokenizer"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))


def test_a_space_before_every_word_survives_saving(encoder_type: str, toy_tokenizer: Callable, tmp_path: Path) -> None:
    toy_tokenizer(encoder_type).save_pretrained(tmp_path)
    words = ["gene", "in", "IL", "2"]
    assert pieces(AutoTokenizer.from_pretrained(tmp_path), *words) == pieces(toy_tokenizer(encoder_type), *words)


@pytest.mark.parametrize(
    ("config", "declared", "limit"),
    [
        (BertConfig(max_position_embeddings=512), int(1e30), 512),
        (BertConfig(max_position_embeddings=512), 256, 256),
        (RobertaConfig(max_position_embeddings=514, pad_token_id=1), int(1e30), 512),
        (RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512, 512),
        (MPNetConfig(max_position_embeddings=514, pad_token_id=1), int(1e30), 512),
        (SimpleNamespace(), int(1e30), 10**9),
        (SimpleNamespace(max_position_embeddings=None), 1024, 1024),
    ],
)
def test_length_limit(config: Any, declared: int, limit: int) -> None:
    assert get_max_length(SimpleNamespace(model_max_length=declared), config) == limit


@torch.no_grad()
def test_length_limit_is_what_the_encoder_takes(
    encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable
) -> None:
    encoder = AutoModel.from_pretrained(toy_encoder(encoder_type)).eval()
    limit = get_max_length(toy_tokenizer(encoder_type), encoder.config)
    assert limit == (128 if encoder_type == "roberta" else 130)
    assert encoder(torch.full((1, limit), 20)).last_hidden_state.shape == (1, limit, 16)
    if encoder_type == "roberta":
        with pytest.raises((IndexError, RuntimeError)):
            encoder(torch.full((1, limit + 1), 20))


def task_text(task_id: int, words: Iterable[str], tags: list[str], breaks: list[int] | None = None) -> TaskText:
    ends = list(itertools.accumulate(len(word) + 1 for word in words))
    offsets = [(end - len(word) - 1, end - 1) for word, end in zip(words, ends, strict=True)]
    return TaskText(task_id, "toy", SimpleNamespace(text=" ".join(words)), offsets, tags, breaks or [])


TEXTS = [
    task_text(0, ["gene", "BRCA1", "cancer"], ["O", "B-Disease", "I-Disease"]),
    task_text(1, ["BRCA1", "\u200b", "EGFR1", "a"], ["B-Gene", "I-Gene", "I-Gene", "O"]),
    task_text(0, ["a1b", "a1b"], ["B-B-cell", "I-B-cell"]),
]


@pytest.fixture
def make_rows(toy_tokenizer: Callable) -> Callable[..., TaskRows]:
    return lambda texts, *options: TaskRows(texts, [DISEASE, GENE], toy_tokenizer("bert"), *options)


@pytest.mark.parametrize(
    ("mode", "inside", "labels"),
    [
        ("first", IGNORE, [[0, 1, IGNORE, 2], [1, IGNORE, 2, IGNORE, 0], [3, IGNORE, IGNORE, 4, IGNORE, IGNORE]]),
        ("all", 2, [[0, 1, 2, 2], [1, 2, 2, 2, 0], [3, 4, 4, 4, 4, 4]]),
    ],
)
def test_every_word_is_labelled_once(
    make_rows: Callable, toy_tokenizer: Callable, mode: str, inside: int, labels: list[list[int]]
) -> None:
    rows = make_rows(TEXTS, 20, 4, mode)
    assert [row.labels for row in rows] == [[IGNORE, *row_labels, IGNORE] for row_labels in labels]
    ids = toy_tokenizer("bert").convert_tokens_to_ids
    assert rows[0].input_ids == ids(["[CLS]", "gene", "BRCA", "##1", "cancer", "[SEP]"])
    assert rows[1].input_ids == ids(["[CLS]", "BRCA", "##1", "EGFR", "##1", "a", "[SEP]"])
    assert [row.text for row in rows] == [0, 1, 2]
    assert (len(rows), rows.task_ids, rows.lengths) == (3, [0, 1, 0], [6, 7, 8])
    rows = make_rows([task_text(1, [*"abcdefghi", "x" * 30], ["B-Gene"] * 10)], 8, 1, mode)
    assert [row.labels for row in rows] == [
        [IGNORE, 1, 1, 1, 1, 1, IGNORE, IGNORE],  # a b c d e, f is context
        [IGNORE, IGNORE, 1, 1, 1, 1, IGNORE],  # e is context, f g h i
        [IGNORE, 1, *[inside] * 5, IGNORE],  # a word longer than a window, labelled at its first sub-word
    ]


def test_longest_rows_first_and_decoded_to_their_texts(make_rows: Callable) -> None:
    texts = [task_text(1, word, ["O"] * len(word)) for word in ("ab", "", "abcdefghijkl", "abc")]
    rows = make_rows(texts, 8, 1)
    assert rows.sort_by_length() is rows and rows.lengths == [8, 8, 6, 5, 4]
    logits = torch.zeros(len(rows), 8, 5)
    logits[:, :, 1] = 9.0  # every sub-word is B-Gene
    spans = [[(span.start, span.end) for span in text_spans] for text_spans in rows.decode(logits.numpy())]
    assert spans == [text.words for text in texts]
    assert [len(text_spans) for text_spans in spans] == [2, 0, 12, 3]
    breaks = make_rows([task_text(1, "abcd", ["O"] * 4, breaks=[0, 3])], 20, 4)
    assert [(row.window.core, len(row.input_ids)) for row in breaks] == [((0, 3), 5), ((3, 4), 3)]


def test_each_text_is_decoded_by_the_labels_of_its_task(make_rows: Callable) -> None:
    rows = make_rows(TEXTS[:2], 20, 4)
    minimum = torch.finfo(torch.float32).min
    logits = torch.full((2, 7, 5), -100.0)  # as Trainer pads
    logits[0, :6] = torch.tensor([0, 0, 0, 9.0, 8])
    logits[1, :7] = torch.tensor([0, 9.0, 0, minimum, minimum])
    assert [[(span.start, span.end, span.type) for span in spans] for spans in rows.decode(logits)] == [
        [(0, 4, "B-cell"), (5, 10, "B-cell"), (11, 17, "B-cell")],
        [(0, 5, "Gene"), (8, 13, "Gene"), (14, 15, "Gene")],  # the word between has no sub-word
    ]
    with pytest.raises(ValueError):
        rows.decode(logits[:1])


def test_collator() -> None:
    rows = [Row([2, 7, 3], [IGNORE, 1, IGNORE], 1, 0, None), Row([2, 8, 9, 3], [IGNORE, 0, 2, IGNORE], 0, 0, None)]
    batch = MultiTaskCollator(pad_token_id=5)(rows)
    assert {key: value.tolist() for key, value in batch.items()} == {
        "input_ids": [[2, 7, 3, 5], [2, 8, 9, 3]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 1, 1]],
        "labels": [[IGNORE, 1, IGNORE, IGNORE], [IGNORE, 0, 2, IGNORE]],
        "task_id": [1, 0],
    }
    assert {value.dtype for value in batch.values()} == {torch.int64}


@pytest.mark.parametrize(
    ("sizes", "alpha", "counts"),
    [
        ([900, 100], 1, [900, 100]), ([900, 100], 0.5, [750, 250]), ([900, 100], 0, [500, 500]),
        ([7, 3, 1], 0, [4, 4, 3]), ([16, 4, 1], 0.5, [12, 6, 3]), ([10, 0, 6], 0, [8, 0, 8]),
        ([5], 0.5, [5]), ([], 1, []),
    ],
)  # fmt: skip
def test_rows_per_epoch(sizes: list[int], alpha: float, counts: list[int]) -> None:
    assert count_rows_per_epoch(sizes, alpha) == counts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.sampled_from([0, 0.3, 0.5, 1, 2]))
def test_rows_per_epoch_add_up(sizes: list[int], alpha: float) -> None:
    counts = count_rows_per_epoch(sizes, alpha)
    assert sum(counts) == sum(sizes) and min(counts) >= 0
    assert alpha != 1 or counts == sizes
    for (small, few), (large, many) in itertools.pairwise(sorted(zip(sizes, counts, strict=True))):
        assert small == large or few <= many + 1  # a larger task never gets fewer rows, rounding aside


TASK_IDS = [0] * 90 + [1] * 10 + [3] * 30
LENGTHS = [10 + (7 * i) % 50 for i in range(130)]
mixed_or_not = pytest.mark.parametrize("mixed", [True, False])


def make_sampler(**options: Any) -> TaskBatchSampler:
    return TaskBatchSampler(TASK_IDS, LENGTHS, **{"rows_per_batch": 8, **options})


@pytest.mark.parametrize(
    ("alpha", "draws"),
    # each row once; square roots 9.487, 3.162, 5.477 of 18.126 in all; a third of 130
    [(1, {0: 90, 1: 10, 3: 30}), (0.5, {0: 68, 1: 23, 3: 39}), (0, {0: 44, 1: 43, 3: 43})],
)
@mixed_or_not
def test_draws_of_each_task(alpha: float, draws: dict[int, int], mixed: bool) -> None:
    sampler = make_sampler(alpha=alpha, mixed=mixed)
    batches = list(sampler)
    rows = Counter(row for batch in batches for row in batch)
    for task, count in draws.items():
        counts = [rows[row] for row in range(130) if TASK_IDS[row] == task]
        assert sum(counts) == count  # a task starts over only when all of its rows were drawn
        assert set(counts) <= {count // len(counts), -(-count // len(counts))}
    assert len(batches) == len(sampler)
    if alpha == 1:
        assert max(map(len, batches)) == 8 and len(batches) == (17 if mixed else 12 + 2 + 4)
    assert not hasattr(sampler, "batch_size") and sampler.drop_last is False  # else accelerate cuts them anew


def test_one_task_batches_are_of_one_task_and_mixed_ones_of_several() -> None:
    tasks = [{TASK_IDS[row] for row in batch} for batch in make_sampler(mixed=False)]
    order = [task for (task,) in tasks]
    assert order != sorted(order)  # tasks alternate
    assert sum(len({TASK_IDS[row] for row in batch}) > 1 for batch in make_sampler(mixed=True)) > 10


@mixed_or_not
def test_order_is_a_function_of_seed_and_epoch(mixed: bool) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = make_sampler(seed=seed, mixed=mixed, alpha=0.5)
        sampler.set_epoch(epoch)
        torch.rand(seed + 1)  # the global generator has no part in it
        return list(sampler)

    first, again = order(1, 0), make_sampler(seed=1, mixed=mixed, alpha=0.5)
    assert order(1, 0) == list(again) == list(again) == first  # iterating changes nothing
    assert order(1, 1) != first != order(2, 0)


def test_batches_hold_rows_of_like_length() -> None:
    spread = [max(LENGTHS[r] for r in batch) - min(LENGTHS[r] for r in batch) for batch in make_sampler()]
    assert sum(spread) / len(spread) < 5  # of random batches it is about 40


@mixed_or_not
@pytest.mark.parametrize("alpha", [1, 0.5])
def test_number_of_batches_is_the_same_in_every_epoch(mixed: bool, alpha: float) -> None:
    sampler = make_sampler(mixed=mixed, alpha=alpha, tokens_per_batch=200, processes=2)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler)


def test_every_row_is_drawn_in_some_epoch_also_where_an_epoch_leaves_some_out() -> None:
    sampler = TaskBatchSampler(TASK_IDS, LENGTHS, 4, alpha=0, tokens_per_batch=300)  # 44 of task 0's 90 rows an epoch
    drawn: Counter[int] = Counter()
    for epoch in range(60):
        sampler.set_epoch(epoch)
        drawn.update(row for batch in sampler for row in batch)
    assert len(drawn) == 130
    counts = [drawn[row] for row in range(90)]
    assert min(counts) >= 12 and max(counts) <= 48  # 60 * 44 / 90 = 29.3 expected of each


def test_token_budget_bounds_padded_batches() -> None:
    sampler = make_sampler(rows_per_batch=64, tokens_per_batch=200)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(130))
    collate = MultiTaskCollator(0, sampler.padded_lengths)
    as_rows = [[Row([1] * LENGTHS[r], [0] * LENGTHS[r], 0, 0, None) for r in batch] for batch in batches]
    shapes = [collate(rows)["input_ids"].shape for rows in as_rows]
    assert max(rows * length for rows, length in shapes) <= 200
    assert len({length for _, length in shapes}) <= 24
    assert sum(rows * length for rows, length in shapes) < 1.05 * sum(LENGTHS)
    assert len(batches) < 1.2 * sum(LENGTHS) / 200  # batches are full


def test_fewer_rows_are_fewer_subwords_too() -> None:
    """Else --auto_find_batch_size changed nothing where the budget of sub-words binds."""
    sampler = TaskBatchSampler([0] * 64, [32] * 64, 64, tokens_per_batch=1024)
    assert {len(batch) for batch in sampler} == {32}
    sampler.limit_rows(57)
    sampler.limit_rows(32)
    assert {len(batch) for batch in sampler} <= {15, 16}


def test_a_row_above_the_token_budget_stands_alone() -> None:
    assert sorted(TaskBatchSampler([0, 0, 0], [500, 3, 500], 8, tokens_per_batch=100)) == [[0], [1], [2]]


@mixed_or_not
@pytest.mark.parametrize(("processes", "alpha"), [(2, 0.5), (3, 1.0)])
def test_processes_share_the_batches_of_one(processes: int, alpha: float, mixed: bool) -> None:
    alone = list(make_sampler(rows_per_batch=2 * processes, mixed=mixed, alpha=alpha))
    shared = list(make_sampler(rows_per_batch=2, processes=processes, mixed=mixed, alpha=alpha))
    assert len(shared) == processes * len(alone)
    for step, batch in enumerate(alone):
        parts = shared[processes * step : processes * (step + 1)]  # what accelerate gives the processes
        assert sorted(row for part in parts for row in part) == sorted(batch)
        assert all(parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_only_where_rows_are_fewer_than_processes_do_they_come_twice() -> None:
    batches = list(TaskBatchSampler([0, 0, 0, 1], [5, 5, 5, 5], 2, mixed=False, processes=3))
    assert len(batches) == 6
    assert Counter(row for batch in batches for row in batch) == {0: 1, 1: 1, 2: 1, 3: 3}


def count_padding(lengths: list[int], ends: Iterable[int]) -> int:
    return sum(min(end - length for end in ends if end >= length) for length in lengths)


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([3, 1, 2], 24, [1, 2, 3]), ([1, 2, 3, 10, 11, 12], 2, [3, 12]), ([1, 1, 1, 9, 10], 2, [1, 10]),
        ([1, 5, 5, 5, 5, 6], 2, [5, 6]),  # pads one row by 4, and so would [1, 6] four by 1
        ([7], 1, [7]), ([4, 8], 1, [8]),
    ],
)  # fmt: skip
def test_padded_lengths(lengths: list[int], most: int, expected: list[int]) -> None:
    chosen = choose_padded_lengths(lengths, most)
    assert count_padding(lengths, chosen) == count_padding(lengths, expected)
    assert len(chosen) <= most and chosen == sorted(set(chosen))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 4))
def test_no_other_lengths_pad_less(lengths: list[int], most: int) -> None:
    longest, shorter = max(lengths), sorted(set(lengths) - {max(lengths)})
    choices = ([*ends, longest] for k in range(most) for ends in itertools.combinations(shorter, k))
    least = min(count_padding(lengths, ends) for ends in choices)
    assert count_padding(lengths, choose_padded_lengths(lengths, most)) == least
