"""Write `errors.html`: a model's errors, most frequent ones first, gold and predicted side by side by document."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtl_bioner.evaluation.error_analysis import KINDS, Error, normalize_mention, pair_errors
from mtl_bioner.evaluation.metrics import Span
from mtl_bioner.evaluation.spans import collect_predicted
from mtl_bioner.reporting.entity_page import render_page
from mtl_bioner.reporting.files import write_text


ERRORS = "errors.html"
MOST_DOCUMENTS = 500
MOST_CHARACTERS = 4_000_000  # of the texts of a page
MOST_GROUPS = 3000  # different errors in the table
_EXAMPLES = 10  # documents of one error that are chosen before those of rarer ones
_LONGEST = 100  # characters of a mention in the table


@dataclass(frozen=True)
class ScoredText:
    """A text with the entities of one task.

    Attributes:
        note: what else tells it from others of its id, such as the corpus.
        gold: `(start, end, type)` of each gold mention.
        predicted: entities with `start`, `end`, `type` and `score`.
    """

    split: str
    task: str
    document_id: str
    text: str
    gold: frozenset[tuple[int, int, str]]
    predicted: Sequence[Mapping[str, Any]]
    note: str = ""

    def find_errors(self) -> list[Error]:
        """Return the errors; the first value of their spans is the id."""
        gold = {(self.document_id, *span) for span in self.gold}
        return pair_errors(gold, {(self.document_id, *span) for span in collect_predicted(self.predicted)})


def write_error_page(path: Path, title: str, texts: Iterable[ScoredText]) -> None:
    """Write the page of all errors in some texts; of a bounded number of documents, if there are many."""
    errors_by_text = [(text, errors) for text in texts if (errors := text.find_errors())]
    totals: Counter[tuple[str, ...]] = Counter()
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)  # the documents of each error, one for each time
    for index, (text, errors) in enumerate(errors_by_text):
        for error in errors:
            totals[text.split, text.task, error.span[3], error.kind] += 1
            groups[text.split, text.task, error.span[3], error.kind, *_describe(text.text, error)].append(index)
    ranked = dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))
    chosen = _choose_documents([text.text for text, _ in errors_by_text], list(ranked.values()))
    documents = [_shape_document(*errors_by_text[index]) for index in chosen]
    names = ("split", "task", "type", "kind", "mention", "predicted")
    page = {
        "title": title,
        "notes": _write_notes(len(errors_by_text), len(chosen), len(ranked)),
        "documents": documents,
        "columns": ["Gold", "Predicted"],
        "kinds": KINDS,
        "totals": [dict(zip(names, key, strict=False), count=count) for key, count in sorted(totals.items())],
        "errors": [
            dict(zip(names, key, strict=True), count=len(found)) for key, found in list(ranked.items())[:MOST_GROUPS]
        ],
        "values": {name: sorted({key[place] for key in totals}) for place, name in enumerate(names[:4])},
        "scored": False,
        "least_score": 0,
    }
    write_text(path, render_page(page))


def _describe(text: str, error: Error) -> tuple[str, str]:
    """Return the mention, and what was predicted in its place."""
    mention = normalize_mention(text, error.span)[0][:_LONGEST]
    if error.kind == "wrong type":
        return mention, error.predicted[0][3]
    if error.kind == "wrong boundary":
        return mention, normalize_mention(text, error.predicted[0])[0][:_LONGEST]
    return mention, ""


def _choose_documents(texts: Sequence[str], groups: Sequence[Sequence[int]]) -> list[int]:
    """Return the documents to show: some of each error, the most frequent first, and then the others."""
    first = (index for documents in groups for index in documents[:_EXAMPLES])
    ordered = dict.fromkeys([*first, *(index for documents in groups for index in documents)])
    chosen: list[int] = []
    characters = 0
    for index in ordered:
        characters += len(texts[index])
        if chosen and (len(chosen) == MOST_DOCUMENTS or characters > MOST_CHARACTERS):
            break
        chosen.append(index)
    return chosen


def _shape_document(text: ScoredText, errors: Sequence[Error]) -> dict[str, Any]:
    kinds: dict[Span, str] = {}
    for error in reversed(errors):  # of a prediction in the place of several mentions, the first says the kind
        kinds |= dict.fromkeys(error.predicted, error.kind) | ({error.gold: error.kind} if error.gold else {})
    columns = [
        [_shape_entity(span, kinds.get((text.document_id, *span))) for span in sorted(spans)]
        for spans in (text.gold, collect_predicted(text.predicted))
    ]
    about = {"id": text.document_id, "split": text.split, "task": text.task, "note": text.note}
    return about | {"text": text.text, "columns": columns}


def _shape_entity(span: tuple[int, int, str], kind: str | None) -> dict[str, Any]:
    start, end, name = span
    return {"spans": [(start, end)], "type": name} | ({"kind": kind} if kind else {})


def _write_notes(documents: int, shown: int, groups: int) -> list[str]:
    notes = ["Gold and predicted entities of each document with errors. Grey ones are correct."]
    if shown < documents:
        notes.append(
            f"Shows {shown:,} of {documents:,} documents with errors, those of the most frequent errors first; "
            "the counts include all."
        )
    if groups > MOST_GROUPS:
        notes.append(f"The table of errors holds the {MOST_GROUPS:,} most frequent of {groups:,} different ones.")
    return notes
