"""MLflow and Weights & Biases are given every figure, and go on with their run after a resume."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from doctor_sun.errors import InputError
from doctor_sun.training.trackers import EXPERIMENT, TrackingConfig, trackers


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a server is what one would use
    uri = f"file://{tmp_path}/mlruns"
    for steps in ((1, 2), (3,)):  # stopped after two steps, and resumed
        (tracker,) = trackers(TrackingConfig(mlflow=uri), "align", str(tmp_path), {"key": "k"})
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
def test_weights_and_biases_writes_its_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tracker,) = trackers(TrackingConfig(wandb="doctor-sun"), "align", str(tmp_path), {"key": "k"})
    tracker.log(1, {"loss/all": 0.25})
    tracker.close()
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert b"loss/all" in written.read_bytes()


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tracking\.wandb: the package is not installed"):
        TrackingConfig(wandb="doctor-sun")
