"""The Python interface: train a model, load a model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtl_bioner.backends import DEFAULT_BACKEND, choose_backend, load_onnx
from mtl_bioner.folder_lock import lock_folder
from mtl_bioner.messages import summarize_error


if TYPE_CHECKING:  # these take seconds to import, and an ONNX model needs none of them
    import torch

    from modeling_mtl_bioner import MtlBionerModel, MtlBionerPipeline
    from mtl_bioner.onnx_runtime import OnnxPipeline
    from mtl_bioner.training.trainer import MultiTaskTrainer


@dataclass
class TrainingResult:
    """What `train` returns.

    Attributes:
        scores: the content of `all_results.json`, scores from 0 to 1.
        trainer: holds the rows and the predicted entities of the last split.
        output_dir: the folder of model, scores, predictions and card.
    """

    model: MtlBionerModel
    scores: dict[str, float]
    trainer: MultiTaskTrainer
    output_dir: str


def train(**arguments: Any) -> TrainingResult:
    """Train, evaluate and predict, and write everything that `mtl-bioner train` writes.

    Args:
        arguments: those of the command, by name: `tasks`, `data_dir`, `model_name_or_path`, `output_dir`,
            `num_train_epochs`, ... Values have the types of a JSON argument file.

    Raises:
        ValueError: one line that names the argument or file, its value and the remedy.
    """
    import torch

    import run_mtl_ner  # which imports this package

    torch.set_flush_denormal(True)  # as the command does: tiny numbers slow a CPU down several times over
    values = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in arguments.items()}
    run = run_mtl_ner.prepare(values)
    if run.data_args.search or run.data_args.dry_run:
        raise ValueError("search and dry_run train no model; use the command mtl-bioner train for them")
    trainer = run_mtl_ner.make_trainer(run)
    with lock_folder(run.output, "mtl_bioner.train"):
        scores = run_mtl_ner.execute(run, trainer)
    if run.args.push_to_hub:
        trainer.push_to_hub()
    return TrainingResult(run.model, scores, trainer, run.args.output_dir)


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | int | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    revision: str = "main",
    trust_remote_code: bool = False,
    backend: str = DEFAULT_BACKEND,
    **options: Any,
) -> MtlBionerPipeline | OnnxPipeline:
    """Load a trained model as a pipeline: text in, entities of all tasks out.

    It runs this project's code, not the code file that lies beside the weights.

    Args:
        name_or_path: the output folder of a training, or a model on the Hub.
        dtype: of the weights and of the computation, float32 by default; `auto` is bfloat16 where the device has
            hardware for it. An ONNX model has the one that it was exported in.
        trust_remote_code: run the code that the model's tokenizer brings along, if it does.
        backend: `torch`, `onnx` for a model of `mtl-bioner export --to onnx`, or `auto`: `onnx` if a folder holds such
            a model only.
        options: of `MtlBionerPipeline`: `tasks`, `threshold`, `overlaps`, `batch_size`; with `onnx` also `threads`.

    Raises:
        ValueError: the folder holds no multi-task model.
        OSError: a model on the Hub can't be loaded.
    """
    name = os.path.expanduser(os.fspath(name_or_path))
    if Path(name).exists() and not (Path(name) / "config.json").is_file():
        raise ValueError(f"{name} has no config.json; name the --output_dir of a training")
    if choose_backend(name, backend) == "onnx":
        return load_onnx(name, dtype=dtype, device=device, revision=revision, **options)
    from modeling_mtl_bioner import MtlBionerModel, MtlBionerPipeline
    from mtl_bioner.tokenizer import load_tokenizer

    dtype = _choose_dtype(device) if dtype == "auto" else dtype or "float32"
    hub_options = {} if Path(name).is_dir() else {"revision": revision}
    try:
        model = MtlBionerModel.from_pretrained(name, dtype=dtype, **hub_options)
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # whatever the libraries raise for damaged files
        problem = f"{name} can't be loaded ({type(error).__name__}: {summarize_error(error)[:200]})"
        raise ValueError(f"{problem}; its files don't fit together, so copy it again") from error
    tokenizer = load_tokenizer(name, trust_remote_code, config=model.config.encoder_config, **hub_options)
    return MtlBionerPipeline(model=model, tokenizer=tokenizer, device=device, **options)


def _choose_dtype(device: str | int | torch.device | None) -> torch.dtype:
    import torch

    from mtl_bioner.training.runtime import has_fast_bf16

    # Clients of transformers say -1 for the CPU.
    is_cpu = not torch.cuda.is_available() or (device is not None and str(device).startswith(("cpu", "-1")))
    return torch.bfloat16 if has_fast_bf16(is_cpu) else torch.float32
