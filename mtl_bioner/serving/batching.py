"""Batch the texts of waiting requests for the model, which runs on one thread.

Requests take turns: a batch holds what waits, up to a size, of requests with the same options, and a request with more
texts than fit goes to the end of the line with the rest. So a large one delays others by a batch, not by its whole
work.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from dataset_scripts.formats.files import format_count
from mtl_bioner.annotation.engine import Annotated
from mtl_bioner.annotation.parts import SourceDocument
from mtl_bioner.serving.limits import Limits, Refusal


logger = logging.getLogger(__name__)

BATCH_CHARACTERS = 60_000  # of a batch, unless one text has more; less fills the encoder's batches badly
STOPPING = "the server is stopping; send the request to another, or again later"


class CallOptions(NamedTuple):
    """What a request may choose of the pipeline's options; None leaves it to the server."""

    tasks: tuple[str, ...] | None = None
    threshold: float | None = None
    overlaps: str | None = None


Annotate = Callable[[list[SourceDocument], CallOptions], list[Annotated]]


@dataclass(eq=False)
class Job:
    """A request in the line; its future becomes the annotated documents, a Refusal, or is cancelled by its owner."""

    documents: Sequence[SourceDocument]
    options: CallOptions
    future: Future[list[Annotated]] = field(default_factory=Future)
    begun: int = 0  # documents that are annotated or in a batch
    results: list[Annotated] = field(default_factory=list)

    def count_waiting(self) -> int:
        """Return the characters of the documents that are not begun."""
        return sum(len(document.text) for document in self.documents[self.begun :])


Batch = list[tuple[Job, list[SourceDocument]]]


class Batcher:
    """The line of requests, and the thread that works it off.

    Args:
        annotate: called on the thread with the documents of a batch and the options that they share.
        on_batch: called on the thread with each batch's numbers of texts and characters.
    """

    def __init__(
        self, annotate: Annotate, limits: Limits, on_batch: Callable[[int, int], None] = lambda texts, characters: None
    ) -> None:
        self.annotate, self.limits, self.on_batch = annotate, limits, on_batch
        self.jobs: dict[Job, None] = {}  # the next first
        self.texts = self.characters = 0  # that wait, without those of the batch at work
        self.speed = 50_000.0  # characters a second, a running mean
        self.is_stopping, self.abandoned = False, 0
        self.condition = threading.Condition()
        self.working: Batch = []
        self.thread = threading.Thread(target=self._work, name="model", daemon=True)

    @property
    def is_healthy(self) -> bool:
        """Whether requests are taken and worked off."""
        return self.thread.is_alive() and not self.is_stopping

    def submit(self, documents: Sequence[SourceDocument], options: CallOptions) -> Future[list[Annotated]]:
        """Put a request into the line; cancel the future to take it out again.

        Raises:
            Refusal: the line is full, or the server stops.
        """
        job = Job(documents, options)
        characters = job.count_waiting()
        with self.condition:
            if not self.is_healthy:
                raise Refusal(503, STOPPING if self.is_stopping else "the model is not at work", retry_after=5)
            limits = self.limits
            if self.characters + characters > limits.max_queue or self.texts + len(documents) > limits.max_queue_texts:
                waiting = f"{format_count(self.texts, 'text')} of {self.characters:,} characters in the queue"
                seconds = min(limits.timeout, 1 + int(self.characters / self.speed))
                raise Refusal(429, f"{waiting}; try again in {seconds} s", retry_after=seconds)
            self.texts, self.characters = self.texts + len(documents), self.characters + characters
            self.jobs[job] = None
            self.condition.notify()
        job.future.add_done_callback(lambda future: self._leave(job))
        return job.future

    def _leave(self, job: Job) -> None:
        """Take a request that is over out of the line, with the texts that are not begun."""
        with self.condition:
            if job in self.jobs:
                del self.jobs[job]
                self.texts -= len(job.documents) - job.begun
                self.characters -= job.count_waiting()
                job.begun = len(job.documents)

    # ------------------------------------------------------------------------------------------------- on the thread

    def _work(self) -> None:
        try:
            while self._wait():
                self.working = self._take()
                self._run(self.working)
                self.working = []
        except BaseException:
            logger.exception("the model's thread ended")
        finally:
            self.abandon(Refusal(503, STOPPING if self.is_stopping else "the model failed", retry_after=5))

    def _wait(self) -> bool:
        """Wait for a request; return whether there is one, and not a stop."""
        with self.condition:
            self.condition.wait_for(lambda: self.jobs or self.is_stopping)
            return bool(self.jobs)

    def _take(self) -> Batch:
        """Take the next batch out of the line."""
        batch: Batch = []
        room = BATCH_CHARACTERS
        with self.condition:
            options = next(iter(self.jobs)).options
            for job in [job for job in self.jobs if job.options == options]:
                documents = []
                for document in job.documents[job.begun :]:
                    if len(document.text) > room and (batch or documents):
                        break
                    documents.append(document)
                    room -= len(document.text) + 50  # an empty text costs something too
                if not documents:
                    break
                batch.append((job, documents))
                self._begin(job, documents)
        return batch

    def _begin(self, job: Job, documents: list[SourceDocument]) -> None:
        job.begun += len(documents)
        self.texts -= len(documents)
        self.characters -= sum(len(document.text) for document in documents)
        del self.jobs[job]
        if job.begun < len(job.documents):
            self.jobs[job] = None  # at the end of the line

    def _run(self, batch: Batch) -> None:
        """Annotate a batch; if that fails, each request of it alone, so that only the one with the fault fails."""
        batch = [(job, documents) for job, documents in batch if not job.future.done()]
        if not batch:
            return
        documents = [document for _, of_job in batch for document in of_job]
        characters, start = sum(len(document.text) for document in documents), time.perf_counter()
        try:
            results = iter(self.annotate(documents, batch[0][0].options))
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    self._run([one])
                return
            logger.exception("a request failed")
            self._finish(batch[0][0], error=Refusal(500, f"the model failed on this request ({type(error).__name__})"))
            return
        self.speed += 0.2 * (characters / max(time.perf_counter() - start, 1e-6) - self.speed)
        self.on_batch(len(documents), characters)
        for job, of_job in batch:
            job.results += [next(results) for _ in of_job]
            if len(job.results) == len(job.documents):
                self._finish(job)

    def _finish(self, job: Job, error: Exception | None = None) -> None:
        with self.condition:  # a request may be abandoned by another thread at the same time
            if job.future.done() or not job.future.set_running_or_notify_cancel():
                return
            if error:
                job.future.set_exception(error)
            else:
                job.future.set_result(job.results)

    # --------------------------------------------------------------------------------------------------------- the end

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self) -> None:
        """Take no more requests; the thread ends when the line is worked off."""
        with self.condition:
            self.is_stopping = True
            self.condition.notify_all()

    def abandon(self, reason: Refusal) -> None:
        """Refuse all requests in the line or at work; count them."""
        with self.condition:
            jobs = dict.fromkeys([*self.jobs, *(job for job, _ in self.working)])
        for job in jobs:
            self.abandoned += not job.future.done()
            self._finish(job, reason)
