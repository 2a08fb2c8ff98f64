"""MultiTaskTrainer: its loss, its epochs, its evaluation and which model it keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BertConfig

from data_collators import MultiTaskCollator, TaskBatchSampler, TaskRows, TaskText
from dataset_scripts.bio import label_words
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel
from mtl_bioner.evaluation.spans import compute_span_metrics, decode_entities
from mtl_bioner.training import trainer as trainer_module
from mtl_bioner.training.callbacks import SetEpoch, log_line
from mtl_bioner.training.checkpointing import last_complete_checkpoint
from mtl_bioner.training.loss_weights import balanced_weights, parse_loss_weights
from mtl_bioner.training.model_building import build_model, freeze_all_but
from mtl_bioner.training.runtime import ByteDropout, LaunchError, check_processes
from mtl_bioner.training.trainer import MultiTaskTrainer
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


TASKS = [{"name": "ill", "types": ["Disease"]}, {"name": "gene", "types": ["Gene", "Protein"]}]
NAMES = ["ill", "gene"]

# (task, corpus, text, mentions); the texts have 4, 9, 3, 6 and 2, 5, 4, 7 words
TEXTS = [
    (0, "first", "Lupus is a rash", [("Lupus", "Disease")]),
    (0, "first", "Severe asthma and mild gout were seen in boys", [("asthma", "Disease"), ("gout", "Disease")]),
    (0, "second", "No disease here", []),
    (0, "second", "He had lung cancer last year", [("lung cancer", "Disease")]),
    (1, "genes", "BRCA1 mutated", [("BRCA1", "Gene")]),
    (1, "genes", "The EGFR kinase binds TGFA", [("EGFR", "Gene"), ("TGFA", "Protein")]),
    (1, "genes", "A p53 mutant gene", [("p53", "Protein")]),
    (1, "genes", "TP53 and BRCA1 are both tumour suppressors", [("TP53", "Gene"), ("BRCA1", "Gene")]),
]


def make_rows(tokenizer: Any, texts: Sequence[tuple] = TEXTS) -> TaskRows:
    """The texts as rows; each fits one window."""
    made = []
    for number, (task, corpus, text, mentions) in enumerate(texts):
        entities = [Entity(text.index(words), text.index(words) + len(words), name) for words, name in mentions]
        document = Document(str(number), text, sorted(entities))
        words, tags, lost = label_words(document)
        assert not lost
        made.append(TaskText(task, corpus, document, words, tags))
    labels = [["O", "B-Disease", "I-Disease"], ["O", "B-Gene", "I-Gene", "B-Protein", "I-Protein"]]
    return TaskRows(made, labels, tokenizer, 64, 8)


@pytest.fixture(scope="module")
def tokenizer(toy_tokenizer: Callable[[str], Any]) -> Any:
    return toy_tokenizer("bert")


@pytest.fixture
def rows(tokenizer: Any) -> TaskRows:
    return make_rows(tokenizer)


@pytest.fixture
def trainer_of(toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path) -> Callable[..., MultiTaskTrainer]:
    """A trainer of a fresh model, the same every time, without dropout."""

    def make(
        train: TaskRows | None, dev: TaskRows | None = None, folder: str = "out", **options: Any
    ) -> MultiTaskTrainer:
        torch.manual_seed(1)
        no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = build_model(toy_encoder("bert"), TASKS, no_dropout, head_dropout=0.0)
        if dev is None:
            options = {"eval_strategy": "no", "save_strategy": "no", **options}
        plain = {"use_cpu": True, "disable_tqdm": True, "warmup_steps": 0, "lr_scheduler_type": "constant"}
        plain |= {"mask_probability": 0.0, "bf16": False}  # literal values hold in fp32, whatever the machine has
        args = MultiTaskTrainingArguments(output_dir=str(tmp_path / folder), **{**plain, **options})
        return MultiTaskTrainer(
            model=model,
            args=args,
            train_dataset=train,
            eval_dataset=dev,
            data_collator=MultiTaskCollator(tokenizer.pad_token_id),
            processing_class=tokenizer,
        )

    return make


def sums_and_counts(model: MtlBionerModel, rows: TaskRows, pad: int) -> tuple[list[float], list[int]]:
    """Summed cross-entropy and labelled tokens of each task, row by row, without any of the project's loss code."""
    sums, counts = [0.0, 0.0], [0, 0]
    model.eval()
    for row in rows.rows:
        batch = MultiTaskCollator(pad)([row])
        with torch.no_grad():
            log_probs = model(
                batch["input_ids"], batch["attention_mask"], task_id=batch["task_id"]
            ).logits.log_softmax(-1)
        for position, label in enumerate(row.labels):
            if label != IGNORE:
                sums[row.task_id] -= log_probs[0, position, label].item()
                counts[row.task_id] += 1
    return sums, counts


