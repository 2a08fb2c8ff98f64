"""Messages quote text of corpora, which must not act on the terminal."""

import subprocess
import sys
from pathlib import Path

import pytest

from dataset_scripts.messages import escape_controls


ROOT = Path(__file__).parents[1]
HOSTILE = "\x1b[31mred\x07\x9b2J\u202egnp"
ESCAPED = r"\x1b[31mred\x07\x9b2J\u202egnp"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, ESCAPED),
        ("naïve β-cell\tand\nline", "naïve β-cell\tand\nline"),
        ("a\rb\u2028c", r"a\rb\u2028c"),
        ("man \U0001f468\u200d\U0001f33e", "man \U0001f468\u200d\U0001f33e"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert escape_controls(text) == shown


@pytest.mark.parametrize(
    "code",
    [
        "from mtl_bioner.messages import print_error; print_error('x', {text!r})",
        "from dataset_scripts.messages import set_up_logging; import logging; set_up_logging(); "
        "logging.getLogger('x').warning('%s', {text!r})",
    ],
)
def test_every_message_is_escaped(code):
    done = subprocess.run(
        [sys.executable, "-c", code.format(text=HOSTILE)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr.rstrip("\n").endswith(ESCAPED) and "\x1b" not in done.stderr


def test_a_corpus_with_control_characters_is_told_without_them(tmp_path):
    path = tmp_path / f"{HOSTILE[:12]}.jsonl"
    path.write_text("{", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dataset_scripts", "stats", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and r"\x1b[31mred" in done.stderr and "\x1b" not in done.stderr
