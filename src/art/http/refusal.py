"""Refusals in OpenAI's error shape, and what each of our errors is called there."""

from __future__ import annotations

from starlette.responses import JSONResponse

from art.errors import (
    ArtError,
    ConfigurationError,
    FormTooLargeError,
    InvalidNameError,
    NotFoundError,
    QueueFullError,
    SamplerLostError,
)

RETRY_AFTER_S = 1
"""A place in the queue is free again after a turn or some; OpenAI's client adds its own delays."""
RETRY_LOST_S = 1
"""A request that comes while the sampler's server is started again waits for it."""


class RequestError(Exception):
    """An answer in OpenAI's error shape; stays inside the server."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self, *, closes: bool = False) -> JSONResponse:
        """Give the answer; with `closes` it is the connection's last one, because the body was not read."""
        headers = {"connection": "close"} if closes else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        elif self.status == 429:
            headers["retry-after"] = str(RETRY_AFTER_S)
        elif self.status == 503:
            headers["retry-after"] = str(RETRY_LOST_S)
        elif self.status == 500:
            # The client's library repeats what it was refused with 500; the same weights would fail again.
            headers["x-should-retry"] = "false"
        return JSONResponse(self.body, status_code=self.status, headers=headers)


def too_busy(message: str) -> RequestError:
    return RequestError(message, status=429, kind="rate_limit_error", code="rate_limit_exceeded")


def as_request_error(error: ArtError) -> RequestError:
    match error:
        case NotFoundError():
            return RequestError(str(error), status=404, param="model", code="model_not_found")
        case QueueFullError():
            return too_busy(str(error))
        case SamplerLostError():
            return RequestError(str(error), status=503, kind="server_error", code="sampler_lost")
        case ConfigurationError() | FormTooLargeError() | InvalidNameError():
            return RequestError(str(error), code="invalid_value")
        case _:
            return RequestError(str(error), status=500, kind="server_error", code="inference_failed")
