"""Pictures are decoded in processes of their own: one may crash, hang or grow, the endpoint stays.

A process has one pipe, and a thread here waits at its end. Nothing is shared between processes, no
lock and no queue: whenever one dies, it takes the picture with it that it was given and no other.
"""

import asyncio
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from doctor_sun.serving.guard.confinement import confine
from doctor_sun.serving.guard.pictures import (
    Picture,
    PictureConfig,
    Window,
    check_bytes,
    decode,
    refusal,
)
from doctor_sun.serving.guard.refusal import Refusal

START_SECONDS = 120.0  # for Python and its imports, on a busy machine
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")  # all that a decoder gets of ours: no keys
PLUGINS = ("Gif", "Jpeg", "Jpeg2K", "Png", "WebP")


class Decoders:
    """`pictures.decode`, in `config.decoders` processes."""

    def __init__(self, config: PictureConfig) -> None:
        """Start the processes and wait for them, a second or two.

        Raises:
            RuntimeError: they do not start.
        """
        self.config = config
        self._asked = 0
        self._idle = deque([_Decoder(config) for _ in range(config.decoders)])
        if not all([decoder.wait() for decoder in self._idle]):
            raise RuntimeError("the processes that decode pictures do not start")
        self._threads = ThreadPoolExecutor(config.decoders, thread_name_prefix="decoder")

    async def decode(
        self, encoded: bytes, *, frame: int = 0, window: Window | None = None
    ) -> Picture:
        """As `pictures.decode`; from one event loop.

        Raises:
            Refusal: as there; or it took too long, or ended its process, or too many wait.
        """
        check_bytes(encoded, self.config)
        if self._asked >= self.config.decoders + self.config.waiting:
            raise refusal("decoder_queue", self.config)
        self._asked += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._decode, encoded, frame, window)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """End the processes, after the picture that each is at; pictures that wait are dropped."""
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._idle:
            decoder.stop()

    def _decode(self, encoded: bytes, frame: int, window: Window | None) -> Picture:
        decoder = self._idle.popleft()  # as many as threads: there is one
        try:
            if decoder.ended():
                decoder = _Decoder(self.config)
            return decoder.decode(encoded, frame, window)
        finally:
            self._idle.append(_Decoder(self.config) if decoder.ended() else decoder)


class _Decoder:
    """One process and our end of its pipe; it ends when the pipe is closed."""

    def __init__(self, config: PictureConfig) -> None:
        self._config = config
        self._ready = False
        self._pipe, theirs = multiprocessing.Pipe()
        paths = os.pathsep.join(filter(None, sys.path))
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**environment, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what a C library says may quote the picture
                stderr=subprocess.DEVNULL,
            )

    def wait(self) -> bool:
        """Until it can decode; False if it never will."""
        if not self._ready:
            with suppress(EOFError, OSError):
                self._pipe.send(self._config)
                self._ready = self._pipe.poll(START_SECONDS) and self._pipe.recv()
        if not self._ready:
            self.stop()
        return self._ready

    def decode(self, encoded: bytes, frame: int, window: Window | None) -> Picture:
        """As `pictures.decode`; a process that fails itself is stopped."""
        if not self.wait():
            raise refusal("decoder_start", self._config)
        try:
            self._pipe.send((encoded, frame, window))
            in_time = self._pipe.poll(self._config.seconds)
            answer = self._pipe.recv() if in_time else refusal("image_seconds", self._config)
        except (EOFError, OSError):
            in_time, answer = False, refusal("image_decoder", self._config)
        if not in_time:
            self.stop()
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def ended(self) -> bool:
        """Whether it decodes no more."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it now."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """A decoder's life: the configuration, then one picture after another."""
    config: PictureConfig = pipe.recv()
    _limit(config)
    pipe.send(True)
    while True:
        try:
            encoded, frame, window = pipe.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, config.seconds + 1)  # should we be left alone
        try:
            answer: Picture | Refusal = decode(encoded, config, frame=frame, window=window)
        except Refusal as refused:
            answer = refused
        signal.setitimer(signal.ITIMER_REAL, 0)
        pipe.send(answer)


def _limit(config: PictureConfig) -> None:
    for name in PLUGINS:
        import_module(f"PIL.{name}ImagePlugin")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the endpoint, which will end us
    logging.disable()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + int(config.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine()


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
