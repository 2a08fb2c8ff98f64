"""Say in one line what went wrong."""

import argparse
import signal
import sys
from typing import NoReturn


# What ends a command from outside: Ctrl-C, a scheduler, a terminal that is closed (Windows has no SIGHUP).
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class LineParser(argparse.ArgumentParser):
    """Raise ValueError for a wrong command line, instead of printing the usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; --help lists all arguments")


def summarize_error(error: BaseException) -> str:
    """Return the first line of an error's message, with the lines that it announces by a final colon."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[:4] if lines[0].endswith(":") else lines[:1])


def print_error(program: str, error: BaseException | str) -> None:
    """Print `program: error: message` to standard error, the whole message on one line."""
    from dataset_scripts.messages import escape_controls  # here, so that `--help` needs no reader of a corpus

    sys.stderr.write(f"{program}: error: {escape_controls(' '.join(str(error).split()))}\n")
