"""The comparison: which cells there are, what is kept of them, and the report of made-up and of real ones."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import run_comparison
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import SHARING, MtlBionerModel
from mtl_bioner.comparison import cells, plots, record, table
from mtl_bioner.comparison.arguments import STRUCTURES, parse_arguments
from mtl_bioner.comparison.cells import Cell, check_same_experiment, plan_cells, take_fingerprint
from mtl_bioner.comparison.report import write_report
from mtl_bioner.comparison.runner import Runner
from mtl_bioner.evaluation.error_analysis import KINDS
from mtl_bioner.evaluation.significance import correct_holm
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.reporting.plots import import_pyplot, save_figure
from mtl_bioner.training.arguments import ModelArguments


RESULTS = Path(__file__).parents[1] / "results"
SAMPLE = ("--data_dir", "sample")


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def make_runner(output: Path, *argv: str) -> Runner:
    """A runner on the sample corpora, which nothing is trained with."""
    return Runner(parse_arguments(["--output_dir", str(output), *SAMPLE, *argv]))


# ----------------------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {"structures": ["taught", "hard", "cross"], "primary": "taught", "fractions": [(1.0, None)]}),
        (["--tasks=ncbi"], {"structures": ["hard", "cross"], "primary": "hard", "keep_models": False}),
        (["--structures", "taught"], {"keep_models": True}),
        (["--quick"], {"structures": ["taught"], "seeds": [42], "fractions": [(1.0, None), (0.3, None)]}),
        (["--quick", "--fractions", "0.5"], {"fractions": [(0.5, None)]}),
        (["--quick", "--learning_rate", "1e-3", "--model_name_or_path", "x"],
         {"training": {"data_dir": "sample", "num_train_epochs": 3.0, "learning_rate": 1e-3, "save_strategy": "best",
                       "max_tokens_per_batch": 512, "model_name_or_path": "x"}}),
        (["--output-dir", "x", "--task-loss-weights", "ncbi=2", "--bf16=false"],
         {"output_dir": Path("x"), "training": {"task_loss_weights": "ncbi=2", "bf16": False}}),
    ],
)  # fmt: skip
def test_arguments_have_these_values(argv: list[str], expected: dict[str, Any]) -> None:
    arguments = vars(parse_arguments(argv))
    assert {name: arguments[name] for name in expected} == expected


def test_a_search_gives_its_arguments_to_all_cells(tmp_path: Path) -> None:
    best = {"tasks": "ncbi,bc2gm", "seed": 7, "sharing": "cross", "output_dir": "x", "learning_rate": 0.001,
            "task_loss_weights": "ncbi=2,bc2gm=1", "teachers": ["a", "b"]}  # fmt: skip
    file = str(write_json(tmp_path / "best.json", best))
    arguments = parse_arguments([file, "--num_train_epochs", "2"])
    assert arguments.tasks == "ncbi,bc2gm" and arguments.output_dir == Path("outputs/comparison")
    training = {"learning_rate": 0.001, "task_loss_weights": "ncbi=2,bc2gm=1", "num_train_epochs": 2.0}
    assert arguments.training == training
    tuned = parse_arguments([file, "--tune", "learning_rate=1e-4,3e-4", "--tasks", "ncbi"])
    assert tuned.tune == ("learning_rate", ("1e-4", "3e-4")) and tuned.tasks == "ncbi"
    assert tuned.training == {"task_loss_weights": "ncbi=2,bc2gm=1"}  # the tuned one is decided by the comparison


UNKNOWN_RATE = "unknown argument --learning_rat; did you mean --learning_rate?"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--seed", "3"], ["--seed is decided by the comparison"]),
        (["--dry_run"], ["--dry_run is decided by the comparison"]),
        (["--train_fraction=0.1"], ["--train_fraction is decided by the comparison"]),
        (["--train-fraction", "0.1"], ["--train_fraction is decided by the comparison"]),
        (["--tune", "learning_rate=1,3", "--learning_rate=1"], ["--learning_rate is decided by the comparison"]),
        (["--groups", "ncbi:"], ["--groups has 'ncbi:'"]),
        (["--groups", "bc5cdr, ncbi"], ["--groups 'bc5cdr, ncbi' is trained for --tasks anyway"]),
        (["--groups", "ncbi"], ["--groups 'ncbi' is trained for --tasks anyway"]),
        (["--groups", "/corpora/hard"], ["--groups '/corpora/hard' has the name of a structure"]),
        (["--fractions", "0.1:20", "1", "0.1"], ["--fractions has 0.1 twice"]),
        *((["--fractions", text], [f"'{text}'; give a share of the documents above 0, at most 1"])
          for text in ("0", "1.5", "2", "0.1:0", "0.1:x", "x")),
        *((["--tune", text], [f"'{text}'; give an argument of run_mtl_ner.py that"]) for text in
          ("learning_rate", "learning_rate=1e-4", "learning_rate=1,1", "seed=1,2", "=1,2", "data_dir=a,b")),
        (["--tune", "groups=a,b"], ["--tune names groups, which is an argument of the comparison itself"]),
        ([*SAMPLE, "--tune", "learning_rat=1,2"], [UNKNOWN_RATE]),
        (["--report_only"], ["--report_only finds no", "plan.json", "check --output_dir"]),
        (["--tasks", "nbci", *SAMPLE], ["unknown corpus 'nbci'; did you mean 'ncbi'"]),
        (["--tasks", "a=./x/iob,b=./y/iob"], ["two corpora whose last part is iob", "rename"]),
        (["--tasks", "ncbi:"], ["ncbi:"]),
        (["--tasks", "ncbi", "best.json"], ["best.json"]),
        (["--tasks", "ncbi,bc5cdr", "--data_dir"], ["--data_dir", "expected one argument", "--help"]),
        (["--structures", "hard", "--primary", "cross"], ["--primary cross is none of --structures hard"]),
        (["--structures", "hard", "crss"], ["invalid choice: 'crss'"]),
        (["--structures", "hard,cross"], ["invalid choice: 'hard,cross'", "several values are separated by spaces"]),
        (["--structures", "taught", "--tasks", "ncbi"], ["--structures taught: ncbi is one task"]),
        (["--structure", "taught"], ["unknown argument --structure; did you mean --structures?"]),
        (["--learning_rat=1e-4"], [UNKNOWN_RATE]),
    ],
)  # fmt: skip
def test_bad_arguments_are_told_in_a_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert run_comparison.main([*arguments, "--output_dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("run_comparison: error: ") and all(part in message for part in parts)


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(runner: Runner) -> None:
        raise OSError(28, "No space left on device", "x.json")

    monkeypatch.setattr(Runner, "compute_all", fail)
    assert run_comparison.main(["--tasks", "ncbi,bc5cdr", *SAMPLE, "--output_dir", str(tmp_path)]) == 1
    told = "run_comparison: error: [Errno 28] No space left on device: 'x.json'; go on with the same command"
    assert capsys.readouterr().err.splitlines()[-1] == told


def test_help_answers_without_slow_imports() -> None:
    code = (
        "import sys, argparse, run_comparison\n"
        "from mtl_bioner.comparison.arguments import add_arguments\n"
        "add_arguments(argparse.ArgumentParser().add_subparsers().add_parser('compare'))\n"
        "try:\n    run_comparison.main(['--help'])\n"
        "finally:\n    assert not {'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=RESULTS.parent, capture_output=True, text=True)
    assert done.returncode == 0 and "--structures" in done.stdout, done.stderr


def test_structures_are_the_sharing_layers_of_the_model() -> None:
    assert tuple(SHARING) == STRUCTURES


# --------------------------------------------------------------------------------------------------------------- cells


def test_cells_are_planned_seed_by_seed_single_tasks_first() -> None:
    arguments = parse_arguments(
        ["--tasks", "ncbi,bc5cdr:Disease", "--structures", "hard", "cross", "--primary", "cross", "--seeds", "1", "2",
         "--groups", "ncbi,bc2gm", "--fractions", "1"]
    )  # fmt: skip
    planned = plan_cells(arguments)
    assert planned[:5] == [
        Cell("single", "ncbi", "hard", 1, 1.0),
        Cell("single", "bc5cdr:Disease", "hard", 1, 1.0),
        Cell("cross", "ncbi,bc5cdr:Disease", "cross", 1, 1.0),
        Cell("hard", "ncbi,bc5cdr:Disease", "hard", 1, 1.0),
        Cell("ncbi,bc2gm", "ncbi,bc2gm", "cross", 1, 1.0),
    ]
    assert len(planned) == 10 and {cell.seed for cell in planned[5:]} == {2}
    assert planned[1].name == "single_bc5cdr_Disease_1_1" and len({cell.name for cell in planned}) == 10
    assert cells.list_corpora(arguments.tasks, *arguments.groups) == ["ncbi", "bc5cdr", "bc2gm"]
    arguments = parse_arguments(["--tasks", "ncbi", "--structures", "hard", "--seeds=1", "--fractions", "1", "0.1:20"])
    found = [(cell.system, cell.fraction, cell.epochs) for cell in plan_cells(arguments)]
    assert found == [("single", 1.0, None), ("hard", 1.0, None), ("single", 0.1, 20.0), ("hard", 0.1, 20.0)]


def test_groups_of_a_taught_structure_come_after_their_teachers() -> None:
    disease = "disease=ncbi+bc5cdr:Disease"
    groups = ["--groups", f"{disease},bc5cdr", disease]
    arguments = parse_arguments(["--structures", "taught", "--seeds", "1", *groups])
    planned = plan_cells(arguments)
    assert [(cell.system, cell.tasks, cell.sharing) for cell in planned] == [
        ("single", "ncbi", "hard"), ("single", "bc5cdr", "hard"), ("taught", "ncbi,bc5cdr", "taught"),
        (disease, disease, "hard"), (f"{disease},bc5cdr", f"{disease},bc5cdr", "taught"),
    ]  # fmt: skip
    teachers = [[teacher.name for teacher in cells.list_teachers(cell, arguments)] for cell in planned]
    single, name = ["single_ncbi_1_1", "single_bc5cdr_1_1"], "disease=ncbi+bc5cdr_Disease_1_1"
    assert teachers == [[], [], single, [], [name, "single_bc5cdr_1_1"]]


def test_the_name_of_a_cell_of_many_tasks_is_a_file_name() -> None:
    groups = [",".join(f"task{number}=jnlpba:Protein" for number in range(count)) for count in (20, 21)]
    names = [Cell(group, group, "hard", 42, 0.1, 12.0).name for group in groups]
    assert names[0][:30] == names[1][:30] and names[0] != names[1]
    assert all(len(name.encode()) < 200 for name in names)
    assert Cell("cross", "ncbi,bc5cdr", "cross", 42, 0.1).name == "cross_ncbi,bc5cdr_0.1_42"  # as it was


def test_the_primary_comparison_is_named_once(tmp_path: Path) -> None:
    def name(*argv: str) -> dict[str, Any]:
        return cells.keep_plan(parse_arguments([*argv, "--output_dir", str(tmp_path)]))

    both, path = ("--fractions", "0.1", "1"), tmp_path / "plan.json"
    first = name("--structures", "cross", "hard", *both)
    assert first == {"structure": "cross", "corpora": ["ncbi", "bc5cdr"], "fraction": 1.0, "seeds": 3, "note": ""}
    more = name("--structures", "cross", *both, "--seeds", "1", "2", "3", "4")
    _, text = report([*CELLS, joint("cross", 3, ncbi=40, bc5cdr=35)], tmp_path, more)
    assert "2 seed(s), 3 were planned." in text
    assert name("--structures", "hard", "cross", "--fractions", "0.1", "--report_only")["structure"] == "cross"
    assert name("--structures", "cross", "hard", "--fractions", "0.1")["fraction"] == 1.0  # later, changes nothing
    with pytest.raises(ValueError, match="plan.json names .*cross.* as primary, not .*hard"):
        name("--structures", "hard", "cross")
    noted = json.loads(path.read_text()) | {"note": "Seed 3 came later, *see* there."}
    write_json(path, noted)
    assert "\n\nSeed 3 came later, *see* there.\n\n" in report(CELLS, tmp_path, name("--structures", "cross"))[1]
    write_json(path, {key: value for key, value in noted.items() if key != "seeds"})
    assert name("--structures", "cross")["seeds"] == 0  # not known
    path.unlink()
    assert name("--fractions", "0.1")["fraction"] == 0.1
    with pytest.raises(ValueError, match="choose another --output_dir"):
        name("--fractions", "0.1", "0.5")


@pytest.mark.parametrize(("content", "why"), [('{"cell": {', "Expecting"), ("[]", "a JSON list")])
def test_a_damaged_cell_is_named(content: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_json(tmp_path / "plan.json", {"primary": "hard", "tasks": "ncbi,bc5cdr", "fraction": 1.0})
    path = write_json(tmp_path / "cells" / "single_ncbi_1_42.json", {})
    path.write_text(content)
    assert run_comparison.main(["--report_only", "--output_dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert f"{path}: damaged ({why}" in message and "delete it, and it is trained again" in message


# ---------------------------------------------------------------------------------------------------- same experiment


def test_the_order_and_spelling_of_arguments_make_no_other_experiment() -> None:
    strings = ["--seed", "1", "--bf16=False", "--label-smoothing-factor", "-0.5", "--teachers", "b", "a", "--flag"]
    expected = {"seed": [1], "bf16": [False], "label_smoothing_factor": [-0.5], "teachers": ["b", "a"], "flag": [True]}
    assert cells.read_arguments(strings) == expected
    assert cells.read_arguments(["--x", "2", "--a", "--x", "1"]) == {"x": [1], "a": [True]}  # the last of a name
    written = cells.format_arguments({"b": 3e-4, "a": False, "c": ["x", 2], "d": "/home/me/corpus"})
    assert written == ["--a", "false", "--b", "0.0003", "--c", "x", "2", "--d", "corpus"]


@pytest.mark.parametrize("name", ["single_ncbi_1_42", "single_ncbi_1_43", "single_ncbi_0.1_42"])
def test_recorded_cells_belong_to_the_experiment_of_their_command(name: str) -> None:
    recorded = json.loads((RESULTS / "comparison" / "cells" / f"{name}.json").read_text())
    arguments = cells.format_arguments(parse_arguments(recorded["settings"]["arguments"]).training)
    same, other = (
        take_fingerprint(recorded | {"settings": {"arguments": arguments + added}})
        for added in ([], ["--weight_decay", "0.1"])
    )
    check_same_experiment(take_fingerprint(recorded), same, name)
    with pytest.raises(ValueError, match=r"different arguments \({} and {'weight_decay': \[0.1\]}\)"):
        check_same_experiment(take_fingerprint(recorded), other, name)


def test_cells_of_other_inputs_are_refused_before_any_training(
    toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    def make(encoder: Path | str, *argv: str) -> Runner:
        return make_runner(tmp_path / "out", "--tasks", "ncbi", f"--model_name_or_path={encoder}", *argv)

    bert = toy_encoder("bert")
    settings = make(bert).settings
    assert str(tmp_path) not in json.dumps(settings)
    (tmp_path / "out").mkdir()
    about = {"fraction": 1.0, "epochs": None}
    write_json(tmp_path / "out" / "cells" / "one.json", {"cell": about, "settings": settings})
    copy = Path(shutil.copytree(bert, tmp_path / Path(bert).name))
    for same in (bert, copy, shutil.copytree(copy, tmp_path / "renamed")):  # the same weights
        make(same).check_finished({})
    next(copy.glob("*.safetensors")).write_bytes(b"x")
    for changed, name in (
        (make(copy), "encoder"),
        (make(bert, "--learning_rate", "1"), "arguments"),
        (make(bert, "--tune", "learning_rate=1,2"), "tune"),
        (make(bert, "--fractions", "1:3"), "epochs"),
    ):
        with pytest.raises(ValueError, match=f"100 % .* different {name} .*choose another --output_dir"):
            changed.check_finished({})
    make(bert, "--fractions", "0.5").check_finished({})


def test_the_order_of_groups_makes_no_other_experiment(tmp_path: Path) -> None:
    settings = make_runner(tmp_path, "--groups", "ncbi,bc2gm", "bc5cdr,jnlpba").settings
    assert settings["encoder"] == f"{ModelArguments().model_name_or_path}@main"
    content = {"cell": {"fraction": 1.0, "epochs": None}, "settings": settings}
    write_json(tmp_path / "cells" / "one.json", content)
    make_runner(tmp_path, "--groups", "bc5cdr,jnlpba", "ncbi,bc2gm").check_finished({})
    with pytest.raises(ValueError, match="different (corpora|leak_corpora) .*choose another --output_dir"):
        make_runner(tmp_path, "--groups", "ncbi,bc2gm").check_finished({})


# -------------------------------------------------------------------------------------------------------------- runner


def check_tasks(output: Path, monkeypatch: pytest.MonkeyPatch, *argv: str, statuses: Sequence[int] = (0,)) -> None:
    """Check the tasks of a comparison whose dry runs, in bf16, end with these statuses."""
    ends = iter(statuses)

    def run_cell(self: Runner, cell: Cell, options: Any, path: Path, log: Path) -> int:
        log.write_text("Traceback\nZeroDivisionError: why")
        write_json(path, {"identity": {"bf16": True}, "evaluates": True})
        return next(ends)

    monkeypatch.setattr(Runner, "run_cell", run_cell)
    runner = make_runner(output, "--structures", "hard", *argv)
    runner.check_tasks(plan_cells(runner.arguments))


def test_all_groups_and_fractions_are_checked_before_any_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = cell("single", "ncbi", 1, 30, identity={"bf16": False, "num_train_epochs": 3})
    write_json(tmp_path / "cells" / "single_ncbi_1_1.json", there)
    check_tasks(tmp_path, monkeypatch, "--fractions", "0.1:3")
    with pytest.raises(ValueError, match=r"different bf16 \(False and True\)"):
        check_tasks(tmp_path, monkeypatch, "--fractions", "1", "0.1:3")
    with pytest.raises(ValueError, match="--tasks ncbi,bc2gm failed: Traceback\nZeroDivisionError: why"):
        check_tasks(tmp_path, monkeypatch, "--groups", "ncbi,bc2gm", "--fractions", "0.1:3", statuses=(0, 1))


def test_a_cell_has_its_own_seed_fraction_epochs_leak_corpora_and_loss_weights(tmp_path: Path) -> None:
    runner = make_runner(tmp_path, "--groups", "ncbi,bc2gm", "--num_train_epochs", "3")
    assert runner.make_cell_arguments(Cell("single", "ncbi", "hard", 7, 0.1, 12.0)) == {
        "data_dir": "sample", "tasks": "ncbi", "sharing": "hard", "seed": 7, "train_fraction": "0.1",
        "num_train_epochs": 12.0, "leak_corpora": "ncbi,bc5cdr,bc2gm", "teachers": ["none"],
    }  # fmt: skip
    taught = runner.make_cell_arguments(Cell("taught", "ncbi,bc5cdr", "taught", 7, 1.0))
    assert (taught["num_train_epochs"], taught["sharing"]) == (3.0, "hard")
    for weights in ("balanced", "equal", "ncbi=2"):  # which names tasks that a group may lack
        runner = make_runner(tmp_path, "--groups", "ncbi,bc2gm", "--task_loss_weights", weights)
        planned = [Cell(tasks, tasks, "hard", 1, 1.0) for tasks in ("ncbi,bc2gm", "ncbi,bc5cdr")]
        found = [runner.make_cell_arguments(cell).get("task_loss_weights") for cell in planned]
        assert found == [None if weights == "ncbi=2" else weights, weights]


def test_a_cell_reads_its_arguments_from_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[dict[str, Any]] = []

    def run(command: list[str], stdout: Any, **_: Any) -> subprocess.CompletedProcess:
        assert command[-2] == "--cell"
        requests.append(json.loads(Path(command[-1]).read_text()))
        stdout.write("noise\nrun_comparison: error: no such corpus\n")
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(subprocess, "run", run)
    path, made = tmp_path / "record", Cell("hard", "ncbi", "hard", 1, 1.0)
    with pytest.raises(ValueError, match="^no such corpus$"):
        make_runner(tmp_path, "--bf16", "false").run_cell(made, {"teachers": ["x"]}, path, tmp_path / "log")
    assert requests[0]["record"] == str(path)
    assert requests[0]["arguments"].items() >= {"bf16": False, "seed": 1, "teachers": ["x"]}.items()


TUNED = ("--tasks", "ncbi", "--structures", "cross", "--tune", "learning-rate=1e-4,3e-4", "--seeds", "1")


def test_every_system_takes_the_value_that_serves_it_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are those of the first seed, without test scores, and computed once."""
    best = {("single", 1e-4): [0.5, 0.7, 0.6], ("single", 3e-4): [0.4, 0.6, 0.65],
            ("cross", 1e-4): [0.3, 0.3, 0.3], ("cross", 3e-4): [0.1, 0.4, 0.2]}  # fmt: skip
    trained = []

    def train(self: Runner, cell: Cell, options: dict[str, Any], path: Path) -> dict[str, Any]:
        path.parent.mkdir(exist_ok=True)
        rate = options["learning_rate"]
        trained.append((cell.system, cell.seed, rate, "do_predict" in options))
        curve = [[float(i), f1] for i, f1 in enumerate(best[cell.system, rate], 1)]
        return {"development": curve, **({"identity": {"learning_rate": rate}} if "do_predict" in options else {})}

    monkeypatch.setattr(Runner, "train", train)
    runner = make_runner(tmp_path, *TUNED, "2")
    planned = plan_cells(runner.arguments)
    assert all(runner.compute(cell) for cell in planned)
    assert trained == [
        ("single", 1, 1e-4, False), ("single", 1, 3e-4, False), ("single", 1, 1e-4, True),
        ("cross", 1, 1e-4, False), ("cross", 1, 3e-4, False), ("cross", 1, 3e-4, True),
        ("single", 2, 1e-4, True), ("cross", 2, 3e-4, True),
    ]  # fmt: skip
    assert not runner.compute(replace(planned[-1], fraction=0.5)) and len(trained) == 8  # waits for the first seed
    other = replace(planned[-1], sharing="hard", seed=3)  # as `taught` was written before it was a structure
    assert runner.find_tuned(other)["value"] == "3e-4"
    content = next(cells.read_cells(tmp_path))
    development = {"1e-4": 0.3, "3e-4": 0.4}
    assert content["tuned"] == {"argument": "learning_rate", "value": "3e-4", "development": development}
    assert content["identity"] == {} and content["settings"]["tune"] == ["learning_rate", "1e-4", "3e-4"]
    with pytest.raises(ValueError, match="trials.*different arguments"):
        make_runner(tmp_path, *TUNED, "--weight_decay", "0.1").tune(planned[0])


