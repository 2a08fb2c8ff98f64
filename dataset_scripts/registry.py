"""Corpus name or path -> documents in splits, with the ledger of what was read and lost.

    corpus = load_corpus("ncbi", "../shared/corpora")
    corpus.splits["train"][0].entities, corpus.ledgers["train"].as_dict()

Two views of the counts. `load_corpus(...).ledgers` follow the splits that are trained on: a development split that was
cut from the training documents has its own ledger. `file_ledgers` follow the official files, uncut, and are what
`python -m dataset_scripts stats` shows. The sum over the splits is the same, unless documents of several files are
pooled (`test_size`), where a document that stands in two files is counted once.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_scripts import download
from dataset_scripts import local_corpus as own
from dataset_scripts.bio import DEFAULT_WORD_PATTERN, label_words
from dataset_scripts.corpora import bc2gm, bc5cdr, genia, jnlpba, ncbi
from dataset_scripts.formats.conll import UNTYPED

from .corpus import WHOLE, Corpus, Files, Unchanged, count_problem, file_hashes, present, read_files
from .schema import NOT_ALIGNABLE, CorpusError, Document, Ledger, RawDocument, to_documents
from .splits import SPLITS, check_share, cut, group_of


logger = logging.getLogger(__name__)

_CORPORA = {module.CORPUS.name: module.CORPUS for module in (ncbi, bc5cdr, bc2gm, jnlpba, genia)}

SAMPLE = "sample"
DEFAULT_TEST_SIZE = 0.15
NOTABLE_LOSS = 0.02  # of mentions; a share above it gets a warning in a user's own corpus

RawSplits = dict[str, list[RawDocument]]


@dataclass
class LoadedCorpus:
    """A corpus in memory.

    Attributes:
        name: the source as given.
        info: its description; None for a user's own corpus.
        types: entity types in a stable order: that of the type map, or sorted (own corpora, native types).
        splits: documents of `train`, `dev` and `test`; a test-only corpus has empty `train` and `dev`.
        ledgers: by split, from reading to BIO labels; `documents` is the length of the split.
        hashes: SHA-256 of every file read (of a brat folder as a whole), by name relative to the data folder.
        word_pattern: the regular expression of a word that the ledgers were counted with.
    """

    name: str
    info: Corpus | None
    types: tuple[str, ...]
    splits: dict[str, list[Document]]
    ledgers: dict[str, Ledger]
    hashes: dict[str, str] = field(default_factory=dict)
    word_pattern: str = DEFAULT_WORD_PATTERN


@dataclass
class _Source:
    """What was read of a source, before types and splits are settled."""

    info: Corpus | None
    splits: RawSplits
    hashes: dict[str, str]


def list_corpora() -> tuple[str, ...]:
    """Names of the registered corpora."""
    return tuple(_CORPORA)


def get_corpus(name: str) -> Corpus:
    """The description of a registered corpus.

    Raises:
        CorpusError: unknown name; offers the nearest one.
    """
    if name in _CORPORA:
        return _CORPORA[name]
    near = difflib.get_close_matches(name.lower(), _CORPORA, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise CorpusError(
        f"unknown corpus {name!r}; {hint}registered are {', '.join(_CORPORA)}; "
        f"a corpus of your own is given by its path, such as ./{name}"
    )


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
) -> LoadedCorpus:
    """Read a corpus, harmonise its types, settle its splits, and count every mention.

    Args:
        source: a registered name, or the path of a user's own file or folder (see `own.py`).
        data_dir: holds the official folders; "sample" is the embedded sample; None downloads to the cache.
        test_size: pool all documents and hold out this share of them, instead of the official test split.
        dev_size: share of the training documents that becomes the development split where the corpus has none.
        seed: of both cuts; they depend on document ids (and BC2GM's abstracts) and this number alone.
        word_pattern: the regular expression of a word, for the BIO losses in the ledgers.
        native_types: keep the corpus' own type names.
        scoring_only: nothing will be trained, so a corpus without splits is all test, unless `test_size` is given.
        untyped: the type of mentions in a user's own corpus whose file names none; else `UNTYPED`.

    Raises:
        CorpusError: unknown name, missing or malformed file, empty corpus, no training mention, bad argument.
    """
    check_arguments(test_size, dev_size, word_pattern)
    found = _read(source, data_dir)
    raws = list(itertools.chain(*found.splits.values()))
    if found.info is None and untyped is not None and {m.type for raw in raws for m in raw.mentions} == {UNTYPED}:
        for raw in raws:
            raw.mentions = [replace(m, type=untyped) if m.type == UNTYPED else m for m in raw.mentions]
    if scoring_only and test_size is None and WHOLE in found.splits:
        logger.warning(
            "%s has no splits, and nothing is trained: all of it is scored; if the model was trained on a part of it, "
            "give the --test_size of that training (%s where none was given)", source, DEFAULT_TEST_SIZE,
        )  # fmt: skip
        raw_splits = {"test": found.splits[WHOLE]}
    else:
        raw_splits = _settle_splits(str(source), found.splits, test_size, dev_size, seed)
    type_map = _type_map(found.info, native_types)
    splits, ledgers = {}, {}
    for split in SPLITS:
        splits[split], ledgers[split] = _finish(raw_splits.get(split, []), type_map, word_pattern)
    _check_content(str(source), splits, found.info)
    types = _types(found.info, native_types, splits)
    if found.info is None:
        _warn_of_own(str(source), splits, ledgers, types)
    return LoadedCorpus(str(source), found.info, types, splits, ledgers, found.hashes, word_pattern)


def file_ledgers(
    source: str | Path, data_dir: str | Path | None = None, *, word_pattern: str = DEFAULT_WORD_PATTERN
) -> dict[str, Ledger]:
    """The ledger of every official file split, uncut (`all` where a corpus has none); errors as `load_corpus`."""
    check_arguments(None, 0.1, word_pattern)
    found = _read(source, data_dir)
    if not any(found.splits.values()):
        raise _no_document(str(source))
    type_map = _type_map(found.info, native_types=False)
    return {split: _finish(raws, type_map, word_pattern)[1] for split, raws in found.splits.items()}


def check_arguments(test_size: float | None, dev_size: float, word_pattern: str) -> None:
    """Refuse shares outside (0, 1) and patterns that don't compile or match nothing at all.

    Raises:
        CorpusError: naming the argument, its value and the remedy.
    """
    check_share("dev_size", dev_size)
    if test_size is not None:
        check_share("test_size", test_size)
        if not 0.10 <= test_size <= 0.15:
            logger.warning("test_size is %s; 0.10 to 0.15 is usual", test_size)
    try:
        pattern = re.compile(word_pattern)
    except re.error as error:
        raise CorpusError(f"word_pattern {word_pattern!r} is no regular expression: {error}") from error
    if pattern.search("") is not None:
        raise CorpusError(f"word_pattern {word_pattern!r} matches the empty string; a word has at least one character")


def corpus_root(data_dir: str | Path) -> Path:
    """The folder that `--data_dir` means.

    Raises:
        CorpusError: it doesn't exist.
    """
    root = Path(__file__).parent / SAMPLE if str(data_dir) == SAMPLE else Path(data_dir)
    if not root.is_dir():
        raise CorpusError(f"--data_dir {data_dir}: no such folder; it should hold ncbi_disease/, bc5cdr/ and so on")
    return root


def _located(source: str | Path, data_dir: str | Path | None) -> tuple[Corpus | None, Path]:
    """A registered corpus and the folder that holds its folder, or None and the path of a user's own."""
    if own.looks_like_path(source) and str(source) not in _CORPORA:
        return None, Path(source)
    info = get_corpus(str(source))
    return info, download.fetch(info) if data_dir is None else corpus_root(data_dir)


def _read(source: str | Path, data_dir: str | Path | None) -> _Source:
    """Every document of the source, in its official splits; nothing checked yet but the counts."""
    info, root = _located(source, data_dir)
    if info is None:
        return _Source(None, *own.read_own(root))
    folder = root / info.folder
    found = info.find(root)
    splits = {split: list(read_files(folder, files)) for split, files in found.items()}
    if str(data_dir) != SAMPLE:
        for split, raws in splits.items():
            _, problem = count_problem(info, split, raws)
            if problem:
                logger.warning("%s %s: %s; is the file complete?", info.name, split, problem)
    if info.numbered:
        for raw in itertools.chain(*splits.values()):
            raw.group = raw.group or base_id(raw.document_id)
    return _Source(info, splits, _registered_hashes(root, folder, found))


def _registered_hashes(root: Path, folder: Path, found: Mapping[str, Files]) -> dict[str, str]:
    paths = (present(folder / path) or folder / path for files in found.values() for path in files.paths)
    return file_hashes(root, paths)


def hash_corpus(source: str | Path, data_dir: str | Path | None = None) -> str:
    """16 hexadecimal digits that tell the files of a corpus; nothing is parsed. Errors as `load_corpus`."""
    info, root = _located(source, data_dir)
    hashes = own.hash_own(root) if info is None else _registered_hashes(root, root / info.folder, info.find(root))
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16]


