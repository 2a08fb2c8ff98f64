"""Config, heads, loss and life cycle of the model; five encoder families of toy size."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import tiny_model
from transformers import AutoModel, BertConfig

from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel, MtlBionerOutput, multi_task_loss
from mtl_bioner.training.model_building import build_model, with_tasks


TASKS = [
    {"name": "zeta", "types": ["Disease", "Chemical"], "corpora": ["ncbi"]},
    {"name": "alpha", "types": ["Gene"]},
]
NEW = {"name": "b", "types": ["X"]}
TEXTS = ["Cisplatin induced nephrotoxicity in BRCA1 carriers.", "p53 binds DNA"]
MINIMUM = torch.finfo(torch.float32).min
IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])
TASK_ID = torch.tensor([0, 1])


@pytest.fixture
def model() -> MtlBionerModel:
    return tiny_model(TASKS)


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_a_saved_config_keeps_the_order_of_tasks_and_every_field(version: str, tmp_path: Path) -> None:
    options = {"head_dropout": 0.25, "word_pattern": r"\S+", "max_seq_length": 99, "context_size": 7}
    MtlBionerConfig(BertConfig(hidden_size=4), TASKS, **options).save_pretrained(tmp_path)
    if version == "0.1":  # which named no classes of several tasks
        saved = json.loads((tmp_path / "config.json").read_text())
        del saved["id2label"], saved["label2id"]
        (tmp_path / "config.json").write_text(json.dumps(saved))
    loaded = MtlBionerConfig.from_pretrained(tmp_path)
    assert loaded.tasks == TASKS and loaded.task_names == ["zeta", "alpha"]
    assert loaded.id2label == MtlBionerConfig(tasks=TASKS).id2label
    assert loaded.sharing == "hard" and {name: getattr(loaded, name) for name in options} == options
    assert isinstance(loaded.encoder_config, BertConfig) and loaded.encoder_config.hidden_size == 4


ONE_TASK = ["O", "B-Gene", "I-Gene"]
SEVERAL = ["O", "zeta:B-Disease|alpha:B-Gene", "zeta:I-Disease|alpha:I-Gene", "zeta:B-Chemical", "zeta:I-Chemical"]


@pytest.mark.parametrize(("tasks", "names"), [(TASKS[1:], ONE_TASK), (TASKS, SEVERAL)])
def test_stock_code_sees_what_the_classes_mean(tasks: list[dict], names: list[str], tmp_path: Path) -> None:
    model = tiny_model(tasks)
    model.save_pretrained(tmp_path)
    for config in (model.config, MtlBionerConfig.from_pretrained(tmp_path)):
        assert config.id2label == dict(enumerate(names))
        assert config.label2id == {name: i for i, name in enumerate(names)}
        assert config.num_labels == config.widest == model(IDS, task_id=torch.tensor([0, 0])).logits.size(-1)
        assert config.labels(len(tasks) - 1) == ONE_TASK
    other = with_tasks(model, [NEW], drop=[task["name"] for task in tasks])
    assert other.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}
    assert MtlBionerConfig(tasks=TASKS).labels(0) == ["O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"]
    pipeline = {"impl": "modeling_mtl_bioner.MtlBionerPipeline", "pt": ["AutoModelForTokenClassification"]}
    assert config.custom_pipelines == dict.fromkeys(("token-classification", "ner"), {**pipeline, "type": "text"})


NAMES = [["a", "a"], ["a", ""], ["a.b"], [None], [3], ["type"], ["training"], ["keys"], ["linear"]]
BAD_NAME = r"task names are \[.*each must be unique, not empty, without a '\.'"
BAD_TYPES = "task ncbi has the types .*; give a list of one or more, each once"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(({"tasks": [{"name": name, "types": ["Gene"]} for name in names]}, BAD_NAME) for names in NAMES),
        *(({"tasks": [{"name": "ncbi", "types": types}]}, BAD_TYPES) for types in (None, [], "Gene", ["Gene"] * 2)),
        ({"sharing": "soft"}, "sharing is 'soft'; known are .*hard"),
        *(({"sharing_size": size}, f"sharing_size is {size}; give a whole number from 1") for size in (0, -1, 2.5)),
        *(({name: "("}, rf"{name} '\(' is no regular expr") for name in ("word_pattern", "sentence_pattern")),
        ({"sentence_pattern": "(" * 5000}, "is no regular expression: maximum recursion"),
        ({"word_pattern": None}, "word_pattern None is no regular expression"),
        *(
            (options, "no encoder_config or no tasks")
            for options in ({}, {"encoder_config": BertConfig(), "tasks": ()})
        ),
    ],
)
def test_bad_config(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MtlBionerModel(MtlBionerConfig(**{"tasks": TASKS, **options}))


@pytest.mark.parametrize("name", ["gamma", "beta", "weight", "bias", "encoder", "heads", "a b", "ncbi-Disease"])
def test_unusual_task_names_survive_saving(name: str, tmp_path: Path) -> None:
    model = tiny_model([{"name": name, "types": ["Gene"]}, TASKS[0]])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    model.save_pretrained(tmp_path)
    loaded = MtlBionerModel.from_pretrained(tmp_path)
    assert loaded.config.task_names == [name, "zeta"]
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_saved_files_have_the_mode_of_the_umask(umask: int, mode: int, tmp_path: Path) -> None:
    for name in ("run.json", "model.safetensors"):
        (tmp_path / name).touch(0o600)
    before = os.umask(umask)
    try:
        tiny_model(TASKS).save_pretrained(tmp_path, max_shard_size="2KB")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.pop("run.json") == 0o600  # of others
    assert len(modes) > 4 and set(modes.values()) == {mode}


def stub_model(tasks: list[dict[str, Any]], **heads: tuple[list[float], list[float]]) -> MtlBionerModel:
    """A model whose logits are `slope * token id + bias`, with slope and bias of each head."""
    model = tiny_model(tasks)

    def encode(input_ids: Tensor, attention_mask: Any = None, **inputs: Any) -> Tensor:
        return nn.functional.pad(input_ids[..., None].float(), (0, model.sharing.size - 1))

    model.encode = encode
    for name, (slope, bias) in heads.items():
        weight = nn.functional.pad(torch.tensor(slope)[:, None], (0, model.sharing.size - 1))
        model.heads[name].load_state_dict({"weight": weight, "bias": torch.tensor(bias)})
    return model


def test_rows_go_to_the_head_their_task_id_names() -> None:
    model = stub_model(TASKS, zeta=([1.0, 2, 3, 4, 5], [0.0, 0, 0, 0, 10]), alpha=([-1.0, -2, -3], [0.5, 0, 0]))
    output = model(torch.tensor([[1, 2], [3, 0], [4, 1]]), task_id=torch.tensor([0, 1, 0]))
    assert output.logits.tolist() == [
        [[1, 2, 3, 4, 15], [2, 4, 6, 8, 20]],
        [[-2.5, -6, -9, MINIMUM, MINIMUM], [0.5, 0, 0, MINIMUM, MINIMUM]],
        [[4, 8, 12, 16, 30], [1, 2, 3, 4, 15]],
    ]
    assert output.logits.softmax(-1)[1, :, 3:].tolist() == [[0, 0], [0, 0]]
    assert output.loss is None and output.task_logits is None


def test_one_task_needs_no_task_id() -> None:
    model = stub_model(TASKS[1:], alpha=([0.0, 1, 2], [1.0, 0, 0]))
    output = model(torch.tensor([[0, 3]]), labels=torch.tensor([[0, IGNORE]]))
    assert output.logits.tolist() == [[[1, 0, 0], [1, 3, 6]]]
    assert output.loss.item() == pytest.approx(math.log(math.e + 2) - 1)


def test_all_tasks_from_one_encoder_pass(model: MtlBionerModel) -> None:
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    output = model(IDS)
    assert calls == [1]
    assert output.logits is None
    shapes = {name: tuple(logits.shape) for name, logits in output.task_logits.items()}
    assert list(shapes.items()) == [("zeta", (2, 3, 5)), ("alpha", (2, 3, 3))]
    for task, logits in enumerate(output.task_logits.values()):
        by_row = model(IDS, task_id=torch.tensor([task, task])).logits
        torch.testing.assert_close(by_row[..., : logits.size(-1)], logits)
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"labels": IDS}, r"labels were given without task_id, and the model has 2 tasks; give task_id"),
        ({"tasks": ["zeta", "c"]}, "no task 'c'; the model's are zeta, alpha"),
        ({"task_id": torch.tensor([0, -1])}, r"task_id holds \[-1, 0\]; the model's are 0 to 1"),
        ({"task_id": torch.tensor([2, 2])}, r"task_id holds \[2\]; the model's are 0 to 1"),
    ],
)
def test_inputs_that_name_no_task(model: MtlBionerModel, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(IDS, **inputs)


def test_tuple_output(model: MtlBionerModel) -> None:
    output = model(IDS, task_id=TASK_ID, labels=IDS % 3, return_dict=False)
    full = model(IDS, task_id=TASK_ID, labels=IDS % 3)
    assert isinstance(full, MtlBionerOutput)
    for value, name in zip(output, ("loss", "logits", "hidden_states"), strict=True):
        torch.testing.assert_close(value, full[name])


@pytest.mark.parametrize(("num_items", "n"), [(10, 10), (torch.tensor(10), 10), (None, 4)])
def test_loss_by_hand(num_items: Any, n: int) -> None:
    """Task 0: ln 5 twice, weight 2. Task 1: ln 3 and ln 2, weight 1/2."""
    logits = torch.zeros(2, 3, 5)
    logits[0, 2, 0] = 9  # not labelled
    logits[1, :, 3:] = MINIMUM
    logits[1, 1, 0] = math.log(2)
    labels, weights = torch.tensor([[3, 0, IGNORE], [2, 0, IGNORE]]), torch.tensor([2.0, 0.5])
    loss, sums, counts = multi_task_loss(logits, labels, TASK_ID, weights, num_items)
    assert loss.item() == pytest.approx((2 * 2 * math.log(5) + 0.5 * math.log(6)) / n)
    assert sums.tolist() == pytest.approx([2 * math.log(5), math.log(6)])
    assert counts.tolist() == [2, 2]
    rows = [multi_task_loss(logits[i], labels[i], TASK_ID[i], weights, n)[0].item() for i in ([0], [1])]
    assert loss.item() == pytest.approx(sum(rows))  # as of batches of one task


def test_loss_without_any_label_is_zero_and_not_nan() -> None:
    logits, nothing = torch.zeros(1, 2, 3, requires_grad=True), torch.full((1, 2), IGNORE)
    loss, sums, counts = multi_task_loss(logits, nothing, torch.tensor([0]), torch.ones(1))
    loss.backward()
    assert (loss.item(), sums.tolist(), counts.tolist()) == (0, [0], [0])
    assert logits.grad.eq(0).all()
    learned = [torch.ones(1, requires_grad=True) for _ in range(2)]
    zero = torch.tensor(0)  # as Trainer counts
    multi_task_loss(logits, nothing, torch.tensor([0]), torch.ones(1), zero, *learned)[0].backward()
    assert [one.grad.item() for one in learned] == [0, 0]


def test_loss_and_gradient_of_a_mixed_batch_are_sums_over_the_tasks(model: MtlBionerModel) -> None:
    ids, task_id = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), torch.tensor([1, 0, 1])
    labels = torch.tensor([[0, 1, 2], [4, 3, IGNORE], [IGNORE, 0, 1]])

    def train(rows: list[int], n: int | None = 7) -> tuple[float, dict[str, Tensor]]:
        model.zero_grad()
        loss = model(ids[rows], task_id=task_id[rows], labels=labels[rows], num_items_in_batch=n).loss
        loss.backward()
        return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    (mixed, gradients), *parts = train([0, 1, 2]), train([1]), train([0, 2])
    assert mixed == pytest.approx(sum(loss for loss, _ in parts), rel=1e-5)
    assert mixed == pytest.approx(train([0, 1, 2], None)[0]) == pytest.approx(train([0, 1, 2], 28)[0] * 4)
    for name, value in gradients.items():
        assert torch.allclose(value, sum(part[name] for _, part in parts if name in part), atol=1e-6), name


def test_a_head_without_rows_gets_no_gradient(model: MtlBionerModel) -> None:
    model(IDS, task_id=torch.tensor([1, 1]), labels=torch.zeros_like(IDS)).loss.backward()
    assert all(parameter.grad is None for parameter in model.heads["zeta"].parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.heads["alpha"].parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.encoder.parameters())


@pytest.fixture(scope="session")
def family(encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable) -> tuple[str, MtlBionerModel, Any]:
    torch.manual_seed(0)
    model = build_model(toy_encoder(encoder_type), TASKS, head_dropout=0.0, max_seq_length=64)
    return toy_encoder(encoder_type), model.eval(), toy_tokenizer(encoder_type)


@torch.no_grad()
def test_the_encoder_is_the_pretrained_one(family: tuple) -> None:
    folder, model, tokenizer = family
    pretrained = AutoModel.from_pretrained(folder).eval()
    weights, expected = model.encoder.state_dict(), pretrained.state_dict()
    assert set(weights) == {key for key in expected if not key.startswith("pooler.")}
    assert all(torch.equal(value, expected[key]) for key, value in weights.items())
    assert getattr(model.encoder, "pooler", None) is None
    assert model.config.encoder_config._name_or_path == ""
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    assert torch.allclose(model(**inputs).hidden_states, pretrained(**inputs).last_hidden_state, atol=1e-5)


def test_forward_backward_and_saving(family: tuple, tmp_path: Path) -> None:
    _, model, tokenizer = family
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    inputs["task_id"] = torch.tensor([1, 0])
    inputs["labels"] = torch.where(inputs["attention_mask"].bool(), 2, IGNORE)
    output = model(**inputs)
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.heads.parameters())
    assert [name for name, p in model.encoder.named_parameters() if p.grad is None] == []
    model.zero_grad()

    model.save_pretrained(tmp_path)
    again = MtlBionerModel.from_pretrained(tmp_path).eval()(**inputs)
    torch.testing.assert_close([again.logits, again.loss], [output.logits, output.loss])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["encoder_config"]["model_type"] == model.config.encoder_config.model_type
    names = {"AutoConfig": "Config", "AutoModel": "Model", "AutoModelForTokenClassification": "Model"}
    assert config["auto_map"] == {auto: f"modeling_mtl_bioner.MtlBioner{name}" for auto, name in names.items()}


def test_options_and_token_types_reach_the_encoder(toy_encoder: Callable, tmp_path: Path) -> None:
    overrides = {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0, "hidden_dropout_prob": 0.3}
    model = build_model(toy_encoder("bert"), TASKS, overrides, max_seq_length=77).eval()
    assert model.config.encoder_config.attention_probs_dropout_prob == 0.0
    assert not hasattr(model.config.encoder_config, "attention_dropout")
    assert {m.p for m in model.encoder.modules() if isinstance(m, nn.Dropout)} <= {0.0, 0.3}
    assert model.config.max_seq_length == 77
    token_types = (None, torch.zeros_like(IDS), torch.ones_like(IDS))
    plain, zeros, ones = (model(IDS, token_type_ids=types, task_id=TASK_ID).logits for types in token_types)
    assert torch.allclose(zeros, plain) and not torch.allclose(ones, plain)
    model.save_pretrained(tmp_path)
    for name in ("eager", "sdpa"):
        loaded = MtlBionerModel.from_pretrained(tmp_path, attn_implementation=name)
        assert loaded.encoder.config._attn_implementation == name


def test_a_model_saved_in_half_precision_goes_on_in_full(model: MtlBionerModel, tmp_path: Path) -> None:
    model.to(torch.bfloat16).save_pretrained(tmp_path)
    for options, dtype in (({}, torch.bfloat16), ({"dtype": torch.float32}, torch.float32)):
        loaded = MtlBionerModel.from_pretrained(tmp_path, **options)
        grown = with_tasks(loaded, [NEW])
        assert {parameter.dtype for parameter in [*loaded.parameters(), *grown.parameters()]} == {dtype}
        output = grown(IDS, task_id=torch.tensor([2, 1]))
        assert (output.hidden_states.dtype, output.logits.dtype) == (dtype, torch.float32)
        assert output.logits[:, :, 3:].eq(MINIMUM).all() and output.logits[:, :, :3].isfinite().all()
