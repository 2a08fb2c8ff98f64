"""File formats of annotated text: PubTator, BC2GM, CoNLL/IOB2, brat standoff, GENIA XML, BioC XML and JSONL.

A reader is a generator of `RawDocument`: what the file says, offsets turned into half-open `(start, end)` ranges of
Python characters (code points), nothing judged. `schema.to_documents` checks and counts. `read_any` picks the reader.
A writer takes `Document`s, gold or predicted, and replaces its target only when everything is written.

All files are UTF-8, with or without byte order mark, lines end in LF or CRLF, and gzip is unpacked (known by content,
not by name). Whatever can't be read raises `CorpusError` with file, line, what was found and what was expected.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import logging
import os
import re
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote
from xml.parsers import expat
from xml.sax.saxutils import escape

from .schema import COORDINATION, CorpusError, Document, Entity, Mention, RawDocument, trim


logger = logging.getLogger(__name__)

FilePath = str | os.PathLike[str]

CONLL_ENDINGS = (".iob2", ".iob", ".conll", ".bio", ".tsv")
KNOWN_ENDINGS = (".pubtator", ".txt", ".jsonl", ".xml", ".in", *CONLL_ENDINGS)
UNTYPED = "Entity"  # the type of mentions whose file names none

# A line format can't hold these in a text; writers put one space for each, so that offsets stay.
_LINE_BREAKERS = str.maketrans("\t\n\r", "   ")
_BLANK = " \t"  # never str.strip() or str.split() without argument: U+00A0, \x85 and others may stand in a text
_BOM = "\ufeff"
# Files beside those of a corpus.
NO_DATA = re.compile(r"(readme|licen[cs]es?|notices?|citations?|changelog)(\..*)?", re.IGNORECASE)
_INTEGER = re.compile(r"[0-9]{1,15}")


def is_corpus_path(source: str) -> bool:
    """Whether a source of a task reads as a path (it has a `/` or an ending of `KNOWN_ENDINGS`), not a corpus name."""
    return "/" in source or os.sep in source or _without_gz(source).endswith(KNOWN_ENDINGS)


def read_any(path: FilePath) -> Iterator[RawDocument]:
    """Read a corpus file or brat folder with the reader that fits its name ending or content.

    `.txt` is PubTator if its first line that isn't blank is a PubTator title, else CoNLL; `.xml` is told by its root;
    a BC2GM `.in` file needs `GENE.eval` beside it, and `ALTGENE.eval` and `NAME.idmap` there are used.

    Raises:
        CorpusError: at once if the path is missing or of no known kind; while reading if the content is malformed.
    """
    path = Path(path)
    if path.is_dir():
        return read_brat(path)
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder; check the path")
    return _reader_of(path)(path)


def _reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    ending = Path(_without_gz(path.name)).suffix
    if ending == ".txt":
        return _text_reader_of(path)
    if ending == ".xml":
        return _xml_reader_of(path)
    if ending in CONLL_ENDINGS:
        return read_conll
    readers = {".pubtator": read_pubtator, ".jsonl": read_jsonl, ".in": _read_bc2gm_folder}
    if ending in readers:
        return readers[ending]
    raise CorpusError(
        f"{path}: {ending or 'no'} ending; understood are {', '.join(KNOWN_ENDINGS)}, each also with .gz, "
        "and folders of brat .txt/.ann pairs"
    )


def _text_reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    for where, line in _lines(path):
        if not line.strip(_BLANK) or _CONLL_COMMENT.match(line):
            continue
        if _PUBTATOR_TEXT.fullmatch(line):
            return read_pubtator
        if _conll_break(line, where) is None and not _CONLL_TAG.fullmatch(_columns(line)[-1]):
            raise CorpusError(
                f"{where}: {line[:60]!r} is neither PubTator (ID|t|TITLE) nor CoNLL (token and BIO tag); a .txt file "
                "must be one of them, and brat texts are read by giving their folder"
            )
        break
    return read_conll


def _xml_reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    root = _xml_root(path)
    readers = {"set": read_genia_xml, "collection": read_bioc}
    if root not in readers:
        raise CorpusError(f"{path}: XML root <{root}>; expected <set> (GENIA, GPML) or <collection> (BioC)")
    return readers[root]


def _without_gz(name: str) -> str:
    return name.lower().removesuffix(".gz")


# --------------------------------------------------------------------------------------------------------- raw input


@contextmanager
def _opened(path: FilePath) -> Iterator[BinaryIO]:
    """The bytes of a plain or gzip file; the system's errors come out as CorpusErrors."""
    try:
        with open(path, "rb") as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(file) as unpacked:
                    yield unpacked
            else:
                yield file
    except FileNotFoundError:
        raise CorpusError(f"{path}: no such file; check the path") from None
    except (EOFError, zlib.error, OSError) as error:
        raise CorpusError(f"{path}: can't be read ({error}); if it is gzip, copy or download it again") from error


def _lines(path: FilePath) -> Iterator[tuple[str, str]]:
    """Each line as (`file:line`, text), split at LF only: U+2028, \\x0b, \\x85 are ordinary characters of a text."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(_BOM.encode())
            yield f"{path}:{number}", _decoded(line.removesuffix(b"\n").removesuffix(b"\r"), path, number)


def _decoded(data: bytes, path: FilePath, first_line: int = 1) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data.count(b"\n", 0, error.start)
        raise CorpusError(
            f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _columns(line: str) -> list[str]:
    return re.split(f"[{_BLANK}]+", line.strip(_BLANK))


def _stripped(name: str) -> str:
    """The name of a type without what can't be seen around it, which would make it another type."""
    start, end = trim(name, 0, len(name))
    return name[start:end]


