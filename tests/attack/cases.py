"""Count the cases of an attack, and note what went wrong with each, so that no failure hides another.

`MTL_BIONER_ATTACK_SCALE` says how many times as many cases are tried as in CI, which is 1; `make attack` sets it.
"""

import contextlib
import os
import random
import signal
import time
import traceback
from collections.abc import Iterator
from types import FrameType

from dataset_scripts.messages import escape_controls


SCALE = float(os.environ.get("MTL_BIONER_ATTACK_SCALE", "1"))
IS_LONG = SCALE > 1
TIME_LIMIT = 60  # seconds of a case, on a slow machine that has other work
SHOWN = 10  # failures that are shown of each attack


class TooLongError(BaseException):
    """A case takes too long; no `except Exception` of the code under attack catches it."""


class Cases:
    """The cases of one attack."""

    def __init__(self, name: str) -> None:
        self.name, self.number, self.failures = name, 0, []
        self.notes: list[str] = []
        self.start, self.longest = time.monotonic(), 0.0

    def seeds(self, number: int, most: int | None = None) -> Iterator[random.Random]:
        """Yield `number * SCALE` generators, at most `most`, each with a seed of its own: the name and a number."""
        number = max(1, round(number * SCALE))
        for seed in range(min(number, most or number)):
            yield random.Random(f"{self.name} {seed}")

    @contextlib.contextmanager
    def case(self, label: str = "", number: int = 1, limit: int = TIME_LIMIT) -> Iterator[None]:
        """Count a case, or several; whatever it raises is a failure, and so is one that takes over `limit` seconds."""
        begin = time.monotonic()
        before = signal.signal(signal.SIGALRM, _stop)
        signal.alarm(limit)
        try:
            yield
        except (Exception, TooLongError) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{os.path.basename(last.filename)}:{last.lineno}"
            self.failures.append(f"case {self.number + 1} {label}: {type(error).__name__} at {place}: {error}"[:1500])
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            self.longest = max(self.longest, time.monotonic() - begin)
        self.number += number  # not reached by Ctrl-C

    def note(self, measured: str) -> None:
        """Add what was measured to the summary."""
        self.notes.append(measured)

    def describe(self) -> str:
        """Return the line of the summary."""
        seconds = time.monotonic() - self.start
        counts = f"{self.number:,} cases, {len(self.failures)} failures"
        times = f"{seconds:.0f} s, the longest case {self.longest:.1f} s"
        return "; ".join([f"{self.name}: {counts}, {times}", *self.notes])


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooLongError("the time is up")


def check_message(message: str, name: str = "") -> None:
    """Assert that an error's message is one line of bounded length without control characters, and names the file."""
    assert message.strip() and len(message) < 1000, message
    assert "\n" not in message and escape_controls(message) == message, message
    assert name in message, f"{name} is not in: {message}"
