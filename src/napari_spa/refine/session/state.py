"""What a session is at one moment, immutable, so undo is a list; and what each act makes of it."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_spa.core.types import BoolArray, Click, LocalMask, MixtureParameters, Prompts, Proposal
from napari_spa.errors import InputError
from napari_spa.refine.engine.config import Progress, silent
from napari_spa.refine.session.acts import (
    FIRST_SEEN,
    Act,
    Decision,
    evidence_of,
    own_places,
    settled,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_spa.core.obedience import Evidence
    from napari_spa.io.profiles import AcceptedSize, PreferenceProfile
    from napari_spa.refine.engine.alternatives import Choice, Framed, Hypothesis
    from napari_spa.refine.engine.predictor import SpaPredictor
    from napari_spa.refine.engine.round import Asked, Round, Stay
    from napari_spa.refine.engine.view import FieldOfView

UNDO_DEPTH = 100
"""So many rounds can be taken back; what is older is forgotten, and memory stays flat."""


class Phase(StrEnum):
    """Where a session stands."""

    NO_IMAGE = "no image"
    READY = "ready"
    CHOOSING = "choosing"
    ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True, eq=False)
class SessionState:
    """Everything that decides a round, and so everything undo has to restore.

    What is shown is a pure function of it and of the image; it is computed when it is
    wanted and kept only for the latest few states.
    """

    view: FieldOfView
    prompts: Prompts  # the user's prompts, and representative points of their picks
    initial: MixtureParameters  # before any pick on this object
    mixture: MixtureParameters
    decisions: tuple[Decision, ...]  # the log of this object; the last one led here
    choices: tuple[Choice, ...] = ()  # the picks behind it, each among what was on show
    stay: Stay | None = None  # what a correction leaves as it was

    @property
    def number(self) -> int:
        """Number of the round, from 1."""
        return self.decisions[-1].round

    def starts_as(self, other: SessionState) -> bool:
        """Whether another object that starts in the same view from the same click is the same."""
        return self.seed == other.seed and self.mixture.equals(other.mixture)

    @property
    def first_seen(self) -> bool:
        """Whether it is the first round on the image as it is seen."""
        return self.decisions[-1].act in FIRST_SEEN

    @property
    def seed(self) -> int:
        """Seed of everything random in the round."""
        return self.decisions[-1].seed

    @property
    def size(self) -> float | None:
        """Where on the size axis the recommendation is held; None where the mixture decides."""
        return self.decisions[-1].size

    @property
    def picks(self) -> int:
        """Number of picks on this object."""
        return sum(decision.act == "pick" for decision in self.decisions)

    @property
    def corrections(self) -> int:
        """Number of clicks and strokes on this object, those that it was started with included."""
        later = sum(decision.act in ("click", "stroke") for decision in self.decisions)
        return len(self.decisions[0].prompts.clicks) + later

    @property
    def informative_picks(self) -> int:
        """Number of picks of an outline; those of another object teach nothing about it."""
        return sum(decision.teaches for decision in self.decisions)

    @property
    def corrected(self) -> bool:
        """Whether something taught what is wanted, and no pick of an outline."""
        return not self.informative_picks and known_of(self.decisions) > 0

    def size_of(self, area: int, image: str, pixel_size: float) -> AcceptedSize | None:
        """Return how large the object was accepted, under the name that it keeps; None if empty."""
        from napari_spa.io.profiles import AcceptedSize

        first = self.decisions[0]
        name = hashlib.blake2b(f"{image} {first.entropy} {first.time}".encode(), digest_size=8)
        return AcceptedSize(name.hexdigest(), image, float(area), pixel_size) if area else None

    def prompts_again(self, mask: LocalMask) -> tuple[Prompts, bool]:
        """Return what the object goes on from where its image is seen otherwise.

        From the ``mask`` that it showed if that was picked, resized or the user's own.  The second
        says whether its field of view is looked for anew.
        """
        acts, stay = {decision.act for decision in self.decisions}, self.asked.stay
        own = bool(mask.area and stay is not None and stay.firm)
        if own or (mask.area and acts & {"pick", "resize"}):
            return replace(self.prompts, mask=mask, exact=own), False
        anew, exact = "view" not in acts, self.prompts.exact and self.first_seen
        anchor = None if anew else self.prompts.anchor
        return replace(self.prompts, exact=exact, anchor=anchor), anew

    @property
    def asked(self) -> Asked:
        """What decides the round."""
        from napari_spa.refine.engine.alternatives import UserInput
        from napari_spa.refine.engine.round import Asked  # brings torch

        return Asked(
            self.view,
            self.prompts,
            self.mixture,
            self.number,
            self.seed,
            said=UserInput(self.own_clicks, self.evidence, self.choices),
            picks=self.picks,
            corrections=self.corrections,
            size=self.size,
            hypotheses=self.hypotheses,
            stay=self.stay or self._given,
        )

    @property
    def _given(self) -> Stay | None:
        """The mask that it was started from, where that is to be recommended as it is."""
        from napari_spa.refine.engine.round import Stay

        mask = self.prompts.mask if self.prompts.exact and self.first_seen else None
        return None if mask is None else Stay(mask, np.zeros((0, 2), dtype=np.int64), firm=True)

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """What else the prompts may mean."""
        latest = (d.hypotheses for d in reversed(self.decisions) if d.hypotheses is not None)
        return next(latest, ())

    @property
    def own_clicks(self) -> tuple[Click, ...]:
        """The clicks a user made, without the representative points of their picks."""
        return tuple(self.prompts.clicks[place] for place in own_places(self.decisions))

    @property
    def evidence(self) -> Evidence:
        """What was said pixel by pixel, in image pixels; of what contradicts, the latest."""
        return evidence_of(self.decisions)


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The states of one object, and which of them is current."""

    state: SessionState
    past: tuple[SessionState, ...] = field(default=())  # what undo goes to: the last of them
    future: tuple[SessionState, ...] = field(default=())  # what redo goes to: the first of them

    def push(self, state: SessionState) -> Timeline:
        """Return the timeline after one more act; what was undone is gone."""
        return Timeline(state, (*self.past, self.state)[-UNDO_DEPTH:])

    def back(self) -> Timeline:
        """Return the timeline one state earlier; it must have a past."""
        *past, state = self.past
        return Timeline(state, tuple(past), (self.state, *self.future))

    def forward(self) -> Timeline:
        """Return the timeline one state later; it must have a future."""
        state, *future = self.future
        return Timeline(state, (*self.past, self.state), tuple(future))

    @property
    def latest(self) -> tuple[Decision, ...]:
        """The decisions up to the last state that can be computed again by redo."""
        return (self.future[-1] if self.future else self.state).decisions


