"""What a sample stack is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.viewer.samples import SampleStack

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SampleStack", "innermost"]


def innermost(labels: NDArray[np.uint8], label: int) -> tuple[int, int, int]:
    """Return the voxel of an object, on its largest slice, that is farthest from its border.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X)
        uint8.
    label : int
        Which object.

    Returns
    -------
    (plane, row, column) : tuple of int
    """
    largest = int(np.count_nonzero(labels == label, axis=(1, 2)).argmax())
    depth = ndimage.distance_transform_edt(labels[largest] == label)
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return largest, int(row), int(column)
