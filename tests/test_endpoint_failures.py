"""What clients notice when an engine's process is killed: an error that may be tried again, or
nothing at all."""

import asyncio
import time
from collections import Counter

import psutil
import pytest
from openai import APIConnectionError, APIStatusError, AsyncOpenAI

from tests.live_endpoint import KEY, Live
from tests.processes import descendants

pytestmark = pytest.mark.slow

RECOVERY_SECONDS = 240
TRIED_AGAIN = {408, 409, 429, 500, 502, 503, 504}  # by OpenAI's clients, by themselves


async def outcome(client: AsyncOpenAI, model: str) -> str:
    """How one streamed request ended: `answered`, a status, or that the connection broke."""
    try:
        stream = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "left or right?"}],
            max_tokens=16,
            temperature=0,
            stream=True,
        )
        reasons = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
    except APIStatusError as error:
        return str(error.status_code)
    except (APIConnectionError, OSError):
        return "connection"
    except Exception as error:  # an error in the middle of a stream is the client's bare APIError
        return type(error).__name__
    return "answered" if any(reasons) else "cut"


def engine_of(replica: str) -> psutil.Process:
    """The engine's process under the replica of a deployment."""
    [found] = [
        engine
        for process in descendants(replica)
        for engine in descendants("EngineCore", of=process)
    ]
    return found


async def killed(live: Live) -> tuple[Counter[str], Counter[str], float]:
    """Kill the engine of one model while both are asked: outcomes of each, seconds to recover."""
    ends: dict[str, Counter[str]] = {"doctor-sun": Counter(), "doctor-sun-b": Counter()}
    async with AsyncOpenAI(base_url=live.url, api_key=KEY, max_retries=0, timeout=120) as client:
        assert await outcome(client, "doctor-sun-b") == "answered"
        stop = asyncio.Event()

        async def keep_asking(model: str) -> None:
            while not stop.is_set():
                ends[model][await outcome(client, model)] += 1
                await asyncio.sleep(0.05)

        asking = [asyncio.create_task(keep_asking(model)) for model in ends for _ in range(2)]
        await asyncio.sleep(2)
        victim = engine_of("ServeReplica:doctor-sun:Server:doctor-sun-b")
        victim.kill()
        died = time.monotonic()
        await asyncio.sleep(5)
        while await outcome(client, "doctor-sun-b") != "answered":
            assert time.monotonic() - died < RECOVERY_SECONDS
            await asyncio.sleep(1)
        took = time.monotonic() - died
        stop.set()
        await asyncio.gather(*asking)
    return ends["doctor-sun"], ends["doctor-sun-b"], took


def test_a_killed_engine_comes_back_and_the_other_model_notices_nothing(live: Live) -> None:
    other, own, took = asyncio.run(killed(live))
    assert set(other) == {"answered"}, other
    assert own["answered"] > 0
    assert sum(own.values()) > own["answered"]  # it did die
    broken = {"connection", "APIError"}
    for end in set(own) - {"answered"} - broken:
        assert end.isdecimal(), end  # no stream ended as if it were whole
        assert int(end) in TRIED_AGAIN, end
    assert took < RECOVERY_SECONDS
