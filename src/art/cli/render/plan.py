"""A plan in lines and as a document: what takes how much, and what fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from art.ops.plan import GB, Plan


def lines(plan: Plan) -> Iterator[str]:
    """Give a line for each part, the sum, and the settings that fit."""
    yield f"{plan.base_model} in {plan.dtype}{' over 4 bits' if plan.in_4bit else ''}, GB"
    for part in plan.parts:
        yield f"{part.size_bytes / GB:9.2f}  {part.name:<16} {part.note}"
    yield f"{plan.total_bytes / GB:9.2f}  of {plan.memory_bytes / GB:g}: {'fits' if plan.fits else 'does not fit'}"
    yield f"At most {plan.max_rows} rows fit beside this pass."
    for setting in plan.settings:
        yield f"micro_batch_tokens={setting.micro_batch_tokens:<6} {_words(setting.kept_layers, plan, setting.fits)}"


def document(plan: Plan) -> dict[str, Any]:
    """Give the plan as an object; sizes are in bytes."""
    return {**asdict(plan), "total_bytes": plan.total_bytes, "fits": plan.fits}


def _words(kept_layers: int, plan: Plan, fits: bool) -> str:
    if not fits:
        return "does not fit"
    if kept_layers == plan.layers:
        return "fits, no layer is computed again"
    return f"fits, {plan.layers - kept_layers} of {plan.layers} layers are computed again"
