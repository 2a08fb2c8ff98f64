"""Teachers: what they say of which rows, and what the model in training learns of it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import run_mtl_ner
from data_collators import MultiTaskCollator, TaskRows
from modeling_mtl_bioner import IGNORE, MtlBionerConfig, MtlBionerModel
from mtl_bioner.reporting.run_record import hash_model
from mtl_bioner.reporting.tables import format_sharing_gain
from mtl_bioner.training.distillation import add_soft_labels, distillation_loss, load_teachers
from mtl_bioner.training.model_building import build_model, with_tasks
from mtl_bioner.training.trainer import MultiTaskTrainer
from mtl_bioner.training.training_arguments import MultiTaskTrainingArguments
from tests.test_trainer import NAMES, TASKS, make_rows


CPU = torch.device("cpu")
Argv = Callable[..., list[str]]


@pytest.fixture
def tokenizer(toy_tokenizer: Callable[[str], Any]) -> Any:
    return toy_tokenizer("bert")


@pytest.fixture
def teacher(toy_encoder: Callable[[str], str], tokenizer: Any, tmp_path: Path) -> Callable[..., tuple[str, Any]]:
    """A saved model with heads for these tasks: its folder, and itself."""

    def make(tasks: list[dict[str, Any]], name: str = "teacher") -> tuple[str, MtlBionerModel]:
        torch.manual_seed(1)
        model = build_model(toy_encoder("bert"), tasks).eval()
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return str(tmp_path / name), model

    return make


def label(rows: TaskRows, config: MtlBionerConfig, tokenizer: Any, folders: list[str]) -> None:
    add_soft_labels(rows, load_teachers(folders, NAMES, config, tokenizer), config, tokenizer, CPU, bf16=False)


@pytest.fixture
def config(toy_encoder: Callable[[str], str]) -> MtlBionerConfig:
    return build_model(toy_encoder("bert"), TASKS).config


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
        single = with_tasks(model, [], drop=[name])
        single.save_pretrained(Path(folder).parent / name)
        tokenizer.save_pretrained(Path(folder).parent / name)
        parts.append(str(Path(folder).parent / name))
    label(again, config, tokenizer, parts)
    for one, other in zip(rows.rows, again.rows, strict=True):
        assert one.soft_labels.any()
        torch.testing.assert_close(one.soft_labels, other.soft_labels, atol=1e-3, rtol=0)


def test_the_loss_has_the_value_of_its_equation() -> None:
    logits = {"a": torch.tensor([[[0.0, 0.0], [5.0, 1.0]]]), "b": torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])}
    soft = torch.tensor([[[0.25, 0.75, 0.0, 0.0, 0.0], [0.5, 0.5, 1.0, 0.0, 0.0]]])
    labels = torch.tensor([[2, IGNORE]])  # the second sub-word counts for nothing
    assert distillation_loss(logits, soft, labels).item() == pytest.approx(0.6931, abs=1e-4)  # log 2
    soft[0, 0, 2:] = torch.tensor([0.0, 1.0, 0.0])
    expected = 0.693147 + 1.551445  # log 2 + log(e + 2)
    assert distillation_loss(logits, soft, labels).item() == pytest.approx(expected, abs=1e-4)


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
        model = build_model(toy_encoder("bert"), TASKS).eval()
        args = MultiTaskTrainingArguments(
            str(tmp_path / "out"), task_loss_weights="equal", teacher_weight=weight, bf16=False, use_cpu=True,
            eval_strategy="no",
        )  # fmt: skip
        trainer = MultiTaskTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
        losses[weight] = [
            trainer.compute_loss(model, batch, num_items_in_batch=n).item() for n in (None, 2 * labelled)
        ]
    plain = model(**{key: value for key, value in batch.items() if key != "soft_labels"}).loss.item()
    outputs = model(batch["input_ids"], batch["attention_mask"], tasks=NAMES)
    soft = distillation_loss(outputs.task_logits, batch["soft_labels"], batch["labels"]).item() / labelled
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
    assert run["teachers"] == [{"name": "teacher", "model": hash_model(folder)}]
    losses = [entry["teacher_loss"] for entry in run["history"] if "teacher_loss" in entry]
    assert len(losses) > 1 and losses[-1] < losses[0]
    card = (tmp_path / "student" / "README.md").read_text()
    assert f"labelled the training text of the other tasks: teacher ({hash_model(folder)})" in card
    student = MtlBionerModel.from_pretrained(tmp_path / "student").eval()
    ids = torch.tensor([tokenizer(["EGFR", "binds"], is_split_into_words=True)["input_ids"]])
    logits = student(input_ids=ids, task_id=torch.tensor([0])).logits[0, 1:-1]
    assert (logits.argmax(-1) == 1).all()


AUTO = [
    "--data_dir=sample", "--do_train", "--do_eval", "--max_train_samples=4", "--max_eval_samples=3",
    "--num_train_epochs=2", "--learning_rate=1e-2", "--logging_steps=1", "--use_cpu", "--bf16=false",
]  # fmt: skip


def test_auto_trains_the_teachers_itself(
    toy_encoder: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    common = [*AUTO, f"--model_name_or_path={toy_encoder('bert')}"]
    own = ["--tasks=ncbi,drugs=bc5cdr:Chemical", "--train_fraction=drugs=0.9", "--task_loss_weights=ncbi=1,drugs=2"]
    auto = tmp_path / "auto"
    assert run_mtl_ner.main([*common, *own, "--sharing=cross", "--teachers=auto", f"--output_dir={auto}"]) == 0
    shown = capsys.readouterr().out

    folders = [str(tmp_path / "ncbi"), str(tmp_path / "drugs")]
    alone = [["--tasks=ncbi"], ["--tasks=drugs=bc5cdr:Chemical", "--train_fraction=0.9"]]
    for folder, arguments in zip(folders, alone, strict=True):
        assert run_mtl_ner.main([*common, *arguments, "--leak_corpora=ncbi,bc5cdr", f"--output_dir={folder}"]) == 0
    by_hand = ["--sharing=cross", "--teachers", *folders, f"--output_dir={tmp_path / 'by_hand'}"]
    assert run_mtl_ner.main([*common, *own, *by_hand]) == 0
    assert hash_model(str(auto)) == hash_model(str(tmp_path / "by_hand"))

    run = json.loads((auto / "run.json").read_text())
    assert run["teachers"] == [{"name": Path(folder).name, "model": hash_model(folder)} for folder in folders]
    assert run["arguments"]["teachers"] == ["auto"]
    alone = json.loads((auto / "teachers" / "ncbi" / "run.json").read_text())["arguments"]
    assert alone["leak_corpora"] == "ncbi,bc5cdr"
    assert "on no held-out text of any task" in (auto / "README.md").read_text()
    assert not list((auto / "teachers").glob("*/checkpoint-*"))
    scores = json.loads((auto / "all_results.json").read_text())
    single = json.loads((Path(folders[1]) / "all_results.json").read_text())
    assert scores["single_eval_drugs_f1"] == single["eval_drugs_f1"]
    assert "F1 of each task; one seed" in shown and "macro over tasks" in shown.split("F1 of each task")[1]


@pytest.mark.slow
def test_a_teacher_that_was_interrupted_goes_on_from_its_checkpoint(
    toy_encoder: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    steps, stop_at = [], 0
    step = MultiTaskTrainer.training_step

    def counted(self: MultiTaskTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
        steps.append(Path(self.args.output_dir).name)
        if len(steps) == stop_at:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(MultiTaskTrainer, "training_step", counted)
    common = [*AUTO, f"--model_name_or_path={toy_encoder('bert')}", "--tasks=ncbi,bc5cdr", "--teachers=auto"]
    arguments = [*common, "--max_tokens_per_batch=128", f"--output_dir={tmp_path / 'student'}"]
    assert run_mtl_ner.main([*arguments[:-1], f"--output_dir={tmp_path / 'whole'}"]) == 0
    whole, stop_at = list(steps), len(steps) - steps.count("whole")  # in the last step of the second teacher
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        run_mtl_ner.main(arguments)
    steps.clear()
    again = [*arguments, "--resume_from_checkpoint=true"]
    assert run_mtl_ner.main([*again, "--learning_rate=1e-3"]) == 2
    message = "was begun with --learning_rate=0.01, not with --learning_rate=0.001; give the same"
    assert message in capsys.readouterr().err
    stop_at = 0
    assert run_mtl_ner.main([*again[::-1], "--save_total_limit=2"]) == 0  # in other words
    assert steps.count("ncbi") == 0 and 0 < steps.count("bc5cdr") < whole.count("bc5cdr")
    assert hash_model(str(tmp_path / "student")) == hash_model(str(tmp_path / "whole"))


@pytest.mark.slow
def test_auto_goes_on_where_it_was_interrupted(argv: Argv, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = argv("--teachers=auto", tasks="ncbi,bc5cdr", data=AUTO)
    assert run_mtl_ner.main(command) == 0
    whole = hash_model(str(output))
    for path in output.iterdir():  # as if killed in the training of the second teacher, before its first checkpoint
        if path.is_dir() and path.name != "teachers":
            shutil.rmtree(path)
        elif path.is_file() and path.name != "begun_with.json":
            path.unlink()
    (output / "teachers" / "bc5cdr" / "run.json").unlink()
    models = [output / "teachers" / name / "model.safetensors" for name in ("ncbi", "bc5cdr")]
    times = [path.stat().st_mtime_ns for path in models]
    assert run_mtl_ner.main(command) == 2  # the folder is not empty
    assert run_mtl_ner.main([*command, "--resume_from_checkpoint=true"]) == 0
    again = [path.stat().st_mtime_ns for path in models]
    assert again[0] == times[0] and again[1] > times[1]
    assert hash_model(str(output)) == whole
    (output / "teachers" / "plants").mkdir()  # of an earlier training with another task
    assert run_mtl_ner.main([*command, "--overwrite_output"]) == 0  # begins anew
    assert not (output / "teachers" / "plants").exists()
    assert models[0].stat().st_mtime_ns > times[0]


@pytest.mark.parametrize("chosen", [["--teachers=auto"], []])
def test_a_dry_run_tells_of_the_teachers_too(
    chosen: list[str], argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = [*chosen, "--dry_run", "--num_train_epochs=1000000"]
    assert run_mtl_ner.main(argv(*options, tasks="ncbi,bc5cdr", data=AUTO)) == 0
    shown = capsys.readouterr().out
    assert shown.count("training: ") == 3 and shown.startswith("teacher ncbi\n") and "\nteacher bc5cdr\n" in shown
    assert shown.count("\n\nthe model that they teach\n") == 1
    minutes = [float(number) for number in re.findall(r"about ([\d.]+) minutes", shown)]
    assert shown.splitlines()[-1].startswith("all trainings: about ") and len(minutes) == 4
    assert min(minutes) > 1 and minutes[-1] == pytest.approx(sum(minutes[:3]), abs=0.21)  # each is rounded
    assert not (tmp_path / "out" / "teachers").exists()


def test_teachers_share_the_steps_of_their_student(argv: Argv, capsys: pytest.CaptureFixture) -> None:
    options = ["--data_dir=sample", "--use_cpu", "--max_steps=1000", "--dry_run", "--do_train"]
    assert run_mtl_ner.main(argv(tasks="ncbi,bc5cdr,bc2gm", data=options)) == 0
    steps = [int(text.replace(",", "")) for text in re.findall(r"training: ([\d,]+) steps", capsys.readouterr().out)]
    assert len(steps) == 4 and steps[-1] == 1000 and abs(sum(steps[:3]) - 1000) <= 2 and len(set(steps)) == 4


def test_a_metric_of_another_task_is_no_loss(argv: Argv) -> None:
    options = ["--data_dir=sample", "--use_cpu", "--metric_for_best_model=glossary_f1", "--dry_run"]
    options += ["--debug=underflow_overflow"]
    assert run_mtl_ner.main(argv(tasks="glossary=ncbi,bc5cdr", data=options)) == 0


def test_only_folders_of_the_trainings_own_teachers_are_overwritten(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = argv("--overwrite_output", tasks="ncbi,bc5cdr", data=AUTO)
    path = tmp_path / "out" / "teachers" / "bc5cdr"
    path.mkdir(parents=True)
    assert run_mtl_ner.main(command) == 2
    assert f"{path} is not from --teachers auto, which would write there" in capsys.readouterr().err
    path.rmdir()
    (tmp_path / "out" / "teachers" / "notes.txt").write_text("mine")
    assert run_mtl_ner.main(command) == 0
    assert (tmp_path / "out" / "teachers" / "notes.txt").read_text() == "mine"


def test_a_checkpoint_elsewhere_has_its_teachers_elsewhere(
    argv: Argv, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_mtl_ner.main(argv(tasks="ncbi,bc5cdr", output="a", data=AUTO)) == 0
    checkpoint = next((tmp_path / "a").glob("checkpoint-*"))
    again = argv(f"--resume_from_checkpoint={checkpoint}", tasks="ncbi,bc5cdr", output="b", data=AUTO)
    assert run_mtl_ner.main(again) == 2
    assert f"where its teachers would be; give {tmp_path / 'a'} as --output_dir" in capsys.readouterr().err
    assert run_mtl_ner.main([*again, "--teachers=none"]) == 2
    message = f"the training in {tmp_path / 'a'} was begun with --teachers auto, not with --teachers none"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("begun_with", ["auto", "none"])
def test_a_training_does_not_go_on_with_other_teachers(
    begun_with: str, argv: Argv, capsys: pytest.CaptureFixture
) -> None:
    command = argv(tasks="ncbi,bc5cdr", data=AUTO)
    assert run_mtl_ner.main([*command, f"--teachers={begun_with}"]) == 0
    capsys.readouterr()
    other = {"auto": "none", "none": "auto"}[begun_with]
    assert run_mtl_ner.main([*command, f"--teachers={other}", "--resume_from_checkpoint=true"]) == 2
    message = capsys.readouterr().err
    assert f"was begun with --teachers {begun_with}, not with --teachers {other}; give the same" in message


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["auto"]),
        (["--teachers=none"], ["none"]),
        (["--tasks=ncbi"], ["none"]),
        (["--search=2"], ["none"]),
        (["--freeze_encoder"], ["none"]),
        (["--model_name_or_path={saved}"], ["none"]),
        (["--model_name_or_path={saved}", "--do_predict"], ["none"]),
        (["--tasks=ncbi", "--teachers=none"], ["none"]),
    ],
)
def test_by_default_several_tasks_from_an_encoder_have_teachers(
    options: list[str], expected: list[str], teacher: Callable[..., tuple[str, Any]], argv: Argv
) -> None:
    saved, _ = teacher([{"name": "ncbi", "types": ["Disease"]}, {"name": "bc5cdr", "types": ["Chemical", "Disease"]}])
    data = ["--data_dir=sample", "--use_cpu", "--max_train_samples=4", "--max_eval_samples=3"]
    options = [text.format(saved=saved) for text in options]
    assert run_mtl_ner.prepare(argv(*options, tasks="ncbi,bc5cdr", data=data)).model_args.teachers == expected


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        # Choices that don't go together.
        (["none", "{saved}"], ["none goes with no other teacher; leave it out"]),
        (["auto", "--tasks=ncbi"], ["ncbi is the only one; leave it out"]),
        (["{saved}", "--tasks=ncbi"], ["ncbi is the only one; leave it out"]),
        (["auto", "{saved}"], ["--teachers auto goes with no other teacher"]),
        (["auto", "--search=2"], ["no --search; train them first, and name them"]),
        (["auto", "--model_name_or_path={saved}"], ["{saved} is a saved multi-task model; name its encoder"]),
        (["x", "--do_predict"], ["nothing is trained; leave it out, or add --do_train"]),
        # Models that can teach nothing.
        (["{missing}"], ["--teachers names", "where there is no folder; give the --output_dir of a training"]),
        (["{encoder}"], ["--teachers names", "no saved multi-task model; give the --output_dir of a training"]),
        (["{other},{types}"], ["--teachers names", "where there is no folder", "several, separated by spaces"]),
        (["some/teacher"], ["--teachers names some/teacher, which is no folder, and can't be loaded from the Hub"]),
        (["{damaged}"], ["--teachers names", "which can't be loaded"]),
        (["{other}"], ["--teachers names", "whose heads are plants; it has none of ncbi, bc5cdr: leave it out"]),
        (["{types}"], ["whose head ncbi finds Gene, the model's Disease"]),
        (["{vocabulary}"], ["--teachers names", "sub-words differ"]),
        # Models that the training would delete.
        (["{out/teachers/ncbi}", "--overwrite_output"], ["--teachers {out/teachers/ncbi} is in --output_dir"]),
        (["{out/checkpoint-8}", "--overwrite_output"], ["--teachers {out/checkpoint-8} is in --output_dir"]),
        (["{out/.}", "--overwrite_output"], ["--teachers {out/.} is in --output_dir"]),
    ],
)
def test_teachers_that_cannot_be(
    options: list[str],
    parts: list[str],
    teacher: Callable[..., tuple[str, Any]],
    toy_tokenizer: Callable[[str], Any],
    argv: Argv,
    encoder: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folders = {"missing": str(tmp_path / "nowhere"), "encoder": encoder}
    heads = {"other": {"name": "plants", "types": ["Plant"]}, "types": {"name": "ncbi", "types": ["Gene"]}}
    for name in re.findall(r"\{([^}]+)\}", " ".join(options)):
        if name not in folders:
            folders[name], _ = teacher([heads.get(name, {"name": "ncbi", "types": ["Disease"]})], name)
    if "damaged" in folders:
        (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    if "vocabulary" in folders:
        toy_tokenizer("roberta").save_pretrained(folders["vocabulary"])

    def fill(text: str) -> str:
        return re.sub(r"\{([^}]+)\}", lambda match: folders[match[1]], text)

    command = argv("--teachers", *map(fill, options), tasks="ncbi,bc5cdr", data=["--data_dir=sample"])
    assert run_mtl_ner.main(command) == 2
    message = capsys.readouterr().err
    assert all(fill(part) in message for part in parts), message


def test_the_table_of_single_task_models_beside_the_shared_one() -> None:
    metrics = {
        "eval_a_f1": 0.5, "eval_b_f1": 0.25, "test_a_f1": 0.75, "eval_macro_f1": 0.375, "single_eval_a_f1": 0.5,
        "single_eval_b_f1": 0.125, "single_test_a_f1": 1.0,
    }  # fmt: skip
    lines = [line.split() for line in format_sharing_gain(metrics).splitlines()[1:]]
    assert lines == [
        ["dev", "a", "50.00", "50.00", "+0.00"],
        ["dev", "b", "12.50", "25.00", "+12.50"],
        ["dev", "macro", "over", "tasks", "31.25", "37.50", "+6.25"],
        ["test", "a", "100.00", "75.00", "-25.00"],
    ]
    assert format_sharing_gain({"eval_a_f1": 0.5}) == ""


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


def test_the_columns_of_each_task_are_in_the_order_of_the_loss(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    rows = make_rows(tokenizer)
    folder, model = teacher(TASKS)
    label(rows, config, tokenizer, [folder])
    assert rows.taught == NAMES
    for row in rows.rows:
        logits = model(torch.tensor([row.input_ids])).task_logits
        expected = [logits[name][0].softmax(-1) * (name != NAMES[row.task_id]) for name in rows.taught]
        torch.testing.assert_close(row.soft_labels.float(), torch.cat(expected, -1), atol=1e-3, rtol=0)


def test_of_several_teachers_of_a_task_the_last_one_teaches(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    folders = [teacher(TASKS, "both")[0], teacher([TASKS[0]], "one")[0]]
    found = load_teachers(folders, NAMES, config, tokenizer)
    assert {name: own.config.task_names for name, own in found.items()} == {"ill": ["ill"], "gene": NAMES}


def test_a_teacher_saved_in_half_precision_computes_in_full(
    teacher: Callable[..., tuple[str, Any]], config: MtlBionerConfig, tokenizer: Any
) -> None:
    folder, model = teacher([TASKS[0]])
    model.to(torch.bfloat16).save_pretrained(folder)
    assert load_teachers([folder], NAMES, config, tokenizer)["ill"].dtype == torch.float32
