"""JSON of annotation tools: each form by hand, told by its keys; what is refused, left out and written."""

import json
import logging
from pathlib import Path

import pytest
from format_tools import describe, error_of
from toys import collect, put, read_jsonl

from dataset_scripts import formats
from dataset_scripts.formats import read_any
from dataset_scripts.formats.tagged_tokens import build_tagged_document
from dataset_scripts.formats.tags import TagReader
from dataset_scripts.schema import Document, Entity, ReadOptions


TEXT = "Aspirin may cause asthma."
TOKENS = ["Aspirin", "may", "cause", "asthma", "."]
TAGS = ["B-Chemical", "O", "O", "B-Disease", "O"]
TRIPLES = [[0, 7, "Chemical"], [18, 24, "Disease"]]
SPANS = [{"start": start, "end": end, "label": name} for start, end, name in TRIPLES]
VALUES = [{"start": start, "end": end, "text": TEXT[start:end], "labels": [name]} for start, end, name in TRIPLES]
RESULT = [{"type": "labels", "from_name": "ner", "to_name": "t", "value": value} for value in VALUES]
RESULT += [{"type": "relation", "from_id": "a", "to_id": "b"}, {"type": "choices", "to_name": "t", "value": {}}]
BIOC = {
    "id": "9",
    "passages": [
        {"offset": 0, "text": "Title.", "annotations": []},
        {"offset": 7, "sentences": [
            {"offset": 7, "text": TEXT, "annotations": [
                {"infons": {"type": name}, "text": TEXT[start:end],
                 "locations": [{"offset": start + 7, "length": end - start}]} for start, end, name in TRIPLES
            ]},
        ]},
    ],
}  # fmt: skip
PARAGRAPH = {"sentences": [{"tokens": [
    {"orth": token, "ner": tag}
    for token, tag in zip(TOKENS, ["U-Chemical", "-", "O", "B-Disease", "L-Disease"], strict=True)
]}]}  # fmt: skip


def read(tmp_path: Path, *records: object, name: str = "c.jsonl", options: ReadOptions | None = None) -> list[tuple]:
    path = put(tmp_path / name, "".join(f"{json.dumps(record)}\n" for record in records))
    return [describe(raw) for raw in read_any(path, *filter(None, [options]))]


def found(document_id: str, text: str = TEXT, shift: int = 0) -> tuple:
    return (
        document_id,
        text,
        f"1:{shift}-{7 + shift} Chemical Aspirin",
        f"1:{18 + shift}-{24 + shift} Disease asthma",
    )


FORMS = [
    ({"id": 1, "text": TEXT, "label": TRIPLES, "Comments": []}, found("1")),  # doccano, its versions, with relations
    ({"id": 1, "data": TEXT, "labels": TRIPLES}, found("1")),
    ({"id": 3, "text": TEXT, "relations": [], "Comments": [],
      "entities": [{"id": 0, "start_offset": s, "end_offset": e, "label": name} for s, e, name in TRIPLES]},
     found("3")),
    ({"text": TEXT, "spans": SPANS, "tokens": [{"text": "Aspirin", "start": 0}], "meta": {"id": "m"}}, found("m")),
    ({"id": 4, "data": {"title": "No", "body": TEXT}, "annotations": [{"id": 1, "result": RESULT}]}, found("4")),
    ({"id": 4, "data": {"text": TEXT, "document_id": "pmid"}, "completions": [{"result": RESULT}]}, found("pmid")),
    ({"id": 5, "text": TEXT, "a": VALUES[:1], "b": VALUES[1:], "annotator": 1, "annotation_id": 8}, found("5")),
    ([TEXT, {"entities": TRIPLES}], found("c-1")),
    ({"text": TEXT, "entities": TRIPLES}, found("c-1")),
    ({"text": TEXT, "entities": SPANS}, found("c-1")),
    ({"text": TEXT, "ents": SPANS, "tokens": [{"id": 0}]}, found("c-1")),
    ({"classes": [], "annotations": [[TEXT, {"entities": TRIPLES}], None]}, found("c-1")),
    ({"id": 6, "paragraphs": [PARAGRAPH | {"raw": "Aspirin  may cause\nasthma."}]},
     ("6", "Aspirin  may cause\nasthma.", "1:0-7 Chemical Aspirin", "1:19-26 Disease asthma.")),
    ({"id": 6, "paragraphs": [PARAGRAPH]},
     ("6", "Aspirin may cause asthma .", "1:0-7 Chemical Aspirin", "1:18-26 Disease asthma .")),
    ({"tokenized_text": TOKENS, "ner": [[0, 0, "Chemical"], [3, 4, "Disease"]]},
     ("c-1", "Aspirin may cause asthma .", "1:0-7 Chemical Aspirin", "1:18-26 Disease asthma .")),
    ({"id": "7", "tokens": TOKENS, "ner_tags": TAGS}, found("7", "Aspirin may cause asthma .")),
    ({"id": "7", "words": TOKENS, "labels": TAGS}, found("7", "Aspirin may cause asthma .")),
    ({"documents": [BIOC]}, found("9", f"Title.\n{TEXT}", 7)),
    ({"PubTator3": [BIOC]}, found("9", f"Title.\n{TEXT}", 7)),
    (BIOC, found("9", f"Title.\n{TEXT}", 7)),
]  # fmt: skip


