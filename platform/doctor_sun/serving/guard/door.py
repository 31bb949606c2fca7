"""The first thing a request meets, before Ray Serve itself: its size, and what Serve would log.

Serve takes a body in as fast as it comes, whatever reads it, and writes the request id that a
client chose into its logs. It puts this in front of its own HTTP servers where
`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `middlewares` (`doctor_sun.cluster`).
"""

import os
import re
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doctor_sun.serving.guard.refusal import Refusal

MOST_MIB = "DOCTOR_SUN_MAX_BODY_MIB"
OWN_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")
"""A request id that names nobody: a UUID."""


def middlewares() -> list[Middleware]:
    """What Serve puts around its HTTP servers."""
    return [Middleware(Door, most=int(os.environ.get(MOST_MIB, "64")) << 20)]


class Door:
    """ASGI: ends a body that is too large, drops a request id that is none of a machine's.

    Args:
        app: what is behind it.
        most: bytes of a body.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope)
        if not OWN_ID.fullmatch(headers.get("x-request-id", "")):
            del headers["x-request-id"]
        body = _Body(self.most, receive, send)
        if not body.announced(headers):
            with suppress(ClientDisconnect):
                await self.app(scope, body.receive, body.send)
        if body.too_large and not body.started:
            refusal = Refusal(413, "body_bytes", f"a body takes {self.most >> 20} MiB at most")
            response = JSONResponse(refusal.body(), 413, headers={"Connection": "close"})
            await response(scope, receive, send)


class _Body:
    """Counts what comes; a body that is too large looks to the application like a lost client."""

    def __init__(self, most: int, receive: Receive, send: Send) -> None:
        self.most, self.taken = most, 0
        self.too_large = self.started = False
        self._receive, self._send = receive, send

    def announced(self, headers: Headers) -> bool:
        """Whether the length that was announced is too large already."""
        length = headers.get("content-length", "0")
        self.too_large = length.isdecimal() and int(length) > self.most
        return self.too_large

    async def receive(self) -> Message:
        """The next piece."""
        if self.too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self.taken += len(message.get("body", b""))
        self.too_large = self.taken > self.most
        return {"type": "http.disconnect"} if self.too_large else message

    async def send(self, message: Message) -> None:
        """What the application says, unless it is about a client that is not lost."""
        if self.too_large and not self.started:
            return
        self.started = True
        await self._send(message)
