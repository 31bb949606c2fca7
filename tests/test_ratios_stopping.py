"""Trials that are stopped early end by themselves and leave nothing behind."""

import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import placement_group_table
from ray.util.state import list_actors
from upath import UPath

from doctor_sun.cluster import inherited, own_interrupts
from doctor_sun.ratios.early_stopping import AskToStop, TrainingProgress
from doctor_sun.ratios.experiment import ANY_METRICS, TRIAL_RESOURCES, apart
from doctor_sun.training.progress import STOP

STEPS, RUNGS = 40, 4
LOSSES = [1.0, 6.0, 2.0, 6.1]
"""Of each trial; the best comes first."""


def train(config: dict[str, Any]) -> None:
    """What a stage's worker does with its steps, without the training: report, look, end."""
    for step in range(1, STEPS + 1):
        report = {"steps": [{"step": step, "loss": config["loss"]}]}
        if step % (STEPS // RUNGS) == 0:
            report["validation_loss"] = config["loss"]
        ray.train.report(report)
        time.sleep(0.05)
        if (UPath(config["folder"]) / STOP).exists():
            break
    (UPath(config["folder"]) / "reached").write_text(str(step))


def run_train(folder: str, loss: float, progress: TrainingProgress) -> int:
    """A Ray Train run of one worker (two would have to agree when to end); the step it reached."""
    UPath(folder).mkdir(parents=True)
    trainer = DataParallelTrainer(
        train,
        train_loop_config={"folder": folder, "loss": loss},
        scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(name="train", storage_path=folder, callbacks=[progress]),
    )
    with own_interrupts():
        trainer.fit()
    return int((UPath(folder) / "reached").read_text())


@pytest.mark.slow
def test_stopped_trials_leave_no_placement_group_and_no_actor(
    ray_cluster: None, tmp_path: Path
) -> None:
    before = {row["placement_group_id"] for row in placement_group_table().values()}

    def folder(parameters: dict[str, Any]) -> str:
        return str(tmp_path / str(parameters["number"]))

    def trial(parameters: dict[str, Any]) -> None:
        progress = TrainingProgress(STEPS, RUNGS)
        loss = LOSSES[parameters["number"]]
        tune.report({"reached": apart(run_train, folder(parameters), loss, progress)})

    tuner = tune.Tuner(
        tune.with_resources(trial, tune.PlacementGroupFactory([TRIAL_RESOURCES])),
        param_space={"number": tune.grid_search(list(range(len(LOSSES))))},
        tune_config=tune.TuneConfig(scheduler=AskToStop(RUNGS, 2, folder), max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    with inherited(ANY_METRICS):
        results = tuner.fit()
    assert results.num_errors == 0
    reached = {result.config["number"]: result.metrics["reached"] for result in results}
    assert reached[0] == STEPS  # the best one is never stopped
    for number in (1, 3):  # nor is one before the first rung
        assert STEPS // RUNGS <= reached[number] < STEPS
    time.sleep(3)
    left = [
        row
        for row in placement_group_table().values()
        if row["placement_group_id"] not in before and row["state"] != "REMOVED"
    ]
    assert not left
    alive = {actor.class_name for actor in list_actors(filters=[("state", "=", "ALIVE")])}
    assert not alive & {"RayTrainWorker", "TrainController", "DatasetManager", "ImplicitFunc"}
    assert ray.available_resources()["CPU"] == ray.cluster_resources()["CPU"]
