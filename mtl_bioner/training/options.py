"""Declare the arguments of a command as fields of a dataclass."""

import dataclasses
from typing import Any


# Groups of arguments, in `--help` and in the documentation.
CORPORA, MODEL, TRAINING = "Tasks and corpora", "Model", "Training"
TEACHERS, EVALUATION, OUTPUT = "Teachers", "Evaluation", "Output"

ARGUMENT_FILES = (".json", ".yaml", ".yml")
SWITCH = {"nargs": "?", "const": True}  # for `bool | None`: the bare argument means true


class _Metadata(dict):
    """Field metadata whose `group` is read by key only: `HfArgumentParser` passes all others on to argparse."""

    def keys(self) -> list[str]:
        return [key for key in self if key != "group"]

    def copy(self) -> dict:  # which transformers 5.18 takes, where later versions build a dict
        return {key: self[key] for key in self.keys()}


def option(group: str, default: Any, help_text: str, **argparse_options: Any) -> Any:
    """Return a dataclass field with its default, its help text, and its group as `metadata["group"]`."""
    return dataclasses.field(default=default, metadata=_Metadata(group=group, help=help_text, **argparse_options))
