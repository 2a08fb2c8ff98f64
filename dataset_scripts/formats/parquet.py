"""Parquet files, such as those of the Hugging Face Hub and of our own export; see `tables.py` for their columns."""

import json
import os
from collections.abc import Iterator
from typing import Any

from dataset_scripts.formats.files import FilePath, get_stem, open_file
from dataset_scripts.formats.tables import BATCH_SIZE, Table, list_rows, read_table
from dataset_scripts.schema import DETECT, CorpusError, RawDocument, ReadOptions


def read_parquet(path: FilePath, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read a Parquet file batch by batch; `datasets` writes the names of its tags into it."""
    from pyarrow.parquet import ParquetFile  # takes long, and only this format needs it

    with open_file(path) as stream:
        try:
            file = ParquetFile(stream)
            metadata = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
            stated = metadata.get("info", {}).get("features", {})  # may be older than the columns
            features = {name: stated.get(name, {}) for name in file.schema_arrow.names}
        except Exception as error:  # of pyarrow, among them OSError
            raise CorpusError(f"{path}: no Parquet file ({error!r:.200}); copy or download it again") from None

        def read_rows(columns: list[str]) -> Iterator[dict[str, Any]]:
            return list_rows(file.iter_batches(batch_size=BATCH_SIZE, columns=columns), os.fspath(path))

        yield from read_table(Table(os.fspath(path), get_stem(path), features, read_rows), options)
