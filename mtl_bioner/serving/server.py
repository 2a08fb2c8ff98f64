"""Run the application: listen, bear with slow clients for some time only, and stop without losing requests."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mtl_bioner.messages import STOPS
from mtl_bioner.serving.batching import STOPPING, Batcher
from mtl_bioner.serving.limits import Limits, Refusal


_IDLE = 10  # seconds that a connection without request is kept
_MARGIN = 2  # seconds from the refusal of what is not done at the end of a stop, for answers to be sent


def bind(host: str, port: int) -> socket.socket:
    """Take a port, without listening yet; raise ValueError if it can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        if os.name == "posix":  # elsewhere it means that another program may take the port too
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"--host {host} --port {port}: {reason}; choose another --port, or 0 for any") from None
    return listener


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """Answer a request on one connection too many (ASGI)."""
    body = b'{"error": "too many connections; try again later"}\n'
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    headers |= {"retry-after": "5", "connection": "close"}
    start = {"type": "http.response.start", "status": 503}
    await send({**start, "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": body})


def make_protocol(seconds: float, most: int) -> type[H11Protocol]:
    """Make a protocol that cuts connections whose client takes longer to send a head, or to read an answer.

    On connections beyond `most`, requests are refused.
    """

    class PatientProtocol(H11Protocol):
        """HTTP/1.1 with a time limit for what uvicorn waits for without one."""

        timers: dict[str, asyncio.TimerHandle]

        def set_timer(self, name: str, is_wanted: bool) -> None:
            """Start or stop a timer at whose end the connection is cut."""
            if not is_wanted and name in self.timers:
                self.timers.pop(name).cancel()
            elif is_wanted and name not in self.timers:
                self.timers[name] = self.loop.call_later(seconds, self.transport.abort)

        def watch(self) -> None:
            """Time the wait for the head of a request; a client may be reading the last answer meanwhile."""
            self.set_timer("head", self.cycle is None or self.cycle.response_complete)

        def connection_made(self, transport: Any) -> None:
            self.timers = {}
            super().connection_made(transport)
            if len(self.connections) > most:
                self.app = refuse
            self.watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.watch()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self.watch()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.set_timer("write", True)

        def resume_writing(self) -> None:
            super().resume_writing()
            self.set_timer("write", False)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            for timer in self.timers.values():
                timer.cancel()

    return PatientProtocol


class Server(uvicorn.Server):
    """A server that finishes the requests of a batcher before it ends.

    Args:
        on_start: called with the address once requests are answered.
    """

    def __init__(self, app: Any, batcher: Batcher, limits: Limits, on_start: Callable[[str], None]) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # malformed requests are not worth a line each
        config = uvicorn.Config(
            app, http=make_protocol(limits.read_timeout, limits.max_connections), ws="none", lifespan="off",
            log_config=None, access_log=False, server_header=False, timeout_keep_alive=_IDLE,
            timeout_graceful_shutdown=limits.stop_timeout + _MARGIN,
        )  # fmt: skip
        super().__init__(config)
        self.batcher, self.limits, self.on_start = batcher, limits, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        host, port, *_ = sockets[0].getsockname()
        self.on_start(f"http://{f'[{host}]' if ':' in host else host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, work off what waits, and refuse what is not done in time."""
        self.batcher.stop()
        asyncio.get_running_loop().call_later(
            self.limits.stop_timeout, self.batcher.abandon, Refusal(503, STOPPING, retry_after=5)
        )
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal, and at once at the second."""
        is_main = threading.current_thread() is threading.main_thread()
        numbers = [number for number in STOPS if is_main and signal.getsignal(number) != signal.SIG_IGN]
        handlers = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop, or leave if that has begun."""
        if self.should_exit:
            os._exit(128 + sig)
        sys.stderr.write("mtl-bioner serve: stopping; once more to stop at once\n")
        self.should_exit = True
