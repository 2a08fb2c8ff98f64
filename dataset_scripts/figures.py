"""Draw what `stats` counts: mentions by type and split, their lengths, losses by cause, and overlap of corpora."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dataset_scripts.bio import DEFAULT_WORD_PATTERN
from dataset_scripts.formats.files import write_then_rename
from dataset_scripts.overlap import Matrix, Overlap
from dataset_scripts.schema import CorpusError, Document, Ledger


# Okabe and Ito's, which colour-blind readers can tell apart; their yellow is too pale on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
FORMATS = (".png", ".pdf", ".svg")
_LONGEST = 8  # words; longer mentions are drawn together

Ledgers = Mapping[str, Mapping[str, Ledger]]  # by corpus and split


def import_pyplot(path: Path) -> Any:
    """Import matplotlib for drawing to a file; raise CorpusError without it, or for an ending it can't draw."""
    if path.suffix not in FORMATS:
        raise CorpusError(f"--figure {path}: {path.suffix or 'no'} ending; one of {', '.join(FORMATS)} is needed")
    try:
        from matplotlib import pyplot
    except ImportError:
        raise CorpusError("--figure needs matplotlib; pip install 'mtl-bioner[report]'") from None
    pyplot.switch_backend("Agg")
    lines = pyplot.cycler(linestyle=["-", "--"]) * pyplot.cycler(color=COLORS)
    pyplot.rcParams.update({"text.parse_math": False, "axes.prop_cycle": lines})  # names may hold dollar signs
    return pyplot


def draw_corpora(
    path: Path, ledgers: Ledgers, documents: Mapping[str, list[Document]], overlap: Overlap | None,
    word_pattern: str = DEFAULT_WORD_PATTERN,
) -> None:  # fmt: skip
    """Draw one figure of several corpora; overlap only where there is any to show."""
    pyplot = import_pyplot(path)
    names = {name: name if len(name) < 25 else f"...{name[-22:]}" for name in ledgers}
    bars = len(_list_types(ledgers))
    rows, heights = [[panel for panel in ("types", "lengths", "losses") for _ in "12"]], [1 + max(3, 0.36 * bars)]
    if overlap:
        rows.append([panel for panel in ("documents", "strings") for _ in "123"])
        heights.append(1.3 + 0.5 * len(names))
    figure, axes = pyplot.subplot_mosaic(rows, figsize=(16, sum(heights)), height_ratios=heights, layout="constrained")
    _draw_types(axes["types"], ledgers, names)
    _draw_lengths(axes["lengths"], {names[name]: docs for name, docs in documents.items()}, word_pattern)
    _draw_losses(axes["losses"], ledgers, names)
    if overlap:
        _draw_matrix(
            axes["documents"], "documents (bold) and those with a text of the column", overlap.documents, names
        )
        _draw_matrix(
            axes["strings"], "distinct mention strings (bold) and those in the column", overlap.mention_strings, names
        )
    pyplot.close(figure)
    with write_then_rename(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix("."))


def _list_types(ledgers: Ledgers) -> list[tuple[str, str]]:
    """List the corpora with their types, the most frequent first."""
    counts = {name: sum((ledger.types for ledger in splits.values()), Counter()) for name, splits in ledgers.items()}
    return [(name, type_name) for name, types in counts.items() for type_name, _ in types.most_common()]


def _draw_types(axis: Any, ledgers: Ledgers, names: Mapping[str, str]) -> None:
    types = _list_types(ledgers)
    splits = list(dict.fromkeys(split for ledger in ledgers.values() for split in ledger))
    rows = [f"{names[name]}  {type_name[:25]}" for name, type_name in types]
    counts = {s: [ledgers[name][s].types[t] if s in ledgers[name] else 0 for name, t in types] for s in splits}
    _draw_bars(axis, rows, counts)
    axis.set(title="mentions by type and split", xlabel="mentions read")
    axis.xaxis.set_major_formatter("{x:,.0f}")


