"""Tables, plots and prediction files: what they show, and what is left when they can't be written."""

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtl_bioner.reporting import plots
from mtl_bioner.reporting.files import write_json
from mtl_bioner.reporting.predictions import write_predictions
from mtl_bioner.reporting.tables import format_forgetting, format_scores


ROOT = Path(__file__).parents[1]


# ------------------------------------------------------------------------------------------------------------ tables


def test_a_table_of_scores_names_tasks_that_predicted_nothing() -> None:
    scores = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 8}
    metrics = {f"eval_a_{kind}": value for kind, value in scores.items()} | {"eval_a_ece": 0.1}
    metrics |= {f"eval_a_{kind}_Gene": value for kind, value in scores.items()}
    metrics |= {f"eval_a_official_{kind}": 0.75 for kind in ("precision", "recall", "f1")}
    metrics |= {f"eval_b_{kind}": 0 for kind in scores} | {"eval_macro_f1": 1 / 6}
    metrics |= {f"eval_micro_{kind}": 0.125 for kind in ("precision", "recall", "f1")}
    tasks = [{"name": "a", "types": ["Gene"], "corpora": ["x"]}, {"name": "b", "types": ["Disease"]}]
    table = format_scores(metrics, SimpleNamespace(tasks=tasks)).splitlines()
    assert table[:2] == [
        "split task                    of                       precision   recall       F1  support",
        "dev   a                       all                          50.00    25.00    33.33        8",
    ]
    assert [line.split() for line in table[2:-1]] == [
        ["dev", "a", "official", "rule", "75.00", "75.00", "75.00"],
        ["dev", "a", "Gene", "50.00", "25.00", "33.33", "8"],
        ["dev", "b", "all", "0.00", "0.00", "0.00", "0"],
        ["dev", "micro", "over", "tasks", "12.50", "12.50", "12.50"],
        ["dev", "macro", "over", "tasks", "16.67"],
    ]
    assert table[-1] == "no entity was predicted, so there is no calibration error: b (dev)"
    assert "calibration" not in format_scores(metrics | {"eval_b_ece": 0.0}, SimpleNamespace(tasks=tasks))


def test_trainers_memory_is_no_score_of_heads_that_were_not_trained() -> None:
    metrics = {"before_init_mem_cpu": 1.0, "before_ncbi_f1": 0.5, "after_ncbi_f1": 0.25}
    assert format_forgetting({"before_init_mem_cpu": 1.0}) == ""
    assert format_forgetting(metrics).splitlines()[1].split() == ["test", "ncbi", "f1", "50.00", "25.00", "-25.00"]


def print_spread(*folders: Path | str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mtl_bioner.reporting.tables", *map(str, folders)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_mean_and_spread_over_runs_are_printed_as_markdown(tmp_path: Path) -> None:
    scores = ("precision", "recall", "f1", "f1_Gene", "official_f1", "support")
    for name, *values in ("one", 0.5, 0.25, 0.5, 0.5, 0.75, 8), ("two", 1.0, 0.5, 0.75, 0.5, 0.75, 8):
        results = {f"test_a_{key}": value for key, value in zip(scores, values, strict=True)}
        write_json(tmp_path / name / "all_results.json", results | {f"test_{name}_f1": 1.0, "eval_a_f1": 1.0})
    done = print_spread(tmp_path / "one", tmp_path / "two")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "| test | precision | recall | F1 | spread of F1 | runs |",
        "| --- | --- | --- | --- | --- | --- |",
        "| a | 75.00 | 37.50 | 62.50 | 17.68 | 2 |",
        "| a Gene |  |  | 50.00 | 0.00 | 2 |",
        "| a_official |  |  | 75.00 | 0.00 | 2 |",
    ]
    assert "| a | 50.00 | 25.00 | 50.00 |  | 1 |" in print_spread(tmp_path / "one").stdout


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_scores_is_named(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "all_results.json").write_text(content)
    done = print_spread(tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert f"{tmp_path} has no all_results.json that can be read; name output folders of trainings" in done.stderr


# ------------------------------------------------------------------------------------------------------- predictions


def predict(*texts: tuple[int, str], document_id: str = "1") -> tuple[Any, list[list[dict[str, Any]]]]:
    """Return rows of documents, each of a task and a corpus, and a predicted entity for each."""
    document = SimpleNamespace(document_id=document_id, text="BRCA1 binds. " * 20)
    rows = [SimpleNamespace(task_id=task, corpus=corpus, document=document) for task, corpus in texts]
    return SimpleNamespace(texts=rows), [[{"start": 0, "end": 5, "type": "Gene", "score": 0.5}] for _ in texts]


def test_each_corpus_of_each_task_has_its_own_file_of_predictions(tmp_path: Path) -> None:
    """`disease` over the corpus ncbi has the name of the task `disease_ncbi`."""
    names = ["disease", "disease_ncbi"]
    write_predictions(tmp_path, *predict((0, "ncbi"), (0, "own/a b.txt"), (1, "ncbi")), names)
    files = ("disease_ncbi", "disease_own_a_b.txt", "disease_ncbi-2")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"predictions_{name}.{ending}" for name in files for ending in ("jsonl", "pubtator")
    }
    (record,) = (tmp_path / "predictions_disease_ncbi-2.jsonl").read_text().splitlines()
    entity = {"start": 0, "end": 5, "type": "Gene", "text": "BRCA1", "score": 0.5, "task": "disease_ncbi"}
    assert json.loads(record)["entities"] == [entity]


