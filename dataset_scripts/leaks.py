"""The same text in a training and a held-out split, within a corpus and across corpora.

Multi-task training mixes corpora, so a training sentence of one can be a test sentence of another. A training document
leaks if a held-out document has its id, or if a sentence of at least `MIN_WORDS` words of one stands, word for word,
in the other. Words are compared as runs of letters and digits, case folded, so that spaces, punctuation and tokenised
text make no difference. What leaks is the whole training document. On the four real corpora that is precise: nearly
every pair found is one abstract or sentence in two corpora, and the only formula of that length in several abstracts
is a copyright notice, which is left aside. 1 document of NCBI leaks, 2 of BC5CDR, 31 of BC2GM and 32 of JNLPBA.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dataset_scripts.bio import split_sentences

from .registry import LoadedCorpus, base_id, get_corpus, list_corpora, without_documents
from .schema import CorpusError, Document


logger = logging.getLogger(__name__)

MODES = ("drop", "warn", "error")
MIN_WORDS = 6
MAX_USES = 3  # a sentence in more texts, training or held-out ones, is a formula ("discharged in stable condition")
LEAK = "leak"
_WORD = re.compile(r"[^\W_]+")
_NOTICES = ("copyright",)  # "Copyright 1998 by The American Society of Hematology." ends many abstracts

Words = tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """Training documents of one corpus that are held-out text of one split of a corpus.

    Attributes:
        train, held_out: corpus names.
        split: `dev` or `test` of `held_out`.
        by: "id" or "text"; a document found by its id is not counted again by its text.
        document_ids: of the training documents.
        mentions: distinct mentions in them.
    """

    train: str
    held_out: str
    split: str
    by: str
    document_ids: tuple[str, ...]
    mentions: int

    def as_dict(self) -> dict[str, object]:
        """The form of `run.json`; five ids are shown as examples."""
        return {
            "train": self.train,
            "held_out": self.held_out,
            "split": self.split,
            "by": self.by,
            "documents": len(self.document_ids),
            "mentions": self.mentions,
            "examples": list(self.document_ids[:5]),
        }

    def __str__(self) -> str:
        return (
            f"{len(self.document_ids)} training document(s) of {self.train}, such as {self.document_ids[0]}, found by "
            f"{self.by} in the {self.split} split of {self.held_out}"
        )


def find_leaks(
    train: Mapping[str, Sequence[Document]], held_out: Mapping[str, Mapping[str, Sequence[Document]]]
) -> list[Leak]:
    """Which documents of `train` are held-out text.

    Args:
        train: documents by corpus.
        held_out: by corpus, then split (`dev`, `test`). A registered name tells which ids can be compared; those of
            any other corpus are compared within it only, and count only if one text has four fifths of the other's
            words, since a user's ids may just be row numbers.
    """
    kept = {(corpus, split): documents for corpus, splits in held_out.items() for split, documents in splits.items()}
    by_id = set(_same_id(train, kept))
    by_text = set(_same_text(train, kept)) - by_id
    leaks = [*_grouped(train, by_id, "id"), *_grouped(train, by_text, "text")]
    return sorted(leaks, key=lambda leak: (leak.train, leak.held_out, leak.split, leak.by))


def drop_leaks(
    corpora: Mapping[str, LoadedCorpus], mode: str = "drop", others: Mapping[str, LoadedCorpus] | None = None
) -> tuple[dict[str, LoadedCorpus], list[Leak], list[Leak]]:
    """Check the training documents of all chosen corpora against their held-out ones.

    Args:
        corpora: by source; the dict is not changed.
        mode: "drop" takes the leaking documents out of training and counts their mentions as "leak" in the ledger,
            "warn" only says so, "error" raises.
        others: corpora that are not trained on: nothing of theirs is dropped, but their held-out text is kept out of
            training, and what is a formula is counted over their training text too, so that a corpus keeps the same
            documents whichever of them it is trained with.

    Returns:
        The corpora, the leaks, and the same of development documents that are test text, which are only reported.

    Raises:
        CorpusError: unknown mode, or a leak with `mode="error"`.
    """
    if mode not in MODES:
        raise CorpusError(f"unknown mode of the leak check {mode!r}; one of {', '.join(MODES)} is needed")
    known = {**corpora, **(others or {})}

    def found(own: str, held_out: Sequence[str]) -> list[Leak]:
        ours = {name: corpus.splits[own] for name, corpus in known.items()}
        theirs = {name: {split: corpus.splits[split] for split in held_out} for name, corpus in known.items()}
        return [leak for leak in find_leaks(ours, theirs) if leak.train in corpora]

    leaks, overlaps = found("train", ("dev", "test")), found("dev", ("test",))
    if leaks and mode == "error":
        raise CorpusError(f"training text is held-out text: {'; '.join(map(str, leaks))}; --leaks drop takes it out")
    for leak in leaks:
        logger.warning("%s%s", leak, "; dropped from training" if mode == "drop" else "; kept (--leaks warn)")
    for overlap in overlaps:
        logger.warning("%s; kept", str(overlap).replace("training", "development", 1))
    return (_without(corpora, leaks) if mode == "drop" else dict(corpora)), leaks, overlaps


def _without(corpora: Mapping[str, LoadedCorpus], leaks: Iterable[Leak]) -> dict[str, LoadedCorpus]:
    gone: dict[str, set[str]] = defaultdict(set)
    for leak in leaks:
        gone[leak.train].update(leak.document_ids)
    return {
        name: without_documents(corpus, "train", gone[name], LEAK) if gone[name] else corpus
        for name, corpus in corpora.items()
    }


# (corpus, document id of the training document; corpus, split of the held-out one)
Pair = tuple[str, str, str, str]
Held = Mapping[tuple[str, str], Sequence[Document]]


def _grouped(train: Mapping[str, Sequence[Document]], pairs: Iterable[Pair], by: str) -> Iterator[Leak]:
    found: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for corpus, document_id, held_out, split in pairs:
        found[corpus, held_out, split].add(document_id)
    for (corpus, held_out, split), ids in found.items():
        leaking = [document for document in train[corpus] if document.document_id in ids]
        mentions = sum(len(document.entities) for document in leaking)
        yield Leak(corpus, held_out, split, by, tuple(document.document_id for document in leaking), mentions)


def _same_id(train: Mapping[str, Sequence[Document]], held_out: Held) -> Iterator[Pair]:
    by_key: dict[tuple[str, str], list[tuple[str, str, Document]]] = defaultdict(list)
    for (corpus, split), documents in held_out.items():
        for document in documents:
            by_key[_key(corpus, document)].append((corpus, split, document))
    for corpus, documents in train.items():
        for document in documents:
            for held_corpus, split, held in by_key.get(_key(corpus, document), ()):
                if corpus in list_corpora() or _alike(document, held):
                    yield corpus, document.document_id, held_corpus, split


def _key(corpus: str, document: Document) -> tuple[str, str]:
    """Id space and id: equal keys mean the same document."""
    if corpus not in list_corpora():
        return f"own {corpus}", document.document_id
    info = get_corpus(corpus)
    return info.id_space, base_id(document.document_id) if info.numbered else document.document_id


def _alike(first: Document, second: Document) -> bool:
    ours, theirs = set(_words(first.text)), set(_words(second.text))
    return len(ours & theirs) >= 0.8 * min(len(ours), len(theirs)) > 0


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.casefold()))


@dataclass(frozen=True)
class _Text:
    """A document as it is compared: where it stands, all its words, and its sentences long enough to tell a text."""

    place: tuple[str, ...]
    words: Words
    sentences: tuple[Words, ...]


def _prepared(place: tuple[str, ...], document: Document) -> _Text:
    sentences = (_words(document.text[start:end]) for start, end in split_sentences(document.text))
    telling = (words for words in sentences if len(words) >= MIN_WORDS and words[0] not in _NOTICES)
    return _Text(place, _words(document.text), tuple(telling))


def _same_text(train: Mapping[str, Sequence[Document]], held_out: Held) -> Iterator[Pair]:
    """Documents of the same words; and both ways a sentence of one, if it is no formula, inside the other."""
    ours = [_prepared((corpus, doc.document_id), doc) for corpus, documents in train.items() for doc in documents]
    theirs = [_prepared(place, doc) for place, documents in held_out.items() for doc in documents]
    by_words = defaultdict(list)
    for text in theirs:
        by_words[text.words].append(text.place)
    for text in ours:
        for place in by_words[text.words] if len(text.words) >= MIN_WORDS else ():
            yield (*text.place, *place)
    formulas = _formulas(ours) | _formulas(theirs)
    ours, theirs = _without_formulas(ours, formulas), _without_formulas(theirs, formulas)
    for (corpus, document_id), (held_corpus, split) in _containing(ours, theirs):
        yield corpus, document_id, held_corpus, split
    for (held_corpus, split), (corpus, document_id) in _containing(theirs, ours):
        yield corpus, document_id, held_corpus, split


def _formulas(texts: Iterable[_Text]) -> set[Words]:
    """Sentences of more than `MAX_USES` texts; one text that several corpora annotate counts once."""
    distinct = {text.words: text.sentences for text in texts}
    uses = Counter(sentence for sentences in distinct.values() for sentence in set(sentences))
    return {sentence for sentence, count in uses.items() if count > MAX_USES}


def _without_formulas(texts: Iterable[_Text], formulas: Collection[Words]) -> list[_Text]:
    return [replace(text, sentences=tuple(s for s in text.sentences if s not in formulas)) for text in texts]


def _containing(wholes: Iterable[_Text], parts: Iterable[_Text]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The places of every (whole, part) of which a sentence of the part stands in the whole.

    Sentences are indexed by their first words and their length; each run of as many words of a whole is looked up.
    """
    places: dict[Words, list[tuple[str, ...]]] = defaultdict(list)
    lengths: dict[Words, set[int]] = defaultdict(set)
    for part in parts:
        for sentence in part.sentences:
            places[sentence].append(part.place)
            lengths[sentence[:MIN_WORDS]].add(len(sentence))
    for whole in wholes:
        words = whole.words
        for start in range(len(words) - MIN_WORDS + 1):
            for length in lengths.get(words[start : start + MIN_WORDS], ()):
                for place in places.get(words[start : start + length], ()):
                    yield whole.place, place
