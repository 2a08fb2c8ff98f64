"""Pushing to a stand-in for the Hub, and loading from it in a process of its own; stock models of one task."""

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
from toys import FEW, assert_same_entities, edit_json, read_json
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

import run_mtl_ner
from dataset_scripts import load_corpus
from dataset_scripts.bio import SENTENCE_PATTERN
from dataset_scripts.schema import Document, Entity
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, MtlBionerPipeline
from mtl_bioner.hub import commands, export
from mtl_bioner.hub.model_card import compute_spread
from mtl_bioner.hub.push import PushError, collect_push_files, explain_hub_errors, push_folder
from mtl_bioner.training.model_building import build_model, with_tasks


ROOT = Path(__file__).parents[1]
TEXT = "Cisplatin caused acute renal failure in two patients with Huntington disease."
FILES = {
    "README.md", "all_results.json", "config.json", "handler.py", "learning_curves.png", "ledger.json",
    "model.safetensors", "modeling_mtl_bioner.py", "reliability.png", "requirements.txt", "run.json", "tokenizer.json",
    "tokenizer_config.json", "training_texts.json",
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch) -> Iterator[HubDouble]:
    """The double, which this process knows as the Hub, with a token that may write."""
    double = HubDouble()
    double.stand_in(monkeypatch)
    yield double
    double.close()


@pytest.fixture
def read(hub, tmp_path) -> Callable[..., Any]:
    """Runs code in a process that knows the double only, with a cache of its own; returns what it prints as JSON."""
    hidden = ("HF_", "PYTHONPATH", "TRANSFORMERS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}

    def run(code: str, *arguments: Any, token: str | None = None) -> Any:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
            env=environment | ({"HF_TOKEN": token} if token else {}), timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A copy of the trained model's folder, to change."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def find_more(folder: Path) -> list[dict[str, Any]]:
    """Give the model's heads large weights, so that it finds something; return what it finds."""
    model = MtlBionerModel.from_pretrained(folder)
    torch.manual_seed(3)
    for head in model.heads.values():
        torch.nn.init.normal_(head.weight)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config)
    return json.loads(json.dumps(MtlBionerPipeline(model=model.eval(), tokenizer=tokenizer)(TEXT)))


def push(*arguments: Any) -> int:
    return commands.main_push([str(argument) for argument in arguments])


def test_a_push_is_one_commit_of_a_complete_repository(hub, folder, trained, tmp_path_factory, capsys):
    assert {"training_args.bin", "begun_with.json", "predictions_ncbi.jsonl"} <= set(os.listdir(folder))
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "notes.txt", "other.py"):
        (folder / name).write_text("{}")
    assert push(folder, "me/ner", "--private") == 0
    assert hub.private["me/ner"] and len(hub.commits("me/ner")) == 2  # the empty one of its creation, and one more
    shown = capsys.readouterr()
    assert shown.out == f"{hub.url}/me/ner/commit/{hub.commit('me/ner', 'main')[0]}\n"
    assert 'load it with pipeline("token-classification", model="me/ner", trust_remote_code=True)\n' in shown.err
    files = hub.files("me/ner")
    assert set(files) == FILES and any("info/lfs" in line for line in hub.log)
    assert b'model="me/ner"' in files["README.md"]
    machine = (str(trained.parent), str(tmp_path_factory.getbasetemp()), str(ROOT))  # the encoder's folder is below
    for content in files.values():
        assert not any(secret.encode() in content for secret in (TOKEN, *machine))


def test_a_push_to_a_branch_deletes_old_weights_there_and_nothing_else(hub, folder, capsys):
    kept, stale = ["notes.md", "old/model.safetensors"], ["model-00001-of-00002.safetensors", "vocab.txt"]
    hub.repositories["me/ner"] = {"main": [("0" * 40, dict.fromkeys([*kept, *stale, "config.json"], b""))]}
    hub.private["me/ner"] = False
    assert push_folder(folder, "me/ner", revision="next", message="Epoch 1").startswith(f"{hub.url}/me/ner/commit/")
    assert set(hub.files("me/ner", "next")) == FILES | set(kept) and "commit Epoch 1" in hub.log
    assert len(hub.commits("me/ner", "next")) == 2 and len(hub.commits("me/ner")) == 1
    assert push(folder, "me/ner", "--revision", "next") == 0
    assert 'model="me/ner", trust_remote_code=True, revision="next")' in capsys.readouterr().err


