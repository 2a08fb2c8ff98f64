"""Choose the columns of a table, or the keys of JSON records, that hold texts and ids."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from dataset_scripts.formats.files import BOM, MAX_LINE, list_names, open_file
from dataset_scripts.formats.json_records import read_json_records
from dataset_scripts.schema import CorpusError


if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile


# The accepted names, the best first; a title and its abstract are one text of two lines, as in PubTator.
TEXT_COLUMNS = (("text",), ("title", "abstract"), ("abstract",), ("sentence",), ("content",), ("body",), ("title",))
ID_COLUMNS = ("document_id", "doc_id", "pmid", "id")
DELIMITERS = ",;\t"


class ColumnOptions(NamedTuple):
    """Columns as the user names them; None chooses by name."""

    text: str | None = None  # several, joined by line breaks, are separated by commas
    id: str | None = None
    keep_extra: bool = True  # whether further columns are kept


class Columns(NamedTuple):
    """The columns that are read."""

    text: tuple[str, ...]
    id: str | None


class MissingColumnError(CorpusError):
    """A column that the user names isn't there."""


def choose_columns(names: Sequence[str], options: ColumnOptions, place: str) -> Columns:
    """Choose the columns of texts and ids.

    Raises:
        MissingColumnError: a column that `options` name isn't there.
        CorpusError: no column has the name of one that holds texts.
    """
    shown = f"the columns are {list_names(map(str, names))}"
    by_name = {str(name).strip().casefold(): name for name in reversed(names)}
    if options.id is not None and options.id not in names:
        raise MissingColumnError(f"{place}: no column {options.id!r} for --id_column; {shown}")
    id_column = options.id or next((by_name[name] for name in ID_COLUMNS if name in by_name), None)
    if options.text is None:
        text = next((columns for columns in TEXT_COLUMNS if all(name in by_name for name in columns)), None)
        if text is None:
            raise CorpusError(f"{place}: no column text, abstract or the like; {shown}; choose one with --text_column")
        return Columns(tuple(by_name[name] for name in text), id_column)
    wanted = (options.text,) if options.text in names else tuple(options.text.split(","))
    for name in wanted:
        if name not in names:
            raise MissingColumnError(f"{place}: no column {name!r} for --text_column; {shown}")
    return Columns(wanted, id_column)


def split_header(line: str) -> tuple[list[str], str]:
    """Split the first line of a CSV file; return the names and the delimiter, the one that gives most columns."""
    try:
        rows = {delimiter: next(csv.reader([line.strip("\r\n")], delimiter=delimiter), []) for delimiter in DELIMITERS}
    except csv.Error:
        return [line], ","
    delimiter = max(rows, key=lambda delimiter: len(rows[delimiter]))
    return rows[delimiter], delimiter


def open_parquet(source: Path | BinaryIO, name: str) -> ParquetFile:
    """Open a Parquet file, and read what columns it has; raise CorpusError if it is none."""
    from pyarrow.parquet import ParquetFile  # takes long, and only this format needs it

    try:
        return ParquetFile(source)
    except Exception as error:  # of pyarrow, among them OSError
        raise CorpusError(f"{name}: no Parquet file ({error!r:.200}); copy or download it again") from None


def is_line_wise(path: Path) -> bool:
    """Whether one of the first lines of a JSON file is a whole object, so that the others are too."""
    return next(_read_early_objects(path), None) is not None


def _read_early_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield those of the first lines that are objects; a broken one among them is the reader's business."""
    with open_file(path) as file:
        for line in itertools.islice(iter(partial(file.readline, MAX_LINE), b""), 20):
            try:
                value = json.loads(line.decode("utf-8", "replace").removeprefix(BOM))
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def read_first_record(path: Path) -> Any:
    """Return the first record of a JSON file; raise CorpusError if there is none."""
    value = next(_read_early_objects(path), None)
    record = next(read_json_records(path), None) if value is None else None
    if value is None and record is None:
        raise CorpusError(f"{path}: no record; is it the right file?")
    return record.value if value is None else value
