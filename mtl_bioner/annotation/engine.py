"""Annotate documents with a model: load it, check it beforehand, run it over texts."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dataset_scripts.hub_corpus import is_hub_source
from mtl_bioner.annotation import parts
from mtl_bioner.annotation.parts import Item, SourceDocument, Unreadable
from mtl_bioner.backends import DEFAULT_BACKEND, check_onnx_model, choose_backend
from mtl_bioner.messages import summarize_error


if TYPE_CHECKING:
    from modeling_mtl_bioner import MtlBionerPipeline
    from mtl_bioner.onnx_runtime import OnnxPipeline


logger = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "auto")
DEFAULT_DTYPE = "auto"
OVERLAPS = ("by_type", "all", "longest", "best")
DEFAULT_OVERLAPS = "by_type"
DIGITS = 6  # of scores


@dataclass(frozen=True)
class EngineOptions:
    """A model and how it is used; None leaves a choice to the pipeline."""

    model: str
    tasks: tuple[str, ...] | None = None
    threshold: float | None = None
    overlaps: str = DEFAULT_OVERLAPS
    batch_size: int | None = None
    dtype: str = DEFAULT_DTYPE
    trust_remote_code: bool = False
    revision: str = "main"  # of a model on the Hub; a commit, once it is known
    backend: str = DEFAULT_BACKEND


class Annotated(NamedTuple):
    """A document with its entities, each with the keys of our JSONL."""

    document: SourceDocument
    entities: list[dict[str, Any]]

    def as_line(self) -> dict[str, Any]:
        """Return the form of a line of JSONL; further keys of the input come before the entities."""
        document = self.document
        passages = [passage._asdict() for passage in document.passages]
        return {
            "document_id": document.document_id,
            "text": document.text,
            **({"passages": passages} if passages else {}),
            **document.extra,
            "entities": self.entities,
        }


def check_model(options: EngineOptions) -> None:
    """Raise ValueError for what config and files of a model's folder show to be wrong, before anything is loaded."""
    folder, backend = Path(os.path.expanduser(options.model)), choose_backend(options.model, options.backend)
    if not folder.is_dir():
        looks_like_path = options.model.startswith((".", "/", "~")) or options.model.count("/") != 1
        if folder.exists() or looks_like_path:
            raise ValueError(f"no model folder {options.model}; give the --output_dir of a training, or OWNER/NAME")
        return  # perhaps a model on the Hub
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} has no config.json; give the --output_dir of a training") from None
    except ValueError as error:
        raise ValueError(f"{folder}/config.json can't be read ({error}); copy the model again") from None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != "mtl_bioner":
        problem = f"{folder} holds a model of type {model_type!r}, not one of this project"
        raise ValueError(f"{problem}; the pipeline of transformers runs it, or train one with mtl-bioner train")
    if backend == "onnx":
        check_onnx_model(folder, options.dtype)
    elif not any(path.stat().st_size for path in folder.glob("*.safetensors")):
        raise ValueError(f"{folder} has no weights (model.safetensors); copy the model again, or finish its training")
    names = [str(task.get("name")) for task in config.get("tasks", ()) if isinstance(task, dict)]
    for name in options.tasks or ():
        if name not in names:
            raise ValueError(f"--tasks: no task {name!r}; the model's are {', '.join(names)}")


def find_revision(model: str) -> str:
    """Return the commit of a model on the Hub, so that all workers and a later run take the same; else `main`.

    Raises ValueError if the Hub has no such model, or can't be reached.
    """
    if Path(os.path.expanduser(model)).is_dir():
        return "main"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, "config.json")).parent.name
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        problem = f"the model {model} can't be loaded ({summarize_error(error)})"
        raise ValueError(f"{problem}; check its name and the network, or give the folder of a model") from error


def load_engine(
    options: EngineOptions, device: str | None = None, threads: int | None = None
) -> MtlBionerPipeline | OnnxPipeline:
    """Load the model, to a device, with so many threads on a CPU; torch is imported only if it computes."""
    import mtl_bioner

    backend = choose_backend(options.model, options.backend)
    if backend == "torch":
        _prepare_torch(threads)
    stated = {"tasks": options.tasks, "threshold": options.threshold, "batch_size": options.batch_size}
    stated |= {"threads": threads} if backend == "onnx" else {}
    chosen = {name: value for name, value in stated.items() if value is not None}
    return mtl_bioner.load(
        options.model,
        revision=options.revision,
        dtype=options.dtype,
        device=device,
        trust_remote_code=options.trust_remote_code,
        overlaps=options.overlaps,
        backend=backend,
        **chosen,
    )


def _prepare_torch(threads: int | None) -> None:
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    torch.set_flush_denormal(True)  # tiny numbers slow a CPU down several times over
    if threads is not None:
        torch.set_num_threads(threads)


