"""A round on show and its object; acts that wait or cannot be done; what undo brings back."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import capitalised, counted, describe_difference
from napari_spa.core.types import LocalMask, Proposal
from napari_spa.errors import ModelError, SpaError
from napari_spa.io.models.registry import file_digest, find_model
from napari_spa.refine.session.session import RefinementSession
from napari_spa.refine.session.state import known_of
from napari_spa.viewer.background import later
from napari_spa.viewer.compat import load_torch, old_objects
from napari_spa.viewer.layers.candidates import Drawing, draw_candidate
from napari_spa.viewer.layers.planes import plane_on_slider, slice_in_words

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_spa.core.plane import Plane
    from napari_spa.io.models.load import LoadedModel
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.refine.annotation.annotation import Annotation
    from napari_spa.refine.annotation.objects import Change, Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.engine.view import ImageSampler
    from napari_spa.refine.session.acts import Decision
    from napari_spa.refine.session.state import Timeline
    from napari_spa.viewer.layers.planes import DisplaySettings
    from napari_spa.viewer.profiles.active import Taught
    from napari_spa.viewer.settings import Settings


_QUICK = 512
"""Models that look at more pixels a side are not rehearsed: that would take as long as a click."""

SessionFactory = Callable[[str], RefinementSession]
"""Makes a session from a model's name or path."""


@old_objects.imported()
def make_session(model: str, settings: Settings | None = None) -> RefinementSession:
    """Load a model and return a session for it."""
    load_torch()
    from napari_spa.io.embeddings import EmbeddingCache, default_folder
    from napari_spa.io.models.load import load_model
    from napari_spa.viewer.settings import Settings

    settings = settings or Settings()
    loaded = load_model(model, device=settings.device)
    folder = default_folder() if settings.cache_on_disk else None
    cache = EmbeddingCache(folder, disk_bytes=int(settings.cache_gigabytes * 1e9))
    return RefinementSession(loaded, cache=cache)


