"""Export a trained model to ONNX: encoder, sharing layer and all heads in one graph, to run without torch.

The graph takes `input_ids` and `attention_mask`, (batch, length), and computes `logits`, (batch, length, labels of all
tasks in the order of config.json). The folder holds it as model.onnx, with config.json, tokenizer.json, and the
runtime onnx_runtime.py. In int8, weights of the encoder are stored in 8 bits: one scale a column for a matrix, one a
sub-word for the table of embeddings. Sharing layer and heads stay in float32.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modeling_mtl_bioner import MtlBionerModel, hash_tokenizer
from mtl_bioner.backends import GRAPH
from mtl_bioner.tokenizer import load_tokenizer


RUNTIME = Path(__file__).parents[1] / "onnx_runtime.py"
FOREIGN_KEYS = ("auto_map", "custom_pipelines")  # of config.json, which name code that isn't in the folder
OPSET = 17  # the first with LayerNormalization as one operator
LARGEST = 2**31 - 2**20  # bytes of a graph in one file
TOLERANCE = 1e-3  # of logits in float32, of the largest
LEAST_AGREEMENT = 0.8  # share of random sub-words that keep their best labels in int8; a broken graph has much less


@dataclass(frozen=True)
class OnnxExport:
    """What was exported: size of the graph, and how it agrees with torch on random windows.

    Attributes:
        difference: largest difference of a logit.
        agreement: share of the best labels that are the same.
    """

    bytes: int
    difference: float
    agreement: float


def export_onnx(folder: Path, output: Path, int8: bool = False, reduce_range: bool = False) -> OnnxExport:
    """Write a folder for `onnx_runtime`; nothing is left of an export that fails.

    Args:
        int8: store the encoder's weights in 8 bits.
        reduce_range: in 7 bits, for x86 processors without VNNI, which would overflow.

    Raises ValueError for no such model, an output folder in use, missing packages, an encoder or a sharing layer that
    can't be traced, or a graph that computes something else than the model.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output} is not empty; name another folder")
    if missing := [name for name in ("config.json", "model*.safetensors") if not any(folder.glob(name))]:
        name = missing[0].replace("*", "")
        raise ValueError(f"{folder} has no {name}; name the --output_dir of a training")
    for name in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"--to onnx needs the package {name}; pip install 'mtl-bioner[onnx]'")
    model = MtlBionerModel.from_pretrained(folder, dtype=torch.float32).eval()
    if (size := 4 * sum(weight.numel() for weight in model.parameters())) > LARGEST:
        raise ValueError(f"{folder} has {size} bytes of weights, and an ONNX file holds 2 GiB; use torch for it")
    tokenizer = load_tokenizer(str(folder), config=model.config.encoder_config)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        complete = Path(temporary) / "model"
        complete.mkdir()
        write_tokenizer(tokenizer, complete / "tokenizer.json")
        weights = ("int8, 7 bits" if reduce_range else "int8") if int8 else "float32"
        write_config(folder, complete / "config.json", model, tokenizer, weights)
        graph = build_graph(model)
        write_graph(graph, complete / GRAPH)
        if int8:
            shrink_weights(complete, reduce_range)
        shutil.copyfile(RUNTIME, complete / RUNTIME.name)
        export = compare_with_torch(graph, complete, model.config)
        refuse_other_logits(export, model, int8)
        if output.exists():
            output.rmdir()  # it is empty
        complete.rename(output)
    return export


# --------------------------------------------------------------------------------------------------- config, tokenizer


def write_tokenizer(tokenizer: Any, path: Path) -> None:
    """Write the tokenizer as this project uses it: corrected, without padding and truncation."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.no_padding()
    backend.no_truncation()
    backend.save(str(path))


def write_config(folder: Path, path: Path, model: MtlBionerModel, tokenizer: Any, weights: str) -> None:
    """Write the model's config, with the tokenizer's hash and what the runtime must know of the graph."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in FOREIGN_KEYS}
    config["tokenizer_hash"] = hash_tokenizer(tokenizer)
    config["word_pattern"], config["sentence_pattern"] = model.config.word_pattern, model.config.sentence_pattern
    config["onnx"] = {
        "weights": weights,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "pad_token_id": tokenizer.pad_token_id,
        "labels": sum(len(model.config.labels(task)) for task in range(len(model.config.tasks))),
    }
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


# --------------------------------------------------------------------------------------------------------------- graph


class Graph(nn.Module):
    """Compute the logits of all tasks side by side. Tasks are numbered, since their names may hold any characters."""

    def __init__(self, model: MtlBionerModel) -> None:
        super().__init__()
        self.encoder, self.sharing, self.names = model.encoder, model.sharing, model.config.task_names
        self.is_hard = model.config.sharing == "hard"
        self.heads = nn.ModuleDict({f"head{task}": head for task, head in enumerate(model.heads.values())})

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (batch, length, labels of all tasks)."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        heads = list(self.heads.values())
        if self.is_hard:  # one product for all heads
            weight, bias = torch.cat([one.weight for one in heads]), torch.cat([one.bias for one in heads])
            return nn.functional.linear(hidden, weight, bias)
        # As one row, so that the task of each row is a constant of the graph.
        projected, logits = self.sharing.project(hidden.reshape(1, -1, hidden.size(-1))), []
        for task, head in enumerate(heads):
            logits.append(head(self.sharing(projected, torch.tensor([task]))))
        return torch.cat(logits, -1).reshape(hidden.size(0), hidden.size(1), sum(one.out_features for one in heads))


def build_graph(model: MtlBionerModel) -> Graph:
    """Return what is exported. Attention is written out: the fused form has more operators as ONNX, and is slower."""
    graph = Graph(model).eval()
    with contextlib.suppress(ValueError, NotImplementedError, AttributeError):  # an encoder without a choice
        model.encoder.set_attn_implementation("eager")
    for module in model.sharing.modules():
        if isinstance(module, nn.ModuleDict):  # its keys are names of tasks
            numbers = {name: f"task{task}" for task, name in enumerate(model.config.task_names)}
            module._modules = {numbers.get(key, key): one for key, one in module._modules.items()}
    return graph


def write_graph(graph: Graph, path: Path) -> None:
    """Trace the graph and write it; raises ValueError for an encoder or a sharing layer that can't be traced."""
    length = draw_lengths(graph)[1]
    ids, mask = draw_ids(graph, 2, length)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask", "logits")}
    try:
        with silence(), torch.no_grad():
            torch.onnx.export(
                graph, (ids, mask), str(path), input_names=["input_ids", "attention_mask"], output_names=["logits"],
                dynamic_axes=axes, opset_version=OPSET, dynamo=False,
            )  # fmt: skip
    except Exception as error:  # of many classes
        kinds = f"{type(graph.encoder).__name__} with {type(graph.sharing).__name__}"
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ValueError(f"{kinds} can't be exported to ONNX ({reason}); use it with torch") from error


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what the exporter prints and logs, and its warnings about constants, from the terminal."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def shrink_weights(folder: Path, reduce_range: bool) -> None:
    """Rewrite the graph of an exported folder in 8 bits."""
    from mtl_bioner import onnx_runtime
    from mtl_bioner.hub.onnx_int8 import draw_windows, quantize_graph

    windows = list(draw_windows(onnx_runtime.load(folder)))
    with silence():
        quantize_graph(folder / GRAPH, windows, reduce_range)


# -------------------------------------------------------------------------------------------------------------- check


def draw_ids(graph: Graph, rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Draw random windows, the last half as long: ids and mask, (rows, length)."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(graph.encoder.config.vocab_size, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[-1, (length + 1) // 2 :] = 0
    return ids, mask


def draw_lengths(graph: Graph, longest: int = 9) -> tuple[int, int, int]:
    """Return a short, a middle and a long length of windows that the encoder takes."""
    positions = getattr(graph.encoder.config, "max_position_embeddings", None) or 0
    longest = min(longest, positions - 2) if positions > 3 else longest
    return 1, max(2, min(9, longest)), max(2, longest)


@torch.no_grad()
def compare_with_torch(graph: Graph, folder: Path, config: Any) -> OnnxExport:
    """Run the exported folder's model and torch on random windows of several shapes, padded ones too."""
    from mtl_bioner import onnx_runtime

    ner = onnx_runtime.load(folder)
    worst, same, total = 0.0, 0, 0
    for rows, length in zip((1, 3, 2), draw_lengths(graph, config.max_seq_length), strict=True):
        ids, mask = draw_ids(graph, rows, length)
        expected = graph(ids, mask)[mask.bool()].numpy()
        feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        logits = ner.model.session.run(None, feed)[0][mask.bool().numpy()]
        difference = np.abs(logits - expected).max() / max(1.0, np.abs(expected).max())
        worst = max(worst, float(difference) if np.isfinite(difference) else np.inf)
        for columns in ner.model.columns.values():
            same += int((logits[:, columns].argmax(-1) == expected[:, columns].argmax(-1)).sum())
            total += len(logits)
    return OnnxExport(os.path.getsize(folder / GRAPH), worst, same / total)


def refuse_other_logits(export: OnnxExport, model: MtlBionerModel, int8: bool) -> None:
    """Raise ValueError for a graph that computes something else than the model."""
    kinds = f"{type(model.encoder).__name__} with {model.config.sharing} sharing"
    if not int8 and export.difference > TOLERANCE:
        problem = f"the graph of {kinds} computes logits that differ from torch by {export.difference:.2g}"
        raise ValueError(f"{problem}; ONNX can't express it, so use it with torch")
    if int8 and not (np.isfinite(export.difference) and export.agreement >= LEAST_AGREEMENT):
        problem = f"in int8 {kinds} keeps {100 * export.agreement:.0f} % of its labels on random windows"
        raise ValueError(f"{problem}, which is too few; export it without --int8")
