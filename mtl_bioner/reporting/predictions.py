"""Write predicted entities."""

import itertools
import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.formats.jsonl import write_jsonl
from dataset_scripts.formats.pubtator import write_pubtator
from dataset_scripts.schema import CorpusError, Document, Entity


logger = logging.getLogger(__name__)


def write_predictions(
    output: Path, rows: Any, predicted: Sequence[Sequence[Mapping[str, Any]]], task_names: Sequence[str]
) -> None:
    """Write `predictions_{task}.jsonl` and `.pubtator`, for each corpus if a task has several, as ids may coincide."""
    documents: dict[tuple[int, str], list[Document]] = defaultdict(list)  # by task and corpus
    for text, entities in zip(rows.texts, predicted, strict=True):
        task = task_names[text.task_id]
        kept = [Entity(e["start"], e["end"], e["type"], score=e["score"], task=task) for e in entities]
        documents[text.task_id, text.corpus].append(Document(text.document.document_id, text.document.text, kept))
    names: list[str] = []
    for task_id, corpus in documents:
        name = task_names[task_id]
        if sum(other == task_id for other, _ in documents) > 1:
            name += "_" + re.sub(r"[^A-Za-z0-9.-]+", "_", corpus).strip("._")
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        # A task may be called `disease_ncbi`, beside `disease` with the corpus `ncbi`.
        names.append(next(other for other in itertools.chain([name], numbered) if other not in names))
    for name, part in zip(names, documents.values(), strict=True):
        for path, write in ((f"{name}.jsonl", write_jsonl), (f"{name}.pubtator", write_pubtator)):
            try:
                write(part, output / f"predictions_{path}")
            except CorpusError as error:  # PubTator can't hold every document id; JSONL can
                logger.warning("no predictions_%s: %s", path, error)
