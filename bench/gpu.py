"""The figures of a card in one run: launches of a decoding step, sampling and the update, in bfloat16.

`make gpu` runs the tests that need a card, and then this. `--tiny` takes a small random model in place of SmolLM2-135M.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("examples", "tests", "tests/train"))

import torch
from launches import decoding, drawing
from machine import GIB, print_header

from art.config import LoRAConfig, TrainConfig
from art.sample.own.engine import Engine
from art.sample.sampling import Sampling
from art.sample.version import BASE
from art.train.trainer import Trainer
from art.trajectories import TrajectoryGroup

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    print_header("One card")
    print("| part | case | figure |\n|---|---|---|")
    for prompts, rows in ((1, 1), (8, 8)):
        count = decoding(prompts, rows, layers=3, device=options.device) - decoding(
            prompts, rows, layers=2, device=options.device
        )
        print(f"| launches | {prompts} prompts x {rows} rows | {count} a layer |")
    print(f"| launches | 64 rows with top_p and top_k | waits {drawing(64, device=options.device).syncs} times |")
    base, tokenizer = tiny() if options.tiny else smollm2()
    base = base.to(options.device)
    sizes = (20, 8) if options.tiny else (512, 128)
    for prompts, answers in ((1, 1), (32, 1), (4, 8)):
        speed = sampled(base, tokenizer, prompts=prompts, answers=answers, sizes=sizes)
        print(f"| sampling | {prompts} prompts of {sizes[0]} x {answers} | {speed:.0f} tokens/s |")
    seconds, peak = updated(base, tokenizer, sizes=sizes)
    print(f"| update | 4 x 8 answers of {sizes[0]} + {sizes[1]} | {seconds:.2f} s, {peak / GIB:.2f} GiB at most |")


def tiny() -> tuple[Any, Any]:
    from small import byte_tokenizer, small_causal_lm

    tokenizer = byte_tokenizer()
    return small_causal_lm(tokenizer).to(torch.bfloat16).eval().requires_grad_(False), tokenizer


def smollm2() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from smollm2 import prepare_smollm2

    folder = prepare_smollm2()
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return base.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder)


def sampled(base: Any, tokenizer: Any, *, prompts: int, answers: int, sizes: tuple[int, int]) -> float:
    engine = Engine(base, tokenizer)
    engine.publish(BASE, None)
    draw = random.Random(0)

    async def one() -> int:
        ids = [draw.randrange(250) for _ in range(sizes[0])]
        sampling = Sampling(max_tokens=sizes[1], stop_ids=frozenset())
        return len([token async for token in engine.submit(BASE, ids, n=answers, sampling=sampling)])

    async def everyone() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(prompts))))

    speeds: list[float] = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        tokens = asyncio.run(everyone())
        speeds.append(tokens / (time.perf_counter() - started))
    engine.close()
    return max(speeds)


def updated(base: Any, tokenizer: Any, *, sizes: tuple[int, int]) -> tuple[float, int]:
    """Give the seconds of an update, and the most that the card held, 0 without one."""
    from worlds import choice, trajectory

    draw = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(250) for _ in range(count)]

    def group() -> TrajectoryGroup:
        prompt, logprobs = tokens(sizes[0]), [-5.0] * sizes[1]
        return TrajectoryGroup(
            trajectory(choice(tokens(sizes[1]), prompt_ids=prompt, logprobs=logprobs), reward=draw.random())
            for _ in range(8)
        )

    trainer = Trainer(base, tokenizer, lora=LoRAConfig(), seed=0)
    groups, seconds = [group() for _ in range(4)], []
    for _ in range(ROUNDS):
        metrics = trainer.step(groups, TrainConfig(minibatches=1, max_divergence=None))
        seconds.append(metrics["seconds"])
    return min(seconds), torch.cuda.max_memory_allocated() if base.device.type == "cuda" else 0


if __name__ == "__main__":
    main()
