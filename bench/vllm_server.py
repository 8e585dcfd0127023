"""A vLLM server beside our own engine, on SmolLM2-135M with an adapter: publications, tokens a second, and agreement.

Needs `VLLM_PYTHON`, as `make test-vllm` makes it. Both sides sample 64 tokens a request in fp32 from prompts of 40 new
tokens, through the same protocol; vLLM computes on all cores, as our engine does. While one side samples, the other is
idle. Agreement is the largest distance of a sampled log-probability from that of a plain pass through PEFT, in nats. A
number of rounds may be given.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "examples"))
sys.path.append(str(Path(__file__).parents[1] / "tests"))

import torch
from machine import print_header
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapters import open_with_peft, write_random_adapter  # pyright: ignore[reportMissingImports]
from art.config import LoRAConfig
from art.names import ModelRef
from art.sample.base import LoadedBase
from art.sample.own.engine import Engine
from art.sample.sampler import Sampler
from art.sample.sampling import Drawn, Sampling
from art.sample.version import BASE, Version
from art.sample.vllm.factory import VLLM
from smollm2 import prepare_smollm2  # pyright: ignore[reportMissingImports]

ROUNDS, NEW_TOKENS, PROMPT_TOKENS, PUBLICATIONS = 3, 64, 40, 8
AGREEING = 256
CASES = {"1 request": (1, 1), "8 requests": (8, 1), "32 requests": (32, 1), "4 prompts x 8": (4, 8)}
MODEL = ModelRef("bench", "agent")
Jobs = Sequence[tuple[list[int], int]]


def version(number: int) -> Version:
    return Version(model=MODEL, publication=number, step=number)


async def sample(sampler: Sampler, jobs: Jobs, asked: Version) -> int:
    """Give how many tokens came."""

    async def one(prompt: list[int], n: int) -> int:
        sampling = Sampling(max_tokens=NEW_TOKENS, stop_ids=frozenset())
        return len([token async for token in sampler.submit(asked, prompt, n=n, sampling=sampling)])

    return sum(await asyncio.gather(*(one(prompt, n) for prompt, n in jobs)))


def jobs_of(prompts: int, n: int) -> Jobs:
    return [(prompt, n) for prompt in torch.randint(1000, 40_000, (prompts, PROMPT_TOKENS)).tolist()]


def speed(sampler: Sampler, jobs: Jobs, asked: Version) -> float:
    started = time.perf_counter()
    tokens = asyncio.run(sample(sampler, jobs, asked))
    return tokens / (time.perf_counter() - started)


def publications(sampler: Sampler, folder: Path, *, first: int) -> list[float]:
    """Give how many milliseconds each publication took."""
    took = []
    for number in range(first, first + PUBLICATIONS):
        started = time.perf_counter()
        sampler.publish(version(number), folder)
        took.append((time.perf_counter() - started) * 1000)
        sampler.retire(version(number))
    return took


async def publications_under_load(sampler: Sampler, folder: Path, *, first: int) -> list[float]:
    running = asyncio.create_task(sample(sampler, jobs_of(8, 1), version(0)))
    await asyncio.sleep(0.5)
    took = await asyncio.to_thread(publications, sampler, folder, first=first)
    await running
    return took


def main() -> None:
    print_header("vLLM beside our engine")
    base_folder = prepare_smollm2()
    module: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(base_folder)
    with tempfile.TemporaryDirectory() as name:
        folder = write_random_adapter(Path(name) / "adapter", module, size=0.01, lora=LoRAConfig(rank=8))
        started = time.perf_counter()
        chosen = VLLM(max_rank=8, options=("--max-model-len", "1024"))
        vllm = chosen(LoadedBase(id=str(base_folder), module=module, tokenizer=tokenizer))
        samplers: dict[str, Sampler] = {"our engine": Engine(module, tokenizer), "vLLM": vllm}
        try:
            vllm.publish(BASE, None)
            print(f"- vLLM answers after {time.perf_counter() - started:.0f} s\n")
            compare(samplers, folder)
            [(prompt, _)] = jobs_of(1, 1)
            answers = {name: asyncio.run(answer(sampler, prompt)) for name, sampler in samplers.items()}
        finally:
            for sampler in samplers.values():
                sampler.close()
        # Last, for PEFT changes the module.
        adapted = open_with_peft(folder, module, trainable=False)
        for side, drawn in answers.items():
            print(f"\n{side} agrees to {distance(adapted, prompt, drawn):.1e} nats over {AGREEING} tokens.")


async def answer(sampler: Sampler, prompt: list[int]) -> list[Drawn]:
    """Sample one long answer with the adapter."""
    sampling = Sampling(max_tokens=AGREEING, stop_ids=frozenset())
    return [token.drawn async for token in sampler.submit(version(0), prompt, sampling=sampling)]


def distance(adapted: torch.nn.Module, prompt: list[int], drawn: Sequence[Drawn]) -> float:
    """Give the largest distance of an answer's log-probabilities from those of a plain pass, in nats."""
    ids = [each.token_id for each in drawn]
    with torch.no_grad():
        logits_TV = adapted(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].float()
    logp_T = logits_TV.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
    return (logp_T - torch.tensor([each.logprob for each in drawn])).abs().max().item()


def compare(samplers: dict[str, Sampler], folder: Path) -> None:
    for sampler in samplers.values():
        sampler.publish(version(0), folder)
        speed(sampler, jobs_of(*CASES["4 prompts x 8"]), version(0))
    print("| publication, ms: median (longest) | idle | while 8 requests run |\n|---|---|---|")
    for name, sampler in samplers.items():
        idle = publications(sampler, folder, first=1)
        busy = asyncio.run(publications_under_load(sampler, folder, first=1 + PUBLICATIONS))
        print(f"| {name} | {median(idle):.0f} ({max(idle):.0f}) | {median(busy):.0f} ({max(busy):.0f}) |")
    print("\n| tokens/s | our engine | vLLM | ratio |\n|---|---|---|---|", flush=True)
    for case, (prompts, n) in CASES.items():
        rounds = [
            {name: speed(sampler, jobs_of(prompts, n), version(0)) for name, sampler in samplers.items()}
            for _ in range(int(next(iter(sys.argv[1:]), ROUNDS)))
        ]
        own, other = (median(one[name] for one in rounds) for name in samplers)
        print(f"| {case} | {own:.1f} | {other:.1f} | {other / own:.2f} |", flush=True)


if __name__ == "__main__":
    if not os.environ.get("VLLM_PYTHON"):
        sys.exit("Set VLLM_PYTHON to the Python of an environment with vLLM; `make test-vllm` makes one.")
    main()
