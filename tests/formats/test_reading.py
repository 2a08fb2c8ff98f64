"""What the readers make of tiny files written by hand: documents, mentions with their places, losses, warnings."""

import gzip
import logging

import pytest
from format_tools import BC2GM, BIOC, GENIA, describe
from toys import collect, put

from dataset_scripts import formats
from dataset_scripts.formats import find_companion_files, is_corpus_path, read_any, read_bc2gm, read_brat
from dataset_scripts.formats.files import format_count


PUBTATOR = (
    "\n7|t|Gout and colic.\n7|a|Colic \u2028 hurts.\n"
    "7\t0\t4\tGout\tDisease\tD1\n"
    "7\t0\t14\tGout and colic\tDisease\tD1|D2\tgout|colic\n"
    "7\tCID\tD9\tD1\n"
    "7\tAssociation\t672\tD1\tNovel\n"
    "7\t16\t21\tColic\tDisease\n"
    "\n\nx-8|t|Empty\nx-8|a|\nx-8\t0\t5\tEmpty\tChemical\t-\t"
)
JNLPBA = "###MEDLINE:42\n\nIL-2\tB-DNA\ngene\tI-DNA\n\nNF\tB-x\nkB\tB-x\n\n\n###MEDLINE:42\n\nX\tO\n###MEDLINE:7\n"
JSONL = (
    '{"document_id": "a", "text": "x\\n\U0001f9ecy", "entities": [{"start": 2, "end": 3, "type": "T", "note": 1}]}\n'
    '\n{"document_id": 12, "text": ""}'
)


@pytest.mark.parametrize("form", ["plain", "crlf", "bom", "gzip", "all"])
@pytest.mark.parametrize(("name", "content", "documents", "dropped", "warnings"), [
    ("c.txt", PUBTATOR, [
        ("7", "Gout and colic.\nColic \u2028 hurts.",
         "4:0-4 Disease Gout", "5:0-14 Disease Gout and colic", "8:16-21 Disease Colic"),
        ("x-8", "Empty\n", "13:0-5 Chemical Empty"),
    ], {}, []),
    ("c.iob2", JNLPBA, [
        ("42", "IL-2 gene\nNF kB", "3:0-9 DNA IL-2 gene", "6:10-12 x NF", "7:13-15 x kB"),
        ("42", "X"),
    ], {}, []),
    ("c.jsonl", JSONL, [("a", "x\n\U0001f9ecy", "1:2-3 T \U0001f9ec"), ("12", "")], {}, []),
    ("c.xml", BIOC, [
        ("11", "Gout < 3\nOne and two.  End\u2028.", "6:0-4 Disease Gout", "9:9-12,17-20 Number One two"),
        ("12", "  x"),
    ], {"discontinuous": 1}, []),
    ("genia.xml", GENIA, [
        ("95369245", "IL-2 gene expression & it.\nCD2 and CD25  receptors bind. T cells grow\u2028\U0001f9ec.",
         "7:0-20 other_name IL-2 gene expression", "8:0-9 DNA_domain_or_region IL-2 gene",
         "11:27-50 (AND G#protein_molecule G#protein_molecule) CD2 and CD25  receptors",
         "14:57-64 cell_type T cells"),
        ("82055447", "A bare title\nloose One.", "17:2-6 H#thing bare"),
        ("genia-3", "None", "18:4-4 x "),
    ], {"coordination": 1, "empty span": 1}, ["FILE: 1 mention in 1 document without a visible character, "
                                              "dropped; the first is x 4-4 of document genia-3 (PATH:18)"]),
], ids=["pubtator", "conll", "jsonl", "bioc", "genia"])  # fmt: skip
def test_files_are_read_in_every_form(tmp_path, caplog, name, content, documents, dropped, warnings, form):
    content = content.replace("\n", "\r\n") if form in ("crlf", "all") else content
    data = content.encode("utf-8-sig" if form in ("bom", "all") else "utf-8")
    path = put(tmp_path / name, gzip.compress(data) if form in ("gzip", "all") else data)
    with caplog.at_level(logging.WARNING):
        raws = list(read_any(path))
        _, ledger = collect(raws)
    assert [describe(raw) for raw in raws] == documents
    assert raws[0].where == f"{path}:{ {'c.txt': 2, 'c.iob2': 3, 'c.jsonl': 1, 'c.xml': 4, 'genia.xml': 4}[name] }"
    assert (ledger.dropped, caplog.messages) == (dropped, [w.replace("PATH", str(path)) for w in warnings])


