"""Jobs as a user runs them: from a shell, wrong input, submitted to a running cluster."""

import json
import os
import platform
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import psutil
import pytest

from tests.processes import descendants
from tests.small_data import write_small_data
from tests.tiny_models import build_clip, build_llm

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}

ALIGN = """
stage: align
data: {folder}/data
model: {{llm: {folder}/llm, vision: {folder}/clip}}
learning_rate: {{projector: 1.0e-2}}
mixture: [{{share: 1, domain: medical}}]
samples: 1600
global_batch: 16
micro_batch: 8
max_length: 128
report_every: 1
checkpoint_every: 10
"""


def shell(*command: str, timeout: float = 400) -> CompletedProcess[str]:
    """A command run at the repository's root, as after activating the environment."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jobs")
    build_llm(path / "llm")
    build_clip(path / "clip")
    write_small_data(path / "data")
    (path / "align.yaml").write_text(ALIGN.format(folder=path))
    return path


def test_every_job_is_executable_and_the_standard_library_reachable() -> None:
    assert platform.python_version()  # not shadowed by the folder of that name
    jobs = sorted((ROOT / "jobs").glob("*.py"))
    assert len(jobs) >= 8
    for job in jobs:
        assert os.access(job, os.X_OK), job
        assert job.read_text().startswith("#!/usr/bin/env python\n")
        assert len(job.read_text().splitlines()) <= 80


def test_the_working_directory_that_a_job_ships_is_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    assert sum(file.stat().st_size for file in files if file.is_file()) < 8 << 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("align --config {yaml} --output {out} --learning_rat.projector 1", "learning_rat"),
        ("align --config {yaml} --output {out} --data {out}/nowhere", "nowhere"),
        ("align --config {yaml}x --output {out}", "align.yamlx"),
        ("curate --raw {out}/nowhere --order [selection] --output {out}", "nowhere"),
        ("export --checkpoint {out}/nowhere --output {out}", "nowhere"),
        ("instruct --config {yaml} --output {out}", "stage 'align' is not for this job"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    folder: Path, command: str, said: str, tmp_path: Path
) -> None:
    name, *arguments = command.format(yaml=folder / "align.yaml", out=tmp_path / "out").split()
    done = shell(str(ROOT / "jobs" / f"{name}.py"), *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_a_port_in_use_is_refused_before_any_work(tmp_path: Path, unused_port: int) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", unused_port))
        other.listen()
        given = ["--output", str(tmp_path / "out"), "--port", str(unused_port)]
        done = shell(str(ROOT / "jobs" / "pipeline.py"), *given)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: port {unused_port} is in use: stop what uses it or take another"
    )
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """A cluster started as an operator does, apart from the tests' own; the dashboard's address."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="head") as temporary:
        process = subprocess.Popen(
            [
                *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2"),
                *("--port=6399", "--dashboard-port=8299", "--ray-client-server-port=20099"),
                "--dashboard-agent-listen-port=52399",
                *("--disable-usage-stats", f"--temp-dir={temporary}"),
            ],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        address = "http://127.0.0.1:8299"
        deadline = time.time() + 120
        try:
            while shell(str(BIN / "ray"), "job", "list", "--address", address).returncode:
                assert process.poll() is None, "ray start ended"
                assert time.time() < deadline, "the dashboard did not come up"
                time.sleep(1)
            yield address
        finally:
            for one in [*descendants("", of=psutil.Process(process.pid)), process]:
                one.kill()  # asked to end, `ray start --block` takes half a minute
            process.wait()


def submit(address: str, *command: str, options: Sequence[str] = ()) -> CompletedProcess[str]:
    """`ray job submit` with this working directory."""
    where = ["--address", address, "--working-dir", "."]
    return shell(str(BIN / "ray"), "job", "submit", *where, *options, "--", *command)


@pytest.mark.slow
def test_a_stopped_job_is_gone_on_with_and_streams_its_progress_and_its_exit_code(
    folder: Path, head: str
) -> None:
    output = folder / "submitted"
    align = ("python", "jobs/align.py", "--config", str(folder / "align.yaml"))
    align += ("--output", str(output))
    begun = submit(head, *align, options=("--submission-id", "to-stop", "--no-wait"))
    assert begun.returncode == 0, begun.stderr[-2000:]
    deadline = time.time() + 300
    while not list((output / "train").glob("checkpoint*")):
        assert time.time() < deadline
        time.sleep(0.2)
    stopped = shell(str(BIN / "ray"), "job", "stop", "to-stop", "--address", head)
    assert stopped.returncode == 0, stopped.stderr[-2000:]
    assert not (output / "manifest.json").exists()

    done = submit(head, *align)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"resuming in {output}" in done.stdout
    assert re.search(r"\[align\] step 100/100  loss \d", done.stdout)
    assert (output / "manifest.json").is_file()
    steps = [json.loads(line)["step"] for line in (output / "metrics.jsonl").open()]
    assert set(steps) == set(range(1, 101))
    assert steps.count(1) == 1  # from a checkpoint, not from nothing

    again = submit(head, *align)
    assert again.returncode == 0
    assert "reused" in again.stdout

    wrong = submit(head, *align, "--data", str(folder / "nowhere"))
    assert wrong.returncode != 0
    assert "nowhere" in wrong.stdout + wrong.stderr
