"""Small corpora for tests."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataset_scripts.documents import merge_documents, to_documents
from dataset_scripts.problems import Problems
from dataset_scripts.schema import Document, Ledger, RawDocument


SENTENCES = [
    "Cisplatin induced nephrotoxicity in BRCA1 carriers with ovarian cancer.",
    "The p53 protein binds DNA; mutations of BRCA1 and EGFR cause breast cancer (OMIM 113705).",
    "Patients with Wilson's disease were given 250 mg penicillamine, and acute renal failure followed.",
    "IL-2 gene expression and NF-kappa B activation through CD28 requires reactive oxygen production.",
]


def collect(raws: Iterable[RawDocument], name: object = "FILE") -> tuple[list[Document], Ledger]:
    """Return the documents of what a reader yields, merged, and their ledger; log what is wrong with mentions."""
    problems, ledger = Problems(), Ledger()
    documents = merge_documents(to_documents(raws, problems=problems), str(name))
    problems.report(str(name), allow_losses=True)
    for one in documents:
        ledger.add_document(one)
    return documents, ledger


def document(document_id: str, text: str, mentions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A JSONL document; each `(words, type)` is the next place in the text where the words stand."""
    entities, at = [], 0
    for words, type_name in mentions:
        start = text.index(words, at)
        at = start + len(words)
        entities.append({"start": start, "end": at, "type": type_name, "text": words})
    return {"document_id": document_id, "text": text, "entities": entities}


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_jsonl(path: Path, documents: Iterable[dict[str, Any]]) -> Path:
    return put(path, "".join(json.dumps(item) + "\n" for item in documents))


def tiny_model(tasks: Sequence[dict[str, Any]], hidden_size: int = 4, **config_options: Any) -> Any:
    """An `MtlBionerModel` on a BERT of one layer, in evaluation mode and without dropout of the heads; seed 0."""
    import torch
    from transformers import BertConfig

    from modeling_mtl_bioner import MtlBionerConfig, MtlBionerModel

    encoder = BertConfig(
        vocab_size=30, hidden_size=hidden_size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    torch.manual_seed(0)
    return MtlBionerModel(MtlBionerConfig(encoder, tasks, **{"head_dropout": 0.0, **config_options})).eval()


def assert_same_entities(one: Sequence[Any], other: Sequence[Any], tolerance: float = 1e-5) -> None:
    """Equal entities, of a text or of each of several; scores may differ by `tolerance`.

    Matrix libraries promise equal bits neither for a text alone and in a batch, nor for other numbers of threads.
    """
    for first, second in zip(one, other, strict=True):
        if isinstance(first, dict):
            assert second == {**first, "score": pytest.approx(first["score"], abs=tolerance)}
        else:
            assert_same_entities(first, second, tolerance)


# ------------------------------------------------------------------------------------------------ runs of run_mtl_ner

SAMPLE = ["--data_dir", "sample", "--max_seq_length", "64", "--context_size", "8", "--use_cpu", "--teachers", "none",
          "--disable_tqdm", "true"]  # fmt: skip
FEW = ["--max_train_samples", "6", "--max_eval_samples", "3", "--max_predict_samples", "4", "--num_train_epochs", "1"]
SMALL = [*SAMPLE, *FEW]
TIMES = ("runtime", "samples_per_second", "steps_per_second", "preparation_time")
SECRET = "hf_thisisnorealtoken"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_scores(folder: Path) -> dict[str, float]:
    """`all_results.json` without the times."""
    return {key: value for key, value in read_json(folder / "all_results.json").items() if not key.endswith(TIMES)}


def edit_json(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file."""
    content = read_json(path)
    edit(content)
    path.write_text(json.dumps(content))


def list_ids(rows: Any) -> list[str]:
    """Document ids of the texts of some rows, in their order."""
    return [text.document.document_id for text in rows.texts]


def sizes(corpus: Any) -> list[int]:
    """Numbers of training, development and test documents of a corpus."""
    return [len(corpus.splits[split]) for split in ("train", "dev", "test")]


def gout_cases(count: int, text: str = "Case {} had gout.") -> list[dict[str, Any]]:
    """Documents "0", "1", ... with one mention of a disease each."""
    return [document(str(n), text.format(n), [("gout", "Disease")]) for n in range(count)]
