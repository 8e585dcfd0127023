"""What `pip install artfork` brings: the wheel, built through the sdist, and installed where nothing of ours is."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# uv runs the backend that is installed: no index is asked.
BUILD = ("build", "--offline", "--no-build-isolation", "--quiet", "--python", sys.executable)
# What the program imports, and a project may have in any release that is allowed.
OF_THE_PROGRAM = ("blake3", "pydantic", "rich", "typer")
UNREACHED = ("Failed to fetch", "error sending request", "dns error")
ASK_EVERY_COMMAND = """
import contextlib, io, sys
from art.cli import main
from art.cli.group import COMMANDS
for arguments in (["--help"], ["log", "--json"], *([name, "--help"] for name in COMMANDS), ["fork"], ["no-command"]):
    sys.argv, printed = ["art", *arguments], io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), contextlib.suppress(SystemExit):
        main()
    words = printed.buffer.getvalue()
    assert b"Usage:" in words or b"models" in words, (arguments, words)
"""
LICENSES = {
    f"artfork-{version('artfork')}.dist-info/licenses/LICENSE": "Apache License",
    "art/ui/static/vendor/LICENSE.uPlot": "Copyright (c) 2022 Leon Sorokin",
    "art/ui/static/vendor/LICENSE.preact": "The MIT License (MIT)",
    "art/ui/static/vendor/LICENSE.htm": "Apache License",
}
NO_SOURCES = {".py", ".js", ".css", ".typed"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this tree, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(Path(sys.executable).with_name("uv"), *BUILD, "--out-dir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that has the wheel of its own, and every other package from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    uv = Path(sys.executable).with_name("uv")
    run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "rest.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_of_the_repository() -> set[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    return set(run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert inside == {name.removeprefix("src/") for name in files_of_the_repository() if name.startswith("src/art/")}
    assert {Path(name).suffix for name in inside} - NO_SOURCES == {".htm", ".preact", ".uPlot"}  # the licences


def test_the_sdist_holds_no_more_than_the_repository(built: Path):
    (path,) = built.glob("*.tar.gz")

    with tarfile.open(path) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}

    assert inside - files_of_the_repository() == {"PKG-INFO"}


@pytest.mark.parametrize("name", LICENSES)
def test_every_license_travels_along(wheel: Path, name: str):
    assert LICENSES[name] in zipfile.ZipFile(wheel).read(name).decode()


def test_what_is_installed_is_the_wheel_with_its_types(installed: Path):
    program = "import art, art.local; from pathlib import Path; print(Path(art.__file__).parent, art.__version__)"

    folder, number = run(installed, "-c", program, cwd=installed.parent).split()

    assert Path(folder).is_relative_to(installed.parents[1])
    assert number == version("artfork")
    assert (Path(folder) / "py.typed").is_file()


def test_every_module_of_the_wheel_can_be_imported(installed: Path, wheel: Path):
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("art/") and name.endswith(".py")]
    light = [name for name in names if name.split("/")[1] in {"cli", "format", "ops", "remote", "store", "ui"}]
    modules = sorted(name[:-3].removesuffix("/__init__").replace("/", ".") for name in light)
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"

    run(installed, "-c", program, *modules, cwd=installed.parent)

    assert len(modules) > 50


@pytest.mark.parametrize("program", ["art", "artfork"])
def test_the_installed_program_reads_a_root(installed: Path, tmp_path: Path, program: str):
    (tmp_path / ".art").mkdir()

    document = run(installed.with_name(program), "log", "--json", cwd=tmp_path)

    assert '"models": []' in document


def test_the_installed_page_has_its_files(installed: Path, tmp_path: Path):
    (tmp_path / ".art").mkdir()

    run(installed.with_name("art"), "ui", "--export", "page.html", cwd=tmp_path)

    page = (tmp_path / "page.html").read_text()
    assert "uPlot" in page
    assert "htmPreact" in page


def test_the_program_runs_on_the_oldest_releases_that_it_allows(tmp_path: Path):
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    oldest = [each for each in allowed if each.partition(">=")[0] in OF_THE_PROGRAM]
    uv, to = Path(sys.executable).with_name("uv"), ("--target", tmp_path / "oldest")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--resolution", "lowest-direct", *to]
    brought = subprocess.run([*map(str, command), *oldest], capture_output=True, text=True, check=False)
    if any(words in brought.stderr for words in UNREACHED):
        pytest.skip("no package index answers")
    assert brought.returncode == 0, brought.stderr
    (tmp_path / ".art").mkdir()

    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'oldest'}{os.pathsep}{ROOT / 'src'}"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK_EVERY_COMMAND],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(oldest) == len(OF_THE_PROGRAM)
    assert asked.returncode == 0, asked.stderr
