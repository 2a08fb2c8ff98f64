"""Format scores for people, in per cent, as plain text and Markdown.

`python -m mtl_bioner.reporting.tables DIR DIR ...` prints mean and spread over several runs.
"""

import argparse
import itertools
import json
import math
import re
import statistics
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


SPLIT_NAMES = {"eval": "dev", "test": "test"}
KINDS = ("precision", "recall", "f1", "support")


def format_scores(metrics: Mapping[str, float], config: Any) -> str:
    """Format precision, recall and F1 by split, task, corpus (of a task with several) and type."""
    lines = [f"{'split':6}{'task':24}{'of':24}{'precision':>10}{'recall':>9}{'F1':>9}{'support':>9}"]
    silent = []
    for split, shown in SPLIT_NAMES.items():
        rows = {}
        for task in config.tasks:
            prefix = f"{split}_{task['name']}"
            parts = list_score_keys(prefix, task["types"], task.get("corpora", ()))
            parts["words, by seqeval"] = [f"{prefix}_seqeval_{kind}" for kind in KINDS]
            rows |= {f"{task['name']:24}{part}": keys for part, keys in parts.items()}
            if metrics.get(f"{prefix}_precision") == 0 and f"{prefix}_ece" not in metrics:
                silent.append(f"{task['name']} ({shown})")
        rows |= {f"{mean} over tasks": [f"{split}_{mean}_{kind}" for kind in KINDS] for mean in ("micro", "macro")}
        for name, (*keys, support) in rows.items():
            if keys[2] in metrics:
                cells = [f"{100 * metrics[key]:.2f}" if key in metrics else "" for key in keys]
                row = f"{shown:6}{name:48}{cells[0]:>10}{cells[1]:>9}{cells[2]:>9}{metrics.get(support, ''):>9}"
                lines.append(row.rstrip())
    if silent:
        lines.append(f"no entity was predicted, so there is no calibration error: {', '.join(silent)}")
    return "\n".join(lines)


def list_score_keys(prefix: str, types: Sequence[str], corpora: Sequence[str]) -> dict[str, list[str]]:
    """List the keys of precision, recall, F1 and support that a task's scores may have.

    They are listed by what they are of: all, a type, a corpus, a type in it, and each of these by the official rule.
    `prefix` is split and task, or the task alone.
    """
    parts = {}
    for corpus, name, rule in itertools.product(("", *corpora), ("", *types), ("", "official")):
        part = " ".join(filter(None, [corpus, name, rule and "official rule"])) or "all"
        parts[part] = ["_".join(filter(None, [prefix, rule, kind, corpus, name])) for kind in KINDS]
    return parts


def escape_markdown(value: Any) -> str:
    """Escape Markdown and HTML, join lines, and drop invisible characters, some of which turn the text's direction."""
    seen = "".join(c for c in " ".join(str(value).split()) if unicodedata.category(c) not in ("Cc", "Cf"))
    text = seen.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def format_forgetting(metrics: Mapping[str, float]) -> str:
    """Format the F1 of heads that were not trained, before and after training; empty if there are none."""
    keys = [key for key in metrics if key.startswith("before_") and "_f1" in key]  # not `before_init_mem_cpu`
    names = [key.removeprefix("before_") for key in keys]
    rows = {f"test  {name.replace('_', ' ')}": (metrics[f"before_{name}"], metrics[f"after_{name}"]) for name in names}
    return _format_changes("heads that were not trained", ("before", "after"), rows)


def format_sharing_gain(metrics: Mapping[str, float]) -> str:
    """Format the F1 of the single-task models of `--teachers auto` beside the model's; empty if there are none."""
    rows: dict[str, tuple[float, ...]] = {}
    for split, shown in SPLIT_NAMES.items():
        keys = [key for key in metrics if f"single_{key}" in metrics and key.startswith(f"{split}_")]
        pairs = {key.removesuffix("_f1"): (metrics[f"single_{key}"], metrics[key]) for key in keys}
        if len(pairs) > 1:
            pairs["macro over tasks"] = tuple(map(statistics.fmean, zip(*pairs.values(), strict=True)))
        rows |= {f"{shown:6}{name.removeprefix(f'{split}_')}": pair for name, pair in pairs.items()}
    return _format_changes("F1 of each task; one seed, 1 or 2 may be chance", ("alone", "shared"), rows)


def format_trained_documents(scored: Sequence[Mapping[str, Any]]) -> str:
    """Format how many scored documents the saved model was trained on; empty if there are none."""
    ends = ("", "; left out of the score")
    return "".join(f"{describe_trained(entry)}{ends[entry['dropped'] > 0]}\n" for entry in scored)


def describe_trained(entry: Mapping[str, Any]) -> str:
    """Say how many documents of an entry of `scored` the model was trained on."""
    shown = f"{entry['documents']} of the {entry['of']} {entry['split']} documents of {entry['corpus']}"
    return f"{shown} were in this model's training text ({entry['by_id']} by id, {entry['by_text']} by text)"


def _format_changes(title: str, columns: tuple[str, str], rows: Mapping[str, tuple[float, ...]]) -> str:
    lines = [f"{title:54}{columns[0]:>9}{columns[1]:>9}{'change':>9}\n"]
    for name, (before, after) in rows.items():
        lines.append(f"{name:54}{100 * before:9.2f}{100 * after:9.2f}{100 * (after - before):+9.2f}\n")
    return "".join(lines) if rows else ""


def format_spread(runs: Sequence[Mapping[str, float]]) -> str:
    """Format the mean of the runs' test scores, and the sample standard deviation of F1, as a Markdown table.

    Each run is the content of its `all_results.json`. An F1 that is not in all of them is left out.
    """
    rows = [["test", "precision", "recall", "F1", "spread of F1", "runs"], ["---"] * 6]
    for name, f1, suffix in (key.partition("_f1") for key in runs[0] if key.startswith("test_")):
        values = [[100 * run.get(f"{name}_{kind}{suffix}", math.nan) for run in runs] for kind in KINDS[:3]]
        if f1 and math.isfinite(sum(values[2])):
            means = [f"{mean:.2f}" if math.isfinite(mean) else "" for mean in map(statistics.fmean, values)]
            spread = f"{statistics.stdev(values[2]):.2f}" if len(runs) > 1 else ""
            shown = escape_markdown(name.removeprefix("test_") + suffix.replace("_", " "))
            rows.append([shown, *means, spread, str(len(runs))])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Print mean and spread of the test scores of several runs; exit status 2 if a folder has none."""
    parser = argparse.ArgumentParser("python -m mtl_bioner.reporting.tables", description="Mean and spread over runs.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="--output_dir of a training")
    runs = []
    for folder in parser.parse_args(argv).folders:
        try:
            runs.append(json.loads((folder / "all_results.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            parser.error(f"{folder} has no all_results.json that can be read; name output folders of trainings")
    sys.stdout.write(f"{format_spread(runs)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
