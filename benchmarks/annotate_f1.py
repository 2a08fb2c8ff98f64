"""F1 on test sets through `mtl-bioner annotate`, by data type and backend, beside what the evaluation found.

    python benchmarks/annotate_f1.py --model MODEL --data_dir CORPORA --tasks ncbi,bc5cdr,bc2gm,jnlpba
    python benchmarks/annotate_f1.py --model MODEL --data_dir CORPORA --tasks ncbi,bc5cdr --backend torch onnx

MODEL is the --output_dir of a training with scores of the test splits (`--do_predict`), whose tasks have the names of
registered corpora. With `onnx` it is exported in float32 and in int8. The test documents go through the command as
texts. Prints a table, in F1 points, with the number of entities that only one of a column and torch in float32 finds.
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
REFERENCE = "torch float32"
COLUMNS = {"torch": (REFERENCE, "torch bfloat16"), "onnx": ("onnx float32", "onnx int8")}
Found = set[tuple[int, int, int, str]]  # number of the document, start, end, type


def export(arguments: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Return the folder of the model for each column."""
    columns = dict.fromkeys((REFERENCE, *(column for name in arguments.backend for column in COLUMNS[name])))
    for column in columns:
        backend, dtype = column.split()
        columns[column] = arguments.model if backend == "torch" else str(folder / column)
        if backend == "onnx":
            command = [sys.executable, "-m", "mtl_bioner", "export", arguments.model, "--to", "onnx"]
            command += ["--output", columns[column], *(["--int8"] if dtype == "int8" else [])]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return columns


def annotate(model: str, task: str, column: str, texts: Path) -> list[dict[str, Any]]:
    """Run the command; return the lines of its output, in the order of the documents."""
    output, (backend, dtype) = texts.with_name(f"{task}-{column}"), column.split()
    command = [sys.executable, "-m", "mtl_bioner", "annotate", model, str(texts), "--output", str(output)]
    command += ["--tasks", task, "--backend", backend, *(["--dtype", dtype] if backend == "torch" else [])]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    content = "".join(path.read_text("utf-8") for path in sorted(output.glob("part-*.jsonl")))
    return [json.loads(line) for line in content.split("\n") if line]


def find(models: dict[str, str], task: str, documents: list[Document], folder: Path) -> dict[str, Found]:
    """Return the entities that each column finds in the test documents of a task."""
    texts, predicted = folder / f"{task}.jsonl", {}
    records = ({"document_id": str(number), "text": one.text} for number, one in enumerate(documents))
    texts.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    for column, model in models.items():
        sys.stderr.write(f"annotating the test documents of {task}: {column}\n")
        lines = annotate(model, task, column, texts)
        predicted[column] = {
            (int(one["document_id"]), e["start"], e["end"], e["type"]) for one in lines for e in one["entities"]
        }
    return predicted


def format_row(task: str, evaluation: float, documents: list[Document], predicted: dict[str, Found]) -> str:
    """Return a row of the table."""
    gold = {(number, e.start, e.end, e.type) for number, one in enumerate(documents) for e in one.entities}
    scores = {column: 100 * score_spans(gold, entities).f1 for column, entities in predicted.items()}
    cells = [f"{scores[REFERENCE]:.2f}"]
    for column in [name for name in predicted if name != REFERENCE]:
        others = len(predicted[column] ^ predicted[REFERENCE])
        cells.append(f"{scores[column]:.2f} ({scores[column] - scores[REFERENCE]:+.2f}, {others} other)")
    return f"| {task} | {len(predicted[REFERENCE])} | {evaluation:.2f} | {' | '.join(cells)} |"


def main() -> int:
    """Annotate, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="--output_dir of a training with test scores")
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--tasks", required=True, help="names of tasks, each of one registered corpus")
    parser.add_argument("--backend", nargs="+", choices=COLUMNS, default=["torch"], help="torch, onnx, or both")
    arguments = parser.parse_args()
    arguments.model = str(Path(arguments.model).resolve())
    results = json.loads(Path(arguments.model, "all_results.json").read_text(encoding="utf-8"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        models = export(arguments, Path(folder))
        for task in arguments.tasks.split(","):
            documents = load_corpus(task, arguments.data_dir).splits["test"]
            predicted = find(models, task, documents, Path(folder))
            rows.append(format_row(task, 100 * results[f"test_{task}_f1"], documents, predicted))
    header = [f"| task | entities | evaluation | {' | '.join(models)} |", f"|---|{'---:|' * (2 + len(models))}"]
    sys.stdout.write("\n".join([*header, *rows]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
