"""The HTTP side of a replica: every route, and a request's way through the guard to an engine.

door -> front (key, origin, limits) -> body -> parameters -> model -> rules -> pictures -> engine
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from doctor_sun.records import sha256
from doctor_sun.serving.answers import fixed, respond
from doctor_sun.serving.audit import Audit, Exchange
from doctor_sun.serving.guard.attachments import Attachments, data_url, with_pictures
from doctor_sun.serving.guard.body import Bodies
from doctor_sun.serving.guard.front import Front
from doctor_sun.serving.guard.keys import Keys
from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.requests import (
    ChatRequest,
    CompletionRequest,
    DicomRequest,
    RequestLimits,
    Sampling,
    parsed,
)
from doctor_sun.serving.metrics import Metrics
from doctor_sun.serving.models import Models
from doctor_sun.serving.safety import Safety

PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
PAGE_TYPES |= {".png": "image/png", ".svg": "image/svg+xml"}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": PAGE_POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TOKEN_BYTES = 3  # of text, about, for a key's tokens a minute

Ask = Callable[[str, Mapping[str, Any], Mapping[str, str]], AsyncGenerator[Any, None]]
"""Sends a request to an engine: `chat` or `completions`, the body, the headers -> its answer."""


@dataclass(frozen=True)
class Endpoint:
    """What the routes work with; made once a replica.

    Args:
        models: the names, and which answers.
        engines: what answers, by name.
        limits: of a request.
        keys: who may ask.
        bodies: reads bodies.
        attachments: decodes pictures.
        safety: disclaimer, system prompt, rules.
        audit: the audit log.
        metrics: what Prometheus sees.
        healthy: raises where the engine is not.
        since: when the model was loaded, in seconds since 1970.
    """

    models: Models
    engines: Mapping[str, Ask]
    limits: RequestLimits
    keys: Keys
    bodies: Bodies
    attachments: Attachments
    safety: Safety
    audit: Audit
    metrics: Metrics
    healthy: Callable[[], Any]
    since: int

    def app(self, front: Callable[..., Front]) -> ASGIApp:
        """The ASGI application.

        Args:
            front: makes what stands around it, of the application and the rest of its arguments.
        """
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/dicom/preview", self.preview, methods=["POST"]),
            Route("/v1/models", self.list_models),
            Route("/v1/models/{name:path}", self.model),
            Route("/healthz", self.health),
            Route("/readyz", self.health),
            Route("/page/settings.json", self.page_settings),
            Route("/page/{name:path}", self.page),
            Route("/", self.page),
        ]

        @asynccontextmanager
        async def lifespan(_: object) -> AsyncGenerator[None, None]:
            yield
            self.attachments.decoders.close()

        return front(
            Router(routes, lifespan=lifespan),
            keys=self.keys,
            routes=frozenset(route.path for route in routes if "{" not in route.path),
            headers={**HEADERS, "x-disclaimer": self.safety.config.disclaimer},
            under_way=self.metrics.in_flight.set,
            ended=self.ended,
        )

    def ended(self, exchange: Exchange) -> None:
        """Write down a request that ended."""
        self.metrics.ended(exchange)
        if not self.audit.write(exchange):
            self.metrics.audit_missing.inc()

    async def chat(self, request: Request) -> Response:
        """`POST /v1/chat/completions`."""
        started = time.perf_counter()
        exchange: Exchange = request.state.exchange
        async with self.bodies.read(request) as document:
            asked = parsed(ChatRequest, document)
            del document
            self.limits.check(asked)
            said = [*asked.texts()]
            exchange.model = self.models.chosen(asked.model, said[0] if said else "")
            self._note(exchange, said)
            rule = self.safety.refusal(asked.texts("user"))
            usage = bool(asked.stream_options and asked.stream_options.include_usage)
            if rule:
                exchange.code = f"rule:{rule.name}"
                return fixed(rule.answer, exchange, streamed=bool(asked.stream), usage=usage)
            await self._spend(request, asked, len(asked.pictures()))
            pictures = await self.attachments.of(asked)
            exchange.pictures = [self.audit.hash([p.sha256.encode()]) for p in pictures]
            exchange.picture_bytes = sum(picture.given_bytes for picture in pictures)
            body = _body(asked, exchange.model)
            body["messages"] = self._told(with_pictures(asked, pictures))
        return await respond(self._answer("chat", body, request), exchange, started, usage)

    async def completions(self, request: Request) -> Response:
        """`POST /v1/completions`."""
        started = time.perf_counter()
        exchange: Exchange = request.state.exchange
        async with self.bodies.read(request) as document:
            asked = parsed(CompletionRequest, document)
        self.limits.check(asked)
        prompts = [*asked.texts()]
        exchange.model = self.models.chosen(asked.model, prompts[0] if prompts else "")
        self._note(exchange, prompts)
        rule = self.safety.refusal(prompts)
        if rule:
            raise Refusal(400, f"rule:{rule.name}", rule.answer)
        await self._spend(request, asked, 0)
        body = _body(asked, exchange.model)
        usage = bool(asked.stream_options and asked.stream_options.include_usage)
        return await respond(self._answer("completions", body, request), exchange, started, usage)

    def _note(self, exchange: Exchange, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        exchange.texts = self.audit.hash(encoded)
        exchange.text_bytes = sum(map(len, encoded))
        exchange.prompt_version = self.safety.prompt_version

    async def _spend(self, request: Request, asked: Sampling, pictures: int) -> None:
        longest = getattr(asked, "max_completion_tokens", None) or asked.max_tokens
        answer = (longest or self.limits.model_tokens) * (asked.n or 1)
        text = request.state.exchange.text_bytes // TOKEN_BYTES
        prompt = text + pictures * self.limits.picture_tokens
        await self.keys.spend(request.state.caller, prompt + answer)

    def _told(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages under one system message: ours, then the client's."""
        told = [self.safety.config.system_prompt] if self.safety.config.system_prompt else []
        rest = []
        for message in messages:
            if message["role"] not in ("system", "developer"):
                rest.append(message)
            elif isinstance(message["content"], str):
                told.append(message["content"])
            else:
                told += [part["text"] for part in message["content"]]
        return [{"role": "system", "content": "\n\n".join(told)}, *rest] if told else rest

    def _answer(
        self, kind: str, body: Mapping[str, Any], request: Request
    ) -> AsyncGenerator[Any, None]:
        exchange: Exchange = request.state.exchange
        # Its own: a client may use one id twice at a time, an engine must not.
        headers = {"x-request-id": f"{exchange.request_id}-{secrets.token_hex(4)}"}
        headers |= {
            name: request.headers[name] for name in ("traceparent",) if name in request.headers
        }
        # An engine keeps prompts that may come again: how fast an answer comes would tell one key
        # what another has asked.
        salt = sha256("prompts of a key", exchange.caller)
        return self.engines[exchange.model](kind, {**body, "cache_salt": salt}, headers)

    async def preview(self, request: Request) -> Response:
        """`POST /v1/dicom/preview`: a DICOM file as the model would be shown it."""
        async with self.bodies.read(request) as document:
            asked = parsed(DicomRequest, document)
            picture = await self.attachments.preview(asked.dicom, asked)
        window = picture.window
        shown = {
            "image": await asyncio.to_thread(data_url, picture),
            "width": picture.width,
            "height": picture.height,
            "frames": picture.frames,
            "frame": picture.frame,
            "window": window and {"center": window.center, "width": window.width},
            "lowest": picture.lowest,
            "highest": picture.highest,
        }
        return JSONResponse(shown)

    async def list_models(self, _: Request) -> Response:
        """`GET /v1/models`."""
        return JSONResponse(
            {"object": "list", "data": [self._card(name) for name in self.models.names]}
        )

    async def model(self, request: Request) -> Response:
        """`GET /v1/models/NAME`."""
        return JSONResponse(self._card(self.models.chosen_exactly(request.path_params["name"])))

    def _card(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.since, "owned_by": "doctor-sun"}

    async def health(self, _: Request) -> Response:
        """`GET /healthz` and `/readyz`: 200 while the engine works."""
        try:
            await self.healthy()
        except Exception:
            raise Refusal(503, "unhealthy", "the engine does not work", retry_after=2) from None
        return JSONResponse({"status": "ok"})

    async def page_settings(self, _: Request) -> Response:
        """`GET /page/settings.json`: what the chat page asks first."""
        safety, pictures = self.safety.config, self.attachments.decoders.config
        examples = json.loads((PAGE / "examples.json").read_text(encoding="utf-8"))
        return JSONResponse(
            {
                "models": self.models.names,
                "disclaimer": {"en": safety.disclaimer, "zh": safety.disclaimer_zh},
                "max_images": self.limits.pictures,
                "max_image_bytes": pictures.max_bytes,
                "examples": examples,
            }
        )

    async def page(self, request: Request) -> Response:
        """`GET /` and `/page/NAME`: the chat page's files."""
        name = request.path_params.get("name", "index.html")
        file = (PAGE / name).resolve()
        if not file.is_relative_to(PAGE) or not file.is_file() or file.suffix not in PAGE_TYPES:
            raise HTTPException(404)
        return FileResponse(file, media_type=PAGE_TYPES[file.suffix])


def _body(asked: Sampling, model: str) -> dict[str, Any]:
    """The engine's request: what was given, and always the tokens of a stream, for the metrics."""
    body = asked.model_dump(exclude_none=True, by_alias=True, exclude={"messages"})
    body["model"] = model
    if asked.stream:
        body["stream_options"] = {"include_usage": True}
    return body
