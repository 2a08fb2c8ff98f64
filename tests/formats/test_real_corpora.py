"""The readers on the corpora as their owners publish them; skipped where they are not (see `shared/corpora`)."""

import logging
from collections import Counter
from pathlib import Path

import pytest
from toys import collect

from dataset_scripts.formats import read_any, read_brat, read_conll
from dataset_scripts.schema import CorpusError


CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
pytestmark = pytest.mark.skipif(not CORPORA.is_dir(), reason="shared/corpora is not here")
ALTERNATIVES = {"bc2gm/bc2geneMention/train/train.in": 14499, "bc2gm/BC2GM/test/test.in": 5068}
CDR = "bc5cdr/CDR_Data/CDR.Corpus.v010516/CDR_{}Set.PubTator.txt"

NCBI_TRAIN = {"SpecificDisease": 2972, "Modifier": 1289, "DiseaseClass": 769, "CompositeMention": 115}
JNLPBA_TRAIN = {"protein": 30269, "DNA": 9533, "cell_type": 6718, "cell_line": 3830, "RNA": 951}
JNLPBA_TEST = {"protein": 5067, "cell_type": 1921, "DNA": 1056, "cell_line": 500, "RNA": 118}


# Columns: place, documents, mentions read, types (None: not published), dropped, warnings.
@pytest.mark.parametrize(("place", "documents", "read", "types", "dropped", "warnings"), [
    ("ncbi_disease/NCBItrainset_corpus.txt", 592, 5145, NCBI_TRAIN, {"duplicate document": 11}, 2),
    ("ncbi_disease/NCBIdevelopset_corpus.txt", 100, 787, None, {}, 0),
    ("ncbi_disease/NCBItestset_corpus.txt", 100, 960, None, {}, 0),
    (CDR.format("Training"), 500, 9383, {"Chemical": 5201, "Disease": 4182}, {}, 0),
    (CDR.format("Development"), 500, 9591, {"Chemical": 5347, "Disease": 4244}, {}, 0),
    (CDR.format("Test"), 500, 9796, {"Chemical": 5372, "Disease": 4424}, {}, 0),
    ("bc5cdr/CDR_sample.txt", 50, 925, None, {}, 0),
    ("bc2gm/bc2geneMention/train/train.in", 15000, 18265, {"GENE": 18265}, {}, 1),  # of 4 mentions, 3 in ALTGENE
    ("bc2gm/BC2GM/test/test.in", 5000, 6331, {"GENE": 6331}, {}, 0),
    ("jnlpba/standoff/train", 2000, 51301, JNLPBA_TRAIN, {}, 0),
    ("jnlpba/standoff/test", 404, 8662, JNLPBA_TEST, {}, 0),
    ("jnlpba/original-data/test/Genia4EReval2.iob2", 404, 8662, JNLPBA_TEST, {}, 0),
])  # fmt: skip
def test_counts_are_the_published_ones(caplog, place, documents, read, types, dropped, warnings):
    with caplog.at_level(logging.WARNING):
        raws = list(read_any(CORPORA / place))
        kept, ledger = collect(raws)
    assert (len(kept), ledger.documents, ledger.read) == (documents, documents, read)
    assert ledger.dropped == Counter(dropped)
    assert ledger.kept + sum(dropped.values()) == read
    assert types is None or ledger.types == Counter(types)
    assert len(caplog.records) == warnings
    assert sum(len(raw.alternatives) for raw in raws) == ALTERNATIVES.get(place, 0)
    assert place not in ALTERNATIVES or all(len(raw.group) == 8 and raw.group.isdigit() for raw in raws)


def test_jnlpba_iob2_says_what_the_standoff_says():
    """The same mentions in order, but for spaces and quotes; second documents of an id are numbered alike."""

    def mentions(raws):
        by_document = {}
        for document in collect(raws)[0]:
            texts = (document.text[e.start : e.end] for e in document.entities)
            plain = (text.replace("``", '"').replace("''", '"').replace(" ", "") for text in texts)
            by_document[document.document_id] = list(zip(plain, (e.type for e in document.entities), strict=True))
        return by_document

    iob2 = mentions(read_conll(CORPORA / "jnlpba/original-data/test/Genia4EReval2.iob2"))
    standoff = mentions(read_brat(CORPORA / "jnlpba/standoff/test"))
    assert iob2 == standoff


def test_jnlpba_iob2_without_ids_has_the_same_mentions_a_sentence_a_document():
    documents, ledger = collect(read_any(CORPORA / "jnlpba/original-data/test/Genia4EReval1.iob2"))
    assert (documents[0].document_id, len(documents), ledger.read) == ("Genia4EReval1-1", 3856, 8662)


def test_the_raw_files_are_refused():
    with pytest.raises(CorpusError, match=r"Genia4EReval1.raw:1: 'Number'; expected a token and"):
        list(read_conll(CORPORA / "jnlpba/original-data/test/Genia4EReval1.raw"))
