"""Connect to a Ray cluster, keep it quiet, and tell of its failures in one line."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.local import WorkerError
from mtl_bioner.messages import STOPS, summarize_error


ADDRESSES = ("auto", "local")  # and HOST:PORT
_CONNECTING = 10  # seconds


class ModelError(ValueError):
    """The model can't be loaded on a node."""


def parse_address(text: str) -> str:
    """Check the form of a cluster's address.

    Raises:
        ValueError: one that this command can't use.
    """
    if text.startswith("ray://"):
        raise ValueError(f"{text} is for the Ray client; start this command on the cluster, by ray job submit")
    host, _, port = text.rpartition(":")
    if text not in ADDRESSES and not (host and port.isdecimal()):
        raise ValueError(f"{text!r} is no address of a cluster; give HOST:PORT, auto or local, or --ray as the last")
    return text


@contextlib.contextmanager
def connect(address: str) -> Iterator[None]:
    """Connect to a cluster.

    Raises:
        CorpusError: there is none at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # of this process; errors come as exceptions too
    import ray

    if address not in ADDRESSES:
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECTING).close()
        except OSError as error:
            raise CorpusError(f"no Ray cluster at {address} ({error}); check the address, or start it") from None
    # On a run that goes on, Ray Data's filter of what is done takes a CPU beside that of the model.
    only_local = {"include_dashboard": False, "num_cpus": max(2, os.cpu_count() or 1)} if address == "local" else {}
    handlers = {number: signal.getsignal(number) for number in STOPS}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **only_local)
    except (ConnectionError, ValueError, RuntimeError) as error:
        problem = "no Ray cluster is running here" if address == "auto" else f"no Ray cluster at {address}"
        advice = "give HOST:PORT, start one by ray start --head, or try --ray local"
        raise CorpusError(f"{problem} ({summarize_error(error).rstrip('.')}); {advice}") from None
    for number, handler in handlers.items():  # Ray has its own for SIGTERM
        signal.signal(number, handler)
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints messages of the cluster
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def explain_failures() -> Iterator[None]:
    """Turn the errors of tasks and actors into errors of one line."""
    import ray

    try:
        yield
    except ray.exceptions.RayError as error:
        cause = find_cause(error)
        if isinstance(cause, CorpusError):
            raise CorpusError(str(cause)) from None
        if isinstance(cause, WorkerError):
            raise WorkerError(str(cause)) from None
        if isinstance(cause, ModelError):
            share = "; check its name, copy it again, or put it where all nodes find it"
            raise WorkerError(f"{cause}{share}", is_loading=True) from None
        raise WorkerError(f"the cluster failed: {describe_cause(error, cause)}") from None


def find_cause(error: BaseException) -> BaseException:
    """Return what was raised on a worker, out of the errors of Ray around it."""
    while isinstance(cause := getattr(error, "cause", None) or error.__cause__, Exception):
        if type(cause).__module__.startswith("ray.data"):  # marks an error of Ray itself
            break
        error = cause
    return error


def describe_cause(error: BaseException, cause: BaseException) -> str:
    """Write type and message of what went wrong in one line."""
    if not type(cause).__module__.startswith("ray."):
        return f"{type(cause).__name__}: {summarize_error(cause)}"
    # Of an error in an operator, Ray sends the traceback only.
    first = str(error).partition("\nThe above exception")[0]
    return first.strip().splitlines()[-1].strip()


def quieten(context: Any) -> None:
    """Show no steps and advice of Ray Data, and progress on a terminal only."""
    context.enable_progress_bars = sys.stderr.isatty()
    context.issue_detectors_config.detectors = []
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # not the file of the session, which keeps all
            handler.addFilter(_show_warnings_only)


def _show_warnings_only(record: logging.LogRecord) -> bool:
    """Leave out what Ray Data says of each step, and errors, which come as exceptions too."""
    return record.levelno == logging.WARNING and not record.getMessage().startswith("Progress bars disabled")
