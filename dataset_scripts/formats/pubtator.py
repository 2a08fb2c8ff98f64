"""PubTator: title, abstract, a line for each mention; a blank line after each document.

    7|t|Gout and colic.
    7<tab>0<tab>4<tab>Gout<tab>Disease<tab>D006073
Source: https://www.ncbi.nlm.nih.gov/research/bionlp/APIs/format/
"""

import itertools
import logging
import re
from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import BLANK, INTEGER, OFFSET, FilePath, check_name, read_lines, write_text
from dataset_scripts.schema import (
    LINE_BREAKERS,
    CorpusError,
    Document,
    Mention,
    Passage,
    RawDocument,
    strip_invisible,
)


logger = logging.getLogger(__name__)

TEXT_LINE = re.compile(r"([^\t]+?)\|([ta])\|(.*)", re.DOTALL)  # DOTALL: \r and the like may stand inside
_RELATION = re.compile("[A-Za-z][A-Za-z_ -]+(:?[0-9]+)?")  # CID, Association, CPR:4; no O for 0
_AFTER_RETURN = re.compile(r"\r([^|\t\r]+)(?:\|a\||\t)")  # the id of a line, where \r alone ends lines
_MENTION = re.compile(r"\||\s*-?[0-9]+\s+-?[0-9]+\s")  # behind the id of a line that is no text
_OFFSETS = re.compile(r'(?<![0-9])(?=([0-9]{1,15})[\s|,;"]+([0-9]{1,15})[\s|,;"]+(.*))')  # anywhere in such a line
_Relation = tuple[str, list[str]]  # `file:line` and columns


def read_pubtator(path: FilePath) -> Iterator[RawDocument]:
    """Read PubTator: `ID|t|title`, `ID|a|abstract`, mention lines; blank lines between documents.

    The text is title, "\\n", abstract (the format doesn't name the separator; "\\n" makes them two lines, as in other
    formats, and no mention of NCBI or BC5CDR crosses it); both are passages. Lines of text behind the abstract go on
    with it, with a warning. A concept id is the infon `identifier`, as in PubTator's BioC files. Relations, whose
    second column is a name, are skipped; a warning counts those that state a mention. A composite mention (7th column:
    its parts) is one mention.
    """
    misread: list[str] = []
    continued: list[str] = []
    yield from build_documents(read_lines(path), misread, continued)
    if continued:
        message = "%s: abstracts go on over several lines (%d, the first at %s), which are joined by line breaks"
        logger.warning(message, path, len(continued), continued[0])
    if misread:
        logger.warning(
            "%s: skipped as a relation, because its second column is a name, but it holds a text of the document and "
            "its offset (so do %d others); if it is a mention, put the offsets into columns 2 and 3",
            misread[0], len(misread) - 1,
        )  # fmt: skip


def build_documents(
    located_lines: Iterable[tuple[str, str]], misread: list[str], continued: list[str]
) -> Iterator[RawDocument]:
    """Build documents from places and lines; note relations that state a mention, and lines of long abstracts."""
    document: RawDocument | None = None
    relations: list[_Relation] = []
    lines: list[str] = []  # that go on with the abstract
    for where, line in itertools.chain(located_lines, [("", "")]):  # a blank line ends the last document
        text_line = TEXT_LINE.fullmatch(line)
        if document and _continues_abstract(document, line, text_line):
            lines.append(line)
            continued.append(where)
            continue
        if document and lines:
            document.text, lines = "\n".join([document.text, *lines]), []
        is_title = text_line is not None and text_line[2] == "t"
        if document and (is_title or not line.strip(BLANK)):
            if document.document_id in _AFTER_RETURN.findall(document.text):
                raise CorpusError(f"{document.where}: carriage returns end lines; save the file with line feeds")
            document.mentions = [mention.restore_line_breaks(document.text) for mention in document.mentions]
            document.passages = _find_passages(document.text)
            misread += [place for place, columns in relations if _states_mention(columns, document.text)]
            yield document
            document, relations = None, []
        if is_title:
            document = RawDocument(check_name(text_line[1], where), text_line[3], where=where)
        elif document:
            relations += _add_line(document, line, text_line, where)
        elif line.strip(BLANK):
            expected = "expected ID|t|TITLE, then ID|a|ABSTRACT and the mentions without blank lines between"
            raise CorpusError(f"{where}: {line[:60]!r} before a title; {expected}")


def _find_passages(text: str) -> list[Passage]:
    end = text.find("\n")
    if end < 0:
        return [Passage(0, len(text), {"type": "title"})]
    return [Passage(0, end, {"type": "title"}), Passage(end + 1, len(text), {"type": "abstract"})]


