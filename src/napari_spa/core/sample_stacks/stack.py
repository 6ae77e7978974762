"""What a sample stack is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SampleStack:
    """A stack of slices with its objects known.

    Attributes
    ----------
    image : ndarray of shape (Z, Y, X)
        int16 (Hounsfield units) or uint8 (grey values).
    labels : ndarray of shape (Z, Y, X)
        uint8, 0 where no object is; each object has one number in all its slices.
    names : dict of int to str
        What each number is.
    scale : (float, float, float)
        Size of a voxel along z, y, x.
    units : str
        Of ``scale``.
    contrast_limits : (float, float)
        Values to show as black and as white.
    first_click : (int, int, int)
        A voxel well inside object 1, on the middle slice (the one that napari opens at).
    """

    image: NDArray[np.int16] | NDArray[np.uint8]
    labels: NDArray[np.uint8]
    names: dict[int, str]
    scale: tuple[float, float, float]
    units: str
    contrast_limits: tuple[float, float]
    first_click: tuple[int, int, int]


def innermost(labels: NDArray[np.uint8], label: int) -> tuple[int, int, int]:
    """Return the voxel of an object on the middle slice that is farthest from its border.

    Parameters
    ----------
    labels : ndarray of shape (Z, Y, X)
        uint8.
    label : int
        Which object; it must be on the middle slice.

    Returns
    -------
    (plane, row, column) : tuple of int
    """
    middle = (len(labels) - 1) // 2
    depth = ndimage.distance_transform_edt(labels[middle] == label)
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return middle, int(row), int(column)
