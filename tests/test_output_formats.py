"""What each output format keeps of the input, and that other programs read the entities that the pipeline finds."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import put, read_jsonl

import mtl_bioner
from dataset_scripts.convert import convert
from dataset_scripts.formats import read_any
from mtl_bioner.annotation.engine import Annotated, annotate_documents
from mtl_bioner.annotation.readers import Inputs
from mtl_bioner.annotation.sinks import write_part
from mtl_bioner.annotation.sources import find_sources
from mtl_bioner.annotation.tables import ColumnOptions


PUBMED = Path(__file__).parents[1] / "../shared/pubmed"
GOUT = {"start": 0, "end": 4, "type": "Disease", "text": "Gout", "score": 0.75, "task": "ncbi"}


def read_inputs(*paths: Path) -> list[Any]:
    columns = ColumnOptions(keep_extra=False)
    return list(Inputs(find_sources(list(map(str, paths)), columns, Path("out")), columns))


# ---------------------------------------------------------------------------------------------------------- structure

BIOC = """<collection><document><id>7</id><infon key="license">CC0</infon>
<passage><infon key="type">title</infon><infon key="section_type">TITLE</infon><offset>0</offset><text>Gout.</text>
<annotation id="1"><infon key="type">Disease</infon><infon key="MESH">D006073</infon>
<location offset="0" length="4"/><text>Gout</text></annotation></passage>
<passage><infon key="type">abstract</infon><offset>6</offset><text>Acute and old gout hurts.</text>
<annotation id="2"><infon key="type">Disease</infon><location offset="6" length="5"/><location offset="20" length="4"/>
<text>Acute gout</text></annotation></passage>
</document></collection>"""
BIOC_JSON = {"id": "7", "passages": [
    {"offset": 0, "infons": {"type": "title", "section_type": "TITLE"}, "text": "Gout.", "annotations": [
        {"id": "1", "infons": {"type": "Disease", "MESH": "D006073"}, "text": "Gout",
         "locations": [{"offset": 0, "length": 4}]}]},
    {"offset": 6, "infons": {"type": "abstract"}, "text": "Acute and old gout hurts.", "annotations": [
        {"id": "2", "infons": {"type": "Disease"}, "text": "Acute gout",
         "locations": [{"offset": 6, "length": 5}, {"offset": 20, "length": 4}]}]},
]}  # fmt: skip


@pytest.fixture(params=["xml", "json"])
def bioc_input(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A document of two passages and two annotations, one of them of two spans."""
    content = BIOC if request.param == "xml" else json.dumps({"documents": [BIOC_JSON]})
    (document,) = read_inputs(put(tmp_path / f"in.{request.param}", content))
    return document


def write(document: Any, tmp_path: Path, to: str) -> Path:
    """Write the document with two entities of the model, the second across both passages."""
    across = {**GOUT, "start": 3, "end": 8, "type": "Gene", "score": 0.5}
    return write_part([Annotated(document, [GOUT, across])], tmp_path / "out", 0, to)


PREDICTED = {"id": "T3", "infons": {"type": "Disease", "score": 0.75, "task": "ncbi"}, "text": "Gout",
             "locations": [{"offset": 0, "length": 4}]}  # fmt: skip
ACROSS = {"id": "T4", "infons": {"type": "Gene", "score": 0.5, "task": "ncbi"}, "text": "t.\nAc",
          "locations": [{"offset": 3, "length": 5}]}  # fmt: skip


