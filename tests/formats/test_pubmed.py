"""What is read of PubMed XML: titles and abstracts, which citations of a file, and what malformed files keep."""

import gzip
import itertools
import logging
from pathlib import Path

import pytest
from format_tools import error_of
from toys import put

from dataset_scripts.formats import is_corpus_path, read_any
from dataset_scripts.schema import CorpusError


REAL = Path(__file__).parents[3] / "shared" / "pubmed"
MATH = (
    '<mml:math xmlns:mml="x"><mml:semantics>\n <mml:msup><mml:mi> x </mml:mi>\n <mml:mn>2</mml:mn></mml:msup>'
    '<mml:annotation-xml><mml:ci>no</mml:ci></mml:annotation-xml><mml:annotation encoding="application/x-tex">x^2'
    "</mml:annotation></mml:semantics></mml:math>"
)
AIM = '<AbstractText Label="AIM" NlmCategory="OBJECTIVE">To see.</AbstractText>'
OTHERS = (
    '<OtherAbstract Language="fre"><AbstractText>Non.</AbstractText></OtherAbstract><CommentsCorrectionsList>'
    '<CommentsCorrections><PMID Version="9">1</PMID></CommentsCorrections></CommentsCorrectionsList>'
)


def citation(pmid: object, title: str = "Gout.", *sections: str, version: int = 1) -> str:
    """A citation on two lines; a section is the text of an `AbstractText`, or the element itself."""
    elements = (one if one.startswith("<AbstractText") else f"<AbstractText>{one}</AbstractText>" for one in sections)
    abstract = f"<Abstract>{''.join(elements)}<CopyrightInformation>No.</CopyrightInformation></Abstract>"
    return (
        f'<MedlineCitation><PMID Version="{version}">{pmid}</PMID><Article><Journal><Title>J</Title></Journal>\n'
        f"<ArticleTitle>{title}</ArticleTitle>{abstract if sections else ''}<VernacularTitle>V</VernacularTitle>"
        f"</Article>{OTHERS}</MedlineCitation>"
    )


def article_set(*citations: str, end: str = "</PubmedArticleSet>") -> str:
    articles = (f"\n<PubmedArticle>{one}<PubmedData><PMID>3</PMID></PubmedData></PubmedArticle>" for one in citations)
    return f"<PubmedArticleSet>{''.join(articles)}{end}"


def texts(path: Path) -> list[tuple[str, str]]:
    return [(document.document_id, document.text) for document in read_any(path)]


@pytest.mark.parametrize(("title", "sections", "text"), [
    ("Gout.", (), "Gout."),
    ("Gout.", ("", " \n ", '<AbstractText Label="AIM"/>'), "Gout."),
    ("", ("It hurts.",), "\nIt hurts."),
    ("", (), ""),
    ("[Die Gicht].", ("Ja.",), "[Die Gicht].\nJa."),
    ("A.", (AIM, "So.", '<AbstractText Label="">Look.</AbstractText>'), "A.\nAIM: To see. So. Look."),
    ("<i>E. <b>coli</b></i> H<sub>2</sub>O<sup>+</sup> <u>x</u>", ("a&lt;b&#38;\U0001f9ec",),
     "E. coli H2O+ x\na<b&\U0001f9ec"),
    (f"Of {MATH} <i>n</i>", (f"<DispFormula>{MATH}</DispFormula>",), "Of x2 n\nx2"),
    # line breaks: between words, before an inline element, and such that stand where no space was
    ("\n  Gout\n  and\r\n\tcolic \n", ("a  b\tc\u00a0\n d\u2028&#13;&#10;e",),
     "Gout and colic\na  b\tc\u00a0 d\u2028 e"),
    ("\u03b2\n\t<sub>2</sub>-agonist", ("<i>k</i>\n<sub>cat</sub> of \n<sup>3</sup>H\n<i>E. coli</i>\n<b>x</b>",),
     "\u03b22-agonist\nkcat of 3H E. coli x"),
    # what is no text: comments and instructions; what is: CDATA
    ("IL<!-- no --><?no no?>-2", ("<![CDATA[p < .05 & <i>]]>",), "IL-2\np < .05 & <i>"),
])  # fmt: skip
def test_title_and_abstract_are_one_text(tmp_path, title, sections, text):
    assert texts(put(tmp_path / "c.xml", article_set(citation(7, title, *sections)))) == [("7", text)]


