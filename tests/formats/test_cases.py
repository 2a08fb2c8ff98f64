"""Small files from public bug reports, in `../shared/cases`: each is read right, or refused with file and line."""

import logging
from pathlib import Path

import pytest
from format_tools import describe, error_of
from toys import collect

from dataset_scripts import load_corpus
from dataset_scripts.bio import label_words
from dataset_scripts.formats import read_any
from dataset_scripts.schema import ReadOptions


CASES = Path(__file__).parents[3] / "shared/cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases")


@pytest.mark.parametrize(("name", "message"), [
    ("conll_short_row/in.conll", "2: 'received VBD B-VP' has 3 columns, where PATH:1 has 4; give every row the same"),
    ("conll_two_words_space/in.conll", "2: 'Growth hormone _ O I-GENE' has 5 columns, where PATH:1 has 4; give every"),
])  # fmt: skip
def test_refused(name, message):
    path = CASES / name
    assert error_of(read_any, path).startswith(f"{path}:{message}".replace("PATH", str(path)))


def test_brat_pairs_may_lie_deeper_than_the_split():
    corpus = load_corpus(CASES / "brat_deeper/corpus")
    found = [[(e.type, d.text[e.start : e.end]) for d in corpus.splits[split] for e in d.entities]
             for split in ("train", "test")]  # fmt: skip
    assert found == [[("Organism", "Fleas"), ("Disease", "plague")], [("Organism", "Ticks")]]


def test_mentions_in_scripts_without_spaces_get_labels():
    corpus = load_corpus(CASES / "jsonl_cjk/in.jsonl", scoring_only=True)
    words, tags, lost = label_words(corpus.splits["test"][0])
    assert [(start, tag) for (start, _), tag in zip(words, tags, strict=True) if tag != "O"] == [
        (2, "B-Drug"), (3, "I-Drug"), (4, "I-Drug"), (8, "B-Disease"), (9, "I-Disease")]  # fmt: skip
    assert not lost


TEXT = "Aspirin may cause asthma."
TWO_LAYERS = "column 2 holds tags too (3 mentions of CHEM, GENE, ORG), and column 3 is read; --tag_column chooses"


@pytest.mark.parametrize(("name", "options", "documents", "dropped", "told"), [
    ("conll_space_in_token/in.conll", {}, [("in-1", "viaje a EE. UU. con asma .", "5:20-24 Disease asma")], {}, None),
    ("conll_two_layers/in.conll", {}, [("in-1", "Interleukin 2 of Harlan Farm", "4:17-28 PLACE Harlan Farm"),
                                       ("in-2", "Ibuprofen helps")], {}, TWO_LAYERS),
    ("conll_two_layers/in.conll", {"tag_column": "2"},
     [("in-1", "Interleukin 2 of Harlan Farm", "1:0-13 GENE Interleukin 2", "4:17-28 ORG Harlan Farm"),
      ("in-2", "Ibuprofen helps", "7:0-9 CHEM Ibuprofen")], {}, None),
    ("jsonl_doccano/in.jsonl", {}, [("1", TEXT, "1:0-7 Chemical Aspirin", "1:18-24 Disease asthma")], {}, None),
    ("jsonl_prodigy/in.jsonl", {}, [("in-1", TEXT, "1:0-7 Chemical Aspirin", "1:18-24 Disease asthma")], {},
     "records that are not accepted, or repeated, are left out (1 reject)"),
    ("jsonl_hf_tokens/in.jsonl", {},
     [("0", "Aspirin may cause asthma .", "1:0-7 Chemical Aspirin", "1:18-24 Disease asthma")], {}, None),
    ("bioc_odd_annotations/in.xml", {},
     [("5", "Beta blockers and low mood.", "6:0-13 Chemical Beta blockers", "7:18-18 Disease ", "8:18-26  low mood")],
     {"empty span": 1, "no type": 1},
     ["1 mention in 1 document without a visible character, dropped; the first is Disease 18-18 of document 5 (PATH",
      "1 mention in 1 document without a type, dropped; the first is ? 18-26 of document 5 (PATH:8)"]),
    ("pubtator_tab_in_mention/in.pubtator", {},
     [("7", "A dose of 20 mg\tday was given.\nNo more.", "3:10-19 Dose 20 mg\tday")], {}, None),
    ("pubtator_outside_text/in.pubtator", {},
     [("11", "Tick fever in dogs: a report.\n", "3:30-41 Chemical ", "4:0-10 Disease Tick fever",
       "5:14-18 Species dogs")],
     {"outside the text": 1},
     "1 mention in 1 document outside the document's text, dropped; the "
     "first is Chemical 30-41 of document 11 (PATH:3), whose text has 30 characters"),
])  # fmt: skip
def test_read(caplog, name, options, documents, dropped, told):
    with caplog.at_level(logging.WARNING):
        raws = list(read_any(CASES / name, ReadOptions(**options)))
        _, ledger = collect(raws)
    assert [describe(raw) for raw in raws] == documents
    assert dict(ledger.dropped) == dropped
    expected = [part.replace("PATH", str(CASES / name)) for part in ([told] if isinstance(told, str) else told or [])]
    assert len(caplog.messages) == len(expected)
    assert all(part in message for part, message in zip(expected, caplog.messages, strict=True)), caplog.messages
