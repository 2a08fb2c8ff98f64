"""Plots: learning curves, reliability, gates."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.formats.files import write_then_rename
from mtl_bioner.evaluation.calibration import bin_by_score, compute_calibration_error
from mtl_bioner.reporting.files import write_json


logger = logging.getLogger(__name__)


def write_gates(output: Path, gates: Sequence[Sequence[float | None]], task_names: Sequence[str]) -> None:
    """`gates.json`, task -> other task -> mean gate, and the same as a heat map, `gates.png`."""
    output.mkdir(parents=True, exist_ok=True)
    rows = [{k: gate for k, gate in zip(task_names, own, strict=True) if gate is not None} for own in gates]
    write_json(output / "gates.json", dict(zip(task_names, rows, strict=True)))
    if (pyplot := import_pyplot("gates.png")) is None:
        return
    size = 2.5 + 0.7 * len(task_names)
    figure, axis = pyplot.subplots(figsize=(size + 1, size), layout="constrained")
    image = axis.imshow([[math.nan if gate is None else gate for gate in own] for own in gates], vmin=0, vmax=1)
    for t, own in enumerate(gates):
        for k, gate in enumerate(own):
            if gate is not None:
                axis.text(k, t, f"{gate:.2f}", ha="center", va="center", color="black" if gate > 0.5 else "white")
    axis.set(title="mean gate", xlabel="opened by task", ylabel="task that looks through")
    axis.set_xticks(range(len(task_names)), task_names, rotation=30, ha="right")
    axis.set_yticks(range(len(task_names)), task_names)
    figure.colorbar(image)
    save_figure(figure, output / "gates.png")


def import_pyplot(what: str) -> Any:
    """matplotlib's pyplot, drawing to files; None, and a warning, where it isn't installed."""
    try:
        import matplotlib
    except ImportError:
        logger.warning("no %s: install matplotlib (pip install matplotlib)", what)
        return None
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # names of a user's files and tasks may hold dollar signs
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a plot whole or not at all."""
    from matplotlib import pyplot

    with write_then_rename(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix("."))
    pyplot.close(figure)


def plot_reliability(path: Path, scored: Mapping[str, tuple[Sequence[float], Sequence[bool]]]) -> None:
    """Of each task, the share of entities that are right over their score, in ten bins; on the line is best."""
    if (pyplot := import_pyplot("reliability diagram")) is None:
        return
    figure, axis = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, (scores, right) in scored.items():
        bins = bin_by_score(scores, right)
        label = f"{name}, error {compute_calibration_error(scores, right):.3f}"
        axis.plot([score for score, _, _ in bins], [share for _, share, _ in bins], marker=".", label=label)
    axis.set(
        title="entities of the test split", xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1)
    )
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)


def plot_curves(path: Path, history: Sequence[Mapping[str, Any]], task_names: Sequence[str]) -> None:
    """Training loss and development F1 of each task over the epochs."""
    panels = {}
    for title, keys in (
        ("training loss", [f"loss_{name}" for name in task_names]),
        ("development F1", [f"eval_{name}_f1" for name in task_names]),
    ):
        curves = {
            name: [(entry["epoch"], entry[key]) for entry in history if key in entry and "epoch" in entry]
            for name, key in zip(task_names, keys, strict=True)
        }
        if curves := {name: points for name, points in curves.items() if points}:
            panels[title] = curves  # without evaluations there is one panel
    if "training loss" not in panels:  # nothing was trained
        return
    if (pyplot := import_pyplot("learning curves")) is None:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, points in curves.items():
            axis.plot(*zip(*points, strict=True), marker=".", label=name)
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    save_figure(figure, path)
