"""Whether an adapter can be trained on at all: asked before its bytes move, by its configuration alone."""

from __future__ import annotations

from typing import Any

from art.format.adapter import check_config
from art.format.json import parse_object
from art.format.kinds import ADAPTER
from art.format.layout import ADAPTER_CONFIG
from art.ops.place import Place


def check_continuable(place: Place[Any], checkpoint: Any) -> None:
    """Refuse an adapter that no model could continue, as loading it would.

    Raises `LoRAShapeMismatchError` for what is not implemented, `CorruptCheckpointError` for what cannot be read.
    """
    if checkpoint.manifest.kind != ADAPTER or ADAPTER_CONFIG not in checkpoint.names:
        return
    config = parse_object(place.read(checkpoint, ADAPTER_CONFIG), where=f"{ADAPTER_CONFIG} of {checkpoint.ref}")
    check_config(config, where=f"{checkpoint.ref} cannot be continued: its adapter")
