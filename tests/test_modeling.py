"""Config, heads, loss and life cycle of the model; five encoder families of toy size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, BertConfig

from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel, MtlBionerOutput, multi_task_loss
from mtl_bioner.training.model_building import build_model, rename_task, with_tasks


TASKS = [
    {"name": "zeta", "types": ["Disease", "Chemical"], "corpora": ["ncbi"]},
    {"name": "alpha", "types": ["Gene"]},
]
TEXTS = ["Cisplatin induced nephrotoxicity in BRCA1 carriers.", "p53 binds DNA"]
MINIMUM = torch.finfo(torch.float32).min


def bert_config(**options: Any) -> BertConfig:
    return BertConfig(
        vocab_size=30, hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, **options
    )


def tiny_model(tasks: list[dict[str, Any]] = TASKS, **options: Any) -> MtlBionerModel:
    torch.manual_seed(0)
    return MtlBionerModel(MtlBionerConfig(bert_config(), tasks, head_dropout=0.0, **options)).eval()


@pytest.fixture
def model() -> MtlBionerModel:
    return tiny_model()


def stub_encoder(model: MtlBionerModel) -> None:
    """The token ids themselves become the first feature, the other features are zero."""

    def encode(input_ids: torch.Tensor, attention_mask: Any = None, **inputs: Any) -> torch.Tensor:
        return nn.functional.pad(input_ids[..., None].float(), (0, model.sharing.size - 1))

    model.encode = encode


def set_head(model: MtlBionerModel, task: str, slope: list[float], bias: list[float]) -> None:
    """Logits of the head are `slope * first feature + bias`."""
    with torch.no_grad():
        model.heads[task].weight.zero_()
        model.heads[task].weight[:, 0] = torch.tensor(slope)
        model.heads[task].bias.copy_(torch.tensor(bias))


# ------------------------------------------------------------------------------------------------------------- config


def test_config_keeps_the_order_of_tasks_and_every_field(tmp_path: Path) -> None:
    config = MtlBionerConfig(
        bert_config(), TASKS, head_dropout=0.25, word_pattern=r"\S+", max_seq_length=99, context_size=7
    )
    config.save_pretrained(tmp_path)
    loaded = MtlBionerConfig.from_pretrained(tmp_path)
    assert loaded.tasks == TASKS
    assert loaded.task_names == ["zeta", "alpha"]
    assert (loaded.sharing, loaded.head_dropout, loaded.word_pattern) == ("hard", 0.25, r"\S+")
    assert (loaded.max_seq_length, loaded.context_size) == (99, 7)
    assert isinstance(loaded.encoder_config, BertConfig)
    assert loaded.encoder_config.hidden_size == 4


def test_labels_and_widest() -> None:
    config = MtlBionerConfig(tasks=TASKS)
    assert config.labels(0) == ["O", "B-Disease", "I-Disease", "B-Chemical", "I-Chemical"]
    assert config.labels(1) == ["O", "B-Gene", "I-Gene"]
    assert config.widest == 5
    assert MtlBionerConfig().widest == 1


def test_config_names_its_pipeline() -> None:
    own = {
        "impl": "modeling_mtl_bioner.MtlBionerPipeline",
        "pt": ["AutoModelForTokenClassification"],
        "type": "text",
    }
    assert MtlBionerConfig().custom_pipelines == {"token-classification": own, "ner": own}


def test_labels_of_one_task_stand_where_stock_code_reads_them(tmp_path: Path) -> None:
    MtlBionerConfig(bert_config(), TASKS[1:]).save_pretrained(tmp_path)
    loaded = MtlBionerConfig.from_pretrained(tmp_path)
    assert loaded.id2label == {0: "O", 1: "B-Gene", 2: "I-Gene"}
    assert loaded.label2id == {"O": 0, "B-Gene": 1, "I-Gene": 2}
    assert loaded.num_labels == 3
    assert MtlBionerConfig(bert_config(), TASKS).num_labels == 2


@pytest.mark.parametrize(
    "names", [["a", "a"], ["a", ""], ["a.b"], [None], [3], ["type"], ["training"], ["keys"], ["linear"]]
)
def test_bad_task_names(names: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"task names are \[.*each must be unique, not empty, without a '\.'"):
        MtlBionerConfig(tasks=[{"name": name, "types": ["Gene"]} for name in names])


@pytest.mark.parametrize("types", [None, [], "Gene", ["Gene", "Gene"]])
def test_bad_types(types: Any) -> None:
    with pytest.raises(ValueError, match="task ncbi has the types .*; give a list of one or more, each once"):
        MtlBionerConfig(tasks=[{"name": "ncbi", "types": types}])


def test_bad_sharing_and_pattern() -> None:
    with pytest.raises(ValueError, match="sharing is 'soft'; known are .*hard"):
        MtlBionerConfig(tasks=TASKS, sharing="soft")
    for name in ("word_pattern", "sentence_pattern"):
        with pytest.raises(ValueError, match=rf"{name} '\(' is no regular expression"):
            MtlBionerConfig(tasks=TASKS, **{name: "("})


def test_a_model_needs_encoder_and_tasks() -> None:
    for config in (MtlBionerConfig(), MtlBionerConfig(bert_config()), MtlBionerConfig(tasks=TASKS)):
        with pytest.raises(ValueError, match="no encoder_config or no tasks"):
            MtlBionerModel(config)


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


# -------------------------------------------------------------------------------------------------------------- heads


def test_rows_go_to_the_head_their_task_id_names(model: MtlBionerModel) -> None:
    stub_encoder(model)
    set_head(model, "zeta", [1, 2, 3, 4, 5], [0, 0, 0, 0, 10])
    set_head(model, "alpha", [-1, -2, -3], [0.5, 0, 0])
    output = model(torch.tensor([[1, 2], [3, 0], [4, 1]]), task_id=torch.tensor([0, 1, 0]))
    expected = [
        [[1, 2, 3, 4, 15], [2, 4, 6, 8, 20]],
        [[-2.5, -6, -9, MINIMUM, MINIMUM], [0.5, 0, 0, MINIMUM, MINIMUM]],
        [[4, 8, 12, 16, 30], [1, 2, 3, 4, 15]],
    ]
    assert output.logits.tolist() == expected
    assert output.logits.softmax(-1)[1, :, 3:].tolist() == [[0, 0], [0, 0]]
    assert output.loss is None
    assert output.task_logits is None


def test_one_task_needs_no_task_id() -> None:
    model = tiny_model(TASKS[1:])
    stub_encoder(model)
    set_head(model, "alpha", [0, 1, 2], [1, 0, 0])
    output = model(torch.tensor([[0, 3]]), labels=torch.tensor([[0, IGNORE]]))
    assert output.logits.tolist() == [[[1, 0, 0], [1, 3, 6]]]
    assert output.loss.item() == pytest.approx(math.log(math.e + 2) - 1)


def test_all_tasks_from_one_encoder_pass(model: MtlBionerModel) -> None:
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    output = model(ids)
    assert calls == [1]
    assert output.logits is None
    assert list(output.task_logits) == ["zeta", "alpha"]
    assert {name: tuple(own.shape) for name, own in output.task_logits.items()} == {
        "zeta": (2, 3, 5),
        "alpha": (2, 3, 3),
    }
    both = [model(ids, task_id=torch.tensor([task, task])).logits for task in (0, 1)]
    assert torch.equal(both[0], output.task_logits["zeta"])
    assert torch.equal(both[1][..., :3], output.task_logits["alpha"])
    assert len(calls) == 3


def test_labels_without_task_id(model: MtlBionerModel) -> None:
    ids = torch.tensor([[1, 2]])
    with pytest.raises(
        ValueError, match=r"labels were given without task_id, and the model has 2 tasks; give task_id"
    ):
        model(ids, labels=ids)


def test_tuple_output(model: MtlBionerModel) -> None:
    ids = torch.tensor([[1, 2]])
    loss, logits, hidden = model(ids, task_id=torch.tensor([1]), labels=ids, return_dict=False)
    full = model(ids, task_id=torch.tensor([1]), labels=ids)
    assert isinstance(full, MtlBionerOutput)
    assert (
        torch.equal(loss, full.loss) and torch.equal(logits, full.logits) and torch.equal(hidden, full.hidden_states)
    )


def test_logits_are_float32_in_half_precision() -> None:
    model = tiny_model().to(torch.bfloat16)
    output = model(torch.tensor([[1, 2]]), task_id=torch.tensor([1]))
    assert output.hidden_states.dtype == torch.bfloat16
    assert output.logits.dtype == torch.float32
    assert output.logits[0, :, 3:].eq(MINIMUM).all()


# --------------------------------------------------------------------------------------------------------------- loss


LOGITS = torch.tensor(
    [
        [[0.0] * 5, [0.0] * 5, [9.0, 0, 0, 0, 0]],
        [[0.0, 0, 0, MINIMUM, MINIMUM], [math.log(2), 0, 0, MINIMUM, MINIMUM], [0.0, 0, 0, MINIMUM, MINIMUM]],
    ]
)
LABELS = torch.tensor([[3, 0, IGNORE], [2, 0, IGNORE]])


def test_loss_by_hand() -> None:
    """Task 0: ln 5 twice, weight 2. Task 1: ln 3 and ln 2, weight 1/2."""
    weights, task_id = torch.tensor([2.0, 0.5]), torch.tensor([0, 1])
    loss, sums, counts = multi_task_loss(LOGITS, LABELS, task_id, weights, num_items=10)
    assert loss.item() == pytest.approx((2 * 2 * math.log(5) + 0.5 * math.log(6)) / 10)
    assert sums.tolist() == pytest.approx([2 * math.log(5), math.log(6)])
    assert counts.tolist() == [2, 2]
    without_n, _, _ = multi_task_loss(LOGITS, LABELS, task_id, weights)
    assert without_n.item() == pytest.approx(loss.item() * 10 / 4)
    as_tensor, _, _ = multi_task_loss(LOGITS, LABELS, task_id, weights, num_items=torch.tensor(10))
    assert as_tensor.item() == pytest.approx(loss.item())


def test_loss_of_a_mixed_batch_is_the_sum_of_one_task_batches() -> None:
    weights, task_id = torch.tensor([2.0, 0.5]), torch.tensor([0, 1])
    mixed, _, _ = multi_task_loss(LOGITS, LABELS, task_id, weights, 7)
    parts = [multi_task_loss(LOGITS[i : i + 1], LABELS[i : i + 1], task_id[i : i + 1], weights, 7)[0] for i in (0, 1)]
    assert mixed.item() == pytest.approx(sum(part.item() for part in parts), rel=1e-6)


def test_loss_without_any_label_is_zero_and_not_nan() -> None:
    logits = torch.zeros(1, 2, 3, requires_grad=True)
    loss, sums, counts = multi_task_loss(logits, torch.full((1, 2), IGNORE), torch.tensor([0]), torch.ones(1))
    loss.backward()
    assert (loss.item(), sums.tolist(), counts.tolist()) == (0, [0], [0])
    assert logits.grad.eq(0).all()
    learned = [torch.ones(1, requires_grad=True) for _ in range(2)]
    nothing = torch.full((1, 2), IGNORE), torch.tensor([0]), torch.ones(1), torch.tensor(0)  # as Trainer counts
    multi_task_loss(logits, *nothing, *learned)[0].backward()
    assert [one.grad.item() for one in learned] == [0, 0]


def test_adversarial_sharing_trains_in_half_precision() -> None:
    model = tiny_model(sharing="adversarial").to(torch.bfloat16).train()
    ids, task_id = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([1, 0])
    model(ids, torch.ones_like(ids), task_id=task_id, labels=torch.zeros_like(ids)).loss.backward()
    assert model.sharing.discriminator["zeta"].weight.grad.dtype == torch.bfloat16


def test_model_loss_uses_num_items_in_batch(model: MtlBionerModel) -> None:
    ids, task_id = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([1, 0])
    labels = torch.tensor([[IGNORE, 2, 0], [4, IGNORE, IGNORE]])
    mean = model(ids, task_id=task_id, labels=labels).loss
    assert model(ids, task_id=task_id, labels=labels, num_items_in_batch=12).loss.item() == pytest.approx(
        mean.item() * 3 / 12
    )
    rows = [model(ids[i : i + 1], task_id=task_id[i : i + 1], labels=labels[i : i + 1], num_items_in_batch=3).loss
            for i in (0, 1)]  # fmt: skip
    assert mean.item() == pytest.approx(sum(rows).item(), rel=1e-5)


def test_a_head_without_rows_gets_no_gradient(model: MtlBionerModel) -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    model(ids, task_id=torch.tensor([1, 1]), labels=torch.zeros_like(ids)).loss.backward()
    assert all(parameter.grad is None for parameter in model.heads["zeta"].parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.heads["alpha"].parameters())
    gradients = {name: p.grad for name, p in model.encoder.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())


def test_gradient_of_a_mixed_batch_is_the_sum_of_the_tasks(model: MtlBionerModel) -> None:
    ids, task_id = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), torch.tensor([1, 0, 1])
    labels = torch.tensor([[0, 1, 2], [4, 3, IGNORE], [IGNORE, 0, 1]])

    def gradients(rows: list[int]) -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(ids[rows], task_id=task_id[rows], labels=labels[rows], num_items_in_batch=7).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    mixed, zeta, alpha = gradients([0, 1, 2]), gradients([1]), gradients([0, 2])
    for name, value in mixed.items():
        parts = [part[name] for part in (zeta, alpha) if name in part]
        assert torch.allclose(value, sum(parts), atol=1e-6), name


# --------------------------------------------------------------------------------------------------------- with_tasks


def test_with_tasks_keeps_adds_and_drops(model: MtlBionerModel) -> None:
    new = {"name": "beta", "types": ["DNA", "RNA"]}
    grown = with_tasks(model, [{"name": "alpha", "types": ["Gene"]}, new])
    assert grown.config.tasks == [*TASKS, new]
    for key, value in model.state_dict().items():
        assert torch.equal(grown.state_dict()[key], value), key
    assert grown.heads["beta"].weight.shape == (5, 4)
    smaller = with_tasks(grown, [new], drop=["zeta"])
    assert smaller.config.task_names == ["alpha", "beta"]
    assert list(smaller.heads) == ["alpha", "beta"]
    assert torch.equal(smaller.heads["beta"].weight, grown.heads["beta"].weight)
    assert torch.equal(smaller.heads["alpha"].weight, model.heads["alpha"].weight)
    assert model.config.task_names == ["zeta", "alpha"]  # the old model stays as it is
    assert list(model.heads) == ["zeta", "alpha"]


def test_with_tasks_copies_the_weights(model: MtlBionerModel) -> None:
    other = with_tasks(model, [])
    with torch.no_grad():
        other.heads["alpha"].weight.add_(1)
    assert not torch.equal(other.heads["alpha"].weight, model.heads["alpha"].weight)


@pytest.mark.parametrize("training", [True, False])
def test_with_tasks_keeps_the_mode(training: bool) -> None:
    grown = with_tasks(tiny_model().train(training), [{"name": "b", "types": ["X"]}])
    assert {module.training for module in grown.modules()} == {training}


def test_with_tasks_keeps_the_settings() -> None:
    other = with_tasks(tiny_model(max_seq_length=77, word_pattern=r"\w+|\S"), [{"name": "b", "types": ["X"]}])
    assert (other.config.max_seq_length, other.config.word_pattern) == (77, r"\w+|\S")


def test_with_tasks_updates_the_labels_stock_code_reads() -> None:
    one = tiny_model(TASKS[1:])
    assert with_tasks(one, [{"name": "b", "types": ["X"]}]).config.num_labels == 2
    again = with_tasks(one, [{"name": "b", "types": ["X"]}], drop=["alpha"])
    assert again.config.id2label == {0: "O", 1: "B-X", 2: "I-X"}


def test_types_in_another_order_continue_the_head_in_its_own(model: MtlBionerModel) -> None:
    other = with_tasks(model, [{"name": "zeta", "types": ["Chemical", "Disease"]}])
    assert other.config.tasks == TASKS
    assert torch.equal(other.heads["zeta"].weight, model.heads["zeta"].weight)


def test_with_tasks_errors(model: MtlBionerModel) -> None:
    with pytest.raises(
        ValueError, match="task alpha finds Protein, the model's head of that name Gene; .*other=alpha"
    ):
        with_tasks(model, [{"name": "alpha", "types": ["Protein"]}])
    with pytest.raises(ValueError, match="no head 'gamma' to drop; the model's are zeta, alpha"):
        with_tasks(model, [], drop=["gamma"])
    with pytest.raises(ValueError, match="no encoder_config or no tasks"):
        with_tasks(model, [], drop=["zeta", "alpha"])
    assert with_tasks(model, [], drop=[""]).config.task_names == ["zeta", "alpha"]  # "".split(",")


@pytest.mark.parametrize("types", [["Gene"], ["DNA", "RNA"]])
def test_a_task_dropped_and_named_starts_afresh(model: MtlBionerModel, types: list[str]) -> None:
    torch.manual_seed(1)
    other = with_tasks(model, [{"name": "alpha", "types": types}], drop=["alpha"])
    assert other.config.tasks == [TASKS[0], {"name": "alpha", "types": types}]
    assert other.heads["alpha"].weight.shape == (1 + 2 * len(types), 4)
    assert not torch.equal(other.heads["alpha"].weight[:3], model.heads["alpha"].weight)
    assert torch.equal(other.heads["zeta"].weight, model.heads["zeta"].weight)


# ----------------------------------------------------------------------------------------------------------- encoders


@pytest.fixture(scope="session")
def family(encoder_type: str, toy_encoder: Callable, toy_tokenizer: Callable) -> tuple[str, MtlBionerModel, Any]:
    torch.manual_seed(0)
    model = build_model(toy_encoder(encoder_type), TASKS, head_dropout=0.0, max_seq_length=64)
    return toy_encoder(encoder_type), model.eval(), toy_tokenizer(encoder_type)


def test_encoder_weights_are_the_pretrained_ones(family: tuple) -> None:
    folder, model, _ = family
    pretrained = AutoModel.from_pretrained(folder).state_dict()
    own = model.encoder.state_dict()
    assert set(own) == {key for key in pretrained if not key.startswith("pooler.")}
    assert all(torch.equal(value, pretrained[key]) for key, value in own.items())
    assert getattr(model.encoder, "pooler", None) is None
    assert model.config.encoder_config._name_or_path == ""


def test_hidden_states_are_the_encoders(family: tuple) -> None:
    folder, model, tokenizer = family
    inputs = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
        assert torch.allclose(model(**inputs).hidden_states, expected, atol=1e-6)


def test_forward_backward_and_saving(family: tuple, tmp_path: Path) -> None:
    _, model, tokenizer = family
    inputs = tokenizer(TEXTS, return_tensors="pt", padding=True)
    task_id = torch.tensor([1, 0])
    labels = torch.where(inputs["attention_mask"].bool(), 2, IGNORE)
    output = model(**inputs, task_id=task_id, labels=labels)
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.heads.parameters())
    unused = [name for name, p in model.encoder.named_parameters() if p.grad is None]
    assert unused == []
    model.zero_grad()

    model.save_pretrained(tmp_path)
    loaded = MtlBionerModel.from_pretrained(tmp_path).eval()
    again = loaded(**inputs, task_id=task_id, labels=labels)
    assert torch.equal(again.logits, output.logits)
    assert torch.equal(again.loss, output.loss)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["encoder_config"]["model_type"] == model.config.encoder_config.model_type
    assert config["auto_map"] == {
        "AutoConfig": "modeling_mtl_bioner.MtlBionerConfig",
        "AutoModel": "modeling_mtl_bioner.MtlBionerModel",
        "AutoModelForTokenClassification": "modeling_mtl_bioner.MtlBionerModel",
    }


def test_padding_changes_nothing(family: tuple) -> None:
    _, model, tokenizer = family
    with torch.no_grad():
        both = model(**tokenizer(TEXTS, return_tensors="pt", padding=True)).task_logits["zeta"]
        for row, text in enumerate(TEXTS):
            alone = model(**tokenizer(text, return_tensors="pt")).task_logits["zeta"][0]
            assert torch.allclose(both[row, : len(alone)], alone, atol=1e-5)


def test_token_type_ids_reach_the_encoder(toy_encoder: Callable) -> None:
    model = build_model(toy_encoder("bert"), TASKS).eval()
    ids = torch.tensor([[2, 9, 10, 3]])
    plain = model(ids, task_id=torch.tensor([0])).logits
    assert torch.equal(model(ids, token_type_ids=torch.zeros_like(ids), task_id=torch.tensor([0])).logits, plain)
    assert not torch.allclose(model(ids, token_type_ids=torch.ones_like(ids), task_id=torch.tensor([0])).logits, plain)


def test_encoder_overrides(toy_encoder: Callable) -> None:
    overrides = {"attention_probs_dropout_prob": 0.0, "attention_dropout": 0.0, "hidden_dropout_prob": 0.3}
    model = build_model(toy_encoder("bert"), TASKS, overrides, max_seq_length=77)
    assert model.config.encoder_config.attention_probs_dropout_prob == 0.0
    assert not hasattr(model.config.encoder_config, "attention_dropout")
    assert {m.p for m in model.encoder.modules() if isinstance(m, nn.Dropout)} <= {0.0, 0.3}
    assert model.config.max_seq_length == 77


def test_a_model_saved_in_half_precision_goes_on_in_full(tmp_path: Path) -> None:
    tiny_model().to(torch.bfloat16).save_pretrained(tmp_path)
    assert MtlBionerModel.from_pretrained(tmp_path).dtype == torch.bfloat16
    full = with_tasks(MtlBionerModel.from_pretrained(tmp_path, dtype=torch.float32), [{"name": "b", "types": ["X"]}])
    assert {parameter.dtype for parameter in full.parameters()} == {torch.float32}
    half = with_tasks(MtlBionerModel.from_pretrained(tmp_path), [{"name": "b", "types": ["X"]}])
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert half(torch.tensor([[1, 2, 3]]), task_id=torch.tensor([2])).logits.isfinite().any()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementation_reaches_the_encoder(implementation: str, tmp_path: Path) -> None:
    tiny_model().save_pretrained(tmp_path)
    model = MtlBionerModel.from_pretrained(tmp_path, attn_implementation=implementation)
    assert model.encoder.config._attn_implementation == implementation


@pytest.mark.parametrize("sharing", ["hard", "shared_private", "cross"])
def test_a_renamed_head_is_the_same_head(toy_encoder: Callable[[str], str], sharing: str, tmp_path: Path) -> None:
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease"]}]
    model = build_model(toy_encoder("bert"), tasks, sharing=sharing).eval()
    ids = torch.randint(5, 20, (2, 7))
    before = model(ids).task_logits
    rename_task(model, "a", "gene")
    model.save_pretrained(tmp_path)
    after = MtlBionerModel.from_pretrained(tmp_path).eval()(ids).task_logits
    assert list(after) == ["gene", "b"]
    assert torch.equal(after["gene"], before["a"]) and torch.equal(after["b"], before["b"])
    for old, new in (("a", "c"), ("b", "gene")):
        with pytest.raises(ValueError, match=f"can't rename head '{old}' to '{new}'; the model's are gene, b"):
            rename_task(model, old, new)


def test_an_unknown_task(model: MtlBionerModel) -> None:
    with pytest.raises(ValueError, match="no task 'c'; the model's are zeta, alpha"):
        model(torch.tensor([[1, 2]]), tasks=["zeta", "c"])


@pytest.mark.parametrize("task", [-1, 2])
def test_a_task_id_without_a_task(model: MtlBionerModel, task: int) -> None:
    with pytest.raises(ValueError, match=rf"task_id holds \[{task}\]; the model's are 0 to 1"):
        model(torch.tensor([[1, 2]]), task_id=torch.tensor([task]))
