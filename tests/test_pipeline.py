"""Text in, entities out: of texts of any length, with right offsets, of all tasks."""

import itertools
import math
import random
import string
import unicodedata
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from toys import assert_same_entities, tiny_model
from transformers import BertTokenizer

from data_collators import MultiTaskCollator, TaskRows, TaskText
from dataset_scripts.bio import DEFAULT_WORD_PATTERN, decode_bio, split_words
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerPipeline, find_words, make_windows, resolve_overlaps
from mtl_bioner.evaluation.spans import compute_span_metrics, decode_entities
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


TASKS = [{"name": "a", "types": ["Disease", "Chemical"]}, {"name": "b", "types": ["Gene"]}]
LABELS = [MtlBionerConfig(tasks=TASKS).labels(task) for task in (0, 1)]
WORDS = [f"a{first}b{second}" for first in range(5) for second in range(3)]  # names its label of both tasks
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##x"]
LENGTH = 3000  # words of the text of the oracle


class StubHead(torch.nn.Module):
    def __init__(self, forward: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.forward = forward


def make_oracle(max_length: int, context: int) -> MtlBionerPipeline:
    """A model whose logits say the gold at a word's first sub-word, and something else at all others.

    The word `a3b1` is labelled with class 3 of task a and class 1 of task b. Further sub-words and special tokens say
    `B-` of the last type, so that nothing is right by accident.
    """
    tokenizer = BertTokenizer(vocab={token: i for i, token in enumerate(VOCABULARY)}, do_lower_case=False)
    tokenizer.backend_tokenizer.model.max_input_chars_per_word = 10_000  # longer words would be one [UNK]
    model = tiny_model(TASKS, max_seq_length=max_length, context_size=context)

    def encode(input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        assert input_ids.size(1) <= max_length
        return input_ids[..., None].float()

    model.encode = encode
    for task, name in enumerate("ab"):
        classes = [int(token[1 + 2 * task]) if token in WORDS else (3, 1)[task] for token in VOCABULARY]
        table = 50.0 * torch.nn.functional.one_hot(torch.tensor(classes), len(LABELS[task])).float()
        model.heads[name] = StubHead(lambda hidden, table=table: table[hidden[..., 0].long()])
    return MtlBionerPipeline(model=model, tokenizer=tokenizer)


# Entities around a border of windows, from and to so many words behind it.
SHAPES = [
    [(-1, 1)],  # over the border
    [(-2, 0), (0, 2)],  # one up to the border, one from it
    [(-3, -1), (-1, 0), (0, 1)],  # three without a gap
    [(-1, 1), (1, 3)],
    [(-4, 5)],  # longer than some windows
]


def tag_borders(borders: list[int], shapes: list[list[tuple[int, int]]], types: list[str], empty: set[int]) -> list:
    """BIO tags of entities around each border that don't overlap the one before; shapes and types take turns."""
    tags, last, turns = ["O"] * LENGTH, 0, itertools.cycle(types)
    for border, shape in zip(borders, itertools.cycle(shapes), strict=False):
        for start, end in ((border + left, border + right) for left, right in shape):
            if last <= start and end <= LENGTH:
                type_name, last = next(turns), end
                if not empty.intersection(range(start, end)):
                    tags[start:end] = [f"B-{type_name}", *[f"I-{type_name}"] * (end - start - 1)]
    return tags


def oracle_text(max_length: int, context: int, tokenizer: Any) -> tuple[str, list[list[str]], list[int]]:
    """A text, the tags of its words for both tasks, and the borders of the cores.

    Among the words are some longer than a window and some without any sub-word. Labels don't change how many sub-words
    a word has, so the borders are known before the entities are placed on them.
    """
    generator = random.Random(max_length)
    sizes = [generator.choice([0, 0, 0, 1, 2, 5]) for _ in range(LENGTH)]
    sizes[500::500] = [max_length + 20] * 5
    empty = set(range(97, LENGTH, 211))
    words = ["\u200b" if word in empty else "a0b0" + "x" * size for word, size in enumerate(sizes)]
    borders = [window.core[1] for window in make_windows(tokenizer, words, max_length, context)][:-1]
    assert borders, "the text must need several windows"
    tags = [tag_borders(borders, SHAPES[task:] + SHAPES[:task], TASKS[task]["types"], empty) for task in (0, 1)]
    for word in set(range(LENGTH)) - empty:
        words[word] = "a{}b{}".format(*(LABELS[task].index(tags[task][word]) for task in (0, 1))) + "x" * sizes[word]
    return "".join(word + generator.choice([" ", "  ", "\n", "\r\n", "\t"]) for word in words), tags, borders


@pytest.mark.parametrize(("max_length", "context"), [(8, 32), (17, 0), (37, 8), (128, 32), (320, 32)])
def test_an_oracle_gives_back_every_entity(max_length: int, context: int) -> None:
    """With logits that say the gold, in pipeline and scorer, at every border of windows."""
    oracle = make_oracle(max_length, context)
    text, tags, borders = oracle_text(max_length, context, oracle.tokenizer)
    words = split_words(text)
    assert len(words) == LENGTH
    gold = [decode_bio(words, tags[task]) for task in (0, 1)]
    assert all(len(entities) > 0.5 * len(borders) for entities in gold)
    for task in (0, 1):  # many cross a border, many begin and many end at one
        at_border = [tags[task][border][0] for border in borders]
        assert min(at_border.count("I"), at_border.count("B")) > len(borders) // 10

    entities = oracle(text)
    assert sorted((e["start"], e["end"], e["task"], e["entity_group"]) for e in entities) == sorted(
        (e.start, e.end, name, e.type) for name, task_gold in zip("ab", gold, strict=True) for e in task_gold
    )
    assert all(text[e["start"] : e["end"]] == e["word"] and e["score"] > 0.99 for e in entities)
    assert entities == sorted(entities, key=lambda e: (e["start"], e["end"]))

    documents = [SimpleNamespace(text=text, entities=gold[task], alternatives=[]) for task in (0, 1)]
    texts = [TaskText(task, "toy", documents[task], words, tags[task]) for task in (0, 1)]
    rows = TaskRows(texts, LABELS, oracle.tokenizer, max_length, context).sort_by_length()
    logits = torch.full((len(rows), max_length, 5), -100.0)  # as Trainer pads
    for begin in range(0, len(rows), 64):
        inputs = MultiTaskCollator(0)(rows.rows[begin : begin + 64])
        batch = oracle.model(inputs["input_ids"], inputs["attention_mask"], task_id=inputs["task_id"]).logits
        logits[begin : begin + 64, : batch.size(1)] = batch
    assert [[(s.start, s.end, s.type) for s in spans] for spans in rows.decode(logits.numpy())] == [
        [(e.start, e.end, e.type) for e in task_gold] for task_gold in gold
    ]
    metrics = compute_span_metrics(rows, decode_entities(rows, logits.numpy()), oracle.model.config, "test")
    assert metrics["test_a_f1"] == metrics["test_b_f1"] == metrics["test_macro_f1"] == 1.0
    assert metrics["test_a_support"] == len(gold[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a1b0x a2b0xx a0b0x a0b1", [("Disease", "a1b0x a2b0xx", "a"), ("Gene", "a0b1", "b")]),
        ("a3b0x a2b0xx a1b1", [("Chemical", "a3b0x", "a"), ("Disease", "a1b1", "a"), ("Gene", "a1b1", "b")]),
    ],
)
def test_the_oracle_would_notice_a_wrong_logit(text: str, expected: list) -> None:
    """A label read at another sub-word is another entity."""
    assert [(e["entity_group"], e["word"], e["task"]) for e in make_oracle(8, 2)(text)] == expected


@pytest.fixture(scope="module")
def make_ner(toy_encoder: Callable, toy_tokenizer: Callable) -> Callable[..., MtlBionerPipeline]:
    """Random weights, but large ones, so that many words become entities and no decision hangs by a hair."""

    def make(family: str = "bert", **options: Any) -> MtlBionerPipeline:
        torch.manual_seed(3)
        model = build_model(toy_encoder(family), TASKS, max_seq_length=16, context_size=4)
        for head in model.heads.values():
            torch.nn.init.normal_(head.weight, std=1.0)
        return MtlBionerPipeline(model=model, **{"tokenizer": toy_tokenizer(family), **options})

    return make


@pytest.fixture
def make_stub(make_ner: Callable) -> Callable[..., MtlBionerPipeline]:
    """Each word of a batch has the label that its number, from 1, says; by default `B-`, so each is an entity."""

    def make(family: str = "bert", label: Callable[[int], int] = lambda number: 1, **options: Any) -> Any:
        ner = make_ner(family, tasks="b", **options)

        def classify(hidden: torch.Tensor) -> torch.Tensor:
            labels = torch.tensor([label(number) for number in range(1, hidden.size(1) + 1)])
            return 9.0 * torch.nn.functional.one_hot(labels, 3).float().expand(*hidden.shape[:2], 3)

        ner.model.heads["b"] = StubHead(classify)
        return ner

    return make


@pytest.fixture(scope="module")
def ner(make_ner: Callable) -> MtlBionerPipeline:
    return make_ner()


def random_texts(number: int) -> list[str]:
    generator = random.Random(number)
    return [
        " ".join("".join(generator.choices(string.ascii_letters, k=generator.randint(1, 9))) for _ in range(length))
        for length in range(number)
    ]


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


class Column(pandas.Series):
    """As KeyDataset of transformers: a length and items, but no iterator."""

    __iter__ = None


@pytest.mark.parametrize(
    ("kind", "lazy"),
    [(list, False), (tuple, False), (iter, True), (pandas.Series, True), (Column, True)],
)
def test_kinds_of_input(ner: MtlBionerPipeline, kind: Callable, lazy: bool) -> None:
    texts = random_texts(5)
    expected = [ner(text) for text in texts]
    assert sum(map(len, expected)) > 5
    results = ner(kind(texts))
    assert isinstance(results, Iterator) == lazy
    assert_same_entities(list(results), expected)


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t \u3000\u2028"])
def test_nothing_in_nothing_out(ner: MtlBionerPipeline, text: str) -> None:
    assert ner(text) == []
    assert ner([text]) == [[]]
    assert ner([text, "gene", text])[::2] == [[], []]
    assert ner([]) == list(ner(iter([]))) == []


def test_an_endless_stream_is_read_piece_by_piece(ner: MtlBionerPipeline) -> None:
    taken = []
    stream = ner((taken.append(text) or text for text in itertools.cycle(["gene BRCA1", ""])), batch_size=2)
    assert taken == []
    first = [next(stream) for _ in range(5)]
    assert first[0] != [] == first[1]
    assert_same_entities([first[0]] * 2, [first[2], first[4]])
    assert len(taken) <= 16
    assert next(ner(itertools.repeat(""))) == []


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        *(
            (inputs, {}, f"the pipeline takes a str or an iterable of them, got {type(inputs).__name__}")
            for inputs in (None, 5, b"gene", {"text": "gene"}, {"gene"}, pandas.DataFrame({"text": ["gene"]}))
        ),
        *((["a", item], {}, f"a text is a str, got {type(item).__name__}") for item in (None, 5, b"gene", ["gene"])),
        (
            "gene",
            {"nope": 5, "top_k": 2},
            "unknown argument nope, top_k; the pipeline takes tasks, threshold, overlaps",
        ),
        ("gene", {"aggregation_strategy": "none"}, "aggregation_strategy is 'none', but entities are whole words"),
        (["a", "gene"], {"is_split_into_words": 1, "tasks": "c"}, "no task 'c'"),
        ([["a"], "gene"], {"is_split_into_words": True}, "a text is a list of tokens, got str: 'gene'"),
        *(
            ("gene", {"batch_size": size}, f"batch_size is {size!r}; it must be a whole number, 1 or more")
            for size in (0, -1, 2.5, "8", True)
        ),
        *(("gene", {"tasks": tasks}, "no task 'c'; the model's are a, b") for tasks in (["a", "c"], "c")),
        ("gene", {"tasks": {"a"}}, "tasks is {'a'}; give a list of names, from a, b"),
        *(("gene", {"threshold": t}, f"threshold is {t}; give a score from 0 to 1") for t in (1.5, True)),
        ("gene", {"overlaps": "none"}, "overlaps is 'none'; choose one of all, longest, best, by_type"),
    ],
)
def test_bad_input_and_options(ner: MtlBionerPipeline, inputs: Any, options: dict[str, Any], message: str) -> None:
    error = (
        ValueError
        if options.keys() & {"batch_size", "tasks", "threshold", "overlaps", "aggregation_strategy"}
        else TypeError
    )
    with pytest.raises(error, match=message):
        ner(inputs, **options)
    with pytest.raises(error, match=message):
        MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, **options)(inputs)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_texts_before_one_that_fails_are_given(ner: MtlBionerPipeline, batch_size: int) -> None:
    texts = [f"BRCA{n} gene" for n in range(20)]
    entities: list[Any] = []
    with pytest.raises(TypeError, match="a text is a str, got NoneType"):
        entities.extend(ner(iter([*texts, None, "more"]), batch_size=batch_size))
    assert_same_entities(entities, ner(texts))

    def source() -> Iterator[str]:
        yield texts[0]
        raise OSError("disk")

    results = ner(source())
    assert_same_entities(next(results), entities[0])
    with pytest.raises(OSError, match="disk"):
        next(results)


def test_what_is_done_to_forward_is_done_in_the_pipeline(ner: MtlBionerPipeline) -> None:
    """As torch.compile replaces it, and hooks follow it."""
    calls = []
    handle = ner.model.register_forward_hook(lambda *_: calls.append(1))
    ner("gene BRCA1")
    handle.remove()
    assert calls == [1]


def test_a_stream_of_texts_is_computed_in_few_shapes(ner: MtlBionerPipeline) -> None:
    """For each shape, matrix libraries keep something in memory, so that many texts would fill it."""
    shapes = set()
    handle = ner.model.register_forward_hook(
        lambda _, inputs, options, __: shapes.add((inputs[0].shape[1] % 2, options["places"].shape[1] % 128)),
        with_kwargs=True,
    )
    list(ner(text for number in range(1, 40, 7) for text in random_texts(number)))
    handle.remove()
    assert shapes == {(0, 0)}


def test_a_model_that_computes_no_numbers_is_an_error(make_ner: Callable, encoder_type: str) -> None:
    ner = make_ner(encoder_type)
    torch.nn.init.constant_(ner.model.heads["a"].bias, math.nan)
    with pytest.raises(ValueError, match=r"computes no numbers in torch.float32; load it with dtype=torch.float32"):
        ner("gene BRCA1")
    assert ner("gene BRCA1", tasks="b") is not None


