"""Histories of many branches: read on where they have grown, and said in short by summaries that cannot lie."""

import base64
import json
import math
import os
import struct
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from art.format import layout
from art.format.lineage import Segment
from art.names import ModelRef
from art.ops.histories import LONG_BYTES, Histories
from art.ops.judge import State
from art.ops.summary import own_of
from art.store import sealed
from art.store.history import HistoryStore

ROOT, FORK, OTHER = (ModelRef("shop", name) for name in ("root", "fork", "other"))
PARTS = [Segment(ROOT, 0, 200), Segment(FORK, 200, None)]


def test_a_past_is_the_same_object_until_one_of_its_parts_has_changed(tmp_path: Path):
    history, histories = HistoryStore(tmp_path), Histories(tmp_path)
    for model, step in ((ROOT, 0), (ROOT, 1), (FORK, 1), (OTHER, 0)):
        history.append(model, step, split="train", metrics={"reward": 0.5})
    forked, alone = [Segment(ROOT, 0, 1), Segment(FORK, 1, None)], [Segment(OTHER, 0, None)]
    first, other = histories.past(forked), histories.past(alone)
    judged = histories.judged(FORK, forked)

    same = histories.past(forked)
    history.append(ROOT, 2, split="train", metrics={"reward": 0.1})
    beyond = histories.past(forked)
    history.append(FORK, 2, split="train", metrics={"reward": 0.75})
    grown = histories.past(forked)

    assert same is first
    assert beyond is first
    assert judged.judgement.now == 0.5
    assert grown.points("train/reward") == ((0, 0.5), (1, 0.5), (2, 0.75))
    assert histories.judged(FORK, forked).judgement.now == 0.75
    assert histories.past(alone) is other


def test_a_line_of_the_source_reaches_the_pasts_of_its_forks(tmp_path: Path):
    history, histories = HistoryStore(tmp_path), Histories(tmp_path)
    history.append(ROOT, 0, split="train", metrics={"reward": 0.5})
    parts = [Segment(ROOT, 0, 3), Segment(FORK, 3, None)]
    before = histories.scores(parts, "reward")

    history.append(ROOT, 1, split="train", metrics={"reward": 0.25})

    assert before == {0: 0.5}
    assert histories.scores(parts, "reward") == {0: 0.5, 1: 0.25}


def test_threads_that_read_on_at_once_see_no_rewind(tmp_path: Path):
    histories, path, start = Histories(tmp_path), tmp_path / layout.history_path(ROOT), Barrier(4)
    path.parent.mkdir(parents=True)
    before = sys.getswitchinterval()

    def read(_: int) -> tuple[int, int]:
        start.wait()
        series = histories.series(ROOT)
        return len(series.rows), len(series.tails)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for turn in range(1, 6):
                lines = [{"step": step, "split": "train", "train/reward": 1.0} for step in range(300 * turn)]
                path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

                assert set(pool.map(read, range(4))) == {(300 * turn, 0)}
    finally:
        sys.setswitchinterval(before)


def test_of_a_history_that_has_grown_only_the_new_lines_are_read(tmp_path: Path):
    write(tmp_path, ROOT, range(3))
    histories = Histories(tmp_path)
    before = histories.series(ROOT).rows

    write(tmp_path, ROOT, range(3, 5))
    rows = histories.series(ROOT).rows

    assert [row.step for row in rows] == [0, 1, 2, 3, 4]
    assert all(now is then for now, then in zip(rows, before, strict=False))


def test_a_line_that_nobody_has_ended_is_read_again_when_it_is_whole(tmp_path: Path):
    path, histories = write(tmp_path, ROOT, range(2)), Histories(tmp_path)
    histories.series(ROOT)
    line = json.dumps({"step": 2, "split": "train", "time": "", "train/reward": 0.25}).encode()
    found = []
    for part in (line[:20], line[20:], b"\n"):
        with path.open("ab") as file:
            file.write(part)
        found.append([row.step for row in histories.series(ROOT).rows])

    assert found == [[0, 1], [0, 1, 2], [0, 1, 2]]


@pytest.fixture
def long_root(tmp_path: Path) -> Path:
    """A root with two long histories, whose summaries were written."""
    write(tmp_path, ROOT, range(300))
    write(tmp_path, FORK, range(200, 500))
    histories = Histories(tmp_path)
    histories.judged(ROOT, [Segment(ROOT, 0, None)])
    histories.judged(FORK, PARTS)
    histories.keep()
    return tmp_path


def test_a_summary_says_what_the_history_says_without_reading_it(long_root: Path, monkeypatch: pytest.MonkeyPatch):
    known, told = Histories(long_root), Histories(long_root)
    own, judged = own_of(known.series(FORK)), known.judged(FORK, PARTS)
    monkeypatch.setattr("art.ops.histories.parse_line", None)

    assert told.own(FORK) == own
    assert told.judged(FORK, PARTS) == judged
    assert len(told.scores(PARTS, "reward")) == 500


def test_lines_beyond_the_fork_leave_the_judgement_of_a_branch_as_it_is(long_root: Path):
    write(long_root, ROOT, range(300, 303))

    told = Histories(long_root)

    assert told.judged(FORK, PARTS).judgement.state is State.HEALTHY
    assert told.own(ROOT).newest == 302


def cut(path: Path) -> None:
    os.truncate(path, 70_000)


def replace(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content.replace(b'"train/reward": 0.5', b'"train/reward": 0.1'))


def alter_tail(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-3] + b"1}\n")


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(line_of(900, 0.125))


