"""What `annotate_throughput.py` measures, each in a process of its own: `WORKERS` by name.

Speed is sub-words of the texts a second: neither special tokens, nor padding, nor repeated context count.
"""

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
from transformers.utils import logging as transformers_logging

import modeling_mtl_bioner
from modeling_mtl_bioner import split_subwords
from mtl_bioner.annotation.engine import EngineOptions, annotate_documents, load_engine
from mtl_bioner.annotation.readers import Inputs
from mtl_bioner.annotation.sinks import write_part
from mtl_bioner.annotation.sources import find_sources
from mtl_bioner.annotation.tables import ColumnOptions
from mtl_bioner.hub.export import build_stock_model
from mtl_bioner.reporting.run_record import describe_machine
from mtl_bioner.training.runtime import has_fast_bf16


SHAPES = ((64, 32), (32, 64), (16, 64), (8, 128), (4, 256))  # windows x sub-words, of the bare encoder
ATTENTIONS = ("sdpa", "eager")
MEMORY_STEP = 250  # abstracts between two points of the memory curve


def load(arguments: argparse.Namespace, dtype: str = "auto", **options: Any) -> Any:
    """Load the model's pipeline as the command does."""
    return load_engine(EngineOptions(arguments.model, dtype=dtype, **options))


def read_texts(arguments: argparse.Namespace) -> list[str]:
    """Read the texts that the parent process has written."""
    lines = Path(arguments.texts).read_text(encoding="utf-8").splitlines()[: arguments.documents]
    return [json.loads(line)["text"] for line in lines]


def count_subwords(ner: Any, texts: list[str]) -> int:
    """Count the sub-words of texts."""
    words = [[text[a:b] for a, b in modeling_mtl_bioner.find_words(text, ner.model.config.word_pattern)]
             for text in texts]  # fmt: skip
    return sum(len(piece) for of_text in words for piece in split_subwords(ner.tokenizer, of_text))


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Export the heads to a folder; return the number of sub-words and the data type that is fast here."""
    ner = load(arguments, "float32")
    for name in ner.model.config.task_names:
        folder = Path(arguments.folder, "stock", name)
        build_stock_model(ner.model, name).save_pretrained(folder)
        ner.tokenizer.save_pretrained(folder)
    fast = "bfloat16" if has_fast_bf16(use_cpu=True) else "float32"
    return {
        "subwords": count_subwords(ner, read_texts(arguments)),
        "tasks": len(ner.model.config.task_names),
        "dtype": fast,
        "threads": torch.get_num_threads(),
        "machine": describe_machine(),
    }


@torch.inference_mode()
def measure_bare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the encoder alone on full batches of one shape; return sub-words a second by shape and attention."""
    encoder = load(arguments, arguments.dtype).model.encoder.eval()
    speeds = {}
    for attention in ATTENTIONS:
        encoder.set_attn_implementation(attention)
        for rows, length in SHAPES:
            ids, seconds = torch.randint(1000, 20_000, (rows, length)), []
            end = time.perf_counter() + arguments.seconds / len(SHAPES) / len(ATTENTIONS)
            while time.perf_counter() < end or len(seconds) < 4:
                start = time.perf_counter()
                encoder(ids)
                seconds.append(time.perf_counter() - start)
            steady = seconds[1:]
            speeds[f"{rows} x {length}, {attention}"] = rows * length * len(steady) / sum(steady)
    return {"shapes": speeds, "subwords_per_second": max(speeds.values())}


