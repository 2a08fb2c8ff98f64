"""The comparison: which cells there are, what is kept of them, and the report of made-up and of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import comparison_mtl_bioner as report
import run_comparison
from run_comparison import Cell, corpora_of, parse_arguments, plan


def test_cells_are_planned_seed_by_seed_single_tasks_first() -> None:
    arguments, rest = parse_arguments(
        ["--tasks", "ncbi,bc5cdr:Disease", "--structures", "hard", "cross", "--primary", "cross", "--seeds", "1", "2",
         "--groups", "ncbi,bc2gm", "--fractions", "1", "--num_train_epochs", "3"]
    )  # fmt: skip
    assert rest == ["--num_train_epochs", "3"]
    cells = plan(arguments)
    assert cells[:5] == [
        Cell("single", "ncbi", "hard", 1, 1.0),
        Cell("single", "bc5cdr:Disease", "hard", 1, 1.0),
        Cell("cross", "ncbi,bc5cdr:Disease", "cross", 1, 1.0),
        Cell("hard", "ncbi,bc5cdr:Disease", "hard", 1, 1.0),
        Cell("ncbi,bc2gm", "ncbi,bc2gm", "cross", 1, 1.0),
    ]
    assert len(cells) == 10 and {cell.seed for cell in cells[5:]} == {2}
    assert cells[1].name == "single_bc5cdr_Disease_1_1"
    assert len({cell.name for cell in cells}) == 10
    assert corpora_of([arguments.tasks, *arguments.groups]) == "ncbi,bc5cdr,bc2gm"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--seed", "3"], ["--seed is decided by the comparison"]),
        (["--train_fraction=0.1"], ["--train_fraction is decided by the comparison"]),
        (["--structures", "hard", "--primary", "cross"], ["--primary cross is none of --structures hard"]),
        (["--tasks", "ncbi:"], ["ncbi:"]),
        (
            ["--tasks", "nbci", "--model_name_or_path", "./x", "--use_cpu"],
            ["error: --model_name_or_path ./x: no such folder"],
        ),
    ],
)
def test_bad_arguments(arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert run_comparison.main([*arguments, "--output_dir", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert all(part in message for part in parts)


def cell(system: str, corpus: str, seed: int, right: int, fraction: float = 1.0, **options: Any) -> dict[str, Any]:
    """A made-up cell: 50 documents of one mention each, so many of them found, nothing else predicted."""
    counts = [[1, 1, 1]] * right + [[0, 0, 1]] * (50 - right)
    errors = {
        "by_type": {"Disease": {"missed": 50 - right, "spurious": 0, "wrong boundary": 0, "wrong type": 0}},
        "examples": dict.fromkeys(report.KINDS, ()) | {"missed": [["<b>gout|", "Disease", 50 - right]]},
        "recall": {"seen": [right, 40], "unseen": [0, 10]},
    }  # fmt: skip
    return {
        "cell": {"system": system, "tasks": corpus, "sharing": "hard", "seed": seed, "fraction": fraction},
        "settings": {"arguments": []},
        "identity": {"torch": "2"},
        "metrics": {},
        "counts": {corpus: {"documents": "abc", "types": {"Disease": counts}}},
        "errors": {corpus: errors},
        "cost": {"seconds": 60.0, "steps": 10, "subwords": 1000, "parameters": 2_000_000, "rows": 5},
        **options,
    }


def joint(system: str, seed: int, **rights: int) -> dict[str, Any]:
    """A made-up cell of one model for several corpora."""
    cells = [cell(system, corpus, seed, right) for corpus, right in rights.items()]
    return cells[0] | {key: {c: v for one in cells for c, v in one[key].items()} for key in ("counts", "errors")}


CELLS = [
    *(cell("single", "ncbi", seed, 30 + seed) for seed in (1, 2)),
    *(cell("single", "bc5cdr", seed, 20) for seed in (1, 2)),
    *(joint("cross", seed, ncbi=40, bc5cdr=35) for seed in (1, 2)),
    joint("ncbi,bc5cdr", 1, ncbi=25, bc5cdr=30),
    cell("single", "ncbi", 1, 5, 0.1),
]


def f1(right: float) -> float:
    return 2 * right / (right + 50)


def test_report_of_made_up_cells(tmp_path: Path) -> None:
    report.write(CELLS, "cross", tmp_path)
    summary = json.loads((tmp_path / "comparison.json").read_text())
    rows = {(row["system"], row["fraction"], row["corpus"]): row for row in summary["scores"]}
    ncbi = rows["single", 1.0, "ncbi"]
    assert ncbi["f1"] == pytest.approx((f1(31) + f1(32)) / 2)
    assert ncbi["f1_spread"] == pytest.approx(abs(f1(31) - f1(32)) / 2**0.5)
    assert (ncbi["precision"], ncbi["seeds"]) == (1.0, 2)
    assert rows["single", 0.1, "ncbi"]["f1"] == pytest.approx(f1(5))

    (primary,) = (row for row in summary["comparisons"] if row["primary"])
    assert (primary["system"], primary["corpora"], primary["seeds"]) == ("cross", ["ncbi", "bc5cdr"], [2, 2])
    assert primary["difference"] == pytest.approx((f1(40) + f1(35)) / 2 - (ncbi["f1"] + f1(20)) / 2)
    assert "p_corrected" not in primary
    others = [row for row in summary["comparisons"] if not row["primary"]]
    assert len(others) == 5  # cross on each corpus, the pair on both and on each
    assert all(row["p_corrected"] >= row["p"] for row in others)

    costs = {row["system"]: row for row in summary["costs"]}
    assert (costs["single"]["encoder_passes"], costs["single"]["parameters"]) == (2, 4_000_000)
    assert (costs["cross"]["encoder_passes"], costs["cross"]["parameters"]) == (1, 2_000_000)
    assert summary["errors"]["single"]["ncbi"]["by_type"]["Disease"]["missed"] == 19 + 18

    text = (tmp_path / "comparison.md").read_text()
    assert f"**{100 * primary['difference']:+.2f}**" in text
    assert "&lt;b&gt;gout\\|" in text and "<b>" not in text
    for name in ("f1.png", "learning_curves.png", "pairs.png"):
        assert f"![{name}]" in text and (tmp_path / name).stat().st_size > 1000


def typed(system: str, tasks: str, **rights: int) -> dict[str, Any]:
    """A made-up cell of bc5cdr with so many found of each type."""
    made = cell(system, "bc5cdr", 1, 0)
    made["cell"]["tasks"] = tasks
    for name, right in rights.items():
        other = cell(system, "bc5cdr", 1, right)["counts"]["bc5cdr"]["types"]["Disease"]
        made["counts"]["bc5cdr"]["types"] = made["counts"]["bc5cdr"]["types"] | {name: other}
    made["counts"]["bc5cdr"]["types"] = {name: made["counts"]["bc5cdr"]["types"][name] for name in rights}
    return made


def test_types_of_a_corpus_in_tasks_of_their_own_are_put_together(tmp_path: Path) -> None:
    single = [typed("single", "bc5cdr:Chemical", Chemical=40), typed("single", "bc5cdr:Disease", Disease=20)]
    report.write([*single, typed("hard", "bc5cdr", Chemical=40, Disease=20)], "hard", tmp_path)
    summary = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["difference"] for row in summary["comparisons"]] == [0.0]
    costs = {row["system"]: row["encoder_passes"] for row in summary["costs"]}
    assert costs == {"single": 2, "hard": 1}
    assert "had 10 rows together, `hard` had 5" in (tmp_path / "comparison.md").read_text()
    with pytest.raises(ValueError, match="single has two heads for Disease of bc5cdr"):
        report.write([*single, typed("single", "x=bc5cdr:Disease", Disease=20)], "hard", tmp_path)


def test_only_types_that_both_were_scored_on_are_compared(tmp_path: Path) -> None:
    single = typed("single", "bc5cdr", Chemical=40, Disease=20)
    report.write([single, typed("bc5cdr:Disease", "bc5cdr:Disease", Disease=20)], "hard", tmp_path)
    (row,) = json.loads((tmp_path / "comparison.json").read_text())["comparisons"]
    assert row["types"] == {"bc5cdr": ["Disease"]} and row["difference"] == 0.0
    assert "bc5cdr: Disease" in (tmp_path / "comparison.md").read_text()


def test_pairs_are_drawn_for_all_training_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    real = report.save_figure

    def save(figure: Any, path: Path) -> None:
        if path.name == "pairs.png":
            shown.extend(text.get_text() for text in figure.axes[0].texts)
        real(figure, path)

    monkeypatch.setattr(report, "save_figure", save)
    few = [joint("ncbi,bc5cdr", 1, ncbi=1, bc5cdr=1), cell("single", "bc5cdr", 1, 9)]
    for one in few:
        one["cell"] = one["cell"] | {"fraction": 0.1}
    report.write([*CELLS, *few], "cross", tmp_path)
    gains = [100 * (f1(25) - (f1(31) + f1(32)) / 2), 100 * (f1(30) - f1(20))]
    assert sorted(shown) == sorted(f"{gain:+.2f}" for gain in gains)
    report.write([joint("ncbi,bc5cdr", 1, ncbi=1, bc5cdr=1)], "cross", tmp_path)  # nothing to compare it with


def test_cells_of_other_settings_are_refused(tmp_path: Path) -> None:
    other = joint("cross", 1, ncbi=30) | {"identity": {"torch": "3"}}
    with pytest.raises(ValueError, match=r"different torch \(2 and 3\)"):
        report.write([cell("single", "ncbi", 1, 30), other], "cross", tmp_path)


def test_the_primary_comparison_is_named_once(tmp_path: Path) -> None:
    def named(*arguments: str) -> str:
        parsed, _ = parse_arguments([*arguments, "--output_dir", str(tmp_path)])
        run_comparison.keep_plan(parsed)
        return parsed.primary

    assert named("--structures", "cross", "hard") == "cross"
    assert named("--structures", "hard", "cross", "--report_only") == "cross"
    with pytest.raises(ValueError, match="plan.json names .*cross.* as primary, not .*hard"):
        named("--structures", "hard", "cross")


def test_other_numbers_give_another_report(tmp_path: Path) -> None:
    texts = []
    for right in (35, 10):
        report.write([cell("single", "ncbi", 1, 30), joint("cross", 1, ncbi=right)], "cross", tmp_path)
        texts.append((tmp_path / "comparison.md").read_text())
    assert texts[0] != texts[1]
    assert "which chance can explain" not in texts[1]


def test_without_the_primary_cells_the_report_says_so(tmp_path: Path) -> None:
    report.write([cell("single", "ncbi", 1, 30)], "cross", tmp_path)
    assert "has no finished cells yet" in (tmp_path / "comparison.md").read_text()
    report.write([], "cross", tmp_path / "nothing")  # no cell at all
    assert not (tmp_path / "nothing").exists()


def test_cells_scored_on_other_documents_are_refused(tmp_path: Path) -> None:
    other = cell("cross", "ncbi", 1, 30)
    other["counts"]["ncbi"]["documents"] = "xyz"
    with pytest.raises(ValueError, match="different documents of ncbi"):
        report.write([cell("single", "ncbi", 1, 30), other], "cross", tmp_path)


@pytest.fixture
def arguments(toy_encoder: Callable[[str], str], tmp_path: Path) -> list[str]:
    few = ["--max_train_samples", "6", "--max_eval_samples", "3", "--max_predict_samples", "4", "--num_train_epochs"]
    options = ["--data_dir", "sample", "--model_name_or_path", toy_encoder("bert"), "--use_cpu", *few, "1"]
    return ["--structures", "cross", "--seeds", "1", "--output_dir", str(tmp_path / "out"), *options]


@pytest.mark.slow
def test_real_cells_are_computed_once_and_reported(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "out"
    assert run_comparison.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed == (output / "comparison.md").read_text()
    names = ["cross_ncbi,bc5cdr_1_1", "single_bc5cdr_1_1", "single_ncbi_1_1"]
    assert sorted(path.name for path in (output / "cells").iterdir()) == [f"{name}.json" for name in names]
    files = ["cells", "comparison.json", "comparison.md", "f1.png", "plan.json"]
    assert sorted(path.name for path in output.iterdir()) == files
    for name in names:
        content = json.loads((output / "cells" / f"{name}.json").read_text())
        for corpus, counts in content["counts"].items():
            sums = [sum(own) for own in zip(*(row for rows in counts["types"].values() for row in rows), strict=True)]
            assert sums[2] == content["metrics"][f"test_{corpus}_support"] > 0
            f1_of_counts = 2 * sums[0] / (sums[1] + sums[2])
            assert content["metrics"][f"test_{corpus}_f1"] == pytest.approx(f1_of_counts)
        assert str(tmp_path) not in json.dumps(content)
    times = {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()}
    assert run_comparison.main([*arguments, "--report_only"]) == 0
    assert run_comparison.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "cells").iterdir()} == times
    assert run_comparison.main([*arguments, "--learning_rate", "1"]) == 2
    assert "choose another --output_dir" in capsys.readouterr().err
