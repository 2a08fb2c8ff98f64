"""The report of a comparison, from its finished cells: `comparison.json`, `comparison.md` and plots.

A *system* is what a reader chooses between: `single`, a model of its own for each task, or one model for all with a
structure. A cell is one training; `run_comparison.py` says what it holds.
"""

from __future__ import annotations

import hashlib
import shlex
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts.tasks import split_tasks
from errors_mtl_bioner import KINDS, mean_report
from metrics_mtl_bioner import RESAMPLES, Difference, Score, bootstrap_difference, holm
from results_mtl_bioner import import_pyplot, markdown_table, save_figure, write_json, write_text


SINGLE = "single"
TAUGHT = "taught"  # hard sharing, with the single-task models of the same seed and fraction as teachers
Table = list[Sequence[Any]]


@dataclass(frozen=True)
class Primary:
    """The comparison named beforehand: one model of a structure for all corpora, against a model for each.

    Attributes:
        fraction: share of the training documents.
        seeds: how many were planned, 0 where that isn't known.
        note: what else a reader of the report has to know.
    """

    structure: str
    corpora: tuple[str, ...]
    fraction: float
    seeds: int = 0
    note: str = ""


class Cells:
    """Finished cells by system, fraction, corpus and seed; `runs` holds scores, `costs` and `curves` trainings.

    Args:
        cells: contents of the files of `run_comparison.py`.

    Raises:
        ValueError: two cells were scored on other documents of the same corpus, twice on the same type of it, or
            trained under other settings on the same share of the documents.
    """

    def __init__(self, cells: Iterable[Mapping[str, Any]]) -> None:
        self.runs: dict[tuple[str, float], dict[str, dict[int, dict[str, Any]]]] = {}
        self.costs: dict[tuple[str, float], dict[int, list[Mapping[str, Any]]]] = {}
        self.curves: dict[tuple[str, float], dict[str, dict[int, list[list[float]]]]] = {}
        self.tuned: dict[tuple[str, float], dict[str, Mapping[str, Any]]] = {}
        self.teachers: dict[tuple[str, float], list[str]] = {}  # the tasks whose models taught a system
        self.alone: dict[tuple[str, float, int], Mapping[str, Any]] = {}  # costs of a task's own training
        documents: dict[str, str] = {}
        identities: dict[float, Mapping[str, Any]] = {}
        for content in cells:
            cell = content["cell"]
            system, seed = (cell["system"], cell["fraction"]), cell["seed"]
            check_identity(identities.setdefault(cell["fraction"], content["identity"]), content["identity"])
            self.curves.setdefault(system, {}).setdefault(cell["tasks"], {})[seed] = content["development"]
            self.costs.setdefault(system, {}).setdefault(seed, []).append(content["cost"])
            if TAUGHT in (cell["system"], cell["sharing"]):  # in older cells only the system says so
                self.teachers[system] = split_tasks(cell["tasks"])
            else:
                self.alone[cell["tasks"], cell["fraction"], seed] = content["cost"]
            if "tuned" in content:
                self.tuned.setdefault(system, {})[cell["tasks"]] = content["tuned"]
            for corpus, counts in content["counts"].items():
                if documents.setdefault(corpus, counts["documents"]) != counts["documents"]:
                    raise ValueError(f"cells were scored on different documents of {corpus}; compute them anew")
                runs = self.runs.setdefault(system, {}).setdefault(corpus, {})
                own = runs.setdefault(seed, {"counts": {}, "errors": [], "trained_on": set()})
                if twice := own["counts"].keys() & counts["types"].keys():
                    raise ValueError(
                        f"{cell['system']} has two heads for {', '.join(twice)} of {corpus}; leave one out"
                    )
                own["counts"] |= counts["types"]
                own["errors"].append(content["errors"][corpus])
                own["trained_on"].add(content["training_documents"].get(corpus))

    @property
    def fractions(self) -> list[float]:
        """Shares of the training documents, the largest first."""
        return sorted({fraction for _, fraction in self.runs}, reverse=True)

    def systems(self, fraction: float) -> list[str]:
        """`single` first, `taught` second, then the others by their name."""
        return sorted((s for s, f in self.runs if f == fraction), key=by_system)

    def corpora(self, system: str, fraction: float) -> list[str]:
        """Corpora that the system was scored on, in the order of the tasks of a model for most of them."""
        order = list(max(self.runs.items(), key=lambda item: (item[0][0] != SINGLE, len(item[1])))[1])
        own = self.runs.get((system, fraction), {})
        return sorted(own, key=lambda corpus: order.index(corpus) if corpus in order else len(order))

    def seeds(self, system: str, fraction: float, types: Mapping[str, Sequence[str]]) -> list[int]:
        """Those that were scored on all of these types (corpus -> types)."""
        runs = self.runs.get((system, fraction), {})
        found = [
            {seed for seed, run in runs.get(corpus, {}).items() if set(names) <= run["counts"].keys()}
            for corpus, names in types.items()
        ]
        return sorted(set.intersection(*found)) if found else []

    def counts(
        self, system: str, fraction: float, corpus: str, types: Sequence[str], seeds: Sequence[int]
    ) -> np.ndarray:
        """(seeds, documents, 3) right, predicted and gold mentions of these types."""
        runs = self.runs[system, fraction][corpus]
        return np.array([np.sum([runs[seed]["counts"][name] for name in types], axis=0) for seed in seeds])

    def types(self, system: str, fraction: float, corpus: str) -> list[str]:
        """Entity types of a corpus that the system was scored on."""
        return list(
            dict.fromkeys(name for run in self.runs[system, fraction][corpus].values() for name in run["counts"])
        )

    def trained_on_others(self) -> list[tuple[str, float, str]]:
        """(system, fraction, corpus) that were not trained on the documents of single-task training of the seed."""
        found = []
        for (system, fraction), by_corpus in self.runs.items():
            for corpus, own in by_corpus.items():
                single = self.runs.get((SINGLE, fraction), {}).get(corpus, {})
                if any(len(run["trained_on"] | single.get(seed, run)["trained_on"]) > 1 for seed, run in own.items()):
                    found.append((system, fraction, corpus))
        return found


def by_system(system: str) -> tuple[bool, bool, str]:
    """The order of systems in tables and plots."""
    return (system != SINGLE, system != TAUGHT, system)


def check_identity(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Raises ValueError for cells that don't have the arguments, versions and encoder in common. (Arguments that only
    one knows, since the other is from before there were any, were not given: cells of other given arguments are none
    of the same comparison.)"""
    for name in sorted(one.keys() & other.keys()):
        if one[name] != other[name]:
            raise ValueError(
                f"cells were computed with different {name} ({one[name]} and {other[name]}) and can't be compared; "
                "go on with the arguments, versions and kind of machine that they had, or give another --output_dir"
            )


# ------------------------------------------------------------------------------------------------------------ numbers


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
    for row, p in zip(others, holm([row["p"] for row in others]), strict=True):
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
            | mean_report((report for run in own.values() for report in run["errors"]), trainings=len(own))
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


# ------------------------------------------------------------------------------------------------------------- report


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
        parts += [title, markdown_table(header, rows)] if rows else []
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


# -------------------------------------------------------------------------------------------------------------- plots


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
