"""The values that cross boundaries: prompts, mixtures, candidates, proposals.

All are frozen.  Positions are (row, column) in image pixels, pixel centres at whole
numbers; only a ``Box`` is given by its edges.  Masks are kept as the rectangle in which
they can be true (a ``Region``), so an object of 20 pixels costs 20 pixels in an image of
20,000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Click:
    """A point prompt."""

    row: float  # in image pixels
    column: float
    label: int = 1  # 1 on the object, 0 on the background

    @property
    def pixel(self) -> tuple[int, int]:
        """Row and column of the pixel that it means; between two the later one."""
        return math.floor(self.row + 0.5), math.floor(self.column + 0.5)


@dataclass(frozen=True, slots=True)
class Stroke:
    """A brush stroke or lasso: every pixel under its line, or inside of it, has the label."""

    path: tuple[tuple[int, int], ...]  # pixels, row and column, that straight lines join
    label: int = 1  # 1 on the object, 0 on the background
    filled: bool = False  # whether it is a lasso, closed by a line from its end to its beginning


@dataclass(frozen=True, slots=True)
class Box:
    """A box prompt; the first corner is above and left of the second.

    Edges in image pixels: from the image's corner, a pixel is 1 x 1, so that an image of H rows
    reaches from 0 to H.
    """

    row0: float
    column0: float
    row1: float
    column1: float

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """All edges in the order in which a session takes them."""
        return self.row0, self.column0, self.row1, self.column1

    def moved(self, down: float, right: float) -> Box:
        """Return it so much further down and right."""
        return Box(self.row0 + down, self.column0 + right, self.row1 + down, self.column1 + right)

    @property
    def corners(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Both corners as positions like a click's: (row, column), pixel centres whole."""
        return (self.row0 - 0.5, self.column0 - 0.5), (self.row1 - 0.5, self.column1 - 0.5)


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of whole pixels inside an image."""

    row: int  # the first
    column: int
    height: int  # in pixels
    width: int

    @classmethod
    def bounding(cls, mask: BoolArray) -> Region:
        """Return the smallest rectangle that holds a mask; nothing at the corner if empty."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return cls(0, 0, 0, 0)
        return cls.between(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)

    @classmethod
    def between(cls, top: int, left: int, bottom: int, right: int) -> Region:
        """Return what lies before the last row and column; nothing at the corner if empty."""
        empty = bottom <= top or right <= left
        return cls(0, 0, 0, 0) if empty else cls(top, left, bottom - top, right - left)

    @property
    def ends(self) -> tuple[int, int]:
        """One past the last row and column."""
        return self.row + self.height, self.column + self.width

    def with_all_of(self, other: Region) -> Region:
        """Return the smallest rectangle that holds both; an empty one takes no room."""
        if not (self.height and other.height):
            return self if self.height else other
        top, left = min(self.row, other.row), min(self.column, other.column)
        return Region.between(top, left, *map(max, self.ends, other.ends))

    def common(self, other: Region) -> Region:
        """Return the rectangle that it shares with another; an empty one if they do not meet."""
        top, left = max(self.row, other.row), max(self.column, other.column)
        return Region.between(top, left, *map(min, self.ends, other.ends))

    def grown(self, by: int, shape: tuple[int, int]) -> Region:
        """Return it with so many pixels around it, inside an image."""
        around = Region(self.row - by, self.column - by, self.height + 2 * by, self.width + 2 * by)
        return around.common(Region(0, 0, *shape))

    @property
    def box(self) -> Box:
        """Its edges."""
        return Box(self.row, self.column, *self.ends)

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into the image."""
        return self.slices_in(Region(0, 0, 0, 0))

    def slices_in(self, other: Region) -> tuple[slice, slice]:
        """Row and column slices into an array of another region, which holds it."""
        (bottom, right), (top, left) = self.ends, (other.row, other.column)
        return slice(self.row - top, bottom - top), slice(self.column - left, right - left)

    def paste(self, local: NDArray[np.generic], shape: tuple[int, int]) -> NDArray[np.generic]:
        """Place an array of the region's shape into an image of zeros of the same dtype."""
        full = np.zeros(shape, dtype=local.dtype)
        full[self.slices] = local
        return full


