"""Tokenizers, rows, batches and their order."""

from __future__ import annotations

import itertools
import json
import logging
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
)
from modeling_mtl_bioner import IGNORE, split_subwords
from mtl_bioner.tokenizer import get_max_length, load_tokenizer, lowercases_cased_vocabulary


SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CASED = ["EGFR", "BRCA", "Cisplatin", "egfr", "brca", "cisplatin", "##1", *"abcdefghijklmnopqrstuvwxyz", "é", "e"]
UNCASED = [token for token in CASED if token == token.lower()]
DISEASE = ["O", "B-Disease", "I-Disease", "B-B-cell", "I-B-cell"]
GENE = ["O", "B-Gene", "I-Gene"]


# ---------------------------------------------------------------------------------------------------------- tokenizer


def vocabulary_folder(folder: Path, tokens: list[str]) -> str:
    """What several BioBERT repositories hold: `vocab.txt` and `config.json`, no tokenizer files."""
    folder.mkdir(exist_ok=True)
    tokens = list(dict.fromkeys([*SPECIALS, *tokens]))
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    BertConfig(vocab_size=len(tokens)).save_pretrained(folder)
    return str(folder)


def pieces(tokenizer: Any, *words: str) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(ids) for ids in split_subwords(tokenizer, words)]


def test_cased_vocabulary_behind_a_lowering_tokenizer_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = vocabulary_folder(tmp_path / "biobert", CASED)
    raw = AutoTokenizer.from_pretrained(folder)
    assert pieces(raw, "EGFR") == [["egfr"]]  # the fault is there
    assert lowercases_cased_vocabulary(raw)
    with caplog.at_level(logging.WARNING, "data_collators"):
        tokenizer = load_tokenizer(folder)
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: the vocabulary is cased but its tokenizer lower-cases; lower-casing is off"
    ]
    assert pieces(tokenizer, "EGFR", "BRCA1", "egfr", "é") == [["EGFR"], ["BRCA", "##1"], ["egfr"], ["é"]]

    tokenizer.save_pretrained(tmp_path / "saved")
    caplog.clear()
    again = load_tokenizer(str(tmp_path / "saved"))
    assert pieces(again, "EGFR", "BRCA1") == [["EGFR"], ["BRCA", "##1"]]
    assert caplog.records == []
    assert pieces(AutoTokenizer.from_pretrained(tmp_path / "saved"), "EGFR") == [["EGFR"]]


def test_mended_also_with_a_tokenizer_file(tmp_path: Path) -> None:
    folder = vocabulary_folder(tmp_path / "raw", CASED)
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path / "files")
    BertConfig().save_pretrained(tmp_path / "files")
    assert json.loads((tmp_path / "files" / "tokenizer.json").read_text())["normalizer"]["lowercase"] is True
    assert pieces(load_tokenizer(str(tmp_path / "files")), "EGFR") == [["EGFR"]]


def test_uncased_vocabulary_stays_lower_casing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "data_collators"):
        tokenizer = load_tokenizer(vocabulary_folder(tmp_path / "uncased", UNCASED))
    assert pieces(tokenizer, "EGFR", "BRCA1", "é") == [["egfr"], ["brca", "##1"], ["e"]]
    assert caplog.records == []


def test_real_uncased_tokenizer_stays(minilm: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "data_collators"):
        assert pieces(load_tokenizer(minilm), "Cancer") == [["cancer"]]
    assert caplog.records == []


def test_slow_tokenizer_is_refused(tmp_path: Path) -> None:
    CanineConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has only a slow tokenizer \(CanineTokenizer\); choose an encoder with a"):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_vocabulary_is_refused(tmp_path: Path) -> None:
    """transformers would make a tokenizer that knows no word."""
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no vocabulary, and every word would be unknown; put its tokenizer"):
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


def test_length_limit_is_what_the_encoder_takes(
    encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable
) -> None:
    encoder = AutoModel.from_pretrained(toy_encoder(encoder_type)).eval()
    limit = get_max_length(toy_tokenizer(encoder_type), encoder.config)
    assert limit == (128 if encoder_type == "roberta" else 130)
    ids = torch.full((1, limit), 20)
    with torch.no_grad():
        assert encoder(ids).last_hidden_state.shape == (1, limit, 16)
        if encoder_type == "roberta":
            with pytest.raises((IndexError, RuntimeError)):
                encoder(torch.full((1, limit + 1), 20))


# --------------------------------------------------------------------------------------------------------------- rows


