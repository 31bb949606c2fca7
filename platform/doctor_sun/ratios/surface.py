"""The response surface: what runs at some mixtures say about all mixtures, and how surely.

Each objective follows a mixing law: exponential in the shares, as losses were found to be (Data
Mixing Laws, arXiv 2403.16952), so that more of a source either gains less and less or costs more
and more; a Gaussian process takes what the law misses. Every run is one observation: runs of one
mixture differ by their noise alone, which is how the noise is told from the surface. A dozen runs
leave a wide choice of curvatures, scales and noise, and the best-fitting choice alone gives bands
that are far too narrow; so the surface is a mixture over draws of them from their posterior, by
emcee's ensemble of walkers (arXiv 1202.3665), which start where the prior's draws fit best.
"""

import math

import emcee
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

DRAWS = 2000
PRIOR_DRAWS, WALKERS, STEPS, THIN, KEPT = 4096, 64, 160, 5, 64
WITHIN = 16  # draws whose processes' covariance is averaged
MOVES = ((emcee.moves.DEMove(), 0.7), (emcee.moves.StretchMove(), 0.3))
FURTHEST = 4.0  # deviations from a prior's mean at which it ends

SLOPE, CURVATURE = (0.0, 1.5), (3.0, 2.0)
HEIGHT, LENGTH, NOISE = (math.log(0.2), 1.5), (math.log(0.5), 0.5), (math.log(0.03), 1.2)
"""Normal priors (mean, deviation): of what all of a source does to a score, in deviations of the
scores; of how fast that bends, mostly to less gain or more cost; of the logarithms of variance and
length of what the law misses, and of the noise's variance."""
LEVEL, TOGETHER = 2.0, 0.5
"""Deviations of a score without other sources, and of what two sources do together."""