def _draw_losses(axis: Any, ledgers: Ledgers, names: Mapping[str, str]) -> None:
    totals = {name: sum(splits.values(), Ledger()) for name, splits in ledgers.items()}
    causes = sum((ledger.dropped for ledger in totals.values()), Counter())
    shares = {c: [100 * t.dropped[c] / max(1, t.read) for t in totals.values()] for c, _ in causes.most_common()}
    lost = (f"{names[name]}\n{ledger.read - ledger.kept:,} of {ledger.read:,}" for name, ledger in totals.items())
    _draw_bars(axis, list(lost), shares)
    axis.set(title="mentions lost, by cause", xlabel="mentions read (%)")


def _draw_bars(axis: Any, rows: list[str], parts: Mapping[str, list[float]]) -> None:
    """Draw a horizontal bar for each row, stacked from its parts; names may be equal, so bars have numbers."""
    ends = [0.0] * len(rows)
    for index, (part, values) in enumerate(parts.items()):
        axis.barh(range(len(rows)), values, 0.7, ends, color=COLORS[index % len(COLORS)], label=part,
                  hatch="//" * (index // len(COLORS)))  # fmt: skip
        ends = [end + value for end, value in zip(ends, values, strict=True)]
    axis.set_yticks(range(len(rows)), rows)
    inches = axis.bbox.height / axis.figure.dpi
    room = len(rows) / (1 - 0.9 / inches)  # the first row on top, the legend below the last
    axis.set_ylim(max(4, room) - 0.5, -0.5)
    axis.set_xlim(0, None if any(ends) else 1)
    axis.locator_params(axis="x", nbins=5)
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    if parts:
        axis.legend(loc="lower right", ncols=2, fontsize="small")


def _draw_lengths(axis: Any, documents: Mapping[str, list[Document]], word_pattern: str) -> None:
    for name, docs in documents.items():
        lengths = count_lengths(docs, word_pattern)
        shares = [100 * lengths[length] / max(1, lengths.total()) for length in range(1, _LONGEST + 1)]
        axis.plot(range(1, _LONGEST + 1), shares, marker=".", label=name)
    axis.set_xticks(range(1, _LONGEST + 1), [*map(str, range(1, _LONGEST)), f"{_LONGEST}+"])
    axis.set(title="length of mentions", xlabel="words", ylabel="mentions (%)", ylim=(0, None))
    axis.grid(alpha=0.3)
    axis.legend()


def count_lengths(documents: Iterable[Document], word_pattern: str) -> Counter[int]:
    """Count mentions by their number of words, those of more than `_LONGEST` as if they had that many."""
    texts = (document.text[e.start : e.end] for document in documents for e in document.entities)
    return Counter(min(_LONGEST, max(1, len(re.findall(word_pattern, text)))) for text in texts)


def _draw_matrix(axis: Any, title: str, matrix: Matrix, names: Mapping[str, str]) -> None:
    """Draw a heat map of shares, with the counts; the diagonal holds the corpus' own number."""
    shares = [[100 * n / max(1, row[name]) if other != name else float("nan") for other, n in row.items()]
              for name, row in matrix.items()]  # fmt: skip
    highest = max(1.0, *(share for row in shares for share in row if share == share))
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=highest, aspect="auto")
    for y, (name, row) in enumerate(matrix.items()):
        for x, (other, count) in enumerate(row.items()):
            text = f"{count:,}" if other == name else f"{count:,}\n{shares[y][x]:.1f} %"
            dark = other != name and shares[y][x] > highest / 2
            axis.text(x, y, text, ha="center", va="center", color="white" if dark else "black",
                      weight="bold" if other == name else "normal")  # fmt: skip
    slant = {"rotation": 20, "ha": "right"} if max(map(len, names.values())) > 12 else {}
    axis.set_xticks(range(len(matrix)), [names[name] for name in matrix], **slant)
    axis.set_yticks(range(len(matrix)), [names[name] for name in matrix])
    axis.set(title=title)
