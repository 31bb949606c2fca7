"""Ray clusters of several nodes on this machine, each in a process of its own, and nodes lost."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Ray's own times are those of large clusters; of the minutes that they add, nothing is tested here.
PROMPT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",  # five failures, and a node counts as lost
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",  # for workers of a node not yet known as lost
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",  # this and the next as on a job's own cluster
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def run_apart(function: Callable[[Path], None], folder: Path, **environment: str) -> None:
    """Call a test module's function in a new process, at the repository's root."""
    code = (
        f"import pathlib, sys; from {function.__module__} import {function.__name__}; "
        f"{function.__name__}(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    subprocess.run(
        command, cwd=ROOT, env=os.environ | PROMPT | environment, check=True, timeout=600
    )


@contextmanager
def cluster_of(*nodes: dict[str, Any], head_cpus: int = 0) -> Iterator[tuple[Any, list[Any]]]:
    """A connected cluster and its nodes but the head.

    Args:
        nodes: arguments of `Cluster.add_node`.
        head_cpus: of the head, which usually runs no work.
    """
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": head_cpus, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(**node) for node in nodes]
    ray.init(address=cluster.address)
    watch_nodes_closely()
    try:
        yield cluster, others
    finally:
        ray.shutdown()
        cluster.shutdown()


def watch_nodes_closely() -> None:
    """Let Ray's coordinator, which tells what a job may take, look each second and not each 20th.

    It has to run before the job would start the usual one, under the same name.
    """
    import ray
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as module
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Coordinator(module._AutoscalingCoordinatorActor):
        TICK_INTERVAL_S = 1

    name = "AutoscalingCoordinator"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ray.remote(num_cpus=0)(Coordinator).options(
        name=name, namespace=name, lifetime="detached", scheduling_strategy=here
    ).remote()


def when(happened: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something, in a thread, as soon as something else is the case."""

    def wait() -> None:
        while not happened():
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
