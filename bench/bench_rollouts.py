"""Sampling on SmolLM2-135M beside transformers' own `generate`: tokens a second, with prompts shared or not.

Every prompt is new in every round, so that no cache of prompts helps. Both sides sample 32 tokens a request, in fp32,
after prompts of 40 tokens or, where a case says so, 128: sharing saves prompts, so it shows more where they are long.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import torch
from machine import print_header
from transformers import AutoModelForCausalLM, AutoTokenizer

from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE
from smollm2 import prepare_smollm2

ROUNDS, NEW_TOKENS, PROMPT_TOKENS, LONG_PROMPT_TOKENS = 2, 32, 40, 128
GENERATE, ENGINE = "transformers.generate", "engine"
Jobs = list[tuple[list[int], int]]


def prompts(count: int, length: int = PROMPT_TOKENS) -> list[list[int]]:
    return torch.randint(1000, 40_000, (count, length)).tolist()


def by_generate(module: Any, prompts: list[list[int]]) -> float:
    ids = torch.tensor(prompts)
    started = time.perf_counter()
    with torch.inference_mode():
        module.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            pad_token_id=0,
        )
    return len(prompts) * NEW_TOKENS / (time.perf_counter() - started)


def by_engine(engine: Engine, jobs: Jobs, *, seed: int | None = None) -> float:
    async def one(prompt: list[int], n: int) -> int:
        sampling = Sampling(max_tokens=NEW_TOKENS, seed=seed, stop_ids=frozenset())
        return len([token async for token in engine.submit(BASE, prompt, n=n, sampling=sampling)])

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(one(prompt, n) for prompt, n in jobs)))

    started = time.perf_counter()
    tokens = asyncio.run(all_of_them())
    return tokens / (time.perf_counter() - started)


def main() -> None:
    print_header("Tokens a second, beside transformers.generate")
    folder = prepare_smollm2()
    module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    engine = Engine(module, AutoTokenizer.from_pretrained(folder))
    engine.publish(BASE, None)
    long = LONG_PROMPT_TOKENS
    # By what they are compared with: the same requests, given to `generate`.
    cases: dict[str, dict[str, Callable[[], float]]] = {
        "32 requests": {
            GENERATE: lambda: by_generate(module, prompts(32)),
            ENGINE: lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(32)]),
            "engine, 4 prompts x 8": lambda: by_engine(engine, [(prompt, 8) for prompt in prompts(4)]),
            "engine, seeded": lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(32)], seed=1),
            "engine, 4 prompts x 8, seeded": lambda: by_engine(engine, [(prompt, 8) for prompt in prompts(4)], seed=1),
        },
        "32 requests, long prompts": {
            GENERATE: lambda: by_generate(module, prompts(32, long)),
            "engine, 4 prompts x 8": lambda: by_engine(engine, [(prompt, 8) for prompt in prompts(4, long)]),
        },
        "8 requests": {
            GENERATE: lambda: by_generate(module, prompts(8, long)),
            ENGINE: lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(8, long)]),
            "engine, seeded": lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(8, long)], seed=1),
        },
        "1 request": {
            GENERATE: lambda: by_generate(module, prompts(1)),
            ENGINE: lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(1)]),
        },
    }
    rounds = [
        {(kind, name): case() for kind, ways in cases.items() for name, case in ways.items()} for _ in range(ROUNDS + 1)
    ][1:]
    engine.close()
    print("| | | tokens/s | ratio |\n|---|---|---|---|")
    for kind, ways in cases.items():
        found = {name: median(one[kind, name] for one in rounds) for name in ways}
        for name, speed in found.items():
            print(f"| {kind} | {name} | {speed:.0f} | {speed / found[GENERATE]:.2f} |")


if __name__ == "__main__":
    main()
