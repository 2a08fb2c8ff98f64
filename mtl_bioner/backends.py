"""Choose what computes a model: torch, or ONNX Runtime, which needs neither torch nor transformers."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_bioner.messages import summarize_error


if TYPE_CHECKING:
    from mtl_bioner.onnx_runtime import OnnxPipeline

BACKENDS = ("auto", "torch", "onnx")
DEFAULT_BACKEND = "auto"
GRAPH = "model.onnx"
_FILES = ("config.json", "tokenizer.json", GRAPH)
_PACKAGES = ("onnxruntime", "tokenizers", "numpy", "regex")


def choose_backend(model: str | os.PathLike[str], backend: str = DEFAULT_BACKEND) -> str:
    """Return `torch` or `onnx`; for `auto`, `onnx` if a folder holds a graph and no weights for torch.

    Raises ValueError for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend != "auto":
        return backend
    folder = Path(os.path.expanduser(model))
    return "onnx" if (folder / GRAPH).is_file() and not any(folder.glob("*.safetensors")) else "torch"


def check_onnx_model(folder: Path, dtype: str | None = None) -> None:
    """Raise ValueError for an incomplete folder, a missing package, or a data type that the graph can't have."""
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        remedy = "export it with mtl-bioner export --to onnx, or copy it again"
        raise ValueError(f"{folder} has no {missing[0]}, so ONNX Runtime can't run it; {remedy}")
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ValueError(f"the backend onnx needs {missing[0]}; pip install 'mtl-bioner[onnx]'")
    if dtype == "bfloat16":
        raise ValueError("dtype is bfloat16, but an ONNX model has the type it was exported with; leave it out")


def load_onnx(
    model: str,
    *,
    dtype: Any = None,
    device: Any = None,
    revision: str = "main",
    **options: Any,
) -> OnnxPipeline:
    """Load an exported model, from a folder or the Hub; `options` are those of `onnx_runtime.load`.

    Raises ValueError as `onnx_runtime.load`, and for a `dtype` other than the graph's or a `device` but the CPU;
    OSError if a model on the Hub can't be loaded.
    """
    if device is not None and not str(device).startswith(("cpu", "-1")):
        raise ValueError(f"device is {device!r}, but an ONNX model runs on the CPU; leave it out, or take torch")
    folder = Path(os.path.expanduser(model))
    if not folder.is_dir():
        folder = _download(model, revision)
    check_onnx_model(folder)
    from mtl_bioner import onnx_runtime

    ner = onnx_runtime.load(folder, **options)
    if dtype not in (None, "auto", ner.model.dtype):
        raise ValueError(f"dtype is {dtype}, but {folder / GRAPH} was exported in {ner.model.dtype}; leave it out")
    return ner


def _download(model: str, revision: str) -> Path:
    """Return the folder of a model on the Hub; raise ValueError if the Hub has no such model."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        problem = f"the model {model} can't be loaded ({summarize_error(error)})"
        raise ValueError(f"{problem}; check its name and the network, or give the folder of a model") from error
