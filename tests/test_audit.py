"""The audit log where its disk is full."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from doctor_sun.serving.app import Endpoint
from doctor_sun.serving.audit import Audit, AuditConfig, Exchange
from tests.small_disk import small_disk

PAGE = 4096


class Count:
    """A counter of Prometheus, as far as it is used."""

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """One more."""
        self.value += 1


def test_a_full_disk_holds_no_request_up_and_the_log_says_how_many_it_misses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each line is whole, and lines and missing ones are all requests."""
    folder, missing = tmp_path / "audit", Count()
    metrics = SimpleNamespace(ended=lambda exchange: None, audit_missing=missing)
    requests = 40
    with small_disk(folder, 3 * PAGE) as resize, caplog.at_level(logging.ERROR, "ray.serve"):
        audit = Audit(AuditConfig(folder=str(folder)), "replica")
        endpoint = cast(Any, SimpleNamespace(metrics=metrics, audit=audit))

        def ask(numbers: range) -> None:
            for number in numbers:
                Endpoint.ended(endpoint, Exchange(request_id=f"{number}", route="/v1/models"))

        ask(range(requests))
        assert 0 < missing.value < requests
        resize(100 * PAGE)
        ask(range(requests, requests + 2))
        [file] = folder.iterdir()
        lines = [json.loads(line) for line in file.read_text().splitlines()]
    written = [int(line["request_id"]) for line in lines]
    kept = requests - missing.value
    assert written == [*range(kept), requests, requests + 1]
    assert [line["missing"] for line in lines] == [0] * kept + [missing.value, 0]
    [said] = caplog.messages
    assert said.endswith("cannot be written: No space left on device")