# -------------------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("equal", [1.0, 1.0]),
        ("ill=2,gene=0.5", [2.0, 0.5]),
        ("gene=0", [1.0, 0.0]),
        ("balanced", None),
    ],
)
def test_loss_weights_in_the_order_of_the_tasks(text: str, expected: list[float] | None) -> None:
    assert parse_loss_weights(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sick=1", ["--task_loss_weights names 'sick'", "ill, gene"]),
        ("ill=heavy", ["--task_loss_weights gives ill the weight 'heavy'", "ill=0.5"]),
        ("ill", ["--task_loss_weights gives ill the weight ''", "ill=0.5"]),
        ("ill=-1", ["ill the weight -1", "0 or more"]),
        ("ill=inf", ["ill the weight inf", "finite"]),
        ("ill=nan", ["ill the weight nan", "finite"]),
        ("ill=0,gene=0", ["--task_loss_weights", "at least one"]),
    ],
)
def test_bad_loss_weights(text: str, parts: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        parse_loss_weights(text, NAMES)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("text", "weights"), [("equal", (1.0, 1.0)), ("ill=2,gene=0.5", (2.0, 0.5)), ("gene=0", (1.0, 0.0))]
)
def test_loss_is_the_weighted_sum_over_all_labelled_tokens(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, text: str, weights: tuple[float, float]
) -> None:
    trainer = trainer_of(rows, task_loss_weights=text)
    sums, counts = sums_and_counts(trainer.model, rows, 0)
    assert counts == [22, 18]
    expected = (weights[0] * sums[0] + weights[1] * sums[1]) / 40
    batch = trainer.data_collator(rows.rows)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-5)
    # N of the update, when Trainer counts it over several micro-batches
    assert trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(80)).item() == pytest.approx(
        expected / 2, rel=1e-5
    )


def test_learned_weights_are_those_of_the_equation(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    trainer = trainer_of(rows, loss_weighting="uncertainty", task_loss_weights="ill=2")
    sums, counts = sums_and_counts(trainer.model, rows, 0)
    with torch.no_grad():
        trainer.model.log_variances.copy_(torch.tensor([0.5, -1.0]) / 20)
    trainer.model.train()
    expected = 2 * math.exp(-0.5) * sums[0] + math.exp(1.0) * sums[1] + counts[0] * 0.25 - counts[1] * 0.5
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows.rows))
    assert loss.item() == pytest.approx(expected / 40, rel=1e-5)
    loss.backward()  # by s itself, so that the norm of all gradients, which clipping goes by, knows no factor
    by_s = [-2 * math.exp(-0.5) * sums[0] + counts[0] / 2, -math.exp(1.0) * sums[1] + counts[1] / 2]
    assert trainer.model.log_variances.grad.tolist() == pytest.approx([own / 40 for own in by_s], rel=1e-5)


def test_learned_weights_grow_for_the_task_that_is_learned_and_are_logged(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, tmp_path: Path
) -> None:
    trainer = trainer_of(
        rows, loss_weighting="uncertainty", task_loss_weights="equal", num_train_epochs=40, learning_rate=0.005
    )
    trainer.train()
    last = [entry for entry in trainer.state.log_history if "weight_ill" in entry][-1]
    assert last["weight_ill"] > 1.0 and last["weight_gene"] > 1.0
    assert last["weight_ill"] != last["weight_gene"]
    trainer.save_model(str(tmp_path / "saved"))
    loaded, info = MtlBionerModel.from_pretrained(str(tmp_path / "saved"), output_loading_info=True)
    assert loaded.log_variances is None
    assert not info["unexpected_keys"] and not info["missing_keys"]


def fake_rows(*labelled_tokens: tuple[int, int]) -> Any:
    """Rows of (task, labelled tokens)."""
    made = [SimpleNamespace(task_id=task, labels=[IGNORE, *[0] * count, IGNORE]) for task, count in labelled_tokens]
    return SimpleNamespace(rows=made, task_ids=[row.task_id for row in made], lengths=[len(r.labels) for r in made])


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, [8 / 6, 8 / 2, 1.0]),  # 6 of 8 labelled tokens, 2 of 8; a task without rows weighs 1
        (0.0, [2.0, 2.0, 1.0]),  # two rows each: 2 of 3 rows give 4 tokens, the one row twice 4
    ],
)
def test_balanced_weights_are_the_inverse_shares(alpha: float, expected: list[float]) -> None:
    rows = fake_rows((0, 4), (0, 1), (0, 1), (1, 2))
    sampler = TaskBatchSampler(rows.task_ids, rows.lengths, 2, alpha)
    assert balanced_weights(rows, sampler, 3) == pytest.approx(expected)


