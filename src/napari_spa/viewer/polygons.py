"""Outlines of masks as polygons that rasterise back to the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import approximate_polygon, find_contours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray

# The outline runs this far from the centres of the pixels inside: between them and the
# pixels outside, so every pixel stays on its side.  Not one half, because bridges between
# points on halves run through pixel centres, which then count as inside.
_DISTANCE = 0.5309
_TOLERANCES = (0.4, 0.7, 1.2, 2.0, 3.5, 6.0, 10.0)


def mask_outline(
    mask: BoolArray, origin: tuple[int, int] = (0, 0), *, most_vertices: int | None = None
) -> DoubleArray | None:
    """Outline a mask as one polygon, islands and holes included.

    All contours hang on the first vertex of the first one by bridges that are walked
    there and back.  A bridge encloses nothing, so the even-odd rule (and napari, which
    drops edges that are walked twice) sees islands as islands and holes as holes.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.
    origin : (int, int)
        Row and column of the mask's first pixel in the image.
    most_vertices : int or None
        Simplify until the polygon has about so few vertices; exact without it.

    Returns
    -------
    ndarray of shape (N, 2) or None
        float64 (row, column), pixel centres at whole numbers, not closed; None for an
        empty mask.

    Notes
    -----
    Pixels that touch at a corner belong together.  Without ``most_vertices``, all pixel
    centres inside the polygon are exactly the pixels of the mask.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    contours = find_contours(
        np.pad(crop, 1).astype(np.float32), 1 - _DISTANCE, fully_connected="high"
    )
    rings = [_without_straight_runs(contour[:-1]) for contour in contours]
    if most_vertices is not None:
        rings = _simplified(rings, most_vertices)
    corner = np.array([origin[0] + rows[0] - 1, origin[1] + columns[0] - 1], dtype=np.float64)
    return _bridged(rings) + corner


def shaken(polygon: DoubleArray) -> DoubleArray:
    """Move each vertex a little, equal ones alike, so that no three lie on a line.

    Sweeping triangulations stumble over vertices in line; no pixel changes sides.

    Parameters
    ----------
    polygon : ndarray of shape (N, 2)
        From :func:`mask_outline`, exact.

    Returns
    -------
    ndarray of shape (N, 2)
        float64, each vertex at most 0.02 pixels away.
    """
    vertices, place = np.unique(polygon, axis=0, return_inverse=True)
    moves = np.random.default_rng(0).uniform(-0.02, 0.02, vertices.shape)
    moved: DoubleArray = polygon + moves[place.ravel()]
    return moved


def _without_straight_runs(ring: DoubleArray) -> DoubleArray:
    """Drop the vertices at which a closed contour goes straight on."""
    before = ring - np.roll(ring, 1, axis=0)
    after = np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turn) > 1e-6]


def _simplified(rings: list[DoubleArray], most: int) -> list[DoubleArray]:
    """Simplify rings until they have few vertices; small ones go first."""
    kept = rings
    for tolerance in _TOLERANCES:
        if sum(map(len, kept)) <= most:
            break
        closed = (np.concatenate([ring, ring[:1]]) for ring in rings)
        shorter = [approximate_polygon(ring, tolerance)[:-1] for ring in closed]
        kept = [ring for ring in shorter if len(ring) > 2] or [max(rings, key=len)]
    return kept


def _bridged(rings: list[DoubleArray]) -> DoubleArray:
    """Join closed rings into one path that returns to its first vertex between them."""
    anchor = rings[0][:1]
    path: list[NDArray[np.float64]] = [rings[0]]
    for ring in rings[1:]:
        path += [anchor, ring, ring[:1]]
    return np.concatenate(path)
