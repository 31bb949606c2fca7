"""Limits of a caller: requests, tokens and places at once, within any minute, under any end."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from limits.errors import StorageError

from doctor_sun.serving.guard.keys import (
    Caller,
    Keys,
    Limits,
)
from doctor_sun.serving.guard.refusal import Refusal
from tests.test_guard_keys import request


class Clock:
    """What `time.time` says: the `limits` library and we read no other clock."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


def limited(**limits: int | None) -> tuple[Keys, Caller]:
    caller = Caller(name="radiology", limits=Limits(**limits))
    return Keys({bytes(32): caller}), caller


async def code_of(awaited: Awaitable[object]) -> str | None:
    """The code of the refusal that comes, None when none does."""
    try:
        await awaited
    except Refusal as refusal:
        return refusal.code
    return None


def test_requests_are_counted_within_any_minute(clock: Clock) -> None:
    keys, caller = limited(requests_per_minute=3)

    async def run() -> None:
        for _ in range(3):
            assert await code_of(request(keys, caller)) is None
            clock.now += 10
        with pytest.raises(Refusal) as caught:
            await request(keys, caller)
        assert (caught.value.status, caught.value.code) == (429, "requests_per_minute")
        assert caught.value.retry_after == 30  # the first was 30 s ago
        assert caught.value.message == "this key may use 3 requests per minute"
        clock.now += 29.9
        assert await code_of(request(keys, caller)) == "requests_per_minute"
        clock.now += 0.2
        assert await code_of(request(keys, caller)) is None  # refused ones did not count
        assert await code_of(request(keys, caller)) == "requests_per_minute"

    asyncio.run(run())


def test_tokens_are_counted_within_any_minute(clock: Clock) -> None:
    keys, caller = limited(tokens_per_minute=1000)

    async def run() -> None:
        assert await code_of(keys.spend(caller, 600)) is None
        clock.now += 20
        assert await code_of(keys.spend(caller, 400)) is None
        with pytest.raises(Refusal) as caught:
            await keys.spend(caller, 1)
        assert (caught.value.status, caught.value.code) == (429, "tokens_per_minute")
        assert caught.value.retry_after == 40
        clock.now += 40.1
        assert await code_of(keys.spend(caller, 600)) is None
        assert await code_of(keys.spend(caller, 1)) == "tokens_per_minute"

    asyncio.run(run())


def test_what_no_minute_can_hold_is_a_client_error() -> None:
    keys, caller = limited(tokens_per_minute=1000)
    with pytest.raises(Refusal) as caught:
        asyncio.run(keys.spend(caller, 1001))
    assert (caught.value.status, caught.value.code) == (400, "tokens_per_request")
    assert caught.value.retry_after is None
    assert asyncio.run(code_of(keys.spend(caller, 1000))) is None


def test_callers_do_not_share_their_limits() -> None:
    keys, caller = limited(requests_per_minute=1, tokens_per_minute=10, concurrent=1)
    other = Caller(name="cardiology", limits=caller.limits)

    async def run() -> None:
        async with keys.admitted(caller), keys.admitted(other):
            await keys.spend(caller, 10)
            await keys.spend(other, 10)
        assert await code_of(request(keys, other)) == "requests_per_minute"

    asyncio.run(run())


def test_requests_at_once_never_pass_the_limits() -> None:
    keys, caller = limited(requests_per_minute=50, concurrent=4)
    most = 0

    async def one() -> None:
        nonlocal most
        async with keys.admitted(caller):
            most = max(most, keys._running[caller.name])
            await asyncio.sleep(0.001)

    async def run() -> list[str | None]:
        found: list[str | None] = []
        for _ in range(20):
            found += await asyncio.gather(*(code_of(one()) for _ in range(6)))
        return found

    codes = asyncio.run(run())
    assert most == 4
    assert codes.count(None) == 50
    assert set(codes) == {None, "concurrent_requests", "requests_per_minute"}
    assert keys._running[caller.name] == 0


async def fails() -> None:
    raise RuntimeError


async def is_refused() -> None:
    raise Refusal(400, "other", "other")


async def is_cancelled() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


@pytest.mark.parametrize("ends", [fails, is_refused, is_cancelled])
def test_a_place_is_free_again_however_a_request_ends(ends: Callable[[], Awaitable[None]]) -> None:
    keys, caller = limited(concurrent=1)

    async def one() -> None:
        async with keys.admitted(caller):
            with pytest.raises(Refusal) as caught:
                await request(keys, caller)
            assert (caught.value.code, caught.value.retry_after) == ("concurrent_requests", 1)
            await ends()

    async def run() -> None:
        for _ in range(2):
            [ended] = await asyncio.gather(asyncio.create_task(one()), return_exceptions=True)
            assert isinstance(ended, RuntimeError | Refusal | asyncio.CancelledError)
            assert not isinstance(ended, Refusal) or ended.code == "other"

    asyncio.run(run())


def test_a_place_is_free_again_after_a_refusal() -> None:
    keys, caller = limited(requests_per_minute=1, concurrent=1)

    async def run() -> list[str | None]:
        return [await code_of(request(keys, caller)) for _ in range(3)]

    assert asyncio.run(run()) == [None, "requests_per_minute", "requests_per_minute"]


def test_a_storage_that_fails_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, caller = limited(requests_per_minute=1)

    async def broken(*_: object, **__: object) -> bool:
        raise StorageError(OSError("redis://:secret@host is gone"))

    monkeypatch.setattr(keys._rates, "hit", broken)
    with pytest.raises(Refusal) as caught:
        asyncio.run(request(keys, caller))
    assert (caught.value.status, caught.value.code) == (503, "limits_storage")
    assert "secret" not in str(caught.value)
    assert keys._running[caller.name] == 0