def measure_stock(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the exported heads, one after the other, in default pipelines; return the seconds of each."""
    transformers_logging.disable_progress_bar()
    texts, seconds = read_texts(arguments), {}
    for folder in sorted(Path(arguments.folder, "stock").iterdir()):
        model = AutoModelForTokenClassification.from_pretrained(folder, dtype=getattr(torch, arguments.dtype))
        tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=512)
        ner = pipeline("token-classification", model=model, tokenizer=tokenizer, aggregation_strategy="simple")
        ner(texts[:2])
        start = time.perf_counter()
        ner(texts)
        seconds[folder.name] = time.perf_counter() - start
    return {"seconds": seconds, "subwords": count_subwords(load(arguments, "float32"), texts)}


def measure_heads(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the pipeline with one head and with all, by turns; return the median cost of the further heads."""
    ner, texts = load(arguments, arguments.dtype), read_texts(arguments)
    names = ner.model.config.task_names
    ner(texts[:20])
    times: dict[int, list[float]] = {1: [], len(names): []}
    for _ in range(3):
        for number in times:
            start = time.perf_counter()
            ner(texts, tasks=names[:number])
            times[number].append(time.perf_counter() - start)
    return {"seconds": {number: min(seconds) for number, seconds in times.items()}}


class Stopwatch:
    """Add up the time of functions, without that of the timed functions that they call."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.running: list[str] = []
        self.since = time.perf_counter()

    def switch(self) -> None:
        """Give the time since the last switch to what ran until now."""
        now = time.perf_counter()
        self.seconds[self.running[-1] if self.running else "other"] += now - self.since
        self.since = now

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Give the time inside to a part of the work."""
        self.switch()
        self.running.append(part)
        try:
            yield
        finally:
            self.switch()
            self.running.pop()

    def time(self, owner: Any, name: str, part: str) -> None:
        """Time a function or method from now on, as a part of the work."""
        function: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.measure(part):
                return function(*args, **kwargs)

        setattr(owner, name, timed)


def measure_shares(arguments: argparse.Namespace) -> dict[str, Any]:
    """Annotate in this process, all threads; return the share of each part of the work, and the speed."""
    ner = load(arguments, arguments.dtype)
    ner(read_texts(arguments)[:20])
    sources = find_sources([arguments.texts], ColumnOptions(), Path(arguments.folder))
    watch = Stopwatch()
    watch.time(modeling_mtl_bioner.MtlBionerPipeline, "preprocess", "tokenising")
    watch.time(modeling_mtl_bioner.MtlBionerPipeline, "postprocess", "decoding")
    watch.time(modeling_mtl_bioner, "decode_spans", "decoding")
    watch.time(ner.model, "encode", "encoder")
    watch.time(ner.model, "classify", "heads")
    reader = iter(Inputs(sources, ColumnOptions()))
    watch.time(modeling_mtl_bioner.MtlBionerPipeline, "_forward", "batching")
    watch.switch()
    watch.seconds.clear()
    for number in range(0, arguments.documents, 200):
        with watch.measure("reading"):
            documents = list(itertools.islice(reader, min(200, arguments.documents - number)))
        annotated = annotate_documents(ner, documents)
        with watch.measure("writing"):
            write_part(annotated, Path(arguments.folder), number, "jsonl")
    watch.switch()
    total = sum(watch.seconds.values())
    return {"shares": {name: seconds / total for name, seconds in watch.seconds.most_common()}, "seconds": total}


def read_memory() -> float:
    """Return the resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def measure_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Annotate a generator of abstracts; return resident memory by number of abstracts."""
    ner, texts = load(arguments, arguments.dtype), read_texts(arguments)

    def generate() -> Iterator[str]:
        for number in range(arguments.documents):
            yield texts[number % len(texts)]

    curve = [(0, read_memory())]
    for number, _ in enumerate(ner(generate()), 1):
        if number % MEMORY_STEP == 0 or number == arguments.documents:
            curve.append((number, read_memory()))
    return {"curve": curve}


def measure_long(arguments: argparse.Namespace) -> dict[str, Any]:
    """Annotate one text of a megabyte; return the seconds."""
    ner, texts = load(arguments, arguments.dtype), read_texts(arguments)
    joined = "\n".join(texts)
    text = (joined * (arguments.characters // len(joined) + 1))[: arguments.characters]
    ner(texts[:20])
    start = time.perf_counter()
    entities = ner(text)
    return {"seconds": time.perf_counter() - start, "characters": len(text), "entities": len(entities)}


def measure_reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """Read PubMed XML, as the command does in its main process; return documents a second."""
    with tempfile.TemporaryDirectory() as folder:
        sources = find_sources([arguments.pubmed], ColumnOptions(), Path(folder))
        start = time.perf_counter()
        number = sum(1 for _ in Inputs(sources, ColumnOptions()))
        return {"documents_per_second": number / (time.perf_counter() - start), "documents": number}


WORKERS = {
    "prepare": prepare,
    "bare": measure_bare,
    "stock": measure_stock,
    "heads": measure_heads,
    "shares": measure_shares,
    "memory": measure_memory,
    "long": measure_long,
    "reading": measure_reading,
}
