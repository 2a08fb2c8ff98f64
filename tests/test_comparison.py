"""The comparison: which cells there are, what is kept of them, and the report of made-up and of real ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

import run_comparison
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import SHARING, MtlBionerModel
from mtl_bioner.comparison import plots as comparison_plots
from mtl_bioner.comparison import record as cell_record
from mtl_bioner.comparison import report, runner, statistics
from mtl_bioner.comparison.arguments import DEFAULT_ENCODER, STRUCTURES, parse_arguments
from mtl_bioner.comparison.cells import Cells, Primary
from mtl_bioner.comparison.plan import Cell, corpora_of, finished, keep_plan, plan, teachers_of
from mtl_bioner.comparison.runner import by_name, take_out
from mtl_bioner.evaluation.error_analysis import KINDS
from mtl_bioner.evaluation.significance import correct_holm
from mtl_bioner.reporting.plots import import_pyplot, save_figure
from mtl_bioner.training.arguments import ModelArguments


def test_cells_are_planned_seed_by_seed_single_tasks_first() -> None:
    arguments, rest = parse_arguments(
        ["--tasks", "ncbi,bc5cdr:Disease", "--structures", "hard", "cross", "--primary", "cross", "--seeds", "1", "2",
         "--groups", "ncbi,bc2gm", "--fractions", "1", "--num_train_epochs", "3"]
    )  # fmt: skip
    assert rest == ["--num_train_epochs", "3"]
    cells = plan(arguments)
    assert cells[:5] == [
        Cell("single", "ncbi", "hard", 1, 1.0),
        Cell("single", "bc5cdr:Disease", "hard", 1, 1.0),
        Cell("cross", "ncbi,bc5cdr:Disease", "cross", 1, 1.0),
        Cell("hard", "ncbi,bc5cdr:Disease", "hard", 1, 1.0),
        Cell("ncbi,bc2gm", "ncbi,bc2gm", "cross", 1, 1.0),
    ]
    assert len(cells) == 10 and {cell.seed for cell in cells[5:]} == {2}
    assert cells[1].name == "single_bc5cdr_Disease_1_1"
    assert len({cell.name for cell in cells}) == 10
    assert corpora_of([arguments.tasks, *arguments.groups]) == "ncbi,bc5cdr,bc2gm"


def test_groups_of_a_taught_structure_come_after_what_teaches_them() -> None:
    disease = "disease=ncbi+bc5cdr:Disease"
    arguments, _ = parse_arguments(
        ["--structures", "taught", "--seeds", "1", "--groups", f"{disease},bc5cdr", disease]
    )
    cells = plan(arguments)
    assert cells == [
        Cell("single", "ncbi", "hard", 1, 1.0),
        Cell("single", "bc5cdr", "hard", 1, 1.0),
        Cell("taught", "ncbi,bc5cdr", "taught", 1, 1.0),
        Cell(disease, disease, "hard", 1, 1.0),
        Cell(f"{disease},bc5cdr", f"{disease},bc5cdr", "taught", 1, 1.0),
    ]
    teachers = [[teacher.name for teacher in teachers_of(cell, arguments)] for cell in cells]
    name = "disease=ncbi+bc5cdr_Disease"
    assert teachers == [[], [], ["single_ncbi_1_1", "single_bc5cdr_1_1"], [],
                        [f"{name}_1_1", "single_bc5cdr_1_1"]]  # fmt: skip


def test_the_name_of_a_cell_of_many_tasks_is_a_file_name() -> None:
    groups = [",".join(f"task{number}=jnlpba:Protein" for number in range(count)) for count in (20, 21)]
    names = [Cell(group, group, "hard", 42, 0.1, 12.0).name for group in groups]
    assert names[0][:30] == names[1][:30] and names[0] != names[1]
    assert all(len(name.encode()) < 200 for name in names)
    assert Cell("cross", "ncbi,bc5cdr", "cross", 42, 0.1).name == "cross_ncbi,bc5cdr_0.1_42"  # as it was


def dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str, statuses: Sequence[int] = (0,)) -> None:
    """`check_cells` of a comparison whose dry runs, in bf16, end with these statuses."""
    ends = iter(statuses)

    def run_cell(cell: Cell, arguments: Any, rest: Any, part: Path, log: Path) -> int:
        log.write_text("Traceback\nZeroDivisionError: why")
        if not (status := next(ends)):
            part.write_text(json.dumps({"identity": {"bf16": True}, "evaluates": True}))
        return status

    monkeypatch.setattr(runner, "run_cell", run_cell)
    arguments, rest = parse_arguments(["--structures", "hard", "--output_dir", str(tmp_path), *options])
    runner.check_cells(plan(arguments), arguments, rest)


def test_cells_of_all_fractions_are_checked_before_any_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cells").mkdir()
    there = cell("single", "ncbi", 1, 30) | {"identity": {"bf16": False, "num_train_epochs": 3}}
    (tmp_path / "cells" / "single_ncbi_1_1.json").write_text(json.dumps(there))
    dry_run(tmp_path, monkeypatch, "--fractions", "0.1:3")
    with pytest.raises(ValueError, match=r"different bf16 \(False and True\)"):
        dry_run(tmp_path, monkeypatch, "--fractions", "1", "0.1:3")


def test_a_dry_run_that_crashes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--tasks ncbi,bc2gm failed: Traceback\nZeroDivisionError: why"):
        dry_run(tmp_path, monkeypatch, "--groups", "ncbi,bc2gm", statuses=(0, 1))


@pytest.mark.parametrize(("weights", "kept"), [("balanced", True), ("equal", True), ("ncbi=2", False)])
def test_loss_weights_that_name_no_tasks_are_for_groups_too(
    weights: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    arguments, rest = parse_arguments(["--groups", "ncbi,bc2gm", "--task_loss_weights", weights])
    for tasks in ("ncbi,bc2gm", arguments.tasks):
        runner.run_cell(Cell(tasks, tasks, "hard", 1, 1.0), arguments, rest, tmp_path / "part", tmp_path / "log")
    assert [weights in command for command in commands] == [kept, True]


def test_the_quick_comparison_has_learning_curves_too() -> None:
    assert parse_arguments(["--quick"])[0].fractions == [(1.0, None), (0.3, None)]
    assert parse_arguments(["--quick", "--fractions", "0.5"])[0].fractions == [(0.5, None)]
    assert parse_arguments([])[0].fractions == [(1.0, None)]


def test_fractions_may_have_epochs_of_their_own() -> None:
    arguments, _ = parse_arguments(["--structures", "hard", "--seeds", "1", "--fractions", "1", "0.1:20"])
    assert [(cell.system, cell.fraction, cell.epochs) for cell in plan(arguments)] == [
        ("single", 1.0, None), ("single", 1.0, None), ("hard", 1.0, None),
        ("single", 0.1, 20.0), ("single", 0.1, 20.0), ("hard", 0.1, 20.0),
    ]  # fmt: skip


def test_unknown_structure() -> None:
    with pytest.raises(ValueError, match="invalid choice: 'crss'"):
        parse_arguments(["--structures", "hard", "crss"])


def test_a_search_gives_its_arguments_to_all_cells(tmp_path: Path) -> None:
    found = {"tasks": "ncbi,bc2gm", "seed": 7, "sharing": "cross", "output_dir": "x", "learning_rate": 0.001}
    (tmp_path / "best.json").write_text(
        json.dumps(found | {"task_loss_weights": "ncbi=2,bc2gm=1", "teachers": ["a", "b"]})
    )
    arguments, rest = parse_arguments([str(tmp_path / "best.json"), "--num_train_epochs", "2"])
    assert arguments.tasks == "ncbi,bc2gm"
    assert rest == ["--learning_rate=0.001", "--task_loss_weights=ncbi=2,bc2gm=1", "--num_train_epochs", "2"]
    assert take_out(rest, "task_loss_weights")[1] == ["--learning_rate=0.001", "--num_train_epochs", "2"]
    found, others = take_out(["--a", "--task-loss-weights", "ncbi=2", "--b"], "task_loss_weights", "seed")
    assert vars(found) == {"task_loss_weights": "ncbi=2", "seed": None} and others == ["--a", "--b"]


@pytest.mark.parametrize(
    "text", ["learning_rate", "learning_rate=1e-4", "learning_rate=1,1", "seed=1,2", "=1,2", "data_dir=a,b"]
)
def test_what_cannot_be_tuned(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{re.escape(text)}'; give an argument of run_mtl_ner.py that"):
        parse_arguments(["--tune", text])


@pytest.mark.parametrize("text", ["0", "1.5", "2", "0.1:0", "0.1:x", "x"])
def test_what_is_no_fraction(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}'; give a share of the documents above 0, at most 1"):
        parse_arguments(["--fractions", text])


def test_every_system_takes_the_value_that_serves_it_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are those of the first seed, without test scores, and computed once."""
    best = {("single", "1e-4"): [0.5, 0.7, 0.6], ("single", "3e-4"): [0.4, 0.6, 0.65],
            ("cross", "1e-4"): [0.3, 0.3, 0.3], ("cross", "3e-4"): [0.1, 0.4, 0.2]}  # fmt: skip
    trained = []

    def train(own: Cell, arguments: Any, rest: list[str], path: Path) -> dict[str, Any]:
        value = next(part.partition("=")[2] for part in rest if part.startswith("--learning_rate="))
        trained.append((own.system, own.seed, value, "--do_predict" in rest))
        curve = [[float(i), f1] for i, f1 in enumerate(best[own.system, value], 1)]
        if "--do_predict" not in rest:
            return {"development": curve}
        return {"development": curve, "identity": {"learning_rate": float(value)}}

    monkeypatch.setattr(runner, "train", train)
    arguments, _ = parse_arguments(
        ["--tasks", "ncbi", "--structures", "cross", "--seeds", "1", "2", "--tune", "learning-rate=1e-4,3e-4",
         "--output_dir", str(tmp_path)]
    )  # fmt: skip
    for own in plan(arguments):
        assert runner.compute(own, arguments, [], {"tune": "as before"})
    assert trained == [
        ("single", 1, "1e-4", False), ("single", 1, "3e-4", False), ("single", 1, "1e-4", True),
        ("cross", 1, "1e-4", False), ("cross", 1, "3e-4", False), ("cross", 1, "3e-4", True),
        ("single", 2, "1e-4", True), ("cross", 2, "3e-4", True),
    ]  # fmt: skip
    waits = replace(own, fraction=0.5, seed=2)  # since trials are of the first seed
    assert not runner.compute(waits, arguments, [], {"tune": "as before"}) and len(trained) == 8
    other = replace(own, sharing="hard", seed=3)  # as `taught` was written before it was a structure of its own
    assert runner.tuned_before(other, arguments)["value"] == "3e-4"
    contents = list(finished(tmp_path))
    assert contents[0]["tuned"] == {
        "argument": "learning_rate", "value": "3e-4", "development": {"1e-4": 0.3, "3e-4": 0.4}
    }  # fmt: skip


