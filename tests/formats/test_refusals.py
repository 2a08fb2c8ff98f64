"""What the readers refuse, and that each message names the file, the line, the value and the remedy."""

import gzip

import pytest
from format_tools import BC2GM, BIOC, FEW, error_of
from hypothesis import given
from hypothesis import strategies as st
from toys import put

from dataset_scripts import formats
from dataset_scripts.formats import read_any
from dataset_scripts.schema import CorpusError


READERS = [formats.read_pubtator, formats.read_conll, formats.read_json, formats.read_bioc, formats.read_genia_xml]
RETURN = ":1: a carriage return inside a line; save the file with line feeds"
PUBTATOR = [
    ("1|t|a\n1|a|b\n2\t0\t1\ta\tX\t-\n", ":3: document id '2' inside document '1'"),
    ("1|t|a\n2|a|b\n", ":2: document id '2' inside document '1'"),
    ("1|t|a\n1|a|b\n1|a|b\n", ":3: a second abstract"),
    ("1|t|a\n1|a|b\n1\t0\tone\ta\tX\t-\n", ":3: '0' and 'one' are no offsets, whole numbers from 0; expected"),
    ("1|t|a\n1|a|b\n1\t1\t2\ta\tX\t-\t-\t-\n", ":3: 8 columns, and the fourth is not the text at 1-2, so the"),
    ("1|t|a\n1|a|b\n1 -1 1 a X\n", ":3: no tab in '1 -1 1 a X'; separate the columns"),
    ("1|t|a\n1|a|b\n1\tx0\t1\ta\tX\t-\n", ":3: 'x0' and '1' are no offsets"),
    ("1|t|a\n1|a|b\n1\tO\t1\ta\tX\t-\n", ":3: 'O' and '1' are no offsets"),  # a letter O
    ("1|t|a\n1|a|b\n1\t\u0661\t2\ta\tX\t-\n", ":3: '\u0661' and '2' are no offsets"),
    ("1|t|a\n1|a|b\n1 0 1 a X\n", ":3: no tab in '1 0 1 a X'; separate the columns"),
    ("1|t|a\n1|a|b\n1\t0\t1\ta\n", ":3: 4 columns ['1', '0', '1', 'a']; expected, separated by tabs: document id"),
    ("1|t|a\n1|a|b\n\n1\t0\t1\ta\tX\n",
     ":4: '1\\t0\\t1\\ta\\tX' before a title; expected ID|t|TITLE, then ID|a|ABSTRACT"),
    ("1|a|b\n", ":1: '1|a|b' before a title"),
    ("1|t|Gout\r1|a|More.\r1\t0\t4\tGout\tDisease\r", ":1: carriage returns end lines"),
    *((f"1|t|Gout\n1|a|b\n{line}\n", f":3: no tab in {line!r}; separate the columns") for line in (
        "0 4 Gout D", "1|0|4|Gout|D", "1|b|more", "1,0,4,Gout,D", '"1","0","4","Gout","D"', "PMID1 0 4 Gout D")),
    *((f"1|t|a\n1|a|b\n1\t0\t1\ta\tX{odd}y\t-\n", f":3: 'X{shown}y'; expected a name without tabs, line breaks and")
      for odd, shown in [("\r", "\\r"), ("\u2028", "\\u2028"), ("\x1b", "\\x1b")]),
    ("1\r2|t|a\n", ":1: '1\\r2'; expected a name without tabs"),
    (b"1|t|a\n1|a|caf\xe9\n", ":2: byte 0xe9 is not UTF-8"),
    (gzip.compress("".join(map(str, range(2000))).encode(), mtime=0)[:-900], ": can't be read"),  # cut off
    (gzip.compress(b"1|t|Gout", mtime=0)[:12] + bytes(12), ": can't be read"),  # damaged
]  # fmt: skip
CONLL = [
    *((f"Homo\tNN\tB-NP\tB-Species\n\n{line}\n", f":3: {line!r} has {count} columns, where PATH:1 has 4; give every")
      for count, line in [(3, "sapiens\tNN\tI-NP\t"), (3, "sapiens\tNN\tI-NP"), (3, "sapiens NN I-NP"),
                          (2, "sapiens\tI-Species"), (5, "x x x x B-y")]),
    *((f"{line}\na\tO\n", f":1: {line!r}; expected a token and, as last column") for line in ["alone", "Gout\ttag"]),
    *((f"{header}\nGout\tB-x\n", f":1: {header!r} is a header line; remove it, or name the file .csv")
      for header in ("Token\tTag", "document_id\ttext\tstart\tend\ttype", "Sentence #\tWord\tTag")),
    *((f"a\tO\n{line}\n", f":2: {line!r} has {count} columns, where PATH:1 has 2; give every row the same columns")
      for count, line in [(1, "alone"), (1, "\tO"), (3, "a\tB-x\tNN"), (3, "heart attack B-Disease")]),
    *((f"a\tO\na\t{tag}\n", f":2: {tag!r} is no tag; expected O, B-TYPE") for tag in ["B-", "o", "X-x", "b-x"]),
    ("a\tL-x\nb\tU-x\nc\tE-x\n", ": the tags mix BILOU's L or U (PATH:1) and IOBES' E or S (PATH:3); write them in"),
    ("1\ta\tO\n2\tb\tO\n\n1\tBRCA1\tB-x\n2\tis\tO\n3\t.\tO\n", ":4: the first column counts the tokens"),
    ("# newdoc id = a\tb\nc\tO\n", ":1: 'a\\tb'; expected a name without tabs"),
    ("Homo\tB-x\r\rsapiens\tI-x\r", RETURN),
    ("Homo\tB-x\r\r\nsapiens\tI-x\r\r\n", RETURN),
    ("IL-2\tO\nvitamin B\n", ":2: 'vitamin B'; columns are apart by spaces, where PATH:1 has tabs; part those of"),
    ("vitamin B\nIL-2\tO\n", ":2: 'IL-2\\tO'; columns are apart by tabs, where PATH:1 has spaces; part those of"),
    ("a\t\tO\nb\tNN\tO\nc\tO\n", ":3: 'c\\tO' has 2 columns, where PATH:1 has 3; give every row the same columns"),
    ("a\tNN\tO\n\tNN\tb\tO\n", ":2: '\\tNN\\tb\\tO' has 3 columns, where PATH:1 has 3; give every row the same"),
    *((f"a NN O\n\n{row}\n", f":3: {row!r} has 2 columns, where PATH:1 has 3; give") for row in ("# O", "#\tNN")),
    ("###MEDLINE:\n", ":1: ###MEDLINE: without an id; expected ###MEDLINE:ID"),
]  # fmt: skip
JSONL = [
    ('{"document_id": "", "text": "x"}', "document_id ''"),
    ('{"document_id": "a\\tb", "text": "x"}', "document_id 'a\\tb'"),
    ('{"document_id": true, "text": "x"}', "document_id True"),
    ('{"document_id": "1"}', "the keys ['document_id']; expected text and entities, or a record in the form of this"),
    ('{"document_id": "1", "text": "\\ud800"}', "text is '\\ud800'; expected a string without lone surrogates"),
    ('{"document_id": "1", "text": "x", "entities": {}}', "entities is '{}'"),
    ('{"document_id": "1", "text": "x", "entities": [], "entities": []}', "invalid JSON (the key 'entities' twice)"),
    *((f'{{"document_id": "1", "text": "p53", "entities": [{entity}]}}', f"entity {shown}") for entity, shown in [
        ("3", "3; expected start and end"),
        ('{"start": 0, "end": 1}', "{'start': 0, 'end': 1}; expected start and end (whole numbers) and type"),
        ('{"start": "0", "end": 1, "type": "T"}', "{'start': '0'"),
        ('{"start": false, "end": 1, "type": "T"}', "{'start': False"),
    ]),
    *((f'{{"text": "p53", "entities": [{{"type": "{kind}", "start": 0, "end": 3}}]}}', f"the type '{kind}'")
      for kind in ("X\\ny", "X\\ud800")),
    ("3", "3; expected text and entities"),
    ('[{"text": "x"}, []]', "a JSON list; expected an object"),
    ('[{"text": }', "invalid JSON (Expecting value: line 2 column 11 (char 11)); correct it or export it again"),
    ("[" * 100_000, "invalid JSON"),
]  # fmt: skip
XML = [
    ("<set>\n<article></set>", ":2: not well-formed XML (mismatched tag)"),
    ("<set>\n<article>", ":2: not well-formed XML (no element found)"),
    ("", ":1: not well-formed XML (no element found)"),
    (b"<set>\n\xff</set>", ":2: not well-formed XML"),
    ("<?xml version='1.0' encoding='nonsense'?><set/>", ":1: not well-formed XML (unknown encoding: nonsense)"),
    ("<?xml version='1.0' encoding='shift_jis'?><set/>", ":1: not well-formed XML (multi-byte encodings are not"),
    ("<set>" + "<article>" * 200, ":1: elements nested deeper than 100"),
    ('<!DOCTYPE set SYSTEM "gpml.dtd">\n<set><article><title>&alpha;</title></article></set>',
     ":2: the entity &alpha; is not defined here; put its characters instead"),  # no hole in the text
    ("<html/>", ": XML root <html>; expected <set> (GENIA, GPML) or <collection> (BioC)"),
    *((BIOC.replace(old, new), message) for old, new, message in [
        ("<offset>9<", "<offset>7<", ":8: offset 7, but the text before it ends at 8"),
        ("<offset>23<", "<offset>99999999999<", ":11: offset 99999999999, but the text before it ends at 21"),
        ("<offset>28<", "<offset>100029<", ":12: offset 100029, but the text before it ends at 28"),
        ("<offset>0</offset>", "", ":5: offset ''; expected a whole number"),
        ('length="4"', 'length="four"', ":6: length 'four'; expected a whole number"),
        ("<text>Gout &lt; 3", "<text>Gout <i>x</i>", ":5: several <text>, or elements inside; expected one <text>"),
        ("<text>Gout &lt; 3", "<text/><text>Gout", ":5: several <text>, or elements inside"),
        ('key="MESH"', 'key="type"', ":6: the types ['D1', 'Disease'] of one annotation; write one for each"),
        ('<document><id>12</id><passage><offset>2</offset><text>x</text></passage>', "<document><id>12</id>",
         ":14: a document without <passage> directly inside; its text stands there"),
        ("<id> 11 </id>", "", ":4: document id ''; expected a string without tabs, line breaks and the like"),
    ]),
]  # fmt: skip
OF_SEVERAL_FILES = [
    *((BC2GM | {name: content}, f"/{name}:{message}") for name, content, message in [
        ("GENE.eval", "BC2GM01|0 2|The\nBC2GM99|0 1|x\n", "2: sentence id 'BC2GM99' is not in"),
        ("ALTGENE.eval", "BC2GM99|0 1|x\n", "1: sentence id 'BC2GM99' is not in"),
        ("GENE.eval", "BC2GM01 0 1 x\n", "1: 'BC2GM01 0 1 x'; expected ID|START END|TEXT"),
        ("test.in", "P1A a\nP1A b\n", "2: sentence id 'P1A' a second time"),
        ("test.in", "a\tb c\n", "1: 'a\\tb'; expected a name without tabs"),
        ("test.in", "BC2GM01\n", "1: 'BC2GM01'; expected a unique sentence id"),
        ("test.in", " The p53.\n", "1: ' The p53.'; expected a unique sentence id"),
        ("test.idmap", "a b\na b c\n", "2: 'a b c'; expected the P-id and the test sentence's id"),
    ]),
    ({"train.in": ""}, "/train.in: no GENE.eval beside it"),
    ({".": ""}, ": no .ann file in this folder"),
    ({".": "", "a.txt": "", "a.ann": "", "a.a1": ""}, ": both .ann and .a1 files, such as a.a1; keep those with the"),
    ({".": "", "a.txt": "", "a.ann": "", "a.ann.gz": ""}, "/a.ann"),
    *(({".": "", "a.txt": "abc", "a.ann": f"#1\tx\ty\n{line}\n"}, f"/a.ann:2: {line!r}; expected T1<tab>TYPE START")
      for line in ["T1 x 0 1 a", "T1\tx 0\ta", "T1\tx 0 1", "T1\t0 1\ta", "T1\tx 0 1;\ta", "X1\ty", "NT1\tx 0 1\ta"]),
    ({".": "", "a.txt": "abc", "a.ann": "T1\tx\ry 0 1\ta\n"}, "/a.ann:1: 'x\\ry'; expected a name without tabs"),
    ({".": "", "a.txt": "", "a.ann": "", "b.ann": ""}, "/b.ann: no b.txt beside it"),
    ({".": "", "a.txt": "", "a.ann": "", "b.txt": ""}, "/b.txt: no b.ann beside it"),
    ({".": "", "1.txt": b"one\ntwo\n\xff", "1.ann": ""}, "/1.txt:3: byte 0xff is not UTF-8"),
    ({".": "", "d%0Ae.ann": ""}, ": a file named 'd%0Ae.ann'; rename it, in UTF-8 and without line breaks"),
    ({".": "", "caf\udce9.ann": ""}, ": a file named 'caf\\udce9.ann'; rename it, in UTF-8 and without line breaks"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "message"), [
    *(({"c.pubtator": content}, f"/c.pubtator{message}") for content, message in PUBTATOR),
    *(({"c.conll": content}, f"/c.conll{message}") for content, message in CONLL),
    *(({"c.jsonl": f"\n{line}\n"}, f"/c.jsonl:2: {message}") for line, message in JSONL),
    *(({"c.xml": content}, f"/c.xml{message}") for content, message in XML),
    *OF_SEVERAL_FILES,
    ({"c.docx": ""}, "/c.docx: .docx ending; understood are .pubtator, .txt, .jsonl, .json, .biocjson, .spacy, .xml"),
    ({"c.txt": "\nOnce upon a time\n"}, "/c.txt:2: 'Once upon a time' is neither PubTator (ID|t|TITLE) nor CoNLL"),
])  # fmt: skip
def test_malformed_files_are_refused(tmp_path, files, message):
    for name, content in files.items():
        if name != ".":
            put(tmp_path / name, content)
    path = tmp_path / next(iter(files))
    assert error_of(read_any, path).startswith(f"{tmp_path}{message}".replace("PATH", str(path)))