@pytest.mark.parametrize("change", [cut, replace, alter_tail, grow])
@pytest.mark.parametrize("model", [ROOT, FORK])
def test_a_summary_that_does_not_fit_its_history_is_thrown_away(
    long_root: Path, model: ModelRef, change: Callable[[Path], None]
):
    change(long_root / layout.history_path(model))

    told, fresh = Histories(long_root), Histories(long_root)

    assert told.own(model) == own_of(fresh.series(model))
    assert told.judged(FORK, PARTS).judgement.now == fresh.past(PARTS).points("train/reward")[-1][1]


def as_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def with_field(name: str, value: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))

    return change


def sealed_with_field(name: str, value: object) -> Callable[[Path], None]:
    """Write what its own user may have written: another version of the program, or before the history was replaced."""

    def change(path: Path) -> None:
        document = json.loads(path.read_text())
        del document["seal"]
        sealed.put(path, json.dumps({**document, name: value}).encode())

    return change


def pack_points(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}q{len(values)}d", *range(len(values)), *values)).decode()


LIES = {
    "a link": as_link,
    "a pipe": as_pipe,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "another version's": sealed_with_field("code", "0" * 64),
    "of another file": sealed_with_field("mark", {"inode": 1, "size_bytes": 70_000, "tail": "0" * 64}),
    "no base64": sealed_with_field("rewards", "~~~~"),
    "points that are no text": sealed_with_field("rewards", 5),
    "cut points": sealed_with_field("rewards", "AAAA"),
    "steps beyond all": sealed_with_field("rewards", "//////////////////////8="),
    "a field more": sealed_with_field("extra", 1),
    "another count": with_field("count", 7),
    "rewards that are none": with_field("rewards", pack_points(math.nan, math.inf)),
    "a sum beyond all": with_field("tokens", 1e308),
    "a time that a terminal obeys": with_field("last_time", "\x1b]0;gone\x07"),
    "a long one": lambda path: path.write_bytes(path.read_bytes() + b" " * 2**20),
    "an endless one": lambda path: os.truncate(path, 2**40),
    "nothing": lambda path: path.write_bytes(b""),
    "a seal alone": lambda path: path.write_bytes(path.read_bytes()[:75]),
    "a deep one": lambda path: path.write_bytes(b"[" * 70_000),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_is_no_summary_of_ours_is_none(long_root: Path, lie: Callable[[Path], None]):
    lie(long_root / layout.summary_path(FORK))

    told = Histories(long_root)

    assert told.own(FORK) == own_of(told.series(FORK))
    assert told.judged(FORK, PARTS).judgement.state is State.HEALTHY


@pytest.mark.parametrize("lie", [with_field("count", 7), lambda _: None], ids=["altered", "as it was"])
def test_a_summary_with_the_seal_of_somebody_else_is_none(
    long_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Callable[[Path], None]
):
    lie(long_root / layout.summary_path(FORK))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user's"))

    histories = Histories(long_root)
    own = histories.own(FORK)
    histories.keep()

    assert own == own_of(Histories(long_root).series(FORK))
    assert (tmp_path / "another user's/artfork/key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr("art.ops.histories.parse_line", None)
    assert Histories(long_root).own(FORK) == own, "it is this user's now"


@pytest.mark.parametrize("state", ["/dev/null/state", "here", "/proc/state"])
def test_who_can_keep_no_key_reads_all_and_writes_no_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
):
    monkeypatch.setenv("XDG_STATE_HOME", state)
    path, histories = write(tmp_path, ROOT, range(300)), Histories(tmp_path)

    count = histories.own(ROOT).count
    histories.keep()

    assert count == 300
    assert [each.name for each in path.parent.iterdir()] == [layout.HISTORY]


def test_what_acts_reads_the_history_and_no_summary(long_root: Path):
    path = long_root / layout.summary_path(FORK)
    forged = {**json.loads(path.read_text()), "count": 1, "rewards": ""}
    path.write_text(json.dumps(forged))

    assert len(Histories(long_root).past(PARTS).points("train/reward")) == 500
    assert len(HistoryStore(long_root).scores(PARTS, "reward")) == 500


def test_a_root_that_cannot_be_written_is_read_all_the_same(tmp_path: Path):
    path = write(tmp_path, ROOT, range(300))
    # Root may write into a folder without permission: a folder in the file's place stops everybody.
    (path.parent / layout.SUMMARY).mkdir()
    histories = Histories(tmp_path)
    histories.judged(ROOT, [Segment(ROOT, 0, None)])

    histories.keep()

    assert {each.name for each in path.parent.iterdir()} == {layout.HISTORY, layout.SUMMARY}


def test_a_short_history_has_no_summary(tmp_path: Path):
    path, histories = write(tmp_path, ROOT, range(20)), Histories(tmp_path)
    histories.judged(ROOT, [Segment(ROOT, 0, None)])

    histories.keep()

    assert path.stat().st_size < LONG_BYTES
    assert [each.name for each in path.parent.iterdir()] == [layout.HISTORY]


def line_of(step: int, reward: float) -> bytes:
    padding = {f"train/other_{place}": step / 7 + place for place in range(10)}
    fields = {"step": step, "split": "train", "time": "2026-11-25T03:07:00.000Z", "train/reward": reward, **padding}
    return json.dumps(fields).encode() + b"\n"


def write(root: Path, model: ModelRef, steps: range) -> Path:
    path = root / layout.history_path(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(b"".join(line_of(step, 0.5 + step % 3 / 100) for step in steps))
    return path
