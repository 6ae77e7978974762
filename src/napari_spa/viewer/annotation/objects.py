"""What a user does to accepted objects: reopen, refine, delete, name, merge, split, export."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.objects import cut_object
from napari_spa.core.presentation import checked_name, counted
from napari_spa.errors import InputError
from napari_spa.refine.annotation.objects import new_group
from napari_spa.viewer.annotation.click_target import accepted_at, stored_mask
from napari_spa.viewer.annotation.controller import BUSY, AnnotationController
from napari_spa.viewer.annotation.display import looked, taken_up
from napari_spa.viewer.annotation.round import ActiveObject, says_why_not
from napari_spa.viewer.annotation.undo import UndoActions
from napari_spa.viewer.layers.planes import (
    click_in_plane,
    plane_on_slider,
    show_plane,
    shown_plane,
    to_world,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Proposal
    from napari_spa.io.export import ExportRequest
    from napari_spa.refine.annotation.objects import Part
    from napari_spa.refine.engine.config import Progress
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import Position


class ObjectActions(QObject):
    """The acts on the objects of the image that is annotated."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller, self.undoing = controller, UndoActions(controller)

    @says_why_not
    def reopen(self, number: int, plane: Plane | None = None) -> None:
        """Take an accepted object up again, with its history.

        An object that was painted on since starts from its pixels instead.
        """
        controller, annotated = self._controller, self._controller.current
        if annotated is None:
            return
        plane = plane or plane_on_slider(
            controller.viewer, annotated.image
        )  # that of now, where it has to wait
        if controller.waits(partial(self.reopen, number, plane)) or not self._make_way(number):
            return
        controller.images.painting.flush()
        part = self._part(annotated, number, plane)
        if part is None:
            raise InputError(f"there is no object {number}.")
        pixels = annotated.annotation.pixels(number, part.plane)
        decisions = part.reopens_with
        if pixels is None and not decisions:
            raise InputError(f"object {number} has no pixel left on this slice.")
        annotated.journal.reopen(number, part.plane, decisions)

        def from_pixels(session: RefinementSession, progress: Progress) -> Proposal:
            return session.start(mask=pixels, exact=True, progress=progress)

        if decisions:
            otherwise = None if pixels is None else from_pixels
            self.undoing.restore(annotated, number, part, reopened=True, otherwise=otherwise)
            return
        active = replace(taken_up(annotated, number, part), reopened=True, model=None)
        show_plane(controller.viewer, annotated.image, active.plane, active.look)
        controller.begin(annotated, active, from_pixels)

    @says_why_not
    def refine_at(self, position: Position) -> None:
        """Refine what a labels layer has at a world position: any layer's, ours included."""
        controller = self._controller
        if not controller.free():
            return
        image = controller.image()
        annotated = controller.images.annotate(image)
        plane = shown_plane(controller.viewer, image)
        found = stored_mask(controller.viewer, image, plane, position)
        ours = annotated.mask.owns(found.layer)
        if ours and found.number in annotated.annotation.objects:
            self.reopen(found.number, plane)
            return
        number = found.number if ours else annotated.annotation.next_number
        controller.begin(
            annotated,
            ActiveObject(number, plane),
            lambda session, progress: session.start(
                mask=found.read(), exact=True, progress=progress
            ),
        )

    @says_why_not
    def delete(self, number: int, plane: Plane | None = None) -> None:
        """Delete an object from one plane or from all; undo brings it back."""
        controller, annotated = self._controller, self._controller.current
        if annotated is None or controller.waits(partial(self.delete, number, plane)):
            return
        controller.images.painting.flush()
        active, held = annotated.active, annotated.annotation.objects.get(number)
        if active is not None and active.number == number and plane in (None, active.plane):
            controller.discard_active()
            if held is None or (plane is not None and held.on(plane) is None):
                return
        annotated.remove(number, plane)
        where = "" if plane is None else " on this slice"
        controller.objects_did(f"Object {number} deleted{where}; Undo brings it back.")

    @says_why_not
    def delete_here(self, number: int) -> None:
        """Delete an object from the plane on show alone; undo brings it back."""
        annotated = self._controller.current
        if annotated is not None:
            self.delete(number, shown_plane(self._controller.viewer, annotated.image))

    def go_to(self, number: int) -> None:
        """Bring an object into view and make it the selected one."""
        controller, annotated = self._controller, self._controller.current
        part = None if annotated is None else self._part(annotated, number)
        if annotated is None or part is None:
            return
        controller.selected = number
        look = looked(annotated, part.source, part.plane)
        show_plane(controller.viewer, annotated.image, part.plane, look)
        place = [float(p) for p in part.plane.index]
        rows, columns = part.plane.axes
        place[rows] = part.region.row + part.region.height / 2
        place[columns] = part.region.column + part.region.width / 2
        world, dims = to_world(controller.viewer, annotated.image, place), controller.viewer.dims
        shown = [float(world[axis - dims.ndim]) for axis in dims.displayed]
        controller.viewer.scene.camera.center = (0.0, *shown)[-3:]
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
        from napari_spa.viewer.export import export_work, in_words  # not as docks open

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
        plane = plane or plane_on_slider(self._controller.viewer, annotated.image)
        return (None if plane is None else active.on(plane)) or active.parts[0]


