"""Write a loaded corpus to files that other programs read: whole documents, or words and their tags."""

import bisect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from dataset_scripts.bio import label_words, split_sentences
from dataset_scripts.formats.bioc import write_bioc
from dataset_scripts.formats.bioc_json import write_bioc_json
from dataset_scripts.formats.brat import write_brat
from dataset_scripts.formats.csv import write_csv
from dataset_scripts.formats.doccano import write_doccano
from dataset_scripts.formats.files import FilePath, write_text, write_then_rename
from dataset_scripts.formats.gliner import write_gliner
from dataset_scripts.formats.jsonl import write_jsonl
from dataset_scripts.formats.label_studio import write_label_studio
from dataset_scripts.formats.prodigy import write_prodigy
from dataset_scripts.formats.pubtator import write_pubtator
from dataset_scripts.formats.spacy_docbin import write_spacy
from dataset_scripts.formats.tagged_tokens import write_tokens
from dataset_scripts.loading import LoadedCorpus
from dataset_scripts.schema import CorpusError, Document


# Exactly so for `spacy convert`, which splits the file at it. flair drops the tags if the words have fewer columns.
_DOCUMENT_LINE = "-DOCSTART- -X- O O"


def list_labels(types: Sequence[str]) -> list[str]:
    """Name the classes of the tags in order of their numbers: `O`, then `B-` and `I-` of each type."""
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def write_conll(documents: Iterable[Document], path: FilePath, word_pattern: str) -> None:
    """Write the four columns of CoNLL-2003: word, `-X-`, `_`, tag; gzip if the name ends so.

    `-DOCSTART- -X- O O` begins each document, a blank line ends each sentence. That line can't hold the document id.
    """
    write_text(path, (f"{line}\n" for document in documents for line in _format_conll(document, word_pattern)))


def _format_conll(document: Document, word_pattern: str) -> Iterator[str]:
    """Yield the lines of a document, with a blank one after each sentence, but none inside a mention."""
    words, tags, _ = label_words(document, word_pattern)
    breaks = {bisect.bisect_left(words, (end,)) for _, end in split_sentences(document.text)}  # first words behind
    yield from (_DOCUMENT_LINE, "")
    for index, ((start, end), tag) in enumerate(zip(words, tags, strict=True)):
        if index and index in breaks and not tag.startswith("I-"):
            yield ""
        word = document.text[start:end]
        for what, text in (("word", word), ("tag", tag)):
            if re.search(r"\s", text):
                problem = f"document {document.document_id}: the {what} {text!r} holds white space, which CoNLL can't"
                raise CorpusError(f"{problem}; export as jsonl or parquet (word_pattern is {word_pattern!r})")
        yield f"{word} -X- _ {tag}"
    yield ""


def write_parquet(documents: Iterable[Document], path: FilePath, word_pattern: str, types: Sequence[str]) -> None:
    """Write a row for each document; `starts` and `ends` are half-open character offsets of `tokens` in `text`."""
    from datasets import ClassLabel, Dataset, Features, List, Value  # takes seconds, and only this format needs it

    features = {"document_id": Value("string"), "text": Value("string"), "tokens": List(Value("string"))}
    features |= {"starts": List(Value("int32")), "ends": List(Value("int32"))}
    features |= {"ner_tags": List(ClassLabel(names=list_labels(types)))}
    rows = []
    for document in documents:
        words, tags, _ = label_words(document, word_pattern)
        columns = ([document.text[s:e] for s, e in words], [s for s, _ in words], [e for _, e in words], tags)
        rows.append(dict(zip(features, (document.document_id, document.text, *columns), strict=True)))
    with write_then_rename(path) as temporary:
        Dataset.from_list(rows, features=Features(features)).to_parquet(str(temporary))


# format -> writer of whole documents with all gold mentions, ending of its files ("": a folder)
_DOCUMENT_WRITERS: dict[str, tuple[Callable[..., None], str]] = {
    "jsonl": (write_jsonl, ".jsonl"),
    "pubtator": (write_pubtator, ".pubtator"),
    "bioc": (write_bioc, ".xml"),
    "bioc-json": (write_bioc_json, ".json"),
    "brat": (write_brat, ""),
    "csv": (write_csv, ".csv"),
    "doccano": (write_doccano, ".jsonl"),
    "label-studio": (write_label_studio, ".json"),
    "prodigy": (write_prodigy, ".jsonl"),
}
# format -> writer of words with the mentions that BIO tags hold, given the word pattern
_WORD_WRITERS: dict[str, tuple[Callable[..., None], str]] = {
    "conll": (write_conll, ".conll"),
    "parquet": (write_parquet, ".parquet"),
    "spacy": (write_spacy, ".spacy"),
    "gliner": (write_gliner, ".json"),
    "tokens": (write_tokens, ".jsonl"),
}
ENDINGS = {name: ending for name, (_, ending) in (_DOCUMENT_WRITERS | _WORD_WRITERS).items()}
FORMATS = tuple(ENDINGS)


def write_documents(
    to: str, documents: Sequence[Document], path: Path, word_pattern: str, types: Sequence[str]
) -> None:
    """Write documents to one file (brat: a folder); `types` are those of all splits, for the classes of parquet.

    Raises:
        CorpusError: a word, type or id that the format can't hold.
    """
    if to in _DOCUMENT_WRITERS:
        _DOCUMENT_WRITERS[to][0](documents, path)
    elif to == "parquet":
        write_parquet(documents, path, word_pattern, types)
    else:
        _WORD_WRITERS[to][0](documents, path, word_pattern)


def holds_words_only(to: str) -> bool:
    """Whether a format holds only the mentions that BIO tags hold."""
    return to in _WORD_WRITERS


def name_file(split: str, to: str) -> str:
    """Name the file of a split; parquet says `validation`, as `datasets` does."""
    return f"{'validation' if (split, to) == ('dev', 'parquet') else split}{ENDINGS[to]}"


def export_corpus(corpus: LoadedCorpus, to: str, output: str | Path) -> Path:
    """Write each split that holds documents to a file, and a README with source and terms, all of it or nothing.

    `conll`, `parquet` (words with offsets and tags, for `datasets.load_dataset(output)`), `spacy` and `gliner` hold
    the mentions that the ledger calls kept; the other formats hold documents with all gold mentions (brat: a folder a
    split).

    Raises:
        CorpusError: unknown format, a folder that isn't empty, or a word, type or id that the format can't hold.
    """
    if to not in FORMATS:
        raise CorpusError(f"unknown export format {to!r}; one of {', '.join(FORMATS)} is needed")
    output = Path(output)
    check_is_free(output)
    with write_then_rename(output) as folder:
        folder.mkdir()
        for split, documents in corpus.splits.items():
            if documents:
                write_documents(to, documents, folder / name_file(split, to), corpus.word_pattern, corpus.types)
        (folder / "README.md").write_text(_write_readme(corpus), encoding="utf-8")
    return output


def check_is_free(output: Path) -> None:
    """Raise CorpusError for a file, or a folder that isn't empty, at the place of an output folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CorpusError(f"{output} is not empty; give a new folder")


def _write_readme(corpus: LoadedCorpus) -> str:
    info = corpus.info
    lines = [f"# {info.title if info else corpus.name}, exported by MTL-BioNER"]
    if info is not None:
        lines += [f"Source: {info.homepage}", f"Terms: {info.licence}", f"```\n{info.citation}\n```"]
    for split, ledger in corpus.ledgers.items():
        lines.append(f"{split}: {ledger.documents} documents, {ledger.kept} of {ledger.read} mentions as BIO tags")
    return "\n\n".join(lines) + "\n"
