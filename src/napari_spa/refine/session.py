"""A refinement session: click, look, pick, accept."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_spa.core.mixture import blend_mixtures
from napari_spa.core.types import MixtureParameters, Prompts, Proposal
from napari_spa.errors import InputError, SessionError
from napari_spa.io.profiles import PreferenceProfile
from napari_spa.refine.checks import check_box, check_click, check_prompts
from napari_spa.refine.config import EngineConfig, Progress, silent
from napari_spa.refine.state import Act, Decision, Phase, RefinementResult, SessionState, add_click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from napari_spa.io.checkpoints import LoadedModel
    from napari_spa.refine.predictor import Feedback
    from napari_spa.refine.view import View

PRIOR_PICKS = 6.0
"""A profile of this many picks weighs as much as the model's own prior."""


class RefinementSession:
    """Refine the objects of one image after another with one person.

    .. code-block:: text

        NO_IMAGE --set_image--> READY --start--> CHOOSING --accept--> ACCEPTED
                                                 |      ^                |
                          pick, click, box, undo, redo  |             start
                                                 +------+  <-------------+

    ``set_image`` is allowed at any time and drops the object at hand.  A call that
    fails or is cancelled leaves everything as it was before it.  All calls are
    synchronous and may be made from any one thread at a time.

    Parameters
    ----------
    model : LoadedModel
        From :func:`napari_spa.load_model`.
    profile : PreferenceProfile or None
        What is known about the person already.
    seed : int
        Seed of everything random; the same calls give the same masks.
    adapt : bool
        Whether picks update the preference distribution; False freezes it.
    config : EngineConfig or None
        Numbers of samples and candidates, head, feedback.

    Raises
    ------
    ProfileError
        When the profile was made with another model.

    Examples
    --------
    >>> session = RefinementSession(load_model("spa-tiny"))  # doctest: +SKIP
    >>> session.set_image(image)  # doctest: +SKIP
    >>> proposal = session.start(points=[(120, 80)])  # doctest: +SKIP
    >>> proposal = session.pick(2)  # doctest: +SKIP
    >>> mask = session.accept().mask  # doctest: +SKIP
    """

    def __init__(
        self,
        model: LoadedModel,
        profile: PreferenceProfile | None = None,
        seed: int = 0,
        *,
        adapt: bool = True,
        config: EngineConfig | None = None,
    ) -> None:
        from napari_spa.refine.predictor import SpaPredictor  # brings torch

        if profile is not None:
            profile.check(model.identity)
        self.model, self.seed, self.adapt = model, seed, adapt
        self.profile = profile
        self.seconds: dict[str, float] = {}
        self._predictor = SpaPredictor(model, config)
        self._past: list[SessionState] = []
        self._future: list[SessionState] = []
        self._state: SessionState | None = None
        self._accepted = False
        self._objects = 0

    # ---------------------------------------------------------------- what it is now

    @property
    def phase(self) -> Phase:
        """Where the session stands."""
        if not self._predictor.has_image:
            return Phase.NO_IMAGE
        if self._state is None:
            return Phase.READY
        return Phase.ACCEPTED if self._accepted else Phase.CHOOSING

    @property
    def proposal(self) -> Proposal | None:
        """What is shown now."""
        return None if self._state is None else self._state.proposal

    @property
    def prompts(self) -> Prompts:
        """All prompts of the object at hand."""
        return Prompts() if self._state is None else self._state.prompts

    @property
    def mixture(self) -> MixtureParameters | None:
        """The preference distribution now."""
        return None if self._state is None else self._state.mixture

    @property
    def view(self) -> View | None:
        """The field of view now."""
        return None if self._state is None else self._state.view

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the image."""
        return self._predictor.canvas.shape if self._predictor.has_image else None

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier round to go back to."""
        return self.phase is Phase.CHOOSING and bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether an undone round can be had again."""
        return self.phase is Phase.CHOOSING and bool(self._future)

    # ---------------------------------------------------------------- what one can do

    def set_image(self, image: ArrayLike) -> None:
        """Take an image and drop the object at hand.

        Parameters
        ----------
        image : array_like of shape (H, W) or (H, W, C)
            Any bool, integer or float type; C of 1 to 4 channels.

        Raises
        ------
        InputError
            When the image cannot be used.
        """
        self._predictor.set_image(np.asarray(image))
        self._forget()
        self._objects = 0

    def start(
        self,
        points: Sequence[tuple[float, float]] = (),
        labels: Sequence[int] | None = None,
        box: tuple[float, float, float, float] | None = None,
        mask: ArrayLike | None = None,
        *,
        progress: Progress = silent,
    ) -> Proposal:
        """Start an object from points, a box or a rough mask.

        Parameters
        ----------
        points : sequence of (row, column)
            Image pixels.
        labels : sequence of int or None
            1 on the object, 0 on the background; all 1 by default.
        box : (row0, column0, row1, column1) or None
            Image pixels.
        mask : array_like of shape (H, W) or None
            Non-zero is the object, roughly.
        progress : callable
            Called with the share done and a message; may raise ``Cancelled``.

        Returns
        -------
        Proposal
            Round 1.

        Raises
        ------
        SessionError
            When no image is set.
        InputError
            When a prompt cannot be used.
        """
        if self.phase is Phase.NO_IMAGE:
            raise SessionError("no image is set; call set_image(image) first.")
        prompts = check_prompts(points, labels, box, mask, self._predictor.canvas.shape)
        begun = time.perf_counter()
        view, anchor = self._predictor.frame(prompts, progress)
        prompts = replace(prompts, anchor=anchor)
        self._predictor.encode(view, progress)
        encoded = time.perf_counter()
        initial = self._predictor.initial_mixture(view, prompts)
        mixture = self._with_profile(initial)
        state = self._advance("start", view, prompts, (initial, mixture), progress=progress)
        self._forget()
        self._objects += 1
        self._state = state
        self.seconds = {
            "encode": encoded - begun,
            "propose": time.perf_counter() - encoded,
        }
        return state.proposal

    def pick(self, index: int, *, progress: Progress = silent) -> Proposal:
        """Pick a candidate; the preference distribution learns from it.

        Parameters
        ----------
        index : int
            0-based index into ``proposal.candidates``.
        progress : callable
            Called with the share done and a message; may raise ``Cancelled``.

        Returns
        -------
        Proposal
            The next round.

        Raises
        ------
        SessionError
            When there is nothing to pick from.
        InputError
            When there is no such candidate.
        """
        state = self._choosing("pick")
        offered = state.proposal.candidates
        if isinstance(index, bool) or not 0 <= int(index) < len(offered):
            raise InputError(
                f"there is no candidate {index}; choose 0 to {len(offered) - 1}."
                if offered
                else "the model is certain and offers no candidate; click or accept."
            )
        feedback = state.round.feedback[int(index)]
        prompts = state.prompts
        if self._predictor.config.feedback_point and feedback.point is not None:
            prompts = add_click(prompts, feedback.point)
        mixture = state.mixture
        if self.adapt:
            mixture = self._predictor.refresh(mixture, state.view, prompts, feedback)
            mixture = self._predictor.update(mixture, state.initial, feedback)
        return self._go(
            "pick", state, prompts, mixture, pick=int(index), last=feedback, progress=progress
        )

    def click(
        self, point: tuple[float, float], label: int = 1, *, progress: Progress = silent
    ) -> Proposal:
        """Add a click on the object or on the background.

        Parameters
        ----------
        point : (row, column)
            Image pixels.
        label : int
            1 on the object, 0 on the background.
        progress : callable
            Called with the share done and a message; may raise ``Cancelled``.

        Returns
        -------
        Proposal
            The next round.

        Raises
        ------
        SessionError
            When no object was started.
        InputError
            When the point or label cannot be used.
        """
        state = self._choosing("click")
        prompts = add_click(state.prompts, check_click(point, label, self._predictor.canvas.shape))
        mixture = self._predictor.refresh(state.mixture, state.view, prompts, state.last)
        return self._go("click", state, prompts, mixture, progress=progress)

    def box(
        self, box: tuple[float, float, float, float], *, progress: Progress = silent
    ) -> Proposal:
        """Add or replace the box around the object.

        Parameters
        ----------
        box : (row0, column0, row1, column1)
            Image pixels.
        progress : callable
            Called with the share done and a message; may raise ``Cancelled``.

        Returns
        -------
        Proposal
            The next round.

        Raises
        ------
        SessionError
            When no object was started.
        InputError
            When the box cannot be used.
        """
        state = self._choosing("box")
        prompts = replace(state.prompts, box=check_box(box, self._predictor.canvas.shape))
        return self._go("box", state, prompts, state.mixture, progress=progress)

    def undo(self) -> Proposal:
        """Go back one round; the whole state is restored.

        Returns
        -------
        Proposal

        Raises
        ------
        SessionError
            When there is nothing to undo.
        """
        state = self._choosing("undo")
        if not self._past:
            raise SessionError("there is nothing to undo; this is the first round.")
        self._future.append(state)
        self._state = self._past.pop()
        return self._state.proposal

    def redo(self) -> Proposal:
        """Take an undone round again.

        Returns
        -------
        Proposal

        Raises
        ------
        SessionError
            When there is nothing to redo.
        """
        state = self._choosing("redo")
        if not self._future:
            raise SessionError("there is nothing to redo.")
        self._past.append(state)
        self._state = self._future.pop()
        return self._state.proposal

    def accept(self) -> RefinementResult:
        """Accept the recommended mask; what was learnt goes into the profile.

        Returns
        -------
        RefinementResult

        Raises
        ------
        SessionError
            When there is nothing to accept.
        """
        state = self._choosing("accept")
        self.profile = self._learn(state)
        self._accepted = True
        return RefinementResult(
            state.proposal.mask, state.proposal.round, state.decisions, self.profile
        )

    # ---------------------------------------------------------------- how it does it

    def _go(
        self,
        act: Act,
        state: SessionState,
        prompts: Prompts,
        mixture: MixtureParameters,
        *,
        pick: int | None = None,
        last: Feedback | None = None,
        progress: Progress,
    ) -> Proposal:
        begun = time.perf_counter()
        view = self._predictor.widen(state.view, prompts)
        following = self._advance(
            act,
            view,
            prompts,
            (state.initial, mixture),
            before=state,
            pick=pick,
            last=last or state.last,
            progress=progress,
        )
        self._past.append(state)
        self._future.clear()
        self._state = following
        self.seconds = {"encode": 0.0, "propose": time.perf_counter() - begun}
        return following.proposal

    def _advance(
        self,
        act: Act,
        view: View,
        prompts: Prompts,
        mixtures: tuple[MixtureParameters, MixtureParameters],
        *,
        before: SessionState | None = None,
        pick: int | None = None,
        last: Feedback | None = None,
        progress: Progress,
    ) -> SessionState:
        number = 1 if before is None else before.proposal.round + 1
        objects = self._objects + (before is None)
        seed = int(np.random.SeedSequence([self.seed, objects, number]).generate_state(1)[0])
        initial, mixture = mixtures
        shown = self._predictor.propose(
            view, prompts, mixture, number=number, seed=seed, last=last, progress=progress
        )
        offered = () if before is None else before.proposal.candidates
        decision = Decision(
            act,
            number,
            seed,
            pick,
            prompts,
            tuple((c.added_area, c.removed_area, c.weight) for c in offered),
            mixture,
        )
        earlier = () if before is None else before.decisions
        return SessionState(view, prompts, initial, mixture, shown, last, (*earlier, decision))

    def _with_profile(self, initial: MixtureParameters) -> MixtureParameters:
        if self.profile is None or not self.profile.picks:
            return initial
        share = self.profile.picks / (self.profile.picks + PRIOR_PICKS)
        return blend_mixtures(initial, self.profile.mixture, share)

    def _learn(self, state: SessionState) -> PreferenceProfile:
        """Average what was learnt over objects, each in proportion to its picks."""
        old = self.profile
        if old is None:
            return PreferenceProfile(
                model=self.model.identity,
                mixture=state.mixture,
                picks=state.picks,
                images=1,
            )
        total = old.picks + state.picks
        share = state.picks / total if total else 0.0
        mixture = blend_mixtures(old.mixture, state.mixture, share)
        return replace(old, mixture=mixture, picks=total, images=old.images + 1)

    def _forget(self) -> None:
        self._state, self._accepted = None, False
        self._past.clear()
        self._future.clear()

    def _choosing(self, act: str) -> SessionState:
        if self._state is None or self._accepted:
            if self.phase is Phase.NO_IMAGE:
                raise SessionError(f"cannot {act} yet; call set_image(image), then start(...).")
            raise SessionError(f"cannot {act} yet; start an object with start(points=...).")
        return self._state
