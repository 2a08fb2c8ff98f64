"""Write a loaded corpus to files that other programs read: parquet for `datasets`, CoNLL, or whole documents."""

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dataset_scripts.bio import label_words, split_sentences
from dataset_scripts.formats.bioc import write_bioc
from dataset_scripts.formats.brat import write_brat
from dataset_scripts.formats.files import write_then_rename
from dataset_scripts.formats.jsonl import write_jsonl
from dataset_scripts.formats.pubtator import write_pubtator
from dataset_scripts.loading import LoadedCorpus
from dataset_scripts.schema import CorpusError, Document


# format -> writer of whole documents, ending of its files ("": a folder)
_DOCUMENT_WRITERS: dict[str, tuple[Callable[..., None], str]] = {
    "jsonl": (write_jsonl, ".jsonl"),
    "pubtator": (write_pubtator, ".pubtator"),
    "bioc": (write_bioc, ".xml"),
    "brat": (write_brat, ""),
}
FORMATS = ("conll", "parquet", *_DOCUMENT_WRITERS)


def export_corpus(corpus: LoadedCorpus, to: str, output: str | Path) -> Path:
    """Write each split that holds documents to a file, and a README with source and terms, all of it or nothing.

    `conll` (`WORD<tab>TAG`, a blank line after each sentence, `###MEDLINE:id` before each document) and `parquet`
    (words with offsets and tags, for `datasets.load_dataset(output)`) hold the mentions that the ledger calls kept;
    `jsonl`, `pubtator`, `bioc` and `brat` (a folder a split) hold documents with all gold mentions.

    Raises:
        CorpusError: unknown format, a folder that isn't empty, or a word, type or id that the format can't hold.
    """
    if to not in FORMATS:
        raise CorpusError(f"unknown export format {to!r}; one of {', '.join(FORMATS)} is needed")
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise CorpusError(f"--output {output} is not empty; give a new folder")
    with write_then_rename(output) as folder:
        folder.mkdir()
        for split, documents in corpus.splits.items():
            if documents and to in _DOCUMENT_WRITERS:
                write, ending = _DOCUMENT_WRITERS[to]
                write(documents, folder / f"{split}{ending}")
            elif documents:
                (_write_conll if to == "conll" else _write_parquet)(corpus, split, folder)
        (folder / "README.md").write_text(_write_readme(corpus), encoding="utf-8")
    return output


def list_labels(types: Sequence[str]) -> list[str]:
    """Name the classes of the tags in order of their numbers: `O`, then `B-` and `I-` of each type."""
    return ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]


def _write_conll(corpus: LoadedCorpus, split: str, folder: Path) -> None:
    with (folder / f"{split}.conll").open("w", encoding="utf-8", newline="\n") as out:
        for document in corpus.splits[split]:
            identifier = re.sub(r"\s", "_", document.document_id)
            out.write(f"###MEDLINE:{identifier}\n\n")
            out.writelines(f"{line}\n" for line in _format_conll(document, corpus.word_pattern))


def _format_conll(document: Document, word_pattern: str) -> Iterator[str]:
    """Yield the lines of a document, with a blank one after each sentence, but none inside a mention."""
    words, tags, _ = label_words(document, word_pattern)
    breaks = {bisect.bisect_left(words, (end,)) for _, end in split_sentences(document.text)}  # first words behind
    for index, ((start, end), tag) in enumerate(zip(words, tags, strict=True)):
        if index and index in breaks and not tag.startswith("I-"):
            yield ""
        word = document.text[start:end]
        for what, text in (("word", word), ("tag", tag)):
            if re.search(r"\s", text):
                problem = f"document {document.document_id}: the {what} {text!r} holds white space, which CoNLL can't"
                raise CorpusError(f"{problem}; export as jsonl or parquet (word_pattern is {word_pattern!r})")
        yield f"{word}\t{tag}"
    yield ""


def _write_parquet(corpus: LoadedCorpus, split: str, folder: Path) -> None:
    """Write a row for each document; `starts` and `ends` are half-open character offsets of `tokens` in `text`."""
    from datasets import ClassLabel, Dataset, Features, List, Value  # takes seconds, and only this format needs it

    features = {"document_id": Value("string"), "text": Value("string"), "tokens": List(Value("string"))}
    features |= {"starts": List(Value("int32")), "ends": List(Value("int32"))}
    features |= {"ner_tags": List(ClassLabel(names=list_labels(corpus.types)))}
    rows = []
    for document in corpus.splits[split]:
        words, tags, _ = label_words(document, corpus.word_pattern)
        columns = ([document.text[s:e] for s, e in words], [s for s, _ in words], [e for _, e in words], tags)
        rows.append(dict(zip(features, (document.document_id, document.text, *columns), strict=True)))
    name = {"dev": "validation"}.get(split, split)  # as `datasets` names it
    Dataset.from_list(rows, features=Features(features)).to_parquet(str(folder / f"{name}.parquet"))


def _write_readme(corpus: LoadedCorpus) -> str:
    info = corpus.info
    lines = [f"# {info.title if info else corpus.name}, exported by MTL-BioNER"]
    if info is not None:
        lines += [f"Source: {info.homepage}", f"Terms: {info.licence}", f"```\n{info.citation}\n```"]
    for split, ledger in corpus.ledgers.items():
        lines.append(f"{split}: {ledger.documents} documents, {ledger.kept} of {ledger.read} mentions as BIO tags")
    return "\n\n".join(lines) + "\n"
