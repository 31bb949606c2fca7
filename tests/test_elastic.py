"""A node is lost while a stage trains: it goes on with fewer workers, and leaves out no step."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import run
from tests.small_data import write_small_data
from tests.test_training_stage import instruct
from tests.tiny_models import build_clip, build_llm

ROOT = Path(__file__).parent.parent
STEPS = 12
# Ray's own times are those of large clusters; of the minutes that they add, nothing is tested here.
PROMPT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",  # five failures, and a node counts as lost
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "5",  # for workers of a node not yet known as lost
    "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",  # this and the next as on a job's own cluster
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


def watch_nodes_closely() -> None:
    """Let Ray's coordinator, which tells what a stage may take, look each second and not each 20th.

    It has to run before the stage would start the usual one, under the same name.
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


def train_and_lose_a_node(folder: Path) -> None:
    """Train on two nodes that say they have a GPU, and lose one; a third reads the rows."""
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(num_cpus=1, num_gpus=1) for _ in range(2)]
    ray.init(address=cluster.address)
    watch_nodes_closely()

    def lose() -> None:
        metrics = folder / "lost" / "metrics.jsonl"
        while not metrics.exists() or len(metrics.read_text().splitlines()) < 4:
            time.sleep(0.05)
        cluster.remove_node(others[0], allow_graceful=False)

    threading.Thread(target=lose, daemon=True).start()
    short = {"samples": 16 * STEPS, "checkpoint_every": 3}
    run(instruct(folder, "lost", gpus_per_worker=1, workers_min=1, **short))
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_lost_node_leaves_fewer_workers_and_every_step(tmp_path: Path) -> None:
    build_llm(tmp_path / "llm")
    build_clip(tmp_path / "clip")
    write_small_data(tmp_path / "data")
    code = (
        "import pathlib, sys; from tests.test_elastic import train_and_lose_a_node; "
        "train_and_lose_a_node(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=os.environ | PROMPT, check=True, timeout=400)
    metrics = read_metrics(tmp_path / "lost")
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    assert {row["workers"] for row in metrics} == {1, 2}
    assert [row["workers"] for row in metrics] == sorted(
        (row["workers"] for row in metrics), reverse=True
    )
    assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