def test_a_private_push_is_refused_where_a_public_repository_is(hub, folder):
    assert push(folder, "me/ner") == 0
    with pytest.raises(PushError, match="me/ner is there and public; make it private on the Hub first"):
        push_folder(folder, "me/ner", private=True)
    assert len(hub.commits("me/ner")) == 2
    push_folder(folder, "me/ner")
    assert len(hub.commits("me/ner")) == 3 and not hub.private["me/ner"]


def test_an_edited_card_is_pushed_as_it_is_but_for_the_name(hub, folder, caplog):
    append(folder / "README.md", "Ask Ann.\n")
    assert push(folder, "mine", "--private") == 0  # a name without its owner
    assert "README.md was changed by hand and is pushed as it is; delete it for a new one" in caplog.text
    files = hub.files("me/mine")
    assert "model.safetensors" in files and hub.private["me/mine"]
    assert b'model="me/mine"' in files["README.md"] and files["README.md"].endswith(b"Ask Ann.\n")


def test_the_push_command_writes_a_card_with_the_spread_over_seeds(hub, folder, trained, tmp_path):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    edit_json(other / "all_results.json", lambda results: results.update(test_ncbi_f1=results["test_ncbi_f1"] + 0.02))
    assert push(folder, "ner", "--seeds", other) == 0
    card = hub.files("me/ner")["README.md"].decode()
    assert 'model="me/ner"' in card and "| 1.41 |" in card
    spread = compute_spread([trained, other])
    assert spread["test_ncbi_f1"] == pytest.approx(0.02 / 2**0.5) and spread["test_bc5cdr_f1"] == 0
    assert compute_spread([trained]) == {}
    assert compute_spread([trained, other, trained]) == spread  # named twice, by a pattern
    edit_json(other / "run.json", lambda run: run["arguments"].update(tasks="ncbi"))
    with pytest.raises(ValueError, match="other was trained with --tasks ncbi, not ncbi,bc5cdr; leave it out"):
        compute_spread([trained, other])


@pytest.mark.parametrize(("token", "told"), [
    (None, "(401): log in with `hf auth login`, or set HF_TOKEN to a valid token"),
    ("hf_wrong", "(401): log in with `hf auth login`"),
    (READ_ONLY, "(403): the token may not write there"),
])  # fmt: skip
def test_a_refused_push_is_one_line_and_leaves_nothing(hub, folder, monkeypatch, capsys, token, told):
    monkeypatch.setenv("HF_TOKEN", token or "")
    assert push(folder, "me/ner") == 2 and not hub.repositories
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"mtl-bioner-push: error: the Hub refused me/ner {told}")


@pytest.mark.parametrize(("status", "remedy"), [
    (400, "the Hub found the request wrong"), (404, "check the name of the repository"), (409, "another push was at"),
    (413, "a file is too large for the Hub"), (418, "see what it says"), (422, "the Hub found a value wrong"),
    (429, "too many requests"), (500, "try again later"),
])  # fmt: skip
@pytest.mark.parametrize("is_large", [False, True])
def test_other_refusals_have_a_remedy_too(status, remedy, is_large):
    response = SimpleNamespace(status_code=status, headers={}, request=None)

    def refuse() -> None:
        raise HfHubHTTPError("no", response=response, server_message="License is\nmissing")

    def refuse_file() -> None:
        try:
            refuse()
        except HfHubHTTPError as error:
            raise RuntimeError("Error while uploading 'model.safetensors' to the Hub.") from error

    message = rf"the Hub refused me/ner \({status}\): {remedy}.* \(it says: License is\); nothing was pushed there$"
    with pytest.raises(PushError, match=message):
        explain_hub_errors(refuse_file if is_large else refuse, "me/ner")


