"""Readers and writers of `dataset_scripts/formats.py`, on tiny files written here by hand."""

from __future__ import annotations

import gzip
import json
import logging
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_scripts.formats import is_corpus_path, read_any
from dataset_scripts.formats.bc2gm import find_companion_files, read_bc2gm
from dataset_scripts.formats.bioc import read_bioc, write_bioc
from dataset_scripts.formats.brat import read_brat, write_brat
from dataset_scripts.formats.conll import read_conll
from dataset_scripts.formats.genia import read_genia_xml
from dataset_scripts.formats.jsonl import read_jsonl, write_jsonl
from dataset_scripts.formats.pubtator import read_pubtator, write_pubtator
from dataset_scripts.schema import COORDINATION, CorpusError, Document, Entity, Mention, RawDocument, to_documents


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def spans(raw: RawDocument) -> list[tuple[int, int, str, str]]:
    """(start, end, type, text at the offsets) of the mentions that are in one piece."""
    return [(*m.spans[0], m.type, raw.text[slice(*m.spans[0])]) for m in raw.mentions if len(m.spans) == 1]


def error_of(reader, *paths) -> str:
    with pytest.raises(CorpusError) as error:
        list(reader(*paths))
    return str(error.value)


# ---------------------------------------------------------------------------------------------------------- PubTator

PUBTATOR = (
    "\n7|t|Gout and colic.\n7|a|Colic \u2028 hurts.\n"
    "7\t0\t4\tGout\tDisease\tD1\n"
    "7\t0\t14\tGout and colic\tDisease\tD1|D2\tgout|colic\n"
    "7\tCID\tD9\tD1\n"
    "7\tAssociation\t672\tD1\tNovel\n"
    "7\t16\t21\tColic\tDisease\n"
    "\n\nx-8|t|Empty\nx-8|a|\nx-8\t0\t5\tEmpty\tChemical\t-\t"
)


@pytest.mark.parametrize("form", ["plain", "crlf", "bom", "gzip", "all"])
def test_pubtator_in_every_form(tmp_path, form):
    content = PUBTATOR.replace("\n", "\r\n") if form in ("crlf", "all") else PUBTATOR
    data = content.encode("utf-8-sig" if form in ("bom", "all") else "utf-8")
    path = put(tmp_path / "c.txt", gzip.compress(data) if form in ("gzip", "all") else data)
    first, second = read_pubtator(path)
    assert (first.document_id, first.text) == ("7", "Gout and colic.\nColic \u2028 hurts.")
    assert spans(first) == [
        (0, 4, "Disease", "Gout"),
        (0, 14, "Disease", "Gout and colic"),
        (16, 21, "Disease", "Colic"),
    ]
    assert [m.where for m in first.mentions] == [f"{path}:4", f"{path}:5", f"{path}:8"]
    assert first.where == f"{path}:2"
    assert (second.document_id, second.text, spans(second)) == ("x-8", "Empty\n", [(0, 5, "Chemical", "Empty")])
    assert [raw.document_id for raw in read_any(path)] == ["7", "x-8"]


def test_pubtator_mention_text_with_a_pipe_is_no_title(tmp_path):
    path = put(tmp_path / "c.pubtator", "1|t|a|t|b\n1|a|c\n1\t0\t5\ta|t|b\tX\t-\n")
    (raw,) = read_pubtator(path)
    assert (raw.text, spans(raw)) == ("a|t|b\nc", [(0, 5, "X", "a|t|b")])


def test_pubtator_space_for_the_separator_is_no_difference(tmp_path, caplog):
    path = put(tmp_path / "c.txt", "1|t|one\n1|a|two\n1\t0\t7\tone two\tX\t-\n1\t0\t3\ttwo\tX\t-\n")
    with caplog.at_level(logging.WARNING):
        to_documents(read_pubtator(path))
    assert [r.message for r in caplog.records] == [
        f"{path}:4: document 1 has 'one' at ((0, 3),), the mention says 'two'; the offsets are trusted"
    ]


def test_pubtator_documents_without_blank_line_and_without_abstract(tmp_path):
    path = put(tmp_path / "c.txt", "1|t|one\n2|t|two\n2|a|more\n2\t0\t3\ttwo\tX\n")
    assert [(r.document_id, r.text, len(r.mentions)) for r in read_pubtator(path)] == [
        ("1", "one", 0),
        ("2", "two\nmore", 1),
    ]


@pytest.mark.parametrize(
    ("lines", "number", "words"),
    [
        ("1|t|a\n1|a|b\n2\t0\t1\ta\tX\t-\n", 3, "document id '2' inside document '1'"),
        ("1|t|a\n2|a|b\n", 2, "document id '2' inside document '1'"),
        ("1|t|a\n1|a|b\n1|a|b\n", 3, "second abstract"),
        ("1|t|a\n1|a|b\n1\t0\tone\ta\tX\t-\n", 3, "expected, separated by tabs: document id, start"),
        ("1|t|a\n1|a|b\n1\t-1\t1\ta\tX\t-\n", 3, "'-1' and '1' are no offsets, whole numbers from 0; expected"),
        ("1|t|a\n1|a|b\n1 0 1 a X\n", 3, "no tab in '1 0 1 a X'; separate the columns"),
        ("1|t|a\n1|a|b\n1\t0\t1\ta\t\u200b\t-\n", 3, "expected, separated by tabs"),
        ("1|t|a\n1|a|b\n1\t0\t1\ta\n", 3, "4 columns"),
        ("1|t|a\n1|a|b\n1\t0\t1\ta\t\t-\n", 3, "expected, separated by tabs"),
        ("1|t|a\n1|a|b\n\n1\t0\t1\ta\tX\t-\n", 4, "without blank lines between"),
        ("1|t|a\n1|a|b\n1\tO\t1\ta\tX\t-\n", 3, "expected, separated by tabs"),  # a letter O
        ("1|t|a\n1|a|b\n1\tx0\t1\ta\tX\t-\n", 3, "expected, separated by tabs"),
        ("1|a|b\n", 1, "before a title"),
        ("1|t|a\n1|a|b\n1\t\u0661\t2\ta\tX\t-\n", 3, "expected, separated by tabs"),
    ],
)
def test_pubtator_malformed(tmp_path, lines, number, words):
    path = put(tmp_path / "c.txt", lines)
    message = error_of(read_pubtator, path)
    assert message.startswith(f"{path}:{number}: ")
    assert words in message


def test_white_space_at_the_edges_is_no_part_of_a_mention(caplog):
    spans = [((2, 8),), ((3, 7),), ((0, 4), (7, 9)), ((9, 10),)]
    mentions = [Mention(span, "x", where=f"f:{n}") for n, span in enumerate(spans, 1)]
    (document,), ledger = to_documents([RawDocument("1", "no\u200bgout\n a", mentions)])
    assert [(e.start, e.end) for e in document.entities] == [(3, 7), (9, 10)]
    assert ledger.dropped == {"duplicate mention": 1, "discontinuous": 1}
    (message,) = caplog.messages
    assert message.startswith("f:1: a mention begins or ends with white space") and "(so of 1 in all)" in message


