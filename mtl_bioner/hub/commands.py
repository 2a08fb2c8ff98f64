"""Define the commands `mtl-bioner-push` and `mtl-bioner-export`, which are also sub-commands of `mtl-bioner`.

    mtl-bioner-push outputs/ncbi-bc5cdr OWNER/NAME [--private] [--revision BRANCH] [--space] [--seeds FOLDER...]
    mtl-bioner-export outputs/ncbi-bc5cdr --task ncbi --output outputs/ncbi-stock [--data_dir CORPORA]
    mtl-bioner-export outputs/ncbi-bc5cdr --to onnx --output outputs/onnx [--int8]

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
    parser.add_argument(
        "--to", choices=("stock", "onnx"), default="stock",
        help="stock: one task, as a token-classification model of transformers; onnx: all tasks, as one graph that "
             "runs without torch (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--task", help="stock: name of the task")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--data_dir", help="stock: folder of the corpora, to score the model on the task's test split")
    parser.add_argument("--int8", action="store_true", help="onnx: weights of the encoder in 8 bits")
    parser.add_argument(
        "--reduce_range", action="store_true", help="with --int8: in 7 bits, for x86 processors without VNNI"
    )


@exit_status
def run_export(arguments: argparse.Namespace) -> None:
    """Export to what `--to` says, and name the next step."""
    stock = {"--task": arguments.task, "--data_dir": arguments.data_dir}
    onnx = {"--int8": arguments.int8, "--reduce_range": arguments.reduce_range}
    wrong = [name for name, value in (onnx if arguments.to == "stock" else stock).items() if value]
    if wrong:
        other = "onnx" if arguments.to == "stock" else "stock"
        raise ValueError(f"{wrong[0]} is for --to {other}; leave it out, or give --to {other}")
    if arguments.reduce_range and not arguments.int8:
        raise ValueError("--reduce_range is for weights in 8 bits; give --int8 too")
    if arguments.to == "stock" and not arguments.task:
        raise ValueError("--task is missing; name the task to export, or give --to onnx for all")
    (export_stock if arguments.to == "stock" else export_graph)(arguments)


def export_graph(arguments: argparse.Namespace) -> None:
    """Export all tasks to ONNX; print the folder, the graph's size and how it agrees with torch."""
    from mtl_bioner.hub.onnx_export import export_onnx

    done = export_onnx(arguments.folder, arguments.output, arguments.int8, arguments.reduce_range)
    size, agreement = f"{done.bytes / 1e6:.1f} MB", f"{100 * done.agreement:.1f} % of the best labels"
    print(f"wrote {arguments.output} ({size}; {agreement} as with torch, on random windows)", flush=True)
    print(f"next: mtl-bioner annotate {arguments.output} FILE --output DIR", file=sys.stderr)


def export_stock(arguments: argparse.Namespace) -> None:
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
    parser = argparse.ArgumentParser(prog="mtl-bioner-export", description="Export a model, or a task of it.")
    add_export_arguments(parser)
    return run_export(parser.parse_args(argv))
