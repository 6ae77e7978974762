"""What a user does to accepted objects: reopen, refine, delete, go to, take back, export."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.click_target import stored_mask
from napari_spa.viewer.annotation.image import ActiveObject
from napari_spa.viewer.autosave.export import export_work, in_words
from napari_spa.viewer.layers.planes import camera_of, show_plane, shown_plane

if TYPE_CHECKING:
    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
    from napari_spa.io.export import ExportRequest
    from napari_spa.refine.annotation.objects import Change, Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import Position


class ObjectActions(QObject):
    """The acts on the objects of the image that is annotated."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        controller.undo_requested.connect(self.undo)
        controller.redo_requested.connect(self.redo)

    def reopen(self, number: int, plane: Plane | None = None) -> None:
        """Take an accepted object up again, with its history.

        An object that was painted on since starts from its pixels instead.
        """
        controller, annotated = self._controller, self._controller.current
        if annotated is None:
            return
        plane = plane or self._on_show(annotated)  # that of now, where it has to wait
        if controller.waits(partial(self.reopen, number, plane)) or not self._make_way(number):
            return
        controller.images.painting.flush()
        part = self._part(annotated, number, plane)
        if part is None:
            controller.failed.emit(f"there is no object {number}.")
            return
        pixels = annotated.annotation.pixels(number, part.plane)
        decisions = part.reopens_with
        if pixels is None and not decisions:
            controller.failed.emit(f"object {number} has no pixel left on this slice.")
            return
        show_plane(controller.viewer, annotated.image, part.plane)
        if annotated.journal is not None:
            annotated.journal.reopen(number, part.plane, decisions)
        if decisions:
            self._restore(annotated, number, part, reopened=True)
            return
        controller.begin(
            annotated,
            ActiveObject(number, part.plane, reopened=True),
            lambda session, progress: session.start(mask=pixels, exact=True, progress=progress),
        )

    def refine_at(self, position: Position) -> None:
        """Refine what a labels layer has at a world position: any layer's, ours included."""
        controller = self._controller
        if not controller.free():
            return
        try:
            image = controller.image()
            annotated = controller.images.annotate(image)
            plane = shown_plane(controller.viewer, image)
            found = stored_mask(controller.viewer, image, plane, position)
        except SpaError as error:
            controller.failed.emit(str(error))
            return
        ours = annotated.mask.owns(found.layer)
        if ours and found.number in annotated.annotation.objects:
            self.reopen(found.number, plane)
            return
        number = found.number if ours else annotated.annotation.next_number
        controller.begin(
            annotated,
            ActiveObject(number, plane),
            lambda session, progress: session.start(mask=found.mask, progress=progress),
        )

    def delete(self, number: int, plane: Plane | None = None) -> None:
        """Delete an object from one plane or from all; undo brings it back."""
        controller, annotated = self._controller, self._controller.current
        if annotated is None or controller.waits(partial(self.delete, number, plane)):
            return
        controller.images.painting.flush()
        if annotated.active is not None and annotated.active.number == number:
            controller.discard_active()
            if number not in annotated.annotation.objects:
                return
        try:
            annotated.remove(number, plane)
        except SpaError as error:
            controller.failed.emit(str(error))
            return
        self._changed(f"Object {number} deleted; Undo brings it back.")

    def undo(self) -> None:
        """Take the last act on objects back; an object just accepted is active again."""
        annotated = self._controller.current
        self._controller.images.painting.flush()
        if annotated is not None and annotated.unpaints:
            self._paint(annotated, redo=False)
            return
        change = None if annotated is None else annotated.annotation.last_change
        if annotated is None or change is None:
            self._controller.status_message.emit("There is nothing to undo.")
            return
        part = change.accepted
        if change.group is None and part is not None and part.decisions:
            before = change.before.get(change.number)
            if annotated.journal is not None:
                annotated.journal.reopen(change.number, part.plane, part.decisions)
            annotated.undo()
            show_plane(self._controller.viewer, annotated.image, part.plane)
            known = before is not None and before.on(part.plane) is not None
            self._restore(annotated, change.number, part, reopened=known, undone=change)
            return
        annotated.undo()
        self._changed(f"Taken back: {change.act}.")

    def redo(self) -> None:
        """Do the last act on objects again that was taken back."""
        annotated = self._controller.current
        self._controller.images.painting.flush()
        if annotated is not None and annotated.repaints:
            self._paint(annotated, redo=True)
            return
        if annotated is None or annotated.annotation.last_undone is None:
            self._controller.status_message.emit("There is nothing to redo.")
            return
        change = annotated.redo()
        taught = annotated.untaught_by(change)
        if taught is not None:
            annotated.taught(self._controller.profiles.learn_again(taught))
        self._changed(f"Done again: {change.act}.")
        following = annotated.ahead.pop(change, None)
        if following is not None:
            self._controller.bring_back(following)

    def go_to(self, number: int) -> None:
        """Bring an object into view and make it the selected one."""
        controller, annotated = self._controller, self._controller.current
        part = None if annotated is None else self._part(annotated, number)
        if annotated is None or part is None:
            return
        controller.selected = number
        show_plane(controller.viewer, annotated.image, part.plane)
        place = [float(p) for p in part.plane.index]
        rows, columns = part.plane.axes
        place[rows] = part.region.row + part.region.height / 2
        place[columns] = part.region.column + part.region.width / 2
        world, dims = annotated.image.data_to_world(place), controller.viewer.dims
        shown = [float(world[axis - dims.ndim]) for axis in dims.displayed]
        camera_of(controller.viewer).center = (0.0, *shown)[-3:]
        controller.objects_changed.emit()

    def step(self, step: int) -> None:
        """Go to the next object by number, or to the previous one; around the end."""
        annotated = self._controller.current
        numbers = [] if annotated is None else list(annotated.annotation.objects)
        if not numbers:
            self._controller.status_message.emit("There is no object yet.")
            return
        selected = self._controller.selected
        at = numbers.index(selected) if selected in numbers else -1 if step > 0 else 0
        self.go_to(numbers[(at + step) % len(numbers)])

    def export(self, request: ExportRequest, name: str = "") -> None:
        """Write the objects of this image as they are wanted."""
        controller, annotated = self._controller, self._controller.current
        if annotated is None or not controller.free():
            return
        controller.images.painting.flush()
        controller.autosave.flush()
        log, classes = controller.autosave.log_of(annotated), controller.classes.entries
        controller.status_message.emit("Saving…")
        controller.submit(
            export_work(annotated, request, log, classes, name),
            lambda report: controller.status_message.emit(in_words(report, request.folder)),
        )

    # ------------------------------------------------------------------ how it does it

    def _make_way(self, number: int) -> bool:
        """Accept the current object so that another can be reopened; say why not."""
        controller = self._controller
        if controller.active is None:
            return True
        if controller.active.number == number:
            controller.status_message.emit(f"Object {number} is the current one.")
            return False
        return controller.accept()

    def _part(
        self, annotated: AnnotatedImage, number: int, plane: Plane | None = None
    ) -> Part | None:
        """Return an object's part on a plane, else on the one on show, else its first."""
        active = annotated.annotation.objects.get(number)
        if active is None:
            return None
        plane = plane or self._on_show(annotated)
        return (None if plane is None else active.on(plane)) or active.parts[0]

    def _on_show(self, annotated: AnnotatedImage) -> Plane | None:
        """Return the plane on show; None while the viewer shows a volume."""
        try:
            return shown_plane(self._controller.viewer, annotated.image)
        except SpaError:
            return None

    def _restore(
        self,
        annotated: AnnotatedImage,
        number: int,
        part: Part,
        *,
        reopened: bool,
        undone: Change | None = None,
    ) -> None:
        """Make an object active again; what the act that is undone taught is taken back too."""
        taught = None if undone is None else annotated.taught_by(undone)
        picks = sum(decision.act == "pick" for decision in part.decisions)
        learnt = picks if taught is None else taught.known
        profiles = self._controller.profiles

        def action(session: RefinementSession, progress: Progress) -> Proposal:
            known = learnt
            if undone is not None and taught is not None:
                if profiles.unlearn(taught, session):
                    annotated.untaught(undone, taught)
                else:
                    known = picks
            return session.restore(part.decisions, learnt=known, progress=progress)

        active = ActiveObject(number, part.plane, learnt=learnt, reopened=reopened)
        self._controller.begin(annotated, active, action, known=True)

    def _paint(self, annotated: AnnotatedImage, *, redo: bool) -> None:
        """Take the latest stroke on the mask back, or paint it again."""
        painting = self._controller.images.painting
        painting.paint(annotated, annotated.mask.unpaint(redo=redo))
        painting.flush()
        self._changed("Painted again." if redo else "Taken back: what was painted last.")

    def _changed(self, sentence: str) -> None:
        self._controller.objects_changed.emit()
        self._controller.status_message.emit(sentence)
