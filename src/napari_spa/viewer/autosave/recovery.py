"""Offer work that was left behind, and bring it back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import counted
from napari_spa.core.types import LocalMask, Proposal
from napari_spa.errors import InputError, SpaError
from napari_spa.refine.annotation.objects import new_group
from napari_spa.refine.session.state import known_of
from napari_spa.viewer.annotation.round import ActiveObject
from napari_spa.viewer.layers.planes import (
    fellow_channels,
    image_plane_of,
    logged_display,
    plane_on_slider,
    show_plane,
    shown_plane,
    spatial_shape,
)

if TYPE_CHECKING:
    from napari_spa.core.plane import Plane
    from napari_spa.refine.annotation.objects import AnnotatedObject, Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.autosave.autosave import Recovered, RecoveryOffer


class Recovery(QObject):
    """Work on the images of a viewer that an earlier window left behind."""

    # What was found for the image that is annotated: a list of ``Offer``, or none.
    offered = Signal(object)
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
        others = fellow_channels(controller.viewer.layers, image)
        before = None if self._latest is None else self._latest()
        self._latest = ref(annotated)
        if annotated is before:
            return
        if before is not None and self._found.get(before):
            self.offered.emit([])  # they are of another image
        if annotated in self._found:
            self._on_looked(annotated, self._found[annotated])
            return
        if autosave.placed(annotated) or autosave.root is None:
            return
        plane = plane_on_slider(controller.viewer, image)
        if plane is None:
            return
        axes = plane.axes
        self._found[annotated] = []
        facts = annotated.facts

        def job(progress: Progress) -> None:
            def fingerprint(plane: Plane, logged: object) -> str:
                before = logged_display(image, logged, look, others)
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
        controller.submit(
            lambda progress: controller.autosave.recover(offer, shape, axes),
            lambda recovered: self._take_back(annotated, offer, recovered),
            unheard=lambda recovered: recovered.folder.release(),
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
        objects = counted(len(annotated.annotation.objects), "object")
        apart = f" {counted(left_out, 'pixel')} of new objects lay on earlier ones."
        controller.status_message.emit(f"{words}: {objects}.{apart if left_out else ''}")
        if recovered.profile is not None:
            controller.profiles.adopt(recovered.profile)
        if active is None or not active.decisions:
            return not left_out
        others = fellow_channels(controller.viewer.layers, annotated.image)
        look = logged_display(annotated.image, active.source.get("look"), annotated.look, others)
        # The limits are of the object that comes back.
        annotated.display = replace(look, limits=None)
        if look.channels.axis is not None:
            annotated.share_channels(look.channels.axis)
        show_plane(controller.viewer, annotated.image, active.plane)
        learnt = 0
        if active.reopened:
            accepted = annotated.annotation.objects.get(active.number)
            part = None if accepted is None else accepted.on(active.plane)
            decisions = () if part is None else part.reopens_with
            learnt = known_of(decisions)

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            return session.restore(
                active.decisions, undone=active.undone, learnt=learnt, progress=progress
            )

        again = ActiveObject(
            active.number, active.plane, learnt=learnt, reopened=active.reopened, look=look
        )
        # What was added since ended the object in the log: it is written again.
        controller.begin(annotated, again, action, known=not since)
        return not left_out


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
                    number,
                    part,
                    mask,
                    "protect",
                    group=group,
                    class_name=held.class_name,
                )
            kept = annotated.annotation.pixels(number, part.plane)
            left_out += mask.area - (0 if kept is None else kept.area)
        if number in annotated.annotation.objects:
            if held.name:
                annotated.describe(number, name=held.name, group=group)
            number += 1
    return left_out
