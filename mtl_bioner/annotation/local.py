"""Annotate parts in worker processes, each with a model of its own.

The main process reads, hands each idle worker a part, and notes what is done; workers annotate and write. At most one
part more than there are workers is in memory. A worker ends when the main process is gone, and never writes after it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dataset_scripts.corpus import compute_sha256
from mtl_bioner.annotation.engine import EngineOptions, annotate_documents, load_engine
from mtl_bioner.annotation.parts import Part
from mtl_bioner.annotation.run_folder import PartRecord
from mtl_bioner.annotation.sinks import write_part
from mtl_bioner.messages import summarize_error


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline

# TO BE MEASURED
DEFAULT_WORKERS = 1
_TICK = 0.5  # seconds between two looks at the clock


@dataclass(frozen=True)
class WorkerOptions:
    """What a worker needs to know."""

    engine: EngineOptions
    output: Path
    to: str
    workers: int


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
    import torch

    gpus = torch.cuda.device_count()
    torch.set_num_threads(max(1, torch.get_num_threads() // options.workers))
    ner = load_engine(options.engine, f"cuda:{index % gpus}" if gpus else "cpu")
    return ner, Ready(str(ner.model.dtype).removeprefix("torch."), gpus)


def process_part(ner: MtlBionerPipeline, part: Part, options: WorkerOptions) -> PartRecord:
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
        entities=dict(sorted(Counter(entity["type"] for one in annotated for entity in one.entities).items())),
        errors=part.problems,
    )


# ------------------------------------------------------------------------------------------------ in the main process


@dataclass(eq=False)
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection
    is_busy: bool = True  # loading, at first


class Pool:
    """The workers of a run.

    with Pool(options) as pool:
        for part in parts:
            for record in pool.submit(part): ...
        for record in pool.drain(): ...

    Args:
        on_ready: called when a worker has loaded the model.
        on_tick: called now and then while the pool waits.
    """

    def __init__(
        self,
        options: WorkerOptions,
        on_ready: Callable[[Ready], None] = lambda ready: None,
        on_tick: Callable[[], None] = lambda: None,
        fill_gpus: bool = False,
    ) -> None:
        self.options, self.on_ready, self.on_tick, self.fill_gpus = options, on_ready, on_tick, fill_gpus
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
        """Wait for an idle worker and give it a part; yield what the workers finished meanwhile.

        The workers start with the first part.
        """
        while len(self.workers) < self.options.workers:
            self._start()
        while (idle := next((worker for worker in self.workers if not worker.is_busy), None)) is None:
            yield from self._wait()
        idle.is_busy = True
        try:
            idle.connection.send(part)
        except OSError:
            raise WorkerError(self._explain_death(idle)) from None

    def drain(self) -> Iterator[PartRecord]:
        """Wait for the parts at work."""
        while any(worker.is_busy for worker in self.workers):
            yield from self._wait()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.options, len(self.workers)), daemon=True)
        # Ctrl-C goes to all processes of a terminal, but only the main one may act on it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()
        self.workers.append(_Worker(process, ours))

    def _wait(self) -> Iterator[PartRecord]:
        """Yield the parts that are finished within a tick."""
        by_connection = {worker.connection: worker for worker in self.workers if worker.is_busy}
        for connection in wait(list(by_connection), timeout=_TICK):
            worker = by_connection[connection]
            try:
                message = connection.recv()
            except (EOFError, ConnectionResetError):
                raise WorkerError(self._explain_death(worker)) from None
            if isinstance(message, Failed):
                raise WorkerError(message.message, message.is_loading)
            worker.is_busy = False
            if isinstance(message, Ready):
                self.on_ready(message)
                if self.fill_gpus and len(self.workers) < message.gpus:
                    self._start()
            else:
                yield message
        self.on_tick()

    def _explain_death(self, worker: _Worker) -> str:
        worker.process.join(5)
        code = worker.process.exitcode
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with status {code}"
        return f"worker {self.workers.index(worker) + 1} {how}; if memory was short, give fewer --workers"
