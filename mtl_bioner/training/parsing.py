"""Read the arguments of `run_mtl_ner.py` from a command line, a JSON or YAML file, or a mapping."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser
from transformers.trainer_utils import SaveStrategy

from mtl_bioner.messages import summarize_error
from mtl_bioner.reporting.run_record import get_package_version, strip_paths
from mtl_bioner.training.argument_checks import check_arguments
from mtl_bioner.training.arguments import DataArguments, ModelArguments
from mtl_bioner.training.options import ARGUMENT_FILES
from mtl_bioner.training.training_arguments import REFUSED, MultiTaskTrainingArguments


DESCRIPTION = (
    "Train, evaluate and predict with one multi-task model, from corpus files to entity scores. Arguments may "
    'stand in a JSON file, {"tasks": "ncbi,bc5cdr", "learning_rate": 1e-4}, or one of YAML, which comes first; others '
    "may follow."
)
PARTS = (DataArguments, ModelArguments, MultiTaskTrainingArguments)
TRAINER_GROUP = "Further arguments of the Hugging Face Trainer"

# Names that other programs give to an argument, without dashes and underscores.
ALIASES = {
    **dict.fromkeys(("task", "corpora", "corpus", "dataset"), "tasks"),
    **dict.fromkeys(("data", "datadir"), "data_dir"),
    **dict.fromkeys(("encoder", "model", "modelname"), "model_name_or_path"),
    **dict.fromkeys(("out", "output", "outputdir"), "output_dir"),
    **dict.fromkeys(("batch", "batchsize", "trainbatchsize"), "per_device_train_batch_size"),
    **dict.fromkeys(("epochs", "numepochs"), "num_train_epochs"),
    **dict.fromkeys(("maxlen", "maxlength"), "max_seq_length"),
    "evalbatchsize": "per_device_eval_batch_size",
    "lr": "learning_rate",
    "overwriteoutputdir": "overwrite_output",
    "patience": "early_stopping_patience",
    "resume": "resume_from_checkpoint",
    "weights": "task_loss_weights",
}


@dataclass
class Arguments:
    """The arguments of a run.

    Attributes:
        explicit: the values that were given explicitly, by argument name, without defaults.
    """

    model: ModelArguments
    data: DataArguments
    training: MultiTaskTrainingArguments
    explicit: dict[str, Any]

    def replace(self, **changes: Any) -> Arguments:
        """Return the arguments with some given values changed, None for the default; all else settles anew.

        (`dataclasses.replace` would keep what `TrainingArguments` derived from the values that are replaced.)
        """
        values = {**self.explicit, **changes}
        return parse_arguments({name: value for name, value in values.items() if value is not None})


def parse_arguments(source: Sequence[str] | Mapping[str, Any]) -> Arguments:
    """Read and check arguments; every check that needs no corpus and no model is made here.

    Args:
        source: a command line, whose first part may name a JSON or YAML file, or values by argument name.

    Raises:
        ValueError: names the argument, its value and the remedy.
    """
    explicit = collect_given_arguments(source)
    if not explicit.get("tasks"):
        raise ValueError(
            "--tasks is missing; name one or more corpora, for example --tasks ncbi,bc5cdr, or a file of your own, "
            "--tasks mine=./corpus.jsonl; --help lists all arguments"
        )
    # The default folder is outputs/ncbi-bc5cdr for the tasks ncbi,bc5cdr.
    output_dir = "outputs/" + re.sub(r"[^\w.-]+", "-", strip_paths(explicit["tasks"])).strip("-.")
    values = {"output_dir": output_dir, **explicit, **derive_arguments(explicit)}
    data, model, training = (cls(**{f.name: values[f.name] for f in fields(cls) if f.name in values}) for cls in PARTS)
    if data.dry_run or data.search:
        training.push_to_hub = False  # there will be no model, and Trainer would create the repository at once
    data.leaks = data.leaks or ("drop" if training.do_train else "warn")
    arguments = Arguments(model, data, training, explicit)
    check_arguments(model, data, training)
    if data.train_on_dev and training.do_train:
        training.do_eval = False
    return arguments


def collect_given_arguments(source: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are given explicitly, by argument name; arguments as for `parse_arguments`."""
    parser = build_parser()
    if isinstance(source, Mapping):
        return convert_values(parser, source)
    first = source[0] if source else ""
    if not first.endswith(ARGUMENT_FILES):
        return parse_command_line(parser, source)
    parser.source = f"{first}: "
    return convert_values(parser, read_argument_file(Path(first))) | parse_command_line(parser, source[1:])


