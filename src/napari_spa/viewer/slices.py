"""Which plane of an image layer is on show, and where in it a position lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_spa.core.types import DoubleArray, Region


@dataclass(frozen=True, slots=True)
class Plane:
    """A plane of rows and columns in an array.

    Rows are always the displayed axis that comes first in the data, so a transposed
    view shows the model the same picture.

    Attributes
    ----------
    axes : (int, int)
        Axes of the data that are the rows and the columns.
    index : tuple of int
        One for each axis of the data: where the plane lies; 0 at ``axes``.
    shape : (int, int)
        Rows and columns.
    """

    axes: tuple[int, int]
    index: tuple[int, ...]
    shape: tuple[int, int]

    def slices(self, region: Region | None = None) -> tuple[int | slice, ...]:
        """Return what indexes the plane, or a region of it, in the data."""
        inside = (slice(None), slice(None)) if region is None else region.slices
        key: list[int | slice] = list(self.index)
        key[self.axes[0]], key[self.axes[1]] = inside
        return tuple(key)

    def lift(self, points: NDArray[Any]) -> DoubleArray:
        """Bring (row, column) points into the data's axes.

        Parameters
        ----------
        points : ndarray of shape (N, 2)
            Row, column.

        Returns
        -------
        ndarray of shape (N, ndim)
            float64.
        """
        lifted = np.tile(np.array(self.index, dtype=np.float64), (len(points), 1))
        lifted[:, self.axes] = points
        return lifted

    def voxels(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[Any, ...]:
        """Return the index arrays of pixels of the plane, one array for each axis."""
        key = [np.full(rows.shape, position, dtype=np.intp) for position in self.index]
        key[self.axes[0]], key[self.axes[1]] = rows, columns
        return tuple(key)

    def position(self, layer: Image, world: Sequence[float]) -> tuple[float, float] | None:
        """Return the (row, column) under a world position, or None outside the image."""
        data = layer.world_to_data(world)
        row, column = float(data[self.axes[0]]), float(data[self.axes[1]])
        height, width = self.shape
        inside = -0.5 <= row <= height - 0.5 and -0.5 <= column <= width - 0.5
        return (row, column) if inside else None


def shown_plane(viewer: napari.viewer.Viewer, layer: Image) -> Plane:
    """Find the plane of an image layer that the viewer shows.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where it is shown.
    layer : napari.layers.Image
        2D, RGB, or a stack of planes of any depth.

    Returns
    -------
    Plane

    Raises
    ------
    InputError
        When the viewer is in 3D, or shows something else than planes of this layer.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError("the viewer shows volumes; switch to 2D to click on a plane.")
    shape = spatial_shape(layer)
    missing = viewer.dims.ndim - len(shape)
    displayed = sorted(axis - missing for axis in viewer.dims.displayed)
    if len(shape) < 2 or displayed[0] < 0:
        raise InputError(f"the image {layer.name!r} has no plane along the axes on show.")
    centre = layer.world_to_data(viewer.dims.point)
    index = [int(np.rint(position)) for position in centre]
    for axis in displayed:
        index[axis] = 0
    if any(not 0 <= position < extent for position, extent in zip(index, shape, strict=True)):
        raise InputError(f"the image {layer.name!r} has no plane at this position of the sliders.")
    rows, columns = displayed
    return Plane((rows, columns), tuple(index), (shape[rows], shape[columns]))


def spatial_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of a layer's full resolution, without colour channels."""
    shape = tuple(int(extent) for extent in full_resolution(layer).shape)
    return shape[:-1] if layer.rgb else shape


def full_resolution(layer: Image) -> Any:
    """Return the array of a layer; of a pyramid, its largest."""
    return layer.data[0] if layer.multiscale else layer.data


def read_plane(layer: Image, plane: Plane) -> NDArray[np.generic]:
    """Read the pixels of a plane, and of no other.

    Parameters
    ----------
    layer : napari.layers.Image
        NumPy, dask, zarr or multiscale.
    plane : Plane
        Which one.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)
        The layer's own values; a view of its data where it can be.
    """
    return np.asarray(full_resolution(layer)[plane.slices()])
