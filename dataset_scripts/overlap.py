"""Count which texts and which mention strings corpora share."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dataset_scripts.leaks import find_leaks
from dataset_scripts.schema import Document


Matrix = dict[str, dict[str, int]]  # by row, then by column; the diagonal holds a corpus' own number
Shared = dict[str, dict[str, list[str]]]  # by row, then by column, without the diagonal


@dataclass(frozen=True)
class Overlap:
    """What each corpus (row) shares with each other (column)."""

    documents: Matrix  # of the row: with an id of the column, or with its words or a sentence (see `leaks.py`)
    mention_strings: Matrix  # distinct ones, lower-cased
    shared_document_ids: Shared  # of the row
    shared_mention_strings: Shared

    @property
    def matrices(self) -> dict[str, Matrix]:
        """The numbers, by title."""
        return {"documents": self.documents, "mention strings": self.mention_strings}

    def as_dict(self) -> dict[str, object]:
        """Return the form of `stats --overlap --json`."""
        return asdict(self)


def compute_overlap(corpora: Mapping[str, list[Document]]) -> Overlap:
    """Compare the documents of corpora, by name, and the strings of their mentions."""
    ids: Shared = {row: {column: [] for column in corpora if column != row} for row in corpora}
    for leak in find_leaks(corpora, {name: {"all": documents} for name, documents in corpora.items()}):
        if leak.train != leak.held_out:
            ids[leak.train][leak.held_out] += leak.document_ids
    texts = {name: list_strings(documents) for name, documents in corpora.items()}
    strings = {row: {column: sorted(texts[row] & texts[column]) for column in ids[row]} for row in corpora}
    documents = _count(ids, {name: len(documents) for name, documents in corpora.items()})
    return Overlap(documents, _count(strings, {name: len(texts[name]) for name in texts}), ids, strings)


def _count(shared: Shared, own: Mapping[str, int]) -> Matrix:
    return {row: {column: len(shared[row].get(column, ())) if column != row else own[row] for column in own}
            for row in own}  # fmt: skip


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