def derive_arguments(explicit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that other arguments imply: no evaluation without a development split, no model of a search.

    Raises ValueError if a given argument needs evaluations that there won't be.
    """
    if explicit.get("train_on_dev"):
        if explicit.get("early_stopping_patience") is not None or explicit.get("save_strategy") == SaveStrategy.BEST:
            raise ValueError(
                "--train_on_dev leaves nothing to evaluate on; leave out --early_stopping_patience, and give "
                "--save_strategy epoch"
            )
        return {"eval_strategy": "no"}
    return {"save_strategy": "no", "load_best_model_at_end": False} if explicit.get("search") else {}


def read_argument_file(path: Path) -> dict[str, Any]:
    """Read the arguments of a JSON or YAML file; raises ValueError if there is none, or it holds no object of them."""
    remedy = "an object of arguments and values is needed"
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else _parse_yaml(text)
    except OSError as error:
        raise ValueError(f"{path}: no such argument file ({error.strerror}); check the path") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; {remedy}") from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"{path}:{error.problem_mark.line + 1}: {error.problem}; {remedy}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {summarize_error(error)}; {remedy}") from error
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__} of {path.suffix[1:].upper()}"
        raise ValueError(f"{path}: {kind}; {remedy}")
    return content


def _parse_yaml(text: str) -> Any:
    """Parse YAML without its guesses (`no` is false, `1e-5` a text): values are read as on the command line."""

    def convert(value: Any, is_nested: bool) -> Any:
        if isinstance(value, dict):
            return {key: convert(of_key, True) for key, of_key in value.items()}
        if isinstance(value, list):
            return [convert(item, is_nested) for item in value]
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(value) if is_nested else value
        return value

    content = yaml.load(text, Loader=yaml.BaseLoader)  # which makes strings, lists and dictionaries only
    if not isinstance(content, dict):
        return content
    return {name: None if value in ("", "~", "null") else convert(value, False) for name, value in content.items()}


class OneLineParser(HfArgumentParser):
    """Raise errors as ValueError, where argparse prints three hundred lines of usage before them."""

    source = ""  # the file that the arguments come from

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{self.source}{message}; --help lists all arguments")


class CompactHelp(argparse.ArgumentDefaultsHelpFormatter):
    """Show each option once, by its first spelling."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{action.option_strings[0]} {self._format_args(action, action.dest.upper())}"

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, argparse.SUPPRESS) else super()._get_help_string(action)


def build_parser() -> OneLineParser:
    """Build the parser of all arguments, grouped by their field's metadata, the frequent groups first."""
    parser = OneLineParser(PARTS, prog="mtl-bioner train", usage="%(prog)s --tasks TASKS [--ARGUMENT VALUE ...]",
                           description=DESCRIPTION, allow_abbrev=False, formatter_class=CompactHelp)  # fmt: skip
    parser.add_argument("--version", action="version", version=f"mtl-bioner {get_package_version('mtl-bioner')}")
    group_of = {field.name: field.metadata.get("group", TRAINER_GROUP) for part in PARTS for field in fields(part)}
    groups = {title: parser.add_argument_group(title) for title in dict.fromkeys(group_of.values())}
    groups[TRAINER_GROUP] = parser._action_groups[-1]
    for action in list(parser._optionals._group_actions):
        if action.dest in REFUSED or action.option_strings[0].startswith("--no_"):
            action.help = argparse.SUPPRESS
        if action.dest in group_of:
            action.required = False  # `parse_arguments` says better what is missing
            parser._optionals._group_actions.remove(action)
            groups[group_of[action.dest]]._group_actions.append(action)
    return parser


_UNSET = object()


def parse_command_line(parser: OneLineParser, argv: Sequence[str]) -> dict[str, Any]:
    """Return a command line's values by argument name; raises ValueError for an unknown argument or a wrong value."""
    namespace = argparse.Namespace(**{action.dest: _UNSET for action in parser._actions})
    parsed, unknown = parser.parse_known_args(list(argv), namespace)
    if unknown and unknown[0].startswith("-"):
        parser.error(suggest_argument(unknown[0].partition("=")[0], parser._option_string_actions))
    if unknown:
        parser.error(
            f"unknown argument {unknown[0]}; tasks are separated by commas alone (--tasks ncbi,bc5cdr), and an "
            "argument file stands first"
        )
    return {name: value for name, value in vars(parsed).items() if value is not _UNSET}


def convert_values(parser: OneLineParser, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give values by argument name the types that they would get on the command line; None is left out."""
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    for name in values:
        if name not in actions:
            parser.error(suggest_argument(f"--{name}", parser._option_string_actions))
    return {name: _convert(parser, actions[name], value) for name, value in values.items() if value is not None}


def _convert(parser: OneLineParser, action: argparse.Action, value: Any) -> Any:
    takes_list = action.nargs in ("+", "*")
    if isinstance(value, (list, tuple)) and not takes_list:
        parser.error(f"--{action.dest} takes one value, not the list {value!r}")
    parts = [getattr(part, "value", part) for part in (value if isinstance(value, (list, tuple)) else [value])]
    try:
        converted = [parser._get_value(action, p if isinstance(p, str) else json.dumps(p)) for p in parts]
        for part in converted:
            parser._check_value(action, part)
    except argparse.ArgumentError as error:
        parser.error(str(error))
    return converted if takes_list else converted[0]


def suggest_argument(name: str, known: Iterable[str]) -> str:
    """Say that an argument is unknown, and which one was probably meant: a usual alias, else the nearest name."""
    alias = ALIASES.get(re.sub("[-_]", "", name).lower())
    near = [f"--{alias}"] if alias else difflib.get_close_matches(name, list(known), n=1)
    return f"unknown argument {name}" + (f"; did you mean {near[0]}?" if near else "")