def test_trials_of_unlike_machines_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = iter([True, False])

    def train(self: Runner, cell: Cell, options: dict[str, Any], path: Path) -> dict[str, Any]:
        path.parent.mkdir(exist_ok=True)
        identity = {"learning_rate": options["learning_rate"], "bf16": next(machines)}
        return {"development": [[1.0, 0.5]], "identity": identity}

    monkeypatch.setattr(Runner, "train", train)
    with pytest.raises(ValueError, match=r"different bf16 \(False and True\)"):
        make_runner(tmp_path, *TUNED).compute(Cell("single", "ncbi", "hard", 1, 1.0))


def test_a_taught_model_waits_for_its_teachers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not make_runner(tmp_path).compute(Cell("taught", "ncbi,bc5cdr", "taught", 1, 1.0))
    assert "taught_ncbi,bc5cdr_1_1 has to wait for its teacher single_ncbi_1_1" in caplog.text


def test_a_second_comparison_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with lock_folder(tmp_path, "another run"):
        argv = ["--tasks", "ncbi", *SAMPLE, "--model_name_or_path", "./x", "--output_dir", str(tmp_path)]
        assert run_comparison.main(argv) == 2
    assert "is in use by another run (process" in capsys.readouterr().err


def test_mentions_are_seen_in_training_text() -> None:
    def text(name: str, content: str, *spans: tuple[int, int]) -> SimpleNamespace:
        entities = [Entity(start, end, "Disease") for start, end in spans]
        return SimpleNamespace(corpus="a", task_id=0, document=Document(name, content, entities))

    rows = {"train": [text("1", "gout", (0, 4))], "test": [text("9", "Gout and lupus", (0, 4), (9, 14))]}
    run = SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(tasks=[{"types": ["Disease"]}])),
        rows={split: SimpleNamespace(texts=texts) for split, texts in rows.items()},
    )
    entities = [[{"start": 0, "end": 4, "type": "Disease"}]]
    assert record.report_errors(run, entities)["a"]["recall"] == {"seen": [1, 1], "unseen": [0, 1]}
    assert record.count_by_document(run, entities)["a"]["types"] == {"Disease": [[1, 1, 2]]}


