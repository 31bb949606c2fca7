"""The next trial: a cover of the space first, one repeat, then what promises most.

`next_point` is all that a search needs: it takes what has been run and names the next mixture. What
promises most is, in turns, the expected improvement of the hypervolume under the front of
(specialised, general) scores (BoTorch's, over the means that the surface gives the runs, not over
their noisy scores) and the knowledge gradient: by how much the utility of what would be recommended
is expected to rise once the trial's scores are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.models.model import Model
from botorch.posteriors import GPyTorchPosterior
from botorch.utils.multi_objective.box_decompositions import NondominatedPartitioning
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from gpytorch.distributions import MultitaskMultivariateNormal
from numpy.typing import NDArray
from scipy import stats

from doctor_sun.ratios.space import Space
from doctor_sun.ratios.surface import Surface

Point = tuple[float, ...]
OUTCOMES = 9


@dataclass(kw_only=True)
class ProposeConfig:
    """How a search chooses its trials."""

    initial: int = 6
    """Trials that cover the space before a surface is fitted."""

    preference: float = 0.5
    """Weight of the specialised score in what is recommended; the general score has the rest."""

    seed: int = 0
    """Of the first trials."""


def utility(scores: NDArray[np.float64], preference: float) -> NDArray[np.float64]:
    """What is recommended by: `preference` x specialised + (1 - preference) x general [...]."""
    weighed: NDArray[np.float64] = scores @ np.array([preference, 1 - preference])
    return weighed


def utility_deviation(deviations: NDArray[np.float64], preference: float) -> NDArray[np.float64]:
    """Standard deviation [...] of the utility, from those of both scores [..., 2]."""
    own = deviations * np.array([preference, 1 - preference])
    found: NDArray[np.float64] = np.hypot(own[..., 0], own[..., 1])
    return found


def next_point(
    space: Space,
    points: Sequence[Point],
    scores: Sequence[tuple[float, float]],
    config: ProposeConfig,
    pending: Sequence[Point] = (),
    surface: Surface | None = None,
) -> Point:
    """The mixture of the next trial.

    Args:
        space: what may be tried.
        points: mixtures of the finished trials, repeats included.
        scores: their (specialised, general) scores, shares of 1.
        config: how to choose.
        pending: mixtures that are being run: each counts as if it had come out as expected.
        surface: fitted to the finished trials, where there is one already.
    """
    started = len(points) + len(pending)
    if started < config.initial:
        return _point(space.spread(config.initial, config.seed)[started])
    if len(points) < 2:  # all that runs has been named, and nothing has come back
        return _point(space.spread(started + 1, config.seed)[started])
    ran, seen = np.array(points), np.array(scores)
    if len({*points, *pending}) == started:
        return points[int(utility(seen, config.preference).argmax())]
    surface = surface or Surface(ran, seen, space.most)
    if pending:
        believed, _ = surface.moments(np.array(pending))
        ran, seen = np.concatenate([ran, pending]), np.concatenate([seen, believed])
        surface = Surface(ran, seen, space.most)
    candidates = space.candidates(config.seed)
    gains = (
        hypervolume_improvement(surface, ran, candidates)
        if by_hypervolume(started)
        else knowledge_gradient(surface, candidates, config.preference)
    )
    return _point(candidates[int(gains.argmax())])


def by_hypervolume(started: int) -> bool:
    """Whether the trial after so many is chosen for the front, or for what is recommended.

    In turns: the front shows what a preference costs, and one preference is recommended by.
    """
    return started % 2 == 0


class _Known(Model):
    """Independent normal scores at the candidates, as BoTorch's acquisition functions ask for.

    They ask by the candidate's number, not by its coordinates.
    """

    def __init__(self, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        super().__init__()
        self.mean, self.deviation = mean, deviation

    @property
    def num_outputs(self) -> int:
        """Objectives."""
        return self.mean.shape[1]

    def posterior(self, X: torch.Tensor, **_: object) -> GPyTorchPosterior:  # noqa: N803
        """Scores [..., 1, objectives] of candidates numbered X [..., 1, 1]."""
        place = X[..., 0].long()
        return GPyTorchPosterior(
            MultitaskMultivariateNormal(
                self.mean[place], torch.diag_embed(self.deviation[place].squeeze(-2) ** 2)
            )
        )


def hypervolume_improvement(
    surface: Surface, ran: NDArray[np.float64], candidates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Expected growth [candidates] of the hypervolume under the front of the runs' means."""
    means = torch.as_tensor(surface.moments(np.unique(ran, axis=0))[0])
    reference = torch.minimum(infer_reference_point(means), means.min(dim=0).values)
    known = _Known(*(torch.as_tensor(part) for part in surface.moments(candidates)))
    front = NondominatedPartitioning(reference, means)
    acquisition = ExpectedHypervolumeImprovement(known, reference.tolist(), front)
    with torch.no_grad():
        found: NDArray[np.float64] = acquisition(
            torch.arange(len(candidates), dtype=torch.double)[:, None, None]
        ).numpy()
    return found


def knowledge_gradient(
    surface: Surface, candidates: NDArray[np.float64], preference: float
) -> NDArray[np.float64]:
    """Expected rise [candidates] of the highest mean utility (Frazier, Powell and Dayanik 2009).

    One run at a candidate moves the means of all, by their covariance with it, times a standard
    normal outcome.
    """
    weights = np.array([preference, 1 - preference])
    mean = utility(surface.moments(candidates)[0], preference)
    covariance = np.tensordot(weights**2, surface.covariance(candidates), axes=1)
    seen = np.diag(covariance) + (weights**2 * surface.noise() ** 2).sum()
    moves = covariance / np.sqrt(seen)[:, None]
    outcomes = stats.norm.ppf((np.arange(OUTCOMES) + 0.5) / OUTCOMES)
    highest = [(mean + outcome * moves).max(axis=1) for outcome in outcomes]
    found: NDArray[np.float64] = np.mean(highest, axis=0) - mean.max()
    return found


def _point(values: NDArray[np.float64]) -> Point:
    return tuple(round(float(value), 4) for value in values)
