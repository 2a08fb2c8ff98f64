"""The output folder of a run on a cluster, on any file system that pyarrow or fsspec knows.

    manifest.json           model, arguments and inputs; once the run is finished, its totals too
    checkpoint/             which parts are written, by Ray Data; deleted at the end
    errors.jsonl            at the end: each document or file that couldn't be read
    part-00000-00000.*      the annotated documents: number of the group of files, number of the part in it

Once the manifest is finished, the folder is complete.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_scripts.schema import CorpusError
from mtl_bioner.annotation.run_folder import ERRORS, MANIFEST
from mtl_bioner.folder_lock import LOCK, lock_folder


if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_KEYS = {"mtl_bioner", "model", "arguments", "inputs"}  # of every manifest


class ClusterFolder:
    """A folder that all nodes reach; it can be sent to them."""

    def __init__(self, location: str) -> None:
        self.location = location
        self.filesystem, self.path = find_filesystem(location)

    @property
    def checkpoint(self) -> str:
        """The folder of Ray Data's checkpoint."""
        return posixpath.join(self.path, "checkpoint")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs on this machine out; object stores have no locks."""
        if "://" in self.location:
            yield
            return
        path = Path(self.path)
        if path.is_file():
            raise CorpusError(f"--output {self.location} is a file; give a folder")
        is_new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        try:
            with lock_folder(path, "mtl-bioner annotate"):
                yield
        finally:
            if is_new and not (path / MANIFEST).exists():
                (path / LOCK).unlink(missing_ok=True)
                if not any(path.iterdir()):
                    path.rmdir()

    def read_manifest(self) -> dict[str, Any] | None:
        """Read the manifest; None if the folder is new.

        Raises:
            CorpusError: the folder holds something else than a run.
        """
        names = [name for name in self.list_names() if not name.startswith(".")]
        if MANIFEST not in names:
            if names:
                problem = f"--output {self.location} is not empty, and no run of annotate"
                raise CorpusError(f"{problem}; give a new folder")
            return None
        try:
            manifest = json.loads(self.read(MANIFEST))
            is_manifest = manifest.keys() >= _KEYS
        except (ValueError, AttributeError):
            is_manifest = False
        if not is_manifest:
            raise CorpusError(f"{self.location}/{MANIFEST} is no manifest of annotate; give another --output")
        return manifest

    def write_manifest(self, content: Mapping[str, Any]) -> None:
        """Write the manifest under a temporary name, then rename it."""
        self.write(f".{MANIFEST}.tmp", json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
        self.filesystem.move(self._join(f".{MANIFEST}.tmp"), self._join(MANIFEST))

    def write_errors(self, errors: Iterable[Any]) -> None:
        """Write what couldn't be read."""
        lines = (json.dumps(error._asdict(), ensure_ascii=False) for error in errors)
        if content := "".join(f"{line}\n" for line in lines):
            self.write(ERRORS, content.encode("utf-8", "replace"))

    def list_names(self) -> list[str]:
        """List the names of files and folders."""
        from pyarrow.fs import FileSelector

        infos = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted(info.base_name for info in infos)

    def read(self, name: str) -> bytes:
        """Read a file."""
        with self.filesystem.open_input_stream(self._join(name)) as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file."""
        self.filesystem.create_dir(self.path, recursive=True)
        with self.filesystem.open_output_stream(self._join(name)) as file:
            file.write(content)

    def delete_checkpoint(self) -> None:
        """Delete Ray Data's checkpoint, if it is still there."""
        from pyarrow.fs import FileType

        if self.filesystem.get_file_info(self.checkpoint).type != FileType.NotFound:
            self.filesystem.delete_dir(self.checkpoint)

    def _join(self, name: str) -> str:
        return posixpath.join(self.path, name)


def find_filesystem(location: str) -> tuple[FileSystem, str]:
    """Return the file system of a path or URI, and the path in it; pyarrow's own file systems come first.

    Raises:
        CorpusError: no library knows the URI, or the one that does is not installed.
    """
    import pyarrow as pa
    from pyarrow import fs

    if "://" not in location:
        return fs.LocalFileSystem(), str(Path(location).expanduser().resolve())
    try:
        return fs.FileSystem.from_uri(location)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        import fsspec

        try:
            filesystem, path = fsspec.url_to_fs(location)
        except (ImportError, ValueError) as error:
            problem = f"--output {location}: no such file system ({error})"
            raise CorpusError(f"{problem}; give a path, s3:// or gs://") from None
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