# -------------------------------------------------------------------------------------------------------------- report


def cell(system: str, corpus: str, seed: int, right: int, fraction: float = 1.0, **options: Any) -> dict[str, Any]:
    """Make up a cell: 50 documents of one mention each, so many of them found, nothing else predicted."""
    counts = [[1, 1, 1]] * right + [[0, 0, 1]] * (50 - right)
    errors = {
        "by_type": {"Disease": {"missed": 50 - right, "spurious": 0, "wrong boundary": 0, "wrong type": 0}},
        "examples": dict.fromkeys(KINDS, ()) | {"missed": [["<b>gout|", "Disease", 50 - right]]},
        "recall": {"seen": [right, 40], "unseen": [0, 10]},
    }
    return {
        "cell": {"system": system, "tasks": corpus, "sharing": "hard", "seed": seed, "fraction": fraction},
        "settings": {"arguments": []},
        "identity": {"torch": "2"},
        "development": [[1.0, 0.4], [2.0, 0.5], [3.0, 0.5 + 0.01 * seed]],
        "training_documents": {corpus: "xyz"},
        "counts": {corpus: {"documents": "abc", "types": {"Disease": counts}}},
        "errors": {corpus: errors},
        "cost": {"seconds": 60.0, "steps": 10, "subwords": 1000, "parameters": 2_000_000, "rows": 5},
        **options,
    }


