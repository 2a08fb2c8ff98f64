"""GENIA XML (GPML)."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from dataset_scripts.formats.bc2gm import _stem
from dataset_scripts.formats.files import FilePath, _Text
from dataset_scripts.formats.xml import _XML_SPACE, _Element, _xml_records
from dataset_scripts.schema import COORDINATION, Mention, RawDocument


logger = logging.getLogger(__name__)


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
