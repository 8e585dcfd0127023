"""Starts ranks, says which processes they are, and is killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from learning import World

from art.adapter.loading import load_base


def main(path: Path) -> None:
    base, tokenizer = load_base(str(path), device=torch.device("cpu"), dtype=torch.float32)
    ranks = World(path=path, base=base, tokenizer=tokenizer).ranks(2)
    ranks.start()
    print(*ranks.pids, flush=True)  # noqa: T201 - read by the test
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
