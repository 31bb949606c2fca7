"""The head's store of the cluster's state is killed and started again while an endpoint serves.

With Redis behind it (Ray's fault tolerance of the GCS) no request fails. A node that is lost
afterwards takes only its own model with it, which comes back on the next node with its labels.
"""

import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.clusters import cluster_of, run_apart
from tests.live_endpoint import KEY, live_endpoint
from tests.processes import descendants
from tests.redis_server import redis_server
from tests.test_endpoint_failures import outcome

DOWN_SECONDS = 5
RECOVERY_SECONDS = 240


def serve_and_lose_the_head(folder: Path) -> None:
    """Ask all the while; what became of the requests goes into a file."""
    from doctor_sun.cluster import serve_environment

    port = int(os.environ["ENDPOINT_PORT"])
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # paths of sockets must stay short
        os.environ |= serve_environment(short)  # before Ray's processes start
        nodes = ({"num_cpus": 2, "labels": {"pool": name}} for name in ("first", "second"))
        placed = {
            "node_labels": {"pool": "first"},
            "variants": {"doctor-sun-b": {"node_labels": {"pool": "second"}}},
        }
        with (
            cluster_of(*nodes) as (cluster, (_, second)),
            live_endpoint(folder, port, **placed) as live,
        ):
            seen = asyncio.run(_ask_and_lose(cluster, second, live.url))
    (folder / "seen.json").write_text(json.dumps(seen))


async def _ask_and_lose(cluster: Any, second: Any, url: str) -> dict[str, dict[str, int]]:
    """What became of the first model's requests, by what happened meanwhile."""
    head = cluster.head_node
    phases = {name: Counter[str]() for name in ("before", "down", "after", "node lost")}
    phase, stop = "before", asyncio.Event()
    async with AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:

        async def keep_asking() -> None:
            while not stop.is_set():
                now = phase
                phases[now][await outcome(client, "doctor-sun")] += 1
                await asyncio.sleep(0.05)

        asking = [asyncio.create_task(keep_asking()) for _ in range(2)]
        await asyncio.sleep(3)
        phase = "down"
        await asyncio.to_thread(head.kill_gcs_server)
        assert not descendants("gcs_server")
        await asyncio.sleep(DOWN_SECONDS)
        await asyncio.to_thread(head.start_gcs_server)
        phase = "after"
        await asyncio.sleep(5)
        phase = "node lost"
        assert await outcome(client, "doctor-sun-b") == "answered"
        lost = time.monotonic()
        await asyncio.to_thread(cluster.remove_node, second, allow_graceful=False)
        while await outcome(client, "doctor-sun-b") == "answered":
            assert time.monotonic() - lost < RECOVERY_SECONDS
            await asyncio.sleep(0.1)  # its processes outlive the node's raylet by a moment
        cluster.add_node(num_cpus=2, labels={"pool": "second"})
        while await outcome(client, "doctor-sun-b") != "answered":
            assert time.monotonic() - lost < RECOVERY_SECONDS
            await asyncio.sleep(1)
        stop.set()
        await asyncio.gather(*asking)
    return {name: dict(ends) for name, ends in phases.items()}


@pytest.mark.slow
def test_an_endpoint_outlives_the_restart_of_the_heads_store(
    tmp_path: Path, unused_port: int
) -> None:
    with redis_server(unused_port, tmp_path):
        run_apart(
            serve_and_lose_the_head,
            tmp_path,
            RAY_REDIS_ADDRESS=f"127.0.0.1:{unused_port}",
            ENDPOINT_PORT=str(unused_port + 1),
        )
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert all(set(ends) == {"answered"} for ends in seen.values()), seen
    assert all(ends["answered"] > 3 for ends in seen.values()), seen
