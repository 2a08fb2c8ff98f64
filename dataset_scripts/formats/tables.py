"""Read tables, as Parquet files and data sets of the Hugging Face Hub hold them: a row is a document.

    tokens, ner_tags                        words and their tags: strings, or numbers with names (ClassLabel)
    text, tokens, starts, ends, ner_tags    the same with the words' places in the text, as our own export writes it
    text, entities                          character offsets: [{"start": 0, "end": 4, "type": "Disease"}]
    passages, entities                      BigBIO's `kb` schema
Source: https://huggingface.co/docs/datasets/about_dataset_features; Fries et al. 2022, arXiv:2206.15076
"""

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dataset_scripts.formats.files import NOT_IN_NAMES, OffsetText
from dataset_scripts.formats.tagged_tokens import TAG_COLUMNS, TOKEN_COLUMNS, join_tokens, read_tags
from dataset_scripts.schema import DETECT, NO_TYPE, CorpusError, Mention, RawDocument, ReadOptions, Span
from dataset_scripts.schema import strip_invisible as strip


logger = logging.getLogger(__name__)

DOCUMENT_COLUMNS = (
    "document_id",
    "doc_id",
    "pmid",
)  # in these a value may stand for several rows: sentences of a text
ID_COLUMNS = (*DOCUMENT_COLUMNS, "id")
ENTITY_COLUMNS = ("entities", "spans")
EXPECTED = (
    f"tokens ({' or '.join(TOKEN_COLUMNS)}) and tags ({', '.join(TAG_COLUMNS)}), "
    f"text and {' or '.join(ENTITY_COLUMNS)}, or BigBIO's passages and entities; "
    "--token_column and --tag_column choose others"
)

_TAG = re.compile("O|[BIESLU]-.+")
BATCH_SIZE = 256  # rows in memory
_MAX_GAP = 100_000  # between passages; a larger one is a wrong offset, not padding worth its memory

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table that is read in parts."""

    name: str  # in messages
    stem: str  # of the ids of rows without one
    features: Mapping[str, Any]  # by column, what `datasets` writes of its type; {} if it wrote nothing
    read: Callable[[list[str]], Iterable[Row]]  # yields the rows with the columns asked for


class Layout(NamedTuple):
    """How the rows are read."""

    columns: list[str]
    build: Callable[[str, Row, str], RawDocument]  # from an id, a row and its `file:row`
    strays: Sequence[str] = ()  # where mentions begin with an inner tag


def read_table(table: Table, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Yield a document for each row; its id is unique in the table, else it is `<stem>-<row>`, from 1.

    Rows of one `document_id` are of one group. Columns that can't be read, numbers without names and malformed values
    raise CorpusError.
    """
    columns, build, strays = choose_layout(table, options)
    id_column, group_column = _choose_id_columns(table)
    wanted = [*columns, *filter(None, (id_column, group_column))]
    for number, row in enumerate(table.read(list(dict.fromkeys(wanted))), 1):
        where = f"{table.name}:{number}"
        document_id = str(row[id_column]) if id_column else f"{table.stem}-{number}"
        if NOT_IN_NAMES.search(document_id):
            raise CorpusError(f"{where}: {id_column} {document_id!r}; expected a string without tabs or line breaks")
        document = build(document_id, row, where)
        document.group = str(row[group_column]) if group_column else ""
        yield document
    warn_of_strays(strays)


def list_rows(batches: Iterable[Any], name: str) -> Iterator[Row]:
    """Yield the rows of Arrow tables or batches; raise CorpusError if they are damaged.

    Without `validate`, wrong offsets inside a damaged file read memory beyond it.
    """
    batches = iter(batches)
    while True:
        try:
            batch = next(batches)
            batch.validate(full=True)
            rows = batch.to_pylist()
        except StopIteration:
            return
        except Exception as error:  # of pyarrow, or a decoding error
            raise CorpusError(f"{name}: can't be read ({error!r:.200}); copy or download it again") from None
        yield from rows


def warn_of_strays(strays: Sequence[str]) -> None:
    """Warn of mentions that begin with an inner tag."""
    if strays:
        logger.warning("%s: a mention begins with I-, E- or L- instead of B-, S- or U-; such mentions (%d) are read "
                       "as in IOB1", strays[0], len(strays))  # fmt: skip


def choose_layout(table: Table, options: ReadOptions) -> Layout:
    """Choose the columns that are read; raise CorpusError if there are none, or several that could be meant."""
    columns, given = table.features, options.tag_column
    for column in filter(None, (options.token_column, given)):
        _check_column(table, column)
    tokens = options.token_column or _find_first(TOKEN_COLUMNS, columns)
    if given is None and {"passages", "entities"} <= set(columns):
        return Layout(["passages", "entities"], _build_bigbio)
    entities = given if given in ENTITY_COLUMNS or tokens is None else None
    entities = _find_first(ENTITY_COLUMNS, columns) if given is None else entities
    text = "text" if "text" in columns else options.token_column
    if entities and text:
        _warn_of_other_tags(table, options, text, entities)
        return Layout([text, entities], _TextBuilder(text, entities, table.features[entities]))
    tags = given or _choose_tags(table)
    if not tokens or not tags:
        raise CorpusError(f"{table.name}: the columns are {', '.join(columns)}; expected {EXPECTED}")
    _warn_of_other_tags(table, options, tokens, tags)
    places = [column for column in ("text", "starts", "ends") if column in columns]
    places, strays = places if len(places) == 3 else [], []
    builder = _TokenBuilder(tokens, tags, find_label_names(table.features[tags]), bool(places), strays)
    return Layout([tokens, tags, *places], builder, strays)


