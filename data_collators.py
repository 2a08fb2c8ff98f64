"""Turn labelled texts into rows, rows into batches, and put the batches in order.

A row is a window of one text as one task sees it: `input_ids`, `labels`, and the `task_id` that routes it to its head.
Rows of all tasks stand in one table; `TaskBatchSampler` decides proportions, never correctness.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler

from modeling_mtl_bioner import IGNORE, Span, Window, decode_spans, make_windows, pad_batch


@dataclass
class TaskText:
    """A document as one task sees it."""

    task_id: int
    corpus: str  # name of the corpus it is from
    document: Any  # has `document_id`, `text`, `alternatives` and `entities`, the gold for scoring
    words: list[tuple[int, int]]  # half-open character offsets
    tags: list[str]  # BIO tag of each word, of the task's types only
    breaks: list[int] = field(default_factory=list)  # words that must begin a window (sentences); none for passages
    types: Collection[str] | None = None  # the task's types that its corpus is scored for; None for all


@dataclass
class Row:
    """A window of a text: what the model reads, and the way back from its logits to the text's words."""

    input_ids: list[int]
    labels: list[int]
    task_id: int
    text: int  # index into TaskRows.texts
    window: Window
    soft_labels: Tensor | None = None  # (length, labels of the taught tasks), see mtl_bioner.training.distillation


class TaskRows(Dataset):
    """Hold the rows of all tasks in one table.

    Args:
        texts: of all tasks, in any order.
        labels: per task its BIO labels, as `config.labels(task)`.
        tokenizer, max_length, context: as for `make_windows`.
        label_subwords: `first` labels the first sub-word of a word, `all` also the others (`B-X` goes on as `I-X`).
    """

    def __init__(
        self,
        texts: Sequence[TaskText],
        labels: Sequence[Sequence[str]],
        tokenizer: Any,
        max_length: int,
        context: int,
        label_subwords: str = "first",
    ) -> None:
        self.texts = list(texts)
        self.labels = [list(task_labels) for task_labels in labels]
        self.rows: list[Row] = []
        self.taught: list[str] = []  # tasks that teachers label rows for
        objects: dict[int, int] = {}  # one for each number: four corpora take 50 MB less
        for index, text in enumerate(self.texts):
            words = [text.document.text[start:end] for start, end in text.words]
            for window in make_windows(tokenizer, words, max_length, context, text.breaks):
                window.input_ids[:] = [objects.setdefault(number, number) for number in window.input_ids]
                row_labels = self._label_row(text, window, label_subwords)
                self.rows.append(Row(window.input_ids, row_labels, text.task_id, index, window))

    def _label_row(self, text: TaskText, window: Window, label_subwords: str) -> list[int]:
        index = {label: i for i, label in enumerate(self.labels[text.task_id])}
        row = [IGNORE] * len(window.input_ids)
        tags = text.tags[slice(*window.core)]
        for tag, position, size in zip(tags, window.positions, window.sizes, strict=True):
            if position < 0:
                continue
            row[position] = index[tag]
            if label_subwords == "all":
                inside = index["I" + tag[1:] if tag.startswith("B-") else tag]
                row[position + 1 : position + size] = [inside] * (size - 1)
        return row

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def lengths(self) -> list[int]:
        """Sub-words of each row."""
        return [len(row.input_ids) for row in self.rows]

    @property
    def task_ids(self) -> list[int]:
        """Task of each row."""
        return [row.task_id for row in self.rows]

    def sort_by_length(self) -> TaskRows:
        """Put the longest rows first, so that evaluation pads little and runs out of memory at once if at all."""
        self.rows.sort(key=lambda row: -len(row.input_ids))
        return self

    def decode(self, logits: Any, calibrations: Sequence[tuple[float, float]] | None = None) -> list[list[Span]]:
        """Decode the entities of each text from the logits of all rows, (rows, length, widest label set).

        `calibrations` holds temperature and bias of each task's scores; 1 and 0 by default.
        """
        widest = max(map(len, self.labels))
        word_logits = [torch.full((len(text.words), widest), -math.inf) for text in self.texts]
        for row, row_logits in zip(self.rows, logits, strict=True):
            fill_word_logits(word_logits[row.text], row.window, torch.as_tensor(row_logits))
        spans: list[list[Span]] = [[] for _ in self.texts]
        for task, labels in enumerate(self.labels):
            texts = [i for i, text in enumerate(self.texts) if text.task_id == task]
            words = [self.texts[i].words for i in texts]
            calibration = calibrations[task] if calibrations else (1.0, 0.0)
            decoded = decode_spans([word_logits[i] for i in texts], labels, words, calibration)
            for i, text_spans in zip(texts, decoded, strict=True):
                spans[i] = text_spans
        return spans


