"""Who may ask the server, and what its page may do.

The server listens on 127.0.0.1 only.  That alone does not keep out a web page that the user visits
at the same time, so every request passes these checks:

    Host      must be the server's own address: a name that an attacker points to 127.0.0.1 (DNS
              rebinding) is refused
    token     random, in the address that is printed, then in a cookie that scripts cannot read and
              that other sites' pages do not send
    Origin    a request that another page made is refused
    policy    the page loads scripts, styles and data from the server only, and nothing inline
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every response, those of errors too."""
_ALLOWED_METHODS = ("GET", "HEAD", "POST")


def new_token() -> str:
    """256 random bits for an address."""
    return secrets.token_urlsafe(32)


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site made the request."""
    site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
    return site not in ("none", "same-origin") or origin not in (None, f"http://{headers['host']}")


class Guard:
    """ASGI middleware that lets only the user's own page through."""

    def __init__(self, app: App, *, token: str, port: int) -> None:
        """`port` is that of the server."""
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        # Cookies do not tell ports apart: each running server has a cookie of its own.
        self.cookie = f"ifdkit-view-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 403 or 405."""
        if scope["type"] != "http":
            return
        headers = [(k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"]]
        given = dict(headers)
        shown = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        has_shown = scope["path"] == "/" and self._is_token(shown)
        problem, status = None, 403
        if sum(name == "host" for name, _ in headers) != 1 or given["host"] not in self._hosts:
            problem = "unknown host"
        elif scope["method"] not in _ALLOWED_METHODS:
            problem, status = "method not allowed", 405
        elif is_from_elsewhere(given) and not (has_shown and scope["method"] == "GET"):
            problem = "request of another site"
        elif not (has_shown or self._is_token(self._from_cookie(headers))):
            problem = "open the address that `ifdkit view` printed, with its token"
        if problem is not None:
            await self._refuse(status, problem, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                cookie = f"{self.cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                added = [*HEADERS.items(), *([("Set-Cookie", cookie)] if has_shown else [])]
                message["headers"] = [
                    *message.get("headers", []),
                    *((name.lower().encode(), value.encode()) for name, value in added),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _from_cookie(self, headers: list[tuple[str, str]]) -> str:
        for name, value in headers:
            if name == "cookie":
                try:
                    found = SimpleCookie(value).get(self.cookie)
                except CookieError:
                    return ""
                return found.value if found else ""
        return ""

    async def _refuse(self, status: int, problem: str, send: Send) -> None:
        headers = {**HEADERS, "Content-Type": "text/plain; charset=utf-8"}
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": f"ifdkit view: {problem}\n".encode()})