def base_id(document_id: str) -> str:
    """`98281994` of `98281994-2`, the second document under that id."""
    return re.sub(r"-\d+$", "", document_id)


def _settle_splits(name: str, splits: RawSplits, test_size: float | None, dev_size: float, seed: int) -> RawSplits:
    """Official splits as they are; what is missing, or asked for, is cut by documents."""
    if WHOLE in splits or test_size is not None:
        pooled = list(itertools.chain(*splits.values()))
        train, test = _cut(name, pooled, test_size or DEFAULT_TEST_SIZE, seed)
        splits = {"train": train, "test": test}
    elif "train" in splits and "test" not in splits:
        logger.warning("%s has no test split; %s of its training documents are held out", name, DEFAULT_TEST_SIZE)
        train, test = _cut(name, splits["train"], DEFAULT_TEST_SIZE, seed)
        splits = {**splits, "train": train, "test": test}
    if "train" in splits and "dev" not in splits:
        train, dev = _cut(name, splits["train"], dev_size, seed)
        splits = {**splits, "train": train, "dev": dev}
    return splits


def _cut(
    name: str, raws: Sequence[RawDocument], share: float, seed: int
) -> tuple[list[RawDocument], list[RawDocument]]:
    """As `cut`, with a warning where documents that stay together leave far more, or less, than was asked for."""
    rest, held_out = cut(raws, share, seed)
    if raws and (not held_out or (len(raws) >= 20 and not share / 2 <= len(held_out) / len(raws) <= 2 * share)):
        group, size = Counter(map(group_of, raws)).most_common(1)[0]
        logger.warning(
            "%s: %d of %d documents are held out, where %g of them should be: %d have the id or group %r, and stay "
            "together; give each text an id of its own, and begin it with -DOCSTART- in a CoNLL file",
            name, len(held_out), len(raws), share, size, group,
        )  # fmt: skip
    return rest, held_out


