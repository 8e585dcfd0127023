"""Names: whatever is accepted survives being written down and is safe as a folder; the rest is refused at the edge."""

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art.errors import ArtError, InvalidNameError
from art.names import MAX_NAME_BYTES, CheckpointRef, ModelRef, split_step

anything = st.text(st.characters(), max_size=40)


def is_name(text: str) -> bool:
    try:
        ModelRef("project", text)
    except InvalidNameError:
        return False
    return True


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(is_name)
models = st.builds(ModelRef, names, names)


@given(models)
def test_a_model_survives_being_written_down(model: ModelRef):
    assert ModelRef.parse(str(model)) == model


@given(models, st.integers(0, 10**9))
def test_a_checkpoint_survives_being_written_down(model: ModelRef, step: int):
    ref = model.at(step)

    assert CheckpointRef.parse(str(ref)) == ref
    assert split_step(str(ref)) == (str(model), step)


@given(anything)
def test_an_accepted_name_is_one_visible_folder(text: str):
    if not is_name(text):
        return

    assert PurePosixPath("root", text).parts == ("root", text)
    assert not text.startswith(".")
    assert len(text.encode()) <= MAX_NAME_BYTES
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "...",
        ".hidden",
        "ends.",
        "a/b",
        "/a",
        "a/",
        "../a",
        "a\\b",
        "a@5",
        "a::b",
        " a",
        "a ",
        "a\u00a0",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a\u0085b",
        "\ud800",
        "a" * (MAX_NAME_BYTES + 1),
        "ü" * (MAX_NAME_BYTES // 2 + 1),
    ],
)
def test_a_name_that_cannot_be_a_folder_everywhere_is_refused(name: str):
    with pytest.raises(InvalidNameError, match="cannot be the name of a model"):
        ModelRef("project", name)
    with pytest.raises(InvalidNameError, match="cannot be the name of a project"):
        ModelRef(name, "model")


@pytest.mark.parametrize("name", ["a b", "Ünïcödé", "模型", "v1.5", "a:b", "-x", "~", "a" * MAX_NAME_BYTES, "🦙"])
def test_letters_spaces_and_dots_inside_are_fine(name: str):
    assert ModelRef(name, name).name == name


@pytest.mark.parametrize("name", [None, 5, b"model", ["model"]])
def test_what_is_no_text_is_no_name(name: object):
    with pytest.raises(InvalidNameError):
        ModelRef("project", name)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [-1, 1.0, "1", None, True])
def test_a_step_is_a_whole_number_from_zero(step: object):
    with pytest.raises(InvalidNameError, match="is not a step"):
        ModelRef("project", "model").at(step)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "model", "a/b@", "a/b@x", "a/b@-1", "a/b@²", "a/b@1.5", "a@1/b", "@5"])
def test_text_that_names_no_checkpoint_is_refused(text: str):
    with pytest.raises(InvalidNameError):
        CheckpointRef.parse(text)


@given(anything)
def test_parsing_anything_raises_nothing_but_our_own_errors(text: str):
    for parse in (ModelRef.parse, CheckpointRef.parse, split_step):
        try:
            parse(text)
        except ArtError:
            continue


@given(st.lists(st.builds(CheckpointRef, models, st.integers(0, 10**6)), max_size=8))
def test_checkpoints_order_by_the_number_of_their_step(refs: list[CheckpointRef]):
    assert sorted(refs) == sorted(refs, key=lambda ref: (ref.model.project, ref.model.name, ref.step))
