"""Everything but the adapter that continuing needs: moments, schedule, random state, counters, the user's state.

Knows two files, `optimizer.safetensors` and `trainer.json`; nothing in them is pickled.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, JsonValue, PositiveInt
from safetensors.torch import save_file
from torch import Tensor, nn

from art.adapter.files import read_document, read_file, read_file_header
from art.config import TrainConfig
from art.errors import ConfigurationError, CorruptCheckpointError
from art.format.fields import Count
from art.format.json import canonical_json, parse_object, typed
from art.format.manifest import check_format

OPTIMIZER_FILE = "optimizer.safetensors"
TRAINER_FILE = "trainer.json"
FORMAT = 1
STEP = "step"
MOMENTS = ("exp_avg", "exp_avg_sq")
PARTS = ("optimizer", "schedule", "random", "state")
_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(kw_only=True)
class Progress:
    """How far training has come."""

    optimizer_steps: int = 0
    """Training steps taken, also those in which no group had anything to teach."""
    schedule_step: int = 0
    """Where on its schedule the learning rate is."""
    objective: Literal["policy", "answers"] = "policy"
    """What the optimizer's moments are of: of reinforcement learning's gradients, or of supervised fine-tuning's."""
    pass_tokens: int | None = None
    """What `micro_batch_tokens="auto"` became at its first step; the same from there on, wherever that is."""
    random: dict[str, bytes] = field(default_factory=dict)
    """The state of the generator that dropout draws from, by type of device."""
    state: Any = None
    """The user's own: where in their data they are."""
    seen: JsonValue = None
    """What the run was trained on, and where it is in its data sets, as whoever asks for the steps counts it."""


class _TrainerFile(BaseModel):
    """What `trainer.json` holds."""

    optimizer_steps: Count
    schedule_step: Count
    objective: Literal["policy", "answers"] = "policy"
    """Absent where an earlier release wrote the file, which knew no other."""
    pass_tokens: PositiveInt | None = None
    random: dict[str, str]
    environment: dict[str, object]
    state: JsonValue
    seen: JsonValue = None
    """Absent where an earlier release wrote the file."""