def _at(text: str, spans: Iterable[tuple[int, int]]) -> str:
    return " ".join(text[start:end] for start, end in spans)


def _agrees(text: str, mention: Mention) -> bool:
    """Whether the offsets hold the text that the file states, but for line breaks and tabs it can't repeat."""
    return _at(text, mention.spans).translate(_LINE_BREAKERS) == (mention.text or "").translate(_LINE_BREAKERS)


def _as_found(text: str, mention: Mention) -> Mention:
    """The mention with its text as the document has it, so that a line break shown as a space is no difference."""
    return replace(mention, text=_at(text, mention.spans)) if _agrees(text, mention) else mention


class _Text:
    """A text put together from parts whose offsets matter."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.length = 0

    def __str__(self) -> str:
        return "".join(self.parts)

    def add(self, part: str) -> tuple[int, int]:
        """Append; returns the part's half-open range."""
        start = self.length
        self.parts.append(part)
        self.length += len(part)
        return start, self.length


# ---------------------------------------------------------------------------------------------------------- PubTator

_PUBTATOR_TEXT = re.compile(r"([^\t]+?)\|([ta])\|(.*)", re.DOTALL)  # DOTALL: \r and the like may stand inside
_PUBTATOR_RELATION = re.compile("[A-Za-z][A-Za-z_ -]+(:?[0-9]+)?")  # CID, Association, CPR:4; no O for 0
_BEHIND_RETURN = re.compile(r"\r([^|\t\r]+)(?:\|a\||\t)")  # the id of a line, where \r alone ends lines


@dataclass
class _PubtatorBlock:
    """One document's lines."""

    document_id: str
    title: str
    where: str
    abstract: str | None = None
    mentions: list[Mention] = field(default_factory=list)
    relations: list[tuple[str, list[str]]] = field(default_factory=list)

    def document(self) -> RawDocument:
        if self.document_id in _BEHIND_RETURN.findall(f"{self.title} {self.abstract}"):
            raise CorpusError(f"{self.where}: lines end in a carriage return alone; save the file with line feeds")
        text = self.text()
        mentions = [_as_found(text, mention) for mention in self.mentions]
        return RawDocument(self.document_id, text, mentions, where=self.where)

    def text(self) -> str:
        # One separator character stands between title and abstract. The format doesn't say which; "\n" makes title
        # and abstract two lines, as in the other formats, and no mention of NCBI or BC5CDR crosses it.
        return self.title if self.abstract is None else f"{self.title}\n{self.abstract}"

    def misread(self) -> list[str]:
        """Where lines stand that were read as relations, but state a mention: a text, and where it begins or ends."""
        text, found = self.text(), []
        for where, columns in self.relations:
            offsets = [int(column) for column in columns if _INTEGER.fullmatch(column)]
            others = [column for column in columns[2:] if column and not _INTEGER.fullmatch(column)]
            if any(text.startswith(own, at) or text.endswith(own, 0, at) for own in others for at in offsets):
                found.append(where)
        return found

    def add(self, line: str, where: str) -> None:
        """An abstract, a mention or a relation."""
        text_line = _PUBTATOR_TEXT.fullmatch(line)
        columns = [text_line[1]] if text_line else line.rstrip("\t").split("\t")
        if len(columns) == 1 and text_line is None:
            raise CorpusError(f"{where}: no tab in {line[:60]!r}; separate the columns of a mention by tabs")
        if columns[0] != self.document_id:
            raise CorpusError(
                f"{where}: document id {columns[0][:60]!r} inside document {self.document_id!r}; separate documents "
                "by a blank line and begin each with ID|t|TITLE"
            )
        if text_line:
            if self.abstract is not None:
                raise CorpusError(f"{where}: a second abstract of document {self.document_id!r}; remove or join it")
            self.abstract = text_line[3]
        elif len(columns) > 2 and _PUBTATOR_RELATION.fullmatch(columns[1]):
            self.relations.append((where, columns))
        else:
            self.mentions.append(_pubtator_mention(columns, where))


def _pubtator_mention(columns: list[str], where: str) -> Mention:
    expected = (
        "expected, separated by tabs: document id, start, end, text, type, and perhaps concept id and the parts of a "
        "composite mention"
    )
    if len(columns) < 5 or not (type_name := _stripped(columns[4])):
        raise CorpusError(f"{where}: {len(columns)} columns {columns[:5]!r}; {expected}")
    if not all(map(_INTEGER.fullmatch, columns[1:3])):
        raise CorpusError(
            f"{where}: {columns[1]!r} and {columns[2]!r} are no offsets, whole numbers from 0; {expected}"
        )
    return Mention(((int(columns[1]), int(columns[2])),), type_name, columns[3], where)


