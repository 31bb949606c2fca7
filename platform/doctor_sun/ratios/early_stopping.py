"""Stopping hopeless trials early, by asynchronous successive halving (arXiv 1810.05934).

Trials are compared by their loss on the same held-out rows, at equal fractions of their schedules:
those with more data have longer ones, and at equal steps their learning rates would differ. Tune's
scheduler only decides. It would kill the trial's process, which leaves the placement group of the
Ray Train run in it behind (Ray issue 54305); instead the stage is asked to end by itself.
"""

from collections.abc import Callable
from typing import Any

from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from upath import UPath

from doctor_sun.training.progress import STOP
from doctor_sun.training.validation import VALIDATION_LOSS

RUNG = "rung"


class TrainingProgress(TuneReportCallback):
    """Tells Tune a trial's loss as it trains, and which fraction of the schedule is behind it."""

    def __init__(self, total_steps: int, rungs: int) -> None:
        """Of a stage of so many steps, measured so many times."""
        super().__init__()
        self.total_steps, self.rungs = total_steps, rungs

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None
    ) -> None:
        """Pass on what the first rank says."""
        report = metrics[0]
        if not report.get("steps"):
            return
        last = report["steps"][-1]
        told = {"step": last["step"], "loss": last["loss"]}
        told["fraction"] = last["step"] / self.total_steps
        if VALIDATION_LOSS in report:
            told |= {VALIDATION_LOSS: report[VALIDATION_LOSS]}
            told[RUNG] = int(told["fraction"] * self.rungs + 1e-9)
        self._training_actor_item_queue.put(told)


class AskToStop(AsyncHyperBandScheduler):
    """Successive halving whose word is a file in the folder of the trial's stage."""

    def __init__(self, rungs: int, reduction: float, folder: Callable[[dict[str, Any]], str]):
        """Compare at rungs 1, `reduction`, its square, ...; keep one in `reduction` each time.

        Args:
            rungs: parts of a schedule.
            reduction: how many trials go in for each that stays.
            folder: of the stage, by the trial's parameters.
        """
        super().__init__(
            time_attr=RUNG,
            metric=VALIDATION_LOSS,
            mode="min",
            max_t=rungs,
            grace_period=1,
            reduction_factor=reduction,
            stop_last_trials=False,
        )
        self.folder = folder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ask where Tune would kill; a trial that has come to its end goes on to its scores."""
        decision = super().on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP and result[RUNG] < self._max_t:
            (UPath(self.folder(trial.config)) / STOP).touch()
        return str(TrialScheduler.CONTINUE)
