"""What corpora share, as `stats --overlap` prints it, and the figure."""

import json
import sys

import pytest
from toys import document, put, write_jsonl

from dataset_scripts.__main__ import main
from dataset_scripts.figures import count_lengths
from dataset_scripts.loading import load_corpus


SHARED = "Gout was treated with colchicine in all 12 patients of the study."


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Two corpora that share a text, but for case and spaces, and the mention `gout`."""
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "one.jsonl", [
        document("1", SHARED, [("Gout", "Disease"), ("colchicine", "Chemical")]),
        document("2", "No asthma, gout or severe acute colic.", [("asthma", "Disease"), ("gout", "Disease"),
                                                                 ("severe acute colic", "Disease")]),
        document("3", "Nothing.", []),
    ])  # fmt: skip
    texts = (SHARED.upper().replace("GOUT", " GOUT"), "Asthma.", "Colic in horses.", "Measles.")
    write_jsonl(tmp_path / "two.jsonl", [document(str(n), text, [(text.split()[0].rstrip("."), "D")])
                                         for n, text in enumerate(texts)])  # fmt: skip
    return ["stats", "./one.jsonl", "./two.jsonl"]


def test_overlap_as_tables(two, capsys):
    assert main([*two, "--overlap"]) == 0
    assert capsys.readouterr().out.split("\n\n")[1:] == [
        "documents    all  in ./one.jsonl  in ./two.jsonl\n"
        "./one.jsonl  3    -               1 (33.3%)\n"
        "./two.jsonl  4    1 (25.0%)       -",
        "mention strings  all  in ./one.jsonl  in ./two.jsonl\n"
        "./one.jsonl      4    -               2 (50.0%)\n"
        "./two.jsonl      4    2 (50.0%)       -\n",
    ]


def test_overlap_in_json(two, capsys):
    assert main([*two, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert list(plain) == two[1:]
    assert main([*two, "--json", "--overlap"]) == 0
    one, other = two[1:]
    assert json.loads(capsys.readouterr().out) == plain | {
        "overlap": {
            "documents": {one: {one: 3, other: 1}, other: {one: 1, other: 4}},
            "mention_strings": {one: {one: 4, other: 2}, other: {one: 2, other: 4}},
            "shared_document_ids": {one: {other: ["1"]}, other: {one: ["0"]}},
            "shared_mention_strings": {one: {other: ["asthma", "gout"]}, other: {one: ["asthma", "gout"]}},
        }
    }
    assert main([*two[:2], "--json", "--overlap"]) == 0
    out, err = capsys.readouterr()
    assert (list(json.loads(out)), err) == ([one], "note: --overlap compares corpora; name two or more\n")


def test_registered_corpora_share_documents_by_id(tmp_path, capsys):
    text = "{0}|t|Gout.\n{0}|a|{1}\n{0}\t0\t4\tGout\tDisease\n"
    for pmid, split in enumerate(("Training", "Development", "Test"), 1):
        path = tmp_path / f"bc5cdr/CDR_Data/CDR.Corpus.v010516/CDR_{split}Set.PubTator.txt"
        put(path, text.format(pmid, "One text.").replace("Disease", "Chemical"))
    for pmid, split in enumerate(("train", "develop", "test"), 2):
        path = tmp_path / f"ncbi_disease/NCBI{split}set_corpus.txt"
        put(path, text.format(pmid, "Another.").replace("Disease", "Modifier"))
    assert main(["stats", "ncbi", "bc5cdr", "--data_dir", str(tmp_path), "--json", "--overlap"]) == 0
    shared = json.loads(capsys.readouterr().out)["overlap"]["documents"]
    assert shared == {"ncbi": {"ncbi": 3, "bc5cdr": 2}, "bc5cdr": {"ncbi": 2, "bc5cdr": 3}}


@pytest.mark.parametrize("number", [1, 2])
def test_the_figure_is_drawn(two, tmp_path, number, capsys):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert main([*two[: number + 1], "--figure", "new/figure.png"]) == 0
    assert "overlap" not in capsys.readouterr().out
    image = pyplot.imread(tmp_path / "new/figure.png")
    assert image.shape[1] == 1920 and len({tuple(pixel) for pixel in image.reshape(-1, 4)}) > 20
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["figure.png"]


def test_lengths_count_words(two):
    documents = load_corpus(two[1], scoring_only=True).splits["test"]
    assert count_lengths(documents, r"\w+") == {1: 4, 3: 1}
    assert count_lengths(documents, r"\w") == {4: 2, 6: 1, 8: 2}  # 8 or more


@pytest.mark.parametrize(("name", "missing", "message"), [
    ("figure.jpeg", (), "--figure figure.jpeg: .jpeg ending; one of .png, .pdf, .svg is needed"),
    ("figure.png", ("matplotlib",), "--figure needs matplotlib; pip install 'mtl-bioner[report]'"),
])  # fmt: skip
def test_a_figure_that_cannot_be_drawn_is_refused_before_reading(monkeypatch, capsys, name, missing, message):
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["stats", "./no.jsonl", "--figure", name]) == 2
    assert message in capsys.readouterr().err
