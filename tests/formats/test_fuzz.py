"""20,000 damaged files: each is read right, or refused in one line that names it; what is lost is counted or told."""

import gzip
import json
import logging
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from format_tools import BC2GM, BIOC, GENIA

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
    Document,
    Entity,
    Mention,
    RawDocument,
    ReadOptions,
    trim_span,
)


pytestmark = pytest.mark.slow

WORDS = ["Gout", "p53", "x", "O", "B", "mice", "e\u0301tude", "\u809d\u708e", "\U0001f9ec", "<ALL>", "#", "1", "-",
         "|t|", '"q"', "'", "&amp;", "\u00a0", "IL-2", "a,b", "\u0130", "\u200bz", "B-Gene", "7|a|"]  # fmt: skip
SPACES = [" "] * 8 + ["\t", "\n", "  ", "\r\n", "\u2028"]
TYPES = ["Gene", "Disease", "cell line", "a-b"]
ODD = ["", " ", "\t", "\t\t", "\n", "\n\n", "\r", "\x00", "\u200b", "\ufeff", '"', "\\", "|", "|t|", "|a|", "#",
       "#\t", "# x = y", "<", "&", "&#0;", "]]>", "<ALL>", "O", "B-", "I-Gene", "S-Gene", "U-Gene", "-DOCSTART-",
       "###MEDLINE:", "{", "}", "[", "]", ",", ":", ";", "null", "-1", "0", "1.0", "1e9", "99999999999999999999",
       "\\ud800", "\u0661", "\x1b[31m", "T9\tGene 0 1\tx", "1\t0\t4\tGout\tGene", "R1"]  # fmt: skip
KEYS = ["text", "label", "entities", "spans", "start", "end", "tokens", "id", "x"]
VALUES = [None, True, 0, -1, 3, 10**20, 1e400, 0.5, "", "Gout", "O", "B-Gene", "\ud800", "a\tb", [], {}, [[]], [None],
          [0, 1, "x"], {"start": 0, "end": 1}, [{"start": 0, "end": 1, "label": "x"}], ["O"]]  # fmt: skip


# ------------------------------------------------------------------------------------------------------ valid files


def make_document(rng: random.Random, number: int, spaces: list[str] = SPACES) -> Document:
    text = "".join(rng.choice(WORDS) + rng.choice(spaces) for _ in range(rng.randrange(1, 9)))
    entities = set()
    for _ in range(rng.randrange(4)):
        start, end = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        start, end = trim_span(text, start, end)
        if start < end:
            entities.add(Entity(start, end, rng.choice(TYPES)))
    return Document(f"{number}", text, sorted(entities))


def make_rows(rng: random.Random) -> tuple[list[list[str]], list[list[str]]]:
    """Sentences of tokens, and their tags in a scheme drawn at random."""
    scheme, types, sentences, tags = rng.choice(["BIIB", "BIES", "BILU", "IIII", "BI"]), ["Gene", "DNA"], [], []
    for _ in range(rng.randrange(1, 4)):
        sentence, row = [], []
        while len(sentence) < rng.randrange(1, 7) or not sentence:
            length = rng.randrange(1, 4)
            sentence += [re.sub(r"\s", "", rng.choice(WORDS)) or "x" for _ in range(length)]
            if rng.random() < 0.5:
                row += ["O"] * length
            else:
                first, inner, last, single = (scheme * 2)[:4] if len(scheme) == 2 else scheme
                name = "" if scheme == "BI" else f"-{rng.choice(types)}"
                last, single = (inner, first) if scheme in ("BI", "BIIB") else (last, single)
                prefixes = [single] if length == 1 else [first, *[inner] * (length - 2), last]
                row += [f"{prefix}{name}" for prefix in prefixes]
        sentences.append(sentence)
        tags.append(row)
    return sentences, tags


def write_conll(rng: random.Random, folder: Path) -> Path:
    separator = rng.choice(["\t", " ", "  ", "\t\t"])
    columns = rng.choice([[], ["NN"], ["NN", "_"], ["O"], ["1", "B-NP"]])
    head = rng.choice(["", "", "-DOCSTART- -X- O O\n\n", "# newdoc id = 5\n", "###MEDLINE:7\n\n", "# sent_id = 1\n"])
    lines = []
    for tokens, tags in zip(*make_rows(rng), strict=True):
        has_spaces = separator == "\t" and rng.random() < 0.2
        tokens = [f"{token} {rng.choice('aOB')}" if has_spaces else token for token in tokens]
        lines += [separator.join([token, *columns, tag]) for token, tag in zip(tokens, tags, strict=True)] + [""]
    path = folder / f"c{rng.choice(['.conll', '.iob2', '.tsv', '.bio', '.txt'])}"
    path.write_bytes((head + "\n".join(lines) + "\n").encode())
    return path


def put_lines(folder: Path, name: str, records: list[Any]) -> Path:
    folder.joinpath(name).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return folder / name


def write_tokens(rng: random.Random, folder: Path) -> Path:
    names = rng.choice([("tokens", "ner_tags"), ("words", "labels"), ("tokens", "tags")])
    rows = zip(*make_rows(rng), strict=True)
    return put_lines(folder, "c.jsonl", [dict(zip(names, row, strict=True)) for row in rows])


