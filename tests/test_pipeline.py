"""Text in, entities out: of texts of any length, with right offsets, of all tasks."""

from __future__ import annotations

import itertools
import math
import random
import string
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertTokenizer

from data_collators import MultiTaskCollator, TaskRows, TaskText
from dataset_scripts.bio import decode_bio, split_words
from modeling_mtl_bioner import (
    MtlBionerConfig,
    MtlBionerModel,
    MtlBionerPipeline,
    make_windows,
    resolve_overlaps,
)
from mtl_bioner.evaluation.spans import compute_span_metrics, decode_entities
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


TASKS = [{"name": "a", "types": ["Disease", "Chemical"]}, {"name": "b", "types": ["Gene"]}]
LABELS = [MtlBionerConfig(tasks=TASKS).labels(task) for task in (0, 1)]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"a{first}b{second}" for first in range(5) for second in range(3)]  # names its label of both tasks
VOCABULARY = [*SPECIALS, *WORDS, "##x"]


# ------------------------------------------------------------------------------------------------------- oracle model


@pytest.fixture(scope="module")
def oracle_tokenizer() -> BertTokenizer:
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(VOCABULARY)}, do_lower_case=False)
    tokenizer.backend_tokenizer.model.max_input_chars_per_word = 10_000  # longer words would be one [UNK]
    return tokenizer


