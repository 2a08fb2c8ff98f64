"""Read argument files, and write arguments as a command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_argument_file(path: Path) -> dict[str, Any]:
    """The arguments of a JSON file.

    Raises:
        ValueError: no such file, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: no such argument file ({error.strerror}); check the path") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: {error.msg}; an object of arguments and values is needed") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: a JSON {type(content).__name__}; an object of arguments and values is needed")
    return content


def as_argv(content: Mapping[str, Any]) -> list[str]:
    """Arguments by name as they would stand on the command line."""
    argv = []
    for name, value in content.items():
        if isinstance(value, list):
            argv += [f"--{name}", *(str(getattr(item, "value", item)) for item in value)]  # of an Enum
        elif value is not None:  # null is the default
            argv.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    return argv
