"""What a user said about single pixels holds: clicks, strokes and the box (docs/method.md).

Three steps, each on arrays.  Samples are weighted by how likely they are at the prompts
(:func:`log_likelihood`).  Where what is shown still contradicts a prompt, the prompt's label
flows into its surroundings on the sampling grid, as far as the image lets it
(:func:`spread`).  What is left, by then a few pixels, is settled at the image's own
resolution (:func:`enforce`), so that what a user gets agrees with what they said.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import scipy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Box, DoubleArray, FloatArray

# A mask comes within this share of a box's extent to each of its sides: people draw boxes loosely;
# a mask that had to come nearer would leave the object's edge for the box's (docs/experiments.md).
TOUCH = 0.25
_FLOOR = 1e-3  # no sample is less likely at one prompt than this
_UNTOUCHED = 0.1  # nor at one side of a box
_SURE = 0.9  # how far a contradicted pixel is moved from the threshold towards 0 or 1
_EDGE = 6.0  # what an edge of the image costs a label on its way, in steps
_HALVINGS = 8


_SPECK, _SPECK_SHARE = 12, 0.003
"""A part or a hole of fewer pixels of the sampling grid, or of less of it, is a speck.  That is no
share of the object, so that of two masks of which one holds the other this stays true."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What a user said, on a grid of pixels."""

    places: NDArray[np.int64]  # (P, 2) row and column, each at most once
    labels: BoolArray  # (P,), True on the object
    box: Box | None = None  # edges of what holds the object, in pixels of the grid

    @property
    def empty(self) -> bool:
        """Whether nothing was said."""
        return self.box is None and not len(self.places)

    def shifted(self, row: int, column: int) -> Evidence:
        """Return the same evidence on a grid whose corner is at (row, column) of this one."""
        box = None if self.box is None else self.box.moved(-row, -column)
        return Evidence(self.places - np.array([row, column]), self.labels, box)

    def within(self, shape: tuple[int, int]) -> Evidence:
        """Return the evidence with places at a grid's very edge moved onto it."""
        return Evidence(np.clip(self.places, 0, np.array(shape) - 1), self.labels, self.box)

    def inside(self, shape: tuple[int, ...]) -> Evidence:
        """Return the evidence without the places outside of a grid."""
        inside = ((self.places >= 0) & (self.places < np.array(shape))).all(axis=1)
        return Evidence(self.places[inside], self.labels[inside], self.box)


NO_EVIDENCE = Evidence(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=bool))


