"""Who is let in: requests that carry the key, name this server, and come from no web page of another site.

A page in the user's browser can post to 127.0.0.1, and, with a name of its own that resolves there, read the answers.
Knows headers and bodies as bytes; not what is served.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from art.errors import ConfigurationError
from art.http.body import check_length, drain
from art.http.limits import Limits
from art.http.refusal import RequestError

OPEN_PATHS: Collection[str] = ("/health", "/metrics")
"""Numbers that monitors read without a key."""
KEY = re.compile(r"[!-~]{1,512}")
HOST = re.compile(r"(?:\[(?P<literal>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+?)\.?)(?::\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class Access:
    """The key that requests carry, and the address that the server listens on."""

    key: str
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not KEY.fullmatch(self.key):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigurationError(
                "api_key must be 1 to 512 visible ASCII characters; without it there is a random one."
            )

    def admits_host(self, host: str) -> bool:
        """Tell whether a request may call the server so. One on the network may have any name: the key protects it."""
        match = HOST.fullmatch(host)
        if match is None:
            return False
        name = (match["literal"] or match["name"]).lower()
        return name == self.host.lower() or _is_loopback(name) or not _is_loopback(self.host)


class RequestGuard:
    """Refuses requests before anything reads them; around the application."""

    def __init__(self, app: ASGIApp, *, access: Access, limits: Limits) -> None:
        self._app = app
        self._access = access
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except RequestError as error:
            await drain(receive)
            await error.response(closes=True)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if scope["path"] not in OPEN_PATHS:
            self._check_key(headers)
        if scope["method"] == "POST":
            _check_media_type(headers)
        check_length(headers, self._limits)

    def _check_origin(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if not self._access.admits_host(host):
            raise RequestError(
                "The Host header names another server. Ask this one by its address, as in the model's "
                "inference_base_url.",
                status=403,
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        is_foreign = origin is not None and _place(origin) != host
        if is_foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise RequestError("Web pages of other sites may not ask here.", status=403, code="origin_not_allowed")

    def _check_key(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(key.strip().encode(), self._access.key.encode()):
            raise RequestError(
                "Incorrect or missing API key. Send the model's inference_api_key as `Authorization: Bearer KEY`.",
                status=401,
                code="invalid_api_key",
            )


def _place(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _check_media_type(headers: Mapping[str, str]) -> None:
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(
            "The body must be JSON, sent with `Content-Type: application/json`.",
            status=415,
            code="unsupported_media_type",
        )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
