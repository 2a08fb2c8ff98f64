"""Plots of a comparison."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.tasks import split_tasks
from mtl_bioner.comparison.cells import Cells
from mtl_bioner.comparison.statistics import side_by_side
from mtl_bioner.reporting.plots import import_pyplot, save_figure


def draw(cells: Cells, summary: Mapping[str, Any], output: Path) -> list[str]:
    """Plots of what there is; their names."""
    if (pyplot := import_pyplot("plots")) is None:
        return []
    found = {share: side_by_side(cells, share, summary["primary"]["structure"]) for share in cells.fractions}
    drawn = {"differences.png": _draw_differences(pyplot, summary["comparisons"])}
    drawn["f1.png"] = _draw_scores(pyplot, *next(iter(found.items())))
    if len(found) > 1:
        drawn["learning_curves.png"] = _draw_learning_curves(pyplot, found)
    drawn["pairs.png"] = _draw_pairs(pyplot, summary["comparisons"])
    drawn = {name: figure for name, figure in drawn.items() if figure is not None}
    for name, figure in drawn.items():
        save_figure(figure, output / name)
    return list(drawn)


def _draw_differences(pyplot: Any, comparisons: Iterable[Mapping[str, Any]]) -> Any:
    """Differences of macro F1 over all corpora from single-task training, with their 95 % intervals; the primary one
    filled, those of one seed (which leave out what another would change) gray."""
    rows = [row for row in comparisons if row["all"] and len(row["corpora"]) > 1]
    if not rows:
        return None
    figure, axis = pyplot.subplots(figsize=(8, 1.5 + 0.4 * len(rows)), layout="constrained")
    axis.axvline(0, color="gray", linewidth=1)
    for place, row in enumerate(rows):
        low, middle, high = (100 * row[name] for name in ("low", "difference", "high"))
        color = "C0" if row["seeds"] > 1 else "gray"
        filled = color if row["primary"] else "white"
        axis.errorbar(
            middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=color, mfc=filled, capsize=3
        )
        axis.annotate(f"{middle:+.2f}", (middle, place), (0, 5), textcoords="offset points", ha="center", fontsize=8)
    names = [f"{_short(row['system'])}, {100 * row['fraction']:g} %, {_seeds({0: row})}" for row in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.set(xlabel="macro F1 less that of\nsingle-task training, 95 % interval", ylim=(len(rows) - 0.5, -0.7))
    return figure


def _short(system: str) -> str:
    return textwrap.fill(system.replace(",", ", "), 40, max_lines=2, placeholder=" …", break_on_hyphens=False)


def _draw_scores(pyplot: Any, fraction: float, found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Any:
    """Bars of F1 by corpus and system, with the spread over seeds."""
    if not found:
        return None
    systems = list(dict.fromkeys(system for own in found.values() for system in own))
    figure, axis = pyplot.subplots(figsize=(2 + 1.6 * len(found), 4), layout="constrained")
    width = 0.8 / len(systems)
    for number, system in enumerate(systems):
        rows = {place: own[system] for place, own in enumerate(found.values()) if system in own}
        places = [place + (number - (len(systems) - 1) / 2) * width for place in rows]
        axis.bar(places, _percent(rows, "f1"), width, yerr=_percent(rows, "f1_spread"), label=system)
    axis.set_xticks(range(len(found)), [f"{corpus}\n{_seeds(own)}" for corpus, own in found.items()])
    title = f"test split, {100 * fraction:g} % of the training documents"
    axis.set(
        title=title,
        ylabel="F1",
        ylim=(_floor(100 * row["f1"] for own in found.values() for row in own.values()), None),
    )
    figure.legend(loc="outside lower center")  # names of groups are long
    return figure


def _percent(rows: Mapping[Any, Mapping[str, Any]], name: str) -> list[float]:
    return [100 * (row[name] or 0) for row in rows.values()]


def _seeds(rows: Mapping[str, Mapping[str, Any]]) -> str:
    count = next(iter(rows.values()))["seeds"]
    return f"{count} seed{'s' * (count > 1)}"


def _floor(values: Iterable[float]) -> float:
    return max(0.0, min(values, default=0.0) // 10 * 10 - 5)


def _draw_learning_curves(pyplot: Any, found: Mapping[float, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> Any:
    """F1 over the share of training documents, a panel for each corpus."""
    corpora = list(dict.fromkeys(corpus for by_corpus in found.values() for corpus in by_corpus))
    if not corpora:
        return None
    figure, axes = pyplot.subplots(
        1, len(corpora), figsize=(1 + 3 * len(corpora), 4), squeeze=False, layout="constrained"
    )
    systems = list(dict.fromkeys(s for by_corpus in found.values() for own in by_corpus.values() for s in own))
    for axis, corpus in zip(axes[0], corpora, strict=True):
        own = {fraction: by_corpus[corpus] for fraction, by_corpus in sorted(found.items()) if corpus in by_corpus}
        for number, system in enumerate(systems):  # each in its color in all panels, where it has scores or none
            rows = {100 * fraction: by_system[system] for fraction, by_system in own.items() if system in by_system}
            values, spreads = _percent(rows, "f1"), _percent(rows, "f1_spread")
            axis.errorbar(list(rows), values, spreads, marker=".", color=f"C{number}", label=system)
        axis.set(title=corpus, xscale="log", xlabel="training documents, %")
        axis.set_xticks([100 * f for f in own], [f"{100 * f:g}\n{_seeds(rows)}" for f, rows in own.items()])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("F1")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_pairs(pyplot: Any, comparisons: Sequence[Mapping[str, Any]]) -> Any | None:
    """Gain over single-task training of the row's corpus when it is trained with the column's, for groups `a,b`, with
    the most training documents that there are pairs for."""
    found: dict[float, dict[tuple[str, str], float]] = {}
    for row in comparisons:
        pair = split_tasks(row["system"])
        if len(pair) == 2 and len(row["corpora"]) == 1 and row["corpora"][0] in pair:
            own = row["corpora"][0]
            found.setdefault(row["fraction"], {})[own, pair[pair[0] == own]] = 100 * row["difference"]
    if not found:
        return None
    fraction, gains = max(found.items())
    names = sorted({name for pair in gains for name in pair})
    size = 2.5 + 0.8 * len(names)
    figure, axis = pyplot.subplots(figsize=(size + 1, size), layout="constrained")
    most = max([1.0, *map(abs, gains.values())])
    values = [[gains.get((row, column), np.nan) for column in names] for row in names]
    cmap = pyplot.get_cmap("RdBu").with_extremes(bad="lightgray")  # what was not trained is no 0
    image = axis.imshow(values, cmap=cmap, vmin=-most, vmax=most)
    for (row, column), gain in gains.items():
        color = "white" if abs(gain) > 0.6 * most else "black"
        axis.text(names.index(column), names.index(row), f"{gain:+.2f}", ha="center", va="center", color=color)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names)
    title = f"gain of F1 over single-task training,\n{100 * fraction:g} % of the training documents"
    axis.set(title=title, xlabel="trained with", ylabel="scored on")
    figure.colorbar(image)
    return figure
