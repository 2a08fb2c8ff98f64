"""Set up and end the processes of a training, and make its steps cheap on a CPU."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from dataset_scripts.messages import set_up_logging
from mtl_bioner.messages import STOPS


if TYPE_CHECKING:
    from transformers import Trainer


def has_fast_bf16(use_cpu: bool) -> bool:
    """Return whether bfloat16 products are computed in hardware: AVX512-bf16 or AMX on a CPU, and most GPUs."""
    if use_cpu:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


class LaunchError(RuntimeError):
    """The launcher did not start the processes it was asked for."""


def check_processes(world_size: int) -> None:
    """Raise LaunchError if this process trains with fewer others than the launcher was asked for.

    `accelerate launch --cpu --num_processes 2` runs one process without a warning. It leaves an address for the others
    in the environment, but not their number.
    """
    expected = int(os.environ.get("WORLD_SIZE", 1))
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if expected > 1 and expected != world_size:
        raise LaunchError(
            f"the launcher started {expected} processes, but this one trains in a world of {world_size}; with "
            "accelerate, give --multi_gpu (on CPUs too), with torchrun --nproc_per_node"
        )
    if world_size == 1 and by_accelerate and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ:
        raise LaunchError(
            "accelerate was asked for several processes but started one (as it does with --cpu); launch with "
            "--multi_gpu --num_processes N (on CPUs too), or with torchrun --nproc_per_node N"
        )


@contextlib.contextmanager
def stop_cleanly(program: str, explain: Callable[[], str], reports: bool = True) -> Iterator[None]:
    """End the process on SIGINT, SIGTERM or SIGHUP with one line and exit status 130, 143 or 129, without a traceback.

    A second signal ends it at once. In threads, where Python can't handle signals, this does nothing.

    Args:
        program: begins the line.
        explain: returns what the line says after the signal's name; called when the signal has come.
        reports: whether this process writes the line; of several processes only the first should.
    """
    received: list[signal.Signals] = []
    report_unraisable = sys.unraisablehook

    def interrupt(number: int, frame: Any) -> None:
        if received:
            os._exit(128 + number)
        received.append(signal.Signals(number))
        raise KeyboardInterrupt  # which data loaders' workers, where this handler is inherited, take in silence

    def interrupt_again(unraisable: Any) -> None:
        """Repeat a signal that came where Python ignores exceptions, such as in a callback of `os.fork`."""
        if received and unraisable.exc_type is KeyboardInterrupt:
            threading.Timer(0.1, os.kill, (os.getpid(), received.pop())).start()
        else:
            report_unraisable(unraisable)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A shell lets `command &` ignore SIGINT; that stays so.
    signals = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, interrupt) for number in signals}
    sys.unraisablehook = interrupt_again
    try:
        yield
    except BaseException:  # perhaps not the interrupt, but an error that it led to, such as a lost connection
        if not received:
            raise
    finally:
        if not received:
            sys.unraisablehook = report_unraisable
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if received:
        for bar in list(tqdm._instances):  # else the line would be part of the progress bar's
            bar.close()
        if reports:
            sys.stderr.write(f"{program}: stopped by {received[0].name}; {explain()}\n")
        sys.stdout.flush()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            os._exit(128 + received[0])  # Python's own shutdown could wait for processes that are gone
        raise SystemExit(128 + received[0])


def shut_down_processes(trainer: Trainer) -> None:
    """Part from the other processes at the end of a training, before Python shuts down.

    The wrapped model goes first. As the last owner of the process group, its destructor would join the group's threads
    while it holds Python's lock, which a thread that still frees a gathered tensor waits for: now and then a run hung
    at exit (torch 2.13, Gloo). `destroy_process_group` lets go of the lock.
    """
    trainer.model_wrapped = trainer.model
    trainer.accelerator.free_memory()
    gc.collect()
    trainer.accelerator.end_training()


def use_all_cores(device: torch.device) -> None:
    """Undo `OMP_NUM_THREADS=1`, which `accelerate launch` sets where there is no GPU, and all else would wait for."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and os.environ.get("OMP_NUM_THREADS") == "1"
    if launched and device.type == "cpu":
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, available // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


class ByteDropout(nn.Dropout):
    """Drop features by 8 random bits each; torch's dropout on CPU draws a float, which takes ten times as long.

    The probability is rounded to a multiple of 1/256, and kept features are scaled by the share that is really kept.
    """

    def forward(self, features: Tensor) -> Tensor:
        dropped = min(round(self.p * 256), 255)
        if not self.training or not dropped:
            return features
        size = features.numel()
        draws = torch.empty((size + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[:size].view(features.shape) >= dropped
        return features * (kept.to(features.dtype) * (256 / (256 - dropped)))


def use_byte_dropout(model: nn.Module) -> None:
    """Replace every `nn.Dropout` of a model that trains on CPU."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, ByteDropout(child.p).train(child.training))


def set_up_process() -> bool:
    """Set up logging, and how the CPU treats tiny numbers; return whether this process is the one that reports."""
    is_first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if is_first else logging.ERROR
    set_up_logging(level)
    for noisy in ("httpx", "httpx2", "datasets", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()  # of loading and saving weights
    torch.set_flush_denormal(True)  # moments of rare embeddings become denormal, which slows a CPU several times over
    return is_first
