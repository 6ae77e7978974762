"""Pictures of a round: the object with each candidate's difference, all cut the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.pictures import difference_picture, outline_picture
from napari_spa.core.types import LocalMask, Region
from napari_spa.refine.engine.view import Canvas, FieldOfView

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Proposal

PICTURE_SIDE = 320
_MARGIN = 1.35
_SMALLEST = 24.0


def round_pictures(
    canvas: Canvas, proposal: Proposal, side: int = PICTURE_SIDE, *, blind: bool = False
) -> tuple[NDArray[np.uint8], ...]:
    """Draw the recommendation and each candidate.

    Parameters
    ----------
    canvas : Canvas
        The image.
    proposal : Proposal
        What is shown.
    side : int
        Of the pictures, in pixels.
    blind : bool
        Draw outlines alone, so that no picture tells what is recommended.

    Returns
    -------
    tuple of ndarray of shape (side, side, 3)
        uint8; the recommendation first.
    """
    view = _around(proposal)
    window = canvas.read(view, side)
    recommended = _sample(proposal.local_mask, proposal.region, view, side)
    masks = [_sample(c.local_mask, c.region, view, side) for c in proposal.candidates]
    if blind:
        return tuple(outline_picture(window, mask) for mask in (recommended, *masks))
    return tuple(difference_picture(window, mask, recommended) for mask in (recommended, *masks))


def _around(proposal: Proposal) -> FieldOfView:
    """Return a square around all masks that are shown, with a margin."""
    shown = [(proposal.local_mask, proposal.region)]
    shown += [(candidate.local_mask, candidate.region) for candidate in proposal.candidates]
    boxes = [LocalMask.crop(mask, region).region for mask, region in shown]
    boxes = [box for box in boxes if box.height] or [proposal.region]
    top, left = min(box.row for box in boxes), min(box.column for box in boxes)
    bottom = max(box.row + box.height for box in boxes)
    right = max(box.column + box.width for box in boxes)
    side = max(_SMALLEST, _MARGIN * max(bottom - top, right - left))
    return FieldOfView.around((top + bottom) / 2, (left + right) / 2, side)


def _sample(mask: BoolArray, region: Region, view: FieldOfView, side: int) -> BoolArray:
    """Look at a mask of a region through a view, nearest pixels."""
    steps = (np.arange(side) + 0.5) / side
    rows = np.floor(view.row + steps * view.height).astype(int) - region.row
    columns = np.floor(view.column + steps * view.width).astype(int) - region.column
    inside = np.outer(
        (rows >= 0) & (rows < region.height), (columns >= 0) & (columns < region.width)
    )
    taken = mask[np.ix_(rows.clip(0, region.height - 1), columns.clip(0, region.width - 1))]
    seen: BoolArray = taken & inside
    return seen
