#!/usr/bin/env python
"""The ratio search against random search, on simulated surfaces whose optimum is known.

    python benchmarks/ratio_search.py [--surfaces 50] [--lawless 24] [--first-seed 10000] [--quick]

`bayes` is `doctor_sun.ratios.propose.next_point`, the function of the search itself, and recommends
where its surface expects the most. Random search takes the best of as many random trials. `known`
knows the family that the surfaces are drawn from, which no search of real mixtures does: its
figures are about what can be had under this noise. The surfaces: `_planted_surfaces.py`.

Passes when, after 16 trials, `bayes` is within 0.05 of the optimum in both fractions on 80 % of the
surfaces, with at most half the regret of random search, and its 90 % bands hold 85 to 95 % of the
true scores over the plane; regret and bands also where the scores follow no law. Seeds below 10000
are for trying things out.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from _planted_surfaces import NEAR, PREFERENCE, SPACE, KnownFamily, Planted, lawless, planted
from tabulate import tabulate

from doctor_sun.ratios.judge import recommended
from doctor_sun.ratios.propose import Point, ProposeConfig, next_point, utility
from doctor_sun.ratios.surface import Surface

RESULTS = Path(__file__).parent / "results"
TRIALS = 16
LEVEL = 0.9
LEAST_NEAR, MOST_REGRET, COVERED = 0.8, 0.5, (0.85, 0.95)
KINDS = ("bayes", "random", "known")
Kind = Literal["bayes", "random", "known"]


def search(surface: Planted, kind: Kind, seed: int) -> dict[str, Any]:
    """One search of `TRIALS` trials and how its recommendation stands to the truth."""
    random = np.random.default_rng((seed, KINDS.index(kind)))
    config = ProposeConfig(preference=PREFERENCE, seed=seed)
    points: list[Point] = []
    seen: list[tuple[float, float]] = []
    for _ in range(TRIALS):
        if kind == "random":
            point = tuple(random.uniform(0, SPACE.most, 2).tolist())
        elif kind == "known" and len(points) >= config.initial:
            point = best_of_a_draw(points, seen, random)
        else:
            point = next_point(SPACE, points, seen, config)
        special, general = surface.scores(np.array([point]))[0]
        noise = surface.noise * random.standard_normal(2)
        points.append(point)
        seen.append((special + noise[0], general + noise[1]))
    found: dict[str, Any] = {}
    candidates = SPACE.candidates()
    if kind == "bayes":
        fitted = Surface(np.array(points), np.array(seen), SPACE.most)
        choice = recommended(fitted, candidates, PREFERENCE)
        low, high = fitted.band(candidates, LEVEL)
        truth = surface.scores(candidates)
        found["covered"] = ((low <= truth) & (truth <= high)).mean(axis=0).tolist()
    elif kind == "known":
        useful = KnownFamily(np.array(points), np.array(seen), seed).useful(candidates)
        choice = tuple(candidates[useful.mean(axis=0).argmax()].tolist())
    else:
        choice = points[int(utility(np.array(seen), PREFERENCE).argmax())]
    got = float(utility(surface.scores(np.array([choice])), PREFERENCE)[0])
    found |= {"choice": list(choice), "regret": surface.most - got}
    return found | {"distance": float(np.abs(np.array(choice) - surface.best).max())}


def best_of_a_draw(
    points: list[Point], seen: list[tuple[float, float]], random: np.random.Generator
) -> Point:
    """Where one surface of the known family's posterior is best (Thompson sampling)."""
    known = KnownFamily(np.array(points), np.array(seen), int(random.integers(1 << 31)))
    candidates = SPACE.candidates()
    drawn = known.useful(candidates)[random.integers(len(known.family))]
    return tuple(candidates[drawn.argmax()].tolist())


def measure(task: tuple[Callable[[np.random.Generator], Planted], int]) -> dict[str, Any]:
    """All searches on one surface; nobody knows the family of those without a law."""
    draw, seed = task
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="botorch")
    surface = draw(np.random.default_rng(seed))
    kinds = KINDS if draw is planted else KINDS[:2]
    line = {"seed": seed, "noise": surface.noise, "best": surface.best.tolist()}
    return line | {kind: search(surface, kind, seed) for kind in kinds}


def summary(lines: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that the bar is about."""
    found: dict[str, float] = {"surfaces": len(lines)}
    for kind in (kind for kind in KINDS if kind in lines[0]):
        own = [line[kind] for line in lines]
        found[f"{kind} near"] = float(np.mean([one["distance"] <= NEAR + 1e-9 for one in own]))
        found[f"{kind} regret"] = float(np.mean([one["regret"] for one in own]))
    return found | {"covered": float(np.mean([line["bayes"]["covered"] for line in lines]))}


def passed(figures: dict[str, float], least_near: float) -> bool:
    """Whether the bar is met."""
    return (
        figures["bayes near"] >= least_near
        and figures["bayes regret"] <= MOST_REGRET * figures["random regret"]
        and COVERED[0] <= figures["covered"] <= COVERED[1]
    )


def main() -> None:
    """Search, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--surfaces", type=int, default=50)
    parser.add_argument("--lawless", type=int, default=24, help="surfaces without a law")
    parser.add_argument("--first-seed", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="few surfaces; fails on nothing")
    arguments = parser.parse_args()
    counts = (4, 2) if arguments.quick else (arguments.surfaces, arguments.lawless)
    started = time.monotonic()
    tasks = [
        (draw, arguments.first_seed + number)
        for draw, count in zip((planted, lawless), counts, strict=True)
        for number in range(count)
    ]
    with ProcessPoolExecutor() as pool:
        measured = list(pool.map(measure, tasks))
    lines, others = measured[: counts[0]], measured[counts[0] :]
    by_noise = sorted(lines, key=lambda line: line["noise"])
    half = len(lines) // 2
    table = {
        "all": summary(lines),
        "less noise": summary(by_noise[:half]),
        "more noise": summary(by_noise[half:]),
        "no law": summary(others),
    }
    print(tabulate([{"": name, **row} for name, row in table.items()], "keys", floatfmt=".4g"))
    noises = by_noise[0]["noise"], by_noise[-1]["noise"]
    print(f"noise of one trial: {noises[0]:.3f} to {noises[1]:.3f}; {TRIALS} trials a search")
    seconds = time.monotonic() - started
    RESULTS.mkdir(exist_ok=True)
    result = {"first_seed": arguments.first_seed, "trials": TRIALS, "seconds": seconds}
    (RESULTS / "ratio_search.json").write_text(
        json.dumps(result | {"figures": table, "surfaces": measured}, indent=2)
    )
    ratio = table["all"]["bayes regret"] / table["all"]["random regret"]
    print(f"ratio: {ratio:.2f} (regret of bayes over that of random search)")
    whole = passed(table["all"], LEAST_NEAR) and passed(table["no law"], 0)
    if not arguments.quick and not whole:
        sys.exit(1)


if __name__ == "__main__":
    main()
