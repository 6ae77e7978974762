"""Rings around a mask: as few straight lines as pass between pixels inside and outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import find_contours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray

# A ring crosses each step from a pixel inside to its neighbour outside within this share
# of the way, so it never reaches a pixel's centre or another part of itself.  The first
# keeps to the pixels' edges; the second is freer and saves half of the vertices.
_NEAT, _FREE = (0.45, 0.55), (0.08, 0.92)
# Then vertices are moved by so much, each by another amount, so that no two share a row or
# a column and none lies on a row or column of pixel centres, where cuts would run.
_APART = (0.006, 0.04)
_PAIRS = 1 << 21  # of edges looked at together


def trace(mask: BoolArray) -> list[DoubleArray]:
    """Walk around a mask and, the other way round, around its holes.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64 (row, column), pixel centres at whole numbers, not closed: the middle of
        each step from a pixel inside to one outside.  Pixels that touch at a corner
        belong together.
    """
    contours = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    return [contour[:-1] - 1.0 for contour in contours]


def straighten(walks: Sequence[DoubleArray], *, neat: bool) -> list[DoubleArray]:
    """Replace walks around a mask by rings of as few straight lines as will do.

    Parameters
    ----------
    walks : sequence of ndarray of shape (N, 2)
        From :func:`trace`.
    neat : bool
        Stay close to the pixels' edges, which shows thin parts well and takes about twice
        as many vertices.

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64 (row, column), not closed.  They have exactly the pixels of the mask
        inside, also after :func:`move_apart`, and neither cross nor touch.
    """
    return [_string_pulled(walk, _NEAT if neat else _FREE) for walk in walks]


def move_apart(rings: Sequence[DoubleArray]) -> list[DoubleArray]:
    """Move vertices a little, so that no two share a row or a column.

    Parameters
    ----------
    rings : sequence of ndarray of shape (N, 2)
        float64 (row, column).

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64; none lies on a row or a column of pixel centres if none did before by
        chance.
    """
    places = np.concatenate(rings)
    for axis in (0, 1):
        order = np.argsort(places[:, axis], kind="stable")
        _, count = np.unique(np.round(places[:, axis], 4), return_counts=True)
        number = np.arange(len(places)) - np.repeat(np.cumsum(count) - count, count)
        share = (number + 0.5) / np.repeat(count, count)
        places[order, axis] += _APART[0] + share * (_APART[1] - _APART[0])
    return np.split(places, np.cumsum([len(ring) for ring in rings])[:-1])


def entangled(rings: Sequence[DoubleArray]) -> bool:
    """Tell whether rings cross, or an island has got into another, or a hole out of all.

    Parameters
    ----------
    rings : sequence of ndarray of shape (N, 2)
        float64 (row, column), not closed, holes the other way round; the longest way
        round is an island's.

    Returns
    -------
    bool
    """
    start, end = edges_of(rings)
    ring = np.repeat(np.arange(len(rings)), [len(one) for one in rings])
    step = max(_PAIRS // len(start), 1)
    for first in range(0, len(start), step):
        here = slice(first, first + step)
        if _crossing(start[here, None], end[here, None], start[None], end[None]).any():
            return True
    areas = np.array([_signed_area(one) for one in rings])
    hole = areas * areas[np.abs(areas).argmax()] < 0
    for number, one in enumerate(rings):
        row, column = one[0]
        spans = ((start[:, 0] <= row) != (end[:, 0] <= row)) & (ring != number)
        away = (row - start[spans, 0]) / (end[spans, 0] - start[spans, 0])
        beyond = start[spans, 1] + away * (end[spans, 1] - start[spans, 1]) > column
        if bool(beyond.sum() % 2) != bool(hole[number]):
            return True
    return False


def _crossing(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Tell whether the inner parts of edges from a to b and from c to d cross."""
    aside = _side(a, b, c) * _side(a, b, d) < 0
    crossing: NDArray[np.bool_] = aside & (_side(c, d, a) * _side(c, d, b) < 0)
    return crossing


