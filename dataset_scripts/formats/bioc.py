"""BioC in XML, and what BioC in JSON shares with it: passages with annotations inside.

    <passage><offset>0</offset><text>Gout hurts.</text><annotation id="T1"><infon key="type">Disease</infon>
    <location offset="0" length="4"/><text>Gout</text></annotation></passage>
Source: https://bioc.sourceforge.net; Comeau et al. 2013, doi:10.1093/database/bat064
"""

import bisect
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from xml.sax.saxutils import quoteattr

from dataset_scripts.formats.files import INTEGER, NOT_IN_NAMES, FilePath, OffsetText, write_text
from dataset_scripts.formats.json_records import check_list, check_text, check_type
from dataset_scripts.formats.xml import XML_SPACE, XmlElement, escape_xml, get_text, read_records
from dataset_scripts.schema import DISCONTINUOUS, NESTED, CorpusError, Document, Mention, Passage, RawDocument, Span


logger = logging.getLogger(__name__)

Node = dict[str, Any]  # a part of a BioC file under the keys of BioC JSON, with `where` if it knows its place


class _Draft(NamedTuple):
    """A document, with the offset of the passage or sentence that each mention stands in."""

    document: RawDocument
    bases: list[int]


def read_bioc(path: FilePath) -> Iterator[RawDocument]:
    """Read BioC XML; see `build_documents`."""
    return build_documents(map(_convert_document, read_records(path, "collection", "document")))


def _convert_document(element: XmlElement) -> Node:
    passages = [
        _convert_block(passage)
        | {
            "infons": dict(_list_infons(passage)),
            "sentences": [_convert_block(sentence) for sentence in passage.findall("sentence")],
        }
        for passage in element.findall("passage")
    ]
    if not passages:
        raise CorpusError(f"{element.where}: a document without <passage> directly inside; its text stands there")
    return _convert_block(element) | {"id": get_text(element.find("id")), "passages": passages}


def _convert_block(element: XmlElement) -> Node:
    """Convert what a document, a passage and a sentence may hold."""
    annotations = [
        {
            "infons": _convert_infons(annotation),
            "locations": [dict(location.attrib) for location in annotation.findall("location")],
            "text": _find_text(annotation),
            "where": annotation.where,
        }
        for annotation in element.findall("annotation")
    ]
    offset, text = get_text(element.find("offset")), _find_text(element) or ""
    return {"offset": offset, "text": text, "annotations": annotations, "where": element.where}


def _list_infons(element: XmlElement) -> list[tuple[str, str]]:
    return [(infon.get("key", ""), get_text(infon).strip(XML_SPACE)) for infon in element.findall("infon")]


def _convert_infons(annotation: XmlElement) -> dict[str, str]:
    infons = _list_infons(annotation)
    if len(types := [value for key, value in infons if key == "type"]) > 1:
        raise CorpusError(f"{annotation.where}: the types {types!r:.100} of one annotation; write one for each")
    return dict(infons)


def _find_text(element: XmlElement) -> str | None:
    """Return the text of a passage, sentence or annotation, None if it has none; refuse to lose a part of it."""
    texts = element.findall("text")
    if len(texts) > 1 or any(len(text) for text in texts):
        raise CorpusError(f"{element.where}: several <text>, or elements inside; expected one <text> without elements")
    return get_text(texts[0]) if texts else None


def build_documents(nodes: Iterable[Node]) -> Iterator[RawDocument]:
    """Build documents: each annotation is a mention, its type the infon `type`; relations are skipped.

    Every passage (or sentence, if the passage itself has no text) stands at its `offset`, counted in characters. Gaps
    are padded with spaces, but a passage begins on a new line, so that BC5CDR reads the same as from PubTator. If all
    annotations of a file fit their texts only when counted from their passage, they are read so; a warning says it.
    An annotation without location is no mention; a warning counts those that have a text. Parts of a composite mention
    (infon `CompositeRole`) are lost, as nested or discontinuous: the whole is annotated too, and PubTator has no
    offsets of its parts.
    """
    unplaced: list[str] = []
    drafts = (_build_draft(node, unplaced) for node in nodes)
    for draft in _settle_offsets(drafts):
        document = draft.document
        document.mentions = [mention.restore_line_breaks(document.text) for mention in document.mentions]
        yield document
    if unplaced:
        logger.warning("%s: an annotation with a text, but without a location, is no mention; such annotations (%d) "
                       "are skipped", unplaced[0], len(unplaced))  # fmt: skip


