"""What a shell makes of a variable without a value, and the folder one is in: neither is a place to write to."""

from pathlib import Path

import pytest

from art.errors import ConfigurationError
from art.names import ModelRef
from art.ops.folders import checkout
from art.store.store import CheckpointStore
from store.conftest import tree, write_checkpoint

from .conftest import Art


@pytest.mark.parametrize(
    "command",
    [
        ("export", "agent-1@100", ""),
        ("checkout", "agent-1@100", ""),
        ("commit", "", "shop/theirs@1"),
        ("watch", "", "shop/theirs"),
        ("ui", "--export", ""),
        ("log", "--root", ""),
    ],
)
def test_an_empty_word_is_no_path(art: Art, tmp_path: Path, command: tuple[str, ...]):
    before = tree(tmp_path)

    refused = art(*command)

    assert refused.returncode == 2
    assert "An empty text stands where a path" in " ".join(refused.stderr.split())
    assert tree(tmp_path) == before


def test_the_folder_one_is_in_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = write_checkpoint(CheckpointStore(tmp_path / "root"), ModelRef("shop", "agent-1"), 1)
    (folder := tmp_path / "here").mkdir()
    monkeypatch.chdir(folder)

    for here in (Path(), folder):
        with pytest.raises(ConfigurationError, match="is the folder that this runs in"):
            checkout(checkpoint, here)

    assert Path().samefile(folder)


def test_an_empty_word_is_no_root():
    with pytest.raises(ConfigurationError, match="An empty text stands where a path"):
        CheckpointStore("")
