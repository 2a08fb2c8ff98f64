"""Read and write annotated text: one module a format, reader and writer together.

Every reader yields one `RawDocument` after the other, and raises `CorpusError` for malformed content, naming file,
line, value and remedy. `read_any` picks the reader.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dataset_scripts.formats.bc2gm import find_companion_files, read_bc2gm, read_bc2gm_folder
from dataset_scripts.formats.bioc import read_bioc, write_bioc
from dataset_scripts.formats.bioc_json import write_bioc_json
from dataset_scripts.formats.brat import read_brat, write_brat
from dataset_scripts.formats.conll import COMMENT, is_conll_line, read_conll
from dataset_scripts.formats.csv import read_csv, write_csv
from dataset_scripts.formats.doccano import write_doccano
from dataset_scripts.formats.files import FilePath, read_lines
from dataset_scripts.formats.genia import read_genia_xml
from dataset_scripts.formats.gliner import write_gliner
from dataset_scripts.formats.jats import JATS_ROOTS, read_jats
from dataset_scripts.formats.json_forms import read_json
from dataset_scripts.formats.jsonl import read_jsonl, write_jsonl
from dataset_scripts.formats.label_studio import write_label_studio
from dataset_scripts.formats.parquet import read_parquet
from dataset_scripts.formats.prodigy import write_prodigy
from dataset_scripts.formats.pubmed import PUBMED_ROOTS, read_pubmed
from dataset_scripts.formats.pubtator import TEXT_LINE, read_pubtator, write_pubtator
from dataset_scripts.formats.saved_dataset import is_saved_dataset, read_saved_dataset
from dataset_scripts.formats.spacy_docbin import read_spacy, write_spacy
from dataset_scripts.formats.xml import read_root
from dataset_scripts.schema import DETECT, CorpusError, RawDocument, ReadOptions


__all__ = [
    "CONLL_ENDINGS", "KNOWN_ENDINGS", "find_companion_files", "is_corpus_path", "read_any", "read_bc2gm",
    "read_bc2gm_folder", "read_bioc", "read_brat", "read_conll", "read_csv", "read_genia_xml", "read_jats",
    "read_json", "read_jsonl", "read_parquet", "read_pubmed", "read_pubtator", "read_saved_dataset", "read_spacy",
    "write_bioc", "write_bioc_json", "write_brat", "write_csv", "write_doccano", "write_gliner", "write_jsonl",
    "write_label_studio", "write_prodigy", "write_pubtator", "write_spacy",
]  # fmt: skip


def is_corpus_path(source: str) -> bool:
    """Whether a source of a task is a path (it has a `/` or an ending of `KNOWN_ENDINGS`), not a corpus name."""
    return "/" in source or os.sep in source or source.lower().removesuffix(".gz").endswith(KNOWN_ENDINGS)


def read_any(path: FilePath, options: ReadOptions = DETECT, ending: str | None = None) -> Iterator[RawDocument]:
    """Read a corpus file, or a folder of brat or `save_to_disk`, with the reader that fits its ending or content.

    `.txt` is PubTator if its first line that isn't blank is a PubTator title, else CoNLL; `.xml` and `.nxml` are
    told by their root; a BC2GM `.in` file needs `GENE.eval` beside it, and `ALTGENE.eval` and `NAME.idmap` there are
    used. Texts to annotate are read too, as documents without mentions: PubMed XML and JATS articles.
    A path that is missing or of no known kind raises CorpusError at once. `ending` stands for that of the name.
    """
    path = Path(path)
    if path.is_dir():
        return read_saved_dataset(path, options) if is_saved_dataset(path) else read_brat(path)
    if not path.exists():
        raise CorpusError(f"{path}: no such file or folder; check the path")
    ending = ending or Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in _READERS:
        known = f"{', '.join(KNOWN_ENDINGS)}, each also with .gz, and folders of brat .txt/.ann pairs"
        raise CorpusError(f"{path}: {ending or 'no'} ending; understood are {known}")
    return _READERS[ending](path, options)


def _read_txt(path: Path, options: ReadOptions) -> Iterator[RawDocument]:
    lines = read_lines(path, skip_blank=True)
    first = next(((where, line) for where, line in lines if not COMMENT.match(line)), None)
    if first and TEXT_LINE.fullmatch(first[1]):
        return read_pubtator(path)
    if first and not is_conll_line(*first):
        problem = f"{first[0]}: {first[1][:60]!r} is neither PubTator (ID|t|TITLE) nor CoNLL (token and BIO tag)"
        remedy = "a .txt file must be one of them, and brat texts are read by giving their folder"
        raise CorpusError(f"{problem}; {remedy}")
    return read_conll(path, options)


def _read_xml(path: Path, options: ReadOptions) -> Iterator[RawDocument]:
    root = read_root(path)
    readers = {"set": read_genia_xml, "collection": read_bioc}
    readers |= dict.fromkeys(PUBMED_ROOTS, read_pubmed) | dict.fromkeys(JATS_ROOTS, read_jats)
    if root not in readers:
        annotated = "expected <set> (GENIA, GPML) or <collection> (BioC)"
        plain = "of texts without annotations, <PubmedArticleSet> (PubMed) or <article> (JATS)"
        raise CorpusError(f"{path}: XML root <{root}>; {annotated}, or, {plain}")
    return readers[root](path)


CONLL_ENDINGS = (".iob2", ".iob", ".conll", ".bio", ".tsv")  # a `.txt` file may be CoNLL too
_READERS: dict[str, Callable[[Path, ReadOptions], Iterator[RawDocument]]] = {
    ".pubtator": lambda path, _: read_pubtator(path),
    ".txt": _read_txt,
    **dict.fromkeys((".jsonl", ".json", ".biocjson"), read_json),
    ".spacy": lambda path, _: read_spacy(path),
    **dict.fromkeys((".xml", ".nxml"), _read_xml),
    ".in": lambda path, _: read_bc2gm_folder(path),
    **dict.fromkeys(CONLL_ENDINGS, read_conll),
    ".csv": read_csv,
    ".parquet": read_parquet,
}
KNOWN_ENDINGS = tuple(_READERS)
