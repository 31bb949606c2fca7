"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest

from doctor_sun.cluster import connect


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray cluster for the whole session: starting one costs more than most tests."""
    with connect(None):
        yield
