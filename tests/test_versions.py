"""Training and loading with the oldest and newest packages of setup.cfg; what is packed for others."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest


ROOT = Path(__file__).parents[1]
TEXT = "Cisplatin caused acute renal failure in two patients with Huntington disease."
LOAD = """
import json, sys, transformers
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
folder, text = sys.argv[1:]
model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
logits = model(**tokenizer(text, return_tensors="pt")).task_logits["ncbi"].flatten().tolist()
entities = pipeline("token-classification", model=folder, trust_remote_code=True)(text)
print(json.dumps([transformers.__version__, logits, entities]))
"""


def list_packages(bound: str) -> list[str]:
    """List the packages that setup.cfg gives a lower bound, by the oldest or newest version it allows.

    But torch: it has one build for this machine here. `make versions` takes the oldest of it too.
    """
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    ranges = [line for line in config["options"]["install_requires"].split() if ">=" in line]
    ranges = [line for line in ranges if not line.startswith("torch")]
    return [line.partition(",")[0].replace(">=", "==") for line in ranges] if bound == "oldest" else ranges


@pytest.fixture(scope="module", params=["oldest", "newest"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with other versions of the packages, to be put before the installed ones."""
    folder, packages = tmp_path_factory.mktemp("packages"), list_packages(request.param)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    return folder


def run(arguments: list[Any], first: Path | None, home: Path) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HOME": str(home / "cache")} | ({"PYTHONPATH": str(first)} if first else {})
    done = subprocess.run(
        [sys.executable, *arguments], cwd=home, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def load(folder: Path, first: Path | None, home: Path) -> tuple[str, list[float], list[dict[str, Any]]]:
    return json.loads(run(["-c", LOAD, folder, TEXT], first, home).stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_a_model_is_trained_and_loaded_with_either_version(
    other: Path, toy_encoder: Callable[[str], str], tmp_path: Path
) -> None:
    arguments = ["--tasks", "ncbi,bc5cdr", "--data_dir", "sample", "--use_cpu", "--max_train_samples", "20"]
    arguments += ["--num_train_epochs", "1", "--model_name_or_path", toy_encoder("bert"), "--learning_rate", "1e-2"]
    arguments += ["--teachers", "none"]
    (info,) = other.glob("transformers-*.dist-info")
    for trained_with, name in ((other, "there"), (None, "here")):
        run([ROOT / "run_mtl_ner.py", *arguments, "--output_dir", tmp_path / name], trained_with, tmp_path)
        there, here = load(tmp_path / name, other, tmp_path), load(tmp_path / name, None, tmp_path)
        assert info.name == f"transformers-{there[0]}.dist-info" and here[0] == version("transformers")
        assert there[1] == pytest.approx(here[1], abs=1e-5) and len(here[1]) > 50
        places = [[(e["start"], e["end"], e["entity_group"], e["task"]) for e in found[2]] for found in (there, here)]
        assert places[0] == places[1]


@pytest.mark.slow
def test_the_sdist_holds_what_its_tests_need(tmp_path: Path) -> None:
    """It holds all that git does, but for hidden files."""
    pytest.importorskip("setuptools")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("no git repository")
    names = [name for name in tracked.stdout.splitlines() if not name.startswith(".")]
    for name in names:  # a copy, since building writes beside the sources
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    build = "from setuptools import build_meta; build_meta.build_sdist('..')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "source", capture_output=True, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        assert set(names) <= {name.partition("/")[2] for name in archive.getnames()}
