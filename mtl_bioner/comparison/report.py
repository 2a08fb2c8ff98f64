"""The report of a comparison, from its finished cells: `comparison.json`, `comparison.md` and plots.

A *system* is what a reader chooses between: `single`, a model of its own for each task, or one model for all with a
structure. A cell is one training; `run_comparison.py` says what it holds.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mtl_bioner.comparison.cells import SINGLE, Cells, Primary
from mtl_bioner.comparison.plots import draw
from mtl_bioner.comparison.statistics import compare, costs, development, errors, scores, settings, tuning
from mtl_bioner.evaluation.error_analysis import KINDS
from mtl_bioner.evaluation.significance import RESAMPLES
from mtl_bioner.reporting.files import write_json, write_text
from mtl_bioner.reporting.tables import format_markdown_table


Table = list[Sequence[Any]]


def write(contents: Sequence[Mapping[str, Any]], primary: Primary, output: Path) -> None:
    """The whole report of the finished cells."""
    cells = Cells(contents)
    if not cells.runs:
        return
    summary = {
        "primary": asdict(primary),
        "scores": scores(cells),
        "comparisons": compare(cells, primary),
        "development": development(cells),
        "tuning": tuning(cells),
        "other_documents": cells.trained_on_others(),
        "costs": costs(cells),
        "errors": errors(cells),
        "settings": settings(contents),
    }
    plots = draw(cells, summary, output)
    write_json(output / "comparison.json", summary, indent=1)
    write_text(output / "comparison.md", markdown(summary, plots))


def markdown(summary: Mapping[str, Any], plots: Sequence[str]) -> str:
    """The report for people; scores in per cent."""
    reports = summary["errors"]
    corpora = list(dict.fromkeys(row["corpus"] for row in summary["scores"] if row["type"] == "all"))
    macro = ["macro"] * (len(corpora) > 1)
    tables = [
        ("## F1 side by side", _overview_rows(summary["scores"], corpora),
         ["training documents", "system", *corpora, *macro, "seeds"]),
        ("## Scores", _score_rows(summary["scores"]),
         ["training documents", "system", "corpus", "type", "P", "R", "F1", "seeds"]),
        ("## Differences from single-task training", _comparison_rows(summary["comparisons"]),
         ["training documents", "system", "on", "difference of F1", "95 % interval", "p", "corrected", "seeds"]),
        ("## On the development splits", _development_rows(summary["development"]),
         ["training documents", "system", "tasks", "macro F1", "best epoch", "rise of the last evaluation", "seeds"]),
        ("### Tuned, with the first seed", _tuning_rows(summary["tuning"]),
         ["training documents", "system", "tasks", "argument", "taken", "macro F1 by value"]),
        ("## Cost", _cost_rows(summary["costs"]),
         ["system", "minutes", "rows", "steps", "million sub-words", "million parameters", "encoder passes", "seeds"]),
        ("## Settings", _settings_rows(summary["settings"]),
         ["training documents", "epochs", "computed in", "arguments"]),
        ("## Errors, mean of a training", _error_rows(reports), ["system", "corpus", "type", *KINDS, "seeds"]),
        ("### Recall", _recall_rows(reports), ["system", "corpus", "mentions seen in training", "unseen ones"]),
        ("### Most frequent", _example_rows(reports), ["system", "corpus", *KINDS]),
    ]  # fmt: skip
    parts = ["# Single-task against multi-task training", _verdict(summary), summary["primary"]["note"]]
    parts += [_plateau_note(summary), _rows_note(summary), EXPLANATION]
    for title, rows, header in tables:
        parts += [title, format_markdown_table(header, rows)] if rows else []
    parts += [f"![{name}]({name})" for name in plots]
    return "\n\n".join(filter(None, parts)) + "\n"


EXPLANATION = (
    "`single` is a model for each task; `taught` one model with hard sharing and these as teachers, whose "
    "training comes on top of its own; `hard`, `cross` and so on are one model with that sharing layer; other "
    "systems go by their tasks. F1 is strict, on the test split, with the standard deviation over seeds. "
    "Intervals and p are those of a paired bootstrap over documents, and over seeds where there are several (of "
    f"one seed they leave out what another would change; {RESAMPLES:,} draws, so p is at least {2 / RESAMPLES:g}). "
    "The corrected p are Holm's, over all comparisons but the primary one. Minutes are of machines that may differ, "
    "with whatever ran beside; sub-words are what was computed."
)


PLATEAU = 0.005  # of F1, in the last evaluation


def _plateau_note(summary: Mapping[str, Any]) -> str:
    """Which trainings of the primary comparison were still getting better when they ended."""
    named = summary["primary"]
    found = [
        f"`{row['system']}` on {row['tasks']} ({100 * row['rise']:+.2f})"
        for row in summary["development"]
        if row["fraction"] == named["fraction"]
        and row["system"] in (SINGLE, named["structure"])
        and row["rise"] > PLATEAU
    ]
    if not found:
        return ""
    return (
        f"**Not at their plateau**: development F1 rose by more than {100 * PLATEAU:g} at the last evaluation of "
        f"{', '.join(found)}. Longer training may change the difference."
    )


def _rows_note(summary: Mapping[str, Any]) -> str:
    found = [f"`{system}` on {corpus} ({100 * share:g} %)" for system, share, corpus in summary["other_documents"]]
    return f"**Not trained on the documents of single-task training: {', '.join(found)}.**" if found else ""


def _verdict(summary: Mapping[str, Any]) -> str:
    named = summary["primary"]
    about = (
        f"Primary comparison, named beforehand: one `{named['structure']}` model for {', '.join(named['corpora'])} "
        f"against a model for each, with {100 * named['fraction']:g} % of the training documents. "
    )
    for row in summary["comparisons"]:
        if row["primary"]:
            once = "" if row["seeds"] > 1 else " With one seed, the interval leaves out what another one would change."
            planned = f", {named['seeds']} were planned" if named["seeds"] else ""
            sure = "" if row["low"] > 0 or row["high"] < 0 else ", which chance can explain"
            return (
                f"{about}Macro F1 differs by **{100 * row['difference']:+.2f}** (95 % interval "
                f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}, p = {row['p']:.4f}){sure}; "
                f"{row['seeds']} seed(s){planned}.{once}"
            )
    return f"{about}Not all of its cells are finished yet."


def _overview_rows(rows: Sequence[Mapping[str, Any]], corpora: Sequence[str]) -> Table:
    found: dict[tuple[float, str], dict[str, Mapping[str, Any]]] = {}
    names = [*corpora, *[f"{len(corpora)} corpora"] * (len(corpora) > 1)]
    for row in rows:
        if row["corpus"] in names and row["type"] in ("all", "macro"):
            found.setdefault((row["fraction"], row["system"]), {})[row["corpus"]] = row
    return [
        [
            f"{100 * fraction:g} %", system,
            *(_with_spread(own[name], "f1") if name in own else "" for name in names),
            max(row["seeds"] for row in own.values()),
        ]
        for (fraction, system), own in found.items()
    ]  # fmt: skip


def _score_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    return [
        [
            f"{100 * row['fraction']:g} %", row["system"], row["corpus"], row["type"],
            *(_with_spread(row, name) for name in ("precision", "recall", "f1")), row["seeds"],
        ]
        for row in rows
    ]  # fmt: skip


def _with_spread(row: Mapping[str, Any], name: str) -> str:
    spread = row[f"{name}_spread"]
    return f"{100 * row[name]:.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}")


def _development_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    return [
        [
            f"{100 * row['fraction']:g} %", row["system"], row["tasks"], f"{100 * row['f1']:.2f}",
            f"{row['best_epoch']:.3g} of {row['epochs']:g}", f"{100 * row['rise']:+.2f}", row["seeds"],
        ]
        for row in rows
    ]  # fmt: skip


def _tuning_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    return [
        [
            f"{100 * row['fraction']:g} %", row["system"], row["tasks"], row["argument"], row["value"],
            ", ".join(f"{value}: {100 * f1:.2f}" for value, f1 in row["development"].items()),
        ]
        for row in rows
    ]  # fmt: skip


def _comparison_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    return [
        [
            f"{100 * row['fraction']:g} %", row["system"],
            "macro over all" if row["all"] else "macro over " * (len(row["corpora"]) > 1) + _scored_on(row),
            f"{100 * row['difference']:+.2f}", f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}",
            f"{row['p']:.4f}", "primary" if row["primary"] else f"{row['p_corrected']:.3f}",
            row["seeds"],
        ]
        for row in rows
    ]  # fmt: skip


def _scored_on(row: Mapping[str, Any]) -> str:
    return "; ".join(f"{corpus}: {', '.join(types)}" for corpus, types in row["types"].items())


def _cost_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    return [
        [
            row["system"], f"{row['seconds'] / 60:.1f}", f"{row['rows']:,.0f}", f"{row['steps']:.0f}",
            f"{row['subwords'] / 1e6:.2f}",
            f"{row['parameters'] / 1e6:.2f}", row["encoder_passes"], row["seeds"],
        ]
        for row in rows
    ]  # fmt: skip


def _settings_rows(rows: Iterable[Mapping[str, Any]]) -> Table:
    types = {True: "bf16", False: "fp32", None: ""}  # None: in cells of before there was the argument
    return [
        [
            f"{100 * row['fraction']:g} %", "as by default" if row["epochs"] is None else f"{row['epochs']:g}",
            types[row["bf16"]], shlex.join(row["arguments"]),
        ]
        for row in rows
    ]  # fmt: skip


def _error_rows(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    return [
        [system, corpus, name, *(f"{counts.get(kind, 0):.4g}" for kind in KINDS), own["seeds"]]
        for system, by_corpus in reports.items()
        for corpus, own in by_corpus.items()
        for name, counts in own["by_type"].items()
    ]


def _recall_rows(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    def share(found: float, of: float) -> str:
        return f"{100 * found / of:.2f} of {of:.4g}" if of else ""

    return [
        [system, corpus, share(*own["recall"]["seen"]), share(*own["recall"]["unseen"])]
        for system, by_corpus in reports.items()
        for corpus, own in by_corpus.items()
    ]


def _example_rows(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    def shown(examples: Sequence[Sequence[Any]]) -> str:
        return ", ".join(f"{mention[:40]} {count:.3g}" for mention, _, count in examples[:5])

    return [
        [system, corpus, *(shown(own["examples"][kind]) for kind in KINDS)]
        for system, by_corpus in reports.items()
        for corpus, own in by_corpus.items()
    ]
