"""Print a script that completes commands, arguments and files in a shell.

mtl-bioner completion bash > ~/.local/share/bash-completion/completions/mtl-bioner
mtl-bioner completion zsh > ~/.zfunc/_mtl-bioner          # a folder of $fpath
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from unittest import mock

from mtl_bioner.cli import COMMANDS
from mtl_bioner.messages import print_error


PROGRAM = "mtl-bioner completion"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, or 2 without shtab."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    shell = parser.parse_args(argv).shell
    try:
        import shtab
    except ImportError:
        print_error(PROGRAM, "the package shtab is missing; pip install shtab")
        return 2
    root = build_parser()
    for action in find_actions(root):
        if action.nargs != 0 and action.choices is None:
            action.complete = shtab.FILE
    sys.stdout.write(f"{shtab.complete(root, shell)}\n")
    sys.stderr.write("next: write this to a file where the shell looks for completions, as --help shows\n")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Build one parser of all commands."""
    root = argparse.ArgumentParser("mtl-bioner", description="Multi-task biomedical named entity recognition.")
    subparsers = root.add_subparsers()
    for name, (module, function, summary) in COMMANDS.items():
        parser = catch_parser(getattr(importlib.import_module(module), function))
        subparsers.add_parser(name, help=summary, parents=[parser], add_help=False, conflict_handler="resolve")
    return root


def catch_parser(command: Callable[[list[str]], int]) -> argparse.ArgumentParser:
    """Return the parser that a command asks for its help."""
    asked: list[argparse.ArgumentParser] = []
    with (
        mock.patch("argparse.ArgumentParser.print_help", lambda parser, file=None: asked.append(parser)),
        contextlib.suppress(SystemExit),
    ):
        command(["--help"])
    return asked[0]


def find_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its sub-commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from find_actions(command)
        else:
            yield action
