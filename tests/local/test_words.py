"""What a verbose backend says of a step."""

from pathlib import Path

from art.backend import TrainResult
from art.local.words import step_line
from art.names import ModelRef

MODEL = ModelRef("shop", "agent-1")


def test_a_step_is_told_with_the_step_whose_weights_earned_its_rewards():
    line = step_line(MODEL, TrainResult(4, {"reward": 0.5, "loss": 0.1}, Path()))

    assert line == "shop/agent-1@4, update from step 3: reward 0.5, loss 0.1"


def test_a_step_in_which_nothing_was_learnt_says_so():
    metrics = {"reward": 1.0, "loss": 0.0, "groups": 2.0, "groups_without_signal": 2.0}

    assert "no update: in every group all rewards were equal" in step_line(MODEL, TrainResult(4, metrics, Path()))
