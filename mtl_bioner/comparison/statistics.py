"""Scores, differences, costs and errors of the systems of a comparison."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtl_bioner.comparison.cells import SINGLE, Cells, Primary, by_system
from mtl_bioner.evaluation.error_analysis import average_error_reports
from mtl_bioner.evaluation.metrics import Score
from mtl_bioner.evaluation.significance import Difference, bootstrap_difference, correct_holm


def scores(cells: Cells) -> list[dict[str, Any]]:
    """Precision, recall and F1 (0 to 1), mean and sample standard deviation over seeds, by corpus and type.

    The type is `all` over all that any system finds in the corpus, and else the names of those that this one finds.
    Where a system has several corpora, a row `macro` holds the means over these of the scores over all its types.
    """
    rows = []
    for fraction in cells.fractions:
        most = widest(cells, fraction)
        for system in cells.systems(fraction):
            about = {"system": system, "fraction": fraction}
            types = {corpus: cells.types(system, fraction, corpus) for corpus in cells.corpora(system, fraction)}
            for corpus, names in types.items():
                for own in [names, *([[name] for name in names] if len(names) > 1 else ())]:
                    label = "all" if set(own) == most[corpus] else ", ".join(own)
                    rows.append(about | {"corpus": corpus, "type": label} | _spread(cells, about, {corpus: own}))
            if len(types) > 1:
                rows.append(
                    about | {"corpus": f"{len(types)} corpora", "type": "macro"} | _spread(cells, about, types)
                )
    return [row for row in rows if row["seeds"]]


def widest(cells: Cells, fraction: float) -> dict[str, set[str]]:
    """By corpus, the types that any system was scored on."""
    found: dict[str, set[str]] = {}
    for system in cells.systems(fraction):
        for corpus in cells.corpora(system, fraction):
            found.setdefault(corpus, set()).update(cells.types(system, fraction, corpus))
    return found


def side_by_side(cells: Cells, fraction: float, structure: str) -> dict[str, dict[str, dict[str, Any]]]:
    """By corpus and system, what a plot may set side by side: scores over the types of single-task training (or of the
    system with most), over the seeds that it and the primary structure have in common. Systems that don't have all of
    these types and seeds are left out."""
    found = {}
    systems = cells.systems(fraction)  # single-task training first
    for corpus in dict.fromkeys(corpus for system in systems for corpus in cells.corpora(system, fraction)):
        own = {s: cells.types(s, fraction, corpus) for s in systems if corpus in cells.corpora(s, fraction)}
        types = {corpus: own.get(SINGLE) or max(own.values(), key=len)}
        seeds = {system: set(cells.seeds(system, fraction, types)) for system in own}
        named = [s for s in (SINGLE, structure) if seeds.get(s)] or list(own)
        common = set.intersection(*(seeds[system] for system in named))
        drawn = [system for system in own if common and common <= seeds[system]]
        found[corpus] = {s: _spread(cells, {"system": s, "fraction": fraction}, types, sorted(common)) for s in drawn}
    return {corpus: own for corpus, own in found.items() if own}


def _spread(
    cells: Cells, about: Mapping[str, Any], types: Mapping[str, Sequence[str]], seeds: Sequence[int] | None = None
) -> dict[str, Any]:
    """Means over corpora, their mean over seeds (all there are, or these), and its spread."""
    seeds = cells.seeds(**about, types=types) if seeds is None else seeds
    values: dict[str, list[float]] = {name: [] for name in ("precision", "recall", "f1")}
    if seeds:
        counts = {c: cells.counts(**about, corpus=c, types=own, seeds=seeds).sum(1) for c, own in types.items()}
        for place in range(len(seeds)):
            found = [Score(*map(int, own[place])) for own in counts.values()]
            for name, own in values.items():
                own.append(statistics.mean(getattr(score, name) for score in found))
    means = {name: statistics.mean(own) if own else 0.0 for name, own in values.items()}
    spreads = {f"{name}_spread": statistics.stdev(own) if len(own) > 1 else None for name, own in values.items()}
    return {"seeds": len(seeds), **means, **spreads}


def compare(cells: Cells, primary: Primary) -> list[dict[str, Any]]:
    """Each system against single-task training with the same seeds: macro F1 over the corpora, and by corpus.

    The primary one is tested by itself; the others' p values are corrected for their number (`p_corrected`). Models of
    a group's own tasks, which are there to teach, are not among them.
    """
    found = []
    for fraction in cells.fractions:
        alone = cells.corpora(SINGLE, fraction)
        most = {corpus: sorted(names) for corpus, names in widest(cells, fraction).items() if corpus in alone}
        teaching = {task for (_, share), tasks in cells.teachers.items() if share == fraction for task in tasks}
        for system in cells.systems(fraction):
            if system == SINGLE or system in teaching:
                continue
            types = common_types(cells, system, fraction)
            for corpora in [list(types), *([[c] for c in types] if len(types) > 1 else ())]:
                own = {corpus: types[corpus] for corpus in corpora}
                common = (set(cells.seeds(side, fraction, own)) for side in (SINGLE, system))
                seeds = sorted(set.intersection(*common))
                if not seeds:
                    continue  # no corpus in common, or a seed of one is still to come
                sides = [{c: cells.counts(s, fraction, c, own[c], seeds) for c in own} for s in (SINGLE, system)]
                whole = {corpus: cells.types(system, fraction, corpus) for corpus in cells.corpora(system, fraction)}
                is_primary = (system, fraction) == (primary.structure, primary.fraction) and own == whole
                found.append(
                    {"system": system, "fraction": fraction, "corpora": corpora, "types": own, "seeds": len(seeds)}
                    | {"primary": is_primary, "all": {corpus: sorted(names) for corpus, names in own.items()} == most}
                    | vars(_difference(*sides))
                )
    others = [row for row in found if not row["primary"]]
    for row, p in zip(others, correct_holm([row["p"] for row in others]), strict=True):
        row["p_corrected"] = p
    return found


_DIFFERENCES: dict[str, Difference] = {}


def _difference(*sides: Mapping[str, np.ndarray]) -> Difference:
    """As `bootstrap_difference`, which takes seconds, and is asked for the same again after each cell."""
    counts = [own for side in sides for own in side.values()]
    key = hashlib.sha256(repr([(list(side), len(counts)) for side in sides]).encode())
    for own in counts:
        key.update(repr(own.shape).encode() + own.tobytes())
    if key.hexdigest() not in _DIFFERENCES:
        _DIFFERENCES[key.hexdigest()] = bootstrap_difference(*sides)
    return _DIFFERENCES[key.hexdigest()]


def common_types(cells: Cells, system: str, fraction: float) -> dict[str, list[str]]:
    """By corpus, the types that both the system and single-task training were scored on."""
    found = {}
    for corpus in cells.corpora(system, fraction):
        if corpus in cells.corpora(SINGLE, fraction):
            single = cells.types(SINGLE, fraction, corpus)
            if both := [name for name in cells.types(system, fraction, corpus) if name in single]:
                found[corpus] = both
    return found


def costs(cells: Cells) -> list[dict[str, Any]]:
    """Of each system with most training documents: what training it, its teachers included, and annotating with it
    takes, mean over seeds of which all trainings are there."""
    rows, fraction = [], cells.fractions[0]
    for system in cells.systems(fraction):
        by_seed, teachers = cells.costs[system, fraction], cells.teachers.get((system, fraction), [])
        passes = max(map(len, by_seed.values()))
        sums = [
            {name: sum(cost[name] for cost in own) for name in ("parameters", "rows")}
            | {name: sum(cost[name] for cost in [*own, *taught]) for name in ("seconds", "steps", "subwords")}
            for seed, own in by_seed.items()
            if len(own) == passes
            and None not in (taught := [cells.alone.get((task, fraction, seed)) for task in teachers])
        ]
        if sums:
            means = {name: statistics.mean(own[name] for own in sums) for name in sums[0]}
            rows.append({"system": system, "encoder_passes": passes, **means, "seeds": len(sums)})
    return rows


def development(cells: Cells) -> list[dict[str, Any]]:
    """By system and its trainings: the best development macro F1, at which epoch of how many, and how far the last
    evaluation was above the best before it, which tells whether a training reached its plateau; means over seeds."""
    rows = []
    for (system, fraction), trainings in cells.curves.items():
        for tasks, by_seed in trainings.items():
            curves = [curve for curve in by_seed.values() if len(curve) > 1]
            if curves:
                best = [max(curve, key=lambda point: point[1]) for curve in curves]
                rises = [curve[-1][1] - max(f1 for _, f1 in curve[:-1]) for curve in curves]
                rows.append(
                    {"system": system, "fraction": fraction, "tasks": tasks, "seeds": len(curves)}
                    | {"f1": statistics.mean(f1 for _, f1 in best), "rise": statistics.mean(rises)}
                    | {"best_epoch": statistics.mean(epoch for epoch, _ in best), "epochs": curves[0][-1][0]}
                )
    return sorted(rows, key=lambda row: (-row["fraction"], by_system(row["system"])))


def tuning(cells: Cells) -> list[dict[str, Any]]:
    """By system and its trainings: the argument that was tuned, the best development macro F1 with each value, and the
    value that was taken."""
    return [
        {"system": system, "fraction": fraction, "tasks": tasks, **own}
        for (system, fraction), by_tasks in sorted(cells.tuned.items(), key=lambda item: (-item[0][1], item[0][0]))
        for tasks, own in by_tasks.items()
    ]


def errors(cells: Cells) -> dict[str, dict[str, Any]]:
    """By system, then corpus, the mean errors of a training with most training documents."""
    fraction = cells.fractions[0]
    return {
        system: {
            corpus: {"seeds": len(own)}
            | average_error_reports((report for run in own.values() for report in run["errors"]), trainings=len(own))
            for corpus, own in cells.runs[system, fraction].items()
        }
        for system in cells.systems(fraction)
    }


def settings(contents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each share of the training documents, the largest first: what its cells were trained with, in common."""
    rows = {
        content["cell"]["fraction"]: {
            "fraction": content["cell"]["fraction"],
            "epochs": content["cell"].get("epochs"),
            "bf16": content["identity"].get("bf16"),
            **content["settings"],
        }
        for content in contents
    }
    return sorted(rows.values(), key=lambda row: -row["fraction"])
