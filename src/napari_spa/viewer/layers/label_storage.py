"""Labels of an image of any size: an array while small, tiles in a pyramid beyond."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.errors import InputError
from napari_spa.viewer.layers.tiled_array import TileArray, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Region

    Index = tuple[int | slice, ...]
    Level = NDArray[Any] | TileArray


# A plain array up to so many pixels (256 MiB), with no side over what any graphics card
# takes as one texture.
_DENSE_PIXELS, _TEXTURE_SIDE = 2**27, 8192
# Tiles in one resolution, which a user can paint on, up to this side; napari reads and
# uploads such a plane as a whole whenever it changes.
_PAINTABLE_SIDE = 4096
# A pyramid is halved until its planes are no larger: napari keeps one in its thumbnail.
_COARSEST_SIDE = 512
_TILE_SIDE = 64
_CARRIED_SIDE = 2048  # a large write goes to the coarser levels in parts of this side
# napari shows the first as it is; wider types it recolours on the CPU, so only labels that
# came with numbers above 65535 are kept so.
_DTYPE, _WIDE = np.dtype(np.uint16), np.dtype(np.uint32)


def make_label_store(shape: tuple[int, ...], *, axes: tuple[int, int]) -> LabelStore:
    """Choose how the labels of an image are kept.

    Notes
    -----
    Only the size decides, not whether the image has a pyramid: napari lets a user paint
    on one resolution only, and places any pyramid by the ratio of its shapes.  So a
    pyramid is our own: halved step by step (an image's may leap, and napari fails on
    labels larger than a texture), and never along the stack (napari rounds the slider's
    position and would show the coarse plane next to the one that was written).
    """
    if not 0 <= axes[0] < axes[1] < len(shape) or min(shape) < 1:
        raise InputError(f"axes {axes} are not the rows and columns of an image of {shape}.")
    plane = max(shape[axis] for axis in axes)
    if math.prod(shape) <= _DENSE_PIXELS and plane <= _TEXTURE_SIDE:
        return LabelStore([np.zeros(shape, dtype=_DTYPE)], axes)
    tile = tuple(_TILE_SIDE if axis in axes else 1 for axis in range(len(shape)))
    if plane <= _PAINTABLE_SIDE:
        return LabelStore([TileArray.zeros(shape, tile, _DTYPE)], axes)
    levels: list[Level] = [TileArray.zeros(level, tile, _DTYPE) for level in _pyramid(shape, axes)]
    if len(shape) == 2:
        # napari reads the coarsest level of a 2D pyramid once and keeps the answer; of a
        # plain array that is the array itself, which stays up to date.
        levels[-1] = np.zeros(levels[-1].shape, dtype=_DTYPE)
    return LabelStore(levels, axes)


def _pyramid(shape: tuple[int, ...], axes: tuple[int, int]) -> list[tuple[int, ...]]:
    shapes = [shape]
    while max(shapes[-1][axis] for axis in axes) > _COARSEST_SIDE:
        shapes.append(tuple(-(-n // 2) if a in axes else n for a, n in enumerate(shapes[-1])))
    return shapes


class LabelStore:
    """The labels of one image, as a napari Labels layer can show them.

    Notes
    -----
    A coarse pixel has the highest label among the pixels under it, so an object never
    vanishes however far one zooms out, and its outline grows, by half a pixel of the level
    on show on average.  napari places the pixels of a level by the ratio of the shapes:
    pixel ``c`` of ``m`` covers the rows from ``c n / m`` to ``(c + 1) n / m`` of ``n``.
    Here that is rounded to whole rows of the next finer level, which moves an edge by no
    more than half a pixel.
    """

    def __init__(
        self, levels: Sequence[Level], axes: tuple[int, int], shared: int | None = None
    ) -> None:
        self.axes, self.shared = axes, shared
        self.shape = levels[0].shape  # at full resolution
        self.ndim = len(self.shape)
        self.multiscale = len(levels) > 1  # whether there is a pyramid; no one can paint on one
        self._fixed = False
        self._levels = list(levels)
        # Where the pixels of each level but the finest begin and end in the one before it.
        self._edges = [
            {axis: _edges(fine.shape[axis], coarse.shape[axis]) for axis in axes}
            for fine, coarse in pairwise(levels)
        ]

    def sharing(self, axis: int) -> LabelStore:
        """Return a store in which the first labels along an axis are all labels along it.

        They take the memory of one position.  Others are lost.
        """
        return LabelStore([_sharing(level, axis) for level in self._levels], self.axes, axis)

    def first(self) -> Any:
        """Return the labels at full resolution, those of a shared axis only where it begins."""
        if self.shared is None:
            return self._levels[0]
        alone = make_label_store(self.shape, axes=self.axes)
        for plane in self.planes():
            alone.write(plane.slices, self.read(plane.slices))
        return alone.first()

    @property
    def data(self) -> Any:
        """What to give to ``napari.layers.Labels``: one array, or a list of levels."""
        return self._levels if self.multiscale else self._levels[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint16, or uint32 where labels above 65535 were read before it was shown."""
        return self._levels[0].dtype

    @property
    def largest(self) -> int:
        """The largest label that it can hold, or can be made to hold."""
        return int(np.iinfo(self.dtype if self._fixed else _WIDE).max)

    def fix(self) -> None:
        """Keep the type from now on: a layer shows it."""
        self._fixed = True

    def make_room(self, label: int) -> None:
        """Make it hold a label, as far as that goes."""
        if np.iinfo(self.dtype).max < label <= self.largest:
            self._levels = self._widened()

    def with_room(self, label: int) -> LabelStore | None:
        """Return one with the same labels that holds another one; None where it does, or none can.

        It is for a store whose type is kept.
        """
        if not self.largest < label <= np.iinfo(_WIDE).max:
            return None
        return LabelStore(self._widened(), self.axes, self.shared)

    def _widened(self) -> list[Level]:
        wide: list[Level] = [level.astype(_WIDE) for level in self._levels]
        return wide if self.shared is None else [_sharing(w, self.shared) for w in wide]

    def read(self, index: Index) -> NDArray[Any]:
        """Read a copy of labels at full resolution; the index is as for a NumPy array.

        ``InputError`` when more than 2**29 pixels are asked for at once.
        """
        return np.array(self._levels[0][index], dtype=self.dtype)

    def write(self, index: Index, values: NDArray[np.integer[Any]] | int) -> None:
        """Write labels at full resolution and carry them to the coarser levels.

        The index is as for a NumPy array, the values are of its shape or broadcast to it.
        ``InputError``, and nothing is written, when one is no whole number from 0 to
        :attr:`largest`.
        """
        array = np.asarray(values)
        if array.size and array.dtype.kind in "ui":
            self.make_room(int(array.max()))
        self._levels[0][index] = _checked(array, self.dtype)
        whole = (*index, *[slice(None)] * (self.ndim - len(index)))
        window = [
            range(n)[part if isinstance(part, slice) else slice(part, part + 1)]
            for n, part in zip(self.shape, whole, strict=True)
        ]
        steps = [_CARRIED_SIDE if axis in self.axes else 1 for axis in range(self.ndim)]
        parts = [
            [(at, min(at + step, span.stop)) for at in range(span.start, span.stop, step)]
            for span, step in zip(window, steps, strict=True)
        ]
        for part in product(*parts) if self.multiscale else ():
            self._carry(part)

    def planes(self) -> list[Plane]:
        """Find the planes that hold any label, a user's own painting included."""
        stack = [axis for axis in range(self.ndim) if axis not in self.axes]
        places = (dict(zip(stack, found, strict=True)) for found in sorted(self._in_use(stack)))
        return [
            Plane(self.axes, tuple(place.get(axis, 0) for axis in range(self.ndim)))
            for place in places
        ]

    def _in_use(self, stack: Sequence[int]) -> set[tuple[int, ...]]:
        finest = self._levels[0]
        if isinstance(finest, TileArray):
            return {tuple(number[axis] for axis in stack) for number in finest.occupied}
        if self.shared is not None:
            finest = finest[
                tuple(slice(0, 1) if at == self.shared else slice(None) for at in range(self.ndim))
            ]
        used = finest.max(axis=self.axes)  # several times faster than any()
        return {tuple(int(p) for p in position) for position in np.argwhere(used)}

    def highest(self) -> int:
        """Find the highest label in use, a user's own painting included."""
        coarsest = self._levels[-1]  # has the highest label of everything under it
        return coarsest.peak if isinstance(coarsest, TileArray) else int(coarsest.max())

    def _carry(self, window: tuple[tuple[int, int], ...]) -> None:
        """Bring the coarser levels up to date over a window of the finest."""
        for edges, (fine, coarse) in zip(self._edges, pairwise(self._levels), strict=True):
            source, target = list(window), list(window)
            for axis, places in edges.items():
                first = int(np.searchsorted(places, window[axis][0], side="right")) - 1
                last = int(np.searchsorted(places, window[axis][1]))
                target[axis], source[axis] = (first, last), (int(places[first]), int(places[last]))
            there = tuple(slice(*span) for span in target)
            read = fine[tuple(slice(*span) for span in source)]
            if _vacant(read) and _vacant(coarse[there]):
                return  # nothing was here, nothing is: so it is further up
            values = np.asarray(read)
            for axis, places in edges.items():
                starts = places[slice(*target[axis])] - source[axis][0]
                values = np.maximum.reduceat(values, starts, axis=axis)
            coarse[there] = values
            window = tuple(target)


