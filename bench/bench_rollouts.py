"""Sampling on SmolLM2-135M beside transformers' own `generate`, in turn: `bench/bench_rollouts.py [THREADS...]`.

Every prompt is new in every round, so that no cache of prompts helps. Both sides sample 32 tokens a request, in fp32.
The engine is measured with requests that may be batched in any way, and with seeded ones, whose tokens must not depend
on what else is sampled: the last column is how much longer those take.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import torch
from machine import print_header
from transformers import AutoModelForCausalLM, AutoTokenizer

from art.adapter.neighbours import lay_together
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE
from smollm2 import prepare_smollm2

NEW_TOKENS = 32


@dataclass(frozen=True, kw_only=True)
class Case:
    """Prompts of one length, and how many answers each gets."""

    prompts: int
    answers: int
    prompt_tokens: int
    rounds: int

    def drawn(self) -> list[list[int]]:
        return torch.randint(1000, 40_000, (self.prompts, self.prompt_tokens)).tolist()

    def speed(self, seconds: float) -> float:
        return self.prompts * self.answers * NEW_TOKENS / seconds


CASES = {
    "1 request behind 512 tokens": Case(prompts=1, answers=1, prompt_tokens=512, rounds=3),
    "8 requests behind 128": Case(prompts=8, answers=1, prompt_tokens=128, rounds=2),
    "32 requests behind 40": Case(prompts=32, answers=1, prompt_tokens=40, rounds=2),
    "4 prompts of 512 x 8 answers": Case(prompts=4, answers=8, prompt_tokens=512, rounds=1),
}


def by_generate(module: Any, case: Case) -> float:
    """Give the seconds that `generate` takes."""
    ids = torch.tensor(case.drawn())
    started = time.perf_counter()
    with torch.inference_mode():
        module.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            num_return_sequences=case.answers,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            pad_token_id=0,
        )
    return time.perf_counter() - started


def by_engine(engine: Engine, case: Case, *, seed: int | None = None) -> float:
    """Give the seconds that the engine takes."""
    sampling = Sampling(max_tokens=NEW_TOKENS, seed=seed, stop_ids=frozenset())

    async def one(prompt: list[int]) -> int:
        return len([token async for token in engine.submit(BASE, prompt, n=case.answers, sampling=sampling)])

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*map(one, case.drawn())))

    started = time.perf_counter()
    assert asyncio.run(all_of_them()) == case.prompts * case.answers * NEW_TOKENS
    return time.perf_counter() - started


def measure(module: Any, tokenizer: Any) -> None:
    """Print a line for each case, the fastest of its rounds."""
    # Its thread is new, and multiplies with as many threads as are set now.
    engine = Engine(module, tokenizer)
    engine.publish(BASE, None)
    small = Case(prompts=2, answers=1, prompt_tokens=16, rounds=1)
    for warm in (lambda: by_generate(module, small), lambda: by_engine(engine, small)):
        warm()
    for name, case in CASES.items():
        rounds = [
            (by_generate(module, case), by_engine(engine, case), by_engine(engine, case, seed=1))
            for _ in range(case.rounds)
        ]
        generate, plain, seeded = map(min, zip(*rounds, strict=True))
        speeds = " | ".join(f"{case.speed(each):.1f}" for each in (generate, plain, seeded))
        ratios = f"{generate / plain:.2f} | {seeded / plain:.2f}"
        print(f"| {torch.get_num_threads()} | {name} | {speeds} | {ratios} |", flush=True)
    engine.close()


def main(counts: list[int]) -> None:
    print_header("Tokens a second, beside transformers.generate")
    folder = prepare_smollm2()
    module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lay_together(module)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    print("| threads | | `generate` | engine | seeded | engine / `generate` | plain / seeded |")
    print("|---|---|---|---|---|---|---|")
    for threads in counts:
        torch.set_num_threads(threads)
        measure(module, tokenizer)


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1, 2])
