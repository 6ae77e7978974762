"""A 2D image that is read piece by piece: a plane of a stack, its pyramid, its channels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.plane import Plane
from napari_spa.core.transforms import IntensityRange, fit_intensity
from napari_spa.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_WHOLE = 4096 * 4096
"""Planes of at most so many pixels are read whole where that makes things simpler."""
_BLOCK, _BLOCKS = 256, 6
_MOST_CHANNELS = 4  # of an array that comes without a word on its axes
_NARROW = 0.7  # a window of less than this share of the pixels' own range is a user's choice
_OVERVIEW = 512  # an overview of a large pyramid has at least so many rows or columns


@dataclass(frozen=True, slots=True, eq=False)
class PlaneReader:
    """One plane of an array; only what is asked for is read."""

    array: Any  # numPy, dask or zarr; a last axis beyond the plane's N is colour
    plane: Plane  # which plane

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.plane.axes
        return int(self.array.shape[rows]), int(self.array.shape[columns])

    def read(self, rows: slice, columns: slice) -> NDArray[np.generic]:
        """Read a rectangle, (h, w) or (h, w, C) as stored; steps are positive or none."""
        spans = dict(zip(self.plane.axes, (rows, columns), strict=True))
        index = tuple(spans.get(axis, at) for axis, at in enumerate(self.plane.index))
        return np.asarray(self.array[index])


@dataclass(frozen=True, slots=True, eq=False)
class ImagePlane:
    """What one looks at: levels of resolution, channels, and how values become grey."""

    # Full resolution first; in each level one reader, or one for each channel.
    levels: tuple[tuple[PlaneReader, ...], ...]
    # Which of the channels count, at most three; all of them by default.
    channels: tuple[int, ...] | None = None
    # For each channel that counts, or once for all, the values that become black and white; from
    # the pixels by default (:func:`~napari_spa.core.transforms.fit_intensity`).
    limits: tuple[tuple[float, float], ...] | None = None
    # The values between which a user looks at the image.  Without ``limits`` they count when they
    # are much narrower than the pixels' own range: who windows a CT to its organs means the
    # organs, and a model that sees bone and air does not.
    shown: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for level in self.levels:
            if min(level[0].shape) < 1 or len({reader.shape for reader in level}) != 1:
                raise InputError(f"an image must not be empty, and not of {level[0].shape} pixels.")
        kind = np.dtype(self.levels[0][0].array.dtype).kind
        if kind not in "biuf":
            dtype = self.levels[0][0].array.dtype
            raise InputError(f"an image must hold real numbers, not {dtype}.")

    @classmethod
    def of(cls, image: ArrayLike | ImagePlane) -> ImagePlane:
        """Return an array, (H, W) or (H, W, C of 1 to 4), as a picture; a picture as it is.

        NumPy, dask or zarr; lists become NumPy arrays.  ``InputError`` where it cannot be used.
        """
        if isinstance(image, ImagePlane):
            return image
        lazy = all(hasattr(image, name) for name in ("shape", "dtype", "__getitem__"))
        try:
            array: Any = image if lazy else np.asarray(image)
        except (TypeError, ValueError):  # rows of different lengths, say
            raise InputError("the image is no array of numbers.") from None
        if any(not isinstance(n, Integral) for n in array.shape):  # dask's NaN
            raise InputError("the image's size is not known; compute it, or its chunk sizes.")
        if len(array.shape) not in (2, 3) or 0 in array.shape:
            shape = tuple(array.shape)
            raise InputError(f"an image must be (H, W) or (H, W, C) and not empty, not {shape}.")
        if len(array.shape) == 3 and array.shape[2] > _MOST_CHANNELS:
            raise InputError(
                f"an image (H, W, C) has 1 to {_MOST_CHANNELS} channels, not {array.shape[2]}; put "
                "the channels last, or give one plane of a stack."
            )
        return cls(((PlaneReader(array, Plane((0, 1), (0, 0))),),))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns at full resolution."""
        return self.levels[0][0].shape

    @property
    def kind(self) -> str:
        """What kind of image it is, in words, such as "colour, 8 bit" or "grey, float"."""
        readers = self.levels[0]
        array, planes = readers[0].array, len(readers)
        if planes == 1 and len(array.shape) > len(readers[0].plane.index):
            planes = int(array.shape[-1])
        if planes > 1 and self.channels is not None:
            planes = len(self.channels)
        dtype = np.dtype(array.dtype)
        number = "float" if dtype.kind == "f" else f"{8 * dtype.itemsize} bit"
        sign = " with sign" if dtype.kind == "i" else ""
        colours = {1: "grey", 3: "colour"}.get(planes, f"{planes} channels")
        return f"{colours}, {number}{sign}"

    @property
    def in_memory(self) -> bool:
        """Whether reading costs nothing but a copy."""
        return all(isinstance(reader.array, np.ndarray) for reader in self.levels[0])

    @property
    def small(self) -> bool:
        """Whether a plane may be read whole without a second thought."""
        return self.shape[0] * self.shape[1] <= _WHOLE

    def loaded(self) -> ImagePlane:
        """Return the same picture with the full resolution in memory, and nothing else."""
        if self.in_memory:
            return self if len(self.levels) == 1 else replace(self, levels=self.levels[:1])
        spread = slice(None)
        readers = tuple(
            PlaneReader(reader.read(spread, spread), Plane((0, 1), (0, 0)))
            for reader in self.levels[0]
        )
        return replace(self, levels=(readers,))

    def factors(self, level: int) -> tuple[float, float]:
        """Return how many full-resolution rows and columns one pixel of a level covers."""
        (rows, columns), (height, width) = self.levels[level][0].shape, self.shape
        return height / rows, width / columns

    def read(self, rows: slice, columns: slice, level: int = 0) -> NDArray[np.generic]:
        """Read a rectangle of a level, (h, w) or (h, w, C), of the channels that count."""
        readers = self.levels[level]
        if len(readers) == 1:
            pixels = readers[0].read(rows, columns)
            if pixels.ndim == 2 or self.channels is None:
                return pixels
            return pixels[..., list(self.channels)]
        chosen = range(len(readers)) if self.channels is None else self.channels
        return np.stack([readers[c].read(rows, columns) for c in chosen], axis=-1)

    def level_for(self, height: float, width: float, size: int) -> int:
        """Return the coarsest level that still shows an extent at twice a size, or level 0."""
        fit = 0
        for level in range(1, len(self.levels)):
            rows, columns = self.factors(level)
            if min(height / rows, width / columns) >= 2 * size:
                fit = level
        return fit

    def intensity(self) -> IntensityRange:
        """Find the range in which the values lie, or take the given limits."""
        if self.limits is not None:
            low, high = zip(*self.limits, strict=True)
            return IntensityRange(low, high)
        own = self._own_range()
        span = np.asarray(own.high) - np.asarray(own.low)
        if self.shown is not None and self.shown[1] - self.shown[0] < _NARROW * span.max():
            return IntensityRange(*self.shown)
        return own

    def _own_range(self) -> IntensityRange:
        if len(self.levels[0]) > 1:  # channels of one stack each have a range of their own
            chosen = range(len(self.levels[0])) if self.channels is None else self.channels
            alone = (ImagePlane(tuple((of[c],) for of in self.levels)) for c in chosen)
            ranges = [channel.intensity() for channel in alone]
            return IntensityRange(
                tuple(float(np.asarray(r.low)) for r in ranges),
                tuple(float(np.asarray(r.high)) for r in ranges),
                fixed=all(r.fixed for r in ranges),
            )
        one = self.read(slice(0, 1), slice(0, 1))
        if one.dtype in (np.uint8, np.bool_):  # their scale is known
            return fit_intensity(one)
        return fit_intensity(self._overview())  # not more in memory: the same for all kinds

    def fingerprint(self) -> str:
        """Digest the pixels: the same for the same plane, whatever layer it is in."""
        pixels = np.ascontiguousarray(self._overview())
        pixels = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
        digest = hashlib.blake2b(digest_size=20)
        digest.update(f"{pixels.dtype.str}{self.shape}{pixels.shape}".encode())
        digest.update(pixels.data)
        return digest.hexdigest()

    def _overview(self) -> NDArray[np.generic]:
        """Return all pixels, or as many as may be read: a coarse level, or some blocks."""
        if self.small:
            return self.read(slice(None), slice(None))
        for level in reversed(range(1, len(self.levels))):
            shape = self.levels[level][0].shape
            if max(shape) >= _OVERVIEW and shape[0] * shape[1] <= _WHOLE:
                return self.read(slice(None), slice(None), level)
        rows, columns = self.shape
        blocks = [
            self.read(slice(int(row), int(row) + _BLOCK), slice(int(column), int(column) + _BLOCK))
            for row in np.linspace(0, max(rows - _BLOCK, 0), _BLOCKS)
            for column in np.linspace(0, max(columns - _BLOCK, 0), _BLOCKS)
        ]
        return np.concatenate([block.reshape(-1, 1, *block.shape[2:]) for block in blocks])
