"""CSV files of mentions and of tokens."""

import re

import pytest
from formats.format_tools import describe, error_of
from toys import put

from dataset_scripts.formats import read_any
from dataset_scripts.schema import ReadOptions


HEADER = "document_id,text,start,end,type\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (HEADER + '1,"Gout, or ""gout"".",0,4,Disease\n1,,10,14,Disease\n2,Well.,-1,4,Disease\n',
         [("1", 'Gout, or "gout".', "2:0-4 Disease Gout", "3:10-14 Disease gout"), ("2", "Well.", "4:-1-4 Disease ")]),
        (HEADER + "2,Well.,,,\n", [("2", "Well.")]),
        ("\ufeffPMID;Start;End;Label;Mention;Text\r\n1;5.0;10.0;Disease;lupus;\"One\r\nlupus\"\r\n\r\n2;0;1;;A;A\r\n",
         [("1", "One\r\nlupus", "2:5-10 Disease lupus"), ("2", "A", "5:0-1  A")]),
        ("Sentence #,Word,POS,Tag\nSentence: 1,Gout,NN,B-Disease\n,fever,NN,I-Disease\nSentence: 2,\",\",P,O\n",
         [("Sentence: 1", "Gout fever", "2:0-10 Disease Gout fever"), ("Sentence: 2", ",")]),
        ("doc_id\tsentence_id\ttoken\tlabel\n7\t1\tGout\tB-D\n7\t\tx\tL-D\n7\t2\tx\tO\n8\t2\tx\tO\n",
         [("7-1", "Gout x", "2:0-6 D Gout x"), ("7-2", "x"), ("8-2", "x")]),
    ],
    ids=["mentions", "no mention", "semicolons", "kaggle", "tabs"],
)  # fmt: skip
def test_rows_are_mentions_or_tokens(tmp_path, content, expected):
    assert [describe(raw) for raw in read_any(put(tmp_path / "a.csv", content))] == expected


def test_sentences_of_a_document_are_a_group(tmp_path, caplog):
    path = put(tmp_path / "a.csv", "document_id,sentence_id,token,tag,fine\n7,1,a,O,O\n7,2,b,O,I-X\n")
    assert [raw.group for raw in read_any(path)] == ["7", "7"]
    assert [describe(raw)[2:] for raw in read_any(path, ReadOptions(tag_column="fine"))] == [(), ("3:0-1 X b",)]
    assert "beginning with an inner tag (I, E or L; the first at" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", r":1: the header is 'a,b'; name the columns document_id, text, start, end, type"),
        ("id,text,start,end,type\n", r":1: the header is 'id,text,start,end,type'; name the"),
        (HEADER + "1,Gout, or gout,0,4,D\n", r":2: 6 columns, where the header has 5; put fields that hold ','"),
        (HEADER + '1,"Gout\n\n.",0,x,D\n', r":2: '0' and 'x' are no offsets"),
        (HEADER + '1,Gout,0,4,D\n2,"Gout,0,4,D\n', r":3: no CSV \(unexpected end of data\); check the quotes"),
        (HEADER + '1,"a"b,0,4,D\n', r":2: no CSV \(',' expected after '\"'\)"),
        (HEADER + "1,,0,4,D\n", r":2: document 1 has no text; put its rows together, the text in"),
        (HEADER + ",Gout,0,4,D\n", r":2: no document id; repeat it in every row"),
        (HEADER + '1,Gout,0,4,"a\nb"\n', r":2: 'a\\nb'; expected a name without tabs, line breaks and the like"),
        ("doc_id,sentence_id,token,tag\n1,1,Gout,O\n2,,Gout,O\n", r":3: no sentence is named"),
        ("sentence_id,token,tag,ner\n", r":1: the tags may be in tag or ner; choose with --tag_column"),
        ("sentence_id,token,word,tag\n", r":1: the tokens may be in token or word; choose with --token_column"),
        ("doc_id,text,start,end,type,label\n", r":1: the types may be in type or label; choose with --tag_column"),
        ("doc_id,text,start,begin,end,type\n", r":1: the starts may be in start or begin; remove the others"),
        ("doc_id,text,start,end,type,type\n", r":1: the types may be in type or type; choose with"),
        ("sentence_id,token,tag\n,Gout,O\n", r":2: no sentence is named; name it in its first row"),
        ("sentence_id,token,tag\n1,Gout,NN\n", r":2: 'NN' is no tag; expected O, B-TYPE"),
        (HEADER.encode() + b"1,G\xf6ut,0,4,D\n", r":2: byte 0xf6 is not UTF-8"),
        ("a,b\r1,2\r", r":1: no CSV \(new-line character"),
    ],
)
def test_refusals_name_line_and_remedy(tmp_path, content, message):
    path = put(tmp_path / "a.csv", content)
    assert re.search(r"a\.csv" + message, error_of(read_any, path))
