"""A guard stops a run that went wrong, or takes it back and goes on with other settings; nothing is lost either way."""

import asyncio
import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import art
import digits
from art.errors import ConfigurationError, GuardError, WebhookError
from art.format.pick import Exact
from art.local import LocalBackend
from art.local.guarding import Guarding
from art.remote.remote import Remote
from art.store.store import CheckpointStore

WELL, WRONG = (0.4, 0.6, 0.8, 0.9), (0.0, 0.0)
CONFIG = art.TrainConfig(learning_rate=4e-4, max_divergence=None)
HALVED = {"learning_rate": lambda rate: rate / 2}


class Script:
    """Trains a model on real rollouts, with the mean reward that each step is told to have earned."""

    def __init__(self, backend: LocalBackend, base_model: Path) -> None:
        self.backend = backend
        self.model = art.TrainableModel(name="one", project="p", base_model=str(base_model))
        self.groups: list[art.TrajectoryGroup] = []

    async def train(self, *rewards: float) -> list[int]:
        """Take a step for each reward; gives where each call left the model."""
        if not self.groups:
            await self.model.register(self.backend)
            self.groups = await digits.gather(self.model, rollouts=2)
        return [await self._step(reward) for reward in rewards]

    async def _step(self, reward: float) -> int:
        for group in self.groups:
            for place, trajectory in enumerate(group):
                trajectory.reward = reward + (0.05 if place else -0.05)
        return (await self.model.train(self.groups, CONFIG)).step

    def rate(self, step: int) -> Any:
        return self.backend.store.open(self.model.ref.at(step)).manifest.settings["learning_rate"]


@contextmanager
def listening(status: int = 200, **headers: str) -> Iterator[tuple[str, list[Any]]]:
    """Serve a webhook; yields its URL and what it was told."""
    told: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/told", told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_run_that_went_wrong_is_stopped_at_the_next_call_and_keeps_everything(small_model: Path, tmp_path: Path):
    async def body(webhook: str) -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard(webhook=webhook)) as backend:
            script = Script(backend, small_model)
            assert await script.train(*WELL, *WRONG) == [1, 2, 3, 4, 5, 6]

            for _ in range(2):
                with pytest.raises(GuardError, match=r"p/one went wrong at step 4: .* The guard stops it\."):
                    await script.train(0.9)

            assert backend.store.steps(script.model.ref) == [1, 2, 3, 4, 5, 6]

    with listening() as (webhook, told):
        asyncio.run(body(webhook))

    assert [(each["event"], each["model"], each["onset"], each["last_good"]) for each in told] == [
        ("stopped", "p/one", 4, 3)
    ]
    assert told[0]["evidence"][0]["metric"] == "train/reward"


def test_a_run_goes_on_after_the_user_has_taken_it_back(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard()) as backend:
            script = Script(backend, small_model)
            await script.train(*WELL, *WRONG)
            await backend._experimental_fork_checkpoint(script.model, from_model="one", not_after_step=3)

            assert await script.train(0.9, 0.9) == [4, 5]

    asyncio.run(body())


def test_the_same_script_goes_on_from_the_best_step_with_changed_settings(small_model: Path, tmp_path: Path):
    async def body(webhook: str) -> None:
        guard = art.Guard(action="fork", change=HALVED, webhook=webhook)
        async with LocalBackend(path=tmp_path, guard=guard) as backend:
            script = Script(backend, small_model)

            assert await script.train(*WELL, *WRONG) == [1, 2, 3, 4, 5, 3]
            assert await backend.get_step(script.model) == 3
            assert await script.train(0.9, 0.92, 0.9) == [4, 5, 6]

            assert [script.rate(step) for step in (3, 4, 6)] == [4e-4, 2e-4, 2e-4]
            (aside,) = backend.store.set_aside(script.model.ref)
            assert aside.steps == (4, 5, 6)
            assert aside.reason.startswith("rewound to 3: guard: collapsed at step 4 (reward left its range for good")

    with listening() as (webhook, told):
        asyncio.run(body(webhook))

    assert [(each["event"], each["back_to"], each["change"]) for each in told] == [
        ("forked", 3, {"learning_rate": 2e-4})
    ]


def test_a_guard_counts_its_forks_across_processes_and_gives_up_in_the_end(small_model: Path, tmp_path: Path):
    guard = art.Guard(action="fork", change=HALVED, max_forks=2)

    async def body(*expected: int, rate: float) -> None:
        async with LocalBackend(path=tmp_path, guard=guard) as backend:
            script = Script(backend, small_model)
            rewards = (*WELL, *WRONG) if expected[0] == 1 else (0.9, *WRONG)
            assert await script.train(*rewards) == list(expected)
            assert script.rate(3) == 4e-4
            if expected[-1] == 6:
                assert script.rate(6) == rate
                with pytest.raises(GuardError, match="took it back 2 times already"):
                    await script.train(0.9)

    asyncio.run(body(1, 2, 3, 4, 5, 3, rate=4e-4))
    asyncio.run(body(4, 5, 3, rate=2e-4))
    asyncio.run(body(4, 5, 6, rate=1e-4))


