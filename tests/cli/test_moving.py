"""`art push`, `art pull` and forks from a bucket."""

import json
from pathlib import Path

import pytest

from art.names import ModelRef
from art.store.store import CheckpointStore
from remote import servers
from store.conftest import tree

from .conftest import MAIN, Art


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    (tmp_path / "bucket/runs").mkdir(parents=True)
    return f"file://{tmp_path}/bucket/runs"


def test_what_is_pushed_can_be_pulled_elsewhere(art: Art, store: CheckpointStore, bucket: str, tmp_path: Path):
    elsewhere = CheckpointStore(tmp_path / "elsewhere")

    pushed = art("push", "agent-1", bucket)
    pulled = art("pull", f"{bucket}::shop/agent-1", root=elsewhere.root)

    assert pushed.stdout.count("sent") == 3
    assert pulled.returncode == 0, pulled.stderr
    assert elsewhere.steps(MAIN) == [150]
    assert elsewhere.open(MAIN.at(150)).digest == store.open(MAIN.at(150)).digest


def test_a_second_push_sends_nothing(art: Art, bucket: str):
    art("push", "agent-1@100", bucket)

    again = json.loads(art("push", "agent-1@100", bucket, "--json").stdout)

    assert again["pushed"][0]["sent_bytes"] == 0


def test_fork_from_a_bucket_fetches_the_chosen_checkpoint_only(art: Art, bucket: str, tmp_path: Path):
    art("push", "agent-1", bucket)
    elsewhere = CheckpointStore(tmp_path / "elsewhere")

    done = art("fork", f"{bucket}::shop/agent-1", "agent-3", "--not-after", "120", "-v", root=elsewhere.root)

    assert done.returncode == 0, done.stderr
    assert f"shop/agent-3@100 is a fork of {bucket}::shop/agent-1@100" in done.stdout
    assert "considered 2 steps at or before step 120" in done.stdout
    assert elsewhere.models() == [ModelRef("shop", "agent-3")]
    assert "agent-1@100  in file://" in art("log", "--graph", root=elsewhere.root).stdout


def test_fork_inside_a_bucket(art: Art, bucket: str, tmp_path: Path):
    art("push", "agent-1", bucket)

    done = art("fork", f"{bucket}::shop/agent-1@100", f"{bucket}::agent-3", "--reset", "optimizer", "--json")
    pulled = art("pull", f"{bucket}::shop/agent-3", root=tmp_path / "elsewhere")

    document = json.loads(done.stdout)
    assert (document["destination"], document["reset"]) == ("shop/agent-3@100", ["optimizer"])
    assert pulled.returncode == 0, pulled.stderr


def test_a_checkpoint_of_this_disk_is_forked_into_a_bucket(art: Art, bucket: str, tmp_path: Path):
    done = art("fork", "agent-1@100", f"{bucket}::shop/agent-3")
    pulled = art("pull", f"{bucket}::shop/agent-3", root=tmp_path / "elsewhere")

    assert f"{bucket}::shop/agent-3@100 is a fork of shop/agent-1@100" in done.stdout
    assert "sent" in done.stdout
    assert pulled.returncode == 0, pulled.stderr


def test_a_pull_from_nowhere_changes_nothing(art: Art, store: CheckpointStore, tmp_path: Path):
    before = tree(store.root)

    done = art("pull", f"file://{tmp_path}/nowhere::shop/agent-1")

    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert tree(store.root) == before


def test_a_place_in_a_bucket_says_its_project(art: Art, bucket: str):
    done = art("pull", f"{bucket}::agent-1")

    assert done.returncode == 1
    assert "does not say which project" in done.stderr


def test_push_and_pull_speak_s3(art: Art, store: CheckpointStore, tmp_path: Path):
    with servers.moto() as server:
        server.client().create_bucket(Bucket="runs")
        pushed = art("push", "agent-1@100", "s3://runs/here", **server.environment())
        forked = art("fork", "s3://runs/here::shop/agent-1@100", "shop/b", root=tmp_path / "b", **server.environment())
        inside = art("fork", "s3://runs/here::shop/agent-1", "s3://runs/here::c", "-v", **server.environment())
        missing = art("pull", "s3://typo/here::shop/agent-1", **server.environment())

    assert pushed.returncode == 0, pushed.stderr
    assert forked.returncode == 0, forked.stderr
    assert inside.returncode == 0, inside.stderr
    assert "copied by the server" in inside.stdout
    assert missing.returncode == 1
    assert missing.stderr.count("\n") == 1
    assert "typo" in missing.stderr
