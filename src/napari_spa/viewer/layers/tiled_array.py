"""An array that keeps only its tiles that hold anything: masks of huge images are mostly 0."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import DTypeLike, NDArray

    Span = tuple[slice, slice]  # where in the tile, where in the window
    Window = tuple[range | int, ...]

# More pixels are never gathered into one array: napari's 3D view asks for whole volumes.
_MOST_PIXELS = 2**29


class TileArray:
    """Integers in n dimensions; tiles of zeros take no memory.

    It speaks as much of NumPy as napari's layers do.  Whole numbers and slices, steps
    included, give another :class:`TileArray` that looks into the same tiles and reads
    nothing yet; ``np.asarray`` reads.  That matters: of a stack with a pyramid, napari
    first takes the field of view through *all* planes, and one of the planes after that.
    One index array per axis (``Labels.data_setitem``) gives a NumPy array of points.
    Everything can be assigned to.

    Made by :meth:`zeros`.

    Notes
    -----
    A tile that is written full of zeros is dropped.  Other threads may read while the
    main thread writes; at worst they see half of the write.
    """

    def __init__(
        self,
        tiles: dict[tuple[int, ...], NDArray[Any]],
        side: tuple[int, ...],
        dtype: np.dtype[Any],
        window: Window,
        shared: int | None = None,
    ) -> None:
        self.dtype, self._shared = dtype, shared
        self._tiles, self._side, self._window = tiles, side, window
        self.shape = _lengths(window)  # of the axes left that no whole number picked
        self.ndim, self.size = len(self.shape), math.prod(self.shape)

    @classmethod
    def zeros(
        cls, shape: tuple[int, ...], tile: tuple[int, ...], dtype: DTypeLike = np.uint16
    ) -> TileArray:
        """Make an array that holds nothing yet, in tiles of so many elements along each axis."""
        return cls({}, tile, np.dtype(dtype), tuple(range(n) for n in shape))

    @property
    def nbytes(self) -> int:
        """Bytes that all tiles take in memory, not those of the array in full."""
        return sum(tile.nbytes for tile in list(self._tiles.values()))

    @property
    def occupied(self) -> set[tuple[int, ...]]:
        """Positions, in tiles along each axis, of the tiles that hold anything."""
        return set(self._tiles)

    @property
    def vacant(self) -> bool:
        """Whether no tile under this array holds anything; some may where it is not 0."""
        return next(self._pieces(_ranges(self._window), only_occupied=True), None) is None

    @property
    def peak(self) -> int:
        """The highest value in any tile."""
        return max((int(tile.max()) for tile in list(self._tiles.values())), default=0)

    def astype(self, dtype: DTypeLike) -> TileArray:
        """Return a copy of another type."""
        tiles = {number: self._spread(tile.astype(dtype)) for number, tile in self._tiles.items()}
        return TileArray(tiles, self._side, np.dtype(dtype), self._window, self._shared)

    def sharing(self, axis: int) -> TileArray:
        """Return an array of the same tiles that is the same at all positions along an axis."""
        side = (*self._side[:axis], self.shape[axis], *self._side[axis + 1 :])
        found = TileArray({}, side, self.dtype, self._window, axis)
        for number, tile in self._tiles.items():
            if number[axis] == 0:
                found._tiles[number] = found._spread(tile)
        return found

    def _spread(self, tile: NDArray[Any]) -> NDArray[Any]:
        """Let what is first along the shared axis be all that is there."""
        if self._shared is None:
            return tile
        return spread(tile, self._shared, self._side[self._shared])

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a TileArray cannot be seen as an array without a copy.")
        values = self._gather(self._window)
        return values if dtype is None else values.astype(dtype, copy=False)

    def __getitem__(self, key: Any) -> Any:
        entries = key if isinstance(key, tuple) else (key,)
        if any(isinstance(entry, (list, np.ndarray)) for entry in entries):
            return self._read_points(entries)
        window = self._narrowed(entries)
        if not _lengths(window):
            return self._gather(window)[()]
        return TileArray(self._tiles, self._side, self.dtype, window, self._shared)

    def __setitem__(self, key: Any, values: Any) -> None:
        entries = key if isinstance(key, tuple) else (key,)
        if any(isinstance(entry, (list, np.ndarray)) for entry in entries):
            self._write_points(entries, values)
            return
        self._scatter(self._narrowed(entries), np.asarray(values))

    # ------------------------------------------------------------------------ windows

    def _narrowed(self, entries: tuple[Any, ...]) -> Window:
        """Apply whole numbers and slices to the axes that are still open."""
        ellipses = [i for i, entry in enumerate(entries) if entry is Ellipsis]
        missing = self.ndim - (len(entries) - len(ellipses))
        if missing < 0 or len(ellipses) > 1:
            raise IndexError(f"{len(entries)} indices for an array of {self.ndim} dimensions.")
        at = ellipses[0] if ellipses else len(entries)
        rest = iter((*entries[:at], *[slice(None)] * missing, *entries[at + 1 :]))
        return tuple(part[next(rest)] if isinstance(part, range) else part for part in self._window)

    def _gather(self, window: Window) -> NDArray[Any]:
        """Read a window."""
        shape = _lengths(window)
        if math.prod(shape) > _MOST_PIXELS:
            size = " x ".join(str(n) for n in shape)
            raise InputError(f"{size} pixels of the mask at once are too many; show single planes.")
        ranges = _ranges(window)
        values = np.zeros(_lengths(ranges), dtype=self.dtype)
        upright = _ascending(ranges, values)
        for number, inside, outside in self._pieces(ranges, only_occupied=True):
            tile = self._tiles.get(number)
            if tile is not None:
                upright[outside] = tile[inside]
        return values.reshape(shape)

    def _scatter(self, window: Window, values: NDArray[Any]) -> None:
        """Write a window."""
        ranges = _ranges(window)
        erase = not values.any()
        values = np.broadcast_to(values, _lengths(window)).reshape(_lengths(ranges))
        upright = _ascending(ranges, values)
        for number, inside, outside in self._pieces(ranges, only_occupied=erase):
            part = upright[outside]
            tile = self._tiles.get(number)
            if tile is not None:
                tile[inside] = part
                self._keep(number, tile)
            elif part.any():
                tile = self._spread(np.zeros(self._side, dtype=self.dtype))
                tile[inside] = part
                self._tiles[number] = tile

    def _keep(self, number: tuple[int, ...], tile: NDArray[Any]) -> None:
        if tile.any():
            self._tiles[number] = tile
        else:
            self._tiles.pop(number, None)

    def _pieces(
        self, ranges: tuple[range, ...], *, only_occupied: bool
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
        """Go through the tiles under a window: number, part of the tile, part of the window."""
        if not all(ranges):
            return
        spans = [_spans(r, side) for r, side in zip(ranges, self._side, strict=True)]
        if not only_occupied:
            numbers: Iterable[tuple[int, ...]] = product(*spans)
        elif math.prod(map(len, spans)) <= len(self._tiles):
            numbers = (number for number in product(*spans) if number in self._tiles)
        else:
            numbers = [
                number
                for number in list(self._tiles)
                if all(n in span for n, span in zip(number, spans, strict=True))
            ]
        for number in numbers:
            pairs = [span[n] for n, span in zip(number, spans, strict=True)]
            yield number, tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)

    # ------------------------------------------------------------------------- points

    def _read_points(self, entries: tuple[Any, ...]) -> NDArray[Any]:
        points, shape = self._points(entries)
        values = np.zeros(points.shape[1], dtype=self.dtype)
        for number, inside, members in self._by_tile(points):
            tile = self._tiles.get(number)
            if tile is not None:
                values[members] = tile[inside]
        return values.reshape(shape)

    def _write_points(self, entries: tuple[Any, ...], values: Any) -> None:
        points, shape = self._points(entries)
        flat = np.broadcast_to(np.asarray(values), shape).ravel()
        for number, inside, members in self._by_tile(points):
            tile = self._tiles.get(number)
            if tile is None:
                tile = self._spread(np.zeros(self._side, dtype=self.dtype))
            tile[inside] = flat[members]
            self._keep(number, tile)

    def _points(self, entries: tuple[Any, ...]) -> tuple[NDArray[np.intp], tuple[int, ...]]:
        """Turn one index array per axis into (ndim, N) places, and return their shape."""
        arrays = [np.asarray(entry) for entry in entries]
        whole = all(array.dtype.kind in "iu" for array in arrays if array.size)
        if len(entries) != self.ndim or not whole or self.ndim != len(self._window):
            raise IndexError(
                "a TileArray takes whole numbers, slices, or one index array per axis."
            )
        places = []
        for array, r in zip(np.broadcast_arrays(*arrays), _ranges(self._window), strict=True):
            place = array.astype(np.intp)
            place = np.where(place < 0, place + len(r), place)
            if place.size and not 0 <= place.min() <= place.max() < len(r):
                raise IndexError(f"an index is out of bounds for an axis of size {len(r)}.")
            places.append(r.start + place.ravel() * r.step)
        return np.array(places, dtype=np.intp), np.broadcast_shapes(*(a.shape for a in arrays))

    def _by_tile(
        self, points: NDArray[np.intp]
    ) -> Iterator[tuple[tuple[int, ...], tuple[NDArray[np.intp], ...], NDArray[np.intp]]]:
        """Group points: the tile's number, places in the tile, positions among the points."""
        if not points.size:
            return
        numbers = points // np.array(self._side)[:, None]
        inside = points - numbers * np.array(self._side)[:, None]
        flat = np.ravel_multi_index(tuple(numbers), tuple(numbers.max(axis=1) + 1))
        order = np.argsort(flat, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(flat[order])) + 1):
            number = tuple(int(n) for n in numbers[:, members[0]])
            yield number, tuple(inside[:, members]), members


