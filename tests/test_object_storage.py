"""Curation and training from and to an object store give what they give on a disk, and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from upath import UPath

from doctor_sun.config import load
from doctor_sun.data import curation
from doctor_sun.data.curation import CurateConfig
from doctor_sun.data.ledger import ledger_table
from doctor_sun.data.why import story
from doctor_sun.local_folders import CACHE
from doctor_sun.models.build import load_model
from doctor_sun.runs import read_manifest
from doctor_sun.training import stage
from doctor_sun.training.progress import read_metrics
from doctor_sun.training.stage import StageConfig
from doctor_sun.vllm_engine import check_model_folder
from tests.small_data import write_small_data
from tests.test_training_stage import instruct
from tests.tiny_models import build_clip, build_llm

ROOT = Path(__file__).parent.parent
ORDER = ["exact_duplicates", "charset", "selection"]
BUCKET = "s3://hospital"
STEPS = 8


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    """A bucket of an S3-compatible server on this machine."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.post(f"{url}/moto-api/reset").raise_for_status()  # what another test left in this process
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "for-tests")
    S3FileSystem.clear_instance_cache()  # one of another test has that server's address
    place = UPath(BUCKET)
    place.mkdir()
    yield place
    server.stop()


def said_by(job: str, *options: str) -> str:
    """What a job prints: a process and a cluster of its own, which have the bucket's address."""
    command = [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def curate_from_a_shell(*options: str) -> str:
    """Curate the bucket's raw data into the bucket."""
    order = ("--order", f"[{', '.join(ORDER)}]")
    return said_by(
        "curate", "--raw", f"{BUCKET}/raw", "--output", f"{BUCKET}/curate", *order, *options
    )


def rows_of(folder: UPath) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((folder / "data").glob("*.parquet"), key=str):
        with path.open("rb") as stream:
            rows += pq.read_table(stream).to_pylist()
    return rows


@pytest.mark.slow
def test_curation_on_an_object_store_equals_curation_on_a_disk(
    ray_cluster: None, bucket: UPath, tmp_path: Path
) -> None:
    for count in (12, 24):  # the rows of one file stand in the other as well
        write_small_data(tmp_path / "raw" / f"of-{count}", count)
    bucket.fs.put(str(tmp_path / "raw"), (bucket / "raw").path, recursive=True)

    said = curate_from_a_shell("--stop_after", "exact_duplicates")
    assert "[curate] exact_duplicates: " in said
    assert "[curate] charset: " not in said
    said = curate_from_a_shell()
    assert "[curate] exact_duplicates: already done" in said
    assert "[curate] charset: " in said

    on_disk = tmp_path / "curate"
    curation.run(CurateConfig(raw=str(tmp_path / "raw"), output=str(on_disk), order=ORDER))
    curated = bucket / "curate"
    assert rows_of(curated) == rows_of(UPath(on_disk))
    ledgers = [ledger_table(folder).sort_by("id") for folder in (str(curated), str(on_disk))]
    assert ledgers[0].equals(ledgers[1])
    manifests = [read_manifest(folder) for folder in (curated, UPath(on_disk))]
    keys, counts = zip(*((m["key"], m["counts"]["rows_in"]) for m in manifests if m), strict=True)
    assert keys[0] == keys[1]
    assert counts == (3 * (12 + 24),) * 2
    assert not [path for path in bucket.fs.find(bucket.path) if path.endswith(".part")]
    dropped = next(row["id"] for row in ledgers[0].to_pylist() if row["verdict"] == "dropped")
    assert "dropped" in "\n".join(story(curated, dropped, text=False))


@pytest.mark.slow
def test_a_stage_killed_on_an_object_store_goes_on_there_and_its_model_is_exported(
    ray_cluster: None, bucket: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, bases, checkpoints, figures and models lie in the bucket; the losses are a disk's."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    build_llm(tmp_path / "in" / "llm")
    build_clip(tmp_path / "in" / "clip")
    write_small_data(tmp_path / "in" / "data")
    settings = asdict(instruct(tmp_path / "in", "on-disk", samples=16 * STEPS, checkpoint_every=4))
    settings["output"] = str(tmp_path / "on-disk")
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump(settings))
    bucket.fs.put(str(tmp_path / "in"), (bucket / "in").path, recursive=True)
    stage.run(load(StageConfig, str(tmp_path / "stage.yaml")))

    there = {"output": "out/instruct", "data": "in/data", "model.llm": "in/llm"}
    there |= {"model.vision": "in/clip"}
    options = ["--config", str(tmp_path / "stage.yaml")]
    options += [f"--{key}={BUCKET}/{path}" for key, path in there.items()]
    output = bucket / "out" / "instruct"
    command = [sys.executable, str(ROOT / "jobs" / "instruct.py"), *options]
    job = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while len(read_metrics(output)) < STEPS // 2 + 1:
        assert job.poll() is None
        time.sleep(0.2)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    said = said_by("instruct", *options)
    assert "resuming in s3://hospital/out/instruct" in said
    losses = [[row["loss"] for row in read_metrics(one)] for one in (output, tmp_path / "on-disk")]
    assert losses[0] == losses[1]
    lines = (output / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines].count(1) == 1  # from a checkpoint
    events = tmp_path / "events"
    bucket.fs.get(str(output / "tensorboard").removeprefix("s3://"), str(events), recursive=True)
    shown = EventAccumulator(str(events)).Reload().Scalars("loss/all")
    assert [event.step for event in shown] == list(range(1, STEPS + 1))
    weights = [
        load_model(str(place)).model.state_dict()
        for place in (output / "model", tmp_path / "on-disk" / "model")
    ]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[1])

    said_by("export", f"--checkpoint={output}", f"--output={BUCKET}/export", "--dtype=float32")
    exported = Path(check_model_folder(f"{BUCKET}/export"))
    assert exported.parent == tmp_path / "cache"
    assert (bucket / "export" / "manifest.json").is_file()
    copies = [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    names = {"llm", "clip", "model", "export"}
    without_weights = {"llm", "clip"}  # what the tokenizer and the shapes need
    assert len(copies) == len(names) + len(without_weights)  # each once, for all processes