@pytest.mark.parametrize("one_task_batches", [False, True])
def test_balanced_gives_the_plain_sum_of_task_means_over_an_epoch(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, one_task_batches: bool
) -> None:
    options = {"per_device_train_batch_size": 3, "one_task_batches": one_task_batches}
    trainer = trainer_of(rows, task_loss_weights="balanced", **options)
    sums, counts = sums_and_counts(trainer.model, rows, 0)
    over_epoch = 0.0
    for batch in trainer.get_train_dataloader():
        labels = int(batch["labels"].ne(IGNORE).sum())
        over_epoch += trainer.compute_loss(trainer.model, batch).item() * labels / 40
    assert over_epoch == pytest.approx(sums[0] / counts[0] + sums[1] / counts[1], rel=1e-5)


def weights_of(trainer: MultiTaskTrainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


@pytest.mark.parametrize("weights", ["equal", "ill=2,gene=0.5", "balanced"])
def test_two_accumulated_batches_of_four_are_one_of_eight(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, weights: str | None
) -> None:
    after = []
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        trainer = trainer_of(
            rows,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=1,
            optim="sgd",
            learning_rate=0.5,
            max_grad_norm=0.0,
            task_loss_weights=weights,
        )
        before = weights_of(trainer)
        trainer.train()
        assert trainer.state.global_step == 1
        after.append(weights_of(trainer))
        assert largest_difference(before, after[-1]) > 1e-2
    assert largest_difference(after[0], after[1]) < 1e-5
    assert largest_difference(after[0], after[2]) < 1e-5


def test_losses_of_the_tasks_are_logged_each_since_the_last_log(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    """One update an epoch, so the second log is the loss of the model after the first update."""
    options = {"learning_rate": 0.5, "optim": "sgd", "logging_steps": 1, "task_loss_weights": "gene=3"}
    options |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    one = trainer_of(rows, num_train_epochs=1, **options)
    expected = [sums_and_counts(one.model, rows, 0)]
    one.train()
    expected.append(sums_and_counts(one.model, rows, 0))
    two = trainer_of(rows, num_train_epochs=2, **options)
    two.train()
    logs = [entry for entry in two.state.log_history if "loss" in entry]
    assert len(logs) == 2
    for entry, (sums, counts) in zip(logs, expected, strict=True):  # unweighted means; the loss itself is weighted
        assert entry["loss_ill"] == pytest.approx(sums[0] / counts[0], abs=1e-4)
        assert entry["loss_gene"] == pytest.approx(sums[1] / counts[1], abs=1e-4)
        assert entry["loss"] == pytest.approx((sums[0] + 3 * sums[1]) / 40, abs=1e-3)
    assert abs(logs[0]["loss_ill"] - logs[1]["loss_ill"]) > 1e-2


def test_every_epoch_is_logged_however_short(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> None:
    trainer = trainer_of(rows, num_train_epochs=3, logging_steps=50)
    trainer.train()
    assert [entry["epoch"] for entry in trainer.state.log_history if "loss_ill" in entry] == [1.0, 2.0, 3.0]


def test_a_longer_epoch_is_not_logged_again_for_its_last_steps(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    trainer = trainer_of(rows, num_train_epochs=3, logging_steps=3, per_device_train_batch_size=1)
    trainer.train()
    steps = trainer.state.max_steps
    assert steps % 9  # an epoch doesn't end with a log
    logged = [entry["step"] for entry in trainer.state.log_history if "loss_ill" in entry]
    assert logged == list(range(3, steps + 1, 3))


# -------------------------------------------------------------------------------------------------- speed and launch


def test_byte_dropout_drops_and_scales_as_it_says() -> None:
    torch.manual_seed(0)
    features = torch.ones(333, 1001, requires_grad=True)  # no multiple of 8 elements
    dropout = ByteDropout(0.1)
    dropped = dropout(features)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(1 - 26 / 256, abs=0.003)  # 0.1 to the nearest 256th
    assert dropped.detach().unique().tolist() == pytest.approx([0.0, 256 / 230])
    dropped.sum().backward()
    assert torch.equal(features.grad, dropped.detach())  # the gradient goes the same way
    assert not torch.equal(dropout(features) != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(dropout(features), dropped)
    rows = kept.float().mean(1)
    assert rows.std().item() == pytest.approx((0.1016 * 0.8984 / 1001) ** 0.5, rel=0.2)  # elements are independent


def test_byte_dropout_does_nothing_where_nothing_is_dropped() -> None:
    features = torch.randn(3, 5)
    assert ByteDropout(0.0)(features) is features
    assert ByteDropout(0.5).eval()(features) is features
    half = ByteDropout(0.5)(features.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("probability", [0.999, 1.0])
def test_byte_dropout_of_nearly_all_keeps_one_in_256(probability: float) -> None:
    torch.manual_seed(0)
    dropped = ByteDropout(probability)(torch.ones(100_000))
    assert dropped.unique().tolist() == [0.0, 256.0]
    assert dropped.mean().item() == pytest.approx(1, abs=0.2)


def test_training_masks_a_share_of_the_subwords_and_evaluation_none(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, tokenizer: Any
) -> None:
    trainer = trainer_of(rows, mask_probability=0.25)
    batch = trainer.data_collator(rows.rows * 50)
    read: list[Tensor] = []
    trainer.model.register_forward_pre_hook(lambda _, args, inputs: read.append(inputs["input_ids"]), with_kwargs=True)
    trainer.model.train()
    trainer.compute_loss(trainer.model, batch)
    trainer.model.eval()
    trainer.compute_loss(trainer.model, batch)
    assert torch.equal(read[1], batch["input_ids"])
    changed = read[0] != batch["input_ids"]
    assert set(read[0][changed].tolist()) == {tokenizer.mask_token_id}
    special = torch.isin(batch["input_ids"], torch.tensor(tokenizer.all_special_ids))
    assert not (changed & special).any()
    assert changed[~special].float().mean().item() == pytest.approx(0.25, abs=0.02)


def test_an_encoder_without_a_mask_token_trains_without_masking(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tokenizer), "mask_token_id", None, raising=False)
    assert trainer_of(rows, mask_probability=0.25).mask_probability == 0.0


def test_a_cpu_trainer_uses_byte_dropout_everywhere(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    kinds = {type(module) for module in trainer_of(rows).model.modules() if isinstance(module, torch.nn.Dropout)}
    assert kinds == {ByteDropout}


@pytest.mark.parametrize(
    ("environment", "world", "message"),
    [
        ({}, 1, None),
        ({"WORLD_SIZE": "1", "MASTER_ADDR": "here"}, 1, None),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "here", "ACCELERATE_MIXED_PRECISION": "no"}, 2, None),
        ({"MASTER_ADDR": "here"}, 1, None),  # as a cluster's scheduler sets it
        ({"WORLD_SIZE": "2"}, 1, "started 2 processes, but this one trains in a world of 1"),
        ({"MASTER_ADDR": "here", "ACCELERATE_MIXED_PRECISION": "no"}, 1, "asked for several processes but started"),
    ],
)
def test_processes_that_were_not_started_are_noticed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], world: int, message: str | None
) -> None:
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if message is None:
        check_processes(world)
    else:
        with pytest.raises(LaunchError, match=message):
            check_processes(world)


@pytest.mark.parametrize("supported", [False, True])
def test_bf16_is_on_where_the_cpu_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, supported: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True).bf16 is supported
    assert MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=False).bf16 is False
    assert MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, bf16=True).bf16 is True


