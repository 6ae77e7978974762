"""A refinement session: click, look, pick, accept."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_spa.core.types import LocalMask, MixtureParameters, Prompts, Proposal
from napari_spa.errors import InputError, SessionError
from napari_spa.refine.engine.config import EngineConfig, Progress, silent
from napari_spa.refine.preference import (
    Lesson,
    boundary_shift,
    expected_size,
    learn,
    log_area_ratio,
    start_from,
)
from napari_spa.refine.session.prompt_validation import (
    check_box,
    check_changes,
    check_click,
    check_loaded,
    check_path,
    check_pick,
    check_pixel_size,
    check_prompts,
    check_seed,
    check_size,
    check_stroke,
    check_view,
    stroke_along,
)
from napari_spa.refine.session.state import (
    Phase,
    RefinementResult,
    RoundCache,
    SessionState,
    Timeline,
    Transitions,
    add_clicks,
    edit_clicks,
    first_state,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from napari_spa.core.mixture import SizePrior
    from napari_spa.io.embeddings import EmbeddingCache
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.engine.alternatives import Framed
    from napari_spa.refine.engine.image_plane import ImagePlane
    from napari_spa.refine.engine.round import Round
    from napari_spa.refine.engine.view import FieldOfView, ImageSampler
    from napari_spa.refine.session.acts import Act, Decision

    ProfileUpdate = Callable[[PreferenceProfile | None], PreferenceProfile]


class RefinementSession:
    """Refine the objects of one image after another with one user.

    .. code-block:: text

        NO_IMAGE --set_image--> READY --start--> CHOOSING --accept--> ACCEPTED
                                                 |      ^                |
          pick, click, stroke, box, edit,        |             start, restore
                   set_view, resize, undo, redo  +------+  <-------------+

    ``set_image`` is allowed at any time and drops the active object. A call that fails or is
    cancelled leaves everything as it was before it. All calls are synchronous and may be made from
    any one thread at a time; only :meth:`prefetch` may run beside another, as it touches nothing
    but the cache. Those that compute take ``progress``, which is called with the share done and a
    message, and may raise ``Cancelled``; they return the round that is current afterwards. What
    cannot be used (a point outside, a candidate that is not on offer) is an ``InputError``; a call
    that comes too early (no image, no object, no round to undo) is a ``SessionError``.

    Parameters
    ----------
    model : LoadedModel
        From :func:`napari_spa.load_model`.
    profile : PreferenceProfile or None
        What is known about the user already.
    seed : int
        Seed of everything random; the same calls give the same masks.
    adapt : bool
        Whether picks update the preference distribution; False freezes it.
    config : EngineConfig or None
        Numbers of samples and candidates, head, feedback.
    cache : EmbeddingCache or None
        Where embeddings are kept beyond the latest few.

    Raises
    ------
    ProfileError
        When the profile was made with another model.
    InputError
        For a seed below 0, or a name in place of a model or a profile.

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
        cache: EmbeddingCache | None = None,
    ) -> None:
        from napari_spa.refine.engine.predictor import SpaPredictor  # brings torch

        check_loaded(model, profile)
        self.model, self.profile, self.seed, self.adapt = model, profile, check_seed(seed), adapt
        self.config, self.cache = config, cache
        self.seconds: dict[str, float] = {}
        self._predictor = SpaPredictor(model, config, cache)
        self._rounds = RoundCache(self._predictor)
        self._transitions = Transitions(self._predictor, self._rounds)
        self._source, self._pixel_size = "", 0.0
        self._forget()

    def _forget(self) -> None:
        self._timeline: Timeline | None = None
        self._accepted, self._learnt, self._objects = False, 0, 0
        self._first: Round | None = None  # round 1 of an object that is new to the profile
        self._ahead: tuple[Framed, SessionState, Round] | None = None  # not asked for yet
        self._profile_update: ProfileUpdate | None = None
        self._rounds.forget()

    # ---------------------------------------------------------------- what it is now

    @property
    def phase(self) -> Phase:
        """Where the session stands."""
        if not self._predictor.has_image:
            return Phase.NO_IMAGE
        if self._timeline is None:
            return Phase.READY
        return Phase.ACCEPTED if self._accepted else Phase.CHOOSING

    @property
    def proposal(self) -> Proposal | None:
        """What is shown now."""
        return None if self._timeline is None else self._rounds.show(self._timeline.state).proposal

    @property
    def prompts(self) -> Prompts:
        """All prompts of the active object."""
        return Prompts() if self._timeline is None else self._timeline.state.prompts

    @property
    def mixture(self) -> MixtureParameters | None:
        """The preference distribution now."""
        return None if self._timeline is None else self._timeline.state.mixture

    @property
    def view(self) -> FieldOfView | None:
        """The field of view now."""
        timeline = self._timeline  # another thread may go on with the object meanwhile
        return None if timeline is None else timeline.state.view

    @property
    def timeline(self) -> Timeline | None:
        """The states of the active object, undone ones included."""
        return self._timeline

    @property
    def sampler(self) -> ImageSampler:
        """The image that was set; ``SessionError`` before."""
        return self._predictor.sampler

    @property
    def expected(self) -> SizePrior | None:
        """How large the next object is expected to be, from those accepted; None if unknown."""
        return expected_size(self.profile, self._image, self._pixel_size)

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier round to go back to; any thread may ask."""
        return not self._accepted and bool((shown := self._timeline) and shown.past)

    @property
    def can_redo(self) -> bool:
        """Whether an undone round can be computed again."""
        return not self._accepted and bool((shown := self._timeline) and shown.future)

    # ---------------------------------------------------------------- what one can do

    def set_image(
        self, image: ArrayLike | ImagePlane, *, source: str = "", pixel_size: float | None = None
    ) -> None:
        """Take an image and drop the active object.

        Parameters
        ----------
        image : array_like of shape (H, W) or (H, W, C), or ImagePlane
            Any bool, integer or float type, C of 1 to 4; not copied, so set it again if it changed;
            :class:`~napari_spa.refine.engine.image_plane.ImagePlane` for pyramids and channels.
        source : str
            Names the image of all its planes: a profile counts images. A digest by default.
        pixel_size : float or None
            Side of a pixel in micrometres, where it is known: objects of other images are
            remembered as large as they really are.
        """
        checked = check_pixel_size(pixel_size)
        ahead, same = self._ahead, self._predictor.set_image(image)
        self._source, self._pixel_size = source, checked
        self._forget()
        self._ahead = ahead if same else None

    def start(
        self,
        points: Sequence[tuple[float, float]] = (),
        labels: Sequence[int] | None = None,
        box: tuple[float, float, float, float] | None = None,
        mask: ArrayLike | LocalMask | None = None,
        *,
        exact: bool = False,
        view: FieldOfView | None = None,
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
            Edges in image pixels: an image of H rows reaches from 0 to H.
        mask : array_like of shape (H, W) or None
            Non-zero is the object, roughly.
        exact : bool
            Whether the mask is recommended as it is, with alternatives around it; later clicks
            change it near by.
        view : FieldOfView or None
            Field of view; chosen from the prompts by default.
        """
        prompts = check_prompts(points, labels, box, mask, self.sampler.shape)
        if exact and prompts.mask is None:
            raise InputError("there is no mask to recommend exactly; give start(mask=...).")
        return self.start_with(replace(prompts, exact=exact), view=view, progress=progress)

    def start_with(
        self,
        prompts: Prompts,
        *,
        view: FieldOfView | None = None,
        mixture: MixtureParameters | None = None,
        progress: Progress = silent,
    ) -> Proposal:
        """Start from prompts that were checked; with the profile's preference by default."""
        from napari_spa.refine.engine.alternatives import Framed  # brings torch

        begun = time.perf_counter()
        if view is None:
            framed = self._predictor.frame(prompts, progress, expected=self.expected)
            prompts = replace(prompts, anchor=framed.anchor)
        else:
            framed = Framed(self._predictor.given(check_view(view), prompts))
        self._predictor.encode(framed.view, progress)
        encoded = time.perf_counter()
        state = self._opening(prompts, framed, self.profile, mixture)
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is framed and ahead[1].starts_as(state):
            self._rounds.keep(state, ahead[2])
        proposal = self._begin(Timeline(state), progress, learnt=0)
        self.seconds = {"encode": encoded - begun, "propose": time.perf_counter() - encoded}
        return proposal

    def _opening(
        self,
        prompts: Prompts,
        framed: Framed,
        profile: PreferenceProfile | None,
        mixture: MixtureParameters | None = None,
        number: int | None = None,
    ) -> SessionState:
        """Return the state in which an object starts, the next one by default."""
        initial = self._predictor.initial_mixture(framed.view, prompts)
        mixture = start_from(initial, profile) if mixture is None else mixture
        entropy = (self.seed, number or self._objects + 1)
        return first_state(framed, prompts, (initial, mixture), entropy)

    def look_again(
        self, state: SessionState, mask: LocalMask, *, learnt: int = 0, progress: Progress = silent
    ) -> Proposal:
        """Go on with an object that was seen with other channels or contrast, as one more round.

        ``set_image`` took the image as it is seen now, which forgot the object.  The ``mask`` that
        it showed is what one starts from if it was picked, resized or one's own.
        ``learnt`` is as for :meth:`restore`, and undo does not go back behind this round.
        """
        from napari_spa.refine.engine.alternatives import Framed  # brings torch

        prompts, anew = state.prompts_again(mask)
        framed = Framed(state.view)
        if anew:
            framed = self._predictor.frame(prompts, progress, expected=self.expected)
            prompts = replace(prompts, anchor=framed.anchor)
        self._predictor.encode(framed.view, progress)
        initial = self._predictor.initial_mixture(framed.view, prompts)
        mixture = self._predictor.refresh(state.mixture, framed.view, prompts)
        before = state.decisions
        following = first_state(
            framed, prompts, (initial, mixture), before[-1].entropy, before, searched=anew
        )
        return self._begin(Timeline(following), progress, learnt=learnt)

    def pick(self, index: int, *, progress: Progress = silent) -> Proposal:
        """Pick a candidate by its index from 0; the preference distribution learns from it."""
        state = self._choosing("pick").state
        offered = self._rounds.show(state, progress).proposal.candidates
        index = check_pick(index, len(offered))
        return self._go(self._transitions.pick(state, index, progress, adapt=self.adapt), progress)

    def click(
        self, point: tuple[float, float], label: int = 1, *, progress: Progress = silent
    ) -> Proposal:
        """Add a click, (row, column) in image pixels: 1 on the object, 0 on the background."""
        state = self._choosing("click").state
        click = check_click(point, label, self.sampler.shape)
        return self._prompt("click", state, add_clicks(state.prompts, click), progress)

    def stroke(
        self,
        path: Sequence[tuple[float, float]],
        label: int = 1,
        *,
        filled: bool = False,
        progress: Progress = silent,
    ) -> Proposal:
        """Add a brush stroke over, or a lasso around, a part of the object or the background.

        Every pixel under it, or in it, has the label from now on.  A few points become
        prompts for the network, as many as its length in the field of view deserves.

        Parameters
        ----------
        path : sequence of (row, column)
            Where the brush went, in image pixels.
        label : int
            1 on the object, 0 on the background.
        filled : bool
            Whether it is a lasso: closed, and filled.
        """
        state = self._choosing("stroke").state
        path, shape = check_path(path), self.sampler.shape
        clicks = check_stroke(path, label, shape, extent=state.view.height, filled=filled)
        prompts = add_clicks(state.prompts, *clicks)
        drawn = stroke_along(path, label, shape, filled=filled)
        prompts = replace(prompts, strokes=(*prompts.strokes, drawn))
        return self._prompt("stroke", state, prompts, progress)

    def box(
        self, box: tuple[float, float, float, float], *, progress: Progress = silent
    ) -> Proposal:
        """Add or replace the box (row0, column0, row1, column1) around the object."""
        state = self._choosing("box").state
        prompts = replace(state.prompts, box=check_box(box, self.sampler.shape))
        return self._prompt("box", state, prompts, progress)

    def edit(
        self, changes: Mapping[int, tuple[float, float] | None], *, progress: Progress = silent
    ) -> Proposal:
        """Move clicks, or take them back; a stroke goes with its clicks, and something must stay.

        ``changes`` has by the index into ``timeline.state.own_clicks`` where it is now, in image
        pixels, or None to take it back.
        """
        state = self._choosing("edit").state
        changed = check_changes(changes, state.own_clicks, self.sampler.shape)
        return self._prompt("edit", state, edit_clicks(state, changed), progress)

    def resize(self, size: float, *, progress: Progress = silent) -> Proposal:
        """Grow or shrink the recommendation to a size in [-1, 1], as ``proposal.size`` says it.

        It stays there until a pick says otherwise; what was said at single pixels and by a box
        holds at any size.  It is the same samples: nothing is decoded again.
        """
        state = self._choosing("resize").state
        return self._go(self._transitions.resize(state, check_size(size)), progress)

    def at_size(self, size: float) -> Proposal:
        """Return what ``resize(size)`` would show, and do nothing."""
        state = self._choosing("resize").state
        moved = self._transitions.resize(state, check_size(size))
        return self._predictor.propose(moved.asked).proposal

    def set_view(self, view: FieldOfView, *, progress: Progress = silent) -> Proposal:
        """Look at the same object through another field of view.

        It is moved into the image, and widened until it holds all prompts.  A model that always
        sees the whole image has no other: ``SessionError``.
        """
        state, fitted = self._choosing("set_view").state, self._predictor.fit(check_view(view))
        if self._predictor.whole_view(self.sampler, state.prompts) is not None:
            raise SessionError(f"{self.model.identity.name} always looks at the whole image.")
        return self._prompt("view", state, state.prompts, progress, fitted)

    def view_of(
        self, mask: LocalMask, *, context: float = 1.5, smallest: float = 16.0
    ) -> FieldOfView:
        """Return the field of view of an object that is known roughly, to start from.

        It is ``context`` times as wide as the mask, which is not empty, and at least ``smallest``
        pixels; of models that see whole images it is all of the image.
        """
        return self._predictor.view_of(mask, context=context, smallest=smallest)

    def undo(self, *, progress: Progress = silent) -> Proposal:
        """Go back one round; the whole state is restored."""
        timeline = self._choosing("undo")
        if not timeline.past:
            raise SessionError("there is nothing to undo; this is the first round.")
        return self._move(timeline.back(), progress)

    def redo(self, *, progress: Progress = silent) -> Proposal:
        """Take an undone round again."""
        timeline = self._choosing("redo")
        if not timeline.future:
            raise SessionError("there is nothing to redo.")
        return self._move(timeline.forward(), progress)

    def restore(
        self,
        decisions: Sequence[Decision],
        *,
        undone: int = 0,
        learnt: int = 0,
        progress: Progress = silent,
    ) -> Proposal:
        """Play decisions again: an accepted object to refine further, or a recovered one.

        The same image, model and device give the same rounds, bit for bit.

        Parameters
        ----------
        decisions : sequence of Decision
            Of one object, from its start; of each only what the user did, the seed and
            (of the first on the image as it is seen) the field of view and the mixture count.
            What is before the last ``look`` is not played, nor what comes with the next one.
        undone : int
            So many of the last rounds are undone; redo brings them back.
        learnt : int
            So much of it was put into the profile before, as
            :func:`~napari_spa.refine.session.state.known_of` counts it, and will not be again.
        """
        if not decisions or decisions[0].act != "start" or not 0 <= undone < len(decisions):
            raise InputError("an object's decisions begin with its start; nothing to restore.")
        played = self._transitions.replay(decisions, undone, progress, adapt=self.adapt)
        return self._begin(played, progress, learnt=learnt)

    def accept(self, *, pixel_size: float | None = None) -> RefinementResult:
        """Accept the recommended mask; what was learnt goes into the profile.

        ``pixel_size`` is the side of a pixel in micrometres, where it is another than
        ``set_image`` was told.
        """
        state = self._choosing("accept").state
        self._pixel_size = check_pixel_size(pixel_size) or self._pixel_size
        lesson = self._lesson(state)
        self.profile = learn(self.profile, lesson)
        self._accepted, self._profile_update = True, partial(learn, lesson=lesson)
        proposal = self._rounds.show(state).proposal
        return RefinementResult(proposal, proposal.round, state.decisions, self.profile)

    def _lesson(self, state: SessionState) -> Lesson:
        """Say what an object teaches as it is."""
        shown, first = self._rounds.show(state), self._first
        proposal = shown.proposal
        # How far out the accepted boundary lies, where that says something.
        by = boundary_shift(first, proposal, self.model.spa.config) if self.adapt else None
        mixture = self._predictor.moved(state.mixture, shown.shift)
        if by is not None:
            mixture = self._predictor.placed(mixture, state.decisions[0].mixture, by)
        return Lesson(
            replace(state, mixture=mixture),
            self.model.identity,
            known=self._learnt,
            corrected=by is not None and state.corrected,
            image=self._image,
            kind=self.sampler.image_plane.kind,
            size=state.size_of(proposal.area, self._image, self._pixel_size),
            log_area_ratio=log_area_ratio(first, proposal),
        )

    def profile_update(self) -> ProfileUpdate:
        """Return what the object accepted last teaches: from any profile, or None, to the next."""
        if self._profile_update is None:
            raise SessionError("nothing was accepted yet; call accept() first.")
        return self._profile_update

    def outline_at(self, point: tuple[float, float]) -> tuple[NDArray[np.float64], ...]:
        """Return roughly what a click would start, and do nothing; quick, for a hovering pointer.

        The outlines, (N, 2) float64 rows and columns in image pixels, come from one decoder pass
        over what is encoded already; there are none where nothing is.
        """
        click = check_click(point, 1, self.sampler.shape)
        return self._predictor.outline_at(click, self.expected)

    def look_ahead(
        self, point: tuple[float, float], *, number: int | None = None, progress: Progress = silent
    ) -> Proposal | None:
        """Return what a click would start, and have it ready: ``start`` there answers at once.

        An active object is taken to be accepted before; nothing of the session changes.  ``number``
        is the object's since the last ``set_image``, which may come once more with the same image;
        one more than now by default.  None for models that see whole images: it takes too long.
        """
        click, profile = check_click(point, 1, self.sampler.shape), self.profile
        if self.phase is Phase.CHOOSING and self._timeline is not None:
            profile = learn(profile, self._lesson(self._timeline.state))
        expected = expected_size(profile, self._image, self._pixel_size)
        framed = self._predictor.look_ahead(click, expected, progress)
        if framed is None:
            return None
        prompts = Prompts((click,), anchor=framed.anchor)
        state = self._opening(prompts, framed, profile, number=number)
        shown = self._predictor.propose(state.asked, progress)
        self._ahead = framed, state, shown
        return shown.proposal

    def prefetch(self, image: ArrayLike | ImagePlane) -> None:
        """Have another image's embedding ready, at the field of view of the active object.

        Does nothing without a cache, or for a model with fields of view and no object.
        """
        self._predictor.prefetch(image, self.view)

    @property
    def _image(self) -> str:
        """Names the image, for the profile."""
        return self._source or self.sampler.fingerprint

    def _prompt(
        self,
        act: Act,
        state: SessionState,
        prompts: Prompts,
        progress: Progress,
        view: FieldOfView | None = None,
    ) -> Proposal:
        following = self._transitions.prompt(act, state, prompts, progress, view)
        return self._go(following, progress)

    def _go(self, following: SessionState, progress: Progress) -> Proposal:
        begun = time.perf_counter()
        proposal = self._move(self._choosing("go on").push(following), progress)
        self.seconds = {"encode": 0.0, "propose": time.perf_counter() - begun}
        return proposal

    def _move(self, timeline: Timeline, progress: Progress) -> Proposal:
        """Show where the object stands, and only then let it stand there."""
        shown = self._rounds.show(timeline.state, progress)
        self._timeline = timeline
        return shown.proposal

    def _begin(self, timeline: Timeline, progress: Progress, *, learnt: int) -> Proposal:
        """Show an object, and only then make it the active one."""
        first = timeline.past[0] if timeline.past else timeline.state
        opening = None
        # Shown here, where waiting is expected: accept() answers at once.  A mask that was given
        # says nothing about the model's own.
        if not learnt and first.number == 1 and not first.prompts.exact:
            opening = self._rounds.show(first, progress)
        proposal = self._move(timeline, progress)
        self._accepted, self._learnt, self._first = False, learnt, opening
        self._objects += 1
        return proposal

    def _choosing(self, act: str) -> Timeline:
        if self._timeline is None or self._accepted:
            if self.phase is Phase.NO_IMAGE:
                raise SessionError(f"cannot {act} yet; call set_image(image), then start(...).")
            raise SessionError(f"cannot {act} yet; start an object with start(points=...).")
        return self._timeline