def test_tasks_can_be_chosen(ner: MtlBionerPipeline) -> None:
    text = random_texts(30)[29]
    everything = ner(text)
    for task in ("a", "b"):
        entities = [entity for entity in everything if entity["task"] == task]
        assert entities
        assert_same_entities([ner(text, tasks=[task]), ner(text, tasks=task)], [entities] * 2)
    assert len(ner(text, tasks=["b", "a", "a"])) == len(everything)
    fixed = ner.model.pipeline(ner.tokenizer, tasks="b", batch_size=3)
    assert type(fixed) is MtlBionerPipeline
    assert {entity["task"] for entity in fixed(text)} == {"b"}
    assert {entity["task"] for entity in fixed(text, tasks="a")} == {"a"}


def test_batch_size_and_mode_of_the_model_change_nothing(make_ner: Callable, encoder_type: str) -> None:
    ner, texts = make_ner(encoder_type), random_texts(16)
    expected = [ner(text) for text in texts]
    assert sum(map(len, expected)) > 50
    for batch_size in (1, 7, 64):
        ner.model.train()  # with dropout
        assert_same_entities(ner(texts, batch_size=batch_size), expected)
        assert not ner.model.training


@pytest.mark.parametrize("text", ["a\u200bb", "a\x00b a", "b\u200b"])
def test_an_entity_goes_on_over_characters_without_subwords(make_stub: Callable, text: str) -> None:
    """Combining and invisible characters, as in text from PDFs, are words of their own that some tokenizers drop."""
    ner = make_stub(label=lambda number: 1 if number == 1 else 2)
    assert {entity["word"] for entity in ner(text)} == {text.rstrip("\u200b")}


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
        (unicodedata.normalize("NFD", "Ménière disease"), ["Me\u0301nie\u0300re", "disease"], []),
        ("TNF-α β\u00ad2", ["TNF", "-", "α", "β", "\u00ad", "2"], ["\u00ad"]),
        ("中文 字", ["中", "文", "字"], []),
        ("a\u00a0b\u2003c", ["a", "b", "c"], []),
        ("[SEP] <s> [MASK]", ["[", "SEP", "]", "<", "s", ">", "[", "MASK", "]"], []),
        ("\ud800a", ["\ud800", "a"], ["\ud800"]),  # half of a surrogate pair, as broken JSON gives it
    ],
)
def test_offsets(make_stub: Callable, encoder_type: str, text: str, words: list[str], dropped: list[str]) -> None:
    assert find_words(text, DEFAULT_WORD_PATTERN) == split_words(text)  # of the corpora
    entities = make_stub(encoder_type)(text)
    assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
    wordpiece = encoder_type in ("bert", "electra")  # the others have a sub-word for every character
    assert [e["word"] for e in entities] == [w for w in words if not (wordpiece and w in dropped)]
    assert all(first["end"] <= second["start"] for first, second in itertools.pairwise(entities))


