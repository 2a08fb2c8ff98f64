"""Turn running text in XML, with markup and formulas inside, into documents of passages."""

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element

from dataset_scripts.formats.xml import XML_SPACE
from dataset_scripts.schema import Passage, RawDocument


_ANNOTATIONS = ("annotation", "annotation-xml")  # of MathML: TeX and other notations of the same formula


def get_local_name(element: Element) -> str:
    """Return the tag without a namespace's prefix: `math` for `mml:math`."""
    return element.tag.rpartition(":")[2]


def join_lines(text: str) -> str:
    """Turn each line break, with the indentation around it, into a space; strip white space at the edges."""
    text = text.strip(XML_SPACE)
    if "\n" not in text and "\r" not in text:
        return text
    return re.sub(f"[{XML_SPACE}]+", lambda run: " " if "\n" in run[0] or "\r" in run[0] else run[0], text)


def get_math_text(element: Element) -> str:
    """Return the text of MathML, without white space between its parts and without annotations such as TeX."""
    if get_local_name(element) in _ANNOTATIONS:
        return ""
    children = (get_math_text(child) + join_lines(child.tail or "") for child in element)
    return join_lines(element.text or "") + "".join(children)


def build_document(
    document_id: str, title: str, passages: Iterable[tuple[str, str]], separator: str, where: str
) -> RawDocument:
    """Build a document of a title, which is the first line even if empty, and passages as (text, kind).

    The separator, one character, stands between the passages behind the title.
    """
    parts, offset, ranges = [title], len(title), [Passage(0, len(title), {"type": "title"})]
    for text, kind in passages:
        parts += ["\n" if len(parts) == 1 else separator, text]
        ranges.append(Passage(offset + 1, offset + 1 + len(text), {"type": kind}))
        offset += 1 + len(text)
    return RawDocument(document_id, "".join(parts), where=where, passages=ranges)
