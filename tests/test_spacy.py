"""The spaCy component: spans of all tasks, aligned to tokens, with their scores."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import spacy
from safetensors.torch import load_file
from spacy.tokens import DocBin, Span

import mtl_bioner
from mtl_bioner.annotation.spacy_component import EntityComponent


TEXT = "Gout, anti-TNF and 5FU."
FOUND = [("ncbi", "Disease", 0, 4, 0.9), ("bc5cdr", "Disease", 0, 4, 0.8), ("bc5cdr", "Chemical", 20, 22, 0.7)]


class Stub:
    """Stands for a pipeline."""

    model = SimpleNamespace(config=SimpleNamespace(task_names=["ncbi", "bc5cdr"]))

    def __call__(self, texts: str | Iterable[str]) -> Any:
        if not isinstance(texts, str):
            return (self(text) for text in texts)
        keys = ("task", "entity_group", "start", "end", "score")
        return [dict(zip(keys, one, strict=True)) for one in FOUND] if texts == TEXT else []


@pytest.fixture
def nlp() -> Any:
    nlp = spacy.blank("en")
    component = nlp.add_pipe("mtl_bioner", config={"model": "none"})
    assert isinstance(component, EntityComponent)
    component._ner = Stub()
    return nlp


def describe(spans: Iterable[Span]) -> list[tuple[Any, ...]]:
    return [(span.text, span.label_, span.id_, span._.score, span._.characters) for span in spans]


def test_spans_are_widened_to_tokens_and_keep_score_task_and_characters(nlp):
    doc = nlp(TEXT)
    assert describe(doc.spans["mtl_bioner"]) == [
        ("Gout", "Disease", "ncbi", 0.9, (0, 4)),
        ("5FU", "Chemical", "bc5cdr", 0.7, (20, 22)),
    ]
    assert describe(doc.spans["mtl_bioner/ncbi"]) == [("Gout", "Disease", "ncbi", 0.9, (0, 4))]
    assert [span._.score for span in doc.spans["mtl_bioner/bc5cdr"]] == [0.8, 0.7]
    assert describe(doc.ents) == describe(doc.spans["mtl_bioner"])
    assert doc[2:3]._.score is None and doc[2:3]._.characters is None


def test_entities_that_are_there_stay(nlp):
    nlp.add_pipe("entity_ruler", before="mtl_bioner").add_patterns([{"label": "RULE", "pattern": "Gout"}])
    assert [(span.text, span.label_) for span in nlp(TEXT).ents] == [("Gout", "RULE"), ("5FU", "Chemical")]
    nlp.get_pipe("mtl_bioner").set_ents = False
    assert [span.text for span in nlp(TEXT).ents] == ["Gout"]


def test_streams_and_stored_documents_hold_the_same(nlp):
    docs = list(nlp.pipe([TEXT, "", "No entity.", TEXT], batch_size=2))
    assert [len(doc.spans["mtl_bioner"]) for doc in docs] == [2, 0, 0, 2]
    stored = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(stored).get_docs(nlp.vocab), strict=True):
        for group in ("mtl_bioner", "mtl_bioner/ncbi", "mtl_bioner/bc5cdr"):
            assert describe(again.spans[group]) == describe(doc.spans[group])


def test_a_saved_pipeline_works_without_the_folder_it_was_made_from(trained, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe(
        "mtl_bioner", config={"model": str(trained), "tasks": ["bc5cdr"], "overlaps": "all", "dtype": "float32"}
    )
    text = "Cisplatin caused acute renal failure in two patients."
    expected = mtl_bioner.load(trained, tasks=["bc5cdr"])(text)
    doc = nlp(text)
    found = describe(doc.spans["mtl_bioner"])
    assert [(*one[1:4], *one[4]) for one in found] == [
        (e["entity_group"], e["task"], e["score"], e["start"], e["end"]) for e in expected
    ]
    nlp.to_disk(tmp_path / "nlp")
    config = tmp_path / "nlp/config.cfg"
    config.write_text(config.read_text(encoding="utf-8").replace(str(trained), "gone"), encoding="utf-8")
    again = spacy.load(tmp_path / "nlp")
    doc = again(text)
    assert describe(doc.spans["mtl_bioner"]) == found
    assert again.get_pipe("mtl_bioner").dtype == "float32"


def test_weights_are_saved_as_they_are_also_if_they_are_rounded_in_use(trained, tmp_path):
    nlp = spacy.blank("en")
    nlp.add_pipe("mtl_bioner", config={"model": str(trained), "dtype": "bfloat16"})
    nlp(TEXT)
    nlp.to_disk(tmp_path / "nlp")
    weights = [load_file(f"{folder}/model.safetensors") for folder in (trained, tmp_path / "nlp/mtl_bioner/model")]
    assert weights[0].keys() == weights[1].keys()
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_bad_settings_are_told():
    nlp = spacy.blank("en")
    with pytest.raises(ValueError, match="overlaps is 'most'; choose one of all"):
        nlp.add_pipe("mtl_bioner", config={"model": "x", "overlaps": "most"})
    with pytest.raises(ValueError, match="mtl_bioner has no model; give config="):
        spacy.blank("en").add_pipe("mtl_bioner")(nlp.make_doc("Gout."))
