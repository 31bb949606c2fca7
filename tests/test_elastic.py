"""A node is lost while a stage trains: it goes on with fewer workers, and leaves out no step.

And workers take the nodes only that have the labels which a stage wants.
"""

from pathlib import Path

import pytest
from ray._private.state import actors

from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import run
from tests.clusters import cluster_of, run_apart, when
from tests.small_data import write_small_data
from tests.test_training_stage import instruct
from tests.tiny_models import build_clip, build_llm

STEPS = 12
LABELS = {"pool": "training"}


def train_and_lose_a_node(folder: Path) -> None:
    """Train on two nodes that say they have a GPU, and lose one; a third reads the rows."""
    metrics = folder / "lost" / "metrics.jsonl"
    node = {"num_cpus": 1, "num_gpus": 1, "labels": LABELS}
    with cluster_of(node, node, head_cpus=3) as (cluster, nodes):
        when(
            lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 4,
            lambda: cluster.remove_node(nodes[0], allow_graceful=False),
        )
        short = {"samples": 16 * STEPS, "checkpoint_every": 3}
        run(instruct(folder, "lost", gpus_per_worker=1, workers_min=1, **short))
        seen: list[str] = []

        def look() -> bool:
            seen.extend(training_nodes())
            return bool(seen)

        when(look, lambda: None)
        run(instruct(folder, "labelled", workers=1, node_labels=LABELS, samples=32))
        assert seen == [nodes[1].node_id]


def training_nodes() -> list[str]:
    """Where the training workers are that run now."""
    alive = actors(actor_state_name="ALIVE").values()
    return [one["Address"]["NodeID"] for one in alive if "RayTrainWorker" in one["ActorClassName"]]


@pytest.mark.slow
def test_a_lost_node_leaves_every_step_and_labels_say_where_workers_run(tmp_path: Path) -> None:
    build_llm(tmp_path / "llm")
    build_clip(tmp_path / "clip")
    write_small_data(tmp_path / "data")
    run_apart(train_and_lose_a_node, tmp_path)
    metrics = read_metrics(tmp_path / "lost")
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    assert {row["workers"] for row in metrics} == {1, 2}
    assert [row["workers"] for row in metrics] == sorted(
        (row["workers"] for row in metrics), reverse=True
    )
    assert metrics[-1]["loss"] < 0.8 * metrics[0]["loss"]
