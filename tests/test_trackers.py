"""Prometheus, MLflow and Weights & Biases hear every figure; a resumed stage keeps its run."""

import time
from pathlib import Path

import httpx
import pytest
import ray
from mlflow import MlflowClient

from doctor_sun.errors import InputError
from doctor_sun.training.trackers import EXPERIMENT, RayMetrics, TrackingConfig, trackers


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server is what one would use
    uri = f"file://{tmp_path}/mlruns"
    for steps in ((1, 2), (3,)):  # stopped after two steps, and resumed
        _, tracker = trackers(TrackingConfig(mlflow=uri), "align", str(tmp_path), {"key": "k"})
        for step in steps:
            tracker.log(step, {"loss/all": 1.0 / step})
    tracker.close()
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"key": "k"}
    found = client.get_metric_history(run.info.run_id, "loss/all")
    assert {metric.step: metric.value for metric in found} == {1: 1.0, 2: 0.5, 3: 1 / 3}


@pytest.mark.slow
def test_prometheus_finds_the_figures_at_the_node(ray_cluster: None, tmp_path: Path) -> None:
    tracker = RayMetrics("align", str(tmp_path / "mine" / "align"))
    tracker.log(7, {"loss/all": 0.25, "loss/pictures/zh": 0.5, "speed/tokens_per_second": 1e3})
    [node] = ray.nodes()
    address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    found: dict[str, list[str]] = {}
    end = time.monotonic() + 60
    while "step" not in found and time.monotonic() < end:
        time.sleep(0.5)
        lines = httpx.get(address, timeout=30).text.splitlines()
        mine = [line for line in lines if line.startswith("ray_doctor_sun_training_")]
        for line in mine:
            name, _, rest = line.removeprefix("ray_doctor_sun_training_").partition("{")
            assert 'run="mine"' in rest
            assert 'stage="align"' in rest
            found.setdefault(name, []).append(rest)
    values = {
        name: sorted(float(line.split()[-1]) for line in rest) for name, rest in found.items()
    }
    assert values == {"step": [7], "loss": [0.25, 0.5], "speed_tokens_per_second": [1e3]}
    assert {'part="all"' in line or 'part="pictures/zh"' in line for line in found["loss"]} == {
        True
    }


@pytest.mark.slow
def test_weights_and_biases_writes_its_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    _, tracker = trackers(TrackingConfig(wandb="doctor-sun"), "align", str(tmp_path), {"key": "k"})
    tracker.log(1, {"loss/all": 0.25})
    tracker.close()
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"loss/all" in written.read_bytes()


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tracking\.wandb: the package is not installed"):
        TrackingConfig(wandb="doctor-sun")
