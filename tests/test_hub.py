"""Pushing to a stand-in for the Hub and loading from it, each in a process of its own; stock models of one task."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hub_double import READ_ONLY, TOKEN, HubDouble
from huggingface_hub import ModelCard, RepoCard
from huggingface_hub.errors import HfHubHTTPError
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import run_mtl_ner
from dataset_scripts import load_corpus
from dataset_scripts.bio import SENTENCE_PATTERN
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, MtlBionerPipeline
from mtl_bioner.hub import commands, export
from mtl_bioner.hub import push as push_module
from mtl_bioner.hub.model_card import compute_spread, write_card
from mtl_bioner.hub.push import PushError, collect_push_files
from mtl_bioner.training.model_building import build_model, with_tasks


ROOT = Path(__file__).parents[1]
SMALL = ["--data_dir", "sample", "--use_cpu", "--max_train_samples", "6", "--max_eval_samples", "3"]
SMALL += ["--max_predict_samples", "4", "--num_train_epochs", "1", "--teachers", "none"]
TEXT = "Cisplatin caused acute renal failure in two patients with Huntington disease."
FILES = {
    "README.md", "all_results.json", "config.json", "handler.py", "learning_curves.png", "ledger.json",
    "model.safetensors", "modeling_mtl_bioner.py", "reliability.png", "requirements.txt", "run.json", "tokenizer.json",
    "tokenizer_config.json",
}  # fmt: skip


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    double = HubDouble()
    yield double
    double.close()


@pytest.fixture(scope="module")
def trained(toy_encoder: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("hub") / "model"
    arguments = ["--tasks", "ncbi,bc5cdr", "--model_name_or_path", toy_encoder("bert"), "--output_dir", str(output)]
    assert run_mtl_ner.main([*arguments, *SMALL]) == 0
    return output


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained model's folder, to change."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def make_loud(folder: Path) -> Path:
    """Give the model's heads large weights, so that it finds something."""
    model = MtlBionerModel.from_pretrained(folder)
    torch.manual_seed(3)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight)
    model.save_pretrained(folder)
    return folder


def list_local_entities(folder: Path) -> list[dict[str, Any]]:
    model = MtlBionerModel.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config)
    return json.loads(json.dumps(MtlBionerPipeline(model=model, tokenizer=tokenizer)(TEXT)))