def test_training_in_bf16(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> None:
    trainer = trainer_of(rows, bf16=True, num_train_epochs=1, learning_rate=0.01)
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert largest_difference(before, after) > 0.001


def test_subwords_are_counted_for_the_progress_bar(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    trainer = trainer_of(rows, num_train_epochs=2, per_device_train_batch_size=3)
    trainer.train()
    assert int(trainer.subwords) == 2 * sum(rows.lengths)


def test_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    for name, state in (
        ("9", '{"global_step": 9}'),
        ("10", '{"global_step": 10}'),
        ("11", '{"global_st'),
        ("x", "{}"),
        ("best2", '{"global_step": 20}'),  # somebody's copy
    ):
        folder = tmp_path / f"checkpoint-{name}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-12").mkdir()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


# ------------------------------------------------------------------------------------------------- epochs and heads


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_sampler_is_told_every_epoch(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    trainer = trainer_of(
        rows, num_train_epochs=4, per_device_train_batch_size=3, gradient_accumulation_steps=accumulation
    )
    epochs: list[int] = []
    draw = TaskBatchSampler.__iter__

    def note_epoch(self: TaskBatchSampler) -> Any:
        epochs.append(self.epoch)
        return draw(self)

    monkeypatch.setattr(TaskBatchSampler, "__iter__", note_epoch)
    trainer.train()
    assert epochs == [0, 1, 2, 3]
    assert any(isinstance(callback, SetEpoch) for callback in trainer.callback_handler.callbacks)


@pytest.mark.parametrize(("epoch", "expected"), [(None, 0), (0.0, 0), (1.0, 1), (2.4, 2)])
def test_the_callback_sets_the_epoch_also_in_the_middle_of_one(epoch: float | None, expected: int) -> None:
    sampler = TaskBatchSampler([0, 0], [3, 3], 1)
    sampler.set_epoch(9)
    SetEpoch(SimpleNamespace(train_sampler=sampler)).on_epoch_begin(None, SimpleNamespace(epoch=epoch), None)
    assert sampler.epoch == expected


def test_resumed_training_ends_where_the_uninterrupted_does(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 3,  # three batches an epoch
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": None,
        "learning_rate": 0.01,
    }
    whole = trainer_of(rows, folder="whole", **options)
    whole.train()
    for step in (2, 4):  # in the middle of the first epoch, and of the second
        resumed = trainer_of(rows, folder=f"resumed{step}", **options)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert resumed.state.global_step == 6
        assert largest_difference(weights_of(whole), weights_of(resumed)) == 0.0


def test_a_head_without_rows_stays_as_it_is_in_spite_of_weight_decay(
    trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any
) -> None:
    only_ill = make_rows(tokenizer, [text for text in TEXTS if text[0] == 0])
    trainer = trainer_of(only_ill, num_train_epochs=3, weight_decay=0.5, learning_rate=0.01)
    before = weights_of(trainer)
    trainer.train()
    after = weights_of(trainer)
    assert torch.equal(before["heads.gene.weight"], after["heads.gene.weight"])
    assert torch.equal(before["heads.gene.bias"], after["heads.gene.bias"])
    assert not torch.equal(before["heads.ill.weight"], after["heads.ill.weight"])


# -------------------------------------------------------------------------------------------------------- evaluation


def oracle_logits(rows: TaskRows, widest: int = 5) -> list[Tensor]:
    """Logits that say the labels of the rows."""
    made = []
    for row in rows.rows:
        logits = torch.zeros(len(row.labels), widest)
        for position, label in enumerate(row.labels):
            logits[position, max(label, 0)] = 9.0
        made.append(logits)
    return made


def config_of(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> Any:
    return trainer_of(rows).model.config


def test_scores_by_task_corpus_and_type_have_literal_values(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    logits = oracle_logits(rows)
    logits[0][1:, :] = torch.tensor([9.0, 0, 0, 0, 0])  # misses "Lupus"
    logits[2][1, :] = torch.tensor([0, 9.0, 0, 0, 0])  # finds "No"
    logits[4][1, :] = torch.tensor([0, 0, 0, 9.0, 0])  # calls the gene BRCA1 a protein
    metrics = compute_span_metrics(rows, decode_entities(rows, logits), config_of(trainer_of, rows), "eval")

    def four(key: str, *values: float) -> dict[str, float]:
        return {
            key.format(name): pytest.approx(value)
            for name, value in zip(("precision", "recall", "f1", "support"), values, strict=True)
        }

    ill, gene = (3 / 4, 3 / 4, 3 / 4, 4), (5 / 6, 5 / 6, 5 / 6, 6)
    assert metrics == {
        **four("eval_ill_{}", *ill),
        **four("eval_ill_{}_Disease", *ill),
        **four("eval_ill_{}_first", 1.0, 2 / 3, 0.8, 3),
        **four("eval_ill_{}_first_Disease", 1.0, 2 / 3, 0.8, 3),
        **four("eval_ill_{}_second", 0.5, 1.0, 2 / 3, 1),
        **four("eval_ill_{}_second_Disease", 0.5, 1.0, 2 / 3, 1),
        **four("eval_gene_{}", *gene),
        **four("eval_gene_{}_Gene", 1.0, 0.75, 6 / 7, 4),
        **four("eval_gene_{}_Protein", 2 / 3, 1.0, 0.8, 2),
        # all are found with a score of almost 1
        "eval_ill_ece": pytest.approx(1 / 4, abs=1e-3),
        "eval_ill_ece_first": pytest.approx(0, abs=1e-3),
        "eval_ill_ece_second": pytest.approx(1 / 2, abs=1e-3),
        "eval_gene_ece": pytest.approx(1 / 6, abs=1e-3),
        "eval_macro_f1": pytest.approx((3 / 4 + 5 / 6) / 2),
        "eval_micro_precision": 0.8,
        "eval_micro_recall": 0.8,
        "eval_micro_f1": 0.8,
    }


def test_gold_that_no_label_can_say_is_a_miss(trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any) -> None:
    text = "Cancers of the lungs"
    document = Document("1", text, [Entity(0, 6, "Disease"), Entity(15, 20, "Disease"), Entity(0, 20, "Disease")])
    words, tags, lost = label_words(document, types=["Disease"])
    assert lost == {"nested": 2}
    labels = [["O", "B-Disease", "I-Disease"], ["O"]]
    rows = TaskRows([TaskText(0, "first", document, words, tags)], labels, tokenizer, 64, 8)
    metrics = compute_span_metrics(
        rows, decode_entities(rows, oracle_logits(rows)), config_of(trainer_of, rows), "test"
    )
    assert (metrics["test_ill_precision"], metrics["test_ill_recall"]) == (1.0, pytest.approx(1 / 3))
    assert metrics["test_ill_support"] == 3
    assert "test_gene_f1" not in metrics  # a task without texts


def test_types_that_a_text_is_not_scored_for_are_no_errors(
    trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any
) -> None:
    words = [(0, 5), (6, 9), (10, 16)]
    document = Document("1", "BRCA1 and keratin", [Entity(0, 5, "Gene")])
    labels = [["O"], ["O", "B-Gene", "I-Gene", "B-Protein", "I-Protein"]]
    for types, precision in ((None, 0.5), (["Gene"], 1.0)):
        # What the model would find: the logits are made from these tags, the gold from the document.
        text = TaskText(1, "own", document, words, ["B-Gene", "O", "B-Protein"], types=types)
        rows = TaskRows([text], labels, tokenizer, 64, 8)
        metrics = compute_span_metrics(
            rows, decode_entities(rows, oracle_logits(rows)), config_of(trainer_of, rows), "test"
        )
        assert (metrics["test_gene_precision"], metrics["test_gene_recall"]) == (precision, 1.0)
        assert ("test_gene_f1_Protein" in metrics) == (types is None)


def test_official_score_where_alternatives_are_listed(
    trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any
) -> None:
    """The label says `human p53`, the gold is `p53`, and the longer is a listed alternative."""
    text = "of human p53 only"
    document = Document("1", text, [Entity(9, 12, "Gene")], [Entity(3, 12, "Gene")])
    plain = Document("2", "BRCA1 only", [Entity(0, 5, "Gene")])
    labels = [["O"], ["O", "B-Gene", "I-Gene", "B-Protein", "I-Protein"]]
    texts = [
        TaskText(1, "bc2gm", document, [(0, 2), (3, 8), (9, 12), (13, 17)], ["O", "B-Gene", "I-Gene", "O"]),
        TaskText(1, "other", plain, [(0, 5), (6, 10)], ["B-Gene", "O"]),
    ]
    rows = TaskRows(texts, labels, tokenizer, 64, 8)
    metrics = compute_span_metrics(
        rows, decode_entities(rows, oracle_logits(rows)), config_of(trainer_of, rows), "test"
    )
    assert metrics["test_gene_f1"] == 0.5
    assert metrics["test_gene_official_f1"] == 1.0
    assert metrics["test_gene_f1_bc2gm"] == 0.0
    assert metrics["test_gene_official_f1_bc2gm"] == 1.0
    assert metrics["test_gene_official_precision_bc2gm"] == 1.0
    assert "test_gene_official_f1_other" not in metrics


def test_evaluate_and_predict_give_the_keys_of_the_interface(
    trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any
) -> None:
    several = [text for text in TEXTS if text[1] != "second"]
    trainer = trainer_of(make_rows(tokenizer), make_rows(tokenizer, several))
    kinds = ("precision", "recall", "f1", "support")
    scores = {f"ill_{kind}{end}" for kind in kinds for end in ("", "_Disease")}
    scores |= {f"gene_{kind}{end}" for kind in kinds for end in ("", "_Gene", "_Protein")}
    scores |= {"macro_f1", "micro_precision", "micro_recall", "micro_f1", "loss", "ill_ece", "gene_ece"}
    times = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "epoch"}
    evaluated = {key.removeprefix("eval_") for key in trainer.evaluate()}
    assert evaluated - times == scores
    predicted = trainer.predict(make_rows(tokenizer, several), metric_key_prefix="test").metrics
    assert {key.removeprefix("test_") for key in predicted} - times == scores


def test_each_evaluation_has_a_loss_of_its_own(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> None:
    trainer = trainer_of(None, rows)
    for _ in range(2):
        sums, counts = sums_and_counts(trainer.model, rows, 0)
        assert trainer.evaluate()["eval_loss"] == pytest.approx(sum(sums) / sum(counts), rel=1e-5)
        with torch.no_grad():
            trainer.model.heads["ill"].bias.add_(torch.tensor([3.0, 0, 0]))


def test_the_sampler_is_that_of_the_arguments(trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any) -> None:
    rows = make_rows(tokenizer, TEXTS[:5])
    trainer = trainer_of(rows, task_sampling_alpha=0.0, one_task_batches=True, per_device_train_batch_size=3)
    assert trainer.train_sampler.draws == {0: 3, 1: 2}
    assert all(len({rows.rows[i].task_id for i in batch}) == 1 for batch in trainer.train_sampler)


@pytest.mark.parametrize(("frozen", "left"), [(False, []), (True, ["gene"])])
def test_scores_fitted_before_a_training_are_forgotten(
    toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path, frozen: bool, left: list[str]
) -> None:
    tasks = [task | {"temperature": 2.0, "score_bias": 1.0} for task in TASKS]
    model = build_model(toy_encoder("bert"), tasks)
    if frozen:
        freeze_all_but(model, ["ill"])
    only_ill = make_rows(tokenizer, [text for text in TEXTS if text[0] == 0])
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="no")
    MultiTaskTrainer(model, args, train_dataset=only_ill, processing_class=tokenizer)
    assert [task["name"] for task in model.config.tasks if "temperature" in task] == left


def test_what_is_fitted_is_temperature_and_bias(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(None, rows)
    monkeypatch.setattr(trainer_module, "fit_calibration", lambda *_: (2.0, -0.5))
    trainer.calibrate(rows, oracle_logits(rows))
    assert trainer.calibrations() == [(2.0, -0.5)] * 2


def test_evaluation_is_the_same_in_any_batch_size(trainer_of: Callable[..., MultiTaskTrainer], tokenizer: Any) -> None:
    """Rows are padded to other lengths, and stand in other batches."""
    found, losses = [], []
    for size in (1, 3, 32):
        trainer = trainer_of(None, make_rows(tokenizer), per_device_eval_batch_size=size)
        metrics = trainer.evaluate()
        found.append([metrics["eval_macro_f1"], metrics["eval_micro_f1"], metrics["eval_gene_recall_Protein"]])
        losses.append(metrics["eval_loss"])
    assert found[0] == found[1] == found[2]
    assert losses == pytest.approx(losses[:1] * 3, rel=1e-5)


# --------------------------------------------------------------------------------------------------- which model stays


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Evaluations give these macro F1 one after the other."""

    def plant(scores: list[float]) -> None:
        left = iter(scores)
        monkeypatch.setattr(
            trainer_module, "compute_span_metrics", lambda *_: {"eval_macro_f1": next(left), "eval_micro_f1": 0.0}
        )

    return plant


def test_the_best_epoch_by_macro_f1_is_kept_and_saved(
    trainer_of: Callable[..., MultiTaskTrainer],
    rows: TaskRows,
    planted: Callable[[list[float]], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    planted([0.2, 0.9, 0.4])
    trainer = trainer_of(rows, rows, num_train_epochs=3, learning_rate=0.01)
    epochs: list[dict[str, Tensor]] = []
    evaluate = trainer.evaluate

    def note_weights(*args: Any, **kwargs: Any) -> dict[str, float]:
        epochs.append(weights_of(trainer))
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(trainer, "evaluate", note_weights)
    trainer.train()
    trainer.save_model()
    assert trainer.state.best_metric == 0.9
    assert largest_difference(epochs[1], epochs[2]) > 1e-3
    assert largest_difference(weights_of(trainer), epochs[1]) == 0.0
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert largest_difference(saved, epochs[1]) == 0.0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tasks"] == TASKS


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [(1, [0.5, 0.4, 0.9], 2), (2, [0.5, 0.4, 0.3, 0.9], 3), (2, [0.5, 0.4, 0.6, 0.7], 4), (None, [0.5, 0.4], 4)],
)
def test_early_stopping_waits_so_many_evaluations(
    trainer_of: Callable[..., MultiTaskTrainer],
    rows: TaskRows,
    planted: Callable[[list[float]], None],
    patience: int | None,
    scores: list[float],
    epochs: int,
) -> None:
    planted([*scores, 0.1, 0.1, 0.1])
    trainer = trainer_of(rows, rows, num_train_epochs=4, early_stopping_patience=patience)
    trainer.train()
    assert trainer.state.epoch == epochs


# --------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("asked", "done"),
    [
        ({}, (True, True, True)),
        ({"do_train": True}, (True, False, False)),
        ({"do_predict": True}, (False, False, True)),  # although there is an eval_strategy
        ({"do_eval": True, "do_predict": True}, (False, True, True)),
    ],
)
def test_no_flag_means_train_evaluate_and_predict(
    asked: dict[str, bool], done: tuple[bool, bool, bool], tmp_path: Path
) -> None:
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **asked)
    assert (args.do_train, args.do_eval, args.do_predict) == done


def test_balanced_weights_need_no_training_rows_to_score(
    trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows
) -> None:
    trainer = trainer_of(None, rows, task_loss_weights="balanced")
    assert trainer.task_weights.tolist() == [1.0, 1.0]
    assert "eval_macro_f1" in trainer.evaluate()


@pytest.mark.parametrize(
    ("given", "strategy", "steps"),
    [
        ({}, "epoch", 500),
        ({"eval_strategy": "steps", "eval_steps": 0.25}, "steps", 0.25),
        ({"eval_strategy": "steps", "logging_steps": 20}, "steps", 20),
        ({"eval_strategy": "steps", "eval_steps": 10, "save_steps": 10}, "steps", 10),
        (
            {"eval_strategy": "steps", "eval_steps": 10, "save_steps": 30, "load_best_model_at_end": False},
            "steps",
            30,
        ),
        ({"eval_strategy": "no"}, "epoch", 500),
        ({"eval_strategy": "no", "save_strategy": "steps"}, "steps", 500),
        ({"eval_strategy": "steps", "eval_steps": 10, "save_strategy": "best"}, "best", 500),
    ],
)
def test_checkpoints_are_written_when_scores_come(
    tmp_path: Path, given: dict[str, Any], strategy: str, steps: float
) -> None:
    args = MultiTaskTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **given)
    assert (args.save_strategy.value, args.save_steps) == (strategy, steps)


def test_scoring_alone_needs_no_development_rows(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> None:
    """As `--do_predict` does, with all other arguments at their defaults."""
    trainer = trainer_of(
        None, do_predict=True, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True
    )
    assert "test_macro_f1" in trainer.predict(rows).metrics


@pytest.mark.parametrize(
    ("logs", "line"),
    [
        (
            {"loss": 0.11031, "loss_b": 0.12, "loss_a": 0.1, "epoch": 1.5},
            "epoch 1.50  loss 0.1103  a 0.1000  b 0.1200",
        ),
        ({"loss": 0.5, "loss_b": 0.25, "epoch": 2}, "epoch 2.00  loss 0.5000  b 0.2500"),
        (
            {"eval_loss": 1.0, "eval_a_f1": 0.81139, "eval_b_f1": 1.0, "eval_macro_f1": 0.9057, "epoch": 3.0},
            "epoch 3.00  dev F1  a 81.14  b 100.00  macro 90.57",
        ),
        ({"train_runtime": 61.4, "epoch": 3.0}, "trained in 61 s"),
        ({"test_macro_f1": 0.5}, ""),
    ],
)
def test_a_log_is_one_line(logs: dict[str, float], line: str) -> None:
    assert log_line(logs, ["a", "b"]) == line


@pytest.mark.parametrize(("hidden_size", "rate"), [(511, 3e-4), (512, 5e-5)])
def test_learning_rate_of_small_and_large_encoders(hidden_size: int, rate: float, tmp_path: Path) -> None:
    encoder = BertConfig(
        vocab_size=9, hidden_size=hidden_size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="no")
    MultiTaskTrainer(MtlBionerModel(MtlBionerConfig(encoder, TASKS)), args)
    assert args.learning_rate == rate


def test_batches_shrink_where_memory_runs_out(trainer_of: Callable[..., MultiTaskTrainer], rows: TaskRows) -> None:
    trainer = trainer_of(rows, per_device_train_batch_size=4)
    assert max(len(batch["task_id"]) for batch in trainer.get_train_dataloader()) == 4
    trainer._train_batch_size = 2  # as --auto_find_batch_size does
    assert max(len(batch["task_id"]) for batch in trainer.get_train_dataloader()) == 2


def test_mean_gates_are_of_all_subwords_and_no_padding(
    toy_encoder: Callable[[str], str], tokenizer: Any, rows: TaskRows, tmp_path: Path
) -> None:
    tasks = [*TASKS, {"name": "cell", "types": ["Cell"]}]
    torch.manual_seed(1)
    model = build_model(toy_encoder("bert"), tasks, sharing="cross", sharing_size=3).eval()
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, eval_strategy="no")
    collator = MultiTaskCollator(tokenizer.pad_token_id)
    found = MultiTaskTrainer(model, args, data_collator=collator, processing_class=tokenizer).mean_gates(rows)
    for task in (0, 1):
        gates = []
        for row in (row for row in rows.rows if row.task_id == task):
            projected = model.sharing.project(model.encode(torch.tensor([row.input_ids])))
            gates.append(model.sharing.open_gates(projected, torch.tensor([task]))[0].mean(-1))  # (others, length)
        assert found[task].pop(task) is None
        assert found[task] == pytest.approx(torch.cat(gates, 1).mean(1).tolist(), abs=1e-5)
    assert found[2] == [None, None, None]  # has no rows
