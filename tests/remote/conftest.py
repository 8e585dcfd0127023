"""Servers that live as long as the test session, and a bucket of its own for every test."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from art.store.store import CheckpointStore

from . import servers
from .proxy import FaultProxy
from .servers import AzureServer, S3Server

EVERY_SERVER = ["moto", "rclone", pytest.param("ceph", marks=pytest.mark.root)]


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Server]:
    with servers.moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with servers.rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    problem = servers.ceph_is_missing()
    if problem:
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("ceph")
    with servers.ceph(folder / "node") as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    program = servers.azurite_program()
    if program is None:
        pytest.skip("Azurite is missing: npm install --prefix .azurite azurite")
    with servers.azurite(program, tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(params=EVERY_SERVER)
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each server in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def here(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> CheckpointStore:
    """The disk of another machine."""
    return CheckpointStore(tmp_path / "there")


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "BACKUP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def new_bucket(server: S3Server) -> str:
    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    server.client().create_bucket(Bucket=bucket)
    return bucket


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own on each server in turn, which the environment points at."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return new_bucket(server)


@pytest.fixture
def moto_bucket(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own on moto, which the environment points at."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    return new_bucket(moto)


@pytest.fixture
def ceph_bucket(ceph: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of its own on Ceph, which the environment points at."""
    for name, value in ceph.environment().items():
        monkeypatch.setenv(name, value)
    return new_bucket(ceph)


@pytest.fixture
def container(azurite: AzureServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A container of its own on Azurite, which the environment points at."""
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)
    name = f"container-{uuid.uuid4().hex[:12]}"
    azurite.client().create_container(name)
    return name


@pytest.fixture
def proxy(moto: S3Server, moto_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A fault proxy before moto, which the environment points at instead."""
    with FaultProxy(moto.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy
