"""How much memory there is for a step: on the CPU what the machine, its container and the process's limits leave.

Knows devices, and a model's dimensions.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import psutil
import torch
from transformers import PreTrainedModel

from art.footprint import PASSES, dimensions_of, longest_pass

CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Give how many bytes can be taken on a device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(0, min(psutil.virtual_memory().available, _left_in_container(), _left_by_limit()))


def usable_bytes(device: torch.device) -> int:
    """Give how much of that the layers of a pass may keep: a card is ours, a machine's memory is everybody's."""
    return int(free_bytes(device) * (0.6 if device.type == "cuda" else 0.15))


def fitting_pass(model: PreTrainedModel, *, rank: int) -> int:
    """Give how many tokens a pass may have here and now; the most for a model whose needs are not counted."""
    dtype = str(model.dtype).removeprefix("torch.")
    dimensions = dimensions_of(model.config.to_dict(), dtype)  # pyright: ignore[reportArgumentType] - one of these
    if dimensions is None:
        return PASSES[0]
    share = 0.6 if model.device.type == "cuda" else 0.25
    return longest_pass(dimensions, rank=rank, room_bytes=int(free_bytes(model.device) * share))


def _left_in_container() -> int:
    """Read what a container's limit leaves; pages of files that it counts can be given up."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        most = int((CGROUP / "memory.max").read_text())
        counted = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        return most - int((CGROUP / "memory.current").read_text()) + int(counted["inactive_file"])
    return sys.maxsize


def _left_by_limit() -> int:
    """Read what `ulimit -v` leaves."""
    if sys.platform != "linux":
        return sys.maxsize
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return most - psutil.Process().memory_info().vms