def test_a_mention_of_nothing_but_white_space():
    raw = RawDocument("7", "no\u200b\ngout", [Mention(((2, 4),), "x", where="f:1")])
    with pytest.raises(CorpusError, match=r"^f:1: nothing that can be seen at .*of document 7; correct the offsets"):
        to_documents([raw])


def test_offsets_outside_the_text_are_an_error_of_to_documents(tmp_path):
    path = put(tmp_path / "c.txt", "1|t|a\n1|a|b\n1\t2\t4\tb\tX\t-\n")
    with pytest.raises(CorpusError, match=r"c.txt:3: offsets 2-4"):
        to_documents(read_pubtator(path))


# ------------------------------------------------------------------------------------------------- files as such


def test_wrong_utf8_names_file_and_line(tmp_path):
    path = put(tmp_path / "c.txt", b"1|t|a\n1|a|caf\xe9\n")
    assert error_of(read_pubtator, path).startswith(f"{path}:2: byte 0xe9 is not UTF-8")
    text = put(tmp_path / "brat" / "1.txt", b"one\ntwo\n\xff")
    put(tmp_path / "brat" / "1.ann", "")
    assert error_of(read_brat, tmp_path / "brat").startswith(f"{text}:3: byte 0xff is not UTF-8")


@pytest.mark.parametrize(
    "reader", [read_pubtator, read_conll, read_jsonl, read_bioc, read_genia_xml, read_brat, read_any]
)
def test_missing_file(tmp_path, reader):
    assert str(tmp_path / "none.txt") in error_of(reader, tmp_path / "none.txt")


def test_truncated_gzip(tmp_path):
    data = gzip.compress(os.urandom(2000).hex().encode())
    assert "can't be read" in error_of(read_pubtator, put(tmp_path / "c.txt.gz", data[:-900]))


def test_conll_u_comments_may_come_first(tmp_path):
    path = put(tmp_path / "c.txt", "# sent_id = 1\np53\tB-Gene\n")
    assert [raw.text for raw in read_any(path)] == ["p53"]


@pytest.mark.parametrize(
    ("line", "told"),
    [("1\tSpecies\t0\t5\thuman", True), ("1\tzero\t5\thuman\tSpecies", True), ("1\tCID\tD9\tD8", False),
     ("1\tCPR:4\tArg1:T1\tArg2:T2", False), ("1\ttreats\thuman\ty", False),
     ("1\tAssociation\t7124\t3569\tNovel", False), ("1\tAssociation\t5\t6\tNo", False)],
)  # fmt: skip
def test_mentions_that_are_read_as_relations_are_told(tmp_path, caplog, line, told):
    document = f"1|t|human y z\n1\t0\t5\thuman\tx\tD1\n{line}\n"
    path = put(tmp_path / "c.pubtator", f"{document}\n{document}")
    assert [len(raw.mentions) for raw in read_pubtator(path)] == [1, 1]
    assert [message.partition(": a name")[0] for message in caplog.messages] == [f"{path}:3"] * told
    assert all("(so are 1 others)" in message for message in caplog.messages)


def test_pubtator_further_and_empty_columns(tmp_path):
    lines = "1\t0\t1\ta\tX\t-\t-\tRS#:1\n1\t0\t1\ta\tY\t\t\t\n"
    (raw,) = read_pubtator(put(tmp_path / "c.txt", f"1|t|a\n1|a|b\n{lines}"))
    assert [mention.type for mention in raw.mentions] == ["X", "Y"]


def test_pubtator_of_carriage_returns_alone(tmp_path):
    path = put(tmp_path / "c.pubtator", "1|t|Gout\r1|a|More.\r1\t0\t4\tGout\tDisease\r")
    assert "lines end in a carriage return alone" in error_of(read_pubtator, path)


def test_brat_names_that_no_other_format_can_hold(tmp_path):
    for name in ("d%0Ae", "caf\udce9"):
        for ending in (".txt", ".ann"):
            put(tmp_path / name / f"{name}{ending}", "")
        assert "rename it, in UTF-8 and without line breaks" in error_of(read_brat, tmp_path / name)


def test_read_any_names_what_it_understands(tmp_path):
    with pytest.raises(CorpusError, match=r"\.docx ending; understood are \.pubtator, \.txt.*brat"):
        read_any(put(tmp_path / "c.docx", ""))
    with pytest.raises(CorpusError, match="no .ann file"):
        list(read_any(tmp_path))
    with pytest.raises(CorpusError, match="neither PubTator .* nor CoNLL"):
        read_any(put(tmp_path / "prose.txt", "\nOnce upon a time\n"))
    with pytest.raises(CorpusError, match="XML root <html>"):
        read_any(put(tmp_path / "c.xml", "<html/>"))
    with pytest.raises(CorpusError, match="no GENE.eval beside it"):
        read_any(put(tmp_path / "train.in", ""))


@pytest.mark.parametrize("name", ["c.txt", "c.iob2", "c.iob", "c.conll", "C.TSV", "c.bio", "c.iob2.gz"])
def test_read_any_conll(tmp_path, name):
    data = b"Gout\tB-Disease\n"
    (raw,) = read_any(put(tmp_path / name, gzip.compress(data) if name.endswith("gz") else data))
    assert (raw.document_id, spans(raw)) == (f"{name[0]}-1", [(0, 4, "Disease", "Gout")])


def test_is_corpus_path():
    assert all(map(is_corpus_path, ["a/b", "c.jsonl", "c.XML", "c.iob2.gz", "./x", "train.in"]))
    assert not any(map(is_corpus_path, ["ncbi", "bc5cdr", "c.gz", "jsonl"]))


# ------------------------------------------------------------------------------------------------------------- BC2GM


def write_bc2gm_files(folder: Path) -> None:
    put(folder / "test.in", "BC2GM01 The p53  gene (TP53).\nP00001606A0076a No gene\u00a0here.\n")
    put(folder / "GENE.eval", "BC2GM01|3 9|p53  gene\nBC2GM01|11 14|TP53\n")
    put(folder / "ALTGENE.eval", "BC2GM01|3 5|p53\n")
    put(folder / "test.idmap", "P00000042T0001 BC2GM01\n")


