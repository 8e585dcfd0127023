"""The policies of the guide are enough for a reader and a writer, and no more than they need."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from art.errors import RemoteAccessError
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

from .making import MODEL, make
from .servers import GUEST, GUEST_ACCESS_KEY, S3Server

pytestmark = pytest.mark.root

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "object-stores.md"


def policies() -> list[str]:
    """The reader's policy and the writer's, as the guide prints them."""
    return re.findall(r"```json\n(\{.*?\})\n```", GUIDE.read_text(), re.DOTALL)


def as_guest(server: S3Server, bucket: str, policy: str, monkeypatch: pytest.MonkeyPatch) -> Remote:
    document = json.loads(policy.replace("my-bucket", bucket))
    for statement in document["Statement"]:
        statement["Principal"] = {"AWS": [f"arn:aws:iam:::user/{GUEST}"]}
    server.client().put_bucket_policy(Bucket=bucket, Policy=json.dumps(document))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", GUEST_ACCESS_KEY)
    return Remote.open(bucket)


def test_without_a_policy_nothing_may_be_read(ceph_bucket: str, here: CheckpointStore, monkeypatch: pytest.MonkeyPatch):
    Remote.open(ceph_bucket).push(make(here, MODEL.at(1)))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", GUEST_ACCESS_KEY)

    with pytest.raises(RemoteAccessError, match="AccessDenied"):
        Remote.open(ceph_bucket).select(MODEL)


def test_the_readers_policy_allows_to_pull_and_nothing_else(
    ceph: S3Server, ceph_bucket: str, here: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    Remote.open(ceph_bucket).push(make(here, MODEL.at(1)))
    guest = as_guest(ceph, ceph_bucket, policies()[0], monkeypatch)

    guest.fetch(guest.select(MODEL).checkpoint, CheckpointStore(tmp_path / "there"))

    with pytest.raises(RemoteAccessError):
        guest.push(make(here, MODEL.at(2)))
    with pytest.raises(RemoteAccessError):
        guest.delete(MODEL.at(1))


def test_the_writers_policy_allows_to_push_and_fork_and_not_to_delete(
    ceph: S3Server, ceph_bucket: str, here: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    guest = as_guest(ceph, ceph_bucket, policies()[1], monkeypatch)

    guest.push(make(here, MODEL.at(1), size_bytes=20_000_000))
    guest.fork(guest.select(MODEL).checkpoint, ModelRef("shop", "fork"))

    guest.fetch(guest.select(MODEL).checkpoint, CheckpointStore(tmp_path / "there"))
    with pytest.raises(RemoteAccessError):
        guest.delete(MODEL.at(1))
    assert guest.steps(MODEL) == [1]
