"""Which checkpoint: what is chosen, how it is written down, and when a request is the same one again."""

import json

import pytest
from pydantic import TypeAdapter

from art.errors import ConfigurationError, InvalidNameError
from art.format.manifest import Hop
from art.format.pick import (
    NEWEST,
    AtMost,
    Best,
    Exact,
    Newest,
    Pick,
    as_document,
    candidates,
    is_asked_again,
    mode_of,
    pick_of,
)

EVERY_PICK: list[Pick] = [Newest(), AtMost(500), Exact(500), Best("val/reward"), Best("val/length", "min")]
HOP = {"project": "shop", "model": "agent-1", "step": 5, "digest": None, "remote": None, "reset": []}


@pytest.mark.parametrize("pick", EVERY_PICK, ids=str)
def test_a_pick_reads_back_as_it_was_written(pick: Pick):
    written = json.dumps(as_document(pick))

    assert TypeAdapter(Pick).validate_json(written) == pick


def test_a_pick_is_said_in_a_few_words():
    assert list(map(str, EVERY_PICK)) == [
        "newest",
        "at most 500",
        "exactly 500",
        "best val/reward",
        "best val/length",
    ]


def test_candidates_come_in_the_order_of_preference():
    steps = [900, 10_000, 9_999]
    scores = {900: 0.5, 9_999: 0.5, 10_000: 0.1, 7: 0.9}

    assert candidates(NEWEST, steps, {}) == [10_000, 9_999, 900]
    assert candidates(AtMost(9_999), steps, {}) == [9_999, 900]
    assert candidates(AtMost(0), steps, {}) == []
    assert candidates(Exact(900), steps, {}) == [900]
    assert candidates(Exact(901), steps, {}) == []
    assert candidates(Best("val/reward"), steps, scores) == [9_999, 900, 10_000]
    assert candidates(Best("val/loss"), steps, scores) == [10_000, 9_999, 900]


@pytest.mark.parametrize("step", [-1, True, 1.5, "5"])
@pytest.mark.parametrize("kind", [AtMost, Exact])
def test_what_is_no_step_makes_no_pick(kind: type[AtMost | Exact], step: object):
    with pytest.raises(InvalidNameError, match="is not a step"):
        kind(step)  # type: ignore[arg-type]


def test_a_step_and_a_limit_are_not_asked_for_together():
    assert [pick_of(), pick_of(step=3), pick_of(not_after=3)] == [NEWEST, Exact(3), AtMost(3)]
    with pytest.raises(ConfigurationError, match="leave one out"):
        pick_of(step=3, not_after=4)


@pytest.mark.parametrize(
    "metric",
    ["val/loss", "train/kl", "kl_div", "evalLoss", "val/error_rate", "Perplexity", "NLL", "train/exceptions"],
)
def test_lower_is_better_by_name(metric: str):
    assert mode_of(metric) == "min"


@pytest.mark.parametrize("metric", ["val/reward", "reward", "test/exact_match", "winRate", "F1", "pass@1", "accuracy"])
def test_higher_is_better_by_name(metric: str):
    assert mode_of(metric) == "max"


@pytest.mark.parametrize("metric", ["val/length", "entropy", "reward_std", "reward_loss", "loss/step_3", "тест"])
def test_a_name_that_does_not_say_what_is_better_is_refused(metric: str):
    with pytest.raises(ConfigurationError, match="mode='min' or 'max'"):
        Best(metric)

    assert Best(metric, "min").mode == "min"


def test_a_best_without_a_metric_or_with_another_mode_is_refused():
    with pytest.raises(ConfigurationError, match="is no metric"):
        Best("")
    with pytest.raises(ConfigurationError, match="is no mode"):
        Best("val/reward", "lowest")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "now", "chose", "chooses", "same"),
    [
        (NEWEST, NEWEST, 5, 8, True),
        (NEWEST, NEWEST, 8, 5, False),
        (AtMost(9), AtMost(9), 5, 8, True),
        (AtMost(9), AtMost(10), 5, 10, False),
        (Exact(1), Exact(2), 1, 2, False),
        (NEWEST, Exact(8), 5, 8, False),
        (AtMost(8), Exact(8), 5, 8, False),
        (Best("val/reward"), Best("val/reward"), 8, 5, True),
        (Best("val/reward"), Best("val/loss"), 5, 8, False),
    ],
)
def test_a_request_is_the_same_again_when_only_its_source_moved_on(
    before: Pick, now: Pick, chose: int, chooses: int, same: bool
):
    assert is_asked_again(before, now, chose=chose, chooses=chooses) is same


@pytest.mark.parametrize("pick", EVERY_PICK, ids=str)
def test_a_hop_keeps_its_pick(pick: Pick):
    hop = Hop(project="shop", model="agent-1", step=500, pick=pick)

    assert Hop.model_validate_json(hop.model_dump_json()) == hop


@pytest.mark.parametrize(("not_after", "pick"), [(None, NEWEST), (7, AtMost(7))])
def test_a_hop_of_the_first_release_says_what_it_meant(not_after: int | None, pick: Pick):
    hop = Hop.model_validate({**HOP, "not_after": not_after})

    assert (hop.pick, hop.not_after) == (pick, not_after)


@pytest.mark.parametrize(("pick", "limit"), [(NEWEST, None), (AtMost(7), 7), (Exact(7), 7), (Best("val/loss"), None)])
def test_a_hop_says_its_limit_to_the_first_release(pick: Pick, limit: int | None):
    assert Hop.model_validate({**HOP, "pick": as_document(pick)}).model_dump(mode="json")["not_after"] == limit


@pytest.mark.parametrize("pick", [{"kind": "oldest"}, {"kind": "exact"}, {"kind": "at_most", "step": -1}, 5])
def test_a_hop_with_a_pick_that_is_none_is_refused(pick: object):
    with pytest.raises(ValueError, match="pick"):
        Hop.model_validate({**HOP, "pick": pick})
