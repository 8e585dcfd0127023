"""What a shell makes of a variable without a value, and the folder one is in: neither is a place to write to."""

from pathlib import Path

import pytest

from art.errors import ConfigurationError
from art.ops.folders import new_folder
from art.store.store import CheckpointStore
from store.conftest import tree

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
    monkeypatch.chdir(tmp_path)

    for here in (Path(), tmp_path):
        with pytest.raises(ConfigurationError, match="is the folder that this runs in"), new_folder(here):
            pass

    assert Path().samefile(tmp_path)


def test_an_empty_word_is_no_root():
    with pytest.raises(ConfigurationError, match="An empty text stands where a path"):
        CheckpointStore("")
