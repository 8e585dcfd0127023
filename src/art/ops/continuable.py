"""Whether an adapter can be trained on at all: asked before its bytes move, by its configuration alone."""

from __future__ import annotations

from typing import Any

from art.errors import CorruptCheckpointError, LoRAShapeMismatchError
from art.format.json import parse_object
from art.format.kinds import ADAPTER
from art.format.layout import ADAPTER_CONFIG
from art.ops.place import Place

SPECIAL = ("use_dora", "use_rslora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")
"""What PEFT can put into an adapter and nobody here trains."""


def check_continuable(place: Place[Any], checkpoint: Any) -> None:
    """Refuse an adapter that no model could continue; raises `LoRAShapeMismatchError`."""
    if checkpoint.manifest.kind != ADAPTER or ADAPTER_CONFIG not in checkpoint.names:
        return
    try:
        config = parse_object(place.read(checkpoint, ADAPTER_CONFIG), where=f"its {ADAPTER_CONFIG}")
    except CorruptCheckpointError as error:
        raise CorruptCheckpointError(f"{checkpoint.ref} cannot be continued: {error}.") from error
    special = [key for key in SPECIAL if config.get(key)]
    special += ["bias"] if config.get("bias", "none") != "none" else []
    if special:
        raise LoRAShapeMismatchError(
            f"{checkpoint.ref} cannot be continued: its adapter uses {', '.join(special)}, and only plain LoRA layers "
            "of one rank can be trained on. Nothing was changed."
        )
