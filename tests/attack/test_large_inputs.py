"""Time and memory of one long text, and of a corpus of many mentions. `make attack` takes 5 MB, and a million."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import IS_LONG, Cases

from dataset_scripts.export import ENDINGS, write_documents
from dataset_scripts.schema import Document, Entity
from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BEGIN = "import json, re, sys, time\n"
END = r"""
# Not `ru_maxrss`, which begins with that of the process that starts this one.
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) // 1024
print(json.dumps({"count": count, "seconds": round(time.monotonic() - begin, 1), "MiB": peak}))
"""
ANNOTATE = """
from transformers import pipeline
ner, size = pipeline("token-classification", model=sys.argv[1], trust_remote_code=True), int(sys.argv[2])
text = ("Cisplatin caused acute renal failure in two of the patients. " * (size // 60 + 1))[:size]
begin = time.monotonic()
entities = ner(text)
assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
count = len(entities)
"""
READ = """
from dataset_scripts import load_corpus
begin = time.monotonic()
corpus = load_corpus(sys.argv[1], scoring_only=True)
count = sum(ledger.kept for ledger in corpus.ledgers.values())
"""


def measure(code: str, *arguments: object) -> dict[str, Any]:
    """Run code in a process of its own; return what it counted, its time and its peak memory."""
    command = [sys.executable, "-c", BEGIN + code + END, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_long_text_takes_bounded_memory(toy_encoder, tmp_path, cases: Cases):
    folder = toy_encoder("bert")
    model = build_model(folder, [{"name": "a", "types": ["Gene"]}], max_seq_length=100, context_size=8)
    model.save_pretrained(tmp_path)
    load_tokenizer(folder).save_pretrained(tmp_path)
    with cases.case(limit=7200):
        sizes = (500_000, 5_000_000) if IS_LONG else (10_000, 1_000_000)
        small, large = (measure(ANNOTATE, tmp_path, size) for size in sizes)
        cases.note(f"{small}, {large}")
        assert large["MiB"] - small["MiB"] < (5000 if IS_LONG else 1000)
        assert not IS_LONG or large["seconds"] < 15 * small["seconds"]


def make_documents(mentions: int) -> Iterator[Document]:
    """Documents of 50 mentions each."""
    rng = random.Random(0)
    for number in range(1, mentions // 50 + 1):
        text, entities = "", []
        for word in rng.choices(["gout", "lupus", "colic", "asthma"], k=50):
            entities.append(Entity(len(text) + 5, len(text) + 5 + len(word), "Disease"))
            text += f"then {word}. "
        yield Document(str(number), text, entities)


@pytest.mark.skipif(not IS_LONG, reason="make attack measures")
@pytest.mark.parametrize("form", ["jsonl", "pubtator", "bioc", "conll"])
def test_a_corpus_of_a_million_mentions(tmp_path, cases: Cases, form):
    with cases.case(limit=7200):
        results = []
        for size in (100_000, 1_000_000):
            path = tmp_path / f"{size}{ENDINGS[form]}"
            write_documents(form, make_documents(size), path, r"\w+|\S", ["Disease"])
            results.append(measure(READ, path))
            assert results[-1]["count"] == size
        cases.note(f"{results[0]}, {results[1]}")
        assert results[1]["seconds"] < 15 * results[0]["seconds"]