def spread(array: NDArray[Any], axis: int, length: int) -> NDArray[Any]:
    """Let the first position along an axis stand for as many: one memory, whichever is written."""
    first = array[tuple(slice(0, 1) if at == axis else slice(None) for at in range(array.ndim))]
    first = np.ascontiguousarray(first)
    shape = tuple(length if at == axis else n for at, n in enumerate(first.shape))
    strides = tuple(0 if at == axis else step for at, step in enumerate(first.strides))
    return np.lib.stride_tricks.as_strided(first, shape, strides)


def _lengths(window: Window) -> tuple[int, ...]:
    return tuple(len(part) for part in window if isinstance(part, range))


def _ranges(window: Window) -> tuple[range, ...]:
    return tuple(part if isinstance(part, range) else range(part, part + 1) for part in window)


def _ascending(ranges: tuple[range, ...], values: NDArray[Any]) -> NDArray[Any]:
    """Turn the axes of a window that run backwards."""
    return values[tuple(slice(None, None, -1 if r.step < 0 else 1) for r in ranges)]


def _spans(r: range, side: int) -> dict[int, Span]:
    """Cut a range along an axis at the tiles' borders."""
    if r.step < 0:
        r = r[::-1]
    spans = {}
    for number in range(r[0] // side, r[-1] // side + 1):
        first, last = (max(0, -(-((number + k) * side - r.start) // r.step)) for k in (0, 1))
        part = r[first:last]
        if part:
            origin = number * side
            inside = slice(part[0] - origin, part[-1] - origin + 1, r.step)
            spans[number] = (inside, slice(first, first + len(part)))
    return spans