def test_bioc_keeps_passages_and_annotations(bioc_input, tmp_path):
    (document,) = json.loads(write(bioc_input, tmp_path, "bioc-json").read_text())["documents"]
    title, abstract = BIOC_JSON["passages"]
    expected = {**title, "annotations": [{**title["annotations"][0], "id": "T1"}, PREDICTED]}
    others = {"sentences": [], "relations": []}
    assert document["passages"] == [
        {**expected, **others},
        {**abstract, "annotations": [{**abstract["annotations"][0], "id": "T2"}], **others},
    ]
    assert document["annotations"] == [ACROSS]
    (of_xml,) = read_any(write(bioc_input, tmp_path, "bioc"))
    (of_json,) = read_any(tmp_path / "out/part-00000.json")
    assert of_xml.passages == of_json.passages == bioc_input.passages
    assert [(one.spans, one.type, one.infons) for one in of_xml.mentions] == [
        (((0, 4),), "Disease", {"MESH": "D006073"}),
        (((0, 4),), "Disease", {"score": "0.75", "task": "ncbi"}),
        (((6, 11), (20, 24)), "Disease", None),
        (((3, 8),), "Gene", {"score": "0.5", "task": "ncbi"}),
    ]


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("brat", "T1\tDisease 0 4\tGout\n#1\tAnnotatorNotes T1\tMESH=D006073\nT2\tDisease 6 11;20 24\tAcute gout\n"
         "T3\tDisease 0 4\tGout\n#3\tAnnotatorNotes T3\tscore=0.75 task=ncbi\n"
         "T4\tGene 3 8\tt. Ac\n#4\tAnnotatorNotes T4\tscore=0.5 task=ncbi\n"),
        ("csv", 'document_id,text,start,end,type,mention,score,task\n'
         '7,"Gout.\nAcute and old gout hurts.",0,4,Disease,Gout,,\n7,,6,24,Disease,Acute and old gout,,\n'
         '7,,0,4,Disease,Gout,0.75,ncbi\n7,,3,8,Gene,"t.\nAc",0.5,ncbi\n'),
        ("pubtator", "7|t|Gout.\n7|a|Acute and old gout hurts.\n"
         "7\t0\t4\tGout\tDisease\t-\n7\t3\t8\tt. Ac\tGene\t-\n\n"),
    ],
)  # fmt: skip
def test_other_formats_keep_annotations_where_scores_tell_them_apart(bioc_input, tmp_path, to, expected):
    path = write(bioc_input, tmp_path, to)
    assert (path / "7.ann" if to == "brat" else path).read_text() == expected


def test_jsonl_states_passages_and_annotations(bioc_input, tmp_path):
    (line,) = read_jsonl(write(bioc_input, tmp_path, "jsonl"))
    assert list(line) == ["document_id", "text", "passages", "input_entities", "entities"]
    assert line["passages"] == [
        {"start": 0, "end": 5, "infons": {"type": "title", "section_type": "TITLE"}},
        {"start": 6, "end": 31, "infons": {"type": "abstract"}},
    ]
    assert line["input_entities"] == [
        {"start": 0, "end": 4, "type": "Disease", "text": "Gout", "infons": {"MESH": "D006073"}},
        {"start": 6, "end": 24, "type": "Disease", "text": "Acute gout", "spans": [[6, 11], [20, 24]]},
    ]


@pytest.mark.parametrize(
    ("name", "content", "passages"),
    [
        ("7.pubtator", "7|t|Gout.\n7|a|It hurts.\n7\t0\t4\tGout\tDisease\tD006073\n\n",
         [("title", 0, "Gout."), ("abstract", 6, "It hurts.")]),
        ("7.xml", "<PubmedArticle><MedlineCitation><PMID>7</PMID><Article><ArticleTitle>Gout.</ArticleTitle><Abstract>"
         "<AbstractText>One.</AbstractText><AbstractText Label='B'>Two.</AbstractText></Abstract></Article>"
         "</MedlineCitation></PubmedArticle>", [("title", 0, "Gout."), ("abstract", 6, "One."),
                                                ("abstract", 11, "B: Two.")]),
        ("7.nxml", "<article><front><article-meta><title-group><article-title>Gout.</article-title></title-group>"
         "</article-meta></front><body><sec><title>Aim</title><p>We looked.</p></sec></body></article>",
         [("title", 0, "Gout."), ("heading", 6, "Aim"), ("paragraph", 10, "We looked.")]),
        ("7.txt", "Gout.\nIt hurts.", [(None, 0, "Gout.\nIt hurts.")]),
    ],
)  # fmt: skip
def test_passages_of_other_formats_reach_bioc(tmp_path, name, content, passages):
    (document,) = read_inputs(put(tmp_path / name, content))
    path = write_part([Annotated(document, [])], tmp_path / "out", 0, "bioc-json")
    (written,) = json.loads(path.read_text())["documents"]
    assert [(one["infons"].get("type"), one["offset"], one["text"]) for one in written["passages"]] == passages
    stated = [annotation["infons"] for one in written["passages"] for annotation in one["annotations"]]
    assert stated == ([{"type": "Disease", "identifier": "D006073"}] if name == "7.pubtator" else [])


