"""Many branches off one checkpoint, on one machine or on many: `art.fork_many` and what it is told."""

from art.branches.branch import Branch, here
from art.branches.executors import Executor, InTurn
from art.branches.many import Report, fork_many
from art.branches.processes import Processes
from art.branches.ray import Ray
from art.branches.task import Budget, Outcome, Result, Used
from art.branches.tune import tunable

__all__ = [
    "Branch",
    "Budget",
    "Executor",
    "InTurn",
    "Outcome",
    "Processes",
    "Ray",
    "Report",
    "Result",
    "Used",
    "fork_many",
    "here",
    "tunable",
]
