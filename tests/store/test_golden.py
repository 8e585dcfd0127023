"""A root that the first release wrote opens for ever. Never write `golden/` again: a new format gets its own folder."""

import shutil
from pathlib import Path

import pytest

from art.format.pick import AtMost
from art.names import CheckpointRef, ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import write_checkpoint

GOLDEN = Path(__file__).with_name("golden")
DIGESTS = {
    "shop/agent-1@1": "3b4c36708e4cb1b56bf7165139eccb3f5be7a8ddb358ccb2c26ea33c07890c09",
    "shop/agent-1@2": "f8c445f21fc16306a3f28cc4b0435dba898c2a0bc7770df9e5d4dabe9633ff23",
    "shop/agent-2@2": "569c01956b77516be14b3c4b84b47fe0582a0a6671b6bc4aa44d4945a780a8b7",
    "shop/agent-2@3": "479332e4f93ca38a3079c501db7ab03e0d858ebe18aa7c70ebf0e170f4cc6370",
    "shop/foreign@7": None,
}
FIRST, SECOND = ModelRef("shop", "agent-1"), ModelRef("shop", "agent-2")


@pytest.fixture
def golden(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(shutil.copytree(GOLDEN, tmp_path / "golden"))


def test_every_checkpoint_is_found_with_its_identity(golden: CheckpointStore):
    found = [golden.open(model.at(step)) for model in golden.models() for step in golden.steps(model)]

    assert {str(checkpoint.ref): checkpoint.digest for checkpoint in found} == DIGESTS


@pytest.mark.parametrize("name", DIGESTS)
def test_every_byte_is_as_it_was(golden: CheckpointStore, name: str):
    golden.verify(golden.open(CheckpointRef.parse(name)))


def test_a_manifest_is_read_as_it_was_meant(golden: CheckpointStore):
    forked, trained = golden.open(SECOND.at(2)).manifest, golden.open(SECOND.at(3)).manifest

    assert (forked.reset, forked.carried) == (("optimizer",), ("adapter", "schedule", "random", "state"))
    assert forked.parent is not None
    assert (str(forked.parent.ref), forked.parent.digest) == ("shop/agent-1@2", DIGESTS["shop/agent-1@2"])
    assert [(hop.ref, hop.pick, hop.reset) for hop in trained.ancestry] == [(FIRST.at(2), AtMost(2), ("optimizer",))]
    assert trained.ancestry[0].not_after == 2
    assert trained.base_model is not None
    assert trained.lora is not None
    assert (trained.base_model.id, trained.lora.rank, trained.lora.alpha) == ("tiny", 8, 16.0)
    assert trained.metrics == {"reward": 0.5}


def test_the_lineage_and_history_are_read_across_the_fork(golden: CheckpointStore):
    lineage = [str(ref) for ref, checkpoint in golden.lineage(SECOND.at(3)) if checkpoint]
    scores = HistoryStore(golden.root).scores(golden.segments(SECOND), "reward")

    assert lineage == ["shop/agent-2@3", "shop/agent-2@2", "shop/agent-1@2", "shop/agent-1@1"]
    assert scores == {1: 0.25, 2: 0.5, 3: 0.75}


def test_what_was_set_aside_comes_back(golden: CheckpointStore):
    restored = golden.restore(SECOND)

    assert (restored.id, restored.kept, restored.reason) == (1, 3, "rewound to 3")
    assert golden.steps(SECOND) == [2, 3, 4]
    golden.verify(golden.open(SECOND.at(4)))


def test_training_goes_on_where_the_first_release_stopped(golden: CheckpointStore):
    newest = golden.select(SECOND).checkpoint

    added = write_checkpoint(golden, SECOND, 4, parent=newest)

    assert golden.select(SECOND).checkpoint == added
    assert golden.fork(added, ModelRef("shop", "agent-3")).checkpoint.ref.step == 4