def change(content: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Change values of `cell` in a copy of a cell."""
    return content | {"cell": content["cell"] | values}


def joint(system: str, seed: int, fraction: float = 1.0, **rights: int) -> dict[str, Any]:
    """Make up a cell of one model for several corpora."""
    parts = [cell(system, corpus, seed, right, fraction) for corpus, right in rights.items()]
    keys = ("counts", "errors", "training_documents")
    together = {key: {corpus: value for part in parts for corpus, value in part[key].items()} for key in keys}
    return change(parts[0] | together, tasks=",".join(rights))


def typed(system: str, tasks: str, documents: str = "abc", **rights: int) -> dict[str, Any]:
    """Make up a cell of bc5cdr with so many found of each type."""
    types = {name: cell(system, "x", 1, right)["counts"]["x"]["types"]["Disease"] for name, right in rights.items()}
    counts = {"bc5cdr": {"documents": documents, "types": types}}
    return change(cell(system, "bc5cdr", 1, 0, counts=counts), tasks=tasks)


def name_primary(structure: str, *corpora: str) -> dict[str, Any]:
    return {"structure": structure, "corpora": list(corpora), "fraction": 1.0, "seeds": 0, "note": ""}


def report(made: Sequence[dict[str, Any]], output: Path, primary: Any = None) -> tuple[dict[str, Any], str]:
    """Write a report, and return `comparison.json` and `comparison.md`."""
    write_report(made, primary or PRIMARY, output)
    return json.loads((output / "comparison.json").read_text()), (output / "comparison.md").read_text()


def f1(right: float) -> float:
    return 2 * right / (right + 50)


PRIMARY, ONE = name_primary("cross", "ncbi", "bc5cdr"), name_primary("hard", "bc5cdr")
SINGLE = [single := cell("single", "ncbi", 1, 30), cell("single", "bc5cdr", 1, 20)]
BOTH, NEW = joint("cross", 1, ncbi=40, bc5cdr=35), joint("cross", 1, ncbi=30)
CELLS = [
    *(cell("single", "ncbi", seed, 30 + seed) for seed in (1, 2)),
    *(cell("single", "bc5cdr", seed, 20) for seed in (1, 2)),
    *(joint("cross", seed, ncbi=40, bc5cdr=35) for seed in (1, 2)),
    joint("ncbi,bc5cdr", 1, ncbi=25, bc5cdr=30),
    cell("single", "ncbi", 1, 5, 0.1),
]
ALONE = change(cell("x=ncbi", "ncbi", 1, 40), tasks="x=ncbi")
GROUP = change(joint("x=ncbi,bc5cdr", 1, ncbi=40, bc5cdr=35), tasks="x=ncbi,bc5cdr", sharing="taught")
HALVES = [typed("single", "bc5cdr:Chemical", Chemical=40), typed("single", "bc5cdr:Disease", Disease=20)]
WHOLE = typed("hard", "bc5cdr", Chemical=40, Disease=20)


def test_report_of_made_up_cells(tmp_path: Path) -> None:
    summary, text = report(CELLS, tmp_path)
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
    assert [row["all"] for row in summary["comparisons"] if row["system"] == "cross"] == [True, False, False]
    plain = [row["p"] for row in others]
    assert [row["p_corrected"] for row in others] == correct_holm(plain) != plain

    costs = {row["system"]: (row["encoder_passes"], row["parameters"]) for row in summary["costs"]}
    assert (costs["single"], costs["cross"]) == ((2, 4_000_000), (1, 2_000_000))
    assert summary["errors"]["single"]["ncbi"]["by_type"]["Disease"]["missed"] == (19 + 18) / 2
    development = {(row["system"], row["tasks"], row["fraction"]): row for row in summary["development"]}
    row = development["cross", "ncbi,bc5cdr", 1.0]
    assert row["f1"] == pytest.approx((0.51 + 0.52) / 2) and row["rise"] == pytest.approx(0.015)
    assert (row["best_epoch"], row["epochs"], row["seeds"]) == (3.0, 3.0, 2)
    assert ("single", "bc5cdr", 1.0) in development

    assert f"**{100 * primary['difference']:+.2f}**" in text
    assert "&lt;b&gt;gout\\|" in text and "<b>" not in text
    for name in ("differences.png", "f1.png", "learning_curves.png", "pairs.png"):
        assert f"![{name}]" in text and (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "quick"),
    [("eight_epochs", False), ("eight_epochs", True), pytest.param("pairs", False, marks=pytest.mark.slow)],
)
def test_recorded_cells_give_the_recorded_tables(
    name: str, quick: bool, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(RESULTS / name / "cells", tmp_path / "cells")
    shutil.copy(RESULTS / name / "plan.json", tmp_path)
    assert run_comparison.main(["--report_only", "--output_dir", str(tmp_path), *["--quick"] * quick]) == 0
    texts = [(path / "comparison.md").read_text() for path in (RESULTS / name, tmp_path)]
    for kind in ("|", "!"):  # tables and plots
        before, after = ([line for line in text.splitlines() if line.startswith(kind)] for text in texts)
        assert before == after != []
    printed = capsys.readouterr()
    assert printed.out == texts[1] and f"the report is in {tmp_path / 'comparison.md'}\n" in printed.err
    assert ("next: the same on your corpora" in printed.err) == quick


RISING = [own | {"development": [[1.0, 0.4], [2.0, 0.5], [3.0, end]]} for own, end in zip(
    [*SINGLE, BOTH, joint("hard", 1, ncbi=40, bc5cdr=35)], (0.504, 0.506, 0.6, 0.9), strict=True)]  # fmt: skip
FLAT = [own | {"development": [[1.0, 0.4], [2.0, 0.5], [3.0, 0.5]]} for own in RISING]
OTHERS = joint("cross", 1, ncbi=30, bc5cdr=30) | {"training_documents": {"ncbi": "other", "bc5cdr": "xyz"}}
TENTH = cell("single", "ncbi", 1, 30, 0.1, identity={"bf16": False},
             settings={"arguments": ["--learning_rate", "3e-4", "--x", "a b"]})  # fmt: skip
FULL = cell("single", "ncbi", 1, 30, identity={"bf16": True})
ONE_TYPE = typed("bc5cdr:Disease", "bc5cdr:Disease", Disease=20)


@pytest.mark.parametrize(
    ("made", "present", "absent"),
    [
        ([*CELLS[:4], joint("cross", 1, ncbi=50, bc5cdr=25)],
         "## F1 side by side\n\n"
         "| training documents | system | ncbi | bc5cdr | macro | seeds |\n"
         "| --- | --- | --- | --- | --- | --- |\n"
         "| 100 % | single | 77.30 ± 1.06 | 57.14 ± 0.00 | 67.22 ± 0.53 | 2 |\n"
         "| 100 % | cross | 100.00 | 66.67 | 83.33 | 1 |\n\n", "chance can"),
        ([single, joint("cross", 1, ncbi=50)],  # one corpus has no mean
         "| training documents | system | ncbi | seeds |\n| --- | --- | --- | --- |\n"
         "| 100 % | single | 75.00 | 1 |\n| 100 % | cross | 100.00 | 1 |\n", "macro |"),
        (RISING, "last evaluation of `single` on bc5cdr (+0.60), `cross` on ncbi,bc5cdr (+10.00). Longer", ""),
        (FLAT, "cross", "plateau**"),
        ([*CELLS[:4], OTHERS], "documents of single-task training: `cross` on ncbi (100 %).**", ""),
        (CELLS, "cross", "Not trained on"),
        ([change(TENTH, epochs=12.0), FULL, change(FULL, seed=2)],
         "| 100 % | as by default | bf16 |  |\n| 10 % | 12 | fp32 | --learning_rate 3e-4 --x 'a b' |\n", "cross |"),
        ([*SINGLE, joint("cross", 1, ncbi=30, bc5cdr=20)], "which chance can explain", "finished yet"),
        ([single], "Not all of its cells are finished yet", "chance can"),
        ([typed("single", "bc5cdr", Chemical=40, Disease=20), ONE_TYPE], "| bc5cdr: Disease | +0.00 |", "macro over"),
    ],
)  # fmt: skip
def test_the_report_says(made: list[dict[str, Any]], present: str, absent: str, tmp_path: Path) -> None:
    text = report(made, tmp_path)[1]
    assert present in text and not (absent and absent in text)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([*HALVES, typed("single", "x=bc5cdr:Disease", Disease=20)], "single has two heads for Disease of bc5cdr"),
        ([HALVES[0], typed("hard", "bc5cdr", "x", Disease=1)], "different documents of bc5cdr"),
        ([single, NEW | {"identity": {"torch": "3"}}], r"100 % .* different torch \(2 and 3\)"),
        ([single, NEW | {"identity": {"torch": "2", "argument_that_older_cells_lack": 1.0}}], ""),
        ([single, change(NEW, fraction=0.1) | {"identity": {"torch": "3", "num_train_epochs": 9}}], ""),
    ],
)  # fmt: skip
def test_cells_of_a_fraction_belong_to_one_experiment(made: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message) if message else contextlib.nullcontext():
        assert set(table.make_table(made)["system"]) == {"single", "cross"}


def test_a_cost_contains_that_of_the_teachers() -> None:
    def list_costs(*made: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {row["system"]: row for row in table.list_costs(table.make_table([*CELLS, *made]))}

    costs = list_costs(joint("taught", 1, ncbi=40, bc5cdr=35))
    assert [costs[name]["seconds"] for name in ("single", "cross", "taught")] == [120, 60, 180]
    assert (costs["taught"]["encoder_passes"], costs["taught"]["parameters"]) == (1, 2_000_000)
    costs = list_costs(GROUP, ALONE)
    assert [costs[name]["seconds"] for name in ("single", "x=ncbi", "x=ncbi,bc5cdr")] == [120, 60, 180]
    assert "x=ncbi,bc5cdr" not in list_costs(GROUP)  # nobody knows what its teacher took


def side_by_side(made: Sequence[dict[str, Any]], structure: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in table.list_side_by_side(table.make_table(made), structure):
        found.setdefault(row["corpus"], {})[row["system"]] = row
    return found


def test_scores_side_by_side_have_the_same_seeds_and_types() -> None:
    made = [single, cell("single", "ncbi", 2, 10), cell("hard", "ncbi", 1, 40), cell("shared_private", "ncbi", 2, 50)]
    made += [HALVES[1], typed("hard", "bc5cdr", Chemical=40, Disease=30), typed("x", "x=bc5cdr", Chemical=50)]
    found = side_by_side(made, "hard")
    systems = {corpus: list(own) for corpus, own in found.items()}
    assert systems == {"ncbi": ["single", "hard"], "bc5cdr": ["single", "hard"]}
    assert found["ncbi"]["single"]["f1"] == pytest.approx(f1(30)) and found["ncbi"]["single"]["seeds"] == 1
    assert found["bc5cdr"]["hard"]["recall"] == 0.6
    found = side_by_side(made, "x")  # whose cells for ncbi are still to come
    assert list(found["ncbi"]) == ["single"] and found["ncbi"]["single"]["seeds"] == 2
    made = [cell(system, "ncbi", seed, 30 + seed) for system in ("single", "taught") for seed in (1, 2)]
    found = side_by_side([*made, cell("hard", "ncbi", 1, 50)], "taught")  # which has more seeds
    assert list(found["ncbi"]) == ["single", "taught"]
    assert found["ncbi"]["taught"]["f1"] == pytest.approx((f1(31) + f1(32)) / 2)


def test_systems_and_corpora_stand_in_one_order() -> None:
    """Cells are read by their names; a reader goes by the tasks, single-task training and `taught` first."""
    made = [*SINGLE[::-1], *(joint(system, 1, ncbi=40, bc5cdr=35) for system in ("cross", "hard", "taught"))]
    rows = table.list_scores(table.make_table(made))
    assert [row["system"] for row in rows] == ["single"] * 3 + ["taught"] * 3 + ["cross"] * 3 + ["hard"] * 3
    assert [row["corpus"] for row in rows[:6]] == ["ncbi", "bc5cdr", "2 corpora"] * 2


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ([typed("hard", "bc5cdr", Chemical=40, Disease=30), typed("x", "x=bc5cdr:Disease", Disease=50)],
         [("hard", "all", 0.7), ("hard", "Chemical", 0.8), ("hard", "Disease", 0.6), ("x", "Disease", 1.0)]),
        ([HALVES[0], change(HALVES[1], seed=2)],  # no seed has both yet
         [("single", "Chemical", 0.8), ("single", "Disease", 0.4)]),
    ],
)  # fmt: skip
def test_scores_over_some_types_are_called_by_their_names(made: list[Any], expected: list[Any]) -> None:
    rows = table.list_scores(table.make_table(made))
    assert [(row["system"], row["type"], row["recall"]) for row in rows] == expected


def test_a_report_without_anything_to_draw_has_no_plots(tmp_path: Path) -> None:
    halves = [HALVES[0], change(HALVES[1], seed=2)]
    _, text = report([*halves, *(change(half, fraction=0.1) for half in halves)], tmp_path, ONE)
    assert not list(tmp_path.glob("*.png")) and "## Cost" in text and "## F1 side by side" not in text
    write_report([], PRIMARY, tmp_path / "nothing")  # no cell at all
    assert not (tmp_path / "nothing").exists()


def differences(*made: dict[str, Any], primary: dict[str, Any] = PRIMARY) -> list[dict[str, Any]]:
    return table.list_differences(table.make_table(made), primary)


def test_types_of_a_corpus_in_tasks_of_their_own_are_put_together() -> None:
    assert [row["difference"] for row in differences(*HALVES, WHOLE, primary=ONE)] == [0.0]
    costs = table.list_costs(table.make_table([*HALVES, WHOLE]))
    assert {row["system"]: row["encoder_passes"] for row in costs} == {"single": 2, "hard": 1}


def test_only_types_and_systems_that_are_alternatives_are_compared() -> None:
    (row,) = differences(typed("single", "bc5cdr", Chemical=40, Disease=20), ONE_TYPE, primary=ONE)
    assert row["types"] == {"bc5cdr": ["Disease"]} and row["difference"] == 0.0
    systems = {row["system"] for row in differences(*CELLS, GROUP, ALONE)}
    assert systems == {"cross", "ncbi,bc5cdr", "x=ncbi,bc5cdr"}  # not x=ncbi, which only teaches


def test_the_primary_comparison_waits_for_all_its_corpora_and_takes_common_seeds() -> None:
    def find(*made: dict[str, Any], primary: dict[str, Any] = PRIMARY) -> list[dict[str, Any]]:
        return [row for row in differences(*made, primary=primary) if row["primary"]]

    assert find(single, BOTH) == []
    (row,) = find(*SINGLE, BOTH, cell("single", "ncbi", 2, 10), joint("cross", 2, ncbi=1, bc5cdr=1))
    assert row["seeds"] == 1
    assert row["difference"] == pytest.approx((f1(40) + f1(35) - f1(30) - f1(20)) / 2)
    assert find(*(change(one, fraction=0.1) for one in (*SINGLE, BOTH))) == []
    assert find(HALVES[0], WHOLE, primary=ONE) == []  # a type is still to come
    assert len(find(typed("single", "bc5cdr", Chemical=30, Disease=20), WHOLE, primary=ONE)) == 1


# --------------------------------------------------------------------------------------------------------------- plots


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The figures of the last report by the names of their files."""
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: drawn.update({path.name: figure}))
    return drawn


