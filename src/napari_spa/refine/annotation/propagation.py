"""Take an object from slice to slice: start where the slice before ended, stop where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy

from napari_spa.core.types import FloatArray, LocalMask, MixtureParameters, Proposal, Region
from napari_spa.errors import BlankImageError, InputError
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.session.prompt_validation import check_prompts, deep_points

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import ArrayLike

    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.engine.view import ImageSampler
    from napari_spa.refine.session.acts import Decision
    from napari_spa.refine.session.session import RefinementSession


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
        region = mask.region.grown(reach, sampler.shape)
        grey = _grey(sampler, region)
        pixels = mask.within(region)
        away = scipy.ndimage.distance_transform_edt(~pixels)
        core = scipy.ndimage.binary_erosion(pixels) if mask.area > 30 else pixels
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
        region = mask.region.grown(int(max(2, round(0.15 * side))), sampler.shape)
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
        top, left = int(rows[0]), int(columns[0])
        seen = Region.between(top, left, int(rows[-1]) + 1, int(columns[-1]) + 1)
        there = _grey(sampler, seen)[np.ix_(rows - top, columns - left)]
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
    there = Region(box.row + down, box.column + right, box.height, box.width)
    left = there.common(Region(0, 0, *shape))
    kept = LocalMask.crop(LocalMask(there, mask.pixels).within(left), left)
    return kept if kept.area else mask


def _grey(sampler: ImageSampler, region: Region) -> FloatArray:
    """Read a region as the model sees it, in one channel, a little smoothed."""
    grey = sampler.intensity.apply(sampler.image_plane.read(*region.slices)).mean(axis=2)
    return scipy.ndimage.gaussian_filter(grey, 1)


Reason = Literal["edge", "empty", "uncertain", "moved", "limit", "yours"]

_CONSTANT = 3.698
_WEIGHTS = {"value": -1.836, "fade": -1.765, "outside": -1.852, "regrown": -3.488, "depth": -3.595}
"""What tells that a mask is not the object's any more, see :func:`expected_dice`."""
_DEEPEST = 0.7
"""From so many of its own widths on, that it is already far through an object says no more."""
_UNKNOWN = 3.0
"""Pixels from slice to slice where it is not known."""
_SURE, _STEADY = 0.65, 0.84
"""The Dice to be expected so far, and by the slice before alone, where an object grows itself."""
_FAINT = 0.02
"""The least contrast, in grey values from 0 to 1, that grey values are measured by."""
_WORDS: dict[Reason, str] = {
    "edge": "the stack ends",
    "empty": "the object ends",
    "uncertain": "it ends, or is unclear",
    "moved": "what is there is another object",
    "limit": "as far as it was to go",
    "yours": "it is accepted or painted",
}


@dataclass(frozen=True, slots=True)
class PropagationConfig:
    """What following an object starts from, and where it ends."""

    limit: int = 0  # slices at most; 0 for no limit
    uncertainty: float = 0.65  # in [0, 1]: a slice that is more uncertain ends it
    overlap: float = 0.15  # IoU with the slice before, below which it is another object
    max_area_ratio: float = 3.0  # the area grows by more than this: it is another object, too
    review: float = 0.35  # a slice that is more uncertain is marked for a look
    # Times its largest area so far, from which on it is compared with what it has grown to.
    growth: float = 1.1
    # Pixels from one slice to the next: what is as deep as wide ends after some slices.  0 along
    # time, where nothing ends for that; None where it is not known.
    spacing: float | None = None
    # The preference that was learnt on the first slice; the profile's where there is none.
    mixture: MixtureParameters | None = None
    # What other objects leave of a mask on a slice: it ends where that is less than half.
    free: Callable[[int, LocalMask], LocalMask] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedSlice:
    """An object found on one more slice."""

    position: int  # the slice
    proposal: Proposal  # what was found
    decisions: tuple[Decision, ...]  # from which it can be computed again
    doubtful: bool  # whether a user should look at it
    signs: Mapping[str, float]  # what its uncertainty was read from, see :func:`expected_dice`


@dataclass(frozen=True, slots=True)
class Ending:
    """Why following an object ended."""

    position: int  # the slice that was not taken any more; the last one taken at an edge
    reason: Reason  # why

    def sentence(self, unit: str = "slice") -> str:
        """Say it in words; ``unit`` is what there are many of: a slice, or a movie's frame."""
        if self.reason == "edge":
            return f"Reached the {'first' if self.position <= 0 else 'last'} {unit}."
        return f"Ended at {unit} {self.position}: {_WORDS[self.reason]}."


