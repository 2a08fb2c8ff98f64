"""Data sets of the `datasets` library: folders of `save_to_disk`, or in memory; see `tables.py` for their columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_scripts.formats.tables import BATCH_SIZE, Table, list_rows, read_table
from dataset_scripts.schema import DETECT, CorpusError, RawDocument, ReadOptions


if TYPE_CHECKING:
    from datasets import Dataset


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder holds one split, as `save_to_disk` writes it; a folder of several has a subfolder for each."""
    return (path / "state.json").is_file() and (path / "dataset_info.json").is_file()


def load_saved_dataset(path: Path) -> Dataset:
    """Map a folder of `Dataset.save_to_disk` into memory."""
    import datasets  # takes seconds, and only this format needs it

    try:
        return datasets.load_from_disk(str(path))
    except Exception as error:  # whatever `datasets` raises for files that are damaged or changed by hand
        raise CorpusError(f"{path}: can't be loaded by `datasets` ({error!r:.200}); save it again") from None


def read_saved_dataset(path: Path, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read a folder of `Dataset.save_to_disk`."""
    yield from read_dataset(load_saved_dataset(path), str(path), path.name, options)


def read_dataset(dataset: Dataset, name: str, stem: str, options: ReadOptions = DETECT) -> Iterator[RawDocument]:
    """Read a split of a data set; `name` stands in messages, `stem` begins the ids of rows without one."""

    def read_rows(columns: list[str]) -> Iterator[dict[str, Any]]:
        batches = dataset.select_columns(columns).with_format("arrow").iter(batch_size=BATCH_SIZE)
        return list_rows(batches, name)

    return read_table(Table(name, stem, dataset.features.to_dict(), read_rows), options)
