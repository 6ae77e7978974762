"""A simulated user, for training and evaluation: clicks once, then only picks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.metrics import dice
from napari_spa.core.types import BoolArray, Click
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


def first_click(masks: BoolArray, rng: np.random.Generator) -> Click:
    """Click somewhere in the area on which all raters agree (paper 3.5).

    Parameters
    ----------
    masks : ndarray of shape (R, H, W)
        bool.  Without a common area, the area on which most agree is used.
    rng : numpy Generator
        Draws the pixel.

    Returns
    -------
    Click

    Raises
    ------
    InputError
        When all masks are empty.
    """
    votes = masks.sum(axis=0)
    if votes.max(initial=0) == 0:
        raise InputError("all masks are empty; there is no object to click on.")
    agreed = np.argwhere(votes == votes.max())
    row, column = agreed[rng.integers(len(agreed))]
    return Click(float(row), float(column), 1)


def pick_nearest(masks: Sequence[BoolArray], truth: BoolArray) -> int:
    """Pick the mask with the highest Dice; the first of equals.

    Parameters
    ----------
    masks : sequence of ndarray of shape (H, W)
        bool, the candidates on offer.
    truth : ndarray of shape (H, W)
        bool, the user's own mask.

    Returns
    -------
    int
        Index of the pick.

    Raises
    ------
    InputError
        When nothing is on offer.
    """
    if len(masks) == 0:
        raise InputError("there is no candidate to pick from.")
    return int(np.argmax([dice(mask, truth) for mask in masks]))
