"""Development F1 of this project and of an unmodified Trainer after as many epochs of NCBI, over seeds.

    python benchmarks/equal_epochs.py --data_dir CORPORA --model_name_or_path ENCODER

Rows, encoder, number of epochs and scoring are the same. The unmodified Trainer has the defaults of `run_ner.py` (in
fp32, batches of 8) but for the learning rate, since its 5e-5 is too low for a small encoder. Each training is a
process of its own, whose result is kept in --output_dir and not computed again. Writes `equal_epochs.json`, prints a
table.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from measurements import make_stock_trainer

import run_mtl_ner
from dataset_scripts import hash_corpus
from mtl_bioner.reporting.run_record import hash_model


TRAINERS = {"stock": "unmodified Trainer", "own": "MTL-BioNER"}


def train(arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Train once in this process; return development F1 and the time in seconds."""
    seed, epochs = arguments.seeds[0], arguments.num_train_epochs
    options = {"tasks": "ncbi", "data_dir": arguments.data_dir, "model_name_or_path": arguments.model_name_or_path}
    options |= {"output_dir": folder / "model", "do_train": True, "do_eval": True, "save_strategy": "no"}
    options |= {"eval_strategy": "no", "num_train_epochs": epochs, "seed": seed, "overwrite_output": True}
    options |= {"learning_rate": arguments.learning_rate, "max_tokens_per_batch": arguments.max_tokens_per_batch}
    options |= {"bf16": False} if arguments.worker == "stock" else {}  # or one process would have two data types
    run = run_mtl_ner.prepare([f"--{name}={value}" for name, value in options.items()])
    start = time.perf_counter()
    if arguments.worker == "own":
        torch.set_flush_denormal(True)  # as `run_mtl_ner.py` does, and `run_ner.py` doesn't
        trainer = run_mtl_ner.make_trainer(run)
        trainer.train()
        seconds = time.perf_counter() - start
    else:
        settings = {"num_train_epochs": epochs, "learning_rate": arguments.stock_learning_rate, "disable_tqdm": False}
        stock = make_stock_trainer(run, str(folder / "stock"), seed=seed, **settings)
        stock.train()
        seconds = time.perf_counter() - start
        missing, unexpected = run.model.encoder.load_state_dict(stock.model.base_model.state_dict(), strict=False)
        assert not unexpected and all("pooler" in key for key in missing)  # which no head sees
        run.model.heads["ncbi"].load_state_dict(stock.model.classifier.state_dict())
        trainer = run_mtl_ner.make_trainer(run)
    return {"dev_f1": trainer.evaluate()["eval_ncbi_f1"], "seconds": seconds}


def train_or_read(arguments: argparse.Namespace, worker: str, seed: int) -> dict[str, float]:
    """Return the stored result of a training, or train in a new process; raises RuntimeError if that fails."""
    setting = f"{arguments.learning_rate}-{arguments.max_tokens_per_batch}"
    setting = setting if worker == "own" else arguments.stock_learning_rate
    folder = Path(arguments.output_dir) / f"{worker}-{arguments.num_train_epochs}-{setting}-{seed}"
    result = folder / "result.json"
    if not result.is_file():
        sys.stderr.write(f"training {TRAINERS[worker]}, seed {seed}\n")
        folder.mkdir(parents=True, exist_ok=True)
        values = {**vars(arguments), "seeds": seed, "worker": worker, "output_dir": folder}
        command = [sys.executable, __file__, *(f"--{name}={value}" for name, value in values.items())]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{worker} failed with seed {seed}; see above")
        result.write_text(done.stdout.strip().splitlines()[-1] + "\n", encoding="utf-8")
    return json.loads(result.read_text(encoding="utf-8"))


def check_inputs(arguments: argparse.Namespace) -> None:
    """Raise ValueError if the results in the folder are of another encoder or corpus."""
    inputs = {"encoder": hash_model(arguments.model_name_or_path)}
    inputs |= {"corpus": hash_corpus("ncbi", arguments.data_dir)}
    path = Path(arguments.output_dir) / "inputs.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(inputs) + "\n", encoding="utf-8")
    elif (recorded := json.loads(path.read_text(encoding="utf-8"))) != inputs:
        raise ValueError(f"{path} names {recorded}, not {inputs}; choose another --output_dir")


def format_report(report: dict[str, list[dict[str, float]]]) -> str:
    """Return the table for people."""
    lines = [f"{'':20}{'dev F1':>10}{'spread':>10}{'minutes':>10}   by seed"]
    for worker, results in report.items():
        scores = [100 * result["dev_f1"] for result in results]
        mean, spread = statistics.mean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0
        minutes = statistics.mean(result["seconds"] for result in results) / 60
        by_seed = ", ".join(f"{score:.2f}" for score in scores)
        lines.append(f"{TRAINERS[worker]:20}{mean:10.2f}{spread:10.2f}{minutes:10.1f}   {by_seed}")
    return "\n".join(lines)


def main() -> int:
    """Train all that isn't stored, write and print; or train as a worker, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_dir", required=True, help="folder with the corpora, as for run_mtl_ner.py")
    parser.add_argument("--model_name_or_path", required=True, help="encoder")
    parser.add_argument("--output_dir", default="outputs/equal_epochs", help="where the results go")
    parser.add_argument("--num_train_epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    parser.add_argument("--learning_rate", type=float, default=4e-4, help="of this project")
    parser.add_argument("--max_tokens_per_batch", type=int, default=1024, help="of this project")
    parser.add_argument("--stock_learning_rate", type=float, default=2e-4, help="of the unmodified Trainer")
    parser.add_argument("--worker", choices=TRAINERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        sys.stdout.write(json.dumps(train(arguments, Path(arguments.output_dir))) + "\n")
        return 0
    check_inputs(arguments)
    by_seed = [{worker: train_or_read(arguments, worker, seed) for worker in TRAINERS} for seed in arguments.seeds]
    report = {worker: [results[worker] for results in by_seed] for worker in TRAINERS}
    path = Path(arguments.output_dir) / "equal_epochs.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(format_report(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