def test_bc2gm(tmp_path):
    write_bc2gm_files(tmp_path)
    first, second = read_any(tmp_path / "test.in")
    assert (first.document_id, first.text, first.group) == ("BC2GM01", "The p53  gene (TP53).", "00000042")
    assert spans(first) == [(4, 13, "GENE", "p53  gene"), (15, 19, "GENE", "TP53")]
    assert [(m.spans, m.type, m.text) for m in first.alternatives] == [(((4, 7),), "GENE", "p53")]
    assert first.mentions[1].where == f"{tmp_path / 'GENE.eval'}:2"
    assert (second.text, second.mentions, second.group) == ("No gene\u00a0here.", [], "00001606")
    (plain, _) = read_bc2gm(tmp_path / "test.in", tmp_path / "GENE.eval")
    assert (plain.alternatives, plain.group) == ([], "")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("GENE.eval", "BC2GM01|0 2|The\nBC2GM99|0 1|x\n", "GENE.eval:2: sentence id 'BC2GM99' is not in"),
        ("ALTGENE.eval", "BC2GM99|0 1|x\n", "ALTGENE.eval:1: sentence id 'BC2GM99' is not in"),
        ("GENE.eval", "BC2GM01 0 1 x\n", "GENE.eval:1: 'BC2GM01 0 1 x'; expected ID|START END|TEXT"),
        ("GENE.eval", "BC2GM01|0 99|x\n", "GENE.eval:1: offsets 0 99 are not inside the sentence, which has 17"),
        ("GENE.eval", "BC2GM01|3 2|x\n", "GENE.eval:1: offsets 3 2 are not inside"),
        ("test.in", "BC2GM01 a\nBC2GM01 b\n", "test.in:2: sentence id 'BC2GM01' a second time"),
        ("test.in", "BC2GM01\n", "test.in:1: 'BC2GM01'; expected a unique sentence id"),
        ("test.in", " The p53.\n", "test.in:1: ' The p53.'; expected a unique sentence id"),
        ("test.idmap", "a b\na b c\n", "test.idmap:2: 3 columns"),
    ],
)
def test_bc2gm_malformed(tmp_path, name, content, words):
    write_bc2gm_files(tmp_path)
    put(tmp_path / name, content)
    if name == "test.in":
        put(tmp_path / "GENE.eval", "")
        put(tmp_path / "ALTGENE.eval", "")
    assert words in error_of(read_any, tmp_path / "test.in")


# ------------------------------------------------------------------------------------------------------------- CoNLL


def test_jnlpba_document_breaks(tmp_path):
    path = put(
        tmp_path / "c.iob2",
        "###MEDLINE:42\n\nIL-2\tB-DNA\ngene\tI-DNA\n\nNF\tB-protein\nkB\tB-protein\n\n\n###MEDLINE:42\n\nX\tO\n###MEDLINE:7\n",
    )
    first, second = read_conll(path)
    assert (first.document_id, first.text) == ("42", "IL-2 gene\nNF kB")
    assert spans(first) == [(0, 9, "DNA", "IL-2 gene"), (10, 12, "protein", "NF"), (13, 15, "protein", "kB")]
    assert [m.where for m in first.mentions] == [f"{path}:3", f"{path}:6", f"{path}:7"]
    assert (second.document_id, second.text, second.mentions) == ("42", "X", [])


def test_docstart_lines_are_no_sentences(tmp_path):
    path = put(tmp_path / "train.tsv", "-DOCSTART- -X- O\n\na NN O\n\nb NN S-x\n\n-DOCSTART- O\n\nc NN O\n")
    assert [(raw.document_id, raw.text) for raw in read_conll(path)] == [("train-1", "a\nb"), ("train-2", "c")]


def test_conll_sentence_by_sentence(tmp_path):
    path = put(tmp_path / "dev.conll.gz", "a\tO\r\n\u00a0\x85\tB-x-y\r\n\t \r\nb  O\r\n")
    assert [(raw.document_id, raw.text, spans(raw)) for raw in read_conll(path)] == [
        ("dev-1", "a \u00a0\x85", [(2, 4, "x-y", "\u00a0\x85")]),
        ("dev-2", "b", []),
    ]


def test_iobes(tmp_path, caplog):
    path = put(tmp_path / "c.iob", "a S-x\nb S-x\nc B-x\nd I-x\ne E-x\nf B-x\ng E-x\nh B-y\ni O\n")
    with caplog.at_level(logging.WARNING):
        (raw,) = read_conll(path)
    assert [text for *_, text in spans(raw)] == ["a", "b", "c d e", "f g", "h"]
    assert not caplog.records


def test_iob1_is_read_and_counted_once(tmp_path, caplog):
    path = put(tmp_path / "c.iob", "a I-x\nb I-x\nc B-x\nd I-y\n\ne I-y\nf E-y\ng I-y\n")
    with caplog.at_level(logging.WARNING):
        first, second = read_conll(path)
    assert [text for *_, text in spans(first) + spans(second)] == ["a b", "c", "d", "e f", "g"]
    (record,) = caplog.records
    assert record.message.startswith(
        f"{path}: 4 mentions begin with I- or E- instead of B- or S- (the first at {path}:1)"
    )


def test_columns_apart_by_tabs_hold_no_spaces(tmp_path):
    (tmp_path / "a.conll").write_text("Gout\t B-Disease \nheart attack\tB-Disease\n")
    with pytest.raises(CorpusError, match=r"a\.conll:2: 'heart attack.*has a space in a column"):
        list(read_conll(tmp_path / "a.conll"))


