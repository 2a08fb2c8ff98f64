"""The page of `space/`: what it writes, and what a reader sees of it in a real browser."""

import asyncio
import contextlib
import html
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_scripts.formats.bioc import read_bioc
from dataset_scripts.formats.jsonl import read_jsonl
from dataset_scripts.formats.pubtator import read_pubtator
from mtl_bioner.hub.push import SPACE_FILES


app = pytest.importorskip("mtl_bioner.hub.space.app")
ROOT = Path(__file__).parents[1]
SPACE = ROOT / "mtl_bioner" / "hub" / "space"
READERS = {"JSONL": read_jsonl, "PubTator": read_pubtator, "BioC": read_bioc}


def entity(text: str, start: int, end: int, group: str = "Disease", task: str = "ncbi") -> dict[str, Any]:
    place = {"start": start, "end": end, "word": text[start:end]}
    return {"entity_group": group, "score": 0.5, "task": task} | place


@st.composite
def annotated(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A text of awkward characters, and entities in it that may overlap; none is blank."""
    text = draw(st.text(alphabet="aB <>&\"'\n\r\t\u2028é𝛼\x00{}$|", min_size=1, max_size=40))
    places = draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=6))
    entities = [entity(text, *sorted(place)) for place in places if place[0] != place[1]]
    return text, [e for e in entities if e["word"] == e["word"].strip("\x00") and not e["word"].isspace()]


def test_a_text_is_shown_by_the_renderer_of_pages():
    text = "<script>alert(1)</script> & \"cancer\" <img src=x onerror='alert(1)'>"
    marked = app.show_page(text, [entity(text, 0, 8) | {"tasks": ["ncbi", "bc5cdr"]}])
    assert "<script" not in marked and "<img" not in marked and "<script" not in app.format_error(text)
    (page,) = re.findall(r'^<iframe class="ner-page" sandbox="allow-scripts" .* srcdoc="([^"]*)"></iframe>$', marked)
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html.unescape(page))
    (document,) = json.loads(data)["documents"]
    shown = {"spans": [[0, 8]], "type": "Disease", "score": 0.5, "tasks": ["ncbi", "bc5cdr"]}
    assert document["text"] == text and document["columns"] == [[shown]]


def test_the_table_and_the_file_name_all_tasks_that_agree():
    text = "cancer"
    agreed = {**entity(text, 0, 6), "tasks": ["ncbi", "bc5cdr"]}
    _, rows, links = app.annotate(lambda *_, **__: [agreed], text, ["ncbi", "bc5cdr"], 0.5, "by_type")
    assert rows == [[0, 6, "Disease", "cancer", 0.5, "ncbi + bc5cdr"]]
    (line,) = re.findall('id="as-JSONL" href="data:.*?;base64,(.*?)"', links)
    (written,) = json.loads(b64decode(line))["entities"]
    assert (written["task"], written["tasks"]) == ("ncbi", ["ncbi", "bc5cdr"])


@given(annotated())
def test_files_are_read_back_with_the_same_entities(tmp_path_factory, case):
    text, entities = case
    folder = tmp_path_factory.mktemp("files")
    places = sorted((e["start"], e["end"]) for e in entities)
    links = re.findall('id="as-(.*?)" href="data:.*?;base64,(.*?)" download="(.*?)"', app.link_files(text, entities))
    assert [name for name, *_ in links] == list(READERS)
    for name, content, file in links:
        (folder / file).write_bytes(b64decode(content))
        if not text.isspace():
            (document,) = READERS[name](folder / file)
            assert len(document.text) == len(text) or name == "PubTator"
            assert sorted(m.spans[0] for m in document.mentions) == places


def test_a_request_that_fails_gets_a_message():
    def fail(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("<b>no</b>")

    marked, *others = app.annotate(fail, "cancer", ["ncbi"], 0.0, "all")
    assert "RuntimeError: &lt;b&gt;no" in marked and others == [[], ""]


@pytest.mark.parametrize(("text", "tasks", "message"), [
    ("cancer", ["ncbi"], None),
    (" \n", ["ncbi"], "There is no text"),
    (None, ["ncbi"], "There is no text"),
    ("a" * 20_001, ["ncbi"], "20,001 characters"),
    ("cancer", [], "No task is chosen"),
])  # fmt: skip
def test_a_refusal_says_why(text, tasks, message):
    marked, *_ = app.annotate(lambda *_, **__: [], text, tasks, 0.0, "all")
    assert message in marked if message else "ner-error" not in marked


class Tasks:
    """Stands for a pipeline of the task ncbi."""

    def __call__(self, text: str, **options: Any) -> list[dict[str, Any]]:
        if options["overlaps"] != "by_type":
            raise ValueError("overlaps is 'x'; choose one of all")
        return [entity(text, 0, 6) | {"tasks": ["ncbi", "bc5cdr"]}] * (options["threshold"] <= 0.5)


def test_programs_get_entities_or_an_error():
    find = app.make_tool(Tasks(), ["ncbi"])
    assert find("cancer") == [
        {"start": 0, "end": 6, "type": "Disease", "text": "cancer", "score": 0.5, "task": "ncbi + bc5cdr"}
    ]
    assert find("cancer", ["ncbi"], 0.6) == []
    for arguments, message in ((("",), "There is no text"), (("cancer", ["ncbi"], 0.5, "x"), "choose one of all")):
        with pytest.raises(app.gr.Error, match=message):
            find(*arguments)


def test_one_function_is_offered_to_programs():
    (named,) = (info := app.build_page(Tasks(), {"ncbi": ["Disease"]}).get_api_info())["named_endpoints"]
    assert named == "/find_entities"
    parameters = info["named_endpoints"][named]["parameters"]
    assert [one["parameter_name"] for one in parameters] == ["text", "tasks", "threshold", "overlaps"]


def test_agents_can_call_it_by_mcp():
    pytest.importorskip("mcp")  # of gradio[mcp], which wants an older pydantic than other packages of the tests
    _, address, _ = app.build_page(Tasks(), {"ncbi": ["Disease"]}).launch(
        prevent_thread_lock=True, mcp_server=True, app_kwargs={"middleware": [(app.LimitRequests, (), {})]}, quiet=True
    )

    async def call() -> tuple[Any, Any]:
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = (await session.list_tools()).tools
            return tools, await session.call_tool(tools[0].name, {"text": "cancer"})

    with urllib.request.urlopen(f"{address}gradio_api/mcp/schema") as answer:
        (schema,) = json.load(answer)
    assert schema["name"].endswith("find_entities") and schema["description"].startswith(
        "Find the biomedical entities"
    )
    (tool,), result = asyncio.run(call())
    assert tool.name == schema["name"] and tool.inputSchema["required"] == ["text"]
    assert not result.isError and "ncbi + bc5cdr" in result.content[0].text


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/gradio_api/upload", {}, 403),
        ("/upload/", {}, 403),
        ("/gradio_api/queue/join", {b"content-length": b"2000000"}, 413),
        ("/gradio_api/queue/join", {b"content-length": b"-1"}, 413),
        ("/gradio_api/queue/join", {b"content-length": b"2000"}, None),
    ],
)
def test_requests_are_limited_before_they_are_read(path, headers, status):
    sent, passed = [], []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def serve(*arguments: Any) -> None:
        passed.append(arguments)

    scope = {"type": "http", "path": path, "headers": list(headers.items())}
    asyncio.run(app.LimitRequests(serve)(scope, None, send))
    assert [message.get("status") for message in sent[:1]] == ([status] if status else [])
    assert len(passed) == (status is None)


def test_a_request_of_unknown_length_ends_where_it_is_too_long():
    received = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * 400_000, "more_body": True}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        while not received or received[-1] == "http.request":
            received.append((await receive())["type"])

    asyncio.run(app.LimitRequests(serve)({"type": "http", "path": "/", "headers": []}, receive, None))
    assert received == ["http.request", "http.request", "http.disconnect"]


def test_the_card_names_the_model(tmp_path):
    (tmp_path / "README.md").write_text("---\nsdk: gradio\nmodels: [me/ner]\n---\n\nText\n")
    assert app.read_model_name(tmp_path / "README.md") == "me/ner"
    with pytest.raises(SystemExit, match="names no model"):
        app.read_model_name(SPACE / "README.md")


@pytest.fixture(scope="module")
def address(tmp_path_factory, minilm) -> Iterator[str]:
    """The page of a small model with a real encoder, or of the model in MTL_BIONER_SPACE_MODEL."""
    home = tmp_path_factory.mktemp("space")
    model = os.environ.get("MTL_BIONER_SPACE_MODEL")
    if not model:
        model = str(home / "model")
        command = [sys.executable, ROOT / "run_mtl_ner.py", "--tasks", "ncbi,bc5cdr", "--data_dir", "sample"]
        command += ["--model_name_or_path", minilm, "--output_dir", model, "--num_train_epochs", "5", "--use_cpu"]
        command += ["--teachers", "none"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
    for path in SPACE_FILES:  # as they lie on the Hub
        shutil.copy(path, home)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-u", home / "app.py", model], stdout=log, stderr=subprocess.STDOUT, cwd=home,
            env=os.environ | {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SERVER_PORT": str(port)},
        )  # fmt: skip
    try:
        for _ in range(240):
            if "Running on" in (home / "log").read_text():
                break
            assert server.poll() is None, (home / "log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def page(address, browser) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1100, "height": 1150})
    page.set_default_timeout(60_000)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    page.wait_for_selector("#find")
    yield page
    assert dialogs == []  # no text was run as a script
    page.close()


def find_entities(page: Any, text: str) -> Any:
    """The frame that shows a text."""
    page.fill("#text textarea", text)
    page.click("#find")
    page.wait_for_selector("#marked iframe")
    frame = page.frame_locator("#marked iframe")
    frame.locator(".text").wait_for()
    return frame


@pytest.mark.slow
def test_in_a_browser_entities_are_marked_and_can_be_downloaded(page, tmp_path):
    frame = find_entities(page, app.EXAMPLE)
    marked = frame.locator("mark").all_inner_texts()
    assert "Cisplatin" in marked and any("renal failure" in text for text in marked)
    assert frame.locator(".text").text_content() == app.EXAMPLE
    types = {row.split()[0] for row in frame.locator("#counts tbody tr").all_inner_texts()}
    assert {"Disease", "Chemical"} <= types
    assert not frame.locator("#filters").is_visible()
    page.wait_for_selector("#table >> text=Cisplatin")
    assert re.search(r"ncbi \+ bc5cdr|bc5cdr \+ ncbi", page.inner_text("#table"))
    for name, read in READERS.items():
        with page.expect_download() as download:
            page.click(f"#as-{name}")
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        (document,) = read(path)
        assert (0, 9, "Chemical") in {(*m.spans[0], m.type) for m in document.mentions}
    page.screenshot(path=os.environ.get("MTL_BIONER_SCREENSHOT", tmp_path / "space.png"), full_page=True)


@pytest.mark.slow
def test_in_a_browser_tasks_can_be_chosen(page):
    page.uncheck("#tasks >> text=/^bc5cdr/")
    frame = find_entities(page, app.EXAMPLE)
    types = " ".join(mark.get_attribute("data-types") for mark in frame.locator("mark").all())
    assert "Disease" in types and "Chemical" not in types


@pytest.mark.slow
def test_in_a_browser_bad_requests_get_a_message_and_the_page_lives_on(page):
    page.fill("#text textarea", "a" * 20_001)
    page.click("#find")
    assert "20,001 characters" in page.wait_for_selector("#marked [role=alert]").inner_text()
    text = "<script>alert(1)</script> ${alert(2)} {{value}} <img src=x onerror=alert(3)> renal failure"
    frame = find_entities(page, text)
    assert page.query_selector("#marked script, #marked img") is None
    assert frame.locator("img, main script").count() == 0
    assert frame.locator(".text").text_content() == text


@pytest.mark.slow
def test_the_page_takes_no_files_and_no_large_requests(address):
    def post(path: str, body: bytes, size: int | None = None) -> int:
        """Return the status; a size larger than the body announces what never comes, as it would be cut off."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=60)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json", "Content-Length": str(size or len(body))}
            connection.request("POST", path, body, headers)
            return connection.getresponse().status

    assert post("/gradio_api/upload", b"{}") == 403
    assert post("/gradio_api/call/annotate", b"{", size=1 << 21) == 413
    assert post("/gradio_api/call/annotate", b'{"data": ["cancer", ["ncbi"], 0.5, "by_type"]}') == 200
