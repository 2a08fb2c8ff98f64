"""Turn what files state into documents: offsets checked, types harmonised, repeated documents merged."""

import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from dataset_scripts.corpus import Part
from dataset_scripts.formats.files import format_count
from dataset_scripts.problems import TRIMMED, Problems
from dataset_scripts.schema import (
    DETECT,
    DISCONTINUOUS,
    DUPLICATE_DOCUMENT,
    DUPLICATE_MENTION,
    EMPTY_SPAN,
    NO_TYPE,
    OTHER_TYPE,
    OUTSIDE_TEXT,
    CorpusError,
    Document,
    Entity,
    Ledger,
    Mention,
    RawDocument,
    ReadOptions,
    Span,
    TypeMap,
    trim_span,
)
from dataset_scripts.splits import Splits


logger = logging.getLogger(__name__)


def read_parts(
    parts: Iterable[Part], type_map: TypeMap | None = None, options: ReadOptions = DETECT, allow_empty: bool = True
) -> Splits:
    """Read the documents of each split; documents of one id are not merged yet.

    Raises:
        CorpusError: a malformed file; without `allow_empty`, one without a document; what `options` refuse.
    """
    splits: Splits = {}
    for part in parts:
        problems = Problems()
        documents = list(to_documents(part.read(), type_map, problems))
        problems.report(part.name, options.strict, options.allow_losses)
        if not documents and not allow_empty:
            raise CorpusError(
                f"{part.name} holds no document; fill it, or remove it so that its split is cut from others"
            )
        splits.setdefault(part.split, []).extend(documents)
    return splits


def to_documents(
    raws: Iterable[RawDocument], type_map: TypeMap | None = None, problems: Problems | None = None
) -> Iterator[Document]:
    """Check and harmonise documents one by one; a document's `loss` counts what it loses.

    White space and invisible characters at the edges of a mention are left out of it: no word begins or ends there.
    Without `type_map` all types keep the names that the file gives them.
    What is wrong with mentions is added to `problems`.
    """
    problems = Problems() if problems is None else problems
    for raw in raws:
        loss = Ledger()
        problems.add_document(raw)
        entities = _to_entities(raw, raw.mentions, type_map, problems, loss)
        alternatives = _to_entities(raw, raw.alternatives, type_map, problems, Ledger()) if raw.alternatives else ()
        group = raw.group or raw.document_id
        yield Document(raw.document_id, raw.text, entities, alternatives, group, loss if loss.read else None)


def merge_documents(documents: Iterable[Document], name: str) -> list[Document]:
    """Merge documents of one id and text, as PMID 8528200 in NCBI's training file, and number others of one id.

    Mentions that the first has too are lost as `DUPLICATE_DOCUMENT`. The documents that come in are not changed.
    """
    merged: dict[str, Document] = {}
    renamed: defaultdict[str, dict[str, str]] = defaultdict(dict)  # by stated id: other text -> its document's id
    repeated: list[str] = []
    new = 0
    for document in documents:
        document_id = stated_id = document.document_id
        first = merged.get(document_id)
        if first is not None and first.text != document.text:
            others = renamed[stated_id]
            first = merged.get(others.get(document.text, ""))
            number = len(others) + 1
            while first is None and document_id in merged:  # another text has it
                number += 1
                document_id = f"{stated_id}-{number}"
            if first is None:
                others[document.text] = document_id
        if first is None:
            merged[document_id] = document if document_id == stated_id else replace(document, document_id=document_id)
        else:
            joined = _merge(first, document)
            new += len(joined.entities) - len(first.entities)
            repeated.append(first.document_id)
            merged[first.document_id] = joined
    if repeated:
        also = f"; {format_count(new, 'mention')} that only a later one has added to it" if new else ""
        numbers = format_count(len(repeated), "document")
        logger.warning(
            "%s: %s with id and text of an earlier one, such as %s%s", name, numbers, repeated[0][:60], also
        )
    return list(merged.values())


def _merge(first: Document, second: Document) -> Document:
    """Return the first document with the mentions of both."""
    loss = Ledger() + (first.loss or Ledger()) + (second.loss or Ledger())
    known = set(first.entities)
    for entity in known.intersection(second.entities):
        loss.add_lost(DUPLICATE_DOCUMENT, entity.type)
    return replace(first, entities=sorted(known.union(second.entities)), loss=loss)


def _to_entities(
    raw: RawDocument, mentions: Iterable[Mention], type_map: TypeMap | None, problems: Problems, loss: Ledger
) -> list[Entity]:
    """Return the distinct entities of a document, sorted; count in `loss` what is lost."""
    entities: set[Entity] = set()
    for mention in mentions:
        own_type = sys.intern(mention.type)
        harmonised = own_type if type_map is None else type_map(own_type)
        if cause := mention.lost or (not mention.type and NO_TYPE) or _find_fault(mention, raw.text):
            problems.add(cause, raw, mention)
        else:
            spans = _join_touching(raw.text, mention.spans) if len(mention.spans) > 1 else mention.spans
            start, end = trim_span(raw.text, *spans[0])
            entity = Entity(start, end, harmonised or "", own_type, mention.score, mention.task)
            if len(spans) == 1 and (entity.start, entity.end) != spans[0]:
                problems.add(TRIMMED, raw, mention)
            problems.compare_texts(raw, mention)
            cause = (not harmonised and OTHER_TYPE) or (len(spans) > 1 and DISCONTINUOUS)
            cause = cause or (entity in entities and DUPLICATE_MENTION)
        if cause:
            loss.add_lost(cause, harmonised or "")
        else:
            entities.add(entity)
    return sorted(entities)


def _find_fault(mention: Mention, text: str) -> str:
    """Return why a mention's offsets can't be used, "" if they can."""
    for start, end in mention.spans:
        if start < 0 or end > len(text):
            return OUTSIDE_TEXT
        if start >= end:
            return EMPTY_SPAN
    visible = any(start < end for start, end in (trim_span(text, *span) for span in mention.spans))
    return "" if visible else EMPTY_SPAN


def _join_touching(text: str, spans: Sequence[Span]) -> list[Span]:
    """Join parts of a mention with nothing but white space between: brat cuts mentions at line breaks."""
    joined = [spans[0]]
    for start, end in spans[1:]:
        if start >= joined[-1][1] and not text[joined[-1][1] : start].strip():
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined
