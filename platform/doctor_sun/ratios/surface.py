"""The response surface: what runs at some mixtures say about all mixtures, and how surely.

A Gaussian process for each objective (BoTorch's and GPyTorch's). Every run is one observation: runs
of one mixture differ by their noise alone, which is how the noise is told from the surface. A dozen
runs leave a wide choice of length scales and noise, and the best-fitting choice alone gives bands
that are far too narrow; so the surface is a mixture of processes whose scales are drawn from their
posterior, by importance sampling in three rounds (BoTorch's own sampler, NUTS, takes minutes).
"""

import math

import numpy as np
import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms import Normalize
from gpytorch.kernels import RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from numpy.typing import NDArray
from scipy import stats

DRAWS = 2000
SAMPLED, KEPT, ROUNDS = 1024, 32, 3
CHUNK = 32  # points at a time: the processes work out all covariances of a chunk
LENGTH, HEIGHT, NOISE = (0.0, 0.8), (0.0, 0.8), (math.log(0.03), 1.2)
"""Log-normal priors (mean, deviation of the log) of the length scales, in parts of the space's
width, and of signal and noise variance, in parts of the scores' variance."""


class Surface:
    """Both objectives over all mixtures, given some runs."""

    def __init__(
        self, points: NDArray[np.float64], scores: NDArray[np.float64], most: float, seed: int = 0
    ) -> None:
        """Fit.

        Args:
            points: [runs, dimensions] shares.
            scores: [runs, objectives] shares of 1, more is better.
            most: largest share that the space allows: the inputs' unit.
            seed: of the draws of the scales.
        """
        generator = torch.Generator().manual_seed(seed)
        inputs, outputs = torch.as_tensor(points), torch.as_tensor(scores)
        self.processes = [_sampled(inputs, column, most, generator) for column in outputs.T]

    def moments(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation [points, objectives] of the scores without noise."""
        parts = [self._moments(part) for part in torch.as_tensor(points).split(CHUNK)]
        mean, deviation = (torch.cat(own).numpy() for own in zip(*parts, strict=True))
        return mean, deviation

    def _moments(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Moments of the mixture: spread within the processes and between them."""
        means, deviations = [], []
        for process in self.processes:
            with torch.no_grad():
                found = process.posterior(points)
            mean = found.mean.squeeze(-1)
            means.append(mean.mean(dim=0))
            spread = found.variance.squeeze(-1).mean(dim=0) + mean.var(dim=0, correction=0)
            deviations.append(spread.sqrt())
        return torch.stack(means, dim=1), torch.stack(deviations, dim=1)

    def band(
        self, points: NDArray[np.float64], level: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bounds [points, objectives] of the scores' credible intervals."""
        mean, deviation = self.moments(points)
        low, high = stats.norm.interval(level, loc=mean, scale=deviation)
        return low, high

    def draws(
        self, points: NDArray[np.float64], seed: int, count: int = DRAWS
    ) -> NDArray[np.float64]:
        """Joint draws [count, points, objectives] of the scores without noise."""
        drawn = []
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            for process in self.processes:
                each = math.ceil(count / KEPT)
                found = process.posterior(torch.as_tensor(points)).rsample(torch.Size([each]))
                shuffled = found.reshape(-1, len(points))[torch.randperm(each * KEPT)]
                drawn.append(shuffled[:count])
        return torch.stack(drawn, dim=-1).numpy()

    def noise(self) -> NDArray[np.float64]:
        """Standard deviation [objectives] of one run around the surface."""
        return np.array(
            [
                (process.likelihood.noise.mean().sqrt() * process.outcome_transform.stdvs[0]).item()
                for process in self.processes
            ]
        )


def _sampled(
    inputs: torch.Tensor, scores: torch.Tensor, most: float, generator: torch.Generator
) -> SingleTaskGP:
    """Processes [KEPT] of one objective, their scales drawn from the posterior.

    The proposal of each round is the normal distribution of the logarithms that the round before
    found, widened; the first one is the prior.
    """
    dimensions = inputs.shape[1]
    priors = torch.tensor([*[LENGTH] * dimensions, HEIGHT, NOISE], dtype=torch.double).T
    prior = torch.distributions.Independent(torch.distributions.Normal(*priors), 1)
    centre, root = priors[0], torch.diag(priors[1])
    for _ in range(ROUNDS):
        proposal = torch.distributions.MultivariateNormal(centre, scale_tril=root)
        normal = torch.randn(SAMPLED, len(centre), generator=generator, dtype=torch.double)
        logs = centre + normal @ root.T
        fit = _processes(inputs, scores, most, logs)
        with torch.no_grad():
            likelihood = fit.likelihood(fit(*fit.train_inputs)).log_prob(fit.train_targets)
        weights = (likelihood + prior.log_prob(logs) - proposal.log_prob(logs)).softmax(dim=0)
        centre = weights @ logs
        away = (logs - centre) * 1.3
        spread = (weights[:, None] * away).T @ away + 1e-3 * torch.eye(len(centre))
        root = torch.linalg.cholesky(spread)
    chosen = torch.multinomial(weights, KEPT, replacement=True, generator=generator)
    kept = _processes(inputs, scores, most, logs[chosen])
    kept.eval()
    return kept


def _processes(
    inputs: torch.Tensor, scores: torch.Tensor, most: float, logs: torch.Tensor
) -> SingleTaskGP:
    """A batch of processes, one a row of the logarithms of (length scales, height, noise)."""
    count, dimensions = len(logs), inputs.shape[1]
    batch = torch.Size([count])
    kernel = ScaleKernel(RBFKernel(ard_num_dims=dimensions, batch_shape=batch), batch_shape=batch)
    bounds = torch.tensor([[0.0], [most]], dtype=torch.double).expand(2, dimensions)
    process = SingleTaskGP(
        inputs.expand(count, *inputs.shape),
        scores[:, None].expand(count, len(scores), 1),
        likelihood=GaussianLikelihood(batch_shape=batch),
        covar_module=kernel,
        input_transform=Normalize(dimensions, bounds=bounds),
    )
    values = logs.exp()
    kernel.base_kernel.lengthscale = values[:, None, :dimensions]
    kernel.outputscale = values[:, dimensions]
    process.likelihood.noise = values[:, dimensions + 1 :].clamp_min(1.1e-4)
    return process
