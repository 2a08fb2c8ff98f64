"""What is kept of a cell's training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mtl_bioner.comparison.arguments import CELL_ARGUMENTS
from mtl_bioner.comparison.plan import hash_ids
from mtl_bioner.evaluation.error_analysis import build_error_report, normalize_mention
from mtl_bioner.reporting.run_record import (
    get_package_version,
    get_processor_name,
)
from mtl_bioner.training.results import collect_arguments


def check_heads(run: Any) -> None:
    """Raises ValueError for two heads that find the same type in the same corpus: a comparison needs one score."""
    seen: dict[tuple[str, str], str] = {}
    for task in run.tasks:
        for key in ((corpus, name) for corpus in task.corpora for name in task.types):
            if key in seen:
                raise ValueError(
                    f"tasks {seen[key]} and {task.name} both find {key[1]} in {key[0]}, so there is no one score to "
                    "compare; leave one out"
                )
            seen[key] = task.name


def record(run: Any, trainer: Any, metrics: dict[str, float]) -> dict[str, Any]:
    """What is kept of a training: scores, counts by document, errors, cost; no text but frequent mentions. Of a trial
    of `--tune`, which scores no test split, only the development scores."""
    found = {"identity": identity_of(run), "development": development(trainer.state.log_history)}
    if not run.args.do_predict:
        return found
    return found | {
        "metrics": metrics,
        "training_documents": training_documents(run),
        "counts": document_counts(run, trainer.entities),
        "errors": errors_by_corpus(run, trainer.entities),
        "processor": get_processor_name(),
        "cost": {
            "seconds": metrics["train_runtime"] + run.teaching_seconds,
            "steps": trainer.state.global_step,
            "subwords": int(trainer.subwords),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "rows": len(run.rows["train"]),
        },
    }


def identity_of(run: Any) -> dict[str, Any]:
    """What cells that are compared have in common: arguments, and versions of what computes."""
    arguments = {name: value for name, value in collect_arguments(run.arguments).items() if name not in CELL_ARGUMENTS}
    return arguments | {name: get_package_version(name) for name in ("torch", "transformers", "accelerate")}


def development(history: Iterable[dict[str, float]]) -> list[list[float]]:
    """Epoch and macro F1 of each evaluation on the development split."""
    key = "eval_macro_f1"
    return [[round(entry["epoch"], 2), entry[key]] for entry in history if key in entry and "epoch" in entry]


def training_documents(run: Any) -> dict[str, str]:
    """By corpus, a hash of the ids of the training documents."""
    ids: dict[str, set[str]] = {}
    for text in run.rows["train"].texts:
        ids.setdefault(text.corpus, set()).add(text.document.document_id)
    return {corpus: hash_ids(own) for corpus, own in ids.items()}


def document_counts(run: Any, entities: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """By corpus, over the heads that are scored on it: right, predicted and gold mentions of each type in each test
    document, and a hash of the documents' ids, which tells whether two cells can be compared."""
    found: dict[str, dict[str, dict[str, list[int]]]] = {}  # corpus -> type -> document -> counts
    for text, own in zip(run.rows["test"].texts, entities, strict=True):
        for name in run.model.config.tasks[text.task_id]["types"]:
            gold = {(e.start, e.end) for e in text.document.entities if e.type == name}
            predicted = {(e["start"], e["end"]) for e in own if e["type"] == name}
            counts = [len(gold & predicted), len(predicted), len(gold)]
            found.setdefault(text.corpus, {}).setdefault(name, {})[text.document.document_id] = counts
    return {
        corpus: {
            "documents": hash_ids(next(iter(types.values()))),
            "types": {name: [own for _, own in sorted(counts.items())] for name, counts in types.items()},
        }
        for corpus, types in found.items()
    }


def errors_by_corpus(run: Any, entities: Sequence[Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """`build_error_report` of each corpus, over the heads that are scored on it."""
    types, corpora = run.model.config.tasks, dict.fromkeys(text.corpus for text in run.rows["test"].texts)
    found = {}
    for corpus in corpora:
        gold, predicted, texts = set(), set(), {}
        for text, own in zip(run.rows["test"].texts, entities, strict=True):
            if text.corpus == corpus:
                key = text.document.document_id
                texts[key] = text.document.text
                wanted = types[text.task_id]["types"]
                gold |= {(key, e.start, e.end, e.type) for e in text.document.entities if e.type in wanted}
                predicted |= {(key, e["start"], e["end"], e["type"]) for e in own}
        seen = {
            normalize_mention(text.document.text, ("", e.start, e.end, e.type))
            for text in run.rows["train"].texts
            if text.corpus == corpus
            for e in text.document.entities
        }
        found[corpus] = build_error_report(gold, predicted, texts, seen)
    return found
