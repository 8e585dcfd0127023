"""Values of a user's that name what they were given and do not read, where others would drop it without a word."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from art.absent import NAMES, SaysInstead
from art.settings import nearest
from art.visible import shown_value

if TYPE_CHECKING:
    from typing import Self


class SaysUnread(SaysInstead):
    """Warns, where a script makes one, of a name that is no field. What is read from a file is not complained about."""

    if not TYPE_CHECKING:  # a type checker would believe that anything can be given

        def __new__(cls, *arguments: Any, **given: Any) -> Self:
            # A user's own `__init__` may take whatever it likes, and pydantic calls one with what a file holds.
            origin = cls.__init__.__module__.partition(".")[0]
            if given and (origin == "pydantic" or (origin == "art" and arguments)):
                for name in given.keys() - cls.model_fields.keys():
                    if given[name] is not None:
                        reason = f" {NAMES[name]}" if name in NAMES else nearest(name, cls.model_fields)
                        message = f"{cls.__name__} has no field {shown_value(name)}, and leaves it out.{reason}"
                        warnings.warn(message, stacklevel=2)
            return super().__new__(cls)