def oracle_model(max_length: int, context: int) -> MtlBionerModel:
    """A model whose logits say the gold at a word's first sub-word, and something else at all others.

    The word `a3b1` is labelled with class 3 of task a and class 1 of task b. Further sub-words and special tokens say
    `B-` of the last type, so that nothing is right by accident.
    """
    encoder = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1
    )
    model = MtlBionerModel(MtlBionerConfig(encoder, TASKS, max_seq_length=max_length, context_size=context)).eval()
    tables = [torch.zeros(len(VOCABULARY), len(labels)) for labels in LABELS]
    for token, name in enumerate(VOCABULARY):
        gold = (int(name[1]), int(name[3])) if name in WORDS else (3, 1)
        for table, label in zip(tables, gold, strict=True):
            table[token, label] = 50.0

    def encode(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        assert input_ids.size(1) <= max_length
        return input_ids[..., None].float()

    model.encode = encode
    for name, table in zip("ab", tables, strict=True):
        model.heads[name] = StubHead(lambda hidden, table=table: table[hidden[..., 0].long()])
    return model


class StubHead(torch.nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = forward


def bio_tags(length: int, spans: list[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * length
    for start, end, type_name in spans:
        tags[start:end] = [f"B-{type_name}", *[f"I-{type_name}"] * (end - start - 1)]
    return tags


def spans_on_borders(borders: list[int], length: int, shapes: list[list[tuple[int, int]]], types: list[str]) -> list:
    """Entities around each border, as long as they don't overlap the one before; shapes and types take turns."""
    spans: list[tuple[int, int, str]] = []
    for number, border in enumerate(borders):
        for left, right in shapes[number % len(shapes)]:
            start, end = border + left, border + right
            if start >= (spans[-1][1] if spans else 0) and end <= length:
                spans.append((start, end, types[len(spans) % len(types)]))
    return spans


SHAPES = [
    [(-1, 1)],  # over the border
    [(-2, 0), (0, 2)],  # one up to the border, one from it
    [(-3, -1), (-1, 0), (0, 1)],  # three without a gap
    [(-1, 1), (1, 3)],
    [(-4, 5)],  # longer than some windows
]


def oracle_text(max_length: int, context: int, tokenizer: Any) -> tuple[str, list[list[str]], list[int]]:
    """3,000 words, their tags for both tasks, and the borders of the cores.

    Among them are words longer than a window and words without any sub-word. Labels don't change how many sub-words a
    word has, so the borders are known before the entities are placed on them.
    """
    generator = random.Random(max_length)
    sizes = [generator.choice([0, 0, 0, 1, 2, 5]) for _ in range(3000)]
    for word in range(500, 3000, 500):
        sizes[word] = max_length + 20
    empty = set(range(97, 3000, 211))
    words = ["\u200b" if word in empty else "a0b0" + "x" * size for word, size in enumerate(sizes)]
    borders = [window.core[1] for window in make_windows(tokenizer, words, max_length, context)][:-1]
    assert borders, "the text must need several windows"
    tags = []
    for task, types in enumerate((["Disease", "Chemical"], ["Gene"])):
        spans = spans_on_borders(borders, 3000, SHAPES[task:] + SHAPES[:task], types)
        tags.append(bio_tags(3000, [s for s in spans if not empty.intersection(range(s[0], s[1]))]))
    pieces = []
    for word, size in enumerate(sizes):
        name = "a{}b{}".format(*(LABELS[task].index(tags[task][word]) for task in (0, 1)))
        pieces.append("\u200b" if word in empty else name + "x" * size)
        pieces.append(generator.choice([" ", "  ", "\n", "\r\n", "\t"]))
    return "".join(pieces), tags, borders


WINDOWS = [(8, 32), (17, 0), (37, 8), (128, 32), (320, 32)]


@pytest.mark.parametrize(("max_length", "context"), WINDOWS)
def test_oracle(oracle_tokenizer: BertTokenizer, max_length: int, context: int) -> None:
    """With logits that say the gold, pipeline and scorer give back every entity, at every border of windows."""
    text, tags, borders = oracle_text(max_length, context, oracle_tokenizer)
    model = oracle_model(max_length, context)
    words = split_words(text)
    assert len(words) == 3000
    gold = [decode_bio(words, tags[task]) for task in (0, 1)]
    assert all(len(entities) > 0.5 * len(borders) for entities in gold)
    for task in (0, 1):  # many cross a border, many begin and many end at one
        at_border = [tags[task][border][0] for border in borders]
        assert min(at_border.count("I"), at_border.count("B")) > len(borders) // 10

    found = MtlBionerPipeline(model=model, tokenizer=oracle_tokenizer)(text)
    assert {(e["task"], e["start"], e["end"], e["entity_group"]) for e in found} == {
        (name, e.start, e.end, e.type) for name, entities in zip("ab", gold, strict=True) for e in entities
    }
    assert len(found) == len(gold[0]) + len(gold[1])
    assert all(text[e["start"] : e["end"]] == e["word"] and e["score"] > 0.99 for e in found)
    assert [(e["start"], e["end"]) for e in found] == sorted((e["start"], e["end"]) for e in found)

    document = [SimpleNamespace(text=text, entities=gold[task], alternatives=[]) for task in (0, 1)]
    texts = [TaskText(task, "toy", document[task], words, tags[task]) for task in (0, 1)]
    rows = TaskRows(texts, LABELS, oracle_tokenizer, max_length, context).sort_by_length()
    batches = [[rows[i] for i in range(start, min(start + 64, len(rows)))] for start in range(0, len(rows), 64)]
    logits = torch.full((len(rows), max_length, 5), -100.0)  # as Trainer pads
    for number, batch in enumerate(batches):
        inputs = MultiTaskCollator(0)(batch)
        own = model(inputs["input_ids"], inputs["attention_mask"], task_id=inputs["task_id"]).logits
        logits[64 * number : 64 * number + len(batch), : own.size(1)] = own
    assert [[(s.start, s.end, s.type) for s in spans] for spans in rows.decode(logits.numpy())] == [
        [(s.start, s.end, s.type) for s in decode_bio([(i, i + 1) for i in range(3000)], tags[task])]
        for task in (0, 1)
    ]
    metrics = compute_span_metrics(rows, decode_entities(rows, logits.numpy()), model.config, "test")
    assert metrics["test_a_f1"] == metrics["test_b_f1"] == metrics["test_macro_f1"] == 1.0
    assert metrics["test_a_support"] == len(gold[0])


def test_oracle_logits_that_are_wrong_are_noticed(oracle_tokenizer: BertTokenizer) -> None:
    """The oracle test can fail: a label read at another sub-word is another entity."""
    text = "a1b0x a2b0xx a0b0x a0b1"
    found = MtlBionerPipeline(model=oracle_model(8, 2), tokenizer=oracle_tokenizer)(text)
    assert [(e["entity_group"], e["word"], e["task"]) for e in found] == [
        ("Disease", "a1b0x a2b0xx", "a"),
        ("Gene", "a0b1", "b"),
    ]
    other = MtlBionerPipeline(model=oracle_model(8, 2), tokenizer=oracle_tokenizer)("a3b0x a2b0xx a0b0x a1b1")
    assert [(e["entity_group"], e["word"]) for e in other] == [
        ("Chemical", "a3b0x"),
        ("Disease", "a1b1"),
        ("Gene", "a1b1"),
    ]


# ----------------------------------------------------------------------------------------------------- toy pipelines


def toy_pipeline(folder: str, tokenizer: Any, **options: Any) -> MtlBionerPipeline:
    """Random weights, but large ones, so that many words become entities and no decision hangs by a hair."""
    torch.manual_seed(3)
    model = build_model(folder, TASKS, max_seq_length=16, context_size=4)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight, std=1.0)
    return MtlBionerPipeline(model=model, tokenizer=tokenizer, **options)


@pytest.fixture(scope="module")
def ner(toy_encoder: Callable, toy_tokenizer: Callable) -> MtlBionerPipeline:
    return toy_pipeline(toy_encoder("bert"), toy_tokenizer("bert"))


def random_texts(number: int) -> list[str]:
    generator = random.Random(number)
    return [
        " ".join("".join(generator.choices(string.ascii_letters, k=generator.randint(1, 9))) for _ in range(length))
        for length in range(number)
    ]


def without_scores(entities: list[dict[str, Any]]) -> list[tuple]:
    return [(e["task"], e["entity_group"], e["start"], e["end"], e["word"]) for e in entities]


def test_keys_and_order(ner: MtlBionerPipeline) -> None:
    text = random_texts(40)[39]
    entities = ner(text)
    assert len(entities) > 10
    assert {entity["task"] for entity in entities} == {"a", "b"}
    for entity in entities:
        assert list(entity) == ["entity_group", "score", "word", "start", "end", "task"]
        assert 0 < entity["score"] <= 1
        assert type(entity["score"]) is float and type(entity["start"]) is int
        assert text[entity["start"] : entity["end"]] == entity["word"]
    assert entities == sorted(entities, key=lambda e: (e["start"], e["end"]))


def test_kinds_of_input(ner: MtlBionerPipeline) -> None:
    texts = random_texts(5)
    expected = [ner(text) for text in texts]
    assert sum(map(len, expected)) > 5
    assert [without_scores(own) for own in ner(texts)] == [without_scores(own) for own in expected]
    assert [without_scores(own) for own in ner(tuple(texts))] == [without_scores(own) for own in expected]
    lazy = ner(text for text in texts)
    assert isinstance(lazy, Iterator)
    assert [without_scores(own) for own in lazy] == [without_scores(own) for own in expected]


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t \u3000\u2028"])
def test_nothing_in_nothing_out(ner: MtlBionerPipeline, text: str) -> None:
    assert ner(text) == []
    assert ner([text]) == [[]]
    assert ner([text, "gene", text])[::2] == [[], []]


def test_no_texts(ner: MtlBionerPipeline) -> None:
    assert ner([]) == []
    assert list(ner(iter([]))) == []


def test_an_endless_stream_is_read_piece_by_piece(ner: MtlBionerPipeline) -> None:
    taken = []

    def endless(texts: list[str]) -> Iterator[str]:
        for text in itertools.cycle(texts):
            taken.append(text)
            yield text

    stream = ner(endless(["gene BRCA1", ""]), batch_size=2)
    assert taken == []
    first = [next(stream) for _ in range(5)]
    assert without_scores(first[0]) == without_scores(first[2]) == without_scores(first[4]) != []
    assert first[1] == []
    assert len(taken) <= 16
    assert next(ner(endless([""]))) == []


def test_a_column_of_a_data_frame(ner: MtlBionerPipeline) -> None:
    texts = ["BRCA1 gene", "no"]
    assert list(ner(pandas.DataFrame({"text": texts})["text"])) == ner(texts)


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        (None, "NoneType"),
        (5, "int"),
        (b"gene", "bytes"),
        ({"text": "gene"}, "dict"),
        ({"gene"}, "set"),
        (pandas.DataFrame({"text": ["gene"]}), "DataFrame"),
    ],
)
def test_input_that_is_no_text(ner: MtlBionerPipeline, inputs: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"the pipeline takes a str or an iterable of them, got {kind}"):
        ner(inputs)


@pytest.mark.parametrize("item", [None, 5, b"gene", ["gene"]])
def test_an_item_that_is_no_text(ner: MtlBionerPipeline, item: Any) -> None:
    with pytest.raises(TypeError, match=f"a text is a str, got {type(item).__name__}"):
        ner(["gene", item])


@pytest.mark.parametrize("batch_size", [1, 16])
def test_texts_before_one_that_fails_are_given(ner: MtlBionerPipeline, batch_size: int) -> None:
    texts = [f"BRCA{n} gene" for n in range(20)]
    found: list[Any] = []
    with pytest.raises(TypeError, match="a text is a str, got NoneType"):
        found.extend(ner(iter([*texts, None, "more"]), batch_size=batch_size))
    assert found == ner(texts)

    def source() -> Iterator[str]:
        yield texts[0]
        raise OSError("disk")

    results = ner(source())
    assert next(results) == found[0]
    with pytest.raises(OSError, match="disk"):
        next(results)


def test_unknown_arguments_are_named(ner: MtlBionerPipeline, toy_tokenizer: Callable) -> None:
    with pytest.raises(TypeError, match="unknown argument aggregation_strategy, stride; the pipeline takes tasks, t"):
        ner("gene", stride=5, aggregation_strategy="simple")
    with pytest.raises(TypeError, match="unknown argument top_k"):
        MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, top_k=5)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8", True])
