"""The server: formats, options, limits, batches, clients that are slow or go away, and its stop."""

import configparser
import contextlib
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toys import SENTENCES, assert_same_entities, read_jsonl, write_jsonl

from mtl_bioner.annotation import engine
from mtl_bioner.annotation.parts import SourceDocument


pytest.importorskip("fastapi_offline")
from fastapi.testclient import TestClient

from mtl_bioner.serving import command
from mtl_bioner.serving.app import make_app
from mtl_bioner.serving.batching import BATCH_CHARACTERS, Batcher, CallOptions
from mtl_bioner.serving.limits import Limits, Refusal
from mtl_bioner.serving.metrics import Metrics
from mtl_bioner.serving.server import Server, bind


ROOT = Path(__file__).parents[1]
INFO = {"model": "toy", "version": "0", "tasks": {"ncbi": ["Disease"], "bc5cdr": ["Chemical", "Disease"]}}
SMALL = Limits(max_body=2000, max_texts=3, max_text=40, max_characters=100, max_queue=150, max_queue_texts=9)
PUBTATOR = "7|t|Gout hurts.\n7|a|It is gout.\n\n8|t|No disease.\n\n"
BIOC = (
    "<collection><source/><date/><key/><document><id>7</id><passage><infon key='type'>title</infon><offset>0</offset>"
    "<text>Gout hurts.</text><annotation id='A'><infon key='type'>Word</infon><location offset='5' length='5'/>"
    "<text>hurts</text></annotation></passage></document></collection>"
)
BIOC_JSON = {"documents": [{"id": "7", "passages": [{"offset": 0, "text": "Gout hurts."}]}]}


def find_gout(documents: list[SourceDocument], options: CallOptions) -> list[engine.Annotated]:
    """Stand for a model: each `gout` is a disease; a text with `bomb` is an error."""
    if any("bomb" in document.text for document in documents):
        raise RuntimeError("secret of /home/me")
    return [
        engine.Annotated(document, [
            {"start": m.start(), "end": m.end(), "type": "Disease", "text": m[0], "score": 0.9, "task": "ncbi"}
            for m in re.finditer("(?i)gout", document.text) if (options.threshold or 0) <= 0.9
        ])
        for document in documents
    ]  # fmt: skip


