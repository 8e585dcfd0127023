"""The mean reward of a rollout, for comparing models."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable

from art.gather import gather_trajectory_groups
from art.trajectories import Trajectory, TrajectoryGroup, mean_reward


async def benchmark_rollout(
    model: str, num_rollouts: int, rollout: Callable[[str, int, bool], Awaitable[Trajectory]]
) -> float:
    """Run `rollout(model, number, False)` so many times, print the mean reward and give it."""
    rollouts = (rollout(model, number, False) for number in range(num_rollouts))
    groups = await gather_trajectory_groups([TrajectoryGroup(rollouts)], pbar_desc="Benchmarking rollout")
    reward = mean_reward(trajectory for group in groups for trajectory in group)
    sys.stdout.write(f"Average reward for {model}: {reward}\n")
    return reward
