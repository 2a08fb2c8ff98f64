"""Read arguments from the command line and from files."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from transformers import HfArgumentParser
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from mtl_bioner.reporting import run_record
from mtl_bioner.training.argument_checks import (
    check_output,
    check_reports,
    check_repository,
    check_teachers,
    check_values,
)
from mtl_bioner.training.argument_files import as_argv, read_argument_file
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.training_arguments import REFUSED, MultiTaskTrainingArguments


DESCRIPTION = (
    "Train, evaluate and predict with one multi-task model, from corpus files to entity scores. Arguments may be in a "
    'JSON file, {"tasks": "ncbi,bc5cdr", "learning_rate": 1e-4}, which then stands first; others may follow.'
)


DEFAULT_OUTPUT = "outputs/<tasks>"


class OneLineParser(HfArgumentParser):
    """Raises its errors, where others print a usage of three hundred lines before them."""

    source = ""  # the file that the arguments are from

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.source}{message}; --help lists all arguments")


def make_parser(argv: Sequence[str]) -> tuple[OneLineParser, list[str]]:
    """The parser, and the command line with the arguments of a JSON file put in the file's place."""
    parser = OneLineParser(
        (ModelArguments, DataArguments, MultiTaskTrainingArguments),
        description=DESCRIPTION,
        allow_abbrev=False,
    )
    parser.set_defaults(output_dir=DEFAULT_OUTPUT)
    for action in parser._actions:
        if action.dest in REFUSED:
            action.help = argparse.SUPPRESS
        if action.dest == "bf16":  # alone it means true, as of other switches, which have a default
            action.nargs, action.const = "?", True
    if argv and argv[0].endswith(".json"):
        parser.source = f"{argv[0]}: "
        argv = [*as_argv(read_argument_file(Path(argv[0]))), *argv[1:]]
    return parser, list(argv)


def parse_arguments(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, MultiTaskTrainingArguments]:
    """Arguments of the command line, perhaps after a JSON file; every value that needs no file is checked here.

    Raises:
        ValueError: names the argument, its value and the remedy.
    """
    parser, argv = make_parser(argv)
    *parsed, unknown = parser.parse_args_into_dataclasses(
        argv + implied(parser.parse_known_args(argv)[0]), return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        name = unknown[0].partition("=")[0]
        if name.startswith("-"):
            parser.error(suggest_argument(name, parser._option_string_actions))
        parser.error(
            f"unknown argument {name}; tasks are separated by commas alone (--tasks ncbi,bc5cdr), and an argument "
            "file stands first"
        )
    model_args, data_args, args = parsed
    if data_args.dry_run or data_args.search:
        args.push_to_hub = False  # there will be no model, and Trainer would make its repository at once
    if args.output_dir == DEFAULT_OUTPUT:
        args.output_dir = "outputs/" + re.sub(r"[^\w=+,.-]", "_", run_record.strip_paths(data_args.tasks))
    if args.push_to_hub and args.hub_model_id is None:
        check_repository(Path(args.output_dir).name)
    check_values(model_args, data_args)
    if data_args.search and (data_args.dry_run or not args.do_train or args.eval_strategy == IntervalStrategy.NO):
        raise ValueError(
            "--search trains and goes by development scores; leave out --train_on_dev, --eval_strategy no, --dry_run, "
            "--do_*"
        )
    check_teachers(model_args, data_args, args)
    if data_args.train_on_dev and args.do_train:
        args.do_eval = False
        if model_args.report_gates:
            raise ValueError("--report_gates reads the development split, which --train_on_dev takes; leave one out")
    check_reports(args.report_to)
    check_output(args, data_args, model_args)
    return model_args, data_args, args


def suggest_argument(name: str, known: Iterable[str]) -> str:
    """What is said of an argument that doesn't exist, with the nearest that does."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"unknown argument {name}" + (f"; did you mean {near[0]}?" if near else "")


def collect_given_arguments(argv: Sequence[str]) -> dict[str, Any]:
    """Only what was given, by name, as it would stand in an argument file."""
    parser, argv = make_parser(argv)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    parser.set_defaults(**dict.fromkeys(parser._defaults, argparse.SUPPRESS))
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not argparse.SUPPRESS}


def implied(given: argparse.Namespace) -> list[str]:
    """Arguments that others bring along: without a development split there are no scores, and a search keeps no model.

    Raises:
        ValueError: one that was given depends on such scores.
    """
    if given.train_on_dev:
        if given.early_stopping_patience is not None or given.save_strategy == SaveStrategy.BEST:
            raise ValueError(
                "--train_on_dev leaves nothing to evaluate on; leave out --early_stopping_patience, and give "
                "--save_strategy epoch"
            )
        return ["--eval_strategy=no"]
    return ["--save_strategy=no", "--load_best_model_at_end=false"] if given.search else []
