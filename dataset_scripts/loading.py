"""Load a corpus, by name or path, as documents in splits, with a ledger of the mentions read, kept and dropped.

    corpus = load_corpus("ncbi", "../shared/corpora")
    corpus.splits["train"][0].entities, corpus.ledgers["train"].as_dict()

The ledgers of `load_corpus` count the splits that are trained on; `file_ledgers` counts the official files, uncut.
The sums over the splits are equal, unless `test_size` pools files: a document in two of them then counts once.
"""

import copy
import functools
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from dataset_scripts import download
from dataset_scripts.bio import DEFAULT_WORD_PATTERN, count_label_losses
from dataset_scripts.corpora import CORPORA, get_corpus
from dataset_scripts.corpus import Corpus, Part, hash_parts, strip_number
from dataset_scripts.documents import merge_documents, read_parts
from dataset_scripts.formats import CONLL_ENDINGS, is_corpus_path
from dataset_scripts.formats.tags import UNTYPED
from dataset_scripts.hub_corpus import find_hub_dataset, is_hub_source
from dataset_scripts.local_corpus import find_local_files
from dataset_scripts.schema import DETECT, NOT_ALIGNABLE, CorpusError, Document, Ledger, ReadOptions
from dataset_scripts.splits import SPLITS, Splits, complete_splits


logger = logging.getLogger(__name__)

SAMPLE = "sample"
NOTABLE_LOSS = 0.02  # a user's own corpus that loses a larger share of its mentions gets a warning


@dataclass
class LoadedCorpus:
    """A corpus in memory."""

    name: str  # the source as given
    info: Corpus | None  # None for a user's own corpus
    types: tuple[str, ...]  # in the order of the type map; sorted in a user's own corpus, and native types
    splits: Splits  # train, dev and test, any of them may be empty
    ledgers: dict[str, Ledger]  # by split, from reading to BIO labels
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 by name relative to the data folder
    word_pattern: str = DEFAULT_WORD_PATTERN  # the ledgers were counted with it
    edition: str = ""  # of a registered corpus that exists in several


def load_corpus(
    source: str | Path,
    data_dir: str | Path | None = None,
    *,
    test_size: float | None = None,
    dev_size: float = 0.1,
    seed: int = 42,
    word_pattern: str = DEFAULT_WORD_PATTERN,
    native_types: bool = False,
    scoring_only: bool = False,
    untyped: str | None = None,
    options: ReadOptions = DETECT,
) -> LoadedCorpus:
    """Read a corpus, complete its splits, harmonise its types, label it, and count every mention.

    Args:
        source: a registered name, the path of a user's own file or folder (see `local_corpus.py`), or the name of a
            data set on the Hub, `hf:OWNER/NAME[:CONFIG]` (see `hub_corpus.py`).
        data_dir: holds the official folders; "sample" is the embedded sample; None downloads to the cache.
        test_size: pool all documents and hold out this share of them, instead of the official test split.
        dev_size: share of the training documents that becomes the development split if the corpus has none.
        seed: of both cuts, which depend on nothing else but document ids (and BC2GM's abstracts).
        word_pattern: the regular expression of a word, for the BIO losses in the ledgers.
        native_types: keep the corpus' own type names.
        scoring_only: nothing will be trained, so a corpus without splits is all test, unless `test_size` is given.
        untyped: the type of mentions in a user's own corpus whose file names none; `UNTYPED` by default.
        options: how to read files of a user's own corpus that several readings fit, and what to refuse.

    Raises:
        CorpusError: unknown name, missing or malformed file, empty corpus, no training mention, bad argument, or
            more than half of the mentions of a user's own corpus lost (see `ReadOptions.allow_losses`).
    """
    check_arguments(test_size, dev_size, word_pattern)
    name = str(source)
    info, splits, hashes = _read(source, data_dir, options, native_types)
    if info is None and untyped:
        _name_untyped(splits, untyped)
    is_conll = info is None and any(path.lower().removesuffix(".gz").endswith(CONLL_ENDINGS) for path in hashes)
    splits = complete_splits(name, splits, test_size, dev_size, seed, scoring_only, is_conll)
    splits = {split: merge_documents(splits.get(split, []), f"{name} {split}") for split in SPLITS}
    ledgers = {split: count_mentions(documents, word_pattern) for split, documents in splits.items()}
    if info is None:
        _check_losses(name, sum(ledgers.values(), Ledger()), options.allow_losses)
    _check_content(name, splits, info)
    types = info.types if info and not native_types else tuple(sorted(_list_types(*splits.values())))
    if info is None:
        _warn_of_doubtful_types(name, types, splits["train"])
    edition = info.name_edition({split: ledger.read for split, ledger in ledgers.items()}) if info else ""
    return LoadedCorpus(name, info, types, splits, ledgers, hashes, word_pattern, edition)


