"""The server's door: whatever is asked over HTTP is answered, or refused as OpenAI does, and no neighbour waits."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.http.openapi import STATUSES, description
from art.http.protocol import ChatRequest
from sample.serving import AUTHORIZED, HELLO, Served, serving
from small import byte_tokenizer, small_causal_lm

from .mutation import INPUT_BYTES, Draw, mutated
from .requests import BODIES, CALL, FUNCTION, MESSAGES, PATHS

ROOT = Path(__file__).parents[2]
ASKED, AT_ONCE = 120, 6
PATIENCE_S = 10.0
"""How long a neighbour's single token may take on a busy machine; alone it takes hundredths of a second."""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    tokenizer: PreTrainedTokenizerFast = byte_tokenizer()
    model: PreTrainedModel = small_causal_lm(tokenizer).eval()
    with serving(model, tokenizer, max_context=512) as served:
        yield served


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "agent", "messages": HELLO, "max_tokens": 2, **fields}


def check_answer(answer: httpx.Response) -> None:
    """Check that an answer is documented, and a refusal in OpenAI's shape."""
    assert answer.status_code == 200 or answer.status_code in STATUSES, answer.text[:300]
    assert answer.status_code < 500, answer.text[:300]
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]


@contextmanager
def neighbour(served: Served) -> Iterator[list[float]]:
    """Ask for single tokens all the while; gives how long each took."""
    waits: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.05):
            began = time.monotonic()
            assert served.post(chat(max_tokens=1)).status_code == 200
            waits.append(time.monotonic() - began)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield waits
        finally:
            is_over.set()
            asking.result()


def test_a_changed_request_is_answered_or_refused_and_no_neighbour_waits(
    served: Served, record_property: Callable[[str, object], None]
):
    chance = random.Random(0)
    sources = [chance.randbytes(INPUT_BYTES) for _ in range(ASKED)]

    def ask(source: bytes) -> httpx.Response:
        draw = Draw(source)
        codec, body = draw.pick(BODIES)
        path = draw.pick([*PATHS.values()]) if draw.below(8) == 0 else PATHS[id(codec)]
        content = mutated(json.dumps(body).encode(), draw, form="json")
        headers = AUTHORIZED | {"Content-Type": "application/json"}
        return httpx.post(served.base_url.removesuffix("/v1") + path, content=content, headers=headers, timeout=120)

    with neighbour(served) as waits, ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, sources))

    for answer in answers:
        check_answer(answer)
    statuses = {answer.status_code for answer in answers}
    record_property("fuzzed requests over HTTP", len(answers))
    assert {200, 400} <= statuses
    assert max(waits) < PATIENCE_S


def called_with(arguments: str) -> dict[str, Any]:
    call = {**CALL, "function": {"name": "x", "arguments": arguments}}
    return chat(messages=[*HELLO, {**MESSAGES[2], "tool_calls": [call]}])


def must_call(**parameters: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {**FUNCTION, "parameters": parameters}}
    return chat(tools=[tool], tool_choice="required")


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


