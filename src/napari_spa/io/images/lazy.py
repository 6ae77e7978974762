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

Spans: TypeAlias = "tuple[slice, ...]"
"""For each axis the part to read: with whole numbers that go forward to the last one in it."""
ReadRegion: TypeAlias = "Callable[[tuple[int, ...], slice, slice], NDArray[np.generic]]"
ReadPlane: TypeAlias = "Callable[[tuple[int, ...]], NDArray[np.generic]]"


class LazyArray:
    """What napari and this package ask of an array, read part by part."""

    def __init__(
        self, path: Path, shape: Sequence[int], dtype: DTypeLike, read: Callable[[Spans], Any]
    ) -> None:
        self.shape, self.dtype = tuple(int(n) for n in shape), np.dtype(dtype)
        self._path, self._read = path, read

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
        asked = _asked(index, self.shape)
        spans = tuple(_forward(part) for part in asked)
        # Of what was read, single numbers and backward steps are left to NumPy.
        turned = tuple(
            0 if isinstance(part, int) else slice(None, None, -1 if part.step < 0 else 1)
            for part in asked
        )
        with reading(self._path):
            check_size(number_of_values(_extents(spans)) * self.dtype.itemsize)
            return np.asarray(self._read(spans)[turned])


def number_of_values(shape: Sequence[int]) -> int:
    """Return how many values an array has; Python's own integers cannot run over."""
    return math.prod(int(extent) for extent in shape)


def in_planes(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: ReadRegion,
    *,
    colours: bool = False,
) -> LazyArray:
    """Return an array of planes, each read for itself."""
    stack = len(shape) - (3 if colours else 2)

    def part(spans: Spans) -> NDArray[np.generic]:
        places = [range(span.start, span.stop, span.step) for span in spans[:stack]]
        rows, columns, *rest = spans[stack:]
        planes = np.empty(_extents(spans), dtype)
        if planes.size:
            for at in np.ndindex(planes.shape[:stack]):
                position = tuple(place[i] for place, i in zip(places, at, strict=True))
                planes[at] = read(position, rows, columns)[(slice(None), slice(None), *rest)]
        return planes

    return LazyArray(path, shape, dtype, part)


def plane_by_plane(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: ReadPlane,
    *,
    colours: bool = False,
) -> LazyArray:
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

    return in_planes(path, shape, dtype, region, colours=colours)


def file_array(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:  # noqa: ANN401
    """Return the uncompressed array that lies in a file: read now if small, else in parts."""
    native = dtype.newbyteorder("=")
    total = number_of_values(shape) * dtype.itemsize
    if path.stat().st_size < offset + total:
        raise ValueError("it is cut short")

    def read(spans: Spans, start: int, extent: tuple[int, ...]) -> NDArray[np.generic]:
        span, inner = spans[0], extent[1:]
        step = number_of_values(inner) * dtype.itemsize
        if len(inner) > 1 and _extents(spans[1:]) != inner:
            parts = [
                read(spans[1:], start + i * step, inner)
                for i in range(span.start, span.stop, span.step)
            ]
            return np.stack(parts) if parts else np.empty(_extents(spans), dtype)
        block = _block(path, start + span.start * step, (span.stop - span.start, *inner), dtype)
        return block[(slice(None, None, span.step), *spans[1:])]

    def native_part(spans: Spans) -> NDArray[np.generic]:
        return read(spans, offset, shape).astype(native, copy=False)

    if total <= _READ_WHOLE:
        return native_part(tuple(slice(0, n, 1) for n in shape))
    return LazyArray(path, shape, native, native_part)


def joined(arrays: Sequence[Any], path: Path) -> Any:  # noqa: ANN401  an array
    """Return arrays of one shape and type as one, a new axis first."""
    if all(isinstance(array, np.ndarray) for array in arrays):
        return np.stack(arrays)
    one = arrays[0]

    def read(spans: Spans) -> NDArray[np.generic]:
        parts = [np.asarray(array[spans[1:]]) for array in arrays[spans[0]]]
        return np.stack(parts) if parts else np.empty(_extents(spans), one.dtype)

    return LazyArray(path, (len(arrays), *one.shape), one.dtype, read)


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


def _asked(index: Any, shape: tuple[int, ...]) -> tuple[int | range, ...]:  # noqa: ANN401  as NumPy's
    """Return what an index asks for along each axis: one, or a range of them."""
    given = index if isinstance(index, tuple) else (index,)
    if any(part is Ellipsis for part in given):
        at = next(i for i, part in enumerate(given) if part is Ellipsis)
        missing = len(shape) - len(given) + 1
        given = (*given[:at], *[slice(None)] * missing, *given[at + 1 :])
    if len(given) > len(shape):
        raise IndexError(f"too many indices for an array of {len(shape)} axes")
    given = (*given, *[slice(None)] * (len(shape) - len(given)))
    return tuple(range(extent)[part] for part, extent in zip(given, shape, strict=True))


def _forward(part: int | range) -> slice:
    """Return the same numbers as a slice with a positive step, which ends behind the last."""
    if isinstance(part, int):
        return slice(part, part + 1, 1)
    if not part:
        return slice(0, 0, 1)
    first, last = sorted((part[0], part[-1]))
    return slice(first, last + 1, abs(part.step))


def _extents(spans: Spans) -> tuple[int, ...]:
    return tuple(len(range(span.start, span.stop, span.step)) for span in spans)
