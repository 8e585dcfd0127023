"""Who may ask: this machine's own browser, at this page's own address. Everything else gets 403.

Knows headers; knows nothing of what is served.
"""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost", "[::1]")
TOKEN_HEADER = "x-art-token"
ANSWER_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class PageGuard:
    """Lets through what the page itself asks, and writes only with the token of this start."""

    def __init__(self, app: ASGIApp, *, port: int, token: str) -> None:
        self._app = app
        self._hosts = {f"{host}:{port}" for host in HOSTS}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if problem := self._problem(scope["method"], Headers(scope=scope)):
            await JSONResponse({"error": problem}, status_code=403)(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _problem(self, method: str, headers: Headers) -> str | None:
        if headers.get("host") not in self._hosts:
            return "This page answers under 127.0.0.1 and localhost only."
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "Another site asked."
        if headers.get("origin") not in (None, *self._origins):
            return "Another origin asked."
        is_reading = method in ("GET", "HEAD")
        if not is_reading and not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self._token.encode()):
            return "Changing something needs the token that stands in the address which `art ui` printed."
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *ANSWER_HEADERS]}
        await send(message)

    return sending
