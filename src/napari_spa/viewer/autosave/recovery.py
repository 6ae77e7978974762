"""Offer work that was left behind, and bring it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import counted
from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.image import ActiveObject
from napari_spa.viewer.layers.planes import (
    fellow_channels,
    image_plane_of,
    logged_display,
    show_plane,
    shown_plane,
    spatial_shape,
)

if TYPE_CHECKING:
    from weakref import ReferenceType

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
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
        controller.proposed.connect(lambda *_: self.offered.emit([]))

    def look(self, annotated: AnnotatedImage) -> None:
        """Look for work on an image, once; offer it while nothing was done to the image."""
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
        if autosave.placed(annotated) or autosave.root is None or not annotated.untouched:
            return
        try:
            axes = shown_plane(controller.viewer, image).axes
        except SpaError:
            return
        self._found[annotated] = []
        facts = annotated.facts

        def job(progress: Progress) -> None:
            def fingerprint(plane: Plane, logged: object) -> str:
                before = logged_display(image, logged, look, others)
                return image_plane_of(image, plane, before).fingerprint()

            offers = autosave.offers(facts, axes, fingerprint)
            self._looked.emit(annotated, offers)

        controller.worker.submit_idle(job)  # no one waits for it: a click comes first

    def recover(self, offer: RecoveryOffer) -> None:
        """Bring work back: objects, labels, profile and the active object."""
        controller, annotated = self._controller, self._controller.current
        if annotated is None or not controller.free():
            return
        if offer not in self._found.get(annotated, ()):
            controller.failed.emit("that is work on another image; choose the image first.")
            return
        if annotated.annotation.objects:
            controller.failed.emit(
                "there are objects already; delete them first, or choose Not now."
            )
            return
        shape, axes = (
            spatial_shape(annotated.image),
            shown_plane(controller.viewer, annotated.image).axes,
        )
        controller.status_message.emit("Bringing your work back…")
        controller.submit(
            lambda progress: controller.autosave.recover(offer, shape, axes),
            lambda recovered: self.resume(annotated, recovered),
            unheard=lambda recovered: recovered.folder.release(),
        )

    def forget(self, offer: RecoveryOffer) -> None:
        """Delete left-behind work."""
        try:
            self._controller.autosave.forget(offer)
        except SpaError as error:
            self._controller.failed.emit(str(error))
        for offers in self._found.values():
            if offer in offers:
                offers.remove(offer)

    def _on_looked(self, annotated: AnnotatedImage, offers: list[RecoveryOffer]) -> None:
        self._found[annotated] = offers
        if annotated is self._controller.current and annotated.untouched:
            self.offered.emit(offers)

    def resume(
        self, annotated: AnnotatedImage, recovered: Recovered, *, words: str = "Your work is back"
    ) -> None:
        """Show work that was read again, and go on with its log."""
        controller, logged = self._controller, recovered.session
        annotated.restore(logged.annotation, recovered.store)
        controller.autosave.resume(annotated, recovered)
        controller.objects_changed.emit()
        count, active = len(annotated.annotation.objects), logged.active
        objects = counted(count, "object")
        controller.status_message.emit(f"{words}: {objects}.")
        if recovered.profile is not None:
            controller.profiles.adopt(recovered.profile)
        if active is None or not active.decisions:
            return
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
            decisions = () if part is None else part.decisions
            learnt = sum(decision.act == "pick" for decision in decisions)

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            return session.restore(
                active.decisions, undone=active.undone, learnt=learnt, progress=progress
            )

        again = ActiveObject(
            active.number, active.plane, learnt=learnt, reopened=active.reopened, look=look
        )
        controller.begin(annotated, again, action, known=True)
