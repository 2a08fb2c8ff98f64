"""brat standoff: a folder of pairs, the text in `ID.txt`, its mentions in `ID.ann` (`ID.a1` in BioNLP shared tasks).

    T1<tab>Disease 0 4<tab>Gout
    T2<tab>Disease 10 15;26 33<tab>renal failure            (a discontinuous mention)
Source: https://brat.nlplab.org/standoff.html
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from dataset_scripts.schema import LINE_BREAKERS, CorpusError, Document, Mention, RawDocument

from .files import BOM, NO_DATA, NOT_IN_NAMES, FilePath, check_name, get_stem, read_lines, read_text, write_then_rename


_SPAN = r"-?[0-9]{1,15} -?[0-9]{1,15}"
_TYPE_AND_SPANS = re.compile(rf"(.*\S) ({_SPAN}(?:;{_SPAN})*)", re.DOTALL)
ENDINGS = (".ann", ".a1")  # of annotations; the events of `.a2` are none
_OTHER_LINES = tuple("REAMN#*")  # relations, events, attributes, modifications, normalisations, notes, equivalences


def read_brat(folder: FilePath) -> Iterator[RawDocument]:
    """Read a folder of brat pairs in the order of their names.

    Only text-bound annotations (`T` lines) are mentions; fragments stay several spans, also if they touch. Hidden
    files and files with other endings are skipped. `%2F` and the like in a name are decoded (see `write_brat`). No
    pair at all, half a pair or a malformed line raises CorpusError.
    """
    folder = Path(folder)
    texts, *others = (_list_files(folder, ending) for ending in (".txt", *ENDINGS))
    if all(others):
        problem = f"{folder}: both {' and '.join(ENDINGS)} files, such as {min(others[1])}{ENDINGS[1]}"
        raise CorpusError(f"{problem}; keep those with the mentions, and move the others elsewhere")
    annotations = next(filter(None, others), None)
    if not annotations:
        raise CorpusError(f"{folder}: no .ann file in this folder; expected brat pairs ID.txt and ID.ann")
    ending = next(ending for ending, files in zip(ENDINGS, others, strict=True) if files)
    texts = {name: path for name, path in texts.items() if name in annotations or not NO_DATA.fullmatch(name)}
    if unpaired := min(texts.keys() ^ annotations.keys(), default=""):
        path, missing = (texts[unpaired], ending) if unpaired in texts else (annotations[unpaired], ".txt")
        raise CorpusError(f"{path}: no {unpaired}{missing} beside it; add it (an {ending} file may be empty)")
    for name, path in sorted(texts.items()):
        yield read_pair(path, annotations[name])


def read_pair(path: Path, annotations: Path) -> RawDocument:
    """Read a text and its annotations; raises CorpusError for a malformed line."""
    lines = read_lines(annotations, skip_blank=True)
    mentions = [_read_mention(line, where) for where, line in lines if not _is_no_mention(line)]
    text = _read_text(path, mentions)
    mentions = [mention.restore_line_breaks(text) for mention in mentions]
    return RawDocument(unquote(get_stem(path)), text, mentions, where=f"{path}:1")


def _list_files(folder: Path, ending: str) -> dict[str, Path]:
    """Return the files with an ending, plain or gzipped, by their name without it."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise CorpusError(f"{folder}: can't be read as a folder ({error.strerror}); check the path") from error
    for path in paths:
        if NOT_IN_NAMES.search(unquote(path.name)):
            raise CorpusError(f"{folder}: a file named {path.name!r}; rename it, in UTF-8 and without line breaks")
    names = [(path, path.name.removesuffix(".gz")) for path in paths]
    files = {name.removesuffix(ending): path for path, name in names if name.endswith(ending)}
    if twice := next((path for path, name in names if files.get(name.removesuffix(ending), path) != path), None):
        raise CorpusError(f"{twice}: there plain and gzipped; remove one of the two")
    return files


def _is_no_mention(line: str) -> bool:
    """Whether a line is of another kind; one with a type, offsets and a text is a mention whose id is wrong."""
    columns = line.split("\t", 2)
    looks_like_mention = len(columns) == 3 and _TYPE_AND_SPANS.fullmatch(columns[1]) and line[0] != "#"
    return line.startswith(_OTHER_LINES) and not looks_like_mention


def _read_mention(line: str, where: str) -> Mention:
    columns = line.split("\t", 2)
    match = _TYPE_AND_SPANS.fullmatch(columns[1]) if len(columns) == 3 and line.startswith("T") else None
    if match is None:
        expected = "T1<tab>TYPE START END[;START END]<tab>TEXT, or a line that begins with one of"
        raise CorpusError(f"{where}: {line[:60]!r}; expected {expected} {' '.join(_OTHER_LINES)}")
    spans = tuple((int(start), int(end)) for start, end in (part.split(" ") for part in match[2].split(";")))
    return Mention(spans, check_name(match[1], where), columns[2], where)


def _read_text(path: Path, mentions: list[Mention]) -> str:
    """Return the file's characters in the form that fits most mentions, by default as they are."""
    raw = read_text(path)  # brat counts a BOM and both characters of CRLF, unless they came after the annotation
    plain = raw.removeprefix(BOM)
    forms = dict.fromkeys((plain, plain.replace("\r\n", "\n"), raw, raw.replace("\r\n", "\n")))
    return max(forms, key=lambda text: sum(mention.fits(text) for mention in mentions))


def write_brat(documents: Iterable[Document], folder: FilePath) -> None:
    """Write a folder of brat pairs `ID.txt` and `ID.ann`; score and task of a prediction go into a note (`#` line).

    Input mentions come first; their infons, such as a concept id, are notes too.

    Characters of an id that a file name can't hold are percent-encoded (`10.1/x` is `10.1%2Fx.txt`). A folder that
    isn't empty (its files would mix with the new ones), or an id that appears twice, raises CorpusError.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder}: exists and is not empty; remove it or choose another folder")
    with write_then_rename(folder) as temporary:
        temporary.mkdir()
        for document in documents:
            _write_pair(document, temporary)


def _write_pair(document: Document, folder: Path) -> None:
    name = quote(document.document_id, safe=" ,;=@+()[]")
    name = "%2E" + name[1:] if name.startswith(".") else name
    # Readers take a leading U+FEFF for the byte order mark, so a text that begins with one gets another.
    mark = BOM if document.text.startswith(BOM) else ""
    if Path(folder, f"{name}.txt").exists():
        raise CorpusError(f"document id {document.document_id!r} appears twice; give each document its own")
    Path(folder, f"{name}.txt").write_bytes((mark + document.text).encode())
    Path(folder, f"{name}.ann").write_bytes("".join(_format_entities(document)).encode())


def _format_entities(document: Document) -> Iterator[str]:
    text = document.text.translate(LINE_BREAKERS)
    mentions = [(one.spans, one.type, one.infons or {}) for one in document.input_mentions]
    mentions += [([(one.start, one.end)], one.type, one.get_prediction_fields()) for one in document.entities]
    for number, (spans, name, fields) in enumerate(mentions, 1):
        places = ";".join(f"{start} {end}" for start, end in spans)
        covered = " ".join(text[start:end] for start, end in spans)
        yield f"T{number}\t{name.translate(LINE_BREAKERS)} {places}\t{covered}\n"
        if notes := [f"{key}={value}" for key, value in fields.items()]:
            yield f"#{number}\tAnnotatorNotes T{number}\t{' '.join(notes).translate(LINE_BREAKERS)}\n"
