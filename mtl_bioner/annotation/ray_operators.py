"""The operators of a run on a Ray cluster: read parts, annotate them, write each to a file of its own.

A row of the data set is a part. Its number is the id by which Ray Data's checkpoint knows that it is written, and
names its file, so that a part that is written again, after a failure, replaces itself.
"""

from __future__ import annotations

import pickle
import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockAccessor, BlockMetadata
from ray.data.datasource import BlockBasedFileDatasink

from mtl_bioner.annotation.cluster_folder import ClusterFolder
from mtl_bioner.annotation.cluster_inputs import Group, ReadOptions, read_parts
from mtl_bioner.annotation.engine import EngineOptions, annotate_documents, load_engine
from mtl_bioner.annotation.sinks import WRITERS


ID_COLUMN = "part"
_GROUP_BITS = 32  # of a part's id, for its number in the group
_DOCUMENTS = pa.schema([(ID_COLUMN, pa.int64()), ("documents", pa.large_binary())])
_FILES = pa.schema([(ID_COLUMN, pa.int64()), ("content", pa.large_binary())])


def name_part(group: int, number: int, to: str) -> str:
    """Return the name of a part's file; the order of the names is that of the inputs."""
    return f"part-{group:05d}-{number:05d}{WRITERS[to][1]}"


class PartsDatasource(Datasource):
    """Reads the parts of groups, each group in a task of its own."""

    def __init__(self, groups: Sequence[Group], options: ReadOptions) -> None:
        super().__init__()
        self.groups, self.options = groups, options

    def estimate_inmemory_data_size(self) -> int:
        """Return the bytes of all files."""
        return sum(sum(group.sizes) for group in self.groups)

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[ReadTask]:
        """Return a task for each group."""
        return [
            ReadTask(
                partial(_read_rows, group, self.options),
                BlockMetadata(num_rows=None, size_bytes=sum(group.sizes), exec_stats=None),
                _DOCUMENTS,
            )
            for group in self.groups
        ]


def _read_rows(group: Group, options: ReadOptions) -> Iterator[pa.Table]:
    for part in read_parts(group, options):
        row = {ID_COLUMN: group.number << _GROUP_BITS | part.number, "documents": pickle.dumps(part.documents)}
        yield pa.Table.from_pylist([row], _DOCUMENTS)


class PartAnnotator:
    """Annotates parts and formats them as files; an actor that loads the model once."""

    def __init__(self, options: EngineOptions, to: str, has_gpu: bool) -> None:
        self.to = to
        self.ner = load_engine(options, "cuda:0" if has_gpu else "cpu")  # Ray shows each actor its own GPU only

    def __call__(self, batch: pa.Table) -> pa.Table:
        rows = [
            {ID_COLUMN: row[ID_COLUMN], "content": self._format(pickle.loads(row["documents"]))}
            for row in batch.to_pylist()
        ]
        return pa.Table.from_pylist(rows, _FILES)

    def _format(self, documents: list[Any]) -> bytes:
        write, ending = WRITERS[self.to]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"part{ending}"
            write(annotate_documents(self.ner, documents), path)
            return path.read_bytes()


class PartsDatasink(BlockBasedFileDatasink):
    """Writes each part to the file that its number names."""

    def __init__(self, folder: ClusterFolder, to: str) -> None:
        # Before it goes on, Ray Data deletes files of interrupted writes in this folder, by the names that it would
        # have chosen. Ours are replaced instead, so that there is nothing to delete, and no such folder.
        nothing = posixpath.join(folder.checkpoint, "none")
        super().__init__(nothing, filesystem=folder.filesystem, try_create_dir=False, file_format="part")
        self.folder, self.to = folder, to

    def write_block(self, block: BlockAccessor, block_index: int, ctx: Any) -> None:
        """Write the parts of a block."""
        for row in block.to_arrow().to_pylist():
            group, number = divmod(row[ID_COLUMN], 1 << _GROUP_BITS)
            path = posixpath.join(self.folder.path, name_part(group, number, self.to))
            with self.open_output_stream(path) as file:
                file.write(row["content"])