def _build_draft(node: Node, unplaced: list[str]) -> _Draft:
    where, text, bases = node["where"], OffsetText(), []
    document_id = str("" if node.get("id") is None else node["id"]).strip(XML_SPACE)
    if not document_id or NOT_IN_NAMES.search(document_id):
        raise CorpusError(
            f"{where}: document id {document_id[:60]!r}; expected a string without tabs, line breaks and the like"
        )
    mentions: list[Mention] = []
    passages: list[Passage] = []
    for passage in _list_nodes(node, "passages"):
        sentences = _list_nodes(passage, "sentences")
        has_text = str(passage.get("text") or "").strip() or not sentences
        begin = None
        for index, block in enumerate([passage] if has_text else sentences):
            offset = _read_integer(block.get("offset"), "offset", block["where"])
            text.pad(offset, block["where"], " " if index else "\n")
            text.add(check_text(block.get("text") or "", block["where"]))
            begin = offset if begin is None else begin
        if begin is not None:
            infons = passage.get("infons")
            passages.append(Passage(begin, text.tell(), infons if isinstance(infons, dict) else {}))
    for block in _list_blocks(node):
        annotations = (_read_annotation(annotation, unplaced) for annotation in _list_nodes(block, "annotations"))
        placed = [mention for mention in annotations if mention]
        mentions += placed
        bases += [_read_integer(block["offset"], "offset", block["where"]) if block.get("offset") else 0] * len(placed)
    return _Draft(RawDocument(document_id, text.getvalue(), mentions, where=where, passages=passages), bases)


def _list_blocks(node: Node) -> Iterator[Node]:
    """Yield whatever may hold annotations: passages, their sentences, the document."""
    for passage in _list_nodes(node, "passages"):
        yield from (passage, *_list_nodes(passage, "sentences"))
    yield node


def _list_nodes(node: Node, key: str) -> list[Node]:
    """Return the objects of a list, each with its place, or that of the node if it knows none."""
    nodes = check_list(node.get(key), key, node["where"])
    if not all(isinstance(inner, dict) for inner in nodes):
        raise CorpusError(f"{node['where']}: {key} holds {nodes!r:.60}; expected objects")
    return [{"where": node["where"], **inner} for inner in nodes]


def _read_integer(value: object, name: str, where: str) -> int:
    text = value.strip(XML_SPACE) if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not INTEGER.fullmatch(text.removeprefix("-")):
        raise CorpusError(f"{where}: {name} {value!r:.60}; expected a whole number")
    return int(text)


def _read_annotation(annotation: Node, unplaced: list[str]) -> Mention | None:
    """Read a mention; None if it has no location, as relations in the form of annotations."""
    where, infons, text = annotation["where"], annotation.get("infons") or {}, annotation.get("text")
    if not isinstance(infons, dict) or not isinstance(text, str | None):
        raise CorpusError(f"{where}: the annotation {annotation!r:.100}; expected infons (an object) and a text")
    mention_type = check_type(infons.get("type"), where)
    spans = []
    for location in _list_nodes(annotation, "locations"):
        start, length = (_read_integer(location.get(name, ""), name, where) for name in ("offset", "length"))
        spans.append((start, start + length))
    if not spans:
        unplaced += [where] if text else []
        return None
    lost = ""
    if infons.get("CompositeRole") == "IndividualMention":  # "renal failure" in "renal and liver failure" (BC5CDR)
        lost = DISCONTINUOUS if len(spans) > 1 else NESTED
    others = {key: value for key, value in infons.items() if key != "type"}
    return Mention(tuple(spans), mention_type, text, where, lost, infons=others or None)


def _settle_offsets(drafts: Iterator[_Draft]) -> Iterator[_Draft]:
    """Tell whether offsets of annotations count from the document, as they should, or all from their passage."""
    for draft in drafts:
        in_document, in_passage, _ = _count_fits(draft)
        if in_document:  # the file is as it should be
            yield draft
            break
        if in_passage:
            yield from _settle_doubtful([draft, *drafts])
            return
        yield draft
    doubtful: list[str] = []
    for draft in drafts:
        doubtful += [draft.document.where] * _count_fits(draft)[1]
        yield draft
    _warn_of_passage_offsets(doubtful)