def test_a_connection_cut_half_way_leaves_nothing_half_pushed(hub, folder, monkeypatch, capsys):
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the client's attempts
    hub.cut_uploads = True
    assert push(folder, "me/ner") == 2 and hub.files("me/ner") == {}
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("mtl-bioner-push: error: the push to me/ner failed") and "whole or not at all" in last
    hub.cut_uploads = False
    assert push(folder, "me/ner") == 0 and "model.safetensors" in hub.files("me/ner")


def test_a_folder_is_pushed_without_its_ledger_but_not_without_its_record_of_one(hub, folder, capsys):
    (folder / "ledger.json").unlink()
    assert push(folder, "me/ner") == 0 and set(hub.files("me/ner")) == FILES - {"ledger.json"}
    edit_json(folder / "run.json", lambda run: run.pop("ledger"))
    assert push(folder, "me/ner") == 2
    assert f"{folder / 'run.json'} lacks 'ledger'; train again" in capsys.readouterr().err.splitlines()[-1]


def test_an_incomplete_folder_is_not_pushed(folder, tmp_path):
    (folder / "modeling_mtl_bioner.py").unlink()
    with pytest.raises(PushError, match=r"has no modeling_mtl_bioner\.py; name the --output_dir of a training, or o"):
        collect_push_files(folder)
    with pytest.raises(PushError, match="nowhere: no such folder; name the --output_dir of a training"):
        collect_push_files(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["ledger.json", "README.md"])
@pytest.mark.parametrize(("secret", "token", "kind"), [
    (TOKEN, None, "the token of the Hub"),
    ("hf_given", "hf_given", "the token of the Hub"),
    (str(Path.home() / "corpus"), None, "a path of this machine"),
])  # fmt: skip
def test_no_file_with_a_secret_is_pushed(hub, folder, name, secret, token, kind):
    assert set(collect_push_files(folder, token)) == FILES
    append(folder / name, f"{secret}\n")
    with pytest.raises(PushError, match=f"{name} holds {kind}; take it out before it is pushed"):
        collect_push_files(folder, token)


def test_a_space_shows_the_pushed_model(hub, folder, capsys):
    assert push(folder, "me/ner", "--space", "--private") == 0
    shown = capsys.readouterr()
    assert shown.out.split()[-1] == f"{hub.url}/spaces/me/ner" and "give it a secret HF_TOKEN" in shown.err
    files = hub.files("spaces/me/ner")
    assert set(files) == {"README.md", "app.py", "requirements.txt", "entity_page.py", "entity_page.html"}
    data = RepoCard(files["README.md"].decode()).data
    assert data.models == ["me/ner"] and data.sdk == "gradio" and data.app_file == "app.py"
    hub.refuse_spaces = True
    assert push(folder, "me/other", "--space") == 2 and "model.safetensors" in hub.files("me/other")
    shown = capsys.readouterr()
    assert "/me/other/commit/" in shown.out and "the Hub refused the Space me/other (403)" in shown.err
    hub.log.clear()
    assert push(folder, "me/ner", "--space", "--revision", "next") == 2 and hub.log == []
    assert "leave out --revision, or --space" in capsys.readouterr().err


# Tasks, entities and the code's mark, of each revision.
LOAD = """
import json, sys
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, AutoTokenizer, pipeline
name, text, *revisions = sys.argv[1:]
found = []
for revision in revisions:
    options = {"trust_remote_code": True, "revision": revision}
    names = [task["name"] for task in AutoConfig.from_pretrained(name, **options).tasks]
    for auto in (AutoModel, AutoModelForTokenClassification):
        model = auto.from_pretrained(name, **options)
        assert type(model).__name__ == "MtlBionerModel"
    assert AutoTokenizer.from_pretrained(name, **options).is_fast
    mark = getattr(sys.modules[type(model).__module__], "MARK", None)
    found.append([names, pipeline("token-classification", model=name, **options)(text), mark])
assert "modeling_mtl_bioner" not in sys.modules  # the project's own is not what was loaded
print(json.dumps(found))
"""


