#!/usr/bin/env python
"""The ratio search against random search, on simulated surfaces whose optimum is known.

    python benchmarks/ratio_search.py [--surfaces 50] [--first-seed 10000] [--quick]

A surface has two objectives over two general fractions (alignment, instruction tuning): a general
score that loses 40 to 60 points without general data (the paper is left with 1.9 % on MMBench),
with diminishing returns and either stage helping the other to a random degree, and a specialised
score that general data cost, at a growing rate. What is sought is the highest utility, the mean of
the two. The optimum is drawn evenly over the plane, and kept when 0.1 to its sides cost 0.3 points
or more on average: a flatter one cannot be located under this noise, nor need it be. Each trial
sees the surface with noise: between 1 point (the sampling error of a benchmark of some thousand
questions) and the spread of this project's own repeats (`benchmarks/ablations.py`).

`bayes` is `doctor_sun.ratios.propose.next_point`, the function of the search itself, and recommends
where its surface expects the most. Random search takes the best of as many random trials. Passes
when, after 16 trials, `bayes` is within 0.05 of the optimum in both fractions on 80 % of the
surfaces, with at most half the regret of random search, and its 90 % bands hold 85 to 95 % of the
true scores over the plane. Seeds below 10000 are for trying things out.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from doctor_sun.ratios.judge import recommended
from doctor_sun.ratios.propose import ProposeConfig, next_point, utility
from doctor_sun.ratios.space import Space
from doctor_sun.ratios.surface import Surface

RESULTS = Path(__file__).parent / "results"
TRIALS = 16
NEAR, LEVEL = 0.05, 0.9
LEAST_NEAR, MOST_REGRET, COVERED = 0.8, 0.5, (0.85, 0.95)
PREFERENCE = 0.5
LEAST_NOISE = 0.01
REPEATS_NOISE = 0.0335
"""Pooled standard deviation of an accuracy between the seeds of `benchmarks/ablations.py`."""
LEAST_DROP = 0.003
SPACE = Space()
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """A surface and where it is best."""

    scores: Callable[[Array], Array]
    """From points [n, 2] to (specialised, general) scores [n, 2]."""
    noise: float
    best: Array
    """[2] fractions of the highest utility."""
    most: float
    """That utility."""


def planted(random: np.random.Generator) -> Planted:
    """A random surface with an optimum that is worth finding."""
    noise = float(np.exp(random.uniform(np.log(LEAST_NOISE), np.log(REPEATS_NOISE))))
    steps = np.linspace(0, SPACE.most, 141)
    plane = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    while True:
        scores = random_scores(random)
        useful = utility(scores(plane), PREFERENCE)
        best = plane[useful.argmax()]
        beside = np.clip(best + 2 * NEAR * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)]), 0, None)
        drop = useful.max() - utility(scores(beside), PREFERENCE)
        if drop.mean() >= LEAST_DROP and scores(plane).min() >= 0:
            return Planted(scores, noise, best, float(useful.max()))


def random_scores(random: np.random.Generator) -> Callable[[Array], Array]:
    """Scores whose utility is stationary at a point that is drawn evenly.

    The general score is what it costs to have little general data, by stage and by both together;
    the price of general data in the specialised score is set so that both slopes cancel there.
    """
    best, top = random.uniform(0, SPACE.most, 2), random.uniform(0.5, 0.7, 2)
    lost, part, together = random.uniform(0.4, 0.6), random.uniform(0.3, 0.7), random.uniform(0, 1)
    scale, power = random.uniform(0.1, 0.35, 2), random.uniform(1.3, 3, 2)
    parts = np.array([part, 1 - part])

    def lack(points: Array) -> Array:
        return np.exp(-points / scale)

    there = lack(best)
    slope = lost * (together * there.prod() + (1 - together) * parts * there) / scale
    price = slope * SPACE.most / (power * (best / SPACE.most) ** (power - 1))

    def scores(points: Array) -> Array:
        missed = together * lack(points).prod(axis=1) + (1 - together) * lack(points) @ parts
        paid = (points / SPACE.most) ** power @ price
        return np.stack([top[0] - paid, top[1] - lost * missed], axis=1)

    return scores


def search(surface: Planted, bayes: bool, seed: int) -> dict[str, Any]:
    """One search of `TRIALS` trials and how its recommendation stands to the truth."""
    random = np.random.default_rng((seed, bayes))
    config = ProposeConfig(preference=PREFERENCE, seed=seed)
    points: list[tuple[float, ...]] = []
    seen: list[tuple[float, float]] = []
    for _ in range(TRIALS):
        drawn = tuple(random.uniform(0, SPACE.most, 2).tolist())
        point = next_point(SPACE, points, seen, config) if bayes else drawn
        special, general = surface.scores(np.array([point]))[0]
        noise = surface.noise * random.standard_normal(2)
        points.append(point)
        seen.append((special + noise[0], general + noise[1]))
    found: dict[str, Any] = {}
    if bayes:
        fitted = Surface(np.array(points), np.array(seen), SPACE.most)
        candidates = SPACE.candidates()
        choice = recommended(fitted, candidates, PREFERENCE)
        low, high = fitted.band(candidates, LEVEL)
        truth = surface.scores(candidates)
        found["covered"] = ((low <= truth) & (truth <= high)).mean(axis=0).tolist()
    else:
        choice = points[int(utility(np.array(seen), PREFERENCE).argmax())]
    got = float(utility(surface.scores(np.array([choice])), PREFERENCE)[0])
    found |= {"choice": list(choice), "regret": surface.most - got}
    return found | {"distance": float(np.abs(np.array(choice) - surface.best).max())}


def measure(count: int, first_seed: int) -> list[dict[str, Any]]:
    """Both searches on each surface."""
    lines = []
    for seed in range(first_seed, first_seed + count):
        surface = planted(np.random.default_rng(seed))
        line = {"seed": seed, "noise": surface.noise, "best": surface.best.tolist()}
        line |= {"bayes": search(surface, True, seed), "random": search(surface, False, seed)}
        lines.append(line)
    return lines


def summary(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that the bar is about."""
    near = {
        kind: float(np.mean([line[kind]["distance"] <= NEAR + 1e-9 for line in lines]))
        for kind in ("bayes", "random")
    }
    regret = {k: float(np.mean([line[k]["regret"] for line in lines])) for k in near}
    return {
        "surfaces": len(lines),
        "bayes_near": near["bayes"],
        "random_near": near["random"],
        "bayes_regret": regret["bayes"],
        "random_regret": regret["random"],
        "covered": float(np.mean([line["bayes"]["covered"] for line in lines])),
    }


