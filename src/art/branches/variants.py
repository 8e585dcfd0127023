"""What each branch is to try, and what it is called for it. Pure: settings in, names out.

A name follows from the checkpoint and the settings, so that the same sweep finds its own branches again.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3
from pydantic import JsonValue

from art.config import TrainConfig
from art.errors import ConfigurationError
from art.format.json import canonical_json
from art.names import CheckpointRef, ModelRef
from art.settings import ART

Settings = Mapping[str, JsonValue]
Variants = Sequence[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]]
"""A list of settings, whose branches are named after them; or settings by the names that their branches get."""
LONGEST, ALIKE = 120, 0.8
_CLEAN = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Variant:
    """A branch that is to be: its name, and what it tries."""

    model: ModelRef
    settings: Settings

    @property
    def config(self) -> TrainConfig:
        """The settings that `TrainConfig` has a field for."""
        known: dict[str, Any] = {
            name: self.settings[name] for name in self.settings if name in TrainConfig.model_fields
        }
        return TrainConfig(**known)


def variants_of(given: Variants, source: CheckpointRef) -> list[Variant]:
    """Read what a user asks for; raises `ConfigurationError` for settings that cannot be, or that are there twice."""
    named = _by_name(given)
    if not named:
        raise ConfigurationError(f"There are no variants to fork {source} for; give a list of settings.")
    project = source.model.project
    variants: list[Variant] = []
    for name, values in named:
        settings = settled(values)
        variants.append(Variant(ModelRef(project, name_of(source, settings) if name is None else name), settings))
    for one, other in itertools.combinations(variants, 2):
        if one.settings == other.settings:
            raise ConfigurationError(
                f"{one.model} and {other.model} try the same: {worded(one.settings)}. Leave one out."
            )
        if one.model == other.model:
            raise ConfigurationError(
                f"{worded(one.settings)} and {worded(other.settings)} are both called {one.model}; give a mapping of "
                "names to settings."
            )
    return variants


def _by_name(given: Variants) -> list[tuple[str | None, Mapping[str, Any]]]:
    """Give settings with the names that were given, if any; raises `ConfigurationError` for what are no variants."""
    pairs: list[Any] = [(None, given)]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Iterable) and not isinstance(given, str):
        pairs = [(None, settings) for settings in given]
    if not all(isinstance(settings, Mapping) for _, settings in pairs):
        raise ConfigurationError(
            f"Variants are a list of settings, [{{'learning_rate': 1e-5}}], or settings by name, "
            f"{{'low': {{'learning_rate': 1e-5}}}}; {given!r} is neither."
        )
    return pairs


def combinations(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Give every combination of some settings' values.

    >>> combinations({"learning_rate": [1e-5, 5e-6], "beta": [0.1]})
    [{'learning_rate': 1e-05, 'beta': 0.1}, {'learning_rate': 5e-06, 'beta': 0.1}]
    """
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def settled(values: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Give settings by the names and in the types that `TrainConfig` has; others are the script's own, and stay.

    Raises `ConfigurationError` for what is no JSON, and for a name that was probably meant to be another.
    """
    try:
        given: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The settings {dict(values)!r} cannot be written as JSON: {error}. A branch's settings are recorded in "
            "its checkpoints, so they are numbers, texts, lists and mappings."
        ) from None
    known = {*TrainConfig.model_fields, *ART.translated, *ART.without_effect}
    own = {name: value for name, value in given.items() if name not in known}
    for name in own:
        _check_spelling(name, known)
    config = TrainConfig(**{name: value for name, value in given.items() if name in known})
    if config.ignored:
        raise ConfigurationError(f"A variant would change nothing: {'; '.join(config.ignored)}.")
    trained = config.model_dump(mode="json", include=config.model_fields_set)
    return {**trained, **own}


def name_of(source: CheckpointRef, settings: Settings) -> str:
    """Name a branch after its checkpoint and its settings.

    >>> name_of(CheckpointRef.parse("shop/agent-1@500"), {"learning_rate": 1e-05})
    'agent-1-500-learning_rate-1e-05'
    """
    stem = f"{source.model.name}-{source.step}"
    tail = "-".join(f"{name}-{value}" for name, value in settings.items())
    if len(stem) + len(tail) < LONGEST and _CLEAN.fullmatch(tail) and not tail.endswith("."):
        return f"{stem}-{tail}"
    return f"{stem}-{blake3(canonical_json(dict(settings))).hexdigest()[:12]}"


def worded(settings: Settings) -> str:
    """Say settings in one line.

    >>> worded({"learning_rate": 1e-05, "beta": 0.1})
    'learning_rate=1e-05, beta=0.1'
    """
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "no settings"


def _check_spelling(name: str, known: Iterable[str]) -> None:
    if meant := difflib.get_close_matches(name, sorted(known), n=1, cutoff=ALIKE):
        raise ConfigurationError(
            f"TrainConfig has no setting {name!r}. Did you mean {meant[0]}? A setting of your own script needs a name "
            "that is less like it."
        )
