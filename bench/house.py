"""How large the house is: lines, functions and files of `src/art`, by folder, and beside an older commit.

`python bench/house.py [--against COMMIT]`. A function's lines are counted from `def` to its last one.
"""

from __future__ import annotations

import argparse
import ast
import io
import statistics
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
SOURCE = "src/art"
FACE = "(the face)"


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The files of one folder below `src/art`, with those below them."""

    files: int
    lines: int
    function_lines: tuple[int, ...]


def folders(sources: Mapping[str, str]) -> dict[str, Folder]:
    """Count by the first folder; the modules beside the folders are the face."""
    named: dict[str, list[str]] = {}
    for path, text in sources.items():
        parts = PurePosixPath(path).parts
        named.setdefault(parts[0] if len(parts) > 1 else FACE, []).append(text)
    return {name: _counted(texts) for name, texts in sorted(named.items())}


def _counted(texts: list[str]) -> Folder:
    functions = tuple(lines for text in texts for lines in _function_lines(text))
    return Folder(files=len(texts), lines=sum(len(text.splitlines()) for text in texts), function_lines=functions)


def _function_lines(text: str) -> list[int]:
    nodes = ast.walk(ast.parse(text))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


def here() -> dict[str, str]:
    """Read the sources of the working tree, by their paths below `src/art`."""
    above = ROOT / SOURCE
    return {str(path.relative_to(above)): path.read_text() for path in sorted(above.rglob("*.py"))}


def at(commit: str) -> dict[str, str]:
    """Read the sources of a commit."""
    packed = subprocess.run(["git", "archive", commit, SOURCE], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = {member.name: archive.extractfile(member) for member in archive if member.name.endswith(".py")}
        return {
            str(PurePosixPath(name).relative_to(SOURCE)): file.read().decode() for name, file in members.items() if file
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", metavar="COMMIT")
    commit = parser.parse_args().against
    now, before = folders(here()), folders(at(commit)) if commit else {}
    print(f"| folder | files | lines | median function | longest |{f' lines at {commit} |' if commit else ''}")
    print(f"|---|---|---|---|---|{'---|' if commit else ''}")
    for name, folder in {**now, "all": _summed(now)}.items():
        old = _summed(before) if name == "all" else before.get(name)
        cells = [f"`{name}`" if name in now else name, f"{folder.files:,}", f"{folder.lines:,}"]
        cells += [f"{statistics.median(folder.function_lines or (0,)):g}", f"{max(folder.function_lines or (0,))}"]
        cells += [f"{old.lines:,}" if old else "new"] if commit else []
        print(f"| {' | '.join(cells)} |")
    largest = max(len(text.splitlines()) for text in here().values())
    print(f"\nThe largest file has {largest} lines.")


def _summed(counted: Mapping[str, Folder]) -> Folder:
    return Folder(
        files=sum(each.files for each in counted.values()),
        lines=sum(each.lines for each in counted.values()),
        function_lines=tuple(lines for each in counted.values() for lines in each.function_lines),
    )


if __name__ == "__main__":
    main()
