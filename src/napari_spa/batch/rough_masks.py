"""Refine masks that someone drew roughly, or that another program made.

Each object starts as a slice does from the one beside it
(`refine.annotation.propagation.carry`): its rough mask for SAM's mask branch, four
points deep inside, one and a half of its extent in view.  Where what comes of it is another
thing than was drawn, or the model is not sure, the mask stays as it was drawn and goes to
review: so refining seldom makes a mask worse (``benchmarks/batch_objects.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_spa.batch.objects import Found, found_active, shared_pixels
from napari_spa.core.types import LocalMask, Region
from napari_spa.errors import InputError
from napari_spa.refine.annotation.propagation import deep_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_spa.batch.engine import BatchEngine
    from napari_spa.batch.image import OpenedImage
    from napari_spa.core.plane import Plane

SAME = 0.5
"""IoU with the rough mask, below which it is another thing."""
SURE = 0.25
"""A result of more uncertainty is no better than the rough mask."""

_LARGEST = 0xFFFFFFFF
_WHITE = 255


def refine_masks(path: Path | None, engine: BatchEngine, image: OpenedImage) -> Iterator[Found]:
    """Refine the objects of a label image, each on each of its planes."""
    labels = _read(path, image)
    for plane in image.planes():
        here = objects_on(labels[plane.position])
        if not here:
            continue
        source = engine.show(image.levels, plane, image.info.pixel_side)
        for number, mask in here:
            yield refine_mask(number, mask, engine, plane, source)


def refine_mask(
    number: int, mask: LocalMask, engine: BatchEngine, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Refine one object on the plane that an engine shows.

    Parameters
    ----------
    number : int
        Its label.
    mask : LocalMask
        Where it is, roughly; not empty.
    engine : BatchEngine
        With the plane as its session's image.
    plane : Plane
        That plane.
    source : mapping
        From :meth:`BatchEngine.show`.

    Returns
    -------
    Found
        Without decisions where the mask stays as it was drawn.
    """
    session = engine.session
    session.start(deep_points(mask), mask=mask, view=session.view_of(mask))
    found = found_active(session, number, plane, source)
    shared = shared_pixels(found.mask, mask)
    agreement = shared / (found.mask.area + mask.area - shared)
    if agreement >= SAME and found.uncertainty <= SURE:
        return found
    return Found(number, plane, mask, max(found.uncertainty, 1 - agreement))


def objects_on(labels: NDArray[np.integer]) -> list[tuple[int, LocalMask]]:
    """Return the objects of a plane of labels, in order.

    Parameters
    ----------
    labels : ndarray of shape (H, W)
        Whole numbers; 0 is no object.

    Returns
    -------
    list of (int, LocalMask)
        Number and pixels.
    """
    numbers, dense = np.unique(labels, return_inverse=True)
    boxes = ndimage.find_objects(dense.reshape(labels.shape) + 1)
    objects = []
    for number, box in zip(numbers.tolist(), boxes, strict=True):
        if number and box is not None:
            rows, columns = box
            region = Region(
                rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start
            )
            objects.append((int(number), LocalMask(region, labels[box] == number)))
    return objects


def _read(path: Path | None, image: OpenedImage) -> NDArray[np.integer]:
    """Read the labels and check their numbers."""
    from napari_spa.io.images import read_label_stack

    if path is None:
        raise InputError(f"there is no mask for {image.name}; put one of the same name there.")
    labels = read_label_stack(path, image.shape)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _LARGEST:
        raise InputError(f"{path} holds the labels {low} to {high}; they must be 0 or more.")
    if not high:
        raise InputError(f"{path} is empty; draw where the objects are, roughly.")
    alone = high == _WHITE or (high == 1 and labels.ndim == 2)
    if alone and not ((labels > 0) & (labels < high)).any():
        return _parts(labels)
    return labels


def _parts(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Give each connected part a number; those of a stack reach over its planes."""
    parts = np.empty(labels.shape, dtype=np.int32)
    ndimage.label(labels, output=parts)
    return parts
