"""From one state of an object to the next: one function for each thing a user can do."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.types import LocalMask, MixtureParameters, Prompts
from napari_spa.errors import InputError
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.session.state import Act, Decision, SessionState, add_clicks

if TYPE_CHECKING:
    from napari_spa.refine.engine.alternatives import Framed
    from napari_spa.refine.engine.predictor import SpaPredictor
    from napari_spa.refine.engine.round import Round
    from napari_spa.refine.engine.view import FieldOfView

_KEPT_BYTES = 32 * 2**20
"""Rounds that were shown are kept up to this size, so that undo answers at once."""
_CHOICES = 4  # so many of the latest picks on an object are weighed; the mixture remembers all


class RoundCache:
    """What each state shows: kept for the latest, computed again for the others."""

    def __init__(self, predictor: SpaPredictor) -> None:
        self._predictor = predictor
        self._kept: OrderedDict[SessionState, Round] = OrderedDict()

    def show(self, state: SessionState, progress: Progress = silent) -> Round:
        """Return the round of a state."""
        shown = self._kept.pop(state, None)
        if shown is None:
            shown = self._predictor.propose(state.asked, progress)
        self._kept[state] = shown
        total = sum(kept.nbytes for kept in self._kept.values())
        # The state before is what a cancelled call goes back to.
        while total > _KEPT_BYTES and len(self._kept) > 2:
            total -= self._kept.popitem(last=False)[1].nbytes
        return shown

    def known(self, state: SessionState) -> Round | None:
        """Return the round of a state where it is kept."""
        return self._kept.get(state)

    def forget(self) -> None:
        """Drop them all: another image comes."""
        self._kept.clear()


class Transitions:
    """The acts of `RefinementSession`, without its memory."""

    def __init__(self, predictor: SpaPredictor, rounds: RoundCache) -> None:
        self._predictor, self._rounds = predictor, rounds

    def pick(
        self,
        state: SessionState,
        index: int,
        progress: Progress,
        *,
        adapt: bool,
        like: Decision | None = None,
    ) -> SessionState:
        """Return the state after a pick of the candidate ``index``, which must be on offer.

        ``like`` is the record of the same act, whose seed and time are taken.
        """
        shown = self._rounds.show(state, progress)
        feedback, size = shown.feedback[index], state.size
        prompts, mixture, choices = state.prompts, state.mixture, state.choices
        if adapt and self._predictor.weighs_choices:
            choices = (*choices, feedback.choice)[-_CHOICES:]
        if feedback.hypothesis is not None:  # another object: the outline taught nothing
            there, prompts = self._predictor.turn_to(feedback.hypothesis, prompts)
            turned = self._after(
                state, ("pick", index), prompts, mixture=mixture, view=there, like=like
            )
            others = tuple(h for h in state.hypotheses if h is not feedback.hypothesis)
            return replace(_changed(turned, hypotheses=others, size=None), choices=choices)
        if self._predictor.config.feedback_point and feedback.point is not None:
            prompts = add_clicks(prompts, feedback.point)
        if adapt:
            mixture = self._predictor.refresh(mixture, state.view, prompts)
            if self._predictor.has_size:  # the mixture holds the size from now on
                mixture, size = self._predictor.moved(mixture, shown.shift), None
            mixture = self._predictor.update(mixture, state.initial, feedback)
        picked = shown.proposal.candidates[index]
        cut = LocalMask.crop(picked.local_mask, picked.region)
        view = self._predictor.step_back(state.view, cut) if like is None else like.view
        after = self._after(state, ("pick", index), prompts, mixture=mixture, view=view, like=like)
        return replace(_changed(after, size=size), choices=choices)

    def resize(
        self, state: SessionState, size: float, *, like: Decision | None = None
    ) -> SessionState:
        """Return the state in which the recommendation is held at a size.

        ``like`` is the record of the same act, whose seed and time are taken.
        """
        after = self._after(
            state, ("resize", None), state.prompts, mixture=state.mixture, like=like
        )
        # The same samples are shown at another size: nothing is drawn or decoded again.
        return _changed(after, size=size, seed=state.seed)

    def prompt(
        self,
        act: Act,
        state: SessionState,
        prompts: Prompts,
        progress: Progress,
        view: FieldOfView | None = None,
        *,
        like: Decision | None = None,
    ) -> SessionState:
        """Return the state after more was said about the object, or another view taken.

        Without a view given the present one is kept, unless it is a trap for what was said.
        ``like`` is the record of the same act, whose seed and time are taken.
        """
        mixture, framed = state.mixture, None
        if view is None:
            known = state.prompts.clicks
            latest = prompts.clicks[len(known) :]
            if act == "edit":
                latest = tuple(click for click in prompts.clicks if click not in known)
            reach = self._rounds.show(state, progress).reach
            framed = self._predictor.reconsider(state.view, prompts, latest, reach)
        if framed is not None:
            view, prompts = framed.view, replace(prompts, anchor=framed.anchor)
        if act in ("click", "stroke", "edit"):
            mixture = self._predictor.refresh(mixture, view or state.view, prompts)
        after = self._after(state, (act, None), prompts, mixture=mixture, view=view, like=like)
        if framed is not None and framed.hypotheses:
            return _changed(after, hypotheses=framed.hypotheses)
        return after

    def again(
        self, state: SessionState, decision: Decision, progress: Progress, *, adapt: bool
    ) -> SessionState:
        """Return the state that a recorded decision leads to."""
        if decision.act == "resize":
            if decision.size is None:
                raise InputError("a resize in the log says no size; the log is damaged.")
            return self.resize(state, decision.size, like=decision)
        if decision.act != "pick":
            view = decision.view
            return self.prompt(decision.act, state, decision.prompts, progress, view, like=decision)
        offered = self._rounds.show(state, progress).feedback
        if decision.pick is None or not 0 <= decision.pick < len(offered):
            raise InputError(
                f"round {state.number} offers no candidate {decision.pick}; the decisions were "
                "made on another image or with another model."
            )
        return self.pick(state, decision.pick, progress, adapt=adapt, like=decision)

    def _after(
        self,
        before: SessionState,
        act: tuple[Act, int | None],
        prompts: Prompts,
        *,
        mixture: MixtureParameters,
        view: FieldOfView | None = None,
        like: Decision | None = None,
    ) -> SessionState:
        view = self._predictor.widen(view or before.view, prompts)
        latest, known = before.decisions[-1], self._rounds.known(before)
        decision = _decide(act, latest.round + 1, prompts, mixture, view, latest.entropy)
        decision = replace(decision, size=latest.size)
        if like is not None:
            decision = replace(
                decision,
                seed=like.seed,
                offered=like.offered,
                entropy=like.entropy,
                time=like.time,
                hypotheses=like.hypotheses,
            )
        elif known is not None:
            offered = known.proposal.candidates
            areas = tuple((c.added_area, c.removed_area, c.weight) for c in offered)
            decision = replace(decision, offered=areas)
        decisions = (*before.decisions, decision)
        return SessionState(view, prompts, before.initial, mixture, decisions, before.choices)


def _changed(state: SessionState, **changes: Any) -> SessionState:  # noqa: ANN401  any field
    """Return a state whose latest decision says something else."""
    *before, latest = state.decisions
    return replace(state, decisions=(*before, replace(latest, **changes)))


def first_state(
    framed: Framed,
    prompts: Prompts,
    mixtures: tuple[MixtureParameters, MixtureParameters],
    entropy: tuple[int, int],
) -> SessionState:
    """Return the state in which an object starts.

    ``mixtures`` are the model's own and the one to start from; ``entropy`` the session's seed and
    the object's number.
    """
    initial, mixture = mixtures
    decision = _decide(("start", None), 1, prompts, mixture, framed.view, entropy)
    decision = replace(decision, hypotheses=framed.hypotheses)
    return SessionState(framed.view, prompts, initial, mixture, (decision,))


def _decide(
    act: tuple[Act, int | None],
    number: int,
    prompts: Prompts,
    mixture: MixtureParameters,
    view: FieldOfView,
    entropy: tuple[int, int],
) -> Decision:
    seed = int(np.random.SeedSequence([*entropy, number]).generate_state(1)[0])
    now = round(time.time(), 3)
    return Decision(act[0], number, seed, act[1], prompts, (), mixture, view, entropy, now)
