"""Refine the objects of a viewer's images: clicks in, layers out, the session in between.

The one place that knows both the session and the layers; all of it runs in the main thread.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.types import LocalMask, Proposal
from napari_spa.errors import InputError, ModelError, sentence_of
from napari_spa.io.models.registry import SUFFIXES
from napari_spa.viewer.annotation.click_target import click_target, clicked_image
from napari_spa.viewer.annotation.images import AnnotatedImages, ClassList
from napari_spa.viewer.annotation.round import (
    HINT_CHOOSE,
    ActiveModel,
    ActiveObject,
    DroppedObject,
    RenderedRound,
    RoundRenderer,
    SessionFactory,
    WaitingActs,
    display_record,
    hint_of,
    make_session,
    render_round,
)
from napari_spa.viewer.autosave import AutosaveManager, Recovery
from napari_spa.viewer.background import JobHandle, Worker, nothing
from napari_spa.viewer.compat import keep_programs, old_objects
from napari_spa.viewer.layers.planes import image_plane_of, pixel_side
from napari_spa.viewer.profiles.active import ActiveProfile

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.annotation.annotation import Overlap
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.image import AnnotatedImage, Choice

    SessionCall = Callable[[RefinementSession, Progress], Proposal]

HINT_START = "Click on an object in the image."
HINT_OPEN = "Open an image, then click on an object in it."
_SAME_SIZE = 0.006  # a slider cannot be moved by less
BUSY = "Still working on the last step; wait, or press Cancel."
_PICK_LATER = "The candidates are about to change; pick once the new ones are there."


class AnnotationController(QObject):
    """Connect what a user does in one viewer to a session, objects and layers."""

    # A proposal that is shown, and all that goes with it (``RenderedRound``).
    proposed = Signal(object, object)
    masked = Signal(object)  # the mask in the image is this ``RenderedRound``'s from now on
    cleared = Signal()  # there is no active object any more
    undo_requested = Signal()  # take back what was done last: a round, or an act on objects
    redo_requested = Signal()  # do again what was taken back last
    objects_changed = Signal()  # accepted objects changed, or another image is annotated
    status_message = Signal(str)  # what happened or what to do next, in one sentence
    failed = Signal(str)  # what went wrong, in one sentence
    _troubled = Signal(str)  # from the logs' threads, as the next
    _mended = Signal(str)

    def __init__(
        self,
        viewer: ViewerModel,
        session_factory: SessionFactory = make_session,
        parent: QObject | None = None,
        *,
        work_root: Path | None = None,
    ) -> None:
        super().__init__(parent)
        keep_programs()
        self.viewer = viewer
        self.worker = Worker(self)
        self.worker.failed.connect(self._on_failed)
        self.worker.stopped.connect(self._on_stopped)
        self._owner: AnnotatedImage | None = None  # whose image the latest job is about
        # What comes back when an object cannot be started.
        self._before: ActiveObject | None = None
        self._troubled.connect(self.failed)
        self._mended.connect(self.status_message)
        self.autosave = AutosaveManager(work_root, self._troubled.emit, self._mended.emit)
        self.images = AnnotatedImages(viewer, self.autosave, self.worker, self)
        self.images.changed.connect(self.objects_changed)
        self.images.lost.connect(self._on_lost)
        self.images.noticed.connect(self.status_message)
        self.images.made.connect(self._load_ahead)
        viewer.layers.events.removing.connect(old_objects.search)
        self.cleared.connect(self.images.settle)
        self.profiles = ActiveProfile(parent=self)
        self.profiles.failed.connect(self.failed)
        self.profiles.forgotten.connect(self._on_forgotten)
        self.recovery = Recovery(self)
        self.classes = ClassList(self.images, self)
        self.classes.failed.connect(self.failed)
        self._overlap: Overlap = "protect"
        self.model = ActiveModel(session_factory, self.profiles.equip)
        # From the next object on, all masks are shown alike, and which is recommended nowhere.
        self.blind = False
        self._unready = False  # whether :meth:`get_ready` has still to load the model
        self._size: float | None = None  # the one being looked at
        self._round = RoundRenderer(self)
        self._round.done.connect(self._on_round_shown)
        self._round.failed.connect(self.failed)
        self.waiting = WaitingActs(lambda: self._working, self)
        self.waiting.changed.connect(self._on_waiting)
        self.worker.busy_changed.connect(self.waiting.go_on)
        self._round.done.connect(self.waiting.go_on)

    def get_ready(self) -> None:
        """Make the layers and load the model before the first click; no one waits for it.

        One after the other: beside an import, which holds Python's lock, the window takes
        several times as long to draw a layer for the first time.
        """
        self._unready = True
        self.images.get_ready()

    def _load_ahead(self) -> None:
        unready, self._unready = self._unready, False
        loaded = self.model.session is not None
        if loaded:
            old_objects.spare(again=False)  # layers that came since may go soon
        if unready and not loaded and not self.busy:
            self.worker.submit_idle(self.model.rehearsal())

    # ------------------------------------------------------------------ what it is now

    @property
    def said(self) -> Any:
        """Return ``status_message`` by its former name, for scripts that drive a dock."""
        return self.status_message

    @property
    def current(self) -> AnnotatedImage | None:
        """The image that is annotated."""
        return self.images.current

    @property
    def hint(self) -> str:
        """What to do next."""
        start = HINT_OPEN if self.target() is None else HINT_START
        return HINT_CHOOSE if self.choosing else start

    @property
    def selected(self) -> int | None:
        """The number of the object that was chosen last on the image that is annotated."""
        return None if self.current is None else self.current.selected

    @selected.setter
    def selected(self, number: int | None) -> None:
        if self.current is not None:
            self.current.selected = number

    @property
    def overlap(self) -> Overlap:
        """What becomes of other objects' pixels; the active object is shown so."""
        return self._overlap

    @overlap.setter
    def overlap(self, overlap: Overlap) -> None:
        changed, self._overlap = overlap != self._overlap, overlap
        if self.current is not None:
            self.current.set_overlap(overlap)
        choice = self.choice
        if changed and choice is not None and not self.busy:
            self.proposed.emit(choice.shown.proposal, choice.shown)  # other pixels are counted

    @property
    def busy(self) -> bool:
        """Whether something is under way that the next act has to wait for."""
        return self._working or self.waiting.due

    @property
    def _working(self) -> bool:
        return self.worker.busy or self._round.active or self.resizing

    @property
    def resizing(self) -> bool:
        """Whether a size is being chosen: the image shows one that was not taken yet."""
        return self._size is not None

    @property
    def active(self) -> ActiveObject | None:
        """The active object."""
        return None if self.current is None else self.current.active

    @property
    def choice(self) -> Choice | None:
        """What there is to choose: the object that is active and shown."""
        return None if self.current is None else self.current.choice

    @property
    def choosing(self) -> bool:
        """Whether an object is active and shown."""
        return self.choice is not None

    @property
    def session(self) -> RefinementSession | None:
        """The session of the active object, else of the model in use, once it is loaded."""
        choice = self.choice
        return self.model.session if choice is None else choice.shown.session

    @property
    def follows(self) -> bool:
        """Whether the click that started the current object also accepted the one before."""
        if self.choice is None:
            return False
        annotated, active, _ = self.choice
        followed = annotated.acts.followed.get(active.number)
        return followed is not None and followed is annotated.annotation.last_change

    # ------------------------------------------------------------------ choosing

    def pick(self, index: int) -> None:
        """Pick a candidate, 0-based."""
        if self.ready(_PICK_LATER) and index < len(self.shown().proposal.candidates):
            self.run(lambda session, progress: session.pick(index, progress=progress))

    def preview_size(self, size: float) -> None:
        """Show the recommendation at a size while that is being chosen; nothing is done yet."""
        choice = self.choice
        if choice is None or choice.active.blind or not (self.resizing or self.ready()):
            return
        waiting, self._size = self.resizing, size
        if not waiting or not self.worker.busy:
            self._preview_latest()

    def _preview_latest(self) -> None:
        session, annotated, size = self.session, self.current, self._size
        if session is None or annotated is None or size is None:
            return

        def job(progress: Progress) -> LocalMask:
            shown = session.at_size(size)
            return LocalMask.crop(shown.local_mask, shown.region)

        def then(mask: LocalMask) -> None:
            if self._size is not None:
                annotated.show_sized(mask)
            if self._size != size:  # it was moved on meanwhile
                self._preview_latest()

        self.submit(job, then)

    def resize(self, size: float) -> None:
        """Hold the recommendation at a size, in [-1, 1]."""
        choice = self.choice
        if not (self.resizing or self.ready()) or choice is None or choice.active.blind:
            return
        self._size = size
        if abs(size - choice.shown.proposal.size) < _SAME_SIZE:
            self._drop_work(choice.annotated)  # and with it the size
            self._size = None
            choice.annotated.show_sized(None)
            self.status_message.emit(HINT_CHOOSE)
            self.waiting.go_on()
            return
        self.run(lambda session, progress: session.resize(size, progress=progress))

    def undo(self) -> None:
        """Take back what was done last; ``undo.UndoActions`` does it."""
        self.undo_requested.emit()

    def redo(self) -> None:
        """Do again what was taken back last; ``undo.UndoActions`` does it."""
        self.redo_requested.emit()

    def choose(self, index: int) -> None:
        """Choose among what is shown: a candidate, 0-based, or after them the recommendation.

        Where all are alike, in blind mode, to choose the recommendation shows it, and then it
        can be accepted; else it is accepted at once.
        """
        choice = self.choice
        if not self.ready(_PICK_LATER) or choice is None:
            return
        if index < len(choice.shown.proposal.candidates):
            self.pick(index)
        elif choice.shown.blind:
            choice.annotated.take_recommended()
            self.status_message.emit(
                "This one is shown in the image: accept it, or choose another."
            )
        else:
            self.accept()

    def accept(self) -> bool:
        """Write the recommended mask as an object, and tell whether it was written by now."""
        if self.waits(self.accept):
            return False
        choice = self.choice
        if choice is None:
            self.status_message.emit(f"There is no object to accept. {self.hint}")
            return False
        annotated, active, shown = choice
        if not active.decided:
            self.status_message.emit("Choose one of the masks first.")
            return False
        side, rested = pixel_side(annotated.image, active.plane), active.at_rest()
        before = annotated.annotation.objects
        try:
            number, area = annotated.accept(self.overlap, self.classes.current)
        except InputError as error:
            self.failed.emit(str(error))
            return False
        self.selected = number
        profile = shown.session.accept(pixel_size=side).profile
        in_use = shown.session is self.model.session
        taught = self.profiles.learn(shown.session, known=active.learnt, in_use=in_use)
        change = annotated.annotation.last_change
        if change is not None:
            annotated.acts.remember(change, taught, active.learnt)
            annotated.acts.accepted[change] = rested
        if taught is not None and taught.path is None:
            self.autosave.save_profile(annotated, profile)
        self.cleared.emit()
        self.objects_changed.emit()
        gone = sorted(before.keys() - annotated.annotation.objects.keys())
        took = f" Replaced: {', '.join(f'object {n}' for n in gone)}." if gone else ""
        self.status_message.emit(f"Object {number} accepted, {area:,} px.{took} {HINT_START}")
        return True

    def discard(self) -> None:
        """Drop the active object, until undo, and all that waits; an accepted one stays so."""
        self.waiting.clear()
        self.discard_active()

    def discard_active(self) -> None:
        """Drop the active object, as one of the acts that wait."""
        annotated, choice = self.current, self.choice
        dropped = self.drop_active()
        if choice is not None and choice.shown is choice.annotated.acts.stopped_at:
            dropped = None  # to get at what was done before it
        back = annotated is not None and annotated.acts.discard(dropped, annotated.annotation)
        self.status_message.emit(f"{'Discarded; Undo brings it back. ' * back}{HINT_START}")

    def cancel(self) -> None:
        """Ask what is running to stop; what is done by then counts.  Nothing waits any more."""
        self.waiting.clear()
        if self.worker.busy:
            self.worker.stop()
            self.status_message.emit("Stopping…")

    def set_model(self, model: str) -> None:
        """Use another model from the next object on; the active one goes on with its own."""
        if model == self.model.name:
            return
        self.model.use(model)
        own = None if self.active is None else self.active.model
        if own is None:
            return
        name = Path(model).stem if model.endswith(SUFFIXES) else model
        words = f"{name} from the next object on; this one goes on with {own.name}."
        back = self.session is self.model.session  # the choice went back
        self.status_message.emit(HINT_CHOOSE if back else words)

    def close(self) -> tuple[str, ...]:
        """Let go of the viewer: no callback, layer or thread of ours stays but the masks."""
        self.waiting.clear()
        self._round.drop()
        self.worker.close()
        self.images.close()
        self.viewer.layers.events.removing.disconnect(old_objects.search)
        old_objects.search()
        return self.profiles.close()

    def leave(self, annotated: AnnotatedImage, *, onward: bool = False) -> None:
        """Let go of an image that goes on another day; see :meth:`AnnotatedImages.leave`."""
        self.waiting.clear()
        self._drop_work(annotated)
        self.images.leave(annotated, onward=onward)
        self.cleared.emit()
        self.objects_changed.emit()
        self.status_message.emit(HINT_START)  # what was said is about this image

    def target(self) -> Image | None:
        """Return the image a click is meant for, as :func:`click_target` says."""
        return click_target(self.viewer.layers, self.current)

    def image(self) -> Image:
        """Return the image a click is meant for; ``InputError`` without one."""
        return clicked_image(self.viewer.layers, self.current)

    def run(self, action: SessionCall) -> None:
        """Let the session do something to the active object, and show what comes of it."""
        if self.choice is not None:
            annotated, active, shown = self.choice
            session, blind = shown.session, active.blind
            self.submit(
                lambda progress: render_round(session, action(session, progress), blind=blind),
                partial(self._show, annotated),
            )

    def submit(
        self,
        job: Callable[[JobHandle], Any],
        then: Callable[[Any], None],
        *,
        on_value: Callable[[Any], None] = nothing,
    ) -> None:
        """Run a job about the image that is annotated; see :meth:`Worker.submit`.

        It is dropped when that image is left, whichever is annotated by then.
        """
        self._owner = self.current
        self.worker.submit(job, then, on_value=on_value)

    def begin(
        self,
        annotated: AnnotatedImage,
        active: ActiveObject,
        action: SessionCall,
        *,
        otherwise: SessionCall | None = None,
        known: bool = False,
    ) -> None:
        """Make an object the active one and start on it in the background.

        Where the model that it was made with is gone, ``otherwise`` is done with the one in use.
        """
        look = active.look or annotated.look
        active = replace(active, look=look, blind=self.blind)
        load = self.model.loader(active.model)
        image_plane = image_plane_of(annotated.image, active.plane, look)
        side = pixel_side(annotated.image, active.plane)
        instead = self.model.loader()

        def job(progress: Progress) -> RenderedRound:
            nonlocal known
            act = action
            try:
                session = load(progress)
            except ModelError:
                if otherwise is None:
                    raise
                session, act, known = instead(progress), otherwise, False
            progress(0.05, "reading the image")
            session.set_image(image_plane, source=annotated.source(), pixel_size=side)
            return render_round(session, act(session, progress), blind=active.blind)

        # Started again, an object that is on show comes back where that fails or is cancelled.
        self._before = annotated.active if annotated.choice is not None else None
        annotated.take(active)
        self.selected = active.number
        self.status_message.emit("Segmenting…")
        self.submit(job, lambda shown: self._show(annotated, shown, known=known))

    def _show(
        self, annotated: AnnotatedImage, shown: RenderedRound, *, known: bool = False
    ) -> None:
        """Begin to show a round, and note it in the log, which may know its decisions already."""
        if known:
            annotated.journal.continued(shown.timeline)
        active = annotated.active
        if active is None:
            return
        annotated.active = active = replace(active, model=shown.session.model.identity)
        look = active.look or annotated.look
        self.autosave.begin(annotated, shown.session.model.identity)
        looked = display_record(look, shown.session.sampler)
        annotated.journal.shown(active.number, active.plane, shown.timeline, looked)
        if shown.blind:
            annotated.journal.blind(active.number, shown.timeline.state.number, shown.order)
        self._round.begin(annotated.showing(shown, self.overlap, self.masked.emit), shown)

    def _on_forgotten(self, profile: PreferenceProfile) -> None:
        if self.current is not None:
            self.autosave.save_profile(self.current, profile)

    def _on_round_shown(self, shown: RenderedRound) -> None:
        self._size = None
        self.proposed.emit(shown.proposal, shown)
        if self.choice is not None:
            change = self.choice.annotated.annotation.last_change if self.follows else None
            self.status_message.emit(hint_of(self.viewer, self.choice, change))

    def shown(self) -> RenderedRound:
        """Return the round of the active object; ``InputError`` without one."""
        choice = self.choice
        if choice is None:
            raise InputError("there is no active object; click on one.")
        return choice.shown

    def drop_active(self) -> DroppedObject | None:
        """Drop the current object; an accepted one stays as it was accepted."""
        self._drop_work()
        annotated, active = self.current, self.active
        dropped = None if annotated is None else annotated.active_again()
        if annotated is not None and active is not None:
            annotated.journal.discard(active.number)
            annotated.acts.followed.pop(active.number, None)
            annotated.drop()
        self.cleared.emit()
        return dropped

    def _drop_work(self, annotated: AnnotatedImage | None = None) -> None:
        """Neither hear nor show what is under way, or only what is about one image."""
        if annotated is None or annotated is self._owner:
            self._size = None
            self._round.drop()
            self.worker.drop()
            self._owner = None

    def waits(self, act: Callable[[], object], *, undo: bool = False) -> bool:
        """Tell whether an act waits for what is under way; it is done when its turn comes.

        An act that was meant for an image that is not annotated any more is not done.
        """
        annotated = self.current
        return self.waiting.put(lambda: annotated is self.current and act(), undo=undo)

    def ready(self, why_not: str = BUSY) -> bool:
        """Tell whether something can be done to the active object now; say why not."""
        if self.busy:
            self.status_message.emit(why_not)
            return False
        return self.choosing

    def free(self) -> bool:
        """Tell whether another object can be taken up now; say why not."""
        if self.busy:
            self.status_message.emit(BUSY)
            return False
        if self.active is not None:
            self.status_message.emit("Accept or discard the active object first.")
            return False
        return True

    def objects_did(self, sentence: str) -> None:
        """Tell that objects changed, and how."""
        self.objects_changed.emit()
        self.status_message.emit(sentence)

    # ------------------------------------------------------------------ what happens to it

    def _on_lost(self, annotated: AnnotatedImage, sentence: str) -> None:
        """Drop what is under way on an image whose pixels are gone or others now."""
        dropped = self.waiting.clear() if annotated is self.current else ""
        self._drop_work(annotated)
        if annotated.active is not None:
            annotated.drop()
        if annotated is self.current:  # else what is done there goes on
            self.cleared.emit()
        self.status_message.emit(f"{sentence} {dropped}{self.hint}")

    def _on_waiting(self, words: str) -> None:
        if self.busy:
            self.status_message.emit(f"Still working… {words}")

    def _on_stopped(self) -> None:
        dropped = self.waiting.clear()
        self._unstarted()
        self.status_message.emit(f"Stopped. {dropped}{self.hint}")

    def _on_failed(self, error: BaseException) -> None:
        dropped = self.waiting.clear()  # they were meant for what would have come of it
        self._unstarted()
        self.failed.emit(f"{sentence_of(error)} {dropped}".strip())

    def _unstarted(self) -> None:
        """Drop an object whose first round never came; show the round that stays."""
        annotated, resizing, self._size = self._owner, self.resizing, None
        active = None if annotated is None else annotated.active
        if annotated is None or active is None:
            return
        if resizing:
            annotated.show_sized(None)
            if active.shown is not None:
                self.proposed.emit(active.shown.proposal, active.shown)
        if active.shown is not None:
            return
        before, self._before = self._before, None
        if before is None or before.shown is None:
            annotated.drop()
            self.cleared.emit()
            return
        decisions = before.shown.timeline.state.decisions
        self.begin(
            annotated,
            replace(before, shown=None),
            lambda session, progress: session.restore(
                decisions, learnt=before.learnt, progress=progress
            ),
            known=True,
        )
        self._before = None  # once
