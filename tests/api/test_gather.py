"""Rollouts at once: their order, their failures, their progress bar, batches of them."""

import asyncio
import gc
from collections.abc import Callable

import pytest
from tqdm import tqdm

import art
from art.errors import ConfigurationError, TrainingDataError
from art.gather import GatherContext, set_gather_context, wrap_group_awaitable, wrap_trajectories_awaitable


async def rollout(reward: float, after_s: float = 0) -> art.Trajectory:
    await asyncio.sleep(after_s)
    return art.Trajectory(reward=reward)


async def failing(message: str = "no answer", after_s: float = 0) -> art.Trajectory:
    await asyncio.sleep(after_s)
    raise RuntimeError(message)


def rewards(groups: list[art.TrajectoryGroup]) -> list[list[float]]:
    return [[trajectory.reward for trajectory in group] for group in groups]


def gather(groups: list[art.TrajectoryGroup], **options: object) -> list[art.TrajectoryGroup]:
    return asyncio.run(art.gather_trajectory_groups(groups, pbar_desc=None, **options))  # pyright: ignore


def mixed(good: int, bad: int) -> art.TrajectoryGroup:
    return art.TrajectoryGroup([*(rollout(1) for _ in range(good)), *(failing(str(number)) for number in range(bad))])


def test_groups_and_their_trajectories_keep_their_order_whoever_is_first():
    slow = art.TrajectoryGroup([rollout(1, after_s=0.03), rollout(2, after_s=0.01)])
    quick = art.TrajectoryGroup([rollout(3)])

    gathered = gather([slow, quick])

    assert rewards(gathered) == [[1, 2], [3]]


def test_a_gathering_of_ones_own_counts_what_it_awaits():
    async def body() -> tuple[list[object], int]:
        with set_gather_context(GatherContext(max_exceptions=1)) as context:
            awaited = [wrap_group_awaitable(group) for group in (pair(), failing(), art.TrajectoryGroup([rollout(3)]))]  # pyright: ignore[reportArgumentType]
            return await asyncio.gather(*awaited), context.failures

    async def pair() -> tuple[art.Trajectory, ...]:
        return await rollout(1), await rollout(2)

    (both, nothing, group), failures = asyncio.run(body())

    assert [trajectory.reward for trajectory in (*both, *group)] == [1, 2, 3]  # type: ignore[misc]
    assert (nothing, failures) == (None, 1)
    with pytest.raises(RuntimeError, match="no answer"):
        asyncio.run(wrap_group_awaitable(failing()))  # pyright: ignore[reportArgumentType]


def test_a_bar_of_ones_own_tells_which_fraction_may_fail():
    async def body(max_exceptions: float) -> list[object]:
        context = GatherContext(max_exceptions=max_exceptions, pbar_total_completion_tokens=False)
        with set_gather_context(context):
            running = asyncio.gather(*map(wrap_trajectories_awaitable, [rollout(1), failing(), rollout(2)]))
            context.pbar = tqdm(total=3, disable=True)
            return await running

    first, failure, _ = asyncio.run(body(0.4))

    assert (type(first), str(failure)) == (art.Trajectory, "no answer")
    with pytest.raises(RuntimeError, match="no answer"):
        asyncio.run(body(0.3))


def test_all_rollouts_run_at_once():
    met = []

    async def meet() -> art.Trajectory:
        met.append(1)
        while len(met) < 6:
            await asyncio.sleep(0)
        return art.Trajectory()

    gathered = gather([art.TrajectoryGroup(meet() for _ in range(3)) for _ in range(2)])

    assert [len(group) for group in gathered] == [3, 3]


@pytest.mark.parametrize(("allowed", "bad"), [(2, 2), (0.5, 3), (0.34, 2), (0, 0)])
def test_as_many_failures_as_allowed_stay_in_their_group(allowed: float, bad: int):
    group, untouched = mixed(5 - bad, bad), art.TrajectoryGroup([rollout(7)])

    gathered = gather([group, untouched], max_exceptions=allowed)

    assert rewards(gathered) == [[1] * (5 - bad), [7]]
    assert [str(error) for error in gathered[0].exceptions] == [str(number) for number in range(bad)]
    assert gathered[1].exceptions == []


