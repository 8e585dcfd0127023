"""Asking a sampler, and waiting for what it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from art.names import ModelRef
from art.sample.base import LoadedBase, NewSampler
from art.sample.own.engine import Engine
from art.sample.sampler import Sampler
from art.sample.sampling import Sampling
from art.sample.version import BASE, Version

PAGE = Path(__file__).parents[2] / "docs/guides/extending.md"
PROMPT = tuple(range(40, 52))
AGENT = ModelRef("shop", "agent")
Sampled = dict[int, list[tuple[int, float]]]


def version(step: int) -> Version:
    return Version(model=AGENT, publication=step, step=step)


def of_the_page(base: LoadedBase) -> Sampler:
    """Make the sampler that the page on extending shows: what is read there is what is asked here."""
    code = PAGE.read_text().partition("## A sampler\n")[2].partition("```python\n")[2].partition("```")[0]
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile("from __future__ import annotations\n" + code, str(PAGE), "exec"), namespace)
    return namespace["GenerateSampler"](base)


def own(base: LoadedBase) -> Engine:
    return Engine(base.module, base.tokenizer)


SAMPLERS: dict[str, NewSampler] = {"own": own, "generate": of_the_page}


async def ask(
    sampler: Sampler, of: Version = BASE, *, prompt: Sequence[int] = PROMPT, n: int = 1, **sampling: object
) -> Sampled:
    """Sample to the end; gives token ids and log-probabilities by choice."""
    generation = sampler.submit(of, prompt, n=n, sampling=Sampling(**{"max_tokens": 8, **sampling}))  # type: ignore[arg-type]
    answers: Sampled = {choice: [] for choice in range(n)}
    async for token in generation:
        answers[token.choice].append((token.drawn.token_id, token.drawn.logprob))
    return answers


async def until(is_so: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not is_so():
            await asyncio.sleep(0.002)
