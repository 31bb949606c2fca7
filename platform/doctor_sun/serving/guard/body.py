"""Reading a request's body: counted while it comes, refused before it is all here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from doctor_sun.serving.guard.refusal import Refusal

MEBIBYTE = 1 << 20


@dataclass(kw_only=True)
class BodyConfig:
    """What is read of a request."""

    max_body_mib: int = 64
    """Mebibytes of one body; pictures come in base64, which takes a third more than they have."""

    max_bodies_mib: int = 512
    """Mebibytes of all bodies that are read at a time; a request that does not fit may retry."""

    body_seconds: float = 30
    """Seconds in which a body must have come."""


class Bodies:
    """Reads bodies, and knows how much memory those that are being answered take."""

    def __init__(self, config: BodyConfig) -> None:
        self.config, self.held = config, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Any]:
        """The JSON document of a request; its bytes count until the block ends.

        Raises:
            Refusal: no JSON, too large, too slow, or too many at a time.
        """
        taken = 0
        try:
            if request.headers.get("content-type", "").partition(";")[0] != "application/json":
                raise Refusal(415, "content_type", "the body must be application/json")
            announced = request.headers.get("content-length", "0")
            self._check(int(announced) if announced.isdecimal() else 0)
            pieces = bytearray()
            async with asyncio.timeout(self.config.body_seconds):
                async for piece in request.stream():
                    taken += len(piece)
                    self.held += len(piece)
                    self._check(taken)
                    pieces += piece
            document = _document(pieces)
            del pieces
            yield document
        except TimeoutError:
            seconds = self.config.body_seconds
            raise Refusal(408, "body_seconds", f"a body must come within {seconds:g} s") from None
        except ClientDisconnect:
            raise Refusal(400, "truncated_body", "the body ended before it was whole") from None
        finally:
            self.held -= taken

    def _check(self, size: int) -> None:
        if size > self.config.max_body_mib * MEBIBYTE:
            most = self.config.max_body_mib
            raise Refusal(413, "body_bytes", f"a body takes {most} MiB at most")
        if self.held > self.config.max_bodies_mib * MEBIBYTE:
            raise Refusal(503, "bodies_bytes", "too many large requests", retry_after=1)


def _document(body: bytearray) -> Any:
    try:
        return from_json(bytes(body), allow_inf_nan=False, cache_strings="none")
    except ValueError:
        message = "the body is no JSON: UTF-8, without NaN and Infinity, 200 levels deep at most"
        raise Refusal(400, "invalid_json", message) from None
