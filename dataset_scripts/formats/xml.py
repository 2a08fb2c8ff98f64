"""Read XML records one by one, without DTDs, entities or network."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from dataset_scripts.formats.files import FilePath, open_file
from dataset_scripts.schema import CorpusError


XML_SPACE = " \t\r\n"
_MAX_DEPTH = 100  # GENIA and BioC need about 10; the bound lets the tree be walked by recursion
_MAX_TOKEN = 1 << 22  # bytes of one tag, comment or instruction
_MAX_RECORD = 1 << 27  # bytes; a small gzip file can hold one without an end
_PIECE = 1 << 16  # bytes
Children = Mapping[str, Collection[str]]  # of an element, by its tag: the children to read; all if it isn't there
_ALL: Children = {}


class XmlElement(Element):
    """An element of ElementTree that knows the `file:line` of its start tag."""

    where = ""


class _Parser:
    """Parses a file piece by piece; the root, without content, and then each complete record wait in `done`."""

    def __init__(self, path: FilePath, records: Collection[str], children: Children) -> None:
        self.path = os.fspath(path)
        self.records, self.children = records, children
        self.open: list[XmlElement] = []  # the record being built and the elements inside; none between records
        self.skipped = 0  # depth below the element of `open` whose child is not read
        self.done: list[XmlElement] = []
        self.root = ""
        self.builder = TreeBuilder(XmlElement)
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.specified_attributes = True  # a DTD's default could be huge, and is put into every element
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.EntityDeclHandler = self.parser.SkippedEntityHandler = self.refuse_entity
        self.fed = self.record_start = 0  # bytes

    def where(self) -> str:
        return f"{self.path}:{self.parser.CurrentLineNumber}"

    def feed(self, data: bytes) -> CorpusError | None:
        """Parse the next piece, the last if it is empty; return what is wrong with it."""
        try:
            self.parser.Parse(data, not data)
            self.fed += len(data)
            if self.fed - self.parser.CurrentByteIndex > _MAX_TOKEN:  # expat 2.5 reads it anew for every piece
                raise CorpusError(f"{self.where()}: a tag or comment over {_MAX_TOKEN} bytes; this is no corpus file")
            if self.open and self.fed - self.record_start > _MAX_RECORD:
                raise CorpusError(f"{self.where()}: a document over {_MAX_RECORD >> 20} MB; this is no corpus file")
        except CorpusError as error:
            return error
        except (expat.ExpatError, LookupError, ValueError) as error:
            problem = f"{self.where()}: not well-formed XML ({re.sub(': line .*', '', str(error))})"
            return CorpusError(f"{problem}; correct or copy it again")
        return None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.root:
            self.root = tag
            self.done.append(XmlElement(tag))
        if self.skipped or (self.open and tag not in self.children.get(self.open[-1].tag, (tag,))):
            self.skipped += 1
            self.parser.CharacterDataHandler = None
        elif self.open or tag in self.records:
            self.build(tag, attributes)

    def build(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) == _MAX_DEPTH:
            raise CorpusError(f"{self.where()}: elements nested deeper than {_MAX_DEPTH}; this is no corpus file")
        if not self.open:
            self.builder = TreeBuilder(XmlElement)
            self.parser.CharacterDataHandler = self.builder.data
            self.record_start = self.fed
        element = self.builder.start(tag, attributes)
        element.where = self.where()
        self.open.append(element)

    def end(self, tag: str) -> None:
        if self.skipped:
            self.skipped -= 1
            if not self.skipped:
                self.parser.CharacterDataHandler = self.builder.data
        elif self.open:
            self.builder.end(tag)
            element = self.open.pop()
            if not self.open:
                self.parser.CharacterDataHandler = None
                self.done.append(element)

    def refuse_entity(self, name: str, is_parameter: bool, *declaration: object) -> None:
        if declaration:
            raise CorpusError(f"{self.where()}: declares the entity {name!r}; entities are not expanded, remove them")
        if not is_parameter:
            raise CorpusError(f"{self.where()}: the entity &{name}; is not defined here; put its characters instead")


def _parse(path: FilePath, records: Collection[str] = (), children: Children = _ALL) -> Iterator[XmlElement]:
    """Yield the root, without content, once its start tag is read, then each record once it is complete."""
    parser = _Parser(path, records, children)
    data, error = b"begin", None
    with open_file(path) as file:
        while data and not error:
            data = file.read1(_PIECE)  # `read` would lose what stands before the place where a gzip file is cut off
            error = parser.feed(data)
            done, parser.done = parser.done, []
            yield from done
    if error:
        raise error


def read_root(path: FilePath) -> str:
    """Return the tag of the root element."""
    return next(_parse(path)).tag


def read_records(path: FilePath, root: str, tag: str) -> Iterator[XmlElement]:
    """Yield the elements of a tag below the root; see `parse_records`."""
    return parse_records(path, (root,), (tag,))


def parse_records(
    path: FilePath, roots: Collection[str], records: Collection[str], children: Children = _ALL
) -> Iterator[XmlElement]:
    """Yield the outermost elements with a tag of `records`, which may be the root, while the file is being read.

    Memory holds one record at a time. What stands before a malformed place is yielded before CorpusError is raised.
    Another root than `roots` is refused.
    """
    elements = _parse(path, records, children)
    if (root := next(elements).tag) not in roots:
        raise CorpusError(f"{path}: XML root <{root}>; expected {' or '.join(f'<{name}>' for name in roots)}")
    yield from elements


def get_text(element: Element | None) -> str:
    """Return the text directly inside an element, spaces included; "" if there is none."""
    return "" if element is None else (element.text or "") + "".join(child.tail or "" for child in element)


def escape_xml(text: str) -> str:
    """Escape markup; put a space for each character that XML can't hold."""
    text = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text)
    return escape(text, {"\r": "&#13;"})  # else a reader turns \r\n into \n and the offsets move
