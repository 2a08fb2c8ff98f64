"""Training throughput of this project against an unmodified Trainer, on the same rows, alternately.

    python benchmarks/train_throughput.py --data_dir CORPORA --model_name_or_path ENCODER
    python benchmarks/train_throughput.py --data_dir CORPORA --model_name_or_path ENCODER --quick    # within a minute

Both train on the windows of the NCBI corpus that `run_mtl_ner.py` makes. The unmodified Trainer has the defaults of
`run_ner.py`: fp32, batches of 8 in random order, padded to their longest, the encoder's own dropout. Each measurement
is a process of its own, since denormal numbers, threads and memory are properties of a process. Speed is real
sub-words (no padding) a second, of training steps after the first few.

Writes `train_throughput.json` and `.png` into --output_dir, prints a table, and last `ratio: <number>`.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import run_mtl_ner
from mtl_bioner.training.model_building import build_model


sys.path.insert(0, str(Path(__file__).parents[1]))

TASK_NUMBERS = (1, 2, 4, 8, 16, 32)
ALL_TASKS = "ncbi,bc5cdr,bc2gm,jnlpba"
WARM_UP = 4  # steps that are not timed


# ------------------------------------------------------------------------------------------------------- measurements


def prepare(arguments: argparse.Namespace, folder: str, tasks: str) -> Any:
    """The run that `run_mtl_ner.py --do_train` would train, without evaluation and checkpoints."""
    import torch

    torch.set_flush_denormal(
        arguments.worker not in ("stock", "profile_stock")
    )  # as `run_mtl_ner.py` does, and `run_ner.py` doesn't
    options = {"tasks": tasks, "data_dir": arguments.data_dir, "model_name_or_path": arguments.model_name_or_path}
    options |= {"output_dir": folder, "do_train": True, "eval_strategy": "no", "save_strategy": "no"}
    options |= {"disable_tqdm": True, "num_train_epochs": 100, "teachers": "none"}
    return run_mtl_ner.prepare([f"--{name}={value}" for name, value in options.items()])


def stock_trainer(run: Any, folder: str, **settings: Any) -> Any:
    """Trainer as `run_ner.py` sets it up, on the rows of a run with one task; `settings` are `TrainingArguments`."""
    import torch
    from transformers import (
        AutoModelForTokenClassification,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    settings = {
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "disable_tqdm": True,
    } | settings
    args = TrainingArguments(folder, **settings)
    set_seed(args.seed)
    rows = run.rows["train"].rows
    data = [
        {"input_ids": row.input_ids, "attention_mask": [1] * len(row.input_ids), "labels": row.labels} for row in rows
    ]
    return Trainer(
        model=AutoModelForTokenClassification.from_pretrained(run.model_args.model_name_or_path, num_labels=3),
        args=args,
        train_dataset=data,
        data_collator=DataCollatorForTokenClassification(run.tokenizer),
        processing_class=run.tokenizer,
    )


def measure(trainer: Any, seconds: float, profiler: Any = None) -> dict[str, float]:
    """Train for so long; sub-words a second, share of padding, peak memory of the process in MiB."""
    from transformers import TrainerCallback

    seen = {"real": 0, "padded": 0, "steps": 0, "begun": 0.0, "ended": 0.0}

    def count(module: Any, args: Any, inputs: dict[str, Any]) -> None:
        if seen["steps"] >= WARM_UP:
            seen["real"] += int(inputs["attention_mask"].sum())
            seen["padded"] += inputs["attention_mask"].numel()

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen["steps"], seen["ended"] = state.global_step, time.perf_counter()
            if state.global_step == WARM_UP:
                seen["begun"] = seen["ended"]
                if profiler is not None:
                    profiler.start()
            control.should_training_stop = state.global_step > WARM_UP and seen["ended"] - seen["begun"] > seconds

    trainer.model.register_forward_pre_hook(count, with_kwargs=True)
    trainer.add_callback(Clock())
    trainer.train()
    return {
        "subwords_per_second": seen["real"] / (seen["ended"] - seen["begun"]),
        "padding": 1 - seen["real"] / seen["padded"],
        "steps": seen["steps"] - WARM_UP,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_training(arguments: argparse.Namespace) -> dict[str, Any]:
    """One of the two trainers, in this process."""

    with tempfile.TemporaryDirectory() as folder:
        run = prepare(arguments, folder, ALL_TASKS if arguments.worker == "four" else "ncbi")
        stock = arguments.worker in ("stock", "profile_stock")
        trainer = stock_trainer(run, folder) if stock else run_mtl_ner.make_trainer(run)
        if arguments.worker.startswith("profile"):
            return profile(trainer, arguments.seconds)
        linear = sum(
            module.weight.numel() for module in run.model.encoder.modules() if type(module).__name__ == "Linear"
        )
        return measure(trainer, arguments.seconds) | {"linear_weights": linear, "bf16": trainer.args.bf16}


# What an operation of torch is part of, by the first pattern that its name holds.
PARTS = {
    "matrix products": r"aten::(add|b)?mm$|mkldnn|linear",
    "attention kernel": r"scaled_dot_product|_softmax",
    "random numbers of dropout": r"bernoulli|random_",
    "activation function": r"gelu",
    "optimizer": r"adamw|Optimizer",
    "embeddings, zeroing": r"embedding|index|fill_|zero",
    "element-wise and other": r"",
}


def profile(trainer: Any, seconds: float) -> dict[str, float]:
    """Share of each of `PARTS` in the time of training steps."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    profiler = torch_profile(activities=[ProfilerActivity.CPU])
    measure(trainer, seconds, profiler)
    profiler.stop()
    shares = dict.fromkeys(PARTS, 0.0)
    for event in profiler.key_averages():
        part = next(name for name, pattern in PARTS.items() if re.search(pattern, event.key))
        shares[part] += event.self_cpu_time_total
    return {name: value / sum(shares.values()) for name, value in shares.items()}


