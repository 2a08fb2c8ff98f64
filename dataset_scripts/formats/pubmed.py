"""PubMed XML: titles and abstracts without annotations, as NLM publishes them.

    <PubmedArticle><MedlineCitation><PMID Version="1">7</PMID><Article><ArticleTitle>Gout.</ArticleTitle>
    <Abstract><AbstractText Label="METHODS">We looked.</AbstractText></Abstract></Article></MedlineCitation>
Source: https://www.nlm.nih.gov/bsd/licensee/elements_descriptions.html (its DTD is never loaded)
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from dataset_scripts.formats.files import INTEGER, FilePath, get_stem
from dataset_scripts.formats.passages import build_document, get_local_name, get_math_text, join_lines
from dataset_scripts.formats.xml import XML_SPACE, Children, XmlElement, parse_records
from dataset_scripts.schema import CorpusError, RawDocument


logger = logging.getLogger(__name__)

_CITATIONS = {"PubmedArticle": "MedlineCitation", "PubmedBookArticle": "BookDocument", "MedlineCitation": "."}
PUBMED_ROOTS = ("PubmedArticleSet", "MedlineCitationSet", "PubmedBookArticleSet", *_CITATIONS)
_RECORDS = (*_CITATIONS, "DeleteCitation")
_PMIDS: Children = {
    "PubmedArticle": ("MedlineCitation",),
    "PubmedBookArticle": ("BookDocument",),
    "MedlineCitation": ("PMID",),
    "BookDocument": ("PMID",),
}
_TEXTS: Children = _PMIDS | {
    "MedlineCitation": ("PMID", "Article"),
    "BookDocument": ("PMID", "Book", "ArticleTitle", "Abstract"),
    "Book": ("BookTitle",),
    "Article": ("ArticleTitle", "Abstract"),
    "Abstract": ("AbstractText",),
}
_TITLES = ("Article/ArticleTitle", "ArticleTitle", "Book/BookTitle")  # a book's chapter has one, a whole book not


@dataclass
class _Index:
    """What must be known of a whole file before its first citation is read."""

    versions: dict[str, int] = field(default_factory=dict)  # the latest by PMID
    deleted: set[str] = field(default_factory=set)  # PMIDs


def read_pubmed(path: FilePath) -> Iterator[RawDocument]:
    """Read the citations of PubMed XML; ids are PMIDs without version, else `<file stem>-<n>`.

    The text is the title, "\\n", the abstract. The sections of an abstract are joined by spaces, so that the abstract
    is one line as in NLM's PubTator files, and begin with their label ("METHODS: "); each is a passage. Without an
    abstract the text is the title; an empty title leaves the first line empty. Copyright lines, abstracts in other
    languages (`OtherAbstract`) and vernacular titles are not read.

    Citations that the file itself deletes (`DeleteCitation`, at its end), and all versions of a PMID but the latest
    are left out. To know them the file is parsed twice; the first pass takes less than half of the time.
    """
    index = _index_citations(path)
    outdated: list[str] = []
    removed = 0
    for number, record in enumerate(parse_records(path, PUBMED_ROOTS, _RECORDS, _TEXTS), 1):
        if record.tag == "DeleteCitation":
            continue
        citation = _find_citation(record)
        pmid, version = _get_pmid(citation)
        if pmid in index.deleted:
            removed += 1
        elif version < index.versions.get(pmid, version):
            outdated.append(record.where)
        else:
            yield _build_citation(citation, pmid or f"{get_stem(path)}-{number}", record.where)
    if index.deleted:
        message = "%s: <DeleteCitation> lists %d PMIDs; citations of this file that are among them and left out: %d"
        logger.warning(message, path, len(index.deleted), removed)
    if outdated:
        message = "%s: left out, because a later version of this PMID stands in the file (so are %d others)"
        logger.warning(message, outdated[0], len(outdated) - 1)


def _index_citations(path: FilePath) -> _Index:
    """Collect PMIDs up to the file's end, or to a malformed place, which the second pass reports."""
    index = _Index()
    with suppress(CorpusError):
        for record in parse_records(path, PUBMED_ROOTS, _RECORDS, _PMIDS):
            if record.tag == "DeleteCitation":
                index.deleted.update(filter(None, map(_flatten, record.findall("PMID"))))
            else:
                pmid, version = _get_pmid(_find_citation(record))
                if pmid and version > index.versions.get(pmid, 1):
                    index.versions[pmid] = version
    return index


def _find_citation(record: XmlElement) -> Element:
    """Return the element that holds PMID and text; the record itself if it lacks that element."""
    citation = record.find(_CITATIONS[record.tag])
    return record if citation is None else citation


def _get_pmid(citation: Element) -> tuple[str, int]:
    """Return the PMID, "" if there is none, and its version, 1 if none is stated."""
    pmid = citation.find("PMID")
    version = "" if pmid is None else pmid.get("Version", "")
    return _flatten(pmid), int(version) if INTEGER.fullmatch(version) else 1


def _build_citation(citation: Element, document_id: str, where: str) -> RawDocument:
    title = next(filter(None, map(_flatten, map(citation.find, _TITLES))), "")
    sections = filter(None, map(_read_section, citation.iter("AbstractText")))
    return build_document(document_id, title, ((text, "abstract") for text in sections), " ", where)


def _read_section(element: Element) -> str:
    """Return the text of a section behind its label; "" if it has no text."""
    text, label = _flatten(element), join_lines(element.get("Label", ""))
    return f"{label}: {text}" if label and text else text


def _flatten(element: Element | None) -> str:
    """Return the text of an element without its markup, in one line."""
    return "" if element is None else join_lines(_join_pieces(element))


def _join_pieces(element: Element) -> str:
    if get_local_name(element) == "math":
        return get_math_text(element)
    pieces = [element.text or ""]
    for child in element:
        if child.tag in ("sub", "sup"):
            pieces[-1] = _strip_line_break(pieces[-1])
        pieces += [_join_pieces(child), child.tail or ""]
    return "".join(pieces)


def _strip_line_break(text: str) -> str:
    """Strip a line break at the end, unless a space stands before it.

    E-utilities puts inline elements on lines of their own, but no space stands before the 2 of
    "&#946;\\n    <sub>2</sub>-agonist".
    """
    stripped = text.rstrip(XML_SPACE)
    return stripped if text.startswith("\n", len(stripped)) else text
