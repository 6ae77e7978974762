"""Work as it is done: kept away from the user's data, found again, offered, brought back."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import counted
from napari_spa.core.types import LocalMask, Proposal
from napari_spa.errors import DataError, InputError, SpaError
from napari_spa.io.event_log import (
    LOG_NAME,
    RecordLog,
    WorkFolder,
    each_record,
    left_behind,
    read_log,
    read_records,
    records_in,
)
from napari_spa.refine.annotation.objects import new_group
from napari_spa.refine.log.journal import ImageFacts, image_facts, made_with, read_journal
from napari_spa.refine.session.state import known_of
from napari_spa.viewer.annotation.display import looked
from napari_spa.viewer.annotation.round import ActiveObject
from napari_spa.viewer.layers.label_storage import LabelStore, StoreSurface, make_label_store
from napari_spa.viewer.layers.planes import (
    channel_axis,
    image_plane_of,
    logged_display,
    plane_on_slider,
    show_plane,
    shown_plane,
    spatial_shape,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_spa.core.plane import Plane
    from napari_spa.io.models.registry import ModelIdentity
    from napari_spa.io.profiles import PreferenceProfile
    from napari_spa.refine.annotation.objects import AnnotatedObject, Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.log.journal import LoggedSession
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage

_logger = logging.getLogger(__name__)


class LogLocation(Protocol):
    """Where the work on one image is kept: a folder of its own, or a project's."""

    @property
    def log(self) -> Path:
        """The log of what was done."""

    @property
    def profile(self) -> Path:
        """The preference profile as it was learnt."""

    def open(self, failed: Callable[[str], None], mended: Callable[[str], None]) -> RecordLog:
        """Return a log to append to; see :class:`RecordLog`."""

    def close(self, log: RecordLog) -> None:
        """Write what is left of the log and let go of the place."""


@dataclass(frozen=True, slots=True)
class RecoveryOffer:
    """Work on an image that was left behind."""

    path: Path  # its folder
    objects: int  # number of accepted objects
    active_round: int  # round of the active object; 0 without one
    age: float  # seconds since it was written to
    crashed: bool  # whether the window was not closed in order


@dataclass(frozen=True, slots=True, eq=False)
class Recovered:
    """Work read again, ready to be shown."""

    folder: LogLocation  # held by this process now
    session: LoggedSession  # objects and the active one
    store: LabelStore  # their labels
    profile: PreferenceProfile | None  # what was learnt


class AutosaveManager:
    """Keep a log for each annotated image."""

    def __init__(
        self,
        root: Path | None,
        failed: Callable[[str], None],
        mended: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.root = root
        self._failed, self._mended = failed, mended
        self._held: dict[int, tuple[LogLocation, RecordLog]] = {}
        self._models: dict[int, ModelIdentity] = {}
        self._refused = False  # there is no room for a log; said once until there is

    def begin(self, annotated: AnnotatedImage, model: ModelIdentity | None = None) -> None:
        """Start an image's log, unless it has one; say in it which model goes on, if one does."""
        new = not annotated.logged
        if new:
            location = annotated.location or self._make_location()
            if location is None:  # tried again with the next round
                return
            self._hold(annotated, location)
        elif model in (None, self._models.get(id(annotated))):
            return
        annotated.journal.begin(annotated.facts, model)
        if model is not None:
            self._models[id(annotated)] = model
        if not new:
            return
        # What was done while there was no log.
        for plane, labels in annotated.labels_in_use():
            annotated.journal.edit(plane, labels)
        for number, note in annotated.annotation.notes.items():
            annotated.journal.describe(number, note.name, note.class_name, None)

    def resume(self, annotated: AnnotatedImage, recovered: Recovered) -> None:
        """Go on with the log of recovered work."""
        self._hold(annotated, recovered.folder)

    def save_profile(self, annotated: AnnotatedImage, profile: PreferenceProfile) -> None:
        """Keep what was learnt; in the log's thread."""
        opened = self._held.get(id(annotated))
        if opened is None:
            return
        folder, log = opened

        def write() -> dict[str, object]:
            profile.save(folder.profile, within=folder.profile.parent)
            return {"kind": "profile", "picks": profile.picks, "images": profile.images}

        log.append(write)

    def log_of(self, annotated: AnnotatedImage) -> Path | None:
        """Return the log of an image, where it is kept."""
        opened = self._held.get(id(annotated))
        return None if opened is None else opened[0].log

    def flush(self) -> None:
        """Wait until everything so far is on disk."""
        for _, log in self._held.values():
            log.flush()

    def end(self, annotated: AnnotatedImage) -> None:
        """Close an image's log in order."""
        opened = self._held.pop(id(annotated), None)
        self._models.pop(id(annotated), None)
        if opened is None:
            return
        location, log = opened
        annotated.journal.note("closed")
        annotated.unlog()
        location.close(log)

    def offers(
        self, facts: ImageFacts, axes: tuple[int, int], fingerprint: Callable[[Plane, object], str]
    ) -> list[RecoveryOffer]:
        """Find work on an image that was left behind, the latest first; for the worker.

        ``fingerprint`` digests a plane as a log says that it was looked at.
        """
        if self.root is None:
            return []
        found = []
        for path in left_behind(self.root):
            try:
                log = path / LOG_NAME
                content = read_log(log)
                # Most logs are of other images, which their beginnings say.
                if not _same_image(image_facts(each_record(content))[0], facts):
                    continue
                records = records_in(content, log)
                surface = StoreSurface(make_label_store(facts.shape, axes=axes))
                session = read_journal(records, surface)
                seen = list(session.fingerprints.items())[:1]
                if any(fingerprint(p, session.looks.get(p)) != f for p, f in seen):
                    continue
                active, count = session.active, len(session.annotation.objects)
                if active is None and not count:
                    continue
                age = time.time() - log.stat().st_mtime
                rounds = 0 if active is None else max(active.round, 1)
                found.append(RecoveryOffer(path, count, rounds, age, not session.closed))
            except (DataError, OSError) as error:
                _logger.info("%s is passed over: %s", path, error)
        return found

    def recover(
        self, offer: RecoveryOffer, shape: tuple[int, ...], axes: tuple[int, int]
    ) -> Recovered:
        """Read left-behind work; for the worker."""
        from napari_spa.io.profiles import PreferenceProfile

        folder = WorkFolder(offer.path)
        try:
            store = make_label_store(shape, axes=axes)
            session = read_journal(read_records(folder.log), StoreSurface(store))
            profile = None
            if folder.profile.exists():
                profile = PreferenceProfile.load(folder.profile)
        except BaseException:
            folder.release()
            raise
        return Recovered(folder, session, store, profile)

    def forget(self, path: Path) -> None:
        """Delete left-behind work, by its folder."""
        WorkFolder(path).delete()

    def _make_location(self) -> LogLocation | None:
        """Make a folder for an image's work; say so once where that cannot be."""
        if self.root is None:
            return None
        try:
            location = WorkFolder.create(self.root)
        except DataError as error:
            if not self._refused:
                self._refused = True
                self._failed(f"your work cannot be saved as you go: {error}")
            return None
        if self._refused:
            self._refused = False
            self._mended("your work is saved again.")
        return location

    def _hold(self, annotated: AnnotatedImage, location: LogLocation) -> None:
        log = location.open(self._failed, self._mended)
        self._held[id(annotated)] = location, log
        annotated.log_to(log)


def _same_image(logged: ImageFacts, facts: ImageFacts) -> bool:
    """Tell whether two images may be one: same size and type, same file or same name."""
    if (logged.shape, logged.dtype) != (facts.shape, facts.dtype):
        return False
    return logged.path == facts.path if logged.path and facts.path else logged.name == facts.name


class Recovery(QObject):
    """Work on the images of a viewer that an earlier window left behind."""

    # What was found for the image that is annotated: a list of ``Offer``, or none.
    offered = Signal(object)
    restored = Signal()  # work is back, and the image may be looked at as it was
    _looked = Signal(object, object)  # from the idle thread

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._found: WeakKeyDictionary[AnnotatedImage, list[RecoveryOffer]] = WeakKeyDictionary()
        self._latest: ReferenceType[AnnotatedImage] | None = None  # whose offers are on show
        self._looked.connect(self._on_looked)

    def look(self, annotated: AnnotatedImage) -> None:
        """Look for work on an image, once; offer it until each is answered."""
        controller = self._controller
        autosave, image, look = controller.autosave, annotated.image, annotated.look
        choices = annotated.choices()
        before = None if self._latest is None else self._latest()
        self._latest = ref(annotated)
        if annotated is before:
            return
        if before is not None and self._found.get(before):
            self.offered.emit([])  # they are of another image
        if annotated in self._found:
            self._on_looked(annotated, self._found[annotated])
            return
        if annotated.location is not None or autosave.root is None:
            return
        plane = plane_on_slider(controller.viewer, image)
        if plane is None:
            return
        axes = plane.axes
        self._found[annotated] = []
        facts = annotated.facts

        def job(progress: Progress) -> None:
            def fingerprint(plane: Plane, logged: object) -> str:
                before = logged_display(image, plane, logged, look, choices)
                return image_plane_of(image, plane, before).fingerprint()

            offers = autosave.offers(facts, axes, fingerprint)
            self._looked.emit(annotated, offers)

        # No one waits for it, but a click that comes before it must not cost the offer.
        controller.worker.submit_idle(job, surely=True)

    def recover(self, offer: RecoveryOffer) -> None:
        """Bring work back: objects, labels, profile and the active object.

        Objects that there are already are added to those that come back.
        """
        controller, annotated = self._controller, self._controller.current
        if annotated is None or not controller.free():
            return
        if offer not in self._found.get(annotated, ()):
            controller.failed.emit("that is work on another image; choose the image first.")
            return
        controller.images.painting.flush()
        shape, axes = (
            spatial_shape(annotated.image),
            shown_plane(controller.viewer, annotated.image).axes,
        )
        controller.status_message.emit("Bringing your work back…")
        # Where no one hears of it, the folder is let go of with what was read.
        controller.submit(
            lambda progress: controller.autosave.recover(offer, shape, axes),
            lambda recovered: self._take_back(annotated, offer, recovered),
        )

    def forget(self, offer: RecoveryOffer) -> None:
        """Delete left-behind work."""
        try:
            self._controller.autosave.forget(offer.path)
        except SpaError as error:
            self._controller.failed.emit(str(error))
        self.postpone(offer)

    def postpone(self, offer: RecoveryOffer) -> None:
        """Offer work no more in this window."""
        for offers in self._found.values():
            if offer in offers:
                offers.remove(offer)
        current = self._controller.current
        self.offered.emit([] if current is None else list(self._found.get(current, ())))

    def _on_looked(self, annotated: AnnotatedImage, offers: list[RecoveryOffer]) -> None:
        self._found[annotated] = offers
        if annotated is not self._controller.current:
            return
        self.offered.emit(list(offers))
        left, annotated.left = annotated.left, None
        mine = [] if left is None else [offer for offer in offers if offer.path == left[0]]
        if mine and self._controller.free():
            # A dock of this window was closed, and here is another: it goes on.
            annotated.left = left
            self.recover(mine[0])
        elif left is not None:
            self._controller.images.get_ready()

    def _take_back(
        self, annotated: AnnotatedImage, offer: RecoveryOffer, recovered: Recovered
    ) -> None:
        """Go on with work that was left behind, and with what was done since."""
        autosave, log = self._controller.autosave, self._controller.autosave.log_of(annotated)
        since = _pixels_of(annotated)
        autosave.end(annotated)  # and begin the other log; this one stays until all of it is there
        whole = self.resume(annotated, recovered, since=since)
        self.postpone(offer)
        if log is not None and whole:
            autosave.flush()
            autosave.forget(log.parent)

    def resume(
        self,
        annotated: AnnotatedImage,
        recovered: Recovered,
        *,
        words: str = "Your work is back",
        since: _Pixels = (),
    ) -> bool:
        """Show work that was read again, and go on with its log.

        Objects made ``since`` are added to it; tells whether they all could be, whole.
        """
        controller, logged = self._controller, recovered.session
        annotated.restore(logged.annotation, recovered.store)
        controller.autosave.resume(annotated, recovered)
        if since and controller.session is not None:  # whose they are
            controller.autosave.begin(annotated, controller.session.model.identity)
        active = logged.active
        first = 1 if active is None else active.number + 1
        left_out = _add(annotated, since, max(annotated.annotation.next_number, first))
        controller.objects_changed.emit()
        self.restored.emit()
        apart = f" {counted(left_out, 'pixel')} of new objects lay on earlier ones."
        back = f"{words}: {counted(len(annotated.annotation.objects), 'object')}."
        controller.status_message.emit(f"{back}{apart if left_out else ''}")
        if recovered.profile is not None:
            controller.profiles.adopt(recovered.profile)
        # What was added since ended the current object in the log: it is written again.
        self._resume_current(annotated, recovered, known=not since)
        return not left_out

    def _resume_current(
        self, annotated: AnnotatedImage, recovered: Recovered, *, known: bool
    ) -> None:
        """Play the current object of a log again, if any; one not ``known`` is written anew."""
        controller, active = self._controller, recovered.session.active
        if active is None or not active.decisions:
            return
        plane, sources = active.plane, (active.source, *active.looked_before)
        look, *looks = (looked(annotated, source, plane) for source in sources)
        shared = channel_axis(annotated.image)
        if shared is not None:
            plane = plane.at(shared, 0)
        # A user's choice; one channel of several may only have been on show, and there it is again.
        if look.channels.axis is None or len(look.channels.chosen or ()) > 1:
            annotated.display = replace(annotated.display, channels=look.channels)
        show_plane(controller.viewer, annotated.image, plane, look)
        accepted = annotated.annotation.objects.get(active.number) if active.reopened else None
        part = None if accepted is None else accepted.on(plane)
        learnt = 0 if part is None else known_of(part.reopens_with)

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            return session.restore(
                active.decisions, undone=active.undone, learnt=learnt, progress=progress
            )

        def anew(session: RefinementSession, progress: Progress) -> Proposal:
            prompts = active.decisions[len(active.decisions) - active.undone - 1].prompts
            return session.start_with(replace(prompts, anchor=None), progress=progress)

        again = ActiveObject(
            active.number,
            plane,
            learnt=learnt,
            reopened=active.reopened,
            look=look,
            looks=tuple(looks),
            model=made_with(recovered.session.model),
        )
        controller.begin(annotated, again, action, otherwise=anew, known=known)


_Pixels = Sequence[tuple["AnnotatedObject", Sequence[tuple["Part", LocalMask]]]]


def _pixels_of(annotated: AnnotatedImage) -> _Pixels:
    """Return the objects of an image, and what they fill on each plane."""
    found = []
    with annotated.bare():
        for held in annotated.annotation.objects.values():
            masks = [(p, annotated.annotation.pixels(held.number, p.plane)) for p in held.parts]
            found.append((held, [(part, mask) for part, mask in masks if mask is not None]))
    return found


def _add(annotated: AnnotatedImage, objects: _Pixels, number: int) -> int:
    """Add objects to others, as one act; return how many pixels the others have already."""
    group, left_out = new_group(), 0
    for held, parts in objects:
        for part, mask in parts:
            with suppress(InputError):  # no pixel is left
                annotated.write(
                    number, part, mask, "protect", group=group, class_name=held.class_name
                )
            kept = annotated.annotation.pixels(number, part.plane)
            left_out += mask.area - (0 if kept is None else kept.area)
        if number in annotated.annotation.objects:
            if held.name:
                annotated.describe(number, name=held.name, group=group)
            number += 1
    return left_out
