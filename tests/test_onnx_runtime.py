"""The runtime without torch finds what the pipeline with torch finds, and is the same code where it can be."""

import ast
import inspect
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import assert_same_entities, edit_json

import modeling_mtl_bioner
import mtl_bioner
from modeling_mtl_bioner import MtlBionerPipeline
from mtl_bioner.hub.onnx_export import export_onnx
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


onnx_runtime = pytest.importorskip("mtl_bioner.onnx_runtime")
TASKS = [
    {"name": "a", "types": ["X", "Y"], "temperature": 1.5, "score_bias": -0.2},
    {"name": 'b/é "::', "types": ["X"]},
]
SAME_FUNCTIONS = (
    "find_words", "find_sentence_breaks", "make_windows", "plan_windows", "_count_fitting", "plan_batches",
    "round_length", "calibrate_score", "resolve_overlaps", "_overlap",
)  # fmt: skip
SAME_METHODS = ("_sanitize_parameters", "__call__", "_read_portions", "preprocess", "postprocess")
TEXTS = st.text(
    st.one_of(st.sampled_from("aBe1-_(.,' \n\t\r\x00\u200b\ufeff\u00ad\ufe0f\u0301\u00e9β中😀"), st.characters()),
    max_size=120,
)
relaxed = settings(max_examples=25, deadline=None, derandomize=True)


def read_code(function: Any) -> str:
    """The statements of a function, without docstring, comments and annotations."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    if ast.get_docstring(tree):
        del tree.body[0]
    tree.returns = None
    for argument in (*tree.args.args, tree.args.kwarg):
        if argument:
            argument.annotation = None
    return ast.unparse(tree)


@pytest.mark.parametrize("name", SAME_FUNCTIONS)
def test_functions_without_torch_are_those_of_the_model(name):
    assert read_code(getattr(onnx_runtime, name)) == read_code(getattr(modeling_mtl_bioner, name))


@pytest.mark.parametrize("name", SAME_METHODS)
def test_methods_without_torch_are_those_of_the_pipeline(name):
    assert read_code(getattr(onnx_runtime.OnnxPipeline, name)) == read_code(getattr(MtlBionerPipeline, name))


@pytest.mark.parametrize("name", ["OWN_PATTERNS", "MAX_SUBWORDS", "PORTION"])
def test_constants_are_those_of_the_model(name):
    assert getattr(onnx_runtime, name) == getattr(modeling_mtl_bioner, name)
    assert list(onnx_runtime.OVERLAPS) == list(modeling_mtl_bioner.OVERLAPS)


def test_orders_of_overlapping_entities_are_those_of_the_model():
    entity = {"start": 3, "end": 9, "score": 0.25}
    for name in ("longest", "best"):
        assert onnx_runtime.OVERLAPS[name](entity) == modeling_mtl_bioner.OVERLAPS[name](entity)


# ------------------------------------------------------------------------------------------------------------ decoding


def draw_logits(seed: int, words: int, labels: int, scale: float, share_empty: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(words, labels, generator=generator)
    logits[torch.rand(words, generator=generator) < share_empty] = -math.inf
    return logits


@relaxed
@given(
    seed=st.integers(0, 2**31),
    words=st.integers(0, 150),
    types=st.integers(1, 3),
    scale=st.sampled_from([0.5, 3.0, 30.0]),
    share_empty=st.sampled_from([0.0, 0.2]),
)
def test_decoding_is_that_of_the_model(seed, words, types, scale, share_empty):
    labels = ["O", *(f"{prefix}-{name}" for name in "XYZ"[:types] for prefix in "BI")]
    logits = draw_logits(seed, words, len(labels), scale, share_empty)
    offsets = [(2 * word, 2 * word + 1) for word in range(words)]
    (expected,) = modeling_mtl_bioner.decode_spans([logits], labels, [offsets], (1.5, 0.25))
    spans = onnx_runtime.decode_spans(logits.numpy(), labels, offsets, (1.5, 0.25))
    assert [(s.start, s.end, s.type) for s in spans] == [(s.start, s.end, s.type) for s in expected]
    assert [s.score for s in spans] == pytest.approx([s.score for s in expected], abs=1e-5)


def test_an_illegal_sequence_is_decoded_by_viterbi_over_the_whole_text():
    labels = ["O", "B-X", "I-X"]
    tempted = np.log(np.array([[0.55, 0.40, 0.05]] + [[0.05, 0.05, 0.9]] * 60, np.float32))
    assert onnx_runtime.find_best_labels(tempted, labels) == [1] + [2] * 60
    assert onnx_runtime.find_best_labels(tempted[:0], labels) == []


# ------------------------------------------------------------------------------------------------------ whole pipeline


@pytest.fixture(scope="module")
def folders(toy_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A toy model with short windows, and its export."""
    encoder, (source, output) = toy_encoder("bert"), (tmp_path_factory.mktemp("onnx") / name for name in "st")
    torch.manual_seed(1)
    options = {"max_seq_length": 24, "context_size": 4, "sentence_pattern": r"(?<=\.)\s+"}
    model, tokenizer = build_model(encoder, TASKS, **options), load_tokenizer(encoder)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight, std=0.5)
    model.save_pretrained(source)
    tokenizer.save_pretrained(source)
    export_onnx(source, output)
    return source, output


