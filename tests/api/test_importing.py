"""The import paths that scripts use, what is not here, and openpipe-art beside us."""

import subprocess
import sys
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


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A folder in which openpipe-art looks installed."""
    metadata = tmp_path / "openpipe_art-0.5.23.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: openpipe-art\nVersion: 0.5.23\n")
    return tmp_path


def test_openpipe_art_beside_us_gives_one_warning(beside: Path):
    program = f"import sys; sys.path.append({str(beside)!r})\nimport art\nimport art.local, art.types\nimport art"

    said = _run(program)

    assert said.count("UserWarning") == 1
    assert "openpipe-art is installed too" in said
    assert "Uninstall both, then install the one you want" in said


def test_alone_we_say_nothing():
    assert _run("import art, art.local, art.types") == ""


def _run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr
