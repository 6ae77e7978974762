"""What is found on a plane: an object with its mask, or a sentence why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.types import LocalMask, Region

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_spa.core.plane import Plane
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.refine.session.state import Decision

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
        From which the mask can be had again; without the time, which is no result.
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
    """Return an object without a mask.

    Parameters
    ----------
    number : int
        Its label.
    plane : Plane
        Where.
    problem : str
        Why.

    Returns
    -------
    Found
    """
    return Found(number, plane, _NOTHING, 1.0, problem=problem)


def found_at_hand(
    session: RefinementSession, number: int, plane: Plane, source: Mapping[str, Any]
) -> Found:
    """Return the object that a session shows.

    Parameters
    ----------
    session : RefinementSession
        With an object at hand.
    number : int
        Its label.
    plane : Plane
        Where.
    source : mapping
        How the plane was looked at.

    Returns
    -------
    Found
    """
    proposal, timeline = session.proposal, session.timeline
    if proposal is None or timeline is None:
        return not_found(number, plane, "nothing was found.")
    mask = LocalMask.crop(proposal.local_mask, proposal.region)
    decisions = tuple(replace(decision, time=0.0) for decision in timeline.state.decisions)
    return Found(number, plane, mask, float(proposal.uncertainty), decisions, source)
