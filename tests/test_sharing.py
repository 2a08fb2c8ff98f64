"""Sharing layers against slow loops over rows and tasks, from the equations of Wang et al. 2019; changes of heads."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toys import tiny_model
from transformers import BertConfig

from modeling_mtl_bioner import SHARING, MtlBionerConfig, MtlBionerModel, multi_task_loss
from mtl_bioner.training.model_building import freeze_all_but, rename_task, with_tasks


TASKS = [{"name": name, "types": ["Gene"] * (i == 0) or ["Disease", "Chemical"]} for i, name in enumerate("abc")]
WIDTH, HIDDEN = 5, 6
TASK_ID = torch.tensor([2, 0, 2, 1, 0, 0, 2])
IDS = torch.arange(8).view(2, 4)


def make_model(sharing: str, tasks: list[dict[str, Any]] = TASKS, **options: Any) -> MtlBionerModel:
    model = tiny_model(tasks, HIDDEN, sharing=sharing, sharing_size=WIDTH, **options)
    with torch.no_grad():
        for parameter in model.sharing.parameters():
            parameter.normal_()
    return model


@pytest.fixture
def hidden() -> Tensor:
    return torch.randn(7, 4, HIDDEN, generator=torch.Generator().manual_seed(1))


def slow_features(model: MtlBionerModel, token: Tensor, task: str) -> Tensor:
    """The features of one token, (hidden,), as the head of a task sees them."""
    layer, names = model.sharing, model.config.task_names
    if model.config.sharing == "hard":
        return token
    private = {name: nn.functional.elu(layer.private[name](token)) for name in names}  # P_k
    shared = nn.functional.elu(layer.shared(token))  # S
    gate = torch.ones(WIDTH)
    if model.config.sharing == "cross" and len(names) > 1:
        gates = [torch.sigmoid(layer.gates[task][k](private[k]) + 2.0) for k in names if k != task]
        gate = torch.stack(gates).mean(0)
    return torch.cat([private[task] * gate, shared])


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_features_are_those_of_the_equations(sharing: str, number: int, hidden: Tensor) -> None:
    model = make_model(sharing, TASKS[:number])
    task_id = TASK_ID % number
    features = model.features(hidden, task_id)
    assert features.shape == (7, 4, model.sharing.size)
    for row, task in enumerate(task_id.tolist()):
        expected = torch.stack([slow_features(model, token, "abc"[task]) for token in hidden[row]])
        torch.testing.assert_close(features[row], expected)


@pytest.mark.parametrize("sharing", SHARING)
def test_mixed_batches_and_all_tasks_at_once_give_what_each_task_gives_alone(sharing: str, hidden: Tensor) -> None:
    model = make_model(sharing)
    together, mixed = model.classify(hidden, ["a", "b", "c"]), model.features(hidden, TASK_ID)
    for task, name in enumerate("abc"):
        rows, task_id = task == TASK_ID, torch.full((7,), task)
        alone = model.features(hidden, task_id)
        torch.testing.assert_close(mixed[rows], alone[rows])
        torch.testing.assert_close(together[name], model.classify_rows(alone, task_id)[..., : together[name].size(-1)])


def slow_penalty(model: MtlBionerModel, hidden: Tensor, task: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the discriminator, and the norm, of one row (length, hidden)."""
    features = torch.stack([slow_features(model, token, "abc"[task]) for token in hidden])
    private, shared = features.split(WIDTH, -1)
    logits = torch.stack([layer(shared.mean(0))[0] for layer in model.sharing.discriminator.values()])
    cross_entropy = logits.exp().sum().log() - logits[task]
    product = sum(torch.outer(s / s.norm(), p / p.norm()) for s, p in zip(shared, private, strict=True))
    return cross_entropy, product.pow(2).sum().sqrt()


