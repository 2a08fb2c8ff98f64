"""The cells of a comparison, and where they are kept."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset_scripts.tasks import parse_tasks, split_tasks
from mtl_bioner.comparison.arguments import QUICK_NOTE
from mtl_bioner.comparison.cells import SINGLE, TAUGHT, Primary
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.run_record import (
    strip_paths,
)


LONGEST_NAME = 150  # bytes, of the 255 that file systems allow; the rest is for fraction, seed, value and endings


@dataclass(frozen=True)
class Cell:
    """One training.

    Attributes:
        system: `single`, a structure, or the tasks of a further group (of one task too, which may teach another).
        tasks: as in `--tasks` of `run_mtl_ner.py`.
        sharing: the structure; `hard` for a single task, which has nothing to share.
        fraction: share of the training documents.
        epochs: of this fraction, if they are its own.
    """

    system: str
    tasks: str
    sharing: str
    seed: int
    fraction: float
    epochs: float | None = None

    @property
    def name(self) -> str:
        """A file name; that of many tasks is cut, and told apart by a hash."""
        system, tasks = strip_paths(self.system), strip_paths(self.tasks)
        name = file_name(tasks if system == tasks else f"{system}_{tasks}")
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}~{hash_ids([name])}"
        return f"{name}_{self.fraction:g}_{self.seed}"


def file_name(text: str) -> str:
    """The text, with `_` for characters that file systems may refuse."""
    return re.sub(r"[^\w=+,.-]", "_", text)


def plan(arguments: argparse.Namespace) -> list[Cell]:
    """All cells, in the order they are computed: a whole comparison of one seed before the next seed."""
    specs = split_tasks(arguments.tasks)
    cells = []
    for seed in arguments.seeds:
        for share in arguments.fractions:  # and its epochs
            cells += [Cell("single", spec, "hard", seed, *share) for spec in specs]
            structures = sorted(arguments.structures, key=lambda s: s != arguments.primary)
            cells += [Cell(name, arguments.tasks, name, seed, *share) for name in structures]
            for group in arguments.groups:
                own = split_tasks(group)
                joint = Cell(group, group, arguments.primary if len(own) > 1 else "hard", seed, *share)
                cells += [*(cell for cell in teachers_of(joint, arguments) if cell.system != SINGLE), joint]
    return list(dict.fromkeys(cells))


def teachers_of(cell: Cell, arguments: argparse.Namespace) -> list[Cell]:
    """The cells of one task of the seed and fraction of a taught cell, whose models teach it; those of a group's own
    tasks are systems of their own."""
    if cell.sharing != TAUGHT:
        return []
    single = split_tasks(arguments.tasks)
    return [
        replace(cell, system=SINGLE if spec in single else spec, tasks=spec, sharing="hard")
        for spec in split_tasks(cell.tasks)
    ]


def model_path(cell: Cell, arguments: argparse.Namespace) -> Path:
    """The folder that a cell's model is kept in."""
    return arguments.output_dir / "models" / cell.name


def check_teachers(cells: Iterable[Cell], arguments: argparse.Namespace) -> None:
    """Raises ValueError where single-task cells are there without the models that cells to come need as teachers."""
    to_come = [cell for cell in cells if not cell_path(cell, arguments).is_file()]
    teachers = dict.fromkeys(teacher for cell in to_come for teacher in teachers_of(cell, arguments))
    paths = [cell_path(t, arguments) for t in teachers if not model_path(t, arguments).is_dir()]
    if lost := [str(path) for path in paths if path.is_file()]:
        raise ValueError(
            f"the models of {', '.join(lost)} were not kept, and have to teach; delete these cells, so that they are "
            "trained again"
        )


def keep_plan(arguments: argparse.Namespace) -> Primary:
    """Write down which comparison is the primary one, and with how many seeds, before any is computed; it can't be
    changed afterwards. Smaller fractions and more seeds that come later leave it as it is: the report tells how many
    seeds were planned, since who adds them until a difference is sure finds one too often. A `note` that somebody
    writes into the file is printed in the report.

    Raises:
        ValueError: another one was named before, or `--report_only` where none was.
    """
    path = arguments.output_dir / "plan.json"
    fraction = max(fraction for fraction, _ in arguments.fractions)
    named = {"primary": arguments.primary, "tasks": strip_paths(arguments.tasks), "fraction": fraction,
             "seeds": len(arguments.seeds), "note": QUICK_NOTE if arguments.quick else ""}  # fmt: skip
    if path.is_file():
        before = {"seeds": 0, "note": "", **json.loads(path.read_text(encoding="utf-8"))}  # older plans lack these
        named |= {"fraction": max(fraction, before["fraction"]), "seeds": before["seeds"], "note": before["note"]}
        if arguments.report_only:
            named = before
        elif before != named:
            raise ValueError(f"{path} names {before} as primary, not {named}; choose another --output_dir")
    elif arguments.report_only:
        raise ValueError(f"--report_only finds no {path}; check --output_dir")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, named, indent=None)
    corpora = tuple(corpora_of([named["tasks"]]).split(","))
    return Primary(named["primary"], corpora, named["fraction"], named["seeds"], named["note"])


def corpora_of(groups: Iterable[str]) -> str:
    """The corpora of several `--tasks`, separated by commas."""
    specs = [spec for tasks in groups for spec in parse_tasks(tasks)]
    return ",".join(dict.fromkeys(source.corpus for spec in specs for source in spec.sources))


def cell_path(cell: Cell, arguments: argparse.Namespace) -> Path:
    """The file that a cell is kept in."""
    return arguments.output_dir / "cells" / f"{cell.name}.json"


def hash_ids(ids: Iterable[str]) -> str:
    """16 hexadecimal digits that tell a set of document ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def finished(folder: Path) -> Iterator[dict[str, Any]]:
    """The content of every finished cell; errors as `read_finished`."""
    return (read_finished(path) for path in sorted((folder / "cells").glob("*.json")))


def read_finished(path: Path) -> dict[str, Any]:
    """The content of a finished cell or trial.

    Raises:
        ValueError: it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); delete it, and it is trained again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged (a JSON {type(content).__name__}); delete it, and it is trained again")
    return content
