"""An array on disk of which only the planes asked for are read."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_spa.errors import InputError
from napari_spa.io.images.faults import FAULTS, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

_KEPT_BYTES = 64 * 2**20

ReadRegion: TypeAlias = "Callable[[tuple[int, ...], slice, slice], NDArray[np.generic]]"
ReadPlane: TypeAlias = "Callable[[tuple[int, ...]], NDArray[np.generic]]"


class PlaneArray:
    """What napari and this package ask of an array, read plane by plane.

    Parameters
    ----------
    shape : tuple of int
        (..., H, W), or (..., H, W, C) with colours.
    dtype : dtype
        Of the values that ``read`` returns.
    read : callable
        From a position along the stack's axes and slices of rows and columns to
        (h, w) or (h, w, C).
    colours : bool
        Whether the last axis is colour.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        read: ReadRegion,
        *,
        colours: bool = False,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._read = read
        self._plane = 3 if colours else 2

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size

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
        spans = self._spans(index)
        stack = self.ndim - self._plane
        picks = [_positions(span, n) for span, n in zip(spans, self.shape[:stack], strict=False)]
        rows, columns = (
            _forward(span, n)
            for span, n in zip(spans[stack : stack + 2], self.shape[stack:], strict=False)
        )
        counts = tuple(len(pick) for pick in picks)
        planes = np.empty((*counts, *self._extent(rows, columns)), self.dtype)
        if planes.size:
            for at in np.ndindex(*counts):
                position = tuple(pick[i] for pick, i in zip(picks, at, strict=True))
                planes[at] = self._read(position, rows, columns)
        # What was read is contiguous; single numbers and backward steps are left to NumPy.
        rest = tuple(0 if isinstance(span, int) else _again(span) for span in spans[: stack + 2])
        return planes[(*rest, *spans[stack + 2 :])]

    def _spans(self, index: Any) -> tuple[Any, ...]:  # noqa: ANN401  as NumPy's
        given = index if isinstance(index, tuple) else (index,)
        if any(part is Ellipsis for part in given):
            at = next(i for i, part in enumerate(given) if part is Ellipsis)
            missing = self.ndim - len(given) + 1
            given = (*given[:at], *[slice(None)] * missing, *given[at + 1 :])
        if len(given) > self.ndim:
            raise IndexError(f"too many indices for an array of {self.ndim} axes")
        given = (*given, *[slice(None)] * (self.ndim - len(given)))
        return tuple(
            part if isinstance(part, slice) else _within(part, extent)
            for part, extent in zip(given, self.shape, strict=True)
        )

    def _extent(self, rows: slice, columns: slice) -> tuple[int, ...]:
        stack = self.ndim - self._plane
        height, width = self.shape[stack : stack + 2]
        seen = (len(range(*rows.indices(height))), len(range(*columns.indices(width))))
        return (*seen, *self.shape[stack + 2 :])


def plane_by_plane(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    read: ReadPlane,
    *,
    colours: bool = False,
) -> PlaneArray:
    """Return an array of planes that can only be read whole; the latest few are kept.

    Parameters
    ----------
    path : Path
        What it is called in a sentence.
    shape, dtype, colours
        As for :class:`PlaneArray`.
    read : callable
        From a position along the stack's axes to (H, W) or (H, W, C).

    Returns
    -------
    PlaneArray
        Raises ``InputError`` when a plane cannot be read.
    """
    kept: OrderedDict[tuple[int, ...], NDArray[np.generic]] = OrderedDict()
    lock = threading.Lock()
    most = max(1, _KEPT_BYTES // max(1, int(np.prod(shape[-3 if colours else -2 :])) * 8))

    def region(at: tuple[int, ...], rows: slice, columns: slice) -> NDArray[np.generic]:
        with lock:
            plane = kept.get(at)
        if plane is None:
            try:
                plane = read(at)
            except InputError:
                raise
            except FAULTS as error:
                raise InputError(f"{path} cannot be read: {reason(error)}.") from error
            with lock:
                kept[at] = plane
                while len(kept) > most:
                    kept.popitem(last=False)
        return plane[rows, columns]

    return PlaneArray(shape, dtype, region, colours=colours)


def _within(index: Any, extent: int) -> int:  # noqa: ANN401  whatever NumPy calls an index
    number = int(index.__index__())
    if not -extent <= number < extent:
        raise IndexError(f"index {number} is out of bounds for an axis of {extent}")
    return number % extent


def _positions(span: int | slice, extent: int) -> list[int]:
    """Return the positions a span goes through, ascending; see ``__getitem__``."""
    if isinstance(span, int):
        return [span]
    return sorted(range(*span.indices(extent)))


def _forward(span: int | slice, extent: int) -> slice:
    """Return the same rows or columns as a slice with a positive step."""
    if isinstance(span, int):
        return slice(span, span + 1)
    through = range(*span.indices(extent))
    if through.step < 0:
        through = through[::-1]
    return slice(through.start, through.stop, through.step) if len(through) else slice(0, 0)


def _again(span: slice) -> slice:
    """Return the slice that brings what was read forward into the order asked for."""
    return slice(None, None, -1) if (span.step or 1) < 0 else slice(None)