class Machine:
    """Runs processes that know the double as the Hub, in an unrelated folder, with a cache of its own."""

    def __init__(self, hub: HubDouble, home: Path) -> None:
        self.hub, self.home = hub, home

    def run(self, *command: Any, token: str | None = TOKEN) -> subprocess.CompletedProcess:
        hidden = ("HF_", "PYTHONPATH", "TRANSFORMERS")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        environment |= {"HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.home / "cache"), "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HOME": str(self.home), "PYTHONPATH": str(ROOT)} | ({"HF_TOKEN": token} if token else {})
        self.home.mkdir(parents=True, exist_ok=True)
        return subprocess.run(
            [sys.executable, *map(str, command)], cwd=self.home, env=environment, capture_output=True, text=True,
            timeout=240, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def push(self, *arguments: Any, token: str | None = TOKEN) -> subprocess.CompletedProcess:
        code = "import sys; from mtl_bioner.hub.commands import main_push; sys.exit(main_push())"
        return self.run("-c", code, *arguments, token=token)

    def evaluate(self, code: str, *arguments: Any, token: str | None = None) -> Any:
        """What code prints as JSON in its last line, without the project on its path."""
        done = self.run("-I", "-c", code, *arguments, token=token)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def author(hub: HubDouble, tmp_path: Path) -> Machine:
    return Machine(hub, tmp_path / "author")


@pytest.fixture
def reader(hub: HubDouble, tmp_path: Path) -> Machine:
    return Machine(hub, tmp_path / "reader")


# --------------------------------------------------------------------------------------------------------------- push

# Tasks and entities.
LOAD = """
import json, sys
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline
name, text = sys.argv[1:3]
options = {"trust_remote_code": True} | ({"revision": sys.argv[3]} if len(sys.argv) > 3 else {})
names = [task["name"] for task in AutoConfig.from_pretrained(name, **options).tasks]
for auto in (AutoModel, AutoModelForTokenClassification):
    assert type(auto.from_pretrained(name, **options)).__name__ == "MtlBionerModel"
assert AutoTokenizer.from_pretrained(name, **options).is_fast
assert "modeling_mtl_bioner" not in sys.modules  # the project's own is not what was loaded
print(json.dumps([names, pipeline("token-classification", model=name, **options)(text)]))
"""


@pytest.mark.slow
def test_pushed_model_loads_from_the_hub_with_the_same_entities(
    hub: HubDouble, author: Machine, reader: Machine, folder: Path, trained: Path, tmp_path_factory: Any
) -> None:
    make_loud(folder)
    (folder / "training_args.bin").write_bytes(b"secret")
    done = author.push(folder, "me/ner", "--private")
    assert done.returncode == 0, done.stderr
    assert 'load it with pipeline("token-classification", model="me/ner", trust_remote_code=True)' in done.stderr
    assert hub.private["me/ner"] and len(hub.commits("me/ner")) == 2  # the empty one of its creation, and one more
    files = hub.files("me/ner")
    assert set(files) == FILES
    machine = (str(trained.parent), str(tmp_path_factory.getbasetemp()), str(ROOT))  # the encoder's folder is below
    for content in files.values():
        assert not any(secret.encode() in content for secret in (TOKEN, *machine))
    assert b'model="me/ner"' in files["README.md"] and any("info/lfs" in line for line in hub.log)
    names, entities = reader.evaluate(LOAD, "me/ner", TEXT, token=READ_ONLY)
    assert names == ["ncbi", "bc5cdr"] and entities == list_local_entities(folder) != []


@pytest.mark.slow
def test_a_push_to_a_branch_leaves_the_main_one_as_it_is(
    hub: HubDouble, author: Machine, reader: Machine, folder: Path
) -> None:
    make_loud(folder)
    assert author.push(folder, "me/ner").returncode == 0
    entities = list_local_entities(folder)
    model = MtlBionerModel.from_pretrained(folder)
    with_tasks(model, [{"name": "new", "types": ["Gene"]}], drop=["ncbi"]).save_pretrained(folder)
    done = author.push(folder, "me/ner", "--revision", "next")
    assert done.returncode == 0 and 'trust_remote_code=True, revision="next")' in done.stderr
    assert len(hub.commits("me/ner")) == 2
    assert reader.evaluate(LOAD, "me/ner", TEXT) == [["ncbi", "bc5cdr"], entities]
    assert reader.evaluate(LOAD, "me/ner", TEXT, "next")[0] == ["bc5cdr", "new"]


LOAD_REVISIONS = """
import json, sys
from transformers import AutoModel
name, *revisions = sys.argv[1:]
models = [AutoModel.from_pretrained(name, revision=revision, trust_remote_code=True) for revision in revisions]
print(json.dumps([sys.modules[type(model).__module__].MARK for model in models]))
"""


@pytest.mark.slow
def test_two_revisions_with_different_code_do_not_mix(author: Machine, reader: Machine, folder: Path) -> None:
    code = (folder / "modeling_mtl_bioner.py").read_text()
    for mark, revision in ((1, "old"), (2, "new")):
        (folder / "modeling_mtl_bioner.py").write_text(f"{code}\nMARK = {mark}\n")
        assert author.push(folder, "me/ner", "--revision", revision).returncode == 0
    assert reader.evaluate(LOAD_REVISIONS, "me/ner", "old", "new", "old") == [1, 2, 1]


@pytest.mark.slow
def test_a_push_deletes_old_weights_and_does_not_publish_a_private_model(
    hub: HubDouble, author: Machine, folder: Path
) -> None:
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert author.push(folder, "me/ner").returncode == 0
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert author.push(folder, "me/ner").returncode == 0
    assert [name for name in hub.files("me/ner") if name.endswith(".safetensors")] == ["model.safetensors"]
    refused = author.push(folder, "me/ner", "--private")
    assert refused.returncode == 2 and "me/ner is there and public" in refused.stderr
    assert len(hub.commits("me/ner")) == 3
    with (folder / "README.md").open("a") as card:
        card.write("Ask Ann.\n")
    edited = author.push(folder, "mine", "--private")  # a name without its owner
    assert edited.returncode == 0 and "README.md was changed by hand and is pushed as it is" in edited.stderr
    files = hub.files("me/mine")
    assert "model.safetensors" in files and hub.private["me/mine"]
    assert b'model="me/mine"' in files["README.md"] and b"Ask Ann." in files["README.md"]


@pytest.mark.slow
def test_a_checkpoint_and_an_exported_model_can_be_pushed(
    hub: HubDouble, author: Machine, reader: Machine, trained: Path, tmp_path: Path
) -> None:
    (checkpoint,) = trained.glob("checkpoint-*")
    assert author.push(checkpoint, "me/early").returncode == 0
    assert reader.evaluate(LOAD, "me/early", TEXT)[0] == ["ncbi", "bc5cdr"]
    stock = tmp_path / "stock"
    assert commands.main_export([str(trained), "--task", "ncbi", "--output", str(stock)]) == 0
    done = author.push(stock, "me/stock")
    assert done.returncode == 0 and 'model="me/stock", aggregation_strategy="average", stride=32)' in done.stderr
    files = hub.files("me/stock")
    assert not any(name.endswith(".py") for name in files) and b'model="me/stock"' in files["README.md"]
    refused = author.push(stock, "me/stock", "--space")
    assert refused.returncode == 2 and "--space and --seeds are for models of several heads" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("token", "parts"),
    [(None, ["401", "hf auth login"]), ("hf_wrong", ["401"]), (READ_ONLY, ["403", "may not write"])],
)
def test_a_refused_push_is_one_line_and_leaves_nothing(
    hub: HubDouble, author: Machine, trained: Path, token: str | None, parts: list[str]
) -> None:
    done = author.push(trained, "me/ner", token=token)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr and not hub.repositories
    assert last.startswith("mtl-bioner-push: error: the Hub refused me/ner ") and all(part in last for part in parts)


@pytest.mark.slow
def test_a_connection_cut_half_way_leaves_nothing_half_pushed(hub: HubDouble, author: Machine, trained: Path) -> None:
    hub.cut_uploads = True
    done = author.push(trained, "me/ner")
    assert done.returncode == 2 and "Traceback" not in done.stderr and hub.files("me/ner") == {}
    assert "mtl-bioner-push: error: the push to me/ner failed" in done.stderr and "whole or not at all" in done.stderr
    hub.cut_uploads = False
    assert author.push(trained, "me/ner").returncode == 0 and "model.safetensors" in hub.files("me/ner")


@pytest.mark.slow
def test_every_push_of_a_training_can_be_loaded(
    hub: HubDouble, author: Machine, reader: Machine, toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    command = [ROOT / "run_mtl_ner.py", "--tasks", "ncbi", "--model_name_or_path", toy_encoder("bert"), *SMALL]
    command += ["--num_train_epochs", "2", "--output_dir", tmp_path / "out"]
    done = author.run(*command, "--push_to_hub", "--hub_model_id", "me/ner")
    assert done.returncode == 0, done.stderr[-3000:]
    commits = hub.commits("me/ner")[1:]
    assert len(commits) == 3  # two epochs, and the end
    for commit, files in commits:
        assert not {"training_args.bin", "optimizer.pt"} & set(files)
        assert reader.evaluate(LOAD, "me/ner", TEXT, commit)[0] == ["ncbi"]
    card = commits[-1][1]["README.md"]
    assert b"| ncbi |" in card and b'model="me/ner"' in card
    refused = author.run(*command, "--overwrite_output", "--push_to_hub", token="hf_wrong")
    assert refused.returncode == 2 and "401" in refused.stderr.strip().splitlines()[-1]


def test_a_push_holds_what_a_model_needs_and_nothing_else(folder: Path) -> None:
    for name in ("training_args.bin", "begun_with.json", "predictions_ncbi.jsonl"):
        assert (folder / name).is_file()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "notes.txt", "other.py"):
        (folder / name).write_text("{}")
    assert set(collect_push_files(folder, token="hf_other")) == FILES


def test_an_incomplete_folder_is_not_pushed(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_mtl_bioner.py").unlink()
    with pytest.raises(
        PushError, match=r"has no modeling_mtl_bioner\.py; name the --output_dir of a training, or one"
    ):
        collect_push_files(folder)
    with pytest.raises(PushError, match="nowhere: no such folder; name the --output_dir of a training"):
        collect_push_files(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["ledger.json", "README.md"])
@pytest.mark.parametrize(
    ("secret", "token", "kind"),
    [
        ("hf_of_the_login", None, "the token of the Hub"),
        ("hf_given", "hf_given", "the token of the Hub"),
        (str(Path.home() / "corpus"), None, "a path of this machine"),
    ],
)
def test_no_file_with_a_secret_is_pushed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, secret: str, token: str | None, kind: str
) -> None:
    monkeypatch.setattr(push_module, "get_token", lambda: "hf_of_the_login")
    with (folder / name).open("a") as file:
        file.write(f"{secret}\n")
    with pytest.raises(PushError, match=f"{name} holds {kind}; take it out before it is pushed"):
        collect_push_files(folder, token)


class Api:
    """What a push asks of the Hub: a repository that is there and public, with files of earlier pushes."""

    endpoint = "https://hub"

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def create_repo(self, name: str, private: bool | None, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(repo_id=name if "/" in name else f"me/{name}")

    def repo_info(self, name: str, repo_type: str | None) -> SimpleNamespace:
        return SimpleNamespace(private=False)

    def create_branch(self, name: str, branch: str, exist_ok: bool) -> None:
        self.calls.append(("branch", branch))

    def list_repo_files(self, name: str, revision: str | None) -> list[str]:
        self.calls.append(("list", revision))
        return ["model-00001-of-00002.safetensors", "notes.md", "old/model.safetensors", "config.json", "vocab.txt"]

    def create_commit(self, name: str, operations: list[Any], **options: Any) -> SimpleNamespace:
        self.calls.append(("commit", options["commit_message"], options.get("revision")))
        self.calls.extend((type(operation).__name__[15:], operation.path_in_repo) for operation in operations)
        return SimpleNamespace(commit_url=f"{self.endpoint}/{name}/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    api = Api()
    monkeypatch.setattr(push_module, "HfApi", lambda token=None: api)
    return api


def test_a_push_is_one_commit_to_its_branch_that_deletes_old_weights_only(trained: Path, api: Api) -> None:
    address = push_module.push_folder(trained, "me/ner", revision="next", message="Epoch 1")
    assert address == "https://hub/me/ner/commit/1"
    assert api.calls[:3] == [("branch", "next"), ("list", "next"), ("commit", "Epoch 1", "next")]
    assert {name for kind, name in api.calls[3:] if kind == "Add"} == set(collect_push_files(trained))
    deleted = [name for kind, name in api.calls[3:] if kind == "Delete"]
    assert deleted == ["model-00001-of-00002.safetensors", "vocab.txt"]


def test_only_a_private_push_is_refused_where_a_public_repository_is(trained: Path, api: Api) -> None:
    with pytest.raises(PushError, match="me/ner is there and public; make it private on the Hub first"):
        push_module.push_folder(trained, "me/ner", private=True)
    assert api.calls == []
    push_module.push_folder(trained, "me/ner")
    assert api.calls[:2] == [("list", None), ("commit", "Model", None)]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "log in with `hf auth login`"),
        (403, "the token may not write there"),
        (404, "check the name"),
        (500, "try again"),
    ],
)
def test_what_the_hub_refuses_has_a_remedy(status: int, remedy: str) -> None:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)

    def refuse() -> None:
        raise HfHubHTTPError("no", response=response)

    with pytest.raises(PushError, match=rf"the Hub refused me/ner \({status}\): {remedy}"):
        push_module.explain_hub_errors(refuse, "me/ner")


