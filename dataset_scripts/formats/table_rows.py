"""Build the document of a row of a table, in each of the layouts that `tables.py` chooses."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dataset_scripts.formats.files import OffsetText
from dataset_scripts.formats.json_records import check_type
from dataset_scripts.formats.tagged_tokens import join_tokens, read_tags
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import CorpusError, Mention, RawDocument, Span


Row = Mapping[str, Any]


def find_label_names(feature: Any, *keys: str) -> list[str] | None:
    """Return the names of the numbers in a column of lists, or in a field of its items; None without names."""
    while isinstance(feature, list) or (isinstance(feature, Mapping) and feature.get("_type") != "ClassLabel"):
        if isinstance(feature, list):  # an older form of List
            feature = feature[0] if feature else {}
        elif "feature" in feature:
            feature = feature["feature"]
        elif keys and keys[0] in feature:
            feature, keys = feature[keys[0]], keys[1:]
        else:
            return None
    return feature.get("names") if isinstance(feature, Mapping) else None


def _name_label(value: Any, names: Sequence[str] | None, column: str, where: str) -> str:
    """Return a label as a string; `names` gives that of a number."""
    if isinstance(value, str):
        return value
    if type(value) is int and names is None:
        remedy = f"cast_column({column!r}, List(ClassLabel(names=['O', 'B-...', ...])))"
        raise CorpusError(f"{where}: {column} holds numbers without names; name them in `datasets` with {remedy}")
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    known = f" from 0 to {len(names) - 1}" if names else ""
    raise CorpusError(f"{where}: {column} holds {value!r}; expected a string, or a number{known} with a name")


def _get_list(row: Row, column: str, where: str, kind: type = object) -> list[Any]:
    values = row[column]
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        items = {object: "values", int: "whole numbers", str: "strings"}[kind]
        raise CorpusError(f"{where}: {column} is {str(values)[:60]!r}; expected a list of {items}")
    return values


def _get_text(row: Row, column: str, where: str) -> str:
    if not isinstance(row[column], str):
        raise CorpusError(f"{where}: {column} is {str(row[column])[:60]!r}; expected a string")
    return row[column]


# ----------------------------------------------------------------------------------------------- tokens and their tags


class TokenBuilder(NamedTuple):
    """Builds a document of tokens and tags."""

    tokens: str
    tags: str
    names: list[str] | None
    has_places: bool  # of the tokens in the text: columns text, starts and ends
    reader: TagReader

    def __call__(self, document_id: str, row: Row, where: str) -> RawDocument:
        tokens = _get_list(row, self.tokens, where, str)
        tags = [_name_label(tag, self.names, self.tags, where) for tag in _get_list(row, self.tags, where)]
        text, offsets = _find_places(row, tokens, where) if self.has_places else join_tokens(tokens)
        return RawDocument(document_id, text, read_tags(offsets, tags, where, self.reader), where=where)


def _find_places(row: Row, tokens: list[str], where: str) -> tuple[str, list[Span]]:
    """Return the text and the offsets of its tokens, after checking that they are there."""
    text = _get_text(row, "text", where)
    offsets = list(zip(_get_list(row, "starts", where, int), _get_list(row, "ends", where, int), strict=False))
    places = [text[start:end] for start, end in offsets]
    if places != tokens:
        pairs = enumerate(itertools.zip_longest(tokens, places), 1)
        number, (token, place) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
        shown = f"token {number} is {token!r}, but the text has {place!r} between starts and ends"
        raise CorpusError(f"{where}: {shown}; offsets must count characters")
    return text, offsets


# ------------------------------------------------------------------------------------------ text and character offsets


class TextBuilder(NamedTuple):
    """Builds a document of a text and mentions with offsets."""

    text: str
    entities: str
    feature: Any  # of the entities

    def __call__(self, document_id: str, row: Row, where: str) -> RawDocument:
        text = _get_text(row, self.text, where)
        mentions = [self.build_mention(item, where) for item in _list_items(row, self.entities, where)]
        return RawDocument(document_id, text, mentions, where=where)

    def build_mention(self, item: Row, where: str) -> Mention:
        label = next((key for key in ("type", "label", "entity_type", "entity_group") if key in item), None)
        start, end = (next((item[key] for key in keys if key in item), None) for keys in _OFFSETS)
        if label is None or type(start) is not int or type(end) is not int:
            expected = "start and end (whole numbers) and type or label"
            raise CorpusError(f"{where}: {self.entities} holds {str(item)[:100]}; expected {expected}")
        names = find_label_names(self.feature, label)
        name = "" if item[label] is None else _name_label(item[label], names, label, where)
        return _make_mention(((start, end),), name, item.get("text"), where)


_OFFSETS = (("start", "start_offset"), ("end", "end_offset"))


def _list_items(row: Row, column: str, where: str) -> list[Row]:
    """List the entities of a row: a list of records, or a record of lists; none for None."""
    value = row[column]
    if isinstance(value, Mapping) and all(isinstance(items, list) for items in value.values()):
        if len({len(items) for items in value.values()}) > 1:
            raise CorpusError(f"{where}: the lists in {column} are of unequal length")
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    if value is None:
        return []
    items = _get_list(row, column, where)
    if wrong := [item for item in items if not isinstance(item, Mapping)]:
        expected = "expected records with start, end and type; --tag_column chooses another column"
        raise CorpusError(f"{where}: {column} holds {str(wrong[0])[:60]!r}; {expected}")
    return items


def _make_mention(spans: tuple[Span, ...], name: Any, text: Any, where: str) -> Mention:
    return Mention(spans, check_type(name, where), text if isinstance(text, str) else None, where)


def build_bigbio(document_id: str, row: Row, where: str) -> RawDocument:
    """Put each passage at its offset; `text` and `offsets` of passages and entities are lists."""
    text = OffsetText()
    for passage in sorted(_list_items(row, "passages", where), key=lambda item: _get_spans(item, where)):
        spans, parts = _get_spans(passage, where), _get_list(passage, "text", where, str)
        if len(spans) != len(parts):
            raise CorpusError(f"{where}: a passage with {len(parts)} texts, but {len(spans)} offsets")
        for (start, _), part in zip(spans, parts, strict=True):
            text.pad(start, where, "\n")
            text.add(part)
    mentions = []
    for entity in _list_items(row, "entities", where):
        stated = " ".join(_get_list(entity, "text", where, str)) if entity.get("text") else None
        mention = _make_mention(_get_spans(entity, where), entity.get("type"), stated, where)
        mentions.append(mention.restore_line_breaks(text.getvalue()))
    return RawDocument(document_id, text.getvalue(), mentions, where=where)


def _get_spans(item: Row, where: str) -> tuple[Span, ...]:
    spans = item.get("offsets")
    if not spans or not all(len(span) == 2 and all(type(offset) is int for offset in span) for span in spans):
        raise CorpusError(f"{where}: offsets are {str(spans)[:60]}; expected a list of [start, end]")
    return tuple((start, end) for start, end in spans)
