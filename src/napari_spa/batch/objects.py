"""The objects found in an image: duplicates removed, numbered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.types import LocalMask, Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_spa.core.plane import Plane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Decision


def distinct(
    masks: Sequence[LocalMask], scores: Sequence[float], overlap: float, inside: float
) -> list[int]:
    """Choose masks greedily, the best first, and leave out what shows the same.

    Parameters
    ----------
    masks : sequence of LocalMask
        Not empty ones.
    scores : sequence of float
        One for each; of equals, the earlier one is better.
    overlap : float
        Two masks of a higher intersection over union are the same thing.
    inside : float
        A mask is a part of another when they share more than this of the smaller one.

    Returns
    -------
    list of int
        The indices of those that stay, the best first.
    """
    boxes = np.array(
        [(m.region.row, m.region.column, m.region.height, m.region.width) for m in masks],
        dtype=np.int64,
    ).reshape(-1, 4)
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = [mask.area for mask in masks]
    kept: list[int] = []
    for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        near = np.array(kept, dtype=np.int64)
        touching = ((first[near] < last[index]) & (first[index] < last[near])).all(axis=1)
        for other in near[touching].tolist():
            shared = shared_pixels(masks[index], masks[other])
            union = areas[index] + areas[other] - shared
            if shared > overlap * union or shared > inside * min(areas[index], areas[other]):
                break
        else:
            kept.append(index)
    return kept


def shared_pixels(one: LocalMask, other: LocalMask) -> int:
    """Return the number of pixels that two masks have in common."""
    return int(np.count_nonzero(one.pixels & other.within(one.region)))


def covers(masks: Sequence[LocalMask], row: float, column: float) -> bool:
    """Tell whether a point lies in any of some masks.

    Parameters
    ----------
    masks : sequence of LocalMask
        Of one image.
    row, column : float
        Image pixels.

    Returns
    -------
    bool
    """
    y, x = round(row), round(column)
    for mask in masks:
        down, across = y - mask.region.row, x - mask.region.column
        inside = 0 <= down < mask.region.height and 0 <= across < mask.region.width
        if inside and mask.pixels[down, across]:
            return True
    return False


_NOTHING = LocalMask(Region(0, 0, 0, 0), np.zeros((0, 0), dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """An object on a plane, before it is written among the others.

    Attributes
    ----------
    number : int
        Its label.
    plane : Plane
        Where.
    mask : LocalMask
        Its pixels; none with a problem.
    uncertainty : float
        In [0, 1].
    decisions : tuple of Decision
        From which the mask can be computed again; without the time, which is no result.
    source : mapping
        How the plane was looked at, for the log.
    problem : str
        Why there is no mask, in a sentence.
    """

    number: int
    plane: Plane
    mask: LocalMask
    uncertainty: float
    decisions: tuple[Decision, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def not_found(number: int, plane: Plane, problem: str) -> Found:
    """Return an object without a mask."""
    return Found(number, plane, _NOTHING, 1.0, problem=problem)


def found_active(
    session: RefinementSession, number: int, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Return the object that a session shows."""
    proposal, timeline = session.proposal, session.timeline
    if proposal is None or timeline is None:
        return not_found(number, plane, "nothing was found.")
    mask = LocalMask.crop(proposal.local_mask, proposal.region)
    decisions = tuple(replace(decision, time=0.0) for decision in timeline.state.decisions)
    return Found(number, plane, mask, float(proposal.uncertainty), decisions, source)
