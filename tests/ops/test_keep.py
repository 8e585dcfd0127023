"""Which checkpoints stay: a pure function over what is known of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art.errors import ConfigurationError
from art.ops.keep import Facts, policies_of, why_kept

NOW = datetime(2026, 1, 10, tzinfo=UTC)
STEPS = (1, 2, 3, 4, 5, 6)
SCORES = {"val/reward": {2: 0.9, 4: 0.5}, "val/loss": {1: 0.3, 5: 0.1}}


def facts(*, steps=STEPS, needed=None, whole=None) -> Facts:
    return Facts(
        steps=steps,
        whole=whole or max(steps, default=None),
        created={step: NOW - timedelta(days=10 - step) for step in steps},
        scores=lambda metric: SCORES.get(metric, {}),
        needed=needed or {},
        now=NOW,
    )


KEPT = {
    "newest:1": {6: ("newest",)},
    "newest:2": {5: ("newest 2",), 6: ("newest", "newest 2")},
    "newest:99": {step: ("newest 99",) if step < 6 else ("newest", "newest 99") for step in STEPS},
    "every:3": {3: ("every 3",), 6: ("newest", "every 3")},
    "best:val/reward": {2: ("best val/reward",), 6: ("newest",)},
    "best:val/reward:min": {4: ("best val/reward",), 6: ("newest",)},
    "best:val/loss": {5: ("best val/loss",), 6: ("newest",)},
    "younger:6d": {5: ("younger than 6d",), 6: ("newest", "younger than 6d")},
    "forks, pinned": {6: ("newest",)},
    "newest:1, best:val/reward, every:3": {2: ("best val/reward",), 3: ("every 3",), 6: ("newest", "every 3")},
}


def test_a_clock_that_was_set_back_makes_no_checkpoint_older_than_the_one_before_it():
    created = {step: NOW - timedelta(days=10 - step) for step in STEPS} | {5: NOW - timedelta(days=9000)}

    kept = why_kept(policies_of("younger:7d"), replace(facts(), created=created))

    assert set(kept) == {4, 5, 6}
    assert 2 in why_kept(policies_of("younger:7d"), replace(facts(), created={1: created[1], 6: created[6]}))


@pytest.mark.parametrize("text", KEPT)
def test_each_policy_keeps_its_steps_and_says_why(text: str):
    assert why_kept(policies_of(text), facts()) == KEPT[text]


def test_what_somebody_needs_stays_whatever_the_policies_are():
    kept = why_kept(policies_of("newest:1"), facts(needed={2: ("pinned",)}))

    assert kept == {2: ("pinned",), 6: ("newest",)}


def test_the_newest_that_opens_stays_beside_a_damaged_one():
    kept = why_kept(policies_of("newest:1"), facts(needed={6: ("damaged",)}, whole=5))

    assert kept == {5: ("newest",), 6: ("damaged", "newest")}


def test_before_a_metric_is_logged_everything_stays():
    kept = why_kept(policies_of("best:val/accuracy"), facts())

    assert set(kept) == set(STEPS)
    assert kept[1] == ("no val/accuracy yet",)


@pytest.mark.parametrize(
    "text", ["", " , ", "newest", "newest:0", "newest:x", "every:-1", "younger:7", "younger:d", "oldest:2", "forks:1"]
)
def test_what_is_no_policy_is_refused(text: str):
    with pytest.raises(ConfigurationError):
        policies_of(text)


def test_a_metric_without_a_direction_asks_for_one():
    with pytest.raises(ConfigurationError, match="write best:val/zeal:min or best:val/zeal:max"):
        policies_of("best:val/zeal")


@given(
    steps=st.sets(st.integers(0, 50), max_size=20),
    words=st.lists(st.sampled_from(["newest:3", "every:7", "best:val/reward", "younger:5d"]), min_size=1),
)
def test_more_policies_keep_more(steps: set[int], words: list[str]):
    known = facts(steps=tuple(sorted(steps)))

    kept = [set(why_kept(policies_of([word]), known)) for word in words]

    assert set(why_kept(policies_of(words), known)) == set().union(*kept)
    assert not steps or max(steps) in kept[0]
