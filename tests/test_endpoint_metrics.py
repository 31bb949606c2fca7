"""What the dashboard draws is what the endpoint offers."""

import json
import re
import time
from pathlib import Path

import pytest
from openai import BadRequestError
from prometheus_client.parser import text_string_to_metric_families

from tests.live_endpoint import Live

DASHBOARD = Path(__file__).parent.parent / "deploy/grafana/serving.json"


def drawn() -> dict[str, set[str]]:
    """The labels that the dashboard sums by, by metric."""
    found: dict[str, set[str]] = {}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            [metric] = re.findall(r"\bray_\w+", target["expr"])
            for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) or [""]:
                found.setdefault(metric, set()).update(re.findall(r"\w+", labels))
    return found


def offered(live: Live) -> dict[str, set[str]]:
    """The labels of each metric of this node."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(live.metrics()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.slow
def test_every_metric_and_label_of_the_dashboard_is_offered(live: Live) -> None:
    create = live.client().chat.completions.create
    question = {"role": "user", "content": "Is there a nodule?"}
    with pytest.raises(BadRequestError):
        create(model="doctor-sun", messages=[question], max_tokens=0)
    assert len(drawn()) >= 9
    deadline = time.monotonic() + 60  # Ray offers its metrics every few seconds
    while True:  # Ray forgets a gauge that was not set since it last looked
        assert [*create(model="doctor-sun", messages=[question], max_tokens=8, stream=True)]
        there = offered(live)
        absent = drawn().keys() - there.keys()
        unlabelled = {
            name: labels - there[name]
            for name, labels in drawn().items()
            if name in there and not labels <= there[name]
        }
        if not absent and not unlabelled:
            break
        assert time.monotonic() < deadline, (absent, unlabelled)
        time.sleep(0.2)
