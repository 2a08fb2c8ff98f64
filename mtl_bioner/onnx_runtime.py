"""Annotate texts with an ONNX model. Needs onnxruntime, tokenizers, numpy and regex; neither torch nor transformers.

    python onnx_runtime.py "Cisplatin caused acute renal failure."

    ner = onnx_runtime.load("FOLDER")
    ner("Cisplatin caused acute renal failure.")

A copy of this file lies in each folder that `mtl-bioner export --to onnx` writes, so it imports nothing of the
project. The pipeline takes and returns what `MtlBionerPipeline` of modeling_mtl_bioner.py does. Functions that need no
torch are the same there, statement by statement, with fuller docstrings; the others are written for numpy here.
tests/test_onnx_runtime.py holds both to it.
"""

from __future__ import annotations

import argparse
import bisect
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import regex
from tokenizers import Tokenizer


CONFIG, TOKENIZER, GRAPH = "config.json", "tokenizer.json", "model.onnx"
OWN_PATTERNS = {"26424ab26e613500", "79f38c12899e53ce", "054e507d8ced2bcc"}
MAX_SUBWORDS = 1024
PORTION = 2048
LARGEST_CONFIG = 16 << 20  # bytes


def load(folder: str | os.PathLike[str], threads: int | None = None, **options: Any) -> OnnxPipeline:
    """Load an exported model as a pipeline.

    Args:
        threads: of the computation; by default `OMP_NUM_THREADS`, or the cores that this process may use.
        options: `tasks`, `threshold`, `overlaps`, `ignore_labels`, `batch_size`, as for `MtlBionerPipeline`.

    Raises ValueError for files that are missing, damaged or don't fit together, and for a bad option.
    """
    folder = Path(folder).expanduser()
    if missing := [name for name in (CONFIG, TOKENIZER, GRAPH) if not (folder / name).is_file()]:
        raise ValueError(f"{folder} has no {missing[0]}; name the --output of mtl-bioner export --to onnx")
    config = read_config(folder / CONFIG)
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # of no documented class
        raise ValueError(f"{folder / TOKENIZER} can't be read ({str(error)[:200]}); copy it again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return OnnxPipeline(Model(config, folder, count_threads() if threads is None else threads), tokenizer, **options)


def count_threads() -> int:
    """Return this process's share of the cores: `OMP_NUM_THREADS`, or those that it may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdecimal() and int(stated):
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# ------------------------------------------------------------------------------------------------------------- config


class Config:
    """The parts of a model's config.json that annotation needs. Raises ValueError for impossible values."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.tasks, self.encoder = content.get("tasks"), content.get("encoder_config")
        self.max_seq_length, self.context_size = content.get("max_seq_length", 320), content.get("context_size", 32)
        self.word_pattern, self.sentence_pattern = content.get("word_pattern"), content.get("sentence_pattern", "")
        self.tokenizer_hash, self.onnx = content.get("tokenizer_hash"), content.get("onnx", {})
        if (
            not isinstance(self.tasks, list)
            or not self.tasks
            or not all(isinstance(task, dict) for task in self.tasks)
        ):
            raise ValueError(f"tasks is {str(self.tasks)[:80]}; expected a list of one or more")
        if not isinstance(self.encoder, dict) or not isinstance(self.onnx, dict):
            raise ValueError("encoder_config or onnx is no object")
        for name, size, least in (("max_seq_length", self.max_seq_length, 1), ("context_size", self.context_size, 0)):
            if not is_whole(size) or size < least:
                raise ValueError(f"{name} is {size!r}; expected a whole number from {least}")
        for name, pattern in (("word_pattern", self.word_pattern), ("sentence_pattern", self.sentence_pattern)):
            check_pattern(name, pattern)
        for task in self.tasks:
            check_task(task)
        if len(set(self.task_names)) < len(self.tasks):
            raise ValueError(f"task names are {self.task_names}; each must be unique")
        self.pad_token_id = self.onnx.get("pad_token_id", self.encoder.get("pad_token_id"))
        if self.pad_token_id is not None and not (is_whole(self.pad_token_id) and 0 <= self.pad_token_id < 2**31):
            raise ValueError(f"pad_token_id is {self.pad_token_id!r}; expected a whole number from 0")

    @property
    def task_names(self) -> list[str]:
        return [task["name"] for task in self.tasks]

    def labels(self, task: int) -> list[str]:
        return ["O", *(f"{prefix}-{name}" for name in self.tasks[task]["types"] for prefix in "BI")]

    def score_calibration(self, task: int) -> tuple[float, float]:
        return float(self.tasks[task].get("temperature", 1.0)), float(self.tasks[task].get("score_bias", 0.0))


def read_config(path: Path) -> Config:
    """Read and check a config.json, which may be anybody's; raises ValueError, which names the file."""
    try:
        if path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(f"it has more than {LARGEST_CONFIG} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        return Config(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}; export or copy the model again") from None


def is_whole(value: Any) -> bool:
    """Whether a value of JSON is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_pattern(name: str, pattern: Any) -> None:
    """Raise ValueError for what is no regular expression."""
    try:
        all(engine.compile(pattern) for engine in (re, regex))
    except Exception as error:  # the engines have errors of their own
        raise ValueError(f"{name} {str(pattern)[:80]!r} is no regular expression: {error}") from None


def check_task(task: Mapping[str, Any]) -> None:
    """Raise ValueError for a task without name or types, or with an impossible calibration."""
    name, types = task.get("name"), task.get("types")
    if not isinstance(name, str) or not name:
        raise ValueError(f"a task has the name {name!r}")
    is_list = isinstance(types, list) and types and all(isinstance(one, str) for one in types)
    if not is_list or len(set(types)) < len(types):
        raise ValueError(f"task {name} has the types {types!r}; expected a list of one or more, each once")
    temperature, bias = task.get("temperature", 1.0), task.get("score_bias", 0.0)
    if not all(isinstance(x, Real) and math.isfinite(x) for x in (temperature, bias)) or temperature <= 0:
        problem = f"temperature is {temperature!r}, its score_bias {bias!r}; both must be finite numbers"
        raise ValueError(f"task {name}: its {problem}, the first above 0")


# -------------------------------------------------------------------------------------------------------------- model


class Model:
    """The graph: sub-words of windows in, logits of all tasks out. `dtype` is that of its weights."""

    def __init__(self, config: Config, folder: Path, threads: int) -> None:
        self.config, self.folder = config, folder
        self.dtype = str(config.onnx.get("weights", "float32"))
        ends = list(itertools.accumulate((len(config.labels(task)) for task in range(len(config.tasks))), initial=0))
        self.columns = {name: slice(*ends[task : task + 2]) for task, name in enumerate(config.task_names)}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others may need the core
        try:
            path = str(folder / GRAPH)
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of no documented class
            raise ValueError(f"{folder / GRAPH} can't be loaded ({str(error)[:200]}); copy it again") from None
        inputs = {one.name for one in self.session.get_inputs()}
        outputs = {one.name: one.shape for one in self.session.get_outputs()}
        if inputs != {"input_ids", "attention_mask"} or list(outputs) != ["logits"]:
            raise ValueError(f"{folder / GRAPH} is no graph of this project: {sorted(inputs)} to {list(outputs)}")
        if outputs["logits"][-1] != ends[-1]:
            problem = f"computes {outputs['logits'][-1]} labels, and {CONFIG} beside it names {ends[-1]}"
            raise ValueError(f"{folder / GRAPH} {problem}; copy both again")

    def __call__(self, windows: Sequence[Sequence[int]]) -> np.ndarray:
        """Compute logits (windows, length, labels of all tasks) in float32."""
        longest = max(map(len, windows))
        length = max(longest, min(round_length(longest), self.config.max_seq_length))
        ids = np.full((len(windows), length), self.config.pad_token_id or 0, np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window)], mask[row, : len(window)] = window, 1
        return self.session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Copy the model's folder, with its tokenizer and this file."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path in (*(self.folder / name for name in (CONFIG, TOKENIZER, GRAPH)), Path(__file__)):
            shutil.copyfile(path, Path(folder) / path.name)


# ------------------------------------------------------------------------------------------------------------ windows


@dataclass(frozen=True)
class Window:
    """A piece of a text that fits the encoder: core words to decode, with context on both sides."""

    core: tuple[int, int]
    input_ids: list[int]
    positions: list[int]
    sizes: list[int]


def find_words(text: str, pattern: str, seconds: float = 5.0) -> list[tuple[int, int]]:
    """Find the words of a text, as half-open character offsets; raise ValueError for a pattern that takes too long."""
    if hashlib.sha256(pattern.encode("utf-8", "replace")).hexdigest()[:16] in OWN_PATTERNS:
        return [match.span() for match in re.finditer(pattern, text)]
    try:
        return [match.span() for match in regex.finditer(pattern, text, timeout=seconds + len(text) / 100_000)]
    except TimeoutError:
        problem = f"in the model's config.json takes too long for a text of {len(text)} characters"
        raise ValueError(f"the pattern {pattern!r} {problem}; give a simpler one there") from None


def find_sentence_breaks(text: str, words: Sequence[tuple[int, int]], pattern: str) -> list[int]:
    """Find the words that begin a sentence, except the first, by their indices; none without a pattern."""
    starts = [start for start, _ in words]
    ends = [end for _, end in find_words(text, pattern)] if pattern else []
    return sorted({bisect.bisect_left(starts, end) for end in ends} - {0, len(words)})


def make_windows(
    tokenizer: Any, words: Sequence[str], max_length: int, context: int, breaks: Sequence[int] = ()
) -> list[Window]:
    """Cut a text into windows: no word is left out, none is in two cores."""
    prefix, suffix = get_special_ids(tokenizer)
    capacity = max_length - len(prefix) - len(suffix)
    if capacity < 1:
        raise ValueError(f"max_seq_length is {max_length}; the special tokens alone take {max_length - capacity}")
    pieces = [piece[:capacity] for piece in split_subwords(tokenizer, words)]
    sizes = [len(piece) for piece in pieces]
    places = list(itertools.accumulate(sizes, initial=0))  # of each word among all sub-words
    subwords = list(itertools.chain.from_iterable(pieces))
    windows: list[Window] = []
    for begin, end in itertools.pairwise([0, *sorted(set(breaks) - {0, len(words)}), len(words)]):
        for plan in plan_windows(sizes[begin:end], capacity, context):
            first, start, stop, last = (begin + word for word in plan)
            shift = len(prefix) - places[first]
            positions = [places[word] + shift if sizes[word] else -1 for word in range(start, stop)]
            ids = prefix + subwords[places[first] : places[last]] + suffix
            windows.append(Window((start, stop), ids, positions, sizes[start:stop]))
    return windows


def plan_windows(sizes: Sequence[int], capacity: int, context: int) -> list[tuple[int, int, int, int]]:
    """Cut a run of words, of so many sub-words each, into windows `(first, core_start, core_end, last)`, half-open."""
    sizes = [min(size, capacity) for size in sizes]
    if sum(sizes) <= capacity:
        return [(0, 0, len(sizes), len(sizes))] if sizes else []
    context, plan, start = min(context, capacity // 4), [], 0
    while start < len(sizes):
        first = start - _count_fitting(sizes, range(start - 1, -1, -1), min(context, capacity - sizes[start]))
        room = capacity - sum(sizes[first:start])
        rest_fits = sum(sizes[start : start + capacity]) <= room and start + capacity >= len(sizes)
        end = start + max(1, _count_fitting(sizes, range(start, len(sizes)), room if rest_fits else room - context))
        spare = min(context, room - sum(sizes[start:end]))
        plan.append((first, start, end, end + _count_fitting(sizes, range(end, len(sizes)), spare)))
        start = end
    return plan


def _count_fitting(sizes: Sequence[int], words: Iterable[int], room: int) -> int:
    totals = itertools.accumulate(sizes[word] for word in words)
    return sum(1 for _ in itertools.takewhile(lambda total: total <= room, totals))


def split_subwords(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    """Split words into sub-word ids, without special tokens; none for a word that the tokenizer drops (NUL)."""
    pieces: list[list[int]] = [[] for _ in words]
    if not words:
        return pieces
    if (halves := re.compile("[\ud800-\udfff]")).search("".join(words)):  # no tokenizer takes half a surrogate pair
        words = [halves.sub("\ufffd", word) for word in words]
    encoding = tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
    for token, word in zip(encoding.ids, encoding.word_ids, strict=True):
        if word is not None:
            pieces[word].append(token)
    return pieces


def get_special_ids(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the tokenizer puts before and after a text."""
    encoding = tokenizer.encode(["a"], is_pretokenized=True)
    inside = [i for i, word in enumerate(encoding.word_ids) if word is not None]
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]