@pytest.mark.parametrize(("allowed", "bad"), [(0, 1), (1, 2), (0.5, 3), (0.34, 2)])
def test_one_failure_too_many_is_raised(allowed: float, bad: int):
    group = mixed(5 - bad, bad)

    with pytest.raises(RuntimeError, match=str(bad - 1)):
        gather([group], max_exceptions=allowed)


def test_one_failure_too_many_cancels_the_rollouts_that_still_run():
    ended = []

    async def long() -> art.Trajectory:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cancelled")
        return art.Trajectory()

    with pytest.raises(RuntimeError, match="no answer"):
        gather([art.TrajectoryGroup([long(), failing(after_s=0.01)]), art.TrajectoryGroup([long()])])

    assert ended == ["cancelled", "cancelled"]


def test_a_rollout_that_returns_no_trajectory_is_a_failure_that_says_so():
    async def forgetful() -> None:
        return

    with pytest.raises(TrainingDataError, match=r"A rollout returned NoneType, not an art\.Trajectory"):
        gather([art.TrajectoryGroup([forgetful()])])  # pyright: ignore

    with pytest.raises(TrainingDataError, match=r"returned NoneType, not an art\.TrajectoryGroup"):
        gather([forgetful()])  # pyright: ignore

    kept = gather([art.TrajectoryGroup([forgetful(), rollout(1)])], max_exceptions=1)  # pyright: ignore

    assert rewards(kept) == [[1]]
    assert [failed.type for failed in kept[0].exceptions] == ["TrainingDataError"]


def test_a_negative_number_of_exceptions_is_refused():
    with pytest.raises(ConfigurationError, match="max_exceptions is -1"):
        gather([], max_exceptions=-1)


def test_a_group_may_be_made_by_a_coroutine():
    async def make() -> art.TrajectoryGroup:
        return art.TrajectoryGroup([await rollout(1), await rollout(2)])

    async def fail() -> art.TrajectoryGroup:
        raise RuntimeError("no group")

    gathered = gather([make(), fail(), make()], max_exceptions=1)  # pyright: ignore

    assert rewards(gathered) == [[1, 2], [1, 2]]


def test_after_each_replaces_a_group_or_leaves_it_out():
    async def judge(group: art.TrajectoryGroup) -> art.TrajectoryGroup | None:
        if len(group) < 2:
            return None
        return art.TrajectoryGroup([art.Trajectory(reward=trajectory.reward * 10) for trajectory in group])

    groups = [art.TrajectoryGroup([rollout(1), rollout(2)]), art.TrajectoryGroup([rollout(3)])]

    assert rewards(gather(groups, after_each=judge)) == [[10, 20]]


def test_after_each_may_make_several_groups_of_one():
    async def split(group: art.TrajectoryGroup) -> list[art.TrajectoryGroup]:
        return [art.TrajectoryGroup([trajectory]) for trajectory in group]

    assert rewards(gather([art.TrajectoryGroup([rollout(1), rollout(2)])], after_each=split)) == [[1], [2]]


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_rollout_may_return_several_trajectories(kind: Callable[[list[art.Trajectory]], object]):
    async def several() -> object:
        return kind([art.Trajectory(reward=1), art.Trajectory(reward=2)])

    async def alone() -> art.TrajectoryGroup:
        return await art.TrajectoryGroup([several()])  # pyright: ignore

    in_groups = gather([art.TrajectoryGroup([several(), rollout(3)])])  # pyright: ignore
    loose = asyncio.run(art.gather_trajectories([several(), rollout(3)], pbar_desc=None))  # pyright: ignore

    assert rewards(in_groups) == [[1, 2, 3]]
    both, one = loose
    assert ([trajectory.reward for trajectory in both], one.reward) == ([1, 2], 3)  # pyright: ignore
    assert rewards([asyncio.run(alone())]) == [[1, 2]]


def test_a_group_of_which_nothing_came_back_is_left_out_and_not_judged(caplog: pytest.LogCaptureFixture):
    judged: list[int] = []

    async def judge(group: art.TrajectoryGroup) -> art.TrajectoryGroup:
        judged.append(len(group))
        return group

    gathered = gather([mixed(0, 3), mixed(2, 1)], max_exceptions=4, after_each=judge)

    assert rewards(gathered) == [[1, 1]]
    assert judged == [2]
    [said] = caplog.messages
    assert said.startswith("Groups left out because all of their rollouts failed: 1; one by ")


