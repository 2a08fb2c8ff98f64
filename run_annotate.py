"""Annotate files with the entities of all tasks of a model.

    python run_annotate.py outputs/quickstart abstracts/ --output annotated
    python run_annotate.py outputs/quickstart pubmed24n0001.xml.gz --output annotated --to pubtator
    cat notes.txt | python run_annotate.py outputs/quickstart - --lines --output annotated --to csv
    python run_annotate.py outputs/quickstart pubmed/ --output s3://bucket/annotated --part_size 2000 --ray

Inputs are files, folders of any mixture, - for standard input, and data sets of the Hub (hf:OWNER/NAME). Formats are
known by content: plain text, JSONL, CSV, Parquet, PubTator, BioC, PubMed XML and others. The output is written in
parts; after an interruption the same command goes on. Exit status: 0 done, 1 something was left out or failed, 2 bad
input, 130 or 143 interrupted.
"""

import argparse
import contextlib
import itertools
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_scripts.messages import set_up_logging
from mtl_bioner.annotation import (
    cluster,
    cluster_inputs,
    engine,
    pages,
    parts,
    ray_session,
    run_folder,
    sinks,
    sources,
)
from mtl_bioner.annotation.local import MOST_WORKERS, Pool, Ready, WorkerError, WorkerOptions
from mtl_bioner.annotation.progress import Progress, summarize
from mtl_bioner.annotation.readers import Inputs
from mtl_bioner.annotation.tables import ColumnOptions
from mtl_bioner.backends import BACKENDS, DEFAULT_BACKEND, choose_backend
from mtl_bioner.messages import STOPS, LineParser, print_error
from mtl_bioner.reporting.run_record import get_package_version, hash_model


PROGRAM = "mtl-bioner annotate"
# Arguments that decide what is written; a run that goes on must repeat them.
DECIDING = (
    "to", "tasks", "threshold", "overlaps", "batch_size", "dtype", "lines", "text_column", "id_column", "part_size",
)  # fmt: skip


class Interrupted(BaseException):
    """A signal came that ends the command."""

    def __init__(self, number: int) -> None:
        self.number = number


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")


