"""The search as a job: killed and gone on with, and what early stopping leaves behind."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from doctor_sun.config import load
from doctor_sun.data.tiny import benchmark, shapes_benchmark
from doctor_sun.data.tiny.outlines import draw_outlines
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.ratios import search
from doctor_sun.ratios.search import SearchConfig, listed_trials, read_search
from doctor_sun.training.progress import read_metrics
from tests.clusters import when
from tests.processes import descendants
from tests.small_data import write_small_data
from tests.small_disk import small_disk
from tests.tiny_models import build_clip, build_llm

ROOT = Path(__file__).parents[1]
STAGE = {"samples": 32, "global_batch": 16, "micro_batch": 8, "max_length": 128, "workers": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search")
    write_search(path)
    return path


def write_search(path: Path, **stage: Any) -> None:
    """Random bases, rows and questions, and the files of a search of two seeds of one mixture.

    Args:
        path: where to.
        stage: other values of the stages.
    """
    model = {"llm": build_llm(path / "llm"), "vision": build_clip(path / "clip")}
    write_small_data(path / "curated" / "data", 48)
    asked = benchmark.PhantomBenchmark(draw_outlines(20), 32, 0, "test").rows(8, "anatomy")
    (path / "questions").mkdir()
    tables = {"phantom": pa.Table.from_pylist(asked, schema=benchmark.SCHEMA)}
    shapes = shapes_benchmark.rows(8, 32, 0)
    tables["shapes"] = pa.Table.from_pylist(shapes, schema=shapes_benchmark.SCHEMA)
    for name, table in tables.items():
        pq.write_table(table, path / "questions" / f"{name}.parquet")
    mixture = [
        {"share": 1, "domain": "medical", "tasks": ["vqa"]},
        {"share": 0, "domain": "general"},
    ]
    shared = {"data": str(path / "curated"), "mixture": mixture, "model": model, **STAGE, **stage}
    engine = {"dtype": "float32", "max_model_len": 256, "max_num_seqs": 8, "images_per_prompt": 1}
    files: dict[str, dict[str, Any]] = {
        "align": {"stage": "align", "learning_rate": {"projector": 1e-3}, **shared},
        "instruct": {"stage": "instruct", "learning_rate": {"llm": 1e-3}, **shared},
        "evaluate": {
            "benchmarks": dict.fromkeys(tables, str(path / "questions")),
            "shuffled_images": False,
            "engine": engine,
        },
    }
    for name, content in files.items():
        (path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    whole = {name: [str(path / f"{name}.yaml")] for name in files} | {
        **{"specialised": ["phantom"], "general": ["shapes"], "dtype": "float32"},
        **{"preset": "random", "trials": 1, "seeds": 2, "references": False},
    }
    (path / "search.yaml").write_text(yaml.safe_dump(whole))


def config_of(folder: Path, **changes: Any) -> SearchConfig:
    return load(SearchConfig, str(folder / "search.yaml"), output=str(folder / "out"), **changes)


def kill_a_search_after(file: str, folder: Path) -> None:
    """Start a search as its user does; kill it and its cluster once there is such a file."""
    command = [sys.executable, str(ROOT / "tune" / "ratios.py"), "run"]
    command += ["--config", str(folder / "search.yaml"), "--output", str(folder / "out")]
    log = folder / "log"
    with log.open("wb") as said:
        job = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
    while not any(folder.glob(file)):
        assert job.poll() is None, log.read_text()[-3000:]
        time.sleep(0.2)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def times_of(*files: Path) -> dict[Path, int]:
    """When files were written."""
    return {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow
def test_a_search_repeats_nothing_after_a_kill_and_a_full_disk(
    ray_cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """kill -9 of the job and its cluster; of the next run a worker that tunes, then one that
    evaluates; then the disk fills up."""
    write_search(tmp_path, checkpoint_every=2)
    output = tmp_path / "out"
    with small_disk(output, 1 << 30) as resize:
        kill_a_search_after("out/alignments/*/manifest.json", tmp_path)
        aligned = times_of(*output.glob("alignments/*/manifest.json"))

        killed: list[str] = []

        def kill(worker: str) -> None:
            descendants(worker)[0].kill()
            killed.append(worker)

        def tuning() -> bool:
            logs = (output / "trials").rglob("metrics.jsonl")
            return any(len(read_metrics(log.parent)) >= 3 for log in logs)

        def finished() -> list[Path]:
            return list(output.glob("trials/*/trial.json"))

        when(tuning, lambda: kill("RayTrainWorker"))
        when(lambda: bool(killed and descendants("(Engine)")), lambda: kill("(Engine)"))
        when(lambda: bool(finished()), lambda: resize(shutil.disk_usage(output).used + (1 << 20)))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended, one_line_errors():
            search.run(config_of(tmp_path))
        assert ended.value.code == 2
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(said) == 1
        assert "no space is left on" in said[0]
        assert killed == ["RayTrainWorker", "(Engine)"]
        (done,) = finished()
        before = aligned | times_of(*done.parent.rglob("*.json"))

        resize(1 << 30)
        manifest = search.run(config_of(tmp_path))
        assert manifest["counts"] == {"trials": 2, "stopped early": 0, "alignments": 1}
        assert times_of(*before) == before
        check_results(output)
        assert search.run(config_of(tmp_path)) == manifest  # finished: nothing is started


def check_results(output: Path) -> None:
    """One mixture's two seeds: whole trials, their scores, and what they saw."""
    assert len(list(output.glob("alignments/*"))) == 1  # both seeds share it
    for trial in (output / "trials").iterdir():
        steps = [row["step"] for row in read_metrics(trial / "instruct")]
        manifest = json.loads((trial / "instruct" / "manifest.json").read_text())
        assert steps == list(range(1, manifest["counts"]["steps"] + 1))
    with (output / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert len({row["run"] for row in rows}) == 1
    assert all(0 <= float(row["specialised.phantom"]) <= 1 for row in rows)
    with (output / "ledger.csv").open() as stream:
        ledger = list(csv.DictReader(stream))
    for row in rows:
        own = [one for one in ledger if one["run"] == f"{row['run']} seed {row['seed']}"]
        tuned = sum(int(one["samples"]) for one in own if one["stage"] == "instruction")
        aligned = sum(int(one["samples"]) for one in own if one["stage"] == "alignment")
        assert float(row["samples"]) == tuned + aligned / 2
        assert tuned % STAGE["global_batch"] == 0
    assert (output / "report" / "report.html").is_file()


@pytest.mark.slow
def test_an_estimate_counts_shared_alignments_once(
    ray_cluster: None, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = search.run(config_of(folder, preset="paper-grid", estimate=True))
    assert found["runs"] == {"alignment": 2, "instruction": 16}
    # Rows: medical ones as the file says, general ones on top, whole batches of 16.
    assert found["alignment"]["samples"] == 32 + 64
    assert found["instruction"]["samples"] == 4 * (32 + 48 + 48 + 64)
    assert "18 evaluations" not in capsys.readouterr().out  # references are switched off
    equal = search.run(config_of(folder, preset="paper-grid", mode="equal-compute", estimate=True))
    assert equal["together"]["tokens"] < found["together"]["tokens"]


def test_a_search_is_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(InputError, match="no benchmark 'slake'"):
        read_search(config_of(folder, general="[slake]"))
    with pytest.raises(InputError, match="of stage 'align', not 'instruct'"):
        read_search(replace(config_of(folder), instruct=[str(folder / "align.yaml")]))
    with pytest.raises(InputError, match="nothing for asha to stop"):
        config_of(folder, preset="asha", merged=True)
    measured = read_search(config_of(folder, preset="asha")).stages["instruction"]
    assert [item.share for item in measured.validation.mixture] == [1, 1]
    assert len(listed_trials(config_of(folder), read_search(config_of(folder)).space)) == 2
