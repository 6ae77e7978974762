"""From a mask to polygons that napari fills quickly and rightly: contours, monotone partition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import approximate_polygon, find_contours

from napari_spa.core.metrics import dice

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


def monotone_partition(
    rings: Sequence[DoubleArray], *, axis: int = 1, convex: bool = False
) -> list[DoubleArray]:
    """Cut what lies between rings into pieces without holes or forks.

    Parameters
    ----------
    rings : sequence of ndarray of shape (N, 2)
        float64 (row, column), not closed, N at least 3: outlines and, the other way round,
        holes.  They neither cross nor touch themselves or each other, and no two vertices
        share a row or a column.
    axis : {0, 1}
        The axis that runs across the screen: 1, or 0 where the view is transposed.
    convex : bool
        Make all pieces convex, which takes several times as many.

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64.  Their union is what lies between the rings, they overlap nowhere, and
        each column (each row for axis 0) meets each of them in one stretch at most.  Cuts
        run along columns (rows) and start at a vertex, so they miss the centres of pixels
        where vertices do.
    """
    if not rings:
        return []
    if axis == 0:
        turned = [ring[:, ::-1] for ring in rings]
        return [piece[:, ::-1] for piece in _Chains(turned, convex).cut()]
    return _Chains(rings, convex).cut()


class _Chains:
    """Rings as linked vertices, which can be cut along columns.

    A vertex is a corner here where the inside takes up more than a half turn, and a fork
    where, moreover, both its neighbours lie on the same side along the columns.

    Parameters
    ----------
    rings : sequence of ndarray of shape (N, 2)
        As for :func:`monotone_partition`.
    every_corner : bool
        Cut at every corner, not at forks only.
    """

    def __init__(self, rings: Sequence[DoubleArray], every_corner: bool) -> None:
        self._every = every_corner
        sizes = [len(ring) for ring in rings]
        self._used = sum(sizes)
        self._places = np.empty((2 * self._used + 16, 2))
        self._after = np.zeros(len(self._places), dtype=np.intp)
        self._before = np.zeros(len(self._places), dtype=np.intp)
        self._places[: self._used] = np.concatenate(rings)
        first = 0
        for size in sizes:
            number = np.arange(size)
            self._after[first : first + size] = first + (number + 1) % size
            self._before[first : first + size] = first + (number - 1) % size
            first += size
        after = self._places[self._after[:first]]
        here = self._places[:first]
        area = np.sum(here[:, 0] * after[:, 1] - here[:, 1] * after[:, 0])
        self._sense = 1 if area > 0 else -1

    def cut(self) -> list[DoubleArray]:
        """Cut where there is a reason to, and return the pieces."""
        number = np.arange(self._used)
        waiting: list[int] = np.flatnonzero(self._reason(number)).tolist()
        while waiting:
            vertex = waiting.pop()
            side = int(self._reason(np.array([vertex]))[0])
            if side:
                waiting += self._cut_at(vertex, side)
        return self._rings()

    def _reason(self, vertices: NDArray[np.intp]) -> NDArray[np.int_]:
        """Return in which direction to cut from vertices, 1 to lower rows; 0 for not at all.

        Both ends of a cut share a column, and vertices of one column are ordered by row;
        cut in this direction, neither piece forks at the vertex.
        """
        here = self._places[vertices]
        before, after = (self._places[to[vertices]] for to in (self._before, self._after))
        leads, follows = _rank(before, here), _rank(after, here)
        corner = self._sense * _turn(before, here, after) < 0
        fork = leads == follows
        side: NDArray[np.int_] = np.where(fork, follows, self._every * self._sense * follows)
        return np.where(corner, side, 0)

    def _cut_at(self, vertex: int, side: int) -> list[int]:
        """Cut from a vertex along its column to the outline; return what to look at again."""
        row, column = self._places[vertex]
        start, end = self._places[: self._used], self._places[self._after[: self._used]]
        low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        if side > 0:
            crossed = np.flatnonzero((low <= column) & (column < high))
        else:
            crossed = np.flatnonzero((low < column) & (column <= high))
        start, end = start[crossed], end[crossed]
        share = (column - start[:, 1]) / (end[:, 1] - start[:, 1])
        rows = start[:, 0] + share * (end[:, 0] - start[:, 0])
        away = (row - rows) * side
        away[(away <= 0) | (crossed == vertex) | (crossed == self._before[vertex])] = np.inf
        if not len(away) or not np.isfinite(away.min()):
            return []  # only where rounding has moved a vertex over an edge
        nearest = int(away.argmin())
        return self._split(vertex, int(crossed[nearest]), np.array([rows[nearest], column]))

    def _split(self, vertex: int, edge: int, place: NDArray[np.float64]) -> list[int]:
        """Cut from a vertex to a place on the edge that starts at another."""
        self._grow(3)
        twin, far, far_twin = self._used, self._used + 1, self._used + 2
        self._used += 3
        self._places[twin] = self._places[vertex]
        self._places[[far, far_twin]] = place
        beyond, after = int(self._after[edge]), int(self._after[vertex])
        for one, next_one in (
            (vertex, far),
            (far, beyond),
            (edge, far_twin),
            (far_twin, twin),
            (twin, after),
        ):
            self._after[one], self._before[next_one] = next_one, one
        return [vertex, twin, far, far_twin]

    def _grow(self, by: int) -> None:
        while self._used + by > len(self._places):
            self._places = np.concatenate([self._places, np.empty_like(self._places)])
            self._after = np.concatenate([self._after, np.zeros_like(self._after)])
            self._before = np.concatenate([self._before, np.zeros_like(self._before)])

    def _rings(self) -> list[DoubleArray]:
        after = self._after[: self._used].tolist()
        seen = [False] * self._used
        rings = []
        for first in range(self._used):
            ring = []
            vertex = first
            while not seen[vertex]:
                seen[vertex] = True
                ring.append(vertex)
                vertex = after[vertex]
            if len(ring) > 2:
                rings.append(_without_middles(self._places[ring]))
        return rings


def _without_middles(ring: DoubleArray) -> DoubleArray:
    """Drop vertices between two cuts in line, which make a piece look not quite convex."""
    columns = ring[:, 1]
    middle = (columns == np.roll(columns, 1)) & (columns == np.roll(columns, -1))
    kept: DoubleArray = ring[~middle]
    return kept


def _rank(place: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return 1 where a place comes after another, by column and then row, and else -1."""
    columns, rows = place[..., 1] - other[..., 1], place[..., 0] - other[..., 0]
    rank: NDArray[np.int_] = np.where(np.where(columns == 0, rows, columns) > 0, 1, -1)
    return rank


def _turn(
    before: NDArray[np.float64], here: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return by how much a path turns at a place, with the sign of a ring's area."""
    into, out = here - before, after - here
    turn: NDArray[np.float64] = into[..., 0] * out[..., 1] - into[..., 1] * out[..., 0]
    return turn


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
    in one stretch; see :func:`~napari_spa.viewer.layers.polygons.monotone_partition` for why.  The
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
    return monotone_partition(placed, convex=convex)


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