def test_words_and_windows_are_those_of_the_models_config(make_ner: Callable) -> None:
    ner = make_ner()
    windows = ner.preprocess(" ".join(string.ascii_lowercase))["windows"]
    tokens = ["".join(ner.tokenizer.convert_ids_to_tokens(window.input_ids[1:-1])) for window in windows]
    assert tokens == ["abcdefghijklmn", "ijklmnopqrstuv", "qrstuvwxyz"]  # of 16 sub-words; 3 on each side are context
    assert [window.core for window in windows] == [(0, 11), (11, 19), (19, 26)]
    ner.model.config.word_pattern = r"\S+"
    assert ner.preprocess("IL-2 (p53).")["words"] == [(0, 4), (5, 11)]


def test_a_tokenizer_without_special_tokens(make_stub: Callable, toy_encoder: Callable) -> None:
    """Then a text of nothing but NUL has no sub-word at all."""
    tokenizer = load_tokenizer(toy_encoder("bert"))
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A", special_tokens=[])
    ner = make_stub(tokenizer=tokenizer)
    assert [[e["word"] for e in entities] for entities in ner(["\x00", "gene", "\x00 \x00"])] == [[], ["gene"], []]
    assert ner("\x00") == []


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
    resolved = resolve_overlaps([*entities, entity(4, 6, 0.85, "c")], overlaps)
    assert sorted((e["start"], e["end"]) for e in resolved) == kept
    if overlaps != "all":
        assert next(e for e in resolved if e["start"] == 9)["score"] == 0.8