def address(text: str) -> str:
    """Parse the address of a Ray cluster."""
    try:
        return ray_session.parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_parser() -> LineParser:
    """Make the parser of the command."""
    parser = LineParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    # fmt: off
    add("model", metavar="MODEL", help="--output_dir of a training, or OWNER/NAME on the Hub")
    add("inputs", metavar="INPUT", nargs="+", help="file, folder, - for standard input, or hf:OWNER/NAME")
    add("--output", metavar="DIR", required=True, type=lambda text: text if "://" in text else Path(text),
        help="new folder, or that of the run to go on with; with --ray also a URI such as s3://bucket/annotated")
    add("--to", choices=sinks.FORMATS, default="jsonl", help="format of the output (default: jsonl)")
    add("--tasks", metavar="A,B", help="tasks to run, by name (default: all of the model's)")
    add("--threshold", type=share, help="least score of an entity (default: 0, which keeps all)")
    add("--overlaps", choices=engine.OVERLAPS, default=engine.DEFAULT_OVERLAPS,
        help="of entities of several tasks that overlap, keep all, the longest, the best scored, or the best of each "
             f"type (default: {engine.DEFAULT_OVERLAPS})")
    add("--lines", action="store_true", help="plain text: each line is a document, not each file")
    add("--text_column", metavar="NAME", help="column or key of the text in tables and JSONL; NAME,NAME joins several "
                                              "by line breaks (default: text, title and abstract, ...)")
    add("--id_column", metavar="NAME", help="column or key of the document id (default: document_id, pmid, id, ...)")
    add("--strict", action="store_true", help="stop at the first document that can't be read")
    add("--batch_size", type=positive, help="windows of one encoder pass (default: the pipeline's)")
    add("--dtype", choices=engine.DTYPES, default=engine.DEFAULT_DTYPE,
        help="auto: bfloat16 where the CPU or GPU has hardware for it (default: %(default)s)")
    add("--backend", choices=BACKENDS, default=DEFAULT_BACKEND,
        help="what computes: torch, or ONNX Runtime for a model of mtl-bioner export --to onnx; auto: onnx if the "
             "folder holds only such a model (default: %(default)s)")
    add("--trust_remote_code", action="store_true",
        help="run the code that the model's tokenizer brings along, if it does; read it first")
    add("--workers", type=positive,
        help=f"processes (default: one for each GPU, else one for each core, up to {MOST_WORKERS}); with --ray, "
             "actors (default: as many as Ray finds room for)")
    add("--ray", metavar="ADDRESS", type=address, nargs="?", const="auto",
        help="run on a Ray cluster: HOST:PORT, auto for that of this machine (default), or local to start one here")
    add("--part_size", type=positive, default=parts.PART_SIZE,
        help=f"most documents of an output file (default: {parts.PART_SIZE})")
    # fmt: on
    return parser


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """Raise Interrupted for the first signal of `STOPS`; later ones are ignored while this process cleans up."""

    def interrupt(number: int, frame: Any) -> None:
        for other in handlers:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    # A shell lets `command &` ignore SIGINT; that stays so.
    numbers = [n for n in STOPS if signal.getsignal(n) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def is_missing(output: Path | str) -> bool:
    """Whether there is no output folder yet; of a URI it isn't known."""
    return isinstance(output, Path) and not output.is_dir()


def annotate_files(arguments: argparse.Namespace) -> int:
    """Annotate all inputs; return the exit status."""
    output = arguments.output
    tasks = tuple(arguments.tasks.split(",")) if arguments.tasks else None
    options = engine.EngineOptions(
        arguments.model, tasks, arguments.threshold, arguments.overlaps, arguments.batch_size, arguments.dtype,
        arguments.trust_remote_code, backend=choose_backend(arguments.model, arguments.backend),
    )  # fmt: skip
    engine.check_model(options)
    options = replace(options, revision=engine.find_revision(options.model))
    columns = ColumnOptions(arguments.text_column, arguments.id_column, keep_extra=arguments.to == "jsonl")
    if arguments.ray:
        return annotate_on_cluster(arguments, options, columns)
    if isinstance(output, str):
        raise ValueError(f"--output {output}: a URI can be written with --ray only; give a folder")
    try:
        inputs = Inputs(sources.find_sources(arguments.inputs, columns, output, arguments.lines), columns)
        run = run_folder.RunFolder(output, identify(arguments, options, inputs))
        try:
            return annotate_parts(arguments, options, inputs, run)
        finally:
            run.close()
    finally:
        if output.is_dir():
            sources.get_spool(output).unlink(missing_ok=True)
            if not any(output.iterdir()):
                output.rmdir()


def annotate_on_cluster(arguments: argparse.Namespace, options: engine.EngineOptions, columns: ColumnOptions) -> int:
    """Annotate all inputs with Ray Data; return the exit status."""
    reading = cluster_inputs.ReadOptions(columns, arguments.part_size)
    cluster_options = cluster.ClusterOptions(
        arguments.ray, str(arguments.output), arguments.to, options, reading, arguments.workers, arguments.strict
    )
    cluster.check_options(arguments.inputs, cluster_options)
    found = sources.find_sources(arguments.inputs, columns, Path(arguments.output), arguments.lines)
    inputs = Inputs(found, columns)
    return cluster.annotate_on_cluster(inputs, cluster_options, identify(arguments, options, inputs))


def identify(arguments: argparse.Namespace, options: engine.EngineOptions, inputs: Inputs) -> dict[str, Any]:
    """Describe model, arguments and inputs: all that the output depends on."""
    model_hash = hash_model(os.path.expanduser(options.model), options.revision)
    return {
        "mtl_bioner": get_package_version("mtl-bioner"),
        "model": {"name": Path(arguments.model).name, "hash": model_hash},
        "arguments": {name: getattr(arguments, name) for name in DECIDING}
        | {"backend": options.backend}
        | ({"ray": True} if arguments.ray else {}),
        "inputs": [sources.describe_source(source) for source in inputs.sources],
    }


def annotate_parts(
    arguments: argparse.Namespace, options: engine.EngineOptions, inputs: Inputs, run: run_folder.RunFolder
) -> int:
    """Annotate the parts that are not done yet; print the summary."""
    items = parts.number_ids(parts.check_documents(inputs, sinks.find_id_fault(arguments.to)))
    items = parts.stop_at_problems(items) if arguments.strict else items
    to_do = parts.read_to_first_document(parts.form_parts(items, arguments.part_size, inputs.get_position))
    progress = Progress(inputs.total, len(run.done))
    first = next(to_do)
    workers = arguments.workers or (1 if first.is_last else None)  # one worker has all threads
    worker_options = WorkerOptions(options, arguments.output, arguments.to, workers)

    def begin(ready: Ready) -> None:
        run.begin(ready.dtype)
        progress.start()

    with Pool(worker_options, begin, progress.show) as pool:
        for part in itertools.chain([first], to_do):
            progress.positions[part.number] = part.position
            if part.number in run.done:
                progress.begin_at(part.position)
            else:
                for record in pool.submit(part):
                    run.add(record)
                    progress.add(record)
        for record in pool.drain():
            run.add(record)
            progress.add(record)
    progress.close()
    if arguments.to == "html":
        pages.write_index(run.output, run.done, run.count_entities())
    run.finish()
    sys.stdout.write(summarize(run, progress) + "\n")
    errors = len(run.list_errors())
    errors_file = run.output / run_folder.ERRORS
    written = run.output / (pages.INDEX if arguments.to == "html" else "part-00000*")
    look = f"see {errors_file} for what was left out" if errors else f"look at {written}"
    sys.stderr.write(f"next: {look}\n")
    return int(bool(errors))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    set_up_logging(logging.WARNING)
    arguments, again = None, f"go on with the same command: {PROGRAM} {shlex.join(argv)}"
    try:
        arguments = make_parser().parse_intermixed_args(argv)
        with handle_signals():
            return annotate_files(arguments)
    except (ValueError, OSError, WorkerError) as error:
        is_input = isinstance(error, ValueError) and not isinstance(error, parts.StrictError)
        if is_input or getattr(error, "is_loading", False) or is_missing(arguments.output):
            print_error(PROGRAM, error)
            return 2
        print_error(PROGRAM, f"{error}; {again}")
        return 1
    except Interrupted as interrupted:
        name = signal.Signals(interrupted.number).name
        sys.stderr.write(f"\n{PROGRAM}: stopped by {name}; what is done is kept, {again}\n")
        return 128 + interrupted.number


if __name__ == "__main__":
    sys.exit(main())
