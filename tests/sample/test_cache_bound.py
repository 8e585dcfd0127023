"""Keys and values stay within a bound of bytes: answers wait, and all are answered as without a bound."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from art.sample.own.engine import Engine

from .passes import watch_passes
from .serving import BASE, Sampled, sample

MANY = 24
KIB = 1024
# Two layers of two key heads of 16 numbers of 4 bytes, keys and values.
TOKEN_BYTES = 2 * 2 * 2 * 16 * 4


def answers(engine: Engine, watch: Callable[[], None], *, many: int = MANY) -> list[Sampled]:
    draw = random.Random(0)
    asked = [([draw.randrange(256) for _ in range(draw.randint(3, 90))], draw.randint(5, 60)) for _ in range(many)]
    watch_passes(engine, watch)

    async def run() -> list[Sampled]:
        return await asyncio.gather(
            *(sample(engine, prompt, max_tokens=tokens, seed=3, n=2) for prompt, tokens in asked)
        )

    return asyncio.run(run())


def test_answers_wait_for_room_and_are_the_same(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    bound = 6 * 256 * TOKEN_BYTES
    held: dict[str, list[int]] = {"free": [], "bounded": []}
    said: dict[str, list[Sampled]] = {}
    for name, most_bytes in (("free", None), ("bounded", bound)):
        engine = engines(base, tokenizer, max_cache_bytes=most_bytes)
        cohort = engine._cohorts[BASE]  # pyright: ignore[reportPrivateUsage]
        said[name] = answers(engine, lambda: held[name].append(cohort.cache_bytes))  # noqa: B023

    assert said["bounded"] == said["free"]
    assert max(held["bounded"]) <= bound < max(held["free"])


def test_one_answer_that_is_larger_than_the_bound_runs_alone(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    engine = engines(base, tokenizer, max_cache_bytes=KIB)

    said = answers(engine, lambda: None, many=6)

    assert all(len(each) == 2 for each in said)


def test_a_prompt_that_answers_share_is_counted_once(
    engines: Callable[..., Engine], base: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    prompt, choices, rows = list(range(208)), 8, list[int]()
    engine = engines(base, tokenizer, max_cache_bytes=(len(prompt) + choices * 64) * TOKEN_BYTES)
    # What a token takes is known from the first answer on.
    asyncio.run(sample(engine, [1, 2, 3], max_tokens=1))
    watch_passes(engine, lambda: rows.append(engine.load().rows))

    asyncio.run(sample(engine, prompt, max_tokens=64, n=choices))

    assert max(rows) == choices
