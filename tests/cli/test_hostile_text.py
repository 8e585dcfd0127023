"""What a stranger wrote into files reaches the terminal as text: no command prints a control character of theirs."""

import json

import pytest

from adapters import adapter_bytes
from art.format.manifest import BaseModelInfo
from art.names import ModelRef
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from store.conftest import adapter_config

from .conftest import Art

EVIL = "\x1b]0;gone\x07\x9b2J\u202egnol\u200b"
HIDDEN = "\u202egnol\u200b"
"""What a file's name in a manifest may still hold: no control characters."""
NAMED = ModelRef("shop", "agent\u202e-x")
"""A name may hold what is no control character."""


@pytest.fixture
def hostile(store: CheckpointStore) -> CheckpointStore:
    """A checkpoint whose manifest says in every text what a terminal would obey, and one that is damaged."""
    with store.stage(NAMED.at(1)) as stage:
        (stage.path / "adapter_config.json").write_bytes(adapter_config())
        (stage.path / "adapter_model.safetensors").write_bytes(adapter_bytes(b"weights"))
        (stage.path / f"note{HIDDEN}").write_text("x")
        stage.commit(
            base_model=BaseModelInfo(id=EVIL, revision=EVIL),
            libraries={EVIL: EVIL},
            environment={EVIL: [EVIL]},
            metrics={EVIL: 1.0},
        )
    HistoryStore(store.root).append(NAMED, 1, split="train", metrics={"reward": 0.5})
    folder = store.root / "shop/models/damaged/checkpoints/0001"
    folder.mkdir(parents=True)
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, "project": EVIL, "model": 3}))
    return store


def spoil(store: CheckpointStore) -> None:
    (store.open(NAMED.at(1)).path / f"note{HIDDEN}").unlink()


COMMANDS = {
    "log": ("log",),
    "log --graph": ("log", "--graph"),
    "show": ("show", f"{NAMED}@1"),
    "show damaged": ("show", "shop/damaged@1"),
    "verify": ("verify",),
    "fork": ("fork", f"{NAMED}@1", "b", "-v"),
    "rewind": ("rewind", f"{NAMED}@1"),
    "rm": ("rm", f"{NAMED}@1", "--yes"),
    "gc": ("gc",),
}


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "damaged"])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "words"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_what_a_terminal_obeys(
    art: Art, hostile: CheckpointStore, command: str, as_json: bool, whole: bool
):
    if not whole:
        spoil(hostile)

    done = art(*COMMANDS[command], *(["--json"] if as_json else []))

    printed = done.stdout + done.stderr
    assert "Traceback" not in printed
    assert {"\x1b", "\x07", "\x9b", "\u202e", "\u200b"}.isdisjoint(printed)


def test_a_document_says_what_was_there(art: Art, hostile: CheckpointStore):
    document = json.loads(art("show", f"{NAMED}@1", "--json").stdout)

    assert document["ref"] == f"{NAMED}@1"
    assert document["manifest"]["base_model"]["id"] == EVIL


def test_colours_are_ours_alone(art: Art, hostile: CheckpointStore):
    shown = art("show", f"{NAMED}@1", FORCE_COLOR="1", COLUMNS="200").stdout

    assert "\x1b[1" in shown
    assert "\x1b]0" not in shown
    assert "U+202E" in shown