def test_bare_tags_give_the_type_that_stands_for_none(tmp_path):
    path = put(tmp_path / "c.tsv", "a\tB\nb\tI\nc\tO\nd\tB\ne\tB\nf\tB-Gene\n")
    (document,) = read_conll(path)
    assert [(m.spans, m.type) for m in document.mentions] == [
        (((0, 3),), "Entity"), (((6, 7),), "Entity"), (((8, 9),), "Entity"), (((10, 11),), "Gene"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line", ["sapiens\tNN\tI-NP\t", "sapiens\tNN\tI-NP", "sapiens NN I-NP", "sapiens\tI-Species", "x x x x B-y"]
)
def test_rows_of_other_columns_than_the_first(tmp_path, line):
    path = put(tmp_path / "c.conll", f"Homo\tNN\tB-NP\tB-Species\n\n{line}\n")
    message = error_of(read_conll, path)
    assert message.startswith(f"{path}:3: ") and message.endswith(f"where {path}:1 has 4; give each row all")


@pytest.mark.parametrize("rows", ["a\t\tO\nb\tNN\tO\n", "a\tO\nb \t\tO\n", "a\tNN\tO\nb\tNN\tO\t\n"])
def test_empty_columns_and_padding_are_no_other_columns(tmp_path, rows):
    (first, *_) = read_conll(put(tmp_path / "c.conll", rows))
    assert first.text == "a b"


def test_conllu_comments_and_documents(tmp_path):
    rows = "# newdoc id = d 5 \n# newpar\n# sent_id = 1\n#text = x\n# text_en = a = b\na\tO\n\n# newdoc\n#\tO\n= B-x\n"
    first, second = read_conll(put(tmp_path / "c.conll", rows))
    assert (first.document_id, first.text, second.document_id, second.text) == ("d 5", "a", "c-2", "# =")


def test_a_first_column_that_counts_the_tokens(tmp_path):
    path = put(tmp_path / "c.conll", "1\tO\n2\tO\n3\tO\n")
    assert next(read_conll(path)).text == "1 2 3"
    path = put(tmp_path / "c.conll", "The\tDT\tO\n\n1\tCD\tO\n2\tCD\tO\n3\tCD\tO\n")
    assert list(read_conll(path))[1].text == "1 2 3"  # not all sentences are counted
    path = put(tmp_path / "c.conll", "1\ta\tO\n2\tb\tO\n\n1\tBRCA1\tB-x\n2\tis\tO\n3\t.\tO\n")
    assert error_of(read_conll, path).startswith(f"{path}:4: the first column counts the tokens; the token itself")


def test_names_of_types_without_what_cannot_be_seen(tmp_path):
    rows = "Homo\tB-Species\u00a0\nsapiens\tI-Species\u200b\nMus\tB-\ufeffcell-line\u2009\n"
    (document,) = read_conll(put(tmp_path / "c.conll", rows))
    assert [(m.spans, m.type) for m in document.mentions] == [(((0, 12),), "Species"), (((13, 16),), "cell-line")]
    text = "1|t|human x\n1\t0\t5\thuman\t Species \n1\t6\t7\tx\tcell\u00a0line\u200b\n"
    (document,) = read_pubtator(put(tmp_path / "p.pubtator", text))
    assert [m.type for m in document.mentions] == ["Species", "cell\u00a0line"]


@pytest.mark.parametrize("text", ["Homo\tB-x\r\rsapiens\tI-x\r", "Homo\tB-x\r\r\nsapiens\tI-x\r\r\n"])
def test_conll_lines_that_end_in_carriage_returns(tmp_path, text):
    path = put(tmp_path / "c.conll", text)
    assert error_of(read_conll, path) == f"{path}:1: a carriage return inside a line; save the file with line feeds"


@pytest.mark.parametrize("line", ["alone", "a\tL-x", "a\tB-", "\tO", "a\to", "a\tB-x\tNN"])
def test_conll_malformed(tmp_path, line):
    path = put(tmp_path / "c.conll", f"a\tO\n{line}\n")
    assert error_of(read_conll, path).startswith(f"{path}:2: {line!r}; expected a token and, as last column")


def test_medline_without_id(tmp_path):
    path = put(tmp_path / "c.iob2", "###MEDLINE:\n")
    assert error_of(read_conll, path) == f"{path}:1: ###MEDLINE: without an id; expected ###MEDLINE:ID"


# -------------------------------------------------------------------------------------------------------------- brat


def test_brat(tmp_path, caplog):
    put(tmp_path / "b.txt", "IL-2 and IL-4\ngenes \U0001f9ec x\n")
    put(
        tmp_path / "b.ann",
        "T1\tprotein 0 4\tIL-2\nT2\tDNA 0 4;14 19\tIL-2 genes\nT3\tDNA 9 19\tIL-4 genes\n"
        "T4\tx 14 17;17 19\tgen es\n"
        "R1\tEquiv Arg1:T1 Arg2:T2\nE1\tx:T1\nA1\tNegation T1\nM1\tNegation T1\nN1\tRef T1 a:1\ta\n#1\tNote T1\tb\n"
        "*\tEquiv T1 T2\n\n",
    )
    put(tmp_path / "a.txt", "nothing")
    put(tmp_path / "a.ann", "")
    put(tmp_path / "annotation.conf", "[entities]")
    put(tmp_path / "README.txt", "of texts")
    put(tmp_path / "._a.txt", b"\x00\xff")
    with caplog.at_level(logging.WARNING):
        first, second = raws = list(read_any(tmp_path))
        _, ledger = to_documents(raws)
    assert not caplog.records
    assert (first.document_id, first.text, first.mentions) == ("a", "nothing", [])
    assert [m.spans for m in second.mentions] == [((0, 4),), ((0, 4), (14, 19)), ((9, 19),), ((14, 17), (17, 19))]
    assert [m.where for m in second.mentions] == [f"{tmp_path / 'b.ann'}:{n}" for n in (1, 2, 3, 4)]
    assert ledger.as_dict()["dropped"] == {"discontinuous": 1}  # parts with nothing between them are one mention


@pytest.mark.parametrize(
    ("offsets", "text"),
    [("5 8", "one\r\ntwo\r\n"), ("4 7", "one\ntwo\n"), ("6 9", "\ufeffone\r\ntwo\r\n"), ("0 9", "one\r\ntwo\r\n")],
)
def test_brat_offsets_may_count_bom_and_cr_or_not(tmp_path, offsets, text):
    put(tmp_path / "a.txt", "\ufeffone\r\ntwo\r\n")
    put(tmp_path / "a.ann", f"T1\tx {offsets}\ttwo\r\n")
    (raw,) = read_brat(tmp_path)
    assert raw.text == text


@pytest.mark.parametrize(
    "line", ["T1 x 0 1 a", "T1\tx 0\ta", "T1\tx 0 1", "T1\t0 1\ta", "T1\tx 0 1;\ta", "X1\ty", "T1\tx -1 1\ta"]
)
def test_brat_malformed(tmp_path, line):
    put(tmp_path / "a.txt", "abc")
    path = put(tmp_path / "a.ann", f"#1\tx\ty\n{line}\n")
    assert error_of(read_brat, tmp_path).startswith(f"{path}:2: {line!r}; expected T1<tab>TYPE START END")


@pytest.mark.parametrize(("there", "missing"), [(".ann", ".txt"), (".txt", ".ann")])
def test_brat_half_a_pair(tmp_path, there, missing):
    put(tmp_path / "a.txt", "")
    put(tmp_path / "a.ann", "")
    path = put(tmp_path / f"b{there}", "")
    assert error_of(read_brat, tmp_path).startswith(f"{path}: no b{missing} beside it")


# --------------------------------------------------------------------------------------------------------- GENIA XML

GENIA = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE set SYSTEM "http://localhost:9/gpml.dtd">
<set>
<import resource="GENIAontology.daml" prefix="G"></import>
<article>
<articleinfo>
<bibliomisc>MEDLINE:95369245</bibliomisc>
</articleinfo>
<title>
<sentence><cons lex="IL-2_gene_expression" sem=" G#other_name
"><cons lex="IL-2_gene" sem="G#DNA_domain_or_region">IL-2 gene</cons> expression</cons> &amp; <cons
sem="">it</cons>.</sentence>
</title>
<abstract>
<sentence><cons lex="(AND CD2*_*receptor CD25*_*receptor)" sem="(AND G#protein_molecule
   G#protein_molecule)"><cons lex="CD2*">CD2</cons> and <cons lex="CD25*">CD25</cons> <cons lex="*receptor">
   receptors</cons></cons> bind.</sentence>
<sentence>  <cons sem="G#cell_type"> T cells </cons>grow\u2028\U0001f9ec. </sentence>
</abstract>
</article>
<article><articleinfo><bibliomisc>MEDLIN:82055447</bibliomisc></articleinfo>
<title>A <cons sem="H#thing">bare</cons> title</title><abstract>loose <sentence>One.</sentence></abstract></article>
<article><title><sentence>None<cons sem="G#x"/></sentence></title><abstract/></article>
</set>
"""


@pytest.mark.parametrize("form", ["lf", "crlf", "bom", "gzip"])
def test_genia(tmp_path, form, caplog):
    data = (GENIA.replace("\n", "\r\n") if form == "crlf" else GENIA).encode("utf-8-sig" if form == "bom" else "utf-8")
    path = put(tmp_path / "genia.xml", gzip.compress(data) if form == "gzip" else data)
    with caplog.at_level(logging.WARNING):
        first, second, third = read_any(path)
    assert first.document_id == "95369245"
    assert first.text == "IL-2 gene expression & it.\nCD2 and CD25  receptors bind. T cells grow\u2028\U0001f9ec."
    assert spans(first) == [
        (0, 20, "other_name", "IL-2 gene expression"),
        (0, 9, "DNA_domain_or_region", "IL-2 gene"),
        (27, 50, "(AND G#protein_molecule G#protein_molecule)", "CD2 and CD25  receptors"),
        (57, 64, "cell_type", "T cells"),
    ]
    assert [m.lost for m in first.mentions] == ["", "", COORDINATION, ""]
    assert [m.where for m in first.mentions] == [f"{path}:{n}" for n in (10, 11, 15, 18)]
    assert (second.document_id, second.text) == ("82055447", "A bare title\nloose One.")
    assert spans(second) == [(2, 6, "H#thing", "bare")]
    assert (third.document_id, third.text, third.mentions) == ("genia-3", "None", [])
    assert [r.message for r in caplog.records] == [f"{path}:23: <cons sem='G#x'> holds no text and is no mention"]
    assert to_documents([first])[1].as_dict()["dropped"] == {"coordination": 1}


def bomb(root: str) -> str:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?>\n<!DOCTYPE {root} [<!ENTITY l0 "ha">{levels}]>\n<{root}>&l9;</{root}>'


@pytest.mark.parametrize("root", ["set", "collection"])
def test_entities_are_refused(tmp_path, root):
    secret = put(tmp_path / "secret", "secret")
    declared = error_of(read_any, put(tmp_path / "bomb.xml", bomb(root)))
    assert declared == f"{tmp_path / 'bomb.xml'}:2: declares the entity 'l0'; entities are not expanded, remove them"
    for what in (f'SYSTEM "file://{secret}"', 'SYSTEM "http://localhost:9/x"', '"text"'):
        content = f"<!DOCTYPE {root} [<!ENTITY x {what}>]>\n<{root}>&x;</{root}>"
        assert "declares the entity 'x'" in error_of(read_any, put(tmp_path / "c.xml", content))
    parameter = f'<!DOCTYPE {root} [<!ENTITY % x SYSTEM "file://{secret}"> %x;]><{root}/>'
    assert "declares the entity 'x'" in error_of(read_any, put(tmp_path / "c.xml", parameter))


def test_undeclared_entity_of_an_unread_dtd_is_no_hole_in_the_text(tmp_path):
    content = '<!DOCTYPE set SYSTEM "gpml.dtd">\n<set><article><title>&alpha;</title></article></set>'
    path = put(tmp_path / "c.xml", content)
    assert (
        error_of(read_genia_xml, path)
        == f"{path}:2: the entity &alpha; is not defined here; put its characters instead"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<set>\n<article></set>", ":2: not well-formed XML (mismatched tag)"),
        ("<set>\n<article>", ":2: not well-formed XML (no element found)"),
        ("", ":1: not well-formed XML (no element found)"),
        (b"<set>\n\xff</set>", ":2: not well-formed XML"),
        ("<?xml version='1.0' encoding='nonsense'?><set/>", ":1: not well-formed XML (unknown encoding: nonsense)"),
        ("<set>" + "<article>" * 200, "nested deeper than 100"),
        ("<collection/>", "XML root <collection>; expected <set>"),
    ],
)
def test_xml_malformed(tmp_path, content, words):
    assert words in error_of(read_genia_xml, put(tmp_path / "c.xml", content))


# ---------------------------------------------------------------------------------------------------------- BioC XML

BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>hand</source><date/><key/>
<document><id> 11 </id><infon key="type">x</infon>
<passage><infon key="type">title</infon><offset>0</offset><text>Gout &lt; 3</text>
<annotation id="1"><infon key="MESH">D1</infon><infon key="type">Disease</infon><location offset="0" length="4"/>
<text>Gout</text></annotation></passage>
<passage><offset>9</offset><text> </text><sentence><offset>9</offset><text>One and two.</text>
<annotation id="2"><infon key="type">Number</infon><location offset="9" length="3"/><location offset="17" length="3"/>
<text>One two</text></annotation></sentence>
<sentence><offset>23</offset><text>End\u2028.</text></sentence></passage>
<passage><offset>28</offset></passage>
<relation id="r"><infon key="type">CID</infon><node refid="1" role="x"/></relation>
</document>
<document><id>12</id><passage><offset>2</offset><text>x</text></passage></document>
</collection>
"""


def test_bioc(tmp_path, caplog):
    path = put(tmp_path / "c.xml", BIOC)
    with caplog.at_level(logging.WARNING):
        first, second = raws = list(read_any(path))
        to_documents(raws)
    assert not caplog.records
    assert (first.document_id, first.text) == ("11", "Gout < 3\nOne and two.  End\u2028.")
    assert [(m.spans, m.type, m.text, m.where) for m in first.mentions] == [
        (((0, 4),), "Disease", "Gout", f"{path}:6"),
        (((9, 12), (17, 20)), "Number", "One two", f"{path}:9"),
    ]
    assert (second.document_id, second.text, second.where) == ("12", "  x", f"{path}:15")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("<offset>9<", "<offset>7<", ":8: offset 7, but the text before it ends at 8"),
        ("<offset>23<", "<offset>99999999999<", ":11: offset 99999999999, but the text before it ends at 21"),
        ("<offset>0</offset>", "", ":5: offset or length '' of <passage>"),
        ('length="4"', 'length="four"', ":6: offset or length 'four' of <location>"),
        ('<infon key="type">Disease</infon>', "", ':6: an <annotation> without <infon key="type">'),
        ('<location offset="0" length="4"/>', "", ":6: an <annotation> without <location>"),
        ("<id> 11 </id>", "", ":4: a <document> without <id>"),
    ],
)
def test_bioc_malformed(tmp_path, old, new, words):
    path = put(tmp_path / "c.xml", BIOC.replace(old, new))
    assert error_of(read_bioc, path).startswith(f"{path}{words}")