def test_penalty_of_adversarial_sharing(hidden: Tensor) -> None:
    model = make_model("adversarial", adversarial_weight=0.5, difference_weight=0.25)
    lengths = [4, 1, 3, 2, 4, 4, 1]
    mask = (torch.arange(4) < torch.tensor(lengths)[:, None]).long()
    penalty = model.sharing.penalty(model.features(hidden, TASK_ID), TASK_ID, mask)
    for row, (task, length) in enumerate(zip(TASK_ID.tolist(), lengths, strict=True)):
        adversarial, difference = slow_penalty(model, hidden[row, :length], task)
        torch.testing.assert_close(penalty[row], 0.5 * adversarial + 0.25 * difference)


def test_the_discriminator_learns_to_tell_tasks_and_the_shared_features_to_hide_them(hidden: Tensor) -> None:
    model = make_model("adversarial", adversarial_weight=1.0, difference_weight=0.0)

    def penalty() -> Tensor:
        return model.sharing.penalty(model.features(hidden, TASK_ID), TASK_ID, torch.ones(7, 4)).sum()

    before = penalty()
    before.backward()
    for part, sign in ((model.sharing.discriminator, -1), (model.sharing.shared, 1)):
        weights = copy.deepcopy(part.state_dict())
        with torch.no_grad():
            for parameter in part.parameters():
                parameter -= 1e-3 * parameter.grad  # one step down the gradient
        assert (penalty() - before) * sign > 0
        part.load_state_dict(weights)


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
    model.to(torch.bfloat16)(**inputs, labels=labels).loss.backward()
    assert model.sharing.discriminator["a"].weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(("sharing", "learn"), [("shared_private", "ac"), ("adversarial", "ac"), ("cross", "abc")])
def test_private_parts_learn_from_the_rows_of_their_task_or_through_gates(
    sharing: str, learn: str, hidden: Tensor
) -> None:
    model = make_model(sharing)
    task_id = torch.tensor([0, 0, 2, 0, 0, 2, 0])
    model.classify_rows(model.features(hidden, task_id), task_id)[..., :3].sum().backward()
    assert [name for name, layer in model.sharing.private.items() if layer.weight.grad is not None] == list(learn)
    if sharing == "cross":
        assert model.sharing.gates["a"]["b"].weight.grad is not None
        assert model.sharing.gates["b"]["a"].weight.grad is None


