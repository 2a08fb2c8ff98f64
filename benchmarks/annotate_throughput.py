"""Speed and memory of annotation: the command against the bare encoder and against Hugging Face pipelines.

    python benchmarks/annotate_throughput.py --model MODEL --data_dir CORPORA
    python benchmarks/annotate_throughput.py --model MODEL --data_dir sample --quick

MODEL is the --output_dir of a training. The texts are abstracts of NCBI Disease and BC5CDR, repeated as needed. Speed
is sub-words of the texts a second. What is compared runs by turns, each time in a process of its own. The data type is
bfloat16 where the hardware computes it, else float32.

Writes `annotate_throughput.json` and `.png` into --output_dir, prints a table, and last `ratio: <number>`: the
command's speed, without its start, over that of the bare encoder at its best fixed shape. Linux only.
"""

import argparse
import gzip
import html
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[1]
FIRST = "import mtl_bioner; mtl_bioner.load({model!r})('Cisplatin caused renal failure in BRCA1 carriers.')"
BARE_START = (
    "from transformers import PreTrainedModel; from safetensors.torch import load_file; "
    "load_file({model!r} + '/model.safetensors')"
)
CITATION = (
    "<PubmedArticle><MedlineCitation><PMID Version='1'>{id}</PMID><Article><ArticleTitle>{title}</ArticleTitle>"
    "<Abstract><AbstractText>{abstract}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>\n"
)


def write_texts(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the abstracts as JSONL and as PubMed XML."""
    sys.path.insert(0, str(ROOT))
    from dataset_scripts import load_corpus

    corpora = [load_corpus(name, arguments.data_dir) for name in ("ncbi", "bc5cdr")]
    once = [document.text for corpus in corpora for split in corpus.splits.values() for document in split]
    texts = list(itertools.islice(itertools.cycle(once), arguments.documents))
    arguments.texts, arguments.pubmed = str(folder / "texts.jsonl"), str(folder / "texts.xml.gz")
    lines = (json.dumps({"document_id": str(number), "text": text}) for number, text in enumerate(texts, 1))
    Path(arguments.texts).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with gzip.open(arguments.pubmed, "wt", encoding="utf-8", compresslevel=6) as file:
        file.write("<?xml version='1.0' encoding='utf-8'?>\n<PubmedArticleSet>\n")
        for number, text in enumerate(texts, 1):
            title, _, abstract = text.partition("\n")
            file.write(CITATION.format(id=number, title=html.escape(title), abstract=html.escape(abstract)))
        file.write("</PubmedArticleSet>\n")


def measure(arguments: argparse.Namespace, worker: str, **changes: Any) -> dict[str, Any]:
    """Return what a worker measures in a fresh process; raise RuntimeError with what a failed one wrote."""
    options = {"documents": arguments.documents, "dtype": arguments.dtype, "seconds": 10.0, **changes}
    options |= {"model": arguments.model, "texts": arguments.texts, "pubmed": arguments.pubmed}
    options["folder"] = arguments.folder
    sys.stderr.write(f"measuring {worker}\n")
    done = run([sys.executable, __file__, "--worker", worker, "--options", json.dumps(options)])
    return json.loads(done.strip().splitlines()[-1])


def run(command: list[str]) -> str:
    """Run a process and return what it prints; raise RuntimeError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{command[:4]} failed: {done.stderr[-1000:]}")
    return done.stdout


def measure_command(arguments: argparse.Namespace, dtype: str, number: int, documents: int) -> dict[str, float]:
    """Run the command as a user does; return documents a second, without its start and with it."""
    texts = Path(arguments.folder, f"first-{documents}.jsonl")
    if not texts.exists():
        with Path(arguments.texts).open(encoding="utf-8") as file:
            texts.write_text("".join(itertools.islice(file, documents)), encoding="utf-8")
    sys.stderr.write(f"measuring the command in {dtype}\n")
    output = Path(arguments.folder, f"annotated-{dtype}-{number}")
    start = time.perf_counter()
    line = run([sys.executable, "-m", "mtl_bioner", "annotate", arguments.model, str(texts), "--output", str(output),
                "--dtype", dtype])  # fmt: skip
    seconds = time.perf_counter() - start
    rate = re.search(r"([\d.,]+) documents/s", line)
    return {"documents_per_second": float(rate[1].replace(",", "")), "seconds": seconds, "documents": documents}


def measure_start(arguments: argparse.Namespace, rounds: int) -> dict[str, float]:
    """Time, by turns, a process that finds one entity, and one that only imports transformers and reads weights."""
    seconds: dict[str, list[float]] = {"first": [], "bare": []}
    for _ in range(rounds):
        for name, code in (("first", FIRST), ("bare", BARE_START)):
            start = time.perf_counter()
            run([sys.executable, "-c", code.format(model=arguments.model)])
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) for name, times in seconds.items()}


