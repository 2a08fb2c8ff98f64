"""A user's own corpus without code: a file, or a folder whose files or subfolders are named by split.

    mine.jsonl                                  one file: split by ratio (one named as a test set is all test)
    mine/train.conll mine/dev.conll mine/test.conll
    mine/train/1.txt mine/train/1.ann ... mine/test/1.txt ...
    mine/1.txt mine/1.ann ...                   brat pairs without splits: split by ratio

Any format of `formats.read_any`, plain or gzip. Several files of one split are read one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from dataset_scripts.corpus import WHOLE, file_hashes
from dataset_scripts.formats import KNOWN_ENDINGS, is_corpus_path, read_any
from dataset_scripts.formats.bc2gm import find_companion_files
from dataset_scripts.formats.files import NO_DATA
from dataset_scripts.schema import CorpusError, RawDocument
from dataset_scripts.splits import SPLITS, split_of_name


logger = logging.getLogger(__name__)


def looks_like_path(source: str | Path) -> bool:
    """Whether a source that is no registered name is meant as a path."""
    return isinstance(source, Path) or is_corpus_path(source) or Path(source).exists()


def read_own(path: Path) -> tuple[dict[str, list[RawDocument]], dict[str, str]]:
    """The documents by split (`WHOLE` where none is told), and the SHA-256 of what was read.

    Raises:
        CorpusError: nothing there, no split to be recognised, one split in several formats, or a malformed file.
    """
    parts = _parts(path)
    splits = {split: [raw for file in files for raw in read_any(file)] for split, files in parts.items()}
    return splits, _hashes(path, parts)


def hash_own(path: Path) -> dict[str, str]:
    """The SHA-256 of what `read_own` reads, which raises the same errors."""
    return _hashes(path, _parts(path))


def _hashes(path: Path, parts: dict[str, list[Path]]) -> dict[str, str]:
    root = path if path.is_dir() else path.parent
    return file_hashes(root, (own for files in parts.values() for file in files for own in find_companion_files(file)))


def _parts(path: Path) -> dict[str, list[Path]]:
    """The files, or brat folders, of each split."""
    if not path.exists():
        raise CorpusError(
            f"{path}: no such file or folder; check the path (it counts from {Path.cwd().name}/, and can't hold ',', "
            "'+' or ':' in --tasks)"
        )
    if path.is_file() or _is_brat(path):
        _check_flat_brat(path)
        return {"test" if split_of_name(path.name) == "test" else WHOLE: [path]}
    parts: dict[str, list[Path]] = {}
    children = _visible(path)
    for child in children:
        if child.is_dir() or _has_known_ending(child):
            _place(child, parts)
    for child in children:
        split = split_of_name(child.name)
        if child.is_file() and split and not (_has_known_ending(child) or NO_DATA.fullmatch(child.name)):
            problem = f"{child}: {_ending(child) or 'no'} ending, which can't be read"
            if split not in parts:
                raise CorpusError(f"{problem}; understood are {', '.join(KNOWN_ENDINGS)}, each also with .gz")
            logger.warning("%s; it is left out", problem)
    if not parts:
        raise CorpusError(
            f"{path}: no file or subfolder there is named by split (such as train.jsonl, dev.jsonl, test.jsonl); "
            f"found {_some_names(path)}; rename them, or give one file, which is then split by ratio"
        )
    _check_parts(path, parts)
    return {split: _data_files(parts[split]) for split in SPLITS if split in parts}


def _place(child: Path, parts: dict[str, list[Path]]) -> None:
    split = split_of_name(child.name)
    if split is not None:
        parts.setdefault(split, []).append(child)
    elif not NO_DATA.fullmatch(child.name):
        logger.warning("%s: its name states no split, or several; it is left out", child)


def _check_parts(path: Path, parts: dict[str, list[Path]]) -> None:
    for split, found in parts.items():
        kinds = {_ending(child) for child in found}
        if len(kinds) > 1:
            names = ", ".join(child.name for child in found)
            raise CorpusError(f"{path}: the {split} split is there in several forms ({names}); keep one of them")
    if set(parts) == {"dev"}:
        raise CorpusError(f"{path}: a development split alone; add train (and test), or give the file itself")


def _data_files(found: Iterable[Path]) -> list[Path]:
    """Files and brat folders as they are; other folders by the files in them."""
    files: list[Path] = []
    for child in found:
        if child.is_file() or _is_brat(child):
            files.append(child)
        else:
            inside = [file for file in _below(child) if not NO_DATA.fullmatch(file.name)]
            known = [file for file in inside if _has_known_ending(file)]
            files += known
            read = {own for file in known for own in find_companion_files(file)}
            if others := [file for file in inside if file not in read]:
                logger.warning("%s: its ending can't be read; it is left out (so are %d others)", others[0],
                               len(others) - 1)  # fmt: skip
    return files


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, sorted, but for hidden files, and what macOS and Jupyter leave there.

    Raises:
        CorpusError: a link to what isn't there, as of data that are still to be fetched.
    """
    found = sorted(path for path in folder.iterdir() if not _is_hidden(path))
    for path in found:
        if not path.exists():
            raise CorpusError(f"{path}: a link to what isn't there; fetch the data first, or take it out")
    return found


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "__MACOSX"))


def _below(folder: Path) -> Iterator[Path]:
    """The files in a folder and in those below it."""
    for path in _visible(folder):
        if path.is_dir():
            yield from _below(path)
        else:
            yield path


def _is_brat(path: Path) -> bool:
    """Whether a folder holds brat pairs.

    Raises:
        CorpusError: beside them are folders of data, which would be lost.
    """
    if not path.is_dir() or not any(any(path.glob(pattern)) for pattern in ("*.ann", "*.ann.gz")):
        return False
    for folder in (child for child in path.iterdir() if child.is_dir() and not _is_hidden(child)):
        if any(_has_known_ending(file) or file.name.endswith(".ann") for file in _below(folder)):
            raise CorpusError(f"{path}: brat pairs beside {folder.name}/, which holds data too; move either elsewhere")
    return True


def _check_flat_brat(path: Path) -> None:
    stated = {split_of_name(file.name) for file in path.glob("*.ann*")}
    if len(found := [split for split in SPLITS if split in stated]) > 1:
        raise CorpusError(
            f"{path}: the names of brat pairs state several splits; put the pairs of each into a folder of its own: "
            f"{', '.join(f'{split}/' for split in found)}"
        )


def _ending(path: Path) -> str:
    return "folder" if path.is_dir() else Path(path.name.lower().removesuffix(".gz")).suffix


def _has_known_ending(path: Path) -> bool:
    return _ending(path) in KNOWN_ENDINGS


def _some_names(path: Path) -> str:
    names = sorted(child.name for child in path.iterdir())
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "nothing"
