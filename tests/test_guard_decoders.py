"""Whatever happens to a process that decodes, the endpoint's own goes on."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from doctor_sun.serving.guard.decoders import Decoders
from doctor_sun.serving.guard.pictures import Picture, PictureConfig, Window, decode
from doctor_sun.serving.guard.refusal import Refusal
from tests.hostile_files import GREY, HOSTILE, MARKER, jpeg_of_scans, saved
from tests.test_sources_dicom import dicom

# An eighth of a gibibyte: a bomb that went off would be refused with another code.
TIGHT = PictureConfig(memory_gib=0.125, seconds=30)
SMALL = saved("PNG")
BIG = saved("PNG", Image.new("L", (6_000, 6_000)))


@contextmanager
def running(config: PictureConfig) -> Iterator[Decoders]:
    decoders = Decoders(config)
    try:
        yield decoders
    finally:
        decoders.close()


@pytest.fixture(scope="module")
def tight() -> Iterator[Decoders]:
    with running(TIGHT) as decoders:
        yield decoders


def pid_of(decoders: Decoders) -> int:
    """Of the one process while it is idle."""
    return decoders._idle[0]._process.pid


def code_of(task: Coroutine[Any, Any, Picture]) -> str:
    with pytest.raises(Refusal) as caught:
        asyncio.run(task)
    assert MARKER.decode() not in str(caught.value.body())
    return caught.value.code


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_before_they_cost_anything(tight: Decoders, name: str) -> None:
    make, code = HOSTILE[name]
    encoded = make()
    assert MARKER in encoded
    before = pid_of(tight)
    assert code_of(tight.decode(encoded)) == code
    assert pid_of(tight) == before


def test_a_picture_is_the_same_as_in_this_process(tight: Decoders) -> None:
    assert asyncio.run(tight.decode(SMALL)) == decode(SMALL, TIGHT)
    window, encoded = Window(30, 21), dicom(GREY, NumberOfFrames=1)
    asked = asyncio.run(tight.decode(encoded, window=window))
    assert asked == decode(encoded, TIGHT, window=window)
    assert code_of(tight.decode(encoded, frame=1)) == "image_frame"


def test_memory_is_limited(tight: Decoders) -> None:
    assert code_of(tight.decode(BIG)) == "image_memory"
    assert asyncio.run(tight.decode(SMALL)).width == 8


def test_too_many_bytes_go_to_no_process(tight: Decoders) -> None:
    assert code_of(tight.decode(bytes(TIGHT.max_bytes + 1))) == "image_bytes"


async def while_stopped(decoders: Decoders, then: Callable[[int], None]) -> Picture:
    """Decode a picture while the process stands still, and do `then` to it a moment later."""
    process = pid_of(decoders)
    os.kill(process, signal.SIGSTOP)
    task = asyncio.create_task(decoders.decode(SMALL))
    while decoders._idle:
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    then(process)
    return await task


@pytest.mark.slow
def test_a_process_that_crashes_takes_its_own_picture_only() -> None:
    def crash(ending: signal.Signals, process: int) -> None:
        os.kill(process, ending)
        os.kill(process, signal.SIGCONT)

    with running(PictureConfig()) as decoders:
        for ending in (signal.SIGKILL, signal.SIGSEGV):
            before = pid_of(decoders)
            assert code_of(while_stopped(decoders, partial(crash, ending))) == "image_decoder"
            assert asyncio.run(decoders.decode(SMALL)).width == 8
            assert pid_of(decoders) != before


@pytest.mark.slow
def test_a_process_that_hangs_is_replaced() -> None:
    with running(PictureConfig(seconds=0.5)) as decoders:
        assert code_of(while_stopped(decoders, lambda process: None)) == "image_seconds"
        assert asyncio.run(decoders.decode(SMALL)).width == 8


@pytest.mark.slow
def test_an_idle_process_that_ends_costs_nothing() -> None:
    with running(PictureConfig()) as decoders:
        process = decoders._idle[0]._process
        process.kill()
        process.wait()
        assert asyncio.run(decoders.decode(SMALL)).width == 8


@pytest.mark.slow
def test_a_picture_that_takes_long_is_given_up() -> None:
    with running(PictureConfig(seconds=0.5)) as decoders:
        start = time.monotonic()
        assert code_of(decoders.decode(jpeg_of_scans() + MARKER)) == "image_seconds"
        assert time.monotonic() - start < 30
        assert asyncio.run(decoders.decode(SMALL)).width == 8


def test_no_more_than_the_limit_wait() -> None:
    async def crowd(decoders: Decoders) -> list[Picture | BaseException]:
        os.kill(pid_of(decoders), signal.SIGSTOP)
        tasks = [asyncio.create_task(decoders.decode(SMALL)) for _ in range(4)]
        done, _ = await asyncio.wait(tasks[2:])
        assert len(done) == 2
        os.kill(decoders_pid, signal.SIGCONT)
        return await asyncio.gather(*tasks, return_exceptions=True)

    with running(PictureConfig(waiting=1)) as decoders:
        decoders_pid = pid_of(decoders)
        taken, refused = (answers := asyncio.run(crowd(decoders)))[:2], answers[2:]
        assert all(isinstance(answer, Picture) for answer in taken)
        for answer in refused:
            assert isinstance(answer, Refusal)
            assert (answer.status, answer.code) == (503, "decoder_queue")
            assert answer.retry_after
        assert asyncio.run(decoders.decode(SMALL)).width == 8


def test_a_caller_who_goes_leaves_no_place_taken() -> None:
    async def leave(decoders: Decoders) -> Picture:
        for _ in range(5):
            task = asyncio.create_task(decoders.decode(SMALL))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        return await decoders.decode(SMALL)

    with running(PictureConfig(waiting=0)) as decoders:
        assert asyncio.run(leave(decoders)).width == 8


@pytest.mark.slow
def test_a_process_has_no_keys_and_ends_with_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCTOR_SUN_API_KEYS", MARKER.decode())
    with running(replace(TIGHT, decoders=2)) as decoders:
        processes = [Path(f"/proc/{each._process.pid}") for each in decoders._idle]
        assert len(processes) == 2
        for process in processes:
            assert MARKER not in (process / "environ").read_bytes()
            assert "Max core file size        0" in (process / "limits").read_text()
    assert not any(process.exists() for process in processes)


def test_a_process_ends_when_nobody_holds_its_pipe() -> None:
    decoders = Decoders(PictureConfig())
    (decoder,) = decoders._idle
    decoder._pipe.close()
    assert decoder._process.wait(timeout=30) == 0
    decoders.close()


def test_decoders_that_do_not_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="do not start"):
        Decoders(PictureConfig())
