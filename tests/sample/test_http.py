"""The server, asked by OpenAI's own client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from transformers import PreTrainedModel

from adapters import write_random_adapter
from art.sample.own.engine import Engine
from art.trajectories import sampled_tokens

from .serving import BASE, HELLO, Served, version_of

LOGPROB_TOLERANCE = 1e-4
"""float32 sums in another order; measured 1e-5."""


def test_a_completion_says_how_its_tokens_were_sampled(served: Served, base: PreTrainedModel) -> None:
    answer = served.ask(
        lambda client: client.chat.completions.create(
            model="agent", messages=HELLO, max_tokens=12, n=3, temperature=0.7, logprobs=True, top_logprobs=2
        )
    )

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.system_fingerprint == str(BASE)
    for choice in answer.choices:
        tokens = sampled_tokens(choice)
        assert tokens is not None
        assert tokens.prompt_ids is not None
        prompt = len(tokens.prompt_ids)
        with torch.no_grad():
            logits = base(torch.tensor([[*tokens.prompt_ids, *tokens.token_ids]])).logits[0, prompt - 1 : -1]
        expected = torch.log_softmax(logits / 0.7, -1).gather(-1, torch.tensor(tokens.token_ids)[:, None])[:, 0]
        assert tokens.logprobs == pytest.approx(expected.tolist(), abs=LOGPROB_TOLERANCE)
        assert tokens.temperature == 0.7
        assert [entry.logprob for entry in choice.logprobs.content] == pytest.approx(tokens.logprobs)
        assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)
    sampled = sum(len(sampled_tokens(choice).token_ids) for choice in answer.choices)
    assert answer.usage.completion_tokens == sampled
    assert answer.usage.total_tokens == sampled + answer.usage.prompt_tokens


def test_a_stream_gives_what_the_completion_gives(served: Served) -> None:
    request = {"model": "agent", "messages": HELLO, "max_tokens": 40, "n": 2, "seed": 5, "logprobs": True}

    async def both(client: openai.AsyncOpenAI):
        whole = await client.chat.completions.create(**request)
        stream = await client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
        return whole, [chunk async for chunk in stream]

    whole, chunks = served.ask(both)

    for expected in whole.choices:
        parts = [choice for chunk in chunks for choice in chunk.choices if choice.index == expected.index]
        assert parts[0].delta.role == "assistant"
        assert "".join(part.delta.content or "" for part in parts) == expected.message.content
        assert parts[-1].finish_reason == expected.finish_reason
        assert parts[-1].model_extra == expected.model_extra
        entries = [entry for part in parts if part.logprobs for entry in part.logprobs.content]
        assert entries == expected.logprobs.content
    assert chunks[-1].usage == whole.usage


def test_two_hundred_requests_at_once_are_all_answered(served: Served) -> None:
    async def many(client: openai.AsyncOpenAI):
        asks = (
            client.chat.completions.create(
                model="agent", messages=[{"role": "user", "content": f"{number % 20}"}], max_tokens=1 + number % 7
            )
            for number in range(200)
        )
        return await asyncio.gather(*asks)

    answers = served.ask(many)

    assert len(answers) == 200
    assert all(answer.choices[0].finish_reason in ("length", "stop") for answer in answers)
    assert asyncio.run(served.rows_left()) == 0


@pytest.mark.parametrize("temperature", [0, 1e-39, 1e-7])
def test_a_tiny_temperature_is_answered_as_temperature_0(served: Served, temperature: float) -> None:
    answer = served.ask(
        lambda client: client.chat.completions.create(
            model="agent", messages=HELLO, max_tokens=3, temperature=temperature
        )
    )

    assert sampled_tokens(answer.choices[0]).temperature == 0


def test_an_unknown_model_is_not_found(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="No model clerk") as caught:
        served.ask(lambda client: client.chat.completions.create(model="clerk", messages=HELLO))

    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 0}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 1e39}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"stop": ""}, "stop"),
        ({"seed": 1.5}, "seed"),
        ({"banana": 1}, "banana"),
        ({"functions": []}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"min_tokens": 3}, "min_tokens"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"best_of": 2}, "best_of"),
        ({"stop_token_ids": [-1]}, "stop_token_ids.0"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages.0.content",
        ),
        ({"top_logprobs": 2}, None),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(served: Served, body: dict[str, object], param: str | None) -> None:
    answer = served.post({"model": "agent", "messages": HELLO, "max_tokens": 1, **body})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"] or "").startswith(param or "")
    assert error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff\xfe", b'{"model": "agent"}', b'{"model": "\\ud800"}', b"null"]
)
def test_a_malformed_body_is_refused(served: Served, body: bytes) -> None:
    answer = served.post(body)

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_what_has_no_effect_here_is_accepted(served: Served) -> None:
    answer = served.ask(
        lambda client: client.chat.completions.create(
            model="agent",
            messages=[
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            ],
            max_completion_tokens=2,
            user="me",
            metadata={"a": "b"},
            store=False,
            frequency_penalty=0.0,
            presence_penalty=0,
            logit_bias={},
            response_format={"type": "text"},
            parallel_tool_calls=True,
            timeout=30,
            verbosity="low",
            prediction={"type": "content", "content": "Hi"},
            service_tier="auto",
            safety_identifier="me",
            prompt_cache_key="me",
            extra_body={
                "top_k": 5,
                "chat_template_kwargs": {"enable_thinking": False},
                "add_generation_prompt": True,
                "ignore_eos": False,
                "include_reasoning": True,
                "length_penalty": 1.0,
                "min_tokens": 0,
                "skip_special_tokens": True,
                "use_beam_search": False,
            },
        )
    )

    assert answer.usage.completion_tokens <= 2


def test_a_token_that_is_named_ends_an_answer(served: Served) -> None:
    whole = served.post({"model": "agent", "messages": HELLO, "max_tokens": 8, "seed": 1}).json()["choices"][0]
    third = whole["token_ids"][2]

    cut = served.post(
        {"model": "agent", "messages": HELLO, "max_tokens": 8, "seed": 1, "stop_token_ids": [third]}
    ).json()["choices"][0]

    assert cut["token_ids"] == whole["token_ids"][: whole["token_ids"].index(third) + 1]
    assert cut["finish_reason"] == "stop"


def test_a_prompt_beyond_the_context_names_both_lengths(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match=r"1024 tokens.* take \d{4} tokens") as caught:
        served.ask(
            lambda client: client.chat.completions.create(
                model="agent", messages=[{"role": "user", "content": "x" * 2000}]
            )
        )

    assert caught.value.code == "context_length_exceeded"


def test_an_answer_ends_where_the_context_does(served: Served) -> None:
    content = "x" * 990
    answer = served.ask(
        lambda client: client.chat.completions.create(
            model="agent", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=500
        )
    )

    assert answer.usage.total_tokens <= 1024


def test_models_and_health_are_listed(served: Served) -> None:
    models = served.ask(lambda client: client.models.list())
    health = served.get("/health").json()

    assert [model.id for model in models.data] == ["agent"]
    assert health["status"] == "ok"


@pytest.mark.parametrize("name", ["agent", "agent@5", "organisation/base"])
def test_a_model_is_shown_by_its_name(served: Served, name: str) -> None:
    served.names |= {"agent@5": BASE, "organisation/base": BASE}

    assert served.ask(lambda client: client.models.retrieve(name)).id == name


def test_a_model_that_is_not_served_is_not_found(served: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="GET /v1/models"):
        served.ask(lambda client: client.models.retrieve("clerk"))


def test_an_unknown_path_answers_in_the_same_shape(served: Served) -> None:
    answer = served.get("/v1/embeddings")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"


def test_a_full_queue_answers_429(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    served = serve(engines(base, tokenizer, max_rows=1, max_waiting=1))

    async def crowd(client: openai.AsyncOpenAI):
        asks = [client.chat.completions.create(model="agent", messages=HELLO, max_tokens=200) for _ in range(12)]
        return await asyncio.gather(*asks, return_exceptions=True)

    answers = served.ask(crowd)

    assert any(isinstance(answer, openai.RateLimitError) for answer in answers)
    assert any(not isinstance(answer, Exception) for answer in answers)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_frees_its_slot(served: Served, stream: bool) -> None:
    async def leave(client: openai.AsyncOpenAI) -> int:
        long = {"model": "agent", "messages": HELLO, "max_tokens": 900, "temperature": 1.5, "n": 4}
        asked = asyncio.ensure_future(client.chat.completions.create(**long, stream=stream))
        while not served.engine.load().rows:
            await asyncio.sleep(0.001)
        if stream:
            await (await asked).close()
        asked.cancel()
        return await served.rows_left()

    assert served.ask(leave) == 0


def test_a_failing_engine_answers_500_with_its_message(served: Served, base: PreTrainedModel, tmp_path: Path) -> None:
    broken = write_random_adapter(tmp_path / "broken", base, size=float("nan"))
    served.engine.publish(version_of(1), broken)
    served.names["broken"] = version_of(1)

    with pytest.raises(openai.InternalServerError, match="not finite"):
        served.ask(lambda client: client.chat.completions.create(model="broken", messages=HELLO))
    after = served.ask(lambda client: client.chat.completions.create(model="agent", messages=HELLO, max_tokens=2))
    assert after.choices


def test_stopping_twice_is_harmless_and_closes_the_port(served: Served) -> None:
    served.stop()
    served.stop()

    with pytest.raises(httpx.ConnectError):
        httpx.get(served.base_url)


@pytest.mark.parametrize("stream", [False, True])
def test_stopping_in_the_middle_of_a_request_is_bounded_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    serve: Callable[..., Served],
    engine: Engine,
    *,
    stream: bool,
) -> None:
    monkeypatch.setattr("art.http.server.GRACE_S", 0.2)
    served = serve(engine)

    async def whole(client: openai.AsyncOpenAI) -> None:
        answer: Any = await client.chat.completions.create(
            model="agent", messages=HELLO, n=50, max_tokens=900, temperature=2, stream=stream
        )
        if stream:
            async for _ in answer:
                pass

    async def interrupted(client: openai.AsyncOpenAI) -> BaseException | None:
        asked = asyncio.ensure_future(whole(client))
        while not engine.load().rows:
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.to_thread(served.stop), timeout=20)
        return (await asyncio.gather(asked, return_exceptions=True))[0]

    answer = served.ask(interrupted)

    assert isinstance(answer, openai.APIError)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert "art-http" not in {thread.name for thread in threading.enumerate()}
