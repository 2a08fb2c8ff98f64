"""A loaded corpus to files that other programs read: parquet for `datasets`, CoNLL, or whole documents."""

from __future__ import annotations

import bisect
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from dataset_scripts.bio import label_words, split_sentences
from dataset_scripts.formats.bioc import write_bioc
from dataset_scripts.formats.brat import write_brat
from dataset_scripts.formats.jsonl import write_jsonl
from dataset_scripts.formats.pubtator import write_pubtator

from .registry import LoadedCorpus
from .schema import CorpusError, Document


SPLIT_NAMES_OF_DATASETS = {"train": "train", "dev": "validation", "test": "test"}


def export_corpus(corpus: LoadedCorpus, to: str, output: str | Path) -> Path:
    """Write every split that holds documents, one file each, and a README with source and terms.

    `conll`: `WORD<tab>TAG`, sentences apart by a blank line, documents begun by `###MEDLINE:id`. `parquet`: words
    with offsets and tags, for `datasets.load_dataset(output)`. These two hold the mentions that the ledger calls kept.
    `jsonl`, `pubtator`, `bioc`, `brat` (a folder a split): documents with all gold mentions. The folder appears when
    everything is written.

    Raises:
        CorpusError: unknown format, a folder that isn't empty, or a word, type or id that the format can't hold.
    """
    if to not in _WRITERS:
        raise CorpusError(f"unknown export format {to!r}; one of {', '.join(_WRITERS)} is needed")
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CorpusError(f"--output {output} is not empty; give a new folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as work:
        folder = Path(work) / "export"
        folder.mkdir()
        for split, documents in corpus.splits.items():
            if documents:
                _WRITERS[to](corpus, split, documents, folder)
        (folder / "README.md").write_text(_readme(corpus), encoding="utf-8")
        folder.rename(output)
    return output


def label_names(types: Sequence[str]) -> list[str]:
    """`O`, then `B-` and `I-` of each type: the class names of the tags, in order of their numbers."""
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def _write_conll(corpus: LoadedCorpus, split: str, documents: Sequence[Document], folder: Path) -> None:
    with (folder / f"{split}.conll").open("w", encoding="utf-8", newline="\n") as out:
        for document in documents:
            identifier = re.sub(r"\s", "_", document.document_id)
            out.write(f"###MEDLINE:{identifier}\n\n")
            out.writelines(f"{line}\n" for line in _conll_lines(corpus, document))


def _conll_lines(corpus: LoadedCorpus, document: Document) -> Iterator[str]:
    """The lines of one document; a blank one ends each sentence, but none stands inside a mention."""
    words, tags, _ = label_words(document, corpus.word_pattern)
    breaks = {bisect.bisect_left(words, (end,)) for _, end in split_sentences(document.text)}  # first words behind
    for index, ((start, end), tag) in enumerate(zip(words, tags, strict=True)):
        if index and index in breaks and not tag.startswith("I-"):
            yield ""
        word = document.text[start:end]
        for what, text in (("word", word), ("tag", tag)):
            if re.search(r"\s", text):
                raise CorpusError(
                    f"document {document.document_id}: the {what} {text!r} holds white space, which CoNLL can't; "
                    f"export as jsonl or parquet (word_pattern is {corpus.word_pattern!r})"
                )
        yield f"{word}\t{tag}"
    yield ""


def _whole(write: Callable[..., None], ending: str) -> Callable[..., None]:
    """A writer of whole documents as one of a split."""

    def write_split(corpus: LoadedCorpus, split: str, documents: Sequence[Document], folder: Path) -> None:
        write(documents, folder / f"{split}{ending}")

    return write_split


def _write_parquet(corpus: LoadedCorpus, split: str, documents: Sequence[Document], folder: Path) -> None:
    """One row a document; `starts` and `ends` are half-open character offsets of `tokens` into `text`."""
    from datasets import ClassLabel, Dataset, Features, List, Value  # takes seconds, and only this format needs it

    features = Features(
        {
            "document_id": Value("string"),
            "text": Value("string"),
            "tokens": List(Value("string")),
            "starts": List(Value("int32")),
            "ends": List(Value("int32")),
            "ner_tags": List(ClassLabel(names=label_names(corpus.types))),
        }
    )
    rows = [_row(corpus, document) for document in documents]
    columns = {name: [row[name] for row in rows] for name in features}
    path = folder / f"{SPLIT_NAMES_OF_DATASETS[split]}.parquet"
    Dataset.from_dict(columns, features=features).to_parquet(str(path))


def _row(corpus: LoadedCorpus, document: Document) -> Mapping[str, object]:
    words, tags, _ = label_words(document, corpus.word_pattern)
    return {
        "document_id": document.document_id,
        "text": document.text,
        "tokens": [document.text[start:end] for start, end in words],
        "starts": [start for start, _ in words],
        "ends": [end for _, end in words],
        "ner_tags": tags,
    }


def _readme(corpus: LoadedCorpus) -> str:
    title, lines = corpus.name, []
    if corpus.info is not None:
        title = corpus.info.title
        lines = [f"Source: {corpus.info.homepage}", f"Terms: {corpus.info.licence}"]
        lines.append(f"```\n{corpus.info.citation}\n```")
    for split, ledger in corpus.ledgers.items():
        lines.append(f"{split}: {ledger.documents} documents, {ledger.kept} of {ledger.read} mentions as BIO tags")
    return "\n\n".join([f"# {title}, exported by MTL-BioNER", *lines]) + "\n"


_WRITERS: dict[str, Callable[[LoadedCorpus, str, Sequence[Document], Path], None]] = {
    "conll": _write_conll,
    "parquet": _write_parquet,
    "jsonl": _whole(write_jsonl, ".jsonl"),
    "pubtator": _whole(write_pubtator, ".pubtator"),
    "bioc": _whole(write_bioc, ".xml"),
    "brat": _whole(write_brat, ""),
}
FORMATS = tuple(_WRITERS)
