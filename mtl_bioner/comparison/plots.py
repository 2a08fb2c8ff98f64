"""Plot a comparison; all scores in per cent."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame

from dataset_scripts.tasks import split_tasks
from mtl_bioner.reporting.plots import import_pyplot, save_figure


Rows = Sequence[Mapping[str, Any]]


def draw_plots(scores: Rows, comparisons: Rows, output: Path) -> list[str]:
    """Draw what there is to draw, from `list_side_by_side` and `list_differences`; return the names of the files."""
    if (pyplot := import_pyplot("plots")) is None:
        return []
    table = DataFrame(scores, columns=["fraction", "corpus", "system", "seeds", "f1", "f1_spread"])
    table = table.assign(f1=100 * table["f1"], f1_spread=100 * table["f1_spread"].astype(float).fillna(0))
    figures = {
        "differences.png": draw_differences(pyplot, comparisons),
        "f1.png": draw_scores(pyplot, table),
        "learning_curves.png": draw_learning_curves(pyplot, table),
        "pairs.png": draw_pairs(pyplot, comparisons),
    }
    drawn = {name: figure for name, figure in figures.items() if figure is not None}
    for name, figure in drawn.items():
        save_figure(figure, output / name)
    return list(drawn)


def draw_differences(pyplot: Any, comparisons: Rows) -> Any:
    """Draw the differences of macro F1 over all corpora from single-task training, with their 95 % intervals.

    The primary one is filled; those of one seed, whose intervals leave out what another would change, are gray.
    """
    rows = [row for row in comparisons if row["all"] and len(row["corpora"]) > 1]
    if not rows:
        return None
    figure, axis = pyplot.subplots(figsize=(8, 1.5 + 0.4 * len(rows)), layout="constrained")
    axis.axvline(0, color="gray", linewidth=1)
    labels = []
    for place, row in enumerate(rows):
        low, middle, high = (100 * row[name] for name in ("low", "difference", "high"))
        color = "C0" if row["seeds"] > 1 else "gray"
        filled, error = color if row["primary"] else "white", [[middle - low], [high - middle]]
        axis.errorbar(middle, place, xerr=error, fmt="o", color=color, mfc=filled, capsize=3)
        axis.annotate(f"{middle:+.2f}", (middle, place), (0, 5), textcoords="offset points", ha="center", fontsize=8)
        system = row["system"].replace(",", ", ")
        system = textwrap.fill(system, 40, max_lines=2, placeholder=" …", break_on_hyphens=False)
        labels.append(f"{system}, {100 * row['fraction']:g} %, {_count_seeds(row['seeds'])}")
    axis.set_yticks(range(len(rows)), labels)
    axis.set_ylim(len(rows) - 0.5, -0.7)
    axis.set_xlabel("difference of macro F1 from single-task\ntraining in percentage points, 95 % interval")
    return figure


def _count_seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


def draw_scores(pyplot: Any, table: DataFrame) -> Any:
    """Draw the F1 of each system by corpus at the largest fraction as dots, with the spread over seeds."""
    if table.empty:
        return None
    fraction = table["fraction"].max()
    largest = table[table["fraction"] == fraction]
    seeds = largest.groupby("corpus", sort=False)["seeds"].first()
    systems = largest.groupby("system", sort=False)
    figure, axis = pyplot.subplots(figsize=(2 + 1.6 * len(seeds), 4), layout="constrained")
    for number, (system, rows) in enumerate(systems):
        places = seeds.index.get_indexer(rows["corpus"]) + 0.8 * ((number + 0.5) / len(systems) - 0.5)
        axis.errorbar(places, rows["f1"], rows["f1_spread"], fmt="o", label=system)
    axis.set_xticks(range(len(seeds)), [f"{corpus}\n{_count_seeds(count)}" for corpus, count in seeds.items()])
    axis.set(title=f"test split, {100 * fraction:g} % of the training documents", ylabel="F1, %")
    axis.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center")  # names of groups are long
    return figure


def draw_learning_curves(pyplot: Any, table: DataFrame) -> Any:
    """Draw F1 over the share of the training documents, a panel for each corpus."""
    if table["fraction"].nunique() < 2:
        return None
    panels, systems = table.groupby("corpus", sort=False), table["system"].unique()
    size = (1 + 3 * len(panels), 4)
    figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (corpus, panel) in zip(axes[0], panels, strict=True):
        panel = panel.sort_values("fraction", kind="stable")
        for number, system in enumerate(systems):  # each in its color in all panels, where it has scores or none
            rows = panel[panel["system"] == system]
            style = {"marker": ".", "color": f"C{number}", "label": system}
            axis.errorbar(100 * rows["fraction"], rows["f1"], rows["f1_spread"], **style)
        seeds = panel.groupby("fraction")["seeds"].first()
        axis.set(title=corpus, xscale="log", xlabel="training documents, %")
        ticks = [f"{100 * fraction:g}\n{_count_seeds(count)}" for fraction, count in seeds.items()]
        axis.set_xticks(100 * seeds.index, ticks)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("F1, %")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def draw_pairs(pyplot: Any, comparisons: Rows) -> Any:
    """Draw what the corpus of a row gains over single-task training by being trained with the corpus of a column.

    They are from groups `a,b`, at the largest fraction that has any.
    """
    gains: dict[float, dict[tuple[str, str], float]] = {}
    for row in comparisons:
        pair = split_tasks(row["system"])
        if len(pair) == 2 and len(row["corpora"]) == 1 and (corpus := row["corpora"][0]) in pair:
            gains.setdefault(row["fraction"], {})[corpus, pair[pair[0] == corpus]] = 100 * row["difference"]
    if not gains:
        return None
    fraction, by_pair = max(gains.items())
    names = sorted({name for pair in by_pair for name in pair})
    size, most = 2.5 + 0.8 * len(names), max([1.0, *map(abs, by_pair.values())])
    figure, axis = pyplot.subplots(figsize=(size + 1, size), layout="constrained")
    values = [[by_pair.get((row, column), np.nan) for column in names] for row in names]
    cmap = pyplot.get_cmap("RdBu").with_extremes(bad="lightgray")  # a pair that was not trained is no 0
    figure.colorbar(axis.imshow(values, cmap=cmap, vmin=-most, vmax=most))
    for (row, column), gain in by_pair.items():
        color = "white" if abs(gain) > 0.6 * most else "black"
        axis.text(names.index(column), names.index(row), f"{gain:+.2f}", ha="center", va="center", color=color)
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_title(f"gain of F1 over single-task training in points,\n{100 * fraction:g} % of the training documents")
    axis.set(xlabel="trained with", ylabel="scored on")
    return figure
