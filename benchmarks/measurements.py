"""What `train_throughput.py` measures, each in a process of its own: `WORKERS` by name."""

import argparse
import re
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.profiler import ProfilerActivity, profile


sys.path.insert(0, str(Path(__file__).parents[1]))

import run_mtl_ner
from modeling_mtl_bioner import SHARING
from mtl_bioner.training.model_building import build_model
from mtl_bioner.training.runtime import has_fast_bf16, use_byte_dropout


ALL_TASKS = "ncbi,bc5cdr,bc2gm,jnlpba"
TASK_NUMBERS = (1, 2, 4, 8, 16, 32)
WARM_UP = 4  # steps that are not timed

# Parts of a training step, each with a pattern of the names of its operations; the first that matches counts.
PARTS = {
    "matrix products": r"aten::(add|b)?mm$|mkldnn|linear",
    "attention kernel": r"scaled_dot_product|_softmax",
    "random numbers of dropout": r"bernoulli|random_",
    "activation function": r"gelu",
    "optimizer": r"adamw|Optimizer",
    "embeddings, zeroing": r"embedding|index|fill_|zero",
    "element-wise and other": r"",
}


def prepare(arguments: argparse.Namespace, folder: str, tasks: str) -> Any:
    """Prepare the run that `run_mtl_ner.py --do_train` would train, without evaluation and checkpoints."""
    # As `run_mtl_ner.py` does, and `run_ner.py` doesn't.
    torch.set_flush_denormal(arguments.worker not in ("stock", "profile_stock"))
    options = {"tasks": tasks, "data_dir": arguments.data_dir, "model_name_or_path": arguments.model_name_or_path}
    options |= {"output_dir": folder, "do_train": True, "eval_strategy": "no", "save_strategy": "no"}
    options |= {"disable_tqdm": True, "num_train_epochs": 100, "teachers": "none"}
    return run_mtl_ner.prepare([f"--{name}={value}" for name, value in options.items()])


def make_stock_trainer(run: Any, folder: str, **settings: Any) -> transformers.Trainer:
    """Make a Trainer as `run_ner.py` does, on the rows of a run with one task; `settings` are `TrainingArguments`."""
    no_device = not torch.accelerator.is_available()
    settings = {"use_cpu": no_device, "save_strategy": "no", "disable_tqdm": True} | settings
    args = transformers.TrainingArguments(folder, **settings)
    transformers.set_seed(args.seed)
    rows, name = run.rows["train"].rows, run.model_args.model_name_or_path
    data = [{"input_ids": r.input_ids, "attention_mask": [1] * len(r.input_ids), "labels": r.labels} for r in rows]
    return transformers.Trainer(
        model=transformers.AutoModelForTokenClassification.from_pretrained(name, num_labels=3),
        args=args,
        train_dataset=data,
        data_collator=transformers.DataCollatorForTokenClassification(run.tokenizer),
        processing_class=run.tokenizer,
    )


class Clock(transformers.TrainerCallback):
    """Time the steps after the first few, count their sub-words, and stop training after a number of seconds."""

    def __init__(self, seconds: float, profiler: Any = None) -> None:
        self.seconds, self.profiler = seconds, profiler
        self.subwords = self.padded = self.steps = 0
        self.start = self.end = 0.0

    def count(self, module: Any, args: Any, inputs: dict[str, Any]) -> None:
        """Count the sub-words of a batch, as a hook before the model's forward pass."""
        if self.steps >= WARM_UP:
            self.subwords += int(inputs["attention_mask"].sum())
            self.padded += inputs["attention_mask"].numel()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps, self.end = state.global_step, time.perf_counter()
        if self.steps == WARM_UP:
            self.start = self.end
            if self.profiler is not None:
                self.profiler.start()
        control.should_training_stop = self.steps > WARM_UP and self.end - self.start > self.seconds


