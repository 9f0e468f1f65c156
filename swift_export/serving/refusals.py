"""The answers of the server that are not results: each error of the package has a status of HTTP."""

from __future__ import annotations

from swift_export.errors import MachineError, SwiftExportError

__all__ = [
    "Busy",
    "ClientGone",
    "Expired",
    "Forbidden",
    "Refusal",
    "Stopping",
    "TooLarge",
    "TooSlow",
    "Unauthorized",
    "Unknown",
    "Unsupported",
    "logged",
    "status_of",
]


class Refusal(SwiftExportError):  # noqa: N818 - an answer, not a fault
    """A request that is refused for another reason than its input; ``http_status`` states which."""

    http_status = 400


class Unauthorized(Refusal):
    """The token is missing or wrong."""

    http_status = 401


class Forbidden(Refusal):
    """Something that this server, or this client, may not do."""

    http_status = 403


class Unknown(Refusal):
    """No such model, version, region or address."""

    http_status = 404


class TooSlow(Refusal):
    """The request did not arrive in time."""

    http_status = 408


class TooLarge(Refusal):
    """The body is larger than any input of the model."""

    http_status = 413


class Unsupported(Refusal):
    """An encoding of the body that the server does not decode."""

    http_status = 415


class Busy(Refusal):
    """The queue is full; the client may try again in ``retry_s`` seconds."""

    http_status = 429

    def __init__(self, message: str, retry_s: int = 1):
        super().__init__(message)
        self.retry_s = retry_s


class Stopping(Refusal):
    """The server ends, or the model is not loaded."""

    http_status = 503


class Expired(Refusal):
    """The result was not there in time."""

    http_status = 504


class ClientGone(Exception):  # noqa: N818 - no fault of the program
    """The client hung up, so there is nobody to answer."""


def logged(error: SwiftExportError) -> str:
    """The message for the log: a note of the error, which does without names that the client gave, or its own."""
    return next(iter(getattr(error, "__notes__", ())), str(error))


def status_of(error: SwiftExportError) -> int:
    """The status of HTTP for an error."""
    if isinstance(error, Refusal):
        return error.http_status
    return 500 if isinstance(error, MachineError) else 400