def learning_rate(config: TrainConfig, schedule_step: int) -> float:
    """Give the rate of the step with this number, counted from 0; raises `ConfigurationError`."""
    if schedule_step < config.warmup_steps:
        return config.learning_rate * (schedule_step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.total_steps is None or config.total_steps <= config.warmup_steps:
        raise ConfigurationError(
            f"A {config.schedule} schedule needs total_steps above its {config.warmup_steps} warmup_steps."
        )
    share = (schedule_step - config.warmup_steps) / (config.total_steps - config.warmup_steps)
    left = 1 - min(share, 1.0)
    return config.learning_rate * (left if config.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)


def fresh_optimizer(parameters: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """Make AdamW over the parameters in their order, its moments zero; rate and decay are set at each step."""
    # One tensor after another: the same order of operations everywhere, and no slower for matrices this small.
    optimizer = torch.optim.AdamW(list(parameters.values()), foreach=False, fused=False)
    for parameter in parameters.values():
        optimizer.state[parameter] = {
            STEP: torch.zeros((), dtype=torch.float32),
            **{moment: torch.zeros_like(parameter.data) for moment in MOMENTS},
        }
    return optimizer


def forget_moments(optimizer: torch.optim.AdamW) -> None:
    """Set all moments to those of a fresh optimizer, where they are."""
    for state in optimizer.state.values():
        for name in (STEP, *MOMENTS):
            state[name].zero_()


def optimizer_tensors(optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Give the moments by parameter name, on the CPU."""
    first = next(iter(parameters.values()))
    tensors = {STEP: optimizer.state[first][STEP].clone()}
    for moment in MOMENTS:
        for name, parameter in parameters.items():
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].detach().cpu().contiguous()
    return tensors


def restored_optimizer(tensors: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter]) -> torch.optim.AdamW:
    """Make AdamW with moments that `read_optimizer` checked."""
    optimizer = fresh_optimizer(parameters)
    for name, parameter in parameters.items():
        state = optimizer.state[parameter]
        state[STEP].copy_(tensors[STEP])
        for moment in MOMENTS:
            state[moment].copy_(tensors[f"{moment}.{name}"])
    return optimizer


def write_optimizer(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file(dict(tensors), folder / OPTIMIZER_FILE)


def read_optimizer(folder: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor] | None:
    """Read the moments, None where there are none; raises `CorruptCheckpointError`."""
    path = folder / OPTIMIZER_FILE
    if not path.exists():
        return None
    moments = {f"{moment}.{name}": value for moment in MOMENTS for name, value in parameters.items()}
    expected = {name: (_DTYPES[value.dtype], tuple(value.shape)) for name, value in moments.items()}
    _check_header(path, {**expected, STEP: (_DTYPES[torch.float32], ())})
    return read_file(path)


def _check_header(path: Path, expected: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Check what a file says that it holds, before memory is taken for it; raises `CorruptCheckpointError`."""
    entries = read_file_header(path)
    if {name: entry.shape for name, entry in entries.items()} != {name: shape for name, (_, shape) in expected.items()}:
        raise CorruptCheckpointError(f"{path} does not hold the moments of the adapter beside it.")
    if any(entries[name].dtype != kind for name, (kind, _) in expected.items()):
        raise CorruptCheckpointError(f"{path} holds moments of another type than the adapter beside it.")


def write_progress(folder: Path, progress: Progress, *, environment: Mapping[str, object]) -> None:
    """Write `trainer.json`; raises `ConfigurationError` when the user's state is not JSON."""
    values = {
        "format": FORMAT,
        "optimizer_steps": progress.optimizer_steps,
        "schedule_step": progress.schedule_step,
        "objective": progress.objective,
        **({} if progress.pass_tokens is None else {"pass_tokens": progress.pass_tokens}),
        "random": {device: base64.b64encode(state).decode() for device, state in progress.random.items()},
        "environment": dict(environment),
        "state": progress.state,
        **({} if progress.seen is None else {"seen": progress.seen}),
    }
    try:
        content = canonical_json(values)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"model.state can only hold what JSON can: {error}") from error
    (folder / TRAINER_FILE).write_bytes(content)


def read_progress(folder: Path) -> tuple[Progress, dict[str, object]] | None:
    """Read `trainer.json` and the environment it was written in, None where there is none."""
    path = folder / TRAINER_FILE
    if not path.exists():
        return None
    content = read_document(path)
    check_format(parse_object(content, where=str(path)), FORMAT, where=str(path))
    saved = typed(_TrainerFile, content, where=str(path), what="what a trainer writes")
    try:
        random = {device: base64.b64decode(state, validate=True) for device, state in saved.random.items()}
    except ValueError as error:
        raise CorruptCheckpointError(f"{path} holds a random state that is not base64: {error}.") from error
    progress = Progress(
        optimizer_steps=saved.optimizer_steps,
        schedule_step=saved.schedule_step,
        objective=saved.objective,
        pass_tokens=saved.pass_tokens,
        random=random,
        state=saved.state,
        seen=saved.seen,
    )
    return progress, saved.environment


def seeded_random(seed: int, device: torch.device) -> dict[str, bytes]:
    """Give the state of a generator of this device's type, seeded."""
    return {device.type: _state_bytes(torch.Generator(device).manual_seed(seed).get_state())}


def check_random(states: Mapping[str, bytes], device: torch.device, *, where: Path) -> None:
    """Check that a generator of this device takes its state, if one is there; raises `CorruptCheckpointError`."""
    if device.type not in states:
        return
    state = torch.tensor(list(states[device.type]), dtype=torch.uint8)
    try:
        torch.Generator(device).set_state(state)
    except (RuntimeError, TypeError) as error:
        raise CorruptCheckpointError(
            f"{where} holds a random state that no generator on {device.type} takes."
        ) from error


class DropoutRandom:
    """The generator state that a step starts from and, afterwards, the one it ended with.

    It gives each micro-batch a seed of its own, so that it does not matter who computes which, and when.
    """

    def __init__(self, state: bytes, device: torch.device) -> None:
        self.state = state
        self._device = device

    def seeds(self, count: int) -> list[int]:
        """Draw the seeds of so many micro-batches."""
        generator = torch.Generator(self._device)
        generator.set_state(torch.frombuffer(bytearray(self.state), dtype=torch.uint8))
        seeds = torch.randint(2**63 - 1, (count,), generator=generator, device=self._device, dtype=torch.int64)
        self.state = _state_bytes(generator.get_state())
        return [int(seed) for seed in seeds.tolist()]

    @contextmanager
    def installed(self, seed: int) -> Generator[None]:
        """Let the device's global generator start from a seed, and put it back as it was afterwards."""
        on_cuda = self._device.type == "cuda"
        with torch.random.fork_rng(devices=[self._device] if on_cuda else []):
            state = torch.Generator(self._device).manual_seed(seed).get_state()
            if on_cuda:
                torch.cuda.set_rng_state(state, self._device)
            else:
                torch.set_rng_state(state)
            yield


def _state_bytes(state: Tensor) -> bytes:
    return state.cpu().numpy().tobytes()