def train_for(trainer: transformers.Trainer, seconds: float, profiler: Any = None) -> dict[str, float]:
    """Train for some seconds; return sub-words a second, share of padding, and peak memory of the process in MiB."""
    clock = Clock(seconds, profiler)
    trainer.model.register_forward_pre_hook(clock.count, with_kwargs=True)
    trainer.add_callback(clock)
    trainer.train()
    return {
        "subwords_per_second": clock.subwords / (clock.end - clock.start),
        "padding": 1 - clock.subwords / clock.padded,
        "steps": clock.steps - WARM_UP,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_training(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure or profile one of the two trainers."""
    with tempfile.TemporaryDirectory() as folder:
        run = prepare(arguments, folder, ALL_TASKS if arguments.worker == "four" else "ncbi")
        stock = arguments.worker in ("stock", "profile_stock")
        trainer = make_stock_trainer(run, folder) if stock else run_mtl_ner.make_trainer(run)
        if arguments.worker.startswith("profile"):
            return measure_parts(trainer, arguments.seconds)
        linear = [module for module in run.model.encoder.modules() if type(module).__name__ == "Linear"]
        weights = sum(module.weight.numel() for module in linear)
        return train_for(trainer, arguments.seconds) | {"linear_weights": weights, "bf16": trainer.args.bf16}


def measure_parts(trainer: transformers.Trainer, seconds: float) -> dict[str, float]:
    """Return the share of each of `PARTS` in the time of training steps."""
    profiler = profile(activities=[ProfilerActivity.CPU])
    train_for(trainer, seconds, profiler)
    profiler.stop()
    shares = dict.fromkeys(PARTS, 0.0)
    for event in profiler.key_averages():
        part = next(name for name, pattern in PARTS.items() if re.search(pattern, event.key))
        shares[part] += event.self_cpu_time_total
    return {name: value / sum(shares.values()) for name, value in shares.items()}


def measure_tasks(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the seconds of a training step by the number of tasks, and the speed of matrix products."""
    numbers = (TASK_NUMBERS[0], TASK_NUMBERS[-1]) if arguments.worker == "quick" else TASK_NUMBERS
    seconds = measure_steps(arguments, {number: (number, "hard") for number in numbers})
    return {"tasks": {"step_seconds": seconds}, "ceiling": measure_ceiling()}


def measure_steps(arguments: argparse.Namespace, setups: dict[Any, tuple[int, str]]) -> dict[Any, float]:
    """Return the median seconds of a step on one batch, by setup: number of tasks among its rows, and sharing layer.

    The setups take turns, so that other work of the machine slows down all alike.
    """
    batch, length, models = 64, 32, {}
    for setup, (number, sharing) in setups.items():
        tasks = [{"name": f"t{i}", "types": ["Disease"]} for i in range(number)]
        no_dropout = {"attention_probs_dropout_prob": 0.0}
        model = build_model(arguments.model_name_or_path, tasks, no_dropout, sharing=sharing).train()
        use_byte_dropout(model)
        models[setup] = model, torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    inputs = {"input_ids": torch.randint(1000, 20_000, (batch, length)), "attention_mask": torch.ones(batch, length)}
    labels = torch.randint(0, 3, (batch, length))
    times: dict[Any, list[float]] = {setup: [] for setup in setups}
    bf16, end = has_fast_bf16(use_cpu=True), time.perf_counter() + arguments.seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for setup, (model, optimizer) in models.items():
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = model(**inputs, labels=labels, task_id=torch.arange(batch) % setups[setup][0]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            times[setup].append(time.perf_counter() - start)
    return {setup: statistics.median(seconds[1:]) for setup, seconds in times.items()}


def measure_ceiling() -> dict[str, float]:
    """Return the floating-point operations a second of this machine's matrix products, by data type."""
    speeds = {}
    for dtype in (torch.float32, torch.bfloat16) if has_fast_bf16(use_cpu=True) else (torch.float32,):
        matrix, seconds = torch.randn(2048, 2048, dtype=dtype), []
        for _ in range(8):
            start = time.perf_counter()
            matrix @ matrix
            seconds.append(time.perf_counter() - start)
        speeds[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / min(seconds)
    return speeds


WORKERS = {
    **dict.fromkeys(("stock", "own", "four", "profile_stock", "profile_own"), measure_training),
    "tasks": measure_tasks,
    "sharing": lambda arguments: {"step_seconds": measure_steps(arguments, {name: (8, name) for name in SHARING})},
    # In one process, since each takes 10 s to start.
    "quick": lambda arguments: {"own": [measure_training(arguments)], **measure_tasks(arguments)},
}
