"""The grammar of `--tasks`, and what its errors say."""

import pytest

from dataset_scripts import CorpusError
from dataset_scripts.tasks import Source, Task, TaskSpec, infer_single_type, parse_tasks, resolve_tasks


TYPES = {
    "ncbi": ("Disease",),
    "bc5cdr": ("Chemical", "Disease"),
    "jnlpba": ("Protein", "DNA", "RNA", "CellType", "CellLine"),
    "./mine.jsonl": ("Disease", "Gene"),
}


def resolve(text: str) -> list[Task]:
    return resolve_tasks(parse_tasks(text), TYPES)


@pytest.mark.parametrize(("text", "name", "sources"), [
    ("ncbi", "ncbi", [Source("ncbi")]),
    ("bc5cdr:Disease", "bc5cdr-Disease", [Source("bc5cdr", ("Disease",))]),
    ("jnlpba:DNA|RNA", "jnlpba-DNA_RNA", [Source("jnlpba", ("DNA", "RNA"))]),
    ("ncbi+bc5cdr:Disease", "ncbi+bc5cdr-Disease", [Source("ncbi"), Source("bc5cdr", ("Disease",))]),
    ("disease=ncbi+bc5cdr:Disease", "disease", [Source("ncbi"), Source("bc5cdr", ("Disease",))]),
    ("mine=./corpus/", "mine", [Source("./corpus/")]),
    ("./corpus/", "corpus", [Source("./corpus/")]),
    ("../data/my_genes.jsonl.gz", "my_genes", [Source("../data/my_genes.jsonl.gz")]),
    ("genes.conll:Gene", "genes-Gene", [Source("genes.conll", ("Gene",))]),
    ("ncbi=/data/other.jsonl:Disease", "ncbi", [Source("/data/other.jsonl", ("Disease",))]),
    ("x=/data/a=b.jsonl", "x", [Source("/data/a=b.jsonl")]),
    ("/data/a=b/mine.jsonl", "mine", [Source("/data/a=b/mine.jsonl")]),  # this `=` names nothing
    ("~/corpus.txt", "corpus", [Source("~/corpus.txt")]),  # `load_corpus` expands it
])  # fmt: skip
def test_a_task_has_a_name_and_sources(text, name, sources):
    assert parse_tasks(text) == [TaskSpec(name, tuple(sources))]


def test_several_tasks_keep_their_order_and_may_have_spaces_around():
    specs = parse_tasks(" ncbi , chemical=bc5cdr:Chemical,bc5cdr:Disease,")
    assert [spec.name for spec in specs] == ["ncbi", "chemical", "bc5cdr-Disease"]


