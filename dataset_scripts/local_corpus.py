"""Read a user's own corpus without code: a file, or a folder whose files or subfolders are named by split.

    mine.jsonl                                  one file: split by ratio (if named as a test set, all of it is test)
    mine/train.conll mine/dev.conll mine/test.conll
    mine/train/1.txt mine/train/1.ann ... mine/test/1.txt ...
    mine/1.txt mine/1.ann ...                   brat pairs without splits: split by ratio
    mine/                                       a folder of `save_to_disk`: a DatasetDict, or a Dataset as one file

Any format of `formats.read_any`, plain or gzip. Several files of one split are read one after the other.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dataset_scripts.corpus import Part
from dataset_scripts.formats import KNOWN_ENDINGS, read_any
from dataset_scripts.formats.bc2gm import find_companion_files
from dataset_scripts.formats.brat import ENDINGS
from dataset_scripts.formats.files import NO_DATA, format_count
from dataset_scripts.formats.saved_dataset import is_saved_dataset
from dataset_scripts.schema import DETECT, CorpusError, ReadOptions
from dataset_scripts.splits import SPLITS, WHOLE, infer_split


logger = logging.getLogger(__name__)

HIDDEN = (".", "__MACOSX")  # what macOS and Jupyter leave in folders, too


def find_local_files(path: Path, options: ReadOptions = DETECT) -> list[Part]:
    """Find the files, or the folders of brat pairs, of each split (`WHOLE` if no name states one)."""
    if not path.exists():
        remedy = f"check the path (it is relative to {Path.cwd().name}/, and can't hold ',', '+' or ':' in --tasks)"
        raise CorpusError(f"{path}: no such file or folder; {remedy}")
    if path.is_file() or _is_whole(path):
        stated = {infer_split(file.name) for ending in ENDINGS for file in path.glob(f"*{ending}*")}
        if len(splits := [split for split in SPLITS if split in stated]) > 1:
            remedy = f"put the pairs of each into a folder of its own: {', '.join(f'{split}/' for split in splits)}"
            raise CorpusError(f"{path}: the names of brat pairs state several splits; {remedy}")
        files = {"test" if infer_split(path.name) == "test" else WHOLE: [path]}
    else:
        children = _group_by_split(path)
        _check_groups(path, children)
        files = {split: _list_data_files(children[split]) for split in SPLITS if split in children}
    located = ((split, file) for split, paths in files.items() for file in paths)
    return [Part(split, partial(read_any, file, options), find_companion_files(file)) for split, file in located]


def _group_by_split(folder: Path) -> dict[str, list[Path]]:
    """Group files and subfolders by the split in their names; warn of what is left out, refuse to lose a split."""
    children: dict[str, list[Path]] = {}
    unreadable = []
    for child in _list_visible(folder):
        split, readable = infer_split(child.name), child.is_dir() or _has_known_ending(child)
        if split and readable:
            children.setdefault(split, []).append(child)
        elif NO_DATA.fullmatch(child.name):
            continue
        elif readable:
            logger.warning("%s: its name states no split, or several; it is left out", child)
        elif split:
            unreadable.append((split, child))
    for split, child in unreadable:
        problem = f"{child}: {_get_ending(child) or 'no'} ending, which can't be read"
        if split not in children:
            raise CorpusError(f"{problem}; supported are {', '.join(KNOWN_ENDINGS)}, each also with .gz")
        logger.warning("%s; it is left out", problem)
    return children


def _check_groups(folder: Path, children: dict[str, list[Path]]) -> None:
    if not children:
        names = sorted(child.name for child in folder.iterdir())
        found = ", ".join(names[:5] + ["..."] * (len(names) > 5)) or "nothing"
        problem = f"{folder}: no file or subfolder is named by split (such as train.jsonl, dev.jsonl, test.jsonl)"
        raise CorpusError(f"{problem}; found {found}; rename them, or give one file, which is then split by ratio")
    for split, paths in children.items():
        if len({_get_ending(path) for path in paths}) > 1:
            paths[:] = [path for path in paths if not _is_plain_text(path)] or paths
        if len({_get_ending(path) for path in paths}) > 1:
            names = ", ".join(path.name for path in paths)
            raise CorpusError(f"{folder}: the {split} split is there in several formats ({names}); keep one of them")
    if set(children) == {"dev"}:
        raise CorpusError(f"{folder}: a development split alone; add train (and test), or give the file itself")


def _is_plain_text(path: Path) -> bool:
    """Whether a `.txt` file is no corpus, such as a word list or the ids of a split; a warning says so."""
    try:
        if path.is_file() and _get_ending(path) == ".txt":
            next(iter(read_any(path)), None)
        return False
    except CorpusError as error:
        logger.warning("%s; it is left out, since its split is there in another format", error)
        return True


def _list_data_files(paths: list[Path]) -> list[Path]:
    """List files and brat folders as they are, other folders by the readable files in them."""
    files: list[Path] = []
    for path in paths:
        if path.is_file():
            files.append(path)
            continue
        inside = [file for file in _walk(path, stop=_is_whole) if not NO_DATA.fullmatch(file.name)]
        readable = [file for file in inside if file.is_dir() or _has_known_ending(file)]
        companions = {companion for file in readable for companion in find_companion_files(file)}
        if others := [file for file in inside if file not in companions]:
            number = format_count(len(others), "such file")
            logger.warning("%s: its ending can't be read; %s left out", others[0], number)
        files += readable
    return files


def _list_visible(folder: Path) -> list[Path]:
    """List what is in a folder, sorted, without hidden files; refuse broken links (to data still to be fetched)."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith(HIDDEN))
    for path in paths:
        if not path.exists():
            raise CorpusError(f"{path}: a link to a file that isn't there; fetch the data first, or remove the link")
        if not path.is_file() and not path.is_dir():  # a named pipe would wait forever
            raise CorpusError(f"{path} is neither a file nor a folder; take it out of the corpus")
    return paths


def _walk(folder: Path, stop: Callable[[Path], bool] = lambda folder: False) -> Iterator[Path]:
    """Yield the files in a folder and in those inside; a folder that `stop` names is yielded itself."""
    waiting = [folder]  # the next last; a recursion would fail on deep folders
    while waiting:
        path = waiting.pop()
        if path.is_dir() and not stop(path):
            waiting += reversed(_list_visible(path))
        else:
            yield path


def _is_whole(path: Path) -> bool:
    """Whether a folder is one corpus: brat pairs, or a saved data set."""
    return is_saved_dataset(path) or _is_brat(path)


def _is_brat(path: Path) -> bool:
    """Tell whether a folder holds brat pairs; refuse one with folders beside them that hold data too."""
    if not path.is_dir() or not any(any(path.glob(f"*{ending}{gz}")) for ending in ENDINGS for gz in ("", ".gz")):
        return False
    for folder in (child for child in path.iterdir() if child.is_dir() and not child.name.startswith(HIDDEN)):
        if any(_has_known_ending(file) or file.name.endswith(ENDINGS) for file in _walk(folder)):
            raise CorpusError(f"{path}: brat pairs beside {folder.name}/, which holds data too; move either elsewhere")
    return True


def _get_ending(path: Path) -> str:
    return "folder" if path.is_dir() else Path(path.name.lower().removesuffix(".gz")).suffix


def _has_known_ending(path: Path) -> bool:
    return _get_ending(path) in KNOWN_ENDINGS
