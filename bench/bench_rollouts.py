"""Sampling on SmolLM2-135M beside transformers' own `generate`: tokens a second, with prompts shared or not.

Every prompt is new in every round, so that no cache of prompts helps. Both sides sample 32 tokens a request, in fp32.
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

from art.serve.engine import Engine
from art.serve.sampling import Sampling
from smollm2 import prepare_smollm2

ROUNDS, NEW_TOKENS, PROMPT_TOKENS = 3, 32, 40
Jobs = list[tuple[list[int], int]]


def prompts(count: int) -> list[list[int]]:
    return torch.randint(1000, 40_000, (count, PROMPT_TOKENS)).tolist()


def by_generate(module: Any, requests: int) -> float:
    ids = torch.tensor(prompts(requests))
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
    return requests * NEW_TOKENS / (time.perf_counter() - started)


def by_engine(engine: Engine, jobs: Jobs, *, seed: int | None = None) -> float:
    async def one(prompt: list[int], n: int) -> int:
        sampling = Sampling(max_tokens=NEW_TOKENS, seed=seed, stop_ids=frozenset())
        return len([token async for token in engine.submit("base", prompt, n=n, sampling=sampling)])

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
    engine.publish("base", {})
    cases: dict[str, Callable[[], float]] = {
        "transformers.generate, 32 requests": lambda: by_generate(module, 32),
        "engine, 32 prompts": lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(32)]),
        "engine, 4 prompts x 8": lambda: by_engine(engine, [(prompt, 8) for prompt in prompts(4)]),
        "engine, 32 prompts, seeded": lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(32)], seed=1),
        "engine, 4 prompts x 8, seeded": lambda: by_engine(engine, [(prompt, 8) for prompt in prompts(4)], seed=1),
        "transformers.generate, 1 request": lambda: by_generate(module, 1),
        "engine, 1 request": lambda: by_engine(engine, [(prompt, 1) for prompt in prompts(1)]),
    }
    rounds = [{name: case() for name, case in cases.items()} for _ in range(ROUNDS + 1)][1:]
    engine.close()
    found = {name: median(one[name] for one in rounds) for name in cases}
    print("| | tokens/s | ratio |\n|---|---|---|")
    for name, speed in found.items():
        peer = "transformers.generate, 1 request" if name.endswith("1 request") else next(iter(cases))
        print(f"| {name} | {speed:.0f} | {speed / found[peer]:.2f} |")


if __name__ == "__main__":
    main()