class Gate:
    """A model that waits to be let through, and notes the texts of its batches."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun, self.free = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, documents: list[SourceDocument], options: CallOptions) -> list[engine.Annotated]:
        self.batches.append([document.text for document in documents])
        self.begun.release()
        assert self.free.acquire(timeout=10)
        return find_gout(documents, options)


@contextlib.contextmanager
def serve(annotate: Any = find_gout, limits: Limits = SMALL) -> Iterator[Any]:
    """A started batcher with its metrics and application."""
    metrics = Metrics()
    batcher = Batcher(annotate, limits, metrics.count_batch)
    metrics.watch(batcher)
    batcher.start()
    app = make_app(batcher, metrics, limits, INFO)
    try:
        yield SimpleNamespace(batcher=batcher, app=app, client=TestClient(app, raise_server_exceptions=False))
    finally:
        batcher.stop()
        if isinstance(annotate, Gate):
            annotate.free.release(100)
        batcher.thread.join(10)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serve() as service:
        yield service.client


@contextlib.contextmanager
def listen(annotate: Any = find_gout, limits: Limits = SMALL) -> Iterator[Any]:
    """A server with a port, in a thread."""
    started: list[str] = []
    with serve(annotate, limits) as service, bind("127.0.0.1", 0) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that an unread answer waits here
        server = Server(service.app, service.batcher, limits, started.append)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        wait_for(lambda: started)
        try:
            yield SimpleNamespace(port=int(started[0].rpartition(":")[2]), server=server, **vars(service))
        finally:
            server.should_exit = True
            if isinstance(annotate, Gate):
                annotate.free.release(100)
            thread.join(20)
            assert not thread.is_alive()


def wait_for(condition: Callable[[], Any], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def make_request(texts: list[str], **more: Any) -> bytes:
    body = json.dumps({"texts": texts, **more}).encode()
    head = (
        "POST /annotate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:"
    )
    return f"{head} {len(body)}\r\n\r\n".encode() + body


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send a request; return status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


# ------------------------------------------------------------------------------------------------------------- formats

GOUT = '{"start": 0, "end": 4, "type": "Disease", "text": "Gout", "score": 0.9, "task": "ncbi"}'
PLAIN = f'{{"document_id": "1", "text": "Gout hurts.", "entities": [{GOUT}]}}'
TITLED = (
    '{"document_id": "7", "text": "Gout hurts.", "passages": [{"start": 0, "end": 11, "infons": {"type": "title"}}], '
    f'"input_entities": [{{"start": 5, "end": 10, "type": "Word", "text": "hurts"}}], "entities": [{GOUT}]}}'
)
AS_BIOC = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>MTL-BioNER</source><date></date><key></key>
<document><id>7</id>
<passage><infon key="type">title</infon><offset>0</offset><text>Gout hurts.</text>
<annotation id="T1"><infon key="type">Word</infon><location offset="5" length="5"/><text>hurts</text></annotation>
<annotation id="T2"><infon key="type">Disease</infon><infon key="score">0.9</infon><infon key="task">ncbi</infon>\
<location offset="0" length="4"/><text>Gout</text></annotation>
</passage>
</document>
</collection>
"""
AS_PUBTATOR = """7|t|Gout hurts.
7|a|It is gout.
7\t0\t4\tGout\tDisease\t-
7\t18\t22\tgout\tDisease\t-

8|t|No disease.
8|a|

"""
JSON, TEXT, XML, LINES = "application/json", "text/plain", "application/xml", "application/x-ndjson"


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "expected"),
    [
        ('{"texts": ["Gout hurts."]}', JSON, "*/*", f'{{"documents": [{PLAIN}]}}\n'),
        ('{"documents": [{"text": "Gout hurts."}]}', JSON, JSON, f'{{"documents": [{PLAIN}]}}\n'),
        ('[{"text": "Gout hurts."}]', JSON, "", f'{{"documents": [{PLAIN}]}}\n'),
        ('{"text": "Gout hurts."}', f"{JSON}; charset=UTF-8", LINES, f"{PLAIN}\n"),
        ("Gout hurts.", TEXT, "text/html, */*;q=0.1", f'{{"documents": [{PLAIN}]}}\n'),
        (PUBTATOR, TEXT, "*/*", AS_PUBTATOR),
        (PUBTATOR, 'text/plain;charset="utf-8"', f"{LINES};q=0.1, text/*", AS_PUBTATOR),
        (BIOC, XML, "", AS_BIOC),
        (BIOC, "text/xml", LINES, f"{TITLED}\n"),
        (BIOC, XML, TEXT, "7|t|Gout hurts.\n7|a|\n7\t0\t4\tGout\tDisease\t-\n\n"),
    ],
)
def test_formats_are_chosen_by_headers(client, body, content_type, accept, expected):
    headers = {"Content-Type": content_type, "Accept": accept}
    answer = client.post("/annotate", content=body.encode(), headers=headers)
    assert (answer.status_code, answer.text) == (200, expected)


@pytest.mark.parametrize(("to", "start"), [
    ("json", '{"documents": [{"document_id": "7"'), ("jsonl", '{"document_id": "7"'), ("pubtator", "7|t|Gout"),
    ("bioc", "<?xml"), ("bioc-json", '{"source": "MTL-BioNER"'),
])  # fmt: skip
def test_the_format_can_be_named_in_the_address(client, to, start):
    answer = client.post("/annotate", params={"to": to}, json=BIOC_JSON, headers={"Accept": "image/png"})
    assert answer.text.startswith(start)


def test_bioc_json_comes_back_with_annotations(client):
    (document,) = client.post("/annotate", json=BIOC_JSON).json()["documents"]
    assert document["passages"][0]["annotations"] == [
        {"id": "T1", "infons": {"type": "Disease", "score": 0.9, "task": "ncbi"}, "text": "Gout",
         "locations": [{"offset": 0, "length": 4}]}
    ]  # fmt: skip


def test_documents_keep_ids_and_further_keys(client):
    documents = [{"pmid": 5, "title": "Gout.", "abstract": "No.", "year": 1999}, {"pmid": 5, "text": "\x00 𝛼\u2028"}]
    first, second = client.post("/annotate", json={"documents": documents}).json()["documents"]
    assert (first["document_id"], first["text"], first["year"]) == ("5", "Gout.\nNo.", 1999)
    assert second == {"document_id": "5-2", "text": "\x00 𝛼\u2028", "pmid": 5, "entities": []}


