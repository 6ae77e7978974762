"""Labels of an image or stack, of which only the planes that hold an object take memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import BoolArray, Region

_MOST_BYTES = 2**32
"""Labels of more than this are not held in memory."""


class LabelPlanes:
    """A surface for an `Annotation`, and a stack to write.

    Parameters
    ----------
    shape : tuple of int
        Of the image, colours left out; rows and columns last.

    Attributes
    ----------
    shape : tuple of int
        The same.
    dtype : dtype
        uint32.
    highest : int
        The highest label so far.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.uint32)
        self.highest = 0
        self._planes: dict[tuple[int, ...], NDArray[np.uint32]] = {}

    def __getitem__(self, index: Any, /) -> NDArray[np.uint32]:  # noqa: ANN401  as of arrays
        """Return a plane of a stack; the caller must not write to it."""
        position = tuple(int(i) for i in index) if isinstance(index, tuple) else (int(index),)
        known = self._planes.get(position)
        if known is not None:
            return known
        blank: NDArray[np.uint32] = np.broadcast_to(np.zeros((), np.uint32), self.shape[-2:])
        return blank

    @property
    def array(self) -> Any:  # noqa: ANN401  an array or like one
        """The labels as they are written: one plane as an array, a stack as itself."""
        return self if len(self.shape) > 2 else np.asarray(self[()])

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return np.array(self[plane.position][region.slices])

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values.

        Raises
        ------
        MemoryError
            When the labels of all planes with objects do not fit into memory.
        """
        position = plane.position
        if position not in self._planes:
            size = 4 * self.shape[-2] * self.shape[-1]
            if size * (len(self._planes) + 1) > _MOST_BYTES:
                raise MemoryError("labels of so many planes")
            self._planes[position] = np.zeros(self.shape[-2:], dtype=np.uint32)
        self._planes[position][region.slices][pixels] = values
        if values.size:
            self.highest = max(self.highest, int(values.max()))