def test_by_type_one_entity_of_a_type_remains_and_names_the_tasks_that_agree() -> None:
    def gene(start: int, end: int, score: float, task: str, type_name: str = "Gene") -> dict[str, Any]:
        return entity(start, end, score, task) | {"entity_group": type_name}

    found = [gene(0, 5, 0.6, "a"), gene(9, 12, 0.7, "a"), gene(0, 9, 0.8, "b"), gene(4, 9, 0.9, "c", "DNA"),
             gene(7, 9, 0.5, "d"), gene(20, 22, 0.1, "a"), gene(12, 14, 0.9, "b")]  # fmt: skip
    kept = resolve_overlaps(found, "by_type")
    assert sorted((e["start"], e["end"], e["entity_group"], e["task"], e["tasks"]) for e in kept) == [
        (0, 9, "Gene", "b", ["a", "b", "d"]), (4, 9, "DNA", "c", ["c"]), (9, 12, "Gene", "a", ["a"]),
        (12, 14, "Gene", "b", ["b"]), (20, 22, "Gene", "a", ["a"])]  # fmt: skip
    assert "tasks" not in found[0]


def test_lists_of_tokens_give_token_indices_too(ner: MtlBionerPipeline) -> None:
    tokens = [["gene", "BRCA1-like", "", "\u200b", "x"], [], ["gene"]]
    results = ner(tokens, is_split_into_words=True)
    assert results[1] == [] and results[0]
    for found, texts in zip(results, tokens, strict=True):
        for one in found:
            first, last = one["tokens"]
            assert one["word"] == " ".join(texts[first:last]) == " ".join(texts)[one["start"] : one["end"]]
    assert_same_entities([ner(tokens[0], is_split_into_words=True)], [results[0]])


def test_usual_arguments_of_clients_are_accepted(ner: MtlBionerPipeline) -> None:
    text = random_texts(30)[29]
    everything = ner(text)
    assert_same_entities(ner(text, aggregation_strategy="simple", stride=5), everything)
    name = everything[0]["entity_group"]
    kept = [one for one in everything if one["entity_group"] != name]
    assert_same_entities(ner(text, ignore_labels=["O", name]), kept)


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
    scores = sorted(e["score"] for e in everything)
    middle = sum(scores[len(scores) // 2 - 1 :][:2]) / 2  # between two
    assert_same_entities(ner(text, threshold=middle), [e for e in everything if e["score"] >= middle])
    assert ner([text], threshold=1.0, overlaps="best") == [[]]
    assert_same_entities(ner(text, threshold=np.float32(0)), everything)
    for overlaps in ("longest", "best"):
        kept = resolve_overlaps(everything, overlaps)
        assert_same_entities(ner(text, overlaps=overlaps), sorted(kept, key=lambda e: (e["start"], e["end"])))
        assert 0 < len(kept) < len(everything)
    strict = MtlBionerPipeline(model=ner.model, tokenizer=ner.tokenizer, overlaps="best", threshold=middle)
    assert_same_entities(strict(text), ner(text, overlaps="best", threshold=middle))
    assert_same_entities(strict(text, overlaps="all", threshold=0.0), everything)
