"""`art show` and `art verify`: everything about a checkpoint, and whether its bytes are what they should be."""

import json
from pathlib import Path

from art.names import ModelRef
from art.store.store import CheckpointStore
from store.conftest import write_foreign

from .conftest import BRANCH, MAIN, Art, train
from .test_json import write_key


def test_show_tells_the_manifest_lineage_and_files(art: Art, store: CheckpointStore):
    checkpoint = store.open(BRANCH.at(100))

    shown = art("show", "agent-2@100").stdout

    assert "rank 8 · alpha 16 · all-linear" in shown
    assert checkpoint.digest is not None
    assert checkpoint.digest in shown
    assert "● shop/agent-1@100  forked, at most 120" in shown
    assert "reset       optimizer" in shown
    for entry in checkpoint.manifest.files:
        assert entry.path in shown
        assert entry.blake3[:12] in shown


def test_show_tells_who_has_the_same_bytes(art: Art):
    document = json.loads(art("show", "agent-2@100", "--json").stdout)

    (holder,) = document["also_in"]
    assert holder["ref"] == "shop/agent-1@100"
    assert holder["files"] == ["adapter_config.json", "adapter_model.safetensors", "trainer.json"]


def test_show_without_a_step_opens_the_newest(art: Art):
    assert json.loads(art("show", "agent-2", "--json").stdout)["ref"] == "shop/agent-2@200"


def test_show_says_where_an_ancestor_went(art: Art, store: CheckpointStore):
    store.rewind(store.open(MAIN.at(50)))

    shown = art("show", "agent-2@100").stdout

    assert "◌ shop/agent-1@100  forked, at most 120  set aside" in shown


def test_show_of_a_missing_step_names_those_there_are(art: Art):
    done = art("show", "agent-1@51")

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "art: There is no checkpoint shop/agent-1@51; it has steps 50, 100, 150.\n"


def test_verify_of_a_whole_store_is_content(art: Art):
    done = art("verify")

    assert done.returncode == 0
    assert "✓ shop/agent-1@50,100,150  3 checkpoints, 12 files" in done.stdout
    assert "6 checkpoints" in done.stdout
    assert "all as their manifests say" in done.stdout


def test_verify_names_file_expected_and_found(art: Art, store: CheckpointStore):
    checkpoint = store.open(MAIN.at(100))
    entry = next(entry for entry in checkpoint.manifest.files if entry.path == "optimizer.safetensors")
    path = checkpoint.path / entry.path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()
    path.write_bytes(content)

    done = art("verify", "agent-1")
    document = json.loads(art("verify", "agent-1@100", "--json").stdout)

    assert done.returncode == 1
    assert "✗ shop/agent-1@100" in done.stdout
    assert "optimizer.safetensors  was altered" in done.stdout
    (fault,) = document["checkpoints"][0]["faults"]
    assert document["ok"] is False
    assert fault["expected"] == entry.blake3
    assert fault["found"] not in (None, entry.blake3)
    assert fault["expected"] in done.stdout
    assert fault["found"] in done.stdout


def test_verify_repairs_and_says_from_where_and_where_the_damaged_folder_is(art: Art, store: CheckpointStore):
    folder = store.open(BRANCH.at(100)).path
    (folder / "trainer.json").unlink()
    (store.open(MAIN.at(150)).path / "optimizer.safetensors").unlink()

    done = art("verify", "--repair")

    assert done.returncode == 1
    assert "✓ shop/agent-2@100  repaired" in done.stdout
    assert "trainer.json  from shop/agent-1@100" in done.stdout
    assert "the damaged folder is set aside (id 1)" in done.stdout
    assert "✗ shop/agent-1@150" in done.stdout
    assert "not repaired  Nothing in" in done.stdout
    assert "1 repaired, 1 wrong" in done.stdout
    assert art("verify", "agent-2").returncode == 0
    assert not (store.open(BRANCH.at(100)).path.parents[1] / "set_aside/0001/0100/trainer.json").exists()


def test_verify_repairs_from_a_bucket(art: Art, store: CheckpointStore, tmp_path: Path):
    url = f"file://{tmp_path}/bucket"
    (tmp_path / "bucket").mkdir()
    art("push", "agent-1@150", url)
    (store.open(MAIN.at(150)).path / "optimizer.safetensors").unlink()

    done = art("verify", "agent-1@150", "--repair", "--from", url)

    assert done.returncode == 0
    assert f"optimizer.safetensors  from {url}/shop/models/agent-1/checkpoints/0150" in done.stdout
    store.verify(store.open(MAIN.at(150)))


def test_verify_says_what_is_signed_and_what_is_not(art: Art, store: CheckpointStore, tmp_path: Path):
    key = write_key(tmp_path / "key")
    signed = art("sign", "agent-1@100", "--key", str(key))

    alone = art("verify", "agent-1@100", "--signature", "--key", str(tmp_path / "key.pub"))
    whole = art("verify", "agent-1", "--signature", "--key", str(tmp_path / "key.pub"))

    path = signed.stdout.splitlines()[1].strip()
    assert Path(path).is_file()
    assert (alone.returncode, whole.returncode) == (0, 1)
    assert "1 signed, all as their manifests say" in alone.stdout
    assert "✗ shop/agent-1@150" in whole.stdout
    assert "signature  it is not signed" in whole.stdout
    assert art("verify", "--signature").returncode == 2