def test_the_best_evaluated_step_is_gone_back_to(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard(action="fork", change=HALVED)) as backend:
            script = Script(backend, small_model)
            for reward, held_out in zip(WELL, (0.5, 0.7, 0.6, 0.6), strict=True):
                await script.train(reward)
                await script.model.log([], split="val", metrics={"reward": held_out})

            assert await script.train(*WRONG) == [5, 2]

    asyncio.run(body())


def test_a_run_without_a_checkpoint_from_before_is_stopped(small_model: Path, tmp_path: Path):
    async def body() -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard(action="fork", change=HALVED)) as backend:
            script = Script(backend, small_model)
            await script.train(*WELL)
            for step in (1, 2, 3):
                backend.store.delete(backend.store.open(script.model.ref.at(step)))
            await script.train(*WRONG)

            with pytest.raises(GuardError, match="no checkpoint of its own from before"):
                await script.train(0.9)

    asyncio.run(body())


@pytest.mark.parametrize("status", [500, 302, 303, 307])
def test_a_webhook_that_fails_or_points_elsewhere_is_reported_when_the_backend_closes(
    small_model: Path, tmp_path: Path, status: int
):
    async def body(webhook: str) -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard(webhook=webhook)) as backend:
            await Script(backend, small_model).train(*WELL, *WRONG)

    with (
        listening() as (elsewhere, told_elsewhere),
        listening(status=status, Location=elsewhere) as (webhook, told),
        pytest.raises(WebhookError, match=rf"was not told of 1 events: .*{status}"),
    ):
        asyncio.run(body(webhook))

    assert len(told) == 2
    assert not told_elsewhere


def test_a_guard_that_cannot_judge_a_committed_step_fails_no_step(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def body() -> None:
        async with LocalBackend(path=tmp_path, guard=art.Guard()) as backend:
            script = Script(backend, small_model)
            await script.train(0.9)
            monkeypatch.setattr(Guarding, "after", fail)

            assert await script.train(0.9) == [2]
            assert backend.store.steps(script.model.ref) == [1, 2]

    asyncio.run(body())

    assert "p/one@2 is committed, but the guard could not judge it" in caplog.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"action": "pause"}, "is none"),
        ({"change": {"learning_rate": 1e-5}}, "changes nothing"),
        ({"action": "fork", "change": {"learning_rat": 1e-5}}, "learning_rate"),
        ({"action": "fork", "change": {"learning_rate": 7.0}}, "learning_rate"),
        ({"action": "fork", "change": {"epsilon": lambda value: value / 2}}, "epsilon cannot be changed"),
        ({"action": "fork", "change": {"nothing": lambda value: value}}, "no setting 'nothing'"),
        ({"max_forks": 0}, "from 1"),
        ({"webhook": "file:///etc/passwd"}, "no URL"),
    ],
)
def test_a_guard_that_cannot_work_is_refused_when_it_is_made(fields: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        art.Guard(**fields)


def identities(place: CheckpointStore | Remote, model: art.ModelRef) -> dict[int, str | None]:
    return {step: place.select(model, Exact(step)).checkpoint.digest for step in place.steps(model)}


def test_a_guard_takes_the_bucket_back_with_the_run(small_model: Path, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    remote, ref = Remote.open(url), art.ModelRef("p", "one")

    async def body(*rewards: float) -> dict[int, str | None]:
        guard = art.Guard(action="fork", change=HALVED)
        async with LocalBackend(path=tmp_path / "root", remote=url, guard=guard) as backend:
            await Script(backend, small_model).train(*rewards)
        return identities(backend.store, ref)

    assert list(asyncio.run(body(*WELL, WRONG[0]))) == list(identities(remote, ref)) == [1, 2, 3, 4, 5]
    taken_back = asyncio.run(body(WRONG[1]))
    assert list(taken_back) == [1, 2, 3]
    assert identities(remote, ref) == taken_back
    # Whether the sixth step was pushed before is a matter of time.
    assert [aside.steps[:2] for aside in remote.set_aside(ref)] == [(4, 5)]

    rescued = asyncio.run(body(0.9, 0.92, 0.9))
    assert list(rescued) == [1, 2, 3, 4, 5, 6]
    assert identities(remote, ref) == rescued


def test_a_bucket_that_was_not_taken_back_yet_is_so_by_the_next_process(small_model: Path, tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    remote, ref = Remote.open(url), art.ModelRef("p", "one")

    async def body(*rewards: float) -> CheckpointStore:
        async with LocalBackend(path=tmp_path / "root", remote=url) as backend:
            await Script(backend, small_model).train(*rewards)
        return backend.store

    store = asyncio.run(body(*WELL))
    # What a guard leaves that was killed before the bucket followed.
    store.rewind(store.open(ref.at(2)), why="guard: collapsed at step 3")
    asyncio.run(body(0.9))

    assert list(identities(remote, ref)) == [1, 2, 3]
    assert identities(remote, ref) == identities(store, ref)