def read_pubtator(path: FilePath) -> Iterator[RawDocument]:
    """Read PubTator: `ID|t|title`, `ID|a|abstract`, mention lines; blank lines between documents.

    The text is title, one "\\n", abstract; offsets run over all of it. Relations, whose second column is a name, are
    skipped; a warning counts those that state a mention. A composite mention (7th column: its parts) is one mention.
    Format: https://www.ncbi.nlm.nih.gov/research/bionlp/APIs/format/

    Raises:
        CorpusError: a malformed line, a mention without text lines or under another document's id.
    """
    block: _PubtatorBlock | None = None
    skipped: list[str] = []
    for where, line in _lines(path):
        text_line = _PUBTATOR_TEXT.fullmatch(line)
        begins = text_line is not None and text_line[2] == "t"
        if block is not None and (begins or not line.strip(_BLANK)):
            yield block.document()
            skipped += block.misread()
            block = None
        if text_line is not None and begins:
            block = _PubtatorBlock(text_line[1], text_line[3], where)
        elif block is not None:
            block.add(line, where)
        elif line.strip(_BLANK):
            raise CorpusError(
                f"{where}: {line[:60]!r} before a title; expected ID|t|TITLE, then ID|a|ABSTRACT and the mentions "
                "without blank lines between"
            )
    if block is not None:
        yield block.document()
        skipped += block.misread()
    if skipped:
        logger.warning(
            "%s: a name in the second column, as in a relation, but then a text of the document and where it stands; "
            "it is passed over (so are %d others); if it is meant as a mention, put the offsets into columns 2 and 3",
            skipped[0], len(skipped) - 1,
        )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- BC2GM

_BC2GM_MENTION = re.compile(r"([^|]+)\|([0-9]{1,15})[ \t]+([0-9]{1,15})\|(.*)", re.DOTALL)


def read_bc2gm(
    in_path: FilePath, gene_path: FilePath, altgene_path: FilePath | None = None, idmap_path: FilePath | None = None
) -> Iterator[RawDocument]:
    """Read BioCreative II gene mentions: one sentence is one document, every mention has the type `GENE`.

    The files' offsets count no spaces and their end is inclusive; here they become ordinary half-open ones.

    Args:
        in_path: lines `ID sentence`.
        gene_path: lines `ID|start end|text`, the gold mentions.
        altgene_path: the same for other acceptable spans, which become `alternatives`.
        idmap_path: lines `P-id ID`; the test sentences' ids tell no PMID, theirs do.

    Raises:
        CorpusError: a malformed line, offsets outside the sentence, a mention of an unknown sentence (raised last).
    """
    genes = _bc2gm_mentions(gene_path)
    alternatives = _bc2gm_mentions(altgene_path) if altgene_path else {}
    pmid_ids = _bc2gm_idmap(idmap_path) if idmap_path else {}
    seen: set[str] = set()
    for where, line in _lines(in_path):
        if not line.strip(_BLANK):
            continue
        sentence_id, space, sentence = line.partition(" ")
        if not space or not sentence_id or sentence_id in seen:
            problem = f"sentence id {sentence_id!r} a second time" if sentence_id in seen else f"{line[:60]!r}"
            raise CorpusError(f"{where}: {problem}; expected a unique sentence id, a space and the sentence")
        seen.add(sentence_id)
        mentions, others = (_with_spaces(sentence, m.pop(sentence_id, ())) for m in (genes, alternatives))
        yield RawDocument(sentence_id, sentence, mentions, others, _bc2gm_group(sentence_id, pmid_ids), where)
    for unknown_id, (mention, *_) in (genes | alternatives).items():
        raise CorpusError(
            f"{mention.where}: sentence id {unknown_id!r} is not in {in_path}; check that the files match"
        )


def _bc2gm_mentions(path: FilePath) -> dict[str, list[Mention]]:
    """Mentions by sentence id; their offsets are half-open here, but still count no spaces."""
    mentions: dict[str, list[Mention]] = {}
    for where, line in _lines(path):
        if not line.strip(_BLANK):
            continue
        match = _BC2GM_MENTION.fullmatch(line)
        if match is None:
            raise CorpusError(f"{where}: {line[:60]!r}; expected ID|START END|TEXT")
        mention = Mention(((int(match[2]), int(match[3]) + 1),), "GENE", match[4], where)
        mentions.setdefault(match[1], []).append(mention)
    return mentions


def _with_spaces(sentence: str, mentions: Iterable[Mention]) -> list[Mention]:
    """The mentions with offsets that count spaces too."""
    mentions = list(mentions)
    if not mentions:
        return []
    positions = [index for index, character in enumerate(sentence) if character != " "]
    converted = []
    for mention in mentions:
        ((start, end),) = mention.spans
        if not start < end <= len(positions):
            raise CorpusError(
                f"{mention.where}: offsets {start} {end - 1} are not inside the sentence, which has {len(positions)} "
                "characters without its spaces; expected START <= END, both counted from 0 without spaces"
            )
        converted.append(replace(mention, spans=((positions[start], positions[end - 1] + 1),)))
    return converted


def _bc2gm_idmap(path: FilePath) -> dict[str, str]:
    ids: dict[str, str] = {}
    for where, line in _lines(path):
        columns = _columns(line)
        if len(columns) == 2:
            ids[columns[1]] = columns[0]
        elif columns != [""]:
            raise CorpusError(f"{where}: {len(columns)} columns; expected the id with the PMID and the test file's id")
    return ids


def _bc2gm_group(sentence_id: str, pmid_ids: dict[str, str]) -> str:
    """The PMID inside an id such as P00001606T0076 (T title, A abstract, X unknown), "" if there is none."""
    match = re.match(r"P([0-9]+)[A-Z]", pmid_ids.get(sentence_id, sentence_id))
    return match[1] if match else ""


def _read_bc2gm_folder(in_path: Path) -> Iterator[RawDocument]:
    genes = _beside(in_path, "GENE.eval")
    if genes is None:
        raise CorpusError(f"{in_path}: no GENE.eval beside it; put the gold mentions there or call read_bc2gm")
    idmap = _beside(in_path, f"{_stem(in_path)}.idmap")
    return read_bc2gm(in_path, genes, _beside(in_path, "ALTGENE.eval"), idmap)


