"""Pasts of many branches: read, stitched and judged again only where a part has changed."""

from pathlib import Path

from art.format.lineage import Segment
from art.names import ModelRef
from art.ops.histories import Histories
from art.ops.judge import judge
from art.store.history import History

ROOT, FORK, OTHER = (ModelRef("shop", name) for name in ("root", "fork", "other"))


def test_a_past_is_the_same_object_until_one_of_its_parts_has_changed(tmp_path: Path):
    history, histories = History(tmp_path), Histories(tmp_path)
    for model, step in ((ROOT, 0), (ROOT, 1), (FORK, 1), (OTHER, 0)):
        history.append(model, step, split="train", metrics={"reward": 0.5})
    forked, alone = [Segment(ROOT, 0, 1), Segment(FORK, 1, None)], [Segment(OTHER, 0, None)]
    first, other = histories.past(forked), histories.past(alone)
    judged = histories.known(FORK, first, judge)

    same = histories.past(forked)
    history.append(FORK, 2, split="train", metrics={"reward": 0.75})
    grown = histories.past(forked)
    judged_again = histories.known(FORK, grown, judge)

    assert same is first
    assert histories.known(FORK, first, judge).now == judged.now == 0.5
    assert grown.points("train/reward") == ((0, 0.5), (1, 0.5), (2, 0.75))
    assert judged_again.now == 0.75
    assert histories.past(alone) is other


def test_a_line_of_the_source_reaches_the_pasts_of_its_forks(tmp_path: Path):
    history, histories = History(tmp_path), Histories(tmp_path)
    history.append(ROOT, 0, split="train", metrics={"reward": 0.5})
    parts = [Segment(ROOT, 0, 3), Segment(FORK, 3, None)]
    before = histories.scores(parts, "reward")

    history.append(ROOT, 1, split="train", metrics={"reward": 0.25})

    assert before == {0: 0.5}
    assert histories.scores(parts, "reward") == {0: 0.5, 1: 0.25}