@pytest.mark.slow
def test_pushed_models_load_with_the_same_entities_and_their_own_code(hub, read, folder):
    entities = find_more(folder)
    assert push(folder, "me/ner", "--private") == 0
    model = MtlBionerModel.from_pretrained(folder)
    with_tasks(model, [{"name": "new", "types": ["Gene"]}], drop=["ncbi"]).save_pretrained(folder)
    for mark in ("1", "2"):  # as versions of this file differ
        append(folder / "modeling_mtl_bioner.py", f"\nMARK = {mark}\n")
        assert push(folder, "me/ner", "--revision", mark) == 0
    main, first, second, again = read(LOAD, "me/ner", TEXT, "main", "1", "2", "1", token=READ_ONLY)
    assert main == [["ncbi", "bc5cdr"], entities, None] and entities
    assert first[0] == second[0] == ["bc5cdr", "new"]
    assert (first[2], second[2], again[2]) == (1, 2, 1)


@pytest.mark.slow
def test_a_checkpoint_and_an_exported_model_can_be_pushed(hub, read, trained, tmp_path, capsys):
    (checkpoint,) = trained.glob("checkpoint-*")
    assert push(checkpoint, "me/early") == 0
    assert read(LOAD, "me/early", TEXT, "main")[0][0] == ["ncbi", "bc5cdr"]
    stock = tmp_path / "stock"
    assert commands.main_export([str(trained), "--task", "ncbi", "--output", str(stock)]) == 0
    assert push(stock, "me/stock") == 0
    assert 'model="me/stock", aggregation_strategy="average", stride=32)' in capsys.readouterr().err
    files = hub.files("me/stock")
    assert not any(name.endswith(".py") for name in files) and b'model="me/stock"' in files["README.md"]
    assert push(stock, "me/stock", "--space") == 2
    assert "--space and --seeds are for models of several heads" in capsys.readouterr().err


@pytest.mark.slow
def test_every_push_of_a_training_can_be_loaded(hub, read, argv, monkeypatch, capsys):
    arguments = argv("--num_train_epochs", "2", "--push_to_hub")
    assert run_mtl_ner.main([*arguments, "--hub_model_id", "me/ner"]) == 0
    commits = hub.commits("me/ner")[1:]
    assert len(commits) == 3  # two epochs, and the end
    assert not any({"training_args.bin", "optimizer.pt"} & set(files) for _, files in commits)
    loaded = read(LOAD, "me/ner", TEXT, *(commit for commit, _ in commits))
    assert [names for names, *_ in loaded] == [["ncbi"]] * 3
    card = commits[-1][1]["README.md"]
    assert b"| ncbi |" in card and b'model="me/ner"' in card
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert run_mtl_ner.main([*arguments, "--overwrite_output"]) == 2
    assert "401" in capsys.readouterr().err.strip().splitlines()[-1]


# As the endpoint's server does: the class by its name, from the file in the repository's folder.
ENDPOINT = """
import json, runpy, sys
folder, *bodies = sys.argv[1:]
handler, replies = runpy.run_path(folder + "/handler.py")["EndpointHandler"](folder), []
for body in bodies:
    try:
        replies.append(handler(json.loads(body)))
    except Exception as error:
        replies.append(str(error))
print(json.dumps(replies))
"""


