"""Starting what serving is compared with: our endpoint, and vLLM's own server alone.

    python benchmarks/_endpoints.py MODEL PORT     # ours, until its input ends

The same engine settings for both; each runs in processes of its own, so that one's Ray or its
environment is not the other's.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from doctor_sun.vllm_engine import EngineConfig, engine_arguments, engine_environment
from tests.processes import descendants

ENGINE = EngineConfig(
    dtype="float32",
    max_model_len=512,
    max_num_seqs=32,
    images_per_prompt=2,
    picture_cache_gib=0.02,  # full within minutes
)
SECONDS_TO_START = 300
PARTS = {"haproxy": "haproxy", "ServeReplica": "replica", "EngineCore": "engine"}
PARTS |= {"decoders": "decoders", "ServeController": "controller", "ProxyActor": "proxy"}
"""What a process is, by a part of its command line."""
ALONE = {"api_server": "replica", "_vllm_one_process": "replica", "VLLM::Worker": "engine"}
"""The same for vLLM's own server: what speaks HTTP is its replica."""
PLAIN = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0"}
"""Serve's own proxy in front of the replicas, in place of HAProxy."""


def _wait(url: str, process: subprocess.Popen[str], log: Path) -> None:
    end = time.time() + SECONDS_TO_START
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None or time.time() > end:
                raise RuntimeError(f"it did not start: {log}") from None
            time.sleep(0.5)


def cpu_seconds() -> Counter[str]:
    """CPU time so far of the processes under this one, by what they are."""
    found: Counter[str] = Counter()
    for process in descendants(""):
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        known = (what for part, what in (PARTS | ALONE).items() if part in command)
        found[next(known, "others")] += times.user + times.system
    return found


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], url: str, log: Path, *, signalled: bool
) -> Iterator[None]:
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        _wait(url, process, log)
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        if signalled:
            process.terminate()
        process.wait(120)


@contextmanager
def vllm_alone(model: Path, port: int, log: Path, *, one_process: bool = False) -> Iterator[str]:
    """`vllm serve` with our settings, its engine in a worker process or in one with the rest of it;
    yields the base URL of its API."""
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    if one_process:
        command = [sys.executable, str(Path(__file__).parent / "_vllm_one_process.py")]
    command += ["--model", str(model), "--port", str(port), "--served-model-name", "doctor-sun"]
    command += ["--disable-uvicorn-access-log", "--enforce-eager", "--disable-log-stats"]
    for name, value in engine_arguments(ENGINE, model).items():
        if not isinstance(value, bool):
            given = json.dumps(value) if isinstance(value, dict) else str(value)
            command += [f"--{name.replace('_', '-')}", given]
    url = f"http://127.0.0.1:{port}"
    with _running(command, engine_environment(ENGINE), f"{url}/health", log, signalled=True):
        yield f"{url}/v1"


@contextmanager
def ours(
    model: Path, port: int, log: Path, *, haproxy: bool = True, **settings: Any
) -> Iterator[str]:
    """Our endpoint on a Ray cluster of its own; yields the base URL of its API."""
    command = [sys.executable, __file__, str(model), str(port), json.dumps(settings)]
    url = f"http://127.0.0.1:{port}"
    environment = {} if haproxy else PLAIN
    with _running(command, environment, f"{url}/healthz", log, signalled=False):
        yield f"{url}/v1"


def main() -> None:
    """Serve until the input ends."""
    from dataclasses import asdict

    from doctor_sun.cluster import connect
    from doctor_sun.serving import endpoint
    from doctor_sun.serving.application import serve_config

    model, port, settings = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    with connect(None):
        endpoint.start(serve_config({**asdict(ENGINE), "model": model, **settings}), port=port)
        sys.stdin.read()
        endpoint.stop()


if __name__ == "__main__":
    main()
