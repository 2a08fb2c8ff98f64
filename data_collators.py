"""Labelled texts to rows, rows to batches, and the order of the batches.

A row is a window of one text as one task sees it: `input_ids`, `labels`, and the `task_id` that routes it to its head.
Rows of all tasks stand in one table; `TaskBatchSampler` decides proportions, never correctness.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import AutoTokenizer, PreTrainedConfig

from modeling_mtl_bioner import IGNORE, WordSpan, decode_spans, make_windows, pad_batch, take_words


logger = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------------------------------- tokenizer

# Encoders that count positions from behind the padding id, so that they take fewer than they have embeddings.
OFFSET_POSITIONS = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip


def load_tokenizer(name_or_path: str, **hub_options: Any) -> Any:
    """The encoder's fast tokenizer, mended if it lower-cases a cased vocabulary.

    Several BioBERT repositories hold only `vocab.txt` and `config.json`, and load with lower-casing on although their
    vocabulary is cased: every word with a capital would lose its own sub-words.

    Raises:
        ValueError: no fast tokenizer exists; words could not be aligned with sub-words.
    """
    # Words are tokenised one by one, so byte-level tokenizers must see each as if a space came before it.
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, add_prefix_space=True, **hub_options)
    if not tokenizer.is_fast:
        raise ValueError(
            f"{name_or_path} has only a slow tokenizer ({type(tokenizer).__name__}); choose an encoder with a fast one"
        )
    if lowers_cased_vocabulary(tokenizer):
        logger.warning("%s: the vocabulary is cased but its tokenizer lower-cases; lower-casing is off", name_or_path)
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, do_lower_case=False, add_prefix_space=True, **hub_options
        )
    _set_prefix_space(tokenizer)
    return tokenizer


def _set_prefix_space(tokenizer: Any) -> None:
    """What `add_prefix_space` asks for, where a tokenizer without a class of its own (ModernBERT's) ignores it."""
    steps = tokenizer.backend_tokenizer.pre_tokenizer
    for step in steps if isinstance(steps, pre_tokenizers.Sequence) else [steps]:
        if isinstance(step, pre_tokenizers.ByteLevel):
            step.add_prefix_space = True


def lowers_cased_vocabulary(tokenizer: Any) -> bool:
    """Whether the tokenizer lower-cases although many of its vocabulary's tokens have capitals."""
    normalizer = getattr(tokenizer.backend_tokenizer, "normalizer", None)
    if normalizer is None or normalizer.normalize_str("EGFR") != "egfr":
        return False
    special = set(tokenizer.all_special_tokens)
    cased = sum(token != token.lower() for token in tokenizer.get_vocab() if token not in special)
    return cased > 0.02 * len(tokenizer)


def length_limit(tokenizer: Any, encoder_config: PreTrainedConfig) -> int:
    """Most sub-words the encoder can take, by its position embeddings and what the tokenizer declares (often 1e30)."""
    positions = getattr(encoder_config, "max_position_embeddings", None) or 0
    positions = positions if positions > 0 else 10**9  # XLNet, for one, says -1
    if getattr(encoder_config, "model_type", "") in OFFSET_POSITIONS:
        positions -= encoder_config.pad_token_id + 1
    return min(positions, tokenizer.model_max_length)


# --------------------------------------------------------------------------------------------------------------- rows


@dataclass
class TaskText:
    """A document as one task sees it.

    Attributes:
        task_id: index of the task.
        corpus: name of the corpus it is from.
        document: has `document_id`, `text`, `entities` and `alternatives`; entities are the gold of scoring.
        words: half-open character offsets of its words.
        tags: BIO tag of each word, of the task's types only.
        breaks: word indices at which a new window must begin (sentences as units); empty for passages.
    """

    task_id: int
    corpus: str
    document: Any
    words: list[tuple[int, int]]
    tags: list[str]
    breaks: list[int] = field(default_factory=list)


@dataclass
class Row:
    """A window of a text: what the model reads, and what leads back from its logits to the text's words."""

    input_ids: list[int]
    labels: list[int]
    task_id: int
    text: int  # index into TaskRows.texts
    window: Any


class TaskRows(Dataset):
    """The rows of all tasks in one table.

    Args:
        texts: of all tasks, in any order.
        labels: per task its BIO labels, as `config.labels(task)`.
        tokenizer: fast.
        max_length, context: as in the model's config.
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
        for index, text in enumerate(self.texts):
            words = [text.document.text[start:end] for start, end in text.words]
            for window in make_windows(tokenizer, words, max_length, context, text.breaks):
                row_labels = self._row_labels(text, window, label_subwords)
                self.rows.append(Row(window.input_ids, row_labels, text.task_id, index, window))

    def _row_labels(self, text: TaskText, window: Any, label_subwords: str) -> list[int]:
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
        """Longest first, so that evaluation pads little and runs out of memory at once if at all."""
        self.rows.sort(key=lambda row: -len(row.input_ids))
        return self

    def decode(self, logits: Any) -> list[list[WordSpan]]:
        """Entities of each text, as word spans, from the logits of all rows (rows, length, widest label set)."""
        parts: list[list[tuple[int, Tensor]]] = [[] for _ in self.texts]
        for row, row_logits in zip(self.rows, logits, strict=True):
            parts[row.text].append((row.window.core[0], take_words(torch.as_tensor(row_logits), row.window)))
        whole = [
            torch.cat([p for _, p in sorted(own, key=lambda p: p[0])]) if own else torch.empty(0, 1) for own in parts
        ]
        spans: list[list[WordSpan]] = [[] for _ in self.texts]
        for task, labels in enumerate(self.labels):
            own = [i for i, text in enumerate(self.texts) if text.task_id == task]
            for i, decoded in zip(own, decode_spans([whole[i] for i in own], labels), strict=True):
                spans[i] = decoded
        return spans


@dataclass
class MultiTaskCollator:
    """Rows to a batch: `input_ids`, `attention_mask`, `labels` (batch, longest) and `task_id` (batch,)."""

    pad_token_id: int

    def __call__(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        return {
            "input_ids": pad_batch([row.input_ids for row in rows], self.pad_token_id),
            "attention_mask": pad_batch([[1] * len(row.input_ids) for row in rows], 0),
            "labels": pad_batch([row.labels for row in rows], IGNORE),
            "task_id": torch.tensor([row.task_id for row in rows]),
        }


# ------------------------------------------------------------------------------------------------------------ sampler


def rows_per_epoch(sizes: Sequence[int], alpha: float) -> list[int]:
    """Rows drawn from each task in an epoch: `P(task) ~ n^alpha`, as many in all as there are rows.

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


class TaskBatchSampler(Sampler[list[int]]):
    """Batches of row indices: a function of seed and epoch alone, so every process draws the same.

    It has no attribute `batch_size`, on purpose: accelerate would then cut the batches of several processes anew,
    losing rows and mixing tasks.

    Args:
        task_ids, lengths: task and sub-words of each row.
        rows_per_batch: rows of a batch.
        alpha: see `rows_per_epoch`; a task drawn more often than it has rows starts over in a new order.
        mixed: whether a batch holds rows of several tasks, or of one.
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
    ) -> None:
        self.lengths, self.rows_per_batch, self.mixed, self.seed, self.epoch = lengths, rows_per_batch, mixed, seed, 0
        tasks = sorted(set(task_ids))
        self.rows = {task: [i for i, own in enumerate(task_ids) if own == task] for task in tasks}
        self.draws = dict(zip(tasks, rows_per_epoch([len(self.rows[task]) for task in tasks], alpha), strict=True))

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        groups = [sum(self.draws.values())] if self.mixed else self.draws.values()
        return sum(-(-count // self.rows_per_batch) for count in groups)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        drawn = [self._draw(task, generator) for task in self.rows]
        groups = [list(itertools.chain.from_iterable(drawn))] if self.mixed else drawn
        batches = [batch for group in groups for batch in self._batches(group, generator)]
        yield from (batches[i] for i in torch.randperm(len(batches), generator=generator).tolist())

    def _draw(self, task: int, generator: torch.Generator) -> list[int]:
        rows, drawn = self.rows[task], []
        while len(drawn) < self.draws[task]:
            drawn.extend(rows[i] for i in torch.randperm(len(rows), generator=generator).tolist())
        return drawn[: self.draws[task]]

    def _batches(self, group: list[int], generator: torch.Generator) -> Iterator[list[int]]:
        """Shuffle, then sort by length within pools of 50 batches: little padding, and still random."""
        shuffled = [group[i] for i in torch.randperm(len(group), generator=generator).tolist()]
        size = self.rows_per_batch
        for begin in range(0, len(shuffled), 50 * size):
            pool = sorted(shuffled[begin : begin + 50 * size], key=lambda row: self.lengths[row])
            yield from (pool[i : i + size] for i in range(0, len(pool), size))
