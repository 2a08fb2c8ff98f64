"""The layout, and who may import whom."""

import ast
import importlib
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1]
COMMANDS = ("run_mtl_ner", "run_annotate", "run_comparison")
# Each room, and the rooms of the project that it may import; itself always.
LIBRARY = {"modeling_mtl_bioner", "data_collators", "dataset_scripts", "mtl_bioner.messages", "mtl_bioner.tokenizer"}
LIBRARY |= {"mtl_bioner.folder_lock", "mtl_bioner.backends", "mtl_bioner.onnx_runtime"}
ALLOWED = {
    "modeling_mtl_bioner": set(),
    "dataset_scripts": set(),
    "data_collators": {"modeling_mtl_bioner"},
    "mtl_bioner.messages": {"dataset_scripts"},
    "mtl_bioner.folder_lock": set(),
    "mtl_bioner.backends": {"mtl_bioner.messages", "mtl_bioner.onnx_runtime"},
    "mtl_bioner.onnx_runtime": set(),
    "mtl_bioner.tokenizer": set(),
    "mtl_bioner.evaluation": LIBRARY,
    "mtl_bioner.reporting": LIBRARY | {"mtl_bioner.evaluation"},
    "mtl_bioner.hub": LIBRARY | {"mtl_bioner.evaluation", "mtl_bioner.reporting"},
    "mtl_bioner.training": LIBRARY | {"mtl_bioner.evaluation", "mtl_bioner.reporting", "mtl_bioner.hub"},
    "mtl_bioner.comparison": LIBRARY | {"mtl_bioner.evaluation", "mtl_bioner.reporting", "mtl_bioner.training"},
    "mtl_bioner.annotation": LIBRARY | {"mtl_bioner.evaluation", "mtl_bioner.reporting", "mtl_bioner.training"},
    "mtl_bioner.serving": LIBRARY | {"mtl_bioner.annotation"},
    # Entry points: they lie above everything, and nothing imports them.
    "mtl_bioner.api": LIBRARY | {"mtl_bioner.training", "run_mtl_ner"},
    "mtl_bioner.cli": set(),
    "mtl_bioner.completion": {"mtl_bioner.cli", "mtl_bioner.messages"},
    "mtl_bioner.__main__": {"mtl_bioner.cli"},
    "run_mtl_ner": LIBRARY
    | {"mtl_bioner.evaluation", "mtl_bioner.reporting", "mtl_bioner.hub", "mtl_bioner.training"},
    "run_annotate": LIBRARY | {"mtl_bioner.reporting", "mtl_bioner.annotation"},
    "run_comparison": {
        "dataset_scripts",
        "mtl_bioner.messages",
        "mtl_bioner.comparison",
        "mtl_bioner.reporting",
        "run_mtl_ner",
        "mtl_bioner.training",
    },
}


def modules() -> dict[str, Path]:
    """Every module of the project by its dotted name."""
    places = [*ROOT.glob("*.py"), *(ROOT / "dataset_scripts").rglob("*.py"), *(ROOT / "mtl_bioner").rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in places}


def imports(name: str, path: Path, top_level: bool = False) -> set[str]:
    """Dotted names of what a module imports, functions included unless `top_level`."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def room(name: str) -> str | None:
    """The room of `ALLOWED` that a module lies in, None for one of another project."""
    return next((own for own in ALLOWED if name == own or name.startswith(f"{own}.")), None)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_follow_the_arrows(name: str) -> None:
    if name == "mtl_bioner":
        return
    own = room(name)
    assert own is not None, f"{name} lies in no room"
    assert {other for imported in imports(name, modules()[name]) if (other := room(imported))} <= ALLOWED[own] | {own}


def test_no_import_cycles() -> None:
    known = modules()
    graph = {name: imports(name, path, top_level=True) & known.keys() - {name} for name, path in known.items()}
    for name in graph:  # a package's own modules import it implicitly
        graph[name] = {other for other in graph[name] if known[other].name != "__init__.py" or other == "formats"}

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        for other in graph[name]:
            visit(other, (*path, name))

    for name in graph:
        visit(name, ())


def test_only_these_modules_lie_at_the_top() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == {*COMMANDS, "modeling_mtl_bioner", "data_collators"}


def test_the_file_that_travels_needs_torch_and_transformers_only() -> None:
    assert packages("modeling_mtl_bioner") == {"regex", "torch", "transformers"}  # transformers needs `regex` itself


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("mtl_bioner.hub.handler", {"transformers"}),
        ("mtl_bioner.hub.space.app", {"gradio", "huggingface_hub", "transformers", "mtl_bioner", "entity_page"}),
        ("mtl_bioner.reporting.entity_page", set()),
        ("mtl_bioner.onnx_runtime", {"numpy", "onnxruntime", "regex", "tokenizers"}),
    ],
)
def test_what_travels_to_the_hub_needs_what_is_there_only(name: str, needed: set[str]) -> None:
    assert packages(name) == needed


def packages(name: str) -> set[str]:
    """The packages that a module imports, but for the standard library's."""
    found = {imported.split(".")[0] for imported in imports(name, modules()[name])}
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("dataset_scripts")])
def test_corpora_are_read_without_torch(name: str) -> None:
    assert not packages(name) & {"torch", "transformers", "mtl_bioner"}


@pytest.mark.parametrize("name", [name for name in modules() if name.startswith("mtl_bioner.serving.")])
def test_the_server_leaves_torch_to_the_engine(name: str) -> None:
    assert not packages(name) & {"torch", "transformers", "modeling_mtl_bioner"}


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_find_what_they_import(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in modules():
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)


# ------------------------------------------------------------------------------------------------------------- sizes

MOST_SOURCE, MOST_TESTS = 23_600, 20_100
# The Hub file holds the whole engine, so that whoever loads a model has its speed.
# The runtime without torch travels alone too, so it has windows, decoding and pipeline once more.
MOST_LINES = {"modeling_mtl_bioner": 1110, "run_mtl_ner": 250, "mtl_bioner.onnx_runtime": 650}


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_and_functions_are_short(name: str) -> None:
    path = modules()[name]
    assert count_lines(path) <= MOST_LINES.get(name, 450)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is long"


@pytest.mark.parametrize(("name", "most"), [("README.md", 200), ("CHANGELOG.md", 70)])
def test_documents_are_short(name: str, most: int) -> None:
    assert count_lines(ROOT / name) <= most


def test_the_whole_stays_small() -> None:
    assert sum(map(count_lines, modules().values())) <= MOST_SOURCE
    assert sum(map(count_lines, (ROOT / "tests").rglob("*.py"))) <= MOST_TESTS
