"""Buckets through the public API: the documented example, pushes and pulls, and a backend that mirrors itself."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import art
import digits
from art.errors import CheckpointExistsError, ConfigurationError, DestinationNotEmptyError, RemoteError
from art.local import LocalBackend
from art.store.store import CheckpointStore
from small import place_in_hub_cache

from .servers import S3Server

BASE = "OpenPipe/Qwen3-14B-Instruct"
V1 = art.ModelRef("my-project", "my-model-v1")


def make(base_model: Path | str, name: str = "my-model-v1") -> art.TrainableModel:
    return art.TrainableModel(name=name, project="my-project", base_model=str(base_model))


async def trained(backend: LocalBackend, base_model: Path | str, steps: int = 2) -> art.TrainableModel:
    model = make(base_model)
    await model.register(backend)
    await digits.train(model, steps)
    return model


def digests(root: Path, ref: art.ModelRef) -> dict[int, str | None]:
    store = CheckpointStore(root)
    return {step: store.open(ref.at(step)).digest for step in store.steps(ref)}


def test_the_documented_example_forks_from_a_bucket(
    small_model: Path, moto: S3Server, bucket_named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_in_hub_cache(small_model, BASE)
    monkeypatch.chdir(tmp_path)

    async def elsewhere() -> None:
        async with LocalBackend(path=tmp_path / "another machine") as backend:
            model = await trained(backend, BASE)
            await backend._experimental_push_to_s3(model, s3_bucket="my-backup-bucket")

    asyncio.run(elsewhere())

    async def train() -> int:
        async with LocalBackend() as backend:
            model = art.TrainableModel(
                name="my-model-v2",
                project="my-project",
                base_model="OpenPipe/Qwen3-14B-Instruct",
            )
            # fmt: off
            await backend._experimental_fork_checkpoint(
                model,
                from_model="my-model-v1",
                from_s3_bucket="my-backup-bucket",
                not_after_step=500,
                verbose=True,
            )
            # fmt: on
            await model.register(backend)
            await digits.train(model, 1)
            return await model.get_step()

    assert asyncio.run(train()) == 3
    assert not (tmp_path / ".art/my-project/models/my-model-v1").exists()


@pytest.fixture
def bucket_named(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bucket of the documentation's example."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    moto.client().create_bucket(Bucket="my-backup-bucket")
    return "my-backup-bucket"


def test_what_the_bucket_selects_is_forked_whatever_the_local_root_has(
    small_model: Path, moto_bucket: str, tmp_path: Path
) -> None:
    async def body() -> int:
        async with LocalBackend(path=tmp_path) as backend:
            model = await trained(backend, small_model, 1)
            await backend._experimental_push_to_s3(model, s3_bucket=moto_bucket, prefix="deep/er")
            await digits.train(model, 2)
            fork = make(small_model, "fork")
            report = await backend._experimental_fork_checkpoint(
                fork, V1.name, from_s3_bucket=moto_bucket, prefix="deep/er"
            )
            assert report.fetched_bytes < 4096 < report.reused_bytes
            return report.step

    assert asyncio.run(body()) == 1


def test_a_pull_brings_every_checkpoint_or_one(small_model: Path, moto_bucket: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path / "a") as backend:
            model = await trained(backend, small_model, 3)
            await backend._experimental_push_to_s3(model, s3_bucket=moto_bucket)
        async with LocalBackend(path=tmp_path / "b") as backend:
            await backend._experimental_pull_from_s3(make(small_model), s3_bucket=moto_bucket)
        async with LocalBackend(path=tmp_path / "c") as backend:
            await backend._experimental_pull_from_s3(make(small_model), s3_bucket=moto_bucket, only_step="latest")
            folder = await backend._experimental_pull_model_checkpoint(
                make(small_model), step=1, s3_bucket=moto_bucket, local_path=tmp_path / "copy"
            )
            assert folder == str(tmp_path / "copy")

    asyncio.run(body())

    original = digests(tmp_path / "a", V1)
    assert list(original) == [1, 2, 3]
    assert digests(tmp_path / "b", V1) == original
    assert digests(tmp_path / "c", V1) == {step: original[step] for step in (1, 3)}
    assert (tmp_path / "copy/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("only_step", [None, "latest"])
def test_nothing_to_move_yet_is_said_in_one_line_and_deletes_nothing(
    small_model: Path, moto_bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, only_step: Any
) -> None:
    new = make(small_model, name="never-trained")

    async def body() -> tuple[Any, Any, int]:
        async with LocalBackend(path=tmp_path) as backend:
            pushed = await backend._experimental_push_to_s3(new, s3_bucket=moto_bucket, delete=True)
            model = await trained(backend, small_model, 1)
            pulled = await backend._experimental_pull_from_s3(
                model, s3_bucket=moto_bucket, prefix="nowhere", delete=True, only_step=only_step
            )
            return pushed, pulled, await model.get_step()

    pushed, pulled, step = asyncio.run(body())

    assert (pushed.steps, pulled.steps, step) == ((), (), 1)
    ours = [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "art"]
    assert ours == ["Nothing was pushed", "Nothing was pulled"]


def test_a_bucket_that_is_not_there_is_an_error_also_with_nothing_to_move(
    small_model: Path, moto: S3Server, tmp_path: Path
) -> None:
    new = make(small_model, name="never-trained")

    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            with pytest.raises(RemoteError, match="no-such-bucket"):
                await backend._experimental_push_to_s3(new, s3_bucket="no-such-bucket")
            with pytest.raises(RemoteError, match="no-such-bucket"):
                await backend._experimental_pull_from_s3(new, s3_bucket="no-such-bucket")

    asyncio.run(body())


def test_the_bucket_comes_from_the_environment(
    small_model: Path, moto_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = await trained(backend, small_model, 1)
            with pytest.raises(ConfigurationError, match="BACKUP_BUCKET"):
                await backend._experimental_push_to_s3(model)
            monkeypatch.setenv("BACKUP_BUCKET", moto_bucket)
            moved = await backend._experimental_push_to_s3(model)
            again = await backend._experimental_push_to_s3(model)
            assert moved.moved_bytes > 0 == again.moved_bytes

    asyncio.run(body())


def test_a_push_after_a_rewind_is_refused_by_name(small_model: Path, moto_bucket: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            model = await trained(backend, small_model, 2)
            await backend._experimental_push_to_s3(model, s3_bucket=moto_bucket)
            await backend._experimental_fork_checkpoint(model, from_model=V1.name, not_after_step=1)
            await digits.train(model, 1)
            with pytest.raises(CheckpointExistsError, match="checkpoints/0002"):
                await backend._experimental_push_to_s3(model, s3_bucket=moto_bucket)

    asyncio.run(body())


def test_a_model_forked_onto_itself_from_a_bucket_is_restored_or_rewound(
    small_model: Path, moto_bucket: str, tmp_path: Path
) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path / "a") as backend:
            model = await trained(backend, small_model, 2)
            await backend._experimental_push_to_s3(model, s3_bucket=moto_bucket)
            await digits.train(model, 1)
            await backend._experimental_fork_checkpoint(model, V1.name, from_s3_bucket=moto_bucket, not_after_step=1)
            assert await model.get_step() == 1
        async with LocalBackend(path=tmp_path / "b") as backend:
            lost = make(small_model)
            await backend._experimental_fork_checkpoint(lost, V1.name, from_s3_bucket=moto_bucket)
            await lost.register(backend)
            assert await lost.get_step() == 2
        async with LocalBackend(path=tmp_path / "c") as backend:
            other = await trained(backend, small_model, 1)
            with pytest.raises(DestinationNotEmptyError, match="at steps 1"):
                await backend._experimental_fork_checkpoint(other, V1.name, from_s3_bucket=moto_bucket)

    asyncio.run(body())


def test_a_bucket_that_is_not_there_is_an_error_and_changes_nothing(
    small_model: Path, moto: S3Server, moto_bucket: str, tmp_path: Path
) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path / "root") as backend:
            with pytest.raises(RemoteError, match="no-such-bucket"):
                await backend._experimental_fork_checkpoint(
                    make(small_model, "new"), V1.name, from_s3_bucket="no-such-bucket"
                )

    asyncio.run(body())

    assert not (tmp_path / "root").exists()
    assert "no-such-bucket" not in [bucket["Name"] for bucket in moto.client().list_buckets()["Buckets"]]


def test_a_backend_with_a_remote_pushes_what_it_commits_and_resumes_elsewhere(
    small_model: Path, moto_bucket: str, tmp_path: Path
) -> None:
    remote = f"s3://{moto_bucket}/backups"

    async def body() -> None:
        async with LocalBackend(path=tmp_path / "a", remote=remote, deterministic=True) as backend:
            await trained(backend, small_model, 2)
        async with LocalBackend(path=tmp_path / "b", remote=remote, deterministic=True) as backend:
            model = await trained(backend, small_model, 1)
            assert await model.get_step() == 3
        async with LocalBackend(path=tmp_path / "a", deterministic=True) as backend:
            await trained(backend, small_model, 1)

    asyncio.run(body())

    here, there = CheckpointStore(tmp_path / "a").open(V1.at(3)), CheckpointStore(tmp_path / "b").open(V1.at(3))
    assert here.manifest.files == there.manifest.files


def test_what_an_earlier_process_did_not_push_is_pushed_on_the_next_start(
    small_model: Path, moto_bucket: str, tmp_path: Path
) -> None:
    async def body() -> None:
        async with LocalBackend(path=tmp_path) as backend:
            await trained(backend, small_model, 2)
        async with LocalBackend(path=tmp_path, remote=moto_bucket) as backend:
            await make(small_model).register(backend)
        async with LocalBackend(path=tmp_path / "elsewhere") as backend:
            moved = await backend._experimental_pull_from_s3(make(small_model), s3_bucket=moto_bucket)
            assert moved.steps == (1, 2)

    asyncio.run(body())
