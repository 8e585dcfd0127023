"""What an error says to do, for those who do not write Python: in the options of the program, the fields of the page,
the arguments of an agent's tools.

An error of the library names what the library takes; each surface says its own in the place of that.
"""

from __future__ import annotations

from collections.abc import Mapping

from art.errors import DestinationNotEmptyError

PROGRAM: Mapping[str, str] = {
    "overwrite=True": "--overwrite",
    "continue_if_exists=True": "--continue-if-exists",
    "mode='min' or 'max'": "--mode min or --mode max",
    "dtype=": "--dtype ",
    "gpu_memory=": "--gpu-memory ",
    "holds a causal language model.": "holds a causal language model; --base-model says which.",
    "port=0": "--port 0",
    "LocalBackend(path=...)": "--root or ART_ROOT",
}
PAGE: Mapping[str, str] = {
    DestinationNotEmptyError.WAYS_OUT: "Write another name into the field `new branch`.",
    "LocalBackend(path=...)": "art ui --root",
}
AGENT: Mapping[str, str] = {
    DestinationNotEmptyError.WAYS_OUT: "Choose another destination, or go on with the model that is there.",
    "LocalBackend(path=...)": "the --root of this server",
}


def say_way_out(words: str, surface: Mapping[str, str]) -> str:
    """Give the words of an error as a surface says them."""
    for argument, way in surface.items():
        words = words.replace(argument, way)
    return words
