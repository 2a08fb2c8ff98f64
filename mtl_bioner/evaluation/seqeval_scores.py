"""Score word tags with seqeval, as `run_ner.py` of transformers does, to compare with papers that report it.

Both take the most probable label of each word's first sub-word, whether or not the labels are a legal sequence, and
compare entities with those that the gold tags spell. So mentions that tags can't express are no gold here: nested
ones, and those that begin or end inside a word. Unlike `run_ner.py`, no word is cut off.
"""

from collections.abc import Sequence
from typing import Any

from data_collators import Row, TaskRows


def compute_seqeval_scores(
    rows: TaskRows, logits: Sequence[Any], task_names: Sequence[str], prefix: str
) -> dict[str, float]:
    """Compute `{prefix}_{task}_seqeval_precision`, `_recall` and `_f1` of each task that has rows.

    Args:
        rows, logits: the rows, and for each its logits (length, at least the labels of its task). A sequence is a row.
    """
    from seqeval import metrics  # takes a second to import

    measures = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}

    sequences: dict[int, tuple[list[list[str]], list[list[str]]]] = {}
    for row, row_logits in zip(rows.rows, logits, strict=True):
        gold, predicted = sequences.setdefault(row.task_id, ([], []))
        row_gold, row_predicted = collect_tags(rows, row, row_logits)
        gold.append(row_gold)
        predicted.append(row_predicted)
    scores = {}
    for task, (gold, predicted) in sorted(sequences.items()):
        for kind, measure in measures.items():
            scores[f"{prefix}_{task_names[task]}_seqeval_{kind}"] = float(measure(gold, predicted, zero_division=0))
    return scores


def collect_tags(rows: TaskRows, row: Row, logits: Any) -> tuple[list[str], list[str]]:
    """Collect gold and predicted tags of a row's words; a word without sub-words has none, as in `run_ner.py`."""
    text, labels = rows.texts[row.text], rows.labels[row.task_id]
    words = [(word, place) for word, place in enumerate(row.window.positions, row.window.core[0]) if place >= 0]
    best = logits[[place for _, place in words], : len(labels)].argmax(-1).tolist() if words else []
    predicted = [labels[label] for label in best]
    if text.types is not None:  # a corpus that annotates only some types of its task
        predicted = [tag if tag[2:] in text.types else "O" for tag in predicted]
    return [text.tags[word] for word, _ in words], predicted
