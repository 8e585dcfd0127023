"""What an import costs and offers: the face of the library never pulls what only training needs."""

import json
import pkgutil
import subprocess
import sys

import pytest

import art

HEAVY = {"torch", "transformers", "peft", "safetensors", "numpy"}
# Where tensors have no business; with every module inside.
LIGHT = (
    "art",
    "art.backend",
    "art.cli",
    "art.config",
    "art.gather",
    "art.model",
    "art.names",
    "art.ops",
    "art.format",
    "art.store",
    "art.remote",
)

REPORT_WHAT_IS_LOADED = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if "." not in name)))
"""

PUBLIC = [
    "ArtError",
    "Backend",
    "CheckpointRef",
    "Guard",
    "History",
    "LoRAConfig",
    "LocalBackend",
    "Messages",
    "MessagesAndChoices",
    "Model",
    "ModelRef",
    "Tools",
    "TrainConfig",
    "TrainResult",
    "TrainSFTConfig",
    "TrainableModel",
    "Trajectory",
    "TrajectoryGroup",
    "auto_trajectory",
    "branches",
    "capture_auto_trajectory",
    "capture_yielded_trajectory",
    "current_trajectory",
    "dev",
    "errors",
    "fork_many",
    "gather_trajectories",
    "gather_trajectory_groups",
    "local",
    "no_capture",
    "retry",
    "trajectory",
    "trajectory_group",
    "trajectory_group_batches",
    "types",
    "utils",
    "yield_trajectory",
]


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module: str):
    names = [module, *_modules_inside(module)]

    loaded = _run(REPORT_WHAT_IS_LOADED, *names)

    assert HEAVY.isdisjoint(json.loads(loaded))


def test_help_imports_nothing_heavy():
    program = (
        "import contextlib, sys; from art.cli import main; sys.argv = ['art', '--help']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('loaded:', *sorted(sys.modules))"
    )

    help_text, _, loaded = _run(program).partition("loaded:")

    assert "fork" in help_text
    assert HEAVY.isdisjoint(loaded.split())


def test_the_public_names_are_these():
    assert sorted(art.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there(name: str):
    assert getattr(art, name) is not None


def _modules_inside(package: str) -> list[str]:
    path = [] if package == "art" else getattr(pkgutil.resolve_name(package), "__path__", [])
    names = (module.name for module in pkgutil.walk_packages(path, f"{package}."))
    return [name for name in names if not name.endswith(".__main__")]


def _run(program: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
