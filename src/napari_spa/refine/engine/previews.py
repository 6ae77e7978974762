"""Pictures of a round: the object with each candidate's difference, cut to be compared."""

from __future__ import annotations

from functools import reduce
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.presentation import difference_picture, draw_frame, outline_picture
from napari_spa.core.types import BoolArray, FloatArray, LocalMask, Proposal, Region
from napari_spa.refine.engine.view import FieldOfView, ImageSampler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


IMAGE_SIDE = 320
LINE = 4  # of outlines, in pixels of the picture: two or more where a picture is shown in the dock

_MARGIN = 1.2
_SMALLEST = 24.0
_ALIKE = 1.7
"""Masks up to so many times as long share one crop; what reaches further has one of its own,
or the others would be too small to be told apart."""


def round_images(
    sampler: ImageSampler, proposal: Proposal, side: int = IMAGE_SIDE, *, blind: bool = False
) -> tuple[NDArray[np.uint8], ...]:
    """Draw the recommendation and then each candidate, ``(side, side, 3)`` uint8 each.

    They are cut alike, except what reaches much further: around that is more of the image, with
    the others' cut as a dashed frame.  ``blind`` draws outlines alone, so that no picture tells
    what is recommended.
    """
    shown = [(proposal.local_mask, proposal.region)]
    shown += [(candidate.local_mask, candidate.region) for candidate in proposal.candidates]
    boxes = [LocalMask.crop(mask, region).region for mask, region in shown]
    views = [view.inside(sampler.shape) for view in crops(boxes, blind=blind)]
    shared = min(views, key=lambda view: view.height)
    windows = {view: _window(sampler, view, side) for view in set(views)}
    pictures = []
    for (mask, region), view in zip(shown, views, strict=True):
        window, drawn = windows[view], _sample(mask, region, view, side)
        if blind:
            picture = outline_picture(window, drawn, line=LINE)
        else:
            recommended = _sample(proposal.local_mask, proposal.region, view, side)
            picture = difference_picture(window, drawn, recommended, line=LINE)
        if view != shared:
            _frame(picture, shared, view)
        pictures.append(picture)
    return tuple(pictures)


def crops(boxes: Sequence[Region], *, blind: bool = False) -> list[FieldOfView]:
    """Choose what is shown around each mask, by the boxes of which the recommendation's is first.

    They are squares, all the same but for masks that reach much further than the others;
    ``blind`` chooses as if any of them could be recommended.
    """
    there = [box for box in boxes if box.height]
    if not there:
        return [FieldOfView.around(0.0, 0.0, _SMALLEST)] * len(boxes)
    sides = [max(box.height, box.width) for box in there]
    measure = median(sides) if blind or not boxes[0].height else sides[0]
    core = [box for box in there if max(box.height, box.width) <= _ALIKE * measure]
    if not blind and boxes[0].height:
        core = [box for box in core if _near(box, boxes[0])]
    shared = _around(core)
    return [
        _around([box, *core]) if box.height and not _holds(shared, box) else shared for box in boxes
    ]


def _window(sampler: ImageSampler, view: FieldOfView, side: int) -> FloatArray:
    """Read a view; what lies outside the image is black, not its edge again and again."""
    _, _, inside = _places(Region(0, 0, *sampler.shape), view, side)
    return np.where(inside[..., None], sampler.read(view, side), np.float32(0))


def _near(box: Region, other: Region) -> bool:
    """Tell whether both can be shown in a square not much larger than the second."""
    both = box.with_all_of(other)
    return max(both.height, both.width) <= _ALIKE * max(other.height, other.width)


def _around(boxes: Sequence[Region]) -> FieldOfView:
    """Return a square around boxes, with a margin."""
    box = reduce(Region.with_all_of, boxes)
    side = max(_SMALLEST, _MARGIN * max(box.height, box.width))
    return FieldOfView.around(box.row + box.height / 2, box.column + box.width / 2, side)


def _holds(view: FieldOfView, box: Region) -> bool:
    (bottom, right), low = box.ends, view.row <= box.row and view.column <= box.column
    return low and bottom <= view.row + view.height and right <= view.column + view.width


def _frame(picture: NDArray[np.uint8], inner: FieldOfView, outer: FieldOfView) -> None:
    """Draw a view as a dashed frame into the picture of another one."""
    scale = len(picture) / outer.height
    top, left = round((inner.row - outer.row) * scale), round((inner.column - outer.column) * scale)
    side = round(inner.height * scale)
    draw_frame(picture, top, left, top + side, left + side, LINE // 2)


def _sample(mask: BoolArray, region: Region, view: FieldOfView, side: int) -> BoolArray:
    """Look at a mask of a region through a view, nearest pixels."""
    rows, columns, inside = _places(region, view, side)
    taken = mask[np.ix_(rows.clip(0, region.height - 1), columns.clip(0, region.width - 1))]
    seen: BoolArray = taken & inside
    return seen


def _places(
    region: Region, view: FieldOfView, side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], BoolArray]:
    """Return which rows and columns of a region a picture shows, and where it lies in it."""
    steps = (np.arange(side) + 0.5) / side
    rows = np.floor(view.row + steps * view.height).astype(np.intp) - region.row
    columns = np.floor(view.column + steps * view.width).astype(np.intp) - region.column
    inside: BoolArray = np.outer(
        (rows >= 0) & (rows < region.height), (columns >= 0) & (columns < region.width)
    )
    return rows, columns, inside