def hash_tokenizer(tokenizer: Tokenizer, pad_token_id: int | None) -> str:
    """Compute a hash of a tokenizer's vocabulary, special tokens and the sub-words of some words."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    probe = split_subwords(tokenizer, ["Cisplatin", "naïve", "TNF", "α", "5", "µg", "."])
    special = [get_special_ids(tokenizer), pad_token_id]
    return hashlib.sha256(json.dumps([vocabulary, probe, special]).encode()).hexdigest()[:16]


def check_tokenizer(tokenizer: Tokenizer, config: Config) -> None:
    """Raise ValueError for a tokenizer that the model was not trained with, or for windows the encoder can't take."""
    size, known_size = tokenizer.get_vocab_size(), tokenizer.get_vocab_size(with_added_tokens=False)
    embeddings = config.encoder.get("vocab_size") or size
    known = config.tokenizer_hash is None or config.tokenizer_hash == hash_tokenizer(tokenizer, config.pad_token_id)
    if not known or size < embeddings / 2 or known_size > embeddings:
        problem = f"the tokenizer, of {size} sub-words, is not the one that the model was trained with"
        raise ValueError(f"{problem} (its encoder has {embeddings}); copy the tokenizer's files again")
    positions = config.encoder.get("max_position_embeddings") or 0
    if 0 < positions < config.max_seq_length:
        raise ValueError(f"max_seq_length is {config.max_seq_length} in config.json; the encoder takes {positions}")