def annotate_documents(ner: MtlBionerPipeline, documents: list[SourceDocument], **options: Any) -> list[Annotated]:
    """Annotate the documents of a part, in batches of these documents only; `options` are those of the pipeline."""
    results = ner([document.text for document in documents], **options) if documents else []
    return [
        Annotated(document, [_convert(entity) for entity in entities])
        for document, entities in zip(documents, results, strict=True)
    ]


def _convert(entity: Mapping[str, Any]) -> dict[str, Any]:
    """Name the keys of a pipeline's entity as in our files."""
    converted = {
        "start": entity["start"],
        "end": entity["end"],
        "type": entity["entity_group"],
        "text": entity["word"],
        "score": round(float(entity["score"]), DIGITS),
        "task": entity["task"],
    }
    return converted | ({"tasks": list(entity["tasks"])} if "tasks" in entity else {})


def annotate(
    inputs: Any,
    model: Any,
    *,
    tasks: Iterable[str] | None = None,
    threshold: float | None = None,
    overlaps: str | None = None,
    batch_size: int | None = None,
    dtype: str = DEFAULT_DTYPE,
    device: str | None = None,
    backend: str = DEFAULT_BACKEND,
    lines: bool = False,
    text_column: str | None = None,
    id_column: str | None = None,
    strict: bool = False,
    part_size: int = parts.PART_SIZE,
) -> Iterator[dict[str, Any]]:
    """Annotate texts, records and files; yield one document after the other, as the command writes them to JSONL.

        for document in mtl_bioner.annotate([Path("abstracts/"), "Cisplatin caused colic."], "outputs/quickstart"):
            print(document["document_id"], document["entities"])

    Args:
        inputs: an iterable, of any length, of texts (`str`), of records with a `text`, and perhaps `document_id` and
            further keys, and of files and folders (`pathlib.Path`). A path, a `str` that names one, or `hf:OWNER/NAME`
            may stand alone, as on the command line.
        model: folder or name on the Hub, which is loaded with `dtype`, to `device` and for `backend`; or a loaded
            pipeline.
        tasks, threshold, overlaps, batch_size: options of the pipeline. Where they are None, a loaded one keeps its
            own, and `overlaps` of a model that is loaded here is `by_type`, as for the command.
        strict: raise ValueError for what can't be read, instead of logging a warning.
        part_size: documents that are annotated together; the first comes when so many are read.

    Raises:
        ValueError: as the command: a model, an input or an option that can't be used.
    """  # fmt: skip
    from mtl_bioner.annotation.tables import ColumnOptions

    chosen = None if tasks is None else (tasks,) if isinstance(tasks, str) else tuple(tasks)
    stated = {"tasks": chosen, "threshold": threshold, "overlaps": overlaps, "batch_size": batch_size}
    options = {name: value for name, value in stated.items() if value is not None}
    items = _read_inputs(inputs, ColumnOptions(text_column, id_column), lines)
    items = parts.number_ids(parts.check_documents(items))
    items = parts.stop_at_problems(items) if strict else items
    if isinstance(model, str | os.PathLike):
        engine_options = EngineOptions(os.fspath(model), dtype=dtype, backend=backend, **options)
        check_model(engine_options)
        engine_options = replace(engine_options, revision=find_revision(engine_options.model))
        model, options = load_engine(engine_options, device), {}
    for part in parts.form_parts(items, part_size):
        for problem in part.problems:
            logger.warning("left out: %s", problem)
        for annotated in annotate_documents(model, part.documents, **options):
            yield annotated.as_line()


def _read_inputs(inputs: Any, columns: Any, lines: bool) -> Iterator[Item]:
    from mtl_bioner.annotation.readers import Inputs, build_record
    from mtl_bioner.annotation.sources import find_sources

    if isinstance(inputs, Mapping) or hasattr(inputs, "columns"):
        raise TypeError(f"annotate takes an iterable of texts, records or paths, got {type(inputs).__name__}")
    if isinstance(inputs, str) and inputs.endswith("/") and not _exists(inputs):
        raise ValueError(f"{inputs}: no such folder; check the path")
    if isinstance(inputs, str | os.PathLike):
        is_source = isinstance(inputs, os.PathLike) or is_hub_source(inputs) or _exists(inputs)
        inputs = [Path(inputs) if is_source and not is_hub_source(inputs) else inputs]
    for number, item in enumerate(inputs, 1):
        if isinstance(item, os.PathLike) or is_hub_source(item):
            yield from Inputs(find_sources([os.fspath(item)], columns, Path(os.devnull), lines), columns)
        elif isinstance(item, str):
            yield SourceDocument(str(number), item, f"text {number}")
        elif isinstance(item, Mapping):
            yield build_record(item, columns, f"record {number}", str(number))
        else:
            yield Unreadable(f"input {number}", None, f"a {type(item).__name__}; expected a text, record or Path")


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, ValueError):  # too long for a path, or with NUL
        return False
