"""The command `mtl-bioner` and the Python interface."""

import contextlib
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mtl_bioner
from mtl_bioner.cli import COMMANDS, main


ROOT = Path(__file__).parents[1]
TEXT = "Cisplatin caused acute renal failure in two patients with Huntington disease."


@pytest.mark.parametrize("argv", [["--help"], ["-h"], []])
def test_help_lists_every_command(argv: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("trian", "did you mean train?"), ("zzz", "the commands are train, annotate, serve, select, view,")],
)
def test_an_unknown_command_is_one_line(name: str, hint: str, capsys: pytest.CaptureFixture) -> None:
    assert main([name]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mtl-bioner: error: unknown command '{name}'; {hint}") and error.count("\n") == 1


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_answer_within_half_a_second(argument: str) -> None:
    def measure() -> float:
        """Return the seconds of computing, which other processes of the machine lengthen less than the time."""
        begin = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        done = subprocess.run([sys.executable, "-m", "mtl_bioner", argument], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "mtl-bioner" in done.stdout
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - begin

    assert min(measure() for _ in range(5)) < 0.5


@pytest.mark.parametrize(
    ("argv", "shown"),
    [(["corpora", "list"], "NCBI Disease"), (["corpora", "stats", "ncbi", "--data_dir", "sample"], "documents")],
)
def test_corpora_are_listed_and_counted(argv: list[str], shown: str, capsys: pytest.CaptureFixture) -> None:
    assert main(argv) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_help_of_train_shows_each_option_once_and_the_tasks_first(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  --")]
    assert len(names) == len(set(names)) > 100
    assert names[:2] == ["--version", "--tasks"]
    assert "--task-sampling-alpha" not in names and "--use_liger_kernel" not in names


def test_interrupting_a_command_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def interrupt(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("dataset_scripts.__main__.main", interrupt)
    assert main(["corpora", "list"]) == 130
    assert capsys.readouterr().err == "mtl-bioner corpora: interrupted\n"


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, mtl_bioner; print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", mtl_bioner.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(mtl_bioner, name).__name__ == name
    assert name in dir(mtl_bioner)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mtl_bioner.trian  # noqa: B018


def test_training_and_loading_in_python_do_what_the_commands_do(
    toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    result = mtl_bioner.train(
        tasks="ncbi,bc5cdr", data_dir="sample", model_name_or_path=Path(toy_encoder("bert")), teachers="none",
        output_dir=tmp_path / "model", max_train_samples=6, max_eval_samples=3, max_predict_samples=4,
        num_train_epochs=1, max_seq_length=64, use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    assert {"README.md", "run.json", "all_results.json"} <= {path.name for path in (tmp_path / "model").iterdir()}
    assert result.output_dir == str(tmp_path / "model")
    assert 0 <= result.scores["test_macro_f1"] <= 1
    ner = mtl_bioner.load(result.output_dir, tasks="bc5cdr")
    assert {entity["task"] for entity in ner(TEXT)} <= {"bc5cdr"}
    entities = mtl_bioner.load(tmp_path / "model")(TEXT)
    assert all(TEXT[entity["start"] : entity["end"]] == entity["word"] for entity in entities)


def test_a_folder_without_a_model_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json; name the --output_dir of a training"):
        mtl_bioner.load(tmp_path)


def test_a_wrong_keyword_argument_is_a_value_error_that_names_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"unknown argument --epochs; did you mean --num_train_epochs\?"):
        mtl_bioner.train(tasks="ncbi", epochs=3)


# What bash offers for a line: as it calls a function for completions, with the words and the last one's index.
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_shtab_mtl_bioner mtl-bioner "${@: -1}" "${@: -2:1}"
echo "${COMPREPLY[*]}"
"""


@pytest.fixture(scope="module")
def completions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = tmp_path_factory.mktemp("shell") / "mtl-bioner"
    with contextlib.redirect_stdout(script.open("w", encoding="utf-8")) as out, out:
        assert main(["completion", "bash"]) == 0
    return script


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ann", "annotate"),
        ("train --lea", "--learning_rate --learning-rate --leaks"),
        ("annotate model texts --to bio", "bioc bioc-json"),
        ("corpora con", "convert"),
        ("annotate READ", "README.md"),
        ("train --data_dir dataset_scr", "dataset_scripts"),
    ],
)
def test_a_shell_completes_commands_arguments_and_files(completions: Path, line: str, offered: str) -> None:
    command = ["bash", "-c", COMPLETE, "bash", str(completions), "mtl-bioner", *line.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert set(offered.split()) <= set(done.stdout.split()) and (done.stdout.strip() == offered or " --" in offered)


def test_completions_need_a_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "zsh"]) == 2
    assert capsys.readouterr().err == "mtl-bioner completion: error: the package shtab is missing; pip install shtab\n"