def test_bad_batch_size(ner: MtlBionerPipeline, batch_size: Any) -> None:
    own = MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, batch_size=batch_size)
    for call in (lambda: ner("gene", batch_size=batch_size), lambda: own("gene")):
        with pytest.raises(ValueError, match=f"batch_size is {batch_size!r}; it must be a whole number, 1 or more"):
            call()


def test_a_loaded_model_has_the_same_pipeline(ner: MtlBionerPipeline) -> None:
    text = random_texts(30)[29]
    own = ner.model.pipeline(ner.tokenizer, tasks="b")
    assert type(own) is MtlBionerPipeline and own(text) == ner(text, tasks="b") != []


def test_what_is_done_to_forward_is_done_in_the_pipeline(ner: MtlBionerPipeline) -> None:
    """As torch.compile replaces it, and hooks follow it."""
    calls = []
    handle = ner.model.register_forward_hook(lambda *_: calls.append(1))
    ner("gene BRCA1")
    handle.remove()
    assert calls == [1]


def test_a_model_that_computes_no_numbers_is_an_error(
    encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable
) -> None:
    own = toy_pipeline(toy_encoder(encoder_type), toy_tokenizer(encoder_type))
    with torch.no_grad():
        own.model.heads["a"].bias[0] = math.nan
    with pytest.raises(ValueError, match=r"computes no numbers in torch.float32; load it with dtype=torch.float32"):
        own("gene BRCA1")
    assert own("gene BRCA1", tasks="b") is not None