@pytest.fixture(scope="module")
def pipelines(folders: tuple[Path, Path]) -> tuple[Any, Any]:
    return mtl_bioner.load(folders[0]), mtl_bioner.load(folders[1])


@relaxed
@given(texts=st.lists(TEXTS, max_size=4), overlaps=st.sampled_from([*modeling_mtl_bioner.OVERLAPS]))
def test_the_entities_of_any_texts_are_those_of_the_pipeline(pipelines, texts, overlaps):
    with_torch, without = pipelines
    options = {"overlaps": overlaps, "threshold": 0.1}
    assert_same_entities(with_torch(texts, **options), without(texts, **options))


LONG = "Cisplatin induced nephrotoxicity in BRCA1 carriers. " * 9 + "\x00 \u200b (OMIM 113705)"


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (LONG, {}),
        ([LONG, "", " \n", LONG[:70]], {"batch_size": 1}),
        (LONG, {"tasks": [TASKS[1]["name"]], "ignore_labels": ["Y"]}),
        (LONG, {"tasks": "a", "threshold": 0.4}),
        (LONG.split(), {"is_split_into_words": True, "overlaps": "longest"}),
        ([], {}),
    ],
)
def test_options_do_what_they_do_in_the_pipeline(pipelines, inputs, options):
    with_torch, without = pipelines
    assert_same_entities(with_torch(inputs, **options), without(inputs, **options))


def test_windows_and_sub_words_are_those_of_the_pipeline(pipelines):
    with_torch, without = pipelines
    one, other = (ner.preprocess(LONG) for ner in pipelines)
    assert len(one["windows"]) == 19 and one["words"] == other["words"]
    assert [vars(window) for window in one["windows"]] == [vars(window) for window in other["windows"]]
    before = with_torch.subwords, without.subwords
    for ner in pipelines:
        list(ner(iter([LONG, LONG])))
    assert with_torch.subwords - before[0] == without.subwords - before[1] > 0


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        ("x", {"tasks": ["none"]}),
        ("x", {"threshold": 2}),
        ("x", {"threshold": True}),
        ("x", {"overlaps": "most"}),
        ("x", {"batch_size": 0}),
        ("x", {"nonsense": 1}),
        ("x", {"aggregation_strategy": "none"}),
        (5, {}),
        ({"a": "b"}, {}),
        ([5], {}),
    ],
)
def test_bad_inputs_and_options_are_refused_alike(pipelines, inputs, options):
    errors = []
    for ner in pipelines:
        with pytest.raises((ValueError, TypeError)) as caught:
            ner(inputs, **options)
        errors.append((type(caught.value), str(caught.value)))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta-v2", "modernbert"])
@relaxed
@given(words=st.lists(TEXTS.map(lambda text: "".join(text.split())).filter(bool), max_size=12))
def test_sub_words_are_those_of_the_tokenizer_of_transformers(toy_tokenizer, family, words):
    tokenizer = toy_tokenizer(family)
    backend = onnx_runtime.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    assert onnx_runtime.split_subwords(backend, words) == modeling_mtl_bioner.split_subwords(tokenizer, words)
    assert onnx_runtime.get_special_ids(backend) == modeling_mtl_bioner.get_special_ids(tokenizer)
    expected = modeling_mtl_bioner.hash_tokenizer(tokenizer)
    assert onnx_runtime.hash_tokenizer(backend, tokenizer.pad_token_id) == expected


# -------------------------------------------------------------------------------------------------- a folder by itself