def fill_word_logits(word_logits: Tensor, window: Window, logits: Tensor) -> None:
    """Write a window's logits (length, labels) into its text's (words, labels): each word's from its first sub-word.

    A word without sub-words gets minus infinity, its mark in `decode_spans`. Further labels are left out.
    """
    positions = torch.tensor(window.positions, dtype=torch.long)  # -1 without sub-words: the last row, then masked
    core_logits = logits[positions, : word_logits.size(1)].masked_fill(positions[:, None] < 0, -math.inf)
    word_logits[slice(*window.core)] = core_logits


@dataclass
class MultiTaskCollator:
    """Collate rows to `input_ids`, `attention_mask`, `labels` (batch, length) and `task_id` (batch,).

    Rows that have `soft_labels` give these too, (batch, length, labels of the taught tasks).
    """

    pad_token_id: int
    padded_lengths: Sequence[int] = ()  # as for `round_up_length`; few distinct lengths make few distinct shapes

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        length = round_up_length(max(len(row.input_ids) for row in rows), self.padded_lengths)
        batch = {
            "input_ids": pad_batch([row.input_ids for row in rows], self.pad_token_id, length),
            "attention_mask": pad_batch([[1] * len(row.input_ids) for row in rows], 0, length),
            "labels": pad_batch([row.labels for row in rows], IGNORE, length),
            "task_id": torch.tensor([row.task_id for row in rows]),
        }
        if rows[0].soft_labels is not None:
            batch["soft_labels"] = torch.stack(
                [nn.functional.pad(row.soft_labels, (0, 0, 0, length - len(row.soft_labels))) for row in rows]
            )
        return batch


def round_up_length(longest: int, padded_lengths: Sequence[int]) -> int:
    """Return the first of the ascending `padded_lengths` that is not below `longest`, or else `longest` itself."""
    place = bisect.bisect_left(padded_lengths, longest)
    return padded_lengths[place] if place < len(padded_lengths) else longest


def choose_padded_lengths(lengths: Sequence[int], most: int = 24) -> list[int]:
    """Choose the padded lengths, at most `most`, ascending, that pad the rows least if each is padded to the next one.

    Exact, by dynamic programming over the distinct lengths: the least padding of the rows up to the j-th length in k
    buckets is the minimum, over the length i at which the last bucket begins, of the least padding up to i - 1 in
    k - 1 buckets plus the padding of rows i to j to the j-th length.
    """
    values, counts = torch.tensor(lengths, dtype=torch.float64).unique(return_counts=True)  # (distinct,)
    if len(values) <= most:
        return [int(value) for value in values.tolist()]
    rows, subwords = counts.cumsum(0), (counts * values).cumsum(0)
    rows_before, subwords_before = rows - counts, subwords - counts * values
    padding = values * (rows - rows_before[:, None]) - (subwords - subwords_before[:, None])  # (begin, end)
    padding = padding.masked_fill(torch.ones_like(padding).tril(-1).bool(), torch.inf)
    least, begins = padding[0], [[0] * len(values)]
    for _ in range(most - 1):
        before = torch.cat([torch.zeros(1, dtype=least.dtype), least[:-1]])  # (begin,): padding of what lies before
        least, begin = (before[:, None] + padding).min(0)
        begins.append(begin.tolist())
    ends, end = [], len(values) - 1
    for begin in reversed(begins):
        if end >= 0:
            ends.append(int(values[end]))
            end = begin[end] - 1
    return ends[::-1]