def file_ledgers(
    source: str | Path,
    data_dir: str | Path | None = None,
    *,
    word_pattern: str = DEFAULT_WORD_PATTERN,
    options: ReadOptions = DETECT,
) -> dict[str, Ledger]:
    """Count the mentions of each official split, uncut (`all` if a corpus has none); errors as in `load_corpus`."""
    check_arguments(None, 0.1, word_pattern)
    splits = read_splits(source, data_dir, options)
    return {split: count_mentions(documents, word_pattern) for split, documents in splits.items()}


def read_splits(source: str | Path, data_dir: str | Path | None = None, options: ReadOptions = DETECT) -> Splits:
    """Read the documents of each official split, uncut (`all` if a corpus has none); errors as in `load_corpus`."""
    _, splits, _ = _read(source, data_dir, options)
    return {split: merge_documents(documents, f"{source} {split}") for split, documents in splits.items()}


def hash_corpus(source: str | Path, data_dir: str | Path | None = None) -> str:
    """Return 16 hexadecimal digits that identify the files of a corpus, unparsed; errors as in `load_corpus`."""
    _, root, parts = _find(source, data_dir)
    return hashlib.sha256(repr(sorted(hash_parts(root, parts).items())).encode()).hexdigest()[:16]


def check_arguments(test_size: float | None, dev_size: float, word_pattern: str) -> None:
    """Raise CorpusError for a share outside (0, 1), and a pattern that doesn't compile or matches the empty string."""
    for name, share in (("dev_size", dev_size), ("test_size", test_size)):
        if share is not None and not 0 < share < 1:
            raise CorpusError(f"{name} is {share}; a share of the documents between 0 and 1 is needed, such as 0.1")
    if test_size is not None and not 0.10 <= test_size <= 0.15:
        logger.warning("test_size is %s; 0.10 to 0.15 is usual", test_size)
    try:
        pattern = re.compile(word_pattern)
    except re.error as error:
        raise CorpusError(f"word_pattern {word_pattern!r} is not a regular expression: {error}") from error
    if pattern.search("") is not None:
        raise CorpusError(f"word_pattern {word_pattern!r} matches the empty string; a word has at least one character")


def find_data_dir(data_dir: str | Path) -> Path:
    """Return the folder that `--data_dir` names, the embedded one for `sample`; raise CorpusError if it is missing."""
    root = Path(__file__).parent / SAMPLE if str(data_dir) == SAMPLE else Path(os.path.expanduser(data_dir))
    if not root.is_dir():
        raise CorpusError(f"--data_dir {data_dir}: no such folder; it should hold ncbi_disease/, bc5cdr/ and so on")
    return root


def _find(
    source: str | Path, data_dir: str | Path | None, options: ReadOptions = DETECT
) -> tuple[Corpus | None, Path, list[Part]]:
    """Find a registered corpus, or a user's own (None), the folder to which paths are relative, and the files."""
    if is_hub_source(source):
        return None, Path(), find_hub_dataset(str(source), options)
    path = Path(os.path.expanduser(source))
    if isinstance(source, Path) or (source not in CORPORA and (is_corpus_path(source) or path.exists())):
        return None, path if path.is_dir() else path.parent, find_local_files(path, options)
    info = get_corpus(str(source))
    root = download.fetch(info) if data_dir is None else find_data_dir(data_dir)
    return info, root, info.find_files(root)


def _read(
    source: str | Path, data_dir: str | Path | None, options: ReadOptions, native_types: bool = False
) -> tuple[Corpus | None, Splits, dict[str, str]]:
    """Read all documents, in the splits of the files; warn if a registered corpus has other counts than expected."""
    info, root, parts = _find(source, data_dir, options)
    map_type = functools.cache(lambda name: info.map_types([name], native_types).get(name)) if info else None
    splits = read_parts(parts, map_type, options, allow_empty=info is not None or len(parts) == 1)
    for split, documents in splits.items() if info and str(data_dir) != SAMPLE else ():
        if problem := next(filter(None, info.compare_counts(split, documents)), None):
            logger.warning("%s %s: %s; is the file complete?", info.name, split, problem)
    for document in chain(*splits.values()) if info and info.numbered else ():
        document.group = strip_number(document.group) if document.group == document.document_id else document.group
    if not any(splits.values()):
        raise CorpusError(f"{source} holds no document; is it the right file, and does its ending name its format?")
    return info, splits, hash_parts(root, parts)


