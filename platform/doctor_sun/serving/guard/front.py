"""Around the whole application: who asks, from where, how much at a time; what is written down.

Every route but the health checks needs a key. With no keys configured the endpoint answers this
machine only.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doctor_sun.serving.audit import Exchange
from doctor_sun.serving.guard.keys import Keys
from doctor_sun.serving.guard.refusal import Refusal

logger = logging.getLogger("ray.serve")

HEALTH = ("/healthz", "/readyz")
LOCAL = ("127.0.0.1", "localhost", "::1")
CLIENT_LEFT = 499
ROUTING = {404: ("not_found", "no such route"), 405: ("method", "no such method on this route")}


@dataclass(kw_only=True)
class FrontConfig:
    """Who may ask from where."""

    allowed_origins: tuple[str, ...] = ()
    """Web pages (`https://host`) that may call the API from a browser, beside the chat page."""


@dataclass
class Front:
    """ASGI: keys, origins, limits, headers, the record of each request.

    Args:
        app: the application.
        config: who may ask from where.
        max_in_flight: requests that are answered or wait; more are told to come again.
        keys: API keys and their limits.
        routes: paths that are named in metrics and the audit log; any other is `other`.
        headers: on every response.
        under_way: called with how many requests are being answered, whenever that changes.
        ended: called with the record of each request.
    """

    app: ASGIApp
    config: FrontConfig
    max_in_flight: int
    keys: Keys
    routes: frozenset[str]
    headers: Mapping[str, str]
    under_way: Callable[[int], None]
    ended: Callable[[Exchange], None]
    in_flight: int = field(default=0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = Exchange(
            request_id=Headers(scope=scope).get("x-request-id") or str(uuid.uuid4()),
            route=scope["path"] if scope["path"] in self.routes else "other",
        )
        scope["app"] = self.app  # without one, the router answers in plain text itself
        answer = _Answer(send, exchange, self._headers(scope))
        scope.setdefault("state", {})["exchange"] = exchange
        self._more(1)
        try:
            await self._admit(scope, receive, answer, exchange)
        except Refusal as refusal:
            await answer.refuse(refusal, scope, receive)
        except HTTPException as error:  # the router's
            code, said = ROUTING.get(error.status_code, ("refused", "refused"))
            await answer.refuse(Refusal(error.status_code, code, said), scope, receive)
        except Exception as error:
            # The error's text may hold a part of the request: its class is enough to begin with.
            where = error.__traceback__
            while where and where.tb_next:
                where = where.tb_next
            place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
            logger.error("%s in %s, request %s", type(error).__name__, place, exchange.request_id)
            await answer.refuse(Refusal(500, "internal", "an internal error"), scope, receive)
        finally:
            self._more(-1)
            exchange.status = exchange.status or CLIENT_LEFT
            exchange.seconds = time.perf_counter() - started
            if scope["path"] not in HEALTH:
                self.ended(exchange)

    def _more(self, change: int) -> None:
        self.in_flight += change
        self.under_way(self.in_flight)

    async def _admit(
        self, scope: Scope, receive: Receive, answer: "_Answer", exchange: Exchange
    ) -> None:
        if scope["path"] in HEALTH:
            await self.app(scope, receive, answer.send)
            return
        headers = Headers(scope=scope)
        self._check_origin(scope, headers)
        if scope["method"] == "OPTIONS" and headers.get("origin"):
            await answer.empty(scope, receive)
            return
        caller = self.keys.caller(headers.get("authorization"))
        exchange.caller = caller.name
        scope["state"]["caller"] = caller
        works = scope["method"] == "POST"
        if works and self.in_flight > self.max_in_flight:
            raise Refusal(503, "overloaded", "the endpoint is full", retry_after=1)
        async with self.keys.admitted(caller) if works else nullcontext():
            await self.app(scope, receive, answer.send)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        host = headers.get("host", "")
        if self.keys.open and not (_is_local(scope) and urlsplit(f"//{host}").hostname in LOCAL):
            raise Refusal(403, "no_keys", "without API keys only this machine is answered")
        origin = headers.get("origin")
        if origin and origin not in self.config.allowed_origins and urlsplit(origin).netloc != host:
            raise Refusal(403, "origin", "web pages of other origins are not answered")

    def _headers(self, scope: Scope) -> Mapping[str, str]:
        origin = Headers(scope=scope).get("origin", "")
        if origin not in self.config.allowed_origins:
            return self.headers
        cors = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Expose-Headers": "x-request-id, retry-after",
            "Vary": "Origin",
        }
        return {**self.headers, **cors}


def _is_local(scope: Scope) -> bool:
    """Whether a connection comes from this machine, HAProxy's to its own address among them."""
    client, server = scope.get("client"), scope.get("server")
    return client is None or client[0] in LOCAL or (server is not None and client[0] == server[0])


class _Answer:
    """Sends the response, with our headers, and notes its status."""

    def __init__(self, send: Send, exchange: Exchange, headers: Mapping[str, str]) -> None:
        self._send, self.exchange, self.headers = send, exchange, headers
        self.started = False

    async def send(self, message: Message) -> None:
        """ASGI's send."""
        if message["type"] == "http.response.start":
            self.started = True
            self.exchange.status = message["status"]
            MutableHeaders(scope=message).update(self.headers)
        await self._send(message)

    async def empty(self, scope: Scope, receive: Receive) -> None:
        """The answer to a browser's question whether it may ask."""
        await Response(status_code=204)(scope, receive, self.send)

    async def refuse(self, refusal: Refusal, scope: Scope, receive: Receive) -> None:
        """The refusal as a response, if there is none yet."""
        self.exchange.code = refusal.code
        if self.started:
            return
        headers = {}
        if refusal.retry_after is not None:
            headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
        if refusal.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="API key as password", charset="UTF-8"'
        await JSONResponse(refusal.body(), refusal.status, headers)(scope, receive, self.send)