def measure_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """Take all measurements; what is compared takes turns."""
    report: dict[str, Any] = measure(arguments, "prepare", dtype="float32")
    arguments.dtype = report["dtype"]
    dtypes = dict.fromkeys((report["dtype"], "float32"))
    report |= {"documents": arguments.documents, "bare": [], "stock": [], "command": {dtype: [] for dtype in dtypes}}
    stock_documents = 8 if arguments.quick else 60
    for number in range(arguments.rounds):
        report["bare"].append(measure(arguments, "bare", seconds=8.0 if arguments.quick else 20.0))
        for dtype in dtypes:
            report["command"][dtype].append(measure_command(arguments, dtype, number, arguments.documents))
        report["stock"].append(measure(arguments, "stock", documents=stock_documents, dtype="float32"))
    report["shares"] = measure(arguments, "shares", documents=min(arguments.documents, 400))
    report["heads"] = measure(arguments, "heads", documents=40 if arguments.quick else 200)
    report["reading"] = measure(arguments, "reading")
    report["start"] = measure_start(arguments, 1 if arguments.quick else 5)
    if not arguments.quick:
        report["long"] = measure(arguments, "long", characters=1_000_000)
        report["memory"] = measure(arguments, "memory", documents=10_000)
    return report


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """Return medians over the rounds and their ratios."""
    per_document = report["subwords"] / report["documents"]
    bare = statistics.median(one["subwords_per_second"] for one in report["bare"])
    summary: dict[str, Any] = {"bare encoder": bare}
    for dtype, rounds in report["command"].items():
        steady = statistics.median(one["documents_per_second"] for one in rounds) * per_document
        whole = statistics.median(one["documents"] / one["seconds"] for one in rounds) * per_document
        summary |= {f"command, {dtype}": steady, f"command, {dtype}, start included": whole}
    stock = report["stock"]
    all_heads = statistics.median(one["subwords"] / sum(one["seconds"].values()) for one in stock)
    one_head = statistics.median(one["subwords"] / statistics.mean(one["seconds"].values()) for one in stock)
    summary |= {f"{report['tasks']} Hugging Face pipelines": all_heads, "one Hugging Face pipeline": one_head}
    command = summary[f"command, {report['dtype']}"]
    few, many = (report["heads"]["seconds"][str(number)] for number in (1, report["tasks"]))
    reading = report["reading"]["documents_per_second"] * per_document
    summary["ratios"] = {
        "command / bare encoder": command / bare,
        f"command / {report['tasks']} pipelines": command / all_heads,
        "command / one pipeline": command / one_head,
        "reading PubMed XML / command": reading / command,
        "a further head, of the time with one": (many / few - 1) / max(1, report["tasks"] - 1),
    }
    return summary


def format_report(report: dict[str, Any]) -> str:
    """Return the summary as text."""
    summary = report["summary"]
    lines = [f"{name:45}{speed:10,.0f} sub-words/s" for name, speed in summary.items() if name != "ratios"]
    lines += [f"{name:45}{ratio:10.2f}" for name, ratio in summary["ratios"].items()]
    best = max(report["bare"][0]["shapes"], key=report["bare"][0]["shapes"].get)
    lines.append(f"best shape of the bare encoder: {best} ({report['dtype']}, {report['threads']} threads)")
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in report["shares"]["shares"].items())
    lines.append(f"one process spends its time on: {shares}")
    start = report["start"]
    above = start["first"] - start["bare"]
    lines.append(f"start to first entity: {start['first']:.1f} s, {above:.1f} s more than imports and weights alone")
    if "long" in report:
        lines.append(f"one text of {report['long']['characters']:,} characters: {report['long']['seconds']:.1f} s")
    if "memory" in report:
        curve = dict(report["memory"]["curve"])
        lines.append(
            f"resident memory: {curve[1000]:,.0f} MiB after 1,000, {curve[10_000]:,.0f} after 10,000 abstracts"
        )
    return "\n".join([*lines, f"ratio: {summary['ratios']['command / bare encoder']:.2f}"])


def plot(report: dict[str, Any], path: Path) -> None:
    """Plot the speeds, and memory by number of abstracts."""
    from mtl_bioner.reporting.plots import import_pyplot, save_figure

    if (pyplot := import_pyplot("plot")) is None:
        return
    speeds = {name: speed for name, speed in report["summary"].items() if name != "ratios"}
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.5), layout="constrained", width_ratios=(3, 2))
    colours = ["tab:blue" if name.startswith("command") else "tab:gray" for name in speeds]
    left.barh(list(speeds), list(speeds.values()), color=colours)
    left.invert_yaxis()
    left.set(xlabel="sub-words/s", title="speed")
    if "memory" in report:
        numbers, memory = zip(*report["memory"]["curve"], strict=True)
        right.plot(numbers, memory, ".-")
    right.set(xlabel="abstracts", ylabel="MiB", title="resident memory", ylim=(0, None))
    save_figure(figure, path)


def main() -> int:
    """Measure, write and print; or measure as a worker, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", help="--output_dir of a training")
    parser.add_argument("--data_dir", help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--documents", type=int, help="abstracts of a run of the command (default: 2000; quick: 60)")
    parser.add_argument("--output_dir", default="outputs/benchmarks", help="where the JSON and the plot go")
    parser.add_argument("--quick", action="store_true", help="few texts, one round, no memory curve and no long text")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        from annotate_measurements import WORKERS  # with torch, which the reporting process doesn't need

        result = WORKERS[arguments.worker](argparse.Namespace(**arguments.options))
        sys.stdout.write(json.dumps(result) + "\n")
        return 0
    if not arguments.model or not arguments.data_dir:
        parser.error("give --model and --data_dir")
    arguments.model = str(Path(arguments.model).resolve())
    arguments.documents = arguments.documents or (60 if arguments.quick else 2000)
    arguments.rounds, arguments.dtype = 1 if arguments.quick else 3, "float32"
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = folder
        write_texts(arguments, Path(folder))
        report = measure_all(arguments)
    report["summary"] = summarise(report)
    output = Path(arguments.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    (output / "annotate_throughput.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(report, output / "annotate_throughput.png")
    sys.stdout.write(format_report(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
