"""An error at any call inside a step: taken again it comes to the same bits, or it is committed and raises nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import art
import digits
from art.errors import OutOfMemoryError
from art.local import LocalBackend
from art.names import ModelRef
from art.store.store import CheckpointStore

MODEL = ModelRef("p", "one")
ERRORS: dict[str, Callable[[], BaseException]] = {
    "memory": MemoryError,
    "disk": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "Ctrl-C": KeyboardInterrupt,
    "anything": lambda: RuntimeError("anything"),
}
MOMENTS = [("memory", 0.01), ("memory", 0.04), ("memory", 0.12), ("memory", 0.97), ("disk", 0.8), ("Ctrl-C", 0.9)]
"""Shares of the calls of a step: before it is computed, within its commit, and behind it."""
MORE_MOMENTS = [(name, random.Random(number).random()) for number in range(12) for name in ERRORS]


class Raising:
    """Raises at one of the calls of our code in the thread that trains, and counts them."""

    def __init__(self, at: int, error: Callable[[], BaseException]) -> None:
        self.calls = 0
        self._at, self._error = at, error

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        is_ours = "/src/art/" in frame.f_code.co_filename and not frame.f_code.co_name.startswith("<")
        if event == "call" and is_ours and threading.current_thread().name.startswith("art-train"):
            self.calls += 1
            if self.calls == self._at:
                raise self._error()


Groups = list[art.TrajectoryGroup]


async def train(
    root: Path, base: Path, groups: Groups | None, raising: Raising
) -> tuple[Groups, BaseException | None, int]:
    """Take three steps, of which the second is disturbed; gives what it raised and where the model stood then."""
    async with LocalBackend(path=root, seed=1) as backend:
        model = art.TrainableModel(name=MODEL.name, project=MODEL.project, base_model=str(base))
        await model.register(backend)
        groups = groups or await digits.gather(model)
        await backend.train(model, groups, learning_rate=1e-3)
        error = None
        # Of threads that begin from here on: the one that computes a step begins with it.
        threading.settrace(raising)
        try:
            await backend.train(model, groups, learning_rate=1e-3)
        except BaseException as raised:  # noqa: BLE001 - whatever was raised is looked at
            error = raised
        finally:
            threading.settrace(None)  # pyright: ignore[reportArgumentType]
        stood = CheckpointStore(root).steps(MODEL)[-1]
        for _ in range(stood, 3):
            await backend.train(model, groups, learning_rate=1e-3)
    return groups, error, stood


@pytest.fixture(scope="module")
def undisturbed(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Groups, int, dict[str, str]]:
    """What is trained on, the calls of one step, and the files that three steps lead to."""
    root, raising = tmp_path_factory.mktemp("undisturbed"), Raising(0, MemoryError)
    groups, _, _ = asyncio.run(train(root, small_model, None, raising))
    assert raising.calls > 1000
    return groups, raising.calls, files(root)


def files(root: Path) -> dict[str, str]:
    return {entry.path: entry.blake3 for entry in CheckpointStore(root).open(MODEL.at(3)).manifest.files}


@pytest.mark.parametrize(
    ("name", "share"), [*MOMENTS, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_MOMENTS)]
)
def test_an_error_at_any_moment_of_a_step_costs_nothing_but_the_step(
    undisturbed: tuple[Groups, int, dict[str, str]], small_model: Path, tmp_path: Path, name: str, share: float
):
    groups, calls, expected = undisturbed
    raising = Raising(1 + int(share * calls), ERRORS[name])

    _, error, stood = asyncio.run(train(tmp_path, small_model, groups, raising))

    assert raising.calls > share * calls
    assert CheckpointStore(tmp_path).steps(MODEL) == [1, 2, 3]
    assert files(tmp_path) == expected
    assert error is None or stood == 1 or name in ("Ctrl-C", "anything")
    assert name != "memory" or error is None or isinstance(error, OutOfMemoryError)
