"""Whether cheaper runs (a small model, a short schedule, merged experts) rank mixtures as whole
runs do.

Spearman's rank correlation over the mixtures that both ran, with a bootstrap interval over the
mixtures. A proxy is evidence where the correlation is high and its interval is above zero; else
what it says of the mixtures is refused.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from doctor_sun.errors import InputError
from doctor_sun.ratios.propose import utility
from doctor_sun.ratios.results import OBJECTIVES, Results

LEAST = 0.7
"""Correlation below which a proxy is refused."""
FEWEST = 5  # mixtures that both ran
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """A proxy against whole runs, by one score."""

    proxy: str
    score: str
    mixtures: int
    correlation: float
    interval: tuple[float, float]

    @property
    def evidence(self) -> bool:
        """Whether the proxy may say which mixture is better."""
        return self.correlation >= LEAST and self.interval[0] > 0


def agreements(
    name: str, whole: Results, proxy: Results, preference: float, level: float, seed: int
) -> list[Agreement]:
    """How a proxy agrees with whole runs, by each objective and by the utility.

    Args:
        name: of the proxy.
        whole: the runs that count.
        proxy: the cheaper ones.
        preference: weight of the specialised score in the utility.
        level: of the intervals.
        seed: of the bootstrap.

    Raises:
        InputError: they are of different sources, or have too few mixtures in common.
    """
    if whole.space.names != proxy.space.names:
        raise InputError(f"proxy '{name}' mixes other sources than the runs")
    ours, theirs = ({m.point: m.objectives for m in one.mixtures} for one in (whole, proxy))
    common = [point for point in ours if point in theirs]
    if len(common) < FEWEST:
        raise InputError(
            f"proxy '{name}' ran {len(common)} of the mixtures, {FEWEST} are needed for a "
            "correlation"
        )
    one, two = (np.array([scores[point] for point in common]) for scores in (ours, theirs))
    columns = [*zip(OBJECTIVES, one.T, two.T, strict=True)]
    columns.append(("utility", utility(one, preference), utility(two, preference)))
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(common), size=(RESAMPLES, len(common)))
    return [
        Agreement(
            proxy=name,
            score=score,
            mixtures=len(common),
            correlation=float(correlation(left, right)),
            interval=_interval(left, right, draws, level),
        )
        for score, left, right in columns
    ]


def correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's rank correlation along the last axis [...]; 0 where one does not vary."""
    ranks = [stats.rankdata(one, axis=-1) for one in (left, right)]
    apart = [one - one.mean(axis=-1, keepdims=True) for one in ranks]
    both = (apart[0] * apart[1]).sum(axis=-1)
    norm = np.sqrt((apart[0] ** 2).sum(axis=-1) * (apart[1] ** 2).sum(axis=-1))
    found: NDArray[np.float64] = np.divide(both, norm, out=np.zeros_like(both), where=norm > 0)
    return found


def _interval(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    draws: NDArray[np.int64],
    level: float,
) -> tuple[float, float]:
    drawn = correlation(left[draws], right[draws])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
