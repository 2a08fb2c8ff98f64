"""CoNLL: one token and tag a line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from dataset_scripts.formats.bc2gm import _stem
from dataset_scripts.formats.files import _BLANK, FilePath, _columns, _lines, _stripped, _Text
from dataset_scripts.schema import CorpusError, Mention, RawDocument


logger = logging.getLogger(__name__)


UNTYPED = "Entity"  # the type of mentions whose file names none


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
