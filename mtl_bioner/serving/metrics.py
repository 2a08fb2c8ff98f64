"""Count what a server does, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from mtl_bioner.serving.batching import Batcher


Message = MutableMapping[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TEXTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
CLIENT_GONE = 499  # as nginx notes it: nobody reads the answer


class Metrics:
    """The metrics of one server; `path` is that of the route, or "other"."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "mtl_bioner_requests", "Requests by path and status.", ["path", "status"], registry=registry
        )
        self.seconds = Histogram(
            "mtl_bioner_request_seconds", "Seconds to the answer of /annotate.", buckets=SECONDS, registry=registry
        )
        self.texts = Counter("mtl_bioner_texts", "Texts that were annotated.", registry=registry)
        self.characters = Counter("mtl_bioner_characters", "Characters that were annotated.", registry=registry)
        self.batch = Histogram("mtl_bioner_batch_texts", "Texts of a batch.", buckets=TEXTS, registry=registry)
        self.waiting_texts = Gauge("mtl_bioner_queue_texts", "Texts that wait for the model.", registry=registry)
        self.waiting_characters = Gauge(
            "mtl_bioner_queue_characters", "Characters that wait for the model.", registry=registry
        )

    def watch(self, batcher: Batcher) -> None:
        """Read the length of the line whenever metrics are asked for."""
        self.waiting_texts.set_function(lambda: batcher.texts)
        self.waiting_characters.set_function(lambda: batcher.characters)

    def count_batch(self, texts: int, characters: int) -> None:
        """Count a batch that the model has annotated."""
        self.texts.inc(texts)
        self.characters.inc(characters)
        self.batch.observe(texts)

    def write(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class CountRequests:
    """Count requests and time those of /annotate (ASGI)."""

    def __init__(self, app: Callable[..., Awaitable[None]], metrics: Metrics, paths: set[str]) -> None:
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = CLIENT_GONE, time.perf_counter()
        path = scope["path"] if scope["path"] in self.paths else "other"

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            self.metrics.requests.labels(path, str(status)).inc()
            if path == "/annotate":
                self.metrics.seconds.observe(time.perf_counter() - start)
