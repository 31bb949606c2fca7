"""Fixtures that several test files share."""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from doctor_sun.cluster import connect

if TYPE_CHECKING:
    from tests.live_endpoint import Live
    from tests.picture_site import Trust

# CI tries the same examples every time; new ones are found, and kept, where there is time to look.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the whole session: starting one costs more than most tests."""
    # Serve writes all its spans to files, so that they can be looked through.
    exporter = "ray.serve._private.tracing_utils:default_tracing_exporter"
    os.environ["RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"] = exporter
    os.environ["RAY_SERVE_TRACING_SAMPLING_RATIO"] = "1"
    with connect(None):
        yield


@pytest.fixture
def unused_port() -> int:
    """A TCP port with some free neighbours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 65000)


@pytest.fixture(scope="module")
def adopted_orphans() -> None:
    """What a check leaves running, at any depth, becomes a child of this process."""
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def _children() -> set[str]:
    """The processes under this one, dead ones that nobody waited for too."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(f"{process.name} {(process / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    return found


def _opened() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """What this process has open, number and target: files, pipes and the like, and sockets."""
    found = set()
    for descriptor in list(Path("/proc/self/fd").iterdir()):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.add((descriptor.name, str(descriptor.readlink())))
    sockets = {one for one in found if one[1].startswith("socket:")}
    return found - sockets, sockets


@pytest.fixture
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """No process, open file or file stays behind; of sockets, which Ray has in this process too and
    closes when it likes, no more than there were."""
    children, (files, sockets) = _children(), _opened()
    yield
    left, more = _opened()
    assert _children() == children
    assert not left - files
    assert len(more) <= len(sockets)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> "Trust":
    """The certificates of a site of pictures."""
    from tests.picture_site import make_trust

    return make_trust(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def live(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Live"]:
    """One endpoint for all tests that ask one: starting it costs more than asking."""
    from tests.live_endpoint import live_endpoint

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with live_endpoint(tmp_path_factory.mktemp("live"), port) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that ask the endpoint come last: it holds half of the cluster's CPUs from then on."""
    items.sort(key=lambda item: "live" in getattr(item, "fixturenames", ()))
