"""Write the report of a comparison from its finished cells: `comparison.json`, `comparison.md` and plots."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2

from mtl_bioner.comparison import table
from mtl_bioner.comparison.arguments import SINGLE
from mtl_bioner.comparison.plots import draw_plots
from mtl_bioner.evaluation.error_analysis import KINDS
from mtl_bioner.evaluation.significance import RESAMPLES
from mtl_bioner.reporting.files import write_json, write_text
from mtl_bioner.reporting.tables import escape_markdown


Row = Mapping[str, Any]

TEMPLATE = Path(__file__).with_name("report.md.jinja")
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
    """Format the report for people: Markdown, in which every value is escaped, with scores in per cent."""
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if hasattr(value, "__html__") else escape_markdown(value),
    )  # fmt: skip
    environment.filters |= {
        "share": lambda fraction: f"{100 * fraction:g} %",
        "percent": lambda score: f"{100 * score:.2f}",
        "signed": lambda difference: f"{100 * difference:+.2f}",
        "spread": format_spread,
        "shell": shlex.join,
    }
    named = [(summary["primary"]["fraction"], system) for system in (SINGLE, summary["primary"]["structure"])]
    main = [row for row in summary["development"] if (row["fraction"], row["system"]) in named]
    rising = [row for row in main if row["rise"] > PLATEAU]
    notes = {"overview": collect_overview(summary["scores"]), "rising": rising, "plateau": PLATEAU}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**summary, **notes, plots=plots, kinds=KINDS, resamples=RESAMPLES)


def format_spread(row: Row, name: str) -> str:
    """Format a mean and its standard deviation over seeds in per cent: `77.30 ± 1.06`."""
    spread = row[f"{name}_spread"]
    return f"{100 * row[name]:.2f}" + ("" if spread is None else f" ± {100 * spread:.2f}")


def collect_overview(scores: Sequence[Row]) -> list[Row]:
    """Collect the F1 of each system by corpus, over all types, and the mean if it has all corpora."""
    corpora = list(dict.fromkeys(row["corpus"] for row in scores if row["type"] == "all"))
    columns = {corpus: corpus for corpus in corpora} | dict([(f"{len(corpora)} corpora", "macro")][: len(corpora) > 1])
    overview = []
    for (fraction, system), rows in groupby(scores, key=lambda row: (row["fraction"], row["system"])):
        if shown := [row for row in rows if row["corpus"] in columns and row["type"] in ("all", "macro")]:
            f1 = dict.fromkeys(columns.values(), "") | {columns[r["corpus"]]: format_spread(r, "f1") for r in shown}
            seeds = max(row["seeds"] for row in shown)
            overview.append({"fraction": fraction, "system": system, "f1": f1, "seeds": seeds})
    return overview
