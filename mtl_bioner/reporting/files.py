"""Write text and JSON files whole or not at all."""

import json
from pathlib import Path
from typing import Any

from dataset_scripts.formats.files import write_then_rename


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with write_then_rename(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Write a JSON file, on a single line without an `indent`."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, default=str) + "\n")
