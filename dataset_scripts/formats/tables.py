"""Read tables, as Parquet files and data sets of the Hugging Face Hub hold them: a row is a document.

    tokens, ner_tags                        words and their tags: strings, or numbers with names (ClassLabel)
    text, tokens, starts, ends, ner_tags    the same with the words' places in the text, as our own export writes it
    text, entities                          character offsets: [{"start": 0, "end": 4, "type": "Disease"}]
    passages, entities                      BigBIO's `kb` schema
Source: https://huggingface.co/docs/datasets/about_dataset_features; Fries et al. 2022, arXiv:2206.15076
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from dataset_scripts.formats.files import NOT_IN_NAMES, list_names
from dataset_scripts.formats.table_rows import Row, TextBuilder, TokenBuilder, build_bigbio, find_label_names
from dataset_scripts.formats.tagged_tokens import OTHER_TAGS, TAG_COLUMNS, TOKEN_COLUMNS, choose_tags, is_tag_list
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import DETECT, CorpusError, RawDocument, ReadOptions


logger = logging.getLogger(__name__)

DOCUMENT_COLUMNS = ("document_id", "doc_id", "pmid")  # several rows may have one value: sentences of a text
ID_COLUMNS = (*DOCUMENT_COLUMNS, "id")
ENTITY_COLUMNS = ("entities", "spans")
EXPECTED = (
    f"tokens ({' or '.join(TOKEN_COLUMNS)}) and tags ({', '.join(TAG_COLUMNS)}), "
    f"text and {' or '.join(ENTITY_COLUMNS)}, or BigBIO's passages and entities; "
    "--token_column and --tag_column choose others"
)

BATCH_SIZE = 256  # rows in memory


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
    tags: TagReader | None = None  # of a layout of tokens and tags


def read_table(table: Table, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Yield a document for each row; its id is unique in the table, else it is `<stem>-<row>`, from 1.

    Rows of one `document_id` are of one group. Columns that can't be read, numbers without names and malformed values
    raise CorpusError.
    """
    columns, build, tags = choose_layout(table, options)
    id_column, group_column = _choose_id_columns(table)
    wanted = [*columns, *filter(None, (id_column, group_column))]
    for number, row in enumerate(table.read(list(dict.fromkeys(wanted))), 1):
        where = f"{table.name}:{number}"
        document_id = str(row[id_column]) if id_column else f"{table.stem}-{number}"
        if NOT_IN_NAMES.search(document_id):
            raise CorpusError(
                f"{where}: {id_column} {document_id!r}; expected a string without tabs, line breaks and the like"
            )
        document = build(document_id, row, where)
        document.group = str(row[group_column]) if group_column else ""
        yield document
    if tags:
        tags.report()


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


def choose_layout(table: Table, options: ReadOptions) -> Layout:
    """Choose the columns that are read; raise CorpusError if there are none, or several that could be meant."""
    columns, chosen = table.features, options.tag_column
    for column in filter(None, (options.token_column, chosen)):
        _check_column(table, column)
    tokens = options.token_column or _find_first(TOKEN_COLUMNS, columns)
    if chosen is None and {"passages", "entities"} <= set(columns):
        return Layout(["passages", "entities"], build_bigbio)
    entities = chosen if chosen in ENTITY_COLUMNS or tokens is None else None
    entities = _find_first(ENTITY_COLUMNS, columns) if chosen is None else entities
    text = "text" if "text" in columns else options.token_column
    if entities and text:
        _warn_of_other_tags(table, options, text, entities)
        return Layout([text, entities], TextBuilder(text, entities, table.features[entities]))
    tags = chosen or choose_tags(table.features, table.name)
    if not tokens or not tags:
        raise CorpusError(f"{table.name}: the columns are {list_names(columns)}; expected {EXPECTED}")
    _warn_of_other_tags(table, options, tokens, tags)
    places = [column for column in ("text", "starts", "ends") if column in columns]
    places, reader = places if len(places) == 3 else [], TagReader(table.name, options.tag_scheme)
    builder = TokenBuilder(tokens, tags, find_label_names(table.features[tags]), bool(places), reader)
    return Layout([tokens, tags, *places], builder, reader)


def _check_column(table: Table, column: str) -> None:
    if column not in table.features:
        raise CorpusError(f"{table.name}: no column {column!r}; the columns are {list_names(table.features)}")


def _find_first(names: Iterable[str], columns: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in columns), None)


def _warn_of_other_tags(table: Table, options: ReadOptions, *used: str) -> None:
    """Warn of columns whose tags are not read, as far as their names, or the first rows, show them."""
    others = [column for column in table.features if column not in used and options.tag_column is None]
    names = {column: find_label_names(table.features[column]) or () for column in others}
    tagged = {column for column in others if any(name.startswith("B-") for name in names[column])}
    for row in itertools.islice(table.read(others), BATCH_SIZE) if others else ():
        tagged |= {
            column for column, value in row.items() if is_tag_list(value) or (value and column in ENTITY_COLUMNS)
        }
    if tagged:
        logger.warning(OTHER_TAGS, table.name, used[-1], list_names(sorted(tagged), " or "))


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
