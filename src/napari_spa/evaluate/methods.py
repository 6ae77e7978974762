"""The ways of segmenting that are compared: ours and its ablations, and the door for rivals.

A method plays rounds with a simulated user.  To compare another one (the rivals of the
paper, say), write a class with ``play``, and give :func:`napari_spa.evaluate.protocol.evaluate`
a mapping that holds its builder next to those of ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from napari_spa.core.simulated_user import pick_nearest
from napari_spa.refine.session.session import RefinementSession

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_spa.core.types import BoolArray, Click, Proposal
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.refine.engine.config import EngineConfig


@dataclass(frozen=True, slots=True, eq=False)
class User:
    """A simulated user; sees nothing but the candidates on offer.

    Attributes
    ----------
    truth : ndarray of shape (H, W)
        bool, what they have in mind.
    rng : numpy Generator
        For what they do at random.
    """

    truth: BoolArray
    rng: np.random.Generator

    def nearest(self, proposal: Proposal) -> int:
        """Pick the candidate nearest to what they have in mind."""
        return pick_nearest([candidate.mask for candidate in proposal.candidates], self.truth)

    def blindly(self, proposal: Proposal) -> int:
        """Pick any candidate."""
        return int(self.rng.integers(len(proposal.candidates)))


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One round as it was played.

    Attributes
    ----------
    proposal : Proposal
        What was shown.
    picked : int or None
        What the user picked then; None in the last round and when nothing was on offer.
    seconds : float
        How long the round took to compute.
    """

    proposal: Proposal
    picked: int | None
    seconds: float


class Method(Protocol):
    """A way of segmenting with a person, on one image."""

    def play(self, click: Click, user: User, rounds: int) -> Iterator[Turn]:
        """Play up to ``rounds`` rounds from a first click."""
        ...


class Stage:
    """One image and one preference head, shared by methods and users.

    The image is encoded once; the first round, which depends on the click alone, is
    computed once for each click.

    Parameters
    ----------
    model : LoadedModel
        What is evaluated.
    image : ndarray of shape (H, W) or (H, W, C)
        Any real type.
    config : EngineConfig
        Numbers of samples and candidates, head, feedback.
    seed : int
        Of the session.
    """

    def __init__(
        self, model: LoadedModel, image: NDArray[np.generic], config: EngineConfig, seed: int
    ) -> None:
        self._session, self._image = RefinementSession(model, seed=seed, config=config), image
        self._click: Click | None = None
        self._seconds = 0.0

    def first_round(self, click: Click, *, adapt: bool) -> tuple[RefinementSession, Turn]:
        """Return the session at the first round of a click.

        Parameters
        ----------
        click : Click
            On the object.
        adapt : bool
            Whether the picks that follow update the preference distribution.

        Returns
        -------
        session : RefinementSession
            Ready for a pick; shared, so play one game at a time.
        turn : Turn
            The first round.
        """
        session = self._session
        if click != self._click:
            session.set_image(self._image)  # anew, so no target's seeds depend on another's
            session.start(points=[(click.row, click.column)], labels=[click.label])
            self._click, self._seconds = click, sum(session.seconds.values())
        while session.can_undo:
            session.undo()
        session.adapt = adapt
        if session.proposal is None:
            raise RuntimeError("a started session has a proposal")
        return session, Turn(session.proposal, None, self._seconds)


class SessionMethod:
    """Play with our session.

    Parameters
    ----------
    stage : Stage
        The image.
    adapt : bool
        Whether picks update the preference distribution.
    choose : callable
        How the user picks.
    """

    def __init__(
        self, stage: Stage, *, adapt: bool, choose: Callable[[User, Proposal], int]
    ) -> None:
        self._stage, self._adapt, self._choose = stage, adapt, choose

    def play(self, click: Click, user: User, rounds: int) -> Iterator[Turn]:
        """Play rounds; fewer when the model has nothing left to offer.

        Parameters
        ----------
        click : Click
            On the object.
        user : User
            Who picks.
        rounds : int
            At most so many.

        Yields
        ------
        Turn
            Round 1, 2, ...
        """
        session, turn = self._stage.first_round(click, adapt=self._adapt)
        yield from play_rounds(session, turn, partial(self._choose, user), rounds)


def play_rounds(
    session: RefinementSession, turn: Turn, choose: Callable[[Proposal], int], rounds: int
) -> Iterator[Turn]:
    """Pick round after round; fewer when the model has nothing left to offer.

    Parameters
    ----------
    session : RefinementSession
        At its first round.
    turn : Turn
        That round.
    choose : callable
        How the user picks.
    rounds : int
        At most so many, the first included.

    Yields
    ------
    Turn
        Round 1, 2, ...
    """
    for _ in range(rounds - 1):
        if not turn.proposal.candidates:
            break
        picked = choose(turn.proposal)
        yield Turn(turn.proposal, picked, turn.seconds)
        turn = Turn(session.pick(picked), None, sum(session.seconds.values()))
    yield turn


def _learning(stage: Stage) -> Method:
    return SessionMethod(stage, adapt=True, choose=User.nearest)


def _frozen(stage: Stage) -> Method:
    return SessionMethod(stage, adapt=False, choose=User.nearest)


def _random(stage: Stage) -> Method:
    return SessionMethod(stage, adapt=True, choose=User.blindly)


MethodBuilder = Callable[[Stage], Method]

METHODS: Mapping[str, MethodBuilder] = MappingProxyType(
    {"spa": _learning, "frozen": _frozen, "random": _random}
)
"""``spa`` learns from picks; ``frozen`` has the same model, clicks and picks but its
mixture stays; ``random`` learns from picks made blindly."""
