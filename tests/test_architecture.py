"""The modules import each other only along the arrows of the architecture, without a cycle."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
# Module -> what of the project it may import.
ALLOWED = {
    "modeling_mtl_bioner": set(),
    "metrics_mtl_bioner": set(),
    "entity_f1": {"metrics_mtl_bioner"},
    "dataset_scripts": set(),
    "data_collators": {"modeling_mtl_bioner"},
    "launch_mtl_bioner": set(),
    "progress_mtl_bioner": set(),
    "calibration_mtl_bioner": {"modeling_mtl_bioner"},
    "trainer_mtl_bioner": {
        "calibration_mtl_bioner", "data_collators", "hub_mtl_bioner", "launch_mtl_bioner", "metrics_mtl_bioner",
        "modeling_mtl_bioner", "progress_mtl_bioner", "teachers_mtl_bioner",
    },
    "teachers_mtl_bioner": {"data_collators", "dataset_scripts", "modeling_mtl_bioner"},
    "results_mtl_bioner": {"dataset_scripts", "metrics_mtl_bioner"},
    "search_mtl_bioner": {"results_mtl_bioner"},
    "model_card_mtl_bioner": {"dataset_scripts", "results_mtl_bioner"},
    "handler_mtl_bioner": set(),
    "space": set(),
    "hub_mtl_bioner": {"model_card_mtl_bioner"},
    "export_mtl_bioner": {
        "data_collators", "dataset_scripts", "hub_mtl_bioner", "metrics_mtl_bioner", "model_card_mtl_bioner",
        "modeling_mtl_bioner", "results_mtl_bioner",
    },
    "errors_mtl_bioner": {"metrics_mtl_bioner"},
    "comparison_mtl_bioner": {"dataset_scripts", "errors_mtl_bioner", "metrics_mtl_bioner", "results_mtl_bioner"},
    "arguments_mtl_bioner": {
        "dataset_scripts", "modeling_mtl_bioner", "results_mtl_bioner", "search_mtl_bioner", "teachers_mtl_bioner",
        "trainer_mtl_bioner",
    },
    "run_comparison": {
        "arguments_mtl_bioner", "comparison_mtl_bioner", "dataset_scripts", "errors_mtl_bioner",
        "results_mtl_bioner", "run_mtl_ner",
    },
    "run_mtl_ner": {
        "arguments_mtl_bioner", "data_collators", "dataset_scripts", "hub_mtl_bioner", "launch_mtl_bioner",
        "model_card_mtl_bioner", "modeling_mtl_bioner", "results_mtl_bioner", "search_mtl_bioner",
        "teachers_mtl_bioner", "trainer_mtl_bioner",
    },
}  # fmt: skip


def imports(module: str) -> set[str]:
    """Top-level names of everything a module, or package, imports from outside itself, functions included."""
    files = [*(ROOT / module).rglob("*.py")] if (ROOT / module).is_dir() else [ROOT / f"{module}.py"]
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split(".")[0])
    return found - {module}


@pytest.mark.parametrize("module", ALLOWED)
def test_imports_follow_the_arrows(module: str) -> None:
    assert imports(module) & ALLOWED.keys() <= ALLOWED[module]


def test_every_module_is_known_here_and_installed() -> None:
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert modules | {"dataset_scripts", "space"} == set(ALLOWED)
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8").split("py_modules =")[1].split("install_requires")[0]
    assert modules == set(listed.split())


def test_the_file_that_travels_needs_torch_and_transformers_only() -> None:
    assert imports("modeling_mtl_bioner") - set(sys.stdlib_module_names) == {"torch", "transformers"}


def test_what_travels_to_the_hub_needs_what_is_there_only() -> None:
    assert imports("handler_mtl_bioner") - set(sys.stdlib_module_names) == {"transformers"}
    assert imports("space") - set(sys.stdlib_module_names) == {"gradio", "huggingface_hub", "transformers"}


def test_corpora_are_read_without_torch() -> None:
    assert not imports("dataset_scripts") & {"torch", "transformers"}


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_find_what_they_import(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (ROOT / f"{node.module}.py").is_file():
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
