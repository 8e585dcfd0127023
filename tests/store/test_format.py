"""The manifest, as `docs/reference/format.md` promises it."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from art.errors import ArtError, CorruptCheckpointError, FormatVersionError
from art.format.json import canonical_json
from art.format.manifest import FORMAT_VERSION, Manifest, read_manifest
from art.names import ModelRef
from art.store.store import CheckpointStore

from .conftest import write_checkpoint

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "format.md"
SMALLEST = {"format": 1, "project": "p", "model": "m", "step": 1, "created_at": "2026-01-01T00:00:00.000Z", "files": []}
FILE = {"path": "f", "size_bytes": 1, "blake3": "0" * 64}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)


def test_every_field_is_documented_and_every_documented_field_is_there():
    section = DOCUMENT.read_text().partition("\n## The manifest\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, flags=re.MULTILINE)

    documented = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}

    assert documented == set(Manifest.model_fields)


def test_a_manifest_survives_being_written_down(store: CheckpointStore, main: ModelRef):
    manifest = write_checkpoint(store, main, 1).manifest

    assert read_manifest(manifest.to_bytes(), where="here") == manifest
    assert canonical_json(json.loads(manifest.to_bytes())) == manifest.to_bytes()


def test_fields_that_a_later_release_added_are_ignored():
    manifest = read_manifest(json.dumps(SMALLEST | {"surprise": [1]}).encode(), where="here")

    assert manifest.ref == ModelRef("p", "m").at(1)


def test_a_larger_format_is_refused_whatever_else_it_holds():
    with pytest.raises(FormatVersionError, match="here has format 3"):
        read_manifest(json.dumps({"format": FORMAT_VERSION + 1}).encode(), where="here")


@pytest.mark.parametrize(
    "change",
    [{"files": [FILE | {"path": path}]} for path in ("../f", "a/b", "a\\b", ".hidden", "", "a\x00b", "..")]
    + [
        {"files": [FILE | {"size_bytes": -1}]},
        {"files": [FILE | {"blake3": "0" * 63}]},
        {"files": [FILE | {"blake3": "A" * 64}]},
        {"project": "../p"},
        {"model": ".m"},
        {"step": -1},
        {"step": "x"},
    ],
)
def test_a_manifest_cannot_lead_out_of_its_folder(change: dict[str, object]):
    with pytest.raises(CorruptCheckpointError, match="here is not a manifest"):
        read_manifest(json.dumps(SMALLEST | change).encode(), where="here")


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_reading_anything_raises_nothing_but_our_own_errors(content: bytes):
    with pytest.raises(ArtError):
        read_manifest(content, where="here")
