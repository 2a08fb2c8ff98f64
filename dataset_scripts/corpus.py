"""What a registered corpus is: its files, types, terms and counts. `ncbi.py` and the others hold one each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .schema import CorpusError, RawDocument


Reader = Callable[..., Iterable[RawDocument]]

# The one part of a corpus published without official splits; `load_corpus` cuts it by documents.
WHOLE = "all"


@dataclass(frozen=True)
class Files:
    """The files of one split and how they are read.

    Attributes:
        reader: a reader of `formats.py`; it is called with the paths, in order.
        paths: relative to the corpus' folder; a `.gz` of the same name is as good. A folder is given as `name/`.
    """

    reader: Reader
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Archive:
    """An official archive.

    Attributes:
        url: https address.
        into: the folder, relative to the corpus' folder, in which it is unpacked.
        sha256: of the archive, where somebody published it; "" if unknown.
    """

    url: str
    into: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Expected:
    """Counts of an official split: distinct documents, and mentions read (several if editions differ, () unknown)."""

    documents: int
    mentions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """A registered corpus.

    Attributes:
        name: as in `--tasks`.
        title: for people.
        folder: its folder inside `--data_dir`.
        type_map: own type name -> harmonised name.
        layouts: alternatives in order of preference. Each gives every split (`train`, `dev`, `test` or `WHOLE`) the
            alternatives in which its files may stand; a layout is taken if every split is there.
        archives: what `download.py` fetches.
        id_space: corpora of one id space name the same document alike (`leaks.py` compares ids inside one only).
        numbered: whether `123-2` is the second document under the id `123`.
        expected: counts by split.
        sha256: hashes of unpacked official files, by path relative to the folder; checked after a download.
        citation: BibTeX.
        licence: terms in one line.
        homepage: address.
    """

    name: str
    title: str
    folder: str
    type_map: Mapping[str, str]
    layouts: Sequence[Mapping[str, Sequence[Files]]]
    archives: tuple[Archive, ...]
    id_space: str
    citation: str
    licence: str
    homepage: str
    numbered: bool = False
    expected: Mapping[str, Expected] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def types(self) -> tuple[str, ...]:
        """Harmonised types, in the order of the type map."""
        return tuple(dict.fromkeys(self.type_map.values()))

    def find(self, data_dir: Path) -> dict[str, Files]:
        """The files of each split, those of the first layout that is complete.

        Raises:
            CorpusError: no layout is complete; names the first missing file, where to get it, and `--data_dir`.
        """
        folder = data_dir / self.folder
        for layout in self.layouts:
            found = {split: _first_present(folder, choices) for split, choices in layout.items()}
            if all(found.values()):
                return found
        raise CorpusError(
            f"{self.name}: no {self._first_missing(folder)}; download "
            f"{' and '.join(archive.url for archive in self.archives)}, unpack into {folder}, "
            f"and give its parent folder as --data_dir (or leave --data_dir out to have it downloaded)"
        )

    def _first_missing(self, folder: Path) -> Path:
        choices = next(own for own in self.layouts[0].values() if _first_present(folder, own) is None)
        return next(folder / path for path in choices[0].paths if present(folder / path) is None)


def _first_present(folder: Path, choices: Iterable[Files]) -> Files | None:
    return next((files for files in choices if all(present(folder / path) for path in files.paths)), None)


def present(path: Path) -> Path | None:
    """The path itself or its `.gz`, whichever exists."""
    zipped = path.with_name(f"{path.name}.gz")
    return next((candidate for candidate in (path, zipped) if candidate.exists()), None)


def read_files(folder: Path, files: Files) -> Iterable[RawDocument]:
    """The documents of one split; `folder` is the corpus' folder."""
    return files.reader(*(present(folder / path) or folder / path for path in files.paths))


def count_problem(info: Corpus, split: str, raws: Sequence[RawDocument]) -> tuple[bool, str]:
    """Compare an official split with its expected counts.

    Returns:
        Whether the number of documents differs, and what differs in words, "" if nothing does.
    """
    expected = info.expected.get(split)
    if expected is None:
        return False, ""
    documents = len({(raw.document_id, raw.text) for raw in raws})
    if documents != expected.documents:
        return True, f"{documents} documents, {expected.documents} expected"
    mentions = sum(len(raw.mentions) for raw in raws)
    if expected.mentions and mentions not in expected.mentions:
        return False, f"{mentions} mentions, {' or '.join(map(str, expected.mentions))} expected"
    return False, ""


def file_hashes(root: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file, by path relative to `root`; a folder gets one hash of the names and contents in it."""
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in paths}


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's sorted names and file hashes, as hexadecimal digits."""
    if path.is_dir():
        lines = (f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in sorted(path.rglob("*.*"))
                 if file.is_file())  # fmt: skip
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class ByPrefix(Mapping[str, str]):
    """A type map whose keys ending in `_` stand for every name that begins so: `protein_` for `protein_molecule`."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = dict(names)

    def __getitem__(self, name: str) -> str:
        if name in self._names:
            return self._names[name]
        for prefix, harmonised in self._names.items():
            if prefix.endswith("_") and name.startswith(prefix):
                return harmonised
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Unchanged(Mapping[str, str]):
    """The names a type map knows, each mapped to itself: how `native_types` keeps a corpus' own names."""

    def __init__(self, type_map: Mapping[str, str]) -> None:
        self._type_map = type_map

    def __getitem__(self, name: str) -> str:
        if name in self._type_map:
            return name
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._type_map)

    def __len__(self) -> int:
        return len(self._type_map)


def places(reader: Reader, folders: Iterable[str], *names: str) -> tuple[Files, ...]:
    """The same files in any of several folders, as alternatives."""
    return tuple(Files(reader, tuple(f"{folder}{name}" for name in names)) for folder in folders)
