"""Time and memory of one text of 5 MB, and of a corpus of a million mentions; the long form only."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cases import IS_LONG, Cases

from mtl_bioner.tokenizer import load_tokenizer
from mtl_bioner.training.model_building import build_model


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_LONG, reason="make attack measures")]

ROOT = Path(__file__).parents[2]
BEGIN = "import json, resource, sys, time\nbegin = time.monotonic()\n"
END = """
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps({"count": count, "seconds": round(time.monotonic() - begin, 1), "MiB": peak}))
"""
ANNOTATE = """
import mtl_bioner
ner, size = mtl_bioner.load(sys.argv[1]), int(sys.argv[2])
begin = time.monotonic()
text = ("Cisplatin caused acute renal failure in two of the patients. " * (size // 60 + 1))[:size]
entities = ner(text)
assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
count = len(entities)
"""
READ = """
from dataset_scripts import load_corpus
corpus = load_corpus(sys.argv[1], scoring_only=True)
count = sum(ledger.kept for ledger in corpus.ledgers.values())
assert all(e.end <= len(d.text) for split in corpus.splits.values() for d in split for e in d.entities)
"""


def measure(code: str, *arguments: object) -> dict[str, float]:
    """Run code in a process of its own; return what it counted, its time and its peak memory."""
    command = [sys.executable, "-c", BEGIN + code + END, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_one_long_text(toy_encoder, tmp_path, cases: Cases, capsys):
    folder = toy_encoder("bert")
    build_model(folder, [{"name": "a", "types": ["Gene"]}], max_seq_length=100, context_size=8).save_pretrained(
        tmp_path
    )
    load_tokenizer(folder).save_pretrained(tmp_path)
    with cases.case(limit=7200):
        small, large = (measure(ANNOTATE, tmp_path, size) for size in (500_000, 5_000_000))
        with capsys.disabled():
            print(f"\none text of 0.5 and 5 MB: {small}, {large}")
        assert large["seconds"] < 15 * small["seconds"] and large["MiB"] - small["MiB"] < 4000


def write_mentions(path: Path, form: str, mentions: int) -> Path:
    """Write documents of 50 mentions each."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(1, mentions // 50 + 1):
            words = [rng.choice(["gout", "lupus", "colic", "asthma"]) for _ in range(50)]
            text, spans = "", []
            for word in words:
                text += f"and then came {word} "
                spans.append((len(text) - 1 - len(word), len(text) - 1, word))
            file.write(FORMATS[form](number, text, spans))
    return path


def format_jsonl(number: int, text: str, spans: list[tuple[int, int, str]]) -> str:
    entities = [{"start": start, "end": end, "type": "Disease", "text": word} for start, end, word in spans]
    return json.dumps({"document_id": str(number), "text": text, "entities": entities}) + "\n"


def format_pubtator(number: int, text: str, spans: list[tuple[int, int, str]]) -> str:
    lines = [f"{number}\t{start}\t{end}\t{word}\tDisease\n" for start, end, word in spans]
    return f"{number}|t|{text}\n{number}|a|\n{''.join(lines)}\n"


def format_conll(number: int, text: str, spans: list[tuple[int, int, str]]) -> str:
    found = {word for _, _, word in spans}
    return "".join(f"{word}\t{'B-Disease' if word in found else 'O'}\n" for word in text.split()) + "\n"


FORMATS = {"jsonl": format_jsonl, "pubtator": format_pubtator, "conll": format_conll}


@pytest.mark.parametrize("form", FORMATS)
def test_a_corpus_of_a_million_mentions(tmp_path, cases: Cases, capsys, form):
    with cases.case(limit=7200):
        sizes = (100_000, 1_000_000)
        small, large = (measure(READ, write_mentions(tmp_path / f"c.{form}", form, size)) for size in sizes)
        with capsys.disabled():
            print(f"\n{form}, 100,000 and a million mentions: {small}, {large}")
        assert (small["count"], large["count"]) == sizes
        assert large["seconds"] < 15 * small["seconds"]