def test_accents_of_their_own_stay_in_their_word(ner: MtlBionerPipeline) -> None:
    composed = "Ménière disease"
    text = unicodedata.normalize("NFD", composed)
    words = [text[start:end] for start, end in ner.preprocess(text)["words"]]
    assert [unicodedata.normalize("NFC", word) for word in words] == ["Ménière", "disease"] == composed.split()


def test_tasks_can_be_chosen(ner: MtlBionerPipeline) -> None:
    text = random_texts(30)[29]
    everything = ner(text)
    for task in ("a", "b"):
        own = [entity for entity in everything if entity["task"] == task]
        assert own and ner(text, tasks=[task]) == own == ner(text, tasks=task)
    assert len(ner(text, tasks=["b", "a", "a"])) == len(everything)
    fixed = MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, tasks="b", batch_size=3)
    assert {entity["task"] for entity in fixed(text)} == {"b"}
    assert {entity["task"] for entity in fixed(text, tasks="a")} == {"a"}
    for bad in (["a", "c"], "c"):
        with pytest.raises(ValueError, match="no task 'c'; the model's are a, b"):
            ner(text, tasks=bad)


def test_batch_size_changes_nothing(encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable) -> None:
    own = toy_pipeline(toy_encoder(encoder_type), toy_tokenizer(encoder_type))
    texts = random_texts(16)
    expected = [own(text) for text in texts]
    assert sum(map(len, expected)) > 50
    for batch_size in (1, 7, 64):
        results = own(texts, batch_size=batch_size)
        assert [without_scores(r) for r in results] == [without_scores(e) for e in expected]
        scores = [[entity["score"] for r in which for entity in r] for which in (results, expected)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_the_model_is_left_in_evaluation_mode_and_without_dropout(ner: MtlBionerPipeline) -> None:
    text = random_texts(30)[29]
    expected = ner(text)
    ner.model.train()
    assert ner(text) == expected


# ------------------------------------------------------------------------------------------------------------ offsets


def everything_begins(own: MtlBionerPipeline) -> MtlBionerPipeline:
    """Every word with a sub-word is an entity of its own."""
    logits = torch.tensor([0.0, 9.0, 0.0])
    for name in own.model.heads:
        own.model.heads[name] = StubHead(lambda hidden: logits.expand(*hidden.shape[:2], 3))
    return own


def test_an_entity_goes_on_over_characters_without_subwords(toy_encoder: Callable, toy_tokenizer: Callable) -> None:
    """Combining and invisible characters, as in text from PDFs, are words of their own that some tokenizers drop."""
    own = toy_pipeline(toy_encoder("bert"), toy_tokenizer("bert"), tasks="b")
    begin, inside = torch.tensor([0.0, 9.0, 0.0]), torch.tensor([0.0, 0.0, 9.0])

    def first_begins(hidden: torch.Tensor) -> torch.Tensor:
        logits = inside.repeat(*hidden.shape[:2], 1)
        logits[:, 1] = begin  # behind [CLS]
        return logits

    for name in own.model.heads:
        own.model.heads[name] = StubHead(first_begins)
    for text in ("a\u200bb", "a\x00b a", "b\u200b"):
        assert {entity["word"] for entity in own(text)} == {text.rstrip("\u200b")}


def test_texts_in_what_has_a_length_and_items(ner: MtlBionerPipeline) -> None:
    class Texts:  # as KeyDataset of transformers
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> str:
            return ["a", "b", "a b"][i]

    assert list(ner(Texts())) == ner(["a", "b", "a b"])


@pytest.mark.parametrize(
    ("text", "words", "dropped"),
    [
        ("IL-2 (p53).", ["IL", "-", "2", "(", "p53", ")", "."], []),
        ("snake_case", ["snake", "_", "case"], []),
        ("BRCA1\r\ngene\r\n", ["BRCA1", "gene"], []),
        ("\ufeffBRCA1", ["\ufeff", "BRCA1"], ["\ufeff"]),
        ("a\u200bb", ["a", "\u200b", "b"], ["\u200b"]),
        ("a\x00b\x00", ["a", "\x00", "b", "\x00"], ["\x00"]),
        ("x😀y 👩\u200d🔬", ["x", "😀", "y", "👩", "\u200d", "🔬"], ["\u200d"]),
        ("caf\u00e9 cafe\u0301", ["caf\u00e9", "cafe\u0301"], []),
        ("TNF-α β\u00ad2", ["TNF", "-", "α", "β", "\u00ad", "2"], ["\u00ad"]),
        ("中文 字", ["中文", "字"], []),
        ("a\u00a0b\u2003c", ["a", "b", "c"], []),
        ("[SEP] <s> [MASK]", ["[", "SEP", "]", "<", "s", ">", "[", "MASK", "]"], []),
        ("\ud800a", ["\ud800", "a"], ["\ud800"]),  # half of a surrogate pair, as broken JSON gives it
    ],
)
def test_offsets(
    encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable, text: str, words: list[str], dropped: list[str]
) -> None:
    own = everything_begins(toy_pipeline(toy_encoder(encoder_type), toy_tokenizer(encoder_type), tasks="b"))
    entities = own(text)
    assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
    wordpiece = encoder_type in ("bert", "electra")  # the others have a sub-word for every character
    assert [e["word"] for e in entities] == [w for w in words if not (wordpiece and w in dropped)]
    ends = [0, *(e["end"] for e in entities)]
    assert all(e["start"] >= end for e, end in zip(entities, ends, strict=False))


def test_the_models_own_word_pattern_counts(toy_encoder: Callable, toy_tokenizer: Callable) -> None:
    own = everything_begins(toy_pipeline(toy_encoder("bert"), toy_tokenizer("bert"), tasks="b"))
    own.model.config.word_pattern = r"\S+"
    assert [e["word"] for e in own("IL-2 (p53).")] == ["IL-2", "(p53)."]


def test_a_tokenizer_without_special_tokens(toy_encoder: Callable, toy_tokenizer: Callable, tmp_path: Any) -> None:
    """Then a text of nothing but NUL has no sub-word at all."""
    from tokenizers import processors
    from transformers import AutoTokenizer

    toy_tokenizer("bert").save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    own = everything_begins(toy_pipeline(toy_encoder("bert"), tokenizer, tasks="b"))
    assert [[e["word"] for e in entities] for entities in own(["\x00", "gene", "\x00 \x00"])] == [[], ["gene"], []]
    assert own("\x00") == []


# ----------------------------------------------------------------------------------------------- threshold, overlaps


def entity(start: int, end: int, score: float, task: str = "a") -> dict[str, Any]:
    return {"start": start, "end": end, "score": score, "task": task}


@pytest.mark.parametrize(
    ("overlaps", "kept"),
    [
        ("all", [(0, 5), (3, 9), (4, 6), (9, 12), (9, 12)]),
        ("longest", [(3, 9), (9, 12)]),
        ("best", [(0, 5), (9, 12)]),
    ],
)
def test_overlaps_between_tasks(overlaps: str, kept: list[tuple[int, int]]) -> None:
    entities = [entity(0, 5, 0.9), entity(9, 12, 0.7), entity(3, 9, 0.6, "b"), entity(9, 12, 0.8, "b")]
    entities.append(entity(4, 6, 0.85, "c"))
    found = resolve_overlaps(entities, overlaps)
    assert sorted((e["start"], e["end"]) for e in found) == kept
    if overlaps != "all":
        assert next(e for e in found if e["start"] == 9)["score"] == 0.8


@pytest.mark.parametrize("overlaps", ["longest", "best"])
def test_of_equals_the_earlier_is_kept_then_that_of_the_earlier_task(overlaps: str) -> None:
    entities = [entity(5, 8, 0.5, "a"), entity(3, 6, 0.5, "b"), entity(20, 23, 0.5, "a"), entity(20, 23, 0.5, "b")]
    assert resolve_overlaps(entities, overlaps) == [entities[1], entities[2]]


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.integers(0, 10)), max_size=12),
    st.sampled_from(["longest", "best"]),
)
def test_what_is_kept_overlaps_nothing_and_what_is_not_does(spans: list, overlaps: str) -> None:
    entities = [entity(start, start + length, score) for start, length, score in spans]
    kept = resolve_overlaps(entities, overlaps)
    assert all(first["end"] <= second["start"] for first, second in itertools.pairwise(kept))
    for one in entities:
        assert one in kept or any(k["start"] < one["end"] and one["start"] < k["end"] for k in kept)


