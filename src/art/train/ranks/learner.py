"""A learner over several processes, with the bits of one.

This process reads what a step learns from, and sends it as tokens; it holds no tensor of the training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from art.config import LoRAConfig, TrainConfig, TrainSFTConfig
from art.errors import RankError
from art.train.fingerprint import environment
from art.train.preparation import Preparation
from art.train.prepare import AgeOf, say_what_strayed, unknown_age
from art.train.ranks.processes import RankProcesses
from art.train.ranks.wire import Opening, packed, settings_of
from art.train.supervised import counted
from art.trajectories import Trajectory, TrajectoryGroup

WRITER = 0
"""The rank that saves."""


@dataclass(frozen=True)
class RanksLaunch:
    """How many ranks there are, and how long one waits for the others."""

    count: int
    timeout_s: float = 1800.0


class RankedTrainer:
    """Trains one adapter on several ranks, children of this process that start with the first call.

    A rank that dies, hangs or runs out of memory alone is one error, and all ranks are stopped. What was not saved is
    lost then: the next call must be `load` or `start`, which begins with new ranks.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        lora: LoRAConfig,
        seed: int,
        base_name: str,
        launch: RanksLaunch,
    ) -> None:
        self.state: Any = None
        self.seen: Any = None
        self.trail: Mapping[str, str] = {}
        self._preparation = Preparation(base, tokenizer)
        self._environment = environment(base)
        self._processes = RankProcesses(launch.count, timeout_s=launch.timeout_s)
        self._opening = Opening(
            base_model=base_name,
            device=base.device.type,
            dtype=str(base.dtype).removeprefix("torch."),
            threads=int(str(self._environment["threads"])),
            lora=lora.model_dump(mode="json"),
            seed=seed,
        )

    def start(self) -> None:
        """Begin afresh; see `Learner`."""
        self._ask_anew({"do": "start"})
        self.state = self.seen = None

    def load(self, folder: Path, *, reset: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Continue from a folder; see `Learner`."""
        told = self._ask_anew({"do": "load", "folder": str(folder.absolute()), "reset": sorted(reset)})[WRITER]
        self.state, self.seen = told["state"], told["seen"]
        return tuple(told["afresh"])

    def step(
        self,
        groups: Sequence[TrajectoryGroup],
        config: TrainConfig,
        *,
        reference: Path | None = None,
        age_of: AgeOf = unknown_age,
    ) -> dict[str, float]:
        """Learn from groups; see `Learner`. Raises `RankError` as well, and what was not saved is lost then."""
        started = time.perf_counter()
        prepared = self._preparation.groups(groups, config, age_of)
        message = {
            "do": "learn",
            "prepared": packed(prepared),
            "config": settings_of(config),
            "reference": None if reference is None else str(reference.absolute()),
        }
        metrics = self._learned(message)
        say_what_strayed(metrics)
        return {**metrics, "seconds": time.perf_counter() - started}

    def train_on_answers(self, trajectories: Sequence[Trajectory], config: TrainSFTConfig) -> dict[str, float]:
        """Learn to say the answers of conversations; see `Learner`, and errors as in `step`."""
        started = time.perf_counter()
        lesson = self._preparation.answers(trajectories, config)
        told = self._learned({"do": "learn_answers", "lesson": packed(lesson), "config": settings_of(config)})
        return {**told, **counted(trajectories, lesson), "seconds": time.perf_counter() - started}

    def save(self, folder: Path) -> None:
        """Let the first rank write into a folder that exists; raises `StorageError`."""
        message = {"do": "save", "folder": str(folder.absolute()), "state": self.state, "seen": self.seen}
        self._ask(message, ranks=[WRITER])

    def environment(self) -> Mapping[str, object]:
        """Give what the bits depend on, which is what those of one process do."""
        return self._environment

    def held_bytes(self) -> list[int]:
        """Give how many bytes of the base's parameters each rank holds between steps."""
        return self._ask({"do": "held_bytes"})

    def close(self) -> None:
        """Stop the ranks."""
        self._processes.stop()

    @property
    def pids(self) -> list[int]:
        """The process of each rank, none where none is running."""
        return self._processes.pids

    def _learned(self, message: dict[str, Any]) -> dict[str, float]:
        told = self._ask(message)[WRITER]
        self.trail = told["trail"]
        return told["metrics"]

    def _ask_anew(self, message: dict[str, Any]) -> list[Any]:
        if not self._processes.are_running:
            self._processes.start(packed(self._opening))
        return self._processes.ask(message)

    def _ask(self, message: dict[str, Any], *, ranks: Sequence[int] | None = None) -> list[Any]:
        if not self._processes.are_running:
            raise RankError("The ranks are not running; load a checkpoint, or start, and they run again.")
        return self._processes.ask(message, ranks=ranks)
