"""Points that carry a pick to the next round's prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray, FloatArray

TOP = 20
"""The paper draws the representative point among this many pixels."""


def representative_point(
    probabilities: FloatArray, mine: BoolArray, picked: FloatArray, rng: np.random.Generator
) -> tuple[int, int, int] | None:
    """Choose a pixel that tells the picked group from the others.

    Parameters
    ----------
    probabilities : ndarray of shape (N, h, w)
        float32 in [0, 1].
    mine : ndarray of shape (N,)
        bool, the samples of the picked group.
    picked : ndarray of shape (h, w)
        float32 in [0, 1], the mask that was picked.
    rng : numpy Generator
        Draws one of the 20 most telling pixels.

    Returns
    -------
    (row, column, label) or None
        Grid position, and the picked mask's own value there; None when there is only one
        group.
    """
    if mine.all() or not mine.any():
        return None
    difference = np.abs(probabilities[mine].mean(axis=0) - probabilities[~mine].mean(axis=0))
    count = min(TOP, difference.size)
    top = np.argpartition(difference.ravel(), -count)[-count:]
    row, column = np.unravel_index(int(rng.choice(np.sort(top))), difference.shape)
    return int(row), int(column), int(picked[row, column] > 0.5)
