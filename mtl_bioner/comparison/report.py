"""Write the report of a comparison from its finished cells: `comparison.json`, `comparison.md` and plots."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from mtl_bioner.comparison import table
from mtl_bioner.comparison.arguments import SINGLE
from mtl_bioner.comparison.plots import draw_plots
from mtl_bioner.evaluation.error_analysis import KINDS
from mtl_bioner.evaluation.significance import RESAMPLES
from mtl_bioner.reporting.files import write_json, write_text
from mtl_bioner.reporting.tables import format_markdown_table


Row = Mapping[str, Any]

EXPLANATION = (
    "`single` is a model for each task; `taught` is one model with hard sharing and these as teachers, whose training "
    "comes on top of its own; `hard`, `cross` and so on are one model with that sharing layer; other systems are "
    "named by their tasks. F1 is strict, on the test split, with the standard deviation over seeds. Intervals and p "
    "values are from a paired bootstrap over documents, and over seeds if there are several (with one seed they leave "
    f"out what another would change); with {RESAMPLES:,} draws, p is at least {2 / RESAMPLES:g}. Corrected p values "
    "are Holm's, over all comparisons except the primary one. Minutes were measured on machines that may differ, "
    "beside whatever else ran there; sub-words count what was computed."
)
PLATEAU = 0.005  # of F1, in the last evaluation


def write_report(contents: Sequence[Row], primary: Row, output: Path) -> None:
    """Write the report of the finished cells, if there are any; raise ValueError if they can't be compared."""
    if not contents:
        return
    cells = table.make_table(contents)
    summary = {
        "primary": primary,
        "scores": table.list_scores(cells),
        "comparisons": table.list_differences(cells, primary),
        "development": table.list_development(cells),
        "tuning": table.list_tuning(cells),
        "other_documents": table.list_other_documents(cells),
        "costs": table.list_costs(cells),
        "errors": table.average_errors(cells),
        "settings": table.list_settings(contents),
    }
    plots = draw_plots(table.list_side_by_side(cells, primary["structure"]), summary["comparisons"], output)
    write_json(output / "comparison.json", summary, indent=1)
    write_text(output / "comparison.md", format_report(summary, plots))


def format_report(summary: Row, plots: Iterable[str]) -> str:
    """Format the report for people, as Markdown; scores in per cent."""
    parts = ["# Single-task against multi-task training", format_verdict(summary), summary["primary"]["note"]]
    parts += [format_plateau_note(summary), format_documents_note(summary), EXPLANATION]
    for title, rows, columns in list_tables(summary):
        lines = []
        for row in rows:
            line = {"training documents": f"{100 * row['fraction']:g} %"} if "fraction" in row else {}
            lines.append(line | {name: row[name] for name in ("system", "corpus") if name in row} | columns(row))
        parts += [title, format_markdown_table(list(lines[0]), [line.values() for line in lines])] if lines else []
    return "\n\n".join(filter(None, [*parts, *(f"![{name}]({name})" for name in plots)])) + "\n"


def list_tables(summary: Row) -> list[tuple[str, Sequence[Row], Callable[[Row], dict[str, Any]]]]:
    """List title and rows of each table, and the columns after training documents, system and corpus."""
    errors = [{"system": s, "corpus": c, **row} for s, rows in summary["errors"].items() for c, row in rows.items()]
    by_type = [{**row, "type": name, **counts} for row in errors for name, counts in row["by_type"].items()]
    data_types = {True: "bf16", False: "fp32", None: ""}  # None: cells from before the argument
    return [
        ("## F1 side by side", collect_overview(summary["scores"]),
         lambda r: {**r["by_corpus"], "seeds": r["seeds"]}),
        ("## Scores", summary["scores"],
         lambda r: {"type": r["type"], "P": _spread(r, "precision"), "R": _spread(r, "recall"), "F1": _spread(r, "f1"),
                    "seeds": r["seeds"]}),
        ("## Differences from single-task training", summary["comparisons"],
         lambda r: {"on": _format_scope(r), "difference of F1": f"{100 * r['difference']:+.2f}",
                    "95 % interval": f"{100 * r['low']:+.2f} to {100 * r['high']:+.2f}", "p": f"{r['p']:.4f}",
                    "corrected": "primary" if r["primary"] else f"{r['p_corrected']:.3f}", "seeds": r["seeds"]}),
        ("## On the development splits", summary["development"],
         lambda r: {"tasks": r["tasks"], "macro F1": f"{100 * r['f1']:.2f}",
                    "best epoch": f"{r['best_epoch']:.3g} of {r['epochs']:g}",
                    "rise of the last evaluation": f"{100 * r['rise']:+.2f}", "seeds": r["seeds"]}),
        ("### Tuned, with the first seed", summary["tuning"],
         lambda r: {"tasks": r["tasks"], "argument": r["argument"], "taken": r["value"], "macro F1 by value":
                    ", ".join(f"{value}: {100 * f1:.2f}" for value, f1 in r["development"].items())}),
        ("## Cost", summary["costs"],
         lambda r: {"minutes": f"{r['seconds'] / 60:.1f}", "rows": f"{r['rows']:,.0f}", "steps": f"{r['steps']:.0f}",
                    "million sub-words": f"{r['subwords'] / 1e6:.2f}",
                    "million parameters": f"{r['parameters'] / 1e6:.2f}", "encoder passes": r["encoder_passes"],
                    "seeds": r["seeds"]}),
        ("## Settings", summary["settings"],
         lambda r: {"epochs": "as by default" if r["epochs"] is None else f"{r['epochs']:g}",
                    "computed in": data_types[r["bf16"]], "arguments": shlex.join(r["arguments"])}),
        ("## Errors, mean of a training", by_type,
         lambda r: {"type": r["type"], **{kind: f"{r.get(kind, 0):.4g}" for kind in KINDS}, "seeds": r["seeds"]}),
        ("### Recall", errors,
         lambda r: {"mentions seen in training": _share(*r["recall"]["seen"]),
                    "unseen ones": _share(*r["recall"]["unseen"])}),
        ("### Most frequent", errors,
         lambda r: {kind: ", ".join(f"{mention[:40]} {count:.3g}" for mention, _, count in r["examples"][kind][:5])
                    for kind in KINDS}),
    ]  # fmt: skip