RELATIONS = "".join(f"1\t{name}\tD1\tD2\tNovel\n" for name in ("Positive_Correlation", "chemical-disease", "is a"))
CONLLU = "# newdoc id = d 5 \n# newpar\n# sent_id = 1\n#text = x\n# text_en = a = b\na\tO\n\n# newdoc\n#\tO\n=\tB-x\n"
EDGES = "Homo\tB-Species\u00a0\nsapiens\tI-Species\u200b\nMus\tB-\ufeffcell-line\u2009\n"
IOBES = "a S-x\nb S-x\nc B-x\nd I-x\ne E-x\nf B-x\ng E-x\nh B-y\ni O\n"
PASSAGE = (
    "<offset>0</offset><text>Gout hurts. So it is.</text><sentence><offset>0</offset><annotation>"
    '<infon key="type">Disease</infon><location offset="0" length="4"/></annotation></sentence>'
)
READ = [
    # pipes in a text; no blank line and no abstract; further and empty columns; relations; blanks around a type; CR
    ("c.pubtator", "1|t|a|t|b\n1|a|c\n1\t0\t5\ta|t|b\tX\t-\n", [("1", "a|t|b\nc", "3:0-5 X a|t|b")]),
    ("c.pubtator", "1|t|one\n2|t|two\n2|a|more\n2\t0\t3\ttwo\tX\n", [("1", "one"), ("2", "two\nmore", "4:0-3 X two")]),
    ("c.pubtator", "1|t|a\n1\t0\t1\ta\tX\t-\t-\tRS#:1\n1\t0\t1\ta\tY\t\t\t\n", [("1", "a", "2:0-1 X a", "3:0-1 Y a")]),
    ("c.pubtator", f"1|t|Gout\n{RELATIONS}1\t0\t4\tGout\tDisease\n", [("1", "Gout", "5:0-4 Disease Gout")]),
    ("c.pubtator", "1|t|mice x\n1\t0\t4\tmice\t Species \n1\t5\t6\tx\tcell\u00a0line\u200b\n",
     [("1", "mice x", "2:0-4 Species mice", "3:5-6 cell\u00a0line x")]),
    ("c.pubtator", "1|t|Gout\r\r\n1|a|x\r\n", [("1", "Gout\r\nx")]),
    # documents; sentence by sentence; schemes of tags; CoNLL-U
    ("train.tsv", "-DOCSTART- -X- O\n\na NN O\n\nb NN S-x\n\n-DOCSTART- O\n\nc NN O\n",
     [("train-1", "a\nb", "5:2-3 x b"), ("train-2", "c")]),
    ("dev.conll.gz", "a\tO\r\n\u00a0\x85\tB-x-y\r\n\t \r\nb\t\tO\r\n",
     [("dev-1", "a \u00a0\x85", "2:2-4 x-y \u00a0\x85"), ("dev-2", "b")]),
    ("c.iob", IOBES, [
        ("c-1", "a b c d e f g h i", "1:0-1 x a", "2:2-3 x b", "3:4-9 x c d e", "6:10-13 x f g", "8:14-15 y h")]),
    ("c.tsv", "a\tB\nb\tI\nc\tO\nd\tB\ne\tB\nf\tB-Gene\n",
     [("c-1", "a b c d e f", "1:0-3 Entity a b", "4:6-7 Entity d", "5:8-9 Entity e", "6:10-11 Gene f")]),
    ("c.conll", CONLLU, [("d 5", "a"), ("c-2", "# =", "10:2-3 x =")]),
    ("c.conll", "# sent_id = 1\n# text = p53 binds\np53\tB-Gene\n#\tO\nbinds\tO\n",
     [("c-1", "p53 # binds", "3:0-3 Gene p53")]),
    ("c.txt", "# sent_id = 1\np53\tB-Gene\n", [("c-1", "p53", "2:0-3 Gene p53")]),
    # invisible characters around a type; a second byte order mark; empty columns and padding; numbers as tokens
    ("c.conll", EDGES, [("c-1", "Homo sapiens Mus", "1:0-12 Species Homo sapiens", "3:13-16 cell-line Mus")]),
    ("c.conll", "\ufeffa\tO\n\ufeffb\tB-x\n", [("c-1", "a \ufeffb", "2:2-4 x \ufeffb")]),
    ("c.conll", "a\t\tO\nb\tNN\tO\n", [("c-1", "a b")]),
    ("c.conll", "a\tO\nb \t\tO\n", [("c-1", "a b")]),
    ("c.conll", "a\tNN\tO\nb\tNN\tO\t\n", [("c-1", "a b")]),
    ("c.conll", "1\tO\n2\tO\n3\tO\n", [("c-1", "1 2 3")]),
    ("c.conll", "The\tDT\tO\n\n1\tCD\tO\n2\tCD\tO\n3\tCD\tO\n", [("c-1", "The"), ("c-2", "1 2 3")]),
    *((name, "Gout\tB-Disease\n", [(f"{name[0]}-1", "Gout", "1:0-4 Disease Gout")])
      for name in ("c.txt", "c.iob2", "c.iob", "c.conll", "C.TSV", "c.bio", "c.iob2.gz")),
    # words that stand earlier in the sentence too; spaces within a line; mentions outside of sentences
    ("c.xml", '<set><article><title><sentence>IL-2 or <cons sem="G#x">IL-2</cons></sentence></title></article></set>',
     [("c-1", "IL-2 or IL-2", "1:8-12 x IL-2")]),
    ("c.xml", "<set><article><articleinfo/><title><sentence>a  b \t c\n  d</sentence></title></article></set>",
     [("c-1", "a  b \t c d")]),
    ("c.xml", '<set><article><abstract>anti-<cons sem="G#x">IL-2</cons>s act. <sentence>One.</sentence> Two.'
     "</abstract></article></set>", [("c-1", "anti-IL-2s act. One. Two.", "1:5-9 x IL-2")]),
    # a passage with a text and sentences without; the largest gap between passages
    ("c.xml", f"<collection><document><id>1</id><passage>{PASSAGE}</passage></document></collection>",
     [("1", "Gout hurts. So it is.", "1:0-4 Disease Gout")]),
    ("c.xml", "<collection><document><id>1</id><passage><offset>0</offset><text>abc</text></passage><passage><offset>"
     "100003</offset><text>d</text></passage></document></collection>", [("1", f"abc\n{' ' * 99_999}d")]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "documents"), READ, ids=[f"{case[0]}-{n}" for n, case in enumerate(READ)])
