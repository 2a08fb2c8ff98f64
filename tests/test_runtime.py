"""Processes, their end by a signal, and dropout on the CPU."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from mtl_bioner.hub.push import PushError
from mtl_bioner.training.runtime import ByteDropout, LaunchError, check_processes, stop_cleanly
from mtl_bioner.training.saving import add_resume_argument, explain_failure, explain_stop


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("environment", "world", "message"),
    [
        ({}, 1, None),
        ({"WORLD_SIZE": "1", "MASTER_ADDR": "here"}, 1, None),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "here", "ACCELERATE_MIXED_PRECISION": "no"}, 2, None),
        ({"MASTER_ADDR": "here"}, 1, None),  # as a cluster's scheduler sets it
        ({"WORLD_SIZE": "2"}, 1, "started 2 processes, but this one trains in a world of 1"),
        ({"MASTER_ADDR": "here", "ACCELERATE_MIXED_PRECISION": "no"}, 1, "asked for several processes but started"),
    ],
)
def test_processes_that_were_not_started_are_noticed(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], world: int, message: str | None
) -> None:
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if message is None:
        check_processes(world)
    else:
        with pytest.raises(LaunchError, match=message):
            check_processes(world)


# Prints "ready" and is then sent a signal. Arguments: what is run, what is run in the end, and whether it reports.
STOPPED = """
import os, signal, sys, time
from mtl_bioner.training.runtime import stop_cleanly
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
with stop_cleanly("program", lambda: "kept: all", sys.argv[3] == "True"):
    try:
        exec(sys.argv[1])
    finally:
        exec(sys.argv[2])
