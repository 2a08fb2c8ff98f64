"""The official scoring program of BC2GM, `alt_eval.perl` of its folder, counts what we count."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataset_scripts import load_corpus
from dataset_scripts.schema import Document
from mtl_bioner.evaluation.metrics import Span, score_with_alternatives


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


def perturbed(document: Document, chance: random.Random) -> Iterator[tuple[int, int]]:
    """Gold spans kept, dropped, moved, cut, or given as alternatives (several at times), and spurious ones."""
    for entity in document.entities:
        kind = chance.random()
        start, end = entity.start, entity.end
        if kind < 0.5:
            yield start, end
        elif kind < 0.6:
            yield start, end + chance.randint(1, 9)
        elif kind < 0.7:
            yield start - chance.randint(1, 9), end - chance.randint(0, 3)
    for other in document.alternatives:
        if chance.random() < 0.3:
            yield other.start, other.end
    if chance.random() < 0.2:
        start = chance.randrange(len(document.text))
        yield start, start + chance.randint(1, 30)


def trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Inside the text, and neither beginning nor ending in a space, as every span of words is."""
    start, end = max(0, start), min(len(text), end)
    piece = text[start:end]
    start, end = start + len(piece) - len(piece.lstrip(" ")), end - len(piece) + len(piece.rstrip(" "))
    return (start, end) if start < end else None


def run_program(documents: list[Document], predicted: set[Span], folder: Path) -> tuple[dict[str, int], list[float]]:
    """TP, FP, FN, and precision, recall, F, as the program prints them."""
    texts = {document.document_id: document.text for document in documents}
    lines = []
    for document_id, start, end, _ in sorted(predicted):
        text = texts[document_id]
        first = start - text[:start].count(" ")
        last = end - 1 - text[: end - 1].count(" ")
        lines.append(f"{document_id}|{first} {last}|{text[start:end]}\n")
    path = folder / "predicted.eval"
    path.write_text("".join(lines), encoding="utf-8")
    command = ["perl", PROGRAM, "-gene", TEST / "GENE.eval", "-altgene", TEST / "ALTGENE.eval", path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    counts = {name: int(number) for name, number in re.findall(r"^(TP|FP|FN): (\d+)$", printed, re.MULTILINE)}
    return counts, [float(value) for value in re.findall(r"(?:Precision|Recall|F): (\S+)", printed)]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_official_program_counts_the_same(documents: list[Document], tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    predicted = {
        (document.document_id, *span, "Gene")
        for document in documents
        for candidate in perturbed(document, chance)
        if (span := trimmed(document.text, *candidate)) is not None
    }
    gold = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.entities}
    others = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.alternatives}
    assert len(gold) == 6331
    assert predicted & others
    assert predicted - others - gold

    counts, values = run_program(documents, predicted, tmp_path)
    score = score_with_alternatives(gold, others, predicted)
    assert {"TP": score.right, "FP": score.predicted - score.right, "FN": score.gold - score.right} == counts
    assert [score.precision, score.recall, score.f1] == pytest.approx(values, abs=1e-12)
    assert 0.5 < score.f1 < 0.99


def test_official_program_on_the_gold_itself(documents: list[Document], tmp_path: Path) -> None:
    gold = {(d.document_id, e.start, e.end, e.type) for d in documents for e in d.entities}
    counts, values = run_program(documents, gold, tmp_path)
    assert counts == {"TP": 6331, "FP": 0, "FN": 0}
    assert values == [1.0, 1.0, 1.0]
    assert score_with_alternatives(gold, set(), gold).f1 == 1.0
