"""End a process at a chosen point of its writing, as SIGKILL or a power cut does."""

import itertools
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


# What changes a folder; `open` for reading comes too, which does no harm.
EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod"}


def run_child(action: Callable[[], Any], folder: Path, point: int | None = None, size: int | None = None) -> int:
    """Run an action in a fork of this process; return its exit status, below 0 if it was killed.

    Args:
        folder: whose files are watched.
        point: kill it before the file system does what it is asked for the `point`-th time there, from 0.
        size: kill it in the middle of a write, as soon as a file reaches so many bytes.
    """
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 70
    try:
        if size is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        if point is not None:
            watch(folder, kill_at(point))
        status = int(action() or 0)
    finally:
        os._exit(status)
    return status


def watch(folder: Path, notice: Callable[[], Any]) -> None:
    """Call a function whenever this process is about to change a folder, or to open a file in it."""
    prefix = f"{folder}{os.sep}"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
        if event in EVENTS and any(os.path.abspath(path).startswith(prefix) for path in paths):
            notice()

    sys.addaudithook(hook)


def kill_at(point: int) -> Callable[[], None]:
    """Make a function that kills this process when it is called for the `point`-th time, from 0."""
    left = itertools.count(point, -1)
    return lambda: os.kill(os.getpid(), signal.SIGKILL) if next(left) == 0 else None


def count_points(action: Callable[[], Any], folder: Path) -> int:
    """Return how often an action, run in a fork, makes the file system do something in a folder."""
    seen: list[None] = []
    reading, writing = os.pipe()

    def count() -> None:
        watch(folder, lambda: seen.append(None))
        assert not action()
        os.write(writing, str(len(seen)).encode())

    assert run_child(count, folder) == 0
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        return int(stream.read())
