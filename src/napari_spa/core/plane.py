"""One 2D plane of a stack, and where things on it lie in the stack's data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.types import Region


@dataclass(frozen=True, slots=True)
class Plane:
    """One 2D plane of an array; two planes are equal when they are the same pixels."""

    # The data axes that are rows and columns, in ascending order whatever the order of display,
    # so a transposed view does not transpose what is written.
    axes: tuple[int, int]
    index: tuple[int, ...]  # position along every data axis; always 0 along ``axes``

    def __post_init__(self) -> None:
        index = tuple(0 if i in self.axes else int(p) for i, p in enumerate(self.index))
        object.__setattr__(self, "index", index)

    @property
    def stack_axes(self) -> tuple[int, ...]:
        """The data axes along which one goes from plane to plane."""
        return tuple(axis for axis in range(len(self.index)) if axis not in self.axes)

    @property
    def position(self) -> tuple[int, ...]:
        """Position along each of :attr:`stack_axes`."""
        return tuple(self.index[axis] for axis in self.stack_axes)

    @property
    def slices(self) -> tuple[int | slice, ...]:
        """Index of the plane into an array of the data's dimensions."""
        return tuple(
            slice(None) if axis in self.axes else position
            for axis, position in enumerate(self.index)
        )

    def at(self, axis: int, position: int) -> Plane:
        """Return the plane that lies elsewhere along one axis."""
        index = tuple(position if i == axis else p for i, p in enumerate(self.index))
        return Plane(self.axes, index)

    def region(self, region: Region) -> tuple[int | slice, ...]:
        """Index of a part of the plane into an array of the data's dimensions."""
        spans = dict(zip(self.axes, region.slices, strict=True))
        return tuple(spans.get(axis, position) for axis, position in enumerate(self.index))

    def points(self, rows_columns: NDArray[np.floating]) -> NDArray[np.float64]:
        """Place (row, column) points of the plane in the data's space.

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