def count_rows_per_epoch(sizes: Sequence[int], alpha: float) -> list[int]:
    """Count the rows drawn from each task in an epoch: `P(task) ~ n^alpha`, as many in all as there are rows.

    alpha 1 draws each row once (proportional), 0.5 is square-root, 0 uniform sampling. Remainders go to the largest
    fractions, so that the sum is exact.
    """
    weights = [size**alpha if size else 0.0 for size in sizes]
    shares = [sum(sizes) * weight / sum(weights) for weight in weights]
    counts = [int(share) for share in shares]
    by_fraction = sorted(range(len(sizes)), key=lambda task: (counts[task] - shares[task], task))
    for task in by_fraction[: sum(sizes) - sum(counts)]:
        counts[task] += 1
    return counts


@dataclass(frozen=True)
class RowGroup:
    """Rows that are batched with each other: of like length, and of one task unless batches are mixed."""

    cells: dict[int, tuple[int, int]]  # task -> half-open range of its rows in the order of their length
    batches: int  # into so many the drawn rows are dealt evenly


class TaskBatchSampler(Sampler[list[int]]):
    """Draw batches of row indices, as a function of seed and epoch alone, so that every process draws the same.

    Rows of like length are batched together, in random order. A batch is made for all processes and dealt to them row
    by row, so that several processes train on the same rows at each step as one with larger batches (except for a few
    of the longest rows if `alpha` is not 1). No row is lost, and none repeated except by `alpha`, or if a task has
    fewer rows than there are processes. An attribute `batch_size` is missing on purpose: accelerate would then cut the
    batches of several processes anew, losing rows and mixing tasks.

    Args:
        task_ids, lengths: task and sub-words of each row.
        rows_per_batch: most rows of a batch, on each process.
        tokens_per_batch: most sub-words of a batch, padding included, on each process; a longer row stands alone. A
            few batches exceed both by a few rows if `alpha` is not 1, or rows are fewer than the processes need.
        alpha: see `count_rows_per_epoch`; a task drawn more often than it has rows starts over in a new order.
        mixed: whether a batch holds rows of several tasks, or of one.
        processes: their number; batch i goes to process i modulo it.
    """

    drop_last = False

    def __init__(
        self,
        task_ids: Sequence[int],
        lengths: Sequence[int],
        rows_per_batch: int,
        alpha: float = 1.0,
        mixed: bool = True,
        seed: int = 42,
        tokens_per_batch: int | None = None,
        processes: int = 1,
    ) -> None:
        self.lengths, self.mixed, self.seed, self.epoch, self.processes = lengths, mixed, seed, 0, processes
        self.tokens_per_batch = tokens_per_batch
        tasks = sorted(set(task_ids))
        by_length = sorted(range(len(lengths)), key=lambda row: lengths[row])
        self.rows = {task: [row for row in by_length if task_ids[row] == task] for task in tasks}
        counts = count_rows_per_epoch([len(rows) for rows in self.rows.values()], alpha)
        self.draws = dict(zip(tasks, counts, strict=True))
        self.padded_lengths = choose_padded_lengths(lengths)
        self.rows_per_batch = rows_per_batch
        self.limit_rows(rows_per_batch)

    def limit_rows(self, rows_per_batch: int) -> None:
        """Make batches of at most so many rows on each process, and of sub-words in proportion."""
        if self.tokens_per_batch:
            self.tokens_per_batch = max(1, self.tokens_per_batch * rows_per_batch // self.rows_per_batch)
        self.rows_per_batch = rows_per_batch
        task_sets = [list(self.rows)] if self.mixed else [[task] for task in self.rows]
        self.groups = [group for tasks in task_sets for group in self._make_groups(tasks)]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(group.batches for group in self.groups) * self.processes

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        starts = {task: int(torch.randint(len(rows), (), generator=generator)) for task, rows in self.rows.items()}
        batches = [batch for group in self.groups for batch in self._deal_rows(group, starts, generator)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield from (batches[i][process :: self.processes] for process in range(self.processes))

    def _make_groups(self, tasks: Sequence[int]) -> list[RowGroup]:
        """Group rows by padded length, the shortest first; those that leave a batch unfilled go to the next group."""
        order = sorted((row for task in tasks for row in self.rows[task]), key=lambda row: self.lengths[row])
        place_of = {row: place for place, row in enumerate(order)}
        places = {task: [place_of[row] for row in self.rows[task]] for task in tasks}  # of a task's rows, ascending

        def find_cells(begin: int, end: int) -> dict[int, tuple[int, int]]:
            return {t: (bisect.bisect_left(ps, begin), bisect.bisect_left(ps, end)) for t, ps in places.items()}

        def count_most(begin: int, end: int) -> int:
            return self._count_drawn(find_cells(begin, end))[1]

        cuts = [0]
        for longest in self.padded_lengths[:-1]:
            end = bisect.bisect_right(order, longest, key=lambda row: self.lengths[row])
            begin, full = cuts[-1], self._count_full_batch(longest)
            whole = count_most(begin, end) // full * full
            end = bisect.bisect_right(range(end + 1), whole, begin, key=lambda e: count_most(begin, e)) - 1  # noqa: B023
            cuts += [end] if count_most(begin, end) >= full else []
        if len(cuts) > 1 and self._count_drawn(find_cells(cuts[-1], len(order)))[0] < self.processes:
            cuts.pop()  # some epochs draw too few of the longest rows to give each process one
        pairs = itertools.pairwise([*cuts, len(order)])
        return [self._make_group(find_cells(begin, end), self.lengths[order[end - 1]]) for begin, end in pairs]

    def _make_group(self, cells: dict[int, tuple[int, int]], longest: int) -> RowGroup:
        """Make a group; its number of batches is the same in all epochs, since Trainer plans the steps beforehand."""
        full = self._count_full_batch(round_up_length(longest, self.padded_lengths))
        least, most = self._count_drawn(cells)  # each process must get a row of each batch
        return RowGroup(cells, max(1, min(-(-most // full), least // self.processes)))

    def _count_drawn(self, cells: dict[int, tuple[int, int]]) -> tuple[int, int]:
        """Count the least and the most rows that an epoch draws from the cells."""
        shares = [(self.draws[task] * (end - begin), len(self.rows[task])) for task, (begin, end) in cells.items()]
        return sum(share // size for share, size in shares), sum(-(-share // size) for share, size in shares)

    def _count_full_batch(self, length: int) -> int:
        """Count the rows of a full batch of all processes, padded to a length."""
        by_tokens = self.tokens_per_batch // length if self.tokens_per_batch else self.rows_per_batch
        return max(1, min(self.rows_per_batch, by_tokens)) * self.processes

    def _deal_rows(self, group: RowGroup, starts: dict[int, int], generator: torch.Generator) -> Iterator[list[int]]:
        """Draw an epoch's rows of a group and deal them evenly into its batches."""
        drawn: list[int] = []
        for task, (begin, end) in group.cells.items():
            # Systematic sampling: the cells of a task share its draws exactly, and each row has the same chance.
            first, last = ((self.draws[task] * i + starts[task]) // len(self.rows[task]) for i in (begin, end))
            drawn += _draw(self.rows[task][begin:end], last - first, generator)
        drawn = [drawn[i] for i in torch.randperm(len(drawn), generator=generator).tolist()]
        if len(drawn) < self.processes:
            rows = [row for task, (begin, end) in group.cells.items() for row in self.rows[task][begin:end]]
            drawn += _draw(rows, self.processes - len(drawn), generator)
        borders = [len(drawn) * i // group.batches for i in range(group.batches + 1)]
        return (drawn[begin:end] for begin, end in itertools.pairwise(borders))


def _draw(rows: list[int], count: int, generator: torch.Generator) -> list[int]:
    """Draw so many of the rows, in random order; all of them before any comes again."""
    drawn: list[int] = []
    while len(drawn) < count:
        drawn.extend(rows[i] for i in torch.randperm(len(rows), generator=generator).tolist())
    return drawn[:count]
