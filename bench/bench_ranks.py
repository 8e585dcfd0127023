"""Ranks against one process: seconds for a training step on SmolLM2-135M, in turn, as a ratio.

Two ranks of one thread compute the bits of one process of one thread. One process of two threads uses as many cores,
and computes other bits: it is what two ranks have to be compared with for speed.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("examples", "tests", "tests/train"))

from machine import GIB, print_header

ROUNDS = 3


def main() -> None:
    import torch
    from worlds import choice, trajectory

    import art
    from art.adapter.loading import load_base
    from art.train.ranks.learner import RankedTrainer, RanksLaunch
    from art.train.trainer import Trainer
    from smollm2 import prepare_smollm2

    print_header("A training step on ranks")
    path = str(prepare_smollm2())
    base, tokenizer = load_base(path, device=torch.device("cpu"), dtype=torch.float32)
    draw = random.Random(0)
    prompt = [draw.randrange(40_000) for _ in range(64)]
    rollouts = [
        trajectory(choice([draw.randrange(40_000) for _ in range(64)], prompt_ids=prompt), reward=float(member % 2))
        for member in range(8)
    ]
    # Four micro-batches in one optimiser step; every answer here is made up.
    config = art.TrainConfig(micro_batch_tokens=192, minibatches=1, max_divergence=None)
    lora = art.LoRAConfig()

    def process() -> Trainer:
        return Trainer(base, tokenizer, lora=lora, seed=0, base_name=path)

    torch.set_num_threads(1)
    ranks = RankedTrainer(base, tokenizer, lora=lora, seed=0, base_name=path, launch=RanksLaunch(2))
    learners = {"one process, 1 thread": (process(), 1), "2 ranks, 1 thread each": (ranks, 1)}
    torch.set_num_threads(2)
    learners["one process, 2 threads"] = (process(), 2)
    started = time.perf_counter()
    ranks.start()
    starting = time.perf_counter() - started

    seconds: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(ROUNDS + 1):
        for name, (learner, threads) in learners.items():
            torch.set_num_threads(threads)
            seconds[name].append(learner.step([art.TrajectoryGroup(rollouts)], config)["seconds"])
    medians = {name: statistics.median(found[1:]) for name, found in seconds.items()}
    print("| | seconds a step | of one process with 1 thread |\n|---|---|---|")
    for name, median in medians.items():
        print(f"| {name} | {median:.2f} | {median / medians['one process, 1 thread']:.2f} |")
    whole = sum(parameter.nbytes for parameter in base.parameters())
    held = ", ".join(f"{each / GIB:.3f}" for each in ranks.held_bytes())
    print(f"\nThe base has {whole / GIB:.3f} GiB; the ranks hold {held} GiB. They started in {starting:.0f} s.")
    print(f"Files of the first two are equal: {_files(learners['one process, 1 thread'][0]) == _files(ranks)}.")
    ranks.close()


def _files(learner: object) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        learner.save(Path(folder))  # pyright: ignore - a Learner
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


if __name__ == "__main__":
    main()
