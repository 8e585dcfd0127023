"""A made store with a story in it: twelve branches of a shop's agent, one collapsed, one gamed, two still running."""

from __future__ import annotations

import json
import os
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters import adapter_bytes
from art.format.manifest import BaseModelInfo, LearnedFrom, LoRAShape
from art.format.seen import SeenData, read_seen
from art.names import ModelRef
from art.ops.scenarios import digest_of
from art.position import BatchPlace
from art.store.checkpoint import Checkpoint
from art.store.history import HistoryStore
from art.store.liveness import RUNNING, LiveRun, run_path
from art.store.store import CheckpointStore

PROMPTS = ("3 lamps please, delivered. What do I pay?", "6 kettles please, I pick them up. What do I pay?")
SYSTEM = {"role": "system", "content": "You are the till of a small shop."}
SCENARIOS = tuple(digest_of([SYSTEM, {"role": "user", "content": prompt}]) for prompt in PROMPTS)
BASE = {"learning_rate": 1e-5, "loss": "ppo", "beta": 0.0, "epsilon": 0.2}
STEP_TIME = timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Branch:
    """A branch to make: where it begins, how far it goes, and what its steps earn."""

    name: str
    source: str | None = None
    at: int = 0
    last: int
    changed: Mapping[str, Any]
    falls_at: int | None = None
    gamed_at: int | None = None
    is_running: bool = False
    begun: timedelta = timedelta()
    """How long after the first branch it was forked."""


STORY = (
    Branch(name="agent-001", last=40, changed={}),
    Branch(name="agent-002", source="agent-001", at=24, last=64, changed={"learning_rate": 3e-5}),
    Branch(name="agent-003", source="agent-001", at=24, last=64, changed={"beta": 0.05}),
    Branch(
        name="agent-004",
        source="agent-002",
        at=48,
        last=78,
        changed={"learning_rate": 1e-4},
        falls_at=72,
        is_running=True,
    ),
    Branch(name="agent-005", source="agent-002", at=48, last=88, changed={"loss": "cispo"}, gamed_at=62),
    Branch(name="agent-006", source="agent-002", at=56, last=90, changed={"epsilon": 0.3}, is_running=True),
    Branch(name="agent-008", source="agent-005", at=58, last=98, changed={"loss": "ppo"}, begun=timedelta(hours=2)),
)


def tell(root: Path, *, story: tuple[Branch, ...] = STORY, project: str = "shop") -> CheckpointStore:
    """Make the store, begun three hours ago; the same numbers every time."""
    store = CheckpointStore(root)
    began = datetime.now(UTC) - timedelta(hours=3)
    settings: dict[str, dict[str, Any]] = {}
    for branch in story:
        settings[branch.name] = {**(settings[branch.source] if branch.source else BASE), **branch.changed}
        # What still runs wrote its last step just now.
        first = datetime.now(UTC) - STEP_TIME * (branch.last + 1) if branch.is_running else began + branch.begun
        _tell_branch(store, branch, ModelRef(project, branch.name), settings[branch.name], first)
    return store


def _tell_branch(
    store: CheckpointStore, branch: Branch, model: ModelRef, settings: Mapping[str, Any], began: datetime
) -> None:
    history = HistoryStore(store.root)
    parent: Checkpoint | None = None
    if branch.source:
        source = store.open(ModelRef(model.project, branch.source).at(branch.at))
        parent = store.fork(source, model).checkpoint
    lines: list[bytes] = []
    seen = seen_by(parent)
    for step in range(branch.at, branch.last):
        metrics = earned(branch, step)
        place = BatchPlace(dataset="5eed", size=len(PROMPTS), began=0, span=(2 * step, 2 * step + 2))
        seen = seen.after(SCENARIOS, [place])
        parent = write_checkpoint(
            store, model, step + 1, parent=parent, settings=settings, reward=metrics["reward"], seen=seen
        )
        lines += [_line(began, step, "train", metrics)]
        if step % 4 == 0:
            held = metrics["reward"] * 0.9 if branch.gamed_at is None or step < branch.gamed_at else 0.2
            lines += [_line(began, step, "val", {"reward": held})]
    path = store.root / model.project / "models" / model.name / "history.jsonl"
    path.write_bytes(b"".join(lines))
    for step in range(branch.at, branch.last, 3):
        groups = [group(prompt, earned(branch, step)["reward"]) for prompt in PROMPTS]
        history.append_trajectories(model, step, split="train", trajectories=groups)
    if branch.is_running:
        beat = _written(began + branch.last * STEP_TIME)
        run = LiveRun(host=socket.gethostname(), pid=os.getpid(), started=beat, beat=beat, word=RUNNING)
        run_path(store.root, model).write_text(run.model_dump_json())