REQUESTS: dict[str, dict[str, Any]] = {
    "deep arguments of a call": called_with("[" * 100_000),
    "a lone surrogate in the arguments": called_with('{"a": "\\ud800"}'),
    "NaN in the arguments": called_with('{"a": NaN}'),
    "a number beyond 64 bits in a schema": chat(guided_json={"const": 2**64}),
    "a schema's properties that are none": must_call(properties=True),
    "a schema's property that is text": must_call(properties={"a": "x"}),
    "a schema's property that is anything": must_call(properties={"a": True}),
    "required that is a number": must_call(required=7),
    "an enumeration that is a number": must_call(properties={"a": {"type": "string", "enum": 7}}),
    "a regular expression of a billion states": chat(guided_regex="((a{1000}){1000}){1000}"),
    "a regular expression that looks back": chat(guided_regex=r"(a+)+\1"),
    "a grammar that calls itself": chat(guided_grammar="start: start"),
    "a grammar of nothing": chat(guided_grammar=""),
    "a schema that means itself": chat(guided_json={"$ref": "#"}),
    "a schema elsewhere": chat(guided_json={"$ref": "http://127.0.0.1:9/x"}),
    "a schema of ten thousand choices": chat(guided_json={"enum": [str(number) for number in range(10_000)]}),
    "a schema of forty levels": chat(guided_json=nested(40)),
    "a penalty that makes infinities": chat(repetition_penalty=5e-324),
    "the smallest penalty": chat(repetition_penalty=0.01, max_tokens=8),
    "an empty prompt": {"model": "agent", "prompt": "", "max_tokens": 2},
    "a prompt of no tokens": {"model": "agent", "prompt": [], "max_tokens": 2},
    "a prompt of a negative token": {"model": "agent", "prompt": [-1], "max_tokens": 2},
    "an empty input": {"model": "agent", "input": "", "max_output_tokens": 2},
    "a model whose name is a path": chat(model="../../etc/passwd"),
    "a role that no template knows": chat(messages=[{"role": "tool", "content": "x", "tool_call_id": "y"}]),
    "variables of the template that are no text": chat(chat_template_kwargs={"add_generation_prompt": {}, "tools": 1}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_that_means_nothing_is_refused_or_answered(served: Served, name: str):
    body = REQUESTS[name]
    path = "/v1/completions" if "prompt" in body else "/v1/responses" if "input" in body else "/v1/chat/completions"

    with neighbour(served) as waits:
        check_answer(served.post(body, path=path))
        time.sleep(0.1)

    assert max(waits, default=0.0) < PATIENCE_S


HEADERS: list[dict[str, str]] = [
    {"Host": "elsewhere"}, {"Host": ""}, {"Origin": "null"}, {"Origin": "http://["}, {"Authorization": "Bearer "},
    {"Authorization": "é".encode().decode("latin-1")}, {"Content-Type": "text/plain"}, {"Content-Type": ""},
    {"Content-Length": "٣"}, {"Accept": "image/png"}, {"Expect": "100-continue"}, {"Sec-Fetch-Site": "cross-site"},
]  # fmt: skip


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_a_header_that_means_nothing_is_refused_or_passed_over(served: Served, headers: dict[str, str]):
    raw = [
        (name.encode(), value.encode("utf-8"))
        for name, value in {**AUTHORIZED, "Content-Type": "application/json", **headers}.items()
    ]
    try:
        answer = httpx.post(f"{served.base_url}/chat/completions", content=json.dumps(chat()).encode(), headers=raw)
    except httpx.LocalProtocolError:
        pytest.skip("no client sends this")

    check_answer(answer) if "error" in answer.text or answer.status_code == 200 else None
    assert answer.status_code < 500


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE"])
@pytest.mark.parametrize(
    "path",
    ["/", "/v1/models", "/v1/models/agent", "/v1/chat/completions", "/health", "/metrics", "/%00", "/v1/models/%ff"],
)
def test_every_method_of_every_path_is_answered(served: Served, method: str, path: str):
    url = served.base_url.removesuffix("/v1") + path

    answer = httpx.request(method, url, headers=AUTHORIZED | {"Content-Type": "application/json"}, content=b"")

    assert answer.status_code < 500
    if answer.status_code >= 400 and method != "HEAD":
        check_answer(answer)


def test_the_description_is_what_the_server_checks():
    assert json.loads((ROOT / "docs/reference/openapi.json").read_text()) == description()
    properties = description()["components"]["schemas"]["ChatRequest"]["properties"]
    assert properties.keys() == ChatRequest.model_fields.keys()


def test_a_client_made_from_the_description_finds_no_fault(served: Served):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: `make fuzz`")
    from .described import ask_everything

    count = ask_everything(schemathesis, description(), served)

    assert count > 100
