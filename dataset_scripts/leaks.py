"""Find training documents whose text is also held out, within a corpus and across corpora.

A training document leaks if a held-out document has its id, or if a sentence of at least `MIN_WORDS` words in one
stands word for word in the other, whatever the case, spaces and punctuation. On the four real corpora nearly every
such pair is one abstract or sentence in two corpora; the only formula of that length in several abstracts, a copyright
notice, is ignored. 1 document of NCBI leaks, 2 of BC5CDR, 31 of BC2GM and 32 of JNLPBA.
"""

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataset_scripts.bio import split_sentences
from dataset_scripts.corpora import CORPORA
from dataset_scripts.corpus import strip_number
from dataset_scripts.formats.files import format_count
from dataset_scripts.loading import LoadedCorpus, drop_documents
from dataset_scripts.schema import CorpusError, Document


logger = logging.getLogger(__name__)

MODES = ("drop", "warn", "error")
MIN_WORDS = 6
MAX_USES = 3  # a sentence in more texts, training or held-out ones, is a formula ("discharged in stable condition")

_NOTICE = "copyright"  # "Copyright 1998 by The American Society of Hematology." ends many abstracts

Documents = Mapping[str, Sequence[Document]]  # by corpus, or by split
Words = tuple[str, ...]
Place = tuple[str, str]  # (corpus, document id) in training, (corpus, split) held out
Match = tuple[Place, Place]
PlacedDocument = tuple[Place, Document]
Text = tuple[Place, Words, list[Words]]  # all words of a document, and its sentences that can identify it


@dataclass(frozen=True)
class Leak:
    """Training documents of one corpus that are held-out text of one split of a corpus."""

    train: str  # a corpus
    held_out: str  # a corpus
    split: str  # "dev" or "test" of `held_out`
    by: str  # "id" or "text"; a document found by its id is not counted again by its text
    document_ids: tuple[str, ...]  # of the training documents
    mentions: int  # distinct ones in them

    def as_dict(self) -> dict[str, object]:
        """Return the form of `run.json`, with five ids as examples."""
        names = {"train": self.train, "held_out": self.held_out, "split": self.split, "by": self.by}
        counts = {"documents": len(self.document_ids), "mentions": self.mentions}
        return {**names, **counts, "examples": list(self.document_ids[:5])}

    def __str__(self) -> str:
        documents = f"{format_count(len(self.document_ids), 'training document')} of {self.train}"
        documents += f", such as {self.document_ids[0]}"
        return f"{documents}, found by {self.by} in the {self.split} split of {self.held_out}"


def drop_leaks(
    corpora: Mapping[str, LoadedCorpus], mode: str = "drop", others: Mapping[str, LoadedCorpus] | None = None
) -> tuple[dict[str, LoadedCorpus], list[Leak], list[Leak]]:
    """Check the training documents of all corpora against the held-out ones.

    Args:
        corpora: by source.
        mode: "drop" removes leaking documents from training and counts their mentions as "leak" in the ledger, "warn"
            only reports them, "error" raises CorpusError.
        others: corpora that are not trained on. Their held-out text is kept out of training, and their training text
            counts for formulas, so a corpus keeps the same documents whichever of them it is trained with.

    Returns:
        The corpora without leaks; the leaks; and development documents that are test text, which are only reported.
    """
    if mode not in MODES:
        raise CorpusError(f"unknown mode of the leak check {mode!r}; one of {', '.join(MODES)} is needed")
    splits = {name: corpus.splits for name, corpus in {**corpora, **(others or {})}.items()}

    def find(split: str, *held_out: str) -> list[Leak]:
        train = {name: documents[split] for name, documents in splits.items()}
        leaks = find_leaks(train, {name: {key: docs[key] for key in held_out} for name, docs in splits.items()})
        return [leak for leak in leaks if leak.train in corpora]

    leaks, overlaps = find("train", "dev", "test"), find("dev", "test")
    if leaks and mode == "error":
        raise CorpusError(f"training text is held-out text: {'; '.join(map(str, leaks))}; --leaks drop removes it")
    for leak in leaks:
        logger.warning("%s%s", leak, "; dropped from training" if mode == "drop" else "; kept (--leaks warn)")
    for overlap in overlaps:
        logger.warning("%s; kept", str(overlap).replace("training", "development", 1))
    cleaned = dict(corpora)
    for leak in leaks if mode == "drop" else ():
        cleaned[leak.train] = drop_documents(cleaned[leak.train], "train", leak.document_ids, "leak")
    return cleaned, leaks, overlaps


