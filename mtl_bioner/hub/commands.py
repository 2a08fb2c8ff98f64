"""Define the commands `mtl-bioner-push` and `mtl-bioner-export`, which are also sub-commands of `mtl-bioner`.

    mtl-bioner-push outputs/ncbi-bc5cdr OWNER/NAME [--private] [--revision BRANCH] [--space] [--seeds FOLDER...]
    mtl-bioner-export outputs/ncbi-bc5cdr --task ncbi --output outputs/ncbi-stock [--data_dir CORPORA]

`add_*_arguments` imports neither torch, transformers nor huggingface_hub, so that `--help` answers at once.
"""

import argparse
import functools
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mtl_bioner.messages import print_error


def exit_status(command: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """Make a command return 0, or 2 after an error, which is printed in one line."""

    @functools.wraps(command)
    def run(arguments: argparse.Namespace) -> int:
        from dataset_scripts.messages import set_up_logging
        from mtl_bioner.hub.push import PushError

        set_up_logging()
        for name in ("httpx", "httpx2"):  # they log a line for each request
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            command(arguments)
        except (PushError, ValueError, OSError) as error:
            print_error(arguments.program, error)
            return 2
        return 0

    return run


def add_push_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run_push`."""
    parser.set_defaults(program=parser.prog)
    parser.add_argument("folder", type=Path, help="--output_dir of a training, or --output of mtl-bioner-export")
    parser.add_argument("repository", help="OWNER/NAME on the Hub")
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--revision", help="branch to push to (default: the main one)")
    parser.add_argument("--space", action="store_true", help="also push a Space of the same name that shows the model")
    parser.add_argument(
        "--seeds", nargs="+", type=Path, default=[], metavar="FOLDER",
        help="--output_dir of the same training with other seeds: the card shows the spread of the scores",
    )  # fmt: skip


@exit_status
def run_push(arguments: argparse.Namespace) -> None:
    """Push a model, and its page with `--space`; print their addresses."""
    from mtl_bioner.hub import push
    from mtl_bioner.hub.model_card import format_pipeline_call

    folder, private, revision = arguments.folder, arguments.private or None, arguments.revision
    if arguments.space and revision:
        raise ValueError("--space shows what is on the main branch; leave out --revision, or --space")
    push.collect_push_files(folder)  # so that nothing is made on the Hub for a folder that can't be pushed
    stock = push.is_stock(folder)
    if stock and (arguments.space or arguments.seeds):
        raise ValueError("--space and --seeds are for models of several heads; leave them out for an exported one")
    repository = push.complete_name(arguments.repository, private)
    push.prepare_card(folder, repository, arguments.seeds)
    print(push.push_folder(folder, repository, private, revision), flush=True)
    if arguments.space:
        print(push.push_space(repository, private), flush=True)
        if private:
            print("the Space is private too: give it a secret HF_TOKEN that may read the model", file=sys.stderr)
    options = {"revision": revision} if revision else {}
    print(f"load it with {format_pipeline_call(repository, stock, **options)}", file=sys.stderr)


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run_export`."""
    parser.set_defaults(program=parser.prog)
    parser.add_argument("folder", type=Path, help="--output_dir of a training")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--data_dir", help="folder of the corpora: scores the stock model on the task's test split")


@exit_status
def run_export(arguments: argparse.Namespace) -> None:
    """Export one task as a stock model; print its folder and, with `--data_dir`, its scores."""
    from mtl_bioner.hub import export
    from mtl_bioner.hub.model_card import format_pipeline_call

    scores = export.export_task(arguments.folder, arguments.task, arguments.output, arguments.data_dir)
    told = f"wrote {arguments.output}"
    if scores:
        whole, single = (100 * scores[f"{unit}_{arguments.task}_f1"] for unit in ("test", "sentences"))
        told += f"; F1 through the stock pipeline: {whole:.2f}, {single:.2f} sentence by sentence"
    print(told, flush=True)
    print(f"use it with {format_pipeline_call(str(arguments.output), is_stock=True)}", file=sys.stderr)


def main_push(argv: Sequence[str] | None = None) -> int:
    """Run `mtl-bioner-push`."""
    parser = argparse.ArgumentParser(prog="mtl-bioner-push", description="Push a trained model to the Hub.")
    add_push_arguments(parser)
    return run_push(parser.parse_args(argv))


def main_export(argv: Sequence[str] | None = None) -> int:
    """Run `mtl-bioner-export`."""
    parser = argparse.ArgumentParser(prog="mtl-bioner-export", description="Export one task as a stock model.")
    add_export_arguments(parser)
    return run_export(parser.parse_args(argv))
