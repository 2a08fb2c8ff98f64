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
from toys import assert_same_entities
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import run_mtl_ner
from dataset_scripts import load_corpus
from dataset_scripts.bio import SENTENCE_PATTERN
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, MtlBionerPipeline
from mtl_bioner.hub import export
from mtl_bioner.hub import push as push_module
from mtl_bioner.hub.export import build_stock_model
from mtl_bioner.hub.model_card import spread_over, write_card
from mtl_bioner.hub.push import PushError, collect_push_files
from mtl_bioner.training.model_building import build_model, with_tasks


ROOT = Path(__file__).parents[1]
SMALL = ["--data_dir", "sample", "--use_cpu", "--max_train_samples", "6", "--max_eval_samples", "3"]
SMALL += ["--max_predict_samples", "4", "--num_train_epochs", "1", "--teachers", "none"]
TEXT = "Cisplatin caused acute renal failure in two patients with Huntington disease."


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


def client(hub: HubDouble, home: Path, command: list[str], token: str | None = TOKEN) -> subprocess.CompletedProcess:
    """A process that knows the double as the Hub, in an unrelated folder, with a cache of its own."""
    hidden = ("HF_", "PYTHONPATH", "TRANSFORMERS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
    }
    environment |= {"HF_TOKEN": token} if token else {}
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=240, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def push(hub: HubDouble, home: Path, *arguments: str, token: str | None = TOKEN) -> subprocess.CompletedProcess:
    return client(hub, home, [sys.executable, "-m", "mtl_bioner.hub.push", *arguments], token)


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


def load(
    hub: HubDouble, home: Path, *arguments: str, token: str | None = None
) -> tuple[list[str], list[dict[str, Any]]]:
    """Tasks and entities, as a process sees them that knows the Hub only."""
    done = client(hub, home, [sys.executable, "-I", "-c", LOAD, *arguments], token=token)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def local_entities(folder: Path, text: str = TEXT) -> list[dict[str, Any]]:
    model = MtlBionerModel.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config)
    return MtlBionerPipeline(model=model, tokenizer=tokenizer)(text)


def loud(folder: Path) -> Path:
    """Gives the model's heads large weights, so that it finds something."""
    model = MtlBionerModel.from_pretrained(folder)
    torch.manual_seed(3)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight)
    model.save_pretrained(folder)
    return folder


# --------------------------------------------------------------------------------------------------------------- push


