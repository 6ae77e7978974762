"""Which plane of an image layer is on show, and where a click falls in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2D plane of a layer's data.

    Attributes
    ----------
    axes : (int, int)
        The data axes that are rows and columns, in ascending order whatever the order
        of display, so a transposed view does not transpose what is written.
    index : tuple of int
        Position along every data axis; ignored along ``axes``.
    """

    axes: tuple[int, int]
    index: tuple[int, ...]

    @property
    def slices(self) -> tuple[int | slice, ...]:
        """Index of the plane into an array of the layer's dimensions."""
        return tuple(
            slice(None) if axis in self.axes else position
            for axis, position in enumerate(self.index)
        )

    def points(self, rows_columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Place (row, column) points of the plane in the layer's data space.

        Parameters
        ----------
        rows_columns : ndarray of shape (N, 2)
            Positions in the plane.

        Returns
        -------
        ndarray of shape (N, ndim)
            float64.
        """
        points = np.tile(np.asarray(self.index, dtype=np.float64), (len(rows_columns), 1))
        points[:, list(self.axes)] = rows_columns
        return points


def shown_plane(viewer: ViewerModel, layer: Image) -> Plane:
    """Find the plane of an image layer that the viewer shows.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Image
        One of its image layers.

    Returns
    -------
    Plane

    Raises
    ------
    InputError
        When the viewer shows a volume, or an axis that the image does not have.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError("the viewer shows a volume; switch to the 2D view to click on a slice.")
    offset = viewer.dims.ndim - layer.ndim
    axes = sorted(axis - offset for axis in viewer.dims.displayed)
    if axes[0] < 0:
        raise InputError(f"{layer.name} has no plane along the axes on show; change their order.")
    world = np.asarray(viewer.dims.point, dtype=np.float64)[offset:]
    position = np.round(np.asarray(layer.world_to_data(world))).astype(int)
    shape = spatial_shape(layer)
    for axis in set(range(layer.ndim)) - set(axes):
        if not 0 <= position[axis] < shape[axis]:
            raise InputError(f"{layer.name} has no slice here; move the slider back onto it.")
    return Plane((axes[0], axes[1]), tuple(int(p) for p in position))


def spatial_shape(layer: Image) -> tuple[int, ...]:
    """Return the shape of a layer's data at full resolution, colours left out."""
    data: Any = layer.data[0] if layer.multiscale else layer.data
    return tuple(int(n) for n in data.shape[: layer.ndim])


def read_plane(layer: Image, plane: Plane) -> NDArray[np.generic]:
    """Read one plane, and nothing else, of a numpy, dask, zarr or multiscale layer.

    Parameters
    ----------
    layer : Image
        The layer.
    plane : Plane
        Which plane.

    Returns
    -------
    ndarray of shape (H, W) or (H, W, C)
    """
    data: Any = layer.data[0] if layer.multiscale else layer.data
    return np.asarray(data[plane.slices])


def click_in_plane(layer: Image, plane: Plane, position: Sequence[float]) -> tuple[float, float]:
    """Bring a click's world position to (row, column) in the plane.

    Parameters
    ----------
    layer : Image
        The layer.
    plane : Plane
        The plane on show.
    position : sequence of float
        World coordinates of the cursor.

    Returns
    -------
    (row, column) : tuple of float
        In data pixels; may lie outside the image.
    """
    data = layer.world_to_data(np.asarray(position)[-layer.ndim :])
    return float(data[plane.axes[0]]), float(data[plane.axes[1]])
