"""Damaged inputs of `annotate`, through the whole command: offsets hold in what is written, the rest is told."""

import gzip
import json
import logging
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cases import IS_LONG, Cases, check_message
from mutations import FORMS, damage, make_documents, put_csv, put_lines
from test_annotate import PUBMED, InlinePool, model  # noqa: F401
from test_jats import ARTICLE
from toys import put, read_jsonl

import run_annotate
from dataset_scripts.formats import read_any
from dataset_scripts.formats.files import NOT_IN_NAMES
from dataset_scripts.messages import escape_controls


pytestmark = pytest.mark.slow

Write = Callable[[random.Random, Path], Path]


def write_text(rng: random.Random, folder: Path) -> Path:
    name = rng.choice(["n.txt", "n", "n.md", "n.txt.gz"])
    data = "\n".join(document.text for document in make_documents(rng)).encode()
    return put(folder / name, gzip.compress(data) if name.endswith(".gz") else data)


def make_rows(rng: random.Random) -> list[dict[str, Any]]:
    keys = rng.choice([("text",), ("title", "abstract"), ("pmid", "text"), ("abstract", "entities")])
    values = [[document.text for document in make_documents(rng)] for _ in keys]
    return [dict(zip(keys, row, strict=False)) for row in zip(*values, strict=False)]


def write_records(rng: random.Random, folder: Path) -> Path:
    rows = make_rows(rng)
    return put_lines(folder, "n.jsonl", rows) if rng.random() < 0.5 else put(folder / "n.json", json.dumps(rows))


def write_csv(rng: random.Random, folder: Path) -> Path:
    rows = make_rows(rng)
    return put_csv(folder, rng.choice(",;\t"), [list(rows[0]), *(list(row.values()) for row in rows)])


def write_parquet(rng: random.Random, folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(make_rows(rng)), folder / "n.parquet")
    return folder / "n.parquet"


INPUTS: dict[str, tuple[float, Write]] = {form: (number / 100, write) for form, (number, write) in FORMS.items()} | {
    "text": (12, write_text),
    "records": (15, write_records),
    "csv": (15, write_csv),
    "table": (8, write_parquet),
    "pubmed": (10, lambda rng, folder: put(folder / "n.xml", PUBMED)),
    "jats": (10, lambda rng, folder: put(folder / "n.nxml", ARTICLE)),
}
OPTIONS = ([], [], [], ["--lines"], ["--text_column", "text"], ["--id_column", "pmid"], ["--strict"],
           ["--part_size", "1"])  # fmt: skip
TO = ("jsonl", "jsonl", "jsonl", "pubtator", "bioc", "bioc-json", "brat", "csv", "parquet")


def check_lines(path: Path) -> None:
    """Check ids and the offsets of all entities; only LF ends a line, and all is UTF-8."""
    for line in map(json.loads, path.read_bytes().decode().removesuffix("\n").split("\n")):
        text = line["text"]
        assert line["document_id"] and not NOT_IN_NAMES.search(line["document_id"])
        assert [(e["start"], e["end"]) for e in line["entities"]] == [m.span() for m in re.finditer("(?i)gout", text)]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in line["entities"])


def check_output(folder: Path, to: str) -> int:
    """Check what was written, read back by the project's readers; return the number of documents."""
    records, documents = read_jsonl(folder / "parts.jsonl"), 0
    for path in (folder / record["file"] for record in records if record["documents"]):
        if to == "jsonl":
            check_lines(path)
        raws = list(read_any(path))
        for raw in raws:
            for mention in raw.mentions:
                assert all(0 <= start < end <= len(raw.text) for start, end in mention.spans)
                assert mention.text is None or to == "pubtator" or mention.cut(raw.text) == mention.text
        documents += len(raws)
    for error in read_jsonl(folder / "errors.jsonl") if (folder / "errors.jsonl").exists() else []:
        assert len(error["reason"]) < 1000 and "\n" not in error["reason"], error
    return documents


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("form", INPUTS)
def test_damaged_inputs(tmp_path, monkeypatch, capsys, caplog, cases: Cases, form):
    if form == "spacy" and not IS_LONG:
        pytest.skip("make attack tries it: spaCy takes half a minute to import")
    monkeypatch.setattr(run_annotate, "Pool", InlinePool)
    caplog.set_level(logging.CRITICAL)
    number, write = INPUTS[form]
    for rng in cases.seeds(number):
        for name in ("in", "out"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / "in").mkdir()
        path = damage(rng, write(rng, tmp_path / "in"))
        path, to = rng.choice([path, tmp_path / "in"]), rng.choice(TO)
        arguments = [
            str(tmp_path / "model"),
            str(path),
            "--output",
            str(tmp_path / "out"),
            "--to",
            to,
            *rng.choice(OPTIONS),
        ]
        capsys.readouterr()
        with cases.case(" ".join(arguments[4:])):
            status = run_annotate.main(arguments)
            out, err = capsys.readouterr()
            if status == 2:
                check_message(err.removesuffix("\n"), "mtl-bioner annotate: error: ")
                assert not list((tmp_path / "out").glob("part-*"))
            else:
                assert escape_controls(out + err) == out + err
                stated = json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))
                documents = check_output(tmp_path / "out", to)
                assert status == 1 if "--strict" in arguments and "totals" not in stated else status in (0, 1)
                assert "totals" not in stated or documents == stated["totals"]["documents"]
