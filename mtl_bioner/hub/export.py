"""One task of a trained model as a stock token-classification model, which needs no code of its own.

    mtl-bioner-export outputs/ncbi,bc5cdr --task ncbi --output outputs/ncbi-stock [--data_dir CORPORA]

Its logits are those of the task's head. What the stock pipeline makes of them differs: it reads texts whole, where the
head was trained on sentences, and knows nothing of legal BIO sequences. With `--data_dir` its score on the test split
is taken, and stands in the card beside the head's own.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForTokenClassification, PreTrainedModel

from dataset_scripts import list_corpora, load_corpus
from modeling_mtl_bioner import MtlBionerModel, find_sentence_breaks
from mtl_bioner.evaluation.metrics import compute_task_metrics
from mtl_bioner.hub.model_card import STOCK_PIPELINE, recorded, write_task_card
from mtl_bioner.hub.push import run_command
from mtl_bioner.reporting.files import write_json
from mtl_bioner.tokenizer import get_max_length


def export_task(folder: Path, task: str, output: Path, data_dir: str | None = None) -> dict[str, float]:
    """Write a stock token-classification model of one task, with tokenizer and card; returns its scores.

    Args:
        data_dir: where the task's corpora are; None scores nothing.

    Raises:
        ValueError: no such model or task, a structure that no stock model computes, an output folder in use, or a
            corpus that `data_dir` doesn't hold. Nothing was written then.
    """
    from transformers import AutoTokenizer

    if output.exists() and any(output.iterdir()):
        raise ValueError(f"--output {output} is not empty; name another folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; name the --output_dir of a training")
    model = MtlBionerModel.from_pretrained(folder)
    stock = build_stock_model(model, task)
    documents = test_documents(folder, task, data_dir) if data_dir else []
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config)
    # else the stock pipeline runs into the encoder's limit
    tokenizer.model_max_length = get_max_length(tokenizer, model.config.encoder_config)
    scores = stock_scores(stock, tokenizer, model.config, task, documents) if documents else {}
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


def build_stock_model(model: MtlBionerModel, task: str) -> PreTrainedModel:
    """A stock token-classification model of the encoder's own class, with the head of one task.

    It needs no remote code, and its logits are the head's own, which is tried on random sub-words.

    Raises:
        ValueError: an unknown task; a sharing layer, or a stock class, that holds more than a linear head.
    """
    names = model.config.task_names
    if task not in names:
        raise ValueError(f"no task {task!r} to export; the model's are {', '.join(names)}")
    if model.config.sharing != "hard":
        raise ValueError(
            f"the head of {task} sees features of {model.config.sharing} sharing, which no stock model computes; "
            "train with --sharing hard to export single tasks"
        )
    labels = dict(enumerate(model.config.labels(names.index(task))))
    config = copy.deepcopy(model.config.encoder_config)
    config.id2label, config.label2id = labels, {label: i for i, label in labels.items()}
    stock = AutoModelForTokenClassification.from_config(config).to(model.device, model.dtype).eval()
    try:
        stock.base_model.load_state_dict(model.encoder.state_dict())
        stock.classifier.load_state_dict(model.heads[task].state_dict())
        ids = torch.randint(config.vocab_size, (2, 8), device=model.device)
        training, _ = model.training, model.eval()
        with torch.no_grad():
            logits = model.classify(model.encode(ids), [task])[task]
            atol = 1e-5 if model.dtype == torch.float32 else 0.1
            same = torch.allclose(stock(ids).logits.float(), logits.float(), atol=atol)
        model.train(training)
    except (AttributeError, RuntimeError) as error:
        raise ValueError(f"{type(stock).__name__} has other layers than this encoder: {error}") from error
    if not same:
        raise ValueError(f"{type(stock).__name__} computes more between encoder and logits than a linear head")
    return stock


def test_documents(folder: Path, task: str, data_dir: str) -> list[Any]:
    """The test split that the model's training left out.

    Raises:
        ValueError: a corpus that isn't known by name, or isn't there.
    """
    own = next(one for one in recorded(folder / "config.json")["tasks"] if one["name"] == task)
    run = recorded(folder / "run.json")
    arguments, corpora = run["arguments"], own.get("corpora") or [task]
    corpora = [name for name in corpora if name in run["ledger"]] or corpora  # those that the head was scored on
    if unknown := [name for name in corpora if name not in list_corpora()]:
        raise ValueError(f"--data_dir: {task} was trained on {unknown[0]}, which is not one of the known corpora")
    splits = {"test_size": arguments.get("test_size"), "seed": arguments.get("split_seed", 42)}
    return [document for name in corpora for document in load_corpus(name, data_dir, **splits).splits["test"]]


def stock_scores(model: Any, tokenizer: Any, config: Any, task: str, documents: Sequence[Any]) -> dict[str, float]:
    """Strict entity scores of the stock pipeline.

    Returns:
        `test_{task}_f1` and so on, of whole documents; `sentences_{task}_f1` and so on, of one sentence at a time.
    """
    from tqdm import tqdm
    from transformers import pipeline

    types = list(dict.fromkeys(label[2:] for label in model.config.id2label.values() if label != "O"))
    ner = pipeline("token-classification", model=model, tokenizer=tokenizer, **STOCK_PIPELINE)
    gold = {(i, e.start, e.end, e.type) for i, own in enumerate(documents) for e in own.entities if e.type in types}
    metrics = {}
    for unit, parts_of in (
        ("test", lambda text: [(0, len(text))]),
        ("sentences", lambda text: sentences(text, config)),
    ):
        predicted = set()
        for i, document in enumerate(tqdm(documents, desc=f"stock pipeline, {unit}", unit=" documents")):
            for start, end in parts_of(document.text):
                found = ner(document.text[start:end])
                predicted |= {(i, e["start"] + start, e["end"] + start, e["entity_group"]) for e in found}
        metrics |= compute_task_metrics(f"{unit}_{task}", gold, predicted, types)[0]
    return metrics


def sentences(text: str, config: Any) -> list[tuple[int, int]]:
    """Character ranges of a text's sentences, as the model was trained on them; they leave out nothing."""
    words = [match.span() for match in re.finditer(config.word_pattern, text)]
    begins = [words[word][0] for word in find_sentence_breaks(text, words, config.sentence_pattern)]
    cuts = sorted({0, *begins, len(text)})
    return [(start, end) for start, end in itertools.pairwise(cuts) if not text[start:end].isspace()]


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
        if not scores:
            return written
        whole, single = (100 * scores[f"{unit}_{arguments.task}_f1"] for unit in ("test", "sentences"))
        return f"{written}; F1 through the stock pipeline: {whole:.2f}, {single:.2f} sentence by sentence"

    return run_command(parser, export, argv)


if __name__ == "__main__":
    sys.exit(main())
