"""Biomedical NER corpora as documents with character spans; `python -m dataset_scripts` shows and exports them.

These are modules to import, not Hub loading scripts, which `datasets` dropped in version 4.
"""

from dataset_scripts.corpora import get_corpus, list_corpora
from dataset_scripts.corpus import Corpus
from dataset_scripts.leaks import Leak, drop_leaks, find_leaks
from dataset_scripts.loading import LoadedCorpus, file_ledgers, hash_corpus, load_corpus, with_dev_in_train
from dataset_scripts.schema import CorpusError, Document, Entity, Ledger


__all__ = [
    "Corpus", "CorpusError", "Document", "Entity", "Leak", "Ledger", "LoadedCorpus", "drop_leaks", "file_ledgers",
    "find_leaks", "get_corpus", "hash_corpus", "list_corpora", "load_corpus", "with_dev_in_train",
]  # fmt: skip