def task_text(task_id: int, words: list[str], tags: list[str], breaks: list[int] | None = None) -> TaskText:
    offsets, at = [], 0
    for word in words:
        offsets.append((at, at + len(word)))
        at += len(word) + 1
    return TaskText(task_id, "toy", SimpleNamespace(text=" ".join(words)), offsets, tags, breaks or [])


TEXTS = [
    task_text(0, ["gene", "BRCA1", "cancer"], ["O", "B-Disease", "I-Disease"]),
    task_text(1, ["BRCA1", "\u200b", "EGFR1", "a"], ["B-Gene", "I-Gene", "I-Gene", "O"]),
    task_text(0, ["a1b", "a1b"], ["B-B-cell", "I-B-cell"]),
]


@pytest.mark.parametrize(
    ("mode", "labels"),
    [
        ("first", [[0, 1, IGNORE, 2], [1, IGNORE, 2, IGNORE, 0], [3, IGNORE, IGNORE, 4, IGNORE, IGNORE]]),
        ("all", [[0, 1, 2, 2], [1, 2, 2, 2, 0], [3, 4, 4, 4, 4, 4]]),
    ],
)
def test_labels_of_rows(toy_tokenizer: Callable, mode: str, labels: list[list[int]]) -> None:
    rows = TaskRows(TEXTS, [DISEASE, GENE], toy_tokenizer("bert"), 20, 4, mode)
    assert [row.labels for row in rows] == [[IGNORE, *own, IGNORE] for own in labels]
    ids = toy_tokenizer("bert").convert_tokens_to_ids
    assert rows[0].input_ids == ids(["[CLS]", "gene", "BRCA", "##1", "cancer", "[SEP]"])
    assert rows[1].input_ids == ids(["[CLS]", "BRCA", "##1", "EGFR", "##1", "a", "[SEP]"])
    assert [row.text for row in rows] == [0, 1, 2]
    assert (len(rows), rows.task_ids, rows.lengths) == (3, [0, 1, 0], [6, 7, 8])


@pytest.mark.parametrize("mode", ["first", "all"])
def test_context_is_never_labelled_and_every_word_once(toy_tokenizer: Callable, mode: str) -> None:
    words = [*"abcdefghi", "x" * 30]
    rows = TaskRows([task_text(1, words, ["B-Gene"] * 10)], [DISEASE, GENE], toy_tokenizer("bert"), 8, 1, mode)
    inside = IGNORE if mode == "first" else 2
    assert [row.labels for row in rows] == [
        [IGNORE, 1, 1, 1, 1, 1, IGNORE, IGNORE],  # a b c d e, f is context
        [IGNORE, IGNORE, 1, 1, 1, 1, IGNORE],  # e is context, f g h i
        [IGNORE, 1, *[inside] * 5, IGNORE],  # a word longer than a window, labelled at its first sub-word
    ]


def test_breaks_of_a_text_begin_rows(toy_tokenizer: Callable) -> None:
    text = task_text(1, list("abcd"), ["O"] * 4, breaks=[0, 3])
    rows = TaskRows([text], [DISEASE, GENE], toy_tokenizer("bert"), 20, 4)
    assert rows.lengths == [5, 3]
    assert rows.sort_by_length() is rows
    assert [row.window.core for row in rows] == [(0, 3), (3, 4)]


def test_longest_rows_first_and_decoded_to_their_texts(toy_tokenizer: Callable) -> None:
    texts = [task_text(1, list(word), ["O"] * len(word)) for word in ("ab", "", "abcdefghijkl", "abc")]
    rows = TaskRows(texts, [DISEASE, GENE], toy_tokenizer("bert"), 8, 1).sort_by_length()
    assert rows.lengths == [8, 8, 6, 5, 4]
    logits = torch.zeros(len(rows), 8, 5)
    logits[:, :, 1] = 9.0  # every sub-word is B-Gene
    found = [[(span.start, span.end) for span in spans] for spans in rows.decode(logits.numpy())]
    assert found == [[(i, i + 1) for i in range(len(text.words))] for text in texts]
    assert [len(own) for own in found] == [2, 0, 12, 3]


