"""Smooth random fields and soft shapes in three dimensions."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.interpolate import BSpline

if TYPE_CHECKING:
    from collections.abc import Sequence

Field = NDArray[np.float32]
"""A float32 array; shapes are those of a stack, (Z, Y, X), or broadcast to them."""

NOWHERE: Field = np.zeros((1, 1, 1), np.float32)
"""The coordinate along an axis that a shape does not depend on."""
LONG = 1e6
"""Its half axis."""


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], cells: Sequence[int]) -> Field:
    """Draw a smooth random field: a cubic spline through a coarse random grid.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : sequence of int
        Of the field.
    cells : sequence of int
        Number of features along each axis.

    Returns
    -------
    ndarray of shape ``shape``
        float32, mean about 0, variance about 1.
    """
    field: Field = rng.standard_normal([n + 3 for n in cells], dtype=np.float32)
    for length, number in zip(shape, cells, strict=True):
        # Each step consumes the first axis and appends the finished one at the end.
        field = np.tensordot(field, _spline_matrix(length, number), axes=(0, 1))
    # A cubic B-spline keeps 0.479 of the variance of its coefficients, on each axis.
    field *= np.float32(0.479 ** (-0.5 * len(cells)))
    return field


@lru_cache(maxsize=128)
def _spline_matrix(length: int, cells: int) -> Field:
    """Cubic B-spline basis at voxel centres, shape (length, cells + 3)."""
    knots = np.arange(-3.0, cells + 4.0)
    positions = (np.arange(length) + 0.5) * cells / length
    matrix: Field = BSpline.design_matrix(positions, knots, 3).toarray().astype(np.float32)
    return matrix


def step(distance: Field, width: float) -> Field:
    """Soft indicator of a shape."""
    alpha = distance * np.float32(-1.0 / width)
    alpha += np.float32(0.5)
    return np.clip(alpha, 0.0, 1.0, out=alpha)


def ellipsoid(z: Field, y: Field, x: Field, axes: Sequence[float]) -> Field:
    """Signed distance to an ellipsoid at the origin (first order)."""
    squares = [np.square(c * np.float32(1.0 / a)) for c, a in zip((z, y, x), axes, strict=True)]
    level = np.sqrt(squares[0] + squares[1] + squares[2]) + np.float32(1e-3)
    weights = [np.float32(1.0 / a**2) for a in axes]
    slope = np.sqrt(sum(s * w for s, w in zip(squares, weights, strict=True))) + np.float32(1e-6)
    distance: Field = level * (level - 1) / slope
    return np.maximum(distance, np.float32(-min(axes)))


def capsule(z: Field, y: Field, x: Field, ends: Sequence[Sequence[float]], radius: float) -> Field:
    """Signed distance to a tube with round ends."""
    start, axis = np.asarray(ends[0]), np.subtract(ends[1], ends[0])
    dz, dy, dx = (c - np.float32(s) for c, s in zip((z, y, x), start, strict=True))
    bz, by, bx = (axis / (axis @ axis)).astype(np.float32)
    along = np.clip(dz * bz + dy * by + dx * bx, 0, 1)
    az, ay, ax = axis.astype(np.float32)
    gap = np.square(dz - along * az) + np.square(dy - along * ay) + np.square(dx - along * ax)
    distance: Field = np.sqrt(gap) - np.float32(radius)
    return distance


def union(first: Field, second: Field, width: float) -> Field:
    """Signed distance to two shapes joined with a fillet."""
    share = np.clip(0.5 + 0.5 * (second - first) / np.float32(width), 0, 1)
    joined: Field = second + share * (first - second) - np.float32(width) * share * (1 - share)
    return joined


def detector_noise(
    rng: np.random.Generator, shape: tuple[int, int, int], low: float, high: float
) -> Field:
    """Draw noise slice by slice with the band-passed spectrum of a reconstruction.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : (int, int, int)
        Slices, rows, columns.
    low, high : float
        The spectrum rises as a ramp up to ``low`` and falls off at ``high``, in cycles
        per pixel; ``low = 0`` leaves out the ramp.

    Returns
    -------
    ndarray of shape ``shape``
        float32, mean about 0, variance 1.
    """
    rows, columns = fft.fftfreq(shape[1]), fft.rfftfreq(shape[2])
    frequency = np.hypot(rows[:, None], columns[None, :])
    gain = np.exp(-np.square(frequency / high))
    if low > 0:
        gain *= np.minimum(frequency / low, 1)
    spectrum = fft.rfft2(rng.standard_normal(shape, dtype=np.float32), workers=2)
    noise: Field = fft.irfft2(spectrum * gain.astype(np.float32), s=shape[1:], workers=2)
    return noise / np.float32(noise.std())
