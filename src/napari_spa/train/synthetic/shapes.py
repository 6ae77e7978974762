"""Signed distance fields of organic shapes: negative inside, in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.train.synthetic.fields import Field, grid, noise

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Target:
    """The object that the raters outline."""

    sdf: Field  # signed distance to the edge of the core, negative inside
    radius: float  # equivalent radius of the core in pixels
    penumbra: float = 0.0  # width in pixels of the soft zone outside the core
    holes: Field | None = None  # signed distance to holes (negative in a hole), shape (size, size)
    satellites: Field | None = None  # signed distance to detached parts, shape (size, size)


def warped(rng: np.random.Generator, size: int, amount: float, scale: float) -> tuple[Field, Field]:
    """Pixel coordinates displaced by smooth noise.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    size : int
        Side of the image.
    amount : float
        Standard deviation of the displacement in pixels, kept small enough against
        ``scale`` that the plane does not fold over itself.
    scale : float
        Feature size of the displacement in pixels.

    Returns
    -------
    yy, xx : float32 arrays, shape (size, size)
    """
    yy, xx = grid(size)
    if amount <= 0:
        return yy, xx
    shift = np.float32(min(amount, 0.26 * scale))
    return yy + shift * noise(rng, size, scale), xx + shift * noise(rng, size, scale)


def ellipse(
    yy: Field, xx: Field, centre: tuple[float, float], axes: tuple[float, float], angle: float
) -> Field:
    """Signed distance to an ellipse (first order)."""
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dy, dx = yy - np.float32(centre[0]), xx - np.float32(centre[1])
    u = (dx * cos + dy * sin) / np.float32(axes[0])
    v = (dy * cos - dx * sin) / np.float32(axes[1])
    level = np.sqrt(u * u + v * v) + np.float32(1e-4)
    slope = np.sqrt((u / np.float32(axes[0])) ** 2 + (v / np.float32(axes[1])) ** 2)
    slope += np.float32(1e-4 / min(axes))
    short = np.float32(min(axes))
    inner = np.minimum(level, 1)
    reach = short + (level / slope - short) * (inner * inner)
    distance: Field = (level - 1) * reach
    return distance


def polygon(
    yy: Field, xx: Field, centre: tuple[float, float], radius: float, sides: int, angle: float
) -> Field:
    """Signed distance to a regular polygon (exact at its sides)."""
    dy, dx = yy - np.float32(centre[0]), xx - np.float32(centre[1])
    distance: Field = np.full(yy.shape, -radius, np.float32)
    for k in range(sides):
        a = angle + 2 * np.pi * k / sides
        side = dx * np.float32(np.cos(a)) + dy * np.float32(np.sin(a)) - np.float32(radius)
        np.maximum(distance, side, out=distance)
    return distance


def renormalise(field: Field) -> Field:
    """Turn a level-set function into about a signed distance near its edge."""
    dy = np.empty_like(field)
    dx = np.empty_like(field)
    dy[1:-1] = (field[2:] - field[:-2]) * np.float32(0.5)
    dx[:, 1:-1] = (field[:, 2:] - field[:, :-2]) * np.float32(0.5)
    dy[0], dy[-1], dx[:, 0], dx[:, -1] = dy[1], dy[-2], dx[:, 1], dx[:, -2]
    distance: Field = field / np.clip(np.sqrt(dy * dy + dx * dx), 0.5, 1.8)
    return distance


def exact_distance(inside: NDArray[np.bool_]) -> Field:
    """Signed Euclidean distance to the edge of a mask, computed at half resolution.

    Parameters
    ----------
    inside : bool array, shape (size, size)
        The mask; ``size`` is even.

    Returns
    -------
    float32 array, shape (size, size)
    """
    half = inside[::2, ::2]
    if not half.any() or half.all():
        return np.where(inside, np.float32(-1.0), np.float32(inside.shape[0]))
    outer = np.asarray(ndimage.distance_transform_edt(~half), np.float32)
    inner = np.asarray(ndimage.distance_transform_edt(half), np.float32)
    coarse = 2 * (outer - inner)
    distance: Field = ndimage.zoom(coarse, inside.shape[0] / half.shape[0], order=1)
    return distance


def merge(first: Field, second: Field, width: float) -> Field:
    """Smooth union of two signed distances."""
    w = np.float32(max(width, 1e-3))
    h = np.clip(0.5 + 0.5 * (second - first) / w, 0, 1).astype(np.float32)
    union: Field = second * (1 - h) + first * h - w * h * (1 - h)
    return union