def collect_overview(scores: Sequence[Row]) -> list[Row]:
    """Collect the F1 of each system by corpus, over all types, and the mean if it has all corpora."""
    corpora = list(dict.fromkeys(row["corpus"] for row in scores if row["type"] == "all"))
    names = {corpus: corpus for corpus in corpora}
    if len(corpora) > 1:
        names[f"{len(corpora)} corpora"] = "macro"
    overview = []
    for (fraction, system), rows in groupby(scores, key=lambda row: (row["fraction"], row["system"])):
        shown = {
            names[row["corpus"]]: row for row in rows if row["corpus"] in names and row["type"] in ("all", "macro")
        }
        if shown:
            by_corpus = {name: _spread(shown[name], "f1") if name in shown else "" for name in names.values()}
            seeds = max(row["seeds"] for row in shown.values())
            overview.append({"fraction": fraction, "system": system, "by_corpus": by_corpus, "seeds": seeds})
    return overview


def _spread(row: Row, name: str) -> str:
    spread = row[f"{name}_spread"]
    return f"{100 * row[name]:.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}")


def _share(found: float, total: float) -> str:
    return f"{100 * found / total:.2f} of {total:.4g}" if total else ""


def _format_scope(row: Row) -> str:
    scope = "; ".join(f"{corpus}: {', '.join(types)}" for corpus, types in row["types"].items())
    return "macro over all" if row["all"] else "macro over " * (len(row["corpora"]) > 1) + scope


def format_verdict(summary: Row) -> str:
    """Say what the primary comparison is, and how it came out."""
    primary = summary["primary"]
    about = (
        f"Primary comparison, named beforehand: one `{primary['structure']}` model for "
        f"{', '.join(primary['corpora'])} against a model for each, with {100 * primary['fraction']:g} % of the "
        "training documents. "
    )
    row = next((row for row in summary["comparisons"] if row["primary"]), None)
    if row is None:
        return f"{about}Not all of its cells are finished yet."
    chance = "" if row["low"] > 0 or row["high"] < 0 else ", which chance can explain"
    planned = f", {primary['seeds']} were planned" if primary["seeds"] else ""
    once = "" if row["seeds"] > 1 else " With one seed, the interval leaves out what another one would change."
    return (
        f"{about}Macro F1 differs by **{100 * row['difference']:+.2f}** (95 % interval {100 * row['low']:+.2f} to "
        f"{100 * row['high']:+.2f}, p = {row['p']:.4f}){chance}; {row['seeds']} seed(s){planned}.{once}"
    )


def format_plateau_note(summary: Row) -> str:
    """Name the trainings of the primary comparison that were still improving when they ended."""
    primary = summary["primary"]
    rising = ", ".join(
        f"`{row['system']}` on {row['tasks']} ({100 * row['rise']:+.2f})"
        for row in summary["development"]
        if row["fraction"] == primary["fraction"] and row["system"] in (SINGLE, primary["structure"])
        if row["rise"] > PLATEAU
    )
    return rising and (
        f"**Not at their plateau**: development F1 rose by more than {100 * PLATEAU:g} at the last evaluation of "
        f"{rising}. Longer training may change the difference."
    )


def format_documents_note(summary: Row) -> str:
    """Name the systems that were trained on other documents than single-task training."""
    others = [f"`{system}` on {corpus} ({100 * share:g} %)" for system, share, corpus in summary["other_documents"]]
    return f"**Not trained on the documents of single-task training: {', '.join(others)}.**" * bool(others)
