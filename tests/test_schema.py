"""From what a file states to documents, and from documents to words and labels."""

import pytest
from toys import collect

from dataset_scripts import bio, load_corpus
from dataset_scripts.documents import to_documents
from dataset_scripts.formats.files import format_count
from dataset_scripts.problems import Problems
from dataset_scripts.schema import CorpusError, Document, Entity, Ledger, Mention, RawDocument


def dropped(raw: RawDocument) -> tuple[list[tuple[int, int, str]], dict[str, int]]:
    """What `collect` keeps of a document, and what it counts as lost."""
    ((document,), ledger) = collect([raw])
    return [(e.start, e.end, e.type) for e in document.entities], dict(ledger.dropped)


def test_white_space_at_the_edges_is_no_part_of_a_mention(caplog):
    spans = [((2, 8),), ((3, 7),), ((0, 4), (7, 9)), ((9, 10),)]
    mentions = [Mention(span, "x", where=f"f:{n}") for n, span in enumerate(spans, 1)]
    raw = RawDocument("1", "no\u200bgout\n a", mentions)
    assert dropped(raw) == ([(3, 7, "x"), (9, 10, "x")], {"duplicate mention": 1, "discontinuous": 1})
    assert caplog.messages == [
        "FILE: 1 mention in 1 document with white space or invisible characters at an end, which are left out; the "
        "first is x 2-8 of document 1 (f:1)"
    ]


@pytest.mark.parametrize(("span", "cause", "told"), [
    ((2, 4), "empty span", "without a visible character, dropped; the first is x 2-4 of document 7 (f:3)"),
    ((2, 2), "empty span", "without a visible character, dropped; the first is x 2-2 of document 7 (f:3)"),
    ((4, 2), "empty span", "without a visible character, dropped; the first is x 4-2 of document 7 (f:3)"),
    ((6, 9), "outside the text", "outside the document's text, dropped; the first is x 6-9 of "
                                 "document 7 (f:3), whose text has 8 characters"),
    ((-1, 2), "outside the text", "outside the document's text, dropped; the first is x -1-2 of "
                                  "document 7 (f:3), whose text has 8 characters"),
])  # fmt: skip
def test_mentions_of_nothing_or_outside_the_text_are_dropped_with_one_line_a_cause(caplog, span, cause, told):
    mentions = [Mention((span,), "x", where=f"f:{n}") for n in (3, 4)] + [Mention(((4, 8),), "x")]
    raws = [RawDocument("7", "no\u200b\ngout", mentions), RawDocument("8", "gout\ngout", mentions[:1])]
    _, ledger = collect(raws)
    lost = 3 - (cause == "empty span" and span in ((2, 4),)) - (span == (6, 9))
    assert (ledger.read, dict(ledger.dropped)) == (4, {cause: lost})
    assert caplog.messages == [f"FILE: {lost} mentions in {format_count(lost - 1, 'document')} {told}"]
    problems = Problems()
    list(to_documents(raws, problems=problems))
    with pytest.raises(CorpusError, match="correct the file, or read it without --strict"):
        problems.report("FILE", strict=True)


def test_parts_of_a_mention_are_one_if_only_white_space_is_between():
    text = "acute renal\n failure"
    assert dropped(RawDocument("1", text, [Mention(((0, 11), (13, 20)), "x")])) == ([(0, 20, "x")], {})
    for parts in (((0, 5), (3, 11)), ((6, 11), (0, 5)), ((0, 5), (13, 20))):  # crossing, backwards, a word between
        assert dropped(RawDocument("1", text, [Mention(parts, "x")])) == ([], {"discontinuous": 1})


def test_the_same_mention_twice_is_counted():
    twice = [Mention(((0, 4),), "x"), Mention(((0, 4),), "y"), Mention(((0, 4),), "x")]
    assert dropped(RawDocument("1", "Gout", twice)) == ([(0, 4, "x"), (0, 4, "y")], {"duplicate mention": 1})


def test_other_texts_under_one_id_are_numbered_and_stay_a_group():
    raws = [RawDocument(name, text) for name, text in (("1", "a"), ("1-2", "b"), ("1", "c"), ("1", "d"), ("1", "a"))]
    documents, ledger = collect(raws)
    stated = [(document.document_id, document.text, document.group) for document in documents]
    assert stated == [("1", "a", "1"), ("1-2", "b", "1-2"), ("1-3", "c", "1"), ("1-4", "d", "1")]
    assert ledger.documents == 4


def test_ledgers_add_up():
    one = Ledger(1, 3, bio.Counter(nested=1), bio.Counter(x=3))
    both = one + Ledger(2, 4, bio.Counter(nested=1, crossing=1), bio.Counter(y=4))
    assert (both.documents, both.read, both.kept) == (3, 7, 4)
    assert both.as_dict()["dropped"] == {"crossing": 1, "nested": 2} and both.types == {"x": 3, "y": 4}


@pytest.mark.parametrize(("text", "words"), [
    ("BRCA1_x β2 nai\u0308ve I\u03baB\u03b1.", ["BRCA1", "_", "x", "β2", "nai\u0308ve", "IκBα", "."]),
    ("用IL-2后", ["用", "IL", "-", "2", "后"]),
    ("カプセル 감기 약", ["カ", "プ", "セ", "ル", "감기", "약"]),
    ("ยาไข้", ["ย", "า", "ไ", "ข", "\u0e49"]),
    ("ກັດ ថ្នាំ ဆေး", ["ກ", "\u0eb1", "ດ", "ថ", "\u17d2", "ន", "\u17b6", "\u17c6", "ဆ", "\u1031", "\u1038"]),
])  # fmt: skip
def test_each_character_of_a_script_without_spaces_is_a_word(text, words):
    assert [text[start:end] for start, end in bio.split_words(text)] == words


@pytest.mark.parametrize("name", ["ncbi", "bc5cdr", "bc2gm", "jnlpba"])
def test_english_is_split_as_by_the_models_of_version_0_1(name):
    for documents in load_corpus(name, "sample").splits.values():
        for document in documents:
            assert bio.split_words(document.text) == bio.split_words(document.text, r"(?:[^\W_][\u0300-\u036f]*)+|\S")


def test_words_of_a_document_are_split_once_for_each_pattern_and_text(monkeypatch):
    split, calls = bio.split_words, []
    monkeypatch.setattr(bio, "split_words", lambda *arguments: calls.append(arguments) or split(*arguments))
    document = Document("1", "IL-2 gene", [Entity(0, 4, "Gene")])
    for _ in range(2):
        words, tags, lost = bio.label_words(document)
        assert (words, tags, lost) == ([(0, 2), (2, 3), (3, 4), (5, 9)], ["B-Gene", "I-Gene", "I-Gene", "O"], {})
        assert bio.label_words(document, r"\S+")[:2] == ([(0, 4), (5, 9)], ["B-Gene", "O"])
        words.clear()  # the caller's own list
    assert len(calls) == 2
    assert document == Document("1", "IL-2 gene", [Entity(0, 4, "Gene")])
    document.text = ""
    assert bio.find_words(document) == [] and len(calls) == 3