def read_together(path: Path) -> list[Path]:
    """The file, and those beside it that `read_any` reads with it: gold mentions and ids of BC2GM."""
    if not re.search(r"\.in(\.gz)?$", path.name, re.IGNORECASE):
        return [path]
    names = ("GENE.eval", "ALTGENE.eval", f"{_stem(path)}.idmap")
    return [path, *filter(None, (_beside(path, name) for name in names))]


def _beside(path: Path, name: str) -> Path | None:
    candidates = (path.with_name(name), path.with_name(f"{name}.gz"))
    return next(filter(Path.exists, candidates), None)


def _stem(path: Path) -> str:
    return Path(re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE)).stem


# -------------------------------------------------------------------------------------------------------- CoNLL, IOB2

_CONLL_TAG = re.compile(r"O|([BIES])(?:-(.+))?", re.DOTALL)


@dataclass(frozen=True)
class _Row:
    token: str
    prefix: str  # O, or one of B, I, E, S
    type: str
    where: str
    columns: int
    tabs: int


_CONLL_COMMENT = re.compile(r"# ?[\w.:-]+( [\w.:-]+)* =( |$)|# ?newpar$")  # CoNLL-U: `# sent_id = 1`
_CONLLU_DOCUMENT = re.compile(r"# ?newdoc(?: id = (.*))?")


def read_conll(path: FilePath) -> Iterator[RawDocument]:
    """Read one token a line: first column the token, last one its IOB2, IOB1 or IOBES tag; blank line = sentence end.

    `###MEDLINE:id` (JNLPBA), `-DOCSTART-` and `# newdoc id = id` lines begin documents; if the file has none, each
    sentence is one. Ids that the file doesn't give are `<file stem>-<n>`, from 1. The text is made up: tokens
    joined by a space, sentences by "\\n". CoNLL-U comments (`# key = value`) are left aside. An `I-` or `E-` tag
    that continues nothing begins a mention, as in IOB1; a warning counts them. Bare tags (`B`, `I`), as in files
    of one type, give the type `UNTYPED`.

    Raises:
        CorpusError: a line of one column, or of another number than the first; a tag of another scheme.
    """
    path = Path(path)
    has_breaks = any(_conll_break(line, where) is not None for where, line in _lines(path))
    strays: list[str] = []
    sentences: list[list[_Row]] = []
    document_id, number, counting = "", 0, True
    for break_id, rows in _conll_sentences(path):
        counting = counting and _counts(rows)  # in all sentences so far
        begins = break_id is not None or not has_breaks
        if sentences and begins:
            yield _conll_document(document_id, sentences, strays)
            sentences = []
        if not sentences:
            number += 1
            document_id = break_id or f"{_stem(path)}-{number}"
        sentences.append(rows)
    if sentences:
        yield _conll_document(document_id, sentences, strays)
    if strays:
        logger.warning(
            "%s: %d mentions begin with I- or E- instead of B- or S- (the first at %s); they are read as in IOB1",
            path, len(strays), strays[0],
        )  # fmt: skip


def _conll_break(line: str, where: str) -> str | None:
    """The document id of a line that begins a document, "" if it tells none, None if the line is no such one."""
    if line.startswith("-DOCSTART-"):
        return ""
    if begins := _CONLLU_DOCUMENT.fullmatch(line):
        return (begins[1] or "").strip(_BLANK)
    if not line.startswith("###MEDLINE:"):
        return None
    document_id = _columns(line.removeprefix("###MEDLINE:"))[0]
    if not document_id:
        raise CorpusError(f"{where}: ###MEDLINE: without an id; expected ###MEDLINE:ID")
    return document_id


def _conll_sentences(path: Path) -> Iterator[tuple[str | None, list[_Row]]]:
    """Each sentence's rows, with what `_conll_break` says of the break before it, None if there is none."""
    break_id: str | None = None
    rows: list[_Row] = []
    first: _Row | None = None
    for where, line in _lines(path):
        found = _conll_break(line, where)
        if found is None and _CONLL_COMMENT.match(line):
            continue
        if found is None and line.strip(_BLANK):
            rows.append(_conll_row(line, where))
            first = first or rows[-1]
            _check_columns(rows[-1], first, line)
            continue
        if rows:
            yield break_id, rows
            break_id, rows = None, []
        break_id = break_id if found is None else found
    if rows:
        yield break_id, rows


def _counts(rows: list[_Row]) -> bool:
    """Whether the first of three columns or more counts the tokens of a sentence, as in CoNLL-U.

    Raises:
        CorpusError: it does, and of three tokens or more.
    """
    if rows[0].columns < 3 or [row.token for row in rows] != [str(number) for number in range(1, len(rows) + 1)]:
        return False
    if len(rows) > 2:
        raise CorpusError(f"{rows[0].where}: the first column counts the tokens; the token itself must stand there")
    return True


def _check_columns(row: _Row, first: _Row, line: str) -> None:
    """Raises CorpusError for a row of another number of columns than the first, by tabs as by blanks: its last column
    isn't the one of the tag."""
    if row.columns != first.columns and row.tabs != first.tabs:
        raise CorpusError(
            f"{row.where}: {row.columns} columns {line[:60]!r}, where {first.where} has {first.columns}; "
            "give each row all"
        )


