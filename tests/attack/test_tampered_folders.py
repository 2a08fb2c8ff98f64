"""A model's folder tampered with at random: it is refused, or the model answers as the whole one."""

import copy
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cases import Cases, check_message
from mutations import blow_up, list_holders, mutate_json
from safetensors.torch import load_file, save_file
from test_hub import find_more

import mtl_bioner
from mtl_bioner.messages import summarize_error


pytestmark = pytest.mark.slow

TEXTS = ["Cisplatin caused renal failure in BRCA1 carriers, and IL-2 gene expression.", "naïve\u2028e\u0301tude (µg)",
         "Wilson's disease " * 12]  # fmt: skip
ODD = [None, True, 0, -1, 1, 3, 10**20, 0.5, -0.5, math.inf, math.nan, "", "x", [], {}, [[]], [None], {"a": 1}, ["x"]]
# What a config may state freely, so that another value is another model and no damage: how a text is read, and what an
# encoder of the same weights computes.
FREE = {"context_size", "max_seq_length", "word_pattern", "sentence_pattern", "temperature", "score_bias", "types",
        "num_attention_heads", "layer_norm_eps", "hidden_act", "is_decoder", "add_cross_attention", "dtype",
        "position_embedding_type", "chunk_size_feed_forward", "attn_implementation"}  # fmt: skip


@pytest.fixture(scope="module")
def whole(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A trained model that finds something, and what it finds."""
    folder = tmp_path_factory.mktemp("whole") / "model"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("checkpoint-*"))
    assert find_more(folder)
    answers = mtl_bioner.load(folder)(TEXTS)
    assert all(answers)
    return folder, answers


def tamper_weights(rng: random.Random, folder: Path) -> str:
    """Remove, rename, resize, retype or add a tensor, or fill it with what is no number."""
    path = folder / "model.safetensors"
    weights = load_file(path)
    name, kind = rng.choice(sorted(weights)), rng.randrange(8)
    tensor = weights.pop(name)
    if kind == 1:
        weights[name + rng.choice(["s", ".x", ".weight"])] = tensor
    elif kind == 2:
        weights[name] = torch.cat([tensor, tensor[:1]])
    elif kind == 3:
        weights[name] = tensor[:-1].clone()
    elif kind == 4:
        weights[name] = tensor[None].clone()
    elif kind == 5:
        weights[name] = torch.full_like(tensor, rng.choice([math.nan, math.inf, -math.inf]))
    elif kind == 6:
        weights |= {name: tensor, f"heads.{rng.choice(['x', 'ncbi2'])}.weight": tensor.clone()}
    elif kind == 7:
        weights[name] = tensor.flatten().clone()
    save_file(weights, path, {"format": "pt"})
    return f"weights, kind {kind}, {name}"


def tamper_file(rng: random.Random, folder: Path) -> str:
    """Cut or blow up a file, or delete it; of the weights change the head only, since their values have no hash."""
    path = rng.choice([folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")])
    data = path.read_bytes()
    if rng.random() < 0.1:
        path.unlink()
    elif path.suffix == ".safetensors":
        cut = rng.randrange(len(data))
        size = 8 + int.from_bytes(data[:8], "little")
        path.write_bytes(data[:cut] if rng.random() < 0.3 else blow_up(rng, data[:size]) + data[size:])
    else:
        path.write_bytes(blow_up(rng, data))
    return path.name


def tamper_config(rng: random.Random, folder: Path) -> str:
    """Delete a key of the config, or give it an odd value."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    holder = rng.choice([one for one in list_holders(config) if one])
    key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    before = copy.deepcopy(holder[key])
    if rng.random() < 0.2:
        del holder[key]
        told = f"config without {key}"
    else:
        holder[key] = rng.choice(ODD)
        told = f"config, {key} from {before!r:.60} to {holder[key]!r}"
    path.write_text(json.dumps(config), encoding="utf-8")
    tasks = config.get("tasks")
    types = [task.get("types") for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []
    is_free = key in FREE or any(holder is one for one in types)
    return "free: " * is_free + told


def tamper_tokenizer(rng: random.Random, folder: Path) -> str:
    """Change a key or value of the tokenizer's files, or two entries of its vocabulary."""
    path = folder / rng.choice(["tokenizer.json", "tokenizer.json", "tokenizer_config.json"])
    text = path.read_text(encoding="utf-8")
    if path.name == "tokenizer.json" and rng.random() < 0.3:
        content = json.loads(text)
        vocabulary = content["model"]["vocab"]
        one, two = rng.sample(sorted(vocabulary), 2)
        vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
        path.write_text(json.dumps(content), encoding="utf-8")
        return f"vocabulary, {one} and {two}"
    path.write_text(mutate_json(rng, text), encoding="utf-8")
    return path.name


ATTACKS: dict[str, tuple[float, Callable[[random.Random, Path], str]]] = {
    "weights": (8, tamper_weights),
    "files": (8, tamper_file),
    "config": (16, tamper_config),
    "tokenizer": (16, tamper_tokenizer),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_tampered_folders(whole, tmp_path, cases: Cases, attack):
    (source, expected), (number, tamper) = whole, ATTACKS[attack]
    refused = 0
    for rng in cases.seeds(number, most=2000):
        folder = tmp_path / "model"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        told = tamper(rng, folder)
        with cases.case(told):
            try:
                answers = mtl_bioner.load(folder)(TEXTS)
            except (ValueError, OSError) as error:
                check_message(summarize_error(error))
                refused += 1
            else:
                assert told.startswith("free: ") or answers == expected, "the model answers differently"
    assert refused
