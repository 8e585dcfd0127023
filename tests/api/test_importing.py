"""The import paths that scripts use, what is not here, and another `art` beside us."""

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import art
from art import absent

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
    "from art import LocalBackend",
    "from art.dev.model import InternalModelConfig, InitArgs, EngineArgs, PeftArgs, TrainerArgs",
    "from art.auto_trajectory import auto_trajectory, capture_auto_trajectory",
    "from art.yield_trajectory import capture_yielded_trajectory, yield_trajectory",
    "from art.mcp import MCPTool, MCPResource, GeneratedScenario, GeneratedScenarioCollection, generate_scenarios",
    "from art.mcp.default_tools import complete_task_tool",
    "from art.mcp.types import GeneratedScenarioCollection, MCPResource, MCPTool",
    "from art.mcp.generate_scenarios import generate_scenarios, preview_scenarios",
    "from art.metrics import MetricsBuilder, track_api_cost",
    "from art import no_capture, trajectory_group, trajectory, current_trajectory",
    "from art.trajectories import current_trajectory, no_capture, trajectory, trajectory_group, PydanticException",
    "from art.rewards.ruler import Response, TrajectoryScore",
    "from art.dev import LoRAConfig; from art.dev.model import LoRAConfig",
    "from art.batches import trajectory_group_batches",
    "from art.gather import GatherContext, get_gather_context, set_gather_context, record_metrics",
    "from art.gather import wrap_group_awaitable, wrap_trajectories_awaitable",
    "from art.dev import TinkerArgs, TinkerNativeArgs, TinkerTrainingClientArgs, TorchtuneArgs",
    "from art.dev.model import TinkerArgs; from art.dev.torchtune import TorchtuneArgs",
    "from art.guided_completion import freeze_tool_schema, get_guided_completion_params",
    "from art.trajectories import LegacyHistory, MetadataValue, get_messages",
    "from art.types import Choice, Message, MessageOrChoice, TrainResult",
    "from art.utils.iterate_dataset import iterate_dataset",
    "from art.utils.limit_concurrency import limit_concurrency",
    "from art.utils.retry import retry",
    "from art.utils.strip_logprobs import strip_logprobs",
    "from art.utils.get_model_step import get_model_step, get_step_from_dir",
    "from art.utils.litellm import convert_litellm_choice_to_openai",
    "from art.utils.logging import _C, dim, err, info, ok, step, warn",
    "from art.utils.output_dirs import get_default_art_path, get_models_dir, get_model_dir, get_trajectories_dir",
    "from art.utils.output_dirs import get_output_dir_from_model_properties, get_step_checkpoint_dir",
    "from art.utils.output_dirs import get_trajectories_split_dir",
    "from art.utils.s3 import pull_model_from_s3, push_model_to_s3",
    "from art.utils.trajectory_logging import serialize_trajectory_groups, deserialize_trajectory_groups",
    "from art.utils.trajectory_logging import read_trajectory_groups_parquet, write_trajectory_groups_parquet",
    "from art.utils import format_message",
    "from art.utils.benchmark_rollout import benchmark_rollout",
    "from art.utils.benchmarking.charts import percentage_comparison_bar_chart, training_progress_chart",
    "from art.utils.benchmarking.load_trajectories import load_trajectories",
    "from art.utils.benchmarking.types import BenchmarkModelKey",
    "from art.utils.get_repo_root_path import get_repo_root_path",
    "from art.types import LocalTrainResult, TrainSFTConfig, Verbosity",
    "from art import LocalTrainResult",
    "from art.dev import ServerArgs, TrainSFTConfig",
    "from art.dev.engine import EngineArgs",
    "from art.dev.train import TrainConfig, TrainSFTConfig",
    "from art.dev.openai_server import OpenAIServerConfig, ServerArgs",
    "from art.langgraph.llm_wrapper import init_chat_model, wrap_rollout",
    "from art.errors import ARTError, ArtError; assert ARTError is ArtError",
)
ABSENT = {
    "from art.serverless.backend import ServerlessBackend": "art.serverless",
    "from art.serverless import ServerlessBackend": "art.serverless",
    "from art import ServerlessBackend": "art.serverless",
    "import art; art.ServerlessBackend()": "art.serverless",
    "import art.serverless.client": "art.serverless",
    "from art.skypilot import SkyPilotBackend": "art.skypilot",
    "from art.skypilot.backend import SkyPilotBackend": "art.skypilot",
    "from art.tinker import TinkerBackend": "art.tinker",
    "from art.tinker.backend import TinkerBackend": "art.tinker",
    "from art import TinkerBackend": "art.tinker",
    "from art.tinker_native import TinkerNativeBackend": "art.tinker_native",
    "from art.tinker_native.backend import TinkerNativeBackend": "art.tinker_native",
    "from art.megatron import MegatronBackend": "art.megatron",
    "from art.megatron.backend import MegatronBackend": "art.megatron",
    "from art.unsloth.service import UnslothService": "art.unsloth",
}


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
    with pytest.raises(AttributeError, match="module 'art' has no attribute 'trajectorie'"):
        art.trajectorie  # noqa: B018


