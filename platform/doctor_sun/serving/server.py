"""The server of a replica: `ray.serve.llm`'s own, with the endpoint's HTTP application in front.

The replica that computes is the one that Serve's ingress (HAProxy) talks to. A process in between
would cost each token a hop; see `benchmarks/serving_overhead.py`.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.llm._internal.serve.core.configs.llm_config import LLMConfig
from ray.llm._internal.serve.core.configs.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
)
from ray.llm._internal.serve.core.protocol import RawRequestInfo
from ray.llm._internal.serve.core.server.llm_server import LLMServer
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from doctor_sun.local_folders import local_copy
from doctor_sun.serving.app import Ask, Endpoint
from doctor_sun.serving.audit import Audit
from doctor_sun.serving.guard.attachments import Attachments
from doctor_sun.serving.guard.body import Bodies
from doctor_sun.serving.guard.decoders import Decoders
from doctor_sun.serving.guard.front import Front
from doctor_sun.serving.guard.keys import Keys
from doctor_sun.serving.guard.remote import Remote
from doctor_sun.serving.guard.requests import RequestLimits
from doctor_sun.serving.metrics import Metrics
from doctor_sun.serving.models import Models
from doctor_sun.serving.safety import Safety

if TYPE_CHECKING:
    from doctor_sun.serving.application import ServeConfig

logger = logging.getLogger("ray.serve")

KINDS = {"chat": ChatCompletionRequest, "completions": CompletionRequest}
WATCH_SECONDS = 0.05
LAST_WORDS_SECONDS = 0.2  # for the requests that were in the engine to be told so


class Server(LLMServer):
    """A replica of a model, without `ray.serve.llm`'s telemetry: what a hospital serves is nobody
    else's to count, nor has a replica to wait for the actor that would count it."""

    async def _start_engine(self) -> None:
        assert self.engine is not None
        await self.engine.start()
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """End a replica whose engine died: what was in the engine is told so, and from then on
        the ingress finds nobody here, rather than refusals until the next health check."""
        while not self._engine_died():
            await asyncio.sleep(WATCH_SECONDS)
        logger.error("the engine's process ended; the replica ends, to be started anew")
        await asyncio.sleep(LAST_WORDS_SECONDS)
        os._exit(1)

    def _engine_died(self) -> bool:
        assert self.engine is not None
        return bool(self.engine._engine_client.errored)

    async def _run_request(self, *arguments: Any, **named: Any) -> Any:
        await self._hold()
        return await super()._run_request(*arguments, **named)

    async def _hold(self) -> None:
        """Keep what comes to a dead engine waiting for the replica's end: a replica that refuses
        at once has the fewest requests under way, and would be sent all the others."""
        while self._engine_died():
            await asyncio.sleep(LAST_WORDS_SECONDS)


class IngressServer(Server):
    """The replica of the main model: it speaks HTTP, and passes on what is for a variant.

    Args:
        llm_config: of the engine.
        settings: of the endpoint.
        variants: handles to the replicas of the other models, by name.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        llm_config: LLMConfig,
        settings: "ServeConfig",
        variants: Mapping[str, DeploymentHandle],
    ) -> None:
        await super().__init__(llm_config)
        self.settings, self.variants = settings, variants

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        settings = self.settings
        keys = Keys.load(settings.api_keys)
        client = await asyncio.to_thread(_get_global_client)
        keys.check_address(client.http_config.host or "0.0.0.0")
        engines: dict[str, Ask] = {settings.name: self._ask}
        for name, handle in self.variants.items():
            engines[name] = partial(_ask_other, handle.options(stream=True))
        decoders = await asyncio.to_thread(Decoders, settings.pictures)
        replica = serve.get_replica_context().replica_id.unique_id
        endpoint = Endpoint(
            models=Models(settings.name, list(self.variants), settings.canary),
            engines=engines,
            limits=limits_of(settings),
            keys=keys,
            bodies=Bodies(settings.body),
            attachments=Attachments(decoders, Remote(settings.remote)),
            safety=Safety(settings.safety),
            audit=Audit(settings.audit, replica),
            metrics=Metrics(),
            healthy=self.check_health,
            since=int(time.time()),
        )
        return endpoint.app(
            partial(Front, config=settings.front, max_in_flight=settings.max_ongoing_requests)
        )

    async def _ask(
        self, kind: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[Any, None]:
        """Ask this replica's own engine."""
        await self._hold()
        request = KINDS[kind].model_validate(body)
        ask = getattr(self.engine, kind)
        async for piece in ask(request, RawRequestInfo(headers=dict(headers))):
            yield piece


async def _ask_other(
    handle: DeploymentHandle, kind: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> AsyncGenerator[Any, None]:
    """Ask the replicas of another model."""
    from ray.llm._internal.serve.core.ingress.utils import _sanitize_chat_completion_request

    request = KINDS[kind].model_validate(body)
    if isinstance(request, ChatCompletionRequest):  # its lists are iterators, which do not pickle
        request = _sanitize_chat_completion_request(request)
    said = getattr(handle, kind).remote(request, RawRequestInfo(headers=dict(headers)))
    try:
        async for piece in said:
            yield piece
    finally:
        said.cancel()


def limits_of(settings: "ServeConfig") -> RequestLimits:
    """What a model's folder says of the requests that it can take."""
    folder = Path(local_copy(settings.model)).expanduser()
    described = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    longest = described["text_config"].get("max_position_embeddings", settings.max_model_len)
    vision = described["vision_config"]
    special = [token["content"] for token in tokenizer["added_tokens"] if token["special"]]
    return RequestLimits(
        config=settings.requests,
        model_tokens=min(settings.max_model_len, longest),
        pictures=settings.images_per_prompt,
        picture_tokens=(vision["image_size"] // vision["patch_size"]) ** 2,
        special_tokens=special,
    )