def plan_batches(lengths: Sequence[int], max_subwords: float, max_rows: int | None = None) -> list[list[int]]:
    """Group windows of like length, by their indices, into batches of so many sub-words, with padding, and rows."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        rows = len(batches[-1]) + 1 if batches else 1
        if batches and rows * round_length(lengths[batches[-1][0]]) <= max_subwords and rows <= (max_rows or rows):
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def round_length(length: int) -> int:
    """Return the length to which a batch is padded: an even one."""
    return -(-length // 2) * 2


# ----------------------------------------------------------------------------------------------------------- decoding


@dataclass(frozen=True)
class Span:
    """A decoded entity: half-open range of characters, type, and score."""

    start: int
    end: int
    type: str
    score: float


def decode_spans(
    word_logits: np.ndarray, labels: Sequence[str], words: Sequence[tuple[int, int]], calibration: tuple[float, float]
) -> list[Span]:
    """Decode the entities of a text from the logits of its words, (words, labels).

    A word of minus infinity, which has no sub-words, is passed over: an entity may go on behind it.
    """
    known = np.flatnonzero(~np.isneginf(word_logits[:, 0])).tolist()
    shifted = word_logits[known] - word_logits[known].max(-1, keepdims=True)
    log_probs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    path = find_best_labels(log_probs, labels)
    sums = [0.0, *log_probs[range(len(path)), path].astype(np.float64).cumsum().tolist()]
    spans = []
    for begin in [place for place, label in enumerate(path) if labels[label][0] == "B"]:
        inside = path[begin] + 1  # the label `I-` of the same type
        end = next((place for place in range(begin + 1, len(path)) if path[place] != inside), len(path))
        longer = math.exp(log_probs[end, inside]) if end < len(path) else 0.0  # the chance that it goes on by a word
        mean = (sums[end] - sums[begin] + math.log1p(-min(longer, 1 - 1e-6))) / (end - begin + 1)
        start, stop = words[known[begin]][0], words[known[end - 1]][1]
        spans.append(Span(start, stop, labels[path[begin]][2:], calibrate_score(mean, *calibration)))
    return spans


def find_best_labels(log_probs: np.ndarray, labels: Sequence[str]) -> list[int]:
    """Find the most probable legal labels of a text's words: by Viterbi where the best of each word are no sequence.

    A run whose result doesn't fit the labels beside it grows, so the result is that of Viterbi over the whole text.
    """
    legal = np.array([[new[0] != "I" or old[1:] == new[1:] for new in labels] for old in labels])
    path, reach = log_probs.argmax(-1), 8
    wrong = np.flatnonzero(~legal[np.append([0], path[:-1])[: len(path)], path]).tolist()
    while wrong:
        runs: list[list[int]] = []
        for place in sorted(wrong):
            begin, end = max(0, place - reach), min(len(path), place + reach)
            if runs and begin < runs[-1][1]:  # runs that overlap are one
                runs[-1][1] = end
            else:
                runs.append([begin, end])
        for begin, end in runs:
            path[begin:end] = decode_labels(log_probs[begin:end], legal, is_inside=begin > 0)
        joints = {place for run in runs for place in run if 0 < place < len(path)}
        wrong, reach = [place for place in joints if not legal[path[place - 1], path[place]]], 4 * reach
    return path.tolist()


def decode_labels(log_probs: np.ndarray, legal: np.ndarray, is_inside: bool) -> list[int]:
    """Find the most probable legal label sequence of a run of words; one inside a text may begin with any label."""
    follow = np.where(legal, 0.0, -np.inf)  # (labels, labels)
    score, back = log_probs[0].astype(np.float64) + (0.0 if is_inside else follow[0]), []
    for row in log_probs[1:]:
        steps = score[:, None] + follow
        back.append(steps.argmax(0))
        score = steps.max(0) + row
    path = [int(score.argmax())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return path[::-1]


def calibrate_score(log_probability: float, temperature: float, bias: float) -> float:
    """Compute the score of an entity from its mean log-probability."""
    log_probability = min(max(log_probability, -16.0), -1.2e-7)
    log_odds = log_probability - math.log(-math.expm1(log_probability))
    return 1 / (1 + math.exp(-(log_odds / temperature + bias)))


# ----------------------------------------------------------------------------------------------------------- pipeline


class OnnxPipeline:
    """Annotate texts of any length with the entities of all tasks; called as `MtlBionerPipeline` is.

    ner("text") -> [{"entity_group", "score", "word", "start", "end", "task"}, ...]
    ner(["text", ...]) -> one list per text; ner(generator) -> an iterator

    Options, here or in a call: `tasks`, `threshold`, `overlaps`, `ignore_labels`, `is_split_into_words`, `batch_size`.
    """

    subwords = 0  # that went through the encoder so far, special tokens and context included

    def __init__(self, model: Model, tokenizer: Tokenizer, batch_size: int | None = None, **options: Any) -> None:
        self.model, self.tokenizer, self._batch_size = model, tokenizer, batch_size
        check_tokenizer(tokenizer, model.config)
        _, self._forward_params, _ = self._sanitize_parameters(**options)

    def _sanitize_parameters(
        self,
        tasks: Any = None,
        threshold: Any = None,
        overlaps: Any = None,
        ignore_labels: Any = None,
        is_split_into_words: Any = None,
        aggregation_strategy: Any = None,
        stride: Any = None,  # accepted: windows overlap anyway
        num_workers: Any = None,  # accepted: the tokenizer is fast enough in this process
        **unknown: Any,
    ) -> tuple[dict, dict, dict]:
        if unknown:
            names, known = ", ".join(sorted(unknown)), "tasks, threshold, overlaps, ignore_labels, batch_size"
            raise TypeError(f"unknown argument {names}; the pipeline takes {known}, is_split_into_words")
        if aggregation_strategy not in (None, "simple", "first", "average", "max"):
            problem = f"aggregation_strategy is {aggregation_strategy!r}, but entities are whole words always"
            raise ValueError(f"{problem}; leave it out (for labels of sub-words call the model itself)")
        names = self.model.config.task_names
        tasks = [tasks] if isinstance(tasks, str) else tasks
        if tasks is not None and not isinstance(tasks, (list, tuple)):
            raise ValueError(f"tasks is {tasks!r}; give a list of names, from {', '.join(names)}")
        for name in tasks or ():
            if name not in names:
                raise ValueError(f"no task {name!r}; the model's are {', '.join(names)}")
        number = isinstance(threshold, Real) and not isinstance(threshold, bool)
        if threshold is not None and not (number and 0 <= threshold <= 1):
            raise ValueError(f"threshold is {threshold!r}; give a score from 0 to 1")
        if overlaps is not None and overlaps not in list(OVERLAPS):
            raise ValueError(f"overlaps is {overlaps!r}; choose one of {', '.join(OVERLAPS)}")
        options = {"tasks": tasks and list(dict.fromkeys(tasks)), "threshold": threshold, "overlaps": overlaps}
        options |= {"ignore_labels": ignore_labels, "is_split_into_words": is_split_into_words}
        return {}, {name: value for name, value in options.items() if value is not None}, {}

    def __call__(self, inputs: str | Iterable[str], batch_size: int | None = None, **kwargs: Any) -> Any:
        _, options, _ = self._sanitize_parameters(**kwargs)
        for size in (batch_size, self._batch_size):
            number = isinstance(size, Integral) and not isinstance(size, bool)
            if size is not None and not (number and size >= 1):
                raise ValueError(f"batch_size is {size!r}; it must be a whole number, 1 or more")
        batch_size = batch_size or self._batch_size
        if not isinstance(inputs, Iterable) and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
            inputs = map(inputs.__getitem__, range(len(inputs)))  # as KeyDataset of transformers
        # Iterating over a mapping or a data frame would give its keys.
        of_keys = isinstance(inputs, Mapping) or hasattr(inputs, "columns")
        if of_keys or isinstance(inputs, (bytes, Set)) or not isinstance(inputs, Iterable):
            raise TypeError(f"the pipeline takes a str or an iterable of them, got {type(inputs).__name__}")
        options = {**self._forward_params, **options}
        tasks, is_split = options.pop("tasks", None), options.pop("is_split_into_words", False)
        of_tokens = is_split and isinstance(inputs, (list, tuple)) and isinstance(next(iter(inputs), None), str)
        is_single = isinstance(inputs, str) or of_tokens
        portions = self._read_portions(
            [inputs] if is_single else inputs, 8 * batch_size if batch_size else PORTION, is_split
        )
        items = (item for portion in portions for item in self._forward(portion, batch_size, tasks))
        results = (self.postprocess(item, **options) for item in items)
        if is_single:
            return next(results)
        return list(results) if isinstance(inputs, (list, tuple)) else results

    def _read_portions(self, texts: Iterable[Any], size: int, is_split: bool) -> Iterator[list[dict[str, Any]]]:
        """Read texts in portions of at least `size` windows, of which those of like length can run together."""
        portion, waiting = [], 0
        try:
            for text in texts:
                portion.append(self.preprocess(text, is_split))
                waiting += max(1, len(portion[-1]["windows"]))
                if waiting >= size:
                    yield portion
                    portion, waiting = [], 0
        except Exception:  # from a text, or from the iterator: the texts before it come first
            yield portion
            raise
        yield portion

    def preprocess(self, text: Any, is_split_into_words: bool = False) -> dict[str, Any]:
        """Split a text into words, with their offsets, and into windows; a list of tokens is split already."""
        config = self.model.config
        if is_split_into_words and isinstance(text, (list, tuple)) and all(isinstance(token, str) for token in text):
            ends = itertools.accumulate(len(token) + 1 for token in text)
            words = [(end - 1 - len(token), end - 1) for end, token in zip(ends, text, strict=True)]
            text = " ".join(text)
        elif isinstance(text, str) and not is_split_into_words:
            words = find_words(text, config.word_pattern)
        else:
            expected = "a list of tokens" if is_split_into_words else "a str"
            raise TypeError(f"a text is {expected}, got {type(text).__name__}: {str(text)[:80]!r}")
        strings = [text[start:end] for start, end in words]
        breaks = find_sentence_breaks(text, words, config.sentence_pattern)
        windows = make_windows(self.tokenizer, strings, config.max_seq_length, config.context_size, breaks)
        return {"text": text, "words": words, "windows": windows, "has_tokens": is_split_into_words}

    def _forward(
        self, items: list[dict[str, Any]], batch_size: int | None = None, tasks: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Add `spans` to each item: task name -> its decoded `Span`s."""
        config, columns = self.model.config, self.model.columns
        begins = [*itertools.accumulate((len(item["words"]) for item in items), initial=0)]  # of each among all words
        word_logits = np.full((begins[-1], max(one.stop for one in columns.values())), -np.inf, np.float32)
        windows = [(begin, window) for begin, item in zip(begins, items, strict=False) for window in item["windows"]]
        sequences = [window.input_ids for _, window in windows]
        self.subwords += sum(map(len, sequences))
        for batch in plan_batches([len(ids) for ids in sequences], MAX_SUBWORDS, batch_size):
            places = [(row, position, begin + word) for row, (begin, window) in enumerate(windows[i] for i in batch)
                      for word, position in enumerate(window.positions, window.core[0]) if position >= 0]  # fmt: skip
            if places:
                rows, positions, words = np.array(places).T
                word_logits[words] = logits = self.model([sequences[i] for i in batch])[rows, positions]
                if not np.isfinite(logits).all():
                    raise ValueError(f"the model in {self.model.folder} computes no numbers; its weights are damaged")
        for begin, item in zip(begins, items, strict=False):
            of_text, item["spans"] = word_logits[begin : begin + len(item["words"])], {}
            for name in config.task_names if tasks is None else tasks:
                task = config.task_names.index(name)
                item["spans"][name] = decode_spans(
                    of_text[:, columns[name]], config.labels(task), item["words"], config.score_calibration(task)
                )
        return items

    def postprocess(
        self, item: dict[str, Any], threshold: float = 0.0, overlaps: str = "all", ignore_labels: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """List the entities of a text, sorted by start, then end, in the order of the tasks."""
        entities = [
            {
                "entity_group": span.type,
                "score": span.score,
                "word": item["text"][span.start : span.end],
                "start": span.start,
                "end": span.end,
                "task": task,
            }
            for task, spans in item["spans"].items()
            for span in spans
            if span.score >= threshold and span.type not in ignore_labels
        ]
        if item["has_tokens"] and entities:
            starts = {start: word for word, (start, _) in enumerate(item["words"])}
            ends = {end: word for word, (_, end) in enumerate(item["words"])}
            for entity in entities:
                entity["tokens"] = [starts[entity["start"]], ends[entity["end"]] + 1]
        return sorted(resolve_overlaps(entities, overlaps), key=lambda entity: (entity["start"], entity["end"]))


# By value of `overlaps`: the order in which entities that overlap are preferred.
OVERLAPS = {
    "all": None,
    "longest": lambda entity: (entity["start"] - entity["end"], -entity["score"], entity["start"]),
    "best": lambda entity: (-entity["score"], entity["start"] - entity["end"], entity["start"]),
    "by_type": None,
}


def resolve_overlaps(entities: list[dict[str, Any]], overlaps: str) -> list[dict[str, Any]]:
    """Resolve overlaps greedily: keep each entity, in the order of `OVERLAPS`, that overlaps none kept so far.

    Of equals the earlier in the text is kept, then the earlier task's. `by_type` does so for each type, by the order
    of `best`, and lists the `tasks` of the overlapping ones of the type.
    """
    if overlaps == "by_type":
        groups = {entity["entity_group"]: [] for entity in entities}
        for entity in sorted(entities, key=lambda entity: entity["start"]):
            clusters = groups[entity["entity_group"]]  # of entities that overlap, one by one
            if not clusters or entity["start"] >= max(other["end"] for other in clusters[-1]):
                clusters.append([])
            clusters[-1].append(entity)
        return [
            {**entity, "tasks": list(dict.fromkeys(other["task"] for other in cluster if _overlap(entity, other)))}
            for clusters in groups.values()
            for cluster in clusters
            for entity in (resolve_overlaps(cluster, "best") if cluster[1:] else cluster)
        ]
    if OVERLAPS[overlaps] is None:
        return entities
    kept: list[dict[str, Any]] = []  # ascending, without overlaps
    for entity in sorted(entities, key=OVERLAPS[overlaps]):
        place = bisect.bisect(kept, entity["start"], key=lambda other: other["start"])
        before = place and kept[place - 1]["end"] > entity["start"]
        behind = place < len(kept) and kept[place]["start"] < entity["end"]
        if not before and not behind:
            kept.insert(place, entity)
    return kept


def _overlap(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first["start"] < second["end"] and second["start"] < first["end"]


def main(argv: Sequence[str] | None = None) -> int:
    """Annotate texts of the command line; print a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="text; - reads one from each line of standard input")
    parser.add_argument("--model", default=Path(__file__).parent, help="folder of the model (default: this file's)")
    parser.add_argument("--tasks", type=lambda names: names.split(","), help="names of tasks, A,B (default: all)")
    parser.add_argument("--threshold", type=float, help="least score of an entity (default: 0)")
    parser.add_argument("--overlaps", default="by_type", help=f"{', '.join(OVERLAPS)} (default: by_type)")
    options = vars(parser.parse_args(argv))
    texts = options.pop("texts")
    try:
        ner = load(options.pop("model"), **options)
        for entities in ner(line.rstrip("\n") for line in sys.stdin) if texts == ["-"] else map(ner, texts):
            print(json.dumps(entities, ensure_ascii=False))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"onnx_runtime: error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