_CHOOSE = "Choose an object first: click on one, or in the list."


class ObjectEditing(QObject):
    """Name, class, merge, split and edit the objects of the image that is annotated."""

    editing_changed = Signal(bool)  # whether an object is edited by hand

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        self._edited: AnnotatedImage | None = None
        self._before: dict[str, Any] = {}
        self._turning = False
        controller.viewer.dims.events.current_step.connect(self._on_slider)
        controller.images.changed.connect(self._on_images)

    def close(self) -> None:
        """End what is edited, and follow the viewer no more."""
        self.end()
        self._controller.viewer.dims.events.current_step.disconnect(self._on_slider)

    # ------------------------------------------------------------------ names and classes

    @says_why_not
    def rename(self, number: int, name: str) -> None:
        """Call an object something; nothing takes its name away."""
        name = checked_name(name)

        def action(annotated: AnnotatedImage) -> str:
            annotated.describe(number, name=name)
            return f"Object {number} is called {name}." if name else f"Object {number} has no name."

        self._do(action)

    def classify(self, numbers: Sequence[int], class_name: str) -> None:
        """Give objects a class, as one act; an empty name for none."""
        group = new_group() if len(numbers) > 1 else None

        def action(annotated: AnnotatedImage) -> str:
            there = _still_there(annotated, numbers)
            for number in there:
                annotated.describe(number, class_name=class_name, group=group)
            which = f"Object {there[0]}" if group is None else counted(len(there), "object")
            return f"{which}: {class_name or 'no class'}."

        self._do(action)

    @says_why_not
    def rename_class(self, before: str, name: str) -> None:
        """Call a class something else; all objects that are of it take it along, as one act."""
        controller, group = self._controller, new_group()
        classes, annotated = controller.classes, controller.current
        if classes.called(before, name).name == before:
            return

        def action(annotated: AnnotatedImage) -> str:
            after = classes.called(before, name)
            objects = annotated.annotation.objects
            of_it = [n for n, one in objects.items() if one.class_name == before]
            for number in of_it:
                annotated.describe(number, class_name=after.name, group=group)
            left = classes.rename(before, after, group)
            return f"{before} is called {after.name} now: {counted(len(of_it), 'object')}.{left}"

        if annotated is not None and (annotated.annotation.objects or annotated.active):
            self._do(action)
        else:
            after = classes.called(before, name)
            left = classes.rename(before, after, group)
            self._controller.status_message.emit(f"{before} is called {after.name} now.{left}")

    # ------------------------------------------------------------------ merge and split

    def merge_at(self, position: Position) -> None:
        """Merge the selected object with the one at a world position."""

        def action(annotated: AnnotatedImage) -> str:
            chosen = self._chosen(annotated, number)
            annotated.merge(chosen, [self._object_at(annotated, plane, position)])
            return f"Object {chosen} took the other one; Undo parts them again."

        number, plane = self._controller.selected, self._on_show()
        self._do(action)

    def split(self, path: Sequence[Position]) -> None:
        """Split the object under a line, the selected one if it is, along it."""

        def action(annotated: AnnotatedImage) -> str:
            annotated.prompts.clear()
            there = plane or shown_plane(self._controller.viewer, annotated.image)
            viewer = self._controller.viewer
            line = [click_in_plane(viewer, annotated.image, there, p) for p in path]
            number = self._under(annotated, there, line, selected)
            mask = annotated.annotation.pixels(number, there)
            pieces = [] if mask is None else cut_object(mask, line)
            if not pieces:
                raise InputError(f"the line does not divide object {number}; draw it right across.")
            made = annotated.divide(number, there, pieces)
            return f"Split: {counted(len(made), 'new object')}, {', '.join(map(str, made))}."

        selected, plane = self._controller.selected, self._on_show()
        self._do(action)

    def _under(
        self,
        annotated: AnnotatedImage,
        plane: Plane,
        line: Sequence[tuple[float, float]],
        selected: int | None,
    ) -> int:
        """Return the object that a line is meant for."""
        found = [accepted_at(annotated, plane, *place) for place in _along(line)]
        there = [number for number in found if number is not None]
        if not there:
            raise InputError("there is no accepted object under the line.")
        return selected if selected in there else max(set(there), key=there.count)

    def _on_show(self) -> Plane | None:
        """Return the plane on show, which an act that waits is about."""
        annotated = self._controller.current
        image = None if annotated is None else annotated.image
        return plane_on_slider(self._controller.viewer, image)  # of a volume it is said when done

    def _object_at(self, annotated: AnnotatedImage, plane: Plane | None, position: Position) -> int:
        plane = plane or shown_plane(self._controller.viewer, annotated.image)
        place = click_in_plane(self._controller.viewer, annotated.image, plane, position)
        other = accepted_at(annotated, plane, *place)
        if other is None:
            raise InputError("there is no accepted object at that place; click on one.")
        return other

    @staticmethod
    def _chosen(annotated: AnnotatedImage, number: int | None) -> int:
        if number is None or number not in annotated.annotation.objects:
            raise InputError(_CHOOSE)
        return number

    # ------------------------------------------------------------------ review

    def keep(self, numbers: Sequence[int]) -> None:
        """Accept objects that wait for a look, as one act."""
        group = new_group() if len(numbers) > 1 else None

        def action(annotated: AnnotatedImage) -> str:
            there = _still_there(annotated, numbers)
            for number in there:
                annotated.keep(number, group=group)
            return f"{counted(len(there), 'object')} kept."

        self._do(action)

    def drop(self, numbers: Sequence[int]) -> None:
        """Delete what waits for a look of objects, as one act; what was accepted of them stays."""
        group = new_group()

        def action(annotated: AnnotatedImage) -> str:
            objects, there = annotated.annotation.objects, _still_there(annotated, numbers)
            waiting = [
                (number, part.plane)
                for number in there
                for part in objects[number].parts
                if part.status == "review"
            ]
            with annotated.bare():
                for number, plane in waiting:
                    annotated.remove(number, plane, group=group)
            kept = sum(number in annotated.annotation.objects for number in numbers)
            rest = f" {counted(kept, 'object')} stayed with what was accepted." if kept else ""
            return f"{counted(len(waiting), 'outline')} dropped; Undo brings them back.{rest}"

        self._do(action)

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete objects, as one act; the active one is discarded, and teaches nothing."""
        controller, group = self._controller, new_group()
        if controller.waits(partial(self.delete, numbers)):
            return
        if controller.active is not None and controller.active.number in numbers:
            controller.discard_active()

        def action(annotated: AnnotatedImage) -> str:
            there = _still_there(annotated, numbers)
            with annotated.bare():
                for number in there:
                    annotated.remove(number, group=group)
            them = "it" if len(there) == 1 else "them"
            return f"{counted(len(there), 'object')} deleted; Undo brings {them} back."

        self._do(action)

    # ------------------------------------------------------------------ by hand

    @property
    def editing(self) -> bool:
        """Whether an object is edited by hand."""
        return self._edited is not None

    def toggle(self) -> None:
        """Begin to edit the selected object by hand, or end it."""
        if self.editing:
            self.end()
        else:
            self._begin()

    def go_on_with(self, number: int) -> None:
        """End the edit of another object: this one was chosen."""
        edited = None if self._edited is None else self._edited.edited
        if edited is not None and edited[0] != number:
            self.end()

    def end(self) -> None:
        """Take what was painted as the object."""
        annotated = self._edited
        if annotated is not None:
            self._controller.images.painting.flush(annotated)
            annotated.end_edit()

    @says_why_not
    def _begin(self) -> None:
        controller = self._controller
        if controller.busy:
            controller.status_message.emit(BUSY)
            return
        chosen = controller.selected  # accepting selects what was active
        if controller.active is not None and not controller.accept():
            return
        annotated = controller.current
        if annotated is None:
            raise InputError(controller.hint)
        controller.selected = number = self._chosen(annotated, chosen)
        plane = shown_plane(controller.viewer, annotated.image)
        if not annotated.mask.paintable:
            raise InputError("labels of so large an image cannot be painted; refine instead.")
        controller.images.painting.flush(annotated)
        annotated.begin_edit(number, plane)
        annotated.edit_ended.connect(self._on_ended)
        self._edited = annotated
        self._ready_tools(annotated, number, plane)
        controller.status_message.emit(
            f"Paint on object {number}; napari's layer controls have eraser, polygon and fill. "
            "Press Edit by hand again when it is done."
        )
        self.editing_changed.emit(True)

    def _ready_tools(self, annotated: AnnotatedImage, number: int, plane: Plane) -> None:
        """Make napari's brush ready on the mask, for this object alone."""
        layer, layers = annotated.mask.layer, self._controller.viewer.layers
        self._before = {
            "active": layers.selection.active,
            "preserve_labels": layer.preserve_labels,
            "brush_size": layer.brush_size,
        }
        layer.visible = True
        layers.selection.active = layer
        layer.selected_label = number
        layer.preserve_labels = self._controller.overlap == "protect"
        part = annotated.annotation.objects[number].on(plane)
        if part is not None:
            layer.brush_size = float(max(3, min(40, round(part.area**0.5 / 5))))
        layer.mode = "paint"

    def _on_ended(self) -> None:
        """Put napari's tools back."""
        annotated = self._edited
        if annotated is None or self._turning:
            return
        self._edited = None
        annotated.edit_ended.disconnect(self._on_ended)
        layers, before = self._controller.viewer.layers, self._before
        if annotated.mask.shown:
            layer = annotated.mask.layer
            layer.mode = "pan_zoom"
            layer.preserve_labels = before["preserve_labels"]
            layer.brush_size = before["brush_size"]
            if layers.selection.active is layer and before["active"] in layers:
                layers.selection.active = before["active"]
        self.editing_changed.emit(False)
        self._controller.objects_changed.emit()
        self._controller.status_message.emit(
            "What you painted is the object now; Undo takes it back."
        )

    def _on_slider(self, event: Any) -> None:
        """Go on on the slice that came on show: what was painted on each is an act of its own."""
        annotated = self._edited
        if annotated is None or annotated.edited is None:
            return
        number, before = annotated.edited
        plane = plane_on_slider(self._controller.viewer, annotated.image)
        if plane is None:
            self.end()
        elif plane != before:
            self._turning = True
            try:
                annotated.begin_edit(number, plane)
            finally:
                self._turning = False

    def _on_images(self) -> None:
        if self._edited is not None and self._edited is not self._controller.current:
            self.end()

    @says_why_not
    def _do(self, action: Callable[[AnnotatedImage], str]) -> None:
        """Do an act on accepted objects in its turn; it returns what was done, in a sentence."""
        controller, annotated = self._controller, self._controller.current
        if annotated is None or controller.waits(partial(self._do, action)):
            return
        if controller.active is not None and not controller.accept():
            return
        controller.images.painting.flush()
        controller.autosave.begin(annotated)
        controller.objects_did(action(annotated))


def _still_there(annotated: AnnotatedImage, numbers: Sequence[int]) -> list[int]:
    """Return those of some objects that what was done before an act that waited has left."""
    there = [number for number in numbers if number in annotated.annotation.objects]
    if not there:
        raise InputError("these objects are not there any more.")
    return there


def _along(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return places along a line, about a pixel apart."""
    places = [line[0]]
    for (r0, c0), (r1, c1) in pairwise(line):
        steps = max(1, round(max(abs(r1 - r0), abs(c1 - c0))))
        places += [
            (r0 + (r1 - r0) * step / steps, c0 + (c1 - c0) * step / steps)
            for step in range(1, steps + 1)
        ]
    return places
