"""What a click is meant for: which image, which object of it, or which label of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy
from napari.layers import Image, Labels

from napari_spa.core.types import BoolArray, LocalMask, Proposal, Region
from napari_spa.errors import InputError
from napari_spa.viewer.layers.planes import (
    click_in_plane,
    spatial_shape,
    to_data,
    to_world,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import LayerList, ViewerModel
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.round import RenderedRound


Aim = Literal["auto", "current", "next"]
"""Whether a prompt is for the current object, for the next one, or as its place says."""

_SOLID = ("opaque", "translucent", "translucent_no_depth")
"""How images are blended through which nothing is seen while they are fully opaque."""

_SKEW = 1e-6
"""Pixels of labels to a pixel of the image, below which an axis stands still."""

_MARGIN = 0.15
"""How far beside all samples a click still corrects, as a share of their extent."""


def click_target(layers: LayerList, current: AnnotatedImage | None) -> Image | None:
    """Return the image a click is meant for.

    The one with an active object; else, of those that can be seen, the selected one; else the
    last one annotated; else the topmost.  A layer that is a channel of the last one annotated
    means that one.
    """
    if current is not None and current.active is not None:
        return current.image
    active = layers.selection.active
    shown = [layer for layer in layers if isinstance(layer, Image) and layer.visible]
    if current is not None and active in current.display.channels.others:
        return current.image
    if active in shown:
        return active
    if current is not None and current.image in shown:
        return current.image
    return shown[-1] if shown else None


def clicked_image(layers: LayerList, current: AnnotatedImage | None) -> Image:
    """Return the image a click is meant for, as :func:`click_target`; ``InputError`` without one.

    And where it would go to an active object on an image that is hidden, while the image on show
    is chosen: what came of the click could not be seen.
    """
    image, chosen = click_target(layers, current), layers.selection.active
    if image is None:
        raise _without_image(layers)
    if (
        current is not None
        and current.active is not None
        and not current.image.visible
        and isinstance(chosen, Image)
        and chosen.visible
        and chosen not in current.display.channels.others
    ):
        name = current.image.name
        raise InputError(
            f"object {current.active.number} of {name} is not accepted yet, and {name} is hidden; "
            f"accept or discard it, or show {name} again."
        )
    return image


def check_in_sight(
    viewer: ViewerModel, current: AnnotatedImage | None, position: tuple[float, ...]
) -> None:
    """Refuse a click for an active object under, or beside, the chosen image; ``InputError``.

    That lies at this world position above all that is drawn of the object, and cannot be seen
    through: what came of the click could not be seen.  Or it lies there alone.
    """
    layers, over = viewer.layers, viewer.layers.selection.active
    if current is None or current.active is None or not isinstance(over, Image):
        return
    if over is current.image or over in current.display.channels.others or not over.visible:
        return
    if not _is_over(viewer, over, position):
        return
    object_of = f"object {current.active.number} of {current.image.name} is not accepted yet"
    if not _is_over(viewer, current.image, position):
        raise InputError(f"{object_of}; accept or discard it to go on with {over.name}.")
    above = layers[layers.index(over) :]
    if over.opacity < 1 or str(over.blending) not in _SOLID or any(map(current.owns, above)):
        return
    raise InputError(
        f"{object_of}, and {over.name} lies over it; accept or discard it, or hide {over.name}."
    )


def _is_over(viewer: ViewerModel, image: Image, position: tuple[float, ...]) -> bool:
    """Tell whether a world position lies in an image."""
    place, extents = to_data(viewer, image, position), np.array(spatial_shape(image))
    return bool(((place >= -0.5) & (place <= extents - 0.5)).all())


def accepted_at(annotated: AnnotatedImage, plane: Plane, row: float, column: float) -> int | None:
    """Return the number of the accepted object at a place; None for any other, and outside."""
    height, width = plane.extent(annotated.mask.store.shape)
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        return None
    pixel = Region(_pixel(row), _pixel(column), 1, 1)
    label = int(annotated.mask.read(plane, pixel)[0, 0])
    active = annotated.active
    if label not in annotated.annotation.objects or (active is not None and active.number == label):
        return None
    return label


def is_elsewhere(
    shown: RenderedRound, points: Sequence[tuple[float, float]], area: LocalMask | None = None
) -> bool:
    """Tell whether points can only belong to another object than the one that is shown.

    They lie outside its field of view, or outside everything that its samples reach and
    the margin around it; of a stroke or a box every point must, and the ``area`` in it must not
    hold half of the mask.
    """
    proposal = shown.proposal
    reached, region = _reached(proposal), proposal.region  # of the field of view
    if area is not None:
        held = int((area.within(region) & proposal.local_mask).sum())
        if 2 * held >= max(int(proposal.local_mask.sum()), 1):
            return False
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

    A candidate with a region of its own may be another object, such as all of the tissue: what it
    reaches is no correction of this one, but within twice the margin.
    """
    active, others = proposal.local_mask.copy(), np.zeros_like(proposal.local_mask)
    for candidate in proposal.candidates:
        if candidate.region == proposal.region:
            active |= candidate.local_mask
        else:
            others |= LocalMask(candidate.region, candidate.local_mask).within(proposal.region)
    if not active.any():
        return active
    box = Region.bounding(active)
    margin = max(2.0, _MARGIN * max(box.height, box.width))
    away = scipy.ndimage.distance_transform_edt(~active)
    near: BoolArray = (away <= margin) | (others & (away <= 2 * margin))
    return near


