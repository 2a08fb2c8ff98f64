"""A saved model in a fresh process: without this project, without a network, from another directory."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import assert_same_entities

from modeling_mtl_bioner import MtlBionerModel, MtlBionerPipeline
from mtl_bioner.training.model_building import build_model, with_tasks


TASKS = [{"name": "zeta", "types": ["Disease", "Chemical"], "corpora": ["ncbi"]}, {"name": "alpha", "types": ["Gene"]}]
TEXTS = ["Cisplatin induced nephrotoxicity in BRCA1 carriers. " * 9, "", "p53 binds\r\nDNA 😀"]
FAMILIES = ("bert", "roberta", "modernbert")

# Runs far from here. Arguments: the texts as JSON, the folder to save loaded models into again, the folders to load.
PROGRAM = """
import json, sys

class Block:  # the project is not there, however it was installed
    def find_spec(self, name, path=None, target=None):
        if name in {"modeling_mtl_bioner", "data_collators", "mtl_bioner", "run_mtl_ner", "dataset_scripts"}:
            raise ImportError(f"{name} must not be imported from the project")

sys.meta_path.insert(0, Block())

import torch
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline

texts = json.loads(sys.argv[1])
for folder in sys.argv[3:]:
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    plain = AutoTokenizer.from_pretrained(folder)
    result = {"tasks": config.tasks, "classes": [], "logits": []}
    ids = tokenizer(texts[0], return_tensors="pt")["input_ids"][:, :40]
    assert ids.tolist() == plain(texts[0], return_tensors="pt")["input_ids"][:, :40].tolist()
    for auto in (AutoModel, AutoModelForTokenClassification):
        model = auto.from_pretrained(folder, trust_remote_code=True).eval()
        with torch.no_grad():
            result["logits"].append(model(ids).task_logits)
        result["classes"].append(type(model).__module__.split(".")[0] + "." + type(model).__name__)
        assert type(model.config) is type(model).config_class
    ner = pipeline(model=folder, trust_remote_code=True)  # infers the task
    alias = pipeline("ner", model=folder, trust_remote_code=True)
    of_spacy = pipeline(  # as `hf_token_pipe` of spacy-huggingface-pipelines calls it
        task="token-classification", model=folder, revision="main", aggregation_strategy="average", device=-1,
        stride=16, trust_remote_code=True,
    )
    result["pipelines"] = [f"{type(one).__name__} {one.task}" for one in (ner, alias, of_spacy)]
    result["entities"] = ner(texts)
    result["by tasks"] = alias(texts[0], tasks=["alpha"], batch_size=2)
    torch.save(result, folder + ".result")
    again = sys.argv[2] + "/" + folder.rsplit("/", 1)[1]
    model.save_pretrained(again)
    tokenizer.save_pretrained(again)
"""


def run_program(work: Path, save_to: Path, folders: list[Path]) -> None:
    """In its own folder with its own cache; its output is the message if it fails."""
    (work / "elsewhere").mkdir(exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # another number sums in another order
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(TEXTS), str(save_to), *map(str, folders)],
        cwd=work / "elsewhere",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.fixture(scope="module")
def saved(toy_encoder: Callable, toy_tokenizer: Callable, tmp_path_factory: pytest.TempPathFactory) -> tuple:
    """Models of several families saved, loaded and saved again elsewhere; and what they give here."""
    work = tmp_path_factory.mktemp("saved")
    expected: dict[str, dict[str, Any]] = {}
    for family in FAMILIES:
        torch.manual_seed(5)
        model = build_model(toy_encoder(family), TASKS, max_seq_length=32, context_size=6).eval()
        for head in model.heads.values():
            torch.nn.init.normal_(head.weight, std=1.0)
        tokenizer = toy_tokenizer(family)
        model.save_pretrained(work / "first" / family)
        tokenizer.save_pretrained(work / "first" / family)
        with torch.no_grad():
            logits = model(tokenizer(TEXTS[0], return_tensors="pt")["input_ids"][:, :40]).task_logits
        expected[family] = {"logits": logits, "entities": MtlBionerPipeline(model=model, tokenizer=tokenizer)(TEXTS)}
    run_program(work, work / "second", [work / "first" / family for family in FAMILIES])
    return work, expected


@pytest.mark.parametrize("family", FAMILIES)
def test_same_in_a_fresh_process(saved: tuple, family: str) -> None:
    result, here = torch.load(saved[0] / "first" / f"{family}.result", weights_only=True), saved[1][family]
    assert result["tasks"] == TASKS
    assert result["classes"] == ["transformers_modules.MtlBionerModel"] * 2
    assert result["pipelines"] == [
        f"MtlBionerPipeline {task}" for task in ("token-classification", "ner", "token-classification")
    ]
    for logits in result["logits"]:  # by AutoModel and by AutoModelForTokenClassification
        assert list(logits) == ["zeta", "alpha"]
        torch.testing.assert_close(logits, here["logits"], rtol=0, atol=0)  # the same computation, to the bit
    assert len(here["entities"][0]) > 10
    assert_same_entities(result["entities"], here["entities"])
    assert_same_entities(result["by tasks"], [e for e in here["entities"][0] if e["task"] == "alpha"])


@pytest.mark.parametrize("generation", ["first", "second"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_path_of_this_machine(saved: tuple, generation: str, family: str) -> None:
    folder = saved[0] / generation / family
    files = {file.name for file in folder.iterdir()} - {"__pycache__"}
    assert {"config.json", "model.safetensors", "modeling_mtl_bioner.py", "tokenizer_config.json"} <= files
    assert [name for name in files if name.endswith(".py")] == ["modeling_mtl_bioner.py"]
    text = (folder / "config.json").read_text() + (folder / "tokenizer_config.json").read_text()
    assert str(saved[0]) not in text and not re.findall('"[/~]', text)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_model_is_saved_as_it_was(saved: tuple, family: str) -> None:
    """File by file, code and tokenizer too; so the second generation loads wherever the first does."""
    first, second = (
        {file.name: file.read_bytes() for file in (saved[0] / generation / family).iterdir() if file.is_file()}
        for generation in ("first", "second")
    )
    assert first == second


def test_heads_added_to_a_loaded_model_hide_the_path_too(saved: tuple, tmp_path: Path) -> None:
    loaded = MtlBionerModel.from_pretrained(saved[0] / "first" / "bert")
    with_tasks(loaded, [{"name": "new", "types": ["DNA"]}]).save_pretrained(tmp_path)
    assert "/" not in (tmp_path / "config.json").read_text()
    assert MtlBionerModel.from_pretrained(tmp_path).config.task_names == ["zeta", "alpha", "new"]
