"""Long text to windows: nothing is left out, nothing twice, nothing too long."""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modeling_mtl_bioner
from dataset_scripts import bio
from dataset_scripts.bio import OWN_PATTERNS, SENTENCE_PATTERN, split_sentences, split_words
from modeling_mtl_bioner import (
    MtlBionerConfig,
    Window,
    find_sentence_breaks,
    find_words,
    get_special_ids,
    make_windows,
    pad_batch,
    plan_windows,
    split_subwords,
)  # fmt: skip
from mtl_bioner.tokenizer import load_tokenizer


PATTERN = MtlBionerConfig().word_pattern
SIZES = st.lists(st.one_of(st.integers(0, 4), st.integers(0, 40)), max_size=60)
BYTE_LEVEL = ("roberta", "modernbert")
# Letters, digits and marks of biomedical text, and what tokenizers drop or split in odd ways.
CHARACTERS = st.one_of(
    st.sampled_from("aBe1-_(.,' \n\t\r\x00\u200b\ufeff\u00ad\ufe0f\u0301\u00e9β中😀"), st.characters()
)
relaxed = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("sizes", "capacity", "context", "plan"),
    [
        ([], 4, 1, []),
        ([1, 1, 1], 3, 1, [(0, 0, 3, 3)]),
        ([0, 0], 3, 1, [(0, 0, 2, 2)]),
        ([1] * 10, 6, 1, [(0, 0, 5, 6), (4, 5, 10, 10)]),
        ([1] * 10, 6, 0, [(0, 0, 6, 6), (6, 6, 10, 10)]),
        ([1] * 12, 8, 2, [(0, 0, 6, 8), (4, 6, 12, 12)]),
        ([1] * 12, 8, 99, [(0, 0, 6, 8), (4, 6, 12, 12)]),  # context is never more than a quarter
        ([9, 1, 1], 4, 1, [(0, 0, 1, 1), (1, 1, 3, 3)]),  # a word larger than a window
        ([1, 9, 1], 4, 1, [(0, 0, 1, 1), (1, 1, 2, 2), (2, 2, 3, 3)]),
        ([2, 2, 3, 1, 1], 8, 2, [(0, 0, 2, 2), (1, 2, 5, 5)]),  # right context: the next word is larger than 2
        ([1, 0, 1, 0, 1], 2, 0, [(0, 0, 4, 4), (3, 4, 5, 5)]),  # words without sub-words are free
    ],
)
def test_plan_by_hand(sizes: list[int], capacity: int, context: int, plan: list[tuple[int, ...]]) -> None:
    assert plan_windows(sizes, capacity, context) == plan


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SIZES, st.integers(1, 30), st.integers(0, 12))
def test_plan_properties(sizes: list[int], capacity: int, context: int) -> None:
    plan = plan_windows(sizes, capacity, context)
    assert [word for _, start, end, _ in plan for word in range(start, end)] == list(range(len(sizes)))
    clipped = [min(size, capacity) for size in sizes]
    for number, (first, start, end, last) in enumerate(plan):
        assert 0 <= first <= start < end <= last <= len(sizes)
        assert sum(clipped[first:last]) <= capacity
        assert max(sum(clipped[first:start]), sum(clipped[end:last])) <= min(context, capacity // 4)
        if any(size >= capacity for size in sizes[first:last]):  # alone, but for words without sub-words
            assert sum(size > 0 for size in sizes[first:last]) == 1
        if number + 1 < len(plan):  # no window is shorter than it must be: half of the capacity is core
            assert sum(clipped[start : end + 1]) > capacity - 2 * (capacity // 4)


def check_windows(windows: list[Window], pieces: list[list[int]], specials: tuple, length: int, breaks: list) -> None:
    """Everything that must hold of the windows of one text."""
    prefix, suffix = specials
    pieces = [piece[: length - len(prefix) - len(suffix)] for piece in pieces]
    assert [word for window in windows for word in range(*window.core)] == list(range(len(pieces)))
    borders = [0, *breaks, len(pieces)]
    for window in windows:
        ids, (start, end) = window.input_ids, window.core
        assert len(ids) <= length
        assert ids[: len(prefix)] == prefix and ids[len(ids) - len(suffix) :] == suffix
        assert window.sizes == [len(piece) for piece in pieces[start:end]]
        for word, position, size in zip(range(start, end), window.positions, window.sizes, strict=True):
            assert (position == -1) == (size == 0)
            assert position < 0 or ids[position : position + size] == pieces[word]
        begin = max(border for border in borders if border <= start)
        stop = min(border for border in borders if border >= end and border > start)
        inner = ids[len(prefix) : len(ids) - len(suffix)]
        candidates = itertools.product(range(begin, start + 1), range(end, stop + 1))
        assert any(inner == list(itertools.chain(*pieces[a:b])) for a, b in candidates)


@pytest.mark.parametrize("length", [3, 5, 8, 20, 64])
def test_windows_of_any_text(encoder_type: str, toy_tokenizer: Callable, length: int) -> None:
    tokenizer = toy_tokenizer(encoder_type)
    specials = get_special_ids(tokenizer)
    assert specials == ([tokenizer.cls_token_id], [tokenizer.sep_token_id])

    @settings(parent=relaxed, max_examples=25)
    @given(st.text(CHARACTERS, max_size=80), st.integers(0, 8), st.sets(st.integers(0, 60), max_size=4))
    def check(text: str, context: int, breaks: set[int]) -> None:
        spans = find_words(text, PATTERN)
        words = [text[start:end] for start, end in spans]
        breaks = sorted(b for b in breaks if b < len(words))
        windows = make_windows(tokenizer, words, length, context, breaks)
        check_windows(windows, split_subwords(tokenizer, words), specials, length, breaks)
        covered = Counter(i for window in windows for span in spans[slice(*window.core)] for i in range(*span))
        # Every character that is no space is in exactly one core word.
        assert covered == {i: 1 for i, character in enumerate(text) if not re.match(r"\s", character)}

    check()


@pytest.mark.parametrize("byte_level", BYTE_LEVEL)
def test_byte_level_subwords_belong_to_their_word(toy_tokenizer: Callable, byte_level: str) -> None:
    tokenizer = toy_tokenizer(byte_level)

    @relaxed
    @given(st.text(CHARACTERS, max_size=40))
    def check(text: str) -> None:
        words = re.findall(PATTERN, text)
        decoded = [
            tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in split_subwords(tokenizer, words)
        ]
        assert decoded == [f" {word}" for word in words]

    check()


def test_subwords_do_not_depend_on_the_neighbours(encoder_type: str, toy_tokenizer: Callable) -> None:
    """Not even of the first word: byte-level tokenizers see each as if a space came before it."""
    tokenizer = toy_tokenizer(encoder_type)
    words = ["IL", "-", "2", "gene", "in", "BRCA1", "in"]
    pieces = split_subwords(tokenizer, words)
    assert pieces == [split_subwords(tokenizer, [word])[0] for word in words] and all(pieces)
    if encoder_type in BYTE_LEVEL:
        assert [tokenizer.convert_ids_to_tokens(ids)[0][0] for ids in pieces] == ["Ġ"] * 7


@pytest.mark.parametrize(
    ("words", "length", "context", "breaks", "tokens", "expected"),
    [
        # Context stands on both sides, but not over breaks.
        ("abcd", 20, 5, [0, 2, 4], ["a b", "c d"], [((0, 2), [1, 2], [1, 1]), ((2, 4), [1, 2], [1, 1])]),
        (
            "abcdefghij", 8, 1, [], ["a b c d e f", "e f g h i j"],
            [((0, 5), [1, 2, 3, 4, 5], [1] * 5), ((5, 10), [2, 3, 4, 5, 6], [1] * 5)],
        ),
        # Characters that the tokenizer drops have no sub-words; a word longer than a window is cut for the encoder.
        (
            ["BRCA1", "\x00", "\u200b", "\ufeff", "\u00ad", "gene"], 10, 2, [], ["BRCA ##1 gene"],
            [((0, 6), [1, -1, -1, -1, -1, 3], [2, 0, 0, 0, 0, 1])],
        ),
        (
            ["gene", "x" * 50, "gene"], 10, 2, [], ["gene", "x" + 7 * " ##x", "gene"],
            [((0, 1), [1], [1]), ((1, 2), [1], [8]), ((2, 3), [1], [1])],
        ),
    ],
)  # fmt: skip
def test_windows_by_hand(
    toy_tokenizer: Callable, words: Any, length: int, context: int, breaks: list, tokens: list[str], expected: list
) -> None:
    windows = make_windows(toy_tokenizer("bert"), list(words), length, context, breaks)
    ids = toy_tokenizer("bert").convert_tokens_to_ids
    assert [window.input_ids for window in windows] == [ids(["[CLS]", *row.split(), "[SEP]"]) for row in tokens]
    assert [(window.core, window.positions, window.sizes) for window in windows] == expected


def test_padding_and_no_words_and_no_room_for_words(toy_tokenizer: Callable) -> None:
    assert pad_batch([[1, 2, 3], [], [4]], 9).tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert pad_batch([[], []], 9).tolist() == [[9], [9]]  # an encoder can't take a length of zero
    assert split_subwords(toy_tokenizer("bert"), []) == make_windows(toy_tokenizer("bert"), [], 3, 0) == []
    with pytest.raises(ValueError, match="max_seq_length is 2; the special tokens alone take 2"):
        make_windows(toy_tokenizer("bert"), ["a"], 2, 0)


@pytest.mark.parametrize(
    ("pattern", "breaks"),
    # an end of the text begins nothing
    [("", []), (r"\n+", [5]), (SENTENCE_PATTERN, [5, 8]), (r"nowhere", []), (r"$", []), (r"^", [])],
)
def test_sentence_breaks(pattern: str, breaks: list[int]) -> None:
    text = " One e.g. \nTwo is. Three "
    words = split_words(text)
    assert [text[slice(*word)] for word in words] == ["One", "e", ".", "g", ".", "Two", "is", ".", "Three"]
    assert find_sentence_breaks(text, words, pattern) == breaks


@pytest.mark.parametrize("pattern", [*OWN_PATTERNS, SENTENCE_PATTERN, r"\S+", r"[^\W\d_]+|\S"])
def test_patterns_match_as_re_does(pattern: str) -> None:
    text = "α-Synuclein, e.g. IL-2 (p53).\nÉtude 5 µg: na\u0131ve 한국 中文ไทย. \ud800 Next\r\n\nx_y 𝛼"
    text += " nai\u0308ve m²" * (pattern in OWN_PATTERNS)  # characters of words for one of `re` and `regex`
    expected = [match.span() for match in re.finditer(pattern, text)]
    assert find_words(text, pattern) == expected != []
    assert split_words(text, pattern) == expected


def test_own_patterns_are_known_by_their_hashes() -> None:
    hashes = {hashlib.sha256(pattern.encode()).hexdigest()[:16] for pattern in (*OWN_PATTERNS, SENTENCE_PATTERN)}
    assert hashes == modeling_mtl_bioner.OWN_PATTERNS


@pytest.mark.parametrize(("pattern", "text"), [(r"(a|aa)+b", "a" * 100), (r"(.*?,){30}\S", "1," * 29 + " " * 90)])
def test_a_pattern_that_takes_too_long_is_refused(pattern: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bio, "SECONDS", 0.1)
    for match in (partial(find_words, seconds=0.1), split_words):
        with pytest.raises(ValueError, match=f"{re.escape(repr(pattern))} .*takes too long for a text of {len(text)}"):
            match(text, pattern)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It caused acute\nrenal failure.", ["It caused acute\nrenal failure."]),
        ("It caused acute\r\n  renal failure.\nnone died", ["It caused acute\r\n  renal failure.", "none died"]),
        ("A title\nWe found", ["A title", "We found"]),
        ("A title\n\nwe found", ["A title", "we found"]),
        ("RESULTS:\ncAMP rose (by 2.)\nc-myc too", ["RESULTS:", "cAMP rose (by 2.)", "c-myc too"]),
        ("as in e.g.\nthis", ["as in e.g.\nthis"]),
    ],
)
def test_a_line_break_within_a_sentence_ends_none(text: str, sentences: list[str]) -> None:
    assert [text[start:end] for start, end in split_sentences(text)] == sentences


def test_truncation_and_padding_of_the_tokenizer_file_do_not_count(minilm: str) -> None:
    """The file of this encoder asks for padding to, and truncation at, 128 sub-words."""
    tokenizer = load_tokenizer(minilm)
    assert [len(ids) for ids in split_subwords(tokenizer, ["cancer"] * 700)] == [1] * 700
    assert get_special_ids(tokenizer) == ([101], [102])