def test_scores_are_drawn_in_per_cent_as_dots(tmp_path: Path, figures: dict[str, Any]) -> None:
    report(CELLS, tmp_path)
    (axis,) = figures["f1.png"].axes
    assert axis.get_ylabel() == "F1, %" and not axis.patches
    assert list(axis.lines[0].get_ydata()) == pytest.approx([50 * (f1(31) + f1(32)), 100 * f1(20)])  # single-task
    assert [axis.get_ylabel() for axis in figures["learning_curves.png"].axes] == ["F1, %", ""]
    assert "percentage points" in figures["differences.png"].axes[0].get_xlabel()


def test_pairs_are_drawn_with_the_most_training_documents(tmp_path: Path, figures: dict[str, Any]) -> None:
    few, shown = [joint("ncbi,bc5cdr", 1, 0.1, ncbi=1, bc5cdr=1), cell("single", "bc5cdr", 1, 9, 0.1)], []
    for made in ([*CELLS, *few], [*CELLS[:4], *few]):
        report(made, tmp_path)
        shown.append(sorted(text.get_text() for text in figures.pop("pairs.png").axes[0].texts))
    gains = [100 * (f1(25) - f1(31)), 100 * (f1(30) - f1(20))]  # of the one seed that both have
    assert shown == [sorted(f"{gain:+.2f}" for gain in gains), [f"{100 * (f1(1) - f1(9)):+.2f}"]]
    report(few[:1], tmp_path)  # nothing to compare it with
    assert "pairs.png" not in figures


