"""What a run leaves behind: predictions, scores, learning curves, and the record that lets others do it again.

python results_mtl_bioner.py outputs/seed42 outputs/seed43 ...     # mean and spread of several runs, as Markdown
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import logging
import math
import os
import platform
import re
import shutil
import statistics
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.formats import temporary_name, write_jsonl, write_pubtator
from dataset_scripts.schema import CorpusError, Document, Entity
from metrics_mtl_bioner import calibration_error, reliability


logger = logging.getLogger(__name__)

RECORD = "run.json"
TEACHERS = "teachers"  # the folder of the single-task models that `--teachers auto` trains
BEGUN = "begun_with.json"  # the arguments that a training must go on with

PACKAGES = (
    "mtl-bioner", "torch", "transformers", "datasets", "accelerate", "tokenizers", "huggingface_hub", "evaluate",
    "seqeval",
)  # fmt: skip


def write_text(path: Path, text: str) -> None:
    """Text under a temporary name, then renamed: a reader never sees half a file."""
    temporary = temporary_name(path)
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """JSON, as `write_text`; all on one line without an `indent`."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, default=str) + "\n")


def remove_old(output: Path) -> None:
    """Delete what an earlier run wrote here: its checkpoints would be resumed, its scores taken for the new ones."""
    for pattern in (
        "all_results.json",
        RECORD,
        "ledger.json",
        "learning_curves.png",
        "gates.*",
        "reliability.png",
        "README.md",
        "predictions_*.*",
        ".*.tmp",  # of a process that was killed
    ):
        for path in output.glob(pattern):
            path.unlink()
    remove_checkpoints(output)
    if trained_teachers(output) and (output / TEACHERS).is_dir():  # else it is somebody else's folder
        shutil.rmtree(output / TEACHERS)


def trained_teachers(output: Path) -> bool:
    """Whether the training that was begun in a folder trains its own teachers there."""
    record = output / BEGUN
    return record.is_file() and "auto" in json.loads(record.read_text(encoding="utf-8")).get("teachers", ())


def remove_checkpoints(output: Path) -> None:
    """Delete what a training could be resumed from."""
    for path in output.glob("checkpoint-*"):
        shutil.rmtree(path)


def write_predictions(
    output: Path, rows: Any, entities: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str]
) -> None:
    """`predictions_{task}.jsonl` and `.pubtator` of every task with texts, `predictions_{task}_{corpus}.*` of one with
    several corpora, whose documents may have the same ids."""
    output.mkdir(parents=True, exist_ok=True)
    documents: dict[tuple[int, str], list[Document]] = {}  # by task and corpus
    for text, own in zip(rows.texts, entities, strict=True):
        found = [Entity(e["start"], e["end"], e["type"], score=e["score"], task=names[text.task_id]) for e in own]
        key = text.task_id, text.corpus
        documents.setdefault(key, []).append(Document(text.document.document_id, text.document.text, found))
    written: set[str] = set()
    for task, corpus in documents:
        alone = sum(other == task for other, _ in documents) == 1
        name = names[task] if alone else f"{names[task]}_{re.sub(r'[^A-Za-z0-9.-]+', '_', corpus).strip('._')}"
        if name in written:  # as of the tasks `disease`, of several corpora, and `disease_ncbi`
            name = next(other for i in itertools.count(2) if (other := f"{name}-{i}") not in written)
        written.add(name)
        write_jsonl(documents[task, corpus], output / f"predictions_{name}.jsonl")
        try:
            write_pubtator(documents[task, corpus], output / f"predictions_{name}.pubtator")
        except CorpusError as error:  # an id that PubTator can't hold; nothing else is lost
            logger.warning("no predictions_%s.pubtator: %s", name, error)


