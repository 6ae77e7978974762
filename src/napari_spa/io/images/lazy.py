"""Arrays on disk of which only the parts asked for are read.

Nothing here is mapped into memory: a mapped file that another program cuts short ends the
process that touches it (SIGBUS), a file that is read ends in a sentence.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_spa.io.images.faults import check_size, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

_KEPT_BYTES = 64 * 2**20
_READ_WHOLE = 32 * 2**20
"""A file's pixels of at most so many bytes are read at once when it is opened."""

ReadRegion: TypeAlias = "Callable[[tuple[int, ...], slice, slice], NDArray[np.generic]]"
ReadPlane: TypeAlias = "Callable[[tuple[int, ...]], NDArray[np.generic]]"
Spans: TypeAlias = "tuple[int | slice, ...]"


class LazyArray:
    """What napari and this package ask of an array, read part by part."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[Spans], Any]
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._path, self._read_spans = path, read

    @classmethod
    def of(cls, path: Path, array: Any) -> LazyArray:  # noqa: ANN401  zarr, dask, ...
        """Return an array of another library, guarded."""
        shape = tuple(int(n) for n in array.shape)
        return cls(path, shape, np.dtype(array.dtype), lambda spans: array[spans])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return number_of_values(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes it would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.generic]:
        whole = self[()]
        return whole if dtype is None else whole.astype(dtype)

    def __getitem__(self, index: Any) -> NDArray[np.generic]:  # noqa: ANN401  as NumPy's
        """Read a part, as NumPy would give it for whole numbers, slices and ``...``."""
        spans = _spans(index, self.shape)
        counts = (
            1 if isinstance(span, int) else len(range(*span.indices(extent)))
            for span, extent in zip(spans, self.shape, strict=True)
        )
        with reading(self._path):
            check_size(number_of_values(tuple(counts)) * self.dtype.itemsize)
            return np.asarray(self._read_spans(spans))


class PlaneArray(LazyArray):
    """An array of planes, each read for itself."""

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: ReadRegion,
        *,
        colours: bool = False,
    ) -> None:
        super().__init__(path, shape, dtype, self._part)
        self._read = read
        self._plane = 3 if colours else 2

    def _part(self, spans: Spans) -> NDArray[np.generic]:
        stack = self.ndim - self._plane
        picks = [_positions(span, n) for span, n in zip(spans, self.shape[:stack], strict=False)]
        rows, columns = (
            _forward(span, n)
            for span, n in zip(spans[stack : stack + 2], self.shape[stack:], strict=False)
        )
        counts = tuple(len(pick) for pick in picks)
        extent = (_count(rows, self.shape[stack]), _count(columns, self.shape[stack + 1]))
        planes = np.empty((*counts, *extent, *self.shape[stack + 2 :]), self.dtype)
        if planes.size:
            for at in np.ndindex(*counts):
                position = tuple(pick[i] for pick, i in zip(picks, at, strict=True))
                planes[at] = self._read(position, rows, columns)
        # What was read is contiguous; single numbers and backward steps are left to NumPy.
        rest = tuple(0 if isinstance(span, int) else _again(span) for span in spans[: stack + 2])
        return planes[(*rest, *spans[stack + 2 :])]


def number_of_values(shape: Sequence[int]) -> int:
    """Return how many values an array has; Python's own integers cannot run over."""
    return math.prod(int(extent) for extent in shape)


