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

SCORES = [{"trajectory_id": str(number), "explanation": "so", "score": number / 2 - 0.25} for number in (1, 2)]


async def _judge(request: Request) -> Response:
    message = {"role": "assistant", "content": json.dumps(_answer(await request.body()))}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return JSONResponse({"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [choice]})


def _answer(body: bytes) -> object:
    """Give what the schema asks for; without one, scores of two trajectories."""
    schema = (json.loads(body).get("response_format") or {}).get("json_schema", {}).get("schema", {})
    match schema.get("properties"):
        case {"scenarios": {"minItems": count}}:
            return {"scenarios": [{"task": f"Add {each}.", "difficulty": each % 5 + 1} for each in range(count)]}
        case {"accept": _}:
            return {"reasoning": "so", "accept": True}
        case _:
            return {"scores": SCORES}


@pytest.fixture
def judge() -> Iterator[str]:
    server = Server(Starlette(routes=[Route("/v1/chat/completions", _judge, methods=["POST"])]), Listen(key="key"))
    server.start()
    yield server.base_url
    server.stop()
