"""The pages of the server: /annotate, /health, /metrics, /info and the description of them at /docs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Annotated as Described
from typing import Any

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mtl_bioner.annotation.engine import Annotated
from mtl_bioner.serving import bodies
from mtl_bioner.serving.batching import Batcher, CallOptions
from mtl_bioner.serving.limits import Limits, Refusal
from mtl_bioner.serving.metrics import CLIENT_GONE, CountRequests, Metrics


_LARGE = 100_000  # bytes or characters that are read and written beside the event loop
_DRAINED = 16  # times the largest body: so much is read and dropped, so that a client sees its refusal
_DESCRIPTION = """Entities of biomedical text, found by one model with a head for each corpus.

A body is JSON (`{"texts": [...]}` or documents), PubTator or plain text (`text/plain`), BioC XML (`application/xml`)
or BioC JSON (`application/json`). The answer has the form of the body, unless `Accept` or `to` asks for another one.
Errors are `{"error": "..."}`."""
_EXAMPLES = {
    "text/plain": "7|t|Cisplatin caused colic.\n7|a|It was acute.\n",
    "application/xml": "<collection><source/><date/><key/><document><id>7</id><passage><offset>0</offset>"
    "<text>Cisplatin caused colic.</text></passage></document></collection>",
}
_ANSWER: dict[str, Any] = {
    "model": bodies.Answer,
    "description": "The documents with their entities",
    "content": {"text/plain": {}, "application/xml": {}, "application/x-ndjson": {}},
}
_ERRORS = {
    406: "no such format of answers",
    408: "the body came too slowly",
    413: "too long a body, too many texts or characters",
    415: "no such format of bodies",
    422: "a body or an option that can't be read",
    429: "too many requests are waiting; `Retry-After` says when to try again",
    503: "the server is stopping, or the model failed",
    504: "not done in time",
}


def make_app(batcher: Batcher, metrics: Metrics, limits: Limits, info: Mapping[str, Any]) -> FastAPI:
    """Make the application of a model that a batcher runs.

    Args:
        info: what /info shows; its `tasks` are a mapping of name to types.
    """
    app = FastAPIOffline(
        docs_url="/docs", redoc_url=None, title="MTL-BioNER", version=info["version"], description=_DESCRIPTION
    )
    _add_annotate(app, batcher, limits, info["tasks"])

    @app.get("/health", summary="Whether requests are answered", responses={503: {"description": _ERRORS[503]}})
    async def health() -> JSONResponse:
        status = "ok" if batcher.is_healthy else "stopping" if batcher.is_stopping else "failed"
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    @app.get("/info", summary="Model, tasks, types and limits")
    async def show_info() -> JSONResponse:
        return JSONResponse(dict(info))

    @app.get("/metrics", summary="Metrics in the text format of Prometheus")
    async def show_metrics() -> Response:
        return Response(metrics.write(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def show_docs() -> RedirectResponse:
        return RedirectResponse("/docs")

    _handle_errors(app)
    app.add_middleware(CountRequests, metrics=metrics, paths={"/annotate", "/health", "/info", "/metrics", "/docs"})
    return app


def _add_annotate(app: FastAPI, batcher: Batcher, limits: Limits, types: Mapping[str, Any]) -> None:
    @app.post(
        "/annotate",
        summary="Annotate texts or documents",
        openapi_extra={"requestBody": _describe_body()},
        responses={200: _ANSWER, **{status: {"description": text} for status, text in _ERRORS.items()}},
    )
    async def annotate(request: Request, query: Described[bodies.Query, Query()]) -> Response:
        body = await read_body(request, limits)
        headers = [request.headers.get(name, "") for name in ("content-type", "accept")]
        parsed = await _run(len(body), bodies.parse_body, body, *headers, query, limits)
        check_tasks(parsed.options, types)
        annotated = await wait_for_answer(request, batcher.submit(parsed.documents, parsed.options), limits.timeout)
        size = sum(len(document.text) for document in parsed.documents)
        content = await _run(size, bodies.format_answer, annotated, parsed.to)
        return Response(content, media_type=bodies.MEDIA_TYPES[parsed.to])


async def _run(size: int, function: Any, *arguments: Any) -> Any:
    """Call a function that takes long for large requests."""
    return await run_in_threadpool(function, *arguments) if size > _LARGE else function(*arguments)


def check_tasks(options: CallOptions, types: Mapping[str, Any]) -> None:
    """Raise Refusal for a task that isn't served."""
    for name in options.tasks or ():
        if name not in types:
            raise Refusal(422, f"no task {name[:60]!r}; the server's are {', '.join(types)}")


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the body of a request; of one that is too long the rest is read but not kept, so that the refusal is read.

    Raises:
        Refusal: 408 for a slow client, 413 for too long a body, 415 for a packed one.
        ClientDisconnect: the client has gone.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "a packed body (Content-Encoding); send it as it is")
    too_long = Refusal(413, f"a body of more than {limits.max_body:,} bytes; send fewer texts in a request")
    most = _DRAINED * limits.max_body
    if int(request.headers.get("content-length", 0)) > most:
        raise too_long
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(limits.read_timeout):
            async for piece in request.stream():
                size += len(piece)
                body += piece if size <= limits.max_body else b""
                if size > most:
                    break
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {limits.read_timeout} s") from None
    if size > limits.max_body:
        raise too_long
    return bytes(body)


async def wait_for_answer(request: Request, future: Future[list[Annotated]], timeout: float) -> list[Annotated]:
    """Wait for the entities of a request; take it out of the line if it takes too long, or the client has gone.

    Raises:
        Refusal: 504 after `timeout` seconds, or that of the batcher.
        ClientDisconnect: the client has gone.
    """
    answer = asyncio.wrap_future(future)
    gone = asyncio.ensure_future(_wait_for_end(request))
    try:
        await asyncio.wait({answer, gone}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if gone.done():
            raise ClientDisconnect
        raise Refusal(504, f"not done within {timeout} s; send fewer texts in a request, or try later", retry_after=5)
    finally:
        gone.cancel()
        answer.cancel()


async def _wait_for_end(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


# -------------------------------------------------------------------------------------------------------------- errors


def _handle_errors(app: FastAPI) -> None:
    """Answer all errors with one line of JSON."""

    def answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
        line = json.dumps({"error": " ".join(message.split())}) + "\n"
        return Response(line, status, headers, "application/json")

    @app.exception_handler(Refusal)
    async def refuse(request: Request, error: Refusal) -> Response:
        retry = {"Retry-After": str(error.retry_after)} if error.retry_after else None
        return answer(error.status, str(error), retry)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(request: Request, error: RequestValidationError) -> Response:
        return answer(422, bodies.describe_errors(error.errors()))

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, error: HTTPException) -> Response:
        return answer(error.status_code, f"{error.detail}; /docs lists what there is", error.headers)

    @app.exception_handler(ClientDisconnect)
    async def end(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=CLIENT_GONE)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return answer(500, "an error of the server; its log tells more")


# ------------------------------------------------------------------------------------------------------- descriptions


def _describe_body() -> dict[str, Any]:
    schema = bodies.JsonBody.model_json_schema()
    example = {"texts": ["Cisplatin caused acute renal failure."], "threshold": 0.5}
    content: dict[str, Any] = {"application/json": {"schema": schema, "example": example}}
    for media_type, example in _EXAMPLES.items():
        content[media_type] = {"schema": {"type": "string"}, "example": example}
    return {"required": True, "content": content}
