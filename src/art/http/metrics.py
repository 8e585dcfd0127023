"""What the server did since it started, as Prometheus reads it. Knows numbers and HTTP statuses; not what was asked."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from art.sample.sampler import Load

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets that requests are counted in."""


class Metrics:
    """Counters of one server; used in its event loop alone."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.sampled_tokens = 0
        self._statuses: Counter[int] = Counter()
        self._within: Counter[float] = Counter()
        self._seconds = 0.0

    def count(self, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._statuses[status] += 1
        self._seconds += seconds
        self._within.update(bound for bound in SECONDS if seconds <= bound)

    def text(self, load: Load) -> str:
        return "\n".join([*self._lines(load), ""])

    def _lines(self, load: Load) -> Iterator[str]:
        yield from _series("art_rows", "gauge", "Choices that are being sampled.", load.rows)
        yield from _series("art_waiting", "gauge", "Requests that wait for a place.", load.waiting)
        yield from _series("art_prompt_tokens_total", "counter", "Tokens of prompts.", self.prompt_tokens)
        yield from _series("art_sampled_tokens_total", "counter", "Tokens that were sampled.", self.sampled_tokens)
        refused = sum(count for status, count in self._statuses.items() if 400 <= status < 499)
        yield from _series("art_refused_requests_total", "counter", "Requests answered with 4xx.", refused)
        yield from _head("art_requests_total", "counter", "Requests by the status of their answer.")
        for status, count in sorted(self._statuses.items()):
            yield f'art_requests_total{{status="{status}"}} {count}'
        yield from self._durations()

    def _durations(self) -> Iterator[str]:
        name, total = "art_request_seconds", self._statuses.total()
        yield from _head(name, "histogram", "From a request's header to the end of its answer.")
        for bound in SECONDS:
            yield f'{name}_bucket{{le="{bound:g}"}} {self._within[bound]}'
        yield f'{name}_bucket{{le="+Inf"}} {total}'
        yield f"{name}_sum {self._seconds:.6f}"
        yield f"{name}_count {total}"


class Counting:
    """Counts every answer; around the application."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.count(status, time.monotonic() - started)


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _series(name: str, kind: str, meaning: str, value: int) -> Iterator[str]:
    yield from _head(name, kind, meaning)
    yield f"{name} {value}"
