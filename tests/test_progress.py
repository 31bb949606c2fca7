"""A report becomes a line, rows of figures, events, a tracker's run; a full disk ends the stage.

No Ray here: the callback is given what two workers would report.
"""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from doctor_sun.errors import InputError
from doctor_sun.step_log import StepLog
from doctor_sun.training.cost import Linear
from doctor_sun.training.progress import Progress, read_metrics, shown_values
from doctor_sun.training.trackers import EXPERIMENT, TrackingConfig, gauge_of

DASHBOARD = Path(__file__).parent.parent / "deploy" / "grafana" / "training.json"
VALIDATED = {"validation_loss": 1.25, "validation_by_kind": {"pictures/zh": (1.25, 40)}}
PEAK = 1e12  # operations a second of each of two GPUs


def progress(folder: Path, **tracking: str) -> Progress:
    return Progress(
        name="instruct",
        folder=str(folder),
        total_steps=4,
        global_batch=16,
        operations=Linear(token=1e9, squared_token=1e3, label=1e6, image=1e8),
        tracking=TrackingConfig(**tracking),
        settings={"key": "k"},
        log=StepLog(str(folder), "instruct", "k"),
    )


def report(*steps: int, **more: Any) -> list[dict[str, Any]]:
    """What two ranks say of steps of half a second."""
    figures = {
        "loss": 2.0,
        "label_tokens": 10,
        "tokens": 100,
        "padded_tokens": 125,
        "squared_tokens": 5000,
        "images": 3,
        "gradient_norm": 1.5,
        "learning_rate": {"llm": 1e-3, "projector": 2e-3},
        "loss_by_kind": {"pictures/zh": (2.0, 10)},
    }
    own = {
        "steps": [{"step": step, **figures} for step in steps],
        "seconds": 0.5 * len(steps),
        "memory_gib": 2.0,
        "peak": PEAK,
        **more,
    }
    other = {**own, "steps": [dict(step) for step in own["steps"]], "memory_gib": 3.0}
    return [own, other]


def test_a_report_is_shown_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file://{tmp_path}/mlruns"
    shown = progress(tmp_path, mlflow=uri)
    shown.after_report(run_context=None, metrics=report(1, 2), checkpoint=None)
    shown.after_report(run_context=None, metrics=report(3, 4, **VALIDATED), checkpoint=None)

    operations = 1e9 * 100 + 1e3 * 5000 + 1e6 * 10 + 1e8 * 3
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["operations"] == operations for row in rows)
    assert all(row["workers"] == 2 for row in rows)
    utilisation = operations / 0.5 / (2 * PEAK)
    assert all(row["utilisation"] == pytest.approx(utilisation) for row in rows)
    assert [row["memory_gib"] for row in rows] == [3.0] * 4  # of the fuller process
    line = capsys.readouterr().out.splitlines()[-1]
    parts = ("step 4/4", "loss 2.0000", "norm 1.50", "lr 2.0e-03", "200 tokens/s", "32.0 rows/s")
    more = ("padding 20%", f"MFU {utilisation:.0%}", "3.0 GiB", "validation loss 1.2500")
    assert all(part in line for part in (*parts, *more))

    shown.events.close()  # its writer is another thread
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("validation/all")] == [1.25]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["validation/pictures/zh"] == 1.25
    assert run.data.metrics["speed/utilisation"] == pytest.approx(utilisation)


def test_an_unknown_peak_shows_no_utilisation(tmp_path: Path) -> None:
    progress(tmp_path).after_report(run_context=None, metrics=report(1, peak=0.0), checkpoint=None)
    assert "utilisation" not in read_metrics(tmp_path)[0]


def test_what_cannot_be_mended_by_trying_again_ends_the_stage(tmp_path: Path) -> None:
    shown = progress(tmp_path)
    full = OSError(errno.ENOSPC, f"writing: {os.strerror(errno.ENOSPC)}")
    with pytest.raises(InputError, match="no space is left"):
        shown.after_exception(run_context=None, worker_exceptions={1: full})
    with pytest.raises(InputError, match="wrong row"):
        shown.after_exception(run_context=None, worker_exceptions={0: InputError("wrong row")})
    shown.after_exception(run_context=None, worker_exceptions={0: RuntimeError("a worker died")})


def test_the_dashboard_shows_figures_that_there_are(tmp_path: Path) -> None:
    progress(tmp_path).after_report(None, report(1, 2, **VALIDATED), None)
    [*_, step] = read_metrics(tmp_path)
    offered = {gauge_of(name)[0] for name in shown_values(step)} | {"step"}
    described = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in described["panels"] for target in panel["targets"]]
    shown = {name for text in asked for name in re.findall(r"^ray_doctor_sun_training_(\w+)", text)}
    assert shown <= offered
    assert offered - shown == {"speed_operations_per_second"}
