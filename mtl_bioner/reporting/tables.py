"""Tables of scores for people: plain text and Markdown."""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def format_scores(metrics: Mapping[str, float], config: Any) -> str:
    """Precision, recall and F1 in per cent by split, task, corpus (of a task with several) and type."""
    lines = [f"{'split':6}{'task':24}{'of':24}{'precision':>10}{'recall':>9}{'F1':>9}{'support':>9}"]
    for split in ("eval", "test"):
        for task in config.tasks:
            for what, keys in list_score_keys(
                f"{split}_{task['name']}", task["types"], task.get("corpora", ())
            ).items():
                if keys[2] in metrics:
                    lines.append(_score_row(split, task["name"], what, metrics, keys))
        if f"{split}_micro_f1" in metrics:
            keys = [f"{split}_micro_{name}" for name in _PRF]
            lines.append(_score_row(split, "micro over tasks", "", metrics, keys))
            macro = f"{100 * metrics[f'{split}_macro_f1']:9.2f}"
            lines.append(f"{_SPLIT_NAMES[split]:6}{'macro over tasks':67}{macro}")
    return "\n".join(lines)


_SPLIT_NAMES = {"eval": "dev", "test": "test"}


def list_score_keys(prefix: str, types: Sequence[str], corpora: Sequence[str]) -> dict[str, list[str]]:
    """By what they are of (all, a type, a corpus, a type in it, the official rule), the keys of precision, recall, F1
    and support that the scores of a task may have.

    Args:
        prefix: split and task, or the task alone.
    """
    kinds = ("precision", "recall", "f1", "support")
    found = {}
    for corpus in ("", *corpora):
        for name in ("", *types):
            parts = [part for part in (corpus, name) if part]
            ending = "".join(f"_{part}" for part in parts)
            found[" ".join(parts) or "all"] = [f"{prefix}_{kind}{ending}" for kind in kinds]
            if not name:
                found[" ".join([*parts, "official rule"])] = [f"{prefix}_official_{kind}{ending}" for kind in kinds]
    return found


def _score_row(split: str, task: str, part: str, metrics: Mapping[str, float], keys: Sequence[str]) -> str:
    numbers = "".join(f"{100 * metrics[key]:{width}.2f}" for key, width in zip(keys, (10, 9, 9), strict=False))
    support = f"{metrics[keys[3]]:9d}" if len(keys) > 3 and keys[3] in metrics else ""
    return f"{_SPLIT_NAMES[split]:6}{task:24}{part:24}{numbers}{support}"


_PRF = ("precision", "recall", "f1")


def format_markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of untrusted cells."""
    lines = [header, ["---"] * len(header), *([escape_markdown(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def escape_markdown(value: Any) -> str:
    """Text, on one line, that neither Markdown nor HTML takes for its own, and without characters that can't be seen,
    some of which turn the direction of what follows."""
    seen = "".join(c for c in " ".join(str(value).split()) if unicodedata.category(c) not in ("Cc", "Cf"))
    text = seen.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def format_forgetting(metrics: Mapping[str, float]) -> str:
    """F1 of the heads that were not trained, before and after, per cent; empty if there are none."""
    scores = [key for key in metrics if key.startswith("before_") and "_f1" in key]  # not `before_init_mem_cpu`
    names = [key.removeprefix("before_") for key in scores]
    if not names:
        return ""
    lines = [f"{'heads that were not trained':54}{'before':>9}{'after':>9}{'change':>9}"]
    for name in names:
        before, after = (100 * metrics[f"{when}_{name}"] for when in ("before", "after"))
        lines.append(f"test  {name.replace('_', ' '):48}{before:9.2f}{after:9.2f}{after - before:+9.2f}")
    return "\n".join(lines) + "\n"


def format_sharing_gain(metrics: Mapping[str, float]) -> str:
    """F1 of the single-task models of `--teachers auto` beside the model's, per cent; empty without them."""
    lines = [f"{'F1 of each task; one seed, 1 or 2 may be chance':54}{'alone':>9}{'shared':>9}{'change':>9}"]
    for split, shown in _SPLIT_NAMES.items():
        keys = [key for key in metrics if f"single_{key}" in metrics and key.startswith(f"{split}_")]
        rows = {key: (metrics[f"single_{key}"], metrics[key]) for key in keys}
        if len(rows) > 1:
            rows[f"{split}_macro over tasks"] = tuple(
                statistics.fmean(f1s) for f1s in zip(*rows.values(), strict=True)
            )
        for key, (alone, shared) in rows.items():
            name = key.removeprefix(f"{split}_").removesuffix("_f1")
            lines.append(f"{shown:6}{name:48}{100 * alone:9.2f}{100 * shared:9.2f}{100 * (shared - alone):+9.2f}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def format_spread(runs: Sequence[Mapping[str, float]]) -> str:
    """Mean and standard deviation (of the sample) of the test precision, recall and F1 of all runs, per cent, as
    Markdown.

    Args:
        runs: contents of the runs' `all_results.json`.
    """
    lines = ["| test | precision | recall | F1 | spread of F1 | runs |", "|---|---:|---:|---:|---:|---:|"]
    for key in (key for key in runs[0] if all(math.isfinite(run.get(key, math.nan)) for run in runs)):
        name, f1, suffix = key.partition("_f1")
        if f1 and name.startswith("test_"):
            values = [[100 * run.get(f"{name}_{part}{suffix}", math.nan) for run in runs] for part in _PRF]
            spread = f"{statistics.stdev(values[2]):.2f}" if len(runs) > 1 else ""
            label = name.removeprefix("test_") + suffix.replace("_", " ")
            means = " | ".join("" if any(map(math.isnan, own)) else f"{statistics.mean(own):.2f}" for own in values)
            lines.append(f"| {label} | {means} | {spread} | {len(runs)} |")
    return "\n".join(lines)