def test_the_bar_shows_as_many_metrics_as_asked_for(capsys: pytest.CaptureFixture[str]):
    async def scored() -> art.Trajectory:
        return art.Trajectory(reward=1, metrics={"correct": 1, "turns": 3})

    async def body() -> None:
        await art.gather_trajectory_groups([art.TrajectoryGroup([scored()])], max_metrics=1)

    asyncio.run(body())

    shown = capsys.readouterr().err
    assert "reward=1.000, correct=1.000" in shown
    assert "turns" not in shown


def test_the_bar_counts_rollouts_and_shows_their_mean_reward(capsys: pytest.CaptureFixture[str]):
    async def body() -> None:
        await art.gather_trajectory_groups([art.TrajectoryGroup([rollout(0), rollout(1), failing()])], max_exceptions=1)

    asyncio.run(body())

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "gather: 100%" in shown.err
    assert "3/3" in shown.err
    assert "reward=0.500" in shown.err


def test_without_a_description_nothing_is_shown(capsys: pytest.CaptureFixture[str]):
    gather([mixed(2, 0)])

    assert capsys.readouterr() == ("", "")


def test_single_trajectories_come_in_order_with_failures_in_their_places():
    running = [rollout(1, after_s=0.01), failing(), rollout(3)]

    first, second, third = asyncio.run(art.gather_trajectories(running, pbar_desc=None, max_exceptions=1))

    assert isinstance(first, art.Trajectory)
    assert first.reward == 1
    assert isinstance(second, RuntimeError)
    assert isinstance(third, art.Trajectory)
    assert third.reward == 3


def test_an_awaited_group_gathers_itself_and_keeps_its_failures():
    async def body() -> art.TrajectoryGroup:
        return await art.TrajectoryGroup([rollout(1), failing(), rollout(2)])

    group = asyncio.run(body())

    assert rewards([group]) == [[1, 2]]
    assert [str(error) for error in group.exceptions] == ["no answer"]


def batches(make: Callable[[int], art.TrajectoryGroup], *, stop_after: int = 99, **options: int) -> list[list[float]]:
    async def body() -> list[list[float]]:
        seen: list[list[float]] = []
        running = art.trajectory_group_batches(
            (make(number) for number in range(7)), batch_size=2, pbar_desc=None, **options
        )
        async for batch in running:
            seen.append([trajectory.reward for group in batch for trajectory in group])
            if len(seen) == stop_after:
                break
        await running.aclose()  # pyright: ignore[reportAttributeAccessIssue]
        return seen

    return asyncio.run(body())


def test_batches_come_in_order_and_the_last_may_be_smaller():
    seen = batches(lambda number: art.TrajectoryGroup([rollout(number, after_s=0.01 * (7 - number))]))

    assert seen == [[0, 1], [2, 3], [4, 5], [6]]


def test_a_batch_of_which_everything_failed_is_left_out():
    async def failing() -> art.Trajectory:
        raise ConnectionError("no answer")

    seen = batches(
        lambda number: art.TrajectoryGroup([failing() if number in (2, 3, 6) else rollout(number)]),
        max_batch_exceptions=2,
    )

    assert seen == [[0, 1], [4, 5]]


def test_no_more_batches_run_at_once_than_asked_for():
    running, most = [0], [0]

    async def counted(number: int) -> art.Trajectory:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0.005)
        running[0] -= 1
        return art.Trajectory(reward=number)

    batches(lambda number: art.TrajectoryGroup([counted(number)]), max_concurrent_batches=2)

    assert most == [4]


def test_skipped_batches_and_those_after_a_break_never_start_and_leave_no_warning():
    started = []

    async def noted(number: int) -> art.Trajectory:
        started.append(number)
        return art.Trajectory(reward=number)

    seen = batches(
        lambda number: art.TrajectoryGroup([noted(number)]), skip_batches=1, stop_after=1, max_concurrent_batches=1
    )
    gc.collect()  # a coroutine that is thrown away without being awaited would warn now, and warnings are errors

    assert seen == [[2, 3]]
    assert started == [2, 3]