@pytest.mark.parametrize("form", ["line", "list", "pretty"])
@pytest.mark.parametrize(("record", "expected"), FORMS)
def test_each_form_is_told_by_its_keys(tmp_path, caplog, record, expected, form):
    contents = {"line": json.dumps(record), "list": f"\ufeff\n[ {json.dumps(record)} ]\n",
                "pretty": json.dumps([record], indent=1)}  # fmt: skip
    (raw,) = read_any(put(tmp_path / ("c.jsonl" if form == "pretty" else "c.json"), contents[form]))
    line = raw.where.rpartition(":")[2]
    assert describe(raw) == tuple(part.replace("1:", f"{line}:", part[:2] == "1:") for part in expected)
    assert (line, caplog.messages) == ({"line": "1", "list": "2", "pretty": "2"}[form], [])


def test_every_record_of_a_list_has_its_line_and_number(tmp_path):
    records = [{"text": f"{n} gout", "label": [[2, 6, "D"]] if n else []} for n in range(3)]
    path = put(tmp_path / "c.json", "[" + ",\n\n".join(map(json.dumps, records)) + "]")
    assert [describe(raw) for raw in read_any(path)] == [
        ("c-1", "0 gout"), ("c-2", "1 gout", "3:2-6 D gout"), ("c-3", "2 gout", "5:2-6 D gout")
    ]  # fmt: skip


def test_a_mention_without_a_type_is_lost(tmp_path):
    for record in (
        {"text": TEXT, "entities": [{"start": 0, "end": 7, "type": "\u200b "}]},
        {"text": TEXT, "spans": [{"start": 0, "end": 7}]},
        {"text": TEXT, "x": [{"start": 0, "end": 7, "labels": []}]},
        {"text": TEXT, "label": [[0, 7, None]]},
    ):
        documents, ledger = collect(read_any(put(tmp_path / "c.json", json.dumps(record))))
        assert (documents[0].entities, ledger.dropped) == ([], {"no type": 1})


TASK = {"id": 2, "data": {"text": TEXT}}
LEFT_OUT = [
    ([{"text": "a", "answer": "accept"}, {"text": "b", "answer": "reject"}, {"text": "c", "answer": "ignore"},
      {"text": "d", "answer": "reject"}], ["a"], "not accepted, or repeated, are left out (1 ignore, 2 reject)"),
    ([{"text": "a", "_input_hash": 1, "_session_id": name} for name in "xy"], ["a"], "(1 repeated)"),
    ([TASK | {"annotations": [{"result": RESULT, "was_cancelled": True}]}, TASK | {"predictions": []},
      TASK | {"annotations": [{"result": []}], "predictions": [{"result": RESULT}]}], [TEXT], "such tasks (2) are"),
    ([{"text": TEXT, "entities": [{"start": 0, "end": 7, "type": "Chemical", "score": 0.5}]}], [TEXT],
     "entities with a score are predictions (1); as training or test data they count as gold"),
    ([{"tokens": ["a"], "ner_tags": ["I-X"]}], ["a"], "1 mention beginning with an inner tag (I, E or L;"),
    ([{"tokens": ["a"], "ner_tags": ["O"]}, {"tokens": ["b"], "ner_tags": ["O"], "x": ["B-X"]}], ["a", "b"],
     "1: the mentions are read from ner_tags, not from x (mentions, too); choose with --tag_column"),
    ([{"text": TEXT, "a\n\x1b" + "b" * 300: [[0]]}], [TEXT], "no entities, but a\\n\\x1b" + "b" * 193 + "; 1 such"),
    ([[TEXT, {"spans": {"sc": TRIPLES}}], [TEXT, {"entities": TRIPLES}]], [TEXT, TEXT],
     "1: spans are not read, only entities (1 record)"),
    ([{"text": TEXT, "label": TRIPLES, "spans": SPANS}], [TEXT], "in the form of Prodigy; its keys also fit doccano"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "texts", "warning"), LEFT_OUT)