def _side(
    start: NDArray[np.float64], end: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return on which side of an edge a place is, by sign; zero on the edge."""
    side: NDArray[np.float64] = (end[..., 0] - start[..., 0]) * (place[..., 1] - start[..., 1]) - (
        end[..., 1] - start[..., 1]
    ) * (place[..., 0] - start[..., 0])
    return side


def edges_of(rings: Sequence[DoubleArray]) -> tuple[DoubleArray, DoubleArray]:
    """Return where the edges of all rings start and where they end, each (N, 2) float64."""
    return np.concatenate(rings), np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])


def _signed_area(ring: DoubleArray) -> float:
    after = np.roll(ring, -1, axis=0)
    return float(np.sum(ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0])) / 2


def _string_pulled(crossings: DoubleArray, gate: tuple[float, float]) -> DoubleArray:
    """Replace a walk by fewer vertices that cross the same steps in the same order.

    Each of its points lies between a pixel inside and one outside.  The stretch of that
    step that may be crossed is a gate; from each vertex, look as far as a straight line
    still passes through all gates, and put the next vertex there.  Two gates in a row
    bound the same square of four centres, so the line stays where the walk was.
    """
    first = np.floor(crossings)
    along = crossings - first > 0.25  # the axis of the step: the other one is whole
    ends = [first + along * share for share in gate]
    gates: list[list[float]] = np.concatenate(ends, axis=1).tolist()
    vertices = [((gates[0][0] + gates[0][2]) / 2, (gates[0][1] + gates[0][3]) / 2)]
    # The last gate is the first vertex itself: the ring closes there.
    gates = [*gates[1:], [*vertices[0], *vertices[0]]]
    at, last = 0, len(gates) - 1
    while at <= last:
        reach, vertex = _furthest(*vertices[-1], gates, at)
        if reach == last:
            break
        vertices.append(vertex)
        at = reach + 1
    return np.array(vertices)


def _furthest(
    row: float, column: float, gates: list[list[float]], at: int
) -> tuple[int, tuple[float, float]]:
    """Return the last gate that one straight line reaches through all before it, and where.

    The place is on the side to which the contour turns next: the shortest way round.
    The directions that pass lie between a lower and a higher one; this is the inner loop
    of all drawing, hence no vectors.
    """
    r0, c0, r1, c1 = gates[at]
    lr, lc, hr, hc = r0 - row, c0 - column, r1 - row, c1 - column
    if lr * hc < lc * hr:
        lr, lc, hr, hc = hr, hc, lr, lc
    edge = None
    reach = at
    for reach in range(at + 1, len(gates)):
        r0, c0, r1, c1 = gates[reach]
        ar, ac, br, bc = r0 - row, c0 - column, r1 - row, c1 - column
        if ar * bc < ac * br:
            ar, ac, br, bc = br, bc, ar, ac
        if lr * ar + lc * ac <= 0 or hr * br + hc * bc <= 0:
            reach -= 1  # behind: the contour has turned back
            break
        if lr * bc < lc * br:
            edge = (lr, lc)
            reach -= 1
            break
        if hr * ac > hc * ar:
            edge = (hr, hc)
            reach -= 1
            break
        if lr * ac > lc * ar:
            lr, lc = ar, ac
        if hr * bc < hc * br:
            hr, hc = br, bc
    directions = ((lr, lc), (hr, hc)) if edge is None else (edge, edge)
    return reach, _place(row, column, directions, gates[reach])


def _place(
    row: float,
    column: float,
    directions: tuple[tuple[float, float], tuple[float, float]],
    gate: list[float],
) -> tuple[float, float]:
    """Return the middle of the part of a gate that lies between two directions."""
    r0, c0, r1, c1 = gate
    places = []
    for direction in directions:
        slope = direction[0] * (c1 - c0) - direction[1] * (r1 - r0)
        offset = direction[0] * (c0 - column) - direction[1] * (r0 - row)
        places.append(min(max(-offset / slope, 0.0), 1.0) if slope else 0.5)
    place = sum(places) / 2
    return r0 + place * (r1 - r0), c0 + place * (c1 - c0)