def test_documents_are_read(tmp_path, caplog, name, content, documents):
    data = gzip.compress(content.encode()) if name == "c.iob2.gz" else content
    assert [describe(raw) for raw in read_any(put(tmp_path / name, data))] == documents
    assert not caplog.messages


def strays(number: int, line: int, scheme: str = "IOB1") -> str:
    place = f"beginning with an inner tag (I, E or L; the first at PATH:{line})"
    return f": {format_count(number, 'mention')} {place}, read as in {scheme}; --tag_scheme"


COMMENTS = ": 2 lines beginning with # read as comments, the first at PATH:1"
MARKERS = ": markers such as <ALL> around 2 sentences left out"


def other_text(example: str) -> str:
    numbers = ": 1 mention in 1 document"
    return f"{numbers} with another text than at the offsets; the first is {example}"


def relation(columns: str) -> str:
    return "\n".join(f"{n}|t|human y z\n{n}\t0\t5\thuman\tx\tD1\n{n}\t{columns}\n" for n in (1, 2))


def unread(keys: str) -> str:
    return f'{{"document_id": 1, "text": "human x", {keys}}}\n' * 3


SKIPPED = (
    ":3: skipped as a relation, because its second column is a name, but it holds a text of the document and its "
    "offset (so do 1 others); if it is a mention, put the offsets into columns 2 and 3"
)
LISTS = ":1: no entities, but {}; 3 such records read as text without mentions; if these are mentions, name them"


