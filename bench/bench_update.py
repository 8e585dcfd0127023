"""The update alone at real lengths: seconds and peak memory, layers kept and computed again, each in its own process.

`bench_update.py` measures one group of 8 on SmolLM2-135M. `bench_update.py large` takes one step on 8 groups of 8
answers of 512 + 256 tokens, and one on random weights of Qwen3-0.6B's dimensions in bfloat16, as memory allows.
`bench_update.py long` takes one step on a group of 8 answers of 2,048 + 512 tokens. Nobody sampled these answers: their
log-probabilities are made up, so a gradient's norm compares ways to compute one step, and tells nothing else.
"""

# What it imports lies in other folders, or is installed only for it.
# pyright: reportMissingImports=false

from __future__ import annotations

import itertools
import json
import random
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("examples", "tests", "tests/train"))

from machine import GIB, print_header

KEPT, AGAIN, FREE = "kept", "computed again", "as memory allows"
LIMITS = {KEPT: 1 << 50, AGAIN: 0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One step that is taken."""

    model: str
    groups: int
    prompt: int
    answer: int
    layers: str
    steps: int = 2
    members: int = 8


SMALL = [
    Case(model="smollm2", groups=1, prompt=prompt, answer=answer, layers=layers)
    for (prompt, answer), layers in itertools.product(((128, 128), (512, 256)), (KEPT, AGAIN))
]
LONG = [Case(model="smollm2", groups=1, prompt=2048, answer=512, layers=FREE, steps=1)]
LARGE = [
    Case(model="smollm2", groups=8, prompt=512, answer=256, layers=FREE, steps=1),
    Case(model="qwen3", groups=1, prompt=128, answer=64, layers=FREE, steps=1),
]


def measure(case: Case) -> dict[str, float]:
    from art.config import LoRAConfig, TrainConfig
    from art.train import forward
    from art.train.trainer import Trainer

    base, tokenizer = smollm2() if case.model == "smollm2" else random_qwen3()
    trainer = Trainer(base, tokenizer, lora=LoRAConfig(), seed=0)
    if case.layers in LIMITS:
        forward.usable_bytes = lambda _: LIMITS[case.layers]
    # Every answer here is made up, so trainer and sampler agree about nothing.
    config = TrainConfig(minibatches=1, max_divergence=None)
    groups, seconds, norms = made_up(case), [], []
    for _ in range(case.steps):
        started = time.perf_counter()
        norms.append(trainer.step(groups, config)["grad_norm"])
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds), "peak_gib": peak_gib(), "grad_norm": norms[-1]}


def peak_gib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def smollm2() -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from smollm2 import prepare_smollm2

    folder = prepare_smollm2()
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return module.requires_grad_(False), AutoTokenizer.from_pretrained(folder)


def random_qwen3() -> tuple[Any, Any]:
    import torch
    from test_memory import QWEN3_06B
    from transformers import AutoConfig, AutoModelForCausalLM

    from small import byte_tokenizer

    shape = {key: value for key, value in QWEN3_06B.items() if key != "family"}
    config = AutoConfig.for_model("qwen3", tie_word_embeddings=True, **shape)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).requires_grad_(False), byte_tokenizer()


def made_up(case: Case) -> list[Any]:
    from worlds import choice, trajectory

    from art.trajectories import TrajectoryGroup

    draw = random.Random(0)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(1000, 40_000) for _ in range(count)]

    def group() -> Any:
        prompt = tokens(case.prompt)
        logprobs = [-5.0] * case.answer
        return TrajectoryGroup(
            trajectory(choice(tokens(case.answer), prompt_ids=prompt, logprobs=logprobs), reward=draw.random())
            for _ in range(case.members)
        )

    return [group() for _ in range(case.groups)]


def main(cases: list[Case]) -> None:
    print_header("The update alone")
    print("| model | groups x answers | tokens | layers | s | peak, GiB | gradient's norm |")
    print("|---|---|---|---|---|---|---|")
    for case in cases:
        command = [sys.executable, __file__, json.dumps(asdict(case))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {case.model} | {case.groups} x {case.members} | {case.prompt} + {case.answer} | {case.layers} |"
            f" {found['seconds']:.1f} | {found['peak_gib']:.2f} | {found['grad_norm']!r} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        print(json.dumps(measure(Case(**json.loads(sys.argv[1])))))
    else:
        main({"large": LARGE, "long": LONG}.get("".join(sys.argv[1:]), SMALL))
