"""Sharing layers against slow loops over rows and tasks, written from the equations of Wang et al. 2019."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig

from modeling_mtl_bioner import SHARING, MtlBionerConfig, MtlBionerModel, multi_task_loss
from mtl_bioner.training.model_building import freeze_all_but, with_tasks


TASKS = [{"name": name, "types": ["Gene"] * (i == 0) or ["Disease", "Chemical"]} for i, name in enumerate("abc")]
WIDTH, HIDDEN = 5, 6


def make_model(sharing: str, tasks: list[dict[str, Any]] = TASKS, **options: Any) -> MtlBionerModel:
    torch.manual_seed(0)
    encoder = BertConfig(
        vocab_size=30, hidden_size=HIDDEN, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    model = MtlBionerModel(MtlBionerConfig(encoder, tasks, sharing, WIDTH, head_dropout=0.0, **options)).eval()
    with torch.no_grad():
        for parameter in model.sharing.parameters():
            parameter.normal_()
    return model


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(7, 4, HIDDEN, generator=torch.Generator().manual_seed(1))


TASK_ID = torch.tensor([2, 0, 2, 1, 0, 0, 2])


def elu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, x.exp() - 1)


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def slow_features(model: MtlBionerModel, token: Tensor, task: str) -> Tensor:
    """The features of one token, (hidden,), as the head of a task sees them."""
    layer, names = model.sharing, model.config.task_names
    if model.config.sharing == "hard":
        return token
    private = {name: elu(linear(layer.private[name], token)) for name in names}  # P_k
    shared = elu(linear(layer.shared, token))  # S
    own = private[task]
    if model.config.sharing == "cross" and len(names) > 1:
        gates = [torch.sigmoid(linear(layer.gates[task][k], private[k]) + 2.0) for k in names if k != task]
        own = own * torch.stack(gates).mean(0)
    return torch.cat([own, shared])


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_features_are_those_of_the_equations(sharing: str, number: int, hidden: Tensor) -> None:
    model = make_model(sharing, TASKS[:number])
    task_id = TASK_ID % number
    found = model.features(hidden, task_id)
    assert found.shape == (7, 4, model.sharing.size)
    for row, task in enumerate(task_id.tolist()):
        for position in range(4):
            expected = slow_features(model, hidden[row, position], "abc"[task])
            torch.testing.assert_close(found[row, position], expected)


@pytest.mark.parametrize("sharing", SHARING)
def test_all_tasks_at_once_give_what_each_gives_alone(sharing: str, hidden: Tensor) -> None:
    model = make_model(sharing)
    together = model.classify(hidden, ["a", "b", "c"])
    for task, name in enumerate("abc"):
        task_id = torch.full((7,), task)
        alone = model.classify_rows(model.features(hidden, task_id), task_id)
        torch.testing.assert_close(together[name], alone[..., : together[name].size(-1)])


def test_a_mixed_batch_gives_what_batches_of_one_task_give(hidden: Tensor) -> None:
    model = make_model("cross")
    mixed = model.features(hidden, TASK_ID)
    for task in range(3):
        rows = task == TASK_ID
        torch.testing.assert_close(mixed[rows], model.features(hidden[rows], TASK_ID[rows]))


def slow_penalty(model: MtlBionerModel, hidden: Tensor, task: int, length: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the discriminator, and the norm, of one row (length, hidden)."""
    features = [slow_features(model, token, "abc"[task]) for token in hidden[:length]]
    private, shared = (torch.stack([f[part] for f in features]) for part in (slice(WIDTH), slice(WIDTH, None)))
    logits = torch.stack([linear(own, shared.mean(0))[0] for own in model.sharing.discriminator.values()])
    cross_entropy = logits.exp().sum().log() - logits[task]
    product = torch.zeros(WIDTH, WIDTH)
    for s, p in zip(shared, private, strict=True):
        product += torch.outer(s / s.norm(), p / p.norm())
    return cross_entropy, product.pow(2).sum().sqrt()


def test_penalty_of_adversarial_sharing(hidden: Tensor) -> None:
    model = make_model("adversarial", adversarial_weight=0.5, difference_weight=0.25)
    lengths = [4, 1, 3, 2, 4, 4, 1]
    mask = (torch.arange(4) < torch.tensor(lengths)[:, None]).long()
    found = model.sharing.penalty(model.features(hidden, TASK_ID), TASK_ID, mask)
    for row, (task, length) in enumerate(zip(TASK_ID.tolist(), lengths, strict=True)):
        adversarial, difference = slow_penalty(model, hidden[row], task, length)
        torch.testing.assert_close(found[row], 0.5 * adversarial + 0.25 * difference)


def test_the_discriminator_learns_to_tell_tasks_and_the_shared_features_to_hide_them(hidden: Tensor) -> None:
    model = make_model("adversarial", adversarial_weight=1.0, difference_weight=0.0)
    mask = torch.ones(7, 4)

    def penalty() -> Tensor:
        return model.sharing.penalty(model.features(hidden, TASK_ID), TASK_ID, mask).sum()

    penalty().backward()
    before = penalty().item()
    for parameters, sign in ((model.sharing.discriminator, -1), (model.sharing.shared, 1)):
        changed = copy.deepcopy(list(parameters.parameters()))
        with torch.no_grad():
            for parameter in parameters.parameters():
                parameter -= 1e-3 * parameter.grad  # one step down the gradient
        assert (penalty().item() - before) * sign > 0
        with torch.no_grad():
            for parameter, old in zip(parameters.parameters(), changed, strict=True):
                parameter.copy_(old)


