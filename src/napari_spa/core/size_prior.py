"""How large the next object is expected to be, after some were accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import DoubleArray

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

    def likelihood(self, area: float, *, doubt: float = 0.0) -> float:
        """Return how likely an area is, relative to the one that is expected."""
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
