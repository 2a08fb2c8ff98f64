"""Convert a corpus file or folder to another format, document by document as they are: no split is cut.

convert("mine.jsonl", "mine.xml", "bioc")
convert("mine/", "mine-spacy/", "spacy")        # train.conll, test.conll -> train.spacy, test.spacy
"""

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from dataset_scripts.bio import DEFAULT_WORD_PATTERN, label_words
from dataset_scripts.corpora import CORPORA
from dataset_scripts.documents import merge_documents, read_parts
from dataset_scripts.export import ENDINGS, check_is_free, holds_words_only, name_file, write_documents
from dataset_scripts.formats.files import write_then_rename
from dataset_scripts.hub_corpus import is_hub_source
from dataset_scripts.local_corpus import find_local_files
from dataset_scripts.schema import DETECT, CorpusError, Document, ReadOptions


class Conversion(NamedTuple):
    """What was written."""

    documents: int
    mentions: int
    lost: Counter[str]  # mentions that weren't written, by cause


def convert(
    source: str | Path,
    output: str | Path,
    to: str,
    word_pattern: str = DEFAULT_WORD_PATTERN,
    options: ReadOptions = DETECT,
) -> Conversion:
    """Write a file (or a folder of brat pairs) to one file, a folder with splits to a folder with the same splits.

    Documents of a split are held in memory, because one that appears twice is written once. All is written, or
    nothing. `word_pattern` is for the formats of words and tags.

    Raises:
        CorpusError: malformed input, mentions that mostly state another text than stands at their offsets (see
            `ReadOptions.allow_losses`), an output that exists or has another ending, or what the format can't hold.
    """
    source, output = Path(source).expanduser(), Path(output).expanduser()
    if is_hub_source(str(source)) or (str(source) in CORPORA and not source.exists()):
        raise CorpusError(f"{source} is no file or folder; `mtl-bioner corpora export {source}` writes such a corpus")
    parts = find_local_files(source, options)
    has_splits = source.is_dir() and source not in parts[0].paths
    _check_output(output, to, has_splits)
    splits, lost = {}, Counter()
    for split, documents in read_parts(parts, options=options).items():
        splits[split] = merge_documents(documents, f"{source} {split}")
        for document in splits[split]:
            lost += document.loss.dropped if document.loss else Counter()
    documents = list(chain(*splits.values()))
    if not documents:
        raise CorpusError(f"{source} holds no document; is it the right file, and does its ending name its format?")
    _write(splits, output, to, word_pattern, has_splits)
    mentions = sum(len(document.entities) for document in documents)
    if holds_words_only(to):
        unheld = sum((label_words(document, word_pattern)[2] for document in documents), Counter())
        mentions, lost = mentions - unheld.total(), lost + unheld
    return Conversion(len(documents), mentions, lost)


def _check_output(output: Path, to: str, is_folder: bool) -> None:
    """Refuse to write over anything, and a file whose name would say another format."""
    ending = "" if is_folder else ENDINGS[to]
    if not ending:
        check_is_free(output)
    elif output.exists():
        raise CorpusError(f"{output} exists; give a new name")
    elif not output.name.lower().removesuffix(".gz").endswith(ending):
        raise CorpusError(f"{output}: the name of a {to} file must end in {ending}, or it can't be read again")


def _write(splits: dict[str, list[Document]], output: Path, to: str, word_pattern: str, has_splits: bool) -> None:
    types = sorted({entity.type for document in chain(*splits.values()) for entity in document.entities})
    if not has_splits:
        (documents,) = splits.values()
        write_documents(to, documents, output, word_pattern, types)
        return
    with write_then_rename(output) as folder:
        folder.mkdir()
        for split, documents in splits.items():
            write_documents(to, documents, folder / name_file(split, to), word_pattern, types)
