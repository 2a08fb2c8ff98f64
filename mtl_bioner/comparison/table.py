"""Finished cells as one table, and what a report takes from it: scores, differences, costs, errors.

A *system* is what a reader chooses between: `single`, a model for each task, or one model for all tasks.
"""

import hashlib
import pickle
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pandas import DataFrame

from dataset_scripts.tasks import split_tasks
from mtl_bioner.comparison.arguments import SINGLE, TAUGHT
from mtl_bioner.comparison.cells import check_same_experiment, take_fingerprint
from mtl_bioner.evaluation.error_analysis import average_error_reports
from mtl_bioner.evaluation.significance import Difference, bootstrap_difference, correct_holm


Rows = list[dict[str, Any]]
Types = Mapping[str, Sequence[str]]  # corpus -> entity types
COUNTED = ["right", "predicted", "gold"]  # mentions
TRAINING = ["fraction", "system", "tasks"]  # the same in all seeds


def make_table(contents: Sequence[Mapping[str, Any]]) -> DataFrame:
    """Make a table with a row for each cell, corpus and entity type; `counts` is (documents, 3), as COUNTED.

    Rows are sorted by fraction, the largest first, then `single`, `taught` and other systems by name, then as read.
    Raises ValueError for cells of different experiments, or scored on different documents, or twice on a type.
    """
    fingerprints: dict[float, dict[str, Any]] = {}
    rows = []
    for number, content in enumerate(contents):
        cell, fingerprint = content["cell"], take_fingerprint(content)
        first = fingerprints.setdefault(cell["fraction"], fingerprint)
        check_same_experiment(first, fingerprint, f"cells with {100 * cell['fraction']:g} % of the documents")
        row = {"number": number, **cell, "taught": TAUGHT in (cell["system"], cell["sharing"])}  # older: system only
        row |= {name: content.get(name) for name in ("development", "cost", "tuned")}
        for corpus, scored in content["counts"].items():
            row |= {"corpus": corpus, "documents": scored["documents"], "errors": content["errors"][corpus],
                    "trained_on": content["training_documents"].get(corpus)}  # fmt: skip
            for name, listed in scored["types"].items():
                counts = np.array(listed).reshape(-1, 3)
                sums = dict(zip(COUNTED, counts.sum(0), strict=True))
                rows.append({**row, "type": name, "counts": counts, **sums})
    table = DataFrame(rows)
    for corpus, hashes in table.groupby("corpus")["documents"]:
        if hashes.nunique() > 1:
            raise ValueError(f"cells were scored on different documents of {corpus}; compute them anew")
    for row in table[table.duplicated(["system", "fraction", "seed", "corpus", "type"])].itertuples():
        raise ValueError(f"{row.system} has two heads for {row.type} of {row.corpus}; leave one out")
    by_system = table.groupby(["system", "fraction"], sort=False)["corpus"].unique()
    order = list(max(by_system.items(), key=lambda item: (item[0][0] != SINGLE, len(item[1])))[1])
    table["corpus_rank"] = [order.index(corpus) if corpus in order else len(order) for corpus in table["corpus"]]
    ranks = [(-f, s != SINGLE, s != TAUGHT, s) for f, s in zip(table["fraction"], table["system"], strict=True)]
    return table.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]


def collect_types(table: DataFrame) -> dict[str, list[str]]:
    """Collect the types that were scored by corpus; corpora in the order of the system that has most of them."""
    types = table.sort_values("corpus_rank", kind="stable").groupby("corpus", sort=False)["type"].unique()
    return {corpus: list(names) for corpus, names in types.items()}


def select_types(table: DataFrame, types: Types) -> DataFrame:
    """Select the rows of these types, from the seeds that were scored on all of them."""
    pairs = [(corpus, name) for corpus, names in types.items() for name in names]
    selected = [pair in pairs for pair in zip(table["corpus"], table["type"], strict=True)]
    rows = table[np.array(selected, dtype=bool)]
    return rows[rows.groupby("seed")["type"].transform("size") == len(pairs)]


def average_scores(rows: DataFrame) -> dict[str, Any]:
    """Average precision, recall and F1 (0 to 1) over corpora, then seeds, with the standard deviation over seeds."""
    sums = rows.groupby(["seed", "corpus"])[COUNTED].sum()
    precision, recall = sums["right"] / sums["predicted"], sums["right"] / sums["gold"]
    f1 = 2 * sums["right"] / (sums["predicted"] + sums["gold"])
    scores = DataFrame({"precision": precision, "recall": recall, "f1": f1}).fillna(0.0)
    by_seed = scores.groupby("seed").agg(statistics.mean)  # exact, whatever the order of the cells
    means = {name: statistics.mean(by_seed[name]) if len(by_seed) else 0.0 for name in scores}
    spreads = {f"{name}_spread": statistics.stdev(by_seed[name]) if len(by_seed) > 1 else None for name in scores}
    return {"seeds": len(by_seed), **means, **spreads}