def test_what_is_left_out_or_doubtful_is_told_once(tmp_path, caplog, records, texts, warning):
    with caplog.at_level(logging.WARNING):
        assert [document[1] for document in read(tmp_path, *records)] == texts
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}/c.jsonl:") and warning in message


def test_the_annotation_marked_as_ground_truth_is_read(tmp_path):
    annotations = [{"result": []}, {"result": RESULT, "ground_truth": True}]
    assert read(tmp_path, TASK | {"annotations": annotations}) == [found("2")]


REFUSED = [
    ([TASK | {"annotations": [{"result": []}] * 2}], 1, "task 2 has 2 annotations, of which none alone is marked as"),
    ([TASK | {"annotations": [3]}], 1, "annotations holds [3]; expected objects, not their ids alone"),
    ([TASK | {"annotations": [{"result": [{"type": "hypertextlabels"}]}]}], 1, "hypertextlabels of task 2 are no"),
    ([TASK | {"data": {"a": "x", "b": "y"}, "annotations": [{"result": []}]}], 1, "which key is the text"),
    ([TASK | {"annotations": [{"result": [{"type": "labels", "to_name": n} for n in "ab"]}]}], 1,
     "labels of several texts (['a', 'b']) in one task"),
    ([{"data": [], "annotations": [{}]}, TASK | {"annotations": []}], 1, "the task {'data': [], 'annotations': [{}]}"),
    ([{"id": 1, "text": TEXT, "label": VALUES}] * 2, 2, "a second annotation of task 1 (the first: PATH:1)"),
    ([{"text": "a", "_input_hash": 1}, {"text": "a", "_input_hash": 1, "spans": SPANS}], 2,
     "another answer to the input of PATH:1 (the same _input_hash); keep the records of one annotator"),
    ([{"text": "a", "spans": SPANS}, {"text": "b", "label": TRIPLES}], 2,
     "a record in the form of doccano, where PATH:1 has the form of Prodigy; put them into files of their own"),
    ([{"text": TEXT, "label": TRIPLES}, {"text": TEXT, "label": ["positive"]}], 2, "mention 'positive'; expected"),
    ([{"text": TEXT, "spans": [{"start": 0, "end": 7.0, "label": "x"}]}], 1, "mention {'start': 0, 'end': 7.0"),
    ([{"text": TEXT, "label": [[0, 7, ["x"]]]}], 1, "the type ['x']; expected a string"),
    ([{"text": TEXT, "label": [[0, 7, "x\ny"]]}], 1, "the type 'x\\ny'; expected a string"),
    ([{"tokens": ["a"], "ner_tags": [3]}], 1, "ner_tags holds numbers without the names of the tags; write the names"),
    ([{"tokens": ["a"], "ner_tags": ["X"]}], 1, "'X' is no tag; expected O, B-TYPE"),
    ([{"tokens": ["a"], "tags": ["O"], "labels": ["O"]}], 1, "the tags may be in tags or labels; choose with"),
    ([{"tokenized_text": ["a"]}], 1, "no ner beside tokenized_text; expected a list, empty for no mention"),
    ([{"tokens": ["a"], "ner_tags": []}], 1, "1 tokens, but 0 tags; each token needs one"),
    ([{"tokenized_text": ["a"], "ner": [["a", "X"]]}], 1, "mention ['a', 'X']; expected [first token, last"),
    ([{"documents": [{"id": 1}]}], 1, "{'id': 1}; expected a document with id and passages"),
    ([{"id": "1", "passages": [{"offset": True, "text": ""}]}], 1, "offset True; expected a whole number"),
    ([{"id": "1", "passages": [3]}], 1, "passages holds [3]; expected objects"),
    ([{"paragraphs": [{"sentences": [{"tokens": [{}]}]}]}], 1, "the paragraph {'sentences'"),
    ([{"a": 1}], 1, "the keys ['a']; expected text and entities, or a record in the form of this project, BioC JSON"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "line", "message"), REFUSED)
