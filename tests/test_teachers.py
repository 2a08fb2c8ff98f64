"""Teachers: what they say of which rows, and what the model in training learns of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import run_mtl_ner
from data_collators import MultiTaskCollator, TaskRows
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel
from results_mtl_bioner import model_hash
from teachers_mtl_bioner import load_teachers, soft_loss, teach
from tests.test_trainer import NAMES, TASKS, make_rows
from trainer_mtl_bioner import MultiTaskTrainer, MultiTaskTrainingArguments


CPU = torch.device("cpu")


@pytest.fixture
def tokenizer(toy_tokenizer: Callable[[str], Any]) -> Any:
    return toy_tokenizer("bert")


@pytest.fixture
def teacher(toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path) -> Callable[..., tuple[str, Any]]:
    """A saved model with heads for these tasks: its folder, and itself."""

    def make(tasks: list[dict[str, Any]], name: str = "teacher") -> tuple[str, MtlBionerModel]:
        torch.manual_seed(1)
        model = MtlBionerModel.from_encoder(toy_encoder("bert"), tasks).eval()
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name), model

    return make


def label(rows: TaskRows, config: MtlBionerConfig, tokenizer: Any, folders: list[str]) -> None:
    teach(rows, load_teachers(folders, NAMES, config, tokenizer), config, tokenizer, CPU, bf16=False)


@pytest.fixture
def config(toy_encoder: Callable[[str], str]) -> MtlBionerConfig:
    return MtlBionerModel.from_encoder(toy_encoder("bert"), TASKS).config


def test_a_teacher_labels_the_rows_of_other_tasks_alone(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    rows = make_rows(tokenizer)
    folder, model = teacher([TASKS[0]])
    label(rows, config, tokenizer, [folder])
    for row in rows.rows:
        assert row.soft_labels.shape == (len(row.input_ids), 3)  # nobody teaches the genes
        if row.task_id == 0:
            assert not row.soft_labels.any()
        else:
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0]
            torch.testing.assert_close(row.soft_labels.float(), logits.softmax(-1), atol=1e-3, rtol=0)


def test_several_teachers_and_one_with_several_heads_say_the_same(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    rows, again = make_rows(tokenizer), make_rows(tokenizer)
    folder, model = teacher([TASKS[1], TASKS[0]])  # in another order than those of the model in training
    label(rows, config, tokenizer, [folder])
    parts = []
    for name in ("gene", "ill"):
        single = model.with_tasks([], drop=[name])
        single.save_pretrained(Path(folder).parent / name)
        tokenizer.save_pretrained(Path(folder).parent / name)
        parts.append(str(Path(folder).parent / name))
    label(again, config, tokenizer, parts)
    for one, other in zip(rows.rows, again.rows, strict=True):
        assert torch.equal(one.soft_labels, other.soft_labels) and one.soft_labels.any()


def test_the_loss_has_the_value_of_its_equation() -> None:
    logits = {"a": torch.tensor([[[0.0, 0.0], [5.0, 1.0]]]), "b": torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])}
    soft = torch.tensor([[[0.25, 0.75, 0.0, 0.0, 0.0], [0.5, 0.5, 1.0, 0.0, 0.0]]])
    labels = torch.tensor([[2, IGNORE]])  # the second sub-word counts for nothing
    assert soft_loss(logits, soft, labels).item() == pytest.approx(0.6931, abs=1e-4)  # log 2
    soft[0, 0, 2:] = torch.tensor([0.0, 1.0, 0.0])
    expected = 0.693147 + 1.551445  # log 2 + log(e + 2)
    assert soft_loss(logits, soft, labels).item() == pytest.approx(expected, abs=1e-4)


def test_padding_has_no_soft_labels(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    rows: TaskRows = make_rows(tokenizer)
    assert "soft_labels" not in MultiTaskCollator(0)(rows.rows)
    label(rows, config, tokenizer, [teacher(TASKS)[0]])
    batch = MultiTaskCollator(0)(rows.rows)
    assert batch["soft_labels"].shape == (*batch["input_ids"].shape, 8)
    assert not batch["soft_labels"][batch["attention_mask"] == 0].any()


def test_a_step_loses_by_gold_labels_and_by_teachers(
    teacher: Callable[..., tuple[str, Any]],
    toy_encoder: Callable[[str], str],
    config: MtlBionerConfig,
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    rows = make_rows(tokenizer)
    label(rows, config, tokenizer, [teacher(TASKS)[0]])
    batch = MultiTaskCollator(0)(rows.rows)
    labelled = int((batch["labels"] != IGNORE).sum())
    losses = {}
    for weight in (0.0, 1.0, 3.0):
        torch.manual_seed(2)
        model = MtlBionerModel.from_encoder(toy_encoder("bert"), TASKS).eval()
        args = MultiTaskTrainingArguments(
            str(tmp_path / "out"), teacher_weight=weight, bf16=False, use_cpu=True, eval_strategy="no"
        )
        trainer = MultiTaskTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
        losses[weight] = [
            trainer.compute_loss(model, batch, num_items_in_batch=n).item() for n in (None, 2 * labelled)
        ]
    plain = model(**{key: value for key, value in batch.items() if key != "soft_labels"}).loss.item()
    outputs = model(batch["input_ids"], batch["attention_mask"], tasks=NAMES)
    soft = soft_loss(outputs.task_logits, batch["soft_labels"], batch["labels"]).item() / labelled
    assert soft > 0.5
    for weight, (whole, half) in losses.items():
        assert whole == pytest.approx(plain + weight * soft, rel=1e-5)
        assert half == pytest.approx(whole / 2, rel=1e-5)


def test_a_head_learns_from_a_teacher_what_no_gold_label_says(
    teacher: Callable[..., tuple[str, Any]],
    toy_encoder: Callable[[str], str],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    """The text of `bc5cdr` alone is trained on for `ncbi`, whose gold labels have no weight."""
    folder, taught = teacher([{"name": "ncbi", "types": ["Disease"]}])
    with torch.no_grad():
        taught.heads["ncbi"].bias.copy_(torch.tensor([-4.0, 4.0, -4.0]))  # calls everything B-Disease
    taught.save_pretrained(folder)
    arguments = [
        "--tasks=ncbi,bc5cdr", "--data_dir=sample", f"--model_name_or_path={toy_encoder('bert')}", "--do_train",
        "--max_train_samples=4", "--num_train_epochs=4", "--learning_rate=1e-2", "--eval_strategy=no",
        "--save_strategy=no", "--task_loss_weights=ncbi=0,bc5cdr=1", "--logging_steps=1", "--use_cpu",
        "--teachers", folder, f"--output_dir={tmp_path / 'student'}",
    ]  # fmt: skip
    assert run_mtl_ner.main(arguments) == 0
    run = json.loads((tmp_path / "student" / "run.json").read_text())
    assert run["teachers"] == [{"name": "teacher", "model": model_hash(folder)}]
    losses = [entry["teacher_loss"] for entry in run["history"] if "teacher_loss" in entry]
    assert len(losses) > 1 and losses[-1] < losses[0]
    card = (tmp_path / "student" / "README.md").read_text()
    assert f"labelled the training text of the other tasks: teacher ({model_hash(folder)})" in card
    student = MtlBionerModel.from_pretrained(tmp_path / "student").eval()
    ids = torch.tensor([tokenizer(["EGFR", "binds"], is_split_into_words=True)["input_ids"]])
    logits = student(input_ids=ids, task_id=torch.tensor([0])).logits[0, 1:-1]
    assert (logits.argmax(-1) == 1).all()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("{missing}", ["--teachers names", "where there is no folder; give the --output_dir of a training"]),
        ("{encoder}", ["--teachers names", "no saved multi-task model; give the --output_dir of a training"]),
        ("{other},{types}", ["--teachers names", "where there is no folder", "several, separated by spaces"]),
        ("some/teacher", ["--teachers names some/teacher, which is no folder, and can't be loaded from the Hub"]),
        ("{damaged}", ["--teachers names", "which can't be loaded"]),
        ("{other}", ["--teachers names", "whose heads are plants; it has none of ncbi, bc5cdr: leave it out"]),
        ("{types}", ["whose head ncbi finds Gene, the model's Disease"]),
        ("{vocabulary}", ["--teachers names", "sub-words are others"]),
    ],
)
def test_teachers_that_can_teach_nothing(
    name: str,
    parts: list[str],
    teacher: Callable[..., tuple[str, Any]],
    toy_encoder: Callable[[str], str],
    toy_tokenizer: Callable[[str], Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folders = {"missing": str(tmp_path / "nowhere"), "encoder": toy_encoder("bert")}
    folders["damaged"], _ = teacher([{"name": "ncbi", "types": ["Disease"]}], "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    folders["other"], _ = teacher([{"name": "plants", "types": ["Plant"]}], "other")
    folders["types"], _ = teacher([{"name": "ncbi", "types": ["Gene"]}], "types")
    folders["vocabulary"], _ = teacher([{"name": "ncbi", "types": ["Disease"]}], "vocabulary")
    toy_tokenizer("roberta").save_pretrained(folders["vocabulary"])
    arguments = ["--tasks=ncbi,bc5cdr", "--data_dir=sample", f"--model_name_or_path={toy_encoder('bert')}"]
    arguments += ["--teachers", name.format(**folders), f"--output_dir={tmp_path / 'student'}"]
    assert run_mtl_ner.main(arguments) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts)


def test_a_single_task_has_no_text_for_teachers(
    teacher: Callable[..., tuple[str, Any]], toy_encoder: Callable[[str], str], capsys: pytest.CaptureFixture
) -> None:
    folder, _ = teacher([{"name": "ncbi", "types": ["Disease"]}])
    arguments = ["--tasks=ncbi", "--data_dir=sample", f"--model_name_or_path={toy_encoder('bert')}"]
    assert run_mtl_ner.main([*arguments, "--teachers", folder, f"--output_dir={folder}-student"]) == 2
    assert "ncbi is the only one; leave it out" in capsys.readouterr().err


def test_teachers_of_nothing_that_is_trained(toy_encoder: Callable[[str], str], capsys: pytest.CaptureFixture) -> None:
    arguments = ["--tasks=ncbi,bc5cdr", "--data_dir=sample", f"--model_name_or_path={toy_encoder('bert')}"]
    assert run_mtl_ner.main([*arguments, "--do_predict", "--teachers", "x"]) == 2
    assert "nothing is trained; leave it out, or add --do_train" in capsys.readouterr().err


def test_a_head_that_nobody_teaches_stays_where_it_has_no_rows(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    folder, _ = teacher([TASKS[0]])
    rows = make_rows(tokenizer)
    rows.rows = [row for row in rows.rows if row.task_id == 0]
    label(rows, config, tokenizer, [folder])
    model = MtlBionerModel(config).train()
    args = MultiTaskTrainingArguments(f"{folder}-out", bf16=False, use_cpu=True, eval_strategy="no")
    trainer = MultiTaskTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
    trainer.compute_loss(model, MultiTaskCollator(0)(rows.rows)).backward()
    assert model.heads["ill"].weight.grad is not None and model.heads["gene"].weight.grad is None
