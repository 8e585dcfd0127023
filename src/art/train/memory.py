"""Running out of memory in a step, on the CPU or on a GPU: an error that says what to set."""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import contextmanager

import torch

from art.errors import OutOfMemoryError

# What torch's CPU allocator and oneDNN say, in a bare RuntimeError.
NO_MEMORY = (
    "can't allocate memory", "not enough memory", "could not create a memory", "could not create a primitive",
    "std::bad_alloc",
)  # fmt: skip


@contextmanager
def out_of_memory_named(*, micro_batch_tokens: int, longest_row: int) -> Generator[None]:
    """Raise `OutOfMemoryError` for a block that needs more memory than there is; it can then be tried again."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        # The frames of the traceback hold on to every tensor of the pass.
        traceback.clear_frames(error.__traceback__)
        give_back_memory()
        raise OutOfMemoryError(
            "This step does not fit into memory, and was undone. Lower TrainConfig(micro_batch_tokens=...), which is "
            f"{micro_batch_tokens:,} (only rounding depends on it), and train on the same groups again; the longest "
            f"row has {longest_row:,} tokens, and is never divided: if it alone does not fit, ask for shorter answers. "
            f"({str(error).partition(chr(10))[0]})"
        ) from None


@contextmanager
def uncommitted(what: str) -> Generator[None]:
    """Raise `OutOfMemoryError` for a block that ends before anything is committed, wherever in it memory runs out."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        traceback.clear_frames(error.__traceback__)
        raise OutOfMemoryError(
            f"Memory ran out before {what} was committed, and nothing was changed. Make room, or lower "
            "TrainConfig(micro_batch_tokens=...), and train on the same groups again."
        ) from None


def give_back_memory() -> None:
    """Let go of the memory of a GPU that torch keeps for tensors to come; another process may want it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in NO_MEMORY)
