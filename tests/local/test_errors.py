"""Bad input gets one clear error, and changes nothing."""

import asyncio
import errno
import fcntl
import math
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy
import pytest

import art
import digits
from art.errors import (
    BackendClosedError,
    BaseModelMismatchError,
    CheckpointNotFoundError,
    ConfigurationError,
    CorruptCheckpointError,
    DestinationNotEmptyError,
    IncompatibleError,
    InvalidNameError,
    LoRAShapeMismatchError,
    ModelNotFoundError,
    NotRegisteredError,
    OutOfMemoryError,
    StorageError,
    TrainingDataError,
)
from art.local import LocalBackend
from art.names import ModelRef
from art.ops.recording import read_lines
from art.store.store import CheckpointStore
from small import write_small_model

STRICT = digits.TRAIN.with_settings({"strict": True})


def make(small_model: Path, name: str = "one", **settings: object) -> art.TrainableModel:
    return art.TrainableModel(name=name, project="p", base_model=str(small_model), **settings)  # pyright: ignore


@pytest.fixture
def trained(small_model: Path, tmp_path: Path) -> Path:
    """A root with one model of two steps."""

    async def body() -> None:
        async with LocalBackend(path=tmp_path / "root") as backend:
            one = make(small_model)
            await one.register(backend)
            await digits.train(one, 2)

    asyncio.run(body())
    return tmp_path / "root"


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"from_model": "two"}, ModelNotFoundError, "There is no model p/two; there are p/one"),
        ({"from_model": "one", "from_project": "q"}, ModelNotFoundError, "There is no model q/one"),
        ({"from_model": "one", "not_after_step": 0}, CheckpointNotFoundError, "has steps 1, 2"),
        ({"from_model": "../one"}, InvalidNameError, "contains '/'"),
        ({"from_model": "one", "reset": ["weights"]}, ConfigurationError, "'weights' cannot be reset"),
    ],
)
def test_a_fork_that_cannot_be_says_what_there_is(
    small_model: Path, trained: Path, arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    before = files(trained)

    async def body() -> None:
        async with LocalBackend(path=trained) as backend:
            await backend._experimental_fork_checkpoint(make(small_model, "new"), **arguments)  # pyright: ignore

    with pytest.raises(error, match=message):
        asyncio.run(body())
    assert files(trained) == before
    assert not (trained / "p/models/new").exists()


def test_another_base_model_or_shape_is_refused_before_a_byte_moves(
    small_model: Path, trained: Path, tmp_path: Path
) -> None:
    other = write_small_model(tmp_path / "other", hidden_size=32, head_dim=8)
    before = files(trained)

    async def body() -> None:
        async with LocalBackend(path=trained) as backend:
            fork = backend._experimental_fork_checkpoint
            with pytest.raises(BaseModelMismatchError, match="was trained on"):
                await fork(make(other, "new"), from_model="one")
            with pytest.raises(LoRAShapeMismatchError, match=r"rank 8.*asks for rank 4"):
                await fork(make(small_model, "new", lora=art.LoRAConfig(rank=4)), from_model="one")

    asyncio.run(body())
    assert files(trained) == before


def test_a_checkpoint_of_another_trainer_is_kept_and_never_loaded(small_model: Path, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    with store.stage(ModelRef("p", "theirs").at(3)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"whatever")
        stage.commit(kind="hf-trainer", carried=())
    before = files(tmp_path)

    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            with pytest.raises(IncompatibleError, match="p/theirs@3 is a checkpoint of kind hf-trainer"):
                await make(small_model, "theirs").register(backend)

    asyncio.run(body())
    assert files(tmp_path) == before


def test_a_destination_with_checkpoints_of_its_own_is_refused(small_model: Path, trained: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=trained) as backend:
            other = make(small_model, "other")
            await other.register(backend)
            await digits.train(other, 1)
            before = files(trained)
            with pytest.raises(DestinationNotEmptyError, match=r"p/other cannot be forked into: it has step 1"):
                await backend._experimental_fork_checkpoint(other, from_model="one")
            assert files(trained) == before

    asyncio.run(body())


def test_an_altered_file_is_named_when_the_model_is_opened(small_model: Path, trained: Path) -> None:
    weights = trained / "p/models/one/checkpoints/0002/adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(bytes(content))

    async def body() -> None:
        async with LocalBackend(path=trained) as backend:
            await make(small_model).register(backend)

    with pytest.raises(CorruptCheckpointError, match=r"0002/adapter_model.safetensors was altered: its digest is"):
        asyncio.run(body())


def test_bad_trajectories_are_refused_where_that_is_asked_and_the_run_goes_on(small_model: Path, trained: Path) -> None:
    async def body() -> int:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            good = await digits.gather(one)
            nan = [art.TrajectoryGroup([t.model_copy(update={"reward": math.nan}) for t in good[0]])]
            mute = [art.TrajectoryGroup([art.Trajectory(messages_and_choices=[{"role": "user", "content": "hi"}])] * 2)]
            for bad in ([], nan, mute, [art.TrajectoryGroup([])]):
                with pytest.raises(TrainingDataError):
                    await one.train(bad, STRICT)
            await one.train(good, digits.TRAIN)
            return await one.get_step()

    assert asyncio.run(body()) == 3
    assert CheckpointStore(trained).steps(art.ModelRef("p", "one")) == [1, 2, 3]


def test_a_step_that_fails_half_way_leaves_the_run_where_it_was(small_model: Path, trained: Path) -> None:
    async def body() -> tuple[str | None, str | None]:
        async with LocalBackend(path=trained, deterministic=True) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            with files_at_most(bytes_each=20_000), pytest.raises(StorageError):
                await one.train(groups, digits.TRAIN)
            assert await one.get_step() == 2
            await one.train(groups, digits.TRAIN)
            two = make(small_model, "two")
            await backend._experimental_fork_checkpoint(two, from_model="one", not_after_step=2)
            await two.register(backend)
            await two.train(groups, digits.TRAIN)
            return adapter(backend, one), adapter(backend, two)

    def adapter(backend: LocalBackend, model: art.TrainableModel) -> str | None:
        newest = backend.store.newest(model.ref)
        assert newest is not None
        return next(entry.blake3 for entry in newest.manifest.files if entry.path == "optimizer.safetensors")

    one, two = asyncio.run(body())

    assert one == two


@contextmanager
def files_at_most(*, bytes_each: int) -> Iterator[None]:
    """Let the operating system refuse to write more than this into any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_each, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_model_without_a_backend_says_register(small_model: Path) -> None:
    one = make(small_model)

    async def body() -> None:
        for call in (one.get_step(), one.train([])):
            with pytest.raises(NotRegisteredError, match="register"):
                await call
        with pytest.raises(NotRegisteredError, match="register"):
            one.openai_client()

    asyncio.run(body())


def test_a_closed_backend_says_so(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        backend = LocalBackend(path=tmp_path)
        one = make(small_model)
        await one.register(backend)
        await backend.close()
        await backend.close()
        for call in (one.get_step(), one.train([art.TrajectoryGroup([])]), one.register(backend)):
            with pytest.raises(BackendClosedError, match="is closed"):
                await call

    asyncio.run(body())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_the_process_is_told_that_its_backend_lives_elsewhere(small_model: Path, tmp_path: Path) -> None:
    backend, one = LocalBackend(path=tmp_path), make(small_model)

    async def train() -> int:
        return (await backend.train(one, [])).step

    async def in_the_child() -> int:
        with pytest.raises(BackendClosedError, match=f"lives in process {os.getppid()}"):
            await train()
        await backend.close()
        return 0

    asyncio.run(one.register(backend))
    child = os.fork()
    if not child:
        signal.alarm(60)
        failed = 1
        with suppress(BaseException):
            failed = asyncio.run(in_the_child())
        os._exit(failed)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert asyncio.run(train()) == 1
    asyncio.run(backend.close())


def test_a_base_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            await make(tmp_path / "nowhere").register(backend)

    with pytest.raises(ModelNotFoundError, match="nowhere"):
        asyncio.run(body())


def test_what_the_user_sets_after_a_refused_batch_is_what_is_saved(small_model: Path, tmp_path: Path) -> None:
    async def body() -> object:
        async with LocalBackend(path=tmp_path) as backend:
            one = make(small_model)
            await one.register(backend)
            one.state = 10
            await digits.train(one, 1)
            one.state = 20
            with pytest.raises(TrainingDataError):
                await one.train([art.TrajectoryGroup([])], STRICT)
            one.state = 30
            await digits.train(one, 1)
        async with LocalBackend(path=tmp_path) as backend:
            again = make(small_model)
            await again.register(backend)
            return again.state

    assert asyncio.run(body()) == 30


def test_numbers_of_numpy_are_written_down_and_what_has_no_form_is_refused_first(
    small_model: Path, trained: Path
) -> None:
    async def body() -> int:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            for trajectory in groups[0]:
                trajectory.reward = numpy.float32(trajectory.reward)
                trajectory.metrics["nan"] = math.nan
            await one.train(groups, digits.TRAIN)
            groups[0].trajectories[0].metadata["object"] = object()  # pyright: ignore
            with pytest.raises(TrainingDataError, match="cannot be written down"):
                await one.train(groups, digits.TRAIN)
            groups[0].trajectories[0].metadata.clear()
            groups[0].trajectories[0].reward = None  # pyright: ignore
            with pytest.raises(TrainingDataError, match="its reward is None"):
                await one.train(groups, STRICT)
            return await one.get_step()

    assert asyncio.run(body()) == 3
    recorded = (trained / "p/models/one/trajectories/train/0002.jsonl").read_bytes().split(b"\n")
    assert all("nan" not in t.metrics for group in read_lines(recorded) for t in group)


def test_another_object_of_a_registered_model_must_ask_for_the_same(small_model: Path, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            await make(small_model).register(backend)
            with pytest.raises(BaseModelMismatchError, match="is registered with base_model"):
                await make(tmp_path / "other").register(backend)
            with pytest.raises(LoRAShapeMismatchError):
                await make(small_model, lora=art.LoRAConfig(rank=2)).register(backend)

    asyncio.run(body())


@pytest.mark.parametrize("lost", ["root", "model", "checkpoints", "steps"])
def test_a_session_whose_checkpoints_are_gone_never_starts_over(small_model: Path, trained: Path, lost: str) -> None:
    async def body() -> None:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            _lose(trained, lost)

            for _ in range(2):
                with pytest.raises(StorageError, match=r"p/one@2 is gone .* nothing was trained"):
                    await backend.train(one, groups, learning_rate=1e-3)

            assert CheckpointStore(trained).steps(one.ref) == []
            _bring_back(trained, lost)
            assert (await backend.train(one, groups, learning_rate=1e-3)).step == 3

    asyncio.run(body())


def _lose(root: Path, what: str) -> None:
    for path in _lost_paths(root, what):
        path.rename(root.parent / f"away-{path.name}")


def _bring_back(root: Path, what: str) -> None:
    for away in root.parent.glob("away-*"):
        place = {"root": root, "model": root / "p/models/one"}.get(what, root / "p/models/one/checkpoints")
        place = place / away.name.removeprefix("away-") if what == "steps" else place
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and what != "steps":
            shutil.rmtree(place)
        away.rename(place)


def _lost_paths(root: Path, what: str) -> list[Path]:
    checkpoints = root / "p/models/one/checkpoints"
    one = {"root": root, "model": checkpoints.parent, "checkpoints": checkpoints}
    return sorted(checkpoints.iterdir()) if what == "steps" else [one[what]]


OUT_OF_MEMORY_AT: set[str] = set()


def _end_memory(event: str, details: tuple[object, ...]) -> None:
    if event == "open" and Path(str(details[0])).name in OUT_OF_MEMORY_AT:
        raise MemoryError


@pytest.fixture
def memory_ends_at() -> Iterator[Callable[[str], None]]:
    """Lets memory run out where a file of this name is opened; Python forgets no audit hook, so this one waits."""
    sys.addaudithook(_end_memory)
    yield OUT_OF_MEMORY_AT.add
    OUT_OF_MEMORY_AT.clear()


@pytest.mark.parametrize("name", ["trainer.json", "adapter_config.json"])
def test_memory_that_runs_out_before_the_commit_undoes_the_step_and_says_so(
    small_model: Path, trained: Path, memory_ends_at: Callable[[str], None], name: str
) -> None:
    async def body() -> tuple[int, int]:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            memory_ends_at(name)
            with pytest.raises(OutOfMemoryError, match=r"before p/one@3 was committed.*micro_batch_tokens"):
                await backend.train(one, groups, learning_rate=1e-3)
            OUT_OF_MEMORY_AT.clear()
            before = await one.get_step()
            return before, (await backend.train(one, groups, learning_rate=1e-3)).step

    assert asyncio.run(body()) == (2, 3)


@pytest.mark.parametrize("name", ["history.jsonl", "0002.jsonl"])
def test_memory_that_runs_out_after_the_commit_fails_no_step(
    small_model: Path,
    trained: Path,
    memory_ends_at: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    async def body() -> int:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            memory_ends_at(name)
            step = (await backend.train(one, groups, learning_rate=1e-3)).step
            OUT_OF_MEMORY_AT.clear()
            return step

    assert asyncio.run(body()) == 3
    assert "p/one@3 is committed, but the backend could not" in caplog.text


@pytest.mark.parametrize("refused", ["sync", "unlock"])
def test_a_disk_that_fails_behind_the_commit_fails_no_step(
    small_model: Path, trained: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    third = trained / "p/models/one/checkpoints/0003"
    patched, name = (fcntl, "flock") if refused == "unlock" else (os, "fsync")
    real = getattr(patched, name)

    def fail(*arguments: Any, **options: Any) -> Any:
        if third.exists() and not (refused == "sync" and not is_at(arguments[0], third.parent)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*arguments, **options)

    async def body() -> tuple[int, int]:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            with monkeypatch.context() as patch:
                patch.setattr(patched, name, fail)
                step = (await backend.train(one, groups, learning_rate=1e-3)).step
            return step, (await backend.train(one, groups, learning_rate=1e-3)).step

    assert asyncio.run(body()) == (3, 4)
    assert "p/one@3 is committed" in caplog.text


def is_at(handle: int, folder: Path) -> bool:
    return os.path.samestat(os.fstat(handle), folder.stat())


def test_after_the_commit_nothing_fails_a_step_and_the_next_start_makes_it_good(
    small_model: Path, trained: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = trained / "p/models/one/history.jsonl"
    before = history.read_text()

    async def body(steps: int) -> int:
        async with LocalBackend(path=trained) as backend:
            one = make(small_model)
            await one.register(backend)
            if steps:
                groups = await digits.gather(one)
                history.unlink()
                history.mkdir()
                (history / "in-the-way").touch()
                return (await backend.train(one, groups, learning_rate=1e-3)).step
            return await one.get_step()

    step = asyncio.run(body(1))
    said = caplog.text
    shutil.rmtree(history)
    history.write_text(before)
    again = asyncio.run(body(0))

    assert (step, again) == (3, 3)
    assert "p/one@3 is committed, but the backend could not write down it" in said
    assert '"step": 2, "split": "train"' in history.read_text()
