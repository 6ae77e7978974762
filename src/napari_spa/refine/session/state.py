"""What a session is at one moment: immutable, so undo is a list of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray, Click, MixtureParameters, Prompts, Proposal
    from napari_spa.io.profiles.profile import PreferenceProfile
    from napari_spa.refine.engine.predictor import Feedback
    from napari_spa.refine.engine.view import FieldOfView

UNDO_DEPTH = 100
"""So many rounds can be taken back; what is older is forgotten, and memory stays flat."""


class Phase(StrEnum):
    """Where a session stands."""

    NO_IMAGE = "no image"
    READY = "ready"
    CHOOSING = "choosing"
    ACCEPTED = "accepted"


Act = Literal["start", "pick", "click", "stroke", "box", "view"]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One act of the person, and what it led to.

    Attributes
    ----------
    act : {"start", "pick", "click", "stroke", "box", "view"}
        What they did.
    round : int
        Number of the round that it led to.
    seed : int
        Seed of that round.
    pick : int or None
        Index of the picked candidate.
    prompts : Prompts
        All prompts after the act.
    offered : tuple of (int, int, float)
        For each candidate that was on offer: pixels added, removed, and its weight.
    mixture : MixtureParameters
        The preference distribution after the act.
    view : FieldOfView
        The field of view after the act.
    entropy : (int, int)
        The session's seed and the object's number, from which later seeds follow.
    time : float
        When, in seconds since 1970.
    """

    act: Act
    round: int
    seed: int
    pick: int | None
    prompts: Prompts
    offered: tuple[tuple[int, int, float], ...]
    mixture: MixtureParameters
    view: FieldOfView
    entropy: tuple[int, int]
    time: float


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything that decides a round, and so everything undo has to restore.

    What is shown is a pure function of it and of the image; it is computed when it is
    wanted and kept only for the latest few states.

    Attributes
    ----------
    view : FieldOfView
        Field of view.
    prompts : Prompts
        The person's prompts, and representative points of their picks.
    initial : MixtureParameters
        The mixture before any pick on this object.
    mixture : MixtureParameters
        The mixture now.
    last : Feedback or None
        The last pick.
    decisions : tuple of Decision
        The log of this object; the last one led here.
    """

    view: FieldOfView
    prompts: Prompts
    initial: MixtureParameters
    mixture: MixtureParameters
    last: Feedback | None
    decisions: tuple[Decision, ...]

    @property
    def number(self) -> int:
        """Number of the round, from 1."""
        return self.decisions[-1].round

    @property
    def seed(self) -> int:
        """Seed of everything random in the round."""
        return self.decisions[-1].seed

    @property
    def picks(self) -> int:
        """Number of picks on this object."""
        return sum(decision.act == "pick" for decision in self.decisions)

    @property
    def own_clicks(self) -> tuple[Click, ...]:
        """The clicks a person made, without the representative points of their picks."""
        own: list[Click] = []
        known = 0
        for decision in self.decisions:
            clicks = decision.prompts.clicks
            if decision.act != "pick":
                own += clicks[known:]
            known = len(clicks)
        return tuple(own)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The states of one object, and at which of them one is.

    Attributes
    ----------
    state : SessionState
        Where one is.
    past, future : tuple of SessionState
        What undo and redo go to: the last of the past, the first of the future.
    """

    state: SessionState
    past: tuple[SessionState, ...] = field(default=())
    future: tuple[SessionState, ...] = field(default=())

    def push(self, state: SessionState) -> Timeline:
        """Return the timeline after one more act; what was undone is gone."""
        return Timeline(state, (*self.past, self.state)[-UNDO_DEPTH:])

    def back(self) -> Timeline:
        """Return the timeline one state earlier; it must have a past."""
        *past, state = self.past
        return Timeline(state, tuple(past), (self.state, *self.future))

    def forth(self) -> Timeline:
        """Return the timeline one state later; it must have a future."""
        state, *future = self.future
        return Timeline(state, (*self.past, self.state), tuple(future))

    @property
    def latest(self) -> tuple[Decision, ...]:
        """The decisions up to the last state that can be had again by redo."""
        return (self.future[-1] if self.future else self.state).decisions


@dataclass(frozen=True, slots=True, eq=False)
class RefinementResult:
    """What accepting an object leaves.

    Attributes
    ----------
    proposal : Proposal
        What was accepted.
    rounds : int
        Number of rounds that were shown.
    decisions : tuple of Decision
        What the person did.
    profile : PreferenceProfile
        What was learnt about them so far.
    """

    proposal: Proposal
    rounds: int
    decisions: tuple[Decision, ...]
    profile: PreferenceProfile

    @property
    def mask(self) -> BoolArray:
        """The accepted mask in the whole image, (H, W) bool."""
        return self.proposal.mask


def add_clicks(prompts: Prompts, *clicks: Click) -> Prompts:
    """Return the prompts with more clicks."""
    return replace(prompts, clicks=(*prompts.clicks, *clicks))
