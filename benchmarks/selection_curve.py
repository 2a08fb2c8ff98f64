"""F1 on NCBI Disease by number of annotated documents: selected by `mtl-bioner select` against random ones.

    python benchmarks/selection_curve.py --data_dir CORPORA --model_name_or_path ENCODER --strategies uncertain_spread

A simulation of annotating in rounds. Each seed begins with random documents of the training split. A model trained on
them selects the next documents by a strategy, a model trained on all of those selects the next, and so on. `random`
adds random documents. Each training begins from the encoder, takes `--base_steps` steps and one more for each
document, and is a process of its own, whose result is kept in --output_dir and not computed again. Writes
`selection_curve.json` and `selection_curve.png`, prints a table, with development scores; with --test also those of
the test split, by which no strategy is chosen.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

import run_mtl_ner
from dataset_scripts import hash_corpus, load_corpus
from dataset_scripts.formats import write_jsonl
from dataset_scripts.schema import Document
from modeling_mtl_bioner import MtlBionerPipeline
from mtl_bioner.annotation.parts import SourceDocument
from mtl_bioner.annotation.selection.strategies import STRATEGIES, Selector
from mtl_bioner.reporting.run_record import hash_model


ADDING = [name for name in STRATEGIES if name != "random"]


def main() -> int:
    """Train all that isn't stored, write and print; or train as a worker, and print JSON."""
    arguments = make_parser().parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(run_cell(arguments)) + "\n")
        return 0
    check_inputs(arguments)
    results = [
        result
        for seed in arguments.seeds
        for strategy in ["random", *arguments.strategies]
        for result in follow_strategy(arguments, strategy, seed)
    ]
    folder = Path(arguments.output_dir)
    hidden = {"documents", "next", "next_size"} | ({"test_f1"} if not arguments.test else set())
    rows = [{key: value for key, value in result.items() if key not in hidden} for result in results]
    (folder / "selection_curve.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    draw_curve(rows, folder / "selection_curve.png", "test" if arguments.test else "dev")
    sys.stdout.write(format_report(rows) + "\n")
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    add("--model_name_or_path", required=True, help="encoder")
    add("--output_dir", default="outputs/selection_curve", help="where the results go")
    add("--strategies", nargs="*", choices=ADDING, default=["uncertain_spread"], help="beside random")
    add("--sizes", type=int, nargs="+", default=[50, 100, 200, 350, 500], help="annotated documents")
    add("--until", type=int, help="stop after this size, to compare strategies in less time")
    add("--seeds", type=int, nargs="+", default=[42, 43, 44])
    add("--base_steps", type=int, default=100, help="of each training, beside one for each document")
    add("--learning_rate", type=float, default=4e-4)
    add("--test", action="store_true", help="report the test split too")
    add("--worker", help=argparse.SUPPRESS)  # strategy
    add("--documents", help=argparse.SUPPRESS)  # file with their ids
    return parser


def follow_strategy(arguments: argparse.Namespace, strategy: str, seed: int) -> list[dict[str, Any]]:
    """Return the results of all sizes, each trained on what the model of the size before selected."""
    documents = load_corpus("ncbi", arguments.data_dir).splits["train"]
    order = [document.document_id for document in documents]
    random.Random(seed).shuffle(order)
    chosen, results = order[: arguments.sizes[0]], []
    for number, size in enumerate(arguments.sizes):
        if arguments.until and size > arguments.until:
            break
        if number:
            added = order if strategy == "random" else results[-1]["next"][strategy]
            chosen = [*chosen, *[name for name in added if name not in chosen][: size - len(chosen)]]
        own = strategy if number else "start"  # which all strategies share
        results.append({**train_or_read(arguments, own, seed, chosen), "strategy": strategy})
    return results


def train_or_read(arguments: argparse.Namespace, strategy: str, seed: int, chosen: list[str]) -> dict[str, Any]:
    """Return the stored result of a training, or train in a new process; raises RuntimeError if that fails."""
    folder = Path(arguments.output_dir) / f"{strategy}-{seed}-{len(chosen)}"
    path = folder / "result.json"
    if path.is_file():
        result = json.loads(path.read_text(encoding="utf-8"))
        same_next = result["next_size"] == find_next_size(arguments, len(chosen))
        if result["documents"] == chosen and same_next and list_going_on(arguments, strategy) <= result["next"].keys():
            return result
    sys.stderr.write(f"training {strategy}, seed {seed}, {len(chosen)} documents\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "documents.json").write_text(json.dumps(chosen), encoding="utf-8")
    names = ("data_dir", "model_name_or_path", "base_steps", "learning_rate")
    command = [sys.executable, __file__, *(f"--{name}={getattr(arguments, name)}" for name in names)]
    command += [f"--seeds={seed}", f"--output_dir={folder}", f"--worker={strategy}"]
    command += ["--sizes", *map(str, arguments.sizes), "--strategies", *arguments.strategies]
    done = subprocess.run([*command, f"--documents={folder / 'documents.json'}"], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{folder.name} failed; see above")
    path.write_text(done.stdout.strip().splitlines()[-1] + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def find_next_size(arguments: argparse.Namespace, size: int) -> int | None:
    """Return the next larger size, None after the last."""
    return next((other for other in sorted(arguments.sizes) if other > size), None)


def list_going_on(arguments: argparse.Namespace, strategy: str) -> set[str]:
    """List the strategies that select with the model of a cell."""
    return set(arguments.strategies if strategy == "start" else [strategy]) - {"random"}


def run_cell(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train once on the given documents, score, and select the next ones."""
    folder, seed = Path(arguments.output_dir), arguments.seeds[0]
    chosen = json.loads(Path(arguments.documents).read_text(encoding="utf-8"))
    splits = load_corpus("ncbi", arguments.data_dir).splits
    by_id = {document.document_id: document for document in splits["train"]}
    train = [by_id[name] for name in chosen]
    for split, documents in {"train": train, "dev": splits["dev"], "test": splits["test"]}.items():
        (folder / "corpus").mkdir(exist_ok=True)
        write_jsonl(documents, folder / "corpus" / f"{split}.jsonl")
    options = {"tasks": f"ncbi={folder / 'corpus'}", "model_name_or_path": arguments.model_name_or_path, "seed": seed}
    options |= {"output_dir": folder / "model", "do_train": True, "do_eval": True, "do_predict": True}
    options |= {"overwrite_output": True, "save_strategy": "no", "eval_strategy": "no"}
    options |= {"max_steps": arguments.base_steps + len(chosen), "learning_rate": arguments.learning_rate}
    options |= {"report_to": "none", "disable_tqdm": True, "bf16": True}
    run = run_mtl_ner.prepare([f"--{name}={value}" for name, value in options.items()])
    start = time.perf_counter()
    trainer = run_mtl_ner.make_trainer(run)
    trainer.train()
    seconds = time.perf_counter() - start
    result: dict[str, Any] = {"strategy": arguments.worker, "seed": seed, "size": len(chosen), "seconds": seconds}
    result |= {
        "mentions": sum(len(one.entities) for one in train),
        "words": sum(len(one.text.split()) for one in train),
    }
    result["dev_f1"] = trainer.evaluate()["eval_ncbi_f1"]
    result["test_f1"] = trainer.predict(run.rows["test"], metric_key_prefix="test").metrics["test_ncbi_f1"]
    rest = [document for name, document in by_id.items() if name not in set(chosen)]
    next_size = find_next_size(arguments, len(chosen))
    ner = MtlBionerPipeline(model=trainer.model, tokenizer=run.tokenizer, task="token-classification")
    going_on = list_going_on(arguments, arguments.worker) if next_size else ()
    selected = select_next(ner, rest, (next_size or 0) - len(chosen), going_on, seed)
    return {**result, "documents": chosen, "next_size": next_size, "next": selected}


def select_next(
    ner: MtlBionerPipeline, rest: list[Document], count: int, strategies: Collection[str], seed: int
) -> dict[str, list[str]]:
    """Return by strategy the ids of so many documents that it selects from the rest."""
    selected = {}
    for strategy in sorted(strategies):
        selector = Selector(ner, count, strategy, seed=seed)
        selector.offer([SourceDocument(document.document_id, document.text, "") for document in rest])
        selected[strategy] = [candidate.document.document_id for candidate in selector.select()]
    return selected


def check_inputs(arguments: argparse.Namespace) -> None:
    """Raise ValueError if the results in the folder are of other inputs or settings."""
    inputs = {"encoder": hash_model(arguments.model_name_or_path), "corpus": hash_corpus("ncbi", arguments.data_dir)}
    inputs |= {"base_steps": arguments.base_steps, "learning_rate": arguments.learning_rate}
    path = Path(arguments.output_dir) / "inputs.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(inputs) + "\n", encoding="utf-8")
    elif (recorded := json.loads(path.read_text(encoding="utf-8"))) != inputs:
        raise ValueError(f"{path} names {recorded}, not {inputs}; choose another --output_dir")


def group_results(results: list[dict[str, Any]]) -> dict[str, dict[int, list[dict[str, Any]]]]:
    """Group results by strategy and size."""
    grouped: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for result in results:
        grouped.setdefault(result["strategy"], {}).setdefault(result["size"], []).append(result)
    return grouped


def format_report(results: list[dict[str, Any]]) -> str:
    """Return the table for people; its last line is the F1 of the strategies over that of random, after the start."""
    scores = [name for name in ("dev_f1", "test_f1") if all(name in result for result in results)]
    lines = [f"{'strategy':18}{'documents':>10}{'mentions':>10}{'words':>9}" + "".join(f"{s:>20}" for s in scores)]
    for strategy, by_size in group_results(results).items():
        for size, cells in by_size.items():
            mentions, words = (statistics.mean(cell[key] for cell in cells) for key in ("mentions", "words"))
            columns = [f"{strategy:18}{size:10}{mentions:10.0f}{words:9.0f}"]
            for score in scores:
                values = [100 * cell[score] for cell in cells]
                spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                columns.append(f"{statistics.mean(values):.2f}{spread}".rjust(20))
            lines.append("".join(columns))
    later = [result for result in results if result["size"] > min(result["size"] for result in results)]
    by_kind = {False: [], True: []}
    for result in later:
        by_kind[result["strategy"] == "random"].append(result[scores[-1]])
    if all(by_kind.values()):
        lines.append(f"ratio: {statistics.mean(by_kind[False]) / statistics.mean(by_kind[True]):.4f}")
    return "\n".join(lines)


def draw_curve(results: list[dict[str, Any]], path: Path, split: str) -> None:
    """Draw F1 by number of documents: the mean of each strategy, and its seeds as dots."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for strategy, by_size in group_results(results).items():
        means = [100 * statistics.mean(cell[f"{split}_f1"] for cell in cells) for cells in by_size.values()]
        (line,) = axes.plot(list(by_size), means, marker="o", label=strategy)
        dots = [(size, 100 * cell[f"{split}_f1"]) for size, cells in by_size.items() for cell in cells]
        axes.scatter(*zip(*dots, strict=True), s=9, color=line.get_color(), alpha=0.5)
    axes.set(xlabel="annotated documents", ylabel=f"{split} F1 (NCBI Disease)")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150, bbox_inches="tight")
    pyplot.close(figure)


if __name__ == "__main__":
    sys.exit(main())