def write_csv_tokens(rng: random.Random, folder: Path) -> Path:
    delimiter, lines = rng.choice(",;\t"), [["Sentence #", "Word", "Tag"]]
    for number, (tokens, tags) in enumerate(zip(*make_rows(rng), strict=True)):
        lines += [[str(number), *pair] for pair in zip(tokens, tags, strict=True)]
    return put_csv(folder, delimiter, lines)


def put_csv(folder: Path, delimiter: str, lines: list[list[str]]) -> Path:
    quoted = [delimiter.join('"' + value.replace('"', '""') + '"' for value in line) for line in lines]
    folder.joinpath("c.csv").write_bytes(("\n".join(quoted) + "\n").encode())
    return folder / "c.csv"


def write_csv_mentions(rng: random.Random, folder: Path) -> Path:
    lines = [["document_id", "text", "start", "end", "type", "mention"]]
    for document in make_documents(rng):
        lines.append([document.document_id, document.text, "", "", "", ""])
        for e in document.entities:
            columns = [document.document_id, "", str(e.start), str(e.end), e.type, document.text[e.start : e.end]]
            lines.append(columns)
    return put_csv(folder, rng.choice(",;\t"), lines)


def make_documents(rng: random.Random, spaces: list[str] = SPACES) -> list[Document]:
    return [make_document(rng, number, spaces) for number in range(1, rng.randrange(2, 4))]


def convert_to(form: str) -> Any:
    """A form of JSON that none of our writers writes."""

    def write(rng: random.Random, folder: Path) -> Path:
        records: list[Any] = []
        for d in make_documents(rng):
            triples = [[e.start, e.end, e.type] for e in d.entities]
            spans = [{"start": s, "end": e, "label": name, "text": d.text[s:e]} for s, e, name in triples]
            labels = [{**span, "labels": [span["label"]]} for span in spans]
            records.append({
                "pair": [d.text, {"entities": triples}],
                "spans": {"text": d.text, "entities": triples},
                "doc": {"text": d.text, "ents": spans},
                "answer": {"text": d.text, "spans": spans, "answer": rng.choice(["accept", "reject"])},
                "relations": {"id": 3, "text": d.text, "entities": [
                    {"id": 1, "start_offset": s, "end_offset": e, "label": name} for s, e, name in triples]},
                "min": {"id": d.document_id, "text": d.text, "label": labels, "annotation_id": 1},
            }[form])  # fmt: skip
        return put_lines(folder, "c.jsonl", records)

    return write


def export_to(to: str, name: str) -> Any:
    def write(rng: random.Random, folder: Path) -> Path:
        spaces = SPACES if to not in ("conll",) else [" "]
        documents = make_documents(rng, spaces)
        if to == "conll":
            for document in documents:
                document.entities = [e for e in document.entities if " " not in e.type]
        write_documents(to, documents, folder / name, r"\w+|[^\w\s]", sorted(TYPES))
        return folder / name

    return write


def hand_write(name: str, files: dict[str, str]) -> Any:
    def write(rng: random.Random, folder: Path) -> Path:
        for file, content in files.items():
            (folder / file).write_bytes(content.encode())
        return folder / name

    return write


def save_dataset(rng: random.Random, folder: Path) -> Path:
    import datasets

    rows = [dict(zip(("tokens", "ner_tags"), row, strict=True)) for row in zip(*make_rows(rng), strict=True)]
    datasets.Dataset.from_list(rows).save_to_disk(str(folder / "saved"))
    return folder / "saved"


FORMS = {
    "jsonl": (1800, export_to("jsonl", "c.jsonl")),
    "pubtator": (2500, export_to("pubtator", "c.pubtator")),
    "bioc": (1400, export_to("bioc", "c.xml")),
    "bioc_by_hand": (700, hand_write("c.xml", {"c.xml": BIOC})),
    "bioc-json": (1200, export_to("bioc-json", "c.json")),
    "brat": (1500, export_to("brat", "brat")),
    "doccano": (900, export_to("doccano", "c.jsonl")),
    "label-studio": (1000, export_to("label-studio", "c.json")),
    "prodigy": (500, export_to("prodigy", "c.jsonl")),
    "gliner": (700, export_to("gliner", "c.json")),
    "our_conll": (500, export_to("conll", "c.conll")),
    "conll": (2500, write_conll),
    "tokens": (700, write_tokens),
    "genia": (800, hand_write("c.xml", {"c.xml": GENIA})),
    "bc2gm": (900, hand_write("test.in", BC2GM)),
    "csv_tokens": (600, write_csv_tokens),
    "csv_mentions": (600, write_csv_mentions),
    **{form: (250, convert_to(form)) for form in ("pair", "spans", "doc", "answer", "relations", "min")},
    "parquet": (150, export_to("parquet", "c.parquet")),
    "saved": (60, save_dataset),
    "spacy": (100, export_to("spacy", "c.spacy")),
}


