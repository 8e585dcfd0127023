"""A bucket that refuses to delete: said in one error that asks for the same again, and the same again finishes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from art.errors import RemoteAccessError, RemoteError, RemoteUnavailableError
from art.ops.place import place_of
from art.ops.verify import verify
from art.remote.location import Patience
from art.remote.remote import Remote
from art.store.store import CheckpointStore

from .making import MODEL, make
from .proxy import Answer, Fault, FaultProxy, Request, raw

HURRIED = Patience(retries=0, timeout_s=2, silence_s=2)
REFUSED = b"<DeleteResult><Error><Key>x</Key><Code>SlowDown</Code><Message>later</Message></Error></DeleteResult>"
REFUSALS: dict[str, tuple[Fault, type[RemoteError], str]] = {
    "503 SlowDown": (Answer(503, "SlowDown"), RemoteUnavailableError, "throttles requests"),
    "429": (Answer(429, "TooManyRequests"), RemoteUnavailableError, "throttles requests"),
    "500": (Answer(500, "InternalError"), RemoteUnavailableError, "the server failed"),
    "503": (Answer(503, "ServiceUnavailable"), RemoteUnavailableError, "the server failed"),
    "507": (Answer(507, "InsufficientStorage"), RemoteError, "is full"),
    "403": (Answer(403, "AccessDenied"), RemoteAccessError, "permission is denied"),
    "an error in a success": (raw("200 OK", body=REFUSED), RemoteError, ""),
}


def deletes(request: Request) -> bool:
    return request.method == "DELETE" or (request.method == "POST" and "delete" in request.query)


def remove(remote: Remote) -> None:
    ref = MODEL.at(6)
    if ref.step in remote.steps(MODEL):
        place_of(remote).delete(ref, place_of(remote).stamp(ref))
    elif remote.has_remains(ref):
        remote.delete(ref)


def rewind(remote: Remote) -> None:
    remote.rewind(remote.open_checkpoint(MODEL.at(5)))


def restore(remote: Remote) -> None:
    if remote.set_aside(MODEL):
        remote.restore(MODEL)


def open_pushed(proxy: FaultProxy, bucket: str, folder: Path, *, rewound: bool) -> tuple[Remote, Remote]:
    """Give a bucket with steps 5 and 6 twice: as one that waits, and as one that does not try again."""
    store, remote = CheckpointStore(folder), Remote.open(f"s3://{bucket}")
    for step in (5, 6):
        remote.push(make(store, MODEL.at(step)))
    if rewound:
        rewind(remote)
    proxy.heal()
    return remote, Remote.open(f"s3://{bucket}", patience=HURRIED)


@pytest.mark.parametrize(
    ("act", "steps", "name"),
    [
        *((remove, [5], name) for name in REFUSALS),
        (rewind, [5], "503 SlowDown"),
        (rewind, [5], "an error in a success"),
        (restore, [5, 6], "507"),
    ],
)
def test_a_bucket_that_refuses_to_delete_is_said_and_the_same_again_finishes(
    proxy: FaultProxy, moto_bucket: str, tmp_path: Path, act: Callable[[Remote], None], steps: list[int], name: str
):
    remote, hurried = open_pushed(proxy, moto_bucket, tmp_path, rewound=act is restore)
    fault, kind, why = REFUSALS[name]

    for skip in (0, 1):
        proxy.fault(fault, when=deletes, skip=skip, times=math.inf)
        with pytest.raises(kind, match=f"delete s3://.*{why}"):
            act(hurried)
        proxy.heal()
        held = {*remote.steps(MODEL), *(step for aside in remote.set_aside(MODEL) for step in aside.steps)}
        assert held >= ({5} if act is remove else {5, 6})
    act(remote)

    assert remote.steps(MODEL) == steps
    assert not any(report.is_wrong for report in verify(remote, [MODEL]))


@pytest.mark.parametrize("act", [remove, rewind])
def test_a_refusal_to_delete_that_passes_is_not_seen(
    proxy: FaultProxy, moto_bucket: str, tmp_path: Path, act: Callable[[Remote], None]
):
    remote, _ = open_pushed(proxy, moto_bucket, tmp_path, rewound=False)
    rule = proxy.fault(Answer(503, "SlowDown"), when=deletes, skip=1)

    act(remote)

    assert rule.hits == 1
    assert remote.steps(MODEL) == [5]
