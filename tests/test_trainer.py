"""MultiTaskTrainer: its loss, its epochs, its evaluation, and the model it keeps."""

import json
import math
import os
import pickle
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig

from data_collators import MultiTaskCollator, TaskBatchSampler, TaskRows, TaskText
from dataset_scripts.bio import label_words
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel
from mtl_bioner.evaluation.spans import compute_span_metrics, decode_entities
from mtl_bioner.training import score_calibration
from mtl_bioner.training import trainer as trainer_module
from mtl_bioner.training.callbacks import SetEpoch, format_log
from mtl_bioner.training.checkpointing import check_files, find_last_checkpoint
from mtl_bioner.training.gates import measure_gates
from mtl_bioner.training.loss_weights import balanced_weights, parse_loss_weights
from mtl_bioner.training.model_building import build_model, freeze_all_but
from mtl_bioner.training.runtime import ByteDropout
from mtl_bioner.training.score_calibration import calibrate_scores, list_calibrations
from mtl_bioner.training.trainer import MultiTaskTrainer
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments


MakeTrainer = Callable[..., MultiTaskTrainer]
TASKS = [{"name": "ill", "types": ["Disease"]}, {"name": "gene", "types": ["Gene", "Protein"]}]
NAMES = ["ill", "gene"]
LABELS = [["O", "B-Disease", "I-Disease"], ["O", "B-Gene", "I-Gene", "B-Protein", "I-Protein"]]

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
ILL_TEXTS = [text for text in TEXTS if text[0] == 0]


def make_rows(tokenizer: Any, texts: Sequence[tuple] = TEXTS) -> TaskRows:
    """The texts as rows; each fits one window."""
    made = []
    for number, (task, corpus, text, mentions) in enumerate(texts):
        entities = [Entity(text.index(words), text.index(words) + len(words), name) for words, name in mentions]
        document = Document(str(number), text, sorted(entities))
        words, tags, lost = label_words(document)
        assert not lost
        made.append(TaskText(task, corpus, document, words, tags))
    return TaskRows(made, LABELS, tokenizer, 64, 8)


@pytest.fixture(scope="module")
def tokenizer(toy_tokenizer: Callable[[str], Any]) -> Any:
    return toy_tokenizer("bert")


@pytest.fixture
def rows(tokenizer: Any) -> TaskRows:
    return make_rows(tokenizer)


@pytest.fixture
def make_trainer(toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path) -> MakeTrainer:
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
        collator = MultiTaskCollator(tokenizer.pad_token_id)
        return MultiTaskTrainer(model, args, collator, train, dev, processing_class=tokenizer)

    return make


@pytest.fixture
def train(make_trainer: MakeTrainer) -> MakeTrainer:
    """A trainer that has trained."""

    def make_and_train(rows: TaskRows, *args: Any, **options: Any) -> MultiTaskTrainer:
        trainer = make_trainer(rows, *args, **options)
        trainer.train()
        return trainer

    return make_and_train


def sum_losses(model: MtlBionerModel, rows: TaskRows) -> tuple[list[float], list[int]]:
    """Summed cross-entropy and labelled tokens of each task, row by row, without any of the project's loss code."""
    sums, counts = [0.0, 0.0], [0, 0]
    model.eval()
    for row in rows.rows:
        batch = MultiTaskCollator(0)([row])
        with torch.no_grad():
            outputs = model(batch["input_ids"], batch["attention_mask"], task_id=batch["task_id"])
        log_probs = outputs.logits.log_softmax(-1)
        for position, label in enumerate(row.labels):
            if label != IGNORE:
                sums[row.task_id] -= log_probs[0, position, label].item()
                counts[row.task_id] += 1
    return sums, counts


