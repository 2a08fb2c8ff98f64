"""Count which texts and which mention strings corpora share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dataset_scripts.leaks import find_leaks
from dataset_scripts.schema import Document


Matrix = dict[str, dict[str, int]]  # by row, then by column; the diagonal holds a corpus' own number


@dataclass(frozen=True)
class Overlap:
    """What each corpus (row) shares with each other (column)."""

    documents: Matrix  # of the row: with an id of the column, or with its words or a sentence (see `leaks.py`)
    mention_strings: Matrix  # distinct ones, lower-cased

    def as_dict(self) -> dict[str, Matrix]:
        """Return the form of `stats --overlap --json`."""
        return asdict(self)


def compute_overlap(corpora: Mapping[str, list[Document]]) -> Overlap:
    """Compare the documents of corpora, by name, and the strings of their mentions."""
    documents: Matrix = {name: dict.fromkeys(corpora, 0) for name in corpora}
    for leak in find_leaks(corpora, {name: {"all": documents} for name, documents in corpora.items()}):
        documents[leak.train][leak.held_out] += len(leak.document_ids)
    for name, texts in corpora.items():
        documents[name][name] = len(texts)
    strings = {name: list_strings(texts) for name, texts in corpora.items()}
    shared = {row: {column: len(strings[row] & strings[column]) for column in corpora} for row in corpora}
    return Overlap(documents, shared)


def list_strings(documents: list[Document]) -> set[str]:
    """List the distinct strings of mentions, lower-cased."""
    return {document.text[e.start : e.end].lower() for document in documents for e in document.entities}


def format_matrix(title: str, matrix: Matrix) -> list[tuple[str, ...]]:
    """Return the rows of a table: own numbers, and shared ones with their share of the row's own."""
    rows = [(title, "all", *(f"in {name}" for name in matrix))]
    for name, row in matrix.items():
        shares = (f"{n:,} ({n / max(1, row[name]):.1%})" if other != name else "-" for other, n in row.items())
        rows.append((name, f"{row[name]:,}", *shares))
    return rows
