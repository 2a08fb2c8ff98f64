"""Train the cells of a comparison, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataset_scripts import hash_corpus
from mtl_bioner.comparison import report
from mtl_bioner.comparison.arguments import DEFAULT_ENCODER, HASHED, ComparisonParser, argument_name
from mtl_bioner.comparison.cells import SINGLE, TAUGHT, check_identity
from mtl_bioner.comparison.plan import (
    Cell,
    cell_path,
    check_teachers,
    corpora_of,
    file_name,
    finished,
    keep_plan,
    model_path,
    plan,
    read_finished,
    teachers_of,
)
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.run_record import (
    hash_model,
    remove_checkpoints,
    strip_paths,
)


logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).parents[2] / "run_comparison.py"  # in a clone, and in an installation


def settings_of(arguments: argparse.Namespace, rest: Sequence[str]) -> dict[str, Any]:
    """What all cells have in common: arguments, and hashes instead of the names of corpora's and encoder's folders."""
    corpora, (encoder, data_dir, revision) = corpora_of([arguments.tasks, *arguments.groups]), places_of(rest)
    check_names(corpora.split(","))
    return {
        "tune": [arguments.tune[0], *arguments.tune[1]] if arguments.tune else None,
        "arguments": by_name([strip_paths(part) for part in take_out(rest, *HASHED)[1]]),
        "leak_corpora": strip_paths(corpora),
        "corpora": {strip_paths(source): hash_corpus(source, data_dir) for source in corpora.split(",")},
        "encoder": hash_model(encoder, revision),
    }


def check_names(corpora: Sequence[str]) -> None:
    """Raises ValueError for two corpora of one name (the last part of a path), which cells would number anew."""
    names = [Path(source).resolve().name for source in corpora]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"--tasks names two corpora whose last part is {name}; rename the file or folder of one")


def by_name(arguments: Sequence[str]) -> list[str]:
    """Arguments in the order of their names, `--a=1` as `--a 1`: so written, two equal command lines are equal."""
    groups: list[list[str]] = []
    for part in arguments:
        if part.startswith("--") or not groups:
            name, equals, value = part.partition("=")
            groups.append([f"--{argument_name(name)}", *([value] if equals else [])])
        else:
            groups[-1].append(part)
    return list(chain.from_iterable(sorted(groups, key=lambda group: group[0])))


def places_of(rest: Sequence[str]) -> tuple[str, str | None, str]:
    """Encoder, `--data_dir` and revision of the encoder among the arguments for `run_mtl_ner.py`."""
    found, _ = take_out(rest, *HASHED)
    return found.model_name_or_path or DEFAULT_ENCODER, found.data_dir, found.model_revision or "main"


def take_out(rest: Sequence[str], *names: str) -> tuple[argparse.Namespace, list[str]]:
    """The values of some arguments, None where one isn't given, and the arguments without them."""
    parser = ComparisonParser(add_help=False, allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", f"--{name.replace('_', '-')}")
    return parser.parse_known_args(rest)


def check_settings(arguments: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Before anything is trained: whether the cells that are there can stand beside those to come.

    Raises:
        ValueError: a cell of a wanted fraction was computed with other arguments, corpora, encoder or epochs.
    """
    wanted = dict(arguments.fractions)
    for content in finished(arguments.output_dir):
        fraction, path = content["cell"]["fraction"], arguments.output_dir / "cells"
        if fraction not in wanted:
            continue
        found = {**content["settings"], "epochs": content["cell"]["epochs"]}
        found["arguments"] = by_name(found["arguments"])  # older cells kept them as they were given
        for name, value in {**settings, "epochs": wanted[fraction]}.items():
            if name == "leak_corpora":  # whose order is that of --groups
                found[name], value = (sorted(corpora.split(",")) for corpora in (found[name], value))
            if found.get(name) != value:
                raise ValueError(
                    f"{path}: cells of {fraction:g} of the documents were computed with the {name} {found.get(name)}, "
                    f"not {value}; choose another --output_dir"
                )


def compute(cell: Cell, arguments: argparse.Namespace, rest: Sequence[str], settings: dict[str, Any]) -> bool:
    """Train a cell in a process of its own; whether it is there now.

    Raises:
        ValueError: `run_mtl_ner.py` can't use the input.
    """
    path = cell_path(cell, arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"cell": {**asdict(cell), "tasks": strip_paths(cell.tasks), "system": strip_paths(cell.system)}}
    about["settings"] = settings
    for teacher in teachers_of(cell, arguments):
        if not model_path(teacher, arguments).is_dir():
            logger.error("%s has to wait for its teacher %s", cell.name, teacher.name)
            return False
    if arguments.tune:
        tuned = tuned_before(cell, arguments)
        if tuned is None and cell.seed != arguments.seeds[0]:
            logger.error("%s has to wait for what is found with seed %d", cell.name, arguments.seeds[0])
            return False
        tuned = tuned or tune(cell, arguments, rest, settings)
        if tuned is None:
            return False
        about["tuned"] = tuned
        rest = [*rest, f"--{tuned['argument']}={tuned['value']}"]
    found = train(cell, arguments, [*rest, "--do_train", "--do_eval", "--do_predict"], path)
    if found is not None:
        if arguments.tune:
            found["identity"].pop(arguments.tune[0])
        write_json(path, about | found, indent=None)
    return found is not None


def tuned_before(cell: Cell, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """What `tune` gave for the same training with another seed, if that is finished."""
    for content in finished(arguments.output_dir):
        other = Cell(**content["cell"] | {"seed": cell.seed, "sharing": cell.sharing})
        if other == replace(cell, tasks=strip_paths(cell.tasks), system=strip_paths(cell.system)):
            return content["tuned"]
    return None


def tune(
    cell: Cell, arguments: argparse.Namespace, rest: Sequence[str], settings: dict[str, Any]
) -> dict[str, Any] | None:
    """Best development macro F1 of a cell with each value of `--tune`, and which value that chooses; None if a
    training failed. Trials score no test split, and are kept in `trials/`.

    Raises:
        ValueError: a trial has no development scores, or other arguments, corpora or versions than the others.
    """
    name, values = arguments.tune
    found: dict[str, float] = {}
    identities: list[dict[str, Any]] = []
    for value in values:
        path = arguments.output_dir / "trials" / f"{cell.name}_{file_name(value)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"settings": settings, "epochs": cell.epochs, "value": value}
        if not path.is_file():
            logger.info("trial of %s with --%s %s", cell.name, name, value)
            trial = train(cell, arguments, [*rest, f"--{name}={value}", "--do_train", "--do_eval"], path)
            if trial is None:
                return None
            if not trial["development"]:
                raise ValueError(f"{cell.name} was trained without an evaluation; lower --eval_steps, or leave it out")
            write_json(path, about | trial, indent=None)
        trial = read_finished(path)
        if any(trial[key] != wanted for key, wanted in about.items()):
            raise ValueError(f"{path} was computed with other settings; choose another --output_dir")
        identities.append({key: own for key, own in trial.get("identity", {}).items() if key != name})
        check_identity(identities[0], identities[-1])
        found[value] = max(f1 for _, f1 in trial["development"])
    return {"argument": name, "value": max(values, key=lambda value: found[value]), "development": found}


def train(cell: Cell, arguments: argparse.Namespace, rest: Sequence[str], path: Path) -> dict[str, Any] | None:
    """What the process of a cell found; None if it failed, which its log, beside `path`, tells.

    Raises:
        ValueError: `run_mtl_ner.py` can't use the input.
    """
    part, log = path.with_suffix(".part"), path.with_suffix(".log")
    part.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="training-") as folder:
        model = Path(folder) / "model"
        own = [*rest, "--output_dir", str(model), "--overwrite_output"]
        if teachers := [str(model_path(teacher, arguments)) for teacher in teachers_of(cell, arguments)]:
            own += ["--teachers", *teachers]
        status = run_cell(cell, arguments, own, part, log)
        if status == 0 and arguments.keep_models and "--do_predict" in rest:
            keep_model(model, model_path(cell, arguments))
    if status or not part.is_file():
        logger.error("%s failed, see %s", cell.name, log)
        return None
    # A child that outlives this process leaves nothing that could be taken for a cell: its name is given here.
    found = json.loads(part.read_text(encoding="utf-8"))
    part.unlink()
    log.unlink()
    return found


def run_cell(cell: Cell, arguments: argparse.Namespace, rest: Sequence[str], part: Path, log: Path) -> int:
    """Exit status of the process of a cell.

    Raises:
        ValueError: `run_mtl_ner.py` can't use the input.
    """
    sharing = "hard" if cell.sharing == TAUGHT else cell.sharing
    command = [sys.executable, str(SCRIPT), "--cell", str(part), "--tasks", cell.tasks, "--sharing", sharing]
    command += ["--seed", str(cell.seed), "--train_fraction", str(cell.fraction)]
    weights, others = take_out(rest, "task_loss_weights")  # which may name tasks that the cell doesn't have
    command += rest if cell.tasks == arguments.tasks or "=" not in (weights.task_loss_weights or "") else others
    command += [] if "--teachers" in rest else ["--teachers", "none"]
    command += [] if cell.epochs is None else ["--num_train_epochs", str(cell.epochs)]
    command += ["--leak_corpora", corpora_of([arguments.tasks, *arguments.groups])]
    with log.open("w", encoding="utf-8") as stream:
        status = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode
    if status == 2:
        message = log.read_text(encoding="utf-8").strip().splitlines()[-1]
        raise ValueError(message.removeprefix("run_comparison: error: "))
    return status


def check_cells(cells: Iterable[Cell], arguments: argparse.Namespace, rest: Sequence[str]) -> None:
    """Before anything is trained: whether `run_mtl_ner.py` takes the tasks together and those of each group, and what
    is there was computed likewise (machines differ in their data type, versions in their arguments).

    Raises:
        ValueError: it doesn't, or wasn't; says why.
    """
    wanted = {fraction for fraction, _ in arguments.fractions}
    before = [content for content in finished(arguments.output_dir) if content["cell"]["fraction"] in wanted]
    varies = ("num_train_epochs", *([arguments.tune[0]] if arguments.tune else ()))  # between fractions, or cells
    with tempfile.TemporaryDirectory() as folder:
        part, log = Path(folder) / "part", Path(folder) / "log"
        groups = list({cell.tasks: cell for cell in cells if cell.system != SINGLE}.values())
        for number, cell in enumerate(groups, 1):
            logger.info("check of group %d of %d: %s", number, len(groups), cell.tasks)
            for value in arguments.tune[1] if arguments.tune else (None,):
                tuned = [] if value is None else [f"--{arguments.tune[0]}={value}"]
                part.unlink(missing_ok=True)
                own = [*rest, *tuned, "--output_dir", f"{folder}/model", "--dry_run"]
                if run_cell(cell, arguments, own, part, log):
                    raise ValueError(f"--tasks {cell.tasks} failed: {log.read_text(encoding='utf-8').strip()[-500:]}")
                found = json.loads(part.read_text(encoding="utf-8"))
                if arguments.tune and not found["evaluates"]:
                    raise ValueError("--tune goes by development scores; leave out --eval_strategy no, --train_on_dev")
                identity = {name: value for name, value in found["identity"].items() if name not in varies}
                for content in before:
                    check_identity(content["identity"], identity)


def keep_model(model: Path, place: Path) -> None:
    """Move a trained model without its checkpoints."""
    remove_checkpoints(model)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(exist_ok=True)
    os.replace(model, place)


def compute_all(arguments: argparse.Namespace, rest: Sequence[str]) -> list[bool]:
    """Whether each planned cell is there now; the report is written anew after each training but the last.

    Raises:
        ValueError: another process is at work in the same folder, or as `keep_plan`, `check_settings` and `compute`.
        CorpusError: a corpus is not there.
    """
    settings = settings_of(arguments, rest)  # before there is any trace of the comparison
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(arguments.output_dir / "lock", timeout=0):
            for folder in ("cells", "trials"):
                for stale in (arguments.output_dir / folder).glob("training-*"):  # of a process that was killed
                    shutil.rmtree(stale)
            check_settings(arguments, settings)
            cells, done = plan(arguments), []
            if any(not cell_path(cell, arguments).is_file() for cell in cells):
                check_teachers(cells, arguments)
                check_cells(cells, arguments, rest)
            primary = keep_plan(arguments)
            for number, cell in enumerate(cells, 1):
                logger.info("cell %d of %d: %s", number, len(cells), cell.name)
                there = cell_path(cell, arguments).is_file()
                done.append(there or compute(cell, arguments, rest, settings))
                if not there and number < len(cells):  # the last report is the caller's
                    report.write(list(finished(arguments.output_dir)), primary, arguments.output_dir)
            return done
    except Timeout as error:
        raise ValueError(f"another run_comparison.py is at work in {arguments.output_dir}; wait for it") from error