def test_other_programs_read_our_bioc(tmp_path):
    bioc = pytest.importorskip("bioc")
    document = Document("1", "Gout & colic", [Entity(0, 4, "Disease", score=0.5, task="t")])
    write_bioc([document], tmp_path / "c.xml")
    with open(tmp_path / "c.xml", encoding="utf-8") as file:
        (read,) = bioc.load(file).documents
    (annotation,) = read.passages[0].annotations
    assert (read.id, read.passages[0].text, annotation.text) == ("1", "Gout & colic", "Gout")
    assert annotation.infons == {"type": "Disease", "score": "0.5", "task": "t"}


# ------------------------------------------------------------------------------------------------------------- JSONL


def test_jsonl_lists_of_names_are_no_annotations(tmp_path, caplog):
    (raw,) = read_jsonl(put(tmp_path / "c.jsonl", '{"document_id": 1, "text": "x", "authors": ["A", "B"], "y": []}'))
    assert raw.mentions == [] and not caplog.messages


@pytest.mark.parametrize("more", ['"spans": [{"start": 0}]', '"label": [[0, 5, "Species"]], "meta": {}'])
def test_jsonl_annotations_of_another_name_are_told(tmp_path, caplog, more):
    path = put(tmp_path / "c.jsonl", f'{{"document_id": 1, "text": "human x", {more}}}\n' * 3)
    assert [raw.mentions for raw in read_jsonl(path)] == [[], [], []]
    (message,) = caplog.messages
    assert message.startswith(f"{path}:1: no entities, but {more.split(chr(34))[1]}; it is read as a text without")
    assert "(so are 2 others)" in message


