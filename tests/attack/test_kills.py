"""Kills at chosen and random points: no half file under its final name, and a run that goes on ends as a whole one."""

import json
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import Cases
from kills import count_points, run_child
from test_annotate import TEXTS, InlinePool, command, read_folder, wait_for  # noqa: F401
from toys import put

import run_annotate
import run_mtl_ner
from mtl_bioner.hub import export
from mtl_bioner.training.results import write_results


pytestmark = pytest.mark.slow


def draw_kill(rng: random.Random, points: int, largest: int) -> dict[str, int]:
    """A kill between two steps of the file system, or in the middle of a write."""
    return {"point": rng.randrange(points)} if rng.random() < 0.7 else {"size": rng.randrange(1, largest)}


def get_largest(folder: Path) -> int:
    return max(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("to", ["jsonl", "pubtator", "bioc", "brat", "csv", "parquet", "html"])
def test_parts_of_annotations(tmp_path, monkeypatch, cases: Cases, to):
    import pyarrow.parquet  # noqa: F401 - before the forks

    monkeypatch.setattr(run_annotate, "Pool", InlinePool)
    lines = [json.dumps({"text": f"Gout {n} and gout. " * (1 + n % 3)}) for n in range(7)]
    source = put(tmp_path / "in.jsonl", "\n".join([*lines[:3], '{"text": 5}', *lines[3:]]) + "\n")
    put(tmp_path / "model/model.safetensors", "x")
    put(tmp_path / "model/config.json", '{"model_type": "mtl_bioner", "tasks": [{"name": "a", "types": ["Disease"]}]}')
    arguments = [str(tmp_path / "model"), str(source), "--part_size", "3", "--to", to, "--output"]

    def run(name: str) -> Callable[[], bool]:
        return lambda: run_annotate.main([*arguments, str(tmp_path / name)]) != 1  # a document can't be read

    assert run_child(run("whole"), tmp_path) == 0
    expected, largest = read_folder(tmp_path / "whole"), get_largest(tmp_path / "whole")
    points = count_points(run("counted"), tmp_path / "counted")
    assert points > 20
    for rng in cases.seeds(4):
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
    for rng in cases.seeds(12):
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


def test_exports(trained, tmp_path, cases: Cases):
    def write(name: str = "stock") -> None:
        export.export_task(trained, "ncbi", tmp_path / "exports" / name)

    (tmp_path / "exports").mkdir()
    points = count_points(lambda: write("counted"), tmp_path / "exports")
    assert run_child(lambda: write("whole"), tmp_path) == 0
    expected, largest = read_folder(tmp_path / "exports/whole"), get_largest(tmp_path / "exports/whole")
    for rng in cases.seeds(2):
        kill = draw_kill(rng, points, largest)
        with cases.case(str(kill)):
            status = run_child(write, tmp_path / "exports", **kill)
            assert status in (-signal.SIGKILL, -signal.SIGXFSZ, 0)
            stock = tmp_path / "exports/stock"
            assert not stock.exists() or read_folder(stock) == expected
            shutil.rmtree(stock, ignore_errors=True)


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