def test_passages_are_the_title_and_the_sections(tmp_path):
    path = put(tmp_path / "c.xml", article_set(citation(6), citation(7, "Gout.", AIM, "", "So.")))
    document = list(read_any(path))[1]
    assert document.passages == [
        (0, 5, {"type": "title"}), (6, 18, {"type": "abstract"}), (19, 22, {"type": "abstract"})
    ]  # fmt: skip
    assert (document.where, document.mentions) == (f"{path}:4", [])


BOOK = "<PubmedBookArticle><BookDocument><PMID>8</PMID><Book>{}<BookTitle>Genes</BookTitle></Book>{}</BookDocument>{}"
PLAIN = [("7", "Gout.")]


@pytest.mark.parametrize(("content", "documents"), [
    (f"<MedlineCitationSet>{citation(7)}{citation(6, '')}</MedlineCitationSet>", [("7", "Gout."), ("6", "")]),
    (article_set(citation(7))[len("<PubmedArticleSet>\n"):-len("</PubmedArticleSet>")], PLAIN),
    (citation(7), PLAIN),
    (article_set(), []),
    (article_set("", citation(" "), citation(7).replace(' Version="1"', "")),
     [("c-1", ""), ("c-2", "Gout."), ("7", "Gout.")]),
    (article_set(end=BOOK.format("", "<ArticleTitle>IL2</ArticleTitle><Abstract><AbstractText>It is.</AbstractText>"
     "</Abstract><Sections><Section/></Sections>", "</PubmedBookArticle></PubmedArticleSet>")),
     [("8", "IL2\nIt is.")]),
    (BOOK.format("<Publisher/>", "", "<PubmedBookData/></PubmedBookArticle>"), [("8", "Genes")]),
    ('<?xml version="1.0" encoding="ISO-8859-1"?>' + article_set(citation(7, "caf\u00e9")), [("7", "caf\u00e9")]),
    ("\ufeff" + article_set(citation(7)), PLAIN),
    ('<!DOCTYPE PubmedArticleSet PUBLIC "x" "http://localhost:9/x.dtd">' + article_set(citation(7)), PLAIN),
    ('<!DOCTYPE x [<!ATTLIST AbstractText Label CDATA "DEFAULT">]>' + article_set(citation(7, "Gout.", "It is.")),
     [("7", "Gout.\nIt is.")]),
    (article_set(citation(7)).replace("<PubmedData>", "<a>" * 10_000 + "</a>" * 10_000 + "<PubmedData>"), PLAIN),
    (article_set(citation(7, "x", "IL-2 " * 600_000)), [("7", "x\n" + "IL-2 " * 599_999 + "IL-2")]),
], ids=itertools.count())  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_every_root_and_form_is_read(tmp_path, content, documents, packed):
    data = content.encode("latin-1" if "ISO-8859-1" in content else "utf-8")
    assert texts(put(tmp_path / f"c.xml{'.gz' * packed}", gzip.compress(data) if packed else data)) == documents


