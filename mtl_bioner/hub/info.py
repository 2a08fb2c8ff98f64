"""Show what a model is: its tasks, types, corpora and scores, its size and hash, and what it needs.

mtl-bioner info outputs/quickstart
mtl-bioner info outputs/quickstart --json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_scripts.messages import escape_controls
from mtl_bioner.backends import GRAPH
from mtl_bioner.hub.model_card import read_record
from mtl_bioner.messages import print_error
from mtl_bioner.reporting.run_record import hash_model


PROGRAM = "mtl-bioner info"
_SPLITS = {"test": "test", "eval": "dev"}  # prefix of the scores -> name of the split


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0, or 2 for what is no model."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="output folder of a training")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args(argv)
    try:
        info = describe_model(arguments.folder)
    except (ValueError, OSError) as error:
        print_error(PROGRAM, error)
        return 2
    sys.stdout.write(f"{json.dumps(info, indent=2) if arguments.json else format_info(info)}\n")
    sys.stderr.write(f"next: mtl-bioner annotate {arguments.folder} FILE --output DIR\n")
    return 0


def describe_model(folder: Path) -> dict[str, Any]:
    """Describe the model of a folder without loading it; raises ValueError for a folder that holds none."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json; name the --output_dir of a training")
    config = read_record(folder / "config.json")
    if config.get("model_type") != "mtl_bioner":
        raise ValueError(f"{folder} holds a model of type {config.get('model_type')!r}, not one of this project")
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob(GRAPH))
    if not weights:
        raise ValueError(f"{folder} has no weights (model.safetensors); copy the model again, or finish its training")
    scores, run = (read_record(path) if (path := folder / name).is_file() else {}
                   for name in ("all_results.json", "run.json"))  # fmt: skip
    encoder = config.get("encoder_config", {})
    is_graph = weights[0].name == GRAPH
    parameters, dtypes = describe_graph(config.get("onnx")) if is_graph else count_parameters(weights)
    return {
        "folder": str(folder),
        "encoder": {
            "name": run.get("base_model"),
            **{key: encoder.get(key) for key in ("model_type", "num_hidden_layers", "hidden_size", "vocab_size")},
        },
        "sharing": config.get("sharing"),
        "max_seq_length": config.get("max_seq_length"),
        "tasks": [describe_task(task, scores) for task in config.get("tasks", ())],
        "parameters": parameters,
        "dtypes": dtypes,
        "backend": "onnx" if is_graph else "torch",
        "bytes": sum(path.stat().st_size for path in weights),
        "hash": hash_model(str(folder)),
        "trained_with": {name: version for name, version in run.get("versions", {}).items() if version},
    }


def describe_task(task: Mapping[str, Any], scores: Mapping[str, float]) -> dict[str, Any]:
    """Describe a task: its name, types, corpora and F1 by split, from 0 to 1."""
    f1 = {split: scores[key] for prefix, split in _SPLITS.items() if (key := f"{prefix}_{task['name']}_f1") in scores}
    return {"name": task["name"], "types": list(task["types"]), "corpora": task.get("corpora", []), "f1": f1}


def describe_graph(entry: Any) -> tuple[int | None, list[str]]:
    """Return number and data type of the weights of an exported model, as its config states them."""
    entry = entry if isinstance(entry, dict) else {}
    number = entry.get("parameters")
    return (number if isinstance(number, int) else None), [str(entry.get("weights"))]


def count_parameters(weights: Sequence[Path]) -> tuple[int, list[str]]:
    """Count the parameters in files of weights by their headers, and list their data types."""
    from safetensors import SafetensorError, safe_open

    number, dtypes = 0, set()
    for path in weights:
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - the file is no mapping
                    tensor = file.get_slice(name)
                    number += math.prod(tensor.get_shape())
                    dtypes.add(tensor.get_dtype())
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); copy the model again") from error
    return number, sorted(dtypes)


def format_info(info: Mapping[str, Any]) -> str:
    """Return the description as a table."""
    encoder = info["encoder"]
    sizes = f"{encoder['num_hidden_layers']} layers of {encoder['hidden_size']}, {encoder['vocab_size']} sub-words"
    megabytes = f"{info['bytes'] / 1e6:.1f} MB, for {'ONNX Runtime' if info['backend'] == 'onnx' else 'torch'}"
    parameters = f"{info['parameters'] / 1e6:.1f} M parameters" if info["parameters"] else "unknown parameters"
    lines = [
        f"model       {info['folder']}",
        f"encoder     {encoder['name'] or encoder['model_type']} ({sizes})",
        f"weights     {parameters}, {', '.join(info['dtypes'])}, {megabytes}",
        f"hash        {info['hash']}",
        f"sharing     {info['sharing']}",
        f"windows     up to {info['max_seq_length']} sub-words",
    ]
    for task in info["tasks"]:
        f1 = ", ".join(f"{split} F1 {100 * score:.2f}" for split, score in task["f1"].items()) or "no scores"
        corpora = f" on {', '.join(task['corpora'])}" if task["corpora"] else ""
        lines.append(f"task        {task['name']}: {', '.join(task['types'])}{corpora}; {f1}")
    needed = [f"{name} {info['trained_with'][name]}" for name in ("transformers", "torch", "tokenizers")
              if name in info["trained_with"]]  # fmt: skip
    lines.append(f"trained     with {', '.join(needed) or 'unknown versions'}")
    # Names come from a config that may be anybody's.
    return "\n".join(escape_controls(line.replace("\n", " ")) for line in lines)
