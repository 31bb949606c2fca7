"""Nodes are lost while a job works on them: the result is an undisturbed run's, nothing is lost,
nothing that was paid for is asked again.

The jobs run on clusters of several nodes, whose head does no work.
"""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray._private.state import actors
from upath import UPath

from doctor_sun.config import load
from doctor_sun.data import curation
from doctor_sun.data.curation import CurateConfig
from doctor_sun.data.ledger import ledger_table
from doctor_sun.ratios import search
from doctor_sun.ratios.search import SearchConfig
from doctor_sun.training.progress import read_metrics
from tests.asking_jobs import ASKING_JOBS
from tests.chat_server import ChatServer
from tests.clusters import cluster_of, run_apart, when
from tests.small_data import write_small_data
from tests.test_ratios_job import write_search

FILES = 12
DIFFERENT = 200
IN_FLIGHT = 8
NODE = {"num_cpus": 2}
BATCH = 16


def curate(folder: Path, name: str) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Counts, rows and ledger of a curation."""
    order = ["exact_duplicates", "charset", "selection"]
    output = folder / name
    counts = curation.run(CurateConfig(raw=str(folder / "raw"), output=str(output), order=order))
    rows = pq.read_table(output / "data").to_pylist()
    ledger = ledger_table(UPath(output)).to_pylist()
    for step in counts["counts"]["steps"].values():
        step.pop("seconds")
    return counts["counts"], sorted(rows, key=repr), sorted(ledger, key=repr)


def curate_and_lose_nodes(folder: Path) -> None:
    """Two of three nodes go, one after the other."""
    output = folder / "lost"
    with cluster_of(NODE, NODE, NODE) as (cluster, nodes):
        lost: list[bool] = []

        def lose() -> None:
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
            lost.append((output / "manifest.json").exists())

        when(lambda: any((output / "ledger").rglob("*.parquet")), lose)
        when(lambda: any((output / "data").glob("*.parquet")), lose)
        result = curate(folder, "lost")
        same = result == curate(folder, "whole")
    (folder / "seen.json").write_text(json.dumps({"lost": lost, "same": same, "counts": result[0]}))


@pytest.mark.slow
def test_curation_outlives_its_nodes(tmp_path: Path) -> None:
    for number in range(FILES):
        write_small_data(tmp_path / "raw" / f"{number}", count=8 + number)
    run_apart(curate_and_lose_nodes, tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["lost"] == [False, False]
    assert seen["same"]
    assert seen["counts"]["rows_in"] == sum(3 * (8 + number) for number in range(FILES))
    # Most files' rows stand in others too: of some nothing is left.
    assert 0 < len(list((tmp_path / "lost" / "data").glob("*.parquet"))) < FILES
    dropped = sum(step["dropped"] for step in seen["counts"]["steps"].values())
    assert seen["counts"]["rows_in"] == seen["counts"]["rows_out"] + dropped


def nodes_of(actor: str) -> Counter[str]:
    """Where actors run now whose class has this in its name, and how many."""
    alive = actors(actor_state_name="ALIVE").values()
    return Counter(one["Address"]["NodeID"] for one in alive if actor in one["ActorClassName"])


def ask_and_lose_nodes(folder: Path) -> None:
    """Each job that asks an endpoint loses a node that asks it."""
    seen = {}
    with cluster_of(*[NODE] * (1 + len(ASKING_JOBS))) as (cluster, nodes):
        askers: list[int] = []  # that were lost

        def lose() -> None:
            busy = nodes_of("(Asker)")
            there = next(node for node in nodes if node.node_id in busy)
            askers.append(busy[there.node_id])
            cluster.remove_node(there, allow_graceful=False)
            nodes.remove(there)

        for name, job in ASKING_JOBS.items():
            job.write(folder / name, DIFFERENT)
            with ChatServer(says=job.says, latency=0.1) as server:
                options = job.options(server, folder / name, folder / f"{name} lost")
                losing = when(partial(answered, server, DIFFERENT // 3), lose)
                lost = job.result(options)
                asked = len(server.answered)
                seen[name] = {
                    "lost": not losing.is_alive(),
                    "askers": askers[-1],
                    "asked": asked,
                    "repeated": server.answered.total() - asked,
                }
                server.latency = 0.0
                whole = job.result(options | {"output": str(folder / f"{name} whole")})
                seen[name]["same"] = lost == whole
    (folder / "seen.json").write_text(json.dumps(seen))


def answered(server: ChatServer, questions: int) -> bool:
    """Whether so many were answered."""
    return server.answered.total() >= questions


@pytest.mark.slow
def test_asking_outlives_a_node_and_pays_little_twice(tmp_path: Path) -> None:
    run_apart(ask_and_lose_nodes, tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen.keys() == ASKING_JOBS.keys()
    for job in seen.values():
        # What the node had sent and nobody was there to hear.
        assert job.pop("repeated") <= job.pop("askers") * IN_FLIGHT // 2
        assert job == {"lost": True, "same": True, "asked": DIFFERENT}


def search_and_lose_nodes(folder: Path) -> None:
    """Two of three nodes go: that which tunes, then that whose engine is asked."""
    with cluster_of(NODE, NODE, NODE) as (cluster, nodes):
        lost: list[str] = []

        def lose(actor: str) -> None:
            busy = nodes_of(actor)
            there = next(node for node in nodes if node.node_id in busy)
            cluster.remove_node(there, allow_graceful=False)
            nodes.remove(there)
            lost.append(actor)

        tuned = folder / "out" / "trials"
        when(
            lambda: any(len(read_metrics(p.parent)) >= 4 for p in tuned.rglob("metrics.jsonl")),
            lambda: lose("RayTrainWorker"),
        )
        when(lambda: "RayTrainWorker" in lost and bool(nodes_of("Engine")), lambda: lose("Engine"))
        config = load(
            SearchConfig, str(folder / "search.yaml"), output=str(folder / "out"), seeds="1"
        )
        counts = search.run(config)["counts"]
    (folder / "seen.json").write_text(json.dumps({"lost": lost, "counts": counts}))


@pytest.mark.slow
def test_a_search_outlives_the_nodes_that_tune_and_evaluate(tmp_path: Path) -> None:
    write_search(tmp_path, samples=10 * BATCH, global_batch=BATCH, checkpoint_every=2)
    run_apart(search_and_lose_nodes, tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["lost"] == ["RayTrainWorker", "Engine"]
    assert seen["counts"] == {"trials": 1, "stopped early": 0, "alignments": 1}
    (trial,) = (tmp_path / "out" / "trials").iterdir()
    steps = [row["step"] for row in read_metrics(trial / "instruct")]
    read = json.loads((trial / "instruct" / "manifest.json").read_text())["counts"]["by_kind"]
    assert steps == list(range(1, sum(kind["rows"] for kind in read.values()) // BATCH + 1))
    answers = [json.loads(line) for line in read_lines(trial / "evaluate" / "answers")]
    asked = len(read_lines(trial / "evaluate" / "predictions"))
    assert len({answer["key"] for answer in answers}) == len(answers) == asked


def read_lines(folder: Path) -> list[str]:
    """The lines of a folder's files."""
    return [line for path in folder.iterdir() for line in path.read_text().splitlines()]