def test_decode_takes_each_texts_own_labels(toy_tokenizer: Callable) -> None:
    rows = TaskRows([TEXTS[0], TEXTS[1]], [DISEASE, GENE], toy_tokenizer("bert"), 20, 4)
    logits = torch.full((2, 7, 5), -100.0)  # as Trainer pads
    logits[0, :6] = torch.tensor([0, 0, 0, 9.0, 8])
    logits[1, :7] = torch.tensor([0, 9.0, 0, torch.finfo(torch.float32).min, torch.finfo(torch.float32).min])
    found = [[(span.start, span.end, span.type) for span in spans] for spans in rows.decode(logits)]
    assert found == [
        [(0, 1, "B-cell"), (1, 2, "B-cell"), (2, 3, "B-cell")],
        [(0, 1, "Gene"), (2, 3, "Gene"), (3, 4, "Gene")],  # word 1 has no sub-word
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


# ------------------------------------------------------------------------------------------------------------ sampler


@pytest.mark.parametrize(
    ("sizes", "alpha", "counts"),
    [
        ([900, 100], 1, [900, 100]),
        ([900, 100], 0.5, [750, 250]),
        ([900, 100], 0, [500, 500]),
        ([7, 3, 1], 0, [4, 4, 3]),
        ([16, 4, 1], 0.5, [12, 6, 3]),
        ([10, 0, 6], 0, [8, 0, 8]),
        ([5], 0.5, [5]),
        ([], 1, []),
    ],
)
def test_rows_per_epoch(sizes: list[int], alpha: float, counts: list[int]) -> None:
    assert count_rows_per_epoch(sizes, alpha) == counts


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=8), st.sampled_from([0, 0.3, 0.5, 1, 2]))
def test_rows_per_epoch_add_up(sizes: list[int], alpha: float) -> None:
    counts = count_rows_per_epoch(sizes, alpha)
    assert sum(counts) == sum(sizes)
    assert min(counts) >= 0
    if alpha == 1:
        assert counts == sizes
    for (small, few), (large, many) in zip(
        *[sorted(zip(sizes, counts, strict=True))[i:] for i in (0, 1)], strict=False
    ):
        assert small == large or few <= many + 1  # a larger task never gets fewer rows, rounding aside


TASK_IDS = [0] * 90 + [1] * 10 + [3] * 30
LENGTHS = [10 + (7 * i) % 50 for i in range(130)]


def sampler(**options: Any) -> TaskBatchSampler:
    return TaskBatchSampler(TASK_IDS, LENGTHS, **{"rows_per_batch": 8, **options})


@pytest.mark.parametrize("mixed", [True, False])
def test_every_row_exactly_once(mixed: bool) -> None:
    batches = list(sampler(mixed=mixed))
    assert sorted(row for batch in batches for row in batch) == list(range(130))
    assert max(map(len, batches)) == 8
    assert len(batches) == len(sampler(mixed=mixed)) == (17 if mixed else 12 + 2 + 4)


