"""A run of accelerate on a tiny model with dropout, as a user would write it: `art certify` resumes it.

    art certify 'python bench/resumed_accelerate.py {out} {resume}' --at 3 --end 6
    art certify 'python bench/resumed_accelerate.py {out} {resume} fsdp2' --at 3 --end 6

With `fsdp2` two ranks shard it, over gloo. accelerate shards on GPUs only, and passes over the plugin on a CPU, so the
kind of the run is set by hand.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, PartialState
from accelerate.utils import DistributedType, set_seed

STEPS, ROWS, WIDTH = 6, 8, 16


def main(out: str, resume: str, how: str = "plain") -> None:
    if how == "plain":
        train(0, 1, out, resume)
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2")
    torch.multiprocessing.spawn(train, (2, out, resume), nprocs=2)  # pyright: ignore[reportPrivateImportUsage]


def train(rank: int, ranks: int, out: str, resume: str) -> None:
    accelerator = opened(rank, ranks)
    set_seed(7)
    model: Any = torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 32), torch.nn.Dropout(0.2), torch.nn.Tanh(), torch.nn.Linear(32, 1)
    )
    optimizer: Any = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model, optimizer = accelerator.prepare(model, optimizer)
    schedule = accelerator.prepare(torch.optim.lr_scheduler.LambdaLR(optimizer.optimizer, lambda step: 1 / (1 + step)))
    step = 0
    if resume:
        accelerator.load_state(resume)
        step = int(Path(resume).name.split("_")[1])
    while step < STEPS:
        draw = torch.Generator().manual_seed(step * ranks + rank)
        rows, step = torch.randn(ROWS, WIDTH, generator=draw), step + 1
        accelerator.backward((model(rows).squeeze(-1) - rows.sum(-1)).square().mean())
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        accelerator.save_state(str(Path(out, f"checkpoint_{step}")))
    accelerator.end_training()


def opened(rank: int, ranks: int) -> Accelerator:
    if ranks == 1:
        return Accelerator(cpu=True)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="SHARDED_STATE_DICT")
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
    return accelerator


if __name__ == "__main__":
    main(*sys.argv[1:])