def test_jsonl(tmp_path):
    record = {
        "document_id": "a",
        "text": "x\n\U0001f9ecy",
        "entities": [{"start": 2, "end": 3, "type": "T", "score": 1}],
    }
    content = "\ufeff" + json.dumps(record) + '\r\n\r\n{"document_id": 12, "text": ""}'
    path = put(tmp_path / "c.jsonl", content)
    first, second = read_any(path)
    assert first == RawDocument("a", "x\n\U0001f9ecy", [Mention(((2, 3),), "T", None, f"{path}:1")], where=f"{path}:1")
    assert second == RawDocument("12", "", where=f"{path}:3")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "x"}', "no document_id"),
        ('{"document_id": "", "text": "x"}', "document_id ''"),
        ('{"document_id": "a\\tb", "text": "x"}', "document_id 'a\\tb'"),
        ('{"document_id": true, "text": "x"}', "document_id True"),
        ('{"document_id": "1"}', "no text"),
        ('{"document_id": "1", "text": "\\ud800"}', "without lone surrogates"),
        ('{"document_id": "1", "text": "x", "entities": {}}', "entities is '{}'"),
        ('{"document_id": "1", "text": "x", "entities": [3]}', "entity 3; expected start and end"),
        ('{"document_id": "1", "text": "x", "entities": [{"start": 0, "end": 1}]}', "expected start and end"),
        ('{"document_id": "1", "text": "x", "entities": [{"start": "0", "end": 1, "type": "T"}]}', "whole numbers"),
        ('{"document_id": "1", "text": "x", "entities": [{"start": false, "end": 1, "type": "T"}]}', "whole numbers"),
        *(
            (
                f'{{"document_id": "1", "text": "p53", "entities": [{{"start": 0, "end": 3, "type": "{kind}"}}]}}',
                "without blanks around it",
            )
            for kind in (" ", "X ", " X", "X\\ny", "X\\ud800")
        ),
        ('{"document_id": "1", "text": "x", "entities": [], "entities": []}', "the key 'entities' twice"),
        ("[]", "a JSON list; expected an object"),
        ("[{", "expected one object a line, and no array"),
        ("{", "invalid JSON"),
        ("[" * 100_000, "invalid JSON"),
    ],
)
def test_jsonl_malformed(tmp_path, line, words):
    path = put(tmp_path / "c.jsonl", f"\n{line}\n")
    message = error_of(read_jsonl, path)
    assert message.startswith(f"{path}:2: ")
    assert words in message


# ----------------------------------------------------------------------------------------------------------- writers

PREDICTED = Document(
    "p/1",
    "Gout\tand\r\ncolic \U0001f9ec",
    [Entity(0, 4, "Disease", "SpecificDisease"), Entity(5, 15, "Disease", score=0.25, task="ncbi")],
)


def test_write_pubtator_literally(tmp_path):
    write_pubtator([PREDICTED], tmp_path / "new" / "c.pubtator")
    assert (tmp_path / "new" / "c.pubtator").read_bytes().decode() == (
        "p/1|t|Gout and \np/1|a|colic \U0001f9ec\np/1\t0\t4\tGout\tDisease\t-\np/1\t5\t15\tand  colic\tDisease\t-\n\n"
    )
    for name in ("a|t|b", "a|t"):
        with pytest.raises(CorpusError, match="can't stand in PubTator"):
            write_pubtator([Document(name, "x")], tmp_path / "x.pubtator")
    assert os.listdir(tmp_path) == ["new"]


def test_write_jsonl_literally(tmp_path):
    write_jsonl([PREDICTED], tmp_path / "c.jsonl")
    assert (tmp_path / "c.jsonl").read_bytes().decode() == (
        '{"document_id": "p/1", "text": "Gout\\tand\\r\\ncolic \U0001f9ec", "entities": ['
        '{"start": 0, "end": 4, "type": "Disease", "text": "Gout"}, '
        '{"start": 5, "end": 15, "type": "Disease", "text": "and\\r\\ncolic", "score": 0.25, "task": "ncbi"}]}\n'
    )
    write_jsonl([PREDICTED], tmp_path / "c.jsonl.gz")
    first = (tmp_path / "c.jsonl.gz").read_bytes()
    write_jsonl([PREDICTED], tmp_path / "c.jsonl.gz")
    assert first == (tmp_path / "c.jsonl.gz").read_bytes()
    assert gzip.decompress(first) == (tmp_path / "c.jsonl").read_bytes()
    assert first[3:8] == bytes(5)  # neither a name nor a time, by which the same documents would differ


def test_write_brat_literally(tmp_path):
    (tmp_path / "b").mkdir()
    write_brat([PREDICTED, Document("..", "x")], tmp_path / "b")
    assert sorted(os.listdir(tmp_path / "b")) == ["%2E..ann", "%2E..txt", "p%2F1.ann", "p%2F1.txt"]
    assert (tmp_path / "b" / "p%2F1.txt").read_bytes().decode() == PREDICTED.text
    assert (tmp_path / "b" / "p%2F1.ann").read_bytes().decode() == (
        "T1\tDisease 0 4\tGout\nT2\tDisease 5 15\tand  colic\n#2\tAnnotatorNotes T2\tscore=0.25 task=ncbi\n"
    )
    assert [raw.document_id for raw in read_brat(tmp_path / "b")] == ["..", "p/1"]
    with pytest.raises(CorpusError, match="not empty"):
        write_brat([], tmp_path / "b")
    with pytest.raises(CorpusError, match="'1' stands twice"):
        write_brat([Document("1", ""), Document("1", "")], tmp_path / "c")
    assert os.listdir(tmp_path) == ["b"]


@pytest.mark.parametrize("write", [write_pubtator, write_jsonl, write_bioc])
def test_an_interrupted_writer_leaves_the_old_file(tmp_path, write):
    target = put(tmp_path / "c", "old")

    def documents():
        yield PREDICTED
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(documents(), target)
    assert os.listdir(tmp_path) == ["c"]
    assert target.read_text() == "old"