def test_penalty_is_added_for_each_labelled_token_and_in_training_only() -> None:
    model = make_model("adversarial", adversarial_weight=1.0)
    inputs = {"input_ids": torch.randint(0, 30, (3, 4)), "task_id": torch.tensor([0, 1, 0])}
    labels = torch.tensor([[0, 1, -100, -100], [0, -100, -100, -100], [0, 0, 0, 0]])
    assert model(**inputs, labels=labels).penalty is None
    model.train()
    model.encoder.eval()
    output = model(**inputs, labels=labels)
    plain, _, _ = multi_task_loss(output.logits, labels, inputs["task_id"], torch.ones(3))
    mean = (output.penalty * torch.tensor([2, 1, 4])).sum() / 7
    torch.testing.assert_close(output.loss, plain + mean)


@pytest.mark.parametrize("sharing", ["shared_private", "adversarial"])
def test_private_parameters_of_a_task_without_rows_get_no_gradient(sharing: str, hidden: Tensor) -> None:
    model = make_model(sharing)
    task_id = torch.tensor([0, 0, 2, 0, 0, 2, 0])
    model.classify_rows(model.features(hidden, task_id), task_id)[..., :3].sum().backward()
    assert model.sharing.private["b"].weight.grad is None
    assert model.sharing.private["a"].weight.grad is not None


def test_in_cross_sharing_every_private_part_learns_from_every_row(hidden: Tensor) -> None:
    model = make_model("cross")
    model.features(hidden, torch.zeros(7, dtype=torch.long)).sum().backward()
    assert all(private.weight.grad.abs().sum() > 0 for private in model.sharing.private.values())
    assert model.sharing.gates["a"]["b"].weight.grad is not None
    assert model.sharing.gates["b"]["a"].weight.grad is None


@pytest.mark.parametrize("sharing", [name for name in SHARING if name != "hard"])
def test_new_layers_keep_the_size_of_what_they_are_given(sharing: str) -> None:
    torch.manual_seed(0)
    encoder = BertConfig(hidden_size=384, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    model = MtlBionerModel(MtlBionerConfig(encoder, TASKS, sharing=sharing))
    features = model.sharing(model.sharing.project(torch.randn(1, 500, 384)), torch.tensor([0]))
    assert 0.5 < features.std() < 1.2
    assert 0.3 < model.heads[TASKS[0]["name"]](features).std() < 1.2
    assert model.encoder.encoder.layer[0].output.dense.weight.std() < 0.021  # has its own way


def test_gates_begin_almost_open() -> None:
    encoder = BertConfig(vocab_size=30, hidden_size=HIDDEN, num_hidden_layers=1, num_attention_heads=1)
    model = MtlBionerModel(MtlBionerConfig(encoder, TASKS, "cross", WIDTH))
    gates = model.sharing.open_gates(model.sharing.project(torch.zeros(2, 3, HIDDEN)), torch.tensor([0, 2]))
    assert gates.shape == (2, 2, 3, WIDTH)
    torch.testing.assert_close(gates, torch.full_like(gates, 0.8808), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sharing", SHARING)
def test_tasks_are_added_and_dropped_with_their_part_of_the_sharing_layer(sharing: str, tmp_path: Path) -> None:
    model = make_model(sharing)
    ids = torch.arange(8).view(2, 4)
    grown = with_tasks(model, [{"name": "d", "types": ["DNA"]}], drop=["b"])
    assert grown.config.task_names == ["a", "c", "d"]
    old, new = model.state_dict(), grown.state_dict()
    for key in old.keys() & new.keys():
        torch.testing.assert_close(new[key], old[key], msg=key)
    assert not [key for key in new if ".b." in key]
    grown.save_pretrained(tmp_path)
    loaded = MtlBionerModel.from_pretrained(tmp_path).eval()
    for name, logits in grown.eval()(ids).task_logits.items():
        torch.testing.assert_close(loaded(ids).task_logits[name], logits, rtol=0, atol=0)


@pytest.mark.parametrize("sharing", ["adversarial", "cross"])
def test_a_dropped_task_of_the_same_name_starts_afresh(sharing: str) -> None:
    model = make_model(sharing)
    fresh = with_tasks(model, [TASKS[1]], drop=["b"])
    assert fresh.config.task_names == ["a", "c", "b"]
    old, new = model.state_dict(), fresh.state_dict()
    for key in new:
        same = torch.equal(new[key], old[key])
        assert same == (".b." not in key) or key.endswith("bias"), key


@pytest.mark.parametrize(("hidden_size", "width"), [(768, 128), (384, 64), (4, 1)])
def test_width_is_a_sixth_of_the_encoder_unless_given(hidden_size: int, width: int) -> None:
    encoder = BertConfig(hidden_size=hidden_size, num_attention_heads=1)
    config = MtlBionerConfig(encoder, TASKS, "cross")
    assert config.sharing_size == width
    config.encoder_config.hidden_size = 60  # what was settled once stays, as in a saved model
    assert MtlBionerConfig(**config.to_dict()).sharing_size == width
    assert MtlBionerConfig(encoder, TASKS, "cross", 7).sharing_size == 7


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_bad_sharing_size(size: Any) -> None:
    with pytest.raises(ValueError, match=f"sharing_size is {size}; give a whole number from 1"):
        MtlBionerConfig(tasks=TASKS, sharing_size=size)


@pytest.mark.parametrize("sharing", SHARING)
def test_what_is_trained_where_all_else_is_frozen(sharing: str) -> None:
    model = make_model(sharing, [{"name": name, "types": ["Gene"]} for name in ("a", "ab", "b")])
    freeze_all_but(model, ["a"])
    trained = {name.rpartition(".")[0] for name, own in model.named_parameters() if own.requires_grad}
    private = {"heads.a", "sharing.private.a"}
    gates = {"sharing.gates.a.ab", "sharing.gates.a.b"}
    assert trained == {"hard": {"heads.a"}, "cross": private | gates}.get(sharing, private)
