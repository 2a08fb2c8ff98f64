"""Measure how fast corpora are read, and the memory that takes: a corpus is repeated to a large file in each format.

    python benchmarks/read_corpora.py --data_dir CORPORA [--corpus jnlpba] [--megabytes 70] [--quick]

Each file is read in a process of its own. Prints a table and writes JSON; the ratio is the slowest rate over 5 MB a
second. Linux only.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

from dataset_scripts import Document, file_ledgers, load_corpus
from dataset_scripts.bio import DEFAULT_WORD_PATTERN
from dataset_scripts.export import ENDINGS, write_documents


FORMATS = ("conll", "pubtator", "jsonl")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data_dir", required=True, help="holds the corpus; `sample` is embedded")
    parser.add_argument("--corpus", default="jnlpba")
    parser.add_argument("--megabytes", type=float, default=70, help="size of each file")
    parser.add_argument("--quick", action="store_true", help="files of 5 MB")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks/read_corpora.json"))
    arguments = parser.parse_args(argv)
    documents = load_corpus(arguments.corpus, arguments.data_dir).splits["train"]
    size = int((5 if arguments.quick else arguments.megabytes) * 1e6)
    rows = {}
    print("format      MB   CPU s   MB/s   memory/file   mentions")
    with tempfile.TemporaryDirectory() as folder:
        for name in FORMATS:
            path = write_repeated(documents, name, Path(folder, f"{name}{ENDINGS[name]}"), size)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                rows[name] = row = pool.apply(measure, (str(path),))
            print("{:8} {:5.0f} {:7.1f} {:6.1f} {:13.2f} {:10,}".format(name, *row.values()), flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"ratio: {min(row['mb_per_second'] for row in rows.values()) / 5:.2f}")
    return 0


def write_repeated(documents: Sequence[Document], to: str, path: Path, size: int) -> Path:
    """Write the documents again and again, each time with ids of their own, until the file has the size."""
    once = path.with_name(f"once-{path.name}")
    write_documents(to, documents, once, DEFAULT_WORD_PATTERN, sorted({e.type for d in documents for e in d.entities}))
    copies = max(1, round(size / once.stat().st_size))
    once.unlink()
    repeated = [replace(doc, document_id=f"{copy}{doc.document_id}") for copy in range(copies) for doc in documents]
    write_documents(to, repeated, path, DEFAULT_WORD_PATTERN, [])
    return path


def measure(path: str) -> dict[str, float]:
    """Read a file as `corpora stats` does; return size, CPU seconds, rate, memory above the start, mentions."""
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    began = time.process_time()
    ledgers = file_ledgers(path)
    seconds = time.process_time() - began
    megabytes = Path(path).stat().st_size / 1e6
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6
    read = sum(ledger.read for ledger in ledgers.values())
    rate = megabytes / seconds
    return {"mb": megabytes, "cpu_seconds": seconds, "mb_per_second": rate, "memory": memory / megabytes, "read": read}


if __name__ == "__main__":
    sys.exit(main())