# -------------------------------------------------------------------------------------------------- round trips

CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from(
    list("\t\n\r\x00\x0b\x1f\x85 \u2028\ufeff|;<&\U0001f9ec")
)
IDS = st.text("abc123-_./%| é", min_size=1, max_size=8).filter(lambda s: s.strip() == s and "|" not in s)


@st.composite
def documents(draw) -> Document:
    text = draw(st.text(CHARACTERS, max_size=30))
    offsets = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(offsets, offsets, st.sampled_from(["Gene", "cell line", "a-b"])), max_size=4))
    found = (Entity(min(a, b), max(a, b), kind) for a, b, kind in pairs)
    hidden = {c for c in text if c.isspace() or unicodedata.category(c) == "Cf"}
    hidden |= {c for c in text if c < " " or c in "\ufffe\uffff"}  # XML makes them spaces
    entities = {e for e in found if e.start < e.end and not {text[e.start], text[e.end - 1]} & hidden}
    return Document(draw(IDS), text, sorted(entities))


CORPORA = st.lists(documents(), min_size=1, max_size=3, unique_by=lambda d: d.document_id.lower())
FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def as_sets(corpus):
    return sorted((d.document_id, d.text, [(e.start, e.end, e.type) for e in d.entities]) for d in corpus)


def read_back(reader, path, caplog) -> list[Document]:
    """The documents read, without any warning of a mention that disagrees with its text."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        read, ledger = to_documents(reader(path))
    assert not caplog.records
    assert ledger.kept == ledger.read
    return read


@FEW
@given(CORPORA)
def test_jsonl_round_trip(tmp_path_factory, caplog, corpus):
    path = tmp_path_factory.mktemp("j") / "c.jsonl"
    write_jsonl(corpus, path)
    assert as_sets(read_back(read_jsonl, path, caplog)) == as_sets(corpus)


@FEW
@given(CORPORA)
def test_brat_round_trip(tmp_path_factory, caplog, corpus):
    folder = tmp_path_factory.mktemp("b") / "c"
    write_brat(corpus, folder)
    assert as_sets(read_back(read_brat, folder, caplog)) == as_sets(corpus)


@FEW
@given(CORPORA)
def test_pubtator_round_trip(tmp_path_factory, caplog, corpus):
    """The first line break stays, tabs and other line breaks become spaces, a text without line break ends in one."""
    path = tmp_path_factory.mktemp("p") / "c.txt"
    write_pubtator(corpus, path)
    for document in corpus:
        title, _, abstract = document.text.partition("\n")
        parts = (part.replace("\t", " ").replace("\r", " ").replace("\n", " ") for part in (title, abstract))
        document.text = "\n".join(parts)
    assert as_sets(read_back(read_pubtator, path, caplog)) == as_sets(corpus)


@FEW
@given(CORPORA)
def test_bioc_round_trip(tmp_path_factory, caplog, corpus):
    """Characters that XML can't hold become spaces."""
    path = tmp_path_factory.mktemp("x") / "c.xml"
    write_bioc(corpus, path)
    for document in corpus:
        document.text = "".join(
            " " if (c < " " and c not in "\t\n\r") or c in "\ufffe\uffff" else c for c in document.text
        )
    assert as_sets(read_back(read_bioc, path, caplog)) == as_sets(corpus)


@FEW
@given(st.text(CHARACTERS.filter(lambda c: c not in "\n\r"), max_size=30), st.data())
def test_bc2gm_offsets_round_trip(tmp_path_factory, sentence, data):
    """Any mention that neither begins nor ends with a space comes back from offsets that leave out spaces."""
    edges = [i for i, c in enumerate(sentence) if c != " "]
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(edges), st.sampled_from(edges)), max_size=4)) if edges else []
    wanted = [(min(pair), max(pair) + 1) for pair in pairs]
    lines = []
    for start, end in wanted:
        first = len(sentence[:start].replace(" ", ""))
        last = len(sentence[:end].replace(" ", "")) - 1
        lines.append(f"S1|{first} {last}|{sentence[start:end]}\n")
    folder = tmp_path_factory.mktemp("g")
    put(folder / "t.in", f"S1 {sentence}\n")
    (raw,) = read_bc2gm(folder / "t.in", put(folder / "GENE.eval", "".join(lines)))
    assert raw.text == sentence
    assert [m.spans[0] for m in raw.mentions] == wanted
    assert [m.text for m in raw.mentions] == [sentence[start:end] for start, end in wanted]


