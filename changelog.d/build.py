"""Write CHANGELOG.md: what changed since the last release from this folder, then the releases as they were written.

    python changelog.d/build.py                    the files of this folder, under "Unreleased"
    python changelog.d/build.py --release 0.2.0    the same under the release's number and today's date, for good

After a release the files of this folder are deleted; their sentences stay in CHANGELOG.md.
"""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "CHANGELOG.md"
TITLE = "# Changelog\n\nWhat a release may change, and what it never does: [versions](docs/reference/versions.md)."
UNRELEASED = "Unreleased"
RELEASE = re.compile(r"^## (?!Unreleased)", re.MULTILINE)


def build(folder: Path, before: str, *, heading: str = UNRELEASED) -> str:
    """Give the text of CHANGELOG.md: a section of the folder's files, then the releases of the text before."""
    entries = [path.read_text().strip() for path in sorted(folder.glob("[0-9]*.md"))]
    newest = f"## {heading}\n\n" + "\n".join(_item(entry) for entry in entries) if entries else ""
    released = RELEASE.search(before)
    older = before[released.start() :].rstrip() if released else ""
    return "\n\n".join(filter(None, [TITLE, newest, older])) + "\n"


def _item(entry: str) -> str:
    return "- " + entry.replace("\n", "\n  ")


def main() -> None:
    """Write the file, as the program's arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", metavar="VERSION")
    version = parser.parse_args().release
    heading = f"{version}, {datetime.now(UTC):%Y-%m-%d}" if version else UNRELEASED
    TARGET.write_text(build(HERE, TARGET.read_text() if TARGET.exists() else "", heading=heading))


if __name__ == "__main__":
    main()
