"""Serve a model over HTTP: JSON, PubTator and BioC in and out.

    mtl-bioner serve outputs/quickstart
    mtl-bioner serve OWNER/NAME --host 0.0.0.0 --port 80 --threshold 0.5
    curl http://127.0.0.1:8000/annotate -H 'Content-Type: application/json' -d '{"texts": ["Gout hurts."]}'

Texts of waiting requests are annotated together. There is no log-in: whoever reaches the address is answered. Exit
status: 0 stopped, all requests answered; 1 stopped, some refused; 2 bad input; 130, 143 stopped twice, at once.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_scripts.formats.files import format_count
from dataset_scripts.messages import set_up_logging
from mtl_bioner.annotation import engine
from mtl_bioner.backends import BACKENDS, DEFAULT_BACKEND, choose_backend
from mtl_bioner.messages import LineParser, print_error, summarize_error
from mtl_bioner.serving.limits import Limits


PROGRAM = "mtl-bioner serve"


def _number(least: int, most: int) -> Any:
    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return parse


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def make_parser() -> LineParser:
    """Make the parser of the command."""
    parser = LineParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    # fmt: off
    add("model", metavar="MODEL", help="--output_dir of a training, or OWNER/NAME on the Hub")
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all of this machine (default: "
                                            "%(default)s, which only this machine reaches)")
    add("--port", type=_number(0, 65535), default=8000, help="port, 0 for any that is free (default: %(default)s)")
    add("--tasks", metavar="A,B", help="tasks to serve, by name (default: all of the model's)")
    add("--threshold", type=_share, help="least score of an entity where a request states none (default: 0)")
    add("--overlaps", choices=engine.OVERLAPS, default=engine.DEFAULT_OVERLAPS,
        help="of overlapping entities of several tasks, those to keep, where a request states nothing else "
             "(default: %(default)s)")
    add("--batch_size", type=_number(1, 10**6), help="windows of one encoder pass (default: the pipeline's)")
    add("--dtype", choices=engine.DTYPES, default=engine.DEFAULT_DTYPE,
        help="auto: bfloat16 where the CPU or GPU has hardware for it (default: %(default)s)")
    add("--backend", choices=BACKENDS, default=DEFAULT_BACKEND,
        help="torch, onnx for a model of mtl-bioner export --to onnx, or auto: onnx if the folder holds only such a "
             "model (default: %(default)s)")
    add("--trust_remote_code", action="store_true",
        help="run the code that the model's tokenizer brings along, if it does; read it first")
    limits = parser.add_argument_group("limits")
    for field in dataclasses.fields(Limits):
        limits.add_argument(f"--{field.name}", type=_number(1, 10**9), default=field.default, metavar="N",
                            help=f"{field.metadata['help']} (default: %(default)s)")
    # fmt: on
    return parser


def serve(arguments: argparse.Namespace) -> int:
    """Check everything, load the model and serve it; return the exit status.

    Raises:
        ValueError: a model, an option or an address that can't be used.
    """
    limits = Limits(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Limits)})
    if fault := limits.find_fault():
        raise ValueError(fault)
    tasks = tuple(arguments.tasks.split(",")) if arguments.tasks else None
    options = engine.EngineOptions(
        arguments.model, tasks, arguments.threshold, arguments.overlaps, arguments.batch_size, arguments.dtype,
        arguments.trust_remote_code, backend=choose_backend(arguments.model, arguments.backend),
    )  # fmt: skip
    engine.check_model(options)
    try:
        from mtl_bioner.serving.server import bind
    except ModuleNotFoundError as error:
        raise ValueError(f"the server needs {error.name}; pip install 'mtl-bioner[serve]'") from None
    with bind(arguments.host, arguments.port) as listener:
        options = replace(options, revision=engine.find_revision(options.model))
        info = describe(options, limits)
        try:
            ner = engine.load_engine(options)
        except ValueError:  # says what to do
            raise
        except Exception as error:  # of torch or another engine
            problem = f"the model {options.model} can't be loaded ({summarize_error(error)})"
            raise ValueError(f"{problem}; check its name, or copy it again") from error
        return run(ner, options, limits, info, listener)


def describe(options: engine.EngineOptions, limits: Limits) -> dict[str, Any]:
    """Describe the model and the server for /info; no paths."""
    folder = Path(os.path.expanduser(options.model))
    if folder.is_dir():
        path, name = folder / "config.json", folder.resolve().name
    else:
        from huggingface_hub import hf_hub_download

        path, name = Path(hf_hub_download(options.model, "config.json", revision=options.revision)), options.model
    config = json.loads(path.read_text(encoding="utf-8"))
    types = {task["name"]: list(task["types"]) for task in config["tasks"]}
    from mtl_bioner import __version__

    return {
        "model": name,
        "version": __version__,
        "tasks": {task: types[task] for task in options.tasks or types},
        "defaults": {"threshold": options.threshold or 0.0, "overlaps": options.overlaps},
        "limits": dataclasses.asdict(limits),
    }


def run(ner: Any, options: engine.EngineOptions, limits: Limits, info: dict[str, Any], listener: Any) -> int:
    """Serve a loaded model until a signal comes; return the exit status."""
    from mtl_bioner.serving.app import make_app
    from mtl_bioner.serving.batching import Batcher
    from mtl_bioner.serving.metrics import Metrics
    from mtl_bioner.serving.server import Server

    def annotate(documents: list[Any], chosen: Any) -> list[engine.Annotated]:
        stated = {name: value for name, value in chosen._asdict().items() if value is not None}
        return engine.annotate_documents(ner, documents, **stated)

    metrics = Metrics()
    batcher = Batcher(annotate, limits, metrics.count_batch)
    metrics.watch(batcher)
    batcher.start()

    def greet(address: str) -> None:
        body = '{"texts": ["Cisplatin caused acute renal failure."]}'
        sys.stderr.write(
            f"{PROGRAM}: {info['model']} ({', '.join(info['tasks'])}) at {address}, described at {address}/docs\n"
            f"next: curl {address}/annotate -H 'Content-Type: application/json' -d '{body}'\n"
        )

    for name in ("dataset_scripts", "mtl_bioner.annotation.readers"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what is odd in a request is its client's business
    Server(make_app(batcher, metrics, limits, info), batcher, limits, greet).run([listener])
    batcher.thread.join(1)
    status = int(bool(batcher.abandoned))
    refused = f"{format_count(batcher.abandoned, 'request')} refused" if status else "all requests answered"
    sys.stderr.write(f"{PROGRAM}: stopped, {refused}\n")
    if batcher.thread.is_alive():  # amid a batch, which nobody waits for
        sys.stderr.flush()
        os._exit(status)
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    set_up_logging(logging.WARNING)
    try:
        return serve(make_parser().parse_args(argv))
    except (ValueError, OSError) as error:
        print_error(PROGRAM, error)
        return 2
