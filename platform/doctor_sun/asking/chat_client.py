"""One actor's client of an OpenAI-compatible endpoint: limits, retries, errors by class.

aiohttp sends: 0.5 ms of processor time a request, where the `openai` client took 6.2 in the same
run and 2.1 over aiohttp. That client's retries bypass a rate limit, let the other requests go on
hammering after a 429, and take a web page with status 200 for an answer. No text and no key leave
this file but in an answer: an error is a class such as "http 500".
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from aiolimiter import AsyncLimiter
from pydantic import SecretStr
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from doctor_sun.errors import InputError

CONFIGURATION = {
    401: "refused the key",
    403: "refused the key",
    404: "knows no such address or model",
    405: "is no chat endpoint",
}


@dataclass(kw_only=True)
class EndpointConfig:
    """An OpenAI-compatible endpoint and how hard it may be used."""

    base_url: str = ""
    """Its address up to and without `/chat/completions`."""

    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself stands in no file."""

    in_flight: int = 64
    """Requests under way at a time, over all actors together."""

    requests_per_minute: float | None = None
    """Most requests in a minute, over all actors together; none sets no limit."""

    tokens_per_minute: float | None = None
    """Most tokens in a minute, prompts by their UTF-8 bytes and answers by `max_tokens`, over all
    actors together; none sets no limit."""

    timeout: float = 120.0
    """Seconds after which a request is given up."""

    attempts: int = 6
    """How often a request is sent at most before its row goes to the ledger."""

    longest_wait: float = 600.0
    """Seconds between two attempts at most; a `Retry-After` beyond it ends the attempts."""

    actors: int = 2
    """Processes that send; each has its equal share of the limits."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said."""

    text: str
    finish: str
    """Why it stopped: `stop`, `length` (cut at max_tokens), `content_filter`."""
    prompt_tokens: int
    completion_tokens: int


class Failed(Exception):
    """A request got no answer; the message is the class of error, never what was said."""

    def __init__(self, kind: str, again: bool, after: float | None = None) -> None:
        super().__init__(kind)
        self.kind, self.again, self.after = kind, again, after


class ChatClient:
    """Sends requests within this actor's share of the endpoint's limits."""

    def __init__(self, endpoint: EndpointConfig, key: SecretStr) -> None:
        """Open the client; belongs to the event loop that is running."""
        self.endpoint = endpoint
        share = endpoint.in_flight // endpoint.actors
        self.slots = asyncio.Semaphore(share)
        """This actor's share of the requests under way, waiting for another attempt included."""
        self.requests = _limiter(endpoint.requests_per_minute, endpoint.actors, burst=1 / 60)
        self.tokens = _limiter(endpoint.tokens_per_minute, endpoint.actors, burst=1 / 4)
        self.paused_until = 0.0
        self.reached = False
        self.url = endpoint.base_url.rstrip("/") + "/chat/completions"
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=share),
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout),
            headers={
                "Authorization": f"Bearer {key.get_secret_value()}",
                "Content-Type": "application/json",
            },
            trust_env=True,  # proxies
        )
        # `wraps` gives every call its own state; a shared AsyncRetrying mixes them up.
        self._ask = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, Failed) and error.again),
            stop=stop_after_attempt(endpoint.attempts),
            wait=self._wait,
            reraise=True,
        ).wraps(self._attempt)

    async def ask(self, body: str, tokens: float) -> Answer:
        """Send a request until it is answered or `attempts` is reached; call it within `slots`.

        Args:
            body: of `/chat/completions`, JSON.
            tokens: what it may need at most, for the limit.

        Raises:
            Failed: no answer.
            InputError: the endpoint cannot work at all (key, address, model).
        """
        try:
            return await self._ask(body, tokens)
        except Failed as failure:
            if failure.kind == "connection" and not self.reached:
                raise InputError(
                    f"no connection to the endpoint in {self.endpoint.attempts} attempts: "
                    "check endpoint.base_url"
                ) from None
            raise

    async def _attempt(self, body: str, tokens: float) -> Answer:
        while (pause := self.paused_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if self.tokens:
            await self.tokens.acquire(min(tokens, self.tokens.max_rate))
        if self.requests:
            await self.requests.acquire()
        return parsed(await self._post(body))

    async def _post(self, body: str) -> bytes:
        """The body of a response with status 200."""
        try:
            # A redirect would take the key to another address.
            async with self.session.post(
                self.url, data=body.encode(), allow_redirects=False
            ) as response:
                self.reached = True
                if response.status != 200:
                    raise self._refusal(response.status, response.headers)
                return await response.read()
        except TimeoutError:
            raise Failed("timeout", again=True) from None
        except (aiohttp.ClientError, OSError):
            raise Failed("connection", again=True) from None

    def _refusal(self, status: int, headers: Mapping[str, str]) -> Exception:
        """What an HTTP error means; a `Retry-After` pauses every request of this actor."""
        if status in CONFIGURATION:
            hint = f" (environment variable {self.endpoint.key_variable})" if status < 404 else ""
            return InputError(f"the endpoint {CONFIGURATION[status]}: HTTP {status}{hint}")
        again = status in (408, 409, 429) or status >= 500
        after = retry_after(headers) if again else None
        if after is not None and after <= self.endpoint.longest_wait:
            self.paused_until = max(self.paused_until, time.monotonic() + after)
        elif after is not None:
            again = False
        return Failed(f"http {status}", again=again, after=after)

    def _wait(self, state: RetryCallState) -> float:
        """Seconds to the next attempt: what the endpoint asked for, else growing and random."""
        failure = state.outcome.exception() if state.outcome else None
        if isinstance(failure, Failed) and failure.after is not None:
            return failure.after
        return wait_random_exponential(0.5, min(60.0, self.endpoint.longest_wait))(state)

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()


def _limiter(per_minute: float | None, actors: int, burst: float) -> AsyncLimiter | None:
    """One actor's share of a rate, of which the part `burst` may go out at once.

    What may go out at once is taken off what flows in a minute: no minute sees more than its limit.
    """
    if per_minute is None:
        return None
    share = per_minute / actors
    bucket = max(1.0, share * burst)
    flow = share - bucket if share >= 2 else share / 2
    return AsyncLimiter(bucket, 60 * bucket / flow)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for (a number, or a date), None when it is missing."""
    said = headers.get("Retry-After")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def parsed(response: bytes) -> Answer:
    """The answer in a response.

    Raises:
        Failed: a web page, or JSON that is no chat completion.
    """
    try:
        completion = json.loads(response)
    except ValueError:
        raise Failed("not JSON", again=True) from None
    try:
        choice, usage = completion["choices"][0], completion.get("usage") or {}
        return Answer(
            text=str(choice["message"].get("content") or ""),
            finish=str(choice.get("finish_reason") or "stop"),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise Failed("no chat completion", again=False) from None
