"""Read each kind of input as a stream of documents; what can't be read is an `Unreadable` in its place."""

from __future__ import annotations

import csv
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dataset_scripts.formats import pubtator, read_any
from dataset_scripts.formats.brat import read_pair
from dataset_scripts.formats.files import (
    BOM,
    MAX_LINE,
    get_read_position,
    get_stem,
    open_file,
    read_lines,
    read_text,
    too_long,
)
from dataset_scripts.formats.json_records import DECODER, read_json_records
from dataset_scripts.formats.tables import BATCH_SIZE, list_rows
from dataset_scripts.schema import CorpusError, Mention, RawDocument
from mtl_bioner.annotation.parts import GIVEN, Item, SourceDocument, make_unreadable
from mtl_bioner.annotation.sources import Source, measure
from mtl_bioner.annotation.tables import (
    ColumnOptions,
    Columns,
    choose_columns,
    is_line_wise,
    open_parquet,
    split_header,
)


logger = logging.getLogger(__name__)

_ENTITIES = "entities"  # the column or key of annotations in the input
_LONGEST_FIELD = 1 << 27  # of CSV, in characters


class Inputs:
    """The documents of all sources, in their order; `position` is how many bytes are read."""

    def __init__(self, sources: Sequence[Source], options: ColumnOptions) -> None:
        self.sources, self.options = sources, options
        self.sizes = [measure(source.path) for source in sources]
        self.finished = 0

    @property
    def total(self) -> int:
        """The bytes of all sources."""
        return sum(self.sizes)

    def get_position(self) -> int:
        """Return how many bytes are read."""
        return self.finished + get_read_position()

    def __iter__(self) -> Iterator[Item]:
        for source, size in zip(self.sources, self.sizes, strict=True):
            yield from read_source(source, self.options)
            self.finished += size


def read_source(source: Source, options: ColumnOptions) -> Iterator[Item]:
    """Read a source; after an error in the middle, what came before stands, and the error tells of the rest."""
    if source.problem:
        yield make_unreadable(source.name, source.problem)
        return
    is_empty = True
    try:
        for item in READERS[source.kind](source, options):
            is_empty = False
            yield item
    except CorpusError as error:
        message = str(error)
        if source.path and source.name != str(source.path):  # standard input
            message = message.replace(str(source.path), source.name)
        rest = "" if is_empty else "; the file is read up to there"
        yield make_unreadable(source.name, f"{message}{rest}")
    else:
        if is_empty:
            yield make_unreadable(source.name, "holds no document; is it the right file?")


# ------------------------------------------------------------------------------------------------------- plain text


def _read_text(source: Source, options: ColumnOptions) -> Iterator[Item]:
    """Read a file as one document, as it is but for a byte order mark; with its annotations if it is one of brat."""
    if source.annotations:
        items = list(convert_document(read_pair(source.path, source.annotations), source))
    else:
        text = read_text(source.path).removeprefix(BOM)
        items = [SourceDocument(_get_stem(source), text, f"{source.name}:1")]
    if not items[0].text.strip():
        raise CorpusError(f"{source.name}: no text, only white space")
    yield from items


def _read_lines(source: Source, options: ColumnOptions) -> Iterator[Item]:
    for number, line in _iterate_lines(source.path):
        if text := line.strip():
            yield SourceDocument(f"{_get_stem(source)}-{number}", text, f"{source.name}:{number}")


def _get_stem(source: Source) -> str:
    return get_stem(source.path) if source.name == str(source.path) else source.name.replace(" ", "-")


