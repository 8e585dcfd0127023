"""The examples in the docstrings of the public names run, and show what they say."""

import doctest
import importlib

import pytest

MODULES = (
    "art.config",
    "art.durations",
    "art.failures",
    "art.gather",
    "art.guided_completion",
    "art.metrics",
    "art.model",
    "art.rollouts",
    "art.trajectories",
    "art.utils.strip_logprobs",
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_show_what_happens(module: str):
    outcome = doctest.testmod(importlib.import_module(module))

    assert outcome.attempted > 0
    assert outcome.failed == 0
