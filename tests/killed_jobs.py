"""Jobs that ask an endpoint, killed in the middle: `kill -9` of the job and its Ray cluster, or of
one worker that asks."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chat_server import ChatServer
from tests.clusters import when
from tests.processes import descendants

ROOT = Path(__file__).parents[1]


def command_of(job: str, options: Mapping[str, Any]) -> list[str]:
    """A job as its user starts it, from the repository's root."""
    given = (f"--{key}={value}" for key, value in options.items())
    return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *given]


def kill_after(answers: int, command: Sequence[str], server: ChatServer, log: Path) -> set[str]:
    """Start a job and kill it after so many answers; the questions that were answered by then.

    The server then keeps silent until nobody waits for it: workers outlive their job by a moment.
    """
    server.silent_after = answers
    with log.open("wb") as said:
        job = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
    while server.answered.total() < answers:
        assert job.poll() is None, log.read_text()[-2000:]
        time.sleep(0.02)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    deadline = time.monotonic() + 120
    while server.in_flight:
        assert time.monotonic() < deadline, "workers outlive their job by minutes"
        time.sleep(0.1)
    server.silent_after = None
    return set(server.answered)


def kill_an_asker_after(answers: int, server: ChatServer) -> threading.Thread:
    """Kill one of the workers that ask, of this process's cluster, once so much is answered.

    The server then answers at once.
    """

    def kill() -> None:
        descendants("(Asker)")[0].kill()
        server.latency = 0.0

    return when(lambda: server.answered.total() >= answers, kill)
