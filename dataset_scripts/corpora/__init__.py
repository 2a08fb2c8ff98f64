"""The registered corpora, one module each. To add one: copy `ncbi.py`, describe your corpus in it, list it here."""

import difflib

from dataset_scripts.corpora import bc2gm, bc5cdr, genia, jnlpba, ncbi
from dataset_scripts.corpus import Corpus
from dataset_scripts.schema import CorpusError


CORPORA = {module.CORPUS.name: module.CORPUS for module in (ncbi, bc5cdr, bc2gm, jnlpba, genia)}


def list_corpora() -> tuple[str, ...]:
    """List the names of the registered corpora."""
    return tuple(CORPORA)


def get_corpus(name: str) -> Corpus:
    """Return the description of a registered corpus; raise CorpusError for an unknown name, offering the nearest."""
    if name in CORPORA:
        return CORPORA[name]
    near = difflib.get_close_matches(name.lower(), CORPORA, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    problem = f"unknown corpus {name!r}; {hint}registered are {', '.join(CORPORA)}"
    raise CorpusError(f"{problem}; a corpus of your own is given by its path, such as ./{name}")
