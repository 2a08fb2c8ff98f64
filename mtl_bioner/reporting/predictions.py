"""Write predicted entities."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.formats.jsonl import write_jsonl
from dataset_scripts.formats.pubtator import write_pubtator
from dataset_scripts.schema import CorpusError, Document, Entity


logger = logging.getLogger(__name__)


def write_predictions(
    output: Path, rows: Any, entities: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str]
) -> None:
    """`predictions_{task}.jsonl` and `.pubtator` of every task with texts, `predictions_{task}_{corpus}.*` of one with
    several corpora, whose documents may have the same ids."""
    output.mkdir(parents=True, exist_ok=True)
    documents: dict[tuple[int, str], list[Document]] = {}  # by task and corpus
    for text, own in zip(rows.texts, entities, strict=True):
        found = [Entity(e["start"], e["end"], e["type"], score=e["score"], task=names[text.task_id]) for e in own]
        key = text.task_id, text.corpus
        documents.setdefault(key, []).append(Document(text.document.document_id, text.document.text, found))
    written: set[str] = set()
    for task, corpus in documents:
        alone = sum(other == task for other, _ in documents) == 1
        name = names[task] if alone else f"{names[task]}_{re.sub(r'[^A-Za-z0-9.-]+', '_', corpus).strip('._')}"
        if name in written:  # as of the tasks `disease`, of several corpora, and `disease_ncbi`
            name = next(other for i in itertools.count(2) if (other := f"{name}-{i}") not in written)
        written.add(name)
        write_jsonl(documents[task, corpus], output / f"predictions_{name}.jsonl")
        try:
            write_pubtator(documents[task, corpus], output / f"predictions_{name}.pubtator")
        except CorpusError as error:  # an id that PubTator can't hold; nothing else is lost
            logger.warning("no predictions_%s.pubtator: %s", name, error)