def propagate_one(
    session: RefinementSession,
    image: ArrayLike | ImagePlane,
    mask: LocalMask,
    *,
    before: ArrayLike | ImagePlane | None = None,
    mixture: MixtureParameters | None = None,
    source: str = "",
    progress: Progress = silent,
) -> Proposal:
    """Start on a slice from what the slice beside it shows; round 1 there.

    The prompts are the other slice's mask, for SAM's mask branch, and four points deep
    inside of it; the field of view is one and a half of its extent, or what the model
    always sees (`RefinementSession.view_of`).  With the other slice, ``before``, all this goes
    where the object has moved to.  The figures of ``benchmarks/propagation.py`` are behind
    each of these choices.

    The session gets the image, named ``source`` as for ``RefinementSession.set_image``; its profile
    is not changed.  ``mixture`` is the preference that was learnt on the other slice, the profile's
    by default.  ``InputError`` when the mask is empty or the image cannot be used.
    """
    if not mask.area:
        raise InputError("the mask is empty; there is nothing to carry.")
    session.set_image(image, source=source)
    if before is not None:
        from napari_spa.refine.engine.view import ImageSampler  # brings torch

        down, right = Patch.of(ImageSampler(before), mask).find(session.sampler)
        mask = moved(mask, down, right, session.sampler.shape)
    return _start(session, mask, mixture, progress)


def _start(
    session: RefinementSession,
    mask: LocalMask,
    mixture: MixtureParameters | None,
    progress: Progress = silent,
) -> Proposal:
    prompts = check_prompts(deep_points(mask), None, None, mask, session.sampler.shape)
    view = session.view_of(mask)
    return session.start_with(prompts, view=view, mixture=mixture, progress=progress)


def propagate(
    session: RefinementSession,
    image_at: Callable[[int], ArrayLike | ImagePlane],
    positions: Sequence[int],
    mask: LocalMask,
    *,
    start: int,
    config: PropagationConfig = PropagationConfig(),
    progress: Progress = silent,
) -> Generator[PropagatedSlice, None, Ending]:
    """Follow an object through slices until it ends; returns why it went no further.

    ``image_at`` gives the slice at a position; ``positions`` are in the order to go, without the
    slice that ``mask`` is of, whose position is ``start``.  The session's profile is not changed,
    its active object is dropped.  ``progress`` may raise ``Cancelled``: what was yielded before
    stays valid.
    """
    from napari_spa.refine.engine.view import ImageSampler  # brings torch

    course, last = _Course.of(ImageSampler(image_at(start)), mask, config.spacing), -1
    for number, position in enumerate(positions):
        if config.limit and number >= config.limit:
            return Ending(position, "limit")
        progress(number / len(positions), f"slice {position}")
        try:
            session.set_image(image_at(position))
        except BlankImageError:
            return Ending(position, "empty")
        here = session.sampler
        guess = course.expect(here)
        proposal, timeline = _start(session, guess, config.mixture), session.timeline
        found = LocalMask.crop(proposal.local_mask, proposal.region)
        if timeline is None or not found.area:
            return Ending(position, "empty")
        looks = Appearance.of(here, found)
        if looks.blank:
            return Ending(position, "empty")
        signs = course.signs(looks, found, config.growth)
        proposal = replace(proposal, uncertainty=course.doubt)
        if proposal.uncertainty > config.uncertainty:
            return Ending(position, "uncertain")
        if guess.iou(found) < config.overlap or found.area > config.max_area_ratio * guess.area:
            return Ending(position, "moved")
        if config.free is not None and config.free(position, found).area < found.area / 2:
            return Ending(position, "moved")
        doubtful = proposal.uncertainty > config.review
        yield PropagatedSlice(position, proposal, timeline.state.decisions, doubtful, signs)
        last = position
    return Ending(last, "edge")


