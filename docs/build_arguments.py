"""A hook of mkdocs: build the argument tables from the dataclasses, and add figures from outside `docs/`."""

import dataclasses
import logging
import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mkdocs.structure.files import File, Files
from transformers import TrainingArguments


ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mtl_bioner.training.arguments import DataArguments, ModelArguments  # noqa: E402
from mtl_bioner.training.training_arguments import REFUSED, MultiTaskTrainingArguments  # noqa: E402


GROUPS = {DataArguments: "Tasks and corpora", ModelArguments: "Model", MultiTaskTrainingArguments: "Training"}
STOCK = {field.name: field.metadata.get("help") for field in dataclasses.fields(TrainingArguments)}
INHERITED = "Inherited from transformers.TrainingArguments"
FIGURES = [*(ROOT / "results/comparison").glob("*.png"), *(ROOT / "images").glob("*.png")]
logging.getLogger("mkdocs.plugins.mkdocs_autorefs").setLevel(logging.ERROR)  # `[t][k]` in a docstring is no link


def on_files(files: Files, config: Any) -> Files:
    """Add the figures as `figures/NAME`."""
    for path in FIGURES:
        files.append(File.generated(config, f"figures/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace `<!-- arguments -->` by a table for each group, which a field's metadata may name."""
    tables: dict[str, list[str]] = {}
    for arguments, name in GROUPS.items() if "<!-- arguments -->" in markdown else ():
        hints = get_type_hints(arguments)
        for field in (field for field in dataclasses.fields(arguments) if field.name not in REFUSED):
            stock = issubclass(arguments, TrainingArguments) and STOCK.get(field.name) == field.metadata.get("help")
            group = INHERITED if stock else field.metadata.get("group", name)
            tables.setdefault(group, [f"\n## {group}\n", "| argument | default | description |", "|---|---|---|"])
            tables[group].append(build_row(field, hints[field.name]))
    ordered = sorted(tables, key=lambda group: group == INHERITED)
    return markdown.replace("<!-- arguments -->", "\n".join(row for group in ordered for row in tables[group]))


def build_row(field: dataclasses.Field, hint: Any) -> str:
    """Build the row of an argument: name, default, help text and choices."""
    made = field.default_factory is not dataclasses.MISSING  # a list, or such
    value = None if made else getattr(field.default, "value", field.default)
    default = {None: "", dataclasses.MISSING: "required"}.get(value, f"`{value}`")
    text = " ".join(field.metadata.get("help", "").split())
    text = re.sub(r"(`[^`]*`)|([][|*<_])", lambda match: match[1] or f"\\{match[2]}", text)
    choices = [str(c) for part in (hint, *get_args(hint)) if get_origin(part) is Literal for c in get_args(part)]
    text += f" One of `{'`, `'.join(choices)}`." if choices else ""
    return f"| `--{field.name}` | {default} | {text} |"
