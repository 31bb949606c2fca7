"""What a surface says of mixtures: which is best and how surely, which are on the front."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.utils.multi_objective.pareto import is_non_dominated
from numpy.typing import NDArray

from doctor_sun.ratios.propose import Point, utility
from doctor_sun.ratios.results import Results
from doctor_sun.ratios.surface import Surface

LEAST_RUNS = 5


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One mixture by the surface: runs and surface together, noise taken out."""

    name: str
    point: Point
    mean: NDArray[np.float64]
    """[objectives]"""
    band: NDArray[np.float64]
    """[2, objectives]: bounds of the credible interval."""
    utility: float
    utility_band: tuple[float, float]
    best: float
    """Probability that no other candidate has a higher utility."""
    front: float
    """Probability that no other candidate dominates it."""


def recommended(surface: Surface, candidates: NDArray[np.float64], preference: float) -> Point:
    """The candidate whose expected utility is highest."""
    means, _ = surface.moments(candidates)
    place = int(utility(means, preference).argmax())
    return tuple(round(float(value), 4) for value in candidates[place])


def judge(
    surface: Surface,
    names: Sequence[str],
    points: Sequence[Point],
    preference: float,
    level: float,
    seed: int,
) -> list[Judged]:
    """Compare mixtures by joint draws of the surface.

    Args:
        surface: fitted to the runs.
        names: of the mixtures.
        points: the mixtures.
        preference: weight of the specialised score.
        level: of the credible intervals.
        seed: of the draws.
    """
    drawn = surface.draws(np.array(points), seed)
    tails = [(1 - level) / 2, (1 + level) / 2]
    bands = np.quantile(drawn, tails, axis=0)
    useful = utility(drawn, preference)
    edges = np.quantile(useful, tails, axis=0)
    best = np.bincount(useful.argmax(axis=1), minlength=len(points)) / len(drawn)
    front = is_non_dominated(torch.as_tensor(drawn), deduplicate=False).double().mean(dim=0).numpy()
    return [
        Judged(
            name=name,
            point=points[place],
            mean=drawn[:, place].mean(axis=0),
            band=bands[:, place],
            utility=float(useful[:, place].mean()),
            utility_band=(float(edges[0, place]), float(edges[1, place])),
            best=float(best[place]),
            front=float(front[place]),
        )
        for place, name in enumerate(names)
    ]


def fit(results: Results) -> Surface | None:
    """The surface of a table of runs; None below `LEAST_RUNS` mixtures."""
    if len(results.mixtures) < LEAST_RUNS:
        return None
    return Surface(results.points, results.objectives, results.space.most)
