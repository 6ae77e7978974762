"""What a click is meant for: which image, and which object of it."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Literal

from napari.layers import Image
from scipy import ndimage

from napari_spa.core.types import Region

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import LayerList

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import BoolArray, Proposal
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.round import RenderedRound

Aim = Literal["auto", "current", "next"]
"""Whether a prompt is for the current object, for the next one, or as its place says."""

_MARGIN = 0.15
"""How far beside all samples a click still corrects, as a share of their extent."""


def click_target(layers: LayerList, current: AnnotatedImage | None) -> Image | None:
    """Return the image a click is meant for.

    The one with an active object; else, of those that can be seen, the selected one; else the
    last one annotated; else the topmost.
    """
    if current is not None and current.active is not None:
        return current.image
    active = layers.selection.active
    shown = [layer for layer in layers if isinstance(layer, Image) and layer.visible]
    if active in shown:
        return active
    if current is not None and current.image in shown:
        return current.image
    return shown[-1] if shown else None


def accepted_at(annotated: AnnotatedImage, plane: Plane, row: float, column: float) -> int | None:
    """Return the number of the accepted object at a pixel; None for background or the current."""
    pixel = Region(_pixel(row), _pixel(column), 1, 1)
    label = int(annotated.mask.read(plane, pixel)[0, 0])
    active = annotated.active
    if label not in annotated.annotation.objects or (active is not None and active.number == label):
        return None
    return label


def is_elsewhere(shown: RenderedRound, points: Sequence[tuple[float, float]]) -> bool:
    """Tell whether points can only belong to another object than the one that is shown.

    They lie outside its field of view, or outside everything that its samples reach and
    the margin around it; of a stroke or a box every point must.
    """
    reached, region = _reached(shown.proposal), shown.proposal.region  # of the field of view
    return not any(
        _holds(reached, _pixel(row) - region.row, _pixel(column) - region.column)
        for row, column in points
    )


def _pixel(position: float) -> int:
    """Return the pixel under a position; both edges of the image belong to it."""
    return max(0, ceil(position - 0.5))


def _holds(mask: BoolArray, row: int, column: int) -> bool:
    height, width = mask.shape
    return 0 <= row < height and 0 <= column < width and bool(mask[row, column])


def _reached(proposal: Proposal) -> BoolArray:
    """Return the pixels of the region that some sample may hold, and a margin around them.

    A candidate with a region of its own is another object, such as all of the tissue: that
    it reaches a place does not make a click there a correction of this one.
    """
    active = proposal.local_mask.copy()
    for candidate in proposal.candidates:
        if candidate.region == proposal.region:
            active |= candidate.local_mask
    if not active.any():
        return active
    box = Region.bounding(active)
    margin = max(2.0, _MARGIN * max(box.height, box.width))
    near: BoolArray = ndimage.distance_transform_edt(~active) <= margin
    return near
