"""F1 on test sets through `mtl-bioner annotate`, in float32 and bfloat16, beside what the evaluation found.

    python benchmarks/annotate_f1.py --model MODEL --data_dir CORPORA --tasks ncbi,bc5cdr,bc2gm,jnlpba

MODEL is the --output_dir of a training with scores of the test splits (`--do_predict`), whose tasks have the names of
registered corpora. The test documents go through the command as texts. Prints a table, in F1 points.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

from dataset_scripts import Document, load_corpus
from mtl_bioner.evaluation.metrics import score_spans


ROOT = Path(__file__).parents[1]
DTYPES = ("float32", "bfloat16")


def annotate(arguments: argparse.Namespace, task: str, dtype: str, texts: Path) -> list[dict[str, Any]]:
    """Run the command; return the lines of its output, in the order of the documents."""
    output = texts.with_name(f"{task}-{dtype}")
    command = [sys.executable, "-m", "mtl_bioner", "annotate", arguments.model, str(texts), "--output", str(output)]
    subprocess.run([*command, "--tasks", task, "--dtype", dtype], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    content = "".join(path.read_text("utf-8") for path in sorted(output.glob("part-*.jsonl")))
    return [json.loads(line) for line in content.split("\n") if line]


def score(arguments: argparse.Namespace, task: str, documents: list[Document], folder: Path) -> dict[str, float]:
    """Return F1 in points by data type."""
    texts, scores = folder / f"{task}.jsonl", {}
    records = ({"document_id": str(number), "text": one.text} for number, one in enumerate(documents))
    texts.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    gold = {(number, e.start, e.end, e.type) for number, one in enumerate(documents) for e in one.entities}
    for dtype in DTYPES:
        sys.stderr.write(f"annotating the test documents of {task} in {dtype}\n")
        lines = annotate(arguments, task, dtype, texts)
        found = {(int(one["document_id"]), e["start"], e["end"], e["type"]) for one in lines for e in one["entities"]}
        scores[dtype] = 100 * score_spans(gold, found).f1
    return scores


def main() -> int:
    """Annotate, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="--output_dir of a training with test scores")
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--tasks", required=True, help="names of tasks, each of one registered corpus")
    arguments = parser.parse_args()
    arguments.model = str(Path(arguments.model).resolve())
    results = json.loads(Path(arguments.model, "all_results.json").read_text(encoding="utf-8"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for task in arguments.tasks.split(","):
            documents = load_corpus(task, arguments.data_dir).splits["test"]
            evaluation = 100 * results[f"test_{task}_f1"]
            scores = score(arguments, task, documents, Path(folder))
            change = scores["bfloat16"] - scores["float32"]
            by_dtype = " | ".join(f"{scores[dtype]:.2f}" for dtype in DTYPES)
            rows.append(f"| {task} | {evaluation:.2f} | {by_dtype} | {change:+.2f} |")
    header = ["| task | evaluation | float32 | bfloat16 | change |", "|---|---:|---:|---:|---:|"]
    sys.stdout.write("\n".join([*header, *rows]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