@pytest.mark.parametrize("sharing", [name for name in SHARING if name != "hard"])
def test_new_layers_keep_the_size_of_what_they_are_given(sharing: str) -> None:
    torch.manual_seed(0)
    encoder = BertConfig(hidden_size=384, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    model = MtlBionerModel(MtlBionerConfig(encoder, TASKS, sharing=sharing))
    features = model.sharing(model.sharing.project(torch.randn(1, 500, 384)), torch.tensor([0]))
    assert 0.5 < features.std() < 1.2
    assert 0.3 < model.heads["a"](features).std() < 1.2
    assert model.encoder.encoder.layer[0].output.dense.weight.std() < 0.021  # has its own way


def test_gates_begin_almost_open() -> None:
    model = tiny_model(TASKS, HIDDEN, sharing="cross", sharing_size=WIDTH)
    gates = model.sharing.open_gates(model.sharing.project(torch.zeros(2, 3, HIDDEN)), torch.tensor([0, 2]))
    assert gates.shape == (2, 2, 3, WIDTH)
    torch.testing.assert_close(gates, torch.full_like(gates, 0.8808), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("hidden_size", "width"), [(768, 128), (384, 64), (4, 1)])
def test_width_is_a_sixth_of_the_encoder_unless_given(hidden_size: int, width: int) -> None:
    encoder = BertConfig(hidden_size=hidden_size, num_attention_heads=1)
    config = MtlBionerConfig(encoder, TASKS, "cross")
    assert config.sharing_size == width
    config.encoder_config.hidden_size = 60  # what was settled once stays, as in a saved model
    assert MtlBionerConfig(**config.to_dict()).sharing_size == width
    assert MtlBionerConfig(encoder, TASKS, "cross", 7).sharing_size == 7


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("training", [True, False])
def test_tasks_are_added_and_dropped_with_their_part_of_the_sharing_layer(
    sharing: str, training: bool, tmp_path: Path
) -> None:
    model = make_model(sharing, max_seq_length=77, word_pattern=r"\w+|\S").train(training)
    reordered = {"name": "c", "types": ["Chemical", "Disease"]}  # continues the head in its own order
    grown = with_tasks(model, [reordered, {"name": "d", "types": ["DNA", "RNA"]}], drop=["b"])
    assert grown.config.tasks == [TASKS[0], TASKS[2], {"name": "d", "types": ["DNA", "RNA"]}]
    assert list(grown.heads) == ["a", "c", "d"] and grown.heads["d"].out_features == 5
    assert (grown.config.max_seq_length, grown.config.word_pattern) == (77, r"\w+|\S")
    assert {module.training for module in grown.modules()} == {training}
    old, new = model.state_dict(), grown.state_dict()
    assert all(torch.equal(new[key], old[key]) for key in old.keys() & new.keys())
    assert not [key for key in new if ".b." in key]
    assert model.config.task_names == list(model.heads) == ["a", "b", "c"]  # the old model stays as it is
    grown.save_pretrained(tmp_path)
    loaded = MtlBionerModel.from_pretrained(tmp_path).eval()(IDS).task_logits
    torch.testing.assert_close(loaded, grown.eval()(IDS).task_logits)
    with torch.no_grad():
        grown.heads["a"].weight.add_(1)  # a copy
    assert torch.equal(model.heads["a"].weight, old["heads.a.weight"])


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("types", [TASKS[1]["types"], ["DNA"]])
def test_a_task_dropped_and_named_starts_afresh(sharing: str, types: list[str]) -> None:
    model = make_model(sharing)
    fresh = with_tasks(model, [{"name": "b", "types": types}], drop=["b"])
    assert fresh.config.tasks == [TASKS[0], TASKS[2], {"name": "b", "types": types}]
    old, new = model.state_dict(), fresh.state_dict()
    for key in new:
        if not key.endswith("bias"):
            assert torch.equal(new[key], old[key]) == (".b." not in key), key


@pytest.mark.parametrize(
    ("tasks", "drop", "message"),
    [
        ([{"name": "a", "types": ["DNA"]}], [], "task a finds DNA, the model's head of that name Gene; .*other=a"),
        ([], ["gamma"], "no head 'gamma' to drop; the model's are a, b, c"),
        ([], ["a", "b", "c"], "no encoder_config or no tasks"),
    ],
)
def test_with_tasks_errors(tasks: list[dict], drop: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_tasks(make_model("hard"), tasks, drop)
    assert with_tasks(make_model("hard"), [], drop=[""]).config.tasks == TASKS  # "".split(",")


@pytest.mark.parametrize("sharing", SHARING)
def test_a_renamed_head_is_the_same_head(sharing: str, tmp_path: Path) -> None:
    model = make_model(sharing, TASKS[:2])
    before = model(IDS).task_logits
    rename_task(model, "a", "gene")
    model.save_pretrained(tmp_path)
    after = MtlBionerModel.from_pretrained(tmp_path).eval()(IDS).task_logits
    assert list(after) == ["gene", "b"]
    torch.testing.assert_close(list(after.values()), list(before.values()))
    for old, new in (("a", "c"), ("b", "gene")):
        with pytest.raises(ValueError, match=f"can't rename head '{old}' to '{new}'; the model's are gene, b"):
            rename_task(model, old, new)


@pytest.mark.parametrize("sharing", SHARING)
def test_what_is_trained_where_all_else_is_frozen(sharing: str) -> None:
    model = make_model(sharing, [{"name": name, "types": ["Gene"]} for name in ("a", "ab", "b")])
    freeze_all_but(model, ["a"])
    trained = {name.rpartition(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    private = {"heads.a", "sharing.private.a"}
    gates = {"sharing.gates.a.ab", "sharing.gates.a.b"}
    assert trained == {"hard": {"heads.a"}, "cross": private | gates}.get(sharing, private)