def _conll_row(line: str, where: str) -> _Row:
    if "\r" in line:
        raise CorpusError(f"{where}: a carriage return inside a line; save the file with line feeds")
    columns = _columns(line)
    if "\t" in line and any(" " in column.strip(_BLANK) for column in line.split("\t")):
        raise CorpusError(
            f"{where}: {line[:60]!r} has a space in a column, where columns are apart by tabs; write one token "
            "a line, without spaces"
        )
    tag = _CONLL_TAG.fullmatch(columns[-1])
    if len(columns) < 2 or tag is None:
        raise CorpusError(
            f"{where}: {line[:60]!r}; expected a token and, as last column after a tab or space, a tag: O, B-TYPE, "
            "I-TYPE (IOBES: also E-TYPE, S-TYPE), or bare B and I"
        )
    prefix = tag[1] or "O"
    type_name = "" if prefix == "O" else _stripped(tag[2] or "") or UNTYPED
    return _Row(columns[0], prefix, type_name, where, len(columns), line.rstrip(_BLANK).count("\t"))


def _conll_document(document_id: str, sentences: list[list[_Row]], strays: list[str]) -> RawDocument:
    text = _Text()
    mentions: list[Mention] = []
    for rows in sentences:
        if text.length:
            text.add("\n")
        offsets = []
        for index, row in enumerate(rows):
            if index:
                text.add(" ")
            offsets.append(text.add(row.token))
        mentions += _conll_mentions(rows, offsets, strays)
    return RawDocument(document_id, str(text), mentions, where=sentences[0][0].where)


def _conll_mentions(rows: list[_Row], offsets: list[tuple[int, int]], strays: list[str]) -> list[Mention]:
    """The mentions of a sentence; where one begins with an inner tag is added to `strays`."""
    mentions: list[Mention] = []
    open_type = ""  # of the mention that the next row may continue
    for row, (start, end) in zip(rows, offsets, strict=True):
        if row.prefix in "IE" and row.type == open_type:
            mentions[-1] = replace(mentions[-1], spans=((mentions[-1].spans[0][0], end),))
        elif row.prefix != "O":
            if row.prefix in "IE":
                strays.append(row.where)
            mentions.append(Mention(((start, end),), row.type, where=row.where))
        open_type = "" if row.prefix in "OES" else row.type
    return mentions


# -------------------------------------------------------------------------------------------------------------- brat

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


# --------------------------------------------------------------------------------------------------------------- XML
# expat alone: it tells lines, reads any size in pieces, fetches nothing, and needs no dependency. What is left to
# refuse is entities: an internal one may expand without bound, and an external one would leave a hole in the text.

_XML_SPACE = " \t\r\n"
_XML_DEPTH = 100  # GENIA and BioC need about 10; the bound lets the tree be walked by recursion


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str]
    where: str
    children: list[_Element | str] = field(default_factory=list)

    def elements(self, tag: str) -> list[_Element]:
        return [child for child in self.children if isinstance(child, _Element) and child.tag == tag]

    def descendants(self, tag: str) -> Iterator[_Element]:
        """In document order."""
        for child in self.children:
            if isinstance(child, _Element):
                if child.tag == tag:
                    yield child
                yield from child.descendants(tag)

    def text(self, tag: str) -> str | None:
        """The text of the first child of that tag, as it is; None if there is no such child."""
        for child in self.elements(tag):
            return "".join(part for part in child.children if isinstance(part, str))
        return None


class _XmlParser:
    """Builds the elements below the root one after the other and forgets them once taken from `done`."""

    def __init__(self, path: FilePath) -> None:
        self.path = path
        self.root = ""
        self.done: deque[_Element] = deque()
        self.open: list[_Element] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.EntityDeclHandler = self.declared_entity
        self.parser.SkippedEntityHandler = self.undeclared_entity

    def feed(self, data: bytes) -> None:
        """Parse the next bytes; empty bytes end the file."""
        try:
            self.parser.Parse(data, not data)
        except CorpusError:
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:
            reason = re.sub(": line .*", "", str(error))
            raise CorpusError(f"{self.where()}: not well-formed XML ({reason}); correct or copy it again") from error

    def where(self) -> str:
        return f"{self.path}:{self.parser.CurrentLineNumber}"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) == _XML_DEPTH:
            raise CorpusError(f"{self.where()}: elements nested deeper than {_XML_DEPTH}; this is no corpus file")
        element = _Element(tag, attributes, self.where())
        if not self.open:
            self.root = tag
        elif len(self.open) > 1:
            self.open[-1].children.append(element)
        self.open.append(element)

    def end(self, tag: str) -> None:
        element = self.open.pop()
        # Text comes in pieces, which end where those that were read of the file do.
        pieces = itertools.groupby(element.children, lambda child: isinstance(child, str))
        element.children = [child for text, own in pieces for child in (["".join(own)] if text else own)]
        if len(self.open) == 1:
            self.done.append(element)

    def characters(self, text: str) -> None:
        if len(self.open) > 1:
            self.open[-1].children.append(text)

    def declared_entity(self, name: str, *declaration: object) -> None:
        raise CorpusError(f"{self.where()}: declares the entity {name!r}; entities are not expanded, remove them")

    def undeclared_entity(self, name: str, is_parameter: bool) -> None:
        if not is_parameter:
            raise CorpusError(f"{self.where()}: the entity &{name}; is not defined here; put its characters instead")


