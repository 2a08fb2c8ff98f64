"""Report how many cases each attack tried."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cases import SHOWN, Cases


sys.path.append(str(Path(__file__).parents[1] / "formats"))  # for the files written by hand

_summary: list[str] = []


@pytest.fixture
def cases(request: pytest.FixtureRequest) -> Iterator[Cases]:
    """The cases of a test, which fails at its end if one of them did."""
    cases = Cases(request.node.name)
    yield cases
    _summary.append(cases.describe())
    if cases.failures:
        more = f"\nand {len(cases.failures) - SHOWN} more" if len(cases.failures) > SHOWN else ""
        pytest.fail("\n".join(cases.failures[:SHOWN]) + more, pytrace=False)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what was tried."""
    if _summary:
        terminalreporter.section("attacks")
        for line in _summary:
            terminalreporter.write_line(line)