@pytest.mark.parametrize(
    ("params", "body"),
    [({"threshold": "0.95"}, {}), ({}, {"threshold": 0.95}), ({"threshold": 0}, {"threshold": 0.95})],
)
def test_options_stand_in_the_address_or_the_body(client, params, body):
    answer = client.post("/annotate", params={"tasks": "ncbi", **params}, json={"texts": ["Gout"], **body})
    assert answer.json()["documents"][0]["entities"] == []


def test_entities_are_those_of_annotate(trained):
    texts = ["Cisplatin caused acute renal failure in two patients.", "", "Gout. " * 100, "BRCA1 in ovarian cancer"]
    ner = engine.load_engine(engine.EngineOptions(str(trained), dtype="float32"))

    def annotate(documents: Any, options: CallOptions) -> Any:
        stated = {name: value for name, value in options._asdict().items() if value is not None}
        return engine.annotate_documents(ner, documents, **stated)

    for options in ({}, {"tasks": ["bc5cdr"], "threshold": 0.1, "overlaps": "all"}):
        expected = list(engine.annotate(texts, ner, **{"overlaps": "by_type", **options}))
        with serve(annotate, Limits()) as service:
            answer = service.client.post("/annotate", json={"texts": texts, **options})
        assert answer.json() == {"documents": expected} and any(one["entities"] for one in expected)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("body", "options", "status", "message"),
    [
        (b"{", {}, 422, "invalid JSON (Expecting property name"),
        (b"\xff", {}, 422, "invalid JSON ('utf-8' codec can't decode byte 0xff"),
        (b"[" * 1900, {}, 422, "invalid JSON ("),
        (b'{"texts": [NaN]}', {}, 422, "invalid JSON (NaN is no number of JSON)"),
        (b'[{"text": "a", "n": 1e999}]', {}, 422, "invalid JSON (1e999 is too large a number)"),
        (b'{"texts": ["a", 1]}', {}, 422, "texts.1: Input should be a valid string"),
        (b'{"texts": ["a"], "treshold": 1}', {}, 422, "treshold: Extra inputs are not permitted"),
        (b'{"texts": ["a"], "threshold": 2}', {}, 422, "threshold: Input should be less than or equal to 1"),
        (b'{"texts": ["a"], "tasks": ["a\\nb"]}', {}, 422, r"no task 'a\\nb'; the server's are ncbi, bc5cdr"),
        (b'{"texts": ["a"], "documents": []}', {}, 422, 'expected an object with either "texts" or "documents"'),
        (b'{"texts": []}', {}, 422, "the body holds no document"),
        (b"3", {}, 422, 'expected an object with "texts" or "documents", or a list of documents'),
        (b'{"texts": ["\\ud800"]}', {}, 422, "texts.0: half of a surrogate pair (U+D800)"),
        (b'{"documents": [{"title": 3}]}', {}, 422, "documents.0: title is '3'; expected a string"),
        (b'{"documents": [{"text": "a", "id": "a\\tb"}]}', {}, 422, r"documents.0: document id 'a\\tb'"),
        (b'{"texts": ["%s"]}' % (b"a" * 41), {}, 413, "a text of 41 characters (texts.0); at most 40 are taken"),
        (b'{"texts": ["a", "b", "c", "d"]}', {}, 413, "more than 3 texts"),
        (b'{"texts": ["%s"]}' % b'", "'.join([b"a" * 40] * 3), {}, 413, "more than 100 characters"),
        (b" " * 2001, {}, 413, "a body of more than 2,000 bytes"),
        (b" " * 32_001, {}, 413, "a body of more than 2,000 bytes"),
        (b"{}", {"content-type": "image/png"}, 415, "Content-Type 'image/png'; expected one of application/json"),
        (b"{}", {"content-type": ""}, 415, "Content-Type ''"),
        (b"{}", {"content-type": f"{TEXT}; charset=latin-1"}, 415, "charset 'latin-1'; send UTF-8"),
        (b"{}", {"content-encoding": "gzip"}, 415, "a packed body"),
        (b"Gout", {"content-type": TEXT, "accept": "image/png, text/plain;q=0"}, 406, "Accept 'image/png"),
        (b"Gout \xff", {"content-type": TEXT}, 422, "body:1: byte 0xff is not UTF-8"),
        (b"\x1f\x8b\x08", {"content-type": TEXT}, 422, "body:1: byte 0x8b is not UTF-8"),
        (b" \n", {"content-type": TEXT}, 422, "body: no text, only white space"),
        (b"7|t|Gout\n7\t0\t4", {"content-type": TEXT}, 422, "body:2: 3 columns"),
        (b"7|t|Gout\n7\t0\t9\tGout\tWord", {"content-type": TEXT}, 422, "body:1: 1 annotation of document '7' out"),
        (b"<a/>", {"content-type": XML}, 422, "body: XML root <a>; expected <collection>"),
        (b"<collection", {"content-type": XML}, 422, "body:1: not well-formed XML"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', {"content-type": XML}, 422, "body:1: declares the entity 'b'"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(client, body, options, status, message):
    headers = {"content-type": JSON, **options}
    answer = client.post("/annotate", content=body, headers=headers)
    assert answer.status_code == status and answer.text.count("\n") == 1
    assert re.search(re.escape(message), answer.text.replace('\\"', '"')), answer.text
    assert set(answer.json()) == {"error"} and "/work" not in answer.text


PIECES = (b"\x00", b"\xff", b"\\ud800", b"-1", b"99999999999999999999", b"null", b"[]", b"\n", b"\t", b"|t|", b"\r",
          b'"', b"</document>", b"&#0;", b"passages", b"text", b"\xe2\x80\xa8")  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_damaged_bodies_are_answered_or_refused_in_one_line(client, seed):
    draw, statuses = random.Random(seed), set()
    bodies = [(AS_PUBTATOR, TEXT), (AS_BIOC, XML), (json.dumps(BIOC_JSON), JSON), (TITLED, JSON)]
    for number in range(60):
        body, content_type = bodies[number % len(bodies)]
        damaged = bytearray(body.encode())
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(damaged))
            damaged[at : at + draw.choice((0, 0, 1, 8))] = draw.choice((b"", *PIECES))
        to = draw.choice(("json", "jsonl", "pubtator", "bioc", "bioc-json"))
        headers = {"content-type": content_type}
        answer = client.post("/annotate", params={"to": to}, content=bytes(damaged), headers=headers)
        statuses.add(answer.status_code)
        assert answer.status_code == 200 or (set(answer.json()) == {"error"} and answer.text.count("\n") == 1)
    assert statuses <= {200, 413, 422} and {200, 422} <= statuses


@pytest.mark.parametrize(("method", "path", "status", "message"), [
    ("POST", "/annotate?to=brat", 422, "to: Input should be 'json', 'jsonl', 'pubtator', 'bioc' or 'bioc-json'"),
    ("POST", "/annotate?threshold=nan", 422, "threshold: Input should be less than or equal to 1"),
    ("POST", "/annotate?a=b", 422, "a: Extra inputs are not permitted"),
    ("GET", "/annotate", 405, "Method Not Allowed; /docs lists what there is"),
    ("GET", "/static-offline-docs/../../setup.cfg", 404, "Not Found; /docs lists what there is"),
])  # fmt: skip
def test_wrong_addresses_are_refused(client, method, path, status, message):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"error": message})