def test_a_title_of_two_lines_is_the_title_in_pubtator(tmp_path):
    (document,) = read_inputs(put(tmp_path / "in.xml", BIOC.replace(">Gout.<", ">Gou\n.<")))
    path = write_part([Annotated(document, [])], tmp_path / "out", 0, "pubtator")
    assert path.read_text() == "7|t|Gou .\n7|a|Acute and old gout hurts.\n\n"


def test_awkward_annotations_of_the_input_spoil_nothing(tmp_path):
    odd = [5, {"start": 0}, {"start": 0, "end": 99, "type": "D"}, {"start": 0, "end": 1, "type": "\ud800"},
           {"spans": [[1e999, 2]], "type": "D"},
           {"start": 0, "end": 4, "type": "D", "infons": {'"<\ud800': [1]}}]  # fmt: skip
    put(tmp_path / "in.jsonl", json.dumps({"document_id": "7", "text": "Gout.", "entities": odd}))
    (document,) = read_inputs(tmp_path / "in.jsonl")
    for to in ("jsonl", "bioc", "bioc-json", "brat", "csv"):
        path = write_part([Annotated(document, [])], tmp_path / to, 0, to)
        if to != "jsonl":
            (read,) = read_any(path)
            assert [(one.spans, one.type) for one in read.mentions] == [(((0, 4),), "D")]


# ------------------------------------------------------------------------------------------------------ other programs

Found = set[tuple[str, int, int, str, str]]  # document, start, end, type and text of each entity


@pytest.fixture(scope="module")
def ner(trained: Path) -> Any:
    return mtl_bioner.load(trained, overlaps="by_type")


@pytest.fixture(scope="module")
def annotated(ner: Any) -> list[Annotated]:
    """The documents of ../shared/pubmed, cut, with the entities of the toy model."""
    if not PUBMED.is_dir():
        pytest.skip("needs ../shared/pubmed")
    documents = read_inputs(PUBMED)
    for document in documents:
        document.passages = [passage for passage in document.passages if passage.end <= 2_000]
        document.text = document.text[: document.passages[-1].end]
    return annotate_documents(ner, documents)


