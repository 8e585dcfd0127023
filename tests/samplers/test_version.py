"""A version is a value; what it is called reads back as the same one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art.errors import InvalidNameError
from art.names import ModelRef
from art.sample.version import BASE, Version

NAMES = st.text("aZ0.-_#é ", min_size=1).filter(lambda name: name == name.strip() and name.strip(".") == name)
NUMBERS = st.integers(0, 1 << 40)


@given(NAMES, NAMES, NUMBERS, NUMBERS)
def test_what_a_version_is_called_reads_back_as_the_same_version(project, name, publication, step):
    version = Version(model=ModelRef(project, name), publication=publication, step=step)

    assert Version.parse(str(version)) == version


@pytest.mark.parametrize("text", [str(BASE), "gpt-5", "p/m", "p/m#0", "p/m#0@x", "@5"])
def test_what_no_adapter_is_called_is_refused(text):
    with pytest.raises(InvalidNameError):
        Version.parse(text)


def test_a_name_without_a_publication_is_the_first_ones():
    assert Version.parse("p/m@7") == Version(model=ModelRef("p", "m"), publication=0, step=7)
