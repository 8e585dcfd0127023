"""Takes a step for which a process has too little memory, and then the same one in smaller passes; says how it went."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch
from worlds import make_base, random_groups

from art.config import LoRAConfig, TrainConfig
from art.errors import OutOfMemoryError
from art.train.trainer import Trainer
from small import byte_tokenizer

LEFT_BYTES = 100 << 20


def contents(trainer: Trainer, folder: Path) -> list[bytes]:
    trainer.save(folder)
    return [file.read_bytes() for file in sorted(folder.iterdir())]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    trainer = Trainer(make_base(), byte_tokenizer(), lora=LoRAConfig(rank=2, dropout=0.2), seed=0)
    groups = random_groups(seed=2, groups=8, members=8, prompt=(900, 950))
    trainer.step(random_groups(seed=1), TrainConfig())
    before = contents(trainer, folder)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LEFT_BYTES, resource.RLIM_INFINITY))
    try:
        trainer.step(groups, TrainConfig(packed_sequence_length=100_000, micro_batch_tokens=100_000))
    except OutOfMemoryError as error:
        print(error)  # noqa: T201 - read by the test
    print(contents(trainer, folder) == before)  # noqa: T201
    print(trainer.step(groups, TrainConfig(micro_batch_tokens=1))["rows"])  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