@dataclass(frozen=True, slots=True, eq=False)
class RefinementResult:
    """What accepting an object leaves."""

    proposal: Proposal  # what was accepted
    rounds: int  # number of rounds that were shown
    decisions: tuple[Decision, ...] = field(repr=False)  # what the user did
    profile: PreferenceProfile  # what was learnt about them so far

    @property
    def mask(self) -> BoolArray:
        """The accepted mask in the whole image, (H, W) bool."""
        return self.proposal.mask


def known_of(decisions: Sequence[Decision]) -> int:
    """Return how much an object taught a profile when it was accepted: picks, or one correction.

    A pick of another object says nothing of outlines, but corrects: what is accepted in the end is
    where the user wants the boundary.
    """
    picks = sum(decision.teaches for decision in decisions)
    return picks or int(any(decision.act == "pick" or decision.corrects for decision in decisions))


def add_clicks(prompts: Prompts, *clicks: Click) -> Prompts:
    """Return the prompts with more clicks."""
    return replace(prompts, clicks=(*prompts.clicks, *clicks))


def edit_clicks(state: SessionState, changes: Mapping[int, Click | None]) -> Prompts:
    """Return the prompts after own clicks were moved or taken back.

    ``changes`` has by the index into ``state.own_clicks`` the click in its place, or none; those
    that were moved come last: they were said last.  A stroke goes with any of its clicks that is
    taken back.  ``InputError`` when nothing would be left to start from.
    """
    prompts, places, before = state.prompts, own_places(state.decisions), Prompts()
    gone = {places[index] for index in changes}
    taken = {places[index] for index, click in changes.items() if click is None}
    undrawn = set()
    for decision in settled(state.decisions):
        after = decision.prompts
        drawn = range(len(before.clicks), len(after.clicks))
        if len(after.strokes) > len(before.strokes) and taken.intersection(drawn):
            undrawn.add(len(before.strokes))
            gone.update(drawn)
        before = after
    left = [click for place, click in enumerate(prompts.clicks) if place not in gone]
    clicks = (*left, *(click for click in changes.values() if click is not None))
    if prompts.box is None and prompts.mask is None and not any(c.label for c in clicks):
        raise InputError("an object needs a click on it or a box; discard it to start another.")
    strokes = tuple(s for number, s in enumerate(prompts.strokes) if number not in undrawn)
    first = set(state.decisions[0].prompts.clicks)
    moved = first.intersection(prompts.clicks[place] for place in gone)
    anchor = None if moved else prompts.anchor
    return replace(prompts, clicks=clicks, strokes=strokes, anchor=anchor)


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

    def keep(self, state: SessionState, shown: Round) -> None:
        """Take what a state shows, which was computed ahead."""
        self._kept[state] = shown

    def known(self, state: SessionState) -> Round | None:
        """Return the round of a state where it is kept."""
        return self._kept.get(state)

    def forget(self) -> None:
        """Drop them all: another image comes."""
        self._kept.clear()


