"""How good a recommendation probably is: signs of a round, and what they meant on known objects.

A round leaves signs (:func:`read_signs`): how far its samples agree, what the network itself
expects, whether the view cuts the mask, how much was said.  A :class:`Calibration` turns
them into the Dice that is to be expected with what the user means: a logistic curve over a
weighted sum, in which no sign can count against its direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray

Signs = Mapping[str, float]  # what a round shows about its own quality, by name

_AGREE = ("agreement", "sharpness", "network", "leading", "rivals", "whole", "smooth", "kept")
DIRECTIONS = (
    dict.fromkeys(_AGREE, 1)
    | dict.fromkeys(("edge", "small", "large", "tiny"), -1)
    | dict.fromkeys(("clicks", "picks", "box"), 1)
)
"""Which signs speak for a recommendation (1) and which against it (-1)."""
_ADVICE = ((0.85, "likely right"), (0.7, "check it"), (0.0, "often wrong"))
"""Of masks that reached these, 94, 49 and 11 of 100 had a real Dice of 0.8 (docs/method.md)."""
_NEAR = 0.15  # an error of the expected Dice below this counts less than its size
_LEAST = 1e-3  # a sign of less weight is left out
_FARTHEST = 3.0
"""A sign counts up to so many deviations from its mean: beyond them nothing was seen."""


class Term(NamedTuple):
    """How one sign counts."""

    mean: float
    deviation: float  # above 0
    weight: float  # of so many deviations from the mean, in the logit of the expected Dice


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the signs meant on objects whose masks are known."""

    offset: float  # logit of the Dice to be expected at the mean of all signs
    terms: Mapping[str, Term]  # of each sign that counts

    def expect(self, signs: Signs) -> float:
        """Return the Dice to be expected, in [0, 1]."""
        from scipy.special import expit

        total = self.offset
        for name, term in self.terms.items():
            far = (signs[name] - term.mean) / term.deviation
            total += term.weight * float(np.clip(far, -_FARTHEST, _FARTHEST))
        return float(expit(total))


def quality_in_words(quality: float, calibrated: bool) -> str:
    """Say what the quality of a recommendation means."""
    if not calibrated:
        return f"samples agree to {quality:.2f}"
    advice = next(words for least, words in _ADVICE if quality >= least)
    return f"Dice about {quality:.2f} expected: {advice}"


def read_signs(
    probabilities: FloatArray,
    shares: DoubleArray,
    mean: FloatArray,
    threshold: float,
    inner: BoolArray,
) -> dict[str, float]:
    """Read the signs that lie in the samples and their mean.

    The samples ``(N, h, w)`` count for their shares, (N,); the recommendation is where the mean
    is above a threshold; ``inner`` says which sides of the view (top, bottom, left, right) lie
    inside the image.
    """
    from scipy import ndimage

    from napari_spa.core.measures import disagreement

    mask = mean > threshold
    area = int(mask.sum())
    soft = float(mean[mask].sum())
    everything = float(mean.sum()) + area
    parts, count = ndimage.label(mask)
    largest = int(np.bincount(parts.ravel())[1:].max()) if count else 0
    across = int((mask[:, 1:] != mask[:, :-1]).sum()) + int((mask[1:] != mask[:-1]).sum())
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    cut = max(
        (float(side.mean()) for side, inside in zip(sides, inner, strict=True) if inside),
        default=0.0,
    )
    extent = np.sqrt(area / mask.size)
    return {
        "agreement": 1.0 - disagreement(probabilities, mask, shares),
        "sharpness": 2.0 * soft / everything if everything > 0 else 0.0,
        "whole": largest / area if area else 0.0,
        # Of a disc it is near 1: crofton's length of a grid boundary is 4 / pi too long.
        "smooth": min(1.0, np.sqrt(np.pi * area) * 8 / np.pi / across) if across else 0.0,
        "edge": cut,
        "small": max(0.0, 0.3 - extent),
        "large": max(0.0, extent - 0.5),
    }


def fit_calibration(
    signs: Sequence[Signs], dice: DoubleArray, *, weights: DoubleArray | None = None, ridge: float
) -> Calibration:
    """Fit a calibration to n rounds whose real Dice, (n,) in [0, 1], is known.

    ``weights``, (n,), say what each counts for (all the same by default); ``ridge`` is the strength
    of the pull of the terms' weights towards zero.  What is made small is how far the expected Dice
    lies from the real one: it tends to the median of what such rounds had, rather than their mean.
    """
    from scipy.optimize import minimize
    from scipy.special import expit, logit

    names = list(DIRECTIONS)
    table = np.array([[one[name] for name in names] for one in signs], dtype=np.float64)
    share = np.ones(len(table)) if weights is None else weights
    share = share / share.sum()
    means, deviations = share @ table, np.sqrt(share @ (table - share @ table) ** 2)
    known = deviations > 1e-9
    scaled = np.where(known, (table - means) / np.where(known, deviations, 1.0), 0.0)
    scaled = np.clip(scaled, -_FARTHEST, _FARTHEST)

    def expected_at(values: DoubleArray) -> DoubleArray:
        return np.asarray(np.clip(expit(values[0] + scaled @ values[1:]), 1e-6, 1 - 1e-6))

    def with_ridge(
        values: DoubleArray, cost: DoubleArray, slope: DoubleArray
    ) -> tuple[float, DoubleArray]:
        total = share @ cost + 0.5 * ridge * (values[1:] ** 2).sum()
        slope = share * slope
        gradient = np.concatenate([[slope.sum()], scaled.T @ slope + ridge * values[1:]])
        return float(total), gradient

    def entropy(values: DoubleArray) -> tuple[float, DoubleArray]:
        expected = expected_at(values)
        cost = -(dice * np.log(expected) + (1 - dice) * np.log(1 - expected))
        return with_ridge(values, cost, expected - dice)

    def distance(values: DoubleArray) -> tuple[float, DoubleArray]:
        expected = expected_at(values)
        away = expected - dice
        cost = np.sqrt(away**2 + _NEAR**2)
        return with_ridge(values, cost, away / cost * expected * (1 - expected))

    found = np.zeros(1 + len(names))
    found[0] = float(logit(np.clip(share @ dice, 0.01, 0.99)))
    bounds = [(None, None)] + [
        (0.0, None) if DIRECTIONS[name] > 0 else (None, 0.0) for name in names
    ]
    for loss in (entropy, distance):  # the first has one lowest place, near that of the second
        found = minimize(loss, found, jac=True, bounds=bounds, method="L-BFGS-B").x
    terms = {
        name: Term(float(means[k]), float(deviations[k]), float(found[1 + k]))
        for k, name in enumerate(names)
        if abs(found[1 + k]) > _LEAST
    }
    return Calibration(float(found[0]), terms)
