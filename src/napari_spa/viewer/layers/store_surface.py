"""Labels in a store, written plane by plane, with no layer to show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import BoolArray, Region
    from napari_spa.viewer.layers.label_storage import LabelStore


class StoreSurface:
    """A :class:`~napari_spa.refine.annotation.annotation.Surface` on a label store.

    Parameters
    ----------
    store : LabelStore
        Where the labels are.
    """

    def __init__(self, store: LabelStore) -> None:
        self.store = store

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return self.store.read(plane.region(region))

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values."""
        block = self.store.read(plane.region(region))
        block[pixels] = values
        self.store.write(plane.region(region), block)
