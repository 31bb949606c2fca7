"""What an engine says -> an HTTP response: whole or streamed, with its errors in our words.

vLLM's error messages quote the request; what is passed on is which limit was met.
"""

import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response, StreamingResponse

from doctor_sun.serving.audit import Exchange
from doctor_sun.serving.guard.refusal import Refusal

DONE = "data: [DONE]\n\n"
TOO_LONG = re.compile(r"maximum (context|model) length|longer than the maximum|max_tokens", re.I)
ENGINE_GONE = (
    *("EngineDeadError", "EngineGenerateError", "RayActorError", "ActorDiedError"),
    *("ActorUnavailableError", "DeploymentUnavailableError", "ReplicaUnavailableError"),
    *("WorkerCrashedError", "NodeDiedError"),
)


async def respond(
    said: AsyncGenerator[Any, None], exchange: Exchange, started: float, usage: bool
) -> Response:
    """The response to a request that an engine answers.

    Args:
        said: what `ray.serve.llm`'s server yields: one response or error, or pieces of a stream,
            one by one or in lists.
        exchange: the record of the request, filled in as the answer comes.
        started: when the request came, of `time.perf_counter`.
        usage: whether the client asked for the tokens of a stream.

    Raises:
        Refusal: the engine took the request not, or is gone.
    """
    pieces = _flat(said)
    try:
        first = await anext(pieces)
    except Exception as error:
        raise _gone(error) from None
    if isinstance(first, str):
        exchange.streamed = True
        body = _stream(first, pieces, exchange, started, usage)
        return StreamingResponse(body, media_type="text/event-stream")
    await pieces.aclose()
    if hasattr(first, "error"):
        raise refusal_of(first.error.code, first.error.message)
    if first.usage:
        _count(exchange, first.usage.model_dump())
    return Response(first.model_dump_json(), media_type="application/json")


def refusal_of(status: int | None, message: str) -> Refusal:
    """Our refusal for an error of the engine's."""
    if TOO_LONG.search(message):
        said = "the prompt with its pictures, and max_tokens, are longer than the model's context"
        return Refusal(400, "context_length_exceeded", said, param="messages")
    if status is not None and 400 <= status < 500:
        said = "the engine does not take these parameters together"
        return Refusal(400, "engine_refused", said)
    return unavailable()


def unavailable() -> Refusal:
    """A new one each time: an exception that is kept keeps the frames of every raise."""
    said = "the model's engine stopped; another takes over"
    return Refusal(503, "engine_unavailable", said, retry_after=2)


def _gone(error: Exception) -> BaseException:
    """A refusal that can be tried again, where the engine or its process went; else the error."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return unavailable() if names.intersection(ENGINE_GONE) else error


async def _flat(said: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    async with aclosing(said):
        async for piece in said:
            for one in piece if isinstance(piece, list) else [piece]:
                yield one


async def _stream(
    first: str,
    rest: AsyncGenerator[Any, None],
    exchange: Exchange,
    started: float,
    usage: bool,
) -> AsyncIterator[str]:
    """Server-sent events; an error in the middle becomes one, and the stream ends as it should."""
    ended = False
    async with aclosing(rest):
        try:
            async for event in _after(first, rest):
                if exchange.first_token is None and '"content":"' in event:
                    exchange.first_token = time.perf_counter() - started
                if event.startswith('data: {"error"'):
                    raise _in_stream(event)
                ended = event == DONE
                if '"choices":[]' in event and not _keep_usage(event, exchange, usage):
                    continue
                yield event
        except Exception as error:
            reason = error if isinstance(error, Refusal) else _gone(error)
            if not isinstance(reason, Refusal):
                reason = Refusal(500, "internal", "an internal error")
            exchange.code = reason.code
            yield f"data: {json.dumps(reason.body())}\n\n"
    if not ended:
        yield DONE


async def _after(first: str, rest: AsyncIterator[Any]) -> AsyncIterator[str]:
    yield first
    async for event in rest:
        yield event


def _in_stream(event: str) -> Refusal:
    error = json.loads(event.removeprefix("data: "))["error"]
    return refusal_of(error.get("code"), error.get("message", ""))


def _keep_usage(event: str, exchange: Exchange, wanted: bool) -> bool:
    """Count the tokens in a stream's last event; whether the client asked for it."""
    told = json.loads(event.removeprefix("data: ")).get("usage")
    if told:
        _count(exchange, told)
    return wanted or not told


def _count(exchange: Exchange, usage: Mapping[str, Any]) -> None:
    exchange.prompt_tokens = usage["prompt_tokens"]
    exchange.completion_tokens = usage.get("completion_tokens") or 0


def fixed(text: str, exchange: Exchange, *, streamed: bool, usage: bool) -> Response:
    """An answer that no engine gave: the text of a refusal rule, in the form of a chat answer."""
    head = {
        "id": f"chatcmpl-{exchange.request_id}",
        "created": int(time.time()),
        "model": exchange.model,
    }
    tokens = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    message = {"role": "assistant", "content": text, "refusal": text}
    if not streamed:
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "content_filter",
            "logprobs": None,
        }
        whole = {**head, "object": "chat.completion", "choices": [choice], "usage": tokens}
        return Response(json.dumps(whole), media_type="application/json")
    head["object"] = "chat.completion.chunk"
    events = [
        {**head, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]},
        *([{**head, "choices": [], "usage": tokens}] if usage else []),
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + DONE
    return Response(body, media_type="text/event-stream")