@dataclass(frozen=True, slots=True, eq=False)
class StoredMask:
    """One label of a layer on one plane."""

    layer: Labels  # where it was found
    number: int  # the label
    read: Callable[[], LocalMask]  # its pixels, in the image's plane; for the worker


def stored_mask(
    viewer: ViewerModel, image: Image, plane: Plane, position: tuple[float, ...]
) -> StoredMask:
    """Return the topmost label at a world position, with the pixels on which it is seen."""
    row, column = (round(v) for v in click_in_plane(viewer, image, plane, position))
    height, width = plane.extent(spatial_shape(image))
    layers = [x for x in reversed(viewer.layers) if isinstance(x, Labels) and x.visible]
    layers.sort(key=lambda layer: layer is not viewer.layers.selection.active)
    for layer in layers if 0 <= row < height and 0 <= column < width else []:
        data: Any = layer.data[0] if layer.multiscale else layer.data
        place = np.rint(to_data(viewer, layer, position)).astype(int)
        if (place < 0).any() or (place >= data.shape).any():
            continue
        number = int(data[tuple(place)])
        if number:
            return StoredMask(layer, number, _seen_on(viewer, image, plane, layer, place))
    raise InputError("there is no label under the pointer; point at an object of a labels layer.")


def _seen_on(
    viewer: ViewerModel, image: Image, plane: Plane, layer: Labels, place: NDArray[np.intp]
) -> Callable[[], LocalMask]:
    """Return what reads where in an image's plane the label at a place of a layer is seen."""
    data: Any = layer.data[0] if layer.multiscale else layer.data
    # Where the plane's first pixel and its neighbours below and on the right lie in the layer.
    first, below, beside = (
        to_data(viewer, layer, to_world(viewer, image, point))
        for point in plane.points(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    )
    steps = np.column_stack([below - first, beside - first])
    axes = np.flatnonzero(np.abs(steps).max(axis=1) > _SKEW)
    if len(axes) != 2:
        raise InputError(f"{layer.name} lies askew to the image; refine needs labels that do not.")
    index = tuple(slice(None) if axis in axes else place[axis] for axis in range(layer.ndim))
    extent = plane.extent(spatial_shape(image))
    aligned = np.allclose(np.c_[steps, first][axes], np.eye(2, 3), atol=_SKEW)

    def read() -> LocalMask:
        mask = np.asarray(data[index]) == int(data[tuple(place)])
        if mask.shape != extent or not aligned:
            mask = scipy.ndimage.affine_transform(
                mask.view(np.uint8), steps[axes], first[axes], extent, order=0, mode="grid-constant"
            ).view(bool)
        return LocalMask.crop(mask)

    return read


def _without_image(layers: LayerList) -> InputError:
    """Say that there is no image to click on, and what makes one."""
    active, remedy = layers.selection.active, "open one first"
    if any(isinstance(layer, Image) for layer in layers):
        remedy = "make one visible first"
    elif isinstance(active, Labels):  # so napari takes whole numbers of 32 bits or more
        remedy = f"for napari {active.name} is labels; right-click it, Convert to Image"
    return InputError(f"there is no image to be seen; {remedy}.")
