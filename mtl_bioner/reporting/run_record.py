"""Write the record of a run: scores, arguments, versions, hashes, ledger."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.plots import plot_curves
from mtl_bioner.reporting.tables import SPLIT_NAMES


RECORD = "run.json"


TEACHERS = "teachers"  # the folder of the single-task models that `--teachers auto` trains


BEGUN = "begun_with.json"  # the arguments that a training must go on with


PACKAGES = (
    "mtl-bioner", "torch", "transformers", "datasets", "accelerate", "tokenizers", "huggingface_hub", "evaluate",
    "seqeval",
)  # fmt: skip


def remove_old_results(output: Path) -> None:
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
    if trains_own_teachers(output) and (output / TEACHERS).is_dir():  # else it is somebody else's folder
        shutil.rmtree(output / TEACHERS)


def trains_own_teachers(output: Path) -> bool:
    """Whether the training that was begun in a folder trains its own teachers there."""
    record = output / BEGUN
    return record.is_file() and "auto" in json.loads(record.read_text(encoding="utf-8")).get("teachers", ())


def remove_checkpoints(output: Path) -> None:
    """Delete what a training could be resumed from."""
    for path in output.glob("checkpoint-*"):
        shutil.rmtree(path)


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
            "versions": {name: get_package_version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "machine": {
                "processor": get_processor_name(),
                "cpus": os.cpu_count(),
                "device": run.args.device.type,
                "processes": run.args.world_size,
            },
            "seed": run.args.seed,
            "base_model": hub_name(run.model_args.model_name_or_path),
            "base_model_hash": run.inputs["base_model"],
            "arguments": collect_arguments(run),
            "teachers": [
                {"name": Path(name).name if os.path.isdir(name) else name, "model": hash_model(name)}
                for name in run.teachers
            ],
            "corpora": run.inputs["corpora"],
            "ledger": ledger,
            "leaks": run.leak_report,
            "history": list(history),
        },
    )
    plot_curves(output / "learning_curves.png", history, run.model.config.task_names)


def get_processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Which processor this is (on Linux its model, which speed and the last digits of a float depend on)."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def hub_name(name_or_path: str) -> str | None:
    """The name of an encoder if it is one on the Hub; None for a folder, whose path is nobody's business."""
    return None if os.path.isdir(name_or_path) else name_or_path


def hash_model(name: str, revision: str = "main") -> str:
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


def get_package_version(name: str) -> str | None:
    """Installed version, None if it isn't installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def collect_arguments(run: Any) -> dict[str, Any]:
    """All arguments as given; of paths only the last part, of secrets nothing."""
    arguments = {**vars(run.model_args), **vars(run.data_args), **run.args.to_dict()}
    data_dir = arguments.get("data_dir") or ""
    if data_dir != "sample" and Path(data_dir).name == "sample":
        arguments["data_dir"] = "a folder named sample"  # which alone means the embedded corpus
    return {key: strip_paths(value) for key, value in sorted(arguments.items()) if not key.endswith("_token")}


# The folders of a path that begins with `/`, `~`, `.` or `..`, wherever in a value: `mine=/home/me/mine.txt:Disease`.
_FOLDERS = re.compile(r"(?<![\w.~:/-])(?:~|\.{1,2})?/+(?:[^/,:+|=]+/+)*(?=[^/])")


def strip_paths(value: Any) -> Any:
    """A value, or the values in it, without the folders of absolute paths."""
    if isinstance(value, Mapping):
        return {key: strip_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strip_paths(item) for item in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value


def read_scores(folder: Path) -> dict[str, float]:
    """All scores and times of the run whose output folder it is."""
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def select_single_scores(found: Mapping[str, float], task: str) -> dict[str, float]:
    """The F1 among all scores of a single-task model, as `single_test_ncbi_f1`."""
    keys = [f"{split}_{task}_f1" for split in SPLIT_NAMES]
    return {f"single_{key}": found[key] for key in keys if key in found}