@pytest.fixture(scope="module")
def output(annotated: list[Annotated], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`output("csv")` is a folder with the documents in two parts."""
    folder = tmp_path_factory.mktemp("formats")

    def make(to: str) -> Path:
        if not (folder / to).exists():
            write_part(annotated[:2], folder / to, 0, to)
            write_part(annotated[2:], folder / to, 1, to)
        return folder / to

    return make


def find(annotated: list[Annotated], change: Callable[[str], str] = str) -> Found:
    return {(one.document.document_id, e["start"], e["end"], e["type"], change(e["text"]))
            for one in annotated for e in one.entities}  # fmt: skip


def find_in_rows(rows: Any) -> Found:
    return {(row["document_id"], e["start"], e["end"], e["type"], e["text"]) for row in rows for e in row["entities"]}


def find_in_table(rows: Any) -> Found:
    return {tuple(row[name] for name in ("document_id", "start", "end", "type", "mention")) for row in rows}


@pytest.mark.parametrize("to", ["bioc", "bioc-json"])
def test_bioc_reads_our_bioc(annotated, output, to):
    reader = pytest.importorskip("bioc.biocxml" if to == "bioc" else "bioc.biocjson")
    found: Found = set()
    for path in output(to).iterdir():
        with path.open(encoding="utf-8") as file:
            documents = reader.load(file).documents
        for document in documents:
            for passage in [*document.passages, document]:
                for annotation in passage.annotations:
                    span = annotation.total_span
                    found.add((document.id, span.offset, span.end, annotation.infons["type"], annotation.text))
    assert found == find(annotated) and len(found) > 100
    assert [(one.offset, one.infons["type"], one.text) for one in documents[-1].passages] == [
        (start, infons["type"], annotated[-1].document.text[start:end])
        for start, end, infons in annotated[-1].document.passages
    ]


def test_bioc_reads_our_pubtator(annotated, output):
    pubtator = pytest.importorskip("bioc.pubtator")
    documents = [one for path in sorted(output("pubtator").iterdir()) for one in pubtator.loads(path.read_text())]
    assert [one.text for one in documents[:2]] == [
        re.sub("(?<!^)\n", " ", one.document.text.replace("\n", "\0", 1)).replace("\0", "\n") for one in annotated[:2]
    ]
    found = {(one.pmid, e.start, e.end, e.type, e.text) for one in documents for e in one.annotations}
    assert {(name, int(start), int(end), *rest) for name, start, end, *rest in found} == find(
        annotated, lambda text: text.replace("\n", " ")
    )


def test_bioc_reads_our_brat(annotated, output):
    brat = pytest.importorskip("bioc.brat")
    documents = [one for folder in output("brat").iterdir() for one in brat.listdir(folder)]
    assert {one.id: one.text for one in documents} == {
        one.document.document_id: one.document.text for one in annotated
    }
    assert {(one.id, *e.total_span, e.type, e.text) for one in documents for e in one.entities} == find(
        annotated, lambda text: text.replace("\n", " ")
    )
    assert all(re.fullmatch(r"score=0\.\d+ task=\w+", note.text) for one in documents for note in one.notes)


def test_pandas_reads_our_tables(annotated, output):
    import pandas

    tables = [pandas.read_csv(path, dtype={"document_id": str}, keep_default_na=False, na_values={"score": ""})
              for path in output("csv").iterdir()]  # fmt: skip
    assert find_in_table(pandas.concat(tables).to_dict("records")) == find(annotated)
    lines = [pandas.read_json(path, lines=True, dtype={"document_id": str}) for path in output("jsonl").iterdir()]
    assert find_in_rows(pandas.concat(lines).to_dict("records")) == find(annotated)
    assert find_in_rows(pandas.read_parquet(output("parquet")).to_dict("records")) == find(annotated)


@pytest.mark.parametrize("to", ["jsonl", "parquet", "csv"])
def test_datasets_reads_our_parts(annotated, output, tmp_path, to):
    from datasets import Value, load_dataset

    files, cache = str(output(to) / f"part-*.{to}"), str(tmp_path)
    options = {"keep_default_na": False, "na_values": {"score": [""]}} if to == "csv" else {}
    rows = load_dataset({"jsonl": "json"}.get(to, to), data_files=files, split="train", cache_dir=cache, **options)
    rows = rows.cast_column("document_id", Value("string"))
    assert (find_in_table if to == "csv" else find_in_rows)(rows) == find(annotated)


def test_spacy_reads_our_jsonl_as_docbin(ner, annotated, tmp_path):
    spacy = pytest.importorskip("spacy")
    documents = [one.document for one in annotated[1:]]
    longest = annotate_documents(ner, documents, overlaps="longest")
    path = write_part(longest, tmp_path, 0, "jsonl")
    convert(path, tmp_path / "part.spacy", "spacy")
    docs = spacy.tokens.DocBin().from_disk(tmp_path / "part.spacy").get_docs(spacy.blank("en").vocab)
    found = {
        (doc.user_data["document_id"], e.start_char, e.end_char, e.label_, e.text) for doc in docs for e in doc.ents
    }
    assert found == find(longest) and found
