"""Jobs on machines that have too little: a full disk, an object store that spills, a slow node."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray._private.internal_api import memory_summary

from doctor_sun.errors import one_line_errors
from doctor_sun.records import make_sample, to_table
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import run
from doctor_sun.training.validation import ValidationConfig
from tests.asking_jobs import ASKING_JOBS
from tests.chat_server import ChatServer
from tests.clusters import run_apart, when
from tests.processes import descendants
from tests.small_data import picture, write_small_data
from tests.small_disk import small_disk
from tests.test_lost_nodes import curate
from tests.test_training_stage import instruct
from tests.tiny_models import build_clip, build_llm

STORE_MIB = 80
ROWS, STALLED_SECONDS = 96, 5


@pytest.mark.slow
def test_a_full_disk_ends_curation_in_one_line_and_a_larger_one_goes_on(
    ray_cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        write_small_data(tmp_path / "raw" / f"{number}", count=24 + number)
    whole = curate(tmp_path, "whole")
    size = sum(file.stat().st_size for file in (tmp_path / "whole").rglob("*") if file.is_file())
    disk = tmp_path / "full"
    with small_disk(disk, size // 2) as resize:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended, one_line_errors():
            curate(tmp_path, "full")
        assert ended.value.code == 2
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1
        assert "no space is left on the device" in said[0]
        assert not (disk / "manifest.json").exists()
        resize(10 * size)
        assert curate(tmp_path, "full") == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKING_JOBS)
def test_a_full_disk_loses_no_answer_that_was_paid_for(
    ray_cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    job, different, in_flight = ASKING_JOBS[name], 200, 8
    job.write(tmp_path / "data", different)
    disk = tmp_path / "full"
    padding = 20_000

    def says(request: Mapping[str, Any]) -> str:
        return job.says(request) + padding * " "

    with ChatServer(says=says) as server, small_disk(disk, different * padding // 2) as resize:
        options = job.options(server, tmp_path / "data", disk / "out")
        capfd.readouterr()
        with pytest.raises(SystemExit), one_line_errors():
            job.result(options)
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1
        assert "no space is left on the device" in said[0]
        assert different // 4 < server.answered.total() < different
        resize(different * padding * 10)
        result = job.result(options)
        assert len(server.answered) == different
        # What was answered when there was no room for it.
        assert server.answered.total() - different <= in_flight
        assert result == job.result(options | {"output": str(tmp_path / "whole")})


def write_large_pictures(folder: Path) -> None:
    """More than the small object store holds."""
    folder.mkdir()
    samples = []
    for number in range(ROWS):
        side = "right" if number % 2 else "left"
        noise = np.random.default_rng(number).bytes(3 << 18)  # behind the picture's end: not seen
        turns = [
            {"role": "user", "text": "<image>\nWhich side?"},
            {"role": "assistant", "text": side},
        ]
        samples.append(
            make_sample(
                source="pictures",
                source_key=str(number),
                domain="medical",
                language="en",
                task="vqa",
                images=[picture(number) + noise],
                turns=turns,  # type: ignore[arg-type]
            )
        )
    pq.write_table(to_table(samples), folder / "samples.parquet", row_group_size=8)


def train_with_little(folder: Path) -> None:
    """A stage whose rows do not fit into the object store, and one of whose workers stands still
    for some seconds.
    """
    only = [MixtureItem(share=1, tasks=["vqa"])]
    changes = {"mixture": only, "samples": 6 * ROWS, "validation": ValidationConfig(rows=0)}
    seen = {}
    metrics = folder / "stalled" / "metrics.jsonl"
    for name, store in (("stalled", 20 * STORE_MIB), ("spilled", STORE_MIB)):
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=store << 20)
        if name == "stalled":
            when(metrics.exists, lambda: seen.update(grown=lines_while_stalled(metrics)))
        run(instruct(folder, name, **changes))
        address = ray.get_runtime_context().gcs_address
        found = re.search(r"Spilled (\d+) MiB", memory_summary(address, stats_only=True))
        seen[name] = int(found[1]) if found else 0
        ray.shutdown()
    (folder / "seen.json").write_text(json.dumps(seen))


def lines_while_stalled(metrics: Path) -> int:
    """Steps that were reported while a worker stood still."""
    worker = descendants("RayTrainWorker")[0]
    worker.suspend()
    time.sleep(1)  # what was on its way arrives
    before = len(metrics.read_text().splitlines())
    time.sleep(STALLED_SECONDS)
    after = len(metrics.read_text().splitlines())
    worker.resume()
    return after - before


@pytest.mark.slow
def test_training_is_the_same_when_rows_spill_and_when_a_worker_stands_still(
    tmp_path: Path,
) -> None:
    build_llm(tmp_path / "llm")
    build_clip(tmp_path / "clip")
    write_large_pictures(tmp_path / "data")
    run_apart(train_with_little, tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["spilled"] > 0
    assert seen["stalled"] == seen["grown"] == 0
    metrics = [read_metrics(tmp_path / name) for name in ("spilled", "stalled")]
    losses = [[row["loss"] for row in rows] for rows in metrics]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6 * ROWS // 16
