"""Who hears of a stage's figures beside TensorBoard: Prometheus, through Ray's metrics, and MLflow
and Weights & Biases where they are configured.

They are given figures by step and the stage's configuration, never text of the data.
"""

import importlib.util
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ray.util.metrics import Gauge
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.files import in_object_store
from doctor_sun.records import sha256

EXPERIMENT = "doctor-sun"
PARTED = ("loss", "validation", "learning_rate")  # of what, is a label in Prometheus


@dataclass(kw_only=True)
class TrackingConfig:
    """Where a stage's figures go besides its own folder."""

    mlflow: str | None = None
    """MLflow tracking URI (`http://host:5000`, `sqlite:////shared/mlflow.db`)."""

    wandb: str | None = None
    """Weights & Biases project; the key comes from `WANDB_API_KEY`, `WANDB_MODE=offline` stays
    here (not where the stage's folder is in an object store)."""

    def __post_init__(self) -> None:
        """Refuse a tracker that is not installed."""
        for name, wanted in (("mlflow", self.mlflow), ("wandb", self.wandb)):
            if wanted and importlib.util.find_spec(name) is None:
                raise InputError(
                    f"tracking.{name}: the package is not installed (pip install "
                    f"'doctor-sun[{name}]')"
                )


class Tracker(Protocol):
    """What takes figures."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the figures of a step."""

    def close(self) -> None:
        """Say that the stage is finished."""


def gauge_of(name: str) -> tuple[str, str]:
    """A figure's gauge and its label `part`: `loss/all` is `loss` of `all`."""
    group, _, part = name.partition("/")
    return (group, part) if group in PARTED else (name.replace("/", "_"), "")


class RayMetrics:
    """Gauges that each node of the cluster offers to Prometheus, as `ray_doctor_sun_training_*`.

    Labels: run (the folder above the stage's), stage, and of what the figure is (`part`).
    """

    def __init__(self, stage: str, folder: str) -> None:
        self.labels = {"run": UPath(folder).absolute().parent.name, "stage": stage}
        self.gauges: dict[str, Gauge] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in {"step": float(step), **values}.items():
            called, part = gauge_of(name)
            if called not in self.gauges:
                self.gauges[called] = Gauge(
                    f"doctor_sun_training_{called}",
                    description=f"{called.replace('_', ' ')} of a training stage",
                    tag_keys=(*self.labels, "part"),
                )
            self.gauges[called].set(value, tags={**self.labels, "part": part})

    def close(self) -> None:
        """See `Tracker`; the gauges go with this process."""


class Mlflow:
    """A run of the experiment `doctor-sun`, gone on with when the stage resumes."""

    def __init__(self, uri: str, stage: str, folder: str, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        remembered = UPath(folder) / ".mlflow"
        if remembered.is_file():
            self.run = remembered.read_text(encoding="utf-8")
        else:
            self.run = self.client.create_run(experiment, run_name=stage).info.run_id
            remembered.write_text(self.run, encoding="utf-8")
            for name, value in settings.items():
                self.client.log_param(self.run, name, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def close(self) -> None:
        """See `Tracker`."""
        self.client.set_terminated(self.run)


class WeightsAndBiases:
    """A run whose id comes from the stage's folder, so that a resumed stage goes on with it."""

    def __init__(self, project: str, stage: str, folder: str, settings: Mapping[str, Any]) -> None:
        import wandb

        self.run = wandb.init(
            project=project,
            name=stage,
            id=sha256(folder)[:16],
            resume="allow",
            config=dict(settings),
            dir=None if in_object_store(folder) else folder,
            settings=wandb.Settings(console="off", silent=True, disable_code=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self.run.log(dict(values), step=step)

    def close(self) -> None:
        """See `Tracker`."""
        import wandb

        self.run.finish()
        wandb.teardown()  # its own process writes the last figures; a Train worker's end kills it


def trackers(
    config: TrackingConfig, stage: str, folder: str, settings: Mapping[str, Any]
) -> list[Tracker]:
    """Ray's metrics, and the trackers that are configured."""
    found: list[Tracker] = [RayMetrics(stage, folder)]
    if config.mlflow:
        found.append(Mlflow(config.mlflow, stage, folder, settings))
    if config.wandb:
        found.append(WeightsAndBiases(config.wandb, stage, folder, settings))
    return found
