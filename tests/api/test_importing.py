"""The import paths that scripts use, what is not here, and another `art` beside us."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import art

STATEMENTS = (
    "from art.types import TrainConfig, Messages, MessagesAndChoices, Tools",
    "from art.trajectories import Trajectory, TrajectoryGroup, History",
    "from art.local.backend import LocalBackend",
    "from art.local import LocalBackend",
    "from art.utils import iterate_dataset, limit_concurrency, retry",
    "from art import dev, TrainableModel, Model, TrainConfig, retry, trajectory_group_batches",
    "from art.dev import InternalModelConfig, InitArgs, EngineArgs, PeftArgs, TrainerArgs, TrainConfig",
    "from art.dev import OpenAIServerConfig",
    "import art; art.local.LocalBackend, art.dev.InitArgs(max_seq_length=1), art.types.TrainConfig, art.utils.retry",
)


@pytest.mark.parametrize("statement", STATEMENTS)
def test_scripts_import_from_here(statement: str):
    exec(statement, {})


def test_one_name_is_one_thing_wherever_it_is_imported_from():
    from art.local import LocalBackend
    from art.local.backend import LocalBackend as TheSame
    from art.types import TrainConfig

    assert art.TrainConfig is TrainConfig
    assert art.local.LocalBackend is LocalBackend is TheSame


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'art' has no attribute 'trajectory'"):
        art.trajectory  # noqa: B018


def test_cloud_machines_are_not_here_and_the_import_says_what_to_use():
    with pytest.raises(ImportError, match=r"art\.local\.LocalBackend"):
        from art.skypilot import SkyPilotBackend  # noqa: F401 # pyright: ignore


def installed(folder: Path, distribution: str, **files: str) -> Path:
    """Make a folder in which a distribution looks installed."""
    metadata = folder / f"{distribution}.dist-info"
    metadata.mkdir()
    for name, content in files.items():
        (metadata / name.replace("_txt", ".txt")).write_text(content)
    return folder


RECORD = """\
../../../bin/draw,,
ART_LICENSE,,
{name}.dist-info/METADATA,,
art/__init__.py,sha256=x,1
art/deeper/module.py,,
"""
OTHERS = {
    "openpipe_art-0.5.23": {"METADATA": "Name: openpipe-art"},
    "art-6.5": {"RECORD": "art/__init__.py,,\nart/art.py,,\n"},
    "adversarial_robustness_toolbox-1.20": {"RECORD": RECORD.format(name="adversarial_robustness_toolbox-1.20")},
    "one_module-1": {"RECORD": "art.py,,\n"},
    "old-1": {"top_level_txt": "art\n"},
}


@pytest.mark.parametrize("distribution", OTHERS)
def test_another_distribution_that_provides_art_gives_one_warning(tmp_path: Path, distribution: str):
    installed(tmp_path, distribution, **OTHERS[distribution])

    complaint = _run(_import_beside(tmp_path))

    name = distribution.partition("-")[0].replace("_", "-")
    assert complaint.count("UserWarning") == 1
    assert f"{name} is installed too; artfork and {name} both provide" in complaint
    assert "Uninstall both, then install the one you want" in complaint


STRANGERS = {
    "martial-1": {"RECORD": "martial/art/__init__.py,,\nmartial/__init__.py,,\n", "top_level_txt": "martial\n"},
    "artful-1": {"RECORD": "artful/__init__.py,,\n", "top_level_txt": "artful\n"},
    "artfork-9": {"RECORD": "art/__init__.py,,\n"},
    "empty-1": {},
}


@pytest.mark.parametrize("distribution", STRANGERS)
def test_a_distribution_without_a_package_art_is_no_news(tmp_path: Path, distribution: str):
    installed(tmp_path, distribution, **STRANGERS[distribution])

    assert _run(_import_beside(tmp_path)) == ""


def test_the_version_is_the_installed_one_and_is_read_when_it_is_asked_for():
    program = "import sys, art; assert 'importlib.metadata' not in sys.modules; print(art.__version__, file=sys.stderr)"

    assert _run(program).strip() == version("artfork")


def test_alone_we_say_nothing():
    assert _run("import art, art.local, art.types") == ""


def _import_beside(folder: Path) -> str:
    return f"import sys; sys.path.append({str(folder)!r})\nimport art\nimport art.local, art.types\nimport art"


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr
