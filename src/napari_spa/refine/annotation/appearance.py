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
    around: float  # median of a ring around it

    @classmethod
    def of(cls, sampler: ImageSampler, mask: LocalMask) -> Appearance:
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
        ring = float(np.median(around)) if around.size else middle
        return cls(middle, float(inside.std()), ring)

    @property
    def contrast(self) -> float:
        """How much brighter it is than what is around it."""
        return self.value - self.around

    @property
    def blank(self) -> bool:
        """Whether there is nothing to be seen."""
        return max(self.spread, abs(self.contrast)) < _FLAT


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """An object with a rim of its surroundings as they are on one slice, to be found on others."""

    grey: FloatArray  # every ``step``-th pixel of the region
    region: Region
    step: int
    furthest: int  # steps that it may move each way

    @classmethod
    def of(cls, sampler: ImageSampler, mask: LocalMask) -> Patch:
        """Cut out an object, not empty."""
        side = np.sqrt(mask.area)
        region = _around(mask.region, int(max(2, round(0.15 * side))), sampler.shape)
        step = max(1, -(-max(region.height, region.width) // _FINEST))
        furthest = max(4, round(_REACH * side / step))
        return cls(_grey(sampler, region)[::step, ::step], region, step, furthest)

    def find(self, sampler: ImageSampler) -> tuple[int, int]:
        """Return how many pixels it moved down and right on another slice of the same shape.

        It stays in its place where no other one looks clearly more like it.
        """
        from skimage.feature import match_template  # slow to import

        reach, shape = self.furthest * self.step, sampler.shape
        top, left = self.region.row - reach, self.region.column - reach
        height, width = self.region.height + 2 * reach, self.region.width + 2 * reach
        # As if the image went on: its edge pixels are repeated outside of it.
        rows = np.clip(np.arange(top, top + height), 0, shape[0] - 1)
        columns = np.clip(np.arange(left, left + width), 0, shape[1] - 1)
        first, last = (rows[0], columns[0]), (rows[-1], columns[-1])
        seen = Region(
            int(first[0]), int(first[1]), int(last[0] - first[0]) + 1, int(last[1] - first[1]) + 1
        )
        there = _grey(sampler, seen)[np.ix_(rows - first[0], columns - first[1])]
        there = there[:: self.step, :: self.step]
        if min(self.grey.std(), there.std()) < _FLAT:
            return 0, 0  # nothing to tell a place by
        likeness = match_template(there, self.grey)
        rows, columns = np.indices(likeness.shape) - self.furthest
        preferred = likeness - _FAR * (rows**2 + columns**2) / self.furthest**2
        best = np.unravel_index(int(preferred.argmax()), likeness.shape)
        still = float(likeness[self.furthest, self.furthest])
        if likeness[best] < still + _GAIN:
            return 0, 0
        return int(rows[best]) * self.step, int(columns[best]) * self.step


def moved(mask: LocalMask, down: int, right: int, shape: tuple[int, int]) -> LocalMask:
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