def _xml_records(path: FilePath, root: str, record: str) -> Iterator[_Element]:
    """The elements `record` directly below `root`, while the file is being read."""
    parser = _XmlParser(path)
    with _opened(path) as file:
        data = b"begin"
        while data:
            data = file.read(1 << 16)
            parser.feed(data)
            if parser.root not in ("", root):
                raise CorpusError(f"{path}: XML root <{parser.root}>; expected <{root}>")
            while parser.done:
                element = parser.done.popleft()
                if element.tag == record:
                    yield element


def _xml_root(path: Path) -> str:
    parser = _XmlParser(path)
    with _opened(path) as file:
        while not parser.root:
            parser.feed(file.read(1 << 12))
    return parser.root


# --------------------------------------------------------------------------------------------------------- GENIA XML


def read_genia_xml(path: FilePath) -> Iterator[RawDocument]:
    """Read GENIA's GPML: every `cons` with a `sem` is a mention of that type without `G#`, nested ones too.

    A coordination (`sem="(AND G#x G#y)"`) is a mention lost as `COORDINATION`, its `sem` the type; its parts have no
    `sem` and are none. The text is title, "\\n", abstract; sentences are joined by a space, line breaks with the
    indentation around them are one. Ids: the digits after `MEDLINE:`; `<file stem>-<n>` if there is no `bibliomisc`.
    Format: http://www.geniaproject.org/genia-corpus/term-corpus (gpml.dtd; never loaded)

    Raises:
        CorpusError: not well-formed, another root than `set`, or entities other than XML's own five.
    """
    for number, article in enumerate(_xml_records(path, "set", "article"), 1):
        text = _Text()
        mentions: list[Mention] = []
        for name in ("title", "abstract"):
            separator = "\n"
            for part in article.elements(name):
                for sentence in _genia_sentences(part):
                    before = text.length
                    mentions += _genia_mentions(sentence, text, separator)
                    separator = separator if text.length == before else " "
        document_id = _genia_id(article) or f"{_stem(Path(path))}-{number}"
        yield RawDocument(document_id, str(text), mentions, where=article.where)


def _genia_id(article: _Element) -> str:
    """The id of an `articleinfo > bibliomisc` such as `MEDLINE:95369245` (`MEDLIN:` in the manual)."""
    stated = next((info.text("bibliomisc") or "" for info in article.elements("articleinfo")), "").strip()
    match = re.search(r"MEDLINE?:\s*([0-9]+)", stated)
    return match[1] if match else stated


def _genia_sentences(part: _Element) -> list[_Element]:
    """The sentences of a title or abstract; what stands outside of them, as the DTD allows, is a sentence too."""
    if not part.elements("sentence"):
        return [part]

    def is_sentence(child: _Element | str) -> bool:
        return isinstance(child, _Element) and child.tag == "sentence"

    groups = itertools.groupby(part.children, is_sentence)
    return [c for known, own in groups for c in (own if known else [_Element("sentence", {}, part.where, list(own))])]


def _flatten(element: _Element, text: _Text, constituents: list[tuple[int, int, _Element]]) -> None:
    """Append the element's text, and `(start, end, cons)` of the `cons` inside it, outer before inner."""
    for child in element.children:
        if isinstance(child, str):
            text.add(re.sub(f"[{_XML_SPACE}]+", lambda space: " " if "\n" in space[0] else space[0], child))
            continue
        start, index = text.length, len(constituents)
        constituents.append((start, start, child))
        _flatten(child, text, constituents)
        constituents[index] = (start, text.length, child)


def _genia_mentions(sentence: _Element, text: _Text, separator: str) -> list[Mention]:
    """Append the sentence, without the spaces at its edges, to the text; its mentions."""
    untrimmed = _Text()
    constituents: list[tuple[int, int, _Element]] = []
    _flatten(sentence, untrimmed, constituents)
    whole = str(untrimmed)
    trimmed = whole.strip(_XML_SPACE)
    if trimmed and text.length:
        text.add(separator)
    shift = text.add(trimmed)[0] - whole.find(trimmed)
    mentions = []
    for start, end, constituent in constituents:
        words = whole[start:end].strip(_XML_SPACE)
        start = whole.find(words, start) + shift
        sem = " ".join(constituent.attributes.get("sem", "").split())
        if constituent.tag != "cons" or not sem:
            continue
        if not words:
            logger.warning("%s: <cons sem=%r> holds no text and is no mention", constituent.where, sem)
            continue
        lost = COORDINATION if sem.startswith("(") else ""
        span = (start, start + len(words))
        mentions.append(Mention((span,), sem.removeprefix("G#"), where=constituent.where, lost=lost))
    return mentions


# ---------------------------------------------------------------------------------------------------------- BioC XML
# Not with the `bioc` package: it parses with lxml's defaults, which expand internal entities, tells no line of an
# error, neither pads nor checks offsets, and brings five dependencies for what is a page of code here.

_MAX_GAP = 100_000  # between passages; a larger one is a wrong offset, not padding worth its memory


