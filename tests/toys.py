"""Small corpora for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def document(document_id: str, text: str, mentions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A JSONL document; each `(words, type)` is the next place in the text where the words stand."""
    entities, at = [], 0
    for words, type_name in mentions:
        start = text.index(words, at)
        at = start + len(words)
        entities.append({"start": start, "end": at, "type": type_name, "text": words})
    return {"document_id": document_id, "text": text, "entities": entities}


def write_jsonl(path: Path, documents: Iterable[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in documents), encoding="utf-8")
    return path