class Surface:
    """Both objectives over all mixtures, given some runs."""

    def __init__(self, points: Array, scores: Array, most: float, seed: int = 0) -> None:
        """Fit.

        Args:
            points: [runs, dimensions] shares.
            scores: [runs, objectives] shares of 1, more is better.
            most: largest share that the space allows: the inputs' unit.
            seed: of the walkers.
        """
        self.most = most
        self.parts = [_Objective(points / most, column, seed) for column in scores.T]

    def moments(self, points: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [points, objectives] of the scores without noise."""
        found = [part.moments(points / self.most) for part in self.parts]
        mean, deviation = (np.stack(own, axis=1) for own in zip(*found, strict=True))
        return mean, deviation

    def covariance(self, points: Array) -> Array:
        """Covariance [objectives, points, points] of the scores without noise."""
        return np.stack([part.covariance(points / self.most) for part in self.parts])

    def band(self, points: Array, level: float) -> tuple[Array, Array]:
        """Lower and upper bounds [points, objectives] of the scores' credible intervals."""
        mean, deviation = self.moments(points)
        low, high = stats.norm.interval(level, loc=mean, scale=deviation)
        return low, high

    def draws(self, points: Array, seed: int, count: int = DRAWS) -> Array:
        """Joint draws [count, points, objectives] of the scores without noise."""
        generator = np.random.default_rng(seed)
        drawn = [part.draws(points / self.most, count, generator) for part in self.parts]
        return np.stack(drawn, axis=-1)

    def noise(self) -> Array:
        """Standard deviation [objectives] of one run around the surface."""
        return np.array([part.noise for part in self.parts])


class _Objective:
    """One objective: a Gaussian process for each draw of the law's curvatures and the scales."""

    def __init__(self, inputs: Array, scores: Array, seed: int) -> None:
        """Fit to inputs [runs, dimensions], parts of the largest share, and scores [runs]."""
        self.inputs = inputs
        self.offset, self.unit = scores.mean(), max(scores.std(ddof=1), 1e-6)
        self.targets = (scores - self.offset) / self.unit
        priors = [SLOPE] * inputs.shape[1] + [CURVATURE] * inputs.shape[1]
        self.centre, self.spread = np.array([*priors, HEIGHT, LENGTH, NOISE]).T
        self.laws = _Laws(self._sampled(seed), inputs.shape[1])
        law, features, covariance = self._of_runs(self.laws)
        self.features, self.inverse = features, np.linalg.inv(covariance)
        self.weights = np.einsum("dij,dj->di", self.inverse, self.targets - law)

    @property
    def noise(self) -> float:
        """Standard deviation of one run."""
        return float(self.unit * np.sqrt(self.laws.noise.mean()))

    def _sampled(self, seed: int) -> Array:
        """Parameters [KEPT, parameters] from their posterior."""
        generator = np.random.default_rng(seed)
        size = len(self.centre)
        walkers = max(WALKERS, 2 * size)  # emcee wants two for each parameter
        # They move in deviations of the priors.
        normal = generator.standard_normal((PRIOR_DRAWS, size)).clip(-3, 3)
        fitting = np.argsort(-self._log_likelihood(normal))[:walkers]
        sampler = emcee.EnsembleSampler(
            walkers, size, self._log_posterior, moves=list(MOVES), vectorize=True
        )
        legacy = np.random.RandomState(seed).get_state()  # what emcee takes
        sampler.run_mcmc(emcee.State(normal[fitting], random_state=legacy), STEPS)
        chain = sampler.get_chain(discard=STEPS // 2, thin=THIN, flat=True)
        return self.centre + self.spread * generator.permutation(chain)[:KEPT]

    def _log_posterior(self, normal: Array) -> Array:
        inside = np.abs(normal).max(axis=1) < FURTHEST
        found = np.full(len(normal), -np.inf)
        found[inside] = self._log_likelihood(normal[inside]) - (normal[inside] ** 2).sum(axis=1) / 2
        return found

    def _log_likelihood(self, normal: Array) -> Array:
        """Of parameters [n, parameters] in deviations of their priors, up to a constant."""
        law, _, covariance = self._of_runs(
            _Laws(self.centre + self.spread * normal, self.inputs.shape[1])
        )
        root = np.linalg.cholesky(covariance)
        apart = np.linalg.solve(root, (self.targets - law)[:, :, None])[:, :, 0]
        scale = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        found: Array = -(apart**2).sum(axis=1) / 2 - scale
        return found

    def _of_runs(self, laws: "_Laws") -> tuple[Array, Array, Array]:
        """Law [draws, runs], features [draws, runs, features], covariance [draws, runs, runs]."""
        law, features = laws.at(self.inputs)
        covariance = laws.kernel(features, features, self.inputs, self.inputs)
        return law, features, covariance + laws.noise[:, None, None] * np.eye(len(self.inputs))

    def _means(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Means [draws, n], features [draws, n, features], covariance to the runs."""
        law, features = self.laws.at(inputs)
        shared = self.laws.kernel(features, self.features, inputs, self.inputs)
        return law + np.einsum("dnr,dr->dn", shared, self.weights), features, shared

    def moments(self, inputs: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [n]: spread within the processes and between them."""
        means, features, shared = self._means(inputs)
        known = ((shared @ self.inverse) * shared).sum(axis=2)
        within = (features**2).sum(axis=2) + self.laws.height[:, None] - known
        variance = within.clip(1e-12).mean(axis=0) + means.var(axis=0)
        return self.offset + self.unit * means.mean(axis=0), self.unit * np.sqrt(variance)

    def _within(self, inputs: Array, features: Array, shared: Array, draw: int) -> Array:
        """Covariance [n, n] of one draw's process."""
        own = self.laws.one(draw)
        there = features[draw : draw + 1]
        prior = own.kernel(there, there, inputs, inputs)[0]
        found: Array = prior - shared[draw] @ self.inverse[draw] @ shared[draw].T
        return found

    def covariance(self, inputs: Array) -> Array:
        """Covariance [n, n], within the processes and between them."""
        means, features, shared = self._means(inputs)
        some = range(0, KEPT, KEPT // WITHIN)
        within = np.mean([self._within(inputs, features, shared, one) for one in some], axis=0)
        between = np.atleast_2d(np.cov(means.T, ddof=0))
        found: Array = self.unit**2 * (within + between)
        return found

    def draws(self, inputs: Array, count: int, generator: np.random.Generator) -> Array:
        """Joint draws [count, n]."""
        means, features, shared = self._means(inputs)
        drawn = [
            generator.multivariate_normal(
                means[draw],
                self._within(inputs, features, shared, draw),
                math.ceil(count / KEPT),
                check_valid="ignore",
                method="eigh",
            )
            for draw in range(KEPT)
        ]
        return self.offset + self.unit * generator.permutation(np.concatenate(drawn))[:count]


class _Laws:
    """Draws of a mixing law and of the process beside it."""

    def __init__(self, parameters: Array, dimensions: int) -> None:
        """Of parameters [draws, 2 x dimensions + 3]: slopes, curvatures, height, length, noise."""
        self.parameters, self.dimensions = parameters, dimensions
        self.slopes = parameters[:, :dimensions]
        bend = parameters[:, dimensions : 2 * dimensions] * np.where(self.slopes < 0, -1, 1)
        self.rates = np.where(np.abs(bend) < 1e-3, 1e-3, bend)
        self.height, self.length, self.noise = np.exp(parameters[:, 2 * dimensions :]).T

    def one(self, draw: int) -> "_Laws":
        """That draw alone."""
        return _Laws(self.parameters[draw : draw + 1], self.dimensions)

    def at(self, inputs: Array) -> tuple[Array, Array]:
        """The law [draws, n], and the features [draws, n, features] whose weights are not drawn.

        A source's share u of the largest counts (1 - exp(-rate u)) / (1 - exp(-rate)); the features
        are the level and what pairs of sources do together.
        """
        rates = self.rates[:, None]
        curves = np.expm1(-rates * inputs) / np.expm1(-rates)
        one, other = np.triu_indices(self.dimensions, 1)
        level = np.full((*curves.shape[:2], 1), LEVEL)
        features = [level, TOGETHER * curves[:, :, one] * curves[:, :, other]]
        return (self.slopes[:, None] * curves).sum(axis=2), np.concatenate(features, axis=2)

    def kernel(self, features: Array, others: Array, inputs: Array, other_inputs: Array) -> Array:
        """Prior covariance [draws, n, m]: of the features' weights, and of what the law misses."""
        squared = cdist(inputs, other_inputs, "sqeuclidean")
        missed = np.exp(-squared / (2 * self.length[:, None, None] ** 2))
        found: Array = features @ others.transpose(0, 2, 1) + self.height[:, None, None] * missed
        return found
