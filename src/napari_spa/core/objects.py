"""Single objects out of masks that show many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray

_REACH = 64
_MERGED = 4


def split_objects(masks: BoolArray, *, min_area: int = 30) -> list[BoolArray]:
    """Split raters' masks of many objects into one stack of masks per object.

    An object is a connected component of what at least half of the raters marked, grown
    to each rater's own component(s) that touch it.

    Parameters
    ----------
    masks : ndarray of shape (R, H, W)
        bool.
    min_area : int
        Smaller agreements are left out, in pixels.

    Returns
    -------
    list of ndarray of shape (R, H, W)
        bool; empty for a rater who did not mark the object.
    """
    agreed, _ = ndimage.label(masks.mean(axis=0) >= 0.5)
    labelled = [ndimage.label(mask)[0] for mask in masks]
    found = []
    for index, box in enumerate(ndimage.find_objects(agreed), start=1):
        core = agreed[box] == index
        area = int(core.sum())
        if area < min_area:
            continue
        near = tuple(slice(max(b.start - _REACH, 0), b.stop + _REACH) for b in box)
        own = np.zeros(masks.shape, dtype=bool)
        for mask, labels in zip(own, labelled, strict=True):
            touched = np.setdiff1d(labels[box][core], 0)
            mask[near] = np.isin(labels[near], touched)
            if mask.sum() >= _MERGED * area:  # this rater drew several objects as one
                mask[near] = False
        if own.any():
            found.append(own)
    return found
