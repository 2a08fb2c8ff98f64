"""Pages that show entities: what they hold, who may write over what, and what a reader sees in a real browser."""

import json
import random
import re
from collections.abc import Callable
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import document, put, write_jsonl

from mtl_bioner.evaluation.error_analysis import pair_errors
from mtl_bioner.hub.push import PUBLISHED
from mtl_bioner.reporting import error_page, view
from mtl_bioner.reporting.entity_page import build_entity_page, write_policy
from mtl_bioner.reporting.error_page import ScoredText, write_error_page
from mtl_bioner.reporting.run_record import remove_old_results


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> ${alert(3)} @data@ \"'&amp; \u202eb\u202c\x00\r\n"
)
ALPHABET = "aB <>&\"'\n\r\t/!-\u2028\u202e\u200b\x00\x85é𝛼🧬{}$@|\\"


class Reader(HTMLParser):
    """Collects the elements of a page, and its data."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[Any] = []
        self.data, self.title, self.inside = "", "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))
        self.inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.data += data if self.inside == "data" else ""
        self.title += data if self.inside == "title" and "h1" not in [tag for tag, _ in self.tags] else ""


def read_page(page: str) -> dict[str, Any]:
    return json.loads(Reader(page).data)


def entity(start: int, end: int, name: str = "Disease", **others: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "type": name, **others}


# --------------------------------------------------------------------------------------------------------- the page


@given(st.text(ALPHABET), st.text(ALPHABET, min_size=1), st.text(ALPHABET, min_size=1))
def test_a_page_holds_exactly_its_texts_and_no_other_elements(text, name, document_id):
    entities = [entity(0, len(text), name, score=0.25, task=name)] if text else []
    page = build_entity_page(name, [{"document_id": document_id, "text": text, "entities": entities}], [name])
    plain = build_entity_page("t", [{"document_id": "1", "text": "", "entities": []}])
    assert Reader(page).tags == Reader(plain).tags
    shown = {"spans": [[0, len(text)]], "type": name, "score": 0.25, "tasks": [name]}
    (held,) = read_page(page)["documents"]
    assert held == {"id": document_id, "text": text, "columns": [[shown] if text else []]}
    page.encode()


def test_the_policy_allows_the_pages_own_script_and_style_only():
    page = build_entity_page(HOSTILE, [{"document_id": HOSTILE, "text": HOSTILE, "entities": []}])
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert policy == write_policy(page)
    assert re.sub("sha256-[A-Za-z0-9+/]{43}=", "HASH", policy) == (
        "default-src 'none'; script-src 'HASH'; style-src 'HASH'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"https?://|@policy@|@title@|@data@</script>", page.replace(json.dumps(HOSTILE), ""))


def test_tasks_that_agree_scores_that_are_none_and_discontinuous_entities():
    entities = [
        entity(0, 4, score=0.75, task="ncbi", tasks=["ncbi", "bc5cdr"]),
        entity(0, 4, score=float("nan")),
        {"spans": [(0, 2), (3, 4)], "type": "Gene", "score": None, "task": ""},
    ]
    page = read_page(build_entity_page("t", [{"document_id": "1", "text": "Gout", "entities": entities}]))
    assert page["documents"][0]["columns"] == [[
        {"spans": [[0, 4]], "type": "Disease", "score": 0.75, "tasks": ["ncbi", "bc5cdr"]},
        {"spans": [[0, 4]], "type": "Disease"},
        {"spans": [[0, 2], [3, 4]], "type": "Gene"},
    ]]  # fmt: skip
    assert page["values"] == {"type": ["Disease", "Gene"], "task": ["bc5cdr", "ncbi"], "kind": [], "split": []}
    assert page["scored"] and page["least_score"] == 0.5


# ----------------------------------------------------------------------------------------------------- mtl-bioner view


@pytest.fixture
def run_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: view.main([*map(str, arguments)])


CASES = [document("7", "Case 7 had gout.", [("gout", "Disease")]), document("8", "No disease.", [])]
PUBTATOR = "7|t|Case 7 had gout.\n7|a|\n7\t11\t15\tgout\tDisease\n\n"


@pytest.mark.parametrize(
    ("files", "source", "ids"),
    [
        ({"n.jsonl": "".join(json.dumps(one) + "\n" for one in CASES)}, "n.jsonl", ["7", "8"]),
        ({"n.pubtator": PUBTATOR}, "n.pubtator", ["7"]),
        ({"n/7.txt": "Case 7 had gout.", "n/7.ann": "T1\tDisease 11 15\tgout\n"}, "n", ["7"]),
        ({"n/part-00000.pubtator": PUBTATOR, "n/manifest.json": "{}", "n/parts.jsonl": "{}"}, "n", ["7"]),
        ({"n/predictions_a.jsonl": json.dumps(CASES[0]), "n/run.json": "{}"}, "n", ["7"]),
        ({"n/train.pubtator": PUBTATOR, "n/test.pubtator": PUBTATOR}, "n", ["7", "7"]),
        ({"n/a.pubtator": PUBTATOR, "n/b.jsonl": json.dumps(CASES[0]), "n/README": "x"}, "n/", ["7", "7"]),
    ],
)
def test_view_shows_what_the_readers_read(run_view, tmp_path, capsys, files, source, ids):
    for name, content in files.items():
        put(tmp_path / name, content)
    assert run_view(source) == 0
    page = tmp_path / f"{source.strip('/')}.html"
    shown = capsys.readouterr()
    assert shown.out == f"{page}\n" and shown.err == "next: open the page in a browser\n"
    documents = read_page(page.read_text())["documents"]
    assert [one["id"] for one in documents] == ids
    assert documents[0]["columns"] == [[{"spans": [[11, 15]], "type": "Disease"}]]


def test_view_shows_a_bounded_number_of_documents(run_view, tmp_path, capsys, monkeypatch):
    write_jsonl(tmp_path / "n.jsonl", CASES * 3)
    assert run_view("n.jsonl", "--limit", 3) == 0
    note = "Shows the first 3 documents; more follow in n.jsonl, and --limit N shows more."
    assert capsys.readouterr().err.startswith(note)
    page = read_page((tmp_path / "n.jsonl.html").read_text())
    assert len(page["documents"]) == 3 and page["notes"] == [note]
    monkeypatch.setattr(view, "MOST_CHARACTERS", 30)
    assert run_view("n.jsonl") == 0
    assert len(read_page((tmp_path / "n.jsonl.html").read_text())["documents"]) == 2


def test_view_tells_what_it_cannot_show(run_view, tmp_path, capsys):
    outside = CASES[0] | {"entities": [entity(11, 15), entity(11, 99)]}
    put(tmp_path / "n.jsonl", f"{json.dumps(outside)}\n{{")
    assert run_view("n.jsonl", "--output", "p.html") == 1
    first, second, _ = capsys.readouterr().err.splitlines()
    assert first.startswith("Read up to an error: n.jsonl:2: invalid JSON")
    assert second == "1 mention left out, whose offsets or types can't be used."
    page = read_page((tmp_path / "p.html").read_text())
    assert page["notes"] == [first, second] and len(page["documents"][0]["columns"][0]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "nope: no such file or folder; check the path"),
        (["broken.jsonl"], "broken.jsonl:1: invalid JSON"),
        (["empty.jsonl"], "empty.jsonl holds no document; is it the right file?"),
        (["n.pubtator"], "n.pubtator.html is there, and no page of this project; give --output PAGE.html"),
        (["n.pubtator", "--output", "n.pubtator"], "n.pubtator is there, and no page of this project; give another"),
        (["n.pubtator", "--output", "folder"], "folder is there, and no page of this project; give another --output"),
        (["folder"], "folder holds pages already; open folder/index.html in a browser"),
        (["other"], "other: no file or subfolder is named by split"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_overwritten(run_view, tmp_path, capsys, arguments, message):
    files = {"broken.jsonl": "{", "empty.jsonl": "", "n.pubtator": PUBTATOR, "n.pubtator.html": "mine"}
    for name, content in (files | {"folder/part-00000.html": "x", "other/x": "x"}).items():
        put(tmp_path / name, content)
    assert run_view(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("mtl-bioner view: error: ") and message in error and error.count("\n") == 1
    assert all((tmp_path / name).read_text() == content for name, content in files.items())


def test_a_page_of_ours_is_written_anew(run_view, tmp_path):
    put(tmp_path / "n.pubtator", PUBTATOR)
    assert [run_view("n.pubtator"), run_view("n.pubtator")] == [0, 0]


# --------------------------------------------------------------------------------------------------------- errors.html


def scored(gold: list[tuple], predicted: list[tuple], text: str = "acute renal failure", **others: Any) -> ScoredText:
    entities = [entity(*span, score=0.5) for span in predicted]
    return ScoredText(**{"split": "test", "task": "a", "document_id": "1"} | others, text=text, gold=frozenset(gold),
                      predicted=entities)  # fmt: skip


def write_errors(tmp_path: Path, *texts: ScoredText) -> dict[str, Any]:
    write_error_page(tmp_path / "errors.html", "Errors", texts)
    return read_page((tmp_path / "errors.html").read_text())


@pytest.mark.parametrize(
    ("gold", "predicted", "group", "kinds"),
    [
        ([(0, 5, "A")], [], ("missed", "acute", "A", ""), (["missed"], [])),
        ([], [(6, 11, "A")], ("spurious", "renal", "A", ""), ([], ["spurious"])),
        ([(0, 19, "A")], [(6, 19, "A")], ("wrong boundary", "acute renal failure", "A", "renal failure"),
         (["wrong boundary"], ["wrong boundary"])),
        ([(0, 5, "A"), (6, 19, "A")], [(0, 5, "A"), (6, 19, "B")], ("wrong type", "renal failure", "A", "B"),
         ([None, "wrong type"], [None, "wrong type"])),
    ],
)  # fmt: skip
def test_errors_are_classed_on_both_sides(tmp_path, gold, predicted, group, kinds):
    page = write_errors(tmp_path, scored(gold, predicted), scored([(0, 5, "A")], [(0, 5, "A")], document_id="2"))
    (shown,) = page["documents"]  # a document without errors is left out
    assert tuple([e.get("kind") for e in column] for column in shown["columns"]) == kinds
    names = ("kind", "mention", "type", "predicted")
    about = {"split": "test", "task": "a", "count": 1}
    assert page["errors"] == [dict(zip(names, group, strict=True)) | about]
    assert page["totals"] == [{"kind": group[0], "type": "A"} | about]


def test_of_many_documents_those_of_the_most_frequent_errors_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(error_page, "MOST_DOCUMENTS", 3)
    monkeypatch.setattr(error_page, "MOST_GROUPS", 1)
    monkeypatch.setattr(error_page, "_EXAMPLES", 2)
    often = [scored([(0, 5, "A")], [], document_id=f"often {n}") for n in range(4)]
    page = write_errors(tmp_path, scored([(6, 11, "A")], [], document_id="rare"), *often)
    assert [one["id"] for one in page["documents"]] == ["often 0", "often 1", "rare"]
    assert [(row["mention"], row["count"]) for row in page["errors"]] == [("acute", 4)]
    assert [row["count"] for row in page["totals"]] == [5]
    assert page["notes"][1].startswith("Shows 3 of 5 documents with errors, those of the most frequent errors first")
    assert page["notes"][2] == "The table of errors holds the 1 most frequent of 2 different ones."


def test_a_prediction_explains_each_mention_that_it_overlaps():
    gold = [("1", 0, 5, "A"), ("1", 6, 11, "A")]
    errors = pair_errors(gold, [("1", 0, 11, "A")])
    assert [(error.kind, error.gold, error.predicted) for error in errors] == [
        ("wrong boundary", span, (("1", 0, 11, "A"),)) for span in gold
    ]


def test_errors_of_an_earlier_run_are_deleted_and_never_pushed(tmp_path):
    put(tmp_path / "errors.html", "old")
    assert not any(fnmatch("errors.html", pattern) for pattern in PUBLISHED)
    remove_old_results(tmp_path)
    assert not (tmp_path / "errors.html").exists()


# ------------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture
def show(browser, tmp_path: Path) -> Callable[[str], Any]:
    """`show(html)` opens a page from a file, as a user does, and waits for its documents."""

    def open_page(content: str) -> Any:
        path = put(tmp_path / "page.html", content)
        page = browser.new_page()
        page.messages = []
        page.on("console", lambda message: page.messages.append(message.text))
        page.on("pageerror", lambda error: page.messages.append(str(error)))
        page.on("request", lambda request: page.messages.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#status:not(:empty)")
        assert page.messages == [path.as_uri()]  # no error, nothing refused by the policy, nothing else loaded
        return page

    return open_page


def get_texts(page: Any) -> list[str]:
    return page.eval_on_selector_all(".text", "elements => elements.map(one => one.textContent)")


def list_ids(page: Any) -> list[str]:
    return [heading.split(" ")[0] for heading in page.locator("article h3").all_inner_texts()]


@pytest.mark.slow
def test_in_a_browser_every_text_is_shown_as_it_is(show):
    generator = random.Random(0)
    documents = []
    for number in range(25):
        text = "".join(generator.choices(ALPHABET, k=60))
        spans = [sorted(generator.sample(range(61), 2)) for _ in range(6)]
        documents.append({"document_id": str(number), "text": text, "entities": [entity(*span) for span in spans]})
    page = show(build_entity_page("t", documents))
    assert get_texts(page) == [one["text"] for one in documents]
    assert page.locator(".tag").count() == 6 * 25


@pytest.mark.slow
def test_in_a_browser_nothing_of_a_document_is_executed(show):
    entities = [entity(0, 9, HOSTILE, score=0.9, task=HOSTILE), entity(3, 20, "B", score=0.9, task="b")]
    documents = [{"document_id": HOSTILE, "text": HOSTILE, "entities": entities}]
    page = show(build_entity_page(HOSTILE, documents, [HOSTILE]))
    assert get_texts(page) == [HOSTILE]
    assert page.locator("img, script:not([type])").count() == 1  # its own script
    assert "\u202e" not in page.inner_text("h1") and "\u27e8U+202E\u27e9" in page.inner_text("h1")
    assert page.locator(".special").first.get_attribute("data-code") == "U+202E"


@pytest.mark.slow
def test_in_a_browser_overlapping_entities_have_underlines_of_their_own(show):
    entities = [entity(0, 19, score=0.5, task="ncbi"), entity(6, 19, "Chemical", score=0.75, tasks=["a", "b"])]
    entities.append({"spans": [(0, 5), (12, 19)], "type": "Gene"})
    page = show(build_entity_page("t", [{"document_id": "1", "text": "acute renal failure", "entities": entities}]))
    marks = page.locator("mark")
    assert marks.all_inner_texts() == ["acute", " ", "renal ", "failure"]
    types = [mark.get_attribute("data-types").split() for mark in marks.all()]
    assert types == [["Disease", "Gene"], ["Disease"], ["Disease", "Chemical"], ["Disease", "Chemical", "Gene"]]
    lines = [mark.evaluate("mark => mark.style.background").count("linear-gradient") for mark in marks.all()]
    assert lines == [2, 1, 2, 3]
    labels = [tag.get_attribute("data-label") for tag in page.locator(".tag").all()]
    assert labels == ["Disease 0.50 ncbi", "Chemical 0.75 a + b", "Gene"]


@pytest.mark.slow
def test_in_a_browser_filters_and_search_work(show):
    cases = [("1", "Gout and gout.", [(0, 4, "Disease", 0.9, "a"), (9, 13, "Disease", 0.6, "b")]),
             ("2", "BRCA1 and gout.", [(0, 5, "Gene", 0.3, "a"), (10, 14, "Disease", 0.8, "b")]),
             ("3", "Nothing here.", [])]  # fmt: skip
    page = show(build_entity_page("t", [
        {"document_id": name, "text": text,
         "entities": [entity(s, e, kind, score=score, task=task) for s, e, kind, score, task in entities]}
        for name, text, entities in cases
    ]))  # fmt: skip

    def get_counts() -> list[str]:
        return [row.replace("\t", " ") for row in page.locator("#counts tbody tr").all_inner_texts()]

    assert page.inner_text("#status") == "1–3 of 3 documents, 3 entities"
    assert page.inner_text("output") == "0.50"
    assert get_counts() == ["Disease 3 2 0.77"]
    page.fill("#score", "0")
    assert get_counts() == ["Disease 3 2 0.77", "Gene 1 1 0.30"]
    assert page.locator("#mentions tbody tr").first.inner_text().split() == ["3", "gout", "Disease"]
    page.uncheck("#task >> text=b")
    assert get_counts() == ["Disease 1 1 0.90", "Gene 1 1 0.30"]
    page.uncheck("#type >> text=Disease")
    assert page.locator("mark").all_inner_texts() == ["BRCA1"]
    page.check("#only")
    assert list_ids(page) == ["2"]
    page.uncheck("#only")
    page.check("#type >> text=Disease")
    page.check("#task >> text=b")
    page.fill("#search", "NOTHING  here")
    assert list_ids(page) == ["3"]
    page.fill("#search", "")
    page.click("#mentions button >> text=brca1")
    assert list_ids(page) == ["2"] and page.input_value("#search") == "brca1"


@pytest.mark.slow
def test_in_a_browser_a_long_text_is_shown_piece_by_piece(show):
    text = "🧬 gout " * 5000
    page = show(build_entity_page("t", [{"document_id": "1", "text": text, "entities": [entity(34995, 34999)]}]))
    assert page.locator("mark").count() == 0
    page.click("text=Show more of the 35,000 characters")
    assert get_texts(page)[0] == text and page.locator("mark").inner_text() == "gout"


@pytest.mark.slow
def test_in_a_browser_errors_are_side_by_side(show, tmp_path):
    write_error_page(tmp_path / "errors.html", "Errors", [
        scored([(0, 5, "A"), (6, 19, "A")], [(0, 5, "A"), (6, 11, "A")]),
        scored([(0, 5, "B")], [(0, 5, "A")], document_id="2", task="b"),
        scored([(0, 5, "A")], [], document_id="3", split="dev"),
    ])  # fmt: skip
    page = show((tmp_path / "errors.html").read_text())
    assert page.inner_text("#status") == "1–3 of 3 documents, 3 errors"
    article = page.locator("article", has=page.locator("h3", has_text="1 a"))
    first = article.locator("section")
    assert first.nth(0).locator("mark").all_inner_texts() == ["acute", "renal failure"]
    assert first.nth(1).locator("mark").all_inner_texts() == ["acute", "renal"]
    labels = [tag.get_attribute("data-label") for tag in article.locator(".tag").all()]
    assert labels == ["wrong boundary: A", "wrong boundary: A"]  # what is correct has none
    page.uncheck("#kind >> text=wrong boundary")
    assert list_ids(page) == ["3", "2"] or list_ids(page) == ["2", "3"]
    page.uncheck("#split >> text=dev")
    assert list_ids(page) == ["2"]
    row = page.locator("#mentions tbody tr").inner_text().split()
    assert row == ["1", "wrong", "type", "acute", "predicted:", "A", "B"]


@pytest.mark.slow
def test_in_a_browser_a_thousand_abstracts_load_in_some_seconds(show):
    sentence = "Cisplatin caused acute renal failure in patients with Huntington disease. "
    spans = [(74 * n + start, 74 * n + end) for n in range(20) for start, end in ((0, 9), (23, 36))]
    entities = [entity(*span, score=0.9, task="ncbi") for span in spans]
    documents = [{"document_id": str(n), "text": sentence * 20, "entities": entities} for n in range(1000)]
    page = show(build_entity_page("t", documents))
    timing = "performance.getEntriesByType('navigation')[0].loadEventEnd"
    assert page.evaluate(timing) < 5000
    assert page.inner_text("#status") == "1–25 of 1,000 documents, 40,000 entities"
    spent = page.evaluate("() => { const begin = performance.now(); update(); return performance.now() - begin; }")
    assert spent < 2000
    page.click("#next")
    assert list_ids(page)[0] == "25"
