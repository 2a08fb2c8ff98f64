"""How much a server takes, and how it refuses more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


def _limit(default: float, text: str) -> int:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Limits:
    """What one request, all waiting requests and slow clients may take; each field is an option of the command."""

    max_body: int = _limit(2_000_000, "bytes of a request's body")
    max_texts: int = _limit(1_000, "texts of a request")
    max_text: int = _limit(100_000, "characters of a text")
    max_characters: int = _limit(200_000, "characters of a request")
    max_queue: int = _limit(2_000_000, "characters that wait for the model; a request beyond gets status 429")
    max_queue_texts: int = _limit(10_000, "texts that wait for the model; a request beyond gets status 429")
    max_connections: int = _limit(256, "open connections; more get status 503")
    timeout: int = _limit(60, "seconds from the end of a request to its answer, else status 504")
    read_timeout: int = _limit(20, "seconds that a client may take for each of head, body and answer")
    stop_timeout: int = _limit(30, "seconds that a stop waits for requests that are under way")

    def find_fault(self) -> str:
        """Tell which limit contradicts another, "" if none does."""
        pairs = (("max_text", "max_characters"), ("max_characters", "max_queue"), ("max_texts", "max_queue_texts"))
        for small, large in pairs:
            low, high = getattr(self, small), getattr(self, large)
            if low > high:
                return f"--{small} {low} is more than --{large} {high}; raise that too"
        return ""


class Refusal(Exception):
    """A request that is not answered with entities; the message is one line for the client."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
