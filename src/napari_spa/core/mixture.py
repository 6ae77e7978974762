"""What is learnt of a user: the preference distribution, sampled and taught by picks, and sizes.

Pure functions on small float64 arrays; all randomness comes from an explicit generator,
so a session replays bit for bit whatever device decodes the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from napari_spa.core.types import DoubleArray, MixtureParameters
from napari_spa.errors import ProfileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_MIN_WEIGHT = 1e-6


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """The conjugate prior's strength when a pick arrives, in pseudo-picks."""

    # ``kappa``: how many picks the present mean counts for (Normal part).
    mean_strength: float = 0.5
    # ``nu``: how many picks the present variance counts for (inverse-gamma part).
    variance_strength: float = 1.0
    # ``alpha``: how many picks the present weights count for (Dirichlet part).
    weight_strength: float = 1.0
    variance_floor: float = 0.02  # A variance never falls below this share of the initial one


def sample_mixture(
    mixture: MixtureParameters, count: int, rng: np.random.Generator
) -> tuple[DoubleArray, NDArray[np.int64]]:
    """Draw ``z_n = mu_m + sigma_m * eps_n`` with systematic allocation (paper eq. 1).

    Component m receives ``count * pi_m`` draws up to one, whatever the generator says,
    so what is on offer does not depend on sampling luck.  Returned are the latents, (N, D), and
    the component of each, (N,), in ascending order.
    """
    strata = (np.arange(count) + rng.random()) / count
    edges = np.cumsum(mixture.weights)
    components = np.searchsorted(edges / edges[-1], strata, side="right")
    components = np.minimum(components, mixture.components - 1).astype(np.int64)
    noise = rng.standard_normal((count, mixture.dimension))
    latents = mixture.means[components] + np.sqrt(mixture.variances[components]) * noise
    return latents, components


def sample_weighted_sum(
    mixture: MixtureParameters, count: int, rng: np.random.Generator
) -> DoubleArray:
    """Draw N latents ``z_n = sum_m pi_m (mu_m + sigma_m eps_n)``, one ``eps`` for all components.

    What the paper's public code does: a single Gaussian.  Only for checkpoints that
    were trained with it.  Returns (N, D) float64.
    """
    noise = rng.standard_normal((count, mixture.dimension))
    mean = mixture.weights @ mixture.means
    deviation = mixture.weights @ np.sqrt(mixture.variances)
    return mean + deviation * noise


def responsibilities(mixture: MixtureParameters, latents: DoubleArray) -> DoubleArray:
    """Posterior of the M components for each of N latents: the E-step.

    ``gamma_nm = pi_m N(z_n | m) / sum_m' pi_m' N(z_n | m')``, from (N, D) to (N, M).
    """
    square = (latents[:, None] - mixture.means) ** 2 / mixture.variances
    log_density = -0.5 * (square + np.log(2 * np.pi * mixture.variances)).sum(axis=2)
    joint = np.log(mixture.weights) + log_density
    return np.asarray(np.exp(joint - scipy.special.logsumexp(joint, axis=1, keepdims=True)))


def pixel_responsibilities(mixture: MixtureParameters, values: NDArray[np.floating]) -> DoubleArray:
    """Explain a mask's pixel values by the components, as the paper's public code does, (M,).

    Of the mixture the first channel is used, since theirs are scalars.
    """
    levels, counts = np.unique(np.round(values.ravel().astype(np.float64), 3), return_counts=True)
    scalar = MixtureParameters(mixture.weights, mixture.means[:, :1], mixture.variances[:, :1])
    posterior = responsibilities(scalar, levels[:, None].astype(np.float64))
    return np.asarray(counts @ posterior / counts.sum())


