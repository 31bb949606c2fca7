"""Jobs on machines that have too little: a full disk, an object store that spills, a slow node."""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from ray._private.internal_api import memory_summary

from doctor_sun.cluster import inherited, serve_environment
from doctor_sun.errors import one_line_errors
from doctor_sun.records import make_sample, to_table
from doctor_sun.training.mixture import MixtureItem
from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import StageConfig, run
from doctor_sun.training.validation import ValidationConfig
from tests.asking_jobs import ASKING_JOBS
from tests.chat_server import ChatServer
from tests.clusters import run_apart, when
from tests.live_endpoint import live_endpoint
from tests.processes import descendants
from tests.small_data import picture, write_small_data
from tests.small_disk import resize_disk, small_disk
from tests.test_lost_nodes import curate
from tests.test_training_stage import instruct
from tests.tiny_models import build_clip, build_llm

STORE_MIB = 80
ROWS, REPEATS, STALLED_SECONDS = 96, 3, 5
QUESTIONS, DISK = 60, 400 << 20


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


def stage_of_large_pictures(folder: Path, name: str) -> StageConfig:
    """A stage that reads them several times."""
    only = [MixtureItem(share=1, tasks=["vqa"])]
    changes = {"mixture": only, "samples": REPEATS * ROWS, "validation": ValidationConfig(rows=0)}
    return instruct(folder, name, **changes)


def train_with_little(folder: Path) -> None:
    """A stage whose rows do not fit into the object store, and one of whose workers stands still
    for some seconds.
    """
    seen: dict[str, int] = {}
    metrics = folder / "little" / "metrics.jsonl"
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=STORE_MIB << 20)
    when(metrics.exists, lambda: seen.update(grown=lines_while_stalled(metrics)))
    run(stage_of_large_pictures(folder, "little"))
    address = ray.get_runtime_context().gcs_address
    found = re.search(r"Spilled (\d+) MiB", memory_summary(address, stats_only=True))
    seen["spilled"] = int(found[1]) if found else 0
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
def test_training_is_the_same_when_rows_spill_and_a_worker_stands_still(
    ray_cluster: None, tmp_path: Path
) -> None:
    build_llm(tmp_path / "llm")
    build_clip(tmp_path / "clip")
    write_large_pictures(tmp_path / "data")
    run_apart(train_with_little, tmp_path)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["spilled"] > 0
    assert seen["grown"] == 0
    run(stage_of_large_pictures(tmp_path, "enough"))
    metrics = [read_metrics(tmp_path / name) for name in ("little", "enough")]
    losses = [[row["loss"] for row in rows] for rows in metrics]
    assert losses[0] == losses[1]
    assert len(losses[0]) == REPEATS * ROWS // 16


def ask_with_a_full_disk(disk: Path) -> None:
    """An endpoint all of whose files, and Ray's, are on a disk that fills up."""
    with inherited(serve_environment(str(disk))):
        ray.init(address="local", num_cpus=4, _temp_dir=str(disk))
        with live_endpoint(disk, int(os.environ["PORT"]), variants={}) as live:
            create = live.client().chat.completions.create
            question = {"role": "user", "content": "left or right?"}
            filler = (disk / "filler").open("wb", buffering=0)

            def fill() -> None:
                with suppress(OSError):
                    while filler.write(bytes(1 << 16)):
                        pass

            def ask(before: Callable[[], None]) -> int:
                answers = []
                for _ in range(QUESTIONS):
                    before()
                    answers.append(create(model="doctor-sun", messages=[question], max_tokens=4))
                return sum(bool(answer.choices) for answer in answers)

            answered = [ask(fill)]
            filler.close()
            resize_disk(disk, 2 * DISK)
            answered.append(ask(lambda: None))
        ray.shutdown()
    [log] = (disk / "audit").iterdir()  # an answer's line comes a moment after it
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    missing = sum(line["missing"] for line in lines)
    seen = {"answered": answered, "lines": len(lines), "missing": missing}
    (disk / "seen.json").write_text(json.dumps(seen))


@pytest.mark.slow
def test_an_endpoint_on_a_full_disk_answers(unused_port: int) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # for socket paths
        disk = Path(short) / "d"
        with small_disk(disk, DISK):
            run_apart(ask_with_a_full_disk, disk, PORT=str(unused_port))
            seen = json.loads((disk / "seen.json").read_text())
    assert seen["answered"] == [QUESTIONS, QUESTIONS]
    assert seen["missing"] > 0
    assert seen["lines"] + seen["missing"] == 2 * QUESTIONS
