"""Finished cells of a comparison, by system, fraction, corpus and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_scripts.tasks import split_tasks


SINGLE = "single"


TAUGHT = "taught"  # hard sharing, with the single-task models of the same seed and fraction as teachers


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
