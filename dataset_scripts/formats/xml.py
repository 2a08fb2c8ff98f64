"""Read XML records one by one, without DTDs, entities or network."""

import os
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from dataset_scripts.formats.files import FilePath, open_file
from dataset_scripts.schema import CorpusError


XML_SPACE = " \t\r\n"
_MAX_DEPTH = 100  # GENIA and BioC need about 10; the bound lets the tree be walked by recursion


class XmlElement(Element):
    """An element of ElementTree that knows the `file:line` of its start tag."""

    where = ""


class _Parser:
    """Parses a file piece by piece; the root at its start and then its complete children wait in `done`."""

    def __init__(self, path: FilePath) -> None:
        self.path = os.fspath(path)
        self.open: list[XmlElement] = []
        self.done: list[XmlElement] = []
        self.builder = TreeBuilder(XmlElement)
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.builder.data
        self.parser.EntityDeclHandler = self.parser.SkippedEntityHandler = self.refuse_entity

    def where(self) -> str:
        return f"{self.path}:{self.parser.CurrentLineNumber}"

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) == _MAX_DEPTH:
            raise CorpusError(f"{self.where()}: elements nested deeper than {_MAX_DEPTH}; this is no corpus file")
        element = self.builder.start(tag, attributes)
        element.where = self.where()
        if not self.open:
            self.done.append(element)
        self.open.append(element)

    def end(self, tag: str) -> None:
        self.builder.end(tag)
        element = self.open.pop()
        if len(self.open) == 1:
            self.done.append(element)
            self.open[0].clear()  # the root forgets its children, which may fill gigabytes

    def refuse_entity(self, name: str, is_parameter: bool, *declaration: object) -> None:
        if declaration:
            raise CorpusError(f"{self.where()}: declares the entity {name!r}; entities are not expanded, remove them")
        if not is_parameter:
            raise CorpusError(f"{self.where()}: the entity &{name}; is not defined here; put its characters instead")


def _parse(path: FilePath) -> Iterator[XmlElement]:
    """Yield the root once its start tag is read, then each of its children once it is complete."""
    parser = _Parser(path)
    with open_file(path) as file:
        data = b"begin"
        while data:
            data = file.read(1 << 12)
            try:
                parser.parser.Parse(data, not data)
            except CorpusError:
                raise
            except (expat.ExpatError, LookupError, ValueError) as error:
                problem = f"{parser.where()}: not well-formed XML ({re.sub(': line .*', '', str(error))})"
                raise CorpusError(f"{problem}; correct or copy it again") from error
            done, parser.done = parser.done, []
            yield from done


def read_root(path: FilePath) -> str:
    """Return the tag of the root element."""
    return next(_parse(path)).tag


def read_records(path: FilePath, root: str, tag: str) -> Iterator[XmlElement]:
    """Yield the elements of a tag directly below the root while the file is being read; refuse another root."""
    elements = _parse(path)
    if (stated := next(elements).tag) != root:
        raise CorpusError(f"{path}: XML root <{stated}>; expected <{root}>")
    yield from (element for element in elements if element.tag == tag)


def get_text(element: Element | None) -> str:
    """Return the text directly inside an element, spaces included; "" if there is none."""
    return "" if element is None else (element.text or "") + "".join(child.tail or "" for child in element)


def escape_xml(text: str) -> str:
    """Escape markup; put a space for each character that XML can't hold."""
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
    return escape(text, {"\r": "&#13;"})  # else a reader turns \r\n into \n and the offsets move