"""
SLEEP = "print('ready', flush=True); time.sleep(60)"
# Python ignores errors in such a callback, as in those of data loaders' workers.
FORK = f"""
def wait_at_the_first(begun=[]): begun or begun.append(1) or exec({SLEEP!r})
os.register_at_fork(after_in_parent=wait_at_the_first)
if not os.fork(): os._exit(0)
while True: time.sleep(0.1)
"""


@pytest.mark.parametrize(
    ("name", "body", "end", "reports", "status"),
    [
        ("SIGINT", SLEEP, "pass", True, 130),
        ("SIGTERM", SLEEP, "raise RuntimeError('connection lost')", True, 143),  # what a signal may lead to
        ("SIGTERM", FORK, "pass", True, 143),
        ("SIGTERM", SLEEP, "pass", False, 143),
        ("SIGHUP", SLEEP, "pass", True, 129),
        ("SIGINT", SLEEP, "os.kill(os.getpid(), signal.SIGTERM)", False, 143),  # a second one, in the clean-up
    ],
)
def test_a_signal_ends_a_process_with_one_line_and_its_status(
    name: str, body: str, end: str, reports: bool, status: int
) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", STOPPED, body, end, str(reports)]
    with subprocess.Popen(arguments, cwd=ROOT, text=True, stdout=-1, stderr=-1) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, name))
        try:
            _, errors = process.communicate(timeout=100)
        finally:
            process.kill()
    assert (process.returncode, errors) == (status, f"program: stopped by {name}; kept: all\n" if reports else "")


def test_without_a_signal_errors_pass_and_handlers_are_restored() -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), stop_cleanly("program", lambda: ""):
        assert signal.getsignal(signal.SIGTERM) != handlers[1]
        raise KeyError
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    def work() -> None:
        with stop_cleanly("program", lambda: ""):
            reached.append(True)

    reached: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(28, "No space left on device", "x"),
            "[Errno 28] No space left on device: 'x'; kept: no checkpoint; ",
        ),
        (
            OSError(28, "No space left"),
            "FOLDER can't be written to ([Errno 28] No space left); free some space; kept: ",
        ),
        (SafetensorError("I/O error: File too large"), "FOLDER can't be written to (I/O error: File too large); free"),
        (
            RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos\nx"),
            "FOLDER can't be written to (",
        ),
        (
            PushError("the Hub refused me/ner"),
            "the Hub refused me/ner; the model is in FOLDER: mtl-bioner push FOLDER",
        ),
        (RuntimeError("shapes differ"), None),
        (KeyError("x"), None),
    ],
)
def test_a_failure_to_write_or_push_tells_what_is_left(error: Exception, told: str | None, tmp_path: Path) -> None:
    (tmp_path / "begun_with.json").touch()
    explained = explain_failure(error, tmp_path, "me/ner")
    assert (explained is None) == (told is None)
    assert told is None or explained.startswith(told.replace("FOLDER", str(tmp_path)))


def test_a_stopped_training_tells_what_is_kept_and_how_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["python", "run.py", "--tasks", "a,b", "--output_dir", "my out"]
    resume = "python run.py --tasks a,b --output_dir 'my out' --resume_from_checkpoint true"
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    again = "python run.py --tasks a,b --output_dir 'my out'"
    assert explain_stop(tmp_path, command) == f"nothing was kept; begin again with: {again}"
    (tmp_path / "begun_with.json").touch()
    assert explain_stop(tmp_path, command) == f"kept: no checkpoint; resume with: {resume}"
    teacher = tmp_path / "teachers" / "a"
    teacher.mkdir(parents=True)
    assert explain_stop(tmp_path, command).startswith("kept: no checkpoint; ")
    (teacher / "run.json").touch()
    assert explain_stop(tmp_path, command).startswith(f"kept: no checkpoint and the teachers in {teacher.parent}; ")
    checkpoint = tmp_path / "checkpoint-9"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 9}))
    (checkpoint / "model.safetensors").touch()
    teachers = f"{checkpoint} and the teachers in {teacher.parent}"
    assert explain_stop(tmp_path, command) == f"kept: {teachers}; resume with: {resume}"
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert f"resume in 2 processes with: {resume}" in explain_stop(tmp_path, command)


@pytest.mark.parametrize(
    "options",
    [
        ["--a", "b", "-c"],
        ["--overwrite_output", "--a", "b", "-c"],
        ["--a", "b", "-c", "--overwrite-output", "true", "--resume_from_checkpoint=x"],
        ["--a", "b", "-c", "--resume_from_checkpoint", "true"],
    ],
)
def test_the_resuming_command_replaces_arguments_about_the_output(options: list[str]) -> None:
    assert add_resume_argument(options) == ["--a", "b", "-c", "--resume_from_checkpoint", "true"]


def test_byte_dropout_drops_and_scales_by_its_probability() -> None:
    torch.manual_seed(0)
    features = torch.ones(333, 1001, requires_grad=True)  # no multiple of 8 elements
    dropout = ByteDropout(0.1)
    dropped = dropout(features)
    kept = dropped != 0
    assert kept.float().mean().item() == pytest.approx(1 - 26 / 256, abs=0.003)  # 0.1 to the nearest 256th
    assert dropped.detach().unique().tolist() == pytest.approx([0.0, 256 / 230])
    dropped.sum().backward()
    assert torch.equal(features.grad, dropped.detach())  # the gradient goes the same way
    assert not torch.equal(dropout(features) != 0, kept)
    torch.manual_seed(0)
    assert torch.equal(dropout(features), dropped)
    deviation = kept.float().mean(1).std().item()
    assert deviation == pytest.approx((0.1016 * 0.8984 / 1001) ** 0.5, rel=0.2)  # elements are independent


def test_byte_dropout_does_nothing_where_nothing_is_dropped() -> None:
    features = torch.randn(3, 5)
    assert ByteDropout(0.0)(features) is features
    assert ByteDropout(0.5).eval()(features) is features
    assert ByteDropout(0.5)(features.to(torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("probability", [0.999, 1.0])
def test_byte_dropout_of_nearly_all_keeps_one_in_256(probability: float) -> None:
    torch.manual_seed(0)
    dropped = ByteDropout(probability)(torch.ones(100_000))
    assert dropped.unique().tolist() == [0.0, 256.0]
    assert dropped.mean().item() == pytest.approx(1, abs=0.2)