# -------------------------------------------------------------------------------------------------------- mutations


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change bytes, keys and values, numbers, columns or lines."""
    kind = rng.random()
    if kind < 0.03:
        packed = gzip.compress(data)
        return packed[: rng.randrange(len(packed))] + rng.choice([b"", packed, b"\x00" * 9])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text, kind = "", 0
    if kind < 0.1:
        at, length = rng.randrange(len(data) + 1), rng.randrange(4)
        return data[:at] + rng.randbytes(rng.choice([length, length, rng.randrange(3)])) + data[at + length :]
    if kind < 0.45 and text.lstrip()[:1] in ("{", "["):
        return mutate_json(rng, text).encode("utf-8", "backslashreplace")
    change = rng.choice([mutate_lines, mutate_columns, mutate_columns, mutate_number, mutate_number, insert_odd])
    return change(rng, text).encode("utf-8", "backslashreplace")


def mutate_json(rng: random.Random, text: str) -> str:
    try:
        values = [json.loads(text)]
    except ValueError:
        try:
            values = [json.loads(line) for line in text.split("\n") if line]
        except ValueError:
            return insert_odd(rng, text)
    holders = [holder for value in values for holder in list_holders(value)] or [values]
    holder = rng.choice(holders)
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if keys:
        key, kind = rng.choice(keys), rng.random()
        if kind < 0.2:
            del holder[key]
        elif kind < 0.4 and isinstance(holder, dict):
            holder[rng.choice(KEYS)] = holder[key]
        elif kind < 0.5 and isinstance(holder, list):
            holder.insert(rng.randrange(len(holder)), holder[key])
        else:
            holder[key] = rng.choice(VALUES)
    return "\n".join(json.dumps(value) for value in values) + "\n"


def list_holders(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from list_holders(inner)


def mutate_lines(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    one, two = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[one]
    elif kind == 1:
        lines.insert(two, lines[one])
    elif kind == 2:
        lines[one], lines[two] = lines[two], lines[one]
    elif kind == 3:
        lines[one : one + 2] = ["".join(lines[one : one + 2])]
    elif kind == 4:
        lines.insert(one, rng.choice(["", " ", "\t", "#", "# x", "x", "x O", "-DOCSTART-"]))
    else:
        at = rng.randrange(len(lines[one]) + 1)
        lines[one : one + 1] = [lines[one][:at], lines[one][at:]]
    return "\n".join(lines)


def mutate_columns(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    at, separator = rng.randrange(len(lines)), rng.choice(["\t", "\t", " ", "|", ","])
    columns = lines[at].split(separator)
    one, two, kind = rng.randrange(len(columns)), rng.randrange(len(columns)), rng.randrange(6)
    if kind == 0:
        del columns[one]
    elif kind == 1:
        columns.insert(two, columns[one])
    elif kind == 2:
        columns[one], columns[two] = columns[two], columns[one]
    elif kind == 3:
        columns[one] = rng.choice(ODD)
    elif kind == 4:
        columns[one] += rng.choice(ODD)
    else:
        separator = rng.choice(["\t", " ", "  ", "\t\t", ""])
    lines[at] = separator.join(columns)
    return "\n".join(lines)


def mutate_number(rng: random.Random, text: str) -> str:
    if not (numbers := list(re.finditer("[0-9]+", text))):
        return insert_odd(rng, text)
    match = rng.choice(numbers)
    number = int(match[0][:18])
    new = rng.choice([number + 1, number - 1, number + 2, 0, -1, 10**6, 10**18, "", "1.5", f"0{number}", "x"])
    return f"{text[: match.start()]}{new}{text[match.end() :]}"


def insert_odd(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(ODD) + text[at + rng.randrange(3) :]


# ------------------------------------------------------------------------------------------------------ what must hold


def check(path: Path, caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the file is read; what is read is checked."""
    options = ReadOptions(allow_losses=True)
    try:
        raws = list(read_any(path, options))
        caplog.clear()
        corpus = load_corpus(path, scoring_only=True, options=options)
    except CorpusError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, message
        assert str(path.parent) in message, message
        assert len(message) < 1000, message
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
        assert read == sum(bool(line.strip(" \t\r")) for line in read_whole(path.with_name("GENE.eval")).split("\n"))
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
def test_damaged_files(tmp_path, caplog, form):
    if form == "spacy":
        pytest.importorskip("spacy")
    number, write = FORMS[form]
    rng, read = random.Random(form), 0
    caplog.set_level(logging.WARNING)
    for n in range(number):
        folder = tmp_path / "c"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        path = write(rng, folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            file = rng.choice(files)
            file.write_bytes(mutate(rng, file.read_bytes()))
        print(f"file {n} is in {folder}", end="\r")  # pytest shows it after a failure
        if check(path, caplog):
            read += 1
            check_nothing_is_lost(form, path, caplog.text)
    assert 0.02 < read / number < 0.98  # both kinds of files are among them


# ------------------------------------------------------------------------------------------- undamaged files, changed


@pytest.mark.parametrize("seed", range(10))
def test_a_row_without_one_of_its_columns_is_refused(tmp_path, caplog, seed):
    rng = random.Random(seed)
    for _ in range(40):
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
