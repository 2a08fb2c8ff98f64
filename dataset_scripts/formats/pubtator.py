"""PubTator: `ID|t|title`, `ID|a|abstract`, tab-separated mentions."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dataset_scripts.formats.files import (
    _BLANK,
    _INTEGER,
    _LINE_BREAKERS,
    FilePath,
    _as_found,
    _lines,
    _stripped,
    _write,
)
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


logger = logging.getLogger(__name__)


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
