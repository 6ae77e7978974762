"""What a session is at one moment: immutable, so undo is a list of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from napari_spa.core.types import BoolArray, Click, MixtureParameters, Prompts, Proposal
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.predictor import Feedback, Round
    from napari_spa.refine.view import View


class Phase(StrEnum):
    """Where a session stands."""

    NO_IMAGE = "no image"
    READY = "ready"
    CHOOSING = "choosing"
    ACCEPTED = "accepted"


Act = Literal["start", "pick", "click", "box"]


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One act of the person, and what it led to.

    Attributes
    ----------
    act : {"start", "pick", "click", "box"}
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
    """

    act: Act
    round: int
    seed: int
    pick: int | None
    prompts: Prompts
    offered: tuple[tuple[int, int, float], ...]
    mixture: MixtureParameters


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything a round needs and everything undo restores.

    Attributes
    ----------
    view : View
        Field of view.
    prompts : Prompts
        The person's prompts, and representative points of their picks.
    initial : MixtureParameters
        The mixture before any pick on this object.
    mixture : MixtureParameters
        The mixture now.
    round : Round
        What is shown now.
    last : Feedback or None
        The last pick.
    decisions : tuple of Decision
        The log of this object.
    """

    view: View
    prompts: Prompts
    initial: MixtureParameters
    mixture: MixtureParameters
    round: Round
    last: Feedback | None = None
    decisions: tuple[Decision, ...] = field(default=())

    @property
    def proposal(self) -> Proposal:
        """What is shown now."""
        return self.round.proposal

    @property
    def picks(self) -> int:
        """Number of picks on this object."""
        return sum(decision.act == "pick" for decision in self.decisions)


@dataclass(frozen=True, slots=True, eq=False)
class RefinementResult:
    """What accepting an object leaves.

    Attributes
    ----------
    mask : ndarray of shape (H, W)
        bool.
    rounds : int
        Number of rounds that were shown.
    decisions : tuple of Decision
        What the person did.
    profile : PreferenceProfile
        What was learnt about them so far.
    """

    mask: BoolArray
    rounds: int
    decisions: tuple[Decision, ...]
    profile: PreferenceProfile


def add_click(prompts: Prompts, click: Click) -> Prompts:
    """Return the prompts with one more click."""
    return replace(prompts, clicks=(*prompts.clicks, click))
