"""Single objects out of masks that show many: parted, cut in pieces, and outlined."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import scipy

from napari_spa.core.types import BoolArray, LocalMask
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Corner: TypeAlias = tuple[int, int]
    Polygon: TypeAlias = list[NDArray[np.int64]]


_REACH = 64
_MERGED = 4


def split_objects(masks: BoolArray, *, min_area: int = 30) -> list[BoolArray]:
    """Split raters' masks ``(R, H, W)`` of many objects into one such stack per object.

    An object is a connected component of what at least half of the raters marked, grown
    to each rater's own component(s) that touch it; for a rater who did not mark it, nothing.
    Agreements of fewer than ``min_area`` pixels are left out.
    """
    agreed, _ = scipy.ndimage.label(masks.mean(axis=0) >= 0.5)
    labelled = [scipy.ndimage.label(mask)[0] for mask in masks]
    found = []
    for index, box in enumerate(scipy.ndimage.find_objects(agreed), start=1):
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


def agreed_area(masks: BoolArray) -> BoolArray:
    """Return where most of R raters ``(R, H, W)`` agree that the object is: all, where they do."""
    votes = masks.sum(axis=0)
    if votes.max(initial=0) == 0:
        raise InputError("all masks are empty; there is no object to click on.")
    return np.asarray(votes == votes.max())


_CRUMB = 0.05  # of the largest piece that a line takes off: less is by chance


def cut_object(mask: LocalMask, path: Sequence[tuple[float, float]]) -> list[LocalMask]:
    """Divide an object along a line.

    The line, of (row, column) in image pixels, may begin and end outside of the object.
    Returned are the pieces that it takes off, the largest first, none where it divides
    nothing.  Parts that it does not touch, and of each part that it does the largest piece,
    stay with the object.  Pixels under the line, and crumbs beside a much larger piece that it
    takes off, go to the piece nearest to them.
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
    whole, _ = scipy.ndimage.label(pixels, structure=np.ones((3, 3)))
    cut, count = scipy.ndimage.label(pixels & ~under, structure=np.ones((3, 3)))
    areas = scipy.ndimage.sum_labels(pixels, cut, np.arange(count + 1))
    owner = np.zeros(count + 1, dtype=int)  # which part each piece comes from
    owner[cut[cut > 0]] = whole[cut > 0]
    stays = {
        max(np.flatnonzero(owner == part)[::-1], key=lambda piece: areas[piece])
        for part in np.unique(owner[1:])
    }
    if not under.any() or len(stays) == count:
        return []
    off = [piece for piece in range(1, count + 1) if piece not in stays]
    crumbs = [piece for piece in off if areas[piece] < _CRUMB * areas[off].max()]
    cut[np.isin(cut, crumbs)] = 0
    nearest = scipy.ndimage.distance_transform_edt(
        cut == 0, return_distances=False, return_indices=True
    )
    grown = np.where(pixels, np.where(cut > 0, cut, cut[tuple(nearest)]), 0)
    found = [LocalMask.crop(grown == piece, region) for piece in off if piece not in crumbs]
    return sorted(found, key=lambda piece: -piece.area)


# A step along an edge keeps the mask on its right: right, down, left, up.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
# Where the pixel beyond each edge lies, and which of the pixel's corners the edge starts at.
_BEYOND = ((-1, 0), (0, 1), (1, 0), (0, -1))
_STARTS = ((0, 0), (0, 1), (1, 1), (1, 0))


def mask_outlines(mask: BoolArray, origin: Corner = (0, 0)) -> list[Polygon]:
    """Outline a mask ``(H, W)``, whose first pixel lies at ``origin``, along edges of pixels.

    Returned is a polygon for each part that hangs together by edges of pixels: the outer ring, and
    one for each hole, (N, 2) corners, where pixel (r, c) reaches from (r, c) to (r + 1, c + 1);
    not closed.  No ring passes a corner twice: rings that meet do so in single corners, so the
    polygons are valid for other programs.
    """
    parts, count = scipy.ndimage.label(np.pad(mask, 1))
    shift = np.array(origin, dtype=np.int64) - 1
    polygons: list[Polygon] = [[] for _ in range(count)]
    for part, ring in _rings(parts):
        corners = _straightened(np.array(ring, dtype=np.int64)) + shift
        if _signed_area(corners) > 0:
            polygons[part - 1].insert(0, corners)
        else:
            polygons[part - 1].append(corners)
    return polygons


def _rings(parts: NDArray[np.signedinteger]) -> Iterator[tuple[int, list[Corner]]]:
    """Walk along all edges; yield the number of the part and the corners of each ring."""
    edges: dict[Corner, dict[int, int]] = {}  # from a corner, by direction, of which part
    inside = parts > 0
    for way, (beyond, start) in enumerate(zip(_BEYOND, _STARTS, strict=True)):
        there = np.roll(inside, (-beyond[0], -beyond[1]), axis=(0, 1))
        rows, columns = np.nonzero(inside & ~there)
        for row, column, part in zip(
            rows.tolist(), columns.tolist(), parts[rows, columns].tolist(), strict=True
        ):
            edges.setdefault((row + start[0], column + start[1]), {})[way] = part
    while edges:
        corner, ways = next(iter(edges.items()))
        way, part = next(iter(ways.items()))
        for ring in _simple(_walk(edges, corner, way)):
            yield part, ring


def _walk(edges: dict[Corner, dict[int, int]], corner: Corner, way: int) -> list[Corner]:
    """Follow edges until they close, and take them away; where two go on, keep to the pixel."""
    passed, start = [], (corner, way)
    while True:
        passed.append(corner)
        ways = edges[corner]
        del ways[way]
        if not ways:
            del edges[corner]
        corner = (corner[0] + _STEPS[way][0], corner[1] + _STEPS[way][1])
        ahead = edges.get(corner, {})
        # A turn to the right stays at the pixel, where another touches it at this corner.
        turns = ((way + 1) % 4, way, (way - 1) % 4)
        way = next(turn for turn in turns if turn in ahead or (corner, turn) == start)
        if (corner, way) == start:
            return passed


def _simple(ring: list[Corner]) -> Iterator[list[Corner]]:
    """Part a ring where it passes a corner again."""
    place: dict[Corner, int] = {}
    path: list[Corner] = []
    for corner in ring:
        if corner in place:
            at = place[corner]
            yield path[at:]
            for gone in path[at + 1 :]:
                del place[gone]
            del path[at + 1 :]
        else:
            place[corner] = len(path)
            path.append(corner)
    yield path


def _straightened(ring: NDArray[np.int64]) -> NDArray[np.int64]:
    """Leave out the corners that a ring goes straight through."""
    steps = np.roll(ring, -1, axis=0) - ring
    turns: BoolArray = (steps != np.roll(steps, 1, axis=0)).any(axis=1)
    return np.asarray(ring[turns])


def _signed_area(ring: NDArray[np.int64]) -> float:
    """Return the area; below zero for a hole."""
    rows, columns = ring[:, 0], ring[:, 1]
    area = np.dot(columns, np.roll(rows, -1)) - np.dot(rows, np.roll(columns, -1))
    return float(area) / 2