def copy_weights(trainer: MultiTaskTrainer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("equal", [1.0, 1.0]), ("ill=2,gene=0.5", [2.0, 0.5]), ("gene=0", [1.0, 0.0]), ("balanced", None)],
)
def test_loss_weights_are_in_the_order_of_the_tasks(text: str, expected: list[float] | None) -> None:
    assert parse_loss_weights(text, NAMES) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sick=1", ["--task_loss_weights names 'sick'", "ill, gene"]),
        ("gene=1,ill:2", ["--task_loss_weights names 'ill:2'; write ill=2"]),
        ("ill=heavy", ["--task_loss_weights gives ill the weight 'heavy'", "ill=0.5"]),
        ("ill", ["--task_loss_weights gives ill the weight ''", "ill=0.5"]),
        ("ill=-1", ["ill the weight -1", "0 or more"]),
        ("ill=inf", ["ill the weight inf", "finite"]),
        ("ill=nan", ["ill the weight nan", "finite"]),
        ("ill=0,gene=0", ["--task_loss_weights", "at least one"]),
    ],
)
def test_bad_loss_weights_are_refused_with_a_remedy(text: str, parts: list[str]) -> None:
    with pytest.raises(ValueError) as raised:
        parse_loss_weights(text, NAMES)
    assert [part for part in parts if part not in str(raised.value)] == []


@pytest.mark.parametrize(
    ("text", "weights"), [("equal", (1.0, 1.0)), ("ill=2,gene=0.5", (2.0, 0.5)), ("gene=0", (1.0, 0.0))]
)
def test_loss_is_the_weighted_sum_over_all_labelled_tokens(
    make_trainer: MakeTrainer, rows: TaskRows, text: str, weights: tuple[float, float]
) -> None:
    trainer = make_trainer(rows, task_loss_weights=text)
    sums, counts = sum_losses(trainer.model, rows)
    assert counts == [22, 18]
    expected = (weights[0] * sums[0] + weights[1] * sums[1]) / 40
    batch = trainer.data_collator(rows.rows)
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(expected, rel=1e-5)
    # N of the update, when Trainer counts it over several micro-batches
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(80))
    assert loss.item() == pytest.approx(expected / 2, rel=1e-5)


def test_learned_weights_follow_the_equation(make_trainer: MakeTrainer, rows: TaskRows) -> None:
    trainer = make_trainer(rows, loss_weighting="uncertainty", task_loss_weights="ill=2")
    sums, counts = sum_losses(trainer.model, rows)
    with torch.no_grad():
        trainer.model.log_variances.copy_(torch.tensor([0.5, -1.0]) / 20)
    trainer.model.train()
    expected = 2 * math.exp(-0.5) * sums[0] + math.exp(1.0) * sums[1] + counts[0] * 0.25 - counts[1] * 0.5
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows.rows))
    assert loss.item() == pytest.approx(expected / 40, rel=1e-5)
    loss.backward()  # by s itself, so that the norm of all gradients, which clipping goes by, knows no factor
    by_s = [-2 * math.exp(-0.5) * sums[0] + counts[0] / 2, -math.exp(1.0) * sums[1] + counts[1] / 2]
    assert trainer.model.log_variances.grad.tolist() == pytest.approx([value / 40 for value in by_s], rel=1e-5)


def test_learned_weights_grow_for_a_learned_task_are_logged_and_not_saved(
    train: MakeTrainer, rows: TaskRows, tmp_path: Path
) -> None:
    options = {"loss_weighting": "uncertainty", "task_loss_weights": "equal"}
    trainer = train(rows, num_train_epochs=40, learning_rate=0.005, **options)
    last = [entry for entry in trainer.state.log_history if "weight_ill" in entry][-1]
    assert last["weight_ill"] > 1.0 and last["weight_gene"] > 1.0
    assert last["weight_ill"] != last["weight_gene"]
    trainer.save_model(str(tmp_path / "saved"))
    loaded, info = MtlBionerModel.from_pretrained(str(tmp_path / "saved"), output_loading_info=True)
    assert loaded.log_variances is None
    assert not info["unexpected_keys"] and not info["missing_keys"]


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, [8 / 6, 8 / 2, 1.0]),  # 6 of 8 labelled tokens, 2 of 8; a task without rows weighs 1
        (0.0, [2.0, 2.0, 1.0]),  # two rows each: 2 of 3 rows give 4 tokens, the one row twice 4
    ],
)
def test_balanced_weights_are_the_inverse_shares(alpha: float, expected: list[float]) -> None:
    labelled = [(0, 4), (0, 1), (0, 1), (1, 2)]  # task and labelled tokens of each row
    made = [SimpleNamespace(task_id=task, labels=[IGNORE, *[0] * count, IGNORE]) for task, count in labelled]
    sampler = TaskBatchSampler([task for task, _ in labelled], [count + 2 for _, count in labelled], 2, alpha)
    assert balanced_weights(SimpleNamespace(rows=made), sampler, 3) == pytest.approx(expected)