def test_trials_of_unlike_machines_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = iter([True, False])

    def train(own: Cell, arguments: Any, rest: list[str], path: Path) -> dict[str, Any]:
        rate = float(rest[-3].partition("=")[2])
        return {"development": [[1.0, 0.5]], "identity": {"learning_rate": rate, "bf16": next(machines)}}

    monkeypatch.setattr(runner, "train", train)
    arguments, _ = parse_arguments(
        ["--tasks", "ncbi", "--seeds", "1", "--tune", "learning_rate=1e-4,3e-4", "--output_dir", str(tmp_path)]
    )
    with pytest.raises(ValueError, match=r"different bf16 \(True and False\)"):
        runner.compute(plan(arguments)[0], arguments, [], {"tune": "as before"})


def test_what_was_tuned_is_decided_by_the_comparison(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text(json.dumps({"tasks": "ncbi", "learning_rate": 1, "weight_decay": 0}))
    _, rest = parse_arguments([str(tmp_path / "best.json"), "--tune", "learning_rate=1e-4,3e-4"])
    assert rest == ["--weight_decay=0"]
    with pytest.raises(ValueError, match="--learning_rate is decided by the comparison"):
        parse_arguments(["--tune", "learning_rate=1e-4,3e-4", "--learning_rate=1e-4"])


def test_by_default_the_default_training_is_compared() -> None:
    assert parse_arguments([])[0].structures == ["taught", "hard", "cross"]
    assert parse_arguments([])[0].primary == "taught"
    assert parse_arguments(["--tasks=ncbi"])[0].structures == ["hard", "cross"]


def test_names_that_are_kept_twice_are_the_same() -> None:
    assert ModelArguments().model_name_or_path == DEFAULT_ENCODER
    assert tuple(SHARING) == STRUCTURES


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--seed", "3"], ["--seed is decided by the comparison"]),
        (["--dry_run"], ["--dry_run is decided by the comparison"]),
        (["--groups", "ncbi:"], ["--groups has 'ncbi:'"]),
        (["--groups", "bc5cdr, ncbi"], ["--groups 'bc5cdr, ncbi' is trained for --tasks anyway"]),
        (["--groups", "ncbi"], ["--groups 'ncbi' is trained for --tasks anyway"]),
        (["--groups", "/corpora/hard"], ["--groups '/corpora/hard' has the name of a structure"]),
        (["--fractions", "0.1:20", "1", "0.1"], ["--fractions has 0.1 twice"]),
        (["--report_only"], ["--report_only finds no", "plan.json", "check --output_dir"]),
        (["--tasks", "nbci", "--data_dir", "sample"], ["unknown corpus 'nbci'; did you mean 'ncbi'"]),
        (["--train_fraction=0.1"], ["--train_fraction is decided by the comparison"]),
        (["--train-fraction", "0.1"], ["--train-fraction is decided by the comparison"]),
        (["--output-dir", "x"], ["--output-dir is decided by the comparison"]),
        (["--tasks", "a=./x/iob,b=./y/iob"], ["two corpora whose last part is iob", "rename"]),
        (["--structures", "hard", "--primary", "cross"], ["--primary cross is none of --structures hard"]),
        (["--tasks", "ncbi:"], ["ncbi:"]),
        (["--tune", "groups=a,b"], ["--tune names groups, which is an argument of the comparison itself"]),
        (["--structure", "taught"], ["unknown argument --structure; did you mean --structures?"]),
        (["--structures", "hard,cross"], ["invalid choice: 'hard,cross'", "several values are separated by spaces"]),
        (["--learning_rat=1e-4"], ["unknown argument --learning_rat; did you mean --learning_rate?"]),
        (["--structures", "taught", "--tasks", "ncbi"], ["--structures taught: ncbi is one task"]),
        (["--tasks", "ncbi,bc5cdr", "--data_dir"], ["--data_dir", "expected one argument", "--help"]),
    ],
)
def test_bad_arguments(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert run_comparison.main([*arguments, "--output_dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts)


def cell(system: str, corpus: str, seed: int, right: int, fraction: float = 1.0, **options: Any) -> dict[str, Any]:
    """A made-up cell: 50 documents of one mention each, so many of them found, nothing else predicted."""
    counts = [[1, 1, 1]] * right + [[0, 0, 1]] * (50 - right)
    errors = {
        "by_type": {"Disease": {"missed": 50 - right, "spurious": 0, "wrong boundary": 0, "wrong type": 0}},
        "examples": dict.fromkeys(KINDS, ()) | {"missed": [["<b>gout|", "Disease", 50 - right]]},
        "recall": {"seen": [right, 40], "unseen": [0, 10]},
    }  # fmt: skip
    return {
        "cell": {"system": system, "tasks": corpus, "sharing": "hard", "seed": seed, "fraction": fraction},
        "settings": {"arguments": []},
        "identity": {"torch": "2"},
        "metrics": {},
        "development": [[1.0, 0.4], [2.0, 0.5], [3.0, 0.5 + 0.01 * seed]],
        "training_documents": {corpus: "xyz"},
        "counts": {corpus: {"documents": "abc", "types": {"Disease": counts}}},
        "errors": {corpus: errors},
        "cost": {"seconds": 60.0, "steps": 10, "subwords": 1000, "parameters": 2_000_000, "rows": 5},
        **options,
    }


def joint(system: str, seed: int, **rights: int) -> dict[str, Any]:
    """A made-up cell of one model for several corpora."""
    cells = [cell(system, corpus, seed, right) for corpus, right in rights.items()]
    together = {key: {c: v for one in cells for c, v in one[key].items()} for key in JOINED}
    return cells[0] | together | {"cell": cells[0]["cell"] | {"tasks": ",".join(rights)}}


JOINED = ("counts", "errors", "training_documents")
PRIMARY = Primary("cross", ("ncbi", "bc5cdr"), 1.0)


CELLS = [
    *(cell("single", "ncbi", seed, 30 + seed) for seed in (1, 2)),
    *(cell("single", "bc5cdr", seed, 20) for seed in (1, 2)),
    *(joint("cross", seed, ncbi=40, bc5cdr=35) for seed in (1, 2)),
    joint("ncbi,bc5cdr", 1, ncbi=25, bc5cdr=30),
    cell("single", "ncbi", 1, 5, 0.1),
]


def f1(right: float) -> float:
    return 2 * right / (right + 50)


def test_report_of_made_up_cells(tmp_path: Path) -> None:
    report.write(CELLS, PRIMARY, tmp_path)
    summary = json.loads((tmp_path / "comparison.json").read_text())
    rows = {(row["system"], row["fraction"], row["corpus"]): row for row in summary["scores"]}
    ncbi = rows["single", 1.0, "ncbi"]
    assert ncbi["f1"] == pytest.approx((f1(31) + f1(32)) / 2)
    assert ncbi["f1_spread"] == pytest.approx(abs(f1(31) - f1(32)) / 2**0.5)
    assert (ncbi["precision"], ncbi["seeds"]) == (1.0, 2)
    assert rows["single", 0.1, "ncbi"]["f1"] == pytest.approx(f1(5))
    assert rows["single", 1.0, "2 corpora"]["f1"] == pytest.approx((ncbi["f1"] + f1(20)) / 2)
    assert rows["single", 1.0, "2 corpora"]["f1_spread"] == pytest.approx(ncbi["f1_spread"] / 2)

    (primary,) = (row for row in summary["comparisons"] if row["primary"])
    assert (primary["system"], primary["corpora"], primary["seeds"]) == ("cross", ["ncbi", "bc5cdr"], 2)
    assert primary["difference"] == pytest.approx((f1(40) + f1(35)) / 2 - (ncbi["f1"] + f1(20)) / 2)
    assert "p_corrected" not in primary
    others = [row for row in summary["comparisons"] if not row["primary"]]
    assert len(others) == 5  # cross on each corpus, the pair on both and on each
    assert all(row["p_corrected"] >= row["p"] for row in others)

    costs = {row["system"]: row for row in summary["costs"]}
    assert (costs["single"]["encoder_passes"], costs["single"]["parameters"]) == (2, 4_000_000)
    assert (costs["cross"]["encoder_passes"], costs["cross"]["parameters"]) == (1, 2_000_000)
    assert summary["errors"]["single"]["ncbi"]["by_type"]["Disease"]["missed"] == (19 + 18) / 2
    development = {(row["system"], row["tasks"], row["fraction"]): row for row in summary["development"]}
    row = development["cross", "ncbi,bc5cdr", 1.0]
    assert row["f1"] == pytest.approx((0.51 + 0.52) / 2) and row["rise"] == pytest.approx(0.015)
    assert (row["best_epoch"], row["epochs"], row["seeds"]) == (3.0, 3.0, 2)
    assert ("single", "bc5cdr", 1.0) in development

    text = (tmp_path / "comparison.md").read_text()
    assert f"**{100 * primary['difference']:+.2f}**" in text
    assert "&lt;b&gt;gout\\|" in text and "<b>" not in text
    for name in ("differences.png", "f1.png", "learning_curves.png", "pairs.png"):
        assert f"![{name}]" in text and (tmp_path / name).stat().st_size > 1000


def test_dollar_signs_in_a_name_are_no_formula(tmp_path: Path) -> None:
    figure, axis = import_pyplot("plots").subplots()
    axis.set_title("./costs_$x_{$.tsv")
    save_figure(figure, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def typed(system: str, tasks: str, **rights: int) -> dict[str, Any]:
    """A made-up cell of bc5cdr with so many found of each type."""
    made = cell(system, "bc5cdr", 1, 0)
    made["cell"]["tasks"] = tasks
    for name, right in rights.items():
        other = cell(system, "bc5cdr", 1, right)["counts"]["bc5cdr"]["types"]["Disease"]
        made["counts"]["bc5cdr"]["types"] = made["counts"]["bc5cdr"]["types"] | {name: other}
    made["counts"]["bc5cdr"]["types"] = {name: made["counts"]["bc5cdr"]["types"][name] for name in rights}
    return made


def test_the_cost_of_a_taught_model_has_that_of_its_teachers(tmp_path: Path) -> None:
    report.write([*CELLS, joint("taught", 1, ncbi=40, bc5cdr=35)], PRIMARY, tmp_path)
    rows = {row["system"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["costs"]}
    assert [rows[name]["seconds"] for name in ("single", "cross", "taught")] == [120, 60, 180]
    assert rows["taught"]["encoder_passes"] == 1 and rows["taught"]["parameters"] == 2_000_000
    group = joint("x=ncbi,bc5cdr", 1, ncbi=40, bc5cdr=35)
    group["cell"] |= {"tasks": "x=ncbi,bc5cdr", "sharing": "taught"}
    alone = cell("x=ncbi", "ncbi", 1, 40)
    alone["cell"]["tasks"] = "x=ncbi"
    report.write([*CELLS, group, alone], PRIMARY, tmp_path)
    rows = {row["system"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["costs"]}
    assert [rows[name]["seconds"] for name in ("single", "x=ncbi", "x=ncbi,bc5cdr")] == [120, 60, 180]
    report.write([*CELLS, group], PRIMARY, tmp_path)  # nobody knows what its teacher took
    rows = {row["system"]: row for row in json.loads((tmp_path / "comparison.json").read_text())["costs"]}
    assert "single" in rows and "x=ncbi,bc5cdr" not in rows


def test_what_is_drawn_side_by_side_has_the_same_seeds_and_types() -> None:
    cells = [cell("single", "ncbi", 1, 30), cell("single", "ncbi", 2, 10), cell("hard", "ncbi", 1, 40),
             cell("shared_private", "ncbi", 2, 50)]  # fmt: skip
    single = typed("single", "bc5cdr:Disease", Disease=20)
    both = [single, typed("hard", "bc5cdr", Chemical=40, Disease=30), typed("x", "x=bc5cdr:Chemical", Chemical=50)]
    found = statistics.side_by_side(Cells([*cells, *both]), 1.0, "hard")
    assert {corpus: list(own) for corpus, own in found.items()} == {"ncbi": ["single", "hard"],
                                                                    "bc5cdr": ["single", "hard"]}  # fmt: skip
    assert found["ncbi"]["single"]["f1"] == pytest.approx(f1(30)) and found["ncbi"]["single"]["seeds"] == 1
    assert found["bc5cdr"]["hard"]["recall"] == 0.6
    found = statistics.side_by_side(Cells([*cells, *both]), 1.0, "x")  # whose cells for ncbi are still to come
    assert list(found["ncbi"]) == ["single"] and found["ncbi"]["single"]["seeds"] == 2


def test_a_system_with_fewer_seeds_than_the_primary_one_is_not_drawn() -> None:
    cells = [cell(system, "ncbi", seed, 30 + seed) for system in ("single", "taught") for seed in (1, 2)]
    found = statistics.side_by_side(Cells([*cells, cell("hard", "ncbi", 1, 50)]), 1.0, "taught")
    assert list(found["ncbi"]) == ["single", "taught"]
    assert found["ncbi"]["taught"]["f1"] == pytest.approx((f1(31) + f1(32)) / 2)


def test_systems_and_corpora_stand_in_one_order() -> None:
    """Cells are read by their names; a reader goes by the tasks, single-task training and `taught` first."""
    cells = [cell("single", "bc5cdr", 1, 20), cell("single", "ncbi", 1, 30)]
    cells += [joint(system, 1, ncbi=40, bc5cdr=35) for system in ("cross", "hard", "taught")]
    rows = statistics.scores(Cells(cells))
    assert [(row["system"], row["corpus"]) for row in rows[:6]] == [
        ("single", "ncbi"), ("single", "bc5cdr"), ("single", "2 corpora"),
        ("taught", "ncbi"), ("taught", "bc5cdr"), ("taught", "2 corpora"),
    ]  # fmt: skip
    assert [row["system"] for row in rows[6:]] == ["cross"] * 3 + ["hard"] * 3


def test_all_systems_stand_side_by_side(tmp_path: Path) -> None:
    report.write([*CELLS[:4], joint("cross", 1, ncbi=50, bc5cdr=25)], PRIMARY, tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    *_, table = text.partition("## F1 side by side\n\n")
    assert table.splitlines()[:4] == [
        "| training documents | system | ncbi | bc5cdr | macro | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 100 % | single | 77.30 ± 1.06 | 57.14 ± 0.00 | 67.22 ± 0.53 | 2 |",
        "| 100 % | cross | 100.00 | 66.67 | 83.33 | 1 |",
    ]


def test_one_corpus_has_no_mean(tmp_path: Path) -> None:
    report.write([cell("single", "ncbi", 1, 30), joint("cross", 1, ncbi=50)], PRIMARY, tmp_path)
    *_, table = (tmp_path / "comparison.md").read_text().partition("## F1 side by side\n\n")
    assert table.splitlines()[:4:2] == [
        "| training documents | system | ncbi | seeds |",
        "| 100 % | single | 75.00 | 1 |",
    ]


def test_trainings_that_had_not_reached_their_plateau_are_told(tmp_path: Path) -> None:
    cells = [cell("single", "ncbi", 1, 30), cell("single", "bc5cdr", 1, 20), joint("cross", 1, ncbi=40, bc5cdr=35),
             joint("hard", 1, ncbi=40, bc5cdr=35)]  # fmt: skip
    rises = {"single": (0.504, 0.506), "cross": (0.6,), "hard": (0.9,)}
    for system, last in rises.items():
        for own, f1_ in zip([c for c in cells if c["cell"]["system"] == system], last, strict=True):
            own["development"] = [[1.0, 0.4], [2.0, 0.5], [3.0, f1_]]
    report.write(cells, PRIMARY, tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "last evaluation of `single` on bc5cdr (+0.60), `cross` on ncbi,bc5cdr (+10.00). Longer training" in text
    for own in cells:
        own["development"] = [[1.0, 0.4], [2.0, 0.5], [3.0, 0.5]]
    report.write(cells, PRIMARY, tmp_path)
    assert "plateau**" not in (tmp_path / "comparison.md").read_text()


def test_scores_over_some_types_are_called_by_their_names() -> None:
    cells = Cells([typed("hard", "bc5cdr", Chemical=40, Disease=30), typed("x", "x=bc5cdr:Disease", Disease=50)])
    assert [(row["system"], row["type"], row["recall"]) for row in statistics.scores(cells)] == [
        ("hard", "all", 0.7), ("hard", "Chemical", 0.8), ("hard", "Disease", 0.6), ("x", "Disease", 1.0)
    ]  # fmt: skip


def test_models_that_are_there_to_teach_are_not_tested() -> None:
    group = joint("x=ncbi,bc5cdr", 1, ncbi=40, bc5cdr=35)
    group["cell"] |= {"tasks": "x=ncbi,bc5cdr", "sharing": "taught"}
    alone = cell("x=ncbi", "ncbi", 1, 40)
    alone["cell"]["tasks"] = "x=ncbi"
    rows = statistics.compare(Cells([*CELLS, group, alone]), PRIMARY)
    assert {row["system"] for row in rows} == {"cross", "ncbi,bc5cdr", "x=ncbi,bc5cdr"}
    assert [row["all"] for row in rows if row["system"] == "cross"] == [True, False, False]


def test_the_report_of_a_comparison_without_anything_to_draw(tmp_path: Path) -> None:
    halves = [typed("single", "bc5cdr:Chemical", Chemical=40), typed("single", "bc5cdr:Disease", Disease=20)]
    halves[1]["cell"]["seed"] = 2  # no seed has both yet
    fewer = [json.loads(json.dumps(half)) for half in halves]
    for half in fewer:
        half["cell"]["fraction"] = 0.1
    report.write([*halves, *fewer], ONE, tmp_path)
    assert not list(tmp_path.glob("*.png")) and "## Cost" in (tmp_path / "comparison.md").read_text()


def test_types_of_a_corpus_in_tasks_of_their_own_are_put_together(tmp_path: Path) -> None:
    single = [typed("single", "bc5cdr:Chemical", Chemical=40), typed("single", "bc5cdr:Disease", Disease=20)]
    report.write([*single, typed("hard", "bc5cdr", Chemical=40, Disease=20)], ONE, tmp_path)
    summary = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["difference"] for row in summary["comparisons"]] == [0.0]
    costs = {row["system"]: row["encoder_passes"] for row in summary["costs"]}
    assert costs == {"single": 2, "hard": 1}
    with pytest.raises(ValueError, match="single has two heads for Disease of bc5cdr"):
        report.write([*single, typed("single", "x=bc5cdr:Disease", Disease=20)], ONE, tmp_path)


ONE = Primary("hard", ("bc5cdr",), 1.0)


def test_other_training_documents_are_told(tmp_path: Path) -> None:
    other = joint("cross", 1, ncbi=30, bc5cdr=30)
    other["training_documents"] = {"ncbi": "other", "bc5cdr": "xyz"}
    report.write([*CELLS[:4], other], PRIMARY, tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert "Not trained on the documents of single-task training: `cross` on ncbi (100 %)." in text
    report.write(CELLS, PRIMARY, tmp_path)
    assert "Not trained on" not in (tmp_path / "comparison.md").read_text()


def test_the_primary_comparison_waits_for_all_its_corpora_and_takes_common_seeds(tmp_path: Path) -> None:
    def primary(*cells: dict[str, Any]) -> list[dict[str, Any]]:
        report.write(cells, PRIMARY, tmp_path)
        return [row for row in json.loads((tmp_path / "comparison.json").read_text())["comparisons"] if row["primary"]]

    ncbi, bc5cdr, both = (
        cell("single", "ncbi", 1, 30),
        cell("single", "bc5cdr", 1, 20),
        joint("cross", 1, ncbi=40, bc5cdr=35),
    )
    assert primary(ncbi, both) == []
    assert "Not all of its cells are finished yet" in (tmp_path / "comparison.md").read_text()
    (row,) = primary(ncbi, bc5cdr, both, cell("single", "ncbi", 2, 10), joint("cross", 2, ncbi=1, bc5cdr=1))
    assert row["seeds"] == 1
    assert row["difference"] == pytest.approx((f1(40) + f1(35) - f1(30) - f1(20)) / 2)
    few = [one | {"cell": one["cell"] | {"fraction": 0.1}} for one in (ncbi, bc5cdr, both)]
    assert primary(*few) == []
    whole = typed("cross", "bc5cdr", Chemical=40, Disease=20)
    assert primary(typed("single", "bc5cdr:Chemical", Chemical=30), whole) == []  # a type is still to come
    assert len(primary(typed("single", "bc5cdr", Chemical=30, Disease=20), whole)) == 1


def test_types_that_no_seed_has_together_give_no_row(tmp_path: Path) -> None:
    cells = [typed("single", "bc5cdr:Chemical", Chemical=40), typed("single", "bc5cdr:Disease", Disease=20)]
    cells[1]["cell"] = cells[1]["cell"] | {"seed": 2}
    report.write(cells, ONE, tmp_path)
    rows = json.loads((tmp_path / "comparison.json").read_text())["scores"]
    assert [(row["type"], row["seeds"]) for row in rows] == [("Chemical", 1), ("Disease", 1)]


def test_only_types_that_both_were_scored_on_are_compared(tmp_path: Path) -> None:
    single = typed("single", "bc5cdr", Chemical=40, Disease=20)
    report.write([single, typed("bc5cdr:Disease", "bc5cdr:Disease", Disease=20)], ONE, tmp_path)
    (row,) = json.loads((tmp_path / "comparison.json").read_text())["comparisons"]
    assert row["types"] == {"bc5cdr": ["Disease"]} and row["difference"] == 0.0
    assert "bc5cdr: Disease" in (tmp_path / "comparison.md").read_text()


def test_pairs_are_drawn_with_the_most_training_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    real = comparison_plots.save_figure

    def save(figure: Any, path: Path) -> None:
        if path.name == "pairs.png":
            shown.extend(text.get_text() for text in figure.axes[0].texts)
        real(figure, path)

    monkeypatch.setattr(comparison_plots, "save_figure", save)
    few = [joint("ncbi,bc5cdr", 1, ncbi=1, bc5cdr=1), cell("single", "bc5cdr", 1, 9)]
    for one in few:
        one["cell"] = one["cell"] | {"fraction": 0.1}
    report.write([*CELLS, *few], PRIMARY, tmp_path)
    gains = [100 * (f1(25) - f1(31)), 100 * (f1(30) - f1(20))]  # of the one seed that both have
    assert sorted(shown) == sorted(f"{gain:+.2f}" for gain in gains)
    shown.clear()
    report.write([*CELLS[:4], *few], PRIMARY, tmp_path)
    assert shown == [f"{100 * (f1(1) - f1(9)):+.2f}"]
    report.write([joint("ncbi,bc5cdr", 1, ncbi=1, bc5cdr=1)], PRIMARY, tmp_path)  # nothing to compare it with


def test_a_taught_model_waits_for_its_teachers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments, _ = parse_arguments(["--structures", "taught", "--seeds", "1", "--output_dir", str(tmp_path)])
    taught = plan(arguments)[-1]
    assert not runner.compute(taught, arguments, [], {})
    assert "taught_ncbi,bc5cdr_1_1 has to wait for its teacher single_ncbi_1_1" in caplog.text


def test_arguments_that_older_cells_do_not_know_make_no_difference(tmp_path: Path) -> None:
    newer = joint("cross", 1, ncbi=30) | {"identity": {"torch": "2", "teacher_weight": 1.0}}
    report.write([cell("single", "ncbi", 1, 30), newer], PRIMARY, tmp_path)


def test_cells_of_other_settings_are_refused(tmp_path: Path) -> None:
    other = joint("cross", 1, ncbi=30) | {"identity": {"torch": "3"}}
    with pytest.raises(ValueError, match=r"different torch \(2 and 3\)"):
        report.write([cell("single", "ncbi", 1, 30), other], PRIMARY, tmp_path)
    few = other | {"cell": other["cell"] | {"fraction": 0.1}}  # another share may have more epochs
    report.write([cell("single", "ncbi", 1, 30), few], PRIMARY, tmp_path)


@pytest.mark.parametrize(("content", "why"), [('{"cell": {', "Expecting"), ("[]", "a JSON list")])
def test_a_damaged_cell_is_named(content: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "cells").mkdir()
    (tmp_path / "plan.json").write_text('{"primary": "hard", "tasks": "ncbi,bc5cdr", "fraction": 1.0}')
    path = tmp_path / "cells" / "single_ncbi_1_42.json"
    path.write_text(content)
    assert run_comparison.main(["--report_only", "--output_dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert f"{path}: damaged ({why}" in message and "delete it, and it is trained again" in message


def test_each_fraction_tells_its_settings(tmp_path: Path) -> None:
    tenth = cell(
        "single", "ncbi", 1, 30, fraction=0.1, settings={"arguments": ["--learning_rate", "3e-4", "--x", "a b"]}
    )
    tenth["cell"]["epochs"] = 12.0
    tenth["identity"] = {"bf16": False}
    whole = cell("single", "ncbi", 1, 30, identity={"bf16": True})
    report.write([tenth, whole, whole | {"cell": whole["cell"] | {"seed": 2}}], PRIMARY, tmp_path)
    *_, settings = (tmp_path / "comparison.md").read_text().partition("## Settings")
    assert "| 100 % | as by default | bf16 |  |\n| 10 % | 12 | fp32 | --learning_rate 3e-4 --x 'a b' |" in settings
    found = json.loads((tmp_path / "comparison.json").read_text())["settings"]
    assert [(row["fraction"], row["epochs"], row["bf16"]) for row in found] == [(1.0, None, True), (0.1, 12.0, False)]


def test_the_primary_comparison_is_named_once(tmp_path: Path) -> None:
    def named(*arguments: str) -> str:
        parsed, _ = parse_arguments([*arguments, "--output_dir", str(tmp_path)])
        return keep_plan(parsed)

    both = ("--fractions", "0.1", "1")
    assert named("--structures", "cross", "hard", *both) == Primary("cross", ("ncbi", "bc5cdr"), 1.0, 3)
    more = named("--structures", "cross", *both, "--seeds", "1", "2", "3", "4")
    report.write([*CELLS, joint("cross", 3, ncbi=40, bc5cdr=35)], more, tmp_path)
    assert "2 seed(s), 3 were planned." in (tmp_path / "comparison.md").read_text()
    assert named("--structures", "hard", "cross", "--fractions", "0.1", "--report_only").structure == "cross"
    assert named("--structures", "cross", "hard", "--fractions", "0.1").fraction == 1.0  # came later, changes nothing
    with pytest.raises(ValueError, match="plan.json names .*cross.* as primary, not .*hard"):
        named("--structures", "hard", "cross")
    noted = json.loads((tmp_path / "plan.json").read_text()) | {"note": "Seed 3 came later."}
    (tmp_path / "plan.json").write_text(json.dumps(noted))
    report.write(CELLS, named("--structures", "cross"), tmp_path)
    assert "\n\nSeed 3 came later.\n\n" in (tmp_path / "comparison.md").read_text()
    older = {key: value for key, value in json.loads((tmp_path / "plan.json").read_text()).items() if key != "seeds"}
    (tmp_path / "plan.json").write_text(json.dumps(older))
    assert named("--structures", "cross").seeds == 0  # not known
    (tmp_path / "plan.json").unlink()
    assert named("--fractions", "0.1").fraction == 0.1
    with pytest.raises(ValueError, match="choose another --output_dir"):
        named("--fractions", "0.1", "0.5")


def test_other_numbers_give_another_report(tmp_path: Path) -> None:
    texts = []
    for right in (35, 10):
        primary = Primary("cross", ("ncbi",), 1.0)
        report.write([cell("single", "ncbi", 1, 30), joint("cross", 1, ncbi=right)], primary, tmp_path)
        texts.append((tmp_path / "comparison.md").read_text())
    assert texts[0] != texts[1]
    assert "which chance can explain" not in texts[1]


def test_without_the_primary_cells_the_report_says_so(tmp_path: Path) -> None:
    report.write([cell("single", "ncbi", 1, 30)], PRIMARY, tmp_path)
    assert "Not all of its cells are finished yet" in (tmp_path / "comparison.md").read_text()
    report.write([], PRIMARY, tmp_path / "nothing")  # no cell at all
    assert not (tmp_path / "nothing").exists()


def test_cells_scored_on_other_documents_are_refused(tmp_path: Path) -> None:
    other = cell("cross", "ncbi", 1, 30)
    other["counts"]["ncbi"]["documents"] = "xyz"
    with pytest.raises(ValueError, match="different documents of ncbi"):
        report.write([cell("single", "ncbi", 1, 30), other], PRIMARY, tmp_path)


def test_cells_of_other_inputs_are_refused_before_any_training(
    toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    def settings(*rest: str, fractions: str = "1") -> tuple[Any, dict[str, Any]]:
        common = ["--output_dir", str(tmp_path / "out"), "--tasks", "ncbi", "--fractions", fractions]
        arguments, handed_on = parse_arguments([*common, *rest])
        return arguments, runner.settings_of(arguments, handed_on)

    sample = ["--data_dir", "sample"]
    same = settings(*sample, "--model_name_or_path", toy_encoder("bert"))[1]
    assert str(tmp_path) not in json.dumps(same)
    (tmp_path / "out" / "cells").mkdir(parents=True)
    about = {"cell": {"fraction": 1.0, "epochs": None}, "settings": same}
    (tmp_path / "out" / "cells" / "one.json").write_text(json.dumps(about))
    runner.check_settings(*settings(*sample, "--model_name_or_path", toy_encoder("bert")))
    other_encoder = tmp_path / Path(toy_encoder("bert")).name
    shutil.copytree(toy_encoder("bert"), other_encoder)
    runner.check_settings(*settings(*sample, "--model_name_or_path", str(other_encoder)))  # the same weights
    renamed = Path(shutil.copytree(other_encoder, tmp_path / "renamed"))
    runner.check_settings(*settings(*sample, f"--model_name_or_path={renamed}"))
    next(other_encoder.glob("*.safetensors")).write_bytes(b"x")
    for changed, name in (
        (settings(*sample, "--model_name_or_path", str(other_encoder)), "encoder"),
        (settings(*sample, "--model_name_or_path", toy_encoder("bert"), "--learning_rate", "1"), "arguments"),
        (settings(*sample, "--model_name_or_path", toy_encoder("bert"), fractions="1:3"), "epochs"),
    ):
        with pytest.raises(ValueError, match=f"computed with the {name} .*choose another --output_dir"):
            runner.check_settings(*changed)
    runner.check_settings(*settings("--data_dir", "sample", fractions="0.5"))


def test_the_order_of_groups_makes_no_other_settings(toy_encoder: Callable[[str], str], tmp_path: Path) -> None:
    def settings(*groups: str) -> tuple[Any, dict[str, Any]]:
        common = ["--data_dir", "sample", "--output_dir", str(tmp_path), "--model_name_or_path", toy_encoder("bert")]
        arguments, rest = parse_arguments([*common, "--groups", *groups])
        return arguments, runner.settings_of(arguments, rest)

    (tmp_path / "cells").mkdir()
    about = {"cell": {"fraction": 1.0, "epochs": None}, "settings": settings("ncbi,bc2gm", "bc5cdr,jnlpba")[1]}
    (tmp_path / "cells" / "one.json").write_text(json.dumps(about))
    runner.check_settings(*settings("bc5cdr,jnlpba", "ncbi,bc2gm"))
    with pytest.raises(ValueError, match="computed with the leak_corpora .*choose another --output_dir"):
        runner.check_settings(*settings("ncbi,bc2gm"))


def test_the_order_of_arguments_makes_no_other_settings() -> None:
    assert by_name(["--seed", "1", "--bf16=false", "--label-smoothing-factor", "-0.5", "--teachers", "b", "a"]) == [
        "--bf16", "false", "--label_smoothing_factor", "-0.5", "--seed", "1", "--teachers", "b", "a",
    ]  # fmt: skip
    assert by_name(["--x", "2", "--a", "--x", "1"]) == ["--a", "--x", "2", "--x", "1"]  # the last of one name counts


def test_a_second_comparison_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with FileLock(tmp_path / "lock"):
        arguments = ["--tasks", "ncbi", "--data_dir", "sample", "--model_name_or_path", "./x"]
        assert run_comparison.main([*arguments, "--output_dir", str(tmp_path)]) == 2
    assert "another run_comparison.py is at work" in capsys.readouterr().err


@pytest.fixture
def arguments(toy_encoder: Callable[[str], str], tmp_path: Path) -> list[str]:
    few = ["--max_train_samples", "6", "--max_eval_samples", "3", "--max_predict_samples", "4", "--num_train_epochs"]
    options = ["--data_dir", "sample", "--model_name_or_path", toy_encoder("bert"), "--use_cpu", *few, "1"]
    return ["--structures", "cross", "--seeds", "1", "--output_dir", str(tmp_path / "out"), *options]


def test_a_wrong_task_is_found_before_anything_is_trained(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    mine = tmp_path / "out" / "training-data" / "notes.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert run_comparison.main([*arguments, "--tasks", "ncbi,bc5cdr:Diseas"]) == 2
    assert "did you mean 'Disease'" in capsys.readouterr().err
    assert not list((tmp_path / "out" / "cells").glob("*")) and not (tmp_path / "out" / "plan.json").exists()
    assert mine.read_text() == "mine"


@pytest.mark.slow
def test_real_cells_are_computed_once_and_reported(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    assert run_comparison.main([*arguments, "--keep_models"]) == 0
    printed = capsys.readouterr().out
    assert printed == (output / "comparison.md").read_text()
    names = ["cross_ncbi,bc5cdr_1_1", "single_bc5cdr_1_1", "single_ncbi_1_1"]
    assert sorted(path.name for path in (output / "cells").iterdir()) == [f"{name}.json" for name in names]
    files = ["cells", "comparison.json", "comparison.md", "differences.png", "f1.png", "models", "plan.json"]
    assert sorted(path.name for path in output.iterdir() if path.name != "lock") == files
    assert MtlBionerModel.from_pretrained(output / "models" / names[0]).config.task_names == ["ncbi", "bc5cdr"]
    assert not list((output / "models").glob("*/checkpoint-*"))
    for name in names:
        content = json.loads((output / "cells" / f"{name}.json").read_text())
        for corpus, counts in content["counts"].items():
            sums = [sum(own) for own in zip(*(row for rows in counts["types"].values() for row in rows), strict=True)]
            assert sums[2] == content["metrics"][f"test_{corpus}_support"] > 0
            f1_of_counts = 2 * sums[0] / (sums[1] + sums[2])
            assert content["metrics"][f"test_{corpus}_f1"] == pytest.approx(f1_of_counts)
        assert str(tmp_path) not in json.dumps(content)
    times = {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()}
    assert run_comparison.main([*arguments, "--report_only"]) == 0
    assert run_comparison.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()} == times
    assert run_comparison.main([*arguments, "--learning_rate", "1"]) == 2
    assert "choose another --output_dir" in capsys.readouterr().err


@pytest.mark.slow
def test_real_cells_are_tuned_and_taught(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "out"
    tuned = [*arguments, "--structures", "taught", "--tune", "learning_rate=1e-3,1e-4"]
    assert run_comparison.main(tuned) == 0
    printed = capsys.readouterr().out
    assert "### Tuned, with the first seed" in printed and "| learning_rate | " in printed
    assert len(list((output / "trials").glob("*.json"))) == 3 * 2
    times = {path: path.stat().st_mtime_ns for path in (output / "trials").iterdir()}
    shutil.rmtree(output / "models")
    assert run_comparison.main([*tuned, "--seeds", "1"]) == 0  # nothing is left to do
    assert {path: path.stat().st_mtime_ns for path in (output / "trials").iterdir()} == times
    (output / "cells" / "taught_ncbi,bc5cdr_1_1.json").unlink()
    assert run_comparison.main(tuned) == 2
    message = capsys.readouterr().err
    assert "single_bc5cdr_1_1.json were not kept, and have to teach; delete these cells" in message
    assert "single_ncbi_1_1.json, " in message


def test_p_values_but_that_of_the_primary_comparison_are_corrected() -> None:
    others = [row for row in statistics.compare(Cells(CELLS), PRIMARY) if not row["primary"]]
    plain = [row["p"] for row in others]
    assert [row["p_corrected"] for row in others] == correct_holm(plain) != plain


def test_a_difference_that_chance_can_explain_is_told(tmp_path: Path) -> None:
    cells = [cell("single", "ncbi", 1, 30), joint("cross", 1, ncbi=30)]
    report.write(cells, Primary("cross", ("ncbi",), 1.0), tmp_path)
    assert "which chance can explain" in (tmp_path / "comparison.md").read_text()


def test_the_command_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes cells comparable: their seed and share of the documents, and the corpora that leaks are sought in."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda c, **_: commands.append(c) or subprocess.CompletedProcess(c, 0))
    arguments, rest = parse_arguments(["--groups", "ncbi,bc2gm"])
    cell = Cell("single", "ncbi", "hard", 7, 0.1, 12.0)
    runner.run_cell(cell, arguments, rest, tmp_path / "part", tmp_path / "log")
    names = ("--tasks", "--seed", "--train_fraction", "--num_train_epochs", "--leak_corpora", "--teachers")
    assert [commands[0][commands[0].index(name) + 1] for name in names] == [
        "ncbi", "7", "0.1", "12.0", "ncbi,bc5cdr,bc2gm", "none",
    ]  # fmt: skip


def test_mentions_are_seen_in_training_text() -> None:
    def text(name: str, content: str, *spans: tuple[int, int]) -> SimpleNamespace:
        entities = [Entity(start, end, "Disease") for start, end in spans]
        return SimpleNamespace(corpus="a", task_id=0, document=Document(name, content, entities))

    rows = {"train": [text("1", "gout", (0, 4))], "test": [text("9", "Gout and lupus", (0, 4), (9, 14))]}
    run = SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(tasks=[{"types": ["Disease"]}])),
        rows={split: SimpleNamespace(texts=texts) for split, texts in rows.items()},
    )
    found = cell_record.errors_by_corpus(run, [[{"start": 0, "end": 4, "type": "Disease"}]])
    assert found["a"]["recall"] == {"seen": [1, 1], "unseen": [0, 1]}
