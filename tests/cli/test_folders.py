"""`art commit` and `art checkout`: what another trainer wrote, in and out."""

from pathlib import Path

import pytest

from art.store.store import CheckpointStore
from store.conftest import tree

from .conftest import Art


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-500"
    folder.mkdir()
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_a_folder_is_committed_measured_forked_and_checked_out(
    art: Art, store: CheckpointStore, folder: Path, tmp_path: Path
):
    done = art("commit", str(folder), "shop/run@500", "--metric", "reward=0.25")
    again = art("commit", str(folder), "shop/run@500")
    art("fork", "shop/run@500", "shop/branch")
    out = art("checkout", "shop/branch", str(tmp_path / "mine"))

    assert done.stdout == "shop/run@500  hf-trainer, 1 file, 2 B\n"
    assert again.stdout == "shop/run@500 was committed before, with these files; nothing changed.\n"
    assert (out.returncode, tree(tmp_path / "mine")) == (0, tree(folder))
    assert "0.25" in art("log", "shop/run").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("commit", "{}", "shop/run"), "names no step"),
        (("commit", "{}", "shop/run@1", "--metric", "loss"), "'loss' has no value"),
        (("commit", "{}", "shop/run@1", "--metric", "loss=low"), "'loss=low' is no metric"),
        (("commit", "{}", "shop/run@1", "--metric", "=1"), "'=1' has no name"),
        (("commit", "{}", "shop/run@1", "--metric", "loss=1", "--metric", "loss=2"), "loss is given twice"),
        (("commit", "{}", "shop/run@1", "--kind", "adapter"), "cannot be committed as kind 'adapter'"),
        (("commit", "{}/none", "shop/run@1"), "is no folder"),
        (("checkout", "shop/nobody", "mine"), "There is no model shop/nobody"),
        (("commit", "{}", "s3://bucket::shop/run@1"), "s3://bucket"),
    ],
)
def test_what_cannot_be_is_said_and_changes_nothing(
    art: Art, store: CheckpointStore, folder: Path, words: tuple[str, ...], said: str
):
    before = tree(store.root)

    done = art(*(word.format(folder) for word in words))

    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert tree(store.root) == before


@pytest.mark.parametrize(("every", "idle"), [("0.05", "0.5"), ("0.5", "0.1")], ids=["looks", "a look is longer"])
def test_a_run_is_watched_until_it_is_idle(art: Art, store: CheckpointStore, folder: Path, every: str, idle: str):
    done = art("watch", str(folder.parent), "shop/watched", "--every", every, "--idle", idle)

    assert (done.returncode, done.stdout) == (0, "shop/watched@500  committed\n")


def test_a_folder_of_runs_names_the_one_to_watch(art: Art, folder: Path, tmp_path: Path):
    runs = tmp_path / "runs"
    (runs / "first").mkdir(parents=True)
    folder.rename(runs / "first" / folder.name)

    done = art("watch", str(runs), "shop/watched", "--every", "0.05", "--idle", "0.1")

    assert (done.returncode, done.stdout) == (0, "")
    assert f"{runs / 'first'} has some: watch that folder" in done.stderr
