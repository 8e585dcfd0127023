"""Modules that are called: where ART has a function and a module of one name, scripts write either.

Importing a submodule puts it in the place of the function of its name, so the module answers the call itself.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A module whose call is that of its function of the same name."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        function = vars(self)[self.__name__.rpartition(".")[2]]
        return function(*arguments, **options)


def make_callable(module: str) -> None:
    """Let a module be called as the function of its own name is."""
    sys.modules[module].__class__ = _Callable
