"""Training throughput of this project against an unmodified Trainer, on the same rows, alternately.

    python benchmarks/train_throughput.py --data_dir CORPORA --model_name_or_path ENCODER
    python benchmarks/train_throughput.py --data_dir CORPORA --model_name_or_path ENCODER --quick    # within a minute

Both train on the windows of the NCBI corpus that `run_mtl_ner.py` makes. The unmodified Trainer has the defaults of
`run_ner.py`: fp32, batches of 8 in random order, padded to their longest, the encoder's own dropout. Each measurement
is a process of its own, since denormal numbers, threads and memory are properties of a process. Speed is real
sub-words (no padding) a second, of training steps after the first few.

Writes `train_throughput.json` and `.png` into --output_dir, prints a table, and last `ratio: <number>`.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any


TRAINERS = {"stock": "unmodified Trainer", "own": "MTL-BioNER"}


def measure(arguments: argparse.Namespace, worker: str, seconds: float) -> dict[str, Any]:
    """Return what a worker measures in a fresh process; raises RuntimeError with what a failed one wrote."""
    command = [sys.executable, __file__, "--worker", worker, "--seconds", str(seconds)]
    command += ["--data_dir", arguments.data_dir, "--model_name_or_path", arguments.model_name_or_path]
    sys.stderr.write(f"measuring {worker} for {seconds:.0f} s\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{worker} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take all measurements, the two trainers alternately."""
    if arguments.quick:
        return {"stock": [measure(arguments, "stock", 3.0)], **measure(arguments, "quick", 6.0)}
    report: dict[str, Any] = {name: [] for name in TRAINERS}
    for _ in range(3):
        for name in TRAINERS:
            report[name].append(measure(arguments, name, 30.0))
    report |= measure(arguments, "tasks", 90.0)
    report["sharing"] = measure(arguments, "sharing", 90.0)
    report["four_tasks"] = measure(arguments, "four", 30.0)
    report["profile"] = {name: measure(arguments, f"profile_{name}", 10.0) for name in TRAINERS}
    return report


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """Return medians over the rounds, their ratio, the share of the machine's ceiling, and the cost of a task."""
    summary: dict[str, Any] = {}
    for name in TRAINERS:
        rounds, keys = report[name], ("subwords_per_second", "padding", "peak_memory_mib")
        summary[name] = {key: statistics.median(one[key] for one in rounds) for key in keys}
        operations = 6 * rounds[0]["linear_weights"] * summary[name]["subwords_per_second"]
        dtype = "bfloat16" if rounds[0]["bf16"] and "bfloat16" in report["ceiling"] else "float32"
        summary[name]["fraction_of_ceiling"] = operations / report["ceiling"][dtype]
    seconds = {int(number): value for number, value in report["tasks"]["step_seconds"].items()}
    slope, intercept = statistics.linear_regression(list(seconds), list(seconds.values()))
    summary["cost_of_a_task"] = slope / (slope + intercept)
    summary["ratio"] = summary["own"]["subwords_per_second"] / summary["stock"]["subwords_per_second"]
    if "sharing" in report:
        by_layer = report["sharing"]["step_seconds"]
        summary["cost_of_sharing"] = {name: value / by_layer["hard"] - 1 for name, value in by_layer.items()}
    if "four_tasks" in report:
        summary["memory_of_four_tasks"] = report["four_tasks"]["peak_memory_mib"] / summary["own"]["peak_memory_mib"]
    return summary


def format_report(report: dict[str, Any]) -> str:
    """Return the summary as text."""
    summary = report["summary"]
    lines = [f"{'':20}{'sub-words/s':>12}{'padding':>10}{'of ceiling':>12}{'peak memory':>14}"]
    for name, label in TRAINERS.items():
        row = summary[name]
        lines.append(
            f"{label:20}{row['subwords_per_second']:12,.0f}{100 * row['padding']:8.1f} %"
            f"{100 * row['fraction_of_ceiling']:10.0f} %{row['peak_memory_mib']:10,.0f} MiB"
        )
    ceilings = ", ".join(f"{name} {value / 1e9:.0f} GFLOP/s" for name, value in report["ceiling"].items())
    steps = ", ".join(f"{n}: {1000 * s:.0f}" for n, s in report["tasks"]["step_seconds"].items())
    lines.append(f"matrix products of this machine: {ceilings}")
    lines.append(f"a step of 64 x 32 sub-words by number of tasks, ms: {steps}")
    lines.append(f"a further task costs {100 * summary['cost_of_a_task']:.2f} % of a step")
    if "cost_of_sharing" in summary:
        costs = ", ".join(f"{name} {100 * value:+.1f} %" for name, value in summary["cost_of_sharing"].items())
        lines.append(f"a step with 8 tasks by sharing layer, against hard: {costs}")
    if "memory_of_four_tasks" in summary:
        lines.append(f"four tasks at once: {summary['memory_of_four_tasks']:.2f} times the peak memory of one")
    profiles = report.get("profile", {"stock": {}})
    for part in profiles["stock"]:
        stock, own = (100 * profiles[name][part] for name in TRAINERS)
        lines.append(f"{part:28} {stock:5.1f} % of a step of the Trainer, {own:5.1f} % of one of this project")
    return "\n".join([*lines, f"ratio: {summary['ratio']:.2f}"])


def plot(report: dict[str, Any], path: Path) -> None:
    """Plot the speed of the two, and the time of a step by number of tasks."""
    from mtl_bioner.reporting.plots import import_pyplot, save_figure

    if (pyplot := import_pyplot("plot")) is None:
        return
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for place, name in enumerate(TRAINERS):
        speeds = [one["subwords_per_second"] for one in report[name]]
        left.bar(place, statistics.median(speeds), color=("tab:gray", "tab:blue")[place])
        left.plot([place] * len(speeds), speeds, "k.", markersize=5)
    left.set(xticks=[0, 1], xticklabels=TRAINERS.values(), ylabel="sub-words/s", title="training")
    seconds = report["tasks"]["step_seconds"]
    right.plot([int(number) for number in seconds], [1000 * s for s in seconds.values()], "o-")
    right.set(xlabel="tasks", ylabel="ms a step", title="a step of 64 x 32 sub-words", ylim=(0, None))
    save_figure(figure, path)


def main() -> int:
    """Measure, write and print; or measure as a worker, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--model_name_or_path", required=True, help="encoder")
    parser.add_argument("--output_dir", default="outputs/benchmarks", help="where the JSON and the plot go")
    parser.add_argument("--quick", action="store_true", help="within a minute")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=5.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        from measurements import WORKERS  # with torch, which the reporting process doesn't need

        sys.stdout.write(json.dumps(WORKERS[arguments.worker](arguments)) + "\n")
        return 0
    report = measure_all(arguments)
    report["summary"] = summarise(report)
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train_throughput.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(report, folder / "train_throughput.png")
    sys.stdout.write(format_report(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main())