def _finish(
    raws: Iterable[RawDocument], type_map: Mapping[str, str] | None, word_pattern: str
) -> tuple[list[Document], Ledger]:
    """Documents of one split and its ledger, the losses on the way to BIO labels among them."""
    documents, ledger = to_documents(raws, type_map)
    for document in documents:
        ledger.dropped.update(label_words(document, word_pattern)[2])
    return documents, ledger


def _type_map(info: Corpus | None, native_types: bool) -> Mapping[str, str] | None:
    if info is None:
        return None
    return Unchanged(info.type_map) if native_types else info.type_map


def _types(info: Corpus | None, native_types: bool, splits: Mapping[str, Sequence[Document]]) -> tuple[str, ...]:
    if info is not None and not native_types:
        return info.types
    documents = itertools.chain(*splits.values())
    return tuple(sorted({entity.type for document in documents for entity in document.entities}))


def _no_document(name: str) -> CorpusError:
    return CorpusError(f"{name} holds no document; is it the right file, and is its format the one of its name?")


def _check_content(name: str, splits: Mapping[str, Sequence[Document]], info: Corpus | None) -> None:
    """Refuse a corpus that can't be trained on; one with a test split only is for scoring, and welcome."""
    if not any(splits.values()):
        raise _no_document(name)
    if not splits["train"] and splits["test"]:
        logger.warning("%s has no training documents: it can be scored, not trained on", name)
        return
    if not any(document.entities for document in splits["train"]):
        wanted = f" of {', '.join(info.types)}" if info else ""
        raise CorpusError(
            f"{name}: none of its {len(splits['train'])} training documents holds a mention{wanted}; "
            f"check the annotations and their type names"
        )