def _check_column(table: Table, column: str) -> None:
    if column not in table.features:
        raise CorpusError(f"{table.name}: no column {column!r}; the columns are {', '.join(table.features)}")


def _find_first(names: Iterable[str], columns: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in columns), None)


def _choose_tags(table: Table) -> str | None:
    present = [name for name in TAG_COLUMNS if name in table.features]
    if len(present) > 1 and present[0] != TAG_COLUMNS[0]:
        raise CorpusError(f"{table.name}: the tags may be in {' or '.join(present)}; choose with --tag_column")
    return present[0] if present else None


def _warn_of_other_tags(table: Table, options: ReadOptions, *used: str) -> None:
    """Warn of columns whose tags are not read, as far as their names, or the first rows, show them."""
    others = [column for column in table.features if column not in used and options.tag_column is None]
    names = {column: find_label_names(table.features[column]) or () for column in others}
    tagged = {column for column in others if any(name.startswith("B-") for name in names[column])}
    for row in itertools.islice(table.read(others), BATCH_SIZE) if others else ():
        tagged |= {column for column, value in row.items() if _is_tag_list(value)}
    if tagged:
        message = "%s: the mentions are read from %s, not from %s (tags, too); choose with --tag_column"
        logger.warning(message, table.name, used[-1], " or ".join(sorted(tagged)))


def _is_tag_list(value: Any) -> bool:
    tags = [tag for tag in value if isinstance(tag, str) and _TAG.fullmatch(tag)] if isinstance(value, list) else []
    return bool(tags) and len(tags) == len(value) and any(tag.startswith("B-") for tag in tags)


def _choose_id_columns(table: Table) -> tuple[str | None, str | None]:
    """Choose the column of unique ids, and that of documents in several rows; read no other column for it."""
    group = None
    for column in (name for name in ID_COLUMNS if name in table.features):
        values = [row[column] for row in table.read([column])]
        if all(isinstance(value, str | int) and value != "" for value in values):
            if len(set(values)) == len(values):
                return column, group
            group = group or (column if column in DOCUMENT_COLUMNS else None)
    return None, group


def find_label_names(feature: Any, *keys: str) -> list[str] | None:
    """Return the names of the numbers in a column of lists, or in a field of its items; None without names."""
    while isinstance(feature, list) or (isinstance(feature, Mapping) and "names" not in feature):
        if isinstance(feature, list):  # an older form of List
            feature = feature[0] if feature else {}
        elif "feature" in feature:
            feature = feature["feature"]
        elif keys and keys[0] in feature:
            feature, keys = feature[keys[0]], keys[1:]
        else:
            return None
    return feature["names"] if isinstance(feature, Mapping) else None


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


class _TokenBuilder(NamedTuple):
    tokens: str
    tags: str
    names: list[str] | None
    has_places: bool  # of the tokens in the text: columns text, starts and ends
    strays: list[str]

    def __call__(self, document_id: str, row: Row, where: str) -> RawDocument:
        tokens = _get_list(row, self.tokens, where, str)
        tags = [_name_label(tag, self.names, self.tags, where) for tag in _get_list(row, self.tags, where)]
        text, offsets = _find_places(row, tokens, where) if self.has_places else join_tokens(tokens)
        return RawDocument(document_id, text, read_tags(offsets, tags, where, self.strays), where=where)


def _find_places(row: Row, tokens: list[str], where: str) -> tuple[str, list[Span]]:
    """Return the text and the offsets of its tokens, after checking that they are there."""
    text = _get_text(row, "text", where)
    offsets = list(zip(_get_list(row, "starts", where, int), _get_list(row, "ends", where, int), strict=False))
    places = [text[start:end] for start, end in offsets]
    if places != tokens:
        number = next((n for n, pair in enumerate(zip(places, tokens, strict=False)) if pair[0] != pair[1]), 0)
        shown = f"token {number + 1} is {tokens[number : number + 1]}, the text has {places[number : number + 1]}"
        raise CorpusError(f"{where}: {shown} between starts and ends; offsets must count characters")
    return text, offsets


# ------------------------------------------------------------------------------------------ text and character offsets


class _TextBuilder(NamedTuple):
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
    if not isinstance(name, str | None) or NOT_IN_NAMES.search(name or ""):
        raise CorpusError(f"{where}: type {str(name)[:60]!r}; expected a string without tabs or line breaks")
    name = strip(name or "")
    return Mention(spans, name, text if isinstance(text, str) else None, where, "" if name else NO_TYPE)


def _build_bigbio(document_id: str, row: Row, where: str) -> RawDocument:
    """Put each passage at its offset; `text` and `offsets` of passages and entities are lists."""
    text = OffsetText()
    for passage in sorted(_list_items(row, "passages", where), key=lambda item: _get_spans(item, where)):
        for (start, _), part in zip(_get_spans(passage, where), _get_list(passage, "text", where, str), strict=False):
            gap = start - text.tell()
            if not 0 <= gap <= _MAX_GAP:
                problem = f"{where}: a passage at {start}, but the text before it ends at {text.tell()}"
                raise CorpusError(f"{problem}; offsets must count characters, rise, and leave no gap over {_MAX_GAP}")
            text.add(("\n" + " " * gap)[:gap] + part)
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
