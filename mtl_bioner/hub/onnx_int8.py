"""Store the encoder's weights of an exported graph in 8 bits.

ONNX Runtime multiplies in int8 with one scale for all activations that enter a matrix product, as wide as the largest
of them. What would make it too coarse is taken out first, so that the graph computes the same until it is rounded:

- Channels with large activations, which LayerNorm leaves, are divided by a factor, and the matrix's row is multiplied
  by it (SmoothQuant, Xiao et al. 2023). How large they get is measured on texts of the sample.
- In front of a matrix that narrows, behind the activation function, the largest ones are those of single sub-words:
  each sub-word's activations are divided by their maximum, and the product is multiplied by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataset_scripts import load_corpus


STRENGTH = 0.7  # of the division of channels: 1 makes all equally large
LEAST_ROWS = 1000  # of a table of embeddings that is worth it
CALIBRATION = {"corpora": ("ncbi", "bc5cdr", "bc2gm", "jnlpba"), "documents": 6}
Products = dict[str, list[Any]]  # name of the activations -> nodes that multiply them by a matrix


def quantize_graph(path: Path, windows: Sequence[Sequence[int]], reduce_range: bool) -> None:
    """Rewrite a graph with the encoder's matrices and its table of sub-words in 8 bits.

    Args:
        windows: sub-words of real texts, on which activations are measured.
        reduce_range: 7 bits for the matrices.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    products = list_products(model)
    balance_graph(model, products, measure_channels(path, list(products), windows))
    shrink_embeddings(model)
    onnx.save(model, path)
    quantize_dynamic(
        path, path, weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduce_range,
        nodes_to_quantize=[node.name for nodes in products.values() for node in nodes],
        op_types_to_quantize=["MatMul"],
        extra_options={"WeightSymmetric": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip


def draw_windows(ner: Any) -> Iterator[list[int]]:
    """Yield the windows of texts of the embedded sample, as sub-words; `ner` is a pipeline of `onnx_runtime`."""
    for name in CALIBRATION["corpora"]:
        for document in load_corpus(name, "sample").splits["train"][: CALIBRATION["documents"]]:
            for window in ner.preprocess(document.text)["windows"]:
                yield window.input_ids


def list_products(model: Any) -> Products:
    """List the products of the encoder's activations with constant matrices."""
    shapes, products = {one.name: one.dims for one in model.graph.initializer}, {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.name.startswith("/encoder/"):
            activations, matrix = node.input
            if activations not in shapes and len(shapes.get(matrix, ())) == 2:
                products.setdefault(activations, []).append(node)
    return products


def measure_channels(path: Path, names: Sequence[str], windows: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Return the largest absolute activation of each channel, (channels,), by name of the activations."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(names, np.float32(0))
    for window in windows:
        ids = np.array([window], np.int64)
        outputs = session.run(list(names), {"input_ids": ids, "attention_mask": np.ones_like(ids)})
        for name, values in zip(names, outputs, strict=True):
            largest[name] = np.maximum(largest[name], np.abs(values).reshape(-1, values.shape[-1]).max(0))
    return largest


# ----------------------------------------------------------------------------------------------------------- balancing


def balance_graph(model: Any, products: Products, largest: Mapping[str, np.ndarray]) -> None:
    """Even out activations, and change matrices so that the graph computes the same."""
    from onnx import helper, numpy_helper

    constants = {one.name: one for one in model.graph.initializer}
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1e-6), "tiny"))
    for number, (name, nodes) in enumerate(products.items()):
        matrices = [numpy_helper.to_array(constants[node.input[1]]) for node in nodes]
        part = f"balanced{number}"
        if all(matrix.shape[0] > matrix.shape[1] for matrix in matrices):
            divide_rows(model, name, nodes, part)
            continue
        factors = (np.maximum(largest[name] / largest[name].mean(), 1) ** STRENGTH).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(1 / factors, f"{part}_factors"))
        insert_before(model, nodes, [helper.make_node("Mul", [name, f"{part}_factors"], [part])])
        for node, matrix in zip(nodes, matrices, strict=True):
            changed = numpy_helper.from_array(matrix * factors[:, None], node.input[1])
            constants[node.input[1]].CopyFrom(changed)
            node.input[0] = part


def divide_rows(model: Any, name: str, nodes: Sequence[Any], part: str) -> None:
    """Divide each sub-word's activations by their maximum, and multiply the products by it."""
    from onnx import helper

    steps = [
        helper.make_node("Abs", [name], [f"{part}_sizes"]),
        helper.make_node("ReduceMax", [f"{part}_sizes"], [f"{part}_largest"], axes=[-1], keepdims=1),
        helper.make_node("Max", [f"{part}_largest", "tiny"], [f"{part}_maxima"]),
        helper.make_node("Div", [name, f"{part}_maxima"], [part]),
    ]
    insert_before(model, nodes, steps)
    for number, node in enumerate(nodes):
        product = node.output[0]
        node.input[0], node.output[0] = part, f"{part}_product{number}"
        multiply = helper.make_node("Mul", [node.output[0], f"{part}_maxima"], [product])
        model.graph.node.insert(list(model.graph.node).index(node) + 1, multiply)


def insert_before(model: Any, nodes: Sequence[Any], added: Sequence[Any]) -> None:
    """Insert nodes in front of the first of some nodes."""
    order = list(model.graph.node)
    place = min(order.index(node) for node in nodes)
    for shift, one in enumerate(added):
        model.graph.node.insert(place + shift, one)


# ---------------------------------------------------------------------------------------------------------- embeddings


def shrink_embeddings(model: Any) -> None:
    """Replace each large table of embeddings by rows of 8 bits, each with a scale of its own."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {one.name: one for one in model.graph.initializer}
    for node in list(model.graph.node):
        table = constants.get(node.input[0]) if node.op_type == "Gather" else None
        is_float = table is not None and table.data_type == TensorProto.FLOAT
        if not is_float or len(table.dims) != 2 or table.dims[0] < LEAST_ROWS:
            continue
        rows = numpy_helper.to_array(table)
        scales = np.maximum(np.abs(rows).max(1, keepdims=True) / 127, 1e-12).astype(np.float32)  # (sub-words, 1)
        codes = np.clip(np.rint(rows / scales), -127, 127).astype(np.int8)
        names = {part: f"{table.name}_{part}" for part in ("codes", "scales", "row", "wide", "scale")}
        steps = [
            helper.make_node("Gather", [names["codes"], node.input[1]], [names["row"]]),
            helper.make_node("Cast", [names["row"]], [names["wide"]], to=TensorProto.FLOAT),
            helper.make_node("Gather", [names["scales"], node.input[1]], [names["scale"]]),
            helper.make_node("Mul", [names["wide"], names["scale"]], list(node.output)),
        ]
        insert_before(model, [node], steps)
        model.graph.node.remove(node)
        model.graph.initializer.remove(table)
        model.graph.initializer.append(numpy_helper.from_array(codes, names["codes"]))
        model.graph.initializer.append(numpy_helper.from_array(scales, names["scales"]))
