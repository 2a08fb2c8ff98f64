"""Files that count offsets otherwise: which way is found, and the copy with corrected offsets."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import put

from dataset_scripts.__main__ import main
from dataset_scripts.fix_offsets import fix_offsets
from dataset_scripts.formats import read_any
from dataset_scripts.formats.files import format_count
from dataset_scripts.offsets import OffsetEvidence, diagnose
from dataset_scripts.schema import CorpusError, Mention, RawDocument


def make(text: str, *stated: tuple[int, int, str]) -> RawDocument:
    return RawDocument("1", text, [Mention(((start, end),), "D", words) for start, end, words in stated])


# Columns: how offsets are counted, text, mentions as the file states them, and where they stand.
@pytest.mark.parametrize(("name", "text", "stated", "spans"), [
    ("inclusive", "Gout and colic.", [(0, 3, "Gout"), (9, 13, "colic")], [(0, 4), (9, 14)]),
    ("from-1-inclusive", "Gout and colic.", [(1, 4, "Gout"), (10, 14, "colic")], [(0, 4), (9, 14)]),
    ("utf-16", "\U0001f600 Gout \U0001f600 colic", [(3, 7, "Gout"), (11, 16, "colic")], [(2, 6), (9, 14)]),
    ("bytes", "5 µg Gout é colic", [(6, 10, "Gout"), (14, 19, "colic")], [(5, 9), (12, 17)]),
    ("escaped", "A & B <5 Gout", [(0, 9, "A &amp; B"), (16, 20, "Gout")], [(0, 5), (9, 13)]),
    ("escaped-quotes", "A \"&'s colic", [(2, 20, "\"&'s"), (21, 26, "colic")], [(2, 6), (7, 12)]),
    ("unescaped", "A &amp; B &#945; Gout", [(0, 5, "A & B"), (8, 12, "Gout")], [(0, 9), (17, 21)]),
    ("crlf", "Gout\nand\ncolic", [(0, 4, "Gout"), (11, 16, "colic")], [(0, 4), (9, 14)]),
    ("lf", "Gout\r\nand\r\ncolic", [(0, 4, "Gout"), (9, 14, "colic")], [(0, 4), (11, 16)]),
    ("no-breaks", "Gout\nand\ncolic", [(0, 4, "Gout"), (7, 12, "colic")], [(0, 4), (9, 14)]),
    ("no-spaces", "A Gout or\nbig colic", [(1, 5, "Gout"), (11, 16, "colic")], [(2, 6), (14, 19)]),
    ("no-white-space", "A Gout or\nbig colic", [(1, 5, "Gout"), (10, 15, "colic")], [(2, 6), (14, 19)]),
    ("no-spaces-inclusive", "A big Gout or colic", [(1, 7, "big Gout"), (10, 14, "colic")], [(2, 10), (14, 19)]),
    ("passage", "Gout.\nNo colic or asthma", [(0, 4, "Gout"), (3, 8, "colic"), (12, 18, "asthma")],
     [(0, 4), (9, 14), (18, 24)]),
    ("shift", "Gout and colic.", [(7, 11, "Gout"), (16, 21, "colic")], [(0, 4), (9, 14)]),
])  # fmt: skip
def test_each_way_of_counting_is_found_and_corrected(name, text, stated, spans):
    raw = make(text, *stated)
    diagnosis = diagnose([raw])
    assert diagnosis.hypothesis.name == name
    assert diagnosis.correct(raw) == [(span,) for span in spans]


def test_evidence_is_numbers():
    text = "Gout \U0001f600 colic"
    raws = [make(text, (0, 4, "Gout"), (8, 13, "colic")), make(text, (0, 4, "Gout"), (8, 13, "cramp"))]
    raws += [make("Gout", (0, 4, "Gout")), make("\U0001f600 Gout", (3, 7, "Gout"))]
    diagnosis = diagnose(raws)
    assert str(diagnosis) == (
        "of 5 mentions in 3 documents, 2 fit as written, 4 if the offsets count UTF-16 units (all in 2 documents)"
    )
    assert (
        diagnosis.describe_remedy("IN") == "mtl-bioner corpora fix-offsets IN OUT --as utf-16 writes a corrected copy"
    )
    shifted = [make("Gout and colic", (s, s + 4, "Gout"), (s + 9, s + 14, "colic")) for s in (1, 1, 1, 2, 0)]
    assert str(diagnose(shifted)) == (
        "of 8 mentions in 4 documents, 0 fit as written, 8 if all offsets of a document are shifted "
        "(-1 in 3, -2 in 1) (all in 4 documents)"
    )


def test_one_mention_tells_a_shift_only_if_three_documents_agree():
    raws = [make(f"No gout {words} gout.", (4, 8, "gout")) for words in ("or", "and no", "but")]
    assert diagnose(raws[:2]) is None
    assert [diagnose(raws).correct(raw) for raw in raws] == [[((3, 7),)]] * 3


def test_parts_of_mentions_and_mentions_without_text_are_corrected_too():
    parts = Mention(((3, 7), (11, 16)), "D", "Gout colic")
    raw = RawDocument("1", "\U0001f600 Gout or colic", [parts, Mention(((11, 16),), "D"), Mention(((90, 95),), "D")])
    assert diagnose([raw]).correct(raw) == [((2, 6), (10, 15)), ((10, 15),), ((90, 95),)]


def test_bytes_in_bioc_count_from_each_passage(tmp_path):
    """The reader puts each passage at its offset, so byte and character agree at its beginning."""
    passages = ("<passage><offset>0</offset><text>µ Gout</text>{}</passage>"
                "<passage><offset>8</offset><text>é colic</text>{}</passage>")  # fmt: skip
    annotations = [f'<annotation id="1"><infon key="type">D</infon><location\n length="{length}" offset="{start}"/>'
                   f"<text>{text}</text></annotation>"
                   for start, length, text in ((3, 4, "Gout"), (11, 5, "colic"))]  # fmt: skip
    content = f"<collection>\n<document><id>1</id>{passages}<!-- <annotation> --></document></collection>"
    source = put(tmp_path / "a.xml", content.format(*annotations))
    assert fix_offsets(source, tmp_path / "b.xml").diagnosis.hypothesis.name == "bytes"
    corrected = [annotations[0].replace('"3"', '"2"'), annotations[1].replace('"11"', '"10"')]
    assert (tmp_path / "b.xml").read_bytes().decode() == content.format(*corrected)


# ------------------------------------------------------------------------------------------------- nothing to be found

GOOD = [(0, 4, "cell"), (10, 14, "cell"), (15, 19, "gene")]


@pytest.mark.parametrize("stated", [
    GOOD,
    [(0, 4, "tumor"), (10, 14, "tumour"), (15, 19, "DNA")],  # other words
    [(2, 6, "cell"), (7, 11, "cell")],  # the word stands everywhere
    [(1, 4, "cell"), (9, 14, "cell"), (14, 20, "gene")],  # each wrong in its own way
])  # fmt: skip
def test_no_hypothesis_without_evidence(stated):
    assert diagnose([make("cell cell cell gene cell \U0001f600", *stated)]) is None


def test_words_that_stand_everywhere_tell_nothing():
    text = "a\n" * 20
    stated = [(2 * n + 1, 2 * n + 2, "a") for n in range(10)]
    assert diagnose([make(text, *stated)]) is None  # each fits if line breaks don't count
    assert diagnose([make(text + "Gout", *stated, (20, 24, "Gout"))]).hypothesis.name == "no-breaks"


def test_one_misfit_of_fifty_tells_nothing():
    good = [make("Gout", (0, 4, "Gout")) for _ in range(49)]
    assert diagnose([*good, make("Gout", (0, 3, "Gout"))]) is None  # inclusive, or a slip
    assert diagnose([*good, make("\U0001f600 Gout", (3, 7, "Gout"))]) is None
    assert diagnose([*good, *[make("\U0001f600 Gout", (3, 7, "Gout"))] * 3]).hypothesis.name == "utf-16"
    assert diagnose([*good, *[make("Gout", (0, 3, "Gout"))] * 30]) is None  # the others speak against it


def test_a_document_that_fits_stays_as_it_is():
    raws = [make("aaa aaa", (1, 3, "aa")), make("aaa aaa", (4, 6, "aa")), make("bc cd", (0, 1, "bc"), (3, 4, "cd"))]
    assert [diagnose(raws[2:]).correct(raw) for raw in raws] == [[((1, 3),)], [((4, 6),)], [((0, 2),), ((3, 5),)]]


def test_the_sample_is_bounded():
    evidence = OffsetEvidence()
    for _ in range(500):
        evidence.add(make("Gout", (0, 3, "Gout")))
        evidence.add(make("Gout", (0, 4, "Gout")))
    assert (len(evidence.with_misfits), len(evidence.without)) == (200, 200)


# ------------------------------------------------------------------------------------------------ any scheme is undone

COUNTS = {
    "utf-16": lambda text: len(text.encode("utf-16-le")) // 2,
    "bytes": lambda text: len(text.encode()),
    "escaped": lambda text: len(html.escape(text, quote=False)),
    "escaped-quotes": lambda text: len(html.escape(text)),
    "unescaped": lambda text: len(html.unescape(text)),
    "crlf": lambda text: len(text.replace("\n", "\r\n")),
    "no-breaks": lambda text: len(text.replace("\n", "")),
    "no-spaces": lambda text: len(text.replace(" ", "")),
    "no-white-space": lambda text: len("".join(text.split())),
}
# Each document begins with what the schemes count otherwise, and its words are all different.
START = "\U0001f600 é <&\"' &gt;\n"
WORDS = st.lists(
    st.sampled_from(["{}", "µ{}", "{}&", "\U0001f600{}", "<{}", "{}\"'", "{}&lt;"]), min_size=4, max_size=9
)
BREAKS = st.lists(st.sampled_from(" \n"), min_size=10, max_size=10)


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("name", COUNTS)
@given(words=WORDS, breaks=BREAKS)
def test_any_way_of_counting_is_undone(name, inclusive, words, breaks):
    numbered = (word.format(f"word{n}") for n, word in enumerate(words))
    text = START + "".join(f"{word}{space}" for word, space in zip(numbered, breaks, strict=False))
    spans = [match.span() for match in re.finditer(r"\S+", text[len(START) :])]
    spans = [(start + len(START), end + len(START)) for start, end in spans]
    count = COUNTS[name]
    stated = [(count(text[:s]), count(text[:e]) - inclusive, text[s:e]) for s, e in spans]
    raw = make(text, *stated)
    assert diagnose([raw]).correct(raw) == [(span,) for span in spans]


@given(words=WORDS, shift=st.integers(1, 900), sign=st.sampled_from([1, -1]))
def test_any_shift_is_undone(words, shift, sign):
    text = "x" * 900 + " " + " ".join(word.format(f"word{n}") for n, word in enumerate(words))
    spans = [match.span() for match in re.finditer(r"\S+", text)][1:]
    raw = make(text, *((start + sign * shift, end + sign * shift, text[start:end]) for start, end in spans))
    assert diagnose([raw]).correct(raw) == [(span,) for span in spans]


# --------------------------------------------------------------------------------------------------------- fix-offsets

PUBTATOR = (
    "7|t|\U0001f600 Gout and\n7|a|colic.\n7\t{}\tGout\tDisease\tD006073\r\n7\t{}\tcolic\tDisease\n7\tCID\tD1\tD2\n\n"
)
BRAT = "T1\tBody part {}\tGout\nR1\tX Arg1:T1 Arg2:T2\nT2\tDisease {}\tGout colic\n"
JSONL = (
    '{{"document_id": "7", "text": "\U0001f600 Gout", "entities": [{{"id": 1.5, {}, "type": "D", "text": "Gout"}}]}}\n'
)


@pytest.mark.parametrize(("ending", "form", "wrong", "right"), [
    (".pubtator", PUBTATOR, ("3\t7", "12\t17"), ("2\t6", "11\t16")),
    (".txt.gz", PUBTATOR, ("3\t7", "12\t17"), ("2\t6", "11\t16")),
    (".jsonl", JSONL, ('"start": 3, "end": 7',), ('"start": 2, "end": 6',)),
])  # fmt: skip
def test_the_copy_differs_in_offsets_only(tmp_path, capsys, ending, form, wrong, right):
    source, target = put(tmp_path / f"a{ending}", form.format(*wrong)), tmp_path / f"b{ending}"
    assert main(["fix-offsets", str(source), str(target), "--as", "utf-16"]) == 0
    count = len(wrong)
    sample = f"{format_count(count, 'mention')} in 1 document, 0 fit as written"
    told = f"{source}: of {sample}, {count} if the offsets count UTF-16 units (all in 1 document)\n"
    assert capsys.readouterr().out == f"{told}{target}: {count} of {count} mentions corrected\n"
    plain = put(tmp_path / f"expected{ending.removesuffix('.gz')}", form.format(*right))
    assert [raw.mentions for raw in read_any(target)] != [raw.mentions for raw in read_any(source)]
    if ending.endswith(".gz"):
        assert target.read_bytes()[:2] == b"\x1f\x8b"
    else:
        assert target.read_bytes() == plain.read_bytes()


def test_a_brat_folder_is_copied_with_all_its_files(tmp_path):
    source = put(tmp_path / "in/7.ann", BRAT.format("3 7", "3 7;12 17")).parent
    put(source / "7.txt", "\U0001f600 Gout and colic")
    put(source / "annotation.conf", "[entities]")
    outcome = fix_offsets(source, tmp_path / "out")
    assert (outcome.corrected, outcome.mentions, outcome.misfits) == (2, 2, [])
    copied = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    expected = {path.name: path.read_bytes() for path in source.iterdir()}
    assert copied == expected | {"7.ann": BRAT.format("2 6", "2 6;11 16").encode()}


def test_what_still_does_not_fit_is_told(tmp_path, capsys):
    source = put(tmp_path / "a.txt", PUBTATOR.format("3\t7", "12\t17").replace("\n\n", "\n7\t1\t2\todd\tDisease\n"))
    assert main(["fix-offsets", str(source), str(tmp_path / "b.txt")]) == 1
    assert capsys.readouterr().err == (
        f"warning: 1 mention left as written, whose text isn't at the offsets, the first at {source}:6: 'odd'\n"
    )


@pytest.mark.parametrize(("name", "content", "options", "message"), [
    ("a.txt", PUBTATOR.format("2\t6", "11\t16"), [], "nothing to correct, all 2 mentions that state their text stand"),
    ("a.txt", PUBTATOR.format("3\t7", "12\t17"), ["--as", "bytes"], "2 of 2 mentions don't stand at their offsets, and"
     " --as bytes makes no more of them fit"),
    ("a.txt", PUBTATOR.format("1\t7", "14\t16"), [], "2 of 2 mentions don't stand at their offsets, and no way of"),
    ("a.conll", "Gout\tB-D\n", ["--as", "shift"], "no mention states its text"),
    ("a.conll", "Gout\tB-D\n", [], "no mention states its text"),
])  # fmt: skip
def test_no_copy_without_a_reason(tmp_path, capsys, name, content, options, message):
    source = put(tmp_path / name, content)
    assert main(["fix-offsets", str(source), str(tmp_path / f"out-{name}"), *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


LABELS = '{{"value": {{"start": {}, "end": {}, "text": "{}", "labels": ["D"]}}, "type": "labels"}}'
BIOC = (
    '<document><id>{}</id><passage><offset>0</offset><text>{}</text><annotation id="1"><infon key="type">D</infon>'
    '<location offset="3" length="4"/><text>Gout</text></annotation></passage></document>'
)


def test_of_other_formats_the_copy_is_jsonl(tmp_path, capsys):
    labels = f"{LABELS.format(3, 7, 'Gout')}, {LABELS.format(12, 17, 'colic')}"
    task = f'[{{"id": 7, "data": {{"text": "\U0001f600 Gout and colic"}}, "annotations": [{{"result": [{labels}]}}]}}]'
    source = put(tmp_path / "a.json", task)
    assert main(["fix-offsets", str(source), str(tmp_path / "b.json")]) == 2
    assert "the copy is JSONL; give it the ending .jsonl" in capsys.readouterr().err
    outcome = fix_offsets(source, tmp_path / "b.jsonl")
    assert (outcome.corrected, outcome.misfits, outcome.lost) == (2, [], {})
    (raw,) = read_any(tmp_path / "b.jsonl")
    assert [(raw.document_id, m.spans, m.text) for m in raw.mentions] == [
        ("7", ((2, 6),), "Gout"), ("7", ((11, 16),), "colic")
    ]  # fmt: skip


def test_who_knows_how_a_tool_counts_can_say_it(tmp_path, capsys):
    source = put(tmp_path / "a.jsonl", '{"id": 7, "text": "\U0001f600 Gout", "label": [[3, 7, "D"]]}\n')
    assert main(["fix-offsets", str(source), str(tmp_path / "b.jsonl"), "--as", "utf-16"]) == 0
    assert (
        "no mention states its text, so it is not checked whether the offsets count UTF-16" in capsys.readouterr().out
    )
    assert [m.spans for raw in read_any(tmp_path / "b.jsonl") for m in raw.mentions] == [((2, 6),)]


def test_equal_offsets_on_one_line_are_not_mistaken(tmp_path):
    texts = BIOC.format(1, "\U0001f600 Gout") + BIOC.format(2, "my Gout")
    source = put(tmp_path / "a.xml", f"<collection>{texts}</collection>")
    with pytest.raises(CorpusError, match="a.xml:1: mentions with equal offsets on one line need different corr"):
        fix_offsets(source, tmp_path / "b.xml", "utf-16")


@pytest.mark.parametrize(("target", "message"), [("a.txt", "exists; choose another"), ("b.xml", "has the format of")])
def test_targets_that_are_refused(tmp_path, capsys, target, message):
    source = put(tmp_path / "a.txt", PUBTATOR.format("3\t7", "12\t17"))
    assert main(["fix-offsets", str(source), str(tmp_path / target)]) == 2
    assert message in capsys.readouterr().err
