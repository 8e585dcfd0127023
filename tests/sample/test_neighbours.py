"""One client's heavy work leaves the others their answers: in time, and as many as there are places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import httpx
import openai
import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.errors import InferenceError
from art.http.limits import Limits
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from small import CHATML, byte_tokenizer

from .serving import AUTHORIZED, BASE, HELLO, KEY, Served, serving

PROMPT_S = 0.4
"""How long a slow listing sleeps, in parts."""
SHARE = 1 / 3
"""The longest wait of another client, as a share of the time that the heavy work takes."""
NEVER_ENDS = {str(byte_tokenizer().eos_token_id): -100}
SLOW = "{% if 'slow' in messages[0].content %}" + "{% for i in range(6400) %}" * 2 + "{% endfor %}" * 2 + "{% endif %}"
"""Makes a template take a second or more."""
LONG = "slow" + " " * 70_000


@pytest.fixture(scope="module")
def slow_texts(base: PreTrainedModel) -> Iterator[Served]:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = SLOW + CHATML
    with serving(base, tokenizer) as served:
        yield served


async def ask(client: httpx.AsyncClient, content: str) -> httpx.Response:
    body = {"model": "agent", "messages": [{"role": "user", "content": content}], "max_tokens": 1}
    return await client.post("/chat/completions", json=body)


async def slowest_health(client: httpx.AsyncClient, work: asyncio.Future[object]) -> float:
    """Ask for /health again and again while the work goes on; gives the longest wait."""
    waits = [0.0]
    while not work.done():
        started = time.monotonic()
        await client.get("../health")
        waits.append(time.monotonic() - started)
        await asyncio.sleep(0.01)
    return max(waits)


def client_of(served: Served) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=served.base_url, headers=AUTHORIZED, timeout=60)


def test_a_flood_of_listings_is_read_once_for_all_that_wait(serve: Callable[..., Served], engine: Engine) -> None:
    readings: list[float] = []

    def read() -> list[str]:
        readings.append(time.monotonic())
        time.sleep(PROMPT_S / 2)
        return [f"model-{number}" for number in range(1000)]

    served = serve(engine, list_names=read)

    async def flood() -> float:
        async with client_of(served) as client:
            asking = asyncio.gather(*(client.get("/models") for _ in range(60)))
            await asyncio.sleep(PROMPT_S / 4)
            started = time.monotonic()
            (await ask(client, "Hello")).raise_for_status()
            waited = time.monotonic() - started
            assert {len(answer.json()["data"]) for answer in await asking} == {1000}
            return waited

    waited = asyncio.run(flood())

    assert len(readings) <= 10
    assert waited < 20 * PROMPT_S


@pytest.mark.parametrize("content", ["slow", LONG])
def test_templates_run_beside_the_event_loop(slow_texts: Served, content: str) -> None:
    async def run() -> tuple[float, float]:
        async with client_of(slow_texts) as client:
            started = time.monotonic()
            work = asyncio.gather(*(ask(client, content) for _ in range(2)))
            waited = await slowest_health(client, work)
            return waited, time.monotonic() - started

    waited, total = asyncio.run(run())

    assert waited < SHARE * total


def test_short_texts_do_not_wait_for_long_ones(slow_texts: Served) -> None:
    async def run() -> bool:
        async with client_of(slow_texts) as client:
            long = asyncio.gather(*(ask(client, LONG) for _ in range(2)))
            await asyncio.sleep(0.2)
            answer = await ask(client, "quick")
            was_first = not long.done()
            await long
            return was_first and answer.status_code == 200

    assert asyncio.run(run())


def test_listing_models_runs_beside_the_event_loop(base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    def list_slowly() -> list[str]:
        time.sleep(3 * PROMPT_S)
        return ["agent"]

    async def run(served: Served) -> float:
        async with client_of(served) as client:
            return await slowest_health(client, asyncio.ensure_future(client.get("/models")))

    with serving(base, tokenizer, list_names=list_slowly) as served:
        assert asyncio.run(run(served)) < PROMPT_S


def test_long_bodies_together_are_bounded(serve: Callable[..., Served], engine: Engine) -> None:
    served = serve(engine, limits=Limits(bodies_bytes=100_000))

    async def run() -> list[httpx.Response]:
        async with client_of(served) as client:
            return await asyncio.gather(*(ask(client, "x" * 60_000) for _ in range(12)))

    answers = asyncio.run(run())

    assert {answer.status_code for answer in answers} <= {400, 429}
    refused = [answer for answer in answers if answer.status_code == 429]
    assert all(answer.json()["error"]["code"] == "rate_limit_exceeded" for answer in refused)
    assert asyncio.run(alone(served)) == 400


async def alone(served: Served) -> int:
    async with client_of(served) as client:
        return (await ask(client, "x" * 60_000)).status_code


def test_a_full_queue_says_when_to_ask_again(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    served = serve(engines(base, tokenizer, max_rows=1, max_waiting=1))

    async def crowd() -> list[httpx.Response]:
        body = {"model": "agent", "messages": HELLO, "max_tokens": 200}
        async with client_of(served) as client:
            return await asyncio.gather(*(client.post("/chat/completions", json=body) for _ in range(12)))

    answers = asyncio.run(crowd())

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 429}


def test_clients_that_ask_again_are_all_answered(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    served = serve(engines(base, tokenizer, max_rows=2, max_waiting=2))

    async def crowd() -> list[object]:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=20) as client:
            asks = [client.chat.completions.create(model="agent", messages=HELLO, max_tokens=5) for _ in range(12)]
            return await asyncio.gather(*asks)

    assert len(asyncio.run(crowd())) == 12


def test_a_request_for_many_choices_leaves_the_next_free_row_to_others(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    served = serve(engines(base, tokenizer, max_rows=2))

    async def run() -> int:
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as client:
            many = await client.chat.completions.create(
                model="agent", messages=HELLO, max_tokens=40, n=12, stream=True, logit_bias=NEVER_ENDS
            )
            ended, other = 0, None
            async for chunk in many:
                other = other or asyncio.ensure_future(
                    client.chat.completions.create(model="agent", messages=HELLO, max_tokens=1)
                )
                ended += sum(choice.finish_reason is not None for choice in chunk.choices)
                if other.done():
                    return ended
        raise AssertionError("the other request was answered last")

    # Two have begun when the other one is asked for, and one more may before it is heard of.
    assert asyncio.run(run()) <= 4


def test_the_numbers_are_shown_as_prometheus_reads_them(serve: Callable[..., Served], engine: Engine) -> None:
    served = serve(engine)
    served.post({"model": "agent", "messages": HELLO, "max_tokens": 3, "n": 2, "temperature": 0, "stop": "\0"})
    served.post({"model": "nobody", "messages": HELLO})
    served.post({"model": "agent", "messages": []})

    lines = served.get("/metrics").text.splitlines()

    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values["art_rows"] == values["art_waiting"] == "0"
    assert int(values["art_prompt_tokens_total"]) > 5
    assert 2 <= int(values["art_sampled_tokens_total"]) <= 6
    assert values["art_refused_requests_total"] == "2"
    assert values['art_requests_total{status="200"}'] == "1"
    assert values['art_requests_total{status="404"}'] == "1"
    assert values["art_request_seconds_count"] == values['art_request_seconds_bucket{le="+Inf"}'] == "3"
    assert float(values["art_request_seconds_sum"]) > 0
    kinds = dict(line.split()[2:4] for line in lines if line.startswith("# TYPE"))
    assert {
        name.split("{")[0].removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in values
    } == set(kinds)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 8])
def test_a_client_that_vanishes_frees_its_rows_within_a_turn(served: Served, n: int, *, stream: bool) -> None:
    body = {"model": "agent", "messages": HELLO, "max_tokens": 1000, "n": n, "stream": stream, "temperature": 2}

    async def run() -> int:
        async with client_of(served) as client:
            asked = asyncio.ensure_future(client.post("/chat/completions", json=body))
            while not served.engine.load().rows:
                await asyncio.sleep(0.001)
                if asked.done():
                    # Its one answer drew the end before anybody looked.
                    assert asked.result().status_code == 200
                    asked = asyncio.ensure_future(client.post("/chat/completions", json=body))
            asked.cancel()
        return await served.rows_left()

    assert asyncio.run(run()) == 0


def test_a_client_that_vanishes_while_it_waits_is_forgotten(
    engines: Callable[..., Engine], serve: Callable[..., Served], base: PreTrainedModel, tokenizer: object
) -> None:
    served = serve(engines(base, tokenizer, max_rows=1))
    body = {"model": "agent", "messages": HELLO, "max_tokens": 900, "temperature": 2, "stop": "\0\0"}

    async def run() -> int:
        async with client_of(served) as client:
            asked = [asyncio.ensure_future(client.post("/chat/completions", json=body)) for _ in range(6)]
            while served.engine.load().waiting < 5:
                await asyncio.sleep(0.001)
            for each in asked:
                each.cancel()
        await served.rows_left()
        return await left_waiting(served)

    assert asyncio.run(run()) == 0


async def left_waiting(served: Served) -> int:
    """Give how many requests wait still when none goes any more, or after five seconds."""
    end = time.monotonic() + 5
    while (waiting := served.engine.load().waiting) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    return waiting


def test_tokens_that_nobody_comes_for_are_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("art.sample.generation.UNREAD_TOKENS", 50)

    async def run() -> None:
        generation = engine.submit(BASE, [1, 2, 3], sampling=Sampling(max_tokens=900, temperature=2.0), n=8)
        while not engine.load().rows:
            await asyncio.sleep(0.005)
        while engine.load().rows:
            await asyncio.sleep(0.005)
        async for _ in generation:
            pass

    with pytest.raises(InferenceError, match="does not read"):
        asyncio.run(run())
