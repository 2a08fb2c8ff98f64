"""Show how far a run is, and what came of it."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from dataset_scripts.formats.files import format_count
from mtl_bioner.annotation.run_folder import PartRecord, RunFolder


_INTERVAL = {True: 1.0, False: 30.0}  # seconds between two displays, on a terminal and elsewhere


class Progress:
    """Documents and sub-words a second, and the time left, on standard error.

    The time left goes by the bytes of the inputs that the parts done took.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.total = total
        self.positions: dict[int, int] = {}  # bytes read at the end of each part
        self.begin = self.shown = self.ready = time.monotonic()
        self.documents = self.subwords = 0
        self.position = self.skipped = 0
        if done:
            self._write(f"goes on behind {format_count(done, 'part')} done before\n")

    def start(self) -> None:
        """Count time from now on: the model is loaded."""
        self.ready = time.monotonic()

    def begin_at(self, position: int) -> None:
        """Leave out the bytes before a position, which an earlier process annotated."""
        self.position = self.skipped = max(self.position, position)

    def measure_time(self) -> float:
        """Return the seconds since the model was loaded."""
        return max(time.monotonic() - self.ready, 1e-9)

    def add(self, record: PartRecord) -> None:
        """Count a part that this process annotated."""
        self.documents += record.documents
        self.subwords += record.subwords
        self.position = max(self.position, self.positions.get(record.part, 0))
        self.show()

    def show(self) -> None:
        """Show the state, if the last display is some time ago."""
        is_terminal = self.stream.isatty()
        if time.monotonic() - self.shown >= _INTERVAL[is_terminal] and self.documents:
            self.shown = time.monotonic()
            line = self.describe()
            self._write(f"\r{line:<78}" if is_terminal else f"{line}\n")

    def describe(self) -> str:
        """Say how much is done, how fast, and the time left."""
        seconds = self.measure_time()
        line = f"{self.documents:,} documents, {format_rate(self.documents, self.subwords, seconds)}"
        if self.skipped < self.position < self.total:
            left = seconds * (self.total - self.position) / (self.position - self.skipped)
            line += f", {100 * self.position / self.total:.0f} % read, {format_time(left)} left"
        return line

    def close(self) -> None:
        """End the line of a terminal."""
        if self.stream.isatty() and self.documents:
            self._write("\r" + " " * 78 + "\r")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def format_rate(documents: int, subwords: int, seconds: float) -> str:
    """Write documents and sub-words a second."""
    return f"{documents / seconds:,.1f} documents/s, {subwords / seconds:,.0f} sub-words/s"


def format_time(seconds: float) -> str:
    """Write a duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def summarize(run: RunFolder, progress: Progress) -> str:
    """Write the last line of a run: documents, entities by type, errors, time and rate."""
    records, counts = run.done.values(), run.count_entities()
    documents, errors = sum(record.documents for record in records), len(run.list_errors())
    by_type = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
    line = f"{run.output}: {format_count(documents, 'document')}, {counts.total():,} entities"
    line += f" ({by_type})" if by_type else ""
    line += f", {errors:,} not read" if errors else ""
    seconds = time.monotonic() - progress.begin
    if not progress.documents:
        return f"{line}; all of it was done before"
    rate = format_rate(progress.documents, progress.subwords, progress.measure_time())
    earlier = f"; {progress.documents:,} of them now" if progress.documents < documents else ""
    return f"{line}{earlier}; {format_time(seconds)}, {rate}"
