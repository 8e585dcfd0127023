"""What every test finds: no network, a Hugging Face cache of its own, small models, and skips that say why."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import filesystems
from small import write_small_model
from smollm2 import PreparationError, prepare_smollm2
from warm import WarmServer

# Before anything imports huggingface_hub or botocore, which read these once; processes that tests start inherit them.
HUB = tempfile.mkdtemp(prefix="artfork-tests-hub-")
atexit.register(shutil.rmtree, HUB, ignore_errors=True)
os.environ.update(
    AWS_EC2_METADATA_DISABLED="true",
    HF_HOME=HUB,
    HF_HUB_OFFLINE="1",
    # Small models lose more time waiting for a second thread than it saves them.
    OMP_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    XDG_STATE_HOME=f"{HUB}/state",
)
for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
    os.environ.pop(variable, None)

# A job in the background of a script inherits a Ctrl-C that is switched off, and so would the programs under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# So does one under `nohup` with a terminal that is closed.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot do."""
    if os.geteuid() != 0:
        _skip(items, marker="root", reason="needs root")
    if not os.environ.get("VLLM_PYTHON"):
        _skip(items, marker="vllm", reason="needs VLLM_PYTHON, the Python of an environment with vLLM: make test-vllm")
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            _skip(items, marker="gpu", reason="needs a CUDA device")


def _skip(items: list[pytest.Item], *, marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Qwen3 of 91 thousand parameters with a byte-level tokenizer. Read it, never write to it."""
    return write_small_model(tmp_path_factory.mktemp("models") / "small-qwen3")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct; converting it takes half a minute once, then it lies in the user's cache."""
    try:
        return prepare_smollm2()
    except PreparationError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmServer]:
    """What starts scripts in processes of their own that have their imports already."""
    server = WarmServer(tmp_path_factory.mktemp("warm"))
    yield server
    server.close()


@pytest.fixture(scope="session", params=[pytest.param(name, marks=pytest.mark.root) for name in filesystems.KINDS])
def mount(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[filesystems.Mount]:
    """Each of Linux's usual file systems in turn, on a loop device, with a few hundred MiB; shared by the session."""
    kind = filesystems.KINDS[request.param]
    if reason := filesystems.missing(kind):
        pytest.skip(reason)
    try:
        with filesystems.mounted(kind, tmp_path_factory.mktemp("image")) as mount:
            yield mount
    except filesystems.MountError as error:
        pytest.skip(str(error))
