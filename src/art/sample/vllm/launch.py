"""How a vLLM server is started: from which environment, and with which options. Starts nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from dataclasses import dataclass

from art.errors import ConfigurationError

PYTHON, KEY = "VLLM_PYTHON", "VLLM_API_KEY"
HOST = "127.0.0.1"
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` may be."""
OURS = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
"""What would make vLLM's Python look into our environment."""
CACHE_ON_CPU_BYTES = 4 << 30
"""For keys and values. Unasked, vLLM would take nearly all memory of the machine, or not start where that is in use."""


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A server of one base model."""

    base: str
    dtype: str
    revision: str | None = None
    """Of the base on the Hub; None is the newest one, or that of a folder."""
    is_on_gpu: bool = False
    port: int = 0
    """0 is a free one."""
    max_rank: int = 32
    """The largest rank of an adapter; vLLM reserves room for it, and computes with it, whatever the adapters have."""
    max_loras: int = 4
    """How many versions are sampled from at once; requests for further ones wait."""
    max_rows: int = 64
    memory_share: float = 0.5
    """Of the GPU's memory: training needs the rest."""
    sleeps: bool = False
    """Whether it is to leave the GPU's memory to training; vLLM's CPU servers cannot."""
    options: tuple[str, ...] = ()
    """Further options of `vllm serve`; of two that contradict each other the later one holds."""
    timeout_s: float = 900.0
    """How long the server may take until it answers."""

    def command(self, port: int) -> list[str]:
        """Give the program and its arguments; raises `ConfigurationError` where there is no vLLM."""
        on_gpu = ("--gpu-memory-utilization", f"{self.memory_share:g}")
        on_cpu = ("--kv-cache-memory-bytes", str(CACHE_ON_CPU_BYTES))
        return [
            *program(), self.base,
            "--host", HOST, "--port", str(port),
            "--dtype", self.dtype,
            "--enable-lora", "--max-lora-rank", str(self.rank_allowed), "--max-loras", str(self.max_loras),
            # Each server draws its own numbers: the default is the same for all.
            "--seed", str(secrets.randbits(31)),
            "--max-num-seqs", str(self.max_rows),
            "--logprobs-mode", "processed_logprobs",
            # Otherwise the model's own file would set top_p, or a limit of tokens, unasked.
            "--generation-config", "vllm",
            *(("--revision", self.revision) if self.revision else ()),
            *(("--enable-sleep-mode",) if self.sleeps else ()),
            *(on_gpu if self.is_on_gpu else on_cpu), *self.options,
        ]  # fmt: skip

    @property
    def rank_allowed(self) -> int:
        """The least rank that vLLM can be told which is enough; raises `ConfigurationError` for none."""
        for rank in RANKS:
            if rank >= self.max_rank > 0:
                return rank
        raise ConfigurationError(f"vLLM serves adapters of rank 1 to {RANKS[-1]}, not of rank {self.max_rank}.")

    def free_port(self) -> int:
        """Give a port that nobody listens on; raises `ConfigurationError` where the chosen one is taken."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, self.port))
            except OSError as error:
                raise ConfigurationError(
                    f"vLLM cannot listen on {HOST}:{self.port}: {error.strerror}. Choose another port, or 0."
                ) from error
            return listener.getsockname()[1]

    def environment(self) -> dict[str, str]:
        """Give the variables that the server gets; one that sleeps is told to answer who asks it to."""
        return {**environment(), **({"VLLM_SERVER_DEV_MODE": "1"} if self.sleeps else {})}


def program() -> list[str]:
    """Give what `vllm serve` is here; raises `ConfigurationError` where there is no vLLM."""
    python = os.environ.get(PYTHON)
    if python:
        if shutil.which(python) is None:
            raise ConfigurationError(f"{PYTHON} is {python!r}, and no program. Set it to the Python that has vLLM.")
        return [python, "-m", "vllm.entrypoints.cli.main", "serve"]
    if path := shutil.which("vllm"):
        return [path, "serve"]
    raise ConfigurationError(
        "sampler='vllm' found no vLLM. Its pins exclude ours, so install it into an environment of its own, and set "
        f"{PYTHON} to that environment's Python, or put its `vllm` on the path; docs/guides/vllm.md says how."
    )


def environment() -> dict[str, str]:
    """Give the variables that the server gets: ours, without what belongs to our Python, and with a key.

    Whoever has the key may let the server read any folder.
    """
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    key = os.environ.get(KEY) or secrets.token_urlsafe(24)
    return {**kept, KEY: key, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
