"""Speed, memory and size of a model with torch and with ONNX Runtime, on processors with and without bfloat16.

    python benchmarks/onnx_speed.py --model MODEL --data_dir CORPORA
    python benchmarks/onnx_speed.py --model MODEL --data_dir sample --quick

MODEL is the --output_dir of a training; it is exported in float32 and in int8. Each backend annotates the same
abstracts of NCBI Disease and BC5CDR by turns, each time in a process of its own. `ONEDNN_MAX_CPU_ISA` keeps torch from
instructions of newer processors: AVX512_CORE_BF16 from AMX, AVX512_CORE_VNNI from bfloat16 too. ONNX Runtime doesn't
heed it, and shows what of a difference is noise. Speed is sub-words of the texts a second, context and special tokens
not counted; memory is the peak of the resident set; start is the time from the process's begin to the first entities.

Writes `onnx_speed.json` into --output_dir, prints a table, and last `ratio: <number>`: the speed in int8 over that of
torch in float32, both on this processor as it is. Linux only.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


BEGIN = time.perf_counter()  # of a worker, but for Python's own start
ROOT = Path(__file__).parents[1]
BACKENDS = ("torch float32", "torch bfloat16", "onnx float32", "onnx int8")
INSTRUCTIONS = ("all", "AVX512_CORE_BF16", "AVX512_CORE_VNNI")
FIRST = "Cisplatin caused renal failure in BRCA1 carriers."


def annotate(options: dict[str, Any]) -> dict[str, float]:
    """Load a model and annotate the texts in this process; return times, sub-words and memory."""
    sys.path.insert(0, str(ROOT))
    from mtl_bioner.annotation.engine import EngineOptions, load_engine

    ner = load_engine(EngineOptions(options["folder"], dtype=options["dtype"], backend=options["backend"]), "cpu")
    ner(FIRST)
    start = time.perf_counter()
    texts = Path(options["texts"]).read_text(encoding="utf-8").split("\n")
    list(ner(iter(texts[: len(texts) // 10 + 1])))  # kernels are prepared for the shapes that come
    begin = time.perf_counter()
    entities = sum(map(len, ner(iter(texts))))
    return {
        "seconds": time.perf_counter() - begin,
        "start": start - BEGIN,
        "entities": entities,
        "memory": read_peak_memory(),
    }


def read_peak_memory() -> float:
    """Return the peak of this process's resident memory in MiB; that of `getrusage` begins with the parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def prepare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the texts, one a line, and export the model; return the folder of each backend, sizes and counts."""
    sys.path.insert(0, str(ROOT))
    from dataset_scripts import load_corpus
    from modeling_mtl_bioner import find_words, split_subwords
    from mtl_bioner.api import load
    from mtl_bioner.hub.onnx_export import export_onnx
    from mtl_bioner.reporting.run_record import describe_machine, get_package_version

    corpora = [load_corpus(name, arguments.data_dir) for name in ("ncbi", "bc5cdr")]
    once = [" ".join(one.text.split()) for corpus in corpora for split in corpus.splits.values() for one in split]
    texts = list(itertools.islice(itertools.cycle(once), arguments.documents))
    (folder / "texts").write_text("\n".join(texts), encoding="utf-8")
    model = Path(arguments.model).resolve()
    for name in ("float32", "int8"):
        export_onnx(model, folder / f"onnx {name}", int8=name == "int8")
    ner = load(model)
    words = ([text[a:b] for a, b in find_words(text, ner.model.config.word_pattern)] for text in texts)
    folders = {name: str(folder / name) if name.startswith("onnx") else str(model) for name in BACKENDS}
    return {
        "machine": describe_machine() | {"threads": arguments.threads},
        "versions": {name: get_package_version(name) for name in ("torch", "onnxruntime", "transformers")},
        "documents": len(texts),
        "subwords": sum(len(piece) for of_text in words for piece in split_subwords(ner.tokenizer, of_text)),
        "folders": folders,
        "megabytes": {name: measure_weights(Path(path)) for name, path in folders.items()},
    }


