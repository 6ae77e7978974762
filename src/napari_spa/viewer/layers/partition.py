"""Cut outlines with islands and holes into pieces that any triangulation gets right.

What napari fills polygons with is not exact: its compiled triangulations (bermuda and
PartSegCore, which share an algorithm) fill wrong areas where, seen along the columns on
screen, a polygon forks (napari issue 9159).  They are right about polygons that every
column meets in one stretch.  The triangulation in Python raises for some outlines and
fills others wrongly, without a pattern; convex polygons do without it.  Joining pieces by
bridges into fewer polygons makes bermuda raise and PartSegCore crash, now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import DoubleArray


def cut_into_pieces(
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
        As for :func:`cut_into_pieces`.
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
