"""Whether an adapter can be trained on at all: asked before its bytes move, by its configuration and its header."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from art.errors import CorruptCheckpointError
from art.format.adapter import read_shape
from art.format.json import parse_object
from art.format.kinds import ADAPTER
from art.format.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from art.format.safetensors import TensorEntry
from art.ops.held import Held

AnyHeld_contra = TypeVar("AnyHeld_contra", bound=Held, contravariant=True)


class ReadsAdapters(Protocol[AnyHeld_contra]):
    """A place that can say what an adapter is without reading its values."""

    def read_adapter(self, checkpoint: AnyHeld_contra) -> tuple[bytes, Mapping[str, TensorEntry]]: ...


def require_adapter(checkpoint: Held) -> None:
    """Refuse a checkpoint that says it is an adapter and has none; raises `CorruptCheckpointError`."""
    missing = {ADAPTER_CONFIG, ADAPTER_WEIGHTS} - set(checkpoint.names)
    if checkpoint.manifest.kind == ADAPTER and missing:
        raise CorruptCheckpointError(
            f"{checkpoint.ref} is no whole adapter: it has no {' and no '.join(sorted(missing))}. Nothing was moved. "
            "Name another step, or delete this one."
        )


def check_continuable(place: ReadsAdapters[AnyHeld_contra], checkpoint: AnyHeld_contra) -> None:
    """Refuse an adapter that no model could continue, as loading it would.

    Raises `LoRAShapeMismatchError` for what is not implemented, `CorruptCheckpointError` for what cannot be read or
    contradicts itself.
    """
    require_adapter(checkpoint)
    if checkpoint.manifest.kind != ADAPTER:
        return
    content, tensors = place.read_adapter(checkpoint)
    config = parse_object(content, where=f"{ADAPTER_CONFIG} of {checkpoint.ref}")
    read_shape(config, tensors, where=f"{checkpoint.ref} cannot be continued: its adapter")
