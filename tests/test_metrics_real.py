"""The official scoring program of BC2GM, `alt_eval.perl` of its folder, counts what this project counts."""

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_scripts import load_corpus
from dataset_scripts.schema import Document
from mtl_bioner.evaluation.metrics import Score, Span, score_with_alternatives


CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
PROGRAM = CORPORA / "bc2gm" / "bc2geneMention" / "train" / "alt_eval.perl"
TEST = CORPORA / "bc2gm" / "BC2GM" / "test"
pytestmark = [
    pytest.mark.skipif(not PROGRAM.is_file() or not TEST.is_dir(), reason="shared/corpora is not here"),
    pytest.mark.skipif(shutil.which("perl") is None, reason="no perl"),
]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return load_corpus("bc2gm", CORPORA).splits["test"]


def perturb(document: Document, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Keep, drop, move and cut gold spans, give them as alternatives (several at times), and add spurious ones."""
    for entity in document.entities:
        kind = chance.random()
        if kind < 0.5:
            yield entity.start, entity.end
        elif kind < 0.6:
            yield entity.start, entity.end + chance.randint(1, 9)
        elif kind < 0.7:
            yield entity.start - chance.randint(1, 9), entity.end - chance.randint(0, 3)
    yield from ((other.start, other.end) for other in document.alternatives if chance.random() < 0.3)
    if chance.random() < 0.2:
        start = chance.randrange(len(document.text))
        yield start, start + chance.randint(1, 30)


def trim(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Cut a span at the text's ends and at spaces, where no span of words begins or ends."""
    start, end = max(0, start), min(len(text), end)
    piece = text[start:end]
    start, end = start + len(piece) - len(piece.lstrip(" ")), end - len(piece) + len(piece.rstrip(" "))
    return (start, end) if start < end else None


def run_program(documents: list[Document], predicted: set[Span], folder: Path) -> tuple[Score, list[float]]:
    """Read the counts, and precision, recall and F, from what the program prints."""
    texts = {document.document_id: document.text for document in documents}
    lines = []
    for document_id, start, end, _ in sorted(predicted):  # the program counts characters without spaces
        text = texts[document_id]
        first, last = start - text[:start].count(" "), end - 1 - text[: end - 1].count(" ")
        lines.append(f"{document_id}|{first} {last}|{text[start:end]}\n")
    path = folder / "predicted.eval"
    path.write_text("".join(lines), encoding="utf-8")
    command = ["perl", PROGRAM, "-gene", TEST / "GENE.eval", "-altgene", TEST / "ALTGENE.eval", path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    right, false, missed = (
        int(re.search(rf"^{name}: (\d+)$", printed, re.MULTILINE)[1]) for name in ("TP", "FP", "FN")
    )
    values = [float(value) for value in re.findall(r"(?:Precision|Recall|F): (\S+)", printed)]
    return Score(right, right + false, right + missed), values


@pytest.mark.parametrize("seed", [1, 2, 3, None])
def test_the_official_program_counts_the_same(documents: list[Document], tmp_path: Path, seed: int | None) -> None:
    gold = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.entities}
    others = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.alternatives}
    assert len(gold) == 6331
    predicted = gold
    if seed is not None:
        chance = random.Random(seed)
        spans = [(d.document_id, trim(d.text, *span)) for d in documents for span in perturb(d, chance)]
        predicted = {(document_id, *span, "Gene") for document_id, span in spans if span is not None}
        assert predicted & others and predicted - others - gold
    counts, values = run_program(documents, predicted, tmp_path)
    score = score_with_alternatives(gold, others, predicted)
    assert score == counts
    assert [score.precision, score.recall, score.f1] == pytest.approx(values, abs=1e-12)
    assert values == [1.0, 1.0, 1.0] if seed is None else 0.5 < score.f1 < 0.99
