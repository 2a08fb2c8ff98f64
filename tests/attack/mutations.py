"""Valid files of every format, drawn at random, and ways to damage them."""

import gzip
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from format_tools import BC2GM, BIOC, GENIA

from dataset_scripts.export import write_documents
from dataset_scripts.schema import Document, Entity, trim_span


WORDS = ["Gout", "p53", "x", "O", "B", "mice", "e\u0301tude", "\u809d\u708e", "\U0001f9ec", "<ALL>", "#", "1", "-",
         "|t|", '"q"', "'", "&amp;", "\u00a0", "IL-2", "a,b", "\u0130", "\u200bz", "B-Gene", "7|a|"]  # fmt: skip
SPACES = [" "] * 8 + ["\t", "\n", "  ", "\r\n", "\u2028"]
TYPES = ["Gene", "Disease", "cell line", "a-b"]
ODD = ["", " ", "\t", "\t\t", "\n", "\n\n", "\r", "\x00", "\u200b", "\ufeff", '"', "\\", "|", "|t|", "|a|", "#",
       "#\t", "# x = y", "<", "&", "&#0;", "]]>", "<ALL>", "O", "B-", "I-Gene", "S-Gene", "U-Gene", "-DOCSTART-",
       "###MEDLINE:", "{", "}", "[", "]", ",", ":", ";", "null", "-1", "0", "1.0", "1e9", "99999999999999999999",
       "\\ud800", "\u0661", "\x1b[31m", "T9\tGene 0 1\tx", "1\t0\t4\tGout\tGene", "R1"]  # fmt: skip
NESTS = ["[", '{"a":', '[{"text":[', "<a>", "<passage>", "((", '"', "&amp;", "T1\t", "#"]
CONTROLS = "\x00\x07\x08\x0b\x0c\x1b\x1c\x7f\x85\x9b\u061c\u200e\u2028\u2029\u202e\u2066\ufeff\ufffe\U000e0001"
KEYS = ["text", "label", "entities", "spans", "start", "end", "tokens", "id", "x"]
VALUES = [None, True, 0, -1, 3, 10**20, 1e400, 0.5, "", "Gout", "O", "B-Gene", "\ud800", "a\tb", [], {}, [[]], [None],
          [0, 1, "x"], {"start": 0, "end": 1}, [{"start": 0, "end": 1, "label": "x"}], ["O"]]  # fmt: skip


# --------------------------------------------------------------------------------------------------------- valid files


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
    "spacy": (50, export_to("spacy", "c.spacy")),
}


# -------------------------------------------------------------------------------------------------------- mutations


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change bytes, keys and values, numbers, columns or lines."""
    if rng.random() < 0.1:
        return blow_up(rng, data)
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


def blow_up(rng: random.Random, data: bytes) -> bytes:
    """Cut the file, flip bits, double a piece, or put in deep nesting, a huge number or control characters."""
    at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return data[:at]
    if kind == 1:
        flipped = bytearray(data)
        for _ in range(rng.randrange(1, 9) if data else 0):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return data[:end] + data[at:end] * rng.choice([1, 1, 2, 50]) + data[end:]
    piece = {
        3: lambda: rng.choice(NESTS) * rng.choice([50, 2000, 20_000]),
        4: lambda: rng.choice("19") + rng.choice("05") * rng.choice([18, 400, 5000]),
        5: lambda: "".join(rng.choices(CONTROLS, k=rng.randrange(1, 5))),
    }[kind]()
    return data[:at] + piece.encode() + data[at:]


def damage(rng: random.Random, path: Path) -> Path:
    """Mutate the file, or files of the folder, one to three times; return the path."""
    files = sorted(file for file in path.parent.rglob("*") if file.is_file())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        file = rng.choice(files)
        file.write_bytes(mutate(rng, file.read_bytes()))
    return path
