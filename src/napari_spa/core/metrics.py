"""Agreement between masks of one shape; others are an ``InputError``.

Two empty masks agree fully (1.0); an empty mask and another one not at all (0.0).
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_spa.core.types import BoolArray, DoubleArray, FloatArray


def _overlap(a: BoolArray, b: BoolArray) -> tuple[int, int, int]:
    if a.shape != b.shape:
        raise InputError(f"masks of different shapes {a.shape} and {b.shape} cannot be compared.")
    return int(np.count_nonzero(a & b)), int(np.count_nonzero(a)), int(np.count_nonzero(b))


def dice(a: BoolArray, b: BoolArray) -> float:
    """Dice coefficient ``2 |A and B| / (|A| + |B|)`` of bool arrays of one shape, in [0, 1]."""
    both, first, second = _overlap(a, b)
    return 1.0 if first + second == 0 else 2 * both / (first + second)


def iou(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union of bool arrays of one shape, in [0, 1]."""
    both, first, second = _overlap(a, b)
    union = first + second - both
    return 1.0 if union == 0 else both / union


def pairwise_dice(masks: Sequence[BoolArray]) -> list[float]:
    """Dice of every pair of masks, in the order of ``itertools.combinations``."""
    return [dice(a, b) for a, b in combinations(masks, 2)]


def disagreement(
    probabilities: FloatArray, recommended: BoolArray, shares: DoubleArray | None = None
) -> float:
    """Uncertainty of samples: one minus their mean Dice with the recommendation, in [0, 1].

    Parameters
    ----------
    probabilities : ndarray of shape (N, h, w)
        float32 in [0, 1].
    recommended : ndarray of shape (h, w)
        bool.
    shares : ndarray of shape (N,) or None
        float64, what each sample counts for, sum 1; all the same by default.
    """
    hard = (probabilities > 0.5).reshape(len(probabilities), -1)
    truth = recommended.ravel()
    both = 2.0 * (hard & truth).sum(axis=1)
    total = hard.sum(axis=1) + truth.sum()
    agreement = np.where(total > 0, both / np.maximum(total, 1), 1.0)
    return float(np.clip(1.0 - np.average(agreement, weights=shares), 0.0, 1.0))


def pick_nearest(masks: Sequence[BoolArray], truth: BoolArray) -> int:
    """Pick the mask with the highest Dice, by its index; the first of equals."""
    if len(masks) == 0:
        raise InputError("there is no candidate to pick from.")
    return int(np.argmax([dice(mask, truth) for mask in masks]))
