"""Say in one line what went wrong."""

from __future__ import annotations


def summarize_error(error: Exception) -> str:
    """The first line of an error's message, and those that it announces."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(lines[:4] if lines[0].endswith(":") else lines[:1])
