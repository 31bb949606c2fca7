"""Response surfaces whose optimum is known, and a search that knows their family.

A surface has two objectives over two general fractions (alignment, instruction tuning): a general
score that loses 40 to 60 points without general data (the paper is left with 1.9 % on MMBench),
with diminishing returns and either stage helping the other to a random degree, and a specialised
score that general data cost, at a growing rate. What is sought is the highest utility, the mean of
the two. The optimum is drawn evenly over the plane, and kept when 0.1 to its sides cost 0.3 points
or more on average: a flatter one cannot be located under this noise, nor need it be. Each trial
sees the surface with noise: between 1 point (the sampling error of a benchmark of some thousand
questions) and the spread of this project's own repeats (`benchmarks/ablations.py`).

Others follow no law: smooth random functions, to see what is left where scores do otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import emcee
import numpy as np
from numpy.typing import NDArray

from doctor_sun.ratios.propose import utility
from doctor_sun.ratios.space import Space

NEAR = 0.05
PREFERENCE = 0.5
SPACE = Space()
LEAST_NOISE = 0.01
REPEATS_NOISE = 0.0335
"""Pooled standard deviation of an accuracy between the seeds of `benchmarks/ablations.py`."""
LEAST_DROP = 0.003
MIDDLE, SWING, WAVES = 0.5, 0.08, 200  # of scores that follow no law
Array = NDArray[np.float64]

RANGES = np.array(
    [
        *[(0, SPACE.most)] * 2,  # the optimum
        *[(0.5, 0.7)] * 2,  # the best scores, specialised and general
        (0.4, 0.6),  # lost of the general one without general data,
        (0.3, 0.7),  # the first stage's part of that,
        (0, 1),  # and how far either stage makes up for the other
        *[(0.1, 0.35)] * 2,  # general fraction at which 1 / e is left of the loss
        *[(1.3, 3)] * 2,  # how the specialised cost grows
    ]
)
"""Lowest and highest value of each parameter; they are drawn evenly."""


def scores_of(family: Array, points: Array) -> Array:
    """Scores [surfaces, n, 2] of surfaces (their parameters: [surfaces, 11]) at points [n, 2].

    The general score is what it costs to have little general data, by stage and by both together;
    the price of general data in the specialised score is set so that both slopes cancel at the
    optimum.
    """
    best, top, (lost, part, together) = family[:, :2], family[:, 2:4], family[:, 4:7].T
    scale, power = family[:, 7:9], family[:, 9:]
    parts = np.stack([part, 1 - part], axis=1)
    there = np.exp(-best / scale)
    apart = (1 - together)[:, None] * parts
    slope = lost[:, None] * ((together * there.prod(axis=1))[:, None] + apart * there) / scale
    price = slope * SPACE.most / (power * (best / SPACE.most) ** (power - 1))
    lack = np.exp(-points / scale[:, None])
    missed = together[:, None] * lack.prod(axis=2) + (lack * apart[:, None]).sum(axis=2)
    paid = ((points / SPACE.most) ** power[:, None] * price[:, None]).sum(axis=2)
    return np.stack([top[:, :1] - paid, top[:, 1:] - lost[:, None] * missed], axis=2)


@dataclass(frozen=True)
class Planted:
    """A surface and where it is best."""

    scores: Callable[[Array], Array]
    """From points [n, 2] to (specialised, general) scores [n, 2], without noise."""
    noise: float
    """Standard deviation of one trial's scores."""
    best: Array
    """[2] fractions of the highest utility."""
    most: float
    """That utility."""


def planted(random: np.random.Generator) -> Planted:
    """A random surface with an optimum that is worth finding."""
    noise = random_noise(random)
    steps = np.linspace(0, SPACE.most, 141)
    plane = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    while True:
        family = random.uniform(*RANGES.T)[None]

        def scores(points: Array, family: Array = family) -> Array:
            return scores_of(family, points)[0]

        useful = utility(scores(plane), PREFERENCE)
        best = plane[useful.argmax()]
        drop = useful.max() - utility(scores(beside(best)), PREFERENCE)
        if drop.mean() >= LEAST_DROP and scores(plane).min() >= 0:
            return Planted(scores, noise, best, float(useful.max()))


def lawless(random: np.random.Generator) -> Planted:
    """A smooth random function of each score: a sum of waves, as of a Gaussian process."""
    noise = random_noise(random)
    waves = random.standard_normal((2, WAVES, 2)) / (SPACE.most / 2)
    begins = random.uniform(0, 2 * np.pi, (2, WAVES))
    heights = random.standard_normal((2, WAVES)) * np.sqrt(2 / WAVES) * SWING

    def scores(points: Array) -> Array:
        phases = np.einsum("sfd,nd->nsf", waves, points) + begins
        found: Array = MIDDLE + (np.cos(phases) * heights).sum(axis=2)
        return found

    candidates = SPACE.candidates()
    useful = utility(scores(candidates), PREFERENCE)
    return Planted(scores, noise, candidates[useful.argmax()], float(useful.max()))


def random_noise(random: np.random.Generator) -> float:
    """A standard deviation of one trial's scores."""
    return float(np.exp(random.uniform(np.log(LEAST_NOISE), np.log(REPEATS_NOISE))))


def beside(point: Array) -> Array:
    """Points [4, 2] at twice `NEAR` to the sides."""
    sides = 2 * NEAR * np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
    return np.clip(point + sides, 0, None)


WALKERS, STEPS = 256, 400
MOVES = ((emcee.moves.DEMove(), 0.8), (emcee.moves.StretchMove(), 0.2))


class KnownFamily:
    """What some trials say to one who knows how the surfaces are drawn: more cannot be known.

    Walkers over the eleven parameters and the noise, from their posterior.
    """

    def __init__(self, points: Array, seen: Array, seed: int) -> None:
        """Of trials at points [n, 2] with scores [n, 2]."""
        self.points, self.seen = points, seen
        noise = (math.log(LEAST_NOISE), math.log(REPEATS_NOISE))
        self.low, self.high = np.array([*RANGES, noise]).T
        size = len(self.low)
        random = np.random.default_rng(seed)
        drawn = random.uniform(self.low, self.high, (100 * WALKERS, size))
        start = drawn[np.argsort(-self.log_posterior(drawn))[:WALKERS]]
        sampler = emcee.EnsembleSampler(
            WALKERS, size, self.log_posterior, moves=list(MOVES), vectorize=True
        )
        legacy = np.random.RandomState(seed).get_state()  # what emcee takes
        sampler.run_mcmc(emcee.State(start, random_state=legacy), STEPS)
        self.family = sampler.get_chain(discard=STEPS // 2, thin=STEPS // 8, flat=True)[:, :-1]

    def log_posterior(self, values: Array) -> Array:
        """Of parameters and the noise's logarithm [walkers, 12]."""
        inside = ((values > self.low) & (values < self.high)).all(axis=1)
        noise = values[inside, -1:]
        missed = (scores_of(values[inside, :-1], self.points) - self.seen).reshape(len(noise), -1)
        found = np.full(len(values), -np.inf)
        found[inside] = -((missed / np.exp(noise)) ** 2 / 2 + noise).sum(axis=1)
        return found

    def useful(self, points: Array) -> Array:
        """Utility [draws, n] of points [n, 2]."""
        return utility(scores_of(self.family, points), PREFERENCE)
