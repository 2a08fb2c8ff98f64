"""What is read of JATS articles: which parts, as which passages."""

from pathlib import Path

import pytest
from format_tools import error_of
from toys import put

from dataset_scripts.formats import read_any


REAL = Path(__file__).parents[3] / "shared" / "pubmed" / "pone.0046493.nxml"
ARTICLE = """<!DOCTYPE article SYSTEM "http://localhost:9/JATS.dtd">
<article xmlns:mml="x"><front><journal-meta><p>No.</p></journal-meta><article-meta>
 <article-id pub-id-type="pmid">5</article-id><article-id pub-id-type="pmc">7</article-id>
 <title-group><article-title>Gout <italic>in vivo</italic><xref>*</xref></article-title><subtitle>A trial</subtitle>
 <alt-title>No.</alt-title><fn-group><fn><p>No.</p></fn></fn-group></title-group>
 <contrib-group><p>No.</p></contrib-group><permissions><license><p>No.</p></license></permissions>
 <abstract><title>Abstract</title><sec><title>Aim</title><p>To see.</p></sec><p>Done.</p></abstract>
 <trans-abstract><p>Non.</p></trans-abstract><kwd-group><kwd>No.</kwd></kwd-group></article-meta></front>
<body>Loose.<sec><label>2.1</label><title>Methods</title>
 <p>Cells<sup>+</sup>
   grew <xref ref-type="bibr">[1]</xref>:<list><list-item><label>1)</label><p>one;</p></list-item><list-item>
   <p>two</p></list-item></list> and more<fn><p>No.</p></fn> by
   <disp-formula><label>(3)</label><alternatives><tex-math>no</tex-math><mml:math><mml:mi>E</mml:mi>
   <mml:mo>=</mml:mo></mml:math></alternatives></disp-formula>.</p>
 <fig><label>Figure 1.</label><caption><title>Mice.</title><p>A, <bold>B</bold></p><list><list-item><label>x</label>
   <p>C</p></list-item></list></caption><graphic><alt-text>No.</alt-text></graphic></fig>
 <table-wrap><label>Table 1</label><caption><p>Doses.</p></caption><table><tr><td>No.</td></tr></table>
   <table-wrap-foot><fn><p>No.</p></fn></table-wrap-foot></table-wrap>
 <fig><label>No.</label><graphic/></fig>
 <supplementary-material><caption><p>Data.</p></caption><media><caption><p>No.</p></caption></media>
 </supplementary-material></sec>
 <def-list><def-item><term>IL</term><def><p>interleukin</p></def></def-item></def-list></body>
<back><ack><p>No.</p></ack><ref-list><ref><article-title>No.</article-title></ref></ref-list><app-group><app>
 <title>Appendix</title><p>Last.</p></app></app-group></back>
<floats-group><fig><label>Figure 2</label><caption><p>Rats.</p></caption></fig></floats-group>
<sub-article><front-stub><title-group><article-title>No.</article-title></title-group></front-stub></sub-article>
</article>"""
PASSAGES = [
    ("title", "Gout in vivo*"), ("title", "A trial"),
    ("abstract", "Abstract"), ("abstract", "Aim"), ("abstract", "To see."), ("abstract", "Done."),
    ("paragraph", "Loose."), ("heading", "2.1 Methods"), ("paragraph", "Cells+ grew [1]:"),
    ("paragraph", "1) one;"), ("paragraph", "two"), ("paragraph", "and more by (3) E= ."),
    ("caption", "Figure 1. Mice. A, B x C"), ("caption", "Table 1 Doses."), ("caption", "Data."),
    ("paragraph", "IL interleukin"), ("heading", "Appendix"), ("paragraph", "Last."), ("caption", "Figure 2 Rats."),
]  # fmt: skip


def test_passages_are_lines(tmp_path):
    path = put(tmp_path / "c.nxml", ARTICLE)
    (document,) = read_any(path)
    assert (document.document_id, document.where, document.mentions) == ("PMC7", f"{path}:2", [])
    assert document.text.split("\n") == [text for _, text in PASSAGES]
    assert [(infons["type"], document.text[start:end]) for start, end, infons in document.passages] == PASSAGES


def test_ids_are_the_first_stated_of_pmcid_pmid_and_doi(tmp_path):
    stated = [
        {"doi": "10.1/x", "pmid": "5", "pmcid": "PMC9", "pmc": "8"}, {"pmc": "PMC8"},
        {"doi": "10.1/x", "pmid": " 5\n"}, {"doi": "10.1/x", "publisher-id": "z"}, {"pmid": ""},
    ]  # fmt: skip
    ids = ("".join(f'<article-id pub-id-type="{kind}">{value}</article-id>' for kind, value in one.items())
           for one in stated)  # fmt: skip
    articles = "".join(f"<article><front><article-meta>{one}</article-meta></front></article>" for one in ids)
    for root, inside in (("pmc-articleset", ""), ("OAI-PMH", "<ListRecords><record><metadata>")):
        ending = "</metadata></record></ListRecords>" if inside else ""
        path = put(tmp_path / "c.xml", f"<{root}>{inside}{articles}{ending}</{root}>")
        assert [one.document_id for one in read_any(path)] == ["PMC9", "PMC8", "5", "10.1/x", "c-5"]
    (alone,) = read_any(put(tmp_path / "a.nxml", "<article><body><p>One.</p></body></article>"))
    assert (alone.document_id, alone.text, alone.passages) == (
        "a",
        "\nOne.",
        [(0, 0, {"type": "title"}), (1, 5, {"type": "paragraph"})],
    )


def test_a_broken_article_is_refused(tmp_path):
    path = put(tmp_path / "c.nxml", "<article><body>\n<p>One</body></article>")
    assert error_of(read_any, path) == f"{path}:2: not well-formed XML (mismatched tag); correct or copy it again"


@pytest.mark.skipif(not REAL.exists(), reason="shared/pubmed is not here")
def test_a_real_article_is_read():
    (document,) = read_any(REAL)
    lines = document.text.split("\n")
    kinds = [infons["type"] for *_, infons in document.passages]
    assert (document.document_id, len(document.text), len(lines)) == ("PMC3460867", 38116, 68)
    assert [kinds.count(kind) for kind in ("title", "abstract", "heading", "paragraph", "caption")] == [
        1,
        1,
        21,
        34,
        11,
    ]
    assert lines[0].startswith("MmPPOX Inhibits Mycobacterium tuberculosis Lipolytic Enzymes Belonging to the Hormone")
    assert lines[2:4] == ["Introduction", document.text[1224:2498]]
    assert lines[3].endswith("escape, leading to reactivation of the disease.")
    assert "Table 1 Substrate specificity of recombinant Lip-HSL proteins." in lines
    assert "LipW, LipY and Cut6 [16] were amplified by PCR" in document.text
    assert lines[-1] == (
        "Table S4 PMF analyses of HSL family members and modifications after incubation with MmPPOX "
        "(xI\u200a=\u200a20). (DOC)"
    )
