"""The labels layer that holds the accepted objects, and the one being refined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_spa.core.types import BoolArray, Region
    from napari_spa.viewer.slices import Plane


@dataclass(frozen=True, slots=True, eq=False)
class _Preview:
    """What of an unaccepted object was written, and where."""

    key: tuple[int | slice, ...]
    written: BoolArray
    label: int
    plane: Plane


class MaskLayer:
    """Write objects into a labels layer without touching the earlier ones.

    The object being refined is shown under the next free id, outside the layer's history.
    Accepting it takes the preview away and writes the same pixels as one step of the
    layer's own undo.  Strokes that the person paints or erases with that id stay.

    Parameters
    ----------
    layer : napari.layers.Labels
        Backed by a NumPy array.
    """

    def __init__(self, layer: Labels) -> None:
        self.layer = layer
        self._preview: _Preview | None = None
        self._highest = int(layer.data.max(initial=0))
        self._painted = False
        self._writing = False
        layer.events.paint.connect(self._on_painted)

    @property
    def previewing(self) -> bool:
        """Whether an unaccepted object is on show."""
        return self._preview is not None

    def preview(self, plane: Plane, region: Region, local_mask: BoolArray) -> int:
        """Show an object under the next free id; the last preview goes.

        Parameters
        ----------
        plane : Plane
            Where it lies.
        region : Region
            Part of the plane that holds it.
        local_mask : ndarray of shape (region.height, region.width)
            bool.

        Returns
        -------
        int
            The id.
        """
        label = self._preview.label if self._preview else self._next_label()
        self._erase()
        key = plane.slices(region)
        below = self.layer.data[key]
        written = local_mask & (below == 0)
        below[written] = label
        self._preview = _Preview(key, written, label, plane)
        self.layer.selected_label = label
        self.layer.refresh()
        return label

    def clear(self) -> None:
        """Take the preview away."""
        if self._preview is not None:
            self._erase()
            self.layer.refresh()

    def commit(self) -> tuple[int, int]:
        """Make the object on show a permanent one.

        Returns
        -------
        (int, int)
            Its id and its number of pixels.

        Raises
        ------
        InputError
            When no pixel of it is left to write.
        """
        if self._preview is None:
            raise InputError("there is no object to accept; click one first.")
        label, plane = self._preview.label, self._preview.plane
        # What is on show counts, the person's own strokes in it too.  Only they can lie
        # outside the region that was written.
        key = plane.slices() if self._painted else self._preview.key
        shown = self.layer.data[key]
        rows, columns = np.nonzero(shown == label)
        shown[rows, columns] = 0
        self._preview = None
        if rows.size == 0:
            self.layer.refresh()
            raise InputError("nothing of this object is free; earlier objects cover it.")
        top, left = (0, 0) if self._painted else _corner(key)
        self._writing = True
        try:
            self.layer.data_setitem(plane.voxels(rows + top, columns + left), label)
        finally:
            self._writing = False
        self._highest, self._painted = max(self._highest, label), False
        return label, int(rows.size)

    def close(self) -> None:
        """Let the layer go; what is on show stays in it."""
        self._preview = None
        self.layer.events.paint.disconnect(self._on_painted)

    def _erase(self) -> None:
        """Take back what the preview wrote and nobody has changed since."""
        preview, self._preview = self._preview, None
        if preview is not None:
            below = self.layer.data[preview.key]
            below[preview.written & (below == preview.label)] = 0

    def _next_label(self) -> int:
        if self._painted:
            self._highest, self._painted = int(self.layer.data.max(initial=0)), False
        label = self._highest + 1
        if label > np.iinfo(self.layer.data.dtype).max:
            raise InputError(
                f"the layer {self.layer.name!r} holds {self._highest} objects, its most; "
                "save it and delete it to go on in a new one."
            )
        return label

    def _on_painted(self) -> None:
        self._painted = self._painted or not self._writing


def _corner(key: tuple[int | slice, ...]) -> tuple[int, int]:
    top, left = (part.start for part in key if isinstance(part, slice))
    return top, left