@old_objects.imported()
def rehearse(session: RefinementSession, progress: Progress) -> None:
    """Play a round on noise with a session's model, so that the first click is no slower.

    What is imported and compiled at first use is there then; the session stays as it is.
    """
    size = session.model.config.image_size
    if size > _QUICK:
        return
    trial = RefinementSession(session.model, config=session.config)
    trial.set_image(np.random.default_rng(0).random((size // 2, size // 2), dtype=np.float32))
    render_round(trial, trial.start([(size / 4, size / 4)], progress=progress))


class ActiveModel:
    """Keep the session of the model in use; others stay while an object is at work with them."""

    def __init__(self, factory: SessionFactory, equip: Callable[[RefinementSession], None]) -> None:
        self.factory, self._equip = factory, equip
        self.name = "spa-tiny"
        self._latest: RefinementSession | None = None
        # By the name that was asked for, and by what each is.
        self._alive: WeakValueDictionary[object, RefinementSession] = WeakValueDictionary()
        self._names: dict[ModelIdentity, str] = {}
        self._loading = Lock()

    @property
    def session(self) -> RefinementSession | None:
        """The session of this model, once it is loaded."""
        return self._alive.get(self.name)

    def use(self, name: str) -> None:
        """Use another model."""
        self.name = name
        self._latest = self.session or self._latest

    def loader(self, made: ModelIdentity | None = None) -> Callable[[Progress], RefinementSession]:
        """Return what loads the model where it is not loaded; for the worker.

        For an object that was ``made`` with a model, that one; ``ModelError`` where it is gone.
        """
        name, factory, alive = self.name, self.factory, self._alive

        def load(progress: Progress) -> RefinementSession:
            asked = name if made is None else self._names.get(made) or _name_here(made, name)
            session = alive.get(made or asked)
            if made is None and session is not None and _is_replaced(session.model):
                del alive[asked]
                session = None
            if session is None:
                progress(0.0, "loading the model")
                with self._loading:  # who clicks while it is loaded ahead waits for that
                    session = alive.get(made or asked) or factory(asked)
                    alive.setdefault(asked, session)
                    alive[session.model.identity] = session
            self._latest = session
            identity = session.model.identity
            self._names[identity] = asked
            if made is not None and not made.interchangeable(identity):
                raise ModelError(
                    f"this object was made with {made.name}, which is not here with the same "
                    "weights any more; choose its file under Model."
                )
            if session is self.session:
                self._equip(session)
            return session

        return load

    def rehearsal(self) -> Callable[[Progress], None]:
        """Return what loads the model and plays a round on noise; for the worker."""
        load = self.loader()
        return lambda progress: rehearse(load(progress), progress)


def _name_here(made: ModelIdentity, name: str) -> str:
    """Return what a model of another day is asked for by; the name in use where it is not here."""
    try:
        return find_model(made.name).name
    except SpaError:
        return name


def _is_replaced(model: LoadedModel) -> bool:
    """Tell whether a model's file holds other weights by now."""
    try:
        return model.path is not None and file_digest(model.path) != model.identity.sha256
    except SpaError:  # it is gone; what is loaded serves on
        return False


@dataclass(frozen=True, slots=True, eq=False)
class RenderedRound:
    """One round, ready to be shown."""

    session: RefinementSession  # where it comes from
    proposal: Proposal  # the recommendation and candidates
    timeline: Timeline  # the states of the object
    mask: LocalMask  # the recommended mask
    drawn: tuple[Drawing, ...]  # the candidates' polygons
    pictures: tuple[NDArray[np.uint8], ...]  # (S, S, 3): the recommendation, then the candidates
    words: tuple[str, ...]  # what each candidate would change
    # A shuffled order of candidates and, as -1, the recommendation, for blind reading.
    order: tuple[int, ...]
    # For blind reading: pictures are outlines, nothing is drawn in the image, no words.
    blind: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ActiveObject:
    """The object a user is working on."""

    number: int  # its label
    plane: Plane  # where it is
    shown: RenderedRound | None = None  # its present round; None until the first one arrives
    learnt: int = 0  # how much of it the profile knows already, as `known_of` counts
    reopened: bool = False  # whether it was accepted before
    # How its plane is looked at, from its start on: rounds are computed so.
    look: DisplaySettings | None = None
    looks: tuple[DisplaySettings, ...] = ()  # and before each of the latest ``look`` of its acts
    ahead: DroppedObject | None = None  # what redo brings back after undo took a ``look`` back
    model: ModelIdentity | None = None  # that it was begun with, once its first round is there
    blind: bool = False  # whether it is read blind, from its start on
    # The class it had before undo took its accept back; None: that of new objects.
    class_name: str | None = None
    taken: bool = False  # whether the recommendation was chosen among the masks of a blind round
    # Pixels that accepting the round on show would write: those of earlier objects are left out
    # where they are protected.
    area: int = 0

    @property
    def decided(self) -> bool:
        """Whether it may be accepted: read blind, only once it was chosen."""
        return self.shown is not None and (self.taken or not self.blind)

    @property
    def looked_again(self) -> bool:
        """Whether undo goes back to how it was looked at before."""
        timeline = None if self.shown is None else self.shown.timeline
        if timeline is None or timeline.past or not self.looks:
            return False
        return timeline.state.decisions[-1].act == "look"

    @property
    def looks_again(self) -> DroppedObject | None:
        """What redo brings back: nothing was done since undo took a ``look`` back."""
        timeline, ahead = None if self.shown is None else self.shown.timeline, self.ahead
        if timeline is None or ahead is None or timeline.future:
            return None
        count = len(timeline.state.decisions)
        same = same_acts(timeline.state.decisions, ahead.decisions[:count])
        return ahead if same and ahead.decisions[count].act == "look" else None

    def on_channels(self, axis: int) -> ActiveObject:
        """Return it on all positions along an axis, which are channels by now."""
        look, position = self.look, self.plane.index[axis]
        if look is not None and look.channels.axis is None and look.channels.chosen is None:
            channels = replace(look.channels, axis=axis, chosen=(position,))
            look = replace(look, channels=channels)  # which is what it was seen on
        return replace(self, plane=self.plane.at(axis, 0), look=look)

    def at_rest(self) -> ActiveObject:
        """Return it without its round; to come back, with the grey values that it was seen with."""
        look, shown = self.look, self.shown
        if look is not None and shown is not None:
            look = replace(look, limits=shown.session.sampler.intensity.logged or ())
        return replace(self, shown=None, look=look)

    @property
    def protected(self) -> int:
        """Pixels of the round on show that stay with earlier objects."""
        return 0 if self.shown is None else self.shown.mask.area - self.area


def render_round(
    session: RefinementSession, proposal: Proposal, *, blind: bool = False
) -> RenderedRound:
    """Make a session's present round ready; for the worker."""
    from napari_spa.refine.engine.previews import round_images  # brings torch

    timeline = session.timeline
    if timeline is None:
        raise RuntimeError("a session that proposes has a timeline")
    count = len(proposal.candidates)
    # With the image, or the first round of each image's first object would be in one order.
    entropy = (timeline.state.seed, int(session.sampler.fingerprint, 16))
    shuffled = np.random.default_rng(entropy).permutation(count + 1) - 1
    offered = () if blind else proposal.candidates
    return RenderedRound(
        session=session,
        proposal=proposal,
        timeline=timeline,
        mask=LocalMask.crop(proposal.local_mask, proposal.region),
        drawn=tuple(draw_candidate(candidate) for candidate in offered),
        pictures=round_images(session.sampler, proposal, blind=blind),
        words=tuple(describe_difference(candidate) for candidate in offered),
        order=tuple(int(k) for k in shuffled),
        blind=blind,
    )


HINT_CHOOSE = (
    "Pick a candidate, accept, or click on the next object. "
    "A click nearby adds a part, Shift+click takes one away."
)


def on_another_slice(image: Image, active: ActiveObject) -> str:
    """Say what can be done about a current object that is not on the slice on show."""
    return (
        f"the current object is on {slice_in_words(image, active.plane)}; go back there, "
        "accept or discard it, or Ctrl+click to accept it and start the next one."
    )


def hint_of(
    viewer: ViewerModel, choice: tuple[Any, ActiveObject, RenderedRound], accepted: Change | None
) -> str:
    """Say what to do in a round of a ``Choice``, and what its click ``accepted``; or where."""
    annotated, active, shown = choice
    if plane_on_slider(viewer, annotated.image) not in (None, active.plane):
        return capitalised(on_another_slice(annotated.image, active))
    layer = annotated.mask.known
    if layer is not None and not layer.visible:
        return f"{layer.name} is hidden: press its eye in the layer list to see the mask."
    hint = HINT_CHOOSE
    if shown.blind:
        hint = "Choose the mask that you want."
    elif shown.proposal.certain:
        hint = "The model is certain: accept, or click to correct it."
    if accepted is not None and shown.proposal.round == 1:
        hint = f"Object {accepted.number} accepted; Undo goes back to it. {hint}"
    if active.looked_again:
        return f"Seen as you look at the image now; Undo goes back. {hint}"
    if active.looks_again is not None:
        return f"Seen as before; from the next object on as you look at the image now. {hint}"
    return hint


def display_record(look: DisplaySettings, sampler: ImageSampler) -> dict[str, Any]:
    """Say for the log which plane was looked at, and how."""
    channels = look.channels
    return {
        "image": sampler.fingerprint,
        "look": {
            "channels": channels.chosen,
            "axis": channels.axis,
            "limits": sampler.intensity.logged,
            **({"layers": [str(o.name) for o in channels.others]} if channels.others else {}),
        },
    }


@dataclass(frozen=True, slots=True, eq=False)
class DroppedObject:
    """An object that was the active one, and how to make it so again."""

    active: ActiveObject
    decisions: tuple[Decision, ...]  # of all its rounds, undone ones too
    undone: int  # how many of them are
    follows: Change | None  # what the click that started it accepted
    after: Change | None  # the last act on objects when it was dropped
    strokes: int  # and the strokes that were painted since that act


class ActRecord:
    """What undo and redo need to know of one image, beside the changes of its objects."""

    def __init__(self) -> None:
        # Of each object whose first click also accepted the one before it: that change.
        self.followed: dict[int, Change] = {}
        # What undo brings back, and what redo does after each act that was taken back.
        self.discarded: DroppedObject | None = None
        self.stopped_at: RenderedRound | None = None  # the first round that undo stopped at
        self.ahead: dict[Change, DroppedObject] = {}
        # What acts taught a profile, and what was taken back with them, while they are known.
        self.taught: WeakKeyDictionary[Change, Taught] = WeakKeyDictionary()
        self.untaught: WeakKeyDictionary[Change, Taught] = WeakKeyDictionary()
        self.accepted: WeakKeyDictionary[Change, ActiveObject] = WeakKeyDictionary()  # at rest
        # Of what was accepted while nothing was to be taught: how much of it was known before.
        self.not_taught: WeakKeyDictionary[Change, int] = WeakKeyDictionary()

    def remember(self, change: Change, taught: Taught | None, known: int) -> None:
        """Keep what an accepted object taught; or, of one that taught nothing, what was known."""
        if taught is None:
            self.not_taught[change] = known
        else:
            self.taught[change] = taught

    def known_of(self, part: Part) -> int:
        """Return how much of what led to a part was taught, or was known before it."""
        for change, known in self.not_taught.items():
            accepted = change.accepted
            if accepted is not None and accepted.decisions is part.decisions:
                return known
        return known_of(part.decisions)

    def discard(self, dropped: DroppedObject | None, annotation: Annotation) -> bool:
        """Let undo bring an object back; False where nothing was done since it came back last."""
        if dropped is not None:
            number, plane = dropped.active.number, dropped.active.plane
            held, before = annotation.objects.get(number), self.discarded
            part = None if held is None else held.on(plane)
            known = [] if part is None else [part.decisions]
            known += [] if before is None else [before.decisions]
            if any(same_acts(dropped.decisions, decisions) for decisions in known):
                dropped = None
        self.discarded = dropped
        return dropped is not None

    def keep_ahead(self, dropped: DroppedObject, annotation: Annotation) -> None:
        """Let redo bring an object back after the act it follows, which undo is to take back."""
        if annotation.last_undone is None:
            self.ahead.clear()  # what was to come then does not come any more
        if dropped.follows is not None:
            self.ahead[dropped.follows] = dropped

    def follow(self, dropped: DroppedObject) -> None:
        """Remember again what the click that started an object accepted."""
        if dropped.follows is not None:
            self.followed[dropped.active.number] = dropped.follows

    def forget_dropped(self) -> None:
        """Let nothing that was dropped come back."""
        self.discarded = None
        self.ahead.clear()


def same_acts(one: Sequence[Decision], other: Sequence[Decision]) -> bool:
    """Tell whether decisions are the same acts, played again or not."""
    return [(d.seed, d.time) for d in one] == [(d.seed, d.time) for d in other]


P = ParamSpec("P")
T = TypeVar("T")


def says_why_not(act: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T | None]:
    """Let an act say in the dock why it cannot be done, and do nothing then.

    It is a method of what has an ``AnnotationController`` as its ``_controller``.
    """

    @wraps(act)
    def attempt(actor: Any, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return act(actor, *args, **kwargs)
        except SpaError as error:
            actor._controller.failed.emit(str(error))  # noqa: SLF001
            return None

    return attempt


MOST_WAITING = 20
"""Acts that wait for a round; who did more would not know any more what is going to happen."""


class WaitingActs(QObject):
    """What a user did while a round was computed: done in its order, each after the one before.

    A pick does not wait: it is about the candidates that are seen.
    """

    changed = Signal(str)  # another act waits, or one was done; how many wait, in a sentence

    def __init__(self, working: Callable[[], bool], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._working = working
        self._acts: deque[tuple[Callable[[], object], bool]] = deque()  # whether it is an undo
        self._doing = False
        self._next_due = later(self, self._on_next)

    @property
    def due(self) -> bool:
        """Whether what a user does now comes after an act that waits."""
        return bool(self._acts) and not self._doing

    def put(self, act: Callable[[], object], *, undo: bool = False) -> bool:
        """Let an act wait, where it has to; tell whether it has."""
        if not self._working() and not self.due:
            return False
        full = len(self._acts) == MOST_WAITING
        if not full:
            self._acts.append((act, undo))
        self._say("; this one was not taken" if full else "")
        return True

    def take_back(self) -> bool:
        """Drop the latest act that waits, unless it takes something back itself."""
        if not self.due or self._acts[-1][1]:
            return False
        self._acts.pop()
        self._say()
        return True

    def clear(self) -> str:
        """Let nothing wait; return what was dropped, in a sentence."""
        count = len(self._acts)
        self._acts.clear()
        self._next_due.stop()
        were = "were" if count > 1 else "was"
        return f"{counted(count, 'act')} that waited {were} dropped. " if count else ""

    def go_on(self, _: object = None) -> None:
        """Do the next act, once all that hear of the round have heard of it."""
        if self._acts:
            self._next_due.start()

    def _on_next(self) -> None:
        if not self._acts or self._working():
            return
        act, _ = self._acts.popleft()
        self._doing = True
        try:
            act()
        finally:
            self._doing = False
        self._say()
        self.go_on()

    def _say(self, also: str = "") -> None:
        count = len(self._acts)
        waits = f"{counted(count, 'act')} {'waits' if count == 1 else 'wait'}{also}."
        self.changed.emit(waits if count else "")


_logger = logging.getLogger(__name__)
_STEP_MS = 10  # long enough for the window to paint one part of a round before the next


class RoundRenderer(QObject):
    """Draw the parts of one round in turn."""

    done = Signal(object)  # all parts of this ``RenderedRound`` are drawn, or as many as can be
    failed = Signal(str)  # A part could not be drawn, and why, in one sentence; after ``done``

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._under_way: tuple[Iterator[None], RenderedRound] | None = None
        self._next_due = later(self, self._on_next, _STEP_MS)

    @property
    def active(self) -> bool:
        """Whether there are parts to draw."""
        return self._under_way is not None

    def begin(self, parts: Iterator[None], shown: RenderedRound) -> None:
        """Draw a round; one that is being drawn is dropped."""
        self._under_way = parts, shown
        self._next_due.start()

    def drop(self) -> None:
        """Draw no more of it."""
        self._under_way = None
        self._next_due.stop()

    def _on_next(self) -> None:
        if self._under_way is None:
            return
        parts, shown = self._under_way
        try:
            next(parts)
        except StopIteration:
            self._end(shown)
        except Exception as error:
            _logger.exception("a part of a round could not be shown")
            self._end(shown)
            self.failed.emit(f"a part could not be drawn ({error}); the dock shows it.")
        else:
            self._next_due.start()

    def _end(self, shown: RenderedRound) -> None:
        self._under_way = None
        self.done.emit(shown)