def _warn_of_own(
    name: str, splits: Mapping[str, Sequence[Document]], ledgers: Mapping[str, Ledger], types: Sequence[str]
) -> None:
    """Tell what is likely wrong in a user's own corpus: mentions that become no labels, and names of types."""
    ledger = sum(ledgers.values(), Ledger())
    if ledger.read - ledger.kept > NOTABLE_LOSS * ledger.read:
        causes = ", ".join(f"{count} {cause}" for cause, count in ledger.dropped.most_common())
        mostly = ledger.dropped[NOT_ALIGNABLE] > ledger.dropped.total() / 2
        remedy = "; are the offsets those of characters?" if mostly else ""
        logger.warning("%s: of %d mentions, %d become no labels (%s)%s", name, ledger.read,
                       ledger.read - ledger.kept, causes, remedy)  # fmt: skip
    folded = Counter(map(str.casefold, types))
    if alike := [own for own in types if folded[own.casefold()] > 1]:
        logger.warning("%s: the types %s differ in case only, and are learned apart", name, ", ".join(alike))
    trained = {entity.type for document in splits["train"] for entity in document.entities}
    if splits["train"] and (others := [own for own in types if own not in trained]):
        logger.warning("%s: %s has no training mention, so nothing will find it", name, ", ".join(others))


def with_dev_in_train(corpus: LoadedCorpus) -> LoadedCorpus:
    """The corpus with its development documents among those of training, and no development split.

    Those of a user's corpus whose ids are ids of training documents too (row numbers of each file) get others.
    """
    train, dev = corpus.splits["train"], corpus.splits["dev"]
    taken = {document.document_id for document in train} if corpus.info is None else set()
    dev = [replace(doc, document_id=f"dev {doc.document_id}") if doc.document_id in taken else doc for doc in dev]
    splits = {**corpus.splits, "train": train + dev, "dev": []}
    together = corpus.ledgers["train"] + corpus.ledgers["dev"]
    return replace(corpus, splits=splits, ledgers={**corpus.ledgers, "train": together, "dev": Ledger()})


def without_documents(corpus: LoadedCorpus, split: str, document_ids: Iterable[str], cause: str) -> LoadedCorpus:
    """The corpus without some documents of a split; their mentions are counted under `cause` in its ledger."""
    gone = set(document_ids)
    dropped = [document for document in corpus.splits[split] if document.document_id in gone]
    losses = sum(len(doc.entities) - label_words(doc, corpus.word_pattern)[2].total() for doc in dropped)
    old = corpus.ledgers[split]
    ledger = replace(old, documents=old.documents - len(dropped), dropped=old.dropped.copy(), types=old.types.copy())
    if losses:
        ledger.dropped[cause] += losses
    kept = [document for document in corpus.splits[split] if document.document_id not in gone]
    return replace(corpus, splits={**corpus.splits, split: kept}, ledgers={**corpus.ledgers, split: ledger})
