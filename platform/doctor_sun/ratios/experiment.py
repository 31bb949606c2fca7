"""The trials of a search as one Ray Tune experiment.

A trial's process is light and holds no CPU: its stages take theirs as Ray Train runs.
"""

from collections.abc import Mapping
from typing import Any

import ray
from ray import tune

from doctor_sun.errors import find_input_error
from doctor_sun.ratios.early_stopping import AskToStop, TrainingProgress
from doctor_sun.ratios.results import OBJECTIVES
from doctor_sun.ratios.searcher import MixtureSearcher
from doctor_sun.ratios.trial import Bench, Trial, run_trial

REDUCTION = 2  # trials for each that is not stopped at a rung


def run_trials(bench: Bench, searcher: MixtureSearcher, shared: Any, at_a_time: int) -> list[str]:
    """Run what is left; what failed, in words.

    Args:
        bench: what trials share.
        searcher: names them.
        shared: the actor `SharedStages`.
        at_a_time: how many run at a time.
    """
    if not searcher.left:
        return []

    def tuning_folder(parameters: dict[str, Any]) -> str:
        return bench.tuning(trial_of(parameters)).output

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                try_mixture, bench=bench, shared=shared, preference=searcher.config.preference
            ),
            {"CPU": 0},
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=AskToStop(bench.rungs, REDUCTION, tuning_folder) if bench.rungs else None,
            num_samples=searcher.left,
            max_concurrent_trials=at_a_time,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=bench.folder, verbose=1),
    )
    return [
        f"{trial_of(result.config or {}).name} ({_reason(result.error)})"
        for result in tuner.fit()
        if result.error is not None
    ]


def try_mixture(
    parameters: Mapping[str, Any], bench: Bench, shared: Any, preference: float
) -> None:
    """Run one trial; Tune hears of its losses as it trains, and of its scores."""
    trial = trial_of(parameters)
    progress = TrainingProgress(bench.tuning(trial).steps, max(1, bench.rungs))
    outcome = run_trial(bench, trial, shared, [progress])
    told: dict[str, float] = {"fraction": outcome.stopped or 1.0, **outcome.scores}
    if outcome.scores:
        both = outcome.objectives()
        told |= dict(zip(OBJECTIVES, both, strict=True))
        told["utility"] = preference * both[0] + (1 - preference) * both[1]
    tune.report(told)


def trial_of(parameters: Mapping[str, Any]) -> Trial:
    """The trial that Tune's parameters mean."""
    return Trial(point=tuple(parameters["point"]), repeat=parameters["repeat"])


def _reason(error: BaseException) -> str:
    wrong = find_input_error(error)
    if wrong is None and isinstance(error, ray.exceptions.RayTaskError):
        return type(error.cause).__name__
    return str(wrong or type(error).__name__)
