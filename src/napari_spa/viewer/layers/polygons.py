"""From masks to shapes: polygons that napari fills quickly and rightly, and borders as lines."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, DoubleArray

# How far a border may lie from the pixels' edges, in rows.  Less than a half: so it passes
# every pixel's centre on the right side, and the borders of a piece do not cross.
_TOLERANCE = 0.45
_PIECE = 60  # vertices that take napari as long as one polygon more
_FEWEST = 100
_LONGEST = 4000  # vertices of a candidate's border, beyond which some are left out


def mask_polygons(
    mask: BoolArray,
    origin: tuple[int, int] = (0, 0),
    *,
    most: int | None = None,
    axis: int = 1,
) -> list[DoubleArray]:
    """Outline a mask as polygons without holes.

    Parameters
    ----------
    mask : ndarray of shape (H, W)
        bool.
    origin : (int, int)
        Row and column of the mask's first pixel in the image.
    most : int or None
        Where the polygons have more vertices than this (and 100), pixels are merged until
        they have not; a polygon counts as 60 vertices more.  Without it, or while it is not
        reached, exactly the pixels of the mask have their centres inside.
    axis : {0, 1}
        The axis that runs across the screen: 1, or 0 where the view is transposed.

    Returns
    -------
    list of ndarray of shape (N, 2)
        float64 (row, column), pixel centres at whole numbers, not closed; none for an empty
        mask.  They overlap nowhere, and each column (each row for axis 0) meets each of
        them in one stretch at most: forks and holes are where triangulations go wrong.
    """
    if axis == 0:
        turned = mask_polygons(mask.T, origin[::-1], most=most)
        return [polygon[:, ::-1] for polygon in turned]
    block, merged = 1, mask
    while True:
        polygons = [_outline(*piece) * block + (block - 1) / 2 for piece in _pieces(merged)]
        effort = sum(len(polygon) + _PIECE for polygon in polygons)
        if most is None or effort <= max(most, _FEWEST) or merged.size == 1:
            return [polygon + np.array(origin, dtype=float) for polygon in polygons]
        # Noise has a fourth of the vertices when its blocks are twice as large.
        block = max(block + 1, int(block * np.sqrt(effort / max(most, _FEWEST))))
        merged = _merged(mask, block)


def border_lines(
    mask: BoolArray, other: BoolArray, origin: tuple[int, int] = (0, 0)
) -> tuple[list[DoubleArray], list[bool]]:
    """Return a mask's border as lines, without the parts that are another mask's border too.

    Parameters
    ----------
    mask, other : ndarray of shape (H, W)
        bool.
    origin : (int, int)
        Row and column of the masks' first pixel in the image.

    Returns
    -------
    lines : list of ndarray of shape (N, 2)
        float64 (row, column), N of 2 or more; they pass between pixels' centres.
    inside : list of bool
        Of each line, whether it lies inside of the other mask.
    """
    from skimage.measure import find_contours

    lines: list[DoubleArray] = []
    inside: list[bool] = []
    contours = find_contours(np.pad(mask, 1).astype(np.uint8), 0.5)
    step = 1 + sum(map(len, contours)) // _LONGEST
    around = np.pad(other, 1)
    for contour in contours:
        # Each vertex lies half way between two neighbours, one of them in the mask.
        low, high = np.floor(contour).astype(int), np.ceil(contour).astype(int)
        first, second = around[low[:, 0], low[:, 1]], around[high[:, 0], high[:, 1]]
        kind = np.where(first != second, 2, first)  # 2 where both masks end
        stops = np.flatnonzero(np.diff(kind)) + 1
        for start, stop in pairwise([0, *stops.tolist(), len(kind)]):
            if kind[start] == 2:
                continue
            line = contour[max(start - 1, 0) : stop + 1]  # up to the border of both
            line = _corners(line)
            line = line[[*range(0, len(line) - 1, step), -1]]
            lines.append(line + np.array(origin, dtype=float) - 1)
            inside.append(bool(kind[start]))
    return lines, inside


def _corners(line: DoubleArray) -> DoubleArray:
    """Leave out what lies on a straight line between its neighbours."""
    steps = np.diff(line, axis=0)
    turns = np.flatnonzero((np.diff(steps, axis=0) != 0).any(axis=1)) + 1
    kept: DoubleArray = line[[0, *turns.tolist(), len(line) - 1]]
    return kept


def _pieces(mask: BoolArray) -> list[tuple[int, NDArray[np.intp]]]:
    """Cut a mask into chains of runs of pixels along columns, one run a column.

    Of each: the first column, and each column's first row and the one after its last, (N, 2).
    """
    padded = np.zeros((mask.shape[1], mask.shape[0] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask.T
    change = np.diff(padded, axis=1)
    column, first = np.nonzero(change == 1)
    stop = np.nonzero(change == -1)[1]
    bounds = np.searchsorted(column, np.arange(mask.shape[1] + 1)).tolist()
    runs = list(zip(first.tolist(), stop.tolist(), strict=True))
    done: list[tuple[int, list[tuple[int, int]]]] = []
    open_pieces: dict[int, tuple[int, list[tuple[int, int]]]] = {}  # by the run that ends each
    for here in range(mask.shape[1]):
        before, now = range(*bounds[max(here - 1, 0) : here + 1]), range(*bounds[here : here + 2])
        links = _links(runs, before, now) if here else []
        back: dict[int, list[int]] = {}
        ahead: dict[int, list[int]] = {}
        for old, new in links:
            back.setdefault(new, []).append(old)
            ahead.setdefault(old, []).append(new)
        following: dict[int, tuple[int, list[tuple[int, int]]]] = {}
        for run in now:
            behind = back.get(run, [])
            if len(behind) == 1 and len(ahead[behind[0]]) == 1:
                piece = open_pieces.pop(behind[0])
            else:
                piece = (here, [])
            piece[1].append(runs[run])
            following[run] = piece
        done += open_pieces.values()
        open_pieces = following
    done += open_pieces.values()
    return [(start, np.array(chain, dtype=np.intp)) for start, chain in done]


def _links(runs: list[tuple[int, int]], before: range, now: range) -> list[tuple[int, int]]:
    """Return which runs of two neighbouring columns share a row."""
    links = []
    old = before.start
    for new in now:
        while old < before.stop and runs[old][1] <= runs[new][0]:
            old += 1
        other = old
        while other < before.stop and runs[other][0] < runs[new][1]:
            links.append((other, new))
            other += 1
    return links


def _outline(start: int, chain: NDArray[np.intp]) -> DoubleArray:
    """Walk around a chain of runs with few vertices, (N, 2) float64."""
    columns = [start - 0.5, *map(float, range(start, start + len(chain))), start + len(chain) - 0.5]
    upper, lower = (_straightened(columns, (chain[:, side] - 0.5).tolist()) for side in (0, 1))
    return np.array(upper + lower[::-1])


def _straightened(columns: list[float], rows: list[float]) -> list[tuple[float, float]]:
    """Replace a border by few straight lines that pass near it at every column.

    From each vertex, the directions that pass all columns so far lie between a lower and a
    higher one; where none is left, the next vertex is set.
    """
    rows = [rows[0], *rows, rows[-1]]
    row, column = rows[0], columns[0]
    vertices = [(row, column)]
    low, high, reached = -np.inf, np.inf, column
    for near, here in zip(rows[1:], columns[1:], strict=True):
        wide = here - column
        down, up = (near - _TOLERANCE - row) / wide, (near + _TOLERANCE - row) / wide
        if max(low, down) > min(high, up):
            row += (low + high) / 2 * (reached - column)
            column = reached
            vertices.append((row, column))
            wide = here - column
            low, high = (near - _TOLERANCE - row) / wide, (near + _TOLERANCE - row) / wide
        else:
            low, high = max(low, down), min(high, up)
        reached = here
    vertices.append((row + (low + high) / 2 * (reached - column), reached))
    return vertices


def _merged(mask: BoolArray, block: int) -> BoolArray:
    """Merge blocks of pixels; a block belongs to the mask when half of it does."""
    height, width = (-(-extent // block) for extent in mask.shape)
    padded = np.zeros((height * block, width * block), dtype=np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    share: NDArray[np.float32] = padded.reshape(height, block, width, block).mean(axis=(1, 3))
    merged: BoolArray = share >= min(0.5, float(share.max()))
    return merged
