"""What another process deletes in a bucket between a listing and a read is said in one error of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from art.errors import ArtError
from art.format import layout
from art.remote.remote import Remote
from art.store.signatures import signature_name, write_signature
from art.store.store import CheckpointStore

from .making import MODEL, make
from .proxy import Call, FaultProxy, Request
from .servers import S3Server

STEP = str(layout.checkpoint_path(MODEL.at(2)))


def fetch(remote: Remote, store: CheckpointStore) -> None:
    remote.fetch(remote.open_checkpoint(MODEL.at(1)), store)


def fetch_history(remote: Remote, store: CheckpointStore) -> None:
    remote.fetch_history(store, MODEL)


def copy_history(remote: Remote, store: CheckpointStore) -> None:
    Remote.open("memory://").copy_history(remote, MODEL)


def restore(remote: Remote, store: CheckpointStore) -> None:
    remote.restore(MODEL)


def look(remote: Remote, store: CheckpointStore) -> None:
    remote.set_aside(MODEL), remote.select(MODEL), remote.steps(MODEL), remote.history(MODEL)


ACTS = [
    *(pytest.param(act, id=act.__name__) for act in (fetch_history, copy_history)),
    *(pytest.param(act, id=act.__name__, marks=pytest.mark.long) for act in (fetch, restore, look)),
]


@pytest.mark.parametrize("act", ACTS)
def test_a_bucket_that_another_process_empties_is_one_error_of_ours(
    proxy: FaultProxy,
    moto: S3Server,
    moto_bucket: str,
    tmp_path: Path,
    act: Callable[[Remote, CheckpointStore], None],
):
    remote, client, here = Remote.open(moto_bucket), moto.client(), CheckpointStore(tmp_path / "here")
    for step in (1, 2):
        remote.push(make(here, MODEL.at(step), parent=here.newest(MODEL)))
    write_signature(here.root, MODEL, signature_name(here.open(MODEL.at(1)).digest or "", "0" * 64), b"signed")
    remote.push_history(here, MODEL)
    remote.rewind(remote.open_checkpoint(MODEL.at(1)))
    items = [(item["Key"], body_of(client, moto_bucket, item["Key"])) for item in listed(client, moto_bucket)]

    for point in range(100):
        for key, body in items:
            client.put_object(Bucket=moto_bucket, Key=key, Body=body)
        rule = proxy.fault(Call(lambda: empty(client, moto_bucket)), when=is_read, skip=point)
        try:
            act(remote, CheckpointStore(tmp_path / str(point)))
        except ArtError:
            """As it should be, where it needs what is gone."""
        proxy.heal()
        if not rule.hits:
            break

    assert 0 < point < 99


def is_read(request: Request) -> bool:
    return request.method == "GET"


def listed(client: Any, bucket: str) -> Any:
    return client.list_objects_v2(Bucket=bucket).get("Contents", [])


def body_of(client: Any, bucket: str, key: str) -> bytes:
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


def empty(client: Any, bucket: str) -> None:
    for item in listed(client, bucket):
        client.delete_object(Bucket=bucket, Key=item["Key"])
