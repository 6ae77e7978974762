"""Take an object from slice to slice: start where the slice before ended, stop where it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage
from scipy.special import expit

from napari_spa.core.types import LocalMask
from napari_spa.errors import InputError
from napari_spa.refine.annotation.appearance import Appearance, Patch, moved
from napari_spa.refine.engine.config import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import ArrayLike

    from napari_spa.core.types import MixtureParameters, Proposal
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Decision

Reason = Literal["edge", "empty", "uncertain", "moved", "limit"]

_POINTS = 4
_DEEP = 0.5
"""Interior points lie at least so deep, as a share of the deepest one's depth."""
_CONSTANT = 2.321
_WEIGHTS = {"unlike": -2.551, "value": -1.560, "edge": 0.852, "blur": -9.686, "network": -1.632}
"""What tells that a mask is not the object's any more, see :func:`expected_dice`."""
_FAINT = 0.02
"""The least contrast, in grey values from 0 to 1, that grey values are measured by."""
_WORDS: dict[Reason, str] = {
    "edge": "the stack ends",
    "empty": "the object ends",
    "uncertain": "the object ends or cannot be told any more",
    "moved": "what is there is another object",
    "limit": "as far as it was to go",
}


@dataclass(frozen=True, slots=True)
class PropagationConfig:
    """What following an object starts from, and where it ends."""

    limit: int = 0  # slices at most; 0 for no limit
    uncertainty: float = 0.6  # in [0, 1]: a slice that is more uncertain ends it
    overlap: float = 0.15  # IoU with the slice before, below which it is another object
    max_area_ratio: float = 3.0  # the area grows by more than this: it is another object, too
    # A slice that is more uncertain, or whose mask shares less than half with where it was
    # expected, goes to review, and after so many in a row (0 for any number) it ends.
    review: float = 0.3
    doubts: int = 6
    # The preference that was learnt on the first slice; the profile's where there is none.
    mixture: MixtureParameters | None = None


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

        match = Patch.of(ImageSampler(before), mask).find(session.sampler)
        mask = moved(mask, match.down, match.right, session.sampler.shape)
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
    config: PropagationConfig = PropagationConfig(),
    progress: Progress = silent,
) -> Generator[PropagatedSlice, None, Ending]:
    """Follow an object through slices until it ends; returns why it went no further.

    ``image_at`` gives the slice at a position; ``positions`` are in the order to go, without the
    slice that ``mask`` is of.  Its position is ``start``: with it, where the object moves to at
    first and where it ends are told by its looks, too.  The session's profile is not changed, its
    active object is dropped.  ``progress`` may raise ``Cancelled``: what was yielded before stays
    valid.
    """
    first, before, last = None, None, -1
    if start is not None:
        from napari_spa.refine.engine.view import ImageSampler  # brings torch

        before = ImageSampler(image_at(start))
        first = _First(Appearance.of(before, mask), Patch.of(before, mask))
    down = right = doubts = 0  # how far it has moved since; slices in doubt, the latest in a row
    worst = 0.0
    for number, position in enumerate(positions):
        if config.limit and number >= config.limit:
            return Ending(position, "limit")
        progress(number / len(positions), f"slice {position}")
        session.set_image(image_at(position))
        guess, here = mask, session.sampler
        steady = 1.0
        if before is not None:
            match = Patch.of(before, mask).find(here)
            guess = moved(mask, match.down, match.right, here.shape)
            down, right, steady = down + match.down, right + match.right, match.likeness
        proposal, timeline = _start(session, guess, config.mixture), session.timeline
        found = LocalMask.crop(proposal.local_mask, proposal.region)
        if timeline is None or not found.area:
            return Ending(position, "empty")
        if first is not None:
            likeness = first.patch.find(here, down, right).likeness
            looks = Appearance.of(here, found)
            expected = expected_dice(first.looks, looks, likeness, steady, proposal.signs)
            # What was lost on one slice is not itself on the next one, however well that looks.
            worst = max(worst, 1.0 - expected)
            proposal = replace(proposal, uncertainty=worst)
        overlap = guess.iou(found)
        if proposal.uncertainty > config.uncertainty:
            return Ending(position, "uncertain")
        if overlap < config.overlap or found.area > config.max_area_ratio * guess.area:
            return Ending(position, "moved")
        doubtful = proposal.uncertainty > config.review or overlap < 0.5
        doubts = doubts + 1 if doubtful else 0
        if 0 < config.doubts < doubts:
            return Ending(position, "uncertain")
        yield PropagatedSlice(position, proposal, timeline.state.decisions, doubtful)
        mask, before, last = found, here, position
    return Ending(last, "edge")


@dataclass(frozen=True, slots=True)
class _First:
    """The object on the slice that it is followed from."""

    looks: Appearance
    patch: Patch


def expected_dice(
    first: Appearance,
    now: Appearance,
    likeness: float,
    steady: float,
    signs: Mapping[str, float],
) -> float:
    """Return how well a mask on another slice most likely fits the object that was started with.

    A model's own quality says how well a mask fits whatever is there; that it is still the
    object is told by its looks.  A logistic regression of the Dice, fitted on 660 slices of
    drifting cells, nuclei in 3D and the sample stacks.

    Parameters
    ----------
    first, now : Appearance
        On the slice where the user saw it, and on the other one.
    likeness : float
        Correlation of the two slices where it is, see :class:`~.appearance.Match`.
    steady : float
        The same of the slice before and this one: how much is lost from slice to slice anyway.
    signs : mapping of str to float
        Of the proposal on the other slice.

    Returns
    -------
    float
        In [0, 1].
    """
    unit = max(abs(first.contrast), first.spread, _FAINT)
    signs_of_end = {
        "unlike": float(np.clip(np.log10(max(1 - likeness, 0.01) / max(1 - steady, 0.01)), 0, 1)),
        "value": min(abs(now.value - first.value) / unit, 2.0),
        "edge": float(np.clip(now.edge / first.edge, -1.0, 1.5)) if abs(first.edge) > 1e-4 else 1.0,
        "blur": 1.0 - signs.get("sharpness", 1.0),
        "network": 1.0 - signs.get("network", 1.0),
    }
    return float(expit(_CONSTANT + sum(_WEIGHTS[k] * value for k, value in signs_of_end.items())))


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
