"""Faults of the Hub at any request of a push or a load: one line, and what arrived or answers is whole."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cases import Cases, check_message
from hub_double import HubDouble
from huggingface_hub import constants
from test_hub import TEXT, find_more, push

import mtl_bioner
from dataset_scripts.messages import escape_controls
from mtl_bioner.hub.push import collect_push_files, push_folder
from mtl_bioner.messages import summarize_error


pytestmark = pytest.mark.slow

FAULTS = [400, 401, 403, 404, 409, 413, 416, 418, 422, 429, 500, 502, 503, 504, "close", "cut", "garbage"]


@pytest.fixture
def hub(monkeypatch) -> Iterator[HubDouble]:
    """The double, which this process knows as the Hub, and a client that doesn't wait before it tries again."""
    double = HubDouble()
    double.stand_in(monkeypatch)
    template = double.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    yield double
    double.close()


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A copy of the trained model, which finds something."""
    shutil.copytree(trained, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoint-*"))
    assert find_more(tmp_path / "model")
    return tmp_path / "model"


def count_requests(hub: HubDouble, action: Callable[[], object]) -> int:
    before = len(hub.log)
    action()
    return sum(not line.startswith("commit ") for line in hub.log[before:])


def draw_fault(rng: random.Random, hub: HubDouble, requests: int) -> str:
    """Let one request go wrong, some, or all from one on; return what was drawn."""
    first, last = rng.randrange(requests), rng.choice([0, 0, 1, 10**9])
    fault, seen = rng.choice(FAULTS), iter(range(10**9))
    hub.fault = lambda method, path: fault if first <= next(seen) <= first + last else None
    return f"{fault} at request {first}, and {last} more"


def test_pushes(hub, folder, capsys, cases: Cases):
    requests = count_requests(hub, lambda: push(folder, "me/whole", "--space", "--private"))
    files = {name: path.read_bytes() for name, path in collect_push_files(folder).items()}
    expected = files.keys() | {"README.md"}
    for rng in cases.seeds(8, most=800):
        hub.repositories.clear()
        private = ["--private"] * rng.randrange(2)
        options = rng.choice([[], ["--space"], ["--revision", "next"]])
        told = draw_fault(rng, hub, requests)
        with cases.case(f"{told} {options}"):
            capsys.readouterr()
            status = push(folder, "me/whole", *options, *private)
            hub.fault = lambda method, path: None
            err = capsys.readouterr().err
            lines = err.rstrip("\n").split("\n")
            for line in lines[:1] if status else []:
                check_message(lines[-1], "mtl-bioner-push: error: ")
                assert "Traceback" not in err and line
            for _, arrived in (commit for commits in branches(hub, "me/whole") for commit in commits):
                assert not arrived or {name: arrived[name] for name in files if name != "README.md"} == {
                    name: content for name, content in files.items() if name != "README.md"
                }
            assert status in (0, 2)
            assert status or hub.files("me/whole", "next" if "next" in options else "main").keys() == expected
            assert push_folder(folder, "me/whole")  # the next one succeeds


def branches(hub: HubDouble, name: str) -> list[list[tuple[str, dict[str, bytes]]]]:
    return list(hub.repositories.get(name, {}).values())


def test_loads(hub, folder, monkeypatch, tmp_path, cases: Cases):
    assert push(folder, "me/ner") == 0

    def load() -> list[dict[str, object]]:
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        return mtl_bioner.load("me/ner")(TEXT)

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    expected = load()
    assert expected
    requests = count_requests(hub, load)
    for rng in cases.seeds(10, most=1000):
        told = draw_fault(rng, hub, requests)
        with cases.case(told):
            try:
                assert load() == expected, "the model answers differently"
            except (ValueError, OSError) as error:
                check_message(escape_controls(summarize_error(error)))
            hub.fault = lambda method, path: None
            try:
                assert mtl_bioner.load("me/ner")(TEXT) == expected, "what is left in the cache answers differently"
            except (ValueError, OSError) as error:  # an answer that is no JSON is kept there, too
                check_message(escape_controls(summarize_error(error)))
                assert "delete them from the cache" in str(error)
