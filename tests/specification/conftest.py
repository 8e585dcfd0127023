"""A judge model that scripts ask over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from art.http.server import Listen, Server


async def _judge(_: Request) -> Response:
    scores = [{"trajectory_id": str(number), "explanation": "so", "score": number / 2 - 0.25} for number in (1, 2)]
    message = {"role": "assistant", "content": json.dumps({"scores": scores})}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]})


@pytest.fixture
def judge() -> Iterator[str]:
    server = Server(Starlette(routes=[Route("/v1/chat/completions", _judge, methods=["POST"])]), Listen(key="key"))
    server.start()
    yield server.base_url
    server.stop()