def test_threshold_and_overlaps_in_a_call_and_for_all_calls(ner: MtlBionerPipeline) -> None:
    text = random_texts(60)[59]
    everything = ner(text)
    middle = sorted(e["score"] for e in everything)[len(everything) // 2]
    assert ner(text, threshold=middle) == [e for e in everything if e["score"] >= middle]
    assert ner([text], threshold=1.0, overlaps="best") == [[]]
    assert ner(text, threshold=np.float32(0)) == everything
    for overlaps in ("longest", "best"):
        found = ner(text, overlaps=overlaps)
        assert found == sorted(resolve_overlaps(everything, overlaps), key=lambda e: (e["start"], e["end"]))
        assert 0 < len(found) < len(everything)
    strict = MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, overlaps="best", threshold=middle)
    assert strict(text) == ner(text, overlaps="best", threshold=middle)
    assert strict(text, overlaps="all", threshold=0.0) == everything


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; give a score from 0 to 1"),
        ({"threshold": True}, "threshold is True; give a score from 0 to 1"),
        ({"overlaps": "none"}, "overlaps is 'none'; choose one of all, longest, best"),
    ],
)
def test_bad_options(ner: MtlBionerPipeline, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ner("text", **options)


MEASURE = """
import resource, sys
from transformers import pipeline
folder, size = sys.argv[1], int(sys.argv[2])
ner = pipeline("token-classification", model=folder, trust_remote_code=True)
text = ("Cisplatin caused acute renal failure in two of the patients. " * (size // 60 + 1))[:size]
entities = ner(text)
assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_text_of_a_megabyte_takes_bounded_memory(toy_encoder: Callable[[str], str], tmp_path: Path) -> None:
    folder = toy_encoder("bert")
    model = build_model(folder, [{"name": "a", "types": ["Gene"]}], max_seq_length=100, context_size=8)
    model.save_pretrained(tmp_path)
    load_tokenizer(folder).save_pretrained(tmp_path)
    peaks = []
    for size in (10_000, 1_000_000):
        command = [sys.executable, "-c", MEASURE, str(tmp_path), str(size)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 1000  # MiB


def test_windows_have_the_length_and_context_of_the_model(ner: MtlBionerPipeline) -> None:
    text = " ".join(string.ascii_lowercase)
    windows = ner.preprocess(text)["windows"]
    tokens = ["".join(ner.tokenizer.convert_ids_to_tokens(window.input_ids[1:-1])) for window in windows]
    assert tokens == ["abcdefghijklmn", "ijklmnopqrstuv", "qrstuvwxyz"]  # of 16 sub-words; 3 on each side are context
    assert [window.core for window in windows] == [(0, 11), (11, 19), (19, 26)]
