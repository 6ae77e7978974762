"""Find what a labels layer has at a place, to refine it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_spa.core.types import LocalMask
from napari_spa.errors import InputError
from napari_spa.viewer.layers.planes import click_in_plane, spatial_shape

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_spa.core.plane import Plane


@dataclass(frozen=True, slots=True, eq=False)
class StoredMask:
    """One label of a layer on one plane.

    Attributes
    ----------
    layer : Labels
        Where it was found.
    number : int
        The label.
    mask : LocalMask
        Its pixels, in the image's plane.
    """

    layer: Labels
    number: int
    mask: LocalMask


def stored_mask(
    viewer: ViewerModel, image: Image, plane: Plane, position: tuple[float, ...]
) -> StoredMask:
    """Return the topmost label at a world position."""
    row, column = (round(v) for v in click_in_plane(image, plane, position))
    shape = spatial_shape(image)
    height, width = (shape[axis] for axis in plane.axes)
    layers = [x for x in reversed(viewer.layers) if isinstance(x, Labels) and x.visible]
    layers.sort(key=lambda layer: layer is not viewer.layers.selection.active)
    other_size = False
    for layer in layers if 0 <= row < height and 0 <= column < width else []:
        data: Any = layer.data[0] if layer.multiscale else layer.data
        index = plane_index(plane, shape, tuple(data.shape))
        if index is None:
            other_size = True
            continue
        labels = np.asarray(data[index])
        number = int(labels[row, column])
        if number:
            return StoredMask(layer, number, LocalMask.crop(labels == number))
    raise InputError(
        "the labels there have another size than the image; refine needs the same."
        if other_size
        else "there is no label under the pointer; point at an object of a labels layer."
    )


def plane_index(
    plane: Plane, shape: tuple[int, ...], labels: tuple[int, ...]
) -> tuple[int | slice, ...] | None:
    """Index the plane in labels of the image's shape, or of its last axes; else None."""
    if labels == shape:
        return plane.slices
    if len(labels) < len(shape) and labels == shape[-len(labels) :]:
        index = plane.slices[-len(labels) :]
        return index if sum(isinstance(part, slice) for part in index) == 2 else None
    return None
