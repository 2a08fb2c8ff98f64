"""Keep two processes from writing into one folder at the same time."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


LOCK, OWNER = ".lock", ".lock-owner.json"


class FolderInUseError(ValueError):
    """Another process writes into the folder; the message names it."""


@contextlib.contextmanager
def lock_folder(folder: Path, program: str) -> Iterator[None]:
    """Make a folder and hold it; raise FolderInUseError if another process holds it.

    The system lets go of it when the process ends, however it ends. The lock's file stays, since one that is deleted
    could be held twice; the file beside it only tells others about the owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(folder / LOCK, timeout=0), folder / OWNER
    try:
        lock.acquire()
    except Timeout:
        raise FolderInUseError(
            f"{folder} is in use by {_describe(owner)}; wait for it, or name another folder"
        ) from None
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    content = {"program": program, "process": os.getpid(), "host": socket.gethostname(), "since": since}
    try:
        with contextlib.suppress(OSError):  # such as a full disk, which whatever is written next will tell
            owner.write_text(json.dumps(content), encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _describe(owner: Path) -> str:
    """Say which process holds a lock."""
    try:
        content = json.loads(owner.read_text(encoding="utf-8"))
        return "{program} (process {process} on {host}, since {since})".format(**content)
    except (OSError, ValueError, KeyError):
        return "another process"