def box_pixels(box: Box, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of the pixels whose centres lie in a box, at least one a side.

    The box's edges are in pixels of the grid, whose rows and columns are ``shape``.
    """

    def span(low: float, high: float, limit: int) -> slice:
        first = int(np.clip(np.ceil(low - 0.5), 0, limit - 1))
        last = int(np.clip(np.floor(high - 0.5), first, limit - 1))
        return slice(first, last + 1)

    return span(box.row0, box.row1, shape[0]), span(box.column0, box.column1, shape[1])


def box_strips(box: Box, shape: tuple[int, ...], share: float) -> list[tuple[slice, slice]]:
    """Return the strips along a box's sides that a mask has to touch: top, bottom, left, right.

    A strip's depth is a share of the box's extent, and at least a pixel; see :func:`box_pixels`.
    """

    def ends(side: slice, low: float, high: float) -> tuple[slice, slice]:
        """Return the pixels of a side whose outer edge lies in its first, or its last, strip."""
        deep = share * (high - low)
        first = max(side.start + 1, min(side.stop, int(low + deep) + 1))
        last = min(side.stop - 1, max(side.start, int(np.ceil(high - deep)) - 1))
        return slice(side.start, first), slice(last, side.stop)

    rows, columns = box_pixels(box, shape)
    top, low = ends(rows, box.row0, box.row1)
    left, right = ends(columns, box.column0, box.column1)
    return [(top, columns), (low, columns), (rows, left), (rows, right)]


def log_likelihood(
    probabilities: FloatArray, places: DoubleArray, labels: BoolArray, box: Box | None = None
) -> DoubleArray:
    """How likely each sample is at the prompts, as a logarithm.

    The product of its probabilities of the asked-for labels; of a box, of its share inside
    and of its touching each side.  From maps ``(N, h, w)`` in [0, 1], and places ``(P, 2)`` and a
    box on their grid, pixel centres whole, to ``(N,)``, at most 0.
    """
    total = np.zeros(len(probabilities))
    if len(places):
        there = values_at(probabilities, places)  # (N, P)
        likely = np.where(labels, there, 1.0 - there)
        total += np.log(np.maximum(likely, _FLOOR)).sum(axis=1)
    if box is not None:
        rows, columns = box_pixels(box, probabilities.shape[1:])
        everywhere = probabilities.sum(axis=(1, 2), dtype=np.float64)
        inside = probabilities[:, rows, columns].sum(axis=(1, 2), dtype=np.float64)
        total += np.log(np.maximum(inside / np.maximum(everywhere, 1e-6), _FLOOR))
        for strip in box_strips(box, probabilities.shape[1:], TOUCH):
            touching = probabilities[:, strip[0], strip[1]].max(axis=(1, 2))
            total += np.log(np.maximum(touching, _UNTOUCHED))
    return total


def values_at(maps: FloatArray, places: DoubleArray) -> DoubleArray:
    """Read maps ``(K, h, w)`` between their pixels, bilinearly, at ``(P, 2)`` places: ``(K, P)``.

    Places are row and column, pixel centres whole; beyond the edge the edge goes on.
    """
    h, w = maps.shape[1:]
    row = np.clip(places[:, 0], 0, h - 1)
    column = np.clip(places[:, 1], 0, w - 1)
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    low, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    down, across = row - top, column - left
    upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
    lower = maps[:, low, left] * (1 - across) + maps[:, low, right] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float64)


def spread(
    maps: FloatArray,
    thresholds: Sequence[float],
    places: DoubleArray,
    labels: BoolArray,
    guide: FloatArray,
    *,
    reach: float,
) -> FloatArray:
    """Let contradicted prompts flow into their surroundings, as far as the image lets them.

    At a contradicted prompt the map takes its label; with the geodesic distance from there
    (an edge of the image is far) the map keeps more and more of what it was, and at prompts
    of the other label all of it.  Maps are ``(K, h, w)`` in [0, 1], each object above its
    threshold; places ``(P, 2)``, labels ``(P,)`` and ``guide``, the image, ``(h, w, C)``, are on
    their grid; ``reach`` is the falloff's deviation, in its pixels.
    """
    h, w = maps.shape[1:]
    wrong = (values_at(maps, places) > np.asarray(thresholds)[:, None]) != labels  # (K, P)
    if not wrong.any():
        return maps
    cells = np.clip(np.round(places).astype(int), 0, (h - 1, w - 1))
    cost = _passage(guide)
    out = maps.copy()

    @cache
    def travel(chosen: tuple[bool, ...]) -> DoubleArray:  # most maps are wrong at the same prompts
        return _travel(cost, cells[np.array(chosen)])

    for k, threshold in enumerate(thresholds):
        for label in (True, False):
            mine = wrong[k] & (labels == label)
            if mine.any():
                there, others = travel(tuple(mine)), travel(tuple(labels != label))
                share = _falloff(there, others, reach)
                out[k] += (share * (_target(threshold, label) - out[k])).astype(np.float32)
    return out


def fill_box(maps: FloatArray, thresholds: Sequence[float], box: Box) -> FloatArray:
    """Lift maps ``(K, h, w)`` inside a box, by a ramp towards a side, until they touch all sides.

    The ramp leaves the middle alone and lifts most at the side, by no more than it takes for
    the most likely pixels there to join the object.
    """
    shape = maps.shape[1:]
    rows, columns = box_pixels(box, shape)
    out = maps.copy()
    centre = ((box.row0 + box.row1) / 2 - 0.5, (box.column0 + box.column1) / 2 - 0.5)
    half = (max(box.row1 - box.row0, 1.0) / 2, max(box.column1 - box.column0, 1.0) / 2)
    # From -1 to 1 in the box.
    down, across = np.meshgrid(
        ((np.arange(shape[0]) - centre[0]) / half[0])[rows],
        ((np.arange(shape[1]) - centre[1]) / half[1])[columns],
        indexing="ij",
    )
    ramps = (-down, down, -across, across)
    strips = [
        (
            slice(r.start - rows.start, r.stop - rows.start),
            slice(c.start - columns.start, c.stop - columns.start),
        )
        for r, c in box_strips(box, shape, 0.8 * TOUCH)
    ]
    for k, threshold in enumerate(thresholds):
        part = scipy.special.logit(
            np.clip(out[k, rows, columns].astype(np.float64), 1e-6, 1 - 1e-6)
        )
        level = part - scipy.special.logit(threshold)
        if not (level > 0).any():  # nothing yet: an ellipse, as much of it as is likely
            level = level - level.max() + 1.0 - 2.0 * (down**2 + across**2)
        for ramp, strip in zip(ramps, strips, strict=True):
            level = _lifted(level, np.clip(ramp, 0.0, 1.0), strip)
        out[k, rows, columns] = scipy.special.expit(level + scipy.special.logit(threshold))
    return out


def enforce(
    maps: FloatArray, thresholds: Sequence[float], evidence: Evidence, *, radius: float
) -> FloatArray:
    """Settle the pixels that still contradict what was said, each with a small surrounding.

    Maps ``(K, H, W)`` at the image's resolution are changed in place: each place of the evidence,
    which lie on their grid, has its label; with a box nothing is outside of it, and each side is
    touched unless the negative places forbid it.  ``radius`` is the surrounding's deviation.
    """
    for one, threshold in zip(maps, thresholds, strict=True):
        _keep_in(one, evidence.box)
        _settle(one, threshold, evidence.places, evidence.labels, radius)
        _keep_in(one, evidence.box)
        if evidence.box is None:
            continue
        wanted = _untouched(one, threshold, evidence.box, evidence.places[~evidence.labels])
        if len(wanted):
            places = np.concatenate([evidence.places, wanted])
            labels = np.append(evidence.labels, np.ones(len(wanted), dtype=bool))
            _settle(one, threshold, places, labels, radius)
            _keep_in(one, evidence.box)
    return maps


def _settle(
    one: FloatArray, threshold: float, places: NDArray[np.int64], labels: BoolArray, radius: float
) -> None:
    """Give contradicted places their label, in place."""
    reach = int(np.ceil(3 * radius)) + 1
    for label in (True, False):
        wrong = (one[places[:, 0], places[:, 1]] > threshold) != label
        mine, others = places[(labels == label) & wrong], places[labels != label]
        if not len(mine):
            continue
        low = np.maximum(mine.min(axis=0) - reach, 0)
        high = np.minimum(mine.max(axis=0) + reach + 1, one.shape)
        window = (slice(low[0], high[0]), slice(low[1], high[1]))
        part = one[window]
        near = others[((others >= low) & (others < high)).all(axis=1)]
        there = distance_to(mine - low, part.shape), distance_to(near - low, part.shape)
        share = _falloff(*there, radius)
        part += (share * (_target(threshold, label) - part)).astype(np.float32)
        one[mine[:, 0], mine[:, 1]] = _target(threshold, label)


def _keep_in(one: FloatArray, box: Box | None) -> None:
    """Empty a map outside of a box, in place."""
    if box is None:
        return
    rows, columns = box_pixels(box, one.shape)
    one[: rows.start], one[rows.stop :] = 0.0, 0.0
    one[:, : columns.start], one[:, columns.stop :] = 0.0, 0.0


def _untouched(
    one: FloatArray, threshold: float, box: Box, negative: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the likeliest pixel along each side of a box that a map does not touch."""
    found: list[tuple[int, int]] = []
    allowed = one.copy()
    allowed[tuple(negative.T)] = -1.0
    for rows, columns in box_strips(box, one.shape, TOUCH):
        if (one[rows, columns] > threshold).any():
            continue
        part = allowed[rows, columns]
        row, column = np.unravel_index(int(part.argmax()), part.shape)
        if part[row, column] >= 0:
            found.append((int(row) + rows.start, int(column) + columns.start))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _lifted(level: DoubleArray, ramp: DoubleArray, strip: tuple[slice, slice]) -> DoubleArray:
    """Add as little of a ramp as joins the strip to the object."""
    seed = np.unravel_index(int(level.argmax()), level.shape)

    def joined(amount: float) -> bool:
        parts, _ = scipy.ndimage.label(level + amount * ramp > 0)
        return bool(parts[seed]) and bool((parts[strip] == parts[seed]).any())

    if joined(0.0):
        return level
    slope = np.maximum(ramp[strip], 1e-3)
    most = float((-level[strip] / slope).max()) + 0.1
    least = max(float((-level[strip] / slope).min()) + 0.1, 0.0)
    if not joined(most):
        return level + least * ramp
    low = 0.0
    for _ in range(_HALVINGS):
        middle = (low + most) / 2
        low, most = (low, middle) if joined(middle) else (middle, most)
    return level + most * ramp


def _target(threshold: float, label: bool) -> float:
    return threshold + _SURE * (1 - threshold) if label else (1 - _SURE) * threshold


def _falloff(mine: DoubleArray, others: DoubleArray, reach: float) -> DoubleArray:
    """One at a prompt, less with the distance from it, nothing at prompts of the other label."""
    near = np.exp(-0.5 * (mine / reach) ** 2)
    with np.errstate(invalid="ignore"):
        yields = others**2 / (mine**2 + others**2)
    return np.asarray(near * np.where(np.isinf(others), 1.0, np.nan_to_num(yields, nan=0.0)))


def distance_to(places: NDArray[np.int64], shape: tuple[int, ...]) -> DoubleArray:
    """Return the distance of each pixel to the nearest place; infinite without one."""
    if not len(places):
        return np.full(shape, np.inf)
    empty = np.ones(shape, dtype=bool)
    empty[places[:, 0], places[:, 1]] = False
    return scipy.ndimage.distance_transform_edt(empty)


def _passage(guide: FloatArray) -> DoubleArray:
    """Return what a step over each pixel costs: 1 on plain ground, more at edges."""
    smooth = scipy.ndimage.gaussian_filter(guide.astype(np.float64), (0.7, 0.7, 0))
    across, down = scipy.ndimage.sobel(smooth, axis=1), scipy.ndimage.sobel(smooth, axis=0)
    slope = np.hypot(across, down).max(axis=2)
    typical = float(np.quantile(slope, 0.9))
    return np.asarray(1.0 + _EDGE * np.minimum(slope / max(typical, 1e-6), 1.0) ** 2)


def _travel(cost: DoubleArray, cells: NDArray[np.integer]) -> DoubleArray:
    """Return the geodesic distance of each pixel to the nearest cell; infinite without one."""
    if not len(cells):
        return np.full(cost.shape, np.inf)
    from skimage.graph import MCP_Geometric  # slow to import

    starts = np.zeros(cost.shape, dtype=bool)  # each cell once
    starts[tuple(cells.T)] = True
    travelled, _ = MCP_Geometric(cost).find_costs(np.argwhere(starts).tolist())
    return np.asarray(travelled, dtype=np.float64)


def without_specks(
    level: FloatArray, threshold: float, places: DoubleArray, labels: BoolArray
) -> FloatArray:
    """Return a map without the crumbs beside its object and the pinholes in it.

    What holds a place of its own label stays, however small: rows and columns ``(P, 2)`` on the
    map's grid that were said to be object, or not.  It is just above the threshold where a hole
    was filled, just below where a part went.
    """
    mask = level > threshold
    if mask.all() or not mask.any():
        return level
    rows, columns = np.clip(np.round(places).astype(int), 0, np.array(mask.shape) - 1).T
    cleaned = level.copy()
    # Holes first: what is left in a smaller one belongs to the object around it.
    for which, end in ((False, 1.0), (True, 0.0)):
        parts = scipy.ndimage.label(mask == which)[0]
        sizes = np.bincount(parts.ravel())
        small = sizes < min(_SPECK, _SPECK_SHARE * level.size)
        small[0] = False
        if which:  # the object itself may be as small
            small[1 + sizes[1:].argmax()] = False
        small[parts[rows, columns][labels == which]] = False
        cleaned[small[parts]] = np.nextafter(np.float32(threshold), np.float32(end))
        mask = cleaned > threshold
    return cleaned
