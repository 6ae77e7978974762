"""Take an object from slice to slice: start where the slice before ended, stop where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from napari_spa.core.types import LocalMask
from napari_spa.errors import InputError
from napari_spa.refine.annotation.appearance import Appearance, appearance, relocated
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import ArrayLike

    from napari_spa.core.types import MixtureParameters, Proposal
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Decision

Reason = Literal["edge", "empty", "uncertain", "moved", "limit"]

_POINTS = 4
_DEEP = 0.5
"""Interior points lie at least so deep, as a share of the deepest one's depth."""
_WORDS: dict[Reason, str] = {
    "edge": "the stack ends",
    "empty": "the object ends",
    "uncertain": "the model is too uncertain",
    "moved": "what is there is another object",
    "limit": "as far as it was to go",
}


@dataclass(frozen=True, slots=True)
class PropagationConfig:
    """Where following an object ends."""

    limit: int = 0  # slices at most; 0 for no limit
    uncertainty: float = 0.4  # in [0, 1]: a slice whose samples disagree more ends it
    overlap: float = 0.15  # IoU with the slice before, below which it is another object
    max_area_ratio: float = (
        3.0  # it is another object, too, when the area grows by more than this factor
    )
    # The object has ended where its contrast with its surroundings is less than this share of
    # what it was on the first slice.
    fade: float = 0.25
    # It has ended, too, where its grey value differs from the first slice's by more than this
    # share of that contrast (and by more than three times its own spread).
    shift: float = 0.7
    # A slice of more than this share of ``uncertainty``, or that overlaps the one before by less
    # than half, goes to review.
    review: float = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedSlice:
    """An object found on one more slice."""

    position: int  # the slice
    proposal: Proposal  # what was found
    decisions: tuple[Decision, ...]  # from which it can be computed again
    doubtful: bool  # whether a user should look at it


@dataclass(frozen=True, slots=True)
class Ending:
    """Why following an object ended."""

    position: int  # the slice that was not taken any more; the last one taken at an edge
    reason: Reason  # why

    @property
    def sentence(self) -> str:
        """Say it in words."""
        if self.reason == "edge":
            return f"Reached the {'first' if self.position <= 0 else 'last'} slice."
        return f"Ended at slice {self.position}: {_WORDS[self.reason]}."


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

        mask = relocated(mask, ImageSampler(before), session.sampler)
    return _start(session, mask, mixture, progress)


def _start(
    session: RefinementSession,
    mask: LocalMask,
    mixture: MixtureParameters | None,
    progress: Progress = silent,
) -> Proposal:
    view = session.view_of(mask)
    return session.start(
        deep_points(mask), mask=mask, view=view, mixture=mixture, progress=progress
    )


def propagate(
    session: RefinementSession,
    image_at: Callable[[int], ArrayLike | ImagePlane],
    positions: Sequence[int],
    mask: LocalMask,
    *,
    start: int | None = None,
    mixture: MixtureParameters | None = None,
    config: PropagationConfig = PropagationConfig(),
    progress: Progress = silent,
) -> Generator[PropagatedSlice, None, Ending]:
    """Follow an object through slices until it ends; returns why it went no further.

    ``image_at`` gives the slice at a position; ``positions`` are in the order to go, without the
    slice that ``mask`` is of.  Its position is ``start``: with it, where the object moves to at
    first and where it ends are told by its looks, too.  ``mixture`` as for :func:`propagate_one`.
    The session's profile is not changed, its active object is dropped.  ``progress`` may raise
    ``Cancelled``: what was yielded before stays valid.
    """
    last, before, looks = -1, None, None
    if start is not None:
        from napari_spa.refine.engine.view import ImageSampler  # brings torch

        before = ImageSampler(image_at(start))
        looks = appearance(before, mask)
    for number, position in enumerate(positions):
        if config.limit and number >= config.limit:
            return Ending(position, "limit")
        progress(number / len(positions), f"slice {position}")
        session.set_image(image_at(position))
        guess = mask if before is None else relocated(mask, before, session.sampler)
        proposal, before = _start(session, guess, mixture), session.sampler
        timeline = session.timeline
        found = LocalMask.crop(proposal.local_mask, proposal.region)
        reason = _ending(guess, found, proposal.disagreement, config)
        if reason is None and looks is not None:
            now = appearance(session.sampler, found)
            reason = "empty" if lost(looks, now, config) else None
        if reason is not None or timeline is None:
            return Ending(position, reason or "empty")
        doubtful = (
            proposal.uncertainty > config.review * config.uncertainty or _iou(guess, found) < 0.5
        )
        yield PropagatedSlice(position, proposal, timeline.state.decisions, doubtful)
        mask, last = found, position
    return Ending(last, "edge")


def lost(start: Appearance, now: Appearance, config: PropagationConfig) -> bool:
    """Tell whether what is there now is not the object of the first slice any more."""
    differs = abs(now.value - start.value)
    if differs > max(config.shift * abs(start.contrast), 3 * start.spread):
        return True
    # An object that is told by its outline alone has no contrast to lose.
    told = abs(start.contrast) > start.spread
    fades = now.contrast * np.sign(start.contrast) < config.fade * abs(start.contrast)
    return bool(told and fades)


def deep_points(mask: LocalMask, count: int = _POINTS) -> list[tuple[float, float]]:
    """Return so many (row, column) at most, deep inside a mask and far apart, the deepest first."""
    depth = ndimage.distance_transform_edt(np.pad(mask.pixels, 1))[1:-1, 1:-1]
    deep = np.argwhere(depth >= _DEEP * depth.max())
    chosen = [np.array(np.unravel_index(int(depth.argmax()), depth.shape))]
    while len(chosen) < count:
        away = np.min([np.hypot(*(deep - place).T) for place in chosen], axis=0)
        if away.max() < 1:
            break
        chosen.append(deep[int(away.argmax())])
    corner = np.array([mask.region.row, mask.region.column])
    return [(float(r), float(c)) for r, c in np.array(chosen) + corner]


def _ending(
    before: LocalMask, found: LocalMask, disagreement: float, config: PropagationConfig
) -> Reason | None:
    """Say why a slice is not taken any more, or None."""
    if not found.area:
        return "empty"
    if disagreement > config.uncertainty:
        return "uncertain"
    if _iou(before, found) < config.overlap or found.area > config.max_area_ratio * before.area:
        return "moved"
    return None


def _iou(first: LocalMask, second: LocalMask) -> float:
    shared = int((second.within(first.region) & first.pixels).sum())
    return shared / (first.area + second.area - shared)
