"""A run whose newest checkpoint was damaged, or whose root was swapped, goes on as it was asked to, and says so."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import art
import digits
from art.errors import ArtError, ConfigurationError, CorruptCheckpointError, StorageError
from art.local import LocalBackend
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

ONE = ModelRef("p", "one")


def make(small_model: Path) -> art.TrainableModel:
    return art.TrainableModel(name="one", project="p", base_model=str(small_model))


@pytest.fixture(scope="module")
def finished(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with one model of two steps."""
    root = tmp_path_factory.mktemp("finished") / "root"

    async def body() -> None:
        async with LocalBackend(path=root) as backend:
            one = make(small_model)
            await one.register(backend)
            await digits.train(one, 2)

    asyncio.run(body())
    return root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "root"))


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)


def shorten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1])


def remove(path: Path) -> None:
    path.unlink()


def weights(root: Path, step: int) -> Path:
    return root / f"p/models/one/checkpoints/{step:04d}/adapter_model.safetensors"


def manifest(root: Path, step: int) -> Path:
    return weights(root, step).with_name("checkpoint.json")


@pytest.mark.parametrize(("damage", "file"), [(alter, weights), (shorten, weights), (remove, manifest)])
def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(
    small_model: Path,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    file: Callable[[Path, int], Path],
) -> None:
    damage(file(root, 2))

    async def body() -> tuple[int, int]:
        async with LocalBackend(path=root, on_corrupt="previous") as backend:
            one = make(small_model)
            await one.register(backend)
            before = await one.get_step()
            await digits.train(one, 1)
            return before, await one.get_step()

    with caplog.at_level(logging.WARNING, "art"):
        steps = asyncio.run(body())

    store = CheckpointStore(root)
    (aside,) = store.set_aside(ONE)
    (said,) = [record.getMessage() for record in caplog.records if "p/one" in record.getMessage()]
    assert steps == (1, 2)
    assert (aside.steps, aside.damaged) == ((2,), True)
    assert "p/one stands at 1; set aside as 1: step 2" in said
    store.verify(store.open(ONE.at(2)))


def test_a_session_that_is_open_goes_on_too(small_model: Path, root: Path) -> None:
    async def body() -> int:
        async with LocalBackend(path=root, on_corrupt="previous") as backend:
            one = make(small_model)
            await one.register(backend)
            shorten(weights(root, 2))
            await digits.train(one, 1)
            return await one.get_step()

    assert asyncio.run(body()) == 2
    assert [aside.steps for aside in CheckpointStore(root).set_aside(ONE)] == [(2,)]


@pytest.mark.parametrize("on_corrupt", ["repair", "previous"])
def test_what_the_remote_has_is_repaired_and_no_step_is_lost(
    small_model: Path, root: Path, tmp_path: Path, on_corrupt: str
) -> None:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    store, remote = CheckpointStore(root), Remote.open(url)
    for step in store.steps(ONE):
        remote.push(store.open(ONE.at(step)))
    alter(weights(root, 2))

    async def body() -> int:
        async with LocalBackend(path=root, on_corrupt=on_corrupt, remote=url) as backend:  # pyright: ignore
            one = make(small_model)
            await one.register(backend)
            return await one.get_step()

    assert asyncio.run(body()) == 2
    store.verify(store.open(ONE.at(2)))


@pytest.mark.parametrize("on_corrupt", ["raise", "repair", "previous"])
def test_a_run_without_a_whole_checkpoint_never_begins_anew(small_model: Path, root: Path, on_corrupt: str) -> None:
    alter(weights(root, 1))
    shorten(weights(root, 2))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    async def body() -> None:
        async with LocalBackend(path=root, on_corrupt=on_corrupt) as backend:  # pyright: ignore
            await make(small_model).register(backend)

    with pytest.raises(CorruptCheckpointError):
        asyncio.run(body())
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_an_error_about_damage_says_how_to_go_on(small_model: Path, root: Path) -> None:
    alter(weights(root, 2))

    async def body() -> None:
        async with LocalBackend(path=root) as backend:
            await make(small_model).register(backend)

    with pytest.raises(
        CorruptCheckpointError, match=r"`art verify p/one --repair --root \S+`.*on_corrupt=\"previous\""
    ):
        asyncio.run(body())


def test_another_word_is_no_answer_to_damage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="none of raise, repair, previous"):
        LocalBackend(path=tmp_path, on_corrupt="ignore")  # pyright: ignore


def swap_for_another(root: Path) -> None:
    root.rename(root.with_name("former"))
    shutil.copytree(root.with_name("former"), root)
    shutil.rmtree(root / "p/models/one/checkpoints/0002")


def swap_for_an_empty_one(root: Path) -> None:
    root.rename(root.with_name("former"))
    root.mkdir()


def move_away(root: Path) -> None:
    root.rename(root.with_name("former"))


@pytest.mark.parametrize("happens", [swap_for_another, swap_for_an_empty_one, move_away])
@pytest.mark.parametrize("when", ["before the step", "before the commit"])
def test_nothing_is_committed_into_a_root_that_was_swapped(
    small_model: Path, root: Path, happens: Callable[[Path], None], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with LocalBackend(path=root) as backend:
            one = make(small_model)
            await one.register(backend)
            groups = await digits.gather(one)
            if when == "before the step":
                happens(root)
            else:
                trainer = backend._session(one)._trainer
                step = trainer.step
                monkeypatch.setattr(trainer, "step", lambda *a, **k: (step(*a, **k), happens(root))[0])
            await one.train(groups, digits.TRAIN)

    with pytest.raises(ArtError) as caught:
        asyncio.run(body())

    assert isinstance(caught.value, StorageError)
    assert not weights(root, 3).exists()
    assert CheckpointStore(root.with_name("former")).steps(ONE) == [1, 2]


def test_a_root_that_was_swapped_for_a_copy_of_itself_is_said_and_trained_on(
    small_model: Path, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> int:
        async with LocalBackend(path=root) as backend:
            one = make(small_model)
            await one.register(backend)
            root.rename(root.with_name("former"))
            shutil.copytree(root.with_name("former"), root)
            await digits.train(one, 1)
            return await one.get_step()

    with caplog.at_level(logging.WARNING, "art"):
        assert asyncio.run(body()) == 3
    assert [record.getMessage() for record in caplog.records if "another folder than before" in record.getMessage()]
