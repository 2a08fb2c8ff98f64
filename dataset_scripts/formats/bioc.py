"""BioC XML: passages with annotations inside.

    <passage><offset>0</offset><text>Gout hurts.</text><annotation id="T1"><infon key="type">Disease</infon>
    <location offset="0" length="4"/><text>Gout</text></annotation></passage>
Source: https://bioc.sourceforge.net; Comeau et al. 2013, doi:10.1093/database/bat064
"""

from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import INTEGER, FilePath, OffsetText, write_text
from dataset_scripts.formats.xml import XML_SPACE, XmlElement, escape_xml, get_text, read_records
from dataset_scripts.schema import CorpusError, Document, Mention, RawDocument


_MAX_GAP = 100_000  # between passages; a larger one is a wrong offset, not padding worth its memory


def read_bioc(path: FilePath) -> Iterator[RawDocument]:
    """Read BioC XML: each `annotation` is a mention, its type the infon `type`; relations are skipped.

    Every passage (or sentence, if the passage itself has no text) stands at its `offset`, counted in characters. Gaps
    are padded with spaces, but a passage begins on a new line, so that BC5CDR reads the same as from PubTator.
    """
    for document in read_records(path, "collection", "document"):
        document_id = get_text(document.find("id")).strip(XML_SPACE)
        if not document_id:
            raise CorpusError(f"{document.where}: a <document> without <id>; give it one")
        text = OffsetText()
        for passage in document.findall("passage"):
            sentences = passage.findall("sentence")
            has_text = get_text(passage.find("text")).strip() or not sentences
            for index, block in enumerate([passage] if has_text else sentences):
                _pad(text, _read_integer(get_text(block.find("offset")), block), block.where, " " if index else "\n")
                text.add(get_text(block.find("text")))
        mentions = [_read_annotation(element, text.getvalue()) for element in document.iter("annotation")]
        yield RawDocument(document_id, text.getvalue(), mentions, where=document.where)


def _read_integer(value: str, element: XmlElement) -> int:
    value = value.strip(XML_SPACE)
    if not INTEGER.fullmatch(value):
        raise CorpusError(f"{element.where}: offset or length {value!r} of <{element.tag}>; expected a whole number")
    return int(value)


def _pad(text: OffsetText, offset: int, where: str, separator: str) -> None:
    length = text.tell()
    if not length <= offset <= length + _MAX_GAP:
        remedy = f"offsets must count characters (not bytes), rise, and leave no gap over {_MAX_GAP}"
        raise CorpusError(f"{where}: offset {offset}, but the text before it ends at {length}; {remedy}")
    text.add(((separator if length else " ") + " " * (offset - length))[: offset - length])


def _read_annotation(annotation: XmlElement, text: str) -> Mention:
    infons = {infon.get("key"): get_text(infon).strip(XML_SPACE) for infon in annotation.findall("infon")}
    mention_type, locations, stated = infons.get("type"), annotation.findall("location"), annotation.find("text")
    if not locations or not mention_type:
        missing = "<location>" if mention_type else '<infon key="type">'
        raise CorpusError(f"{annotation.where}: an <annotation> without {missing}; add it or remove the annotation")
    spans = []
    for location in locations:
        start, length = (_read_integer(location.get(name, ""), location) for name in ("offset", "length"))
        spans.append((start, start + length))
    mention = Mention(tuple(spans), mention_type, None if stated is None else get_text(stated), annotation.where)
    return mention.restore_line_breaks(text)


def write_bioc(documents: Iterable[Document], path: FilePath) -> None:
    """Write BioC XML, one passage a document; score and task of a prediction are infons; gzip if the name ends so.

    Characters that XML can't hold (most control characters) become a space each, so offsets stay.
    """
    write_text(path, _format_collection(documents))


def _format_collection(documents: Iterable[Document]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n'
    yield "<collection><source>MTL-BioNER</source><date></date><key></key>\n"
    for document in documents:
        yield f"<document><id>{escape_xml(document.document_id)}</id>\n"
        yield f"<passage><offset>0</offset><text>{escape_xml(document.text)}</text>\n"
        for number, entity in enumerate(document.entities, 1):
            infons = {"type": entity.type, **entity.get_prediction_fields()}
            yield f'<annotation id="T{number}">'
            yield from (f'<infon key="{key}">{escape_xml(str(value))}</infon>' for key, value in infons.items())
            yield f'<location offset="{entity.start}" length="{entity.end - entity.start}"/>'
            yield f"<text>{escape_xml(document.text[entity.start : entity.end])}</text></annotation>\n"
        yield "</passage></document>\n"
    yield "</collection>\n"
