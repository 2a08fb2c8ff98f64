"""brat standoff: `.txt` and `.ann` pairs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from dataset_scripts.formats.files import (
    _BLANK,
    _BOM,
    _LINE_BREAKERS,
    NO_DATA,
    FilePath,
    _agrees,
    _as_found,
    _decoded,
    _lines,
    _opened,
    _score_and_task,
    write_then_rename,
)
from dataset_scripts.formats.jsonl import _NOT_IN_NAMES
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


_BRAT_SPANS = re.compile(r"(.*\S) ([0-9]{1,15} [0-9]{1,15}(?:;[0-9]{1,15} [0-9]{1,15})*)", re.DOTALL)


_BRAT_OTHERS = tuple("REAMN#*")  # relations, events, attributes, modifications, normalisations, notes, equivalences


def read_brat(folder: FilePath) -> Iterator[RawDocument]:
    """Read a folder of brat standoff pairs, `ID.txt` with `ID.ann`, in the order of their names.

    Only text-bound annotations (`T` lines) are mentions; fragments stay several spans, also if they touch. Hidden
    files, and files of other endings, are passed over; `%2F` and the like in a name are decoded (see `write_brat`).
    Format: https://brat.nlplab.org/standoff.html

    Raises:
        CorpusError: no pair at all, half a pair, or a malformed line.
    """
    folder = Path(folder)
    texts, annotations = (_brat_files(folder, ending) for ending in (".txt", ".ann"))
    if not annotations:
        raise CorpusError(f"{folder}: no .ann file in this folder; expected brat pairs ID.txt and ID.ann")
    for name in [name for name in texts if name not in annotations and NO_DATA.fullmatch(name)]:
        del texts[name]
    for name in sorted(texts.keys() | annotations.keys()):
        if name not in texts or name not in annotations:
            there, missing = (texts, ".ann") if name in texts else (annotations, ".txt")
            raise CorpusError(f"{there[name]}: no {name}{missing} beside it; add it (an .ann file may be empty)")
    for name in sorted(texts):
        mentions = list(filter(None, (_brat_mention(line, where) for where, line in _lines(annotations[name]))))
        text = _brat_text(texts[name], mentions)
        found = [_as_found(text, mention) for mention in mentions]
        yield RawDocument(unquote(name), text, found, where=f"{texts[name]}:1")


def _brat_files(folder: Path, ending: str) -> dict[str, Path]:
    """Files by name without ending."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise CorpusError(f"{folder}: can't be read as a folder ({error.strerror}); check the path") from error
    for path in paths:
        if _NOT_IN_NAMES.search(unquote(path.name)):
            raise CorpusError(f"{folder}: a file named {path.name!r}; rename it, in UTF-8 and without line breaks")
    names = ((path, path.name.removesuffix(".gz")) for path in paths)
    return {name.removesuffix(ending): path for path, name in names if name.endswith(ending)}


def _brat_mention(line: str, where: str) -> Mention | None:
    if not line.strip(_BLANK) or line.startswith(_BRAT_OTHERS):
        return None
    columns = line.split("\t", 2)
    match = _BRAT_SPANS.fullmatch(columns[1]) if len(columns) == 3 and line.startswith("T") else None
    if match is None:
        raise CorpusError(
            f"{where}: {line[:60]!r}; expected T1<tab>TYPE START END[;START END]<tab>TEXT, or a line that begins with "
            f"one of {' '.join(_BRAT_OTHERS)}"
        )
    spans = tuple((int(start), int(end)) for start, end in (part.split(" ") for part in match[2].split(";")))
    return Mention(spans, match[1], columns[2], where)


def _brat_text(path: Path, mentions: list[Mention]) -> str:
    """The text file's characters.

    brat counts a byte order mark and both characters of CRLF. Files that were given them only after they had been
    annotated don't, so the form in which most mentions' texts are found is taken, and as a rule the file as it is.
    """
    with _opened(path) as file:
        raw = _decoded(file.read(), path)
    plain = raw.removeprefix(_BOM)
    forms = dict.fromkeys((plain, plain.replace("\r\n", "\n"), raw, raw.replace("\r\n", "\n")))
    return max(forms, key=lambda text: sum(_agrees(text, mention) for mention in mentions))


def write_brat(documents: Iterable[Document], folder: FilePath) -> None:
    """Write a folder of brat pairs `ID.txt` and `ID.ann`; score and task of a prediction stand in a note (`#` line).

    Characters of an id that a file name can't hold are percent-encoded (`10.1/x` is `10.1%2Fx.txt`).

    Raises:
        CorpusError: the folder exists and isn't empty (its files would mix with the new ones), or an id stands twice.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder}: exists and is not empty; remove it or choose another folder")
    with write_then_rename(folder) as temporary:
        temporary.mkdir()
        for document in documents:
            _write_brat_pair(document, temporary)


def _write_brat_pair(document: Document, folder: Path) -> None:
    name = quote(document.document_id, safe=" ,;=@+()[]")
    name = "%2E" + name[1:] if name.startswith(".") else name
    text = document.text
    # A text that begins with the character U+FEFF needs another one before it, which readers take for the mark.
    content = (_BOM if text.startswith(_BOM) else "") + text
    lines = []
    for number, entity in enumerate(document.entities, 1):
        mention_type = entity.type.translate(_LINE_BREAKERS)
        mention = text[entity.start : entity.end].translate(_LINE_BREAKERS)
        lines.append(f"T{number}\t{mention_type} {entity.start} {entity.end}\t{mention}\n")
        if notes := [f"{key}={value}" for key, value in _score_and_task(entity).items()]:
            lines.append(f"#{number}\tAnnotatorNotes T{number}\t{' '.join(notes)}\n")
    try:
        for ending, characters in ((".txt", content), (".ann", "".join(lines))):
            with open(folder / f"{name}{ending}", "xb") as file:
                file.write(characters.encode())
    except FileExistsError:
        raise CorpusError(f"document id {document.document_id!r} stands twice; give each document its own") from None
