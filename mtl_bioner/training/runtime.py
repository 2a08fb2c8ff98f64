"""The machine a training runs on: its processes, cores, data types, and what makes a step cheap on a CPU."""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging


if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer


def has_fast_bf16(use_cpu: bool) -> bool:
    """Whether bfloat16 products are computed in hardware: AVX512-bf16 or AMX on a CPU, and most GPUs."""
    if use_cpu:
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


class LaunchError(RuntimeError):
    """The launcher did not start the processes it was asked for."""


def check_processes(world_size: int) -> None:
    """Raises LaunchError where the launcher was to start several processes, and this one is on its own.

    `accelerate launch --cpu --num_processes 2` runs one process and says nothing; it leaves an address for the others
    in the environment, without their number.
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
    """Dropout that draws 8 random bits an element, where torch's on CPU draws a float: a tenth of the time.

    The probability is rounded to a multiple of 1/256, and kept elements are scaled by what was really kept.
    """

    def forward(self, features: Tensor) -> Tensor:
        dropped = min(round(self.p * 256), 255)
        if not self.training or not dropped:
            return features
        size = features.numel()
        draws = torch.empty((size + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = draws.view(torch.uint8)[:size].view(features.shape) >= dropped
        return features * (kept.to(features.dtype) * (256 / (256 - dropped)))


def use_plain_attention(encoder: PreTrainedModel) -> None:
    """Matrix products instead of torch's fused attention kernel, whose backward pass on CPU is slow in bfloat16."""
    encoder.set_attn_implementation("eager")


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
    logging.basicConfig(format="%(levelname)s %(message)s", level=level, stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "datasets", "accelerate"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    transformers_logging.disable_progress_bar()  # of loading and saving weights
    torch.set_flush_denormal(True)  # moments of rare embeddings become denormal, which slows a CPU several times over
    return is_first
