"""The command `mtl-bioner`: picks a sub-command, and imports what only that one needs."""

import difflib
import importlib
import sys
from collections.abc import Sequence


# Sub-command -> (module, function that takes the arguments and returns the exit status, summary).
COMMANDS = {
    "train": ("run_mtl_ner", "main", "train, evaluate and predict with one multi-task model"),
    "annotate": ("run_annotate", "main", "annotate files with the entities of all tasks"),
    "serve": ("mtl_bioner.serving.command", "main", "answer requests over HTTP with the entities of all tasks"),
    "select": ("mtl_bioner.annotation.selection.command", "main", "pick the texts that are worth annotating by hand"),
    "view": ("mtl_bioner.reporting.view", "main", "show annotated files as a page for the browser"),
    "info": ("mtl_bioner.hub.info", "main", "show a model's tasks, types, corpora, scores, size and hash"),
    "compare": ("run_comparison", "main", "compare single-task with multi-task training"),
    "export": ("mtl_bioner.hub.commands", "main_export", "export to ONNX, or one task as a stock model"),
    "push": ("mtl_bioner.hub.commands", "main_push", "push a trained model to the Hub, perhaps with a Space"),
    "corpora": ("dataset_scripts.__main__", "main", "list, count and convert corpora"),
    "completion": ("mtl_bioner.completion", "main", "print a script that completes arguments in bash, zsh or tcsh"),
}
USAGE = """usage: mtl-bioner COMMAND [ARGUMENTS]

Multi-task biomedical named entity recognition: one encoder, one head per task, one model.

commands:
{commands}

Arguments of a command: mtl-bioner COMMAND --help. First steps: mtl-bioner train --tasks ncbi,bc5cdr --data_dir sample
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a sub-command; return its exit status: 0 done, 1 done in part, 2 bad input, 130 interrupted."""
    name, *rest = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help"):
        lines = "\n".join(f"  {command:12}{summary}" for command, (*_, summary) in COMMANDS.items())
        sys.stdout.write(USAGE.format(commands=lines))
        return 0
    if name == "--version":
        sys.stdout.write(f"mtl-bioner {importlib.import_module('importlib.metadata').version('mtl-bioner')}\n")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}"
        sys.stderr.write(f"mtl-bioner: error: unknown command {name!r}; {hint}\n")
        return 2
    module, function, _ = COMMANDS[name]
    try:
        return getattr(importlib.import_module(module), function)(rest)
    except KeyboardInterrupt:
        sys.stderr.write(f"mtl-bioner {name}: interrupted\n")
        return 130