def _iterate_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line; a byte that is not UTF-8 becomes half a surrogate pair, to be told of."""
    with open_file(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, MAX_LINE), b""), 1):
            if len(line) == MAX_LINE:
                raise too_long(path, number)
            text = line.decode("utf-8", "surrogateescape")
            yield number, text.removeprefix(BOM) if number == 1 else text


# ------------------------------------------------------------------------------------------- tables and JSON records


def _read_json(source: Source, options: ColumnOptions) -> Iterator[Item]:
    records = _read_json_lines(source) if is_line_wise(source.path) else _read_json_values(source)
    for number, where, value in records:
        if isinstance(value, CorpusError):
            yield make_unreadable(where, value)
        elif not isinstance(value, dict):
            yield make_unreadable(where, f"a JSON {type(value).__name__}; expected an object with a text")
        else:
            yield build_record(value, options, where, f"{_get_stem(source)}-{number}")


def _read_json_lines(source: Source) -> Iterator[tuple[int, str, Any]]:
    number = 0
    for line_number, line in _iterate_lines(source.path):
        if line.strip():
            number, where = number + 1, f"{source.name}:{line_number}"
            try:
                yield number, where, DECODER.decode(line)
            except (ValueError, RecursionError) as error:
                yield number, where, CorpusError(f"invalid JSON ({error}); expected one object a line")


def _read_json_values(source: Source) -> Iterator[tuple[int, str, Any]]:
    for number, record in enumerate(read_json_records(source.path), 1):
        yield number, record.where.replace(str(source.path), source.name), record.value


def _read_csv(source: Source, options: ColumnOptions) -> Iterator[Item]:
    csv.field_size_limit(_LONGEST_FIELD)
    lines = (line for _, line in _iterate_lines(source.path))
    first = next(lines)
    names, delimiter = split_header(first)
    columns = choose_columns(names, options, source.name)
    # The first line goes in again, so that `line_num` counts it.
    reader, line_number = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True), 1
    next(reader)
    try:
        for number, values in enumerate(filter(None, reader), 1):
            where, line_number = f"{source.name}:{line_number + 1}", reader.line_num
            if len(values) == len(names):
                row = dict(zip(names, values, strict=True))
                yield _build_document(row, columns, options, where, f"{_get_stem(source)}-{number}")
            else:
                problem = f"{len(values)} columns, where the header has {len(names)}"
                yield make_unreadable(where, f"{problem}; put fields that hold {delimiter!r} into double quotes")
    except csv.Error as error:
        where = f"{source.name}:{line_number + 1}"
        raise CorpusError(f"{where}: no CSV ({error}); check the quotes, each doubled inside a field") from None


def _read_parquet(source: Source, options: ColumnOptions) -> Iterator[Item]:
    with open_file(source.path) as stream:
        file = open_parquet(stream, source.name)
        names = file.schema_arrow.names
        columns = choose_columns(names, options, source.name)
        wanted = names if options.keep_extra else _list_columns(columns, names)
        rows = list_rows(file.iter_batches(batch_size=BATCH_SIZE, columns=wanted), source.name)
        yield from _read_rows(rows, columns, options, source.name, _get_stem(source))


def _read_dataset(source: Source, options: ColumnOptions) -> Iterator[Item]:
    """Read a data set of the library `datasets`."""
    columns = choose_columns(source.dataset.column_names, options, source.name)
    names = source.dataset.column_names
    wanted = names if options.keep_extra else _list_columns(columns, names)
    batches = source.dataset.select_columns(wanted).with_format("arrow").iter(batch_size=BATCH_SIZE)
    stem = source.path.name if source.path else source.name.rpartition("/")[2].replace(" ", "-")
    yield from _read_rows(list_rows(batches, source.name), columns, options, source.name, stem)


def _list_columns(columns: Columns, names: Sequence[str]) -> list[str]:
    """List the columns of texts, ids and existing annotations."""
    return [name for name in names if name in (*columns.text, columns.id, _ENTITIES)]


def _read_rows(
    rows: Iterable[Mapping[str, Any]], columns: Columns, options: ColumnOptions, name: str, stem: str
) -> Iterator[Item]:
    for number, row in enumerate(rows, 1):
        # A missing abstract is usual in a table, and its document is kept with an empty text.
        row = {**row, **{key: "" for key in columns.text if row[key] is None}}
        yield _build_document(row, columns, options, f"{name}:{number}", f"{stem}-{number}")


def build_record(record: Mapping[str, Any], options: ColumnOptions, where: str, default_id: str) -> Item:
    """Build the document of a record, which may have other keys than the last one."""
    try:
        return _build_document(record, choose_columns(list(record), options, where), options, where, default_id)
    except CorpusError as error:
        return make_unreadable(where, error)


def _build_document(
    row: Mapping[str, Any], columns: Columns, options: ColumnOptions, where: str, default_id: str
) -> Item:
    """Build the document of a row or record; all keys but those of texts are kept as they are, if wanted."""
    texts = [row.get(key) for key in columns.text]
    if any(isinstance(text, str) for text in texts):  # a citation without an abstract is usual
        texts = ["" if text is None else text for text in texts]
    if not all(isinstance(text, str) for text in texts):
        shown = ", ".join(f"{key} is {str(row.get(key))[:60]!r}" for key in columns.text)
        return make_unreadable(where, f"{shown}; expected a string")
    stated = row.get(columns.id) if columns.id else None
    document_id = default_id if stated is None or stated == "" else str(stated)
    # Without a title, or an abstract, no line break is left over.
    text = "\n".join(filter(None, texts)) if len(texts) > 1 else texts[0]
    kept = row if options.keep_extra else row.keys() & {_ENTITIES}
    extra = {key: row[key] for key in kept if key not in (*columns.text, "document_id", "text")}
    if _ENTITIES in extra:  # of our own JSONL, whose earlier ones stay
        earlier, latest = extra.get(GIVEN), extra.pop(_ENTITIES)
        extra[GIVEN] = earlier + latest if isinstance(earlier, list) and isinstance(latest, list) else latest
    return SourceDocument(document_id, text, where, extra)


# --------------------------------------------------------------------------------------------------- annotated text


def _read_corpus(source: Source, options: ColumnOptions) -> Iterator[Item]:
    """Read a format of `dataset_scripts.formats`; annotations in it are kept as `GIVEN`, passages too."""
    for raw in read_any(source.path, ending=source.ending or None):
        yield from convert_document(raw, source)


def _read_pubtator(source: Source, options: ColumnOptions) -> Iterator[Item]:
    """Read PubTator document by document, so that a malformed one is all that is lost."""
    continued: list[str] = []
    for lines in pubtator.group_lines(read_lines(source.path)):
        try:
            for raw in pubtator.build_documents(lines, [], continued):
                yield from convert_document(raw, source)
        except CorpusError as error:
            yield make_unreadable(source.name, str(error).replace(str(source.path), source.name))
    if continued:
        logger.warning("%s: abstracts that go on over several lines are joined by line breaks", continued[0])


def convert_document(raw: RawDocument, source: Source) -> Iterator[Item]:
    """Yield a document, and an `Unreadable` if some of its annotations can't be kept."""
    where = raw.where.replace(str(source.path), source.name)
    kept = [mention for mention in raw.mentions if mention.lies_inside(raw.text)]
    extra = {GIVEN: _list_given(kept, raw.text)} if kept else {}
    yield SourceDocument(raw.document_id, raw.text, where, extra, raw.passages)
    if lost := len(raw.mentions) - len(kept):
        number = f"{lost} annotation{'s' * (lost > 1)} of document {raw.document_id[:60]!r}"
        yield make_unreadable(where, f"{number} outside the text; left out, and the document is annotated")


def _list_given(mentions: Sequence[Mention], text: str) -> list[dict[str, Any]]:
    """List annotations in the form of our JSONL; one of several spans has them as `spans`, further fields as `infons`.

    The inverse is `sinks.build_mention`.
    """
    given = []
    for mention in mentions:
        (start, end), spans = (mention.spans[0][0], mention.spans[-1][1]), mention.spans
        entity = {"start": start, "end": end, "type": mention.type, "text": mention.cut(text)}
        entity |= {"spans": [list(span) for span in spans]} if len(spans) > 1 else {}
        given.append(entity | ({"infons": mention.infons} if mention.infons else {}))
    return given


READERS: dict[str, Callable[[Source, ColumnOptions], Iterator[Item]]] = {
    "text": _read_text,
    "lines": _read_lines,
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "dataset": _read_dataset,
    "pubtator": _read_pubtator,
    "corpus": _read_corpus,
}
