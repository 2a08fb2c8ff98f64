"""The spaCy component against the pipeline that it runs, on the same texts, by turns.

    python benchmarks/spacy_pipe.py --model MODEL --data_dir CORPORA
    python benchmarks/spacy_pipe.py --model MODEL --data_dir sample --quick

The texts are test abstracts of NCBI Disease and BC5CDR, and spaCy's part is a blank English tokenizer and the spans.
Prints a table, writes `spacy_pipe.json` into --output_dir, and last prints `ratio: <number>`: the speed of `nlp.pipe`
over that of the pipeline.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

import spacy

from dataset_scripts import load_corpus
from mtl_bioner.reporting.files import write_json


def measure(annotate: Callable[[], Iterable[object]]) -> float:
    """Return the seconds that annotating all texts takes."""
    start = time.perf_counter()
    for _ in annotate():
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="--output_dir of a training")
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--threshold", type=float, default=0.5, help="least score of an entity")
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/benchmarks"), help="where the JSON goes")
    parser.add_argument("--quick", action="store_true", help="few texts, one round")
    arguments = parser.parse_args()
    documents = [document for name in ("ncbi", "bc5cdr") for document in
                 load_corpus(name, arguments.data_dir).splits["test"]]  # fmt: skip
    texts = [document.text for document in documents][: 20 if arguments.quick else 400]
    nlp = spacy.blank("en")
    nlp.add_pipe("mtl_bioner", config={"model": arguments.model, "threshold": arguments.threshold})
    ner = nlp.get_pipe("mtl_bioner").ner
    ways = {"pipeline": lambda: ner(iter(texts)), "nlp.pipe": lambda: nlp.pipe(texts)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(2 if arguments.quick else 5):
        for name, annotate in ways.items():
            taken = measure(annotate)
            if turn:  # the first of each fills caches
                seconds[name].append(taken)
    for name, times in seconds.items():
        print(f"{name:10}{len(texts) / statistics.median(times):8.1f} texts/s")
    ratio = statistics.median(first / second for first, second in zip(*seconds.values(), strict=True))
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output_dir / "spacy_pipe.json", {"texts": len(texts), "seconds": seconds, "ratio": ratio})
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
