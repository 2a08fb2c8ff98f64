"""CoNLL: one token and its BIO tag a line, a blank line after each sentence.

    Gout<tab>B-Disease
    hurts<tab>O
Source: https://www.clips.uantwerpen.be/conll2003/ner/; JNLPBA's `###MEDLINE:` lines, doi:10.3115/1567594.1567610
"""

import itertools
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from dataset_scripts.formats.files import BLANK, COLUMN, FilePath, OffsetText, get_stem, read_lines
from dataset_scripts.schema import DETECT, CorpusError, Mention, RawDocument, ReadOptions, strip_invisible


logger = logging.getLogger(__name__)

UNTYPED = "Entity"  # the type of mentions whose file names none
COMMENT = re.compile(r"# ?[\w.:-]+( [\w.:-]+)* =( |$)|# ?newpar$")  # CoNLL-U: `# sent_id = 1`
_BREAK = re.compile(r"-DOCSTART-.*|# ?newdoc(?: id = (.*))?|(?P<jnlpba>###MEDLINE:)[ \t]*([^ \t]*).*", re.DOTALL)
_TAG = re.compile(r"O|([BIES])(?:-(.+))?", re.DOTALL)


class _Row(NamedTuple):
    token: str
    prefix: str  # O, or one of B, I, E, S
    type: str
    where: str
    columns: int
    tabs: int


def read_conll(path: FilePath, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read one token a line: first column the token, last one its IOB2, IOB1 or IOBES tag; blank line = sentence end.

    `###MEDLINE:id` (JNLPBA), `-DOCSTART-` and `# newdoc id = id` lines begin documents; if the file has none, each
    sentence is one. Missing ids are `<file stem>-<n>`, from 1. The text is made up: tokens joined by a space,
    sentences by "\\n". CoNLL-U comments (`# key = value`) are skipped. An `I-` or `E-` tag that continues nothing
    begins a mention, as in IOB1; a warning counts them. Bare tags (`B`, `I`) give the type `UNTYPED`.
    """
    strays: list[str] = []
    for number, (document_id, sentences) in enumerate(_read_documents(path), 1):
        yield _build_document(document_id or f"{get_stem(path)}-{number}", sentences, strays)
    if strays:
        message = "%s: %d mentions begin with I- or E- instead of B- or S- (the first at %s); they are read as in IOB1"
        logger.warning(message, path, len(strays), strays[0])


def is_conll_line(where: str, line: str) -> bool:
    """Whether a line begins a document, or ends in a tag."""
    return _read_break(line, where) is not None or _TAG.fullmatch(COLUMN.findall(line)[-1]) is not None


def _read_break(line: str, where: str) -> str | None:
    """Return the document id of a line that begins a document, "" if it tells none, None for any other line."""
    match = _BREAK.fullmatch(line)
    if match is None:
        return None
    if match["jnlpba"] and not match[3]:
        raise CorpusError(f"{where}: ###MEDLINE: without an id; expected ###MEDLINE:ID")
    return match[3] or (match[1] or "").strip(BLANK)


def _read_documents(path: FilePath) -> Iterator[tuple[str, list[list[_Row]]]]:
    """Yield the id of each document, "" if it has none, and the rows of its sentences."""
    has_breaks = any(_read_break(line, where) is not None for where, line in read_lines(path))
    document_id, sentences, rows = "", [], []
    first, all_counted = None, True
    for where, line in itertools.chain(read_lines(path), [("", "")]):  # a blank line ends the last sentence
        new_id = _read_break(line, where)
        if new_id is None and COMMENT.match(line):
            continue
        if new_id is None and line.strip(BLANK):
            rows.append(_read_row(line, where, first))
            first = first or rows[0]
            continue
        if rows:
            is_counted = rows[0].columns > 2 and all(row.token == str(n) for n, row in enumerate(rows, 1))
            all_counted = all_counted and is_counted
            if all_counted and len(rows) > 2:  # one or two numbers may be tokens
                problem = f"{rows[0].where}: the first column counts the tokens"
                raise CorpusError(f"{problem}, as in CoNLL-U; the token itself must stand there")
            sentences.append(rows)
            rows = []
        if sentences and (new_id is not None or not has_breaks):
            yield document_id, sentences
            document_id, sentences = "", []
        document_id = document_id if new_id is None else new_id
    if sentences:
        yield document_id, sentences


def _read_row(line: str, where: str, first: _Row | None) -> _Row:
    """Read a token and its tag; refuse a row with other columns than the first, whose last may not be the tag."""
    if "\r" in line:
        raise CorpusError(f"{where}: a carriage return inside a line; save the file with line feeds")
    shown, columns = f"{where}: {line[:60]!r}", COLUMN.findall(line)
    if "\t" in line and any(" " in column.strip(BLANK) for column in line.split("\t")):
        raise CorpusError(f"{shown} has a space in a column between tabs; write one token a line, without spaces")
    tag = _TAG.fullmatch(columns[-1])
    if len(columns) < 2 or tag is None:
        tags = "O, B-TYPE, I-TYPE (IOBES: also E-TYPE, S-TYPE), or bare B and I"
        raise CorpusError(f"{shown}; expected a token and, as last column after a tab or space, a tag: {tags}")
    prefix = tag[1] or "O"
    mention_type = "" if prefix == "O" else strip_invisible(tag[2] or "") or UNTYPED
    row = _Row(columns[0], prefix, mention_type, where, len(columns), line.rstrip(BLANK).count("\t"))
    if first and row.columns != first.columns and row.tabs != first.tabs:
        counts = f"{row.columns} columns, where {first.where} has {first.columns}"
        raise CorpusError(f"{shown} has {counts}; give every row the same columns")
    return row


def _build_document(document_id: str, sentences: list[list[_Row]], strays: list[str]) -> RawDocument:
    """Join tokens to a text and tags to mentions; add to `strays` where a mention begins with an inner tag."""
    text = OffsetText()
    mentions: list[Mention] = []
    for rows in sentences:
        separator, open_type = "\n", ""  # the type of the mention that the next row may continue
        for row in rows:
            start, end = text.add(row.token, separator)
            if row.prefix in "IE" and row.type == open_type:
                mentions[-1] = replace(mentions[-1], spans=((mentions[-1].spans[0][0], end),))
            elif row.prefix != "O":
                strays += [row.where] if row.prefix in "IE" else []
                mentions.append(Mention(((start, end),), row.type, where=row.where))
            separator, open_type = " ", "" if row.prefix in "OES" else row.type
    return RawDocument(document_id, text.getvalue(), mentions, where=sentences[0][0].where)
