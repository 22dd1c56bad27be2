"""The requests of the page. It reads data and writes marks, and has no other way to a file."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ifdkit.data.atomic import dumps, encoded_json
from ifdkit.errors import IfdkitError, UsageError
from ifdkit.selection.ids import MARKS
from ifdkit.viewing.maps import map_bytes, topic_table
from ifdkit.viewing.security import App, Guard
from ifdkit.viewing.session import Session, query_of

ASSETS = {
    "index.html": "text/html",
    "view.css": "text/css",
    "main.js": "text/javascript",
    "api.js": "text/javascript",
    "list.js": "text/javascript",
    "detail.js": "text/javascript",
    "brushes.js": "text/javascript",
    "keys.js": "text/javascript",
    "map.js": "text/javascript",
    "text.js": "text/javascript",
}
"""The files that are served: a name that is not here does not exist."""
MAX_BODY_BYTES = 10_000
Answer = Callable[[Request], Any]


def make_app(session: Session, *, token: str, port: int) -> App:
    """The server's application, behind its guard."""
    folder = importlib.resources.files("ifdkit.viewing") / "assets"
    files = {name: (folder / name).read_bytes() for name in ASSETS}
    theme = importlib.resources.files("ifdkit.report") / "templates" / "theme.js"
    files["theme.js"] = theme.read_bytes()

    async def asset(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            return Response("not found\n", 404, media_type="text/plain")
        kind = ASSETS.get(name, "text/javascript")
        return Response(files[name], media_type=f"{kind}; charset=utf-8")

    async def mark(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return _error("the request is too long", 413)
        if request.headers.get("content-type") != "application/json":
            return _error("the request is not JSON", 415)
        return await run_in_threadpool(_answered, lambda _: _mark(session, body), request)

    def route(path: str, answer: Answer) -> Route:
        async def respond(request: Request) -> Response:
            return await run_in_threadpool(_answered, answer, request)

        return Route(path, respond, methods=["GET"])

    return Guard(
        Starlette(
            routes=[
                Route("/", asset, methods=["GET"]),
                Route("/assets/{name}", asset, methods=["GET"]),
                route("/api/state", lambda _: session.state()),
                route("/api/rows", lambda request: _rows(session, request)),
                route("/api/histogram", lambda request: _histogram(session, request)),
                route("/api/grid", lambda request: _grid(session, request)),
                route("/api/row", lambda request: session.details.of(_integer(request, "at"))),
                route(
                    "/api/tokens", lambda request: session.details.tokens(_integer(request, "at"))
                ),
                route("/api/near", lambda request: session.near(_integer(request, "at"))),
                route("/api/topics", lambda request: _topics(session, request)),
                route("/api/map", lambda request: _map(session, request)),
                Route("/api/mark", mark, methods=["POST"]),
            ]
        ),
        token=token,
        port=port,
    )


def _answered(answer: Answer, request: Request) -> Response:
    try:
        found = answer(request)
        if isinstance(found, bytes):
            return Response(found, media_type="application/octet-stream")
        return _json(found)
    except UsageError as error:
        return _error(str(error), 400)
    except IfdkitError as error:
        return _error(str(error), 500)


def _json(value: Any, status: int = 200) -> Response:
    body = encoded_json(dumps(value, separators=(",", ":")))
    return Response(body, status, media_type="application/json")


def _error(message: str, status: int) -> Response:
    return _json({"error": " ".join(message.split())}, status)


def _query(request: Request) -> Any:
    try:
        return query_of(json.loads(request.query_params.get("q", "{}")))
    except (ValueError, RecursionError) as error:
        raise UsageError("the query of the request is not JSON") from error


def _integer(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise UsageError(f"{name} of the request is not a number")
    return int(text)


def _rows(session: Session, request: Request) -> Any:
    given = request.query_params
    columns = [name for name in given.get("columns", "").split(",") if name][:20]
    return session.rows(
        _query(request),
        given.get("sort", ""),
        _integer(request, "begin"),
        _integer(request, "count"),
        descending=given.get("descending") == "true",
        columns=columns,
    )


def _histogram(session: Session, request: Request) -> Any:
    name = request.query_params.get("column", "")
    return session.queries.histogram(_query(request), name, session.table.n)


def _grid(session: Session, request: Request) -> Any:
    x, y = (request.query_params.get(name, "") for name in ("x", "y"))
    return session.queries.grid(_query(request), x, y, session.table.n)


def _map(session: Session, request: Request) -> bytes:
    colour = request.query_params.get("colour", "")
    return map_bytes(session.table, session.queries, _query(request), colour, session.table.n)


def _topics(session: Session, request: Request) -> Any:
    summarized = session.source.summary.get("topics")
    table, queries = session.table, session.queries
    return topic_table(table, queries, _query(request), table.n, summarized)


def _mark(session: Session, body: bytes) -> Any:
    try:
        value = json.loads(body)
        position, mark = value["at"], value["mark"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError("the request is not JSON of a mark") from error
    if type(position) is not int or mark not in (*MARKS, None):
        raise UsageError("the request is not that of a mark")
    return session.mark(position, mark)
