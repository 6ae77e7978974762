"""Pixels and coordinates between an image and a model's square input.

The one place that knows row, column against x, y, and how an image of any size and type
becomes ``(3, S, S)`` floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from napari_spa.errors import BlankImageError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOW, _HIGH = 0.1, 99.9
_SAMPLE = 1_000_000
_BEYOND = 1e6  # in units of the range: float32 still tells values apart when some are so far off


@dataclass(frozen=True, slots=True)
class IntensityRange:
    """How an image's values become three channels in [0, 1]."""

    low: float | tuple[float, ...]  # values that become 0 and 1, of all channels or of each
    high: float | tuple[float, ...]
    # Whether values beyond are cut off: bytes have none, and a user's limits mean it.  What was
    # guessed from the pixels of a whole image must not hide a small object that is brighter than
    # 99.9 % of them; there each view is cut by its own values (:func:`stretch`).
    fixed: bool = True

    @property
    def pairs(self) -> tuple[tuple[float, float], ...]:
        """Low and high of each channel, or one pair for all."""
        lows, highs = np.atleast_1d(self.low), np.atleast_1d(self.high)
        return tuple((float(a), float(b)) for a, b in zip(lows, highs, strict=True))

    @property
    def logged(self) -> tuple[tuple[float, float], ...] | None:
        """The pairs that a log keeps; None where each view is cut by its own values."""
        return self.pairs if self.fixed else None

    def apply(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Bring pixels of the image to three channels in [0, 1]; what lies beyond becomes 0 and 1.

        From any part of the image, (h, w) or (h, w, C), to (h, w, 3).  Grey is repeated; two
        channels become red and green; a fourth channel (alpha) and further ones are left out.
        Pixels that are not finite become 0, or 1 for +inf.
        """
        return np.clip(self.scale(pixels), 0.0, 1.0)

    def scale(self, pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        """Bring pixels to three channels as :meth:`apply`, but keep what lies beyond [0, 1]."""
        array = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
        kind = array.dtype
        alike = len(self.pairs) == 1
        if alike and kind.kind in "bu" and array.size > 2 ** (8 * kind.itemsize):
            # Each value that there is once, not once for each pixel that has it.
            values = np.arange(2 if kind.kind == "b" else 2 ** (8 * kind.itemsize)).astype(kind)
            scaled = self._unit(values).take(cast("NDArray[np.uint8]", array))
        else:
            scaled = self._unit(array)
        channels = scaled.shape[-1]
        if channels == 1:
            scaled = np.repeat(scaled, 3, axis=-1)
        elif channels == 2:
            scaled = np.concatenate([scaled, np.zeros_like(scaled[..., :1])], axis=-1)
        return scaled

    def _unit(self, array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Scale values (..., C) of each channel, or of all alike."""
        span = np.asarray(self.high, dtype=np.float64) - np.asarray(self.low)
        varies = span > 0  # a constant channel is black
        with np.errstate(over="ignore", invalid="ignore"):
            unit = (array.astype(np.float64) - np.asarray(self.low)) / np.where(varies, span, 1.0)
        unit = np.nan_to_num(unit, nan=0.0, posinf=1.0, neginf=0.0) * varies
        low, high = (0.0, 1.0) if self.fixed else (-_BEYOND, _BEYOND)
        scaled: NDArray[np.float32] = np.clip(unit, low, high).astype(np.float32)
        return scaled


def fit_intensity(image: NDArray[np.generic]) -> IntensityRange:
    """Find the range in which an image's values lie.

    Bytes and booleans keep their scale; everything else is stretched between the 0.1st
    and the 99.9th percentile of (a regular sample of) its finite values.  ``InputError`` when
    the image, (H, W) or (H, W, C), is empty, not 2D, not real or has no finite pixel.
    """
    if image.ndim not in (2, 3) or image.size == 0:
        raise InputError(f"an image must be (H, W) or (H, W, C) and not empty, not {image.shape}.")
    if image.dtype.kind not in "biuf":
        raise InputError(f"an image must hold real numbers, not {image.dtype}.")
    if image.dtype == np.uint8:
        return IntensityRange(0.0, 255.0)
    if image.dtype == bool:
        return IntensityRange(0.0, 1.0)
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / _SAMPLE)))
    sample = _finite(image[::step, ::step])
    if sample.size == 0:
        sample = _finite(image)
    if sample.size == 0:
        raise BlankImageError("the image has no finite pixel; there is nothing to segment.")
    low, high = np.percentile(sample, [_LOW, _HIGH])
    if high <= low:
        low, high = sample.min(), sample.max()
    return IntensityRange(float(low), float(high), fixed=False)


def stretch(view: NDArray[np.float32], *, each: bool = False) -> NDArray[np.float32]:
    """Bring a view ``(S, S, 3)`` to [0, 1] by its own values; zeros where nothing varies.

    ``each``: each channel has a range of its own.  A hot pixel lies beyond.
    """
    axes = (0, 1) if each else (0, 1, 2)
    low, high = np.percentile(view, (_LOW, _HIGH), axis=axes, keepdims=True)
    flat = high <= low
    low = np.where(flat, view.min(axis=axes, keepdims=True), low)
    high = np.where(flat, view.max(axis=axes, keepdims=True), high)
    span = np.where(high > low, high - low, 1.0)
    unit: NDArray[np.float32] = np.clip((view - low) / span, 0.0, 1.0).astype(np.float32)
    return unit


def to_unit_rgb(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Bring a whole image to (H, W, 3) float32 in [0, 1]; see :func:`fit_intensity`."""
    array = np.asarray(image)
    return fit_intensity(array).apply(array)


def _finite(pixels: NDArray[np.generic]) -> NDArray[np.float64]:
    colours = pixels[..., :3] if pixels.ndim == 3 else pixels
    values = colours.astype(np.float64).ravel()
    return values[np.isfinite(values)]


def standardise(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a window ``(S, S, 3)`` to zero mean and unit deviation over all its channels.

    Values are clipped to five deviations; a constant window becomes zeros.
    """
    mean, deviation = float(pixels.mean()), float(pixels.std())
    if deviation < 1e-6:
        return np.zeros_like(pixels)
    scaled: NDArray[np.float32] = np.clip((pixels - mean) / deviation, -5, 5).astype(np.float32)
    return scaled