def list_scores(table: DataFrame) -> Rows:
    """List the scores of each system by corpus and type.

    The type is `all` if the system finds all types that any system finds in the corpus, else their names. `macro` is
    the mean over several corpora of the scores over all types of the system.
    """
    rows = []
    for (fraction, system), scored in table.groupby(["fraction", "system"], sort=False):
        types, widest = collect_types(scored), collect_types(table[table["fraction"] == fraction])
        parts = [
            (corpus, "all" if set(part) == set(widest[corpus]) else ", ".join(part), {corpus: part})
            for corpus, names in types.items()
            for part in [names, *([[name] for name in names] if len(names) > 1 else ())]
        ]
        parts += [(f"{len(types)} corpora", "macro", types)] if len(types) > 1 else []
        for corpus, label, part in parts:
            about = {"system": system, "fraction": fraction, "corpus": corpus, "type": label}
            rows.append(about | average_scores(select_types(scored, part)))
    return [row for row in rows if row["seeds"]]


def list_side_by_side(table: DataFrame, structure: str) -> Rows:
    """List the scores that a plot may set side by side, by fraction, corpus and system.

    They are over the types of single-task training (or of the system with most), and the seeds that it shares with the
    primary structure. Systems that lack any of these are left out.
    """
    rows = []
    for fraction, trained in table.groupby("fraction", sort=False):
        for corpus in collect_types(trained):
            systems = dict(list(trained[trained["corpus"] == corpus].groupby("system", sort=False)))
            types = {system: collect_types(scored) for system, scored in systems.items()}
            widest = types.get(SINGLE) or max(types.values(), key=lambda names: len(names[corpus]))
            selected = {system: select_types(scored, widest) for system, scored in systems.items()}
            seeds = {system: set(scored["seed"]) for system, scored in selected.items()}
            named = [system for system in (SINGLE, structure) if seeds.get(system)] or list(seeds)
            common = set.intersection(*(seeds[system] for system in named))
            for system, scored in selected.items():
                if common and common <= seeds[system]:
                    about = {"fraction": fraction, "corpus": corpus, "system": system}
                    rows.append(about | average_scores(scored[scored["seed"].isin(common)]))
    return rows


def list_differences(table: DataFrame, primary: Mapping[str, Any]) -> Rows:
    """Compare each system with single-task training of the same seeds: macro F1 over corpora, and F1 by corpus.

    The primary comparison is tested by itself; the p values of the others are corrected for their number
    (`p_corrected`). Models of the single tasks of a group, which only teach, are not compared.
    """
    rows = []
    for fraction, trained in table.groupby("fraction", sort=False):
        teaching = {task for tasks in trained[trained["taught"]]["tasks"] for task in split_tasks(tasks)}
        single = trained[trained["system"] == SINGLE]
        alone = collect_types(single)
        widest = {corpus: set(names) for corpus, names in collect_types(trained).items() if corpus in alone}
        for system, scored in trained.groupby("system", sort=False):
            whole = collect_types(scored)
            both = {corpus: [n for n in names if n in alone.get(corpus, ())] for corpus, names in whole.items()}
            both = {corpus: names for corpus, names in both.items() if names}
            parts = [both, *({corpus: names} for corpus, names in both.items() if len(both) > 1)]
            for types in () if system in (SINGLE, *teaching) else parts:
                sides = [select_types(side, types) for side in (single, scored)]
                if not (seeds := set(sides[0]["seed"]) & set(sides[1]["seed"])):
                    continue  # no type in common, or a seed of one is still to come
                is_primary = (system, fraction) == (primary["structure"], primary["fraction"]) and types == whole
                is_all = {corpus: set(names) for corpus, names in types.items()} == widest
                difference = measure_difference([side[side["seed"].isin(seeds)] for side in sides], types)
                rows.append(
                    {"system": system, "fraction": fraction, "corpora": list(types), "types": types}
                    | {"seeds": len(seeds), "primary": is_primary, "all": is_all, **vars(difference)}
                )
    others = [row for row in rows if not row["primary"]]
    for row, p in zip(others, correct_holm([row["p"] for row in others]), strict=True):
        row["p_corrected"] = p
    return rows


_DIFFERENCES: dict[bytes, Difference] = {}  # of this process, which reports after each cell


