"""A model's history travels with push and pull, line by line; nothing is ever replaced by less."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from art.cli import main
from art.format.pick import Exact
from art.local import moving
from art.names import ModelRef
from art.ops.fork import ForkRequest, fork
from art.ops.progress import unwatched
from art.remote.remote import Remote
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import tree, write_run

MAIN, BRANCH = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")
PLACES = ["file", "memory", "moto", pytest.param("ceph", marks=pytest.mark.root), "azurite"]


@pytest.fixture(params=PLACES)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Remote:
    """A bucket of its own, on each kind of server in turn."""
    match request.param:
        case "file":
            (tmp_path / "bucket").mkdir()
            return Remote.open(f"file://{tmp_path}/bucket")
        case "memory":
            return Remote.open("memory://")
        case "azurite":
            return Remote.open(f"az://{request.getfixturevalue('container')}/runs")
        case server:
            return Remote.open(f"s3://{request.getfixturevalue(f'{server}_bucket')}/runs")


def machine(folder: Path, *rewards: float) -> CheckpointStore:
    """A root with a model and what its steps earned."""
    store, history = CheckpointStore(folder), HistoryStore(folder)
    for step, reward in enumerate(rewards):
        history.append(MAIN, step, split="train", metrics={"reward": reward})
        history.append_trajectories(MAIN, step, split="train", trajectories=[f'{{"reward": {reward}}}'])
    return store


def push(store: CheckpointStore, remote: Remote) -> None:
    moving.push(store, remote, MAIN, delete=False, bar=unwatched)


def pull(store: CheckpointStore, remote: Remote) -> None:
    moving.pull(store, remote, MAIN, only=None, delete=False, bar=unwatched)


def test_what_was_pushed_is_pulled_and_read(remote: Remote, tmp_path: Path):
    here, there = machine(tmp_path / "here", 0.1, 0.5), CheckpointStore(tmp_path / "there")
    write_run(here, MAIN, 1, 2)

    push(here, remote)
    pull(there, remote)

    assert HistoryStore(there.root).read(MAIN) == HistoryStore(here.root).read(MAIN)
    assert tree(there.root / "shop/models/agent-1") == tree(here.root / "shop/models/agent-1")


def test_lines_are_added_once_and_never_taken_away(remote: Remote, tmp_path: Path):
    here, there = machine(tmp_path / "here", 0.1), machine(tmp_path / "there", 0.7, 0.9)
    for store in (here, there):
        for _ in range(2):
            remote.push_history(store, MAIN)

    for store in (here, there):
        remote.fetch_history(store, MAIN)
        assert remote.push_history(store, MAIN) == remote.fetch_history(store, MAIN) == 0

    histories = [HistoryStore(store.root).read(MAIN) for store in (here, there)]
    rewards = [[entry.metrics["train/reward"] for entry in history] for history in histories]
    assert [sorted(map(float, found)) for found in rewards if None not in found] == [[0.1, 0.7, 0.9]] * 2  # type: ignore[arg-type]


def test_machines_that_push_at_once_lose_nothing(remote: Remote, tmp_path: Path):
    machines = [machine(tmp_path / str(number), number) for number in range(4)]
    threads = [threading.Thread(target=remote.push_history, args=(store, MAIN)) for store in machines]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in machines:
        remote.push_history(store, MAIN)

    fresh = CheckpointStore(tmp_path / "fresh")
    remote.fetch_history(fresh, MAIN)
    assert {entry.metrics["train/reward"] for entry in HistoryStore(fresh.root).read(MAIN)} == {0, 1, 2, 3}


def test_pulls_at_once_add_each_line_once(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    remote = Remote.open(f"file://{tmp_path}/bucket")
    pushed = remote.push_history(machine(tmp_path / "here", *(number / 100 for number in range(100))), MAIN)
    there = CheckpointStore(tmp_path / "there")

    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda _: remote.fetch_history(there, MAIN), range(4)))

    assert len(HistoryStore(there.root).read(MAIN)) == 100
    assert sum(fetched) == pushed


def test_a_line_that_a_crash_tore_is_not_sent(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    remote, here = Remote.open(f"file://{tmp_path}/bucket"), machine(tmp_path / "here", 0.5)
    with (tmp_path / "here/shop/models/agent-1/history.jsonl").open("ab") as file:
        file.write(b'{"step": 1, "sp')

    remote.push_history(here, MAIN)

    assert (tmp_path / "bucket/shop/models/agent-1/history.jsonl").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(
    "name", ["../../../evil.jsonl", "train/x.jsonl", "train/0001.txt", ".hidden/0001.jsonl", "0001.jsonl"]
)
def test_a_stranger_in_a_bucket_writes_nowhere_else(tmp_path: Path, name: str):
    (tmp_path / "bucket").mkdir()
    path = tmp_path / "bucket/shop/models/agent-1/trajectories" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}\n")
    there = CheckpointStore(tmp_path / "there")

    Remote.open(f"file://{tmp_path}/bucket").fetch_history(there, MAIN)

    assert not there.root.exists()


def test_history_does_not_travel_with_a_fork(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    remote, here = Remote.open(f"file://{tmp_path}/bucket"), machine(tmp_path / "here", 0.5)
    write_run(here, MAIN, 1)
    push(here, remote)
    there = CheckpointStore(tmp_path / "there")

    fork(ForkRequest(source=remote, source_model=MAIN, pick=Exact(1), destination=there, model=BRANCH))

    assert [path.name for path in (there.root / "shop/models").rglob("*.jsonl")] == []


def test_the_program_moves_the_history_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bucket").mkdir()
    here = machine(tmp_path / "here", 0.5)
    write_run(here, MAIN, 1)
    url = f"file://{tmp_path}/bucket"

    for words in (["push", "shop/agent-1", url, "--root", "here"], ["pull", f"{url}::shop/agent-1", "--root", "there"]):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["art", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code

    assert HistoryStore(tmp_path / "there").read(MAIN) == HistoryStore(tmp_path / "here").read(MAIN)
