"""What the program says to do next does it: its own options, and the place that was asked about."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from art.store.history import HistoryStore
from art.store.store import CheckpointStore

from .conftest import MAIN, Art

REPOSITORY = "hf://organisation/adapter"


@pytest.fixture
def bucket(art: Art, tmp_path: Path) -> str:
    (tmp_path / "bucket").mkdir()
    url = f"file://{tmp_path}/bucket"
    assert art("push", "shop/agent-1", url).returncode == 0
    return url


def test_the_command_that_undoes_a_rewind_in_a_bucket_undoes_that_one(art: Art, store: CheckpointStore, bucket: str):
    name = f"{bucket}::shop/agent-1"
    before = store.steps(MAIN)
    rewound = art("fork", name, name, "--not-after", "60")
    (line,) = [line for line in rewound.stdout.splitlines() if "art rewind --undo" in line]

    undone = art(*shlex.split(line.partition("; art ")[2].removesuffix(" brings back")))

    assert undone.stdout.startswith("shop/agent-1 stands at step 150"), undone.stderr
    assert store.steps(MAIN) == before


@pytest.mark.parametrize(
    "command", [["fork", "shop/agent-1", "fresh", "--best"], ["rm", "shop/agent-1", "--dry-run", "--keep-best"]]
)
def test_a_metric_without_a_direction_is_refused_in_words_of_the_program(
    art: Art, store: CheckpointStore, command: list[str]
):
    HistoryStore(store.root).append(MAIN, 50, split="val", metrics={"zork": 1.0})

    refused = art(*command, "val/zork")
    told = art(*command, "val/zork", "--mode", "max")

    assert "say --mode min or --mode max" in refused.stderr
    assert (refused.returncode, told.returncode) == (1, 0)


def test_the_log_of_a_repository_says_why_it_cannot_be_read(art: Art):
    shown = art("log", REPOSITORY, HF_HUB_OFFLINE="1")

    assert "HF_HUB_OFFLINE is set" in shown.stdout + shown.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("export", "agent-1@100", "file/below"),
        ("checkout", "agent-1@100", "file/below"),
        ("ui", "--export", "file/below"),
        ("pull", "{url}::shop/agent-1@100", "--root", "file/below"),
    ],
)
def test_a_file_in_the_way_of_a_folder_is_named(art: Art, bucket: str, tmp_path: Path, command: tuple[str, ...]):
    (tmp_path / "file").write_text("mine")

    refused = art(*(word.format(url=bucket) for word in command))

    assert refused.returncode == 1
    words = " ".join(refused.stderr.split())
    assert words.startswith("art: Could not ")
    assert "file" in words
    assert "Errno" not in words
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_gone_while_one_is_in_it_is_said_in_words(tmp_path: Path):
    (tmp_path / "gone").mkdir()
    art = shlex.quote(str(Path(sys.executable).with_name("art")))

    done = subprocess.run(
        ["bash", "-c", f"cd gone && rmdir ../gone && {art} log"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "ART_ROOT"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "art: The system refused what was asked: No such file or directory."