@pytest.mark.parametrize(("content", "ids", "warnings"), [
    (article_set(citation(5), citation(6), citation(""), end="<DeleteCitation>\n<PMID Version='1'> 5 </PMID>"
     "<PMID>9</PMID><PMID/></DeleteCitation></PubmedArticleSet>"), ["6", "c-3"],
     [": <DeleteCitation> lists 2 PMIDs; citations of this file that are among them and left out: 1"]),
    (article_set(citation(5), citation(6, version=2), citation(5, version=10), citation(6), citation(5, version=9)),
     ["6", "5"], [":2: left out, because a later version of this PMID stands in the file (so are 2 others)"]),
    (article_set(citation(5, "a", version=3), citation(5, "b", version=3)), ["5", "5"], []),
    (article_set(citation(5), "<!-- <DeleteCitation><PMID>5</PMID></DeleteCitation> -->"), ["5", "c-2"], []),
])  # fmt: skip
def test_deleted_citations_and_earlier_versions_are_left_out(tmp_path, caplog, content, ids, warnings):
    path = put(tmp_path / "c.xml", content)
    with caplog.at_level(logging.WARNING):
        assert [document.document_id for document in read_any(path)] == ids
    assert caplog.messages == [f"{path}{warning}" for warning in warnings]


@pytest.mark.parametrize(("fault", "message"), [
    ("<b></i>", ":7: not well-formed XML (mismatched tag); correct or copy it again"),
    ("&alpha;", ":7: not well-formed XML (undefined entity); correct or copy it again"),
    ("\x00", ":7: not well-formed XML (not well-formed (invalid token)); correct or copy it again"),
    ("<b>" * 100, ":7: elements nested deeper than 100; this is no corpus file"),
    (f"<!--{'x' * 5_000_000}-->", ":7: a tag or comment over 4194304 bytes; this is no corpus file"),
], ids=itertools.count())  # fmt: skip
def test_what_stands_before_a_malformed_place_is_read(tmp_path, fault, message):
    path = put(tmp_path / "c.xml", article_set(citation(1), citation(2), citation(3, fault), citation(4)))
    documents = read_any(path)
    assert [next(documents).document_id for _ in range(2)] == ["1", "2"]
    with pytest.raises(CorpusError) as error:
        next(documents)
    assert str(error.value) == f"{path}{message}"


def test_what_stands_before_the_end_of_a_cut_gzip_is_read(tmp_path):
    whole = gzip.compress(article_set(*map(citation, range(90))).encode())
    documents, kept = read_any(put(tmp_path / "c.xml.gz", whole[:-8])), []
    with pytest.raises(CorpusError, match=r"c\.xml\.gz: can't be read \(Compressed file ended"):
        kept.extend(document.document_id for document in documents)
    assert kept == [str(number) for number in range(90)]


def test_only_xml_of_known_roots_is_read(tmp_path):
    assert is_corpus_path("article.nxml.gz")
    path = put(tmp_path / "c.nxml", "<DeleteCitation/>")
    assert error_of(read_any, path) == (
        f"{path}: XML root <DeleteCitation>; expected <set> (GENIA, GPML) or <collection> (BioC), or, of texts "
        "without annotations, <PubmedArticleSet> (PubMed) or <article> (JATS)"
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/pubmed is not here")
def test_real_citations_are_read():
    (structured,) = read_any(REAL / "pubmed-29768149.xml")
    others = list(read_any(REAL / "test_current_medline.xml.gz"))
    assert structured.document_id == "29768149"
    title = (
        "Inhaled Combined Budesonide-Formoterol as Needed in Mild Asthma.\nBACKGROUND: In patients with mild asthma"
    )
    assert structured.text.startswith(title)
    assert (
        "a fast-acting \u03b22-agonist may be an alternative to conventional treatment strategies. METHODS: We "
        in (structured.text)
    )
    assert structured.text.endswith("(Funded by AstraZeneca; SYGMA 1 ClinicalTrials.gov number, NCT02149199 .).")
    assert [passage[:2] for passage in structured.passages] == [
        (0, 64), (65, 239), (240, 922), (923, 2089), (2090, 2692)]  # fmt: skip
    assert [(one.document_id, len(one.text), len(one.passages)) for one in others] == [
        ("36400559", 664, 2), ("2930949", 476, 2), ("11446611", 16, 1), ("28786991", 2196, 5)]  # fmt: skip
    assert others[0].text.endswith("greater than 6\u00a0weeks, imaging and a specialist referral may be indicated.")
    assert others[2].text == "Acute back pain."
