"""What a user does to accepted objects: reopen, refine, delete, go to, take back, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.image import ActiveObject
from napari_spa.viewer.annotation.stored_masks import stored_mask
from napari_spa.viewer.autosave.export import export_work
from napari_spa.viewer.layers.planes import camera_of, show_plane, shown_plane

if TYPE_CHECKING:
    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
    from napari_spa.refine.annotation.history import Change
    from napari_spa.refine.annotation.objects import Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import Act, AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import Position


class ObjectActions(QObject):
    """The acts on the objects of the image that is annotated."""

    def __init__(self, refiner: AnnotationController) -> None:
        super().__init__(refiner)
        self._refiner = refiner
        refiner.undo_requested.connect(self.undo)
        refiner.redo_requested.connect(self.redo)

    def reopen(self, number: int, plane: Plane | None = None) -> None:
        """Take an accepted object up again, with its history.

        An object that was painted on since starts from its pixels instead.
        """
        refiner, work = self._refiner, self._refiner.current
        if work is None or not self._make_way(number):
            return
        refiner.works.painting.flush()
        part = self._part(work, number, plane)
        if part is None:
            refiner.failed.emit(f"there is no object {number}.")
            return
        pixels = work.annotation.pixels(number, part.plane)
        decisions = () if part.status == "edited" else part.decisions
        if pixels is None and not decisions:
            refiner.failed.emit(f"object {number} has no pixel left on this slice.")
            return
        show_plane(refiner.viewer, work.image, part.plane)
        if work.journal is not None:
            work.journal.reopen(number, part.plane, decisions)
        if decisions:
            self._restore(work, number, part, reopened=True)
            return
        act: Act = lambda session, progress: session.start(mask=pixels, progress=progress)  # noqa: E731
        refiner.begin(work, ActiveObject(number, part.plane, reopened=True), act)

    def refine_at(self, position: Position) -> None:
        """Refine what a labels layer has at a world position: any layer's, ours included."""
        refiner = self._refiner
        if not refiner.free():
            return
        try:
            image = refiner.image()
            work, plane = refiner.works.annotate(image), shown_plane(refiner.viewer, image)
            found = stored_mask(refiner.viewer, image, plane, position)
        except SpaError as error:
            refiner.failed.emit(str(error))
            return
        ours = work.mask.owns(found.layer)
        if ours and found.number in work.annotation.objects:
            self.reopen(found.number, plane)
            return
        number = found.number if ours else work.annotation.next_number
        act: Act = lambda session, progress: session.start(mask=found.mask, progress=progress)  # noqa: E731
        refiner.begin(work, ActiveObject(number, plane), act)

    def delete(self, number: int, plane: Plane | None = None) -> None:
        """Delete an object from one plane or from all; undo brings it back."""
        refiner, work = self._refiner, self._refiner.current
        if work is None or refiner.busy:
            return
        refiner.works.painting.flush()
        if work.at_hand is not None and work.at_hand.number == number:
            refiner.discard()
        try:
            work.remove(number, plane)
        except SpaError as error:
            refiner.failed.emit(str(error))
            return
        self._changed(f"Object {number} deleted; Undo brings it back.")

    def undo(self) -> None:
        """Take the last act on objects back; an object just accepted is active again."""
        work = self._refiner.current
        self._refiner.works.painting.flush()
        change = None if work is None else work.annotation.last_change
        if work is None or change is None:
            self._refiner.said.emit("There is nothing to undo.")
            return
        part = change.accepted
        if change.group is None and part is not None and part.decisions:
            before = change.before.get(change.number)
            if work.journal is not None:
                work.journal.reopen(change.number, part.plane, part.decisions)
            work.undo()
            show_plane(self._refiner.viewer, work.image, part.plane)
            known = before is not None and before.on(part.plane) is not None
            self._restore(work, change.number, part, reopened=known, undone=change)
            return
        work.undo()
        self._changed(f"Taken back: {change.act}.")

    def redo(self) -> None:
        """Do the last act on objects again that was taken back."""
        work = self._refiner.current
        self._refiner.works.painting.flush()
        if work is None or work.annotation.last_undone is None:
            self._refiner.said.emit("There is nothing to redo.")
            return
        change = work.redo()
        taught = work.untaught_by(change)
        if taught is not None:
            work.taught(self._refiner.profiles.learn_again(taught))
        self._changed(f"Done again: {change.act}.")

    def go_to(self, number: int) -> None:
        """Bring an object into view and make it the selected one."""
        refiner, work = self._refiner, self._refiner.current
        part = None if work is None else self._part(work, number)
        if work is None or part is None:
            return
        refiner.selected = number
        show_plane(refiner.viewer, work.image, part.plane)
        place = [float(p) for p in part.plane.index]
        rows, columns = part.plane.axes
        place[rows] = part.region.row + part.region.height / 2
        place[columns] = part.region.column + part.region.width / 2
        world, dims = work.image.data_to_world(place), refiner.viewer.dims
        shown = [float(world[axis - dims.ndim]) for axis in dims.displayed]
        camera_of(refiner.viewer).center = (0.0, *shown)[-3:]
        refiner.objects_changed.emit()

    def step(self, step: int) -> None:
        """Go to the next object by number, or to the previous one; around the end."""
        work = self._refiner.current
        numbers = [] if work is None else list(work.annotation.objects)
        if not numbers:
            self._refiner.said.emit("There is no object yet.")
            return
        selected = self._refiner.selected
        at = numbers.index(selected) if selected in numbers else -1 if step > 0 else 0
        self.go_to(numbers[(at + step) % len(numbers)])

    def export(self, folder: str) -> None:
        """Write labels, measures and the decision log of this image into a folder."""
        refiner, work = self._refiner, self._refiner.current
        if work is None or not refiner.free():
            return
        refiner.works.painting.flush()
        refiner.keeper.flush()
        job = export_work(work, Path(folder), refiner.keeper.log_of(work))
        refiner.said.emit("Saving…")
        refiner.submit(job, lambda names: refiner.said.emit(f"Saved {', '.join(names)}."))

    # ------------------------------------------------------------------ how it does it

    def _make_way(self, number: int) -> bool:
        """Accept the current object so that another can be reopened; say why not."""
        refiner = self._refiner
        if refiner.busy or refiner.held is None:
            return refiner.free()
        if refiner.held.number == number:
            refiner.said.emit(f"Object {number} is the current one.")
            return False
        return refiner.accept()

    def _part(self, work: AnnotatedImage, number: int, plane: Plane | None = None) -> Part | None:
        """Return an object's part on a plane, else on the one on show, else its first."""
        held = work.annotation.objects.get(number)
        if held is None:
            return None
        try:
            return held.on(plane or shown_plane(self._refiner.viewer, work.image)) or held.parts[0]
        except SpaError:  # the viewer shows a volume
            return held.parts[0]

    def _restore(
        self,
        work: AnnotatedImage,
        number: int,
        part: Part,
        *,
        reopened: bool,
        undone: Change | None = None,
    ) -> None:
        """Make an object active again; what the act that is undone taught is taken back too."""
        taught = None if undone is None else work.taught_by(undone)
        picks = sum(decision.act == "pick" for decision in part.decisions)
        learnt = picks if taught is None else taught.known
        profiles = self._refiner.profiles

        def act(session: RefinementSession, progress: Progress) -> Proposal:
            known = learnt
            if undone is not None and taught is not None:
                if profiles.unlearn(taught, session):
                    work.untaught(undone, taught)
                else:
                    known = picks
            return session.restore(part.decisions, learnt=known, progress=progress)

        held = ActiveObject(number, part.plane, learnt=learnt, reopened=reopened)
        self._refiner.begin(work, held, act, known=True)

    def _changed(self, sentence: str) -> None:
        self._refiner.objects_changed.emit()
        self._refiner.said.emit(sentence)
