"""Limits that a real Redis counts for all replicas, and what happens when it goes."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from doctor_sun.serving.guard.keys import Caller, Keys, Limits
from tests.redis_server import redis_server
from tests.test_guard_keys import request
from tests.test_guard_limits import code_of

PASSWORD = "quokka-4711"


@pytest.fixture
def redis(unused_port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server with a password."""
    with redis_server(unused_port, tmp_path, PASSWORD) as process:
        yield process


def replica(port: int, password: str = PASSWORD) -> Keys:
    """The keys of one of several replicas."""
    return Keys({}, f"redis://:{password}@127.0.0.1:{port}/0")


def test_replicas_count_together(redis: subprocess.Popen[bytes], unused_port: int) -> None:
    caller = Caller(name="radiology", limits=Limits(requests_per_minute=5))
    other = Caller(name="cardiology", limits=Limits(requests_per_minute=5))

    async def run() -> list[str | None]:
        replicas = [replica(unused_port), replica(unused_port)]
        asked = [code_of(request(replicas[n % 2], caller)) for n in range(8)]
        found = list(await asyncio.gather(*asked))
        return [*found, await code_of(request(replicas[0], other))]

    found = asyncio.run(run())
    assert sorted(code or "" for code in found[:8]) == [""] * 5 + ["requests_per_minute"] * 3
    assert found[8] is None


def test_tokens_are_counted_and_the_wait_is_told(
    redis: subprocess.Popen[bytes], unused_port: int
) -> None:
    caller = Caller(name="radiology", limits=Limits(tokens_per_minute=100))

    async def run() -> list[str | None]:
        one, two = replica(unused_port), replica(unused_port)
        await one.spend(caller, 80)
        return [await code_of(two.spend(caller, 30)), await code_of(two.spend(caller, 20))]

    assert asyncio.run(run()) == ["tokens_per_minute", None]


def test_without_redis_nobody_gets_in_and_with_it_again_everybody(
    redis: subprocess.Popen[bytes], unused_port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    caller = Caller(name="radiology", limits=Limits(requests_per_minute=5))

    async def run() -> list[str | None]:
        keys = replica(unused_port)
        found = [await code_of(request(keys, caller))]
        found.append(await code_of(request(replica(unused_port, "wrong"), caller)))
        redis.kill()
        redis.wait()
        found.append(await code_of(request(keys, caller)))
        command = [str(part) for part in redis.args]  # type: ignore[union-attr]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as again:
            await asyncio.sleep(1)
            found.append(await code_of(request(keys, caller)))
            again.kill()
        return found

    assert asyncio.run(run()) == [None, "limits_storage", "limits_storage", None]
    assert PASSWORD not in "".join(capfd.readouterr())