def test_gaps_between_passages_cannot_fill_the_memory():
    passages = [{"offset": n * 100_000, "text": "a"} for n in range(20)]
    body = {"documents": [{"id": "1", "passages": passages}]}
    with serve(limits=Limits()) as service:
        assert "gaps of over 1000000 characters" in service.client.post("/annotate", json=body).json()["error"]


# --------------------------------------------------------------------------------------------------------------- pages


def test_pages_tell_health_metrics_and_tasks():
    with serve() as service:
        get = service.client.get
        assert (get("/health").status_code, get("/health").json()) == (200, {"status": "ok"})
        assert get("/info").json() == INFO
        assert service.client.post("/annotate", json={"texts": ["Gout", "a"]}).status_code == 200
        assert service.client.post("/annotate", content=b"").status_code == 415
        assert get("/nothing").status_code == 404
        lines = get("/metrics").text.splitlines()
        assert {
            'mtl_bioner_requests_total{path="/annotate",status="200"} 1.0',
            'mtl_bioner_requests_total{path="/annotate",status="415"} 1.0',
            'mtl_bioner_requests_total{path="other",status="404"} 1.0',
            "mtl_bioner_texts_total 2.0",
            "mtl_bioner_characters_total 5.0",
            "mtl_bioner_queue_texts 0.0",
            "mtl_bioner_request_seconds_count 2.0",
        } <= set(lines)
        service.batcher.stop()
        service.batcher.thread.join(5)
        assert (get("/health").status_code, get("/health").json()) == (503, {"status": "stopping"})
        refused = service.client.post("/annotate", json={"texts": ["a"]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


def test_the_description_needs_no_other_server(client):
    page = client.get("/").text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links and all(link.startswith("/") and client.get(link).status_code == 200 for link in links)
    assert "https:" not in page
    operation = client.get("/openapi.json").json()["paths"]["/annotate"]["post"]
    assert set(operation["requestBody"]["content"]) == {JSON, TEXT, XML}
    assert {"200", "413", "415", "422", "429", "503", "504"} <= set(operation["responses"])


# ------------------------------------------------------------------------------------------------------------- batches


def documents(*texts: str) -> list[SourceDocument]:
    return [SourceDocument(str(number), text, "") for number, text in enumerate(texts)]


def test_texts_of_waiting_requests_are_annotated_together():
    gate = Gate()
    with serve(gate, Limits()) as service:
        submit = service.batcher.submit
        futures = [submit(documents("first"), CallOptions())]
        assert gate.begun.acquire(timeout=5)
        futures += [submit(documents("a", "b"), CallOptions()), submit(documents("c"), CallOptions(threshold=0.5))]
        futures += [submit(documents("Gout"), CallOptions())]
        assert service.batcher.texts == 4
        gate.free.release(3)
        results = [future.result(5) for future in futures]
    assert gate.batches == [["first"], ["a", "b", "Gout"], ["c"]]
    assert [[len(one.entities) for one in result] for result in results] == [[0], [0, 0], [0], [1]]


def test_a_large_request_takes_turns_with_small_ones():
    gate, half = Gate(), "a" * (BATCH_CHARACTERS // 2 - 50)
    with serve(gate, Limits()) as service:
        large = service.batcher.submit(documents("0", *[half] * 5), CallOptions())
        assert gate.begun.acquire(timeout=5)
        small = service.batcher.submit(documents("small"), CallOptions())
        gate.free.release(10)
        assert len(small.result(5)) == 1 and len(large.result(5)) == 6
    assert [[text[:5] for text in batch] for batch in gate.batches] == [
        ["0", "aaaaa"], ["aaaaa", "aaaaa"], ["small", "aaaaa"], ["aaaaa"]
    ]  # fmt: skip


def test_a_text_that_fails_harms_no_other_request(caplog):
    gate = Gate()
    with serve(gate, Limits()) as service:
        submit = service.batcher.submit
        futures = [submit(documents("first"), CallOptions())]
        assert gate.begun.acquire(timeout=5)
        futures += [submit(documents("bomb"), CallOptions()), submit(documents("Gout"), CallOptions())]
        gate.free.release(10)
        assert len(futures[2].result(5)[0].entities) == 1
        with pytest.raises(Refusal, match=r"the model failed on this request \(RuntimeError\)$"):
            futures[1].result(5)
        assert service.batcher.is_healthy


def test_what_is_cancelled_or_too_much_does_not_wait():
    gate = Gate()
    with serve(gate) as service:
        batcher = service.batcher
        batcher.submit(documents("first"), CallOptions())
        assert gate.begun.acquire(timeout=5)
        futures = [batcher.submit(documents("a" * 100), CallOptions())]
        with pytest.raises(Refusal, match="^1 text of 100 characters in the queue; try again in 1 s$") as refusal:
            batcher.submit(documents("a" * 51), CallOptions())
        assert (refusal.value.status, refusal.value.retry_after) == (429, 1)
        assert futures[0].cancel() and (batcher.texts, batcher.characters) == (0, 0)
        futures += [batcher.submit(documents(*["b"] * 9), CallOptions())]
        with pytest.raises(Refusal, match="^9 texts of 9 characters in the queue"):
            batcher.submit(documents("c"), CallOptions())
        gate.free.release(10)
        assert len(futures[1].result(5)) == 9
        with pytest.raises(CancelledError):
            futures[0].result(5)
    assert gate.batches == [["first"], ["b"] * 9]


def test_a_stop_finishes_what_waits_or_refuses_it():
    gate = Gate()
    with serve(gate) as service:
        batcher = service.batcher
        futures = [batcher.submit(documents("Gout"), CallOptions())]
        assert gate.begun.acquire(timeout=5)
        futures += [batcher.submit(documents(text), CallOptions(threshold=0.5)) for text in ("b", "c")]
        batcher.stop()
        with pytest.raises(Refusal, match="the server is stopping"):
            batcher.submit(documents("d"), CallOptions())
        gate.free.release()
        assert len(futures[0].result(5)) == 1
        batcher.abandon(Refusal(503, "stopping"))
        for future in futures[1:]:
            with pytest.raises(Refusal, match="stopping"):
                future.result(5)
        assert batcher.abandoned == 2


def test_the_end_of_the_thread_is_noticed(caplog):
    def end(*arguments: Any) -> Any:
        raise SystemExit

    with serve(end) as service:
        answer = service.client.post("/annotate", json={"texts": ["a"]})
        assert (answer.status_code, answer.json()) == (503, {"error": "the model failed"})
        service.batcher.thread.join(5)
        assert service.client.get("/health").json() == {"status": "failed"}


# ------------------------------------------------------------------------------------------------------------- clients


def test_a_request_that_takes_too_long_leaves_the_line():
    gate = Gate()
    with serve(gate, Limits(timeout=1)) as service:
        service.batcher.submit(documents("first"), CallOptions())
        answer = service.client.post("/annotate", json={"texts": ["a"]})
        assert answer.status_code == 504 and service.batcher.texts == 0
        assert answer.json()["error"].startswith("not done within 1 s")


def test_the_text_of_a_client_that_went_away_is_not_annotated():
    gate = Gate()
    with listen(gate) as service:
        service.batcher.submit(documents("first"), CallOptions())
        assert gate.begun.acquire(timeout=5)
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(make_request(["a"]))
            wait_for(lambda: service.batcher.texts == 1)
        wait_for(lambda: service.batcher.texts == 0)
        gate.free.release(10)
        assert ask(service.port, make_request(["Gout"]))[0] == 200
        _, metrics = ask(service.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'path="/annotate",status="499"} 1.0' in metrics
    assert gate.batches == [["first"], ["Gout"]]


def test_slow_and_broken_clients_are_cut_and_harm_nobody():
    limits = Limits(read_timeout=1, max_characters=200_000)
    starts = [b"", b"POST /annotate HT", make_request(["a"])[:-3], b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET"]
    with listen(limits=limits) as service, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10)) for _ in starts]
        for connection, start in zip(slow, starts, strict=True):
            connection.sendall(start)
        large = make_request(["Gout " * 20_000])
        for request in (large, 2 * large.replace(b"Connection: close", b"X: y")):  # whose answers nobody reads
            unread = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10))
            unread.sendall(request)
        for garbage in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", b"A" * 100_000):
            with contextlib.suppress(OSError):
                assert ask(service.port, garbage)[0] == 400
        assert ask(service.port, make_request(["Gout"]))[0] == 200
        ends = [read_all(connection) for connection in slow]
        assert ends[:2] == [b"", b""] and ends[2].startswith(b"HTTP/1.1 408") and ends[3].startswith(b"HTTP/1.1 200")
        assert ends[2].endswith(b'{"error": "the body did not come within 1 s"}\n')
        wait_for(lambda: not service.server.server_state.connections, 5)