def test_verify_repairs_nothing_on_a_hub(art: Art):
    done = art("verify", "hf://someone/an-adapter", "--repair")

    assert done.returncode == 2
    assert "hf://someone/an-adapter is read, never changed" in done.stderr


def test_verify_names_every_fault_of_a_checkpoint(art: Art, store: CheckpointStore):
    folder = store.open(MAIN.at(150)).path
    (folder / "trainer.json").unlink()
    short = folder / "adapter_model.safetensors"
    content = short.read_bytes()
    short.unlink()
    short.write_bytes(content[:-1])

    document = json.loads(art("verify", "agent-1@150", "--json").stdout)

    faults = {fault["file"]: fault for fault in document["checkpoints"][0]["faults"]}
    assert faults["trainer.json"]["found"] is None
    assert "bytes of" in faults["adapter_model.safetensors"]["problem"]


def test_verify_tells_a_manifest_that_cannot_be_read(art: Art, store: CheckpointStore):
    manifest = store.open(MAIN.at(150)).path / "checkpoint.json"
    manifest.unlink()
    manifest.write_text("{")

    done = art("verify")

    assert done.returncode == 1
    assert "checkpoint.json" in done.stdout
    assert "is not JSON" in done.stdout


def test_verify_says_that_a_foreign_checkpoint_has_no_digests(art: Art, store: CheckpointStore):
    write_foreign(store.root / "shop/models/theirs/checkpoints/0007")

    done = art("verify", "shop/theirs")

    assert done.returncode == 0
    assert "foreign" in done.stdout


def test_verify_of_a_missing_model_is_an_error(art: Art):
    done = art("verify", "shop/nobody")

    assert done.returncode == 1
    assert "There is no model shop/nobody" in done.stderr


def test_checking_continuation_needs_a_model(art: Art):
    assert art("verify", "--continuation").returncode == 2
    assert art("verify", "agent-1", "--keep").returncode == 2


def test_checking_continuation_needs_something_to_train_on(art: Art):
    done = art("verify", "--continuation", "agent-1@100")

    assert done.returncode == 1
    assert done.stderr.startswith("art: shop/agent-1 has recorded no trajectories")


def test_a_bare_name_finds_its_only_project(art: Art, store: CheckpointStore):
    store.fork(store.open(MAIN.at(50)), ModelRef("other", "solo"))

    found = art("show", "solo", "--json")
    unclear = art("show", "nobody")
    told = art("--project", "shop", "show", "agent-1@50", "--json")

    assert json.loads(found.stdout)["ref"] == "other/solo@50"
    assert unclear.returncode == 1
    assert "there are other, shop" in unclear.stderr
    assert json.loads(told.stdout)["ref"] == "shop/agent-1@50"


def test_two_rewards_of_one_step_are_told_apart(art: Art):
    shown = art("show", "agent-1@100").stdout
    document = json.loads(art("show", "agent-1@100", "--json").stdout)
    listed = art("log").stdout

    update, earned = shown.index("update from step 50"), shown.index("earned by these weights")
    assert "0.4200" in shown[update:earned]
    assert "train/reward  0.9100" in shown[earned:]
    assert document["update"] == {"from": 50, "without_signal": False, "metrics": {"reward": 0.42}}
    assert document["earned"] == {"train/reward": 0.91}
    assert "train/reward of the update from each step" in listed


def test_what_other_weights_earned_at_this_step_is_not_shown(art: Art, store: CheckpointStore):
    store.rewind(store.open(MAIN.at(50)))
    train(store, MAIN, {100: 0.3})

    assert json.loads(art("show", "agent-1@100", "--json").stdout)["earned"] == {"train/reward": 0.3}


def test_the_update_of_a_fork_is_not_said_to_come_from_its_own_step(art: Art):
    assert json.loads(art("show", "agent-2@100", "--json").stdout)["update"]["from"] is None


def test_an_update_without_signal_is_said_in_words(art: Art, store: CheckpointStore):
    newest = store.open(MAIN.at(150))
    with store.stage(MAIN.at(151)) as stage:
        (stage.path / "adapter_model.safetensors").write_bytes(b"x")
        metrics = {"loss": 0.0, "grad_norm": 0.0, "groups": 4.0, "groups_without_signal": 4.0}
        stage.commit(parent=newest, metrics=metrics)

    assert "in every group all rewards were equal" in art("show", "agent-1@151").stdout
    assert "weights as one step before: all its groups had equal rewards" in art("log").stdout
    assert json.loads(art("show", "agent-1@151", "--json").stdout)["update"]["without_signal"] is True
