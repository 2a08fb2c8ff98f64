"""A model folder that was damaged or tampered with: loading says what is wrong, and nothing answers with noise."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import pipeline

import mtl_bioner
import run_annotate
import run_mtl_ner
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, hash_tokenizer


TEXT = "Cisplatin caused renal failure."


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained model that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoint-*")))


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    edit(config)
    path.write_text(json.dumps(config), encoding="utf-8")


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, {"format": "pt"})


def drop(prefix: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def edit(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.startswith(prefix)]:
            del weights[name]

    return edit


def shorten(weights: dict[str, torch.Tensor]) -> None:
    weights["heads.ncbi.weight"] = weights["heads.ncbi.weight"][:-1].clone()


def rename_head(config: dict[str, Any]) -> None:
    config["tasks"][0]["name"] = "other"


def remove_layer(config: dict[str, Any]) -> None:
    config["encoder_config"]["num_hidden_layers"] -= 1


# What is changed, how, and what the message names.
FAULTS = {
    "head": (edit_weights, drop("heads.ncbi"), "is without the weights heads.ncbi.bias, heads.ncbi.weight"),
    "layer": (edit_weights, drop("encoder.encoder.layer.0"), r"encoder.encoder.layer.0.\S+, .* and \d+ more"),
    "renamed": (edit_config, rename_head, "without .*heads.other.* and has no place for the weights heads.ncbi.bias"),
    "size": (edit_weights, shorten, "has another size for the weights heads.ncbi.weight; copy it again"),
    "shallow": (edit_config, remove_layer, r"has no place for the weights encoder.encoder.layer.\d"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_incomplete_model_is_refused_by_name(folder, fault):
    change, edit, message = FAULTS[fault]
    change(folder, edit)
    ways = (
        lambda: MtlBionerModel.from_pretrained(folder),
        lambda: mtl_bioner.load(folder),
        lambda: pipeline("token-classification", model=str(folder), trust_remote_code=True),
    )
    for load in ways:
        with pytest.raises(ValueError, match=message):
            load()


def test_commands_refuse_an_incomplete_model_in_one_line(folder, tmp_path, capsys):
    edit_weights(folder, drop("heads.ncbi"))
    (tmp_path / "in.txt").write_text(TEXT, encoding="utf-8")
    annotate = [str(folder), str(tmp_path / "in.txt"), "--output", str(tmp_path / "out")]
    continued = ["--tasks", "ncbi", "--data_dir", "sample", "--output_dir", str(tmp_path / "again")]
    continued += ["--model_name_or_path", str(folder)]
    for main, arguments in ((run_annotate.main, annotate), (run_mtl_ner.main, continued)):
        assert main(arguments) == 2
        assert "is without the weights heads.ncbi.bias" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_without_its_vocabulary_is_refused(folder):
    for path in folder.glob("*"):
        if path.name in ("tokenizer.json", "vocab.txt"):
            path.unlink()
    with pytest.raises(ValueError, match="vocabulary"):
        mtl_bioner.load(folder)
    with pytest.raises(ValueError, match="is not the one that the model was trained with"):
        pipeline("token-classification", model=str(folder), trust_remote_code=True)


def test_another_tokenizer_of_the_same_size_is_refused(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[-2:]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(ValueError, match="is not the one that the model was trained with"):
        mtl_bioner.load(folder)


def test_another_special_token_is_refused(folder):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"pad_token": "[MASK]"}))
    with pytest.raises(ValueError, match="is not the one that the model was trained with"):
        mtl_bioner.load(folder)


def test_the_hash_of_the_tokenizer_stands_in_the_config(folder):
    ner = mtl_bioner.load(folder)
    assert ner.model.config.tokenizer_hash == hash_tokenizer(ner.tokenizer)
    edit_config(folder, lambda config: config.pop("tokenizer_hash"))  # as saved by 0.1
    assert mtl_bioner.load(folder)(TEXT) == ner(TEXT)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("temperature", float("inf"), "task ncbi: its temperature is inf"),
        ("temperature", float("nan"), "task ncbi: its temperature is nan"),
        ("temperature", 0.0, "task ncbi: its temperature is 0.0"),
        ("temperature", "1", "task ncbi: its temperature is '1'"),
        ("score_bias", float("-inf"), "its score_bias -inf; both must be finite numbers"),
    ],
)
def test_an_impossible_calibration_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        MtlBionerConfig(tasks=[{"name": "ncbi", "types": ["Disease"], field: value}])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_seq_length", 100_000, r"max_seq_length is 100000 in config.json; the encoder takes \d+"),
        ("max_seq_length", -1, "max_seq_length is -1; give a whole number from 1"),
        ("context_size", -1, "context_size is -1; give a whole number from 0"),
    ],
)
def test_impossible_windows_are_refused(folder, name, value, message):
    edit_config(folder, lambda config: config.update({name: value}))
    with pytest.raises(ValueError, match=message):
        mtl_bioner.load(folder)