@pytest.mark.parametrize("one_task_batches", [False, True])
def test_balanced_gives_the_plain_sum_of_task_means_over_an_epoch(
    make_trainer: MakeTrainer, rows: TaskRows, one_task_batches: bool
) -> None:
    options = {"per_device_train_batch_size": 3, "one_task_batches": one_task_batches}
    trainer = make_trainer(rows, task_loss_weights="balanced", **options)
    sums, counts = sum_losses(trainer.model, rows)
    over_epoch = 0.0
    for batch in trainer.get_train_dataloader():
        labels = int(batch["labels"].ne(IGNORE).sum())
        over_epoch += trainer.compute_loss(trainer.model, batch).item() * labels / 40
    assert over_epoch == pytest.approx(sums[0] / counts[0] + sums[1] / counts[1], rel=1e-5)


@pytest.mark.parametrize("weights", ["equal", "ill=2,gene=0.5", "balanced"])
def test_two_accumulated_batches_of_four_are_one_of_eight(
    make_trainer: MakeTrainer, rows: TaskRows, weights: str
) -> None:
    options = {"max_steps": 1, "optim": "sgd", "learning_rate": 0.5, "max_grad_norm": 0.0}
    after = []
    for size, steps in ((8, 1), (4, 2), (2, 4)):
        batches = {"per_device_train_batch_size": size, "gradient_accumulation_steps": steps}
        trainer = make_trainer(rows, task_loss_weights=weights, **options, **batches)
        before = copy_weights(trainer)
        trainer.train()
        assert trainer.state.global_step == 1
        after.append(copy_weights(trainer))
        assert largest_difference(before, after[-1]) > 1e-2
    assert largest_difference(after[0], after[1]) < 1e-5
    assert largest_difference(after[0], after[2]) < 1e-5


@pytest.mark.parametrize(("hidden_size", "rate"), [(511, 3e-4), (512, 5e-5)])
def test_the_learning_rate_depends_on_the_size_of_the_encoder(hidden_size: int, rate: float, tmp_path: Path) -> None:
    sizes = {"vocab_size": 9, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    encoder = BertConfig(hidden_size=hidden_size, **sizes)
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="no")
    MultiTaskTrainer(MtlBionerModel(MtlBionerConfig(encoder, TASKS)), args)
    assert args.learning_rate == rate


def test_training_masks_a_share_of_the_subwords_and_evaluation_none(
    make_trainer: MakeTrainer, rows: TaskRows, tokenizer: Any
) -> None:
    trainer = make_trainer(rows, mask_probability=0.25)
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


def test_on_a_cpu_byte_dropout_is_used_and_without_a_mask_token_no_masking(
    make_trainer: MakeTrainer, rows: TaskRows, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tokenizer), "mask_token_id", None, raising=False)
    trainer = make_trainer(rows, mask_probability=0.25)
    assert trainer.mask_probability == 0.0
    assert {type(part) for part in trainer.model.modules() if isinstance(part, torch.nn.Dropout)} == {ByteDropout}


def test_training_in_bf16_changes_weights_and_keeps_them_in_fp32(make_trainer: MakeTrainer, rows: TaskRows) -> None:
    trainer = make_trainer(rows, bf16=True, num_train_epochs=1, learning_rate=0.01)
    before = copy_weights(trainer)
    trainer.train()
    after = copy_weights(trainer)
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert largest_difference(before, after) > 0.001


