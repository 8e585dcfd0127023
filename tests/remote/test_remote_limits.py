"""What moving checkpoints costs: requests, memory, and nothing when a process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from art.format import layout
from art.names import ModelRef
from art.remote.remote import Remote
from art.store.store import CheckpointStore

from .making import MODEL, make, tree
from .proxy import Delay, FaultProxy, is_get_of, is_list, is_put_of

MEMORY_LIMIT_BYTES = 300 * 1024**2


def test_choosing_among_ten_thousand_steps_takes_eleven_requests(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(10_000)))
    others = [f"{layout.checkpoints_path(MODEL)}/{layout.step_name(step)}/x" for step in range(1, 10_000)]
    others += [f"{layout.checkpoints_path(ModelRef('shop', 'another'))}/{step}/x" for step in range(3_000)]
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for key in others:
        backend.put_object(moto_bucket, key, b"x")
    proxy.forget()

    selection = remote.select(MODEL)

    assert selection.checkpoint.ref.step == 10_000
    assert selection.considered == 10_000
    assert len(proxy.requests) <= 11


def test_a_whole_fork_of_a_small_checkpoint_takes_a_request_per_file_and_two(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore
):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(5))
    remote.push(pushed)
    proxy.forget()

    remote.fetch_fork(remote.select(MODEL).checkpoint, ModelRef("shop", "agent 2"), there)

    assert proxy.counts() == {"GET": 2 + len(pushed.manifest.files)}


def test_a_push_takes_six_requests_beside_its_files(proxy: FaultProxy, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    pushed = make(here, MODEL.at(5))
    proxy.forget()

    remote.push(pushed)

    # One of them looks for a rewind that was killed and not settled yet.
    assert proxy.counts() == {"GET": 4, "PUT": 2 + len(pushed.manifest.files)}


def test_steps_of_other_models_are_not_listed(proxy: FaultProxy, moto_bucket: str, here: CheckpointStore):
    remote = Remote.open(moto_bucket)
    remote.push(make(here, MODEL.at(5)))
    proxy.forget()

    remote.select(MODEL)

    listed = [request.query for request in proxy.requests if is_list(request)]
    assert len(listed) == 1
    assert "agent" in listed[0]
    assert "delimiter" in listed[0]


IN_A_PROCESS = """
import sys
from pathlib import Path
from art.names import CheckpointRef
from art.store.store import CheckpointStore
from art.remote.remote import Remote
verb, bucket, root, ref = sys.argv[1:]
remote, store, ref = Remote.open(bucket), CheckpointStore(Path(root)), CheckpointRef.parse(ref)
print("begun", flush=True)
if verb == "push":
    remote.push(store.open(ref))
else:
    remote.fetch(remote.select(ref.model).checkpoint, store)
# Of this program alone: getrusage would count what its parent had before it became this one.
print(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmHWM")))
"""


def in_a_process(verb: str, bucket: str, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", IN_A_PROCESS, verb, bucket, str(root), str(MODEL.at(5))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["push", "pull"])
def test_memory_stays_bounded_whatever_the_size(
    ceph_bucket: str, here: CheckpointStore, there: CheckpointStore, verb: str
):
    make(here, MODEL.at(5), size_bytes=400_000_000, optimizer_bytes=1000)
    if verb == "pull":
        Remote.open(ceph_bucket).push(here.open(MODEL.at(5)))
    root = here.root if verb == "push" else there.root

    with in_a_process(verb, ceph_bucket, root) as process:
        said = process.communicate(timeout=200)[0].split()

    assert process.returncode == 0
    assert int(said[-1]) * 1024 < MEMORY_LIMIT_BYTES


@pytest.mark.parametrize(
    ("verb", "where"), [("pull", is_get_of(layout.ADAPTER_WEIGHTS)), ("push", is_put_of(layout.ADAPTER_WEIGHTS))]
)
def test_a_transfer_that_is_killed_leaves_no_checkpoint_and_is_repeated(
    proxy: FaultProxy, moto_bucket: str, here: CheckpointStore, there: CheckpointStore, verb: str, where: object
):
    pushed = make(here, MODEL.at(5))
    if verb == "pull":
        Remote.open(moto_bucket).push(pushed)
    rule = proxy.fault(Delay(60), when=where, times=1)
    with in_a_process(verb, moto_bucket, here.root if verb == "push" else there.root) as process:
        while not rule.hits:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    proxy.heal()
    remote = Remote.open(moto_bucket)
    steps = remote.steps(MODEL) if verb == "push" else there.steps(MODEL)

    if verb == "push":
        remote.push(pushed)
    fetched = remote.fetch(remote.select(MODEL).checkpoint, there)

    assert steps == []
    assert tree(fetched.checkpoint.path) == tree(pushed.path)