def test_an_id_that_pubtator_cannot_hold_costs_that_file_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_predictions(tmp_path, *predict((0, "own"), document_id="10.1|t|2"), ["a"])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions_a.jsonl"]
    assert caplog.messages == [
        "no predictions_a.pubtator: document id '10.1|t|2' can't stand in PubTator; rename it or write JSONL"
    ]


# ------------------------------------------------------------------------------------------------------------- plots


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Plots by file name, which are drawn and written, too."""
    saved: dict[str, Any] = {}
    save = plots.save_figure
    monkeypatch.setattr(plots, "save_figure", lambda figure, path: save(saved.setdefault(path.name, figure), path))
    return saved


def read_legend(legend: Any) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


HISTORY = [
    {"epoch": 1, "loss": 0.5, "loss_a": 0.5, "loss__b": 0.25},
    {"epoch": 1, "eval__b_f1": 0.5},
    {"eval_a_f1": 1},
]


@pytest.mark.parametrize(
    ("history", "width"),
    [
        (HISTORY, 1200),
        (HISTORY[:1], 600),  # no empty half
        (HISTORY[1:], None),  # nothing was trained
        ([], None),
    ],
)
def test_learning_curves_show_what_there_is(
    history: list[dict[str, float]], width: int | None, tmp_path: Path, figures: dict[str, Any]
) -> None:
    path = tmp_path / "learning_curves.png"
    plots.plot_curves(path, history, ["a", "_b", "untrained"])
    assert (int.from_bytes(path.read_bytes()[16:20], "big") if path.exists() else None) == width
    if figures:
        axes = figures[path.name].axes
        assert read_legend(figures[path.name].legends[0]) == ["a", "_b"]
        assert [line.get_xydata().tolist() for line in axes[0].lines] == [[[1, 0.5]], [[1, 0.25]]]
        for axis in axes[1:]:
            assert [line.get_xydata().tolist() for line in axis.lines] == [[], [[1, 50]]]  # per cent
            assert [line.get_color() for line in axis.lines] == [line.get_color() for line in axes[0].lines]


def test_a_reliability_diagram_shows_numbers_of_entities_and_names_tasks_without_any(
    tmp_path: Path, figures: dict[str, Any]
) -> None:
    scored = {"_a": ([0.95] * 100 + [0.35] * 4, [True] * 75 + [False] * 28 + [True]), "none": ([], [])}
    plots.plot_reliability(tmp_path / "reliability.png", scored)
    (axis,) = figures["reliability.png"].axes
    dots = axis.collections[0]
    np.testing.assert_allclose(dots.get_offsets(), [[35, 25], [95, 75]])
    sizes = dict(zip(read_legend(axis.get_legend()), axis.collections[2:], strict=True))
    assert list(sizes) == ["1", "10", "100", "1,000"] and axis.get_legend().get_title().get_text() == "entities"
    assert dots.get_sizes()[1] == sizes["100"].get_sizes()[0] == 5 * dots.get_sizes()[0]
    assert read_legend(figures["reliability.png"].legends[0]) == ["_a: 19.6 %", "none: no entity predicted"]
    assert [text.split()[-1] for text in (axis.get_xlabel(), axis.get_ylabel())] == ["(%)", "(%)"]


def test_gates_are_fractions_in_the_file_and_per_cent_in_the_plot(tmp_path: Path, figures: dict[str, Any]) -> None:
    plots.write_gates(tmp_path / "new", [[None, 0.25], [0.75, None]], ["a$", "b$"])
    assert json.loads((tmp_path / "new" / "gates.json").read_text()) == {"a$": {"b$": 0.25}, "b$": {"a$": 0.75}}
    axis = figures["gates.png"].axes[0]
    assert [(text.get_position(), text.get_text()) for text in axis.texts] == [((1, 0), "25.0"), ((0, 1), "75.0")]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a$", "b$"]


SCORED = {"a": ([0.5], [True])}
PLOTS: dict[str, Callable[[Path], None]] = {
    "learning curves": lambda folder: plots.plot_curves(folder / "learning_curves.png", HISTORY, ["a"]),
    "reliability diagram": lambda folder: plots.plot_reliability(folder / "reliability.png", SCORED),
    "gates.png": lambda folder: plots.write_gates(folder, [[None, 0.5], [0.5, None]], ["a", "b"]),
}


@pytest.mark.parametrize("name", PLOTS)
def test_without_matplotlib_a_plot_is_left_out_in_a_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    PLOTS[name](tmp_path)
    assert caplog.messages == [f"no {name}: install matplotlib (pip install matplotlib)"]
    assert caplog.records[0].levelno == logging.WARNING and not list(tmp_path.glob("*.png"))


# --------------------------------------------------------------------------------------------------------- full disk


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("all_results.json", lambda folder: write_json(folder / "all_results.json", {"text": "x" * 200})),
        ("predictions_a.jsonl", lambda folder: write_predictions(folder, *predict((0, "own")), ["a"])),
        ("learning_curves.png", PLOTS["learning curves"]),
        ("reliability.png", PLOTS["reliability diagram"]),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_the_old_one_stays(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    """The system's limit of a file's size stands in for a full disk."""
    path = tmp_path / name
    path.write_text("old")
    plots.import_pyplot("plots")  # may write caches
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(raised.value).startswith(f"{path}: can't be written (File too large); free some space")
    assert [other.name for other in tmp_path.iterdir()] == [name] and path.read_text() == "old"
