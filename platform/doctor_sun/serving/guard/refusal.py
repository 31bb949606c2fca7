"""A request that is refused: status, code and message in OpenAI's form.

The message says which limit was met and what would be taken. It never holds a part of the request:
what a client sends may be about a patient, and an error ends up in logs.
"""

from collections.abc import Mapping
from typing import Any

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""`error.type` by status, as OpenAI names them; any other status is a `server_error`."""


class Refusal(Exception):
    """A request is refused, or could not be answered.

    Args:
        status: of HTTP.
        code: what was wrong, a word of its own for every check; metrics count by it.
        message: what was wrong and what would be taken, without any of the input.
        param: the known name of the field that is wrong.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after = param, retry_after

    def __reduce__(self) -> tuple[Any, ...]:  # it crosses from the decoders' processes
        positional = (self.status, self.code, self.message)
        return _rebuilt, (positional, {"param": self.param, "retry_after": self.retry_after})

    def body(self) -> Mapping[str, Any]:
        """The JSON body, as OpenAI's clients read it."""
        kind = KINDS.get(self.status, "server_error")
        return {
            "error": {
                "message": self.message,
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


def _rebuilt(positional: tuple[int, str, str], named: Mapping[str, Any]) -> Refusal:
    return Refusal(*positional, **named)