@pytest.mark.slow
def test_an_endpoint_answers_from_the_pushed_files(hub, read, folder, tmp_path):
    entities = find_more(folder)
    assert push(folder, "me/ner") == 0
    for name, content in hub.files("me/ner").items():
        (tmp_path / name).write_bytes(content)
    refused = {
        '{"inputs": 5}': '"inputs" must be a text',
        "{}": '"inputs" must be a text',
        "[1]": "the body of a request must be an object",
        json.dumps({"inputs": [""] * 1001}): '"inputs" holds 1,001 texts; send at most 1,000',
        '{"inputs": "a", "parameters": {"tasks": ["x"]}}': "no task 'x'",
        json.dumps({"inputs": "a" * 100_001}): '"inputs" holds 100,001 characters; send at most 100,000',
        '{"inputs": "a", "parameters": ["ncbi"]}': '"parameters" must be an object',
        '{"inputs": "a", "parameters": {"batch_size": 9}}': "none but tasks",
        '{"inputs": "a", "parameters": {"threshold": "0.5"}}': "threshold is '0.5'",
    }
    best = {"inputs": [TEXT, ""], "parameters": {"tasks": ["ncbi"], "overlaps": "best"}}
    one, several, *errors = read(ENDPOINT, tmp_path, json.dumps({"inputs": TEXT}), json.dumps(best), *refused)
    assert entities
    assert_same_entities(one, entities)
    assert_same_entities(several, [[entity for entity in entities if entity["task"] == "ncbi"], []])
    assert all(told in error for told, error in zip(refused.values(), errors, strict=True))


def test_parsers_are_built_without_the_heavy_libraries():
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


def test_an_error_of_several_lines_becomes_one(monkeypatch, capsys):
    def fail(*_: Any) -> None:
        raise ValueError("one\n  two")

    monkeypatch.setattr(export, "export_task", fail)
    parser = argparse.ArgumentParser(prog="mtl-bioner export")  # as a sub-command
    commands.add_export_arguments(parser)
    assert commands.run_export(parser.parse_args(["model", "--task", "ncbi", "--output", "stock"])) == 2
    assert capsys.readouterr().err == "mtl-bioner export: error: one two\n"


def test_the_export_command_names_both_scores_of_the_stock_pipeline_and_the_next_step(monkeypatch, capsys):
    monkeypatch.setattr(export, "export_task", lambda *_: {"test_ncbi_f1": 0.75, "sentences_ncbi_f1": 0.8})
    assert commands.main_export(["model", "--task", "ncbi", "--output", "stock", "--data_dir", "sample"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "wrote stock; F1 through the stock pipeline: 75.00, 80.00 sentence by sentence\n"
    call = 'pipeline("token-classification", model="stock", aggregation_strategy="average", stride=32)'
    assert shown.err == f"use it with {call}\n"


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "deberta-v2"])
def test_exported_head_has_the_same_logits_in_a_stock_model(toy_encoder, family, tmp_path):
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease", "Chemical"]}]
    model = build_model(toy_encoder(family), tasks).eval()
    export.build_stock_model(model, "b").save_pretrained(tmp_path)
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    assert type(stock).__module__.startswith("transformers.models")
    assert stock.config.id2label == {0: "O", 1: "B-Disease", 2: "I-Disease", 3: "B-Chemical", 4: "I-Chemical"}
    ids = torch.randint(5, 20, (2, 7))
    torch.testing.assert_close(stock(ids).logits, model(ids).task_logits["b"], rtol=0, atol=1e-5)
    assert export.build_stock_model(model.to(torch.bfloat16), "b").dtype == torch.bfloat16


@pytest.mark.parametrize(("family", "sharing", "task", "message"), [
    ("bert", "cross", "a", "cross sharing, which no stock model computes; train with --sharing hard"),
    ("bert", "hard", "c", "no task 'c' to export; the model's are a, b"),
    ("modernbert", "hard", "a", "ModernBertForTokenClassification"),
])  # fmt: skip
def test_a_model_that_no_stock_class_computes_is_refused(toy_encoder, family, sharing, task, message):
    tasks = [{"name": "a", "types": ["Gene"]}, {"name": "b", "types": ["Disease"]}]
    model = build_model(toy_encoder(family), tasks, sharing=sharing)
    with pytest.raises(ValueError, match=message):
        export.build_stock_model(model, task)


