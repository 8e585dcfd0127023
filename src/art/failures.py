"""What is left of a rollout that failed: its exception as text, so that JSON keeps it."""

from __future__ import annotations

import traceback
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from art.errors import ArtError


class FailedRollout(BaseModel):
    """A rollout that raised. `error` is the exception itself, as long as the process lives that saw it.

    >>> failed = FailedRollout.of(KeyError("answer"))
    >>> failed.type, failed.message
    ('KeyError', "'answer'")
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True, defer_build=True)

    type: str
    message: str
    traceback: str = ""
    error: SkipValidation[BaseException | None] = Field(default=None, exclude=True, repr=False)

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Write an exception down."""
        told = "".join(traceback.format_exception(error))
        return cls(type=type(error).__name__, message=str(error), traceback=told, error=error)

    def as_error(self) -> BaseException:
        """Give the exception, or after a round trip through JSON one that says the same."""
        return self.error or ArtError(f"{self.type}: {self.message}")

    def __str__(self) -> str:
        return self.message

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Many exceptions cannot be copied, and a value that never changes need not be.
        return self


def read_failure(failure: Any) -> Any:
    """Write an exception down where one stands among failures; anything else passes."""
    return FailedRollout.of(failure) if isinstance(failure, BaseException) else failure
