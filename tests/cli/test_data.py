"""`art data`: what a branch was trained on, what it inherited, and that the steps say the same."""

from pathlib import Path

import pytest

from art.cli.render import wording
from art.format.json import MAX_BYTES
from art.names import ModelRef
from art.store.store import CheckpointStore
from ui.story import BASE, SCENARIOS, STORY, seen_by, tell, write_checkpoint

from .conftest import Art

BRANCH = ModelRef("shop", "agent-002")


@pytest.fixture
def story(tmp_path: Path) -> CheckpointStore:
    return tell(tmp_path / "story", story=STORY[:2])


def test_it_counts_a_branch_along_its_past(art: Art, story: CheckpointStore):
    told = art("data", "shop/agent-002", root=story.root)

    lines = told.stdout.splitlines()
    assert lines[0] == (
        "shop/agent-002@64 was trained on 2 scenarios, each 64 times; "
        "48 groups of 128 before the fork from shop/agent-001@24."
    )
    assert lines[1] == "✓ Counted again from the beginning: 64 steps say the same."
    assert lines[2] == "  A data set of 2: epoch 65 goes on at item 1"
    row = next(line for line in lines if line.startswith(f"  {SCENARIOS[0]}"))
    assert row.split()[1:4] == ["40", "24", "64"]
    assert row.endswith("3 lamps please, delivered. What do I pay?")
    assert told.returncode == 0


def test_what_was_rewound_does_not_count_and_comes_back(art: Art, story: CheckpointStore):
    art("rewind", "shop/agent-002@30", root=story.root)
    rewound = art("data", "shop/agent-002", root=story.root)
    art("rewind", "--undo", "shop/agent-002", root=story.root)

    assert "each 30 times; 48 groups of 60 before the fork" in rewound.stdout
    assert "each 64 times" in art("data", "shop/agent-002", root=story.root).stdout


def test_steps_that_are_gone_are_taken_from_the_checkpoint_before_them(art: Art, story: CheckpointStore):
    art("rm", "shop/agent-002@26..40", "--yes", root=story.root)
    for step in (24, 25):
        art("rm", f"shop/agent-002@{step}", "--yes", "--force", root=story.root)

    told = art("data", "shop/agent-002", root=story.root).stdout

    assert "✓ Counted again on top of what shop/agent-002@41 carries: 23 steps say the same." in told
    assert "each 64 times; 48 groups of 128 before the fork" in told


def test_sums_that_the_steps_do_not_bear_out_are_told(art: Art, story: CheckpointStore):
    newest = story.open(BRANCH.at(64))
    seen = seen_by(newest).after([*SCENARIOS, SCENARIOS[0], "never-learned"], [])
    write_checkpoint(story, BRANCH, 65, parent=newest, settings=BASE, reward=0.5, seen=seen)

    told = art("data", "shop/agent-002", root=story.root)

    assert told.returncode == 3
    assert "✗ The sums are not what the steps say" in told.stdout
    assert f"{SCENARIOS[0]}: the checkpoint says 66, its steps say 65" in told.stdout
    assert "never-learned: the checkpoint says 1, its steps say 0" in told.stdout


@pytest.mark.parametrize(("duration_s", "words"), [(34.2, "34 s"), (720, "12 min"), (12240, "3.4 h")])
def test_hours_are_said_only_where_there_are_some(duration_s: float, words: str):
    assert wording.worked(duration_s) == words


def test_a_state_that_would_fill_the_memory_is_refused_before_it_is_read(art: Art, story: CheckpointStore):
    newest = story.newest(BRANCH)
    assert newest is not None
    with story.stage(BRANCH.at(200)) as stage:
        (stage.path / "weights.bin").write_bytes(b"x")
        with (stage.path / "trainer.json").open("wb") as file:
            file.truncate(MAX_BYTES + 1)
        stage.commit(parent=newest, kind="files")

    refused = art("data", f"{BRANCH}@200", root=story.root)

    assert refused.returncode == 1
    assert f"of {MAX_BYTES:,} at most" in refused.stderr
