"""Layout: names to paths and back, whatever the padding."""

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from art.format import layout
from art.names import ModelRef

steps = st.integers(0, 10**12)


@given(steps)
def test_a_step_survives_being_a_folder(step: int):
    name = layout.step_name(step)

    assert layout.parse_step(name) == step
    assert len(name) >= 4


@given(steps, st.integers(0, 6))
def test_any_padding_is_read(step: int, zeros: int):
    assert layout.parse_step("0" * zeros + str(step)) == step


@given(st.text(max_size=20))
def test_only_digits_are_a_step(text: str):
    assert (layout.parse_step(text) is not None) == (text.isascii() and text.isdigit())


def test_of_two_spellings_of_a_step_the_padded_one_counts():
    for names in (["5", "0005", "x"], ["0005", "5", "x"]):
        assert layout.folders_by_step(names) == {5: "0005"}


def test_a_checkpoint_has_one_relative_path():
    ref = ModelRef("shop", "agent 1").at(500)

    assert layout.checkpoint_path(ref) == PurePosixPath("shop/models/agent 1/checkpoints/0500")
