"""What the tests of vLLM share: small servers, versions, and asking a sampler."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

from art.names import ModelRef
from art.sample.generation import Generation, Token
from art.sample.sampling import Sampling
from art.sample.version import BASE, Version
from art.sample.vllm.connection import Address
from art.sample.vllm.launch import Launch
from art.sample.vllm.sampler import VLLMSampler

KEY, VOCABULARY = "sk-tests", 259
ON_A_CPU = ("--max-model-len", "1024", "--enforce-eager", "--kv-cache-memory-bytes", str(1 << 30))
_publications = itertools.count()


def launch_of(model: Path, **options: object) -> Launch:
    options = {"dtype": "float32", "max_rank": 16, "options": ON_A_CPU} | options
    return Launch(base=str(model), **options)  # type: ignore[arg-type]


def sampler_of(*sources: Launch | Address) -> VLLMSampler:
    return VLLMSampler(sources, stop_ids=frozenset(), vocabulary=VOCABULARY)


def new_version(step: int = 1) -> Version:
    return Version(model=ModelRef("shop", "agent"), publication=next(_publications), step=step)


def prompt_of(length: int, *, seed: int = 0) -> list[int]:
    chosen = random.Random(seed)
    return [chosen.randrange(256) for _ in range(length)]


def begin(
    sampler: VLLMSampler, prompt: list[int], *, version: Version = BASE, n: int = 1, **sampling: object
) -> Generation:
    return sampler.submit(version, prompt, n=n, sampling=Sampling(**{"max_tokens": 8, **sampling}))  # type: ignore[arg-type]


async def finish(generation: Generation) -> dict[int, list[Token]]:
    """Give the tokens of each choice."""
    answers: dict[int, list[Token]] = {choice: [] for choice in range(generation.n)}
    async for token in generation:
        answers[token.choice].append(token)
    return answers


async def sample(sampler: VLLMSampler, prompt: list[int], **options: object) -> dict[int, list[Token]]:
    return await finish(begin(sampler, prompt, **options))  # type: ignore[arg-type]
