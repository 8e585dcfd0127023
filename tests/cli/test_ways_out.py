"""What the program says to do next does it: its own options, and the place that was asked about."""

import os
import pty
import shlex
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from art.names import CheckpointRef, ModelRef
from art.ops.documents import fork_command
from art.ops.lanes import Life, read_overview
from art.store.history import HistoryStore
from art.store.store import CheckpointStore
from ui.story import Branch, tell

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


WRECKED = (
    Branch(name="trunk", last=26, changed={}),
    Branch(name="at-once", source="trunk", at=24, last=32, changed={"learning_rate": 0.1}, falls_at=24),
    Branch(name="late", source="trunk", at=24, last=40, changed={"learning_rate": 0.1}, falls_at=34),
    Branch(name="of-the-wreck", source="late", at=38, last=44, changed={"learning_rate": 0.2}, falls_at=34),
)


@pytest.fixture(scope="module")
def told_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tell(tmp_path_factory.mktemp("told") / "wrecked", story=WRECKED).root


@pytest.fixture
def wrecked(told_once: Path, tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(shutil.copytree(told_once, tmp_path / "wrecked"))


@pytest.mark.parametrize("place", ["found", "named", "elsewhere"])
def test_every_command_that_a_status_prints_forks_from_before_the_fall(art: Art, wrecked: CheckpointStore, place: str):
    store = wrecked
    told = {
        "found": ((), store.root),
        "named": (("--root", "wrecked"), None),
        "elsewhere": (("--root", store.root), None),
    }
    options, found = told[place]

    said = art(*map(str, options), "status", root=found)
    commands = [line.strip() for line in said.stdout.splitlines() if line.startswith("  art fork ")]
    # In the shell that it was said in, in whatever folder.
    done = [art(*shlex.split(command)[1:], root=found) for command in commands]

    assert [each.returncode for each in done] == [0, 0, 0], done
    named = [shlex.split(command)[2:4] for command in commands]
    sources = {ModelRef.parse(new).name: CheckpointRef.parse(source) for source, new in named}
    assert {new: ref.model.name for new, ref in sources.items()} == {
        "at-once-fork": "trunk",
        "late-fork": "late",
        "of-the-wreck-fork": "late",
    }
    assert sources["at-once-fork"].step < 24
    assert sources["of-the-wreck-fork"].step < 34
    assert all(store.steps(ModelRef("shop", new)) == [ref.step] for new, ref in sources.items())


def test_what_is_suggested_has_a_free_name_and_nothing_is_where_nothing_is_left(wrecked: CheckpointStore):
    store = wrecked
    late, trunk = ModelRef("shop", "late"), ModelRef("shop", "trunk")
    store.fork(store.open(late.at(26)), ModelRef("shop", "late-fork"))
    delete(store, [late.at(step) for step in store.steps(late) if step < 34])
    before = read_overview(store)
    delete(store, [trunk.at(step) for step in store.steps(trunk) if step < 26])
    after = read_overview(store)

    commands = [fork_command(overview, overview.lane(late), root=store.root) for overview in (before, after)]

    assert commands == [f"art fork shop/trunk@24 shop/late-fork-2 --root {store.root}", None]


def delete(store: CheckpointStore, refs: list[CheckpointRef]) -> None:
    for ref in refs:
        store.delete(store.open(ref))


def test_a_healthy_fork_of_the_ancestor_answers_a_branch_that_fell_at_once(tmp_path: Path):
    again = Branch(
        name="again", source="trunk", at=22, last=30, changed={"learning_rate": 1e-5}, begun=timedelta(hours=2)
    )
    store = tell(tmp_path / "wrecked", story=(*WRECKED[:2], again))

    alarms = {alarm.lane.model.name: alarm for alarm in read_overview(store).alarms}

    assert alarms["at-once"].life is Life.ANSWERED
    assert str(alarms["at-once"].answered_by) == "shop/again"


def test_a_policy_without_a_direction_is_refused_as_policies_are_written(art: Art, store: CheckpointStore):
    HistoryStore(store.root).append(MAIN, 50, split="val", metrics={"zork": 1.0})

    refused = art("gc", "--keep", "newest:1, best:val/zork", "--plan")
    told = art("gc", "--keep", "newest:1, best:val/zork:max", "--plan")

    assert "write best:val/zork:min or best:val/zork:max" in refused.stderr
    assert (refused.returncode, told.returncode) == (1, 0)


@pytest.mark.parametrize("columns", [40, 80])
def test_no_terminal_cuts_a_command_off(told_once: Path, tmp_path: Path, columns: int):
    store = CheckpointStore(shutil.copytree(told_once, tmp_path / "a-long-name-of-a-folder" / "and-another-one"))

    shown = on_terminal("--root", str(store.root), "suggest", "at-once", columns=columns)

    command = f"art fork shop/trunk@23 shop/at-once-fork --root {store.root}"
    assert command in shown.replace("\r\n", "\n")


def on_terminal(*arguments: str, columns: int) -> str:
    """Run the program on a terminal so wide, and give what it printed there."""
    reader, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb"}
    program = [sys.executable, "-c", "from art.cli import main; main()", *arguments]
    subprocess.run(program, stdout=terminal, env=environment, check=True)
    os.close(terminal)
    printed = b""
    while chunk := _read(reader):
        printed += chunk
    os.close(reader)
    return printed.decode()


def _read(reader: int) -> bytes:
    try:
        return os.read(reader, 65536)
    except OSError:  # how Linux says that nobody writes any more
        return b""


@pytest.mark.parametrize("command", [("log",), ("log", "--lanes"), ("log", "--graph"), ("status",)])
def test_an_empty_root_is_said_to_be_empty(art: Art, tmp_path: Path, command: tuple[str, ...]):
    (tmp_path / "empty").mkdir()

    shown = art(*command, root=tmp_path / "empty")

    assert (shown.returncode, shown.stderr.strip()) == (0, f"There are no models below {tmp_path / 'empty'} yet.")


def test_rollouts_that_nobody_recorded_are_missed_of_the_model_that_is_there(art: Art):
    of_none, of_nobody = (art("show", name, "--rollouts") for name in ("shop/agent-1", "shop/nobody"))

    assert of_none.stderr == "art: No rollouts of train were recorded for shop/agent-1.\n"
    assert of_nobody.stderr.startswith("art: There is no model shop/nobody; there are shop/agent-1")
