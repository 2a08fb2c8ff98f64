"""Damaged files of corpora: each is read right, or refused in one line that names it; what is lost is counted or told.

Seeds are drawn from the name of the test; `make attack` tries 100,000.
"""

import gzip
import logging
import random
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from cases import IS_LONG, Cases, check_message
from mutations import FORMS, damage, make_documents, write_conll

from dataset_scripts import load_corpus
from dataset_scripts.bio import decode_bio, label_words
from dataset_scripts.convert import convert
from dataset_scripts.documents import to_documents
from dataset_scripts.export import write_documents
from dataset_scripts.formats import read_any
from dataset_scripts.formats.files import open_file
from dataset_scripts.schema import (
    LINE_BREAKERS,
    CorpusError,
    Entity,
    Mention,
    RawDocument,
    ReadOptions,
    trim_span,
)


pytestmark = pytest.mark.slow


def check(path: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the file is read; what is read is checked."""
    options = ReadOptions(allow_losses=True)
    try:
        raws = list(read_any(path, options))
        caplog.clear()
        corpus = load_corpus(path, scoring_only=True, options=options)
    except CorpusError as error:
        check_message(str(error), str(path.parent))
        return False
    messages = caplog.messages
    causes = Counter((r.lineno, re.sub(r"[0-9]+", "N", r.getMessage().replace(str(path), ""))[:60])
                     for r in caplog.records)  # fmt: skip
    assert not [cause for cause, count in causes.items() if count > 1], messages
    assert all(len(message.splitlines()) == 1 for message in messages), messages
    ledger = corpus.ledgers["test"]
    documents = corpus.splits["test"]
    assert ledger.read == sum(len(raw.mentions) for raw in raws)
    assert all(number >= 0 for number in ledger.dropped.values())
    decoded = 0
    for document in documents:
        assert not re.search("[\t\n\r]", document.document_id) and document.document_id
        words, tags, _ = label_words(document, corpus.word_pattern)
        found = decode_bio(words, tags)
        assert set(found) <= set(document.entities)
        decoded += len(found)
        for entity in document.entities:
            assert 0 <= entity.start < entity.end <= len(document.text)
            assert (entity.start, entity.end) == trim_span(document.text, entity.start, entity.end)
            assert entity.type == entity.type.strip() != "" and not re.search("[\t\n\r]", entity.type)
    assert decoded == ledger.kept == ledger.read - sum(ledger.dropped.values())
    misfits = [m for raw in raws for m in raw.mentions if is_misfit(raw.text, m)]
    assert not misfits or "with another text than at the offsets" in " ".join(messages), (misfits, messages)
    return True


def is_misfit(text: str, mention: Mention) -> bool:
    """Whether a mention that isn't dropped states another text than at its offsets."""
    is_inside = all(0 <= start < end <= len(text) for start, end in mention.spans)
    is_visible = is_inside and any(s < e for s, e in (trim_span(text, *at) for at in mention.spans))
    is_read = is_visible and mention.type and not mention.lost
    return bool(is_read) and mention.text is not None and mention.cut(text) != mention.text


def check_nothing_is_lost(form: str, path: Path, told: str) -> None:
    """Compare what is read of some formats with what a plain look at the file shows."""
    raws = list(read_any(path, ReadOptions(allow_losses=True)))
    read = sum(len(raw.mentions) for raw in raws)
    if form == "brat":
        lines = [line for file in path.glob("*.ann") for line in read_whole(file).split("\n")]
        assert read == sum(line.startswith("T") for line in lines)
    if form == "pubtator":
        lines = read_whole(path).removeprefix("\ufeff").split("\n")
        stated = [line for line in lines if re.match(r"[^\t|]+\t-?[0-9]+\t-?[0-9]+\t", line)]
        assert read == len(stated), (read, stated)
        assert len(raws) == sum(re.match(r"(?:[^\t]+?\|([ta])\|)?", line)[1] == "t" for line in lines)
    if form == "bc2gm":
        eval_lines = read_whole(path.with_name("GENE.eval")).removeprefix("\ufeff").split("\n")
        assert read == sum(bool(line.strip(" \t\r")) for line in eval_lines)
    if form in ("conll", "our_conll") and not re.search("comments|markers", told):
        lines = read_whole(path).removeprefix("\ufeff").split("\n")
        rows = [line.removesuffix("\r").rstrip(" \t") for line in lines]
        rows = [row for row in rows if row and not re.match(r"-DOCSTART-|# ?newdoc( id = |$)|###MEDLINE:", row)]
        rows = [row for row in rows if not re.match(r"# ?[\w.:-]+( [\w.:-]+)* =( |$)|# ?newpar$", row)]
        split = [
            [c.strip(" \t") for c in row.split("\t")] if "\t" in row else re.split(" +", row.lstrip(" "))
            for row in rows
        ]
        tokens = [columns[0] for columns in split]
        assert re.split("[ \n]", "\n".join(raw.text for raw in raws)) == [p for t in tokens for p in t.split(" ")]
        assert read >= sum(columns[-1].startswith(("B", "S", "U")) for columns in split)


def read_whole(path: Path) -> str:
    with open_file(path) as file:
        return file.read().decode()


@pytest.mark.parametrize("form", FORMS)
def test_damaged_files(tmp_path, caplog, cases: Cases, form):
    if form == "spacy" and not IS_LONG:
        pytest.skip("make attack tries it: spaCy takes half a minute to import")
    number, write = FORMS[form]
    read = tried = 0
    caplog.set_level(logging.WARNING)
    for rng in cases.seeds(number / 20):
        folder = tmp_path / "c"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = damage(rng, write(rng, folder))
        tried += 1
        with cases.case():
            if check(path, caplog):
                read += 1
                check_nothing_is_lost(form, path, caplog.text)
    assert tried < 50 or 0.02 < read / tried < 0.98  # both kinds of files are among them


# ------------------------------------------------------------------------------------------- undamaged files, changed


def test_a_row_without_one_of_its_columns_is_refused(tmp_path, caplog, cases: Cases):
    for rng in cases.seeds(20, most=1000):
        path = write_conll(rng, tmp_path).replace(tmp_path / "c.conll")
        list(read_any(path))
        lines = path.read_text(encoding="utf-8").split("\n")
        separator = "\t" if any("\t" in line for line in lines) else " "
        rows = [n for n, line in enumerate(lines) if line and not re.match("-DOC|# (newdoc|sent_id)|###MED", line)]
        for at in rows[len(rows) == 1 :]:
            columns = [column for column in lines[at].split(separator) if column]
            for dropped in range(len(columns)):
                row = separator.join(columns[:dropped] + columns[dropped + 1 :])
                path.write_text("\n".join([*lines[:at], row, *lines[at + 1 :]]), encoding="utf-8")
                caplog.clear()
                try:
                    list(read_any(path))
                    assert row.startswith("#") and "read as comments" in caplog.text, (lines, row)
                except CorpusError:
                    pass


WHOLE = {"jsonl": ".jsonl", "pubtator": ".pubtator", "bioc": ".xml", "bioc-json": ".json", "brat": "",
         "doccano": ".jsonl", "label-studio": ".json", "prodigy": ".jsonl"}  # fmt: skip


@pytest.mark.parametrize("first", WHOLE)
def test_every_conversion_and_back_keeps_all(tmp_path, first):
    rng = random.Random(first)
    for n in range(6):
        one = tmp_path / f"{n}{WHOLE[first]}"
        write_documents(first, make_documents(rng), one, "", [])
        expected = describe_all(one)
        for other in WHOLE:
            two, back = tmp_path / f"{n}-{other}{WHOLE[other]}", tmp_path / f"{n}-{other}-back{WHOLE[first]}"
            there, again = convert(one, two, other), convert(two, back, first)
            assert describe_all(two) == describe_all(back) == expected
            assert (
                (there.mentions, there.lost) == (again.mentions, again.lost) == (sum(len(d[2]) for d in expected), {})
            )


def describe_all(path: Path) -> list[tuple[str, str, list[Entity]]]:
    documents = to_documents(read_any(path))
    return sorted((d.document_id, d.text.translate(LINE_BREAKERS).rstrip(" "), d.entities) for d in documents)


SURROUND = {
    "gzip": gzip.compress,
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "line ends": lambda data: data.replace(b"\n", b"\r\n"),
    "blank lines": lambda data: re.sub(b'\n(?=\n|$|[{] ?"|1[|]t)', b"\n\n\n", data),
}


TEXTS = [form for form in FORMS if form not in ("brat", "parquet", "saved", "spacy")]


@pytest.mark.parametrize("form", TEXTS)
def test_what_is_around_the_content_changes_nothing(tmp_path, form):
    rng = random.Random(form)
    for n in range(30):
        (folder := tmp_path / str(n)).mkdir()
        path = FORMS[form][1](rng, folder)
        data, expected = path.read_bytes(), list(map(strip_places, read_any(path)))
        for name, change in SURROUND.items():
            in_text = b"\r" in data or (form == "csv_mentions" and any("\n" in raw.text for raw in expected))
            if name not in ("line ends", "blank lines") or not in_text:
                path.write_bytes(change(data))
                assert list(map(strip_places, read_any(path))) == expected, name


def strip_places(raw: RawDocument) -> RawDocument:
    return replace(raw, where="", mentions=[replace(mention, where="") for mention in raw.mentions])