@pytest.mark.slow
def test_pushed_model_loads_from_the_hub_with_the_same_entities(
    hub: HubDouble, trained: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = loud(Path(shutil.copytree(trained, tmp_path / "model")))
    (folder / "training_args.bin").write_bytes(b"secret")
    done = push(hub, tmp_path / "a", str(folder), "me/ner", "--private")
    assert done.returncode == 0, done.stderr
    assert hub.private["me/ner"] and len(hub.commits("me/ner")) == 2  # the empty one of its creation, and one more
    files = hub.files("me/ner")
    assert set(files) == {
        "README.md", "all_results.json", "config.json", "handler.py", "learning_curves.png", "ledger.json",
        "model.safetensors", "modeling_mtl_bioner.py", "reliability.png", "requirements.txt", "run.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    machine = (str(trained.parent), str(tmp_path_factory.getbasetemp()), str(ROOT))  # the encoder's folder is below
    for content in files.values():
        assert not any(secret.encode() in content for secret in (TOKEN, *machine))
    assert b"me/ner" in files["README.md"]
    assert any("info/lfs" in line for line in hub.log)
    names, entities = load(hub, tmp_path / "b", "me/ner", TEXT, token=READ_ONLY)
    assert names == ["ncbi", "bc5cdr"]
    assert entities
    assert_same_entities(entities, local_entities(folder))


@pytest.mark.slow
def test_a_branch_and_a_repository_that_exists(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    folder = loud(Path(shutil.copytree(trained, tmp_path / "model")))
    assert push(hub, tmp_path / "a", str(folder), "me/ner").returncode == 0
    first = local_entities(folder)
    model = MtlBionerModel.from_pretrained(folder)
    with_tasks(model, [{"name": "new", "types": ["Gene"]}], drop=["ncbi"]).save_pretrained(folder)
    assert push(hub, tmp_path / "a", str(folder), "me/ner", "--revision", "next").returncode == 0
    assert len(hub.commits("me/ner")) == 2
    assert load(hub, tmp_path / "b", "me/ner", TEXT) == [["ncbi", "bc5cdr"], json.loads(json.dumps(first))]
    assert load(hub, tmp_path / "b", "me/ner", TEXT, "next")[0] == ["bc5cdr", "new"]


LOAD_TWO = """
import json, sys
from transformers import AutoModel
name, *revisions = sys.argv[1:]
models = [AutoModel.from_pretrained(name, revision=revision, trust_remote_code=True) for revision in revisions]
print(json.dumps([sys.modules[type(model).__module__].MARK for model in models]))
"""


@pytest.mark.slow
def test_two_revisions_with_different_code_do_not_mix(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    code = (folder / "modeling_mtl_bioner.py").read_text()
    for mark, revision in ((1, "old"), (2, "new")):
        (folder / "modeling_mtl_bioner.py").write_text(f"{code}\nMARK = {mark}\n")
        assert push(hub, tmp_path / "a", str(folder), "me/ner", "--revision", revision).returncode == 0
    command = [sys.executable, "-I", "-c", LOAD_TWO, "me/ner", "old", "new", "old"]
    done = client(hub, tmp_path / "b", command, token=None)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [1, 2, 1]


@pytest.mark.slow
def test_a_push_deletes_old_weights_and_does_not_publish_what_shall_be_private(
    hub: HubDouble, trained: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert push(hub, tmp_path / "a", str(folder), "me/ner").returncode == 0
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert push(hub, tmp_path / "a", str(folder), "me/ner").returncode == 0
    assert [name for name in hub.files("me/ner") if name.endswith(".safetensors")] == ["model.safetensors"]
    refused = push(hub, tmp_path / "a", str(folder), "me/ner", "--private")
    assert refused.returncode == 2 and "me/ner is there and public" in refused.stderr
    assert len(hub.commits("me/ner")) == 3
    with (folder / "README.md").open("a") as card:
        card.write("Ask Ann.\n")
    edited = push(hub, tmp_path / "a", str(folder), "mine", "--private")  # an own name, without owner
    assert edited.returncode == 0 and "README.md was changed by hand and is pushed as it is" in edited.stderr
    files = hub.files("me/mine")
    assert "model.safetensors" in files and hub.private["me/mine"]
    assert b'model="me/mine"' in files["README.md"] and b"Ask Ann." in files["README.md"]


@pytest.mark.slow
def test_a_checkpoint_and_an_exported_model_can_be_pushed(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    (checkpoint,) = trained.glob("checkpoint-*")
    assert push(hub, tmp_path / "a", str(checkpoint), "me/early").returncode == 0
    assert load(hub, tmp_path / "b", "me/early", TEXT)[0] == ["ncbi", "bc5cdr"]
    assert export.main([str(trained), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 0
    assert push(hub, tmp_path / "a", str(tmp_path / "stock"), "me/stock").returncode == 0
    files = hub.files("me/stock")
    assert not any(name.endswith(".py") for name in files) and b'model="me/stock"' in files["README.md"]
    refused = push(hub, tmp_path / "a", str(tmp_path / "stock"), "me/stock", "--space")
    assert refused.returncode == 2 and "--space and --seeds are for models of several heads" in refused.stderr


def test_the_card_tells_the_spread_over_seeds(trained: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    results = json.loads((other / "all_results.json").read_text())
    results["test_ncbi_f1"] += 0.02
    (other / "all_results.json").write_text(json.dumps(results))
    spread = spread_over([trained, other])
    assert spread["test_ncbi_f1"] == pytest.approx(0.02 / 2**0.5) and spread["test_bc5cdr_f1"] == 0
    write_card(other, "me/ner", spread)
    assert "| 1.41 |" in (other / "README.md").read_text() and spread_over([trained]) == {}
    assert spread_over([trained, other, trained]) == spread  # named twice, by a pattern
    run = json.loads((other / "run.json").read_text())
    run["arguments"]["tasks"] = "ncbi"
    (other / "run.json").write_text(json.dumps(run))
    with pytest.raises(ValueError, match="other was trained with --tasks ncbi, not ncbi,bc5cdr; leave it out"):
        spread_over([trained, other])


@pytest.mark.slow
def test_a_refused_push_is_one_line_and_leaves_nothing(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    for token, parts in (
        (None, ["401", "hf auth login"]),
        ("hf_wrong", ["401"]),
        (READ_ONLY, ["403", "may not write"]),
    ):
        done = push(hub, tmp_path / "a", str(trained), "me/ner", token=token)
        assert done.returncode == 2
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("mtl-bioner-push: error: the Hub refused me/ner ") and all(
            part in last for part in parts
        )
        assert "Traceback" not in done.stderr
    assert not hub.repositories


@pytest.mark.slow
def test_a_connection_cut_half_way_leaves_nothing_half_pushed(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    hub.cut_uploads = True
    done = push(hub, tmp_path / "a", str(trained), "me/ner")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "mtl-bioner-push: error: the push to me/ner failed" in done.stderr and "whole or not at all" in done.stderr
    assert hub.files("me/ner") == {}
    hub.cut_uploads = False
    assert push(hub, tmp_path / "a", str(trained), "me/ner").returncode == 0
    assert "model.safetensors" in hub.files("me/ner")


@pytest.mark.slow
def test_every_push_of_a_training_can_be_loaded(
    hub: HubDouble, toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [sys.executable, str(ROOT / "run_mtl_ner.py"), "--tasks", "ncbi", "--model_name_or_path"]
    command += [toy_encoder("bert"), *SMALL, "--num_train_epochs", "2", "--output_dir", str(output)]
    done = client(hub, tmp_path / "a", [*command, "--push_to_hub", "--hub_model_id", "me/ner"])
    assert done.returncode == 0, done.stderr[-3000:]
    commits = hub.commits("me/ner")[1:]
    assert len(commits) == 3  # two epochs, and the end
    for commit, files in commits:
        assert not {"training_args.bin", "optimizer.pt"} & set(files)
        assert load(hub, tmp_path / "b", "me/ner", TEXT, commit)[0] == ["ncbi"]
    assert b"| ncbi |" in commits[-1][1]["README.md"]
    refused = client(hub, tmp_path / "a", [*command, "--overwrite_output", "--push_to_hub"], token="hf_wrong")
    assert refused.returncode == 2 and "401" in refused.stderr.strip().splitlines()[-1]


def test_what_is_not_complete_or_holds_a_secret_is_not_pushed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    names = set(collect_push_files(folder))
    assert {"model.safetensors", "modeling_mtl_bioner.py", "run.json"} <= names
    assert not any(name.startswith("predictions") for name in names)
    (folder / "other.py").write_text("")
    assert set(collect_push_files(folder)) == names
    assert collect_push_files(folder, token="hf_other")
    monkeypatch.setattr(push_module, "get_token", lambda: "hf_secret")
    (folder / "ledger.json").write_text('{"a": "hf_secret"}')
    with pytest.raises(PushError, match="ledger.json holds the token of the Hub"):
        collect_push_files(folder)
    (folder / "ledger.json").write_text(json.dumps({"a": str(Path.home() / "corpus")}))
    with pytest.raises(PushError, match="ledger.json holds a path of this machine"):
        collect_push_files(folder)
    (folder / "modeling_mtl_bioner.py").unlink()
    with pytest.raises(PushError, match=r"has no modeling_mtl_bioner\.py"):
        collect_push_files(folder)
    with pytest.raises(PushError, match="no such folder"):
        collect_push_files(tmp_path / "nowhere")


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


@pytest.mark.slow
def test_an_endpoint_answers_with_what_was_pushed(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    folder = loud(Path(shutil.copytree(trained, tmp_path / "model")))
    assert push(hub, tmp_path / "a", str(folder), "me/ner").returncode == 0
    endpoint = tmp_path / "repository"
    endpoint.mkdir()
    for name, content in hub.files("me/ner").items():
        (endpoint / name).write_bytes(content)
    bodies = [
        {"inputs": TEXT},
        {"inputs": [TEXT, ""], "parameters": {"tasks": ["ncbi"], "overlaps": "best"}},
        {"inputs": 5},
        {},
        {"inputs": TEXT, "parameters": {"tasks": ["x"]}},
        {"inputs": "a" * 1_000_001},
        {"inputs": TEXT, "parameters": ["ncbi"]},
        {"inputs": TEXT, "parameters": {"batch_size": 9}},
        {"inputs": TEXT, "parameters": {"threshold": "0.5"}},
    ]
    request = tmp_path / "request.json"
    request.write_text(json.dumps(bodies))
    done = client(hub, tmp_path / "b", [sys.executable, "-I", "-c", ENDPOINT, str(endpoint), str(request)])
    assert done.returncode == 0, done.stderr[-3000:]
    replies = json.loads(done.stdout.strip().splitlines()[-1])
    entities = local_entities(folder)
    assert entities
    assert_same_entities(replies[0], entities)
    assert_same_entities(replies[1], [[entity for entity in entities if entity["task"] == "ncbi"], []])
    for reply, part in zip(
        replies[2:],
        ["inputs", "inputs", "no task 'x'", "1,000,001", "parameters", "none but tasks", "threshold is '0.5'"],
        strict=True,
    ):
        assert part in reply["error"]


@pytest.mark.slow
def test_a_space_shows_the_pushed_model(hub: HubDouble, trained: Path, tmp_path: Path) -> None:
    done = push(hub, tmp_path / "a", str(trained), "me/ner", "--space")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].endswith("/spaces/me/ner")
    files = hub.files("spaces/me/ner")
    assert set(files) == {"README.md", "app.py", "requirements.txt"}
    data = RepoCard(files["README.md"].decode()).data
    assert data.models == ["me/ner"] and data.sdk == "gradio" and data.app_file == "app.py"
    both = push(hub, tmp_path / "a", str(trained), "me/ner", "--space", "--revision", "next")
    assert both.returncode == 2 and "leave out --revision" in both.stderr
    hub.refuse_spaces = True
    refused = push(hub, tmp_path / "a", str(trained), "me/other", "--space")
    assert refused.returncode == 2 and "the Hub refused the Space me/other (403)" in refused.stderr
    assert "/me/other/commit/" in refused.stdout and "model.safetensors" in hub.files("me/other")


# ------------------------------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "deberta-v2"])
def test_exported_head_has_the_same_logits_in_a_stock_model(
    toy_encoder: Callable[[str], str], family: str, tmp_path: Path
) -> None:
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease", "Chemical"]}]
    model = build_model(toy_encoder(family), tasks).eval()
    build_stock_model(model, "b").save_pretrained(tmp_path)
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert type(stock).__module__.startswith("transformers.models")
    assert stock.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease", 3: "B-Chemical", 4: "I-Chemical"}
    ids = torch.randint(5, 20, (2, 7))
    torch.testing.assert_close(stock(ids).logits, model(ids).task_logits["b"], rtol=1e-5, atol=1e-5)
    assert build_stock_model(model.to(torch.bfloat16), "b").dtype == torch.bfloat16


def test_what_no_stock_model_computes_is_refused(toy_encoder: Callable[[str], str]) -> None:
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease"]}]
    with pytest.raises(ValueError, match="cross sharing, which no stock model computes"):
        build_stock_model(build_model(toy_encoder("bert"), tasks, sharing="cross"), "a")
    with pytest.raises(ValueError, match="no task 'c' to export; the model's are a, b"):
        build_stock_model(build_model(toy_encoder("bert"), tasks), "c")
    with pytest.raises(ValueError, match="ModernBertForTokenClassification"):
        build_stock_model(build_model(toy_encoder("modernbert"), tasks), "a")


def test_export_command_writes_a_model_for_the_stock_pipeline(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "stock"
    trained = Path(shutil.copytree(trained, tmp_path / "trained"))
    record = json.loads((trained / "run.json").read_text())
    record["arguments"] |= {"data_dir": "official", "max_predict_samples": None}  # else there is no model index
    (trained / "run.json").write_text(json.dumps(record))
    command = [str(trained), "--task", "ncbi", "--output", str(output), "--data_dir", "sample"]
    assert export.main(command) == 0
    score = json.loads((output / "all_results.json").read_text())
    assert score["test_ncbi_support"] == 148 and 0 <= score["test_ncbi_f1"] <= 1
    assert f"{100 * score['test_ncbi_f1']:.2f} on whole documents" in (output / "README.md").read_text()
    found = {
        result.metric_type: result.metric_value for result in ModelCard.load(output / "README.md").data.eval_results
    }
    assert found["f1"] == round(score["test_ncbi_f1"], 4)  # the stock model's own, not the head's
    assert not list(output.glob("*.py"))
    ner = pipeline("token-classification", model=str(output), aggregation_strategy="simple")
    assert isinstance(ner(TEXT), list)
    card = (output / "README.md").read_text()
    assert "custom_code" not in card and "trust_remote_code" not in card and "stock" in card
    assert export.main([str(trained), "--task", "ncbi", "--output", str(output)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert export.main([str(trained), "--task", "x", "--output", str(tmp_path / "x")]) == 2
    assert "no task 'x'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_an_export_that_fails_leaves_nothing(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    (folder / "run.json").unlink()
    assert export.main([str(folder), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 2
    assert "run.json: no such file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_long_text_in_the_stock_pipeline_of_an_encoder_with_offset_positions(
    toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    output = tmp_path / "model"
    arguments = ["--tasks", "ncbi", "--model_name_or_path", toy_encoder("roberta"), "--output_dir", str(output)]
    assert run_mtl_ner.main([*arguments, *SMALL]) == 0
    assert export.main([str(output), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 0
    ner = pipeline("token-classification", model=str(tmp_path / "stock"), aggregation_strategy="simple", stride=32)
    assert ner.tokenizer.model_max_length == 128  # 130 positions, of which the padding takes two
    assert isinstance(ner(TEXT * 30), list)


def test_sentences_leave_out_nothing() -> None:
    config = MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN)
    text = " Cancer is bad. It kills!\nIs it p53? "
    parts = [text[start:end] for start, end in export.sentences(text, config)]
    assert "".join(parts) == text and len(parts) == 3


def test_a_push_holds_what_a_model_needs_and_nothing_else(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    assert (folder / "training_args.bin").is_file() and (folder / "begun_with.json").is_file()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "notes.txt"):
        (folder / name).write_text("{}")
    assert set(collect_push_files(folder)) == {
        "README.md", "all_results.json", "config.json", "handler.py", "learning_curves.png", "ledger.json",
        "model.safetensors", "modeling_mtl_bioner.py", "reliability.png", "requirements.txt", "run.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip


def test_the_token_that_is_given_for_a_push_is_looked_for_too(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    (folder / "ledger.json").write_text('{"a": "hf_given"}')
    monkeypatch.setattr(push_module, "get_token", lambda: "hf_of_the_login")
    with pytest.raises(PushError, match="ledger.json holds the token of the Hub"):
        collect_push_files(folder, token="hf_given")


def test_scores_of_the_stock_pipeline_by_document_and_by_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def finds_gout(text: str) -> list[dict[str, Any]]:
        return [{"start": m.start(), "end": m.end(), "entity_group": "Disease"} for m in re.finditer("gout", text)]

    monkeypatch.setattr("transformers.pipeline", lambda *_, **__: finds_gout)
    gold = [Entity(0, 2, "Person"), Entity(7, 11, "Disease"), Entity(21, 25, "Disease")]  # one that is not the head's
    document = Document("1", "He had gout. She had gout too.", gold)
    model = SimpleNamespace(config=SimpleNamespace(id2label={0: "O", 1: "B-Disease", 2: "I-Disease"}))
    config = MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN)
    scores = export.stock_scores(model, None, config, "ill", [document])
    assert (scores["test_ill_f1"], scores["sentences_ill_f1"], scores["test_ill_support"]) == (1.0, 1.0, 2)


def test_a_stock_model_is_scored_on_the_test_split_of_its_training(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    record = json.loads((folder / "run.json").read_text())
    record["arguments"] |= {"test_size": 0.3, "split_seed": 7}
    (folder / "run.json").write_text(json.dumps(record))
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=7).splits["test"]
    assert export.test_documents(folder, "ncbi", "sample") == expected


def test_no_card_with_a_secret_is_pushed(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    monkeypatch.setattr(push_module, "get_token", lambda: "hf_secret")
    with (folder / "README.md").open("a") as card:
        card.write("Log in with hf_secret.\n")
    with pytest.raises(PushError, match="README.md holds the token of the Hub"):
        collect_push_files(folder)


class Api:
    """What a push asks of the Hub: a repository that is there and public, with files of earlier pushes."""

    endpoint = "https://hub"

    def __init__(self, token: str | None = None) -> None:
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
        kinds = {"CommitOperationAdd": "add", "CommitOperationDelete": "delete"}
        self.calls.append(("commit", options["commit_message"], options.get("revision")))
        self.calls.extend((kinds[type(own).__name__], own.path_in_repo) for own in operations)
        return SimpleNamespace(commit_url=f"{self.endpoint}/{name}/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    api = Api()
    monkeypatch.setattr(push_module, "HfApi", lambda token=None: api)
    return api


def test_a_push_is_one_commit_to_its_branch_that_deletes_old_weights_only(trained: Path, api: Api) -> None:
    assert push_module.push_folder(trained, "me/ner", revision="next", message="Epoch 1") == (
        "https://hub/me/ner/commit/1"
    )
    assert api.calls[:3] == [("branch", "next"), ("list", "next"), ("commit", "Epoch 1", "next")]
    assert {name for kind, name in api.calls[3:] if kind == "add"} == set(collect_push_files(trained))
    deleted = [name for kind, name in api.calls[3:] if kind == "delete"]
    assert deleted == ["model-00001-of-00002.safetensors", "vocab.txt"]


def test_only_what_shall_be_private_is_refused_where_a_public_repository_is(trained: Path, api: Api) -> None:
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


def test_the_push_command_writes_the_card_first(
    trained: Path, tmp_path: Path, api: Api, capsys: pytest.CaptureFixture
) -> None:
    folder, other = (Path(shutil.copytree(trained, tmp_path / name)) for name in ("model", "other"))
    results = json.loads((other / "all_results.json").read_text())
    results["test_ncbi_f1"] += 0.02
    (other / "all_results.json").write_text(json.dumps(results))
    assert push_module.main_push([str(folder), "ner", "--seeds", str(other)]) == 0
    assert capsys.readouterr().out == "https://hub/me/ner/commit/1\n"
    card = (folder / "README.md").read_text()
    assert 'model="me/ner"' in card and "| 1.41 |" in card
    with (folder / "README.md").open("a") as edited:
        edited.write("Ask Ann.\n")
    assert push_module.main_push([str(folder), "you/ner"]) == 0
    card = (folder / "README.md").read_text()
    assert 'model="you/ner"' in card and card.endswith("Ask Ann.\n")
    api.calls.clear()
    assert push_module.main_push([str(folder), "me/ner", "--space", "--revision", "next"]) == 2
    assert "leave out --revision, or --space" in capsys.readouterr().err and api.calls == []


def test_an_error_of_several_lines_becomes_one(capsys: pytest.CaptureFixture) -> None:
    def fail(_: Any) -> str:
        raise ValueError("one\n  two")

    assert push_module.run_command(argparse.ArgumentParser(prog="mtl-bioner-x"), fail, []) == 2
    assert capsys.readouterr().err == "mtl-bioner-x: error: one two\n"


def test_the_export_command_tells_both_scores_of_the_stock_pipeline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    scores = {"test_ncbi_f1": 0.75, "sentences_ncbi_f1": 0.8}
    monkeypatch.setattr(export, "export_task", lambda *_: scores)
    assert export.main(["model", "--task", "ncbi", "--output", "stock", "--data_dir", "sample"]) == 0
    told = "wrote stock; F1 through the stock pipeline: 75.00, 80.00 sentence by sentence\n"
    assert capsys.readouterr().out == told


def test_a_blank_text_has_no_sentence() -> None:
    config = MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN)
    assert export.sentences(" \n ", config) == []


def test_a_stock_model_is_scored_on_the_corpora_that_its_head_was(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "model"))
    config, record = (json.loads((folder / name).read_text()) for name in ("config.json", "run.json"))
    config["tasks"][0]["corpora"] = ["ncbi", "bc2gm"]  # the second in an earlier training
    (folder / "config.json").write_text(json.dumps(config))
    record["arguments"] = {"test_size": 0.3}  # nor is there a seed
    (folder / "run.json").write_text(json.dumps(record))
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=42).splits["test"]
    assert export.test_documents(folder, "ncbi", "sample") == expected
    config["tasks"][0]["corpora"] = ["mine.jsonl"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="ncbi was trained on mine.jsonl, which is not one of the known corpora"):
        export.test_documents(folder, "ncbi", "sample")
