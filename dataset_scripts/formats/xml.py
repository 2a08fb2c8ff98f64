"""Read XML records one by one, without DTDs, entities or network."""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import escape

from dataset_scripts.formats.files import FilePath, _opened
from dataset_scripts.schema import CorpusError


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


def _xml_escaped(text: str) -> str:
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
    return escape(text, {"\r": "&#13;"})  # else a reader turns \r\n into \n and the offsets move
