"""Describe a registered corpus: its files, types, terms and counts. Each module of `corpora/` holds one."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dataset_scripts.schema import CorpusError, Document, RawDocument


class Files(NamedTuple):
    """The files of one split and their reader; a `.gz` of the same name is as good."""

    reader: Callable[..., Iterable[RawDocument]]  # of `formats/`; called with the paths in order
    names: tuple[str, ...]  # of files, or of folders that hold them
    folders: tuple[str, ...] = ("",)  # inside the corpus' folder; the first that holds all files is used

    def find(self, root: Path) -> list[Path]:
        """Return the paths in the first folder that holds all files; empty if none does."""
        for folder in self.folders:
            paths = [path for name in self.names if (path := find_path(root / folder / name))]
            if len(paths) == len(self.names):
                return paths
        return []


class Part(NamedTuple):
    """A part of a corpus on the disk."""

    split: str
    read: Callable[[], Iterable[RawDocument]]
    paths: list[Path]  # of the files that are read
    hashes: Mapping[str, str] = {}  # that identify its content if it is no file of the user's

    @property
    def name(self) -> str:
        """The first path, or the first name of `hashes`."""
        return str(self.paths[0]) if self.paths else next(iter(self.hashes))


class Archive(NamedTuple):
    """An official archive."""

    url: str  # https
    into: str = ""  # the folder to unpack it in, inside the corpus' folder
    sha256: str = ""  # of the archive, if published


@dataclass(frozen=True)
class Corpus:
    """A registered corpus."""

    name: str  # as in `--tasks`
    title: str
    folder: str  # inside `--data_dir`
    type_map: Mapping[str, str]  # native type -> harmonised type; a `*` stands for any characters
    files: Mapping[str, Files]  # by split: train, dev and test, or WHOLE
    archives: tuple[Archive, ...]
    id_space: str  # corpora of one id space give a document the same id (see `leaks.py`)
    citation: str  # BibTeX
    licence: str  # the terms in one line
    homepage: str
    numbered: bool = False  # whether `123-2` is the second document with the id `123`
    alternative_files: Mapping[str, Files] = field(default_factory=dict)  # read if `files` are incomplete
    # By split, the number of distinct documents, then of mentions (none if unknown).
    expected: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    # By name of an edition that isn't the official one, its mentions by split.
    editions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)  # of unpacked files, checked after a download

    @property
    def types(self) -> tuple[str, ...]:
        """The harmonised types, in the order of the type map."""
        return tuple(dict.fromkeys(self.type_map.values()))

    def map_types(self, names: Iterable[str], keep_native: bool = False) -> dict[str, str]:
        """Map native type names to harmonised ones, or to themselves; leave out those that the corpus drops."""
        patterns = {name: next((key for key in self.type_map if fnmatchcase(name, key)), None) for name in names}
        return {name: name if keep_native else self.type_map[key] for name, key in patterns.items() if key}

    def find_files(self, data_dir: Path) -> list[Part]:
        """Find the files of each split; raise CorpusError, with the first missing file and where to get it."""
        folder = data_dir / self.folder
        for layout in filter(None, (self.files, self.alternative_files)):
            located = {split: (files.reader, files.find(folder)) for split, files in layout.items()}
            parts = [Part(split, partial(reader, *paths), paths) for split, (reader, paths) in located.items()]
            if all(part.paths for part in parts):
                return parts
        absent = next(files for files in self.files.values() if not files.find(folder))
        paths = (folder / absent.folders[0] / name for name in absent.names)
        missing = next(path for path in paths if not find_path(path))
        sources = " and ".join(archive.url for archive in self.archives)
        remedy = f"unpack into {folder}, and give its parent folder as --data_dir (or omit --data_dir to download it)"
        raise CorpusError(f"{self.name}: {missing} is missing; download {sources}, {remedy}")

    def compare_counts(self, split: str, documents: Sequence[Document]) -> tuple[str, str]:
        """Say how the numbers of documents and of mentions differ from the expected ones, each "" if it doesn't."""
        expected, *known = self.expected.get(split, (None,))
        known += [counts[split] for counts in self.editions.values() if counts[split] not in known]
        distinct = len({(document.document_id, document.text) for document in documents})
        mentions = sum(document.count_read() for document in documents)
        return (
            "" if expected in (None, distinct) else f"{distinct} documents, {expected} expected",
            ""
            if mentions in (known or [mentions])
            else f"{mentions} mentions, {' or '.join(map(str, known))} expected",
        )

    def name_edition(self, mentions: Mapping[str, int]) -> str:
        """Name the edition with these numbers of mentions by split, "" if there is but one or none has them."""
        official = {split: counts[1] for split, counts in self.expected.items() if len(counts) > 1}
        editions = {"the official edition": official, **self.editions} if self.editions else {}
        return next((name for name, counts in editions.items() if counts == mentions), "")


def strip_number(document_id: str) -> str:
    """Return `98281994` for `98281994-2`, the second document with that id."""
    return re.sub(r"-\d+$", "", document_id)


def find_path(path: Path) -> Path | None:
    """Return the path or its `.gz`, whichever exists."""
    return next((candidate for candidate in (path, path.with_name(f"{path.name}.gz")) if candidate.exists()), None)


def hash_parts(root: Path, parts: Iterable[Part]) -> dict[str, str]:
    """Compute the SHA-256 of each file and folder, by path relative to `root`."""
    hashes: dict[str, str] = {}
    for part in parts:
        hashes |= part.hashes or {path.relative_to(root).as_posix(): compute_sha256(path) for path in part.paths}
    return hashes


def compute_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, or of a folder's sorted names and file hashes, in hexadecimal."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*.*")) if file.is_file())
        lines = (f"{compute_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