def test_connections_beyond_the_limit_are_refused():
    limits = Limits(max_connections=3, read_timeout=1)
    with listen(limits=limits) as service, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 10)).send(b"GET")
        refused = b'{"error": "too many connections; try again later"}\n'
        assert ask(service.port, make_request(["Gout"])) == (503, refused)
        wait_for(lambda: ask(service.port, make_request(["Gout"]))[0] == 200)


def test_a_stop_answers_the_requests_under_way():
    gate = Gate()
    with listen(gate) as service, socket.create_connection(("127.0.0.1", service.port), 10) as connection:
        connection.sendall(make_request(["Gout"]))
        assert gate.begun.acquire(timeout=5)
        service.server.should_exit = True
        wait_for(lambda: service.batcher.is_stopping)
        with pytest.raises(ConnectionRefusedError):
            wait_for(lambda: socket.create_connection(("127.0.0.1", service.port)).close())
        gate.free.release()
        assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert service.batcher.abandoned == 0


# ------------------------------------------------------------------------------------------------------------- command


@pytest.mark.parametrize(("options", "message"), [
    (["--port", "70000"], "argument --port: '70000' is no whole number from 0 to 65535; --help lists all arguments"),
    (["--threshold", "2"], "argument --threshold: '2' is no number from 0 to 1; --help lists all arguments"),
    (["--max_text", "300000"], "--max_text 300000 is more than --max_characters 200000; raise that too"),
    (["--tasks", "x"], "--tasks: no task 'x'; the model's are ncbi, bc5cdr"),
    (["--host", "256.0.0.1"], "--host 256.0.0.1 --port 8000: "),
    (["missing/model/x"], "unrecognized arguments: missing/model/x; --help lists all arguments"),
])  # fmt: skip
def test_bad_arguments_are_told_before_the_model_is_loaded(trained, options, message, capsys, monkeypatch):
    monkeypatch.setattr(engine, "load_engine", None)
    assert command.main([str(trained), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"mtl-bioner serve: error: {message}") and printed.count("\n") == 1


def test_a_port_in_use_and_a_missing_package_are_told(trained, capsys, monkeypatch):
    monkeypatch.setattr(engine, "load_engine", None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert command.main([str(trained), "--port", str(port)]) == 2
    assert f"--port {port}: Address already in use; choose another --port" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "mtl_bioner.serving.server")
    assert command.main([str(trained)]) == 2
    assert "the server needs uvicorn; pip install 'mtl-bioner[serve]'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------- process


@contextlib.contextmanager
def start(model: Any, *options: str) -> Iterator[Any]:
    """A process of the command, with its port."""
    command_line = [sys.executable, "-m", "mtl_bioner", "serve", str(model), "--port", "0", "--dtype", "float32"]
    with subprocess.Popen([*command_line, *options], stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            first, following = process.stderr.readline(), process.stderr.readline()
            address = re.fullmatch(
                r"mtl-bioner serve: model \(ncbi, bc5cdr\) at (http://127.0.0.1:(\d+)), described at \1/docs\n", first
            )
            assert following.startswith(f"next: curl {address[1]}/annotate -H 'Content-Type: application/json' -d '")
            yield SimpleNamespace(process=process, port=int(address[2]))
        finally:
            process.kill()


def test_the_image_holds_all_modules_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    recipe = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    modules = {f"{name}.py" for name in setup["options"]["py_modules"].split()}
    assert set(re.search(r"touch ((?:\w+\.py ?)+)", recipe)[1].split()) == modules
    kept = set(re.findall("^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", recipe, re.MULTILINE)
    assert {name for line in copied for name in line.split()} == kept


@pytest.mark.slow
def test_a_process_answers_as_annotate_and_stops_when_all_is_answered(trained, tmp_path):
    texts = [f"{sentence} " * 8 for sentence in SENTENCES]
    write_jsonl(tmp_path / "texts.jsonl", [{"text": text, "id": n} for n, text in enumerate(texts)])
    arguments = [trained, tmp_path / "texts.jsonl", "--output", tmp_path / "out", "--dtype", "float32"]
    annotate = [sys.executable, "-m", "mtl_bioner", "annotate", *arguments, "--workers", "1"]
    subprocess.run(annotate, check=True, cwd=ROOT, capture_output=True)
    expected = [line["entities"] for line in read_jsonl(tmp_path / "out" / "part-00000.jsonl")]
    assert any(expected)
    with start(trained) as server:
        status, body = ask(server.port, make_request(texts))
        answered = [document["entities"] for document in json.loads(body)["documents"]]
        assert status == 200
        assert_same_entities(expected, answered)
        with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
            connection.sendall(make_request(["Gout. " * 3000] * 10))
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert server.process.wait(20) == 0
        assert server.process.stderr.read().endswith("mtl-bioner serve: stopped, all requests answered\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "seconds", "status"), [([signal.SIGINT], "1", 1), ([signal.SIGTERM, signal.SIGTERM], "60", 143)]
)
def test_a_stop_does_not_wait_for_ever(trained, signals, seconds, status):
    with start(trained, "--stop_timeout", seconds) as server, contextlib.ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60)) for _ in range(10)
        ]
        for connection in connections:
            connection.sendall(make_request(["Gout. " * 3000] * 10))
        time.sleep(1)
        first, *more = signals
        server.process.send_signal(first)
        # Two signals at once may be taken as one, so the second waits for the word on the first.
        assert any("stopping" in line for line in iter(server.process.stderr.readline, ""))
        for number in more:
            server.process.send_signal(number)
        assert server.process.wait(20) == status
        if status == 1:
            assert re.search(r": stopped, \d+ requests? refused\n$", server.process.stderr.read())
            assert any(read_all(connection).startswith(b"HTTP/1.1 503") for connection in connections)
