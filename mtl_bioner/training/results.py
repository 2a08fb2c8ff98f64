"""Write what a run leaves: scores, record, predictions, errors, plots, card."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_collators import TaskRows
from dataset_scripts.training_texts import collect_training_texts
from mtl_bioner.evaluation.spans import collect_gold
from mtl_bioner.hub.model_card import write_card
from mtl_bioner.reporting import plots, predictions, run_record
from mtl_bioner.reporting.error_page import ERRORS, ScoredText, write_error_page
from mtl_bioner.reporting.files import write_json
from mtl_bioner.training.checkpointing import INPUTS, describe_beginning, is_resumed
from mtl_bioner.training.gates import measure_gates
from mtl_bioner.training.parsing import Arguments
from mtl_bioner.training.run import Run
from mtl_bioner.training.score_calibration import collect_scores
from mtl_bioner.training.trainer import MultiTaskTrainer


ANNOTATE = "import mtl_bioner; print(mtl_bioner.load({!r})('Cisplatin caused renal failure.'))"


def begin_training(run: Run, trainer: MultiTaskTrainer) -> None:
    """Delete old results, and record what the training begins with."""
    used = {(text.corpus, text.document.document_id) for text in run.rows["train"].texts}
    train = {name: corpus.splits["train"] for name, corpus in run.corpora.items()}
    trainer.training_texts = run.earlier_texts | collect_training_texts(train, used)
    trainer.accelerator.wait_for_everyone()  # nobody reads what is deleted now
    if trainer.is_world_process_zero():
        if not is_resumed(run.args):
            run_record.remove_old_results(run.output)
        beginning = describe_beginning(run.arguments.explicit, run.model_args.teachers, run.args)
        write_json(run.output / run_record.BEGUN, beginning | {INPUTS: run.inputs})
    trainer.accelerator.wait_for_everyone()


def write_results(run: Run, trainer: MultiTaskTrainer, scores: Mapping[str, float]) -> None:
    """Write scores, record, predictions, errors, plots and card to the output folder."""
    gates = measure_gates(trainer, run.rows["dev"]) if run.model_args.report_gates else None
    if not trainer.is_world_process_zero():
        return
    names, history = run.model.config.task_names, trainer.state.log_history
    if gates is not None:
        plots.write_gates(run.output, gates, names)
    ledgers = {name: corpus.ledgers.items() for name, corpus in run.corpora.items()}
    ledger = {name: {split: ledger.as_dict() for split, ledger in by_split} for name, by_split in ledgers.items()}
    run.output.mkdir(parents=True, exist_ok=True)
    write_json(run.output / "all_results.json", dict(scores))
    write_json(run.output / "ledger.json", ledger)
    write_json(run.output / run_record.RECORD, describe_run(run) | {"ledger": ledger, "history": history})
    plots.plot_curves(run.output / "learning_curves.png", history, names)
    if run.entities:
        write_error_page(run.output / ERRORS, f"Errors of {run.output.resolve().name}", collect_scored_texts(run))
    if run.args.do_predict:
        predictions.write_predictions(run.output, run.rows["test"], trainer.entities, names)
        scores_by_task = collect_scores(run.rows["test"], trainer.entities, names)
        plots.plot_reliability(run.output / "reliability.png", scores_by_task)
    if run.args.do_train:
        write_card(run.output, getattr(trainer, "hub_model_id", None))


def collect_scored_texts(run: Run) -> Iterator[ScoredText]:
    """Yield each text that was scored, with gold of the types that it is scored for."""
    for split, entities in run.entities.items():
        for text, predicted in zip(run.rows[split].texts, entities, strict=True):
            task = run.model.config.tasks[text.task_id]
            types = text.types or task["types"]
            gold = frozenset(span for span in collect_gold(text) if span[2] in types)
            note = "" if text.corpus == task["name"] else text.corpus
            document = text.document
            yield ScoredText(split, task["name"], document.document_id, document.text, gold, predicted, note)


def describe_run(run: Run) -> dict[str, Any]:
    """Return what lets others repeat a run: versions, machine, arguments, hashes of inputs, leaks, documents used."""
    return {
        "versions": run_record.get_versions(),
        "machine": run_record.describe_machine() | {"device": run.args.device.type, "processes": run.args.world_size},
        "seed": run.args.seed,
        "base_model": run_record.get_hub_name(run.model_args.model_name_or_path),
        "base_model_hash": run.inputs["base_model"],
        "arguments": collect_arguments(run.arguments),
        "teachers": [{"name": Path(name).name if Path(name).is_dir() else name, "model": run_record.hash_model(name)}
                     for name in run.teachers],
        "corpora": run.inputs["corpora"],
        "editions": {name: corpus.edition for name, corpus in run.corpora.items() if corpus.edition},
        "documents_used": count_documents(run.rows),
        "leaks": run.leaks,
    }  # fmt: skip


def collect_arguments(arguments: Arguments) -> dict[str, Any]:
    """Return all arguments by name as a record may hold them: of paths only the last part, no secrets."""
    values = {**vars(arguments.model), **vars(arguments.data), **arguments.training.to_dict()}
    data_dir = values.get("data_dir") or ""
    if data_dir != "sample" and Path(data_dir).name == "sample":
        values["data_dir"] = "a folder named sample"  # which alone means the embedded corpus
    kept = {name: value for name, value in sorted(values.items()) if not name.endswith("_token")}
    return run_record.strip_paths(kept)


def count_documents(rows: Mapping[str, TaskRows]) -> dict[str, dict[str, int]]:
    """Return by corpus and split the number of documents that the run really used."""
    documents: dict[str, dict[str, set[str]]] = {}
    for split, split_rows in rows.items():
        for text in split_rows.texts:
            documents.setdefault(text.corpus, {}).setdefault(split, set()).add(text.document.document_id)
    return {corpus: {split: len(ids) for split, ids in splits.items()} for corpus, splits in documents.items()}


def describe_next_step(run: Run) -> str:
    """Say where the results are, and how to annotate text with a model that was trained."""
    errors = f"errors: {run.output / ERRORS}\n" if run.entities else ""
    if not run.args.do_train:
        return f"results: {run.output}\n{errors}"
    files = shlex.join(["mtl-bioner", "annotate", str(run.output)])
    text = shlex.join(["python", "-c", ANNOTATE.format(str(run.output))])
    return f"{errors}model: {run.output}\nannotate files: {files} FILE --output DIR\nannotate a text: {text}\n"