def measure_tasks(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step by the number of tasks, and the speed of this machine's matrix products."""
    numbers = (TASK_NUMBERS[0], TASK_NUMBERS[-1]) if arguments.worker == "quick" else TASK_NUMBERS
    seconds = step_seconds(arguments, {number: (number, "hard") for number in numbers})
    return {"tasks": {"step_seconds": seconds}, "ceiling": ceiling(arguments)}


def measure_quick(arguments: argparse.Namespace) -> dict[str, Any]:
    """This project's training and then the rest, in one process, since each takes 10 s to start."""
    return {"own": [measure_training(arguments)], **measure_tasks(arguments)}


def measure_sharing(arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a training step by sharing layer, with 8 tasks."""
    from modeling_mtl_bioner import SHARING

    return {"step_seconds": step_seconds(arguments, {name: (8, name) for name in SHARING})}


def step_seconds(arguments: argparse.Namespace, setups: dict[Any, tuple[int, str]]) -> dict[Any, float]:
    """Median seconds of a step on one batch, by setup: number of tasks that its rows belong to, and sharing layer.

    The setups take turns, so that what else the machine does hits all alike.
    """
    import torch

    from mtl_bioner.training.runtime import use_byte_dropout

    batch, length = 64, 32
    models = {}
    for setup, (number, sharing) in setups.items():
        tasks = [{"name": f"t{i}", "types": ["Disease"]} for i in range(number)]
        model = build_model(
            arguments.model_name_or_path, tasks, {"attention_probs_dropout_prob": 0.0}, sharing=sharing
        ).train()
        use_byte_dropout(model)
        models[setup] = model, torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    inputs = {"input_ids": torch.randint(1000, 20_000, (batch, length)), "attention_mask": torch.ones(batch, length)}
    labels = torch.randint(0, 3, (batch, length))
    times: dict[Any, list[float]] = {setup: [] for setup in setups}
    end = time.perf_counter() + arguments.seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for setup, (model, optimizer) in models.items():
            begun = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                loss = model(**inputs, labels=labels, task_id=torch.arange(batch) % setups[setup][0]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            times[setup].append(time.perf_counter() - begun)
    return {setup: statistics.median(own[1:]) for setup, own in times.items()}


def ceiling(arguments: argparse.Namespace) -> dict[str, float]:
    """Floating-point operations a second of this machine's matrix products, by data type."""
    import torch

    found = {}
    for dtype in (torch.float32, torch.bfloat16) if arguments.bf16 else (torch.float32,):
        a = torch.randn(2048, 2048, dtype=dtype)
        best = float("inf")
        for _ in range(8):
            begun = time.perf_counter()
            a @ a
            best = min(best, time.perf_counter() - begun)
        found[str(dtype).removeprefix("torch.")] = 2 * 2048**3 / best
    return found


WORKERS = {
    "stock": measure_training,
    "own": measure_training,
    "four": measure_training,
    "profile_stock": measure_training,
    "profile_own": measure_training,
    "tasks": measure_tasks,
    "sharing": measure_sharing,
    "quick": measure_quick,
}


# ------------------------------------------------------------------------------------------------------------- report


def in_process(arguments: argparse.Namespace, worker: str, seconds: float) -> dict[str, Any]:
    """What a worker measures in a fresh process.

    Raises:
        RuntimeError: it failed; says how.
    """
    command = [sys.executable, __file__, "--worker", worker, "--seconds", str(seconds)]
    command += ["--data_dir", arguments.data_dir, "--model_name_or_path", arguments.model_name_or_path]
    sys.stderr.write(f"measuring {worker} for {seconds:.0f} s\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{worker} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements, the two trainers alternately."""
    report: dict[str, Any] = {"stock": [], "own": []}
    if arguments.quick:
        report["stock"].append(in_process(arguments, "stock", 3.0))
        report |= in_process(arguments, "quick", 6.0)
        return report | summarise(report)
    for _ in range(3):
        for worker in ("stock", "own"):
            report[worker].append(in_process(arguments, worker, 30.0))
    report |= in_process(arguments, "tasks", 90.0)
    report["sharing"] = in_process(arguments, "sharing", 90.0)
    report["four_tasks"] = in_process(arguments, "four", 30.0)
    report["profile"] = {name: in_process(arguments, f"profile_{name}", 10.0) for name in ("stock", "own")}
    return report | summarise(report)


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """Medians over the rounds, their ratio, the share of the machine's ceiling, and the cost of a further task."""
    summary: dict[str, Any] = {}
    for name in ("stock", "own"):
        summary[name] = {
            key: statistics.median(one[key] for one in report[name])
            for key in ("subwords_per_second", "padding", "peak_memory_mib")
        }
        operations = 6 * report[name][0]["linear_weights"] * summary[name]["subwords_per_second"]
        dtype = "bfloat16" if report[name][0]["bf16"] and "bfloat16" in report["ceiling"] else "float32"
        summary[name]["fraction_of_ceiling"] = operations / report["ceiling"][dtype]
    seconds = {int(number): value for number, value in report["tasks"]["step_seconds"].items()}
    slope, intercept = statistics.linear_regression(list(seconds), list(seconds.values()))
    summary["cost_of_a_task"] = slope / (slope + intercept)
    summary["ratio"] = summary["own"]["subwords_per_second"] / summary["stock"]["subwords_per_second"]
    if "sharing" in report:
        own = report["sharing"]["step_seconds"]
        summary["cost_of_sharing"] = {name: value / own["hard"] - 1 for name, value in own.items()}
    if "four_tasks" in report:
        summary["memory_of_four_tasks"] = report["four_tasks"]["peak_memory_mib"] / summary["own"]["peak_memory_mib"]
    return {"summary": summary}


def table(report: dict[str, Any]) -> str:
    """The summary for people."""
    summary = report["summary"]
    lines = [f"{'':20}{'sub-words/s':>12}{'padding':>10}{'of ceiling':>12}{'peak memory':>14}"]
    for name, label in (("stock", "unmodified Trainer"), ("own", "MTL-BioNER")):
        own = summary[name]
        lines.append(
            f"{label:20}{own['subwords_per_second']:12,.0f}{100 * own['padding']:8.1f} %"
            f"{100 * own['fraction_of_ceiling']:10.0f} %{own['peak_memory_mib']:10,.0f} MiB"
        )
    ceilings = ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in report["ceiling"].items())
    lines.append(f"matrix products of this machine: {ceilings}")
    steps = ", ".join(f"{n}: {1000 * s:.0f}" for n, s in report["tasks"]["step_seconds"].items())
    lines.append(f"a step of 64 x 32 sub-words by number of tasks, ms: {steps}")
    lines.append(f"a further task costs {100 * summary['cost_of_a_task']:.2f} % of a step")
    if "cost_of_sharing" in summary:
        costs = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in summary["cost_of_sharing"].items())
        lines.append(f"a step with 8 tasks by sharing layer, against hard: {costs}")
    if "memory_of_four_tasks" in summary:
        lines.append(f"four tasks at once: {summary['memory_of_four_tasks']:.2f} times the peak memory of one")
    for part in PARTS if "profile" in report else ():
        stock, own = (report["profile"][name][part] for name in ("stock", "own"))
        lines.append(
            f"{part:28} {100 * stock:5.1f} % of a step of the Trainer, {100 * own:5.1f} % of one of this project"
        )
    return "\n".join([*lines, f"ratio: {summary['ratio']:.2f}"])


def plot(report: dict[str, Any], path: Path) -> None:
    """Speed of the two, and the time of a step by number of tasks."""
    from mtl_bioner.reporting.plots import import_pyplot, save_figure

    if (pyplot := import_pyplot("plot")) is None:
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for place, name in enumerate(("stock", "own")):
        speeds = [one["subwords_per_second"] for one in report[name]]
        left.bar(place, statistics.median(speeds), color=("tab:gray", "tab:blue")[place])
        left.plot([place] * len(speeds), speeds, "k.", markersize=5)
    left.set(xticks=[0, 1], xticklabels=["unmodified Trainer", "MTL-BioNER"], ylabel="sub-words/s", title="training")
    seconds = report["tasks"]["step_seconds"]
    right.plot([int(number) for number in seconds], [1000 * s for s in seconds.values()], "o-")
    right.set(xlabel="tasks", ylabel="ms a step", title="a step of 64 x 32 sub-words", ylim=(0, None))
    save_figure(figure, path)


def main() -> int:
    """Exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--model_name_or_path", required=True, help="encoder")
    parser.add_argument("--output_dir", default="outputs/benchmarks", help="where the JSON and the plot go")
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=5.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        from mtl_bioner.training.runtime import has_fast_bf16

        arguments.bf16 = has_fast_bf16(use_cpu=True)
        sys.stdout.write(json.dumps(WORKERS[arguments.worker](arguments)) + "\n")
        return 0
    report = run_all(arguments)
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train_throughput.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(report, folder / "train_throughput.png")
    sys.stdout.write(table(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
