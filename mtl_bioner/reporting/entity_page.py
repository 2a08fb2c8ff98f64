"""Build a page that shows annotated documents: one HTML file that works offline, with a script and style of its own.

Documents are untrusted. They stand in the page as JSON, and its script shows them as text, never as HTML. A policy
(Content-Security-Policy) lets the browser run that script only, and load nothing.

The Space has a copy of this module and `entity_page.html`, so they need the standard library only.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


TEMPLATE = Path(__file__).with_name("entity_page.html")
LEAST_SCORE = 0.5  # that a page shows at first

# `<` could end the script element, and UTF-8 can't hold halves of surrogate pairs.
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def build_entity_page(
    title: str,
    documents: Iterable[Mapping[str, Any]],
    notes: Sequence[str] = (),
    least_score: float = LEAST_SCORE,
    compact: bool = False,
) -> str:
    """Return a page of documents in the form of our JSONL.

    Args:
        documents: each with `document_id`, `text` and `entities`. An entity has `start`, `end` and `type`, or `spans`
            for the first two if it is discontinuous, and perhaps `score` and `task`, or the `tasks` that agree on it.
        notes: lines below the title.
        least_score: that the page shows at first; a reader may choose another.
        compact: without title, filters and mentions, to stand inside another page.
    """
    shown = [
        {"id": one["document_id"], "text": one["text"], "columns": [[_shape_entity(e) for e in one["entities"]]]}
        for one in documents
    ]
    entities = [entity for one in shown for entity in one["columns"][0]]
    values = {
        "type": sorted({entity["type"] for entity in entities}),
        "task": sorted({task for entity in entities for task in entity.get("tasks", ())}),
        "kind": [],
        "split": [],
    }
    scored = any("score" in entity for entity in entities)
    page = {"title": title, "notes": notes, "documents": shown, "values": values, "scored": scored}
    return render_page(page | {"least_score": least_score if scored else 0, "compact": compact})


def _shape_entity(entity: Mapping[str, Any]) -> dict[str, Any]:
    spans = entity.get("spans") or [(entity["start"], entity["end"])]
    shaped: dict[str, Any] = {"spans": spans, "type": entity["type"]}
    score = entity.get("score")
    if score is not None and math.isfinite(score):
        shaped["score"] = score
    if tasks := entity.get("tasks") or ([entity["task"]] if entity.get("task") else []):
        shaped["tasks"] = list(dict.fromkeys(tasks))
    return shaped


def render_page(page: Mapping[str, Any]) -> str:
    """Return the HTML of a page that `entity_page.html` shows; the same content gives the same bytes."""
    content = json.dumps(page, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    values = {
        "title": escape_name(str(page["title"])),
        "data": _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", content),
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    values["policy"] = write_policy(template)
    return re.sub("@(policy|title|data)@", lambda match: values[match[1]], template)


def write_policy(page: str) -> str:
    """Return a Content-Security-Policy that allows the page's own style and script, and nothing else."""
    allowed = [f"{kind}-src {_hash_element(page, kind)}" for kind in ("script", "style")]
    return "; ".join(["default-src 'none'", *allowed, "base-uri 'none'", "form-action 'none'"])


def _hash_element(page: str, kind: str) -> str:
    element = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
    digest = hashlib.sha256(element[1].encode() if element else b"").digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def escape_name(name: str) -> str:
    """Return a name as HTML; characters that don't print, or that turn others around, are replaced."""
    return html.escape(_UNPRINTABLE.sub("\ufffd", name))