@pytest.mark.parametrize("statement", ABSENT)
def test_what_is_not_here_says_what_to_use_instead(statement: str):
    with pytest.raises(ImportError, match=rf"There is no {ABSENT[statement]} here: .*art\.local\.LocalBackend"):
        exec(statement, {})


@pytest.mark.parametrize(
    ("statement", "instead"),
    [
        ("from art.api_costs import MODEL_TOKEN_PRICING", r"add_response_cost"),
        ("import art; art.get_tokenizer('base')", "AutoTokenizer"),
        ("from art import tokenize", r"model\.train takes the groups"),
        ("from art.pipeline_tuner import PipelineAutotuneConfig", "micro_batch_tokens"),
        ("from art import PIPELINE_RL_DASHBOARD_DEFAULT_METRICS", "training.md"),
        ("from art.utils.benchmarking.load_benchmarked_models import load_benchmarked_models", "art log --metric"),
        ("from art.utils import record_provenance", "manifest"),
        ("from art.openai import consume_chat_completion_stream", "get_final_completion"),
        ("import art; art.ServerlessTrainResult", "LocalBackend"),
        ("from art.types import MegatronTopologyConfig", r"no art\.types\.MegatronTopologyConfig here: .*LocalBackend"),
        ("from art.trajectories import TrajectoryExchanges", r"trajectory\.histories\(\)"),
        ("from art.trajectories import TokenFlag", r"model\.train takes the groups"),
        ("from art.errors import LocalServingUnavailableError", r"serving\.md"),
        ("from art.trajectories import TensorizedHistory", r"model\.train takes the groups"),
        ("from art import LocalAPI", "LocalBackend"),
        ("from art.local.api import LocalAPI", "LocalBackend"),
        ("from art.dev.model import OptimizerNames", r"from-art\.md"),
        ("from art.utils.grpo import rewards_have_zero_variance", r"model\.train takes the groups"),
        ("from art.trajectories import trajectorie", r"cannot import name"),
    ],
)
def test_what_was_left_out_says_what_to_do_instead(statement: str, instead: str):
    with pytest.raises(ImportError, match=instead):
        exec(statement, {})


@pytest.mark.parametrize(
    ("thing", "name", "instead"),
    [
        (art.Trajectory(), "exchanges", r"trajectory\.histories\(\)"),
        (art.Trajectory(), "tokenize", r"model\.train takes the groups"),
        (art.TrajectoryGroup(), "tensorize", r"model\.train takes the groups"),
        (art.History(messages_and_choices=[]), "as_chat_completions_history", r"trajectory\.histories\(\)"),
        (art.Model(name="a", project="p"), "set_cost_calculator", "add_response_cost"),
        (art.Trajectory(), "exchange", "object has no attribute 'exchange'"),
    ],
)
def test_an_attribute_that_is_not_here_says_what_to_use_and_is_not_there(thing: object, name: str, instead: str):
    with pytest.raises(AttributeError, match=instead):
        getattr(thing, name)

    assert not hasattr(thing, name)


def test_what_a_backend_has_not_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with (
        art.LocalBackend(path=tmp_path, enable_expert_replay=True) as backend,
        pytest.raises(AttributeError, match="get_inference_name"),
    ):
        backend.exact_adapter_lease  # noqa: B018

    assert "enable_expert_replay (needs a sampler" in caplog.text


@pytest.mark.parametrize("module", absent.INSTEAD)
@pytest.mark.parametrize("below", ["", ".deeper"])
def test_every_module_that_is_not_here_says_so_and_is_not_left_behind(module: str, below: str):
    with pytest.raises(ImportError, match=re.escape(f"There is no {module} here: {absent.INSTEAD[module]}")):
        importlib.import_module(module + below)

    assert not [name for name in sys.modules if name.startswith(module)]


def test_no_module_that_is_here_is_called_absent():
    found = {name for _, name, _ in pkgutil.walk_packages([str(Path(art.__file__).parent)], "art.")}

    assert found & absent.INSTEAD.keys() == set()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'art\.nothing'"):
        importlib.import_module("art.nothing")


def test_training_while_sampling_says_how_it_is_done_here():
    with pytest.raises(ImportError, match=r"gather_trajectory_groups, then model\.train"):
        exec("from art.pipeline_trainer import PipelineTrainer", {})


@pytest.mark.parametrize(
    "name", ["format_message", "get_model_step", "iterate_dataset", "limit_concurrency", "retry", "strip_logprobs"]
)
def test_a_name_of_utils_stays_what_it_is_when_the_module_of_its_name_is_imported(name: str):
    statements = f"import art.utils; import art.utils.{name}; from art.utils import {name}; assert callable({name})"

    exec(statements, {})


def installed(folder: Path, distribution: str, **files: str) -> Path:
    """Make a folder in which a distribution looks installed, beside a package `art`."""
    metadata = folder / f"{distribution}.dist-info"
    metadata.mkdir()
    (folder / "art").mkdir()
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