def read_bioc(path: FilePath) -> Iterator[RawDocument]:
    """Read BioC XML: each `annotation` is a mention, its type the infon `type`; relations are skipped.

    Every passage (or sentence, if the passage itself has no text) stands at its `offset`, counted in characters. Gaps
    are padded: by spaces, but a passage begins on a new line, so that BC5CDR reads the same as from PubTator.
    Format: https://bioc.sourceforge.net (Comeau et al. 2013, doi:10.1093/database/bat064)

    Raises:
        CorpusError: not well-formed, another root than `collection`, a passage that begins inside the one before,
            an annotation without type or location, entities other than XML's own five.
    """
    for document in _xml_records(path, "collection", "document"):
        document_id = (document.text("id") or "").strip(_XML_SPACE)
        if not document_id:
            raise CorpusError(f"{document.where}: a <document> without <id>; give it one")
        text = _Text()
        for passage in document.elements("passage"):
            sentences = passage.elements("sentence")
            blocks = [passage] if (passage.text("text") or "").strip() or not sentences else sentences
            for index, block in enumerate(blocks):
                _bioc_pad(text, _bioc_integer(block.text("offset"), block), block.where, " " if index else "\n")
                text.add(block.text("text") or "")
        whole = str(text)
        mentions = [_bioc_mention(annotation, whole) for annotation in document.descendants("annotation")]
        yield RawDocument(document_id, whole, mentions, where=document.where)


def _bioc_integer(value: str | None, element: _Element) -> int:
    value = (value or "").strip(_XML_SPACE)
    if not _INTEGER.fullmatch(value):
        raise CorpusError(f"{element.where}: offset or length {value!r} of <{element.tag}>; expected a whole number")
    return int(value)


def _bioc_pad(text: _Text, offset: int, where: str, separator: str) -> None:
    gap = offset - text.length
    if not 0 <= gap <= _MAX_GAP:
        raise CorpusError(
            f"{where}: offset {offset}, but the text before it ends at {text.length}; offsets must count characters "
            f"(not bytes), rise, and leave no gap over {_MAX_GAP}"
        )
    if gap:
        text.add((separator if text.length else " ") + " " * (gap - 1))


def _bioc_mention(annotation: _Element, text: str) -> Mention:
    infons = {infon.attributes.get("key"): "".join(map(str, infon.children)) for infon in annotation.elements("infon")}
    locations = annotation.elements("location")
    mention_type = infons.get("type", "").strip(_XML_SPACE)
    if not locations or not mention_type:
        missing = "<location>" if mention_type else '<infon key="type">'
        raise CorpusError(f"{annotation.where}: an <annotation> without {missing}; add it or remove the annotation")
    spans = []
    for location in locations:
        start, length = (_bioc_integer(location.attributes.get(name), location) for name in ("offset", "length"))
        spans.append((start, start + length))
    mention = Mention(tuple(spans), mention_type, annotation.text("text"), annotation.where)
    return mention if mention.text is None else _as_found(text, mention)


# ------------------------------------------------------------------------------------------------------------- JSONL

_SURROGATES = "\ud800-\udfff"  # halves of a character, which JSON can escape but UTF-8 and tokenizers can't hold
_NOT_IN_NAMES = re.compile(f"[\t\n\r{_SURROGATES}]")  # of documents and types


def read_jsonl(path: FilePath) -> Iterator[RawDocument]:
    """Read one JSON object a line: `{"document_id", "text", "entities": [{"start", "end", "type", "text"}]}`.

    Offsets are half-open and count characters. `entities` may be missing (a warning tells if lists have other names),
    as may an entity's `text`; other keys (`score`, `task`) are not read.

    Raises:
        CorpusError: invalid JSON, a key that is missing or stands twice, or a value of another type.
    """
    others: list[tuple[str, list[str]]] = []
    for where, line in _lines(path):
        if not line.strip(_BLANK):
            continue
        try:
            record = json.loads(line, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            array = ", and no array" if line.lstrip(_BLANK).startswith("[") else ""
            raise CorpusError(f"{where}: invalid JSON ({error}); expected one object a line{array}") from None
        yield _json_document(record, where)
        if "entities" not in record and (lists := [key for key, value in record.items() if _may_hold_mentions(value)]):
            others.append((where, lists))
    if others:
        logger.warning(
            "%s: no entities, but %s; it is read as a text without mentions (so are %d others), and if these are its "
            "mentions, name them entities", others[0][0], ", ".join(others[0][1])[:100], len(others) - 1,
        )  # fmt: skip


def _may_hold_mentions(value: object) -> bool:
    """As a list of objects or lists does, and one of authors or MeSH terms doesn't."""
    return isinstance(value, list) and any(isinstance(own, (dict, list)) for own in value)


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Raises ValueError for a key that stands twice, of which JSON takes the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)[:60]!r} twice")
    return found


def _json_document(record: object, where: str) -> RawDocument:
    if not isinstance(record, dict):
        raise CorpusError(f"{where}: a JSON {type(record).__name__}; expected an object with document_id and text")
    for key in ("document_id", "text"):
        if record.get(key) is None:
            raise CorpusError(f"{where}: no {key}; expected an object with document_id and text")
    document_id, text, entities = record["document_id"], record["text"], record.get("entities")
    entities = [] if entities is None else entities
    if type(document_id) is int:
        document_id = str(document_id)  # PMIDs are often written as numbers
    if not isinstance(document_id, str) or not document_id or _NOT_IN_NAMES.search(document_id):
        raise CorpusError(f"{where}: document_id {document_id!r}; expected a string without tabs or line breaks")
    if not isinstance(text, str) or re.search(f"[{_SURROGATES}]", text):
        raise CorpusError(f"{where}: text is {str(text)[:60]!r}; expected a string without lone surrogates")
    if not isinstance(entities, list):
        raise CorpusError(f"{where}: entities is {str(entities)[:60]!r}; expected a list, or none")
    return RawDocument(document_id, text, [_json_mention(entity, where) for entity in entities], where=where)


def _json_mention(entity: object, where: str) -> Mention:
    if isinstance(entity, dict):
        start, end, mention_type, text = (entity.get(key) for key in ("start", "end", "type", "text"))
        integers = type(start) is int and type(end) is int  # bool is no offset
        named = isinstance(mention_type, str) and mention_type and mention_type == mention_type.strip()
        if integers and named and not _NOT_IN_NAMES.search(mention_type) and isinstance(text, str | None):
            return Mention(((start, end),), mention_type, text, where)
    raise CorpusError(
        f"{where}: entity {str(entity)[:100]}; expected start and end (whole numbers) and type (a string "
        "without blanks around it or line breaks)"
    )


# ----------------------------------------------------------------------------------------------------------- writers


def write_pubtator(documents: Iterable[Document], path: FilePath) -> None:
    """Write PubTator with six columns, the last (concept id) "-"; gzip if the name ends so.

    The first line of a text is its title, all else its abstract. Tabs and further line breaks become a space each, so
    offsets stay. Read back, a text without line break ends in one: the separator before an empty abstract.

    Raises:
        CorpusError: a document id with a tab, a line break, `|t|` or `|a|`; the format can't hold it.
    """
    _write(path, (_pubtator_block(document) for document in documents))


def _pubtator_block(document: Document) -> str:
    document_id = document.document_id
    if not document_id or re.search(r"[\t\n\r]|\|[ta](\||$)", document_id):
        raise CorpusError(f"document id {document_id!r} can't stand in PubTator; rename it or write JSONL")
    title, newline, abstract = (part.translate(_LINE_BREAKERS) for part in document.text.partition("\n"))
    flat = title + " " + abstract
    lines = [f"{document_id}|t|{title}", f"{document_id}|a|{abstract}"]
    for entity in document.entities:
        columns = (document_id, entity.start, entity.end, flat[entity.start : entity.end])
        lines.append("\t".join(map(str, (*columns, entity.type.translate(_LINE_BREAKERS), "-"))))
    return "\n".join(lines) + "\n\n"


def write_jsonl(documents: Iterable[Document], path: FilePath) -> None:
    """Write what `read_jsonl` reads, with `score` and `task` of predicted entities; gzip if the name ends so."""
    _write(path, (_json_line(document) for document in documents))


def _json_line(document: Document) -> str:
    entities = [
        {"start": e.start, "end": e.end, "type": e.type, "text": document.text[e.start : e.end], **_score_and_task(e)}
        for e in document.entities
    ]
    record = {"document_id": document.document_id, "text": document.text, "entities": entities}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _score_and_task(entity: Entity) -> dict[str, float | str]:
    """What a prediction has besides, as far as it has it."""
    score = {} if entity.score is None else {"score": float(entity.score)}
    return score | ({"task": entity.task} if entity.task else {})


def write_brat(documents: Iterable[Document], folder: FilePath) -> None:
    """Write a folder of brat pairs `ID.txt` and `ID.ann`; score and task of a prediction stand in a note (`#` line).

    Characters of an id that a file name can't hold are percent-encoded (`10.1/x` is `10.1%2Fx.txt`).

    Raises:
        CorpusError: the folder exists and isn't empty (its files would mix with the new ones), or an id stands twice.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CorpusError(f"{folder}: exists and is not empty; remove it or choose another folder")
    temporary = temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        for document in documents:
            _write_brat_pair(document, temporary)
        if folder.exists():
            folder.rmdir()  # os.replace takes no existing folder on Windows
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def write_bioc(documents: Iterable[Document], path: FilePath) -> None:
    """Write BioC XML, one passage a document; score and task of a prediction are infons; gzip if the name ends so.

    Characters that XML can't hold (most control characters) become a space each, so offsets stay.
    """
    _write(path, _bioc_parts(documents))


def _bioc_parts(documents: Iterable[Document]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n'
    yield "<collection><source>MTL-BioNER</source><date></date><key></key>\n"
    for document in documents:
        yield f"<document><id>{_xml_escaped(document.document_id)}</id>\n"
        yield f"<passage><offset>0</offset><text>{_xml_escaped(document.text)}</text>\n"
        for number, entity in enumerate(document.entities, 1):
            yield _bioc_annotation(number, entity, document.text)
        yield "</passage></document>\n"
    yield "</collection>\n"


def _bioc_annotation(number: int, entity: Entity, text: str) -> str:
    infons = {"type": entity.type, **_score_and_task(entity)}
    stated = "".join(f'<infon key="{key}">{_xml_escaped(str(value))}</infon>' for key, value in infons.items())
    location = f'<location offset="{entity.start}" length="{entity.end - entity.start}"/>'
    mention = _xml_escaped(text[entity.start : entity.end])
    return f'<annotation id="T{number}">{stated}{location}<text>{mention}</text></annotation>\n'


def _xml_escaped(text: str) -> str:
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
    return escape(text, {"\r": "&#13;"})  # else a reader turns \r\n into \n and the offsets move


def temporary_name(target: Path) -> Path:
    """Hidden, in the same folder, and not that of another process that writes the same."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _write(path: FilePath, parts: Iterable[str]) -> None:
    """Write under a temporary name in the same folder, then rename: a killed run leaves no half file behind."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    try:
        with temporary.open("wb") as file:
            if target.name.endswith(".gz"):  # without name and time, so that the same documents give the same bytes
                with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed, io.BufferedWriter(packed) as buffered:
                    buffered.writelines(part.encode() for part in parts)
            else:
                file.writelines(part.encode() for part in parts)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