def test_the_losses_of_the_tasks_are_logged_since_the_last_log(make_trainer: MakeTrainer, rows: TaskRows) -> None:
    """One update an epoch, so the second log is the loss of the model after the first update."""
    options = {"learning_rate": 0.5, "optim": "sgd", "logging_steps": 1, "task_loss_weights": "gene=3"}
    options |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    one = make_trainer(rows, num_train_epochs=1, **options)
    expected = [sum_losses(one.model, rows)]
    one.train()
    expected.append(sum_losses(one.model, rows))
    two = make_trainer(rows, num_train_epochs=2, **options)
    two.train()
    logs = [entry for entry in two.state.log_history if "loss" in entry]
    assert len(logs) == 2
    for entry, (sums, counts) in zip(logs, expected, strict=True):  # unweighted means; the loss itself is weighted
        assert entry["loss_ill"] == pytest.approx(sums[0] / counts[0], abs=1e-4)
        assert entry["loss_gene"] == pytest.approx(sums[1] / counts[1], abs=1e-4)
        assert entry["loss"] == pytest.approx((sums[0] + 3 * sums[1]) / 40, abs=1e-3)
    assert abs(logs[0]["loss_ill"] - logs[1]["loss_ill"]) > 1e-2


@pytest.mark.parametrize(
    ("options", "every"),
    [
        ({"logging_steps": 50, "per_device_train_batch_size": 4}, 2),  # an epoch, however short
        ({"logging_steps": 3, "per_device_train_batch_size": 1}, 3),  # of 8 steps; no log of the last few
    ],
)
def test_logs_come_every_so_many_steps_and_at_least_every_epoch(
    train: MakeTrainer, rows: TaskRows, options: dict[str, int], every: int
) -> None:
    trainer = train(rows, num_train_epochs=3, **options)
    logged = [entry["step"] for entry in trainer.state.log_history if "loss_ill" in entry]
    assert logged == list(range(every, trainer.state.max_steps + 1, every))


@pytest.mark.parametrize("disable_tqdm", [False, True])
def test_logs_are_printed_in_one_line_with_and_without_a_progress_bar(
    train: MakeTrainer, rows: TaskRows, capsys: pytest.CaptureFixture, disable_tqdm: bool
) -> None:
    trainer = train(rows, rows, num_train_epochs=11, per_device_train_batch_size=8, disable_tqdm=disable_tqdm)
    printed = capsys.readouterr()
    lines = printed.out.strip().splitlines()
    assert [line[:16] for line in lines[:2]] == ["epoch 1.00  loss", "epoch 1.00  dev "]
    assert len(lines) == 23 and lines[-1].startswith("trained in ")
    assert ("sub-words/s" in printed.err) != disable_tqdm
    assert int(trainer.subwords) == 11 * sum(rows.lengths)


