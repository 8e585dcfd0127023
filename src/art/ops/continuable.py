"""Whether an adapter can be trained on at all: asked before its bytes move, by its configuration alone."""

from __future__ import annotations

from art.format.adapter import check_config
from art.format.json import parse_object
from art.format.kinds import ADAPTER
from art.format.layout import ADAPTER_CONFIG
from art.ops.held import Held
from art.ops.place import AnyPlace, place_of


def check_continuable(where: AnyPlace, checkpoint: Held) -> None:
    """Refuse an adapter that no model could continue, as loading it would.

    Raises `LoRAShapeMismatchError` for what is not implemented, `CorruptCheckpointError` for what cannot be read.
    """
    if checkpoint.manifest.kind != ADAPTER or ADAPTER_CONFIG not in checkpoint.names:
        return
    config = parse_object(
        place_of(where).read(checkpoint, ADAPTER_CONFIG), where=f"{ADAPTER_CONFIG} of {checkpoint.ref}"
    )
    check_config(config, where=f"{checkpoint.ref} cannot be continued: its adapter")