def _sharing(level: Level, axis: int) -> Level:
    if isinstance(level, TileArray):
        return level.sharing(axis)
    return spread(level, axis, level.shape[axis])


def _edges(fine: int, coarse: int) -> NDArray[np.intp]:
    edges: NDArray[np.intp] = np.rint(np.arange(coarse + 1) * (fine / coarse)).astype(np.intp)
    return edges


def _vacant(level: Level) -> bool:
    return level.vacant if isinstance(level, TileArray) else not level.any()


def _checked(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return labels as a type, and refuse those that are none."""
    if array.dtype != dtype:
        limits = np.iinfo(dtype)
        whole = array.dtype.kind in "bui"
        if not whole or (array.size and not limits.min <= array.min() <= array.max() <= limits.max):
            raise InputError(f"labels are whole numbers from {limits.min} to {limits.max}.")
        array = array.astype(dtype)
    return array


class StoreSurface:
    """A :class:`~napari_spa.refine.annotation.annotation.Surface` on a label store."""

    def __init__(self, store: LabelStore) -> None:
        self.store = store

    def read(self, plane: Plane, region: Region) -> NDArray[np.integer]:
        """Return a copy of the labels in a region."""
        return self.store.read(plane.region(region))

    @property
    def largest(self) -> int:
        """The largest label that it can hold."""
        return self.store.largest

    def write(
        self, plane: Plane, region: Region, pixels: BoolArray, values: NDArray[np.integer]
    ) -> None:
        """Give the pixels of a region that are true the values."""
        self.store.make_room(int(values.max(initial=0)))
        block = self.store.read(plane.region(region))
        block[pixels] = values
        self.store.write(plane.region(region), block)