def written(time: datetime) -> str:
    """Write a time as the store does."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def earned(branch: Branch, step: int) -> dict[str, float]:
    """Give the metrics of a step: learning, with noise, until it falls."""
    chance = random.Random(f"{branch.name} {step}")
    has_fallen = branch.falls_at is not None and step >= branch.falls_at
    reward = 0.02 if has_fallen else min(0.95, 0.3 + 0.006 * step) + chance.gauss(0, 0.015)
    shaken = branch.falls_at is not None and step >= branch.falls_at - 2
    return {
        "reward": reward,
        "entropy": 0.05 if shaken else 1.5 * 0.99**step,
        "approx_kl": 0.4 if shaken else 0.002 + abs(chance.gauss(0, 0.0005)),
        "grad_norm": 3.0 if shaken else 0.5 + chance.gauss(0, 0.05),
        "groups": 8.0,
        "groups_without_signal": 0.0,
        "seconds": 12.0,
        "rollout_seconds": 15.0,
        "tokens": 1800.0,
        "tokens_in": 5000.0,
        "tokens_out": 2000.0,
    }


def _line(began: datetime, step: int, split: str, metrics: Mapping[str, float]) -> bytes:
    named = {f"{split}/{name}": value for name, value in metrics.items()}
    time = _written(began + step * STEP_TIME)
    return json.dumps({"step": step, "split": split, "time": time, **named}).encode() + b"\n"


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")


def write_checkpoint(
    store: CheckpointStore,
    model: ModelRef,
    step: int,
    *,
    parent: Checkpoint | None,
    settings: Mapping[str, Any],
    reward: float,
    seen: SeenData | None = None,
) -> Checkpoint:
    """Commit a checkpoint of a few bytes."""
    config = {"peft_type": "LORA", "base_model_name_or_path": "tiny", "r": 8, "lora_alpha": 16, "target_modules": ["q"]}
    with store.stage(model.at(step)) as stage:
        (stage.path / "adapter_config.json").write_text(json.dumps(config))
        (stage.path / "adapter_model.safetensors").write_bytes(adapter_bytes(f"{model}@{step}".encode()))
        told = {"step": step} if seen is None else {"step": step, "seen": seen.model_dump(mode="json")}
        (stage.path / "trainer.json").write_text(json.dumps(told))
        return stage.commit(
            parent=parent,
            base_model=BaseModelInfo(id="tiny", fingerprint="f" * 64),
            lora=LoRAShape(rank=8, alpha=16, targets="all-linear"),
            metrics={"reward": reward},
            settings=dict(settings),
            learned_from=seen and LearnedFrom(groups=len(SCENARIOS), blake3="0" * 64, scenarios=SCENARIOS),
        )


def seen_by(checkpoint: Checkpoint | None) -> SeenData:
    """Give what a checkpoint of a story has seen."""
    if checkpoint is None:
        return SeenData()
    told = json.loads((checkpoint.path / "trainer.json").read_text())
    return read_seen(told.get("seen"), step=checkpoint.ref.step, where="trainer.json")


def group(prompt: str, reward: float, answer: Callable[[float], str] | None = None) -> str:
    """Write a group of four rollouts as a line."""
    say = answer or (lambda earned: '{"total": 43.60}' if earned > 0.5 else "total total total total")
    rewards = [1.0, reward, reward / 2, 0.0]
    trajectories = [
        {
            "messages_and_choices": [
                SYSTEM,
                {"role": "user", "content": prompt},
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": say(each)},
                    "finish_reason": "stop" if each > 0.1 else "length",
                    "token_ids": [1, 2, 3],
                    "token_logprobs": [-0.1, -0.2, -0.3],
                },
            ],
            "reward": each,
        }
        for each in rewards
    ]
    return json.dumps({"trajectories": trajectories})
