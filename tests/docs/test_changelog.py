"""CHANGELOG.md is what `make changelog` makes of changelog.d/; a release keeps its sentences."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = runpy.run_path(str(ROOT / "changelog.d/build.py"))["build"]
ENTRIES = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name not in {"README.md", "build.py"})


def test_the_changelog_is_what_the_entries_make():
    text = (ROOT / "CHANGELOG.md").read_text()

    assert BUILD(ROOT / "changelog.d", text) == text, "run `make changelog`"


def test_every_entry_has_a_number_and_a_name():
    wrong = [path.name for path in ENTRIES if not re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", path.name)]

    assert wrong == []


def test_a_release_keeps_its_sentences_when_the_folder_begins_again(tmp_path: Path):
    (tmp_path / "0001-forking.md").write_text("Forking now works.\nTwice.\n")
    released = BUILD(tmp_path, BUILD(tmp_path, ""), heading="0.2.0, 2026-12-01")
    (tmp_path / "0001-forking.md").unlink()

    between = BUILD(tmp_path, released)
    (tmp_path / "0001-rewinding.md").write_text("Rewinding now works.\n")
    after = BUILD(tmp_path, between)

    assert between == released
    assert after.endswith(
        "## Unreleased\n\n- Rewinding now works.\n\n## 0.2.0, 2026-12-01\n\n- Forking now works.\n  Twice.\n"
    )
