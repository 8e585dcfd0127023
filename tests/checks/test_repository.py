"""What must hold for every tracked file, whoever writes it."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))
CODE = MODULES + [path for folder in ("tests", "examples", "bench") for path in sorted((ROOT / folder).rglob("*.py"))]

# Written by programs of bench/ and tests/.
GENERATED = {"families.md", "faults.md", "trainers.md"}
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "bench/README.md")
    if path.name not in {*GENERATED, "CHANGELOG.md"}
]
WIDTH = 130
"""Of a line of prose, in characters."""

# Spelled so that this file does not hold what it looks for.
MACHINE_PATHS = re.compile(r"/(?:wor[k]|hom[e]/\w|roo[t]|op[t]/pypi|Users)/")
INDEX_HOSTS = re.compile(r"--(?:extra-)?inde[x]-url|download\.pytorc[h]\.org")
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "torch.save"}
CALLS = {"load", "save"}


def test_no_tracked_file_names_a_place_of_one_machine():
    found = [f"{path}:{line}" for path, line, text in _tracked_lines() if MACHINE_PATHS.search(text)]

    assert found == []


def test_no_tracked_file_names_a_package_index():
    found = [f"{path}:{line}" for path, line, text in _tracked_lines() if INDEX_HOSTS.search(text)]

    assert found == []


def test_nothing_is_pickled():
    used: dict[Path, set[str]] = {}
    for path in MODULES:
        tree = ast.parse(path.read_text())
        imported = {name.split(".")[0] for name in _imports(tree)}
        attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in CALLS)
        used[path] = (imported & UNSAFE) | ({ast.unparse(node) for node in attributes} & UNSAFE_CALLS)

    assert {path: names for path, names in used.items() if names} == {}


def test_every_module_says_what_it_is():
    texts = {path: path.read_text() for path in CODE}

    assert [path for path, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []


def test_the_commands_of_the_readme_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))

    assert named <= targets


def test_the_prose_of_a_page_fits_an_editor():
    wide = [f"{path.name}, line {number}" for path in PAGES for number, line in _prose(path) if len(line) > WIDTH]

    assert wide == []


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page outside of tables and code; a signature of the API is one piece of code."""
    is_code = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        is_code ^= line.lstrip().startswith("```")
        if not is_code and not line.startswith(("|", "#", "!", "`await ", "    ")):
            yield number, line


def _tracked_lines() -> Iterator[tuple[str, int, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        try:
            text = (ROOT / name).read_text()
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture, or a file that is being removed
        for line, content in enumerate(text.splitlines(), 1):
            yield name, line, content


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
