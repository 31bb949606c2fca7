"""What is searched: the shares of the sources in each stage's mixture.

A stage's shares sum to one, so its first source (the medical data) is what the others leave, and
the coordinates of a point are the shares of the others, stage by stage. With one general source in
two stages that is the paper's case: (general fraction of alignment, of instruction tuning).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

GRID_STEP = 0.025
SAMPLED = 1024  # candidates where a grid would have more than two dimensions


def general_fraction(ratio: float) -> float:
    """The share g = k / (1 + k) of general data where each medical sample has k general ones."""
    return ratio / (1 + ratio)


def general_ratio(fraction: float) -> float:
    """General samples k = g / (1 - g) for each medical one, from the share g of general data."""
    return fraction / (1 - fraction)


def ratio_name(fraction: float) -> str:
    """`1:k` of medical to general samples; `0:1` where there are no medical ones."""
    return f"1:{general_ratio(fraction):.2g}" if fraction < 1 else "0:1"


def paper_stages() -> dict[str, tuple[str, ...]]:
    """Medical and general data in both stages."""
    return {"alignment": ("medical", "general"), "instruction": ("medical", "general")}


@dataclass(frozen=True, kw_only=True)
class Space:
    """Which shares a search may set."""

    stages: Mapping[str, Sequence[str]] = field(default_factory=paper_stages)
    """Sources by stage; the first one of a stage is the remainder."""

    most: float = 0.7
    """Largest sum of a stage's shares beside the first source's."""

    levels: Sequence[float] = ()
    """The only values of the first coordinate (alignments that trials shall share); empty allows
    all."""

    @property
    def names(self) -> list[str]:
        """Names of the coordinates, `stage source`."""
        return [f"{stage} {source}" for stage, own in self.stages.items() for source in own[1:]]

    @property
    def drawable(self) -> bool:
        """Whether it is a plane of two stages, each of medical and general data alone."""
        return len(self.stages) == 2 and all(len(own) == 2 for own in self.stages.values())

    def inside(self, point: Sequence[float]) -> bool:
        """Whether a point's shares are none below zero and leave each first source its part."""
        values = iter(point)
        sums = [sum(next(values) for _ in own[1:]) for own in self.stages.values()]
        return min(point) >= 0 and max(sums) <= self.most + 1e-9

    def candidates(self, seed: int = 0) -> NDArray[np.float64]:
        """Points [n, dimensions] that cover the space: a grid up to two stages of two sources."""
        if all(len(own) == 2 for own in self.stages.values()) and len(self.stages) <= 2:
            steps = np.arange(round(self.most / GRID_STEP) + 1) * GRID_STEP
            axes = [steps] * len(self.stages)
            axes[0] = np.array(self.levels) if self.levels else steps
            return np.array(list(product(*axes)))
        return self.spread(SAMPLED, seed)

    def spread(self, count: int, seed: int) -> NDArray[np.float64]:
        """Points [count, dimensions] spread evenly (scrambled Sobol), more points extend fewer.

        The gaps between sorted uniform numbers are uniform on the simplex.
        """
        from scipy.stats import qmc

        sobol = qmc.Sobol(len(self.names), rng=seed)
        drawn = sobol.random_base2(max(1, math.ceil(math.log2(max(1, count)))))[:count]
        ends = np.cumsum([len(own) - 1 for own in self.stages.values()])[:-1]
        parts = [np.sort(part, axis=1) for part in np.split(drawn, ends, axis=1)]
        points = np.concatenate([np.diff(p, axis=1, prepend=0) for p in parts], axis=1) * self.most
        if self.levels:
            points[:, 0] = np.array(self.levels)[(drawn[:, 0] * len(self.levels)).astype(int)]
        return points