@dataclass(slots=True)
class _Reference:
    """An object as it was on one slice, and how far it has come since."""

    mask: LocalMask
    looks: Appearance
    smallest: int  # pixels since
    slices: int = 0  # since
    down: int = 0  # how far it has moved since
    right: int = 0

    def signs(
        self, looks: Appearance, found: LocalMask, shape: tuple[int, int], spacing: float
    ) -> dict[str, float]:
        """Read what speaks against a mask, see :func:`expected_dice`."""
        there = moved(self.mask, self.down, self.right, shape)
        iou = there.iou(found)
        shared = iou * (there.area + found.area) / (1 + iou)
        smaller = min(found.area, self.mask.area)
        regrown = np.log(max(1.0, found.area / self.smallest))
        self.smallest = min(self.smallest, found.area)
        deep = self.slices * spacing / np.sqrt(self.mask.area)
        return changes(self.looks, looks) | {
            "outside": float(np.sqrt(max(0.0, 1.0 - shared / smaller))),
            "regrown": float(min(regrown, 1.5)),
            "depth": float(min(deep, _DEEPEST)),
        }


@dataclass(slots=True)
class _Course:
    """What the next slice is told by: the object where it was largest, and on the last slice.

    One begun near its end grows, which tells of another object, too.  So where it grows and hardly
    changes otherwise, it is compared with what it has become from there on.
    """

    largest: _Reference
    last: _Reference
    before: ImageSampler  # the last slice
    spacing: float  # pixels from slice to slice
    doubt: float = 0.0  # the most so far: what was lost is not itself again, however well it looks

    @classmethod
    def of(cls, sampler: ImageSampler, mask: LocalMask, spacing: float | None) -> _Course:
        """Begin on the slice where the user saw it."""
        looks = Appearance.of(sampler, mask)
        apart = _UNKNOWN if spacing is None else spacing
        largest, last = (_Reference(mask, looks, mask.area) for _ in range(2))
        return cls(largest, last, sampler, apart)

    def expect(self, here: ImageSampler) -> LocalMask:
        """Return where the last slice's mask is expected on the next one."""
        down, right = Patch.of(self.before, self.last.mask).find(here)
        self.before = here
        for since in (self.largest, self.last):
            since.slices += 1
            since.down += down
            since.right += right
        return moved(self.last.mask, down, right, here.shape)

    def signs(self, looks: Appearance, found: LocalMask, growth: float) -> dict[str, float]:
        """Read what speaks against a mask; ``growth`` is the configuration's."""
        shape = self.before.shape
        signs = self.largest.signs(looks, found, shape, self.spacing)
        step = expected_dice(self.last.signs(looks, found, shape, self.spacing))
        self.doubt = max(self.doubt, 1.0 - expected_dice(signs))
        self.last = _Reference(found, looks, found.area)
        grown = found.area > growth * self.largest.mask.area
        if grown and self.doubt <= 1.0 - _SURE and step >= _STEADY:
            self.largest = _Reference(found, looks, found.area)
        return signs


def changes(first: Appearance, now: Appearance) -> dict[str, float]:
    """Return how far an object looks otherwise than on the slice where the user saw it.

    Both are in units of its contrast there, or its spread if that is more.  A slice that is
    brighter or darker as a whole is no change.
    """
    unit = max(abs(first.contrast), first.spread, _FAINT)
    whole = np.clip(now.around / max(first.around, _FAINT), 0.5, 2.0)
    value = min(abs(now.value - first.value), abs(now.value - whole * first.value), 2 * unit)
    faded = abs(first.contrast) - now.contrast * np.sign(first.contrast)
    return {
        "value": float(np.sqrt(value / unit)),
        "fade": float(np.sqrt(np.clip(faded / unit, 0.0, 2.0))),
    }


def expected_dice(signs: Mapping[str, float]) -> float:
    """Return how well a mask on another slice most likely fits the object that was started with.

    A model's own quality says how well a mask fits whatever is there.  That it is still the
    object is told by what changed, whatever the model: a logistic regression of the Dice, fitted
    by ``benchmarks/propagation_fit.py`` on stacks and movies.

    The signs are ``value`` and ``fade``, see :func:`changes`; ``outside``, how much of the smaller
    one of this mask and the one that it is compared with lies outside of the other, as a root;
    ``regrown``, the natural logarithm of its area by the smallest since: what ends is small before
    another object comes; ``depth``, how far from there it is, in widths of the object.
    """
    return float(
        scipy.special.expit(
            _CONSTANT + sum(_WEIGHTS[name] * value for name, value in signs.items())
        )
    )
