"""Fixtures that several test files share."""

import os
import socket
from collections.abc import Iterator

import hypothesis
import pytest

from doctor_sun.cluster import connect

# CI tries the same examples every time; new ones are found, and kept, where there is time to look.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the whole session: starting one costs more than most tests."""
    with connect(None):
        yield


@pytest.fixture
def unused_port() -> int:
    """A TCP port with some free neighbours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 65000)
