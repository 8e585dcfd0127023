"""A file for each page of ART's documentation that has a script, run as its readers run it, on a small model."""

from __future__ import annotations

import gc
import json
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from art.http.server import Listen, Server
from small import place_in_hub_cache

SCRIPTS = Path(__file__).parent / "scripts"
NEEDS = {"ruler": "litellm", "langgraph_agent": "langchain"}
pytestmark = pytest.mark.filterwarnings("ignore")  # of the frameworks' own imports


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


@pytest.mark.parametrize("script", sorted(path.stem for path in SCRIPTS.glob("*.py")))
def test_a_script_of_a_page_runs_to_its_end(
    script: str, small_model: Path, judge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script in NEEDS:
        pytest.importorskip(NEEDS[script], reason="`make test-frameworks` installs its package")
    place_in_hub_cache(small_model, "OpenPipe/Qwen3-14B-Instruct")
    monkeypatch.setenv("JUDGE_URL", judge)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
    gc.collect()  # LangChain leaves connections to the collector, which would complain in a later test

    (history, *_) = tmp_path.glob(".art/*/models/*/history.jsonl")
    assert history.read_text()