def test_export_command_writes_a_model_for_the_stock_pipeline(folder, tmp_path, capsys):
    output, official = tmp_path / "stock", {"data_dir": "official", "max_predict_samples": None}
    edit_json(folder / "run.json", lambda run: run["arguments"].update(official))  # else there is no model index
    command = [str(folder), "--task", "ncbi", "--output", str(output)]
    assert commands.main_export([*command, "--data_dir", "sample"]) == 0
    scores, card = read_json(output / "all_results.json"), (output / "README.md").read_text()
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


def test_an_export_that_fails_leaves_nothing(folder, tmp_path, capsys):
    assert commands.main_export([str(folder), "--task", "x", "--output", str(tmp_path / "stock")]) == 2
    assert "no task 'x'" in capsys.readouterr().err
    (folder / "run.json").unlink()
    assert commands.main_export([str(folder), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 2
    assert "run.json: no such file" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_long_text_in_the_stock_pipeline_of_an_encoder_with_offset_positions(toy_encoder, argv, tmp_path):
    data = ["--data_dir", "sample", "--use_cpu", "--teachers", "none", *FEW]
    assert run_mtl_ner.main(argv(model=toy_encoder("roberta"), data=data)) == 0
    assert commands.main_export([str(tmp_path / "out"), "--task", "ncbi", "--output", str(tmp_path / "stock")]) == 0
    ner = pipeline("token-classification", model=str(tmp_path / "stock"), aggregation_strategy="simple", stride=32)
    assert ner.tokenizer.model_max_length == 128  # 130 positions, of which the padding takes two
    assert isinstance(ner(TEXT * 30), list)


@pytest.mark.parametrize(("text", "number"), [(" Cancer is bad. It kills!\nIs it p53? ", 3), (" \n ", 0)])
def test_sentences_leave_out_nothing_but_blank_text(text, number):
    ranges = export.split_sentences(text, MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN))
    assert len(ranges) == number and "".join(text[start:end] for start, end in ranges).strip() == text.strip()
    assert not ranges or (ranges[0][0], ranges[-1][1]) == (0, len(text))


def test_scores_of_the_stock_pipeline_by_document_and_by_sentence(monkeypatch):
    def find_gout(text: str) -> list[dict[str, Any]]:
        return [{"start": m.start(), "end": m.end(), "entity_group": "Disease"} for m in re.finditer("gout", text)]

    monkeypatch.setattr(export, "pipeline", lambda *_, **__: find_gout)
    gold = [Entity(0, 2, "Person"), Entity(7, 11, "Disease"), Entity(21, 25, "Disease")]  # one that is not the head's
    document = Document("1", "He had gout. She had gout too.", gold)
    model: Any = SimpleNamespace(config=SimpleNamespace(id2label={0: "O", 1: "B-Disease", 2: "I-Disease"}))
    config = MtlBionerConfig(sentence_pattern=SENTENCE_PATTERN)
    scores = export.score_stock_model(model, None, config, "ill", [document])
    assert (scores["test_ill_f1"], scores["sentences_ill_f1"], scores["test_ill_support"]) == (1.0, 1.0, 2)


@pytest.mark.parametrize(("arguments", "corpora", "seed"), [
    ({"test_size": 0.3, "split_seed": 7}, ["ncbi"], 7),
    ({"test_size": 0.3}, ["ncbi", "bc2gm"], 42),  # no seed was recorded; bc2gm is from an earlier training
])  # fmt: skip
def test_a_stock_model_is_scored_on_the_test_split_that_its_head_was(folder, arguments, corpora, seed):
    edit_json(folder / "run.json", lambda run: run.update(arguments=arguments))
    edit_json(folder / "config.json", lambda config: config["tasks"][0].update(corpora=corpora))
    expected = load_corpus("ncbi", "sample", test_size=0.3, seed=seed).splits["test"]
    assert export.load_test_documents(folder, "ncbi", "sample") == expected
    edit_json(folder / "config.json", lambda config: config["tasks"][0].update(corpora=["mine.jsonl"]))
    with pytest.raises(ValueError, match="ncbi was trained on mine.jsonl, which is not one of the known corpora"):
        export.load_test_documents(folder, "ncbi", "sample")