def find_leaks(train: Documents, held_out: Mapping[str, Documents]) -> list[Leak]:
    """Find the documents of `train` (by corpus) that are held-out text (by corpus, then split).

    Ids of registered corpora are compared within an id space. Ids of a user's own corpus may be row numbers: they are
    compared within it only, and count only if one text has four fifths of the other's words.
    """
    ours = [((name, doc.document_id), doc) for name, docs in train.items() for doc in docs]
    theirs = [((name, split), doc) for name, docs in held_out.items() for split in docs for doc in docs[split]]
    by_id = set(_match_ids(ours, theirs))
    by_text = set(_match_texts(ours, theirs)) - by_id
    leaks = [*_group_matches(train, by_id, "id"), *_group_matches(train, by_text, "text")]
    return sorted(leaks, key=lambda leak: (leak.train, leak.held_out, leak.split, leak.by))


def _group_matches(train: Documents, matches: Iterable[Match], by: str) -> Iterator[Leak]:
    document_ids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for (corpus, document_id), (held_corpus, split) in matches:
        document_ids[corpus, held_corpus, split].add(document_id)
    for (corpus, held_corpus, split), ids in document_ids.items():
        leaking = [document for document in train[corpus] if document.document_id in ids]
        mentions = sum(len(document.entities) for document in leaking)
        yield Leak(corpus, held_corpus, split, by, tuple(document.document_id for document in leaking), mentions)


def _match_ids(ours: Iterable[PlacedDocument], theirs: Iterable[PlacedDocument]) -> Iterator[Match]:
    by_key = defaultdict(list)
    for (corpus, split), document in theirs:
        by_key[get_key(corpus, document)].append(((corpus, split), document))
    for (corpus, document_id), document in ours:
        for held_place, held in by_key.get(get_key(corpus, document), ()):
            if corpus in CORPORA or _share_most_words(document, held):
                yield (corpus, document_id), held_place


def get_key(corpus: str, document: Document) -> tuple[str, str]:
    """Return id space and id; equal keys mean the same document."""
    if corpus not in CORPORA:
        return f"own {corpus}", document.document_id
    info = CORPORA[corpus]
    return info.id_space, strip_number(document.document_id) if info.numbered else document.document_id


def _share_most_words(first: Document, second: Document) -> bool:
    ours, theirs = set(_split_words(first.text)), set(_split_words(second.text))
    return len(ours & theirs) >= 0.8 * min(len(ours), len(theirs)) > 0


def _split_words(text: str) -> Words:
    return tuple(re.findall(r"[^\W_]+", text.casefold()))


def _match_texts(train: Iterable[PlacedDocument], held_out: Iterable[PlacedDocument]) -> Iterator[Match]:
    """Match documents of the same words, and, both ways, a sentence of one, if it is no formula, inside the other."""
    ours, theirs = ([prepare_text(*placed) for placed in documents] for documents in (train, held_out))
    by_words = defaultdict(list)
    for held_place, words, _ in theirs:
        by_words[words].append(held_place)
    yield from ((place, other) for place, words, _ in ours if len(words) >= MIN_WORDS for other in by_words[words])
    formulas = find_formulas(ours) | find_formulas(theirs)
    yield from _match_sentences(ours, theirs, formulas)
    yield from ((place, held_place) for held_place, place in _match_sentences(theirs, ours, formulas))


def prepare_text(place: Place, document: Document) -> Text:
    """Return a document's place, its words, and those of each sentence that is long enough to identify it."""
    sentences = (_split_words(document.text[start:end]) for start, end in split_sentences(document.text))
    long_ones = [words for words in sentences if len(words) >= MIN_WORDS and words[0] != _NOTICE]
    return place, _split_words(document.text), long_ones


def find_formulas(texts: Iterable[Text]) -> set[Words]:
    """Find the sentences of more than `MAX_USES` texts; a text that several corpora annotate counts once."""
    distinct = {words: sentences for _, words, sentences in texts}
    uses = Counter(sentence for sentences in distinct.values() for sentence in set(sentences))
    return {sentence for sentence, count in uses.items() if count > MAX_USES}


def _match_sentences(wholes: Iterable[Text], parts: Iterable[Text], formulas: Collection[Words]) -> Iterator[Match]:
    """Yield the places of every (whole, part) with a sentence of the part, formulas aside, in the whole."""
    places: dict[Words, list[Place]] = defaultdict(list)
    lengths: dict[Words, set[int]] = defaultdict(set)  # by the first words; each run of so many words is looked up
    for place, _, sentences in parts:
        for sentence in sentences:
            if sentence not in formulas:
                places[sentence].append(place)
                lengths[sentence[:MIN_WORDS]].add(len(sentence))
    for whole, words, _ in wholes:
        for start in range(len(words) - MIN_WORDS + 1):
            for length in lengths.get(words[start : start + MIN_WORDS], ()):
                for part in places.get(words[start : start + length], ()):
                    yield whole, part
