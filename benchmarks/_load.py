"""A load on an OpenAI-compatible endpoint, with the times of every streamed piece.

The client asks as many requests at a time as it is told, each as soon as one before it ends.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Outcome:
    """What became of one request; times are of `time.perf_counter`, in seconds."""

    started: float
    status: int = 0
    """0 where the connection broke."""

    code: str = ""
    """Of the error: the endpoint's own, or the class of what broke the connection."""

    retry_after: str = ""
    pieces: list[float] = field(default_factory=list)
    """When each piece of the answer came."""

    text: str = ""
    tokens: int = 0
    """Of the answer, as the endpoint's usage says."""

    finished: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether the answer came to its end."""
        return self.status == 200 and not self.code

    @property
    def first_token(self) -> float:
        """Seconds until the first piece of the answer."""
        return self.pieces[0] - self.started

    @property
    def token_time(self) -> float:
        """Seconds a token after the first piece."""
        return (self.pieces[-1] - self.pieces[0]) / max(1, self.tokens - 1)


async def ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any]) -> Outcome:
    """Send one streaming chat request and read its answer to the end."""
    outcome = Outcome(time.perf_counter())
    try:
        async with session.post(f"{url}/chat/completions", json=body) as response:
            outcome.status = response.status
            if response.status != 200:
                outcome.retry_after = response.headers.get("Retry-After", "")
                said = await response.text()
                outcome.code = _code(said) or "no JSON"
            else:
                await _read(response, outcome)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        outcome.code = type(error).__name__
    outcome.finished = time.perf_counter()
    return outcome


def _code(said: str) -> str:
    try:
        return str(json.loads(said)["error"].get("code"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


async def _read(response: aiohttp.ClientResponse, outcome: Outcome) -> None:
    ended = False
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            ended = True
            continue
        event = json.loads(line[6:])
        if "error" in event:
            outcome.code = str(event["error"].get("code"))
            continue
        if event.get("usage"):
            outcome.tokens = event["usage"]["completion_tokens"]
        for choice in event["choices"]:
            if choice["delta"].get("content"):
                outcome.pieces.append(time.perf_counter())
                outcome.text += choice["delta"]["content"]
    if not ended and not outcome.code:
        outcome.code = "cut"


async def load(
    url: str, bodies: Iterable[Mapping[str, Any]], in_flight: int, *, key: str = ""
) -> list[Outcome]:
    """Ask all bodies, `in_flight` at a time, each made when its turn comes."""
    queue = iter(bodies)
    outcomes: list[Outcome] = []
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(
        connector=connector, headers=headers, timeout=timeout
    ) as session:

        async def worker() -> None:
            for body in queue:
                outcomes.append(await ask(session, url, body))

        await asyncio.gather(*(worker() for _ in range(in_flight)))
    return outcomes


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Tokens and requests a second, and medians in milliseconds, of requests that all succeeded.

    The medians are of answers with a visible word: a random model's can all be special tokens.
    """
    heard = [outcome for outcome in outcomes if outcome.pieces]
    lasted = max(o.finished for o in outcomes) - min(o.started for o in outcomes)
    return {
        "tokens_a_second": sum(o.tokens for o in outcomes) / lasted,
        "requests_a_second": len(outcomes) / lasted,
        "first_token_ms": 1000 * statistics.median(o.first_token for o in heard),
        "token_ms": 1000 * statistics.median(o.token_time for o in heard),
    }
