"""What the record of a run is made of: versions, machine, hashes, paths without folders; and old results."""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


RECORD = "run.json"
TEACHERS = "teachers"  # the folder of the single-task models that `--teachers auto` trains
TRAINING_TEXTS = "training_texts.json"  # hashes of what a model was trained on
BEGUN = "begun_with.json"  # the arguments that a resumed training must repeat
PACKAGES = (
    "mtl-bioner", "torch", "transformers", "datasets", "accelerate", "tokenizers", "huggingface_hub", "evaluate",
    "seqeval",
)  # fmt: skip
RESULTS = (
    "all_results.json", RECORD, "ledger.json", "learning_curves.png", "gates.*", "reliability.png", "README.md",
    "predictions_*.*", "errors.html", ".*.tmp",  # the last of a process that was killed
)  # fmt: skip


def remove_old_results(output: Path) -> None:
    """Delete what an earlier run wrote to a folder, so that nothing old is resumed or taken for new."""
    for pattern in RESULTS:
        for path in output.glob(pattern):
            path.unlink()
    remove_checkpoints(output)
    if trains_own_teachers(output) and (output / TEACHERS).is_dir():  # else it is somebody else's folder
        shutil.rmtree(output / TEACHERS)


def remove_checkpoints(output: Path) -> None:
    """Delete what a training could be resumed from."""
    for path in output.glob("checkpoint-*"):
        shutil.rmtree(path)


def trains_own_teachers(output: Path) -> bool:
    """Whether the training that was begun in a folder trains its own teachers there."""
    record = output / BEGUN
    return record.is_file() and "auto" in json.loads(record.read_text(encoding="utf-8")).get("teachers", ())


def read_scores(folder: Path) -> dict[str, float]:
    """Read all scores and times of the run with this output folder."""
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def select_single_scores(scores: Mapping[str, float], task: str) -> dict[str, float]:
    """Return the F1 of a single-task model under the keys that its student records, as `single_test_ncbi_f1`."""
    keys = [f"{split}_{task}_f1" for split in ("eval", "test")]
    return {f"single_{key}": scores[key] for key in keys if key in scores}


def get_versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that compute."""
    return {name: get_package_version(name) for name in PACKAGES} | {"python": platform.python_version()}


def get_package_version(name: str) -> str | None:
    """Return the installed version of a package, None if it isn't installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_machine() -> dict[str, Any]:
    """Return the processor's name and the number of CPUs."""
    return {"processor": get_processor_name(), "cpus": os.cpu_count()}


def get_processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, on Linux its model: speed and the last digits of a float depend on it."""
    with contextlib.suppress(OSError):
        if match := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE):
            return match[1].strip()
    return platform.processor() or platform.machine()


def get_hub_name(name_or_path: str) -> str | None:
    """Return the name of a model on the Hub; None for a folder, whose path is private."""
    return None if os.path.isdir(name_or_path) else name_or_path


def hash_model(name: str, revision: str = "main") -> str:
    """Return a hash of a folder's config and weights, or name and revision of a model on the Hub."""
    folder = Path(name)
    if not folder.is_dir():
        return f"{name}@{revision}"
    digest = hashlib.sha256()
    patterns = ("*.safetensors", "pytorch_model*.bin", "model.onnx")
    weights = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in (folder / "config.json", *weights):
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:16]


# The folders of a path that begins with `/`, `~`, `~name`, `.`, `..`, `file:///`, or as on Windows, wherever in a
# value: `mine=/home/me/mine.txt:Disease`.
_FOLDERS = re.compile(
    r"(?<![\w.~:/\\-])(?:file://)?(?:~[\w.-]*|\.{1,2})?/+(?:[^/,:+|=]+/+)*(?=[^/])"
    r"|(?<!\w)(?:[A-Za-z]:[\\/]+|\\\\)(?:[^\\/,:+|=]+[\\/]+)*(?=[^\\/])"
)


def strip_paths(value: Any) -> Any:
    """Return a value, or the values in it, without the folders of absolute and relative paths."""
    if isinstance(value, Mapping):
        return {key: strip_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [strip_paths(item) for item in value]
    return _FOLDERS.sub("", value) if isinstance(value, str) else value
