"""Single objects out of masks that show many, or one that is to be several."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.types import LocalMask

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def cut_object(mask: LocalMask, path: Sequence[tuple[float, float]]) -> list[LocalMask]:
    """Divide an object along a line.

    Parameters
    ----------
    mask : LocalMask
        The object, which may have several parts.
    path : sequence of (row, column)
        The line, in image pixels; it may begin and end outside of the object.

    Returns
    -------
    list of LocalMask
        The pieces that the line takes off, the largest first; empty where it divides nothing.
        Parts that the line does not touch, and of each part that it does the largest piece,
        stay with the object.  Pixels under the line go to the piece nearest to them.
    """
    from skimage.draw import line  # slow to import

    pixels, region = mask.pixels, mask.region
    under = np.zeros_like(pixels)
    places = [(round(r) - region.row, round(c) - region.column) for r, c in path]
    for start, end in pairwise(places):
        rows, columns = line(*start, *end)
        # Thick enough that no piece goes on across a diagonal step.
        for down, right in ((0, 0), (1, 0)):
            r, c = rows + down, columns + right
            inside = (r >= 0) & (c >= 0) & (r < region.height) & (c < region.width)
            under[r[inside], c[inside]] = True
    under &= pixels
    whole, _ = ndimage.label(pixels, structure=np.ones((3, 3)))
    cut, count = ndimage.label(pixels & ~under, structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(pixels, cut, np.arange(count + 1))
    owner = np.zeros(count + 1, dtype=int)  # which part each piece comes from
    owner[cut[cut > 0]] = whole[cut > 0]
    stays = {
        max(np.flatnonzero(owner == part)[::-1], key=lambda piece: areas[piece])
        for part in np.unique(owner[1:])
    }
    if not under.any() or len(stays) == count:
        return []
    nearest = ndimage.distance_transform_edt(cut == 0, return_distances=False, return_indices=True)
    grown = np.where(pixels, np.where(cut > 0, cut, cut[tuple(nearest)]), 0)
    off = [piece for piece in range(1, count + 1) if piece not in stays]
    found = [LocalMask.crop(grown == piece, region) for piece in off]
    return sorted(found, key=lambda piece: -piece.area)
