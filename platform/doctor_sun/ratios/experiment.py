"""The trials of a search as one Ray Tune experiment.

A trial's process is light: its stages take their resources as Ray Train runs. It lives on the
cluster's head, so that no other node takes a trial along when it is lost.
"""

import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray import tune

from doctor_sun.cluster import inherited
from doctor_sun.errors import find_input_error, message_of, no_space
from doctor_sun.ratios.early_stopping import AskToStop, TrainingProgress
from doctor_sun.ratios.results import OBJECTIVES
from doctor_sun.ratios.trial import Bench, Trial, run_trial

if TYPE_CHECKING:  # a trial's process imports this file, and has nothing to search
    from doctor_sun.ratios.searcher import MixtureSearcher

Result = TypeVar("Result")
ANY_METRICS = {"TUNE_DISABLE_STRICT_METRIC_CHECKING": "1"}
"""Tune asks for every metric in each report; a loss comes before there are scores."""
TRIAL_RESOURCES = {"node:__internal_head__": 0.001}
"""Of a trial's process; what it starts takes its own."""
REDUCTION = 2  # trials for each that is not stopped at a rung


def run_trials(bench: Bench, searcher: "MixtureSearcher", shared: Any, at_a_time: int) -> list[str]:
    """Run what is left; what failed, in words.

    Args:
        bench: what trials share.
        searcher: names them.
        shared: the actor `SharedStages`.
        at_a_time: how many run at a time.

    Raises:
        InputError: the disk is so full that not even what failed could be stored.
    """
    if not searcher.left:
        return []

    def tuning_folder(parameters: dict[str, Any]) -> str:
        return bench.tuning_folder(trial_of(parameters))

    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                try_mixture, bench=bench, shared=shared, preference=searcher.config.preference
            ),
            tune.PlacementGroupFactory([TRIAL_RESOURCES]),
        ),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=AskToStop(bench.rungs, REDUCTION, tuning_folder) if bench.rungs else None,
            num_samples=searcher.left,
            max_concurrent_trials=at_a_time,
            trial_name_creator=name_of,
            trial_dirname_creator=name_of,
        ),
        run_config=tune.RunConfig(name="tune", storage_path=bench.folder, verbose=1),
    )
    try:
        with inherited(ANY_METRICS):
            results = tuner.fit()
    except (EOFError, pickle.UnpicklingError):  # Tune reads what it stored of a trial's error
        raise no_space(bench.folder) from None
    return [
        f"{trial_of(result.config or {}).name} ({_reason(result.error)})"
        for result in results
        if result.error is not None
    ]


def try_mixture(
    parameters: Mapping[str, Any], bench: Bench, shared: Any, preference: float
) -> None:
    """Run one trial; Tune hears of its losses as it trains, and of its scores."""
    trial = trial_of(parameters)
    progress = TrainingProgress(bench.tuning(trial).steps, max(1, bench.rungs))
    outcome = apart(run_trial, bench, trial, shared, [progress])
    told: dict[str, float] = {"fraction": outcome.stopped or 1.0, **outcome.scores}
    if outcome.scores:
        both = outcome.objectives()
        told |= dict(zip(OBJECTIVES, both, strict=True))
        told["utility"] = preference * both[0] + (1 - preference) * both[1]
    tune.report(told)


def name_of(tried: Any) -> str:
    """What Tune calls a trial, and its folder of event files."""
    return trial_of(tried.config).name


def apart(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function outside of the trial's placement group, which all that a trial starts would
    have to fit into."""
    task = ray.remote(num_cpus=0, scheduling_strategy="DEFAULT", max_retries=-1)(function)
    found: Result = ray.get(task.remote(*arguments))
    return found


def trial_of(parameters: Mapping[str, Any]) -> Trial:
    """The trial that Tune's parameters mean."""
    return Trial(point=tuple(parameters["point"]), repeat=parameters["repeat"])


def _reason(error: BaseException) -> str:
    wrong = find_input_error(error)
    if wrong is None and isinstance(error, ray.exceptions.RayTaskError):
        return type(error.cause).__name__
    return message_of(wrong) if wrong else type(error).__name__
