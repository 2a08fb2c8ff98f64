"""The cells of a comparison: how they are planned, where they are kept, and which of them can be compared."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dataset_scripts import hash_corpus
from dataset_scripts.tasks import parse_tasks, split_tasks
from mtl_bioner.comparison.arguments import HASHED, SINGLE, TAUGHT
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.run_record import hash_model, strip_paths


LONGEST_NAME = 150  # bytes, of the 255 that file systems allow; the rest is for fraction, seed, value and endings
QUICK_NOTE = "The sample corpus was written for this project: its scores show that everything works, and no more."


@dataclass(frozen=True)
class Cell:
    """One training."""

    system: str  # `single`, a structure, or the tasks of a further group (of one task too, which may teach another)
    tasks: str
    sharing: str  # the structure; `hard` for a single task, which has nothing to share
    seed: int
    fraction: float  # of the training documents
    epochs: float | None = None  # of this fraction, if they are its own

    @property
    def name(self) -> str:
        """The name of the cell's files; a long list of tasks is cut, and told apart by a hash."""
        public = self.without_paths()
        name = make_file_name(public.tasks if public.system == public.tasks else f"{public.system}_{public.tasks}")
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}~{hash_ids([name])}"
        return f"{name}_{self.fraction:g}_{self.seed}"

    def without_paths(self) -> Cell:
        """Drop the folders in the names of corpora, as records do."""
        return replace(self, system=strip_paths(self.system), tasks=strip_paths(self.tasks))

    def path(self, output: Path) -> Path:
        return output / "cells" / f"{self.name}.json"

    def model_path(self, output: Path) -> Path:
        return output / "models" / self.name


def plan_cells(arguments: argparse.Namespace) -> list[Cell]:
    """List all cells in the order they are computed: a whole comparison of one seed before the next seed."""
    structures = sorted(arguments.structures, key=lambda name: name != arguments.primary)
    cells = []
    for seed in arguments.seeds:
        for share in arguments.fractions:  # and its epochs
            cells += [Cell(SINGLE, task, "hard", seed, *share) for task in split_tasks(arguments.tasks)]
            cells += [Cell(name, arguments.tasks, name, seed, *share) for name in structures]
            for group in arguments.groups:
                sharing = arguments.primary if len(split_tasks(group)) > 1 else "hard"
                joint = Cell(group, group, sharing, seed, *share)
                cells += [*(cell for cell in list_teachers(joint, arguments) if cell.system != SINGLE), joint]
    return list(dict.fromkeys(cells))


def list_teachers(cell: Cell, arguments: argparse.Namespace) -> list[Cell]:
    """List the cells of one task whose models teach a cell; tasks outside `--tasks` are systems of their own."""
    systems = dict.fromkeys(split_tasks(arguments.tasks), SINGLE)
    tasks = split_tasks(cell.tasks) if cell.sharing == TAUGHT else ()
    return [replace(cell, system=systems.get(task, task), tasks=task, sharing="hard") for task in tasks]


def list_corpora(*groups: str) -> list[str]:
    """List the corpora of one or several `--tasks`."""
    sources = [source for tasks in groups for spec in parse_tasks(tasks) for source in spec.sources]
    return list(dict.fromkeys(source.corpus for source in sources))


def make_file_name(text: str) -> str:
    """Replace characters that file systems may refuse by `_`."""
    return re.sub(r"[^\w=+,.-]", "_", text)