ERRORS = [
    ("", ["--tasks is empty", "--tasks ncbi,mine=./corpus.tsv"]),
    (",,", ["--tasks has no task between its commas"]),
    (" , ", ["--tasks has no task between its commas", "--tasks ncbi,mine=./corpus.tsv"]),
    ("ncbi,ncbi", ["--tasks names 'ncbi' twice", "other=ncbi"]),
    ("a=ncbi,a=bc5cdr", ["--tasks names 'a' twice", "other=bc5cdr"]),
    (r"C:\data\x.txt", [r"--tasks has the path 'C:\data\x.txt'", "change to its folder and write ./x.txt"]),
    ("ncbi,mine=d:/data/", ["--tasks has the path 'd:/data/'", "write ./data"]),
    ("a=ncbi+C:/x.tsv:Gene", ["--tasks has the path 'C:/x.tsv'", "write ./x.tsv"]),
    ("ncbi+", ["--tasks has 'ncbi+'", "[name=]source[:Type|Type][+source...]"]),
    ("mine=", ["--tasks has 'mine='", "[name=]source"]),
    ("ncbi:", ["--tasks has 'ncbi:'", ":Type|Type"]),
    ("jnlpba:DNA|", ["--tasks has 'jnlpba:DNA|'", ":Type|Type"]),
    (":Disease", ["--tasks has ':Disease'", "[name=]source"]),
    ("my task=ncbi", ["--tasks has the task name 'my task'", "letters, digits"]),
    ("=ncbi", ["--tasks has the task name ''", "letters, digits"]),
    ("macro=ncbi", ["--tasks has the task name 'macro'", "take another"]),
    ("micro=ncbi", ["--tasks has the task name 'micro'", "take another"]),
    ("a.b=ncbi", ["--tasks has the task name 'a.b'", "letters, digits"]),  # ModuleDict takes no dots
    ("bc5cdr:Diseases", ["task bc5cdr-Diseases", "does not annotate 'Diseases'", "did you mean 'Disease'?"]),
    ("bc5cdr:disease", ["'disease'", "did you mean 'Disease'?", "its types are Chemical, Disease"]),
    ("jnlpba:celltype", ["'celltype'", "did you mean 'CellType'?"]),
    ("jnlpba:dna", ["'dna'", "did you mean 'DNA'?"]),
    ("ncbi:Species", ["ncbi does not annotate 'Species'", "its types are Disease"]),
    # every source of a task has to annotate all of its types, else their mentions would be taught as O
    ("ncbi+bc5cdr", ["ncbi does not annotate Chemical", "the common types: ncbi:Disease+bc5cdr:Disease"]),
    ("d=bc5cdr:Disease+./mine.jsonl", ["task d", "bc5cdr does not annotate Gene", "another source"]),
]


@pytest.mark.parametrize(("text", "parts"), ERRORS)
def test_errors_name_the_value_and_the_remedy(text, parts):
    with pytest.raises(CorpusError) as raised:
        resolve(text)
    message = str(raised.value)
    assert "\n" not in message and ("did you mean" in message) == ("did you mean" in str(parts))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(("text", "tasks"), [
    ("ncbi", [Task("ncbi", ("Disease",), ("ncbi",))]),
    ("bc5cdr", [Task("bc5cdr", ("Chemical", "Disease"), ("bc5cdr",))]),
    ("jnlpba:RNA|DNA", [Task("jnlpba-RNA_DNA", ("RNA", "DNA"), ("jnlpba",))]),
    ("disease=ncbi+bc5cdr:Disease", [Task("disease", ("Disease",), ("ncbi", "bc5cdr"))]),
    ("all=bc5cdr:Chemical+bc5cdr:Disease", [Task("all", ("Chemical", "Disease"), ("bc5cdr",))]),
    ("d=./mine.jsonl:Disease+ncbi", [Task("d", ("Disease",), ("./mine.jsonl", "ncbi"))]),
])  # fmt: skip
def test_types_and_corpora_of_a_task(text, tasks):
    assert resolve(text) == tasks


def test_the_remedy_names_the_common_types_if_there_are_any():
    types = {"ours": ("Chemical", "Disease"), "theirs": ("Disease", "Gene"), "genes": ("Gene",)}
    with pytest.raises(CorpusError, match=r"name the common types: ours:Disease\+theirs:Disease$"):
        resolve_tasks(parse_tasks("ours+theirs"), types)
    with pytest.raises(CorpusError, match="no type in common, so make a task of each$"):
        resolve_tasks(parse_tasks("ours+genes"), types)


@pytest.mark.parametrize(("tasks", "expected"), [
    ("gene=./a:Gene", "Gene"),
    ("./a:Gene,other=./a:Gene+./b:Gene", "Gene"),
    ("./a", None),
    ("./a:Gene|Disease", None),
    ("./a:Gene,./b:Disease", "Gene"),
    ("./a:Gene,other=./a:Disease", None),
])  # fmt: skip
def test_tags_without_a_type_are_of_the_only_type_taken_from_their_corpus(tasks, expected):
    assert infer_single_type(parse_tasks(tasks), "./a") == expected
