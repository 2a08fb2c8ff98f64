"""One task of a trained model as a stock token-classification model, which needs no code of its own.

    mtl-bioner-export outputs/ncbi,bc5cdr --task ncbi --output outputs/ncbi-stock [--data_dir CORPORA]

Its logits are those of the task's head. What the stock pipeline makes of them differs: it reads documents whole and
knows nothing of words or legal BIO sequences. With `--data_dir` its score on the test split is taken, and stands in
the card beside the head's own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_collators import length_limit
from dataset_scripts import list_corpora, load_corpus
from hub_mtl_bioner import run_command
from metrics_mtl_bioner import task_metrics
from model_card_mtl_bioner import recorded, write_task_card
from results_mtl_bioner import write_json


# How the card tells users to call the stock pipeline, and how it is scored.
STOCK_PIPELINE = {"aggregation_strategy": "simple", "stride": 32}


def export_task(folder: Path, task: str, output: Path, data_dir: str | None = None) -> dict[str, float]:
    """Write a stock token-classification model of one task, with tokenizer and card; returns its scores.

    Args:
        data_dir: where the task's corpora are; None scores nothing.

    Raises:
        ValueError: no such model or task, a structure that no stock model computes, an output folder in use, or a
            corpus that `data_dir` doesn't hold. Nothing was written then.
    """
    from transformers import AutoTokenizer

    from modeling_mtl_bioner import MtlBionerModel

    if output.exists() and any(output.iterdir()):
        raise ValueError(f"--output {output} is not empty; name another folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; name the --output_dir of a training")
    model = MtlBionerModel.from_pretrained(folder)
    stock = model.export_task(task)
    documents = test_documents(folder, task, data_dir) if data_dir else []
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config)
    # else the stock pipeline runs into the encoder's limit
    tokenizer.model_max_length = length_limit(tokenizer, model.config.encoder_config)
    scores = stock_scores(stock, tokenizer, task, documents) if documents else {}
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        whole = Path(temporary) / "model"
        stock.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        if scores:
            write_json(whole / "all_results.json", scores)
        write_task_card(folder, task, whole, scores)
        if output.exists():
            output.rmdir()  # it is empty
        whole.rename(output)
    return scores


def test_documents(folder: Path, task: str, data_dir: str) -> list[Any]:
    """The test split that the model's training left out.

    Raises:
        ValueError: a corpus that isn't known by name, or isn't there.
    """
    own = next(one for one in recorded(folder / "config.json")["tasks"] if one["name"] == task)
    arguments = recorded(folder / "run.json")["arguments"]
    corpora = own.get("corpora") or [task]
    if unknown := [name for name in corpora if name not in list_corpora()]:
        raise ValueError(f"--data_dir: {task} was trained on {unknown[0]}, which is not one of the known corpora")
    splits = {"test_size": arguments.get("test_size"), "seed": arguments.get("split_seed", 42)}
    return [document for name in corpora for document in load_corpus(name, data_dir, **splits).splits["test"]]


def stock_scores(model: Any, tokenizer: Any, task: str, documents: Sequence[Any]) -> dict[str, float]:
    """Strict entity scores, `test_{task}_f1` and so on, of the stock pipeline on whole documents."""
    from tqdm import tqdm
    from transformers import pipeline

    types = list(dict.fromkeys(label[2:] for label in model.config.id2label.values() if label != "O"))
    ner = pipeline("token-classification", model=model, tokenizer=tokenizer, **STOCK_PIPELINE)
    predicted, gold = set(), set()
    for i, document in enumerate(tqdm(documents, desc="stock pipeline", unit=" documents")):
        predicted |= {(i, e["start"], e["end"], e["entity_group"]) for e in ner(document.text)}
        gold |= {(i, e.start, e.end, e.type) for e in document.entities if e.type in types}
    return task_metrics(f"test_{task}", gold, predicted, types)[0]


def main(argv: Sequence[str] | None = None) -> int:
    """`mtl-bioner-export`; exit status 0, or 2 if nothing was written."""
    parser = argparse.ArgumentParser(
        prog="mtl-bioner-export", description="A stock model of one task, which needs no remote code."
    )
    parser.add_argument("folder", type=Path, help="--output_dir of a training")
    parser.add_argument("--task", required=True, help="name of the task")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--data_dir", help="folder of the corpora: scores the stock model on the task's test split")

    def export(arguments: argparse.Namespace) -> str:
        scores = export_task(arguments.folder, arguments.task, arguments.output, arguments.data_dir)
        written = f"wrote {arguments.output}"
        f1 = scores.get(f"test_{arguments.task}_f1")
        return written if f1 is None else f"{written}; F1 through the stock pipeline: {100 * f1:.2f}"

    return run_command(parser, export, argv)


if __name__ == "__main__":
    sys.exit(main())
