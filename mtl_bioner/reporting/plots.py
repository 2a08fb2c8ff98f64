"""Plot learning curves, the reliability of scores, and gates; scores and gates in per cent."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.formats.files import write_then_rename
from mtl_bioner.evaluation.calibration import bin_by_score, compute_calibration_error
from mtl_bioner.reporting.files import write_json


logger = logging.getLogger(__name__)

# Okabe and Ito's, which colour-blind readers can tell apart; their yellow is too pale on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def import_pyplot(what: str) -> Any:
    """Import matplotlib's pyplot for drawing to files; without matplotlib, warn and return None."""
    try:
        from matplotlib import pyplot
    except ImportError:
        logger.warning("no %s: install matplotlib (pip install matplotlib)", what)
        return None
    pyplot.switch_backend("Agg")
    # Names of a user's files and tasks may hold dollar signs. From the eighth line on, lines are dashed.
    lines = pyplot.cycler(linestyle=["-", "--"]) * pyplot.cycler(color=COLORS)
    pyplot.rcParams.update({"text.parse_math": False, "axes.prop_cycle": lines})
    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a plot whole or not at all, and close it."""
    from matplotlib import pyplot

    pyplot.close(figure)  # pyplot forgets it; it can still be drawn
    with write_then_rename(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix("."))


def write_gates(output: Path, gates: Sequence[Sequence[float | None]], task_names: Sequence[str]) -> None:
    """Write mean gates as `gates.json`, task -> other task -> gate from 0 to 1, and as a heat map, `gates.png`."""
    rows = [{k: gate for k, gate in zip(task_names, row, strict=True) if gate is not None} for row in gates]
    write_json(output / "gates.json", dict(zip(task_names, rows, strict=True)))
    if (pyplot := import_pyplot("gates.png")) is None:
        return
    size = 2.5 + 0.7 * len(task_names)
    figure, axis = pyplot.subplots(figsize=(size + 1, size), layout="compressed")
    percent = 100 * np.array(gates, float)  # NaN where there is no gate
    figure.colorbar(axis.imshow(percent, cmap="cividis", vmin=0, vmax=100))
    for (row, column), gate in np.ndenumerate(percent):
        if np.isfinite(gate):
            color = "black" if gate > 50 else "white"
            axis.text(column, row, f"{gate:.1f}", ha="center", va="center", color=color)
    axis.set_xticks(range(len(task_names)), task_names, rotation=30, ha="right")
    axis.set_yticks(range(len(task_names)), task_names)
    axis.set(title="mean gate (%)", xlabel="gate opened by task", ylabel="rows of task")
    save_figure(figure, output / "gates.png")


def plot_reliability(path: Path, scored: Mapping[str, tuple[Sequence[float], Sequence[bool]]]) -> None:
    """Plot the share of correct entities over their score, in ten bins; scores are best on the diagonal.

    `scored` holds by task the scores of its entities and whether each is correct; the legend names tasks without any.
    """
    if (pyplot := import_pyplot("reliability diagram")) is None:
        return
    figure, axis = pyplot.subplots(figsize=(5, 4.7 + 0.22 * len(scored)), layout="constrained")
    axis.axline((0, 0), slope=1, color="grey", linewidth=1)
    tasks = {}
    for name, (scores, right) in scored.items():
        values, shares, counts = np.reshape(bin_by_score(scores, right), (-1, 3)).T
        (line,) = axis.plot(100 * values, 100 * shares, linewidth=1)
        axis.scatter(100 * values, 100 * shares, 8 * counts**0.5, line.get_color(), alpha=0.7)
        error = f"{100 * compute_calibration_error(scores, right):.1f} %" if len(scores) else "no entity predicted"
        tasks[f"{name}: {error}"] = line
    sizes = {f"{count:,}": axis.scatter([], [], 8 * count**0.5, "grey") for count in (1, 10, 100, 1000)}
    axis.legend(sizes.values(), sizes, title="entities")
    figure.legend(tasks.values(), tasks, title="expected calibration error", loc="outside lower center")
    axis.set(title="Reliability on the test split", xlabel="score (%)", ylabel="correct entities (%)")
    axis.set(xlim=(-3, 103), ylim=(-3, 103))
    axis.grid(alpha=0.3)
    save_figure(figure, path)


def plot_curves(path: Path, history: Sequence[Mapping[str, Any]], task_names: Sequence[str]) -> None:
    """Plot training loss and development F1 of each task over the epochs; nothing if nothing was trained."""
    panels = {}
    for title, key, factor in ("training loss", "loss_{}", 1), ("development F1 (%)", "eval_{}_f1", 100):
        logged = {name: [e for e in history if {"epoch", key.format(name)} <= e.keys()] for name in task_names}
        curves = {name: [(e["epoch"], factor * e[key.format(name)]) for e in logged[name]] for name in task_names}
        if any(curves.values()):
            panels[title] = curves
    if "training loss" not in panels or (pyplot := import_pyplot("learning curves")) is None:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4), layout="constrained", squeeze=False)
    shown = [name for name in task_names if any(curves[name] for curves in panels.values())]
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        lines = [axis.plot(*np.reshape(curves[name], (-1, 2)).T, marker=".")[0] for name in shown]
        axis.set(title=title, xlabel="epoch", xlim=(0, None))
        axis.grid(alpha=0.3)
    figure.legend(lines, shown, loc="outside lower center", ncols=2 * len(panels))
    save_figure(figure, path)
