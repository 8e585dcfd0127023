"""A thousand requests, sixty-four at a time, of which many leave: every other one is answered, and nothing stays."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Callable

import httpx
import psutil
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.sample.own.engine import Engine
from small import small_causal_lm

from .serving import AUTHORIZED, Served

REQUESTS, AT_ONCE = 1000, 64
GROWTH_BYTES = 400 * 1024**2
"""The allocator keeps what sixty-four long answers took at once; a thousand of them would take more."""
POISON = "\x01"
"""A character whose token makes the numbers of the row that reads it NaN."""
KINDS = {
    "plain": {},
    "seeded": {"seed": 7},
    "stream": {"stream": True},
    "several": {"n": 3},
    "tiny temperature": {"temperature": 1e-39},
    "vanishes": {"max_tokens": 800},
    "vanishes from a stream": {"max_tokens": 800, "stream": True},
    "breaks the numbers": {},
    "malformed": {"temperature": "hot"},
    "too long": {},
}
CONTENT = {"breaks the numbers": POISON, "too long": "x" * 100_000}
# Greedy, so that no other row samples POISON by chance.
EXPECTED = {"malformed": 400, "too long": 400, "breaks the numbers": 500}


@pytest.fixture
def fragile(tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    model = small_causal_lm(tokenizer, tie_word_embeddings=False).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer.encode(POISON)[0]] = torch.nan
    return model


async def request(client: httpx.AsyncClient, kind: str, number: int) -> int | str:
    chosen = random.Random(number)
    content = CONTENT.get(kind, f"request {number % 40}")
    body = {
        "model": "agent",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 8,
        "temperature": 0,
        **KINDS[kind],
    }
    asked = client.post("/chat/completions", json=body)
    if not kind.startswith("vanishes"):
        answer = await asked
        return "cut" if body.get("stream") and "[DONE]" not in answer.text else answer.status_code
    try:
        await asyncio.wait_for(asked, timeout=chosen.uniform(0.001, 0.3))
    except TimeoutError:
        return "vanished"
    return "answered first"


def threads() -> int:
    """Count the threads but those of an event loop's pool, which grows to a bound of its own and stays."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def crowd(served: Served) -> Counter[tuple[str, int | str]]:
    places = asyncio.Semaphore(AT_ONCE)
    outcomes: Counter[tuple[str, int | str]] = Counter()

    async def one(client: httpx.AsyncClient, number: int) -> None:
        kind = random.Random(number).choice(list(KINDS))
        async with places:
            outcomes[kind, await request(client, kind, number)] += 1

    limits = httpx.Limits(max_connections=AT_ONCE)
    async with (
        httpx.AsyncClient(base_url=served.base_url, headers=AUTHORIZED, timeout=120, limits=limits) as client,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(REQUESTS):
            tasks.create_task(one(client, number))
    return outcomes


# A client that vanishes while it connects leaves its socket to the garbage collector, which complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_thousand_requests_beside_clients_that_vanish_are_answered(
    engines: Callable[..., Engine],
    serve: Callable[..., Served],
    fragile: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    record_property: Callable[[str, object], None],
) -> None:
    served = serve(engines(fragile, tokenizer))
    process = psutil.Process()
    before, memory = threads(), process.memory_info().rss

    outcomes = asyncio.run(crowd(served))

    assert outcomes.total() == REQUESTS
    vanishing = {outcome for kind, outcome in outcomes if kind.startswith("vanishes")}
    assert "vanished" in vanishing
    for kind in KINDS:
        if not kind.startswith("vanishes"):
            assert {outcome for other, outcome in outcomes if other == kind} == {EXPECTED.get(kind, 200)}
    assert asyncio.run(served.rows_left()) == 0
    assert served.engine.load().waiting == 0
    assert threads() <= before + 5
    grown = process.memory_info().rss - memory
    assert grown < GROWTH_BYTES
    record_property("load: requests, 64 at a time", outcomes.total())
    record_property("load: clients that vanished", sum(n for (_, how), n in outcomes.items() if how == "vanished"))
    record_property("load: threads left", threads() - before)
    record_property("load: MiB grown", round(grown / 1024**2))