class Transitions:
    """The acts of `RefinementSession`, without its memory.

    ``like`` is the record of the same act, whose seed and time are taken.
    """

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
        """Return the state after a pick of the candidate ``index``, which must be on offer."""
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
        """Return the state in which the recommendation is held at a size."""
        after = self._after(
            state, ("resize", None), state.prompts, mixture=state.mixture, like=like
        )
        # The same samples are shown at another size: nothing is drawn or decoded again.
        after, stay = _changed(after, size=size, seed=state.seed), state.asked.stay
        if stay is None or stay.size is not None:  # all sizes are of one mask: none is lost
            return replace(after, stay=stay)
        shown = self._rounds.show(state).proposal
        mask, none = LocalMask.crop(shown.local_mask, shown.region), stay.places[:0]
        return replace(after, stay=replace(stay, mask=mask, places=none, size=shown.size))

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
            after = _changed(after, hypotheses=framed.hypotheses)
        return replace(after, stay=self._stay(act, state, after, progress))

    def _stay(
        self, act: Act, before: SessionState, after: SessionState, progress: Progress
    ) -> Stay | None:
        """Return what an act leaves of the mask before; None where all may change.

        A mask of the user's own stays, and one that is expected to be right, from then on.
        """
        from napari_spa.refine.engine.round import Stay  # brings torch

        earlier = before.asked.stay
        firm = earlier is not None and earlier.firm
        if act == "box" or (act not in ("click", "stroke") and not firm):
            return None
        if not firm and after.view != self._predictor.widen(before.view, after.prompts):
            return None  # the view was left
        mask = after.prompts.mask
        if mask is None or act != "edit":  # what is taken back leaves no trace on one's own
            shown = self._rounds.show(before, progress).proposal
            if earlier is None and not self._predictor.trusts(shown):
                return None
            mask = LocalMask.crop(shown.local_mask, shown.region)
        said = after.evidence.within(self._predictor.sampler.shape)
        return Stay(mask, said.places[mask.at(said.places) != said.labels], firm)

    def replay(
        self, decisions: Sequence[Decision], undone: int, progress: Progress, *, adapt: bool
    ) -> Timeline:
        """Play the decisions of one object again, the last ones of which are ``undone``.

        It begins with the last look at the image, and ends before the next one.
        """
        shape, done = self._predictor.sampler.shape, len(decisions) - undone
        regions = [decision.view.region(shape) for decision in decisions]
        if any(min(region.height, region.width) <= 0 for region in regions):
            raise InputError("the decisions show nothing of this image; they are of another one.")
        seen = [k for k, decision in enumerate(decisions) if decision.act in FIRST_SEEN]
        begun = max(k for k in seen if k < done)
        end = min((k for k in seen if k >= done), default=len(decisions))
        first, before = decisions[begun], tuple(decisions[: begun + 1])
        self._predictor.encode(first.view, progress)
        initial = self._predictor.initial_mixture(first.view, first.prompts)
        timeline = Timeline(SessionState(first.view, first.prompts, initial, first.mixture, before))
        for decision in decisions[begun + 1 : end]:
            timeline = timeline.push(self.again(timeline.state, decision, progress, adapt=adapt))
        for _ in range(min(end - done, len(timeline.past))):
            timeline = timeline.back()
        return timeline

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
    before: tuple[Decision, ...] = (),
    *,
    searched: bool = True,
) -> SessionState:
    """Return the state in which an object starts, or goes on with other channels or contrast.

    ``mixtures`` are the model's own and the one to start from; ``entropy`` the session's seed and
    the object's number; what else the prompts may mean was ``searched`` for, or stays as it was.
    """
    initial, mixture = mixtures
    act: Act = "look" if before else "start"
    number = before[-1].round + 1 if before else 1
    decision = _decide((act, None), number, prompts, mixture, framed.view, entropy)
    size, hypotheses = before[-1].size if before else None, framed.hypotheses if searched else None
    decision = replace(decision, hypotheses=hypotheses, size=size)
    return SessionState(framed.view, prompts, initial, mixture, (*before, decision))


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