@pytest.mark.parametrize("root", ["set", "collection"])
def test_entities_are_refused(tmp_path, root):
    secret = put(tmp_path / "secret", "secret")
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<?xml version="1.0"?>\n<!DOCTYPE {root} [<!ENTITY l0 "ha">{levels}]>\n<{root}>&l9;</{root}>'
    declared = error_of(read_any, put(tmp_path / "bomb.xml", bomb))
    assert declared == f"{tmp_path / 'bomb.xml'}:2: declares the entity 'l0'; entities are not expanded, remove them"
    system = f'x SYSTEM "file://{secret}"'
    for what in (system, 'x SYSTEM "http://localhost:9/x"', 'x "text"', f'% x SYSTEM "{secret}"'):
        content = f"<!DOCTYPE {root} [<!ENTITY {what}> {'%x;' if '%' in what else ''}]>\n<{root}>&x;</{root}>"
        assert "declares the entity 'x'" in error_of(read_any, put(tmp_path / "c.xml", content))


def test_a_root_of_another_format_is_refused(tmp_path):
    path = put(tmp_path / "c.xml", "<collection/>")
    assert error_of(formats.read_genia_xml, path) == f"{path}: XML root <collection>; expected <set>"


@pytest.mark.parametrize("reader", [*READERS, formats.read_brat, read_any])
def test_a_missing_file_is_named(tmp_path, reader):
    assert str(tmp_path / "none.txt") in error_of(reader, tmp_path / "none.txt")


@FEW
@given(st.binary(max_size=60), st.sampled_from(READERS))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, reader):
    path = put(tmp_path_factory.mktemp("f") / "c", data)
    try:
        list(reader(path))
    except CorpusError as error:
        assert str(path) in str(error)
