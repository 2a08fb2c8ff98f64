"""Biomedical NER corpora as documents with character spans.

    python -m dataset_scripts list
    python -m dataset_scripts stats --data_dir sample
    python -m dataset_scripts export ncbi --data_dir sample --to parquet --output exported

A script, not a Hub loading script: `datasets` dropped those in version 4, so these are modules to import.
"""

from .corpus import Corpus
from .leaks import Leak, drop_leaks, find_leaks
from .registry import LoadedCorpus, file_ledgers, get_corpus, hash_corpus, list_corpora, load_corpus, with_dev_in_train
from .schema import CorpusError, Document, Entity, Ledger


__all__ = [
    "Corpus",
    "CorpusError",
    "Document",
    "Entity",
    "Leak",
    "Ledger",
    "LoadedCorpus",
    "drop_leaks",
    "file_ledgers",
    "find_leaks",
    "get_corpus",
    "hash_corpus",
    "list_corpora",
    "load_corpus",
    "with_dev_in_train",
]