@pytest.mark.parametrize(
    ("alpha", "draws"),
    # square roots 9.487, 3.162, 5.477 of 18.126 in all; a third of 130
    [(0.5, {0: 68, 1: 23, 3: 39}), (0, {0: 44, 1: 43, 3: 43})],
)
@pytest.mark.parametrize("mixed", [True, False])
def test_draws_of_each_task(alpha: float, draws: dict[int, int], mixed: bool) -> None:
    batches = list(sampler(alpha=alpha, mixed=mixed))
    rows = Counter(row for batch in batches for row in batch)
    tasks = Counter()
    for row, count in rows.items():
        tasks[TASK_IDS[row]] += count
    assert tasks == draws
    for task, count in draws.items():  # a task starts over only when all of its rows were drawn
        size = TASK_IDS.count(task)
        own = [rows[row] for row in range(130) if TASK_IDS[row] == task]
        assert set(own) <= {count // size, -(-count // size)}
    assert len(batches) == len(sampler(alpha=alpha, mixed=mixed))


def test_one_task_batches_are_of_one_task_and_mixed_ones_of_several() -> None:
    tasks = [{TASK_IDS[row] for row in batch} for batch in sampler(mixed=False)]
    assert all(len(own) == 1 for own in tasks)
    order = [own.pop() for own in tasks]
    assert order != sorted(order)  # tasks alternate
    assert sum(len({TASK_IDS[row] for row in batch}) > 1 for batch in sampler(mixed=True)) > 10


@pytest.mark.parametrize("mixed", [True, False])
def test_order_is_a_function_of_seed_and_epoch(mixed: bool) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        own = sampler(seed=seed, mixed=mixed, alpha=0.5)
        own.set_epoch(epoch)
        torch.rand(seed + 1)  # the global generator has no part in it
        return list(own)

    first = order(1, 0)
    assert order(1, 0) == first
    assert list(sampler(seed=1, mixed=mixed, alpha=0.5)) == first
    assert order(1, 1) != first
    assert order(2, 0) != first
    again = sampler(seed=1, mixed=mixed, alpha=0.5)
    assert list(again) == list(again) == first  # iterating changes nothing


def test_batches_hold_rows_of_like_length() -> None:
    spread = [max(LENGTHS[r] for r in batch) - min(LENGTHS[r] for r in batch) for batch in sampler()]
    assert sum(spread) / len(spread) < 5  # of random batches it is about 40


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("alpha", [1, 0.5])
def test_number_of_batches_is_the_same_in_every_epoch(mixed: bool, alpha: float) -> None:
    own = sampler(mixed=mixed, alpha=alpha, tokens_per_batch=200, processes=2)
    for epoch in range(5):
        own.set_epoch(epoch)
        assert len(list(own)) == len(own)


def test_every_row_is_drawn_in_some_epoch_also_where_an_epoch_leaves_some_out() -> None:
    own = TaskBatchSampler(TASK_IDS, LENGTHS, 4, alpha=0, tokens_per_batch=300)  # 44 of task 0's 90 rows an epoch
    seen: Counter[int] = Counter()
    for epoch in range(60):
        own.set_epoch(epoch)
        seen.update(row for batch in own for row in batch)
    assert len(seen) == 130
    counts = [seen[row] for row in range(90)]
    assert min(counts) >= 12  # 60 * 44 / 90 = 29.3 expected of each
    assert max(counts) <= 48


def test_token_budget_bounds_padded_batches() -> None:
    own = sampler(rows_per_batch=64, tokens_per_batch=200)
    batches = list(own)
    assert sorted(row for batch in batches for row in batch) == list(range(130))
    collate = MultiTaskCollator(0, own.padded_lengths)
    shapes = [
        collate([Row([1] * LENGTHS[r], [0] * LENGTHS[r], 0, 0, None) for r in batch])["input_ids"].shape
        for batch in batches
    ]
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
    own = TaskBatchSampler([0, 0, 0], [500, 3, 500], 8, tokens_per_batch=100)
    assert sorted(own) == [[0], [1], [2]]


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_batches_of_one(processes: int, mixed: bool) -> None:
    options = {"mixed": mixed, "alpha": 0.5 if processes == 2 else 1.0}
    alone = list(sampler(rows_per_batch=2 * processes, **options))
    shared = list(sampler(rows_per_batch=2, processes=processes, **options))
    assert len(shared) == processes * len(alone)
    for step, batch in enumerate(alone):
        parts = shared[processes * step : processes * (step + 1)]  # what accelerate gives the processes
        assert sorted(row for part in parts for row in part) == sorted(batch)
        assert all(parts)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_only_where_rows_are_fewer_than_processes_do_they_come_twice() -> None:
    own = TaskBatchSampler([0, 0, 0, 1], [5, 5, 5, 5], 2, mixed=False, processes=3)
    batches = list(own)
    assert len(batches) == 6
    assert Counter(row for batch in batches for row in batch) == {0: 1, 1: 1, 2: 1, 3: 3}


@pytest.mark.parametrize(
    ("lengths", "most", "expected"),
    [
        ([3, 1, 2], 24, [1, 2, 3]),
        ([1, 2, 3, 10, 11, 12], 2, [3, 12]),
        ([1, 1, 1, 9, 10], 2, [1, 10]),
        ([1, 5, 5, 5, 5, 6], 2, [5, 6]),  # pads one row by 4; [1, 6] would pad four by 1: as good, the longer first
        ([7], 1, [7]),
        ([4, 8], 1, [8]),
    ],
)
def test_bucket_lengths(lengths: list[int], most: int, expected: list[int]) -> None:
    found = choose_padded_lengths(lengths, most)
    pad = lambda ends: sum(min(end - length for end in ends if end >= length) for length in lengths)  # noqa: E731
    assert pad(found) == pad(expected)
    assert len(found) <= most
    assert found == sorted(set(found))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 4))
def test_no_other_buckets_pad_less(lengths: list[int], most: int) -> None:
    def padding(ends: Iterable[int]) -> int:
        return sum(min(end - length for end in ends if end >= length) for length in lengths)

    found = choose_padded_lengths(lengths, most)
    longest, shorter = max(lengths), sorted(set(lengths) - {max(lengths)})
    best = min(padding([*ends, longest]) for k in range(most) for ends in itertools.combinations(shorter, k))
    assert padding(found) == best


def test_accelerate_must_not_cut_the_batches_anew() -> None:
    own = sampler()
    assert not hasattr(own, "batch_size")
    assert own.drop_last is False