def test_dollar_signs_in_a_name_are_no_formula(tmp_path: Path) -> None:
    figure, axis = import_pyplot("plots").subplots()
    axis.set_title("./costs_$x_{$.tsv")
    save_figure(figure, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


# ----------------------------------------------------------------------------------------------------- real trainings


@pytest.fixture
def arguments(toy_encoder: Callable[[str], str], tmp_path: Path) -> list[str]:
    few = ["--max_train_samples", "6", "--max_eval_samples", "3", "--max_predict_samples", "4", "--num_train_epochs"]
    options = [*SAMPLE, "--model_name_or_path", toy_encoder("bert"), "--use_cpu", *few, "1"]
    return ["--structures", "cross", "--seeds", "1", "--output_dir", str(tmp_path / "out"), *options]


def list_times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.iterdir()}


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
    assert capsys.readouterr().out == (output / "comparison.md").read_text()
    names = ["cross_ncbi,bc5cdr_1_1", "single_bc5cdr_1_1", "single_ncbi_1_1"]
    assert sorted(path.name for path in (output / "cells").iterdir()) == [f"{name}.json" for name in names]
    files = ["cells", "comparison.json", "comparison.md", "differences.png", "f1.png", "models", "plan.json"]
    assert sorted(path.name for path in output.glob("[!.]*")) == files
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
    times = list_times(output / "cells")
    assert run_comparison.main([*arguments, "--report_only"]) == 0
    assert run_comparison.main(arguments) == 0
    assert list_times(output / "cells") == times
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
    times = list_times(output / "trials")
    shutil.rmtree(output / "models")
    assert run_comparison.main([*tuned, "--seeds", "1"]) == 0  # nothing is left to do
    assert list_times(output / "trials") == times
    (output / "cells" / "taught_ncbi,bc5cdr_1_1.json").unlink()
    assert run_comparison.main(tuned) == 2
    message = capsys.readouterr().err
    assert "single_bc5cdr_1_1.json were not kept, but are needed as teachers; delete these cells" in message
    assert "single_ncbi_1_1.json, " in message