def test_the_folder_works_alone_and_without_torch(folders, pipelines, tmp_path):
    absent = ("torch", "transformers", "mtl_bioner", "modeling_mtl_bioner")
    code = (
        f"import sys; sys.modules |= dict.fromkeys({absent}); sys.path[0] = {str(folders[1])!r}; "
        "import onnx_runtime; sys.exit(onnx_runtime.main(sys.argv[1:]))"
    )
    texts = [LONG.replace("\x00", ""), "Gout."]
    command = [sys.executable, "-c", code, *texts, "--overlaps", "all", "--threshold", "0.1"]
    lines = subprocess.check_output(command, text=True, cwd=tmp_path, env={"PATH": ""}).splitlines()
    assert_same_entities([json.loads(line) for line in lines], pipelines[1](texts, threshold=0.1))


def test_the_package_loads_an_exported_model_without_torch(folders):
    code = "import sys, mtl_bioner; mtl_bioner.load(sys.argv[1])('Gout.'); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code, str(folders[1])], text=True) == "False\n"


def test_errors_of_the_command_are_one_line(tmp_path, capsys):
    assert onnx_runtime.main(["x", "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"onnx_runtime: error: {tmp_path} has no config.json; name the --output of mtl-bioner export --to onnx\n"
    )


@pytest.fixture
def copied(folders: tuple[Path, Path], tmp_path: Path, pipelines: Any) -> Path:
    pipelines[1].model.save_pretrained(tmp_path / "copy")
    return tmp_path / "copy"


def set_task(**values: Any) -> Any:
    return lambda config: config["tasks"][0].update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda config: config.update(max_seq_length=0), "max_seq_length is 0; expected a whole number from 1"),
        (lambda config: config.update(max_seq_length=10**6), "max_seq_length is 1000000 in config.json; the encoder"),
        (lambda config: config.update(context_size="4"), "context_size is '4'; expected a whole number from 0"),
        (lambda config: config.update(word_pattern="("), "word_pattern '(' is no regular expression"),
        (lambda config: config.pop("word_pattern"), "word_pattern 'None' is no regular expression"),
        (lambda config: config.update(tasks=[]), "tasks is []; expected a list of one or more"),
        (lambda config: config.update(tasks="ab"), "tasks is ab; expected a list of one or more"),
        (lambda config: config["tasks"].pop(), "model.onnx computes 8 labels, and config.json beside it names 5"),
        (set_task(types=["X", "X"]), "task a has the types ['X', 'X']; expected a list of one or more"),
        (set_task(types=["X", ["Y"]]), "task a has the types ['X', ['Y']]"),
        (set_task(name=""), "a task has the name ''"),
        (set_task(name=TASKS[1]["name"]), "each must be unique"),
        (set_task(temperature=math.inf), "task a: its temperature is inf"),
        (set_task(temperature="1"), "task a: its temperature is '1'"),
        (set_task(score_bias=None), "its score_bias None"),
        (lambda config: config.update(encoder_config=[]), "encoder_config or onnx is no object"),
        (lambda config: config["onnx"].update(pad_token_id=-1), "pad_token_id is -1"),
        (lambda config: config["onnx"].update(pad_token_id=3), "is not the one that the model was trained with"),
        (lambda config: config.update(tokenizer_hash="0"), "is not the one that the model was trained with"),
        (lambda config: config["encoder_config"].update(vocab_size=10**5), "is not the one that the model"),
    ],
)
def test_an_impossible_config_is_refused(copied, edit, message):
    edit_json(copied / "config.json", edit)
    with pytest.raises(ValueError) as caught:
        mtl_bioner.load(copied)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.onnx"])
def test_a_damaged_file_is_named(copied, name):
    content = (copied / name).read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"[]", b"[" * 100_000, b"\xff\xfe"):
        (copied / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=name):
            mtl_bioner.load(copied)


def test_a_pattern_that_takes_forever_is_stopped(copied):
    edit_json(copied / "config.json", lambda config: config.update(word_pattern="(a|aa)+$"))
    ner = mtl_bioner.load(copied)
    with pytest.raises(ValueError, match="takes too long for a text of 41 characters"):
        onnx_runtime.find_words("a" * 40 + "!", ner.model.config.word_pattern, seconds=0.05)


def test_threads_are_the_share_of_the_process(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert onnx_runtime.count_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert onnx_runtime.count_threads() >= 1