@pytest.mark.parametrize(("name", "content", "mentions", "warning"), [
    ("c.iob", "a I-x\nb I-x\nc B-x\nd I-y\n\ne I-y\nf E-y\ng I-y\n", ["a b", "c", "d", "e f", "g"], strays(4, 1)),
    ("c.iob", "a S-x\nb I-x\nc E-x\n", ["a", "b c"], strays(1, 2)),
    ("c.iob", "a O\nb E-x\n", ["b"], strays(1, 2, "IOE2")),
    ("c.pubtator", relation("Species\t0\t5\thuman"), ["human"] * 2, SKIPPED),
    ("c.pubtator", relation("zero\t5\thuman\tSpecies"), ["human"] * 2, SKIPPED),
    ("c.pubtator", relation("CID\tD9\tD8"), ["human"] * 2, None),
    ("c.pubtator", "1|t|A title\n1|a|An abstract\nthat goes on\n1 is a text.\n1\t20\t29\tthat goes\tX\n",
     ["that goes"], ": abstracts go on over several lines (2, the first at PATH:3), which are joined by line breaks"),
    ("c.conll", "# a comment O x\na O\n\n# another one\nc B-x\n", ["c"], COMMENTS),
    ("c.conll", "<ALL> O\np53 B-Gene\nbinds O-Gene\n</ALL> O\n\n<ALL> O\n</ALL> O\n", ["p53"], MARKERS),
    ("c.conll", "<ALL> B-x\na O\n</ALL> O\n", ["<ALL>"], None),
    ("c.pubtator", "1|t|20 mg day\n1|a|In 2003, 20 30 a\n0 3 cases\n1\t0\t9\t20 mg\tday\tX\tD1\n", ["20 mg day"],
     ": abstracts go on over several lines (1, the first at PATH:3), which are joined by line breaks"),
    ("c.conll", "a L-x\nb U-x\nc B-x\nd I-x\ne L-x\n", ["a", "b", "c d e"], strays(1, 1)),
    ("c.pubtator", "1|t|a\tb c\n1|a|\n1\t0\t3\ta\tb\tX\tD1|D2\ta|b\n", ["a\tb"], None),
    ("c.pubtator", relation("CPR:4\tArg1:T1\tArg2:T2"), ["human"] * 2, None),
    ("c.pubtator", relation("treats\thuman\ty"), ["human"] * 2, None),
    ("c.pubtator", relation("Association\t7124\t3569\tNovel"), ["human"] * 2, None),
    ("c.pubtator", relation("Association\t5\t6\tNo"), ["human"] * 2, None),
    ("c.pubtator", "1|t|one\n1|a|two\n1\t0\t7\tone two\tX\n1\t0\t3\ttwo\tX\n", ["one\ntwo", "one"],
     other_text("X 0-3 of document 1 (PATH:4), 'one' in the text and 'two' in the mention")),
    ("c.jsonl", JSONL.replace('"note": 1', '"text": "z"'), ["\U0001f9ec"],
     other_text("T 2-3 of document a (PATH:1), '\U0001f9ec' in the text and 'z' in the mention")),
    ("c.xml", BIOC.replace("<text>One two", "<text>One too"), ["Gout", "One two"],
     other_text("Number 9-12 17-20 of document 11 (PATH:9), 'One two' in the text and 'One too' in the mention")),
    ("c.jsonl", unread('"spans": [{"begin": 0}]'), [], LISTS.format("spans")),
    ("c.jsonl", unread('"mentions": [[0, 5, "x"]], "meta": {}'), [], LISTS.format("mentions")),
    ("c.jsonl", unread('"authors": ["A", "B"], "y": []'), [], None),
])  # fmt: skip
def test_doubtful_content_is_reported_once(tmp_path, caplog, name, content, mentions, warning):
    path = put(tmp_path / name, content)
    with caplog.at_level(logging.WARNING):
        raws = list(read_any(path))
        collect(raws[:1], path)
    assert [m.cut(raw.text) for raw in raws for m in raw.mentions] == mentions
    assert len(caplog.messages) == bool(warning)
    assert not warning or caplog.messages[0].startswith(f"{path}{warning}".replace("PATH", str(path)))


@pytest.mark.parametrize("words", [4_000, 8_186, 65_400, 65_480])
def test_xml_is_the_same_wherever_the_file_is_read_in_pieces(tmp_path, words):
    body = f"<sentence>{'x' * words}\n      gene expression</sentence>interleukin receptor <sentence>y</sentence>"
    for shift in range(0, 90, 3):  # puts the bounds of what is read and of expat's buffer into each of these words
        abstract = f"<abstract>{' ' * shift}{body}</abstract>"
        (raw,) = read_any(put(tmp_path / "c.xml", f"<set><article>{abstract}</article></set>"))
        assert raw.text == f"{'x' * words} gene expression interleukin receptor y"


