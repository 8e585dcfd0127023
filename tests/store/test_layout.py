"""Layout: names to paths and back, whatever the padding."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art.format import layout
from art.names import MAX_STEP, ModelRef, parse_step

steps = st.integers(0, 10**12)


@given(steps)
def test_a_step_survives_being_a_folder(step: int):
    name = layout.step_name(step)

    assert parse_step(name) == step
    assert len(name) >= 4


@given(steps, st.integers(0, 6))
def test_any_padding_is_read(step: int, zeros: int):
    assert parse_step("0" * zeros + str(step)) == step


@given(st.text(max_size=20))
def test_only_digits_are_a_step(text: str):
    is_step = text.isascii() and text.isdigit() and int(text) <= MAX_STEP

    assert (parse_step(text) is not None) == is_step


@pytest.mark.parametrize("digits", [str(MAX_STEP + 1), "9" * 255, "0" * 5000, "9" * 5000])
def test_more_digits_than_a_step_can_have_are_none(digits: str):
    assert parse_step(digits) is None


def test_of_two_spellings_of_a_step_the_padded_one_counts():
    for names in (["5", "0005", "x"], ["0005", "5", "x"]):
        assert layout.folders_by_step(names) == {5: "0005"}


def test_a_checkpoint_has_one_relative_path():
    ref = ModelRef("shop", "agent 1").at(500)

    assert layout.checkpoint_path(ref) == PurePosixPath("shop/models/agent 1/checkpoints/0500")
