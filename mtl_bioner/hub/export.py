"""Export one task of a trained model as a stock token-classification model, which needs no code of its own.

Its logits equal those of the task's head. The stock pipeline makes other entities of them: it reads texts whole, where
the head was trained on sentences, and knows nothing of legal BIO sequences. So the stock model is scored by itself.
"""

import copy
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel, pipeline

from dataset_scripts import Document, list_corpora, load_corpus
from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel, find_sentence_breaks, find_words
from mtl_bioner.evaluation.metrics import compute_task_metrics
from mtl_bioner.hub.model_card import STOCK_PIPELINE, read_record, write_task_card
from mtl_bioner.reporting.files import write_json
from mtl_bioner.tokenizer import get_max_length


def export_task(folder: Path, task: str, output: Path, data_dir: str | None = None) -> dict[str, float]:
    """Write a stock model of one task, with tokenizer and card, and return its scores on the corpora in `data_dir`.

    Raises ValueError for no such model, task or corpus, layers that no stock model has, or an output folder in use.
    """
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"--output {output} is not empty; name another folder")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; name the --output_dir of a training")
    model = MtlBionerModel.from_pretrained(folder)
    stock = build_stock_model(model, task)
    documents = load_test_documents(folder, task, data_dir) if data_dir else []
    tokenizer = AutoTokenizer.from_pretrained(folder, config=model.config.encoder_config, trust_remote_code=False)
    # The stock pipeline would run into the encoder's limit otherwise.
    tokenizer.model_max_length = get_max_length(tokenizer, model.config.encoder_config)
    scores = score_stock_model(stock, tokenizer, model.config, task, documents) if documents else {}
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        complete = Path(temporary) / "model"
        stock.save_pretrained(complete)
        tokenizer.save_pretrained(complete)
        if scores:
            write_json(complete / "all_results.json", scores)
        write_task_card(folder, task, complete, scores)
        if output.exists():
            output.rmdir()  # it is empty
        complete.rename(output)
    return scores


def build_stock_model(model: MtlBionerModel, task: str) -> PreTrainedModel:
    """Return a token-classification model of the encoder's own class, with the head of one task.

    Raises ValueError for an unknown task, or layers that no stock model has.
    """
    names = model.config.task_names
    if task not in names:
        raise ValueError(f"no task {task!r} to export; the model's are {', '.join(names)}")
    if model.config.sharing != "hard":
        cause = f"the head of {task} sees features of {model.config.sharing} sharing, which no stock model computes"
        raise ValueError(f"{cause}; train with --sharing hard to export single tasks")
    config = copy.deepcopy(model.config.encoder_config)
    config.id2label = dict(enumerate(model.config.labels(names.index(task))))
    config.label2id = {label: i for i, label in config.id2label.items()}
    stock = AutoModelForTokenClassification.from_config(config).to(model.device, model.dtype).eval()
    try:
        stock.base_model.load_state_dict(model.encoder.state_dict())
        stock.classifier.load_state_dict(model.heads[task].state_dict())
        if has_same_logits(stock, model, task):
            return stock
    except (AttributeError, RuntimeError) as error:
        raise ValueError(f"{type(stock).__name__} has other layers than this encoder: {error}") from error
    raise ValueError(f"{type(stock).__name__} computes more between encoder and logits than a linear head")


@torch.no_grad()
def has_same_logits(stock: PreTrainedModel, model: MtlBionerModel, task: str) -> bool:
    """Return whether a stock model computes the logits of the task's head, tried on random sub-words."""
    ids = torch.randint(model.config.encoder_config.vocab_size, (2, 8), device=model.device)
    training = model.training
    logits = model.eval().classify(model.encode(ids), [task])[task]
    model.train(training)
    atol = 1e-5 if model.dtype == torch.float32 else 0.1
    return torch.allclose(stock(ids).logits.float(), logits.float(), atol=atol)


def load_test_documents(folder: Path, task: str, data_dir: str) -> list[Document]:
    """Load the test split that the model's training left out; raises ValueError for a user's own corpus."""
    entry = next(entry for entry in read_record(folder / "config.json")["tasks"] if entry["name"] == task)
    run = read_record(folder / "run.json")
    corpora = entry.get("corpora") or [task]
    corpora = [name for name in corpora if name in run["ledger"]] or corpora  # the ones that the head was scored on
    if unknown := [name for name in corpora if name not in list_corpora()]:
        raise ValueError(f"--data_dir: {task} was trained on {unknown[0]}, which is not one of the known corpora")
    splits = {"test_size": run["arguments"].get("test_size"), "seed": run["arguments"].get("split_seed", 42)}
    return [document for name in corpora for document in load_corpus(name, data_dir, **splits).splits["test"]]


def score_stock_model(
    model: PreTrainedModel, tokenizer: Any, config: MtlBionerConfig, task: str, documents: Sequence[Document]
) -> dict[str, float]:
    """Return strict entity scores of the stock pipeline: `test_{task}_f1` and so on, of whole documents, and
    `sentences_{task}_f1` and so on, of single sentences."""
    types = list(dict.fromkeys(label[2:] for label in model.config.id2label.values() if label != "O"))
    ner = pipeline("token-classification", model=model, tokenizer=tokenizer, **STOCK_PIPELINE)
    gold = {(i, e.start, e.end, e.type) for i, doc in enumerate(documents) for e in doc.entities if e.type in types}
    metrics = {}
    for unit in ("test", "sentences"):
        predicted = set()
        for i, document in enumerate(tqdm(documents, desc=f"stock pipeline, {unit}", unit=" documents")):
            whole = [(0, len(document.text))]
            for start, end in split_sentences(document.text, config) if unit == "sentences" else whole:
                entities = ner(document.text[start:end])
                predicted |= {(i, e["start"] + start, e["end"] + start, e["entity_group"]) for e in entities}
        metrics |= compute_task_metrics(f"{unit}_{task}", gold, predicted, types)[0]
    return metrics


def split_sentences(text: str, config: MtlBionerConfig) -> list[tuple[int, int]]:
    """Return the character ranges of a text's sentences as training cuts them; only blank ones are left out."""
    words = find_words(text, config.word_pattern)
    starts = [words[word][0] for word in find_sentence_breaks(text, words, config.sentence_pattern)]
    cuts = sorted({0, *starts, len(text)})
    return [(start, end) for start, end in itertools.pairwise(cuts) if not text[start:end].isspace()]