def test_the_spread_over_seeds_is_in_the_card(folder: Path, trained: Path) -> None:
    edit_json(folder / "all_results.json", lambda results: results.update(test_ncbi_f1=results["test_ncbi_f1"] + 0.02))
    spread = compute_spread([trained, folder])
    assert spread["test_ncbi_f1"] == pytest.approx(0.02 / 2**0.5) and spread["test_bc5cdr_f1"] == 0
    write_card(folder, "me/ner", spread)
    assert "| 1.41 |" in (folder / "README.md").read_text() and compute_spread([trained]) == {}
    assert compute_spread([trained, folder, trained]) == spread  # named twice, by a pattern
    edit_json(folder / "run.json", lambda run: run["arguments"].update(tasks="ncbi"))
    with pytest.raises(ValueError, match="model was trained with --tasks ncbi, not ncbi,bc5cdr; leave it out"):
        compute_spread([trained, folder])


def test_the_push_command_writes_the_card_first(
    folder: Path, tmp_path: Path, api: Api, capsys: pytest.CaptureFixture
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    edit_json(other / "all_results.json", lambda results: results.update(test_ncbi_f1=results["test_ncbi_f1"] + 0.02))
    assert commands.main_push([str(folder), "ner", "--seeds", str(other)]) == 0
    assert capsys.readouterr().out == "https://hub/me/ner/commit/1\n"
    card = (folder / "README.md").read_text()
    assert 'model="me/ner"' in card and "| 1.41 |" in card
    (folder / "README.md").write_text(f"{card}Ask Ann.\n")
    assert commands.main_push([str(folder), "you/ner"]) == 0
    card = (folder / "README.md").read_text()
    assert 'model="you/ner"' in card and card.endswith("Ask Ann.\n")
    api.calls.clear()
    assert commands.main_push([str(folder), "me/ner", "--space", "--revision", "next"]) == 2
    assert "leave out --revision, or --space" in capsys.readouterr().err and api.calls == []


# ----------------------------------------------------------------------------------------------------------- commands


def test_parsers_are_built_without_the_heavy_libraries() -> None:
    code = """
import argparse, sys
from mtl_bioner.hub import commands
for name in ("push", "export"):
    parser = argparse.ArgumentParser(prog=f"mtl-bioner {name}")
    getattr(commands, f"add_{name}_arguments")(parser)
    parser.format_help()
print([name for name in ("torch", "transformers", "huggingface_hub") if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def test_an_error_of_several_lines_becomes_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("one\n  two")

    monkeypatch.setattr(export, "export_task", fail)
    parser = argparse.ArgumentParser(prog="mtl-bioner export")  # as a sub-command
    commands.add_export_arguments(parser)
    assert commands.run_export(parser.parse_args(["model", "--task", "ncbi", "--output", "stock"])) == 2
    assert capsys.readouterr().err == "mtl-bioner export: error: one two\n"


def test_the_export_command_names_both_scores_of_the_stock_pipeline_and_the_next_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(export, "export_task", lambda *_: {"test_ncbi_f1": 0.75, "sentences_ncbi_f1": 0.8})
    assert commands.main_export(["model", "--task", "ncbi", "--output", "stock", "--data_dir", "sample"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "wrote stock; F1 through the stock pipeline: 75.00, 80.00 sentence by sentence\n"
    call = 'pipeline("token-classification", model="stock", aggregation_strategy="average", stride=32)'
    assert shown.err == f"use it with {call}\n"


# ----------------------------------------------------------------------------------------------------------- endpoint

# As the endpoint's server does: the class by its name, from the file in the repository's folder.
ENDPOINT = """
import importlib.util, json, sys
folder, request = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handler", folder + "/handler.py")
module = importlib.util.module_from_spec(spec)
sys.modules["handler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(folder)
replies = []
for body in json.load(open(request)):
    try:
        replies.append(handler(body))
    except Exception as error:
        replies.append({"error": str(error)})
print(json.dumps(replies))
"""
REFUSED = [
    ({"inputs": 5}, '"inputs" must be a text'),
    ({}, '"inputs" must be a text'),
    ({"inputs": TEXT, "parameters": {"tasks": ["x"]}}, "no task 'x'"),
    ({"inputs": "a" * 1_000_001}, '"inputs" holds 1,000,001 characters; send at most 100,000'),
    ({"inputs": TEXT, "parameters": ["ncbi"]}, '"parameters" must be an object'),
    ({"inputs": TEXT, "parameters": {"batch_size": 9}}, "none but tasks"),
    ({"inputs": TEXT, "parameters": {"threshold": "0.5"}}, "threshold is '0.5'"),
]


@pytest.mark.slow
def test_an_endpoint_answers_from_the_pushed_files(
    hub: HubDouble, author: Machine, reader: Machine, folder: Path, tmp_path: Path
) -> None:
    make_loud(folder)
    assert author.push(folder, "me/ner").returncode == 0
    repository, request = tmp_path / "repository", tmp_path / "request.json"
    repository.mkdir()
    for name, content in hub.files("me/ner").items():
        (repository / name).write_bytes(content)
    good = [{"inputs": TEXT}, {"inputs": [TEXT, ""], "parameters": {"tasks": ["ncbi"], "overlaps": "best"}}]
    request.write_text(json.dumps(good + [body for body, _ in REFUSED]))
    replies = reader.evaluate(ENDPOINT, repository, request)
    entities = list_local_entities(folder)
    assert replies[0] == entities != []
    assert replies[1] == [[entity for entity in entities if entity["task"] == "ncbi"], []]
    for reply, (_, message) in zip(replies[2:], REFUSED, strict=True):
        assert message in reply["error"]


@pytest.mark.slow
def test_a_space_shows_the_pushed_model(hub: HubDouble, author: Machine, trained: Path) -> None:
    done = author.push(trained, "me/ner", "--space")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].endswith("/spaces/me/ner")
    files = hub.files("spaces/me/ner")
    assert set(files) == {"README.md", "app.py", "requirements.txt"}
    data = RepoCard(files["README.md"].decode()).data
    assert data.models == ["me/ner"] and data.sdk == "gradio" and data.app_file == "app.py"
    both = author.push(trained, "me/ner", "--space", "--revision", "next")
    assert both.returncode == 2 and "leave out --revision" in both.stderr
    hub.refuse_spaces = True
    refused = author.push(trained, "me/other", "--space")
    assert refused.returncode == 2 and "the Hub refused the Space me/other (403)" in refused.stderr
    assert "/me/other/commit/" in refused.stdout and "model.safetensors" in hub.files("me/other")


# ------------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "deberta-v2"])
def test_exported_head_has_the_same_logits_in_a_stock_model(
    toy_encoder: Callable[[str], str], family: str, tmp_path: Path
) -> None:
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease", "Chemical"]}]
    model = build_model(toy_encoder(family), tasks).eval()
    export.build_stock_model(model, "b").save_pretrained(tmp_path)
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert type(stock).__module__.startswith("transformers.models")
    assert stock.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease", 3: "B-Chemical", 4: "I-Chemical"}
    ids = torch.randint(5, 20, (2, 7))
    torch.testing.assert_close(stock(ids).logits, model(ids).task_logits["b"], rtol=0, atol=1e-5)
    assert export.build_stock_model(model.to(torch.bfloat16), "b").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("family", "sharing", "task", "message"),
    [
        ("bert", "cross", "a", "cross sharing, which no stock model computes; train with --sharing hard"),
        ("bert", "hard", "c", "no task 'c' to export; the model's are a, b"),
        ("modernbert", "hard", "a", "ModernBertForTokenClassification"),
    ],
)
def test_a_model_that_no_stock_class_computes_is_refused(
    toy_encoder: Callable[[str], str], family: str, sharing: str, task: str, message: str
) -> None:
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease"]}]
    model = build_model(toy_encoder(family), tasks, sharing=sharing)
    with pytest.raises(ValueError, match=message):
        export.build_stock_model(model, task)


def test_export_command_writes_a_model_for_the_stock_pipeline(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output, official = tmp_path / "stock", {"data_dir": "official", "max_predict_samples": None}
    edit_json(folder / "run.json", lambda run: run["arguments"].update(official))  # else there is no model index
    command = [str(folder), "--task", "ncbi", "--output", str(output)]
    assert commands.main_export([*command, "--data_dir", "sample"]) == 0
    scores, card = json.loads((output / "all_results.json").read_text()), (output / "README.md").read_text()
    assert scores["test_ncbi_support"] == 148 and 0 <= scores["test_ncbi_f1"] <= 1
    assert f"{100 * scores['test_ncbi_f1']:.2f} on whole documents" in card
    index = {result.metric_type: result.metric_value for result in ModelCard(card).data.eval_results}
    assert index["f1"] == round(scores["test_ncbi_f1"], 4)  # the stock model's own, not the head's
    assert "custom_code" not in card and "trust_remote_code" not in card and "stock" in card
    assert not list(output.glob("*.py"))
    ner = pipeline("token-classification", model=str(output), aggregation_strategy="simple")
    assert isinstance(ner(TEXT), list)
    assert commands.main_export(command) == 2
    assert "is not empty; name another folder" in capsys.readouterr().err


def test_an_export_that_fails_leaves_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert commands.main_export([str(folder), "--task", "x", "--output", str(tmp_path / "stock")]) == 2
    assert "no task 'x'" in capsys.readouterr().err
    (folder / "run.json").unlink()
    assert commands.main_export([str(folder), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 2
    assert "run.json: no such file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_long_text_in_the_stock_pipeline_of_an_encoder_with_offset_positions(
    toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    output = tmp_path / "model"
    arguments = ["--tasks", "ncbi", "--model_name_or_path", toy_encoder("roberta"), "--output_dir", str(output)]
    assert run_mtl_ner.main([*arguments, *SMALL]) == 0
    assert commands.main_export([str(output), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 0
    ner = pipeline("token-classification", model=str(tmp_path / "stock"), aggregation_strategy="simple", stride=32)
    assert ner.tokenizer.model_max_length == 128  # 130 positions, of which the padding takes two
    assert isinstance(ner(TEXT * 30), list)


@pytest.mark.parametrize(("text", "number"), [(" Cancer is bad. It kills!\nIs it p53? ", 3), (" \n ", 0)])
def test_sentences_leave_out_nothing_but_blank_text(text: str, number: int) -> None:
    ranges = export.split_sentences(text, MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN))
    assert len(ranges) == number and "".join(text[start:end] for start, end in ranges).strip() == text.strip()
    assert not ranges or (ranges[0][0], ranges[-1][1]) == (0, len(text))


def test_scores_of_the_stock_pipeline_by_document_and_by_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_gout(text: str) -> list[dict[str, Any]]:
        return [{"start": m.start(), "end": m.end(), "entity_group": "Disease"} for m in re.finditer("gout", text)]

    monkeypatch.setattr(export, "pipeline", lambda *_, **__: find_gout)
    gold = [Entity(0, 2, "Person"), Entity(7, 11, "Disease"), Entity(21, 25, "Disease")]  # one that is not the head's
    document = Document("1", "He had gout. She had gout too.", gold)
    model: Any = SimpleNamespace(config=SimpleNamespace(id2label={0: "O", 1: "B-Disease", 2: "I-Disease"}))
    config = MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN)
    scores = export.score_stock_model(model, None, config, "ill", [document])
    assert (scores["test_ill_f1"], scores["sentences_ill_f1"], scores["test_ill_support"]) == (1.0, 1.0, 2)


@pytest.mark.parametrize(
    ("arguments", "corpora", "seed"),
    [
        ({"test_size": 0.3, "split_seed": 7}, ["ncbi"], 7),
        ({"test_size": 0.3}, ["ncbi", "bc2gm"], 42),  # no seed was recorded; bc2gm is from an earlier training
    ],
)
def test_a_stock_model_is_scored_on_the_test_split_that_its_head_was(
    folder: Path, arguments: dict[str, Any], corpora: list[str], seed: int
) -> None:
    edit_json(folder / "run.json", lambda run: run.update(arguments=arguments))
    edit_json(folder / "config.json", lambda config: config["tasks"][0].update(corpora=corpora))
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=seed).splits["test"]
    assert export.load_test_documents(folder, "ncbi", "sample") == expected
    edit_json(folder / "config.json", lambda config: config["tasks"][0].update(corpora=["mine.jsonl"]))
    with pytest.raises(ValueError, match="ncbi was trained on mine.jsonl, which is not one of the known corpora"):
        export.load_test_documents(folder, "ncbi", "sample")
