"""The `art` program as a user runs it, on a store that holds a small story.

shop/agent-1  50 -> 100 -> 150          trained, went wrong after 100
shop/agent-2        100 -> 150 -> 200   forked from agent-1@100, without its optimizer
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from art.cli import main
from art.format.pick import AtMost
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import write_checkpoint

MAIN = ModelRef("shop", "agent-1")
BRANCH = ModelRef("shop", "agent-2")

Art = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "root")
    train(store, MAIN, {50: 0.42, 100: 0.91, 150: 0.12})
    store.fork(store.open(MAIN.at(100)), BRANCH, pick=AtMost(120), reset=("optimizer",))
    train(store, BRANCH, {150: 0.95, 200: 0.97})
    return store


@pytest.fixture
def art(
    tmp_path: Path, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Art:
    """Run `art` in this process, with the store as its root."""

    def run(*arguments: str, root: Path | None = store.root, **variables: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with monkeypatch.context() as patch, contextlib.chdir(tmp_path):
            for name, value in _environment(root, variables).items():
                patch.setenv(name, value)
            if root is None:
                patch.delenv("ART_ROOT", raising=False)
            patch.setattr(sys, "argv", ["art", *arguments])
            with pytest.raises(SystemExit) as end:
                main()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(["art", *arguments], int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def program(tmp_path: Path, store: CheckpointStore) -> Art:
    """Run `art` as a process, with the store as its root."""

    def run(*arguments: str, root: Path | None = store.root, **variables: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name != "ART_ROOT"}
        return subprocess.run(
            [Path(sys.executable).with_name("art"), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
            env={**inherited, **_environment(root, variables)},
            stdin=subprocess.DEVNULL,
        )

    return run


def _environment(root: Path | None, variables: dict[str, str]) -> dict[str, str]:
    return {"COLUMNS": "80", **({"ART_ROOT": str(root)} if root else {}), **variables}


def train(store: CheckpointStore, model: ModelRef, rewards: dict[int, float]) -> None:
    """Commit checkpoints that continue the model's newest, and write down what each earned.

    As training does: the history has it at the step itself, the manifest of the next step has it again.
    """
    parent, earned = store.newest(model), 0.0
    for step, reward in rewards.items():
        parent = write_checkpoint(store, model, step, parent=parent, reward=earned)
        HistoryStore(store.root).append(model, step, split="train", metrics={"reward": reward})
        earned = reward