def measure_weights(folder: Path) -> float:
    """Return the size of the files of weights that a folder's backend reads, in megabytes."""
    weights = [*folder.glob("model*.safetensors")] or [folder / "model.onnx"]
    return sum(path.stat().st_size for path in weights) / 1e6


def measure(report: dict[str, Any], texts: Path, backend: str, instructions: str, threads: int) -> dict[str, float]:
    """Run a backend in a fresh process; raise RuntimeError with what a failed one wrote."""
    kind, dtype = backend.split()
    options = {"folder": report["folders"][backend], "backend": kind, "texts": str(texts)}
    options["dtype"] = dtype if kind == "torch" else "auto"
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    environment |= {} if instructions == "all" else {"ONEDNN_MAX_CPU_ISA": instructions}
    sys.stderr.write(f"measuring {backend}, instructions: {instructions}\n")
    command = [sys.executable, __file__, "--worker", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{backend} failed: {done.stderr[-1000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def summarise(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each backend and set of instructions: medians over the rounds."""
    rows = []
    for key, runs in report["runs"].items():
        backend, instructions = key.split(", ")
        seconds, start, memory = (
            statistics.median(run[name] for run in runs) for name in ("seconds", "start", "memory")
        )
        rows.append({
            "backend": backend, "instructions": instructions, "texts": report["documents"] / seconds,
            "subwords": report["subwords"] / seconds, "start": start, "memory": memory,
            "megabytes": report["megabytes"][backend], "entities": runs[0]["entities"],
            "spread": (max(run["seconds"] for run in runs) - min(run["seconds"] for run in runs)) / seconds,
        })  # fmt: skip
    return rows


def format_report(report: dict[str, Any]) -> str:
    """Return the rows as a table, and the ratio."""
    columns = ("texts/s", "sub-words/s", "spread", "start, s", "peak MiB", "MB on disk", "entities")
    lines = [f"| backend | instructions | {' | '.join(columns)} |", f"|---|---|{'---:|' * len(columns)}"]
    for row in report["rows"]:
        lines.append(
            f"| {row['backend']} | {row['instructions']} | {row['texts']:.1f} | {row['subwords']:,.0f} | "
            f"{100 * row['spread']:.0f} % | {row['start']:.1f} | {row['memory']:,.0f} | {row['megabytes']:.1f} | "
            f"{row['entities']:,} |"
        )
    speeds = {row["backend"]: row["subwords"] for row in report["rows"] if row["instructions"] == "all"}
    return "\n".join([*lines, f"ratio: {speeds['onnx int8'] / speeds['torch float32']:.2f}"])


def main() -> int:
    """Measure, write and print; or annotate as a worker, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", help="--output_dir of a training")
    parser.add_argument("--data_dir", help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--documents", type=int, help="abstracts of a run (default: 400; quick: 40)")
    parser.add_argument("--rounds", type=int, help="runs of each (default: 5; quick: 1)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--output_dir", default="outputs/benchmarks", help="where the JSON goes")
    parser.add_argument("--quick", action="store_true", help="few texts, one round, this processor as it is")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(annotate(arguments.worker)) + "\n")
        return 0
    if not arguments.model or not arguments.data_dir:
        parser.error("give --model and --data_dir")
    arguments.documents = arguments.documents or (40 if arguments.quick else 400)
    kinds = list(itertools.product(BACKENDS, INSTRUCTIONS[:1] if arguments.quick else INSTRUCTIONS))
    with tempfile.TemporaryDirectory() as folder:
        report = prepare(arguments, Path(folder))
        report["runs"] = {f"{backend}, {instructions}": [] for backend, instructions in kinds}
        for _ in range(arguments.rounds or (1 if arguments.quick else 5)):
            for backend, instructions in kinds:
                run = measure(report, Path(folder, "texts"), backend, instructions, arguments.threads)
                report["runs"][f"{backend}, {instructions}"].append(run)
    del report["folders"]
    report["rows"] = summarise(report)
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / "onnx_speed.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(format_report(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
