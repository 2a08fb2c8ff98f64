"""Record the training of a cell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from dataset_scripts.tasks import Task
from mtl_bioner.comparison.arguments import CELL_ARGUMENTS
from mtl_bioner.comparison.cells import hash_ids
from mtl_bioner.evaluation.error_analysis import build_error_report, normalize_mention
from mtl_bioner.evaluation.spans import collect_gold, collect_predicted
from mtl_bioner.reporting.run_record import get_package_version, get_processor_name
from mtl_bioner.training.results import collect_arguments
from mtl_bioner.training.run import Run
from mtl_bioner.training.trainer import MultiTaskTrainer


def check_heads(tasks: Iterable[Task]) -> None:
    """Raise ValueError for two heads that find the same type in the same corpus: a comparison needs one score."""
    heads: dict[tuple[str, str], str] = {}
    for task in tasks:
        for corpus, name in product(task.corpora, task.types):
            if (other := heads.setdefault((corpus, name), task.name)) != task.name:
                both = f"tasks {other} and {task.name} both find {name} in {corpus}"
                raise ValueError(f"{both}, so there is no one score to compare; leave one out")


def make_record(run: Run, trainer: MultiTaskTrainer, metrics: Mapping[str, float]) -> dict[str, Any]:
    """Collect scores, counts by document, errors and cost of a training; no text but frequent mentions.

    A trial of `--tune` scores no test split, so only its development scores are recorded.
    """
    evaluations = [entry for entry in trainer.state.log_history if "eval_macro_f1" in entry and "epoch" in entry]
    development = [[round(entry["epoch"], 2), entry["eval_macro_f1"]] for entry in evaluations]
    record = {"identity": collect_identity(run), "development": development}
    if not run.args.do_predict:
        return record
    ids = defaultdict(set)
    for text in run.rows["train"].texts:
        ids[text.corpus].add(text.document.document_id)
    return record | {
        "metrics": metrics,
        "training_documents": {corpus: hash_ids(of_corpus) for corpus, of_corpus in ids.items()},
        "counts": count_by_document(run, trainer.entities),
        "errors": report_errors(run, trainer.entities),
        "processor": get_processor_name(),
        "cost": {
            "seconds": metrics["train_runtime"] + run.teaching_seconds,
            "steps": trainer.state.global_step,
            "subwords": int(trainer.subwords),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "rows": len(run.rows["train"]),
        },
    }


def collect_identity(run: Run) -> dict[str, Any]:
    """Collect what compared cells have in common: arguments, and versions of the libraries that compute."""
    arguments = {name: value for name, value in collect_arguments(run.arguments).items() if name not in CELL_ARGUMENTS}
    return arguments | {name: get_package_version(name) for name in ("torch", "transformers", "accelerate")}


def count_by_document(run: Run, entities: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Count right, predicted and gold mentions by corpus, type and test document, over the heads scored on it.

    A hash of the documents' ids tells whether two cells can be compared.
    """
    counts: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(dict))
    for text, predicted in zip(run.rows["test"].texts, entities, strict=True):
        gold, spans = collect_gold(text), collect_predicted(predicted)
        for name in run.model.config.tasks[text.task_id]["types"]:
            row = [sum(span[2] == name for span in side) for side in (gold & spans, spans, gold)]
            counts[text.corpus][name][text.document.document_id] = row
    return {
        corpus: {
            "documents": hash_ids(next(iter(by_type.values()))),
            "types": {name: [row for _, row in sorted(of_type.items())] for name, of_type in by_type.items()},
        }
        for corpus, by_type in counts.items()
    }


def report_errors(run: Run, entities: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Build the error report of each corpus, over the heads scored on it."""
    gold, predicted, seen, texts = defaultdict(set), defaultdict(set), defaultdict(set), defaultdict(dict)
    for text, of_text in zip(run.rows["test"].texts, entities, strict=True):
        key, types = text.document.document_id, run.model.config.tasks[text.task_id]["types"]
        gold[text.corpus] |= {(key, *span) for span in collect_gold(text) if span[2] in types}
        predicted[text.corpus] |= {(key, *span) for span in collect_predicted(of_text)}
        texts[text.corpus][key] = text.document.text
    for text in run.rows["train"].texts:
        seen[text.corpus] |= {normalize_mention(text.document.text, ("", *span)) for span in collect_gold(text)}
    return {
        corpus: build_error_report(gold[corpus], predicted[corpus], texts[corpus], seen[corpus]) for corpus in gold
    }
