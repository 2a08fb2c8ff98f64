"""The command `info`: what a model is, without loading it."""

import json
import shutil
from pathlib import Path

import pytest

from mtl_bioner.hub import info


def test_a_model_is_described(trained, capsys):
    assert info.main([str(trained)]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == f"model       {trained}"
    assert [line.split(";")[0] for line in lines if line.startswith("task")] == [
        "task        ncbi: Disease on ncbi",
        "task        bc5cdr: Chemical, Disease on bc5cdr",
    ]
    assert shown.err == f"next: mtl-bioner annotate {trained} FILE --output DIR\n"


def test_the_description_agrees_with_what_is_loaded(trained, capsys):
    import mtl_bioner

    assert info.main([str(trained), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    model = mtl_bioner.load(trained).model
    assert described["parameters"] == sum(weight.numel() for weight in model.state_dict().values())
    assert described["dtypes"] == ["F32"]
    scores = json.loads((trained / "all_results.json").read_text(encoding="utf-8"))
    for task in described["tasks"]:
        name = task["name"]
        assert task["f1"] == {"test": scores[f"test_{name}_f1"], "dev": scores[f"eval_{name}_f1"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a config only."""
    config = {"model_type": "mtl_bioner", "tasks": [{"name": "a\n\x1b[31m", "types": ["X"]}]}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


def test_names_are_shown_without_control_characters(folder, trained, capsys):
    shutil.copy(trained / "model.safetensors", folder)
    assert info.main([str(folder)]) == 0
    assert "task        a \\x1b[31m: X; no scores" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json; name the --output_dir"),
        (lambda folder: (folder / "config.json").write_text("{}"), "holds a model of type None"),
        (lambda folder: None, "has no weights (model.safetensors); copy the model again"),
        (lambda folder: (folder / "model.safetensors").write_text("x"), "model.safetensors is damaged"),
    ],
)
def test_what_is_no_model_is_told_in_one_line(folder, capsys, change, message):
    change(folder)
    assert info.main([str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