def update_mixture(
    mixture: MixtureParameters,
    picked: DoubleArray,
    initial: MixtureParameters,
    config: UpdateConfig = UpdateConfig(),
) -> MixtureParameters:
    """Move the mixture towards a pick: E-step, then a MAP M-step.

    The pick counts as one observation, spread over the samples of its cluster.  With the
    present parameters as a Normal-inverse-gamma and Dirichlet prior of the configured
    strength, the means walk to the user's component as picks accumulate (paper,
    section 7), and one pick cannot collapse the spread.  ``picked``, (n, D), are latents of
    the picked cluster, at least one; variances of the mixture before any pick, ``initial``, set
    the floor.
    """
    gamma = responsibilities(mixture, picked) / len(picked)  # (n, M), sums to one
    mass = gamma.sum(axis=0)  # (M,)
    weights = (config.weight_strength * mixture.weights + mass) / (config.weight_strength + 1)
    # A component of little mass must still follow: its share of the pick is counted
    # relative to its own weight, so components near the pick move as one.
    share = np.minimum(1.0, mass / np.maximum(mixture.weights, _MIN_WEIGHT))[:, None]  # (M, 1)
    safe = np.maximum(mass, 1e-12)[:, None]
    centre = gamma.T @ picked / safe  # (M, D)
    spread = gamma.T @ picked**2 / safe - centre**2
    kappa, nu = config.mean_strength, config.variance_strength
    means = (kappa * mixture.means + share * centre) / (kappa + share)
    shift = kappa * share / (kappa + share) * (centre - mixture.means) ** 2
    variances = (nu * mixture.variances + share * np.maximum(spread, 0) + shift) / (nu + share)
    variances = np.maximum(variances, config.variance_floor * initial.variances)
    variances = np.minimum(variances, initial.variances)
    return MixtureParameters(_normalised(weights), means, variances)


def blend_mixtures(
    prior: MixtureParameters, learnt: MixtureParameters, share: float
) -> MixtureParameters:
    """Mix two mixtures component by component, in proportion to evidence."""
    if prior.means.shape != learnt.means.shape:  # a file may hold any
        shapes = ("{} x {}".format(*mixture.means.shape) for mixture in (prior, learnt))
        raise ProfileError(f"mixtures of {' and '.join(shapes)} numbers are not of one model.")
    keep = 1.0 - share
    return MixtureParameters(
        _normalised(keep * prior.weights + share * learnt.weights),
        keep * prior.means + share * learnt.means,
        keep * prior.variances + share * learnt.variances,
    )


def _normalised(weights: DoubleArray) -> DoubleArray:
    weights = np.maximum(weights, _MIN_WEIGHT)
    normalised: DoubleArray = weights / weights.sum()
    return normalised


_OWN_DEVIATION, _OWN_OBJECTS = 1.5, 2.0
"""Before anything was accepted sizes of one kind are taken to vary so much (of ``ln area``), and
this counts as much as so many objects."""
_FLOOR = 0.35
"""Even of a hundred alike objects the next may differ so much; what the network sees decides."""


@dataclass(frozen=True, slots=True)
class SizePrior:
    """A log-normal belief about an object's area that no evidence makes certain."""

    log_area: float  # natural logarithm of the area that is expected, in pixels of the image
    deviation: float  # of the logarithm; above 0
    objects: float  # evidence, in accepted objects of the same image
    doubt: float = 0.0  # how likely any other area is at least, relative to the one expected

    def likelihood(self, area: float, *, doubt: float = 0.0) -> float:
        """Return how likely an area is, relative to the one that is expected."""
        doubt = max(doubt, self.doubt)
        if area <= 0:
            return doubt
        apart = (math.log(area) - self.log_area) / self.deviation
        return doubt + (1.0 - doubt) * math.exp(-0.5 * apart * apart)


def fit_size_prior(areas: Sequence[float], weights: Sequence[float]) -> SizePrior | None:
    """Learn from the areas of accepted objects what to expect.

    The middle is the weighted median, so that one slip among four does not move it; the width
    is that of the areas around it, shrunk from a wide guess as evidence grows.
    """
    share = np.asarray(weights, dtype=np.float64)
    total = float(share.sum())
    if total <= 0:
        return None
    logs = np.log(np.asarray(areas, dtype=np.float64))
    middle = _median(logs, share)
    # One far off says little about the others: what it adds is bounded.
    spread = np.minimum(np.abs(logs - middle), 2 * _OWN_DEVIATION)
    variance = (_OWN_OBJECTS * _OWN_DEVIATION**2 + float(share @ spread**2)) / (
        _OWN_OBJECTS + total
    )
    return SizePrior(middle, max(_FLOOR, math.sqrt(variance)), total)


def _median(values: DoubleArray, weights: DoubleArray) -> float:
    """Return the weighted median; between the two middle values where both are as near."""
    order = np.argsort(values, kind="stable")
    values, below = values[order], np.cumsum(weights[order])
    half = below[-1] / 2
    low = int(np.searchsorted(below, half - 1e-12 * half))
    high = int(np.searchsorted(below, half + 1e-12 * half, side="right"))
    return float(values[low] + values[min(high, len(values) - 1)]) / 2
