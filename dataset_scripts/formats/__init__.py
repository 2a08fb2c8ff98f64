"""Read and write the file formats of annotated text; pick the reader by file ending and content."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dataset_scripts.formats.bc2gm import _read_bc2gm_folder
from dataset_scripts.formats.bioc import read_bioc
from dataset_scripts.formats.brat import read_brat
from dataset_scripts.formats.conll import _CONLL_COMMENT, _CONLL_TAG, _conll_break, read_conll
from dataset_scripts.formats.files import _BLANK, FilePath, _columns, _lines
from dataset_scripts.formats.genia import read_genia_xml
from dataset_scripts.formats.jsonl import read_jsonl
from dataset_scripts.formats.pubtator import _PUBTATOR_TEXT, read_pubtator
from dataset_scripts.formats.xml import _xml_root
from dataset_scripts.schema import CorpusError, RawDocument


CONLL_ENDINGS = (".iob2", ".iob", ".conll", ".bio", ".tsv")


KNOWN_ENDINGS = (".pubtator", ".txt", ".jsonl", ".xml", ".in", *CONLL_ENDINGS)


def is_corpus_path(source: str) -> bool:
    """Whether a source of a task reads as a path (it has a `/` or an ending of `KNOWN_ENDINGS`), not a corpus name."""
    return "/" in source or os.sep in source or _without_gz(source).endswith(KNOWN_ENDINGS)


def read_any(path: FilePath) -> Iterator[RawDocument]:
    """Read a corpus file or brat folder with the reader that fits its name ending or content.

    `.txt` is PubTator if its first line that isn't blank is a PubTator title, else CoNLL; `.xml` is told by its root;
    a BC2GM `.in` file needs `GENE.eval` beside it, and `ALTGENE.eval` and `NAME.idmap` there are used.

    Raises:
        CorpusError: at once if the path is missing or of no known kind; while reading if the content is malformed.
    """
    path = Path(path)
    if path.is_dir():
        return read_brat(path)
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder; check the path")
    return _reader_of(path)(path)


def _reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    ending = Path(_without_gz(path.name)).suffix
    if ending == ".txt":
        return _text_reader_of(path)
    if ending == ".xml":
        return _xml_reader_of(path)
    if ending in CONLL_ENDINGS:
        return read_conll
    readers = {".pubtator": read_pubtator, ".jsonl": read_jsonl, ".in": _read_bc2gm_folder}
    if ending in readers:
        return readers[ending]
    raise CorpusError(
        f"{path}: {ending or 'no'} ending; understood are {', '.join(KNOWN_ENDINGS)}, each also with .gz, "
        "and folders of brat .txt/.ann pairs"
    )


def _text_reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    for where, line in _lines(path):
        if not line.strip(_BLANK) or _CONLL_COMMENT.match(line):
            continue
        if _PUBTATOR_TEXT.fullmatch(line):
            return read_pubtator
        if _conll_break(line, where) is None and not _CONLL_TAG.fullmatch(_columns(line)[-1]):
            raise CorpusError(
                f"{where}: {line[:60]!r} is neither PubTator (ID|t|TITLE) nor CoNLL (token and BIO tag); a .txt file "
                "must be one of them, and brat texts are read by giving their folder"
            )
        break
    return read_conll


def _xml_reader_of(path: Path) -> Callable[[Path], Iterator[RawDocument]]:
    root = _xml_root(path)
    readers = {"set": read_genia_xml, "collection": read_bioc}
    if root not in readers:
        raise CorpusError(f"{path}: XML root <{root}>; expected <set> (GENIA, GPML) or <collection> (BioC)")
    return readers[root]


def _without_gz(name: str) -> str:
    return name.lower().removesuffix(".gz")
