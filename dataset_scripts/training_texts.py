"""Record the texts that a model is trained on, as hashes, and find documents among them later.

The record holds neither text nor ids. A document of a registered corpus was trained on if its id was, or its text: the
whole, or a sentence that `leaks.py` would compare. Ids of a user's own corpus may be row numbers, and they may be
private: they count, and are hashed, only together with the whole text.
"""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from dataset_scripts.corpora import CORPORA
from dataset_scripts.leaks import MIN_WORDS, Documents, Place, Words, find_formulas, get_key, prepare_text
from dataset_scripts.schema import Document


VERSION = 1
HASH_SIZE = 6  # bytes; among 60,000 hashes, one in five billion sentences is found by chance

Hashes = frozenset[bytes]


@dataclass(frozen=True)
class TrainingTexts:
    """Hashes of the documents and sentences that a model was trained on."""

    ids: Hashes = frozenset()
    texts: Hashes = frozenset()  # of whole documents and of sentences
    complete: bool = True  # False if an earlier training of the model kept no record

    def __or__(self, other: "TrainingTexts") -> "TrainingTexts":
        return TrainingTexts(self.ids | other.ids, self.texts | other.texts, self.complete and other.complete)

    def as_dict(self) -> dict[str, object]:
        """Return the form of `training_texts.json`: sorted hashes, joined, as base64 without slashes."""
        joined = {"ids": b"".join(sorted(self.ids)), "texts": b"".join(sorted(self.texts))}
        encoded = {name: base64.urlsafe_b64encode(hashes).decode() for name, hashes in joined.items()}
        return {"version": VERSION, "complete": self.complete, **encoded}

    @classmethod
    def from_dict(cls, content: Mapping[str, object]) -> "TrainingTexts":
        """Read what `as_dict` returned; raise ValueError for anything else."""
        try:
            joined = [base64.b64decode(content[name], b"-_", validate=True) for name in ("ids", "texts")]
            version, complete = content["version"], content["complete"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of training texts ({error!r})") from error
        if version != VERSION or any(len(hashes) % HASH_SIZE for hashes in joined):
            raise ValueError(f"a record of training texts of version {version!r}, not {VERSION}, or a damaged one")
        return cls(*map(_split_hashes, joined), complete is True)


def _split_hashes(joined: bytes) -> Hashes:
    return frozenset(joined[start : start + HASH_SIZE] for start in range(0, len(joined), HASH_SIZE))


def collect_training_texts(train: Documents, used: Collection[Place]) -> TrainingTexts:
    """Hash the documents that are used (corpus and document id) of all training documents by corpus.

    The others count only for formulas, which `leaks.py` finds in whole training splits too.
    """
    placed = [((corpus, document.document_id), document) for corpus in train for document in train[corpus]]
    prepared = [prepare_text(*item) for item in placed]
    formulas = find_formulas(prepared)
    ids, texts = set(), set()
    for (place, document), (_, words, sentences) in zip(placed, prepared, strict=True):
        if place in used:
            ids.add(_hash_id(place[0], document, words))
            texts |= _hash_texts(words, sentences, formulas)
    return TrainingTexts(frozenset(ids), frozenset(texts))


def find_trained(record: TrainingTexts, held_out: Mapping[str, Documents]) -> dict[Place, dict[str, str]]:
    """Find the held-out documents (by corpus, then split) that a model was trained on.

    Returns:
        By corpus and split: how each of these documents was found, "id" or "text", by document id.
    """
    placed = [((name, split), doc) for name, splits in held_out.items() for split in splits for doc in splits[split]]
    prepared = [prepare_text(*item) for item in placed]
    formulas = find_formulas(prepared)
    trained: dict[Place, dict[str, str]] = defaultdict(dict)
    for (place, document), (_, words, sentences) in zip(placed, prepared, strict=True):
        has_id = _hash_id(place[0], document, words) in record.ids
        has_text = not record.texts.isdisjoint(_hash_texts(words, sentences, formulas))
        if has_text and place[0] not in CORPORA:  # a user's file may have the ids of a registered corpus
            has_id |= any(_hash(info.id_space, document.document_id) in record.ids for info in CORPORA.values())
        if has_id or has_text:
            trained[place][document.document_id] = "id" if has_id else "text"
    return trained


def _hash_id(corpus: str, document: Document, words: Words) -> bytes:
    if corpus in CORPORA:
        return _hash(*get_key(corpus, document))
    return _hash("own", document.document_id, *words)


def _hash_texts(words: Words, sentences: Iterable[Words], formulas: Collection[Words]) -> set[bytes]:
    whole = [words] if len(words) >= MIN_WORDS else []
    return {_hash(*text) for text in (*whole, *(s for s in sentences if s not in formulas))}


def _hash(*parts: str) -> bytes:
    return hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=HASH_SIZE).digest()