def plane_by_plane(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: ReadPlane,
    *,
    colours: bool = False,
) -> PlaneArray:
    """Return an array of planes that can only be read whole; the latest few are kept.

    ``read`` goes from a position along the stack's axes to (H, W) or (H, W, C).
    """
    kept: OrderedDict[tuple[int, ...], NDArray[np.generic]] = OrderedDict()
    lock = threading.Lock()
    values = number_of_values(shape[-3 if colours else -2 :])
    most = max(1, _KEPT_BYTES // max(1, values * 8))

    def region(at: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.generic]:
        with lock:
            plane = kept.get(at)
        if plane is None:
            check_size(values * dtype.itemsize)
            plane = read(at)
            with lock:
                kept[at] = plane
                while len(kept) > most:
                    kept.popitem(last=False)
        return plane[rows, columns]

    return PlaneArray(path, shape, dtype, region, colours=colours)


def file_array(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:  # noqa: ANN401
    """Return the uncompressed array that lies in a file: read now if small, else in parts."""
    native = dtype.newbyteorder("=")
    total = number_of_values(shape) * dtype.itemsize
    if path.stat().st_size < offset + total:
        raise ValueError("it is cut short")

    def read(spans: Spans, start: int, extent: tuple[int, ...]) -> NDArray[np.generic]:
        if not extent:
            return _block(path, start, (), dtype)
        span, inner = spans[0], extent[1:]
        step = number_of_values(inner) * dtype.itemsize
        if isinstance(span, int):
            return read(spans[1:], start + span * step, inner)
        through = range(*span.indices(extent[0]))
        whole = all(rest == slice(None) for rest in spans[1:])
        if len(inner) > 1 and not whole:
            parts = [read(spans[1:], start + i * step, inner) for i in through]
            return np.stack(parts) if parts else np.empty((0, *inner), dtype)[spans]
        rows = _forward(span, extent[0])
        count = max(through) + 1 - rows.start if through else 0
        block = _block(path, start + rows.start * step, (count, *inner), dtype)
        return block[:: rows.step][(_again(span), *spans[1:])]

    def native_part(spans: Spans) -> NDArray[np.generic]:
        return read(spans, offset, shape).astype(native, copy=False)

    if total <= _READ_WHOLE:
        return native_part(tuple(slice(None) for _ in shape))
    return LazyArray(path, shape, native, native_part)


def joined(arrays: Sequence[Any], path: Path) -> Any:  # noqa: ANN401  an array
    """Return arrays of one shape and type as one, a new axis first."""
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.stack(arrays)

    def read(spans: Spans) -> NDArray[np.generic]:
        first, rest = spans[0], spans[1:]
        if isinstance(first, int):
            return np.asarray(arrays[first][rest])
        parts = [np.asarray(array[rest]) for array in arrays[first]]
        return np.stack(parts) if parts else np.empty((0, *shape[1:]), one.dtype)[spans]

    one = arrays[0]
    shape = (len(arrays), *(int(n) for n in one.shape))
    return LazyArray(path, shape, np.dtype(one.dtype), read)


def _block(path: Path, start: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read values that lie behind one another."""
    block = np.empty(shape, dtype)
    check_size(block.nbytes)
    with path.open("rb") as stream:
        stream.seek(start)
        # A file that has become shorter gives fewer bytes, and no signal.
        if block.size and stream.readinto(block.reshape(-1).view(np.uint8).data) != block.nbytes:
            raise ValueError("it is cut short")
    return block


def _spans(index: Any, shape: tuple[int, ...]) -> Spans:  # noqa: ANN401  as NumPy's
    """Return an index as one whole number or slice for each axis."""
    given = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in given):
        at = next(i for i, part in enumerate(given) if part is Ellipsis)
        missing = len(shape) - len(given) + 1
        given = (*given[:at], *[slice(None)] * missing, *given[at + 1 :])
    if len(given) > len(shape):
        raise IndexError(f"too many indices for an array of {len(shape)} axes")
    given = (*given, *[slice(None)] * (len(shape) - len(given)))
    return tuple(
        part if isinstance(part, slice) else _within(part, extent)
        for part, extent in zip(given, shape, strict=True)
    )


def _within(index: Any, extent: int) -> int:  # noqa: ANN401  whatever NumPy calls an index
    number = int(index.__index__())
    if not -extent <= number < extent:
        raise IndexError(f"index {number} is out of bounds for an axis of {extent}")
    return number % extent


def _positions(span: int | slice, extent: int) -> list[int]:
    """Return the positions a span goes through, ascending; see ``PlaneArray``."""
    if isinstance(span, int):
        return [span]
    return sorted(range(*span.indices(extent)))


def _forward(span: int | slice, extent: int) -> slice:
    """Return the same rows or columns as a slice with a positive step."""
    if isinstance(span, int):
        return slice(span, span + 1, 1)
    through = range(*span.indices(extent))
    if through.step < 0:
        through = through[::-1]
    return slice(through.start, through.stop, through.step) if len(through) else slice(0, 0, 1)


def _count(span: slice, extent: int) -> int:
    return len(range(*span.indices(extent)))


def _again(span: slice) -> slice:
    """Return the slice that brings what was read forward into the order asked for."""
    return slice(None, None, -1) if (span.step or 1) < 0 else slice(None)
