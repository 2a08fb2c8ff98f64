"""Kills at chosen and random points: no half file under its final name, and a run that goes on ends as a whole one."""

import itertools
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import Cases
from test_annotate import TEXTS, InlinePool, command, model, read_folder, wait_for  # noqa: F401
from toys import put

import run_annotate
import run_mtl_ner
from mtl_bioner.training.results import write_results


pytestmark = pytest.mark.slow

# What changes a folder; `open` for reading comes too, which does no harm.
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}


def run_child(action: Callable[[], Any], folder: Path, point: int | None = None, size: int | None = None) -> int:
    """Run an action in a fork of this process; return its exit status, below 0 if it was killed.

    It is killed before the file system does what it is asked for the `point`-th time in the folder, from 0; or in the
    middle of a write, as soon as a file reaches `size` bytes.
    """
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        if size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if point is not None:
            left = itertools.count(point, -1)
            watch(folder, lambda: os.kill(os.getpid(), signal.SIGKILL) if next(left) == 0 else None)
        status = int(action() or 0)
    finally:
        os._exit(status)
    return status


def watch(folder: Path, notice: Callable[[], Any]) -> None:
    """Call a function whenever this process is about to change a folder, or to open a file in it."""
    prefix = f"{folder}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        if event in EVENTS and any(os.path.abspath(path).startswith(prefix) for path in paths):
            notice()

    sys.addaudithook(hook)


def count_points(action: Callable[[], Any], folder: Path) -> int:
    """Return how often an action, run in a fork, makes the file system do something in a folder."""
    seen: list[None] = []
    reading, writing = os.pipe()

    def count() -> None:
        watch(folder, lambda: seen.append(None))
        assert not action()
        os.write(writing, str(len(seen)).encode())

    assert run_child(count, folder) == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        return int(stream.read())


def draw_kill(rng: random.Random, points: int, largest: int) -> dict[str, int]:
    """A kill between two steps of the file system, or in the middle of a write."""
    return {"point": rng.randrange(points)} if rng.random() < 0.7 else {"size": rng.randrange(1, largest)}


def get_largest(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("to", ["jsonl", "pubtator", "bioc", "brat", "csv", "parquet", "html"])
@pytest.mark.usefixtures("model")
def test_parts_of_annotations(tmp_path, monkeypatch, cases: Cases, to):
    import pyarrow.parquet  # noqa: F401 - before the forks

    monkeypatch.setattr(run_annotate, "Pool", InlinePool)
    lines = [json.dumps({"text": f"Gout {n} and gout. " * (1 + n % 3)}) for n in range(7)]
    source = put(tmp_path / "in.jsonl", "\n".join([*lines[:3], '{"text": 5}', *lines[3:]]) + "\n")
    arguments = [str(tmp_path / "model"), str(source), "--part_size", "3", "--to", to, "--output"]

    def run(name: str) -> Callable[[], bool]:
        return lambda: run_annotate.main([*arguments, str(tmp_path / name)]) != 1  # a document can't be read

    assert run_child(run("whole"), tmp_path) == 0
    expected, largest = read_folder(tmp_path / "whole"), get_largest(tmp_path / "whole")
    points = count_points(run("counted"), tmp_path / "counted")
    assert points > 20
    for rng in cases.seeds(2, most=200):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        kills = [draw_kill(rng, points, largest) for _ in range(rng.choice([1, 1, 2, 4]))]
        with cases.case(str(kills)):
            for kill in kills:
                assert run_child(run("out"), tmp_path / "out", **kill) in (-signal.SIGKILL, -signal.SIGXFSZ, 0)
                if (tmp_path / "out").exists():
                    left = read_folder(tmp_path / "out")
                    assert all(content == expected[name] for name, content in left.items() if name.startswith("part-"))
            assert run_child(run("out"), tmp_path) == 0
            assert forget_owner(read_folder(tmp_path / "out")) == forget_owner(expected)


def forget_owner(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out the lock of the folder."""
    return {name: content for name, content in files.items() if not name.startswith(".lock")}


def test_results_and_card(argv, tmp_path, cases: Cases):
    run = run_mtl_ner.prepare(argv("--num_train_epochs", "1", tasks="ncbi,bc5cdr"))
    trainer = run_mtl_ner.make_trainer(run)
    old_scores = run_mtl_ner.execute(run, trainer)
    new_scores = {name: score / 2 + 0.1 if name.endswith("_f1") else score for name, score in old_scores.items()}

    def write() -> None:
        for entity in (entity for entities in trainer.entities for entity in entities):
            entity["score"] = round(entity["score"] / 2, 4)
        trainer.state.log_history.append({**trainer.state.log_history[-1], "step": 99})
        write_results(run, trainer, new_scores)

    old = read_folder(run.output)
    shutil.copytree(run.output, tmp_path / "old")
    points, largest = count_points(write, run.output), get_largest(run.output) // 2
    new = read_folder(run.output)
    changed = {name for name in new if new[name] != old.get(name)}
    assert {"all_results.json", "run.json", "README.md", "predictions_ncbi.jsonl"} <= changed and points > 20
    for rng in cases.seeds(3, most=100):
        shutil.rmtree(run.output)
        shutil.copytree(tmp_path / "old", run.output)
        kill = draw_kill(rng, points, min(largest, 60_000))
        with cases.case(str(kill)):
            status = run_child(write, run.output, **kill)
            assert status in (-signal.SIGKILL, -signal.SIGXFSZ, 0)
            left = {name: content for name, content in read_folder(run.output).items() if not is_temporary(name)}
            assert left.keys() == old.keys()
            assert [name for name in left if left[name] not in (old[name], new[name])] == []


def is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def test_the_command_at_random_moments(command: Callable[..., Any], tmp_path, cases: Cases):  # noqa: F811
    """Kills of the real command, whose workers annotate with a real model."""
    options = {"part_size": 5, "copies": 60}
    parts = len(TEXTS) * options["copies"] // options["part_size"]
    assert command("--workers", 2, output="whole", **options).wait(timeout=500) == 0
    done = 0
    for rng in cases.seeds(2, most=20):
        with cases.case(limit=600):
            process = command("--workers", 2, **options)
            if more := rng.randrange(5):
                # A part that is there, since the run that goes on may be faster than this loop.
                wait_for(tmp_path / f"out/part-{min(done + more, parts - 1):05d}.jsonl")
            time.sleep(rng.uniform(0, 0.1 if more else 4))
            process.kill()
            assert process.wait() in (-signal.SIGKILL, 0)  # a fast machine may be done before the kill
            done = len(list((tmp_path / "out").glob("part-*")))
    assert command("--workers", 2, **options).wait(timeout=500) == 0
    assert read_folder(tmp_path / "out") == read_folder(tmp_path / "whole")
