"""Annotate parts in worker processes, each with a model of its own.

The main process reads, hands each idle worker a part, and notes what is done; workers annotate and write. At most one
part more than there are workers is in memory. A worker starts when there is a part for it. It ends when the main
process is gone, and never writes after it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataset_scripts.corpus import compute_sha256
from mtl_bioner.annotation.engine import EngineOptions, annotate_documents, load_engine
from mtl_bioner.annotation.parts import Part
from mtl_bioner.annotation.run_folder import PartRecord
from mtl_bioner.annotation.sinks import write_part
from mtl_bioner.backends import choose_backend
from mtl_bioner.messages import STOPS, summarize_error


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline

# Most workers by default where there is no GPU; else one for each core. On two busy cores, two workers of one thread
# were 1.8 to 3.8 times as fast as one worker of two threads, which wait for each other (docs/guides/annotation.md).
# Each takes some 0.6 GB.
MOST_WORKERS = 4
_GPU_DEVICES = ("/dev/nvidia0", "/dev/kfd")  # of Linux; to find one otherwise, torch would have to be imported
_TICK = 0.5  # seconds between two looks at the clock


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker needs to know."""

    engine: EngineOptions
    output: Path
    to: str
    workers: int | None = None


class Ready(NamedTuple):
    """A worker's first message: its data type, and the number of GPUs of the machine."""

    dtype: str
    gpus: int


class Failed(NamedTuple):
    """A worker's last message."""

    message: str
    is_loading: bool  # whether the model can't be loaded, so that nothing was done


class WorkerError(RuntimeError):
    """A worker failed or was killed; the message is one line."""

    def __init__(self, message: str, is_loading: bool = False) -> None:
        super().__init__(message)
        self.is_loading = is_loading


# ---------------------------------------------------------------------------------------------- in the worker process


def serve(connection: Connection, options: WorkerOptions, index: int) -> None:
    """Load the model, then annotate and write each part that comes; the main function of a worker."""
    is_loading = True
    try:
        ner, ready = _prepare(options, index)
        connection.send(ready)
        is_loading = False
        while True:
            connection.send(process_part(ner, connection.recv(), options))
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the main process is gone
        return
    except Exception as error:  # a worker has no one else to tell
        reason = summarize_error(error)
        if not isinstance(error, ValueError | OSError):
            reason = f"{type(error).__name__}: {reason}"
        if is_loading and not isinstance(error, ValueError):
            reason = f"the model {options.engine.model} can't be loaded ({reason}); check its name, or copy it again"
        with contextlib.suppress(OSError):
            connection.send(Failed(reason, is_loading))


def _prepare(options: WorkerOptions, index: int) -> tuple[MtlBionerPipeline, Ready]:
    """Load the model to the worker's GPU, or with its share of the threads."""
    if choose_backend(options.engine.model, options.engine.backend) == "onnx":
        from mtl_bioner.onnx_runtime import count_threads

        gpus, threads = 0, count_threads()
    else:
        import torch

        gpus, threads = torch.cuda.device_count(), torch.get_num_threads()
    threads = max(1, threads // options.workers)
    ner = load_engine(options.engine, f"cuda:{index % gpus}" if gpus else "cpu", threads)
    return ner, Ready(str(ner.model.dtype).removeprefix("torch."), gpus)


def process_part(ner: MtlBionerPipeline, part: Part, options: WorkerOptions) -> PartRecord:
    """Annotate and write a part; raise EOFError if the command that asked for it has ended."""
    before = ner.subwords
    annotated = annotate_documents(ner, part.documents)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise EOFError  # the command may have been started again meanwhile
    path = write_part(annotated, options.output, part.number, options.to)
    return PartRecord(
        part=part.number,
        file=path.name,
        sha256=compute_sha256(path),
        documents=len(annotated),
        words=sum(len(document.text.split()) for document in part.documents),
        subwords=ner.subwords - before,
        entities=dict(sorted(Counter(entity["type"] for one in annotated for entity in one.entities).items())),
        errors=part.problems,
    )


# ------------------------------------------------------------------------------------------------ in the main process


def count_workers() -> int:
    """Return the default number of workers: the cores that this process may use, up to `MOST_WORKERS`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@dataclass(eq=False)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    part: Part | None  # that it works on, or will once the model is loaded


class Pool:
    """The workers of a run.

    with Pool(options) as pool:
        for part in parts:
            for record in pool.submit(part): ...
        for record in pool.drain(): ...

    Args:
        options: without a number of `workers`, there are as many as `count_workers` says, or as GPUs.
        on_ready: called when a worker has loaded the model.
        on_tick: called now and then while the pool waits.
    """

    def __init__(
        self,
        options: WorkerOptions,
        on_ready: Callable[[Ready], None] = lambda ready: None,
        on_tick: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_ready, self.on_tick = on_ready, on_tick
        self.is_given = options.workers is not None
        self.options = options if self.is_given else replace(options, workers=count_workers())
        may_have_gpus = any(os.path.exists(path) for path in _GPU_DEVICES)
        self.size = 1 if may_have_gpus and not self.is_given else self.options.workers
        self.workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            worker.connection.close()
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()

    def submit(self, part: Part) -> Iterator[PartRecord]:
        """Give a part to an idle worker, or to a new one as long as there may be more; else wait for one.

        Yields what the workers finished meanwhile.
        """
        while (idle := next((worker for worker in self.workers if worker.part is None), None)) is None:
            if len(self.workers) < self.size:
                self._start(part)
                return
            yield from self._wait()
        idle.part = part
        self._send(idle)

    def drain(self) -> Iterator[PartRecord]:
        """Wait for the parts at work."""
        while any(worker.part for worker in self.workers):
            yield from self._wait()

    def _start(self, part: Part) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.options, len(self.workers)), daemon=True)
        # Ctrl-C goes to all processes of a terminal, and some schedulers send SIGTERM to all of a job, but only this
        # process may act on them. What is ignored when a process starts is ignored in it.
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
        try:
            process.start()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        theirs.close()
        self.workers.append(_Worker(process, ours, part))

    def _send(self, worker: _Worker) -> None:
        try:
            worker.connection.send(worker.part)
        except OSError:
            raise WorkerError(self._explain_death(worker)) from None

    def _wait(self) -> Iterator[PartRecord]:
        """Yield the parts that are finished within a tick; give those that have loaded the model their first."""
        by_connection = {worker.connection: worker for worker in self.workers if worker.part}
        for connection in wait(list(by_connection), timeout=_TICK):
            worker = by_connection[connection]
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                raise WorkerError(self._explain_death(worker)) from None
            if isinstance(message, Failed):
                raise WorkerError(message.message, message.is_loading)
            if isinstance(message, Ready):
                self.on_ready(message)
                if not self.is_given:
                    self.size = message.gpus or self.options.workers
                self._send(worker)
            else:
                worker.part = None
                yield message
        self.on_tick()

    def _explain_death(self, worker: _Worker) -> str:
        worker.process.join(5)
        code = worker.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        return f"worker {self.workers.index(worker) + 1} {how}; if memory was short, give fewer --workers"