def hash_ids(ids: Iterable[str]) -> str:
    """Hash a set of document ids, in any order, to 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def keep_plan(arguments: argparse.Namespace) -> dict[str, Any]:
    """Record in `plan.json` which comparison is the primary one, before any cell is computed, and return it.

    It can't be changed afterwards. More seeds and smaller fractions may follow, but the number of planned seeds stays:
    adding seeds until a difference is significant finds one too often. The report prints a `note` added to the file.
    Raises ValueError if the file names another primary comparison, or doesn't exist with `--report_only`.
    """
    path, fraction = arguments.output_dir / "plan.json", max(fraction for fraction, _ in arguments.fractions)
    plan = {"primary": arguments.primary, "tasks": strip_paths(arguments.tasks), "fraction": fraction,
            "seeds": len(arguments.seeds), "note": QUICK_NOTE if arguments.quick else ""}  # fmt: skip
    if path.is_file():
        recorded = {"seeds": 0, "note": "", **json.loads(path.read_text(encoding="utf-8"))}  # older plans lack these
        plan |= {"fraction": max(fraction, recorded["fraction"]), "seeds": recorded["seeds"], "note": recorded["note"]}
        if recorded != plan and not arguments.report_only:
            raise ValueError(f"{path} names {recorded} as primary, not {plan}; choose another --output_dir")
        plan = recorded
    elif arguments.report_only:
        raise ValueError(f"--report_only finds no {path}; check --output_dir")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan, indent=None)
    names = ("fraction", "seeds", "note")
    return {"structure": plan["primary"], "corpora": list_corpora(plan["tasks"]), **{n: plan[n] for n in names}}


def read_cells(output: Path) -> Iterator[dict[str, Any]]:
    """Read every finished cell of a comparison; raise ValueError as `read_cell`."""
    return (read_cell(path) for path in sorted((output / "cells").glob("*.json")))


def read_cell(path: Path) -> dict[str, Any]:
    """Read a finished cell or trial; raise ValueError if it is damaged."""
    try:
        if isinstance(content := json.loads(path.read_text(encoding="utf-8")), dict):
            return content
        raise ValueError(f"a JSON {type(content).__name__}")
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); delete it, and it is trained again") from error


def collect_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Collect what each cell records of the comparison: arguments, and hashes of the corpora and the encoder.

    Raises ValueError for two corpora of the same name, by which cells tell them apart; CorpusError for a missing one.
    """
    from mtl_bioner.training.arguments import ModelArguments  # imports transformers

    training, corpora = arguments.training, list_corpora(arguments.tasks, *arguments.groups)
    names = [Path(corpus).resolve().name for corpus in corpora]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"--tasks names two corpora whose last part is {repeated.pop()}; rename a file or folder")
    encoder = training.get("model_name_or_path", ModelArguments.model_name_or_path)
    return {
        "tune": [arguments.tune[0], *arguments.tune[1]] if arguments.tune else None,
        "arguments": format_arguments({name: value for name, value in training.items() if name not in HASHED}),
        "leak_corpora": strip_paths(",".join(corpora)),
        "corpora": {strip_paths(corpus): hash_corpus(corpus, training.get("data_dir")) for corpus in corpora},
        "encoder": hash_model(encoder, training.get("model_revision", "main")),
    }


def format_arguments(arguments: Mapping[str, Any]) -> list[str]:
    """Format arguments as cells record them: `["--bf16", "false", "--learning_rate", "0.0003"]`."""
    strings = []
    for name, value in sorted(strip_paths(arguments).items()):
        parts = value if isinstance(value, list) else [value]
        strings += [f"--{name}", *(part if isinstance(part, str) else json.dumps(part) for part in parts)]
    return strings


def read_arguments(strings: Iterable[str]) -> dict[str, list[Any]]:
    """Read recorded arguments, whatever their order and spelling; of one given twice the last counts."""
    arguments: dict[str, list[Any]] = {}
    for string in strings:
        name, *parts = string.split("=", 1) if string.startswith("--") else ("", string)
        if name:
            values = arguments[name.removeprefix("--").replace("-", "_")] = []
        for part in parts:
            with contextlib.suppress(ValueError):
                part = json.loads(part.lower())  # 3e-4 is 0.0003, and True is true
            values.append(part)
    return {name: values or [True] for name, values in arguments.items()}


def take_fingerprint(content: Mapping[str, Any]) -> dict[str, Any]:
    """Collect by name what cells of a fraction must share: settings of the comparison, epochs, and arguments and
    versions that the training reported. Works for a trial, or a part of a cell, too."""
    fingerprint = {"tune": None, "epochs": content.get("cell", content).get("epochs"), **content.get("settings", {})}
    fingerprint["arguments"] = read_arguments(fingerprint.get("arguments", ()))
    if "leak_corpora" in fingerprint:  # in the order of --groups
        fingerprint["leak_corpora"] = sorted(fingerprint["leak_corpora"].split(","))
    return fingerprint | content.get("identity", {})


def check_same_experiment(
    one: Mapping[str, Any], other: Mapping[str, Any], place: object, ignored: Collection[str] = ()
) -> None:
    """Raise ValueError if two fingerprints differ in a name that both have: older cells lack newer arguments."""
    for name in sorted(one.keys() & other.keys() - set(ignored)):
        first, second = one[name], other[name]
        if first != second:
            if isinstance(first, dict) and isinstance(second, dict):  # of arguments, those that differ
                unequal = [key for key in first | second if first.get(key) != second.get(key)]
                first, second = ({key: side[key] for key in unequal if key in side} for side in (first, second))
            remedy = "continue with the arguments, versions and kind of machine of the earlier cells"
            difference = f"computed with different {name} ({first} and {second})"
            raise ValueError(f"{place}: {difference}; {remedy}, or choose another --output_dir")