BRAT = (
    "T1\tprotein 0 4\tIL-2\nT2\tDNA 0 4;14 19\tIL-2 genes\nT3\tDNA 9 19\tIL-4 genes\nT4\tx 14 17;17 19\tgen es\n"
    "R1\tEquiv Arg1:T1 Arg2:T2\nE1\tx:T1\nA1\tNegation T1\nM1\tNegation T1\nN1\tRef T1 a:1\ta\n#1\tNote T1\tb\n"
    "*\tEquiv T1 T2\n\n"
)


def test_brat_pairs_are_read_in_order(tmp_path, caplog):
    put(tmp_path / "b.txt", "IL-2 and IL-4\ngenes \U0001f9ec x\n")
    put(tmp_path / "b.ann", BRAT)
    others = {"a.ann": "", "annotation.conf": "[x]", "README.txt": "of texts", "._a.txt": b"\x00\xff"}
    for name, content in {"a.txt": "nothing", **others}.items():
        put(tmp_path / name, content)
    with caplog.at_level(logging.WARNING):
        raws = list(read_any(tmp_path))
        _, ledger = collect(raws)
    mentions = ("1:0-4 protein IL-2", "2:0-4,14-19 DNA IL-2 genes", "3:9-19 DNA IL-4\ngenes", "4:14-17,17-19 x gen es")
    second = ("b", "IL-2 and IL-4\ngenes \U0001f9ec x\n", *mentions)
    assert [describe(raw) for raw in raws] == [("a", "nothing"), second]
    assert raws[1].mentions[0].where == f"{tmp_path / 'b.ann'}:1"
    assert (ledger.dropped, caplog.messages) == ({"discontinuous": 1}, [])  # touching parts are one mention


@pytest.mark.parametrize(
    ("offsets", "text"),
    [("5 8", "one\r\ntwo\r\n"), ("4 7", "one\ntwo\n"), ("6 9", "\ufeffone\r\ntwo\r\n"), ("0 9", "one\r\ntwo\r\n")],
)
def test_offsets_of_brat_may_count_mark_and_carriage_returns_or_not(tmp_path, offsets, text):
    put(tmp_path / "a.txt", "\ufeffone\r\ntwo\r\n")
    put(tmp_path / "a.ann", f"T1\tx {offsets}\ttwo\r\n")
    (raw,) = read_brat(tmp_path)
    assert raw.text == text


@pytest.mark.parametrize("zipped", [False, True])
def test_bc2gm_is_read_with_the_files_beside_it(tmp_path, zipped):
    names = [name.replace(".in", ".IN") + ".gz" for name in BC2GM] if zipped else BC2GM
    contents = [gzip.compress(content.encode()) if zipped else content for content in BC2GM.values()]
    files = [put(tmp_path / name, content) for name, content in zip(names, contents, strict=True)]
    assert find_companion_files(files[0]) == files
    raws = first, second = list(read_any(files[0]))
    assert [describe(raw) for raw in raws] == [
        ("BC2GM01", "The p53  gene (TP53).", "1:4-13 GENE p53  gene", "2:15-19 GENE TP53"),
        ("P00001606A0076a", "No gene\u00a0here."),
    ]
    assert first.mentions[1].where == f"{files[1]}:2"
    assert [(m.spans, m.type, m.text) for m in first.alternatives] == [(((4, 7),), "GENE", "p53")]
    assert (first.group, second.group) == ("00000042", "00001606")
    (plain, _) = read_bc2gm(*files[:2])
    assert (plain.alternatives, plain.group) == ([], "")


def test_paths_are_told_from_names_of_corpora():
    assert all(map(is_corpus_path, ["a/b", "c.jsonl", "c.XML", "c.iob2.gz", "./x", "train.in"]))
    assert not any(map(is_corpus_path, ["ncbi", "bc5cdr", "c.gz", "jsonl"]))


def test_the_package_offers_every_reader_and_writer():
    names = {name for name in dir(formats) if name.startswith(("read_", "write_"))}
    assert names - set(formats.__all__) == {"read_lines", "read_root"}
