"""Outlines of masks as polygons that rasterise back to the same pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import find_contours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray

# An outline crosses each step from a pixel inside to its neighbour outside within this
# share of the way, so it never reaches a pixel's centre or another part of itself.  The
# first keeps near the pixels' edges; the second is freer and saves half of the vertices.
_NEAT, _FREE = (0.3, 0.7), (0.06, 0.94)
# Islands and holes may go, smallest first, until so much of the mask's area is wrong.
_SPECKS = 0.01
# Vertices are moved by up to so much: napari's compiled triangulations fail on vertices
# that lie exactly in line or above each other, and outlines of pixels are full of them.
_SHAKE = 0.01
_FEWEST = 16


def mask_outline(
    mask: BoolArray, origin: tuple[int, int] = (0, 0), *, most_vertices: int | None = None
) -> DoubleArray | None:
    """Outline a mask as one polygon, islands and holes included.

    All rings hang on the first vertex of the first one by bridges that are walked there
    and back.  A bridge encloses nothing, so the even-odd rule (and napari, which drops
    edges that are walked twice) sees islands as islands and holes as holes.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.
    origin : (int, int)
        Row and column of the mask's first pixel in the image.
    most_vertices : int or None
        No more vertices than this (and 16): specks go, then pixels are merged.  Without
        it, and while it is not reached, the outline is exact.

    Returns
    -------
    ndarray of shape (N, 2) or None
        float64 (row, column), pixel centres at whole numbers, not closed; None for an
        empty mask.

    Notes
    -----
    Pixels that touch at a corner belong together.  An exact outline has exactly the
    pixels of the mask inside.  Rings never cross or touch themselves or each other, and
    no two vertices share a row or column: what triangulations need.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    corner = np.array([origin[0] + rows[0], origin[1] + columns[0]], dtype=np.float64)
    return _outlined(crop, most_vertices) + corner


def _outlined(mask: BoolArray, most: int | None) -> DoubleArray:
    """Outline a mask, by ever coarser means until there are few enough vertices."""
    path = _bridged(_rings(mask, _NEAT))
    if most is None or len(path) <= most:
        return path
    block = 1
    while True:
        merged = _merged(mask, block)
        rings = _without_specks(_rings(merged, _FREE), max(most, _FEWEST), merged)
        path = _bridged(rings)
        if len(path) <= max(most, _FEWEST) or merged.size == 1:
            # A block's centre lies (block - 1) / 2 pixels from its first pixel's.
            return path * block + (block - 1) / 2
        block += 1 + block // 4


def _rings(mask: BoolArray, span: tuple[float, float]) -> list[DoubleArray]:
    """Return the rings around a mask, the longest first."""
    rng = np.random.default_rng(0)
    rings = []
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high"):
        ring = np.array(_string_pulled(contour[:-1] - 1.0, span))
        rings.append(ring + rng.uniform(-_SHAKE, _SHAKE, ring.shape))
    return sorted(rings, key=len, reverse=True)


def _without_specks(rings: list[DoubleArray], most: int, mask: BoolArray) -> list[DoubleArray]:
    """Drop the smallest rings while there are too many vertices and little area is lost."""
    areas = np.array([_enclosed(ring) for ring in rings])
    spare = _SPECKS * float(mask.sum())
    dropped: set[int] = set()
    left = sum(len(ring) + 2 for ring in rings)
    for number in np.argsort(areas)[:-1].tolist():
        spare -= areas[number]
        if left <= most or spare < 0:
            break
        left -= len(rings[number]) + 2
        dropped.add(number)
    return [ring for number, ring in enumerate(rings) if number not in dropped]


def _enclosed(ring: DoubleArray) -> float:
    following = np.roll(ring, -1, axis=0)
    return abs(float(np.sum(ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]))) / 2


def _string_pulled(crossings: DoubleArray, span: tuple[float, float]) -> list[tuple[float, float]]:
    """Replace a contour by fewer vertices that cross the same steps in the same order.

    Each of its points lies between a pixel inside and one outside.  The stretch of that
    step that may be crossed is a gate; from each vertex, look as far as a straight line
    still passes through all gates, and put the next vertex there.  Two gates in a row
    bound the same square of four centres, so the line stays where the contour was.
    """
    first = np.floor(crossings)
    along = crossings - first > 0.25  # the axis of the step: the other one is whole
    gates: list[tuple[float, ...]] = np.concatenate(
        [first + along * span[0], first + along * span[1]], axis=1
    ).tolist()
    vertices = [((gates[0][0] + gates[0][2]) / 2, (gates[0][1] + gates[0][3]) / 2)]
    # The last gate is the first vertex itself: the ring closes there.
    gates = [*gates[1:], vertices[0] * 2]
    at, last = 0, len(gates) - 1
    while at <= last:
        row, column = vertices[-1]
        reach, vertex = _furthest(row, column, gates, at)
        if reach == last:
            break
        vertices.append(vertex)
        at = reach + 1
    return vertices


def _furthest(
    row: float, column: float, gates: list[tuple[float, ...]], at: int
) -> tuple[int, tuple[float, float]]:
    """Return the last gate that one straight line reaches through all before it, and where.

    The place is on the side to which the contour turns next: the shortest way round.
    """
    low = high = (0.0, 0.0)
    reach, edge = at, None
    for number in range(at, len(gates)):
        r0, c0, r1, c1 = gates[number]
        a, b = (r0 - row, c0 - column), (r1 - row, c1 - column)
        if _cross(a, b) < 0:
            a, b = b, a
        if number == at:
            low, high = a, b
            continue
        if low[0] * a[0] + low[1] * a[1] <= 0 or high[0] * b[0] + high[1] * b[1] <= 0:
            break  # behind: the contour has turned back
        if _cross(low, b) < 0 or _cross(high, a) > 0:
            edge = low if _cross(low, b) < 0 else high
            break
        low = a if _cross(low, a) > 0 else low
        high = b if _cross(high, b) < 0 else high
        reach = number
    directions = (low, high) if edge is None else (edge, edge)
    return reach, _place(row, column, directions, gates[reach])


def _cross(a: tuple[float, float], b: tuple[float, float]) -> float:
    return a[0] * b[1] - a[1] * b[0]


def _place(
    row: float,
    column: float,
    directions: tuple[tuple[float, float], tuple[float, float]],
    gate: tuple[float, ...],
) -> tuple[float, float]:
    """Return the middle of the part of a gate that lies between two directions."""
    r0, c0, r1, c1 = gate
    places = []
    for direction in directions:
        slope = _cross(direction, (r1 - r0, c1 - c0))
        offset = _cross(direction, (r0 - row, c0 - column))
        places.append(min(max(-offset / slope, 0.0), 1.0) if slope else 0.5)
    place = sum(places) / 2
    return r0 + place * (r1 - r0), c0 + place * (c1 - c0)


def _merged(mask: BoolArray, block: int) -> BoolArray:
    """Merge blocks of pixels; a block belongs to the mask when half of it does."""
    height, width = (-(-extent // block) for extent in mask.shape)
    padded = np.zeros((height * block, width * block), dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    share: NDArray[np.float32] = padded.reshape(height, block, width, block).mean(axis=(1, 3))
    merged: BoolArray = share >= min(0.5, float(share.max()))
    return merged


def _bridged(rings: list[DoubleArray]) -> DoubleArray:
    """Join closed rings into one path that returns to its first vertex between them."""
    anchor = rings[0][:1]
    path: list[DoubleArray] = [rings[0]]
    for ring in rings[1:]:
        path += [anchor, ring, ring[:1]]
    return np.concatenate(path)
