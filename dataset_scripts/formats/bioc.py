"""BioC XML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dataset_scripts.formats.files import _INTEGER, FilePath, _as_found, _score_and_task, _Text, _write
from dataset_scripts.formats.xml import _XML_SPACE, _Element, _xml_escaped, _xml_records
from dataset_scripts.schema import CorpusError, Document, Entity, Mention, RawDocument


_MAX_GAP = 100_000  # between passages; a larger one is a wrong offset, not padding worth its memory


def read_bioc(path: FilePath) -> Iterator[RawDocument]:
    """Read BioC XML: each `annotation` is a mention, its type the infon `type`; relations are skipped.

    Every passage (or sentence, if the passage itself has no text) stands at its `offset`, counted in characters. Gaps
    are padded: by spaces, but a passage begins on a new line, so that BC5CDR reads the same as from PubTator.
    Format: https://bioc.sourceforge.net (Comeau et al. 2013, doi:10.1093/database/bat064)

    Raises:
        CorpusError: not well-formed, another root than `collection`, a passage that begins inside the one before,
            an annotation without type or location, entities other than XML's own five.
    """
    for document in _xml_records(path, "collection", "document"):
        document_id = (document.text("id") or "").strip(_XML_SPACE)
        if not document_id:
            raise CorpusError(f"{document.where}: a <document> without <id>; give it one")
        text = _Text()
        for passage in document.elements("passage"):
            sentences = passage.elements("sentence")
            blocks = [passage] if (passage.text("text") or "").strip() or not sentences else sentences
            for index, block in enumerate(blocks):
                _bioc_pad(text, _bioc_integer(block.text("offset"), block), block.where, " " if index else "\n")
                text.add(block.text("text") or "")
        whole = str(text)
        mentions = [_bioc_mention(annotation, whole) for annotation in document.descendants("annotation")]
        yield RawDocument(document_id, whole, mentions, where=document.where)


def _bioc_integer(value: str | None, element: _Element) -> int:
    value = (value or "").strip(_XML_SPACE)
    if not _INTEGER.fullmatch(value):
        raise CorpusError(f"{element.where}: offset or length {value!r} of <{element.tag}>; expected a whole number")
    return int(value)


def _bioc_pad(text: _Text, offset: int, where: str, separator: str) -> None:
    gap = offset - text.length
    if not 0 <= gap <= _MAX_GAP:
        raise CorpusError(
            f"{where}: offset {offset}, but the text before it ends at {text.length}; offsets must count characters "
            f"(not bytes), rise, and leave no gap over {_MAX_GAP}"
        )
    if gap:
        text.add((separator if text.length else " ") + " " * (gap - 1))


def _bioc_mention(annotation: _Element, text: str) -> Mention:
    infons = {infon.attributes.get("key"): "".join(map(str, infon.children)) for infon in annotation.elements("infon")}
    locations = annotation.elements("location")
    mention_type = infons.get("type", "").strip(_XML_SPACE)
    if not locations or not mention_type:
        missing = "<location>" if mention_type else '<infon key="type">'
        raise CorpusError(f"{annotation.where}: an <annotation> without {missing}; add it or remove the annotation")
    spans = []
    for location in locations:
        start, length = (_bioc_integer(location.attributes.get(name), location) for name in ("offset", "length"))
        spans.append((start, start + length))
    mention = Mention(tuple(spans), mention_type, annotation.text("text"), annotation.where)
    return mention if mention.text is None else _as_found(text, mention)


def write_bioc(documents: Iterable[Document], path: FilePath) -> None:
    """Write BioC XML, one passage a document; score and task of a prediction are infons; gzip if the name ends so.

    Characters that XML can't hold (most control characters) become a space each, so offsets stay.
    """
    _write(path, _bioc_parts(documents))


def _bioc_parts(documents: Iterable[Document]) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE collection SYSTEM "BioC.dtd">\n'
    yield "<collection><source>MTL-BioNER</source><date></date><key></key>\n"
    for document in documents:
        yield f"<document><id>{_xml_escaped(document.document_id)}</id>\n"
        yield f"<passage><offset>0</offset><text>{_xml_escaped(document.text)}</text>\n"
        for number, entity in enumerate(document.entities, 1):
            yield _bioc_annotation(number, entity, document.text)
        yield "</passage></document>\n"
    yield "</collection>\n"


def _bioc_annotation(number: int, entity: Entity, text: str) -> str:
    infons = {"type": entity.type, **_score_and_task(entity)}
    stated = "".join(f'<infon key="{key}">{_xml_escaped(str(value))}</infon>' for key, value in infons.items())
    location = f'<location offset="{entity.start}" length="{entity.end - entity.start}"/>'
    mention = _xml_escaped(text[entity.start : entity.end])
    return f'<annotation id="T{number}">{stated}{location}<text>{mention}</text></annotation>\n'