@pytest.mark.parametrize(
    ("logs", "line"),
    [
        ({"loss": 0.11031, "loss_b": 0.12, "loss_a": 0.1, "epoch": 1}, "epoch 1.00  loss 0.1103  a 0.1000  b 0.1200"),
        ({"loss": 0.5, "loss_b": 0.25, "epoch": 1.5}, "epoch 1.50  loss 0.5000  b 0.2500"),
        (
            {"eval_loss": 1.0, "eval_a_f1": 0.81139, "eval_b_f1": 1.0, "eval_macro_f1": 0.9057, "epoch": 3.0},
            "epoch 3.00  dev F1  a 81.14  b 100.00  macro 90.57",
        ),
        ({"train_runtime": 61.4, "epoch": 3.0}, "trained in 61 s"),
        ({"test_macro_f1": 0.5}, ""),
    ],
)
def test_a_log_is_one_line(logs: dict[str, float], line: str) -> None:
    assert format_log(logs, ["a", "b"]) == line


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_sampler_is_told_every_epoch(
    make_trainer: MakeTrainer, rows: TaskRows, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    options = {"num_train_epochs": 4, "per_device_train_batch_size": 3, "gradient_accumulation_steps": accumulation}
    trainer = make_trainer(rows, **options)
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


def test_the_sampler_follows_the_arguments(make_trainer: MakeTrainer, tokenizer: Any) -> None:
    rows = make_rows(tokenizer, TEXTS[:5])
    trainer = make_trainer(rows, task_sampling_alpha=0.0, one_task_batches=True, per_device_train_batch_size=3)
    assert trainer.train_sampler.draws == {0: 3, 1: 2}
    assert all(len({rows.rows[i].task_id for i in batch}) == 1 for batch in trainer.train_sampler)


def test_batches_shrink_where_memory_runs_out(make_trainer: MakeTrainer, rows: TaskRows) -> None:
    trainer = make_trainer(rows, per_device_train_batch_size=4)
    assert max(len(batch["task_id"]) for batch in trainer.get_train_dataloader()) == 4
    trainer._train_batch_size = 2  # as --auto_find_batch_size does
    assert max(len(batch["task_id"]) for batch in trainer.get_train_dataloader()) == 2


def test_resumed_training_ends_where_the_uninterrupted_does(
    make_trainer: MakeTrainer, train: MakeTrainer, rows: TaskRows, tmp_path: Path
) -> None:
    options = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 3,
        "learning_rate": 0.01,
    }  # three batches an epoch
    options |= {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
    whole = train(rows, folder="whole", **options)
    for step in (2, 4):  # in the middle of the first epoch, and of the second
        resumed = make_trainer(rows, folder=f"resumed{step}", **options)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert resumed.state.global_step == 6
        assert largest_difference(copy_weights(whole), copy_weights(resumed)) == 0.0
        first, last = (trainer.state.log_history[-1] for trainer in (whole, resumed))
        assert last["train_loss"] == pytest.approx(first["train_loss"])  # of all steps, not of the last part
        state = json.loads((tmp_path / "whole" / f"checkpoint-{step}" / "trainer_state.json").read_text())
        assert last["train_runtime"] > state["stateful_callbacks"]["TrainingTotals"]["attributes"]["seconds"] > 0


def test_a_head_without_rows_stays_as_it_is_in_spite_of_weight_decay(
    make_trainer: MakeTrainer, tokenizer: Any
) -> None:
    trainer = make_trainer(make_rows(tokenizer, ILL_TEXTS), num_train_epochs=3, weight_decay=0.5, learning_rate=0.01)
    before = copy_weights(trainer)
    trainer.train()
    after = copy_weights(trainer)
    assert torch.equal(before["heads.gene.weight"], after["heads.gene.weight"])
    assert torch.equal(before["heads.gene.bias"], after["heads.gene.bias"])
    assert not torch.equal(before["heads.ill.weight"], after["heads.ill.weight"])


def test_the_newest_whole_checkpoint_is_the_last(tmp_path: Path) -> None:
    assert find_last_checkpoint(tmp_path) is None
    states = {"9": '{"global_step": 9}', "10": '{"global_step": 10}', "11": '{"global_st', "x": "{}"}
    states["best2"] = '{"global_step": 20}'  # somebody's copy
    for name, state in states.items():
        folder = tmp_path / f"checkpoint-{name}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state)
        (folder / "model.safetensors").touch()
    (tmp_path / "checkpoint-12").mkdir()
    assert find_last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


@pytest.mark.parametrize(("steps", "is_told"), [(5, True), (2, False)])
def test_a_training_without_an_evaluation_is_told_of(
    train: MakeTrainer, rows: TaskRows, caplog: pytest.LogCaptureFixture, steps: int, is_told: bool
) -> None:
    train(rows, rows, max_steps=3, eval_strategy="steps", eval_steps=steps, save_strategy="best")
    told = f"the training has 3 steps, and --eval_steps is {steps}: no checkpoint is evaluated, the last one is kept"
    assert (told in caplog.text) == is_told


@pytest.mark.parametrize("lost", [None, "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_checkpoint_that_was_being_deleted_is_passed_over(tmp_path: Path, lost: str | None) -> None:
    parts = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")
    for step in (4, 8):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
        for part in parts:
            (folder / part).touch()
    if lost:
        (tmp_path / "checkpoint-8" / lost).unlink()
    assert find_last_checkpoint(tmp_path) == str(tmp_path / f"checkpoint-{4 if lost else 8}")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_saved_files_have_the_mode_that_the_umask_says(
    train: MakeTrainer, rows: TaskRows, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        train(rows, max_steps=1, save_strategy="steps", save_steps=1).save_model()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {tmp_path / "out/model.safetensors", tmp_path / "out/checkpoint-1/model.safetensors"} < set(files)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {mode}


def make_oracle_logits(rows: TaskRows, widest: int = 5) -> list[Tensor]:
    """Logits that say the labels of the rows."""
    labels = [torch.tensor(row.labels).clamp(min=0) for row in rows.rows]
    return [9.0 * torch.nn.functional.one_hot(row_labels, widest) for row_labels in labels]


def score(rows: TaskRows, prefix: str, logits: list[Tensor] | None = None) -> dict[str, float]:
    """The metrics of these logits, by default of perfect ones."""
    entities = decode_entities(rows, make_oracle_logits(rows) if logits is None else logits)
    return compute_span_metrics(rows, entities, MtlBionerConfig(BertConfig(), TASKS), prefix)


def test_scores_by_task_corpus_and_type_have_literal_values(rows: TaskRows) -> None:
    logits = make_oracle_logits(rows)
    logits[0][1:, :] = torch.tensor([9.0, 0, 0, 0, 0])  # misses "Lupus"
    logits[2][1, :] = torch.tensor([0, 9.0, 0, 0, 0])  # finds "No"
    logits[4][1, :] = torch.tensor([0, 0, 0, 9.0, 0])  # calls the gene BRCA1 a protein

    def four(key: str, *values: float) -> dict[str, float]:
        kinds = ("precision", "recall", "f1", "support")
        return {key.format(kind): pytest.approx(value) for kind, value in zip(kinds, values, strict=True)}

    ill, gene = (3 / 4, 3 / 4, 3 / 4, 4), (5 / 6, 5 / 6, 5 / 6, 6)
    assert score(rows, "eval", logits) == {
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


def test_gold_that_no_label_can_say_is_a_miss(tokenizer: Any) -> None:
    entities = [Entity(0, 6, "Disease"), Entity(15, 20, "Disease"), Entity(0, 20, "Disease")]
    document = Document("1", "Cancers of the lungs", entities)
    words, tags, lost = label_words(document, types=["Disease"])
    assert lost == {"nested": 2}
    metrics = score(TaskRows([TaskText(0, "first", document, words, tags)], LABELS, tokenizer, 64, 8), "test")
    assert (metrics["test_ill_precision"], metrics["test_ill_recall"]) == (1.0, pytest.approx(1 / 3))
    assert metrics["test_ill_support"] == 3
    assert "test_gene_f1" not in metrics  # a task without texts


@pytest.mark.parametrize(("types", "precision"), [(None, 0.5), (["Gene"], 1.0)])
def test_types_that_a_text_is_not_scored_for_are_no_errors(
    tokenizer: Any, types: list[str] | None, precision: float
) -> None:
    document = Document("1", "BRCA1 and keratin", [Entity(0, 5, "Gene")])
    # What the model would find: the logits are made from these tags, the gold from the document.
    tags = ["B-Gene", "O", "B-Protein"]
    text = TaskText(1, "own", document, [(0, 5), (6, 9), (10, 16)], tags, types=types)
    metrics = score(TaskRows([text], LABELS, tokenizer, 64, 8), "test")
    assert (metrics["test_gene_precision"], metrics["test_gene_recall"]) == (precision, 1.0)
    assert ("test_gene_f1_Protein" in metrics) == (types is None)


def test_official_score_where_alternatives_are_listed(tokenizer: Any) -> None:
    """The label says `human p53`, the gold is `p53`, and the longer is a listed alternative."""
    document = Document("1", "of human p53 only", [Entity(9, 12, "Gene")], [Entity(3, 12, "Gene")])
    plain = Document("2", "BRCA1 only", [Entity(0, 5, "Gene")])
    texts = [
        TaskText(1, "bc2gm", document, [(0, 2), (3, 8), (9, 12), (13, 17)], ["O", "B-Gene", "I-Gene", "O"]),
        TaskText(1, "other", plain, [(0, 5), (6, 10)], ["B-Gene", "O"]),
    ]
    metrics = score(TaskRows(texts, LABELS, tokenizer, 64, 8), "test")
    assert metrics["test_gene_f1"] == 0.5
    assert metrics["test_gene_official_f1"] == 1.0
    assert metrics["test_gene_f1_bc2gm"] == 0.0
    assert metrics["test_gene_official_f1_bc2gm"] == 1.0
    assert metrics["test_gene_official_precision_bc2gm"] == 1.0
    assert "test_gene_official_f1_other" not in metrics


def test_evaluate_and_predict_give_the_keys_of_the_interface(make_trainer: MakeTrainer, tokenizer: Any) -> None:
    several = make_rows(tokenizer, [text for text in TEXTS if text[1] != "second"])
    trainer = make_trainer(make_rows(tokenizer), several)
    kinds = ("precision", "recall", "f1", "support")
    scores = {f"ill_{kind}{end}" for kind in kinds for end in ("", "_Disease")}
    scores |= {f"gene_{kind}{end}" for kind in kinds for end in ("", "_Gene", "_Protein")}
    scores |= {"macro_f1", "micro_precision", "micro_recall", "micro_f1", "loss", "ill_ece", "gene_ece"}
    scores |= {f"{task}_seqeval_{kind}" for task in ("ill", "gene") for kind in kinds[:3]}
    times = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "epoch"}
    assert {key.removeprefix("eval_") for key in trainer.evaluate()} - times == scores
    predicted = trainer.predict(several, metric_key_prefix="test").metrics
    assert {key.removeprefix("test_") for key in predicted} - times == scores


def test_evaluation_gives_the_same_scores_and_loss_in_any_batch_size(
    make_trainer: MakeTrainer, tokenizer: Any
) -> None:
    """Rows are padded to other lengths, and stand in other batches; each evaluation computes its loss anew."""
    scores = []
    for size in (1, 3, 32):
        trainer = make_trainer(None, make_rows(tokenizer), per_device_eval_batch_size=size)
        for _ in range(2):
            metrics = trainer.evaluate()
            sums, counts = sum_losses(trainer.model, trainer.eval_dataset)
            assert metrics["eval_loss"] == pytest.approx(sum(sums) / sum(counts), rel=1e-5)
            scores.append([metrics["eval_macro_f1"], metrics["eval_micro_f1"], metrics["eval_gene_recall_Protein"]])
            with torch.no_grad():
                trainer.model.heads["ill"].bias.add_(torch.tensor([3.0, 0, 0]))
    assert scores[0] == scores[2] == scores[4] and scores[1] == scores[3] == scores[5]


def test_scoring_alone_needs_no_other_rows(make_trainer: MakeTrainer, rows: TaskRows) -> None:
    """As `--do_predict` and `--do_eval` do, with all other arguments at their defaults."""
    options = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    assert "test_macro_f1" in make_trainer(None, do_predict=True, **options).predict(rows).metrics
    trainer = make_trainer(None, rows, task_loss_weights="balanced")
    assert trainer.task_weights.tolist() == [1.0, 1.0]
    assert "eval_macro_f1" in trainer.evaluate()


@pytest.mark.parametrize(("frozen", "left"), [(False, []), (True, ["gene"])])
def test_a_training_forgets_the_calibration_of_heads_it_changes(
    toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path, frozen: bool, left: list[str]
) -> None:
    model = build_model(toy_encoder("bert"), [task | {"temperature": 2.0, "score_bias": 1.0} for task in TASKS])
    if frozen:
        freeze_all_but(model, ["ill"])
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="no")
    MultiTaskTrainer(model, args, train_dataset=make_rows(tokenizer, ILL_TEXTS), processing_class=tokenizer)
    assert [task["name"] for task in model.config.tasks if "temperature" in task] == left


def test_calibration_fits_temperature_and_bias(rows: TaskRows, monkeypatch: pytest.MonkeyPatch) -> None:
    config = MtlBionerConfig(BertConfig(), TASKS)
    monkeypatch.setattr(score_calibration, "fit_calibration", lambda *_: (2.0, -0.5))
    errors = calibrate_scores(config, rows, make_oracle_logits(rows))
    assert list_calibrations(config) == [(2.0, -0.5)] * 2
    assert errors.keys() == {"eval_ill_ece", "eval_ill_ece_first", "eval_ill_ece_second", "eval_gene_ece"}
    assert errors["eval_gene_ece"] > 0.001  # of right entities, whose scores were almost 1


def test_gates_are_averaged_over_subwords_without_padding(
    toy_encoder: Callable[[str], str], tokenizer: Any, rows: TaskRows, tmp_path: Path
) -> None:
    tasks = [*TASKS, {"name": "cell", "types": ["Cell"]}]
    torch.manual_seed(1)
    model = build_model(toy_encoder("bert"), tasks, sharing="cross", sharing_size=3).eval()
    args = MultiTaskTrainingArguments(str(tmp_path), use_cpu=True, bf16=False, eval_strategy="no")
    collator = MultiTaskCollator(tokenizer.pad_token_id)
    means = measure_gates(MultiTaskTrainer(model, args, data_collator=collator, processing_class=tokenizer), rows)
    for task in (0, 1):
        gates = []
        for row in (row for row in rows.rows if row.task_id == task):
            projected = model.sharing.project(model.encode(torch.tensor([row.input_ids])))
            gates.append(model.sharing.open_gates(projected, torch.tensor([task]))[0].mean(-1))  # (others, length)
        assert means[task].pop(task) is None
        assert means[task] == pytest.approx(torch.cat(gates, 1).mean(1).tolist(), abs=1e-5)
    assert means[2] == [None, None, None]  # has no rows


def plant(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Let evaluations give these macro F1 one after the other."""
    left = iter(scores)
    metrics = {"eval_micro_f1": 0.0}
    monkeypatch.setattr(trainer_module, "compute_span_metrics", lambda *_: metrics | {"eval_macro_f1": next(left)})


def test_the_best_epoch_by_macro_f1_is_kept_and_saved(
    make_trainer: MakeTrainer, rows: TaskRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plant(monkeypatch, 0.2, 0.9, 0.4)
    trainer = make_trainer(rows, rows, num_train_epochs=3, learning_rate=0.01)
    epochs: list[dict[str, Tensor]] = []
    evaluate = trainer.evaluate

    def note_weights(*args: Any, **kwargs: Any) -> dict[str, float]:
        epochs.append(copy_weights(trainer))
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(trainer, "evaluate", note_weights)
    trainer.train()
    trainer.save_model()
    assert trainer.state.best_metric == 0.9
    assert largest_difference(epochs[1], epochs[2]) > 1e-3
    assert largest_difference(copy_weights(trainer), epochs[1]) == 0.0
    assert largest_difference(load_file(tmp_path / "out" / "model.safetensors"), epochs[1]) == 0.0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tasks"] == TASKS


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [(1, [0.5, 0.4, 0.9], 2), (2, [0.5, 0.4, 0.3, 0.9], 3), (2, [0.5, 0.4, 0.6, 0.7], 4), (None, [0.5, 0.4], 4)],
)
def test_early_stopping_waits_so_many_evaluations(
    train: MakeTrainer, rows: TaskRows, monkeypatch: Any, patience: int | None, scores: list[float], epochs: int
) -> None:
    plant(monkeypatch, *scores, 0.1, 0.1, 0.1)
    assert train(rows, rows, num_train_epochs=4, early_stopping_patience=patience).state.epoch == epochs


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "model.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "changed", "pickle"])
def test_a_damaged_file_of_a_checkpoint_is_one_line_without_dangerous_advice(
    tmp_path: Path, name: str, damage: str
) -> None:
    torch.save({"a": torch.arange(1000)}, tmp_path / "optimizer.pt")
    shutil.copy(tmp_path / "optimizer.pt", tmp_path / "scheduler.pt")
    shutil.copy(tmp_path / "optimizer.pt", tmp_path / "rng_state.pth")
    save_file({"a": torch.arange(1000)}, tmp_path / "model.safetensors")
    (tmp_path / "training_args.bin").write_bytes(b"no zip")
    check_files(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "changed" and name == "model.safetensors":
        content = b"\xff" + content[1:]  # of its header; weights have no checksum
    elif damage == "changed":
        content = content[:3000] + bytes([content[3000] ^ 1]) + content[3001:]
    path.write_bytes({"cut": content[:-100], "changed": content, "pickle": pickle.dumps({"a": 1})}[damage])
    with pytest.raises(ValueError, match=f"{name} is damaged; delete {tmp_path}, so that an earlier") as caught:
        check_files(tmp_path)
    assert "weights_only" not in str(caught.value)