def _settle_doubtful(drafts: list[_Draft]) -> Iterator[_Draft]:
    """Shift all mentions if each fits its text only when counted from its passage."""
    counts = [_count_fits(draft) for draft in drafts]
    in_document, in_passage, in_neither = map(sum, zip(*counts, strict=True))
    where = drafts[0].document.where
    if in_document or in_neither:
        _warn_of_passage_offsets([where] * in_passage)
        yield from drafts
        return
    logger.warning("%s: BioC passages whose annotation offsets count from the passage, not from the document: all %d "
                   "annotations that can tell fit their texts only so, and the file is read so", where,
                   in_passage)  # fmt: skip
    for document, bases in drafts:
        shifted = [_shift(mention, base) for mention, base in zip(document.mentions, bases, strict=True)]
        yield _Draft(replace(document, mentions=shifted), bases)


def _warn_of_passage_offsets(places: list[str]) -> None:
    if places:
        logger.warning("%s: annotations (%d) fit their texts only if their offsets count from the passage; others of "
                       "the file don't, so offsets count from the document", places[0], len(places))  # fmt: skip


def _count_fits(draft: _Draft) -> tuple[int, int, int]:
    """Count the mentions that fit the document only, their passage only, and neither, of those that can tell."""
    text, counts = draft.document.text, [0, 0, 0]
    for mention, base in zip(draft.document.mentions, draft.bases, strict=True):
        if base and mention.text:
            in_document, in_passage = mention.fits(text), _shift(mention, base).fits(text)
            counts[0 if in_document else 1 if in_passage else 2] += not (in_document and in_passage)
    return counts[0], counts[1], counts[2]


def _shift(mention: Mention, by: int) -> Mention:
    return replace(mention, spans=tuple((start + by, end + by) for start, end in mention.spans))


def write_bioc(documents: Iterable[Document], path: FilePath) -> None:
    """Write BioC XML; score and task of a prediction are infons; gzip if the name ends so.

    A document without passages is one passage. Annotations that lie in no passage stand behind all passages.
    Characters that XML can't hold (most control characters) become a space each, so offsets stay.
    """
    write_text(path, _format_collection(documents))


def convert_document(document: Document) -> Node:
    """Convert a document to a `Node`, its input mentions first."""
    passages = document.passages or [Passage(0, len(document.text), {})]
    starts = [passage.start for passage in passages]
    annotations: defaultdict[int, list[Node]] = defaultdict(list)  # by the number of their passage, from 0
    for number, (spans, infons) in enumerate(_list_mentions(document), 1):
        place = bisect.bisect(starts, spans[0][0]) - 1
        inside = place >= 0 and max(end for _, end in spans) <= passages[place].end
        annotations[place if inside else -1].append(
            {
                "id": f"T{number}",
                "infons": infons,
                "text": " ".join(document.text[start:end] for start, end in spans),
                "locations": [{"offset": start, "length": end - start} for start, end in spans],
            }
        )
    blocks = [
        {"offset": start, "infons": dict(infons), "text": document.text[start:end], "annotations": annotations[place]}
        for place, (start, end, infons) in enumerate(passages)
    ]
    return {"id": document.document_id, "passages": blocks, "annotations": annotations[-1]}


def _list_mentions(document: Document) -> Iterator[tuple[Sequence[Span], Node]]:
    """Yield spans and infons."""
    for mention in document.input_mentions:
        yield mention.spans, {"type": mention.type, **(mention.infons or {})}
    for entity in document.entities:
        yield [(entity.start, entity.end)], {"type": entity.type, **entity.get_prediction_fields()}


def _format_collection(documents: Iterable[Document]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n'
    yield "<collection><source>MTL-BioNER</source><date></date><key></key>\n"
    for node in map(convert_document, documents):
        yield f"<document><id>{escape_xml(node['id'])}</id>\n"
        for passage in node["passages"]:
            infons, text = _format_infons(passage), escape_xml(passage["text"])
            yield f"<passage>{infons}<offset>{passage['offset']}</offset><text>{text}</text>\n"
            yield from map(_format_annotation, passage["annotations"])
            yield "</passage>\n"
        yield from map(_format_annotation, node["annotations"])
        yield "</document>\n"
    yield "</collection>\n"


def _format_annotation(annotation: Node) -> str:
    locations = "".join(
        f'<location offset="{place["offset"]}" length="{place["length"]}"/>' for place in annotation["locations"]
    )
    text = f"<text>{escape_xml(annotation['text'])}</text>"
    return f'<annotation id="{annotation["id"]}">{_format_infons(annotation)}{locations}{text}</annotation>\n'


def _format_infons(node: Node) -> str:
    infons = [(quoteattr(escape_xml(str(key))), v) for key, v in node["infons"].items() if v is not None]
    return "".join(f"<infon key={key}>{escape_xml(str(value))}</infon>" for key, value in infons)
