"""`--estimate`: what a search will take, from its real rows, before any of it runs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from doctor_sun.ratios.mixtures import Budget
from doctor_sun.ratios.trial import Bench, Trial
from doctor_sun.training.estimate import totals
from doctor_sun.training.prepare import choose_rows
from doctor_sun.training.stage import StageConfig

if TYPE_CHECKING:
    from doctor_sun.ratios.search import SearchConfig

FIGURES = ("samples", "tokens", "accelerator_hours", "price")


def estimate(config: "SearchConfig", bench: Bench, listed: Sequence[Trial]) -> dict[str, Any]:
    """Print runs, rows, tokens, hours and price; returns the figures.

    A trial of `bayes` is reckoned at the space's middle, since nobody knows what will be suggested;
    one of `asha` in full, so that what is stopped early is gained.
    """
    trials = list(listed)
    if not trials:
        middle = tuple(bench.space.spread(config.trials, config.seed).mean(axis=0))
        trials = [Trial(point=middle, repeat=repeat) for repeat in range(config.trials)]
    aligned: dict[str, StageConfig] = {}
    tuned: dict[str, StageConfig] = {}
    for trial in trials:
        alignment = bench.alignment(trial)
        apart = not listed  # each of `bayes` has a mixture of its own
        aligned[f"{alignment.output} {trial.repeat if apart else ''}"] = alignment
        for tuning in bench.experts(trial) if bench.merged else [bench.tuning(trial)]:
            tuned[tuning.output] = tuning
    figures = {
        "alignment": _sum(bench.budgets["alignment"], list(aligned.values())),
        "instruction": _sum(bench.budgets["instruction"], list(tuned.values())),
    }
    total = {name: sum(own[name] for own in figures.values()) for name in FIGURES}
    runs = {"alignment": len(aligned), "instruction": len(tuned)}
    rows = [[stage, runs[stage], *own.values()] for stage, own in figures.items()]
    rows.append(["together", sum(runs.values()), *total.values()])
    print(f"a search of {len(trials)} trials, {config.mode}; nothing is run")
    print(tabulate(rows, ["stage", "runs", *FIGURES], floatfmt=",.2f", intfmt=","))
    chosen = bench.budgets["instruction"].config.accelerator
    print(
        f"on {chosen.name} at {chosen.utilisation:.0%} utilisation, "
        f"{chosen.price_per_hour:g} an hour each"
    )
    references = len(aligned) if config.references and listed else 0
    print(f"{len(trials) + references} evaluations come on top", flush=True)
    return {**figures, "together": total, "runs": runs}


def _sum(budget: Budget, stages: Sequence[StageConfig]) -> dict[str, float]:
    """The figures of some runs of a stage together."""
    found = dict.fromkeys(FIGURES, 0.0)
    known: dict[tuple[int, ...], dict[str, float]] = {}
    for stage in stages:
        cut = tuple(round(1e6 * item.share) for item in stage.mixture)
        key = (stage.samples, *cut)  # repeats read other rows, as many
        if key not in known:
            known[key] = _figures(budget, stage)
        for name, value in known[key].items():
            found[name] += value
    return found


def _figures(budget: Budget, stage: StageConfig) -> dict[str, float]:
    order, _ = choose_rows(
        budget.index, stage.mixture, stage.cut, stage.steps, stage.length_window, stage.seed
    )
    read = totals(order, stage.cut, stage.workers)
    operations = budget.operations.of(read.tokens, read.squared_tokens, read.labels, read.images)
    hours = stage.accelerator.hours(operations)
    return {
        "samples": read.rows,
        "tokens": read.tokens,
        "accelerator_hours": hours,
        "price": hours * stage.accelerator.price_per_hour,
    }
