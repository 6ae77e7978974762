"""Outlines of masks as polygons that rasterise back to the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import approximate_polygon

from napari_spa.core.metrics import dice
from napari_spa.viewer.layers.contours import edges_of, entangled, move_apart, straighten, trace
from napari_spa.viewer.layers.partition import cut_into_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray

LEAST_DICE = 0.99
"""A polygon with fewer vertices is at least so close to its mask."""

# Tried in this order, in pixels, until few enough vertices are left.
_TOLERANCES = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.7, 8.0, 11.3, 16.0)
_CLOSE = LEAST_DICE + 0.001  # some to spare for the rounding to float32 that napari does
_FEWEST = 100
_RING = 60  # vertices that take napari as long as one polygon more
_STEPS = 20  # an outline has hardly ever so many times more steps than vertices
_HOPELESS = 3  # thinning seldom leaves less than one vertex in so many


def mask_polygons(
    mask: BoolArray,
    origin: tuple[int, int] = (0, 0),
    *,
    enough: int | None = None,
    most: int | None = None,
    convex: bool = False,
) -> list[DoubleArray]:
    """Outline a mask as polygons, islands and holes included.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.
    origin : (int, int)
        Row and column of the mask's first pixel in the image.
    enough : int or None
        Where the outline has more vertices than this, they are thinned out and specks go,
        as long as its Dice with the mask stays over :data:`LEAST_DICE`.  Without it, and
        while it is not reached, the outline is exact.  A ring counts as 60 vertices more.
    most : int or None
        Never more vertices than this (and 100): pixels are merged, whatever the Dice,
        until there are not.  Only masks like noise need it.
    convex : bool
        Return convex polygons only, several times as many.

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64 (row, column), pixel centres at whole numbers, not closed; none for an
        empty mask.

    Notes
    -----
    Pixels that touch at a corner belong together.  No polygon has a hole: around a hole
    there are several, which share edges but do not overlap, and every column meets each
    in one stretch; see :func:`~napari_spa.viewer.layers.partition.cut_into_pieces` for why.  The
    ends of cuts come on top of the vertices that are counted.  An exact outline has
    exactly the pixels of the mask inside.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return []
    columns = np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = np.array([origin[0] + rows[0], origin[1] + columns[0]], dtype=np.float64)
    rings = _outline(crop, enough, most)
    # Cuts are made between places that napari can store.
    placed = [(ring + corner).astype(np.float32).astype(np.float64) for ring in rings]
    return cut_into_pieces(placed, convex=convex)


def fill_polygons(polygons: Sequence[DoubleArray], shape: tuple[int, int]) -> BoolArray:
    """Rasterise polygons together, by the even-odd rule.

    Parameters
    ----------
    polygons : sequence of ndarray of shape (N, 2)
        float64 (row, column), pixel centres at whole numbers, not closed.
    shape : (int, int)
        Rows H and columns W of the result.

    Returns
    -------
    ndarray of shape (H, W)
        bool: whether the pixel's centre is inside.
    """
    height, width = shape
    if not polygons:
        return np.zeros(shape, dtype=bool)
    start, end = edges_of(polygons)
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, height).astype(np.intp)
    stop = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, height).astype(np.intp)
    count = stop - first
    edge = np.repeat(np.arange(len(start)), count)
    row = np.arange(len(edge)) + np.repeat(first - (np.cumsum(count) - count), count)
    away = (row - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
    crossing = start[edge, 1] + away * (end[edge, 1] - start[edge, 1])
    column = np.clip(np.ceil(crossing), 0, width).astype(np.intp)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
    odd = (crossings & 1).astype(bool).reshape(height, width + 1)
    inside: BoolArray = np.logical_xor.accumulate(odd, axis=1)[:, :width]
    return inside


def _outline(mask: BoolArray, enough: int | None, most: int | None) -> list[DoubleArray]:
    """Return rings with few enough vertices, by ever coarser means."""
    bound = np.inf if most is None else max(most, _FEWEST)
    block = 1
    while True:
        merged = mask if block == 1 else _merged(mask, block)
        effort: float = _steps(merged) / _STEPS
        if effort <= bound:
            walks = trace(merged)
            for neat in (True, False):
                # A block's centre lies (block - 1) / 2 pixels from its first pixel's.
                rings = [r * block + (block - 1) / 2 for r in straighten(walks, neat=neat)]
                effort = _effort(rings)
                if enough is None or effort <= enough:
                    break
            if enough is not None and enough < effort < _HOPELESS * bound:
                rings = _thinned(rings, mask, enough)
                effort = _effort(rings)
            if effort <= bound or merged.size == 1:
                return move_apart(rings)
        # Noise has a fourth of the vertices when its blocks are twice as large.
        block = max(block + 1, int(block * np.sqrt(effort / bound)))


def _steps(mask: BoolArray) -> int:
    """Return how many pixels inside have how many neighbours outside."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


def _merged(mask: BoolArray, block: int) -> BoolArray:
    """Merge blocks of pixels; a block belongs to the mask when half of it does."""
    height, width = (-(-extent // block) for extent in mask.shape)
    padded = np.zeros((height * block, width * block), dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    share: NDArray[np.float32] = padded.reshape(height, block, width, block).mean(axis=(1, 3))
    merged: BoolArray = share >= min(0.5, float(share.max()))
    return merged


def _thinned(rings: list[DoubleArray], mask: BoolArray, enough: int) -> list[DoubleArray]:
    """Leave vertices out, by ever larger tolerances, until few enough are left."""
    chosen = rings
    for tolerance in _TOLERANCES:
        closed = [np.concatenate([ring, ring[:1]]) for ring in chosen]
        thin = [approximate_polygon(ring, tolerance)[:-1] for ring in closed]
        thin = [ring for ring in thin if len(ring) > 2]
        if not thin:
            break
        placed = move_apart(thin)
        if dice(fill_polygons(placed, mask.shape), mask) < _CLOSE or entangled(placed):
            break
        chosen = thin
        if _effort(chosen) <= enough:
            break
    return chosen


def _effort(rings: Sequence[DoubleArray]) -> int:
    return sum(len(ring) + _RING for ring in rings)