def measure_difference(sides: Iterable[DataFrame], corpora: Iterable[str]) -> Difference:
    """Test the difference of two systems with the same seeds, which takes seconds; once for the same counts."""
    counts: list[dict[str, np.ndarray]] = []  # of each side, by corpus (seeds, documents, 3), summed over types
    for side in sides:
        by_corpus = {corpus: side[side["corpus"] == corpus].groupby("seed")["counts"] for corpus in corpora}
        counts.append({corpus: np.array([sum(own) for _, own in seeds]) for corpus, seeds in by_corpus.items()})
    digest = hashlib.sha256(pickle.dumps(counts)).digest()
    if digest not in _DIFFERENCES:
        _DIFFERENCES[digest] = bootstrap_difference(*counts)
    return _DIFFERENCES[digest]


def list_other_documents(table: DataFrame) -> list[tuple[str, float, str]]:
    """List (system, fraction, corpus) not trained on the documents of single-task training with the same seed."""
    rows = table.sort_index()[["system", "fraction", "corpus", "seed", "trained_on"]].fillna("")
    pairs = rows.merge(rows, on=["fraction", "corpus", "seed"])
    compared = (pairs["system_y"] == SINGLE) | (pairs["system_y"] == pairs["system_x"])
    others = pairs[compared & (pairs["trained_on_x"] != pairs["trained_on_y"])]
    return list(dict.fromkeys(zip(others["system_x"], others["fraction"], others["corpus"], strict=True)))


def list_costs(table: DataFrame) -> Rows:
    """List what it takes to train each system with its teachers, and to annotate with it, at the largest fraction;
    means over the seeds whose trainings are all there."""
    trained = table[table["fraction"] == table["fraction"].max()].drop_duplicates("number")
    alone = {(row.tasks, row.seed): row.cost for row in trained[~trained["taught"]].itertuples()}
    rows = []
    for system, scored in trained.groupby("system", sort=False):
        teachers = split_tasks(scored["tasks"].iloc[0]) if scored["taught"].any() else []
        passes, sums = int(scored.groupby("seed").size().max()), []
        for seed, costs in scored.groupby("seed")["cost"]:
            taught = [alone.get((task, seed)) for task in teachers]
            if len(costs) == passes and None not in taught:
                parts = dict.fromkeys(("parameters", "rows"), costs)
                parts |= dict.fromkeys(("seconds", "steps", "subwords"), [*costs, *taught])
                sums.append({name: sum(cost[name] for cost in part) for name, part in parts.items()})
        if sums:
            means = {name: statistics.mean(cost[name] for cost in sums) for name in sums[0]}
            rows.append({"system": system, "encoder_passes": passes, **means, "seeds": len(sums)})
    return rows


def list_development(table: DataFrame) -> Rows:
    """List the best development macro F1 of each training, its epoch, and how far the last evaluation rose above the
    best before it, which shows whether the training reached its plateau; means over seeds."""
    rows = []
    for (fraction, system, tasks), trained in table.drop_duplicates("number").groupby(TRAINING, sort=False):
        if curves := [curve for curve in trained["development"] if len(curve) > 1]:
            best = [max(curve, key=lambda point: point[1]) for curve in curves]
            rises = [curve[-1][1] - max(f1 for _, f1 in curve[:-1]) for curve in curves]
            epoch, f1 = (statistics.mean(values) for values in zip(*best, strict=True))
            rows.append(
                {"system": system, "fraction": fraction, "tasks": tasks, "seeds": len(curves), "f1": f1}
                | {"rise": statistics.mean(rises), "best_epoch": epoch, "epochs": curves[0][-1][0]}
            )
    return rows


def list_tuning(table: DataFrame) -> Rows:
    """List the argument that was tuned for each training, the best development macro F1 by value, and the choice."""
    tuned = table.dropna(subset="tuned").sort_values(["fraction", "system"], ascending=[False, True], kind="stable")
    return [
        {"system": system, "fraction": fraction, "tasks": tasks, **trained["tuned"].iloc[-1]}
        for (fraction, system, tasks), trained in tuned.groupby(TRAINING, sort=False)
    ]


def average_errors(table: DataFrame) -> dict[str, dict[str, Any]]:
    """Average the errors of a training by system and corpus, at the largest fraction."""
    errors: dict[str, dict[str, Any]] = {}
    reports = table[table["fraction"] == table["fraction"].max()].drop_duplicates(["number", "corpus"])
    for (system, corpus), scored in reports.groupby(["system", "corpus"], sort=False):
        seeds = scored["seed"].nunique()
        errors.setdefault(system, {})[corpus] = {"seeds": seeds, **average_error_reports(scored["errors"], seeds)}
    return errors


def list_settings(contents: Iterable[Mapping[str, Any]]) -> Rows:
    """List what all cells of a fraction were trained with, the largest fraction first."""
    settings = {}
    for content in contents:
        about = {name: content["cell"].get(name) for name in ("fraction", "epochs")}
        settings[about["fraction"]] = about | {"bf16": content["identity"].get("bf16"), **content["settings"]}
    return [settings[fraction] for fraction in sorted(settings, reverse=True)]
