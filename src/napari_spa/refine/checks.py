"""Turn what a caller gives into prompts, or say in one sentence what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.types import BoolArray, Box, Click, Prompts
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


def check_prompts(
    points: Sequence[tuple[float, float]],
    labels: Sequence[int] | None,
    box: tuple[float, float, float, float] | None,
    mask: ArrayLike | None,
    shape: tuple[int, int],
) -> Prompts:
    """Check the prompts that start an object.

    A rough mask without a positive click gets one where it is thickest.

    Parameters
    ----------
    points : sequence of (row, column)
        Image pixels.
    labels : sequence of int or None
        One per point; all 1 by default.
    box : (row0, column0, row1, column1) or None
        Image pixels.
    mask : array_like of shape (H, W) or None
        Non-zero is the object.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    Prompts

    Raises
    ------
    InputError
        When a prompt cannot be used or there is nothing to start from.
    """
    if labels is None:
        labels = [1] * len(points)
    if len(labels) != len(points):
        raise InputError(f"{len(points)} points need as many labels, not {len(labels)}.")
    clicks = tuple(check_click(p, q, shape) for p, q in zip(points, labels, strict=True))
    given = None if box is None else check_box(box, shape)
    rough = None if mask is None else check_mask(mask, shape)
    if rough is not None and not any(c.label == 1 for c in clicks):
        clicks = (_interior_click(rough), *clicks)
    if given is None and not any(c.label == 1 for c in clicks):
        raise InputError("nothing to start from; give a point on the object, a box or a mask.")
    return Prompts(clicks, given, rough)


def check_click(point: Sequence[float], label: int, shape: tuple[int, int]) -> Click:
    """Check a point prompt.

    Parameters
    ----------
    point : (row, column)
        Image pixels.
    label : int
        1 or 0.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    Click

    Raises
    ------
    InputError
        When the point is not two finite numbers inside the image, or the label not 0 or 1.
    """
    height, width = shape
    row, column = _numbers(point, 2, "a point is (row, column)")
    if not (-0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5):
        raise InputError(
            f"the point ({row:g}, {column:g}) lies outside the image of {height} rows "
            f"and {width} columns; points are (row, column)."
        )
    if label not in (0, 1):
        raise InputError(f"a label is 1 (object) or 0 (background), not {label!r}.")
    return Click(row, column, int(label))


def check_box(box: Sequence[float], shape: tuple[int, int]) -> Box:
    """Check a box prompt; corners may come in any order and are cut to the image.

    Parameters
    ----------
    box : (row0, column0, row1, column1)
        Image pixels.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    Box

    Raises
    ------
    InputError
        When the box is not four finite numbers or covers no pixel.
    """
    height, width = shape
    row0, column0, row1, column1 = _numbers(box, 4, "a box is (row0, column0, row1, column1)")
    row0, row1 = sorted((row0, row1))
    column0, column1 = sorted((column0, column1))
    row0, column0 = max(row0, 0.0), max(column0, 0.0)
    row1, column1 = min(row1, float(height)), min(column1, float(width))
    if row1 - row0 < 1 or column1 - column0 < 1:
        raise InputError(
            f"the box covers no pixel of the image of {height} rows and {width} columns."
        )
    return Box(row0, column0, row1, column1)


def check_mask(mask: ArrayLike, shape: tuple[int, int]) -> BoolArray:
    """Check a rough mask.

    Parameters
    ----------
    mask : array_like of shape (H, W)
        Non-zero is the object.
    shape : (int, int)
        Rows and columns of the image.

    Returns
    -------
    ndarray of shape (H, W)
        bool.

    Raises
    ------
    InputError
        When the shape differs from the image's or the mask is empty.
    """
    array: BoolArray = np.asarray(mask) != 0
    if array.shape != shape:
        raise InputError(f"the mask has the shape {array.shape}, the image {shape}.")
    if not array.any():
        raise InputError("the mask is empty; draw where the object is, roughly.")
    return array


def _numbers(values: Sequence[float], count: int, meaning: str) -> list[float]:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise InputError(f"{meaning} in finite numbers, not {values!r}.")
    return [float(v) for v in array]


def _interior_click(mask: BoolArray) -> Click:
    """Click where a mask is thickest."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    return Click(float(row), float(column), 1)