@FEW
@given(st.binary(max_size=60), st.sampled_from([read_pubtator, read_conll, read_jsonl, read_bioc, read_genia_xml]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, reader):
    path = put(tmp_path_factory.mktemp("f") / "c", data)
    try:
        list(reader(path))
    except CorpusError as error:
        assert str(path) in str(error)


def test_conll_comments_are_no_tokens(tmp_path: Path) -> None:
    path = tmp_path / "mine.conll"
    path.write_text("# sent_id = 1\n# text = p53 binds\np53\tB-Gene\n#\tO\nbinds\tO\n", encoding="utf-8")
    (document,) = read_conll(path)
    assert document.text == "p53 # binds"
    assert [mention.spans for mention in document.mentions] == [((0, 3),)]


def test_genia_mention_whose_words_stand_earlier_in_the_sentence_too(tmp_path):
    sentence = 'IL-2 and <cons sem="G#protein_molecule">IL-2</cons> bind'
    path = put(tmp_path / "c.xml", f"<set><article><title><sentence>{sentence}</sentence></title></article></set>")
    (raw,) = read_genia_xml(path)
    assert (raw.text, spans(raw)) == ("IL-2 and IL-2 bind", [(9, 13, "protein_molecule", "IL-2")])


def test_bioc_passage_with_text_and_sentences_without(tmp_path):
    annotation = '<annotation><infon key="type">Disease</infon><location offset="0" length="4"/></annotation>'
    sentences = f"<sentence><offset>0</offset>{annotation}</sentence><sentence><offset>12</offset></sentence>"
    passage = f"<passage><offset>0</offset><text>Gout hurts. So it is.</text>{sentences}</passage>"
    path = put(tmp_path / "c.xml", f"<collection><document><id>1</id>{passage}</document></collection>")
    (raw,) = read_bioc(path)
    assert (raw.text, spans(raw)) == ("Gout hurts. So it is.", [(0, 4, "Disease", "Gout")])


def test_an_inner_tag_behind_a_mention_of_one_word_begins_another(tmp_path):
    (raw,) = read_conll(put(tmp_path / "c.iob", "a S-x\nb I-x\nc E-x\n"))
    assert [text for *_, text in spans(raw)] == ["a", "b c"]


def test_pubtator_relations_of_any_name_are_skipped(tmp_path):
    relations = "".join(f"1\t{name}\tD1\tD2\tNovel\n" for name in ("Positive_Correlation", "chemical-disease", "is a"))
    (raw,) = read_pubtator(put(tmp_path / "c.pubtator", f"1|t|Gout\n1|a|\n{relations}1\t0\t4\tGout\tDisease\n"))
    assert spans(raw) == [(0, 4, "Disease", "Gout")]


def test_only_the_first_byte_order_mark_and_one_carriage_return_are_no_text(tmp_path):
    (raw,) = read_conll(put(tmp_path / "c.conll", "\ufeffa\tO\n\ufeffb\tB-x\n"))
    assert (raw.text, spans(raw)) == ("a \ufeffb", [(2, 4, "x", "\ufeffb")])
    (raw,) = read_pubtator(put(tmp_path / "c.pubtator", "1|t|Gout\r\r\n1|a|x\r\n"))
    assert raw.text == "Gout\r\nx"


def test_gzip_with_damaged_content(tmp_path):
    data = bytearray(gzip.compress("".join(map(str, range(2000))).encode()))
    data[200:300] = bytes(100)
    assert "can't be read" in error_of(read_pubtator, put(tmp_path / "c.txt.gz", bytes(data)))


def test_bc2gm_gzipped_with_the_files_beside_it(tmp_path):
    write_bc2gm_files(tmp_path)
    for name in os.listdir(tmp_path):
        path = tmp_path / name
        put(tmp_path / f"{name.replace('.in', '.IN')}.gz", gzip.compress(path.read_bytes()))
        path.unlink()
    path = tmp_path / "test.IN.gz"
    (first, _) = read_any(path)
    assert (len(first.mentions), len(first.alternatives), first.group) == (2, 1, "00000042")
    assert [own.name for own in find_companion_files(path)] == [
        "test.IN.gz", "GENE.eval.gz", "ALTGENE.eval.gz", "test.idmap.gz",
    ]  # fmt: skip


def test_an_end_tag_that_ends_nothing_is_told_of_too(tmp_path, caplog):
    path = put(tmp_path / "c.iob", "a O\nb E-x\n")
    with caplog.at_level(logging.WARNING):
        (raw,) = read_conll(path)
    assert spans(raw) == [(2, 3, "x", "b")]
    assert caplog.records[0].message.startswith(f"{path}: 1 mentions begin with I- or E- instead of B- or S-")


def test_genia_spaces_within_a_line_stay_and_an_article_may_have_no_id(tmp_path):
    article = "<article><articleinfo></articleinfo><title><sentence>a  b \t c\n  d</sentence></title></article>"
    (raw,) = read_genia_xml(put(tmp_path / "c.xml", f"<set>{article}</set>"))
    assert (raw.document_id, raw.text) == ("c-1", "a  b \t c d")


@pytest.mark.parametrize("words", [8_186, 65_400, 65_480])
def test_genia_text_is_the_same_wherever_the_file_is_read_in_pieces(tmp_path, words):
    body = f"<sentence>{'x' * words}\n      gene expression</sentence>interleukin receptor <sentence>y</sentence>"
    for shift in range(0, 90, 3):  # puts the bounds of what is read and of expat's buffer into each of these words
        abstract = f"<abstract>{' ' * shift}{body}</abstract>"
        (raw,) = read_genia_xml(put(tmp_path / "c.xml", f"<set><article>{abstract}</article></set>"))
        assert raw.text == f"{'x' * words} gene expression interleukin receptor y"


def test_genia_text_outside_of_sentences_is_not_torn_at_its_mentions(tmp_path):
    abstract = '<abstract>anti-<cons sem="G#x">IL-2</cons>s act. <sentence>One.</sentence> Two.</abstract>'
    (raw,) = read_genia_xml(put(tmp_path / "c.xml", f"<set><article>{abstract}</article></set>"))
    assert (raw.text, spans(raw)) == ("anti-IL-2s act. One. Two.", [(5, 9, "x", "IL-2")])


@pytest.mark.parametrize(("offset", "length"), [(100_003, 100_004), (100_004, None)])
def test_bioc_gap_between_passages_is_padded_up_to_a_bound(tmp_path, offset, length):
    passages = "".join(f"<passage><offset>{n}</offset><text>{text}</text></passage>" for n, text in
                       ((0, "abc"), (offset, "d")))  # fmt: skip
    path = put(tmp_path / "c.xml", f"<collection><document><id>1</id>{passages}</document></collection>")
    if length is None:
        assert "offset 100004, but the text before it ends at 3" in error_of(read_bioc, path)
    else:
        (raw,) = read_bioc(path)
        assert (len(raw.text), raw.text[:5], raw.text[-2:]) == (length, "abc\n ", " d")


def test_markup_in_names_stays_text_in_bioc(tmp_path):
    write_bioc([Document("a<b&c", "Gout", [Entity(0, 4, "A&B <x>", task="<t>")])], tmp_path / "c.xml")
    (raw,) = read_bioc(tmp_path / "c.xml")
    assert (raw.document_id, spans(raw)) == ("a<b&c", [(0, 4, "A&B <x>", "Gout")])


def dropped(raw: RawDocument) -> tuple[list[tuple[int, int, str]], dict[str, int]]:
    """What `to_documents` keeps of a document, and what it counts as lost."""
    ((document,), ledger) = to_documents([raw])
    return [(e.start, e.end, e.type) for e in document.entities], dict(ledger.dropped)


def test_parts_of_a_mention_are_one_if_only_white_space_is_between() -> None:
    text = "acute renal\n failure"
    assert dropped(RawDocument("1", text, [Mention(((0, 11), (13, 20)), "x")])) == ([(0, 20, "x")], {})
    for parts in (((0, 5), (3, 11)), ((6, 11), (0, 5)), ((0, 5), (13, 20))):  # crossing, backwards, a word between
        assert dropped(RawDocument("1", text, [Mention(parts, "x")])) == ([], {"discontinuous": 1})


def test_the_same_mention_twice_is_counted_and_an_empty_one_refused() -> None:
    twice = [Mention(((0, 4),), "x"), Mention(((0, 4),), "y"), Mention(((0, 4),), "x")]
    assert dropped(RawDocument("1", "Gout", twice)) == ([(0, 4, "x"), (0, 4, "y")], {"duplicate mention": 1})
    with pytest.raises(CorpusError, match=r"^c:3: offsets 2-2 of a x mention are not inside the text of document 1"):
        to_documents([RawDocument("1", "Gout", [Mention(((2, 2),), "x", where="c:3")])])


def test_other_texts_under_one_id_are_numbered_and_stay_a_group() -> None:
    raws = [RawDocument(name, text) for name, text in (("1", "a"), ("1-2", "b"), ("1", "c"), ("1", "d"), ("1", "a"))]
    documents, ledger = to_documents(raws)
    found = [(document.document_id, document.text, document.group) for document in documents]
    assert found == [("1", "a", "1"), ("1-2", "b", "1-2"), ("1-3", "c", "1"), ("1-4", "d", "1")]
    assert ledger.documents == 4