def write_run(output: Path, run: Any, metrics: Mapping[str, float], history: Sequence[Mapping[str, Any]]) -> None:
    """`all_results.json`, `run.json`, `ledger.json` and `learning_curves.png`."""
    output.mkdir(parents=True, exist_ok=True)
    ledger = {
        name: {split: ledger.as_dict() for split, ledger in corpus.ledgers.items()}
        for name, corpus in run.corpora.items()
    }
    write_json(output / "all_results.json", dict(metrics))
    write_json(output / "ledger.json", ledger)
    write_json(
        output / RECORD,
        {
            "versions": {name: package_version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "machine": {
                "processor": processor_name(),
                "cpus": os.cpu_count(),
                "device": run.args.device.type,
                "processes": run.args.world_size,
            },
            "seed": run.args.seed,
            "base_model": hub_name(run.model_args.model_name_or_path),
            "base_model_hash": run.inputs["base_model"],
            "arguments": recorded_arguments(run),
            "teachers": [
                {"name": Path(name).name if os.path.isdir(name) else name, "model": model_hash(name)}
                for name in run.teachers
            ],
            "corpora": run.inputs["corpora"],
            "ledger": ledger,
            "leaks": run.leak_report,
            "history": list(history),
        },
    )
    plot_curves(output / "learning_curves.png", history, run.model.config.task_names)


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Which processor this is (on Linux its model, which speed and the last digits of a float depend on)."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def hub_name(name_or_path: str) -> str | None:
    """The name of an encoder if it is one on the Hub; None for a folder, whose path is nobody's business."""
    return None if os.path.isdir(name_or_path) else name_or_path


def model_hash(name: str, revision: str = "main") -> str:
    """Name and revision of a model on the Hub, or a hash of its folder's config and weights."""
    folder = Path(name)
    if not folder.is_dir():
        return f"{name}@{revision}"
    digest = hashlib.sha256()
    for path in [
        folder / "config.json",
        *sorted(folder.glob("*.safetensors")),
        *sorted(folder.glob("pytorch_model*.bin")),
    ]:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


def package_version(name: str) -> str | None:
    """Installed version, None if it isn't installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def recorded_arguments(run: Any) -> dict[str, Any]:
    """All arguments as given; of paths only the last part, of secrets nothing."""
    arguments = {**vars(run.model_args), **vars(run.data_args), **run.args.to_dict()}
    data_dir = arguments.get("data_dir") or ""
    if data_dir != "sample" and Path(data_dir).name == "sample":
        arguments["data_dir"] = "a folder named sample"  # which alone means the embedded corpus
    return {key: without_path(value) for key, value in sorted(arguments.items()) if not key.endswith("_token")}


# The folders of a path that begins with `/`, `~`, `.` or `..`, wherever in a value: `mine=/home/me/mine.txt:Disease`.
_FOLDERS = re.compile(r"(?<![\w.~:/-])(?:~|\.{1,2})?/+(?:[^/,:+|=]+/+)*(?=[^/])")


def without_path(value: Any) -> Any:
    """A value, or the values in it, without the folders of absolute paths."""
    if isinstance(value, Mapping):
        return {key: without_path(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_path(item) for item in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value


def score_table(metrics: Mapping[str, float], config: Any) -> str:
    """Precision, recall and F1 in per cent by split, task, corpus (of a task with several) and type."""
    lines = [f"{'split':6}{'task':24}{'of':24}{'precision':>10}{'recall':>9}{'F1':>9}{'support':>9}"]
    for split in ("eval", "test"):
        for task in config.tasks:
            for what, keys in score_keys(f"{split}_{task['name']}", task["types"], task.get("corpora", ())).items():
                if keys[2] in metrics:
                    lines.append(_score_row(split, task["name"], what, metrics, keys))
        if f"{split}_micro_f1" in metrics:
            keys = [f"{split}_micro_{name}" for name in _PRF]
            lines.append(_score_row(split, "micro over tasks", "", metrics, keys))
            macro = f"{100 * metrics[f'{split}_macro_f1']:9.2f}"
            lines.append(f"{_SPLIT_NAMES[split]:6}{'macro over tasks':67}{macro}")
    return "\n".join(lines)


_SPLIT_NAMES = {"eval": "dev", "test": "test"}


def score_keys(prefix: str, types: Sequence[str], corpora: Sequence[str]) -> dict[str, list[str]]:
    """By what they are of (all, a type, a corpus, a type in it, the official rule), the keys of precision, recall, F1
    and support that the scores of a task may have.

    Args:
        prefix: split and task, or the task alone.
    """
    kinds = ("precision", "recall", "f1", "support")
    found = {}
    for corpus in ("", *corpora):
        for name in ("", *types):
            parts = [part for part in (corpus, name) if part]
            ending = "".join(f"_{part}" for part in parts)
            found[" ".join(parts) or "all"] = [f"{prefix}_{kind}{ending}" for kind in kinds]
            if not name:
                found[" ".join([*parts, "official rule"])] = [f"{prefix}_official_{kind}{ending}" for kind in kinds]
    return found


def _score_row(split: str, task: str, part: str, metrics: Mapping[str, float], keys: Sequence[str]) -> str:
    numbers = "".join(f"{100 * metrics[key]:{width}.2f}" for key, width in zip(keys, (10, 9, 9), strict=False))
    support = f"{metrics[keys[3]]:9d}" if len(keys) > 3 and keys[3] in metrics else ""
    return f"{_SPLIT_NAMES[split]:6}{task:24}{part:24}{numbers}{support}"


_PRF = ("precision", "recall", "f1")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table of untrusted cells."""
    lines = [header, ["---"] * len(header), *([plain(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(value: Any) -> str:
    """Text, on one line, that neither Markdown nor HTML takes for its own, and without characters that can't be seen,
    some of which turn the direction of what follows."""
    seen = "".join(c for c in " ".join(str(value).split()) if unicodedata.category(c) not in ("Cc", "Cf"))
    text = seen.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\|`*~\[\]]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def forgetting_table(metrics: Mapping[str, float]) -> str:
    """F1 of the heads that were not trained, before and after, per cent; empty if there are none."""
    scores = [key for key in metrics if key.startswith("before_") and "_f1" in key]  # not `before_init_mem_cpu`
    names = [key.removeprefix("before_") for key in scores]
    if not names:
        return ""
    lines = [f"{'heads that were not trained':54}{'before':>9}{'after':>9}{'change':>9}"]
    for name in names:
        before, after = (100 * metrics[f"{when}_{name}"] for when in ("before", "after"))
        lines.append(f"test  {name.replace('_', ' '):48}{before:9.2f}{after:9.2f}{after - before:+9.2f}")
    return "\n".join(lines) + "\n"


def read_scores(folder: Path) -> dict[str, float]:
    """All scores and times of the run whose output folder it is."""
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def single_scores(found: Mapping[str, float], task: str) -> dict[str, float]:
    """The F1 among all scores of a single-task model, as `single_test_ncbi_f1`."""
    keys = [f"{split}_{task}_f1" for split in _SPLIT_NAMES]
    return {f"single_{key}": found[key] for key in keys if key in found}


def sharing_table(metrics: Mapping[str, float]) -> str:
    """F1 of the single-task models of `--teachers auto` beside the model's, per cent; empty without them."""
    lines = [f"{'F1 of each task; one seed, 1 or 2 may be chance':54}{'alone':>9}{'shared':>9}{'change':>9}"]
    for split, shown in _SPLIT_NAMES.items():
        keys = [key for key in metrics if f"single_{key}" in metrics and key.startswith(f"{split}_")]
        rows = {key: (metrics[f"single_{key}"], metrics[key]) for key in keys}
        if len(rows) > 1:
            rows[f"{split}_macro over tasks"] = tuple(
                statistics.fmean(f1s) for f1s in zip(*rows.values(), strict=True)
            )
        for key, (alone, shared) in rows.items():
            name = key.removeprefix(f"{split}_").removesuffix("_f1")
            lines.append(f"{shown:6}{name:48}{100 * alone:9.2f}{100 * shared:9.2f}{100 * (shared - alone):+9.2f}")
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def spread_table(runs: Sequence[Mapping[str, float]]) -> str:
    """Mean and standard deviation (of the sample) of the test precision, recall and F1 of all runs, per cent, as
    Markdown.

    Args:
        runs: contents of the runs' `all_results.json`.
    """
    lines = ["| test | precision | recall | F1 | spread of F1 | runs |", "|---|---:|---:|---:|---:|---:|"]
    for key in (key for key in runs[0] if all(math.isfinite(run.get(key, math.nan)) for run in runs)):
        name, f1, suffix = key.partition("_f1")
        if f1 and name.startswith("test_"):
            values = [[100 * run.get(f"{name}_{part}{suffix}", math.nan) for run in runs] for part in _PRF]
            spread = f"{statistics.stdev(values[2]):.2f}" if len(runs) > 1 else ""
            label = name.removeprefix("test_") + suffix.replace("_", " ")
            means = " | ".join("" if any(map(math.isnan, own)) else f"{statistics.mean(own):.2f}" for own in values)
            lines.append(f"| {label} | {means} | {spread} | {len(runs)} |")
    return "\n".join(lines)


def write_gates(output: Path, gates: Sequence[Sequence[float | None]], task_names: Sequence[str]) -> None:
    """`gates.json`, task -> other task -> mean gate, and the same as a heat map, `gates.png`."""
    output.mkdir(parents=True, exist_ok=True)
    rows = [{k: gate for k, gate in zip(task_names, own, strict=True) if gate is not None} for own in gates]
    write_json(output / "gates.json", dict(zip(task_names, rows, strict=True)))
    if (pyplot := import_pyplot("gates.png")) is None:
        return
    size = 2.5 + 0.7 * len(task_names)
    figure, axis = pyplot.subplots(figsize=(size + 1, size), layout="constrained")
    image = axis.imshow([[math.nan if gate is None else gate for gate in own] for own in gates], vmin=0, vmax=1)
    for t, own in enumerate(gates):
        for k, gate in enumerate(own):
            if gate is not None:
                axis.text(k, t, f"{gate:.2f}", ha="center", va="center", color="black" if gate > 0.5 else "white")
    axis.set(title="mean gate", xlabel="opened by task", ylabel="task that looks through")
    axis.set_xticks(range(len(task_names)), task_names, rotation=30, ha="right")
    axis.set_yticks(range(len(task_names)), task_names)
    figure.colorbar(image)
    save_figure(figure, output / "gates.png")


def import_pyplot(what: str) -> Any:
    """matplotlib's pyplot, drawing to files; None, and a warning, where it isn't installed."""
    try:
        import matplotlib
    except ImportError:
        logger.warning("no %s: install matplotlib (pip install matplotlib)", what)
        return None
    matplotlib.use("Agg")
    matplotlib.rcParams["text.parse_math"] = False  # names of a user's files and tasks may hold dollar signs
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Write a plot whole or not at all."""
    from matplotlib import pyplot

    temporary = temporary_name(path)
    figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix("."))
    pyplot.close(figure)
    os.replace(temporary, path)


def plot_reliability(path: Path, scored: Mapping[str, tuple[Sequence[float], Sequence[bool]]]) -> None:
    """Of each task, the share of entities that are right over their score, in ten bins; on the line is best."""
    if (pyplot := import_pyplot("reliability diagram")) is None:
        return
    figure, axis = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for name, (scores, right) in scored.items():
        bins = reliability(scores, right)
        label = f"{name}, error {calibration_error(scores, right):.3f}"
        axis.plot([score for score, _, _ in bins], [share for _, share, _ in bins], marker=".", label=label)
    axis.set(
        title="entities of the test split", xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1)
    )
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(figure, path)


def plot_curves(path: Path, history: Sequence[Mapping[str, Any]], task_names: Sequence[str]) -> None:
    """Training loss and development F1 of each task over the epochs."""
    panels = {}
    for title, keys in (
        ("training loss", [f"loss_{name}" for name in task_names]),
        ("development F1", [f"eval_{name}_f1" for name in task_names]),
    ):
        curves = {
            name: [(entry["epoch"], entry[key]) for entry in history if key in entry and "epoch" in entry]
            for name, key in zip(task_names, keys, strict=True)
        }
        if curves := {name: points for name, points in curves.items() if points}:
            panels[title] = curves  # without evaluations there is one panel
    if "training loss" not in panels:  # nothing was trained
        return
    if (pyplot := import_pyplot("learning curves")) is None:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5 * len(panels), 4), layout="constrained", squeeze=False)
    for axis, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, points in curves.items():
            axis.plot(*zip(*points, strict=True), marker=".", label=name)
        axis.set(title=title, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend()
    save_figure(figure, path)


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        if not (Path(folder) / "all_results.json").is_file():
            sys.exit(f"results_mtl_bioner: error: {folder} has no all_results.json; name output folders of trainings")
    contents = [read_scores(Path(folder)) for folder in sys.argv[1:]]
    sys.stdout.write(f"{spread_table(contents)}\n" if contents else f"{__doc__}\n")