def group_lines(lines: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Yield the lines of one document after the other, so that a malformed one doesn't spoil those behind it."""
    group: list[tuple[str, str]] = []
    for where, line in lines:
        text_line = TEXT_LINE.fullmatch(line)
        begins, is_blank = text_line is not None and text_line[2] == "t", not line.strip(BLANK)
        if group and (begins or is_blank):
            yield group
            group = []
        if not is_blank:
            group.append((where, line))
    if group:
        yield group


def _continues_abstract(document: RawDocument, line: str, text_line: re.Match[str] | None) -> bool:
    """Whether a line without tabs, before all mentions, is text, and no mention whose columns are apart otherwise."""
    if text_line or "\t" in line or not line.strip(BLANK) or document.mentions or "\n" not in document.text:
        return False
    if line.startswith(document.document_id) and _MENTION.match(line, len(document.document_id)):
        return False
    placed = (
        (document.text[int(start) : int(end)].strip(), rest) for start, end, rest in _OFFSETS.findall(line[:200])
    )
    return not any(stated and rest.startswith(stated) for stated, rest in placed)


def _add_line(document: RawDocument, line: str, text_line: re.Match[str] | None, where: str) -> list[_Relation]:
    """Add an abstract or a mention to a document; return a relation."""
    columns = [text_line[1]] if text_line else line.rstrip("\t").split("\t")
    if len(columns) == 1 and not text_line:
        raise CorpusError(f"{where}: no tab in {line[:60]!r}; separate the columns of a mention by tabs")
    if columns[0] != document.document_id:
        problem = f"{where}: document id {columns[0][:60]!r} inside document {document.document_id!r}"
        raise CorpusError(f"{problem}; separate documents by a blank line and begin each with ID|t|TITLE")
    if text_line:
        if "\n" in document.text:
            raise CorpusError(f"{where}: a second abstract of document {document.document_id!r}; remove or join it")
        document.text += f"\n{text_line[3]}"
    elif len(columns) > 2 and _RELATION.fullmatch(columns[1]):
        return [(where, columns)]
    else:
        document.mentions.append(_read_mention(columns, document.text, where))
    return []


def _read_mention(columns: list[str], text: str, where: str) -> Mention:
    columns = _join_mention(columns, text)
    expected = "expected, separated by tabs: document id, start, end, text, type, and perhaps concept id and the parts"
    if len(columns) < 5:
        raise CorpusError(f"{where}: {len(columns)} columns {columns[:5]!r}; {expected} of a composite mention")
    start, end = columns[1:3]
    if not (OFFSET.fullmatch(start) and OFFSET.fullmatch(end)):
        problem = f"{where}: {start!r} and {end!r} are no offsets, whole numbers from 0"
        raise CorpusError(f"{problem}; {expected} of a composite mention")
    infons = {"identifier": columns[5]} if len(columns) > 5 and columns[5].strip() not in ("", "-") else None
    name = check_name(strip_invisible(columns[4]), where)
    mention = Mention(((int(start), int(end)),), name, columns[3], where, infons=infons)
    if len(columns) > 7 and not mention.fits(text):
        problem = f"{where}: {len(columns)} columns, and the fourth is not the text at {start}-{end}"
        raise CorpusError(f"{problem}, so the type can't be told; {expected} of a composite mention")
    return mention


def _join_mention(columns: list[str], text: str) -> list[str]:
    """Join the columns of a mention that holds tabs, as the text at its offsets shows."""
    if len(columns) > 5 and INTEGER.fullmatch(columns[1]) and INTEGER.fullmatch(columns[2]):
        stated = text[int(columns[1]) : int(columns[2])]
        for behind in range(5, len(columns)):
            if " ".join(columns[3:behind]) == stated.translate(LINE_BREAKERS):
                return [*columns[:3], stated, *columns[behind:]]
    return columns


def _states_mention(columns: list[str], text: str) -> bool:
    """Whether the columns of a relation hold a part of the text, and an offset where it begins or ends."""
    offsets = [int(column) for column in columns if INTEGER.fullmatch(column)]
    names = [column for column in columns[2:] if column and not INTEGER.fullmatch(column)]
    return any(text.startswith(name, at) or text.endswith(name, 0, at) for name in names for at in offsets)


def write_pubtator(documents: Iterable[Document], path: FilePath) -> None:
    """Write PubTator with six columns, the last (concept id) "-"; gzip if the name ends so.

    The first passage, or else the first line, is the title, the rest the abstract. Tabs and further line breaks become
    a space each, so offsets stay. Input mentions are left out: nothing would tell them from the others. Read back, a
    text without line break ends in one: the separator before an empty abstract. A document id with a tab, a line
    break, `|t|` or `|a|` raises CorpusError: the format can't hold it.
    """
    write_text(path, (_format_document(document) for document in documents))


def _format_document(document: Document) -> str:
    document_id = document.document_id
    if not document_id or re.search(r"[\t\n\r]|\|[ta](\||$)", document_id):
        raise CorpusError(f"document id {document_id!r} can't stand in PubTator; rename it or write JSONL")
    text = document.text.translate(LINE_BREAKERS) + " "
    end = document.passages[0].end if document.passages else -1
    if not document.text[end : end + 1].isspace():  # no second passage, or no character between the two
        end = document.text.find("\n")
    title, abstract = (text[:end], text[end + 1 : -1]) if end >= 0 else (text[:-1], "")
    lines = [f"{document_id}|t|{title}", f"{document_id}|a|{abstract}"]
    for entity in document.entities:
        columns = (document_id, entity.start, entity.end, text[entity.start : entity.end])
        lines.append("\t".join(map(str, (*columns, entity.type.translate(LINE_BREAKERS), "-"))))
    return "\n".join(lines) + "\n\n"