def _name_untyped(splits: Splits, untyped: str) -> None:
    """Give entities without a type the only one that is asked for, if none of the corpus has a type."""
    if _list_types(*splits.values()) == {UNTYPED}:
        for document in chain(*splits.values()):
            document.entities = [replace(entity, type=untyped) for entity in document.entities]
            if document.loss:
                document.loss.types = Counter({untyped: document.loss.types.total()})


def count_mentions(documents: Iterable[Document], word_pattern: str) -> Ledger:
    """Count the mentions of documents, and what is lost from the file to BIO labels."""
    ledger = Ledger()
    for document in documents:
        ledger.add_document(document)
        ledger.dropped.update(count_label_losses(document, word_pattern))
    return ledger


def _list_types(*splits: Iterable[Document]) -> set[str]:
    return {entity.type for document in chain(*splits) for entity in document.entities}


def _check_content(name: str, splits: Mapping[str, Sequence[Document]], info: Corpus | None) -> None:
    """Refuse a corpus that can't be trained on; accept one with a test split only, for scoring."""
    if not splits["train"] and splits["test"]:
        logger.warning("%s has no training documents: it can be scored, not trained on", name)
    elif not _list_types(splits["train"]):
        types = f" of {', '.join(info.types)}" if info else ""
        problem = f"{name}: none of its {len(splits['train'])} training documents holds a mention{types}"
        raise CorpusError(f"{problem}; check the annotations and their type names")


def _check_losses(name: str, ledger: Ledger, allow_losses: bool) -> None:
    """Warn of mentions in a user's own corpus that become no labels; refuse to lose more than half of them."""
    lost = ledger.read - ledger.kept
    causes = ", ".join(f"{count} {cause}" for cause, count in ledger.dropped.most_common())
    unaligned = ledger.dropped[NOT_ALIGNABLE] > lost / 2
    remedy = "; check that offsets count characters" if unaligned else ""
    line = f"{name}: {lost} of {ledger.read} mentions become no labels ({causes}){remedy}"
    if lost > ledger.read / 2 and not allow_losses:
        raise CorpusError(f"{line}; correct the corpus, or accept the losses with --allow_losses")
    if lost > NOTABLE_LOSS * ledger.read:
        logger.warning("%s", line)


def _warn_of_doubtful_types(name: str, types: Sequence[str], train: Sequence[Document]) -> None:
    """Warn of types of a user's own corpus that differ in case only, or that nothing will predict."""
    if UNTYPED in types and len(types) > 1:
        message = "%s: tags without a type (B, I) are read as the type %s, beside %s; give them a type in the file"
        logger.warning(message, name, UNTYPED, ", ".join(other for other in types if other != UNTYPED))
    counts = Counter(map(str.casefold, types))
    if alike := [type_name for type_name in types if counts[type_name.casefold()] > 1]:
        logger.warning("%s: the types %s differ in case only, and are learned apart", name, ", ".join(alike))
    if train and (untrained := sorted(set(types) - _list_types(train))):
        logger.warning("%s: %s has no training mention, so nothing will predict it", name, ", ".join(untrained))


def with_dev_in_train(corpus: LoadedCorpus) -> LoadedCorpus:
    """Move the development documents into the training split.

    In a user's own corpus, ids that training documents have too (row numbers of each file) are prefixed with `dev `.
    """
    train, dev = corpus.splits["train"], corpus.splits["dev"]
    taken = {document.document_id for document in train} if corpus.info is None else set()
    dev = [replace(doc, document_id=f"dev {doc.document_id}") if doc.document_id in taken else doc for doc in dev]
    splits = {**corpus.splits, "train": train + dev, "dev": []}
    together = corpus.ledgers["train"] + corpus.ledgers["dev"]
    return replace(corpus, splits=splits, ledgers={**corpus.ledgers, "train": together, "dev": Ledger()})


def drop_documents(corpus: LoadedCorpus, split: str, document_ids: Iterable[str], cause: str) -> LoadedCorpus:
    """Remove documents from a split; count their mentions under `cause` in its ledger."""
    gone = set(document_ids)
    dropped = [document for document in corpus.splits[split] if document.document_id in gone]
    kept = [document for document in corpus.splits[split] if document.document_id not in gone]
    ledger = copy.deepcopy(corpus.ledgers[split])
    ledger.documents -= len(dropped)
    if losses := sum(len(doc.entities) - count_label_losses(doc, corpus.word_pattern).total() for doc in dropped):
        ledger.dropped[cause] += losses
    return replace(corpus, splits={**corpus.splits, split: kept}, ledgers={**corpus.ledgers, split: ledger})