@dataclass(frozen=True, slots=True, eq=False)
class LocalMask:
    """A mask kept as the rectangle in which it is true."""

    region: Region  # where it lies in the image
    pixels: BoolArray = field(repr=False)  # of the region's shape

    @classmethod
    def crop(cls, mask: BoolArray, region: Region | None = None) -> LocalMask:
        """Cut a mask, ``(H, W)`` of an image or of a region of one, to its bounding box."""
        box = Region.bounding(mask)
        pixels = mask[box.slices].copy()
        if region is not None:
            box = Region(box.row + region.row, box.column + region.column, box.height, box.width)
        return cls(box, pixels)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    def within(self, region: Region) -> BoolArray:
        """Return the part of it in another rectangle, (region.height, region.width) bool."""
        out = np.zeros((region.height, region.width), dtype=bool)
        both = self.region.common(region)
        if both.height:
            out[both.slices_in(region)] = self.pixels[both.slices_in(self.region)]
        return out

    def at(self, places: NDArray[np.int64]) -> BoolArray:
        """Tell of pixels ``(P, 2)`` of the image, rows and columns, whether it holds them, (P,)."""
        local = places - np.array([self.region.row, self.region.column])
        inside = ((local >= 0) & (local < np.array(self.pixels.shape))).all(axis=1)
        held = np.zeros(len(places), dtype=bool)
        held[inside] = self.pixels[tuple(local[inside].T)]
        return held

    def shared(self, other: LocalMask) -> int:
        """Return the number of pixels that it has in common with another."""
        return int(np.count_nonzero(self.pixels & other.within(self.region)))

    def iou(self, other: LocalMask) -> float:
        """Return the intersection over union with another; one of them is not empty."""
        shared = self.shared(other)
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Everything a user has said about one object so far."""

    clicks: tuple[Click, ...] = ()  # in the order they were made
    box: Box | None = None
    mask: LocalMask | None = None  # a rough mask to refine
    # The middle of the object that the clicks were taken to mean, when the choice of a field of
    # view found that a click alone (on a vessel of the optic disc, say) does not say which.
    anchor: Click | None = None
    strokes: tuple[Stroke, ...] = ()  # a few clicks along each are among the clicks
    exact: bool = False  # whether the mask is recommended pixel by pixel

    @property
    def points(self) -> tuple[Click, ...]:
        """All points for the prompt encoder: the clicks, then the anchor."""
        return self.clicks if self.anchor is None else (*self.clicks, self.anchor)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MixtureParameters:
    """A Gaussian mixture over the latent preference (paper eq. 1)."""

    weights: DoubleArray  # (M,), positive, sum 1: ``pi_m``
    # (M, D): ``mu_m``.  The paper's scalar is the same value in each of the D channels; an update
    # from picks may move channels apart.
    means: DoubleArray
    variances: DoubleArray  # (M, D), positive: ``sigma_m^2``

    def __repr__(self) -> str:
        return f"MixtureParameters(components={self.components}, dimension={self.dimension})"

    def equals(self, other: MixtureParameters) -> bool:
        """Whether another one is the same to the last bit."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__
        )

    @property
    def components(self) -> int:
        """Number M of components."""
        return int(self.means.shape[0])

    @property
    def dimension(self) -> int:
        """Number D of latent channels."""
        return int(self.means.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One representative mask and its difference to the recommendation."""

    local_mask: BoolArray = field(repr=False)  # of the region's shape
    local_recommended: BoolArray = field(repr=False)
    region: Region
    shape: tuple[int, int]  # rows and columns of the image
    weight: float  # share of the samples that it stands for, in (0, 1]

    @property
    def mask(self) -> BoolArray:
        """The candidate in the whole image, (H, W) bool."""
        return self._full(self.local_mask)

    @property
    def added(self) -> BoolArray:
        """What it adds to the recommendation, (H, W) bool."""
        return self._full(self.local_added)

    @property
    def removed(self) -> BoolArray:
        """What it takes from the recommendation, (H, W) bool."""
        return self._full(self.local_removed)

    @property
    def local_added(self) -> BoolArray:
        """What it adds, inside the region."""
        return self.local_mask & ~self.local_recommended

    @property
    def local_removed(self) -> BoolArray:
        """What it removes, inside the region."""
        return self.local_recommended & ~self.local_mask

    @property
    def added_area(self) -> int:
        """Number of added pixels."""
        return int(self.local_added.sum())

    @property
    def removed_area(self) -> int:
        """Number of removed pixels."""
        return int(self.local_removed.sum())

    def _full(self, local: BoolArray) -> BoolArray:
        return self.region.paste(local, self.shape).astype(bool, copy=False)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What a round shows: the recommended mask and up to four candidates."""

    # In [0, 1], of the region's shape: the mean probability; zero outside of it.
    local_probability: FloatArray = field(repr=False)
    region: Region  # the field of view, clipped to the image
    shape: tuple[int, int]  # rows and columns of the image
    threshold: float  # the recommended mask is where the mean probability is above it
    uncertainty: float  # in [0, 1]: one minus the ``quality``
    round: int  # 1 after the first prompt, 2 after the first pick or click, ...
    # Most removed first, most added last; fewer than four when the model is certain.
    candidates: tuple[Candidate, ...]
    # Whether the ``quality`` is the Dice to be expected, as measured on known objects; else it
    # only says how far the samples agree with the recommendation.
    calibrated: bool = False
    size: float = 0.0  # where it stands on the axis from shrunk, -1, to grown, 1
    # What the quality was read from.
    signs: Mapping[str, float] = field(default_factory=dict, repr=False)

    @property
    def quality(self) -> float:
        """Predicted Dice of the recommendation with what the user means, in [0, 1]."""
        return 1.0 - self.uncertainty

    @property
    def disagreement(self) -> float:
        """One minus the mean Dice of the samples with the recommendation, in [0, 1]."""
        return 1.0 - self.signs.get("agreement", self.quality)

    @property
    def local_mask(self) -> BoolArray:
        """The recommended mask inside the region, bool."""
        return self.local_probability > self.threshold

    @property
    def mask(self) -> BoolArray:
        """The recommended mask in the whole image, (H, W) bool."""
        return self.region.paste(self.local_mask, self.shape).astype(bool, copy=False)

    @property
    def probability(self) -> FloatArray:
        """The mean probability in the whole image, (H, W) float32."""
        return self.region.paste(self.local_probability, self.shape).astype(np.float32, copy=False)

    @property
    def area(self) -> int:
        """Number of pixels of the recommended mask."""
        return int(self.local_mask.sum())

    @property
    def certain(self) -> bool:
        """Whether the samples agree so far that there is nothing left to pick."""
        return len(self.candidates) < 2
