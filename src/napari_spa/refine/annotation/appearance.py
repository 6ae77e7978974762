"""What an object looks like on one slice, and where that is found on the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_spa.core.types import FloatArray, LocalMask, Region

if TYPE_CHECKING:
    from napari_spa.refine.engine.view import ImageSampler

_FINEST = 96
"""Pixels that an object is compared at along each side; a larger one is looked at more coarsely."""
_REACH = 0.5
"""How far an object moves at most from slice to slice, in sides of a square of its area."""
_FAR = 0.15
"""What a move that far takes off a correlation: of two places that look alike, the nearer one."""
_GAIN = 0.02
"""How much better than the old place another one must correlate."""
_FLAT = 1e-4
"""Standard deviation of grey values in [0, 1], below which nothing is there to be compared."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """How an object looks on a slice, in the grey values that the model sees."""

    value: float  # median inside
    spread: float  # standard deviation inside
    contrast: float  # median inside minus median around it


def appearance(sampler: ImageSampler, mask: LocalMask) -> Appearance:
    """Look at an object, not empty, and at a ring around it."""
    reach = int(max(3, round(0.35 * np.sqrt(mask.area))))
    region = _around(mask.region, reach, sampler.shape)
    grey = _grey(sampler, region)
    pixels = mask.within(region)
    away = ndimage.distance_transform_edt(~pixels)
    core = ndimage.binary_erosion(pixels) if mask.area > 30 else pixels
    inside = grey[core if core.any() else pixels]
    around = grey[(away > 1) & (away <= reach)]
    middle = float(np.median(inside))
    outside = float(np.median(around)) if around.size else middle
    return Appearance(middle, float(inside.std()), middle - outside)


def relocated(mask: LocalMask, before: ImageSampler, after: ImageSampler) -> LocalMask:
    """Return a mask, not empty, where its object lies on the next slice.

    The object with a rim of its surroundings is looked for around its place by normalised
    cross-correlation.  It stays where no other place looks clearly more like it.

    Parameters
    ----------
    mask : LocalMask
        On the slice ``before``.
    before, after : ImageSampler
        Two slices of one shape.

    Returns
    -------
    LocalMask
        Cut at the image's edge.
    """
    from skimage.feature import match_template  # slow to import

    side = np.sqrt(mask.area)
    near = _around(mask.region, int(max(2, round(0.15 * side))), before.shape)
    step = max(1, -(-max(near.height, near.width) // _FINEST))
    furthest = max(4, round(_REACH * side / step))  # in steps
    seen = _around(near, furthest * step, after.shape)
    template, there = _grey(before, near)[::step, ::step], _grey(after, seen)
    # The window is as if the image went on: each place is as far from its edge as it could be.
    top, left = (
        furthest * step - (near.row - seen.row),
        furthest * step - (near.column - seen.column),
    )
    bottom, right = (
        near.height + 2 * furthest * step - top - seen.height,
        near.width + 2 * furthest * step - left - seen.width,
    )
    there = np.pad(there, ((top, bottom), (left, right)), mode="edge")[::step, ::step]
    if min(template.std(), there.std()) < _FLAT:
        return mask  # nothing to tell a place by
    likeness = match_template(there, template)
    rows, columns = np.indices(likeness.shape) - furthest
    preferred = likeness - _FAR * (rows**2 + columns**2) / furthest**2
    best = np.unravel_index(int(preferred.argmax()), likeness.shape)
    if likeness[best] < likeness[furthest, furthest] + _GAIN:
        return mask
    return _moved(mask, int(rows[best]) * step, int(columns[best]) * step, after.shape)


def _moved(mask: LocalMask, down: int, right: int, shape: tuple[int, int]) -> LocalMask:
    """Move a mask, cut at the image's edge; it stays where nothing of it would be left."""
    box = mask.region
    top, left = box.row + down, box.column + right
    kept = mask.pixels[
        max(0, -top) : max(0, shape[0] - top), max(0, -left) : max(0, shape[1] - left)
    ]
    if not kept.any():
        return mask
    return LocalMask.crop(kept, Region(max(0, top), max(0, left), *kept.shape))


def _grey(sampler: ImageSampler, region: Region) -> FloatArray:
    """Read a region as the model sees it, in one channel, a little smoothed."""
    grey = sampler.intensity.apply(sampler.image_plane.read(*region.slices)).mean(axis=2)
    smooth: FloatArray = ndimage.gaussian_filter(grey, 1)
    return smooth


def _around(region: Region, by: int, shape: tuple[int, int]) -> Region:
    """Return a region with so many pixels around it, inside an image."""
    top, left = max(0, region.row - by), max(0, region.column - by)
    bottom = min(shape[0], region.row + region.height + by)
    right = min(shape[1], region.column + region.width + by)
    return Region(top, left, bottom - top, right - left)
