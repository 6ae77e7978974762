"""Offer work that was left behind, and bring it back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.words import counted
from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.image import ActiveObject
from napari_spa.viewer.layers.planes import (
    image_plane_of,
    logged_display,
    show_plane,
    shown_plane,
    spatial_shape,
)

if TYPE_CHECKING:
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

    def __init__(self, refiner: AnnotationController) -> None:
        super().__init__(refiner)
        self._refiner = refiner
        self._asked: set[int] = set()
        self._looked.connect(self._on_looked)
        refiner.proposed.connect(lambda *_: self.offered.emit([]))

    def look(self, work: AnnotatedImage) -> None:
        """Look for work on an image, once; offer it while nothing was done to the image."""
        refiner = self._refiner
        keeper, image, look = refiner.keeper, work.image, work.look
        if keeper.placed(work) or keeper.root is None or id(work) in self._asked:
            return
        if not work.untouched:
            return
        try:
            axes = shown_plane(refiner.viewer, image).axes
        except SpaError:
            return
        self._asked.add(id(work))
        facts = work.facts

        def job(progress: Progress) -> None:
            offers = keeper.offers(
                facts, axes, lambda plane: image_plane_of(image, plane, look).fingerprint()
            )
            self._looked.emit(work, offers)

        refiner.worker.submit_idle(job)  # no one waits for it: a click comes first

    def recover(self, offer: RecoveryOffer) -> None:
        """Bring work back: objects, labels, profile and the active object."""
        refiner, work = self._refiner, self._refiner.current
        if work is None or not refiner.free():
            return
        if work.annotation.objects:
            refiner.failed.emit("there are objects already; delete them first, or choose Not now.")
            return
        shape, axes = spatial_shape(work.image), shown_plane(refiner.viewer, work.image).axes
        refiner.said.emit("Bringing your work back…")
        refiner.submit(
            lambda progress: refiner.keeper.recover(offer, shape, axes),
            lambda recovered: self.resume(work, recovered),
            unheard=lambda recovered: recovered.folder.release(),
        )

    def forget(self, offer: RecoveryOffer) -> None:
        """Delete left-behind work."""
        try:
            self._refiner.keeper.forget(offer)
        except SpaError as error:
            self._refiner.failed.emit(str(error))

    def _on_looked(self, work: AnnotatedImage, offers: list[RecoveryOffer]) -> None:
        if work is self._refiner.current and work.untouched:
            self.offered.emit(offers)

    def resume(self, work: AnnotatedImage, recovered: Recovered) -> None:
        """Show work that was read again, and go on with its log."""
        refiner, logged = self._refiner, recovered.session
        work.restore(logged.annotation, recovered.store)
        refiner.keeper.resume(work, recovered)
        refiner.objects_changed.emit()
        count, held = len(work.annotation.objects), logged.at_hand
        objects = counted(count, "object")
        refiner.said.emit(f"Your work is back: {objects}.")
        if recovered.profile is not None:
            refiner.profiles.adopt(recovered.profile)
        if held is None or not held.decisions:
            return
        look = logged_display(work.image, held.source.get("look"), work.look)
        work.look = replace(look, limits=None)  # those are of the object that comes back
        show_plane(refiner.viewer, work.image, held.plane)
        learnt = 0
        if held.reopened:
            accepted = work.annotation.objects.get(held.number)
            part = None if accepted is None else accepted.on(held.plane)
            decisions = () if part is None else part.decisions
            learnt = sum(decision.act == "pick" for decision in decisions)

        def act(session: RefinementSession, progress: Progress) -> Proposal:
            return session.restore(
                held.decisions, undone=held.undone, learnt=learnt, progress=progress
            )

        again = ActiveObject(
            held.number, held.plane, learnt=learnt, reopened=held.reopened, look=look
        )
        refiner.begin(work, again, act, known=True)
