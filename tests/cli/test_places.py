"""Every command reads the place that is named, or refuses it: none takes the model of this disk instead."""

import json
from pathlib import Path

import pytest

from art.remote.remote import Remote
from art.store.store import CheckpointStore
from store.conftest import tree, write_checkpoint
from ui.story import Branch, tell

from .conftest import BRANCH, MAIN, Art


@pytest.fixture
def bucket(tmp_path: Path, art: Art) -> str:
    """A bucket with both models, from a root of their own: this disk has others under the same names."""
    (tmp_path / "bucket/runs").mkdir(parents=True)
    url = f"file://{tmp_path}/bucket/runs"
    for model in (MAIN, BRANCH):
        assert art("push", str(model), url).returncode == 0
    return url


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A root whose shop/agent-1 is another model than the bucket's."""
    store = CheckpointStore(tmp_path / "elsewhere")
    write_checkpoint(store, MAIN, 7)
    return store.root


def test_log_of_a_bucket_lists_its_models_with_steps_and_rewards(art: Art, bucket: str, elsewhere: Path):
    document = json.loads(art("log", bucket, "--json", root=elsewhere).stdout)
    shown = art("log", bucket, root=elsewhere).stdout

    models = {model["model"]: model for model in document["models"]}
    assert document["root"] == bucket
    assert [step["step"] for step in models["agent-1"]["checkpoints"]] == [50, 100, 150]
    assert [step["score"] for step in models["agent-1"]["checkpoints"]] == [0.42, 0.91, 0.12]
    assert models["agent-2"]["forked_from"]["where"] == "here"
    assert "forked by agent-2" in shown


def test_log_of_a_model_in_a_bucket_is_not_that_of_this_disk(art: Art, bucket: str, elsewhere: Path):
    drawn = art("log", f"{bucket}::shop/agent-2", "--graph", root=elsewhere).stdout

    assert "agent-1@150" in drawn
    assert "@7" not in drawn


def test_data_counts_in_the_bucket_and_refuses_altered_sums(art: Art, tmp_path: Path, elsewhere: Path):
    store = tell(
        tmp_path / "story",
        story=(Branch(name="one", last=4, changed={}), Branch(name="two", source="one", at=2, last=5, changed={})),
    )
    (tmp_path / "kept").mkdir()
    url = f"file://{tmp_path}/kept"
    for name in ("one", "two"):
        assert art("push", f"shop/{name}", url, root=store.root).returncode == 0

    counted = art("data", f"{url}::shop/two", "--json", root=elsewhere)
    (sums,) = (tmp_path / "kept/shop/models/two/checkpoints").glob("*5/trainer.json")
    sums.chmod(0o644)
    sums.write_text("{}")
    altered = art("data", f"{url}::shop/two", root=elsewhere)

    here = json.loads(art("data", "shop/two", "--json", root=store.root).stdout)
    there = json.loads(counted.stdout)
    assert there["is_proved"]
    assert there == {**here, "scenarios": [{**each, "prompt": None} for each in here["scenarios"]]}
    assert altered.returncode == 1
    assert "trainer.json was altered" in " ".join(altered.stderr.split())


def test_show_reads_the_bucket(art: Art, store: CheckpointStore, bucket: str, elsewhere: Path):
    document = json.loads(art("show", f"{bucket}::shop/agent-2@100", "--json", root=elsewhere).stdout)

    assert document["digest"] == store.open(BRANCH.at(100)).digest
    assert document["path"].startswith(bucket)
    assert document["also_in"][0]["ref"] == "shop/agent-1@100"
    assert [past["where"] for past in document["past"]] == ["here"]


def test_verify_reads_every_byte_of_the_bucket(art: Art, bucket: str, elsewhere: Path, tmp_path: Path):
    whole = art("verify", bucket, root=elsewhere)
    file = tmp_path / "bucket/runs/shop/models/agent-1/checkpoints/0100/optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    altered = art("verify", f"{bucket}::shop/agent-1@100", "--json", root=elsewhere)
    (file.parent / "trainer.json").unlink()
    gone = art("verify", f"{bucket}::shop/agent-1", "--json", root=elsewhere)

    assert whole.returncode == 0
    assert "6 checkpoints" in whole.stdout
    (report,) = json.loads(altered.stdout)["checkpoints"]
    assert altered.returncode == 1
    assert [(fault["file"], fault["problem"]) for fault in report["faults"]] == [
        ("optimizer.safetensors", "was altered")
    ]
    reports = json.loads(gone.stdout)["checkpoints"]
    problems = {step["ref"]: [fault["problem"] for fault in step["faults"]] for step in reports}
    assert problems["shop/agent-1@100"] == ["was altered", "is gone"]
    assert problems["shop/agent-1@50"] == []


def test_a_bucket_is_rewound_and_the_line_that_it_prints_undoes_it(art: Art, store: CheckpointStore, bucket: str):
    before, remote = tree(store.root), Remote.open(bucket)
    steps = remote.steps(MAIN)

    done = art("rewind", f"{bucket}::shop/agent-1@50")
    shorter, shown = remote.steps(MAIN), art("log", bucket)
    undone = art(*done.stdout.rpartition("art ")[2].split())

    assert (done.returncode, undone.returncode) == (0, 0), done.stderr + undone.stderr
    assert (shorter, remote.steps(MAIN)) == ([50], steps)
    assert "set aside" in shown.stdout
    assert tree(store.root) == before


def test_a_command_reads_a_bucket_where_there_is_no_root(art: Art, bucket: str, tmp_path: Path):
    for arguments in (("log", bucket), ("show", f"{bucket}::shop/agent-1"), ("verify", bucket)):
        done = art(*arguments, root=tmp_path / "nowhere")

        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_step_of_a_bucket_is_a_line(art: Art, bucket: str, tmp_path: Path):
    manifest = tmp_path / "bucket/runs/shop/models/agent-1/checkpoints/0100/checkpoint.json"
    manifest.chmod(0o644)
    manifest.write_text("{")

    listed, verified = art("log", bucket, "--all"), art("verify", bucket, "--json")

    assert listed.stdout.count("damaged: ") == 1
    assert [step["ref"] for step in json.loads(verified.stdout)["checkpoints"] if not step["ok"]] == [
        "shop/agent-1@100"
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "--repair", "--from", "{url}::shop/agent-1"),
        ("verify", "{url}::shop/agent-1", "--repair", "--from", "{url}::shop/agent-2"),
        ("sweep", "shop/agent-1", "--script", __file__, "--set", "x=1", "--remote", "{url}::shop/agent-1"),
    ],
)
def test_a_model_where_a_bucket_is_asked_for_is_refused(
    art: Art, store: CheckpointStore, bucket: str, command: tuple[str, ...]
):
    before = tree(store.root)

    refused = art(*(word.format(url=bucket) for word in command))

    assert refused.returncode == 1
    assert f"a bucket alone is {bucket}." in " ".join(refused.stderr.split())
    assert tree(store.root) == before
