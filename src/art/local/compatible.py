"""Whether a checkpoint can continue as a model: the same base, and an adapter of the same shape."""

from __future__ import annotations

import logging
from collections.abc import Callable

from art.backend import Trainable
from art.config import ALL_LINEAR, LoRAConfig
from art.errors import BaseModelMismatchError, IncompatibleError, LoRAShapeMismatchError
from art.format.kinds import ADAPTER
from art.format.manifest import BaseModelInfo, LoRAShape, Manifest
from art.visible import visible

_log = logging.getLogger("art")


def check_base(model: Trainable, manifest: Manifest, base: BaseModelInfo) -> None:
    """Compare base models; raises `BaseModelMismatchError`.

    Fingerprints decide where both have one: a folder may have moved, and a name may have got other contents. Adapters
    that other programs wrote have none, and name their base as they like: their tensors are checked when they load.
    """
    trained_on = manifest.base_model
    if trained_on is None or trained_on.fingerprint is None or trained_on.fingerprint == base.fingerprint:
        if trained_on and trained_on.id not in ("", base.id):
            _log.warning(
                "%s was trained on %s; %s is taken for the same.", manifest.ref, visible(trained_on.id), base.id
            )
        return
    raise BaseModelMismatchError(
        f"{manifest.ref} was trained on {trained_on.id} (fingerprint {trained_on.fingerprint[:12]}), "
        f"{model.ref} has {base.id} (fingerprint {(base.fingerprint or 'unknown')[:12]}). "
        f"Create {model.ref.name!r} with base_model={trained_on.id!r}."
    )


def check_fits(model: Trainable, manifest: Manifest, *, base_of: Callable[[], BaseModelInfo]) -> None:
    """Check that a checkpoint can continue as a model; the base is only loaded where its name does not tell."""
    if manifest.base_model and manifest.base_model.id != model.base_model:
        check_base(model, manifest, base_of())
    check_shape(model, manifest)


def check_same(model: Trainable, registered: Trainable) -> None:
    """Check that another object of a registered model asks for the same base and adapter."""
    if model.base_model != registered.base_model:
        raise BaseModelMismatchError(
            f"{model.ref} is registered with base_model={registered.base_model!r}, not {model.base_model!r}."
        )
    if model.lora is not None and model.lora != registered.lora:
        raise LoRAShapeMismatchError(f"{model.ref} is registered with another LoRA adapter than this object asks for.")


def check_rank(model: Trainable, lora: LoRAConfig, *, most: int | None) -> None:
    """Check that the sampler takes adapters of this rank; raises `LoRAShapeMismatchError`. None is any rank."""
    if most is not None and lora.rank > most:
        raise LoRAShapeMismatchError(
            f"{model.ref} has adapters of rank {lora.rank}, and the sampler takes at most {most}. Let it take larger "
            f"ones: LocalBackend(sampler=VLLM(max_rank={lora.rank})), or --max-lora-rank of a server that you start."
        )


def names_layers_by_pattern(manifest: Manifest) -> bool:
    """Tell whether an adapter that another program wrote says by a regular expression which layers it is on."""
    return (
        manifest.lora is not None
        and manifest.lora.targets not in (ALL_LINEAR, ())
        and isinstance(manifest.lora.targets, str)
    )


def check_shape(model: Trainable, manifest: Manifest) -> None:
    """Compare the adapter's shape with the one the user asked for, if any; raises `LoRAShapeMismatchError`.

    Raises `IncompatibleError` for a checkpoint of another trainer, whose files are never loaded here.
    """
    if manifest.kind != ADAPTER:
        raise IncompatibleError(
            f"{manifest.ref} is a checkpoint of kind {manifest.kind}, which no backend continues. "
            f"Go on with the trainer that wrote it: `art checkout {manifest.ref} FOLDER` gives its files."
        )
    wanted_shape, shape = model.lora, manifest.lora
    if wanted_shape is None or shape is None or shape_of(wanted_shape).fits(shape):
        return
    raise LoRAShapeMismatchError(
        f"{manifest.ref} has a LoRA adapter with {_words(shape)}; {model.ref} asks for "
        f"{_words(shape_of(wanted_shape))}. Leave lora out to take the checkpoint's shape."
    )


def adapter_shape(model: Trainable, manifest: Manifest | None) -> LoRAConfig:
    """Choose the adapter's shape: the checkpoint's, else the one the user asks for, else the default."""
    wanted_shape = model.lora
    if manifest is None or manifest.lora is None:
        return wanted_shape or LoRAConfig()
    shape = LoRAConfig.model_validate(manifest.lora.model_dump())
    return shape.model_copy(update={"dropout": wanted_shape.dropout}) if wanted_shape else shape


def shape_of(lora: LoRAConfig) -> LoRAShape:
    """Give what must agree for one adapter to continue another."""
    targets = lora.targets if isinstance(lora.targets, str) else tuple(sorted(lora.targets))
    return LoRAShape(rank=lora.rank, alpha=lora.alpha, targets=targets, dropout=lora.dropout)


def _words(shape: LoRAShape) -> str:
    targets = shape.targets if isinstance(shape.targets, str) else ", ".join(shape.targets)
    return f"rank {shape.rank}, alpha {shape.alpha:g} on {targets}"