def passed(figures: dict[str, float]) -> bool:
    """Whether the bar is met."""
    return (
        figures["bayes_near"] >= LEAST_NEAR
        and figures["bayes_regret"] <= MOST_REGRET * figures["random_regret"]
        and COVERED[0] <= figures["covered"] <= COVERED[1]
    )


def main() -> None:
    """Search, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--surfaces", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="five surfaces; fails on nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="botorch")
    started = time.process_time()
    lines = measure(5 if arguments.quick else arguments.surfaces, arguments.first_seed)
    by_noise = sorted(lines, key=lambda line: line["noise"])
    half = len(lines) // 2
    table = {
        "all": summary(lines),
        "less noise": summary(by_noise[:half]),
        "more noise": summary(by_noise[half:]),
    }
    print(
        f"{'':<12}{'surfaces':>10}{'near':>8}{'random':>8}{'regret':>9}{'random':>9}{'covered':>9}"
    )
    for name, row in table.items():
        print(
            f"{name:<12}{row['surfaces']:>10}{row['bayes_near']:>8.0%}{row['random_near']:>8.0%}"
            f"{row['bayes_regret']:>9.4f}{row['random_regret']:>9.4f}{row['covered']:>9.1%}"
        )
    noises = by_noise[0]["noise"], by_noise[-1]["noise"]
    print(f"noise of one trial: {noises[0]:.3f} to {noises[1]:.3f}; {TRIALS} trials a search")
    seconds = time.process_time() - started
    RESULTS.mkdir(exist_ok=True)
    result = {"first_seed": arguments.first_seed, "trials": TRIALS, "cpu_seconds": seconds}
    (RESULTS / "ratio_search.json").write_text(
        json.dumps(result | {"figures": table, "surfaces": lines}, indent=2)
    )
    ratio = table["all"]["bayes_regret"] / table["all"]["random_regret"]
    print(f"ratio: {ratio:.2f} (regret of bayes over that of random search)")
    if not arguments.quick and not passed(table["all"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