def test_what_is_of_no_form_is_refused(tmp_path, records, line, message):
    path = put(tmp_path / "c.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))
    error = error_of(read_any, path)
    assert error.startswith(f"{path}:{line}: {message.replace('PATH', str(path))}") and "\n" not in error


@pytest.mark.parametrize(("content", "message"), [
    ('[{"text": "a", "label": []}', ":1: expected , or ] behind an element of the list; is the file complete?"),
    ('[{"text": "a", "label": []},\n', ":2: the list has no end; is the file complete?"),
    ('[{"text": "a", "label": []}]\n[]', ":2: text behind the list; remove it"),
    ('{"text": "a",\n "text": "b"}', ":1: invalid JSON (the key 'text' twice)"),
    ('{"text": "a"}\n{"text": }', ":2: invalid JSON (Expecting value: line 1 column 10 (char 9)); expected one"),
])  # fmt: skip
def test_broken_json_is_refused_with_its_line(tmp_path, content, message):
    path = put(tmp_path / "c.json", content)
    assert error_of(read_any, path).startswith(f"{path}{message}")


def test_columns_are_chosen_by_name(tmp_path):
    record = {"tokens": ["a", "b"], "lower": ["x", "y"], "ner_tags": ["O", "O"], "fine": ["U-A", "B-B"]}
    options = ReadOptions(tag_column="fine", token_column="lower")
    assert read(tmp_path, record, options=options) == [("c-1", "x y", "1:0-1 A x", "1:2-3 B y")]
    message = "the keys ['tokens', 'lower', 'ner_tags', 'fine']; expected lists under tokens and pos"
    assert message in error_of(lambda path: read_any(path, ReadOptions(tag_column="pos")), tmp_path / "c.jsonl")


@pytest.mark.parametrize(("tags", "mentions"), [
    ("B-X I-X O B-X B-X", ["0-3 X a b", "6-7 X d", "8-9 X e"]),
    ("I-X I-X I-Y O B-Y", ["0-3 X a b", "4-5 Y c", "8-9 Y e"]),
    ("B-X E-X S-X B-X I-X", ["0-3 X a b", "4-5 X c", "6-9 X d e"]),
    ("B-X I-X L-X U-X U-Y", ["0-5 X a b c", "6-7 X d", "8-9 Y e"]),
    ("B I O B O", ["0-3 Entity a b", "6-7 Entity d"]),
])  # fmt: skip
def test_tags_of_every_scheme_become_mentions(tags, mentions):
    raw = build_tagged_document("1", list("abcde"), tags.split(), "f:1", TagReader("f"))
    assert describe(raw) == ("1", "a b c d e", *(f"1:{mention}" for mention in mentions))


def bioc_file(*offsets: tuple[int, int], text: str = "gout") -> str:
    """A document of two passages for each pair: an offset of a mention of gout in the title, and in the abstract."""
    passage = (
        "<passage><offset>{}</offset><text>{}</text><annotation><infon key='type'>D</infon><location offset='{}' "
    )
    passage += f"length='4'/><text>{text}</text></annotation></passage>"
    documents = (
        f"<document><id>{n}</id>{passage.format(0, 'My gout.', a)}{passage.format(9, 'A gout.', b)}</document>\n"
        for n, (a, b) in enumerate(offsets)
    )
    return f"<collection>{''.join(documents)}</collection>"


@pytest.mark.parametrize(("offsets", "abstract", "warning"), [
    ([(3, 11), (3, 11)], [11, 11], None),
    ([(3, 2), (3, 2)], [11, 11], "BioC passages whose annotation offsets count from the passage, not from the "
     "document: all 2 annotations that can tell fit their texts only so, and the file is read so"),
    ([(3, 11), (3, 2)], [11, 2], "annotations (1) fit their texts only if their offsets count from the passage;"),
    ([(3, 2), (3, 11)], [2, 11], "annotations (1) fit their texts only if their offsets count from the passage;"),
])  # fmt: skip
def test_offsets_that_count_from_their_passage_are_told(tmp_path, caplog, offsets, abstract, warning):
    path = put(tmp_path / "c.xml", bioc_file(*offsets))
    assert [raw.mentions[1].spans[0][0] for raw in read_any(path)] == abstract
    assert [warning in message for message in caplog.messages] == [True] * bool(warning)


def test_parts_of_a_composite_mention_are_lost_and_offsets_below_0_are_for_the_ledger(tmp_path):
    def annotate(*spans: tuple[int, int], **infons: str) -> dict:
        locations = [{"offset": offset, "length": length} for offset, length in spans]
        return {"infons": {"type": "D", **infons}, "locations": locations}

    part = {"CompositeRole": "IndividualMention"}
    annotations = [annotate((0, 11)), annotate((0, 4), **part), annotate((0, 1), (5, 6), **part), annotate((-1, 3))]
    record = {"id": "1", "passages": [{"offset": 0, "text": "A and B flu", "annotations": annotations}]}
    (raw,) = read_any(put(tmp_path / "c.json", json.dumps(record)))
    assert [(m.spans, m.lost) for m in raw.mentions] == [
        (((0, 11),), ""), (((0, 4),), "nested"), (((0, 1), (5, 11)), "discontinuous"), (((-1, 2),), "")
    ]  # fmt: skip


def test_bioc_annotations_without_location_are_no_mentions(tmp_path, caplog):
    places = [{"infons": {"type": "CID"}}, {"infons": {"type": "D"}, "text": "Aspirin", "locations": []}]
    record = {"id": "1", "passages": [{"offset": 0, "text": TEXT, "annotations": places}], "annotations": places}
    assert read(tmp_path, record, name="c.biocjson") == [("1", TEXT)]
    (message,) = caplog.messages
    assert "without a location, is no mention; such annotations (2) are skipped" in message


GOLD = Document("pmid 1", TEXT, [Entity(*triple) for triple in TRIPLES])
WRITTEN = {
    "doccano": [{"document_id": "pmid 1", "text": TEXT, "label": TRIPLES}],
    "prodigy": [{"text": TEXT, "spans": SPANS, "meta": {"document_id": "pmid 1"}}],
    "gliner": [{"document_id": "pmid 1", "tokenized_text": TOKENS, "ner": [[0, 0, "Chemical"], [3, 3, "Disease"]]}],
    "label-studio": [{"data": {"text": TEXT, "document_id": "pmid 1"}, "annotations": [{"result": [
        {"id": f"T{n}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}
        for n, value in enumerate(VALUES, 1)
    ]}]}],
    "bioc_json": {"source": "MTL-BioNER", "date": "", "key": "", "infons": {}, "documents": [
        {"id": "pmid 1", "infons": {}, "annotations": [], "relations": [], "passages": [
            {"offset": 0, "infons": {}, "text": TEXT, "sentences": [], "relations": [], "annotations": [
                {"id": f"T{n}", "infons": {"type": name}, "text": TEXT[start:end],
                 "locations": [{"offset": start, "length": end - start}]}
                for n, (start, end, name) in enumerate(TRIPLES, 1)
            ]},
        ]},
    ]},
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_writers_literally_and_back(tmp_path, name):
    path = tmp_path / "c.json"
    getattr(formats, f"write_{name.replace(chr(45), chr(95))}")([GOLD], path)
    lines = name in ("doccano", "prodigy")
    assert (read_jsonl(path) if lines else json.loads(path.read_text())) == WRITTEN[name]
    (raw,) = read_any(path)
    assert (raw.document_id, [(*mention.spans[0], mention.type) for mention in raw.mentions]) == (
        "pmid 1", [(0, 7, "Chemical"), (18, 24, "Disease")]
    )  # fmt: skip
    getattr(formats, f"write_{name.replace(chr(45), chr(95))}")([], path)
    assert list(read_any(path)) == []


def test_predictions_for_label_studio_are_no_annotations(tmp_path, caplog):
    documents = [Document("1", TEXT, [Entity(0, 7, "Chemical", score=0.5), Entity(18, 24, "Disease", score=0.25)])]
    formats.write_label_studio([*documents, Document("2", "None.")], tmp_path / "c.json")
    first, second = json.loads((tmp_path / "c.json").read_text())
    assert [(task["annotations"], task["predictions"][0].get("score")) for task in (first, second)] == [
        ([], 0.25),
        ([], None),
    ]
    assert [result["score"] for result in first["predictions"][0]["result"]] == [0.5, 0.25]
    assert list(read_any(tmp_path / "c.json")) == []
    assert "such tasks (2) are left out" in caplog.text


def test_other_programs_read_our_bioc_json_and_we_theirs(tmp_path):
    biocjson = pytest.importorskip("bioc.biocjson")
    formats.write_bioc_json([GOLD], tmp_path / "ours.json")
    with open(tmp_path / "ours.json", encoding="utf-8") as file:
        collection = biocjson.load(file)
    assert [(a.text, a.infons, a.total_span.offset) for a in collection.documents[0].passages[0].annotations] == [
        ("Aspirin", {"type": "Chemical"}, 0), ("asthma", {"type": "Disease"}, 18)
    ]  # fmt: skip
    with open(tmp_path / "theirs.json", "w", encoding="utf-8") as file:
        biocjson.dump(collection, file)
    assert [describe(raw) for raw in read_any(tmp_path / "theirs.json")] == [found("pmid 1")]
