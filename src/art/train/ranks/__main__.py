"""One rank: `python -m art.train.ranks`, started by `RankedTrainer`, which it answers line by line.

A rank ends when its backend closes it or is gone: then its standard input ends.
"""

from __future__ import annotations

import gc
import os
import queue
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import torch
import torch.distributed

from art.adapter.loading import load_base
from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import ArtError
from art.train.ranks.collective import Ranks
from art.train.ranks.sharding import held_bytes, shard
from art.train.ranks.wire import Opening, as_line, config_of, lesson_of, prepared_of, refusal_of
from art.train.trainer import Trainer

RENDEZVOUS, TIMEOUT_S = "ART_RANKS_RENDEZVOUS", "ART_RANKS_TIMEOUT_S"
ALONE = (
    "A rank answers the backend that started it, so it runs neither alone nor under torchrun. Give your script "
    "LocalBackend(ranks=2) and start it as before: python train.py"
)
Message = dict[str, Any]


def main() -> None:
    """Answer each line with one line, until there are no more."""
    if RENDEZVOUS not in os.environ:
        sys.exit(ALONE)
    # Libraries print what they like; only answers go to the backend.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, lines), daemon=True).start()
    ranks = Ranks(rank=int(os.environ["RANK"]), count=int(os.environ["WORLD_SIZE"]))
    rank: _Rank | None = None
    while True:
        message = _parsed(lines.get())
        try:
            if rank is None:
                rank = _Rank(Opening(**message["opening"]), ranks)
                told = rank.held_bytes(message)
            else:
                told = rank.answers[message["do"]](message)
        except ArtError as error:
            answers.write(as_line({"refused": refusal_of(error)}))
        else:
            answers.write(as_line({"told": told}))


def _parsed(line: bytes) -> Message:
    import json

    return json.loads(line)


def _listen(source: BinaryIO, lines: queue.SimpleQueue[bytes]) -> None:
    for line in source:
        lines.put(line)
    # The backend is gone or has closed this rank, whatever it computes now.
    os._exit(0)


class _Rank:
    """A trainer that takes its part of every step."""

    def __init__(self, opening: Opening, ranks: Ranks) -> None:
        torch.set_num_threads(opening.threads)
        device = _device(opening.device, ranks.rank)
        _join(ranks, device)
        # In turn: while it is read, a base is whole, and the machine need not hold more than one.
        for turn in range(ranks.count):
            if turn == ranks.rank:
                self._trainer = _trainer(opening, ranks, device)
                gc.collect()
            torch.distributed.barrier()
        self.answers: dict[str, Callable[[Message], Any]] = {
            "start": self._start,
            "load": self._load,
            "learn": self._learn,
            "learn_answers": self._learn_answers,
            "save": self._save,
            "held_bytes": self.held_bytes,
        }

    def held_bytes(self, _: Message) -> int:
        return held_bytes(self._trainer.model)

    def _start(self, _: Message) -> None:
        self._trainer.start()

    def _load(self, message: Message) -> Message:
        afresh = self._trainer.load(Path(message["folder"]), reset=frozenset(message["reset"]))
        trainer = self._trainer
        told = {"state": trainer.state, "seen": trainer.seen, "optimizer_steps": trainer.optimizer_steps}
        return {"afresh": afresh, **told}

    def _learn(self, message: Message) -> Message:
        config = config_of(TrainConfig, message["config"])
        reference = message["reference"] and Path(message["reference"])
        metrics = self._trainer.learn(prepared_of(message["prepared"]), config, reference=reference)
        return {"metrics": metrics, "trail": self._trainer.trail}

    def _learn_answers(self, message: Message) -> Message:
        config = config_of(TrainSFTConfig, message["config"])
        metrics = self._trainer.learn_answers(lesson_of(message["lesson"]), config)
        return {"metrics": metrics, "trail": self._trainer.trail}

    def _save(self, message: Message) -> None:
        self._trainer.state, self._trainer.seen = message["state"], message["seen"]
        self._trainer.save(Path(message["folder"]))


def _device(device: str, rank: int) -> torch.device:
    if device != "cuda":
        return torch.device(device)
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


def _join(ranks: Ranks, device: torch.device) -> None:
    timeout = timedelta(seconds=float(os.environ[TIMEOUT_S]))
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=torch.distributed.FileStore(os.environ[RENDEZVOUS], ranks.count),
        rank=ranks.rank,
        world_size=ranks.count,
        timeout=timeout,
    )


def _trainer(opening: Opening, ranks: Ranks, device: torch.device) -> Trainer:
    base, tokenizer = load_base(opening.base_model, device=device, dtype=getattr(torch, opening.dtype))
    lora = LoRAConfig.model_validate(opening.lora)
    trainer = Trainer(base, tokenizer, lora=lora, seed=opening.seed, base_name=opening.base_model, ranks=ranks)
    shard(trainer.model, ranks)
    return trainer


if __name__ == "__main__":
    main()
