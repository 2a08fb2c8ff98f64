"""Show messages that may quote text of a corpus: control characters would act on the terminal."""

import logging
import re
import sys


# C0 and C1 but for tabs and line breaks, line separators, and characters that change the direction of text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    """Return a text with its control characters written as escapes, such as `\\x1b`."""
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], text)


class _EscapingFormatter(logging.Formatter):
    """Escape control characters in whatever is logged."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


def set_up_logging(level: int = logging.INFO, form: str = "%(levelname)s %(message)s") -> None:
    """Log to standard error, unless the caller has set up logging."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_EscapingFormatter(form))
    logging.basicConfig(level=level, handlers=[handler])
