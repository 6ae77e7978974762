"""The annotated images of a viewer, and the classes of their objects, as layers come and go."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import platformdirs
from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import clean_name, counted, first_of
from napari_spa.errors import InputError, SpaError
from napari_spa.io.projects.classes import (
    FILE_NAME,
    MOST,
    ObjectClass,
    ObjectNote,
    count_of_class,
    make_class,
    read_classes,
    with_unknown,
    write_classes,
)
from napari_spa.viewer.annotation.image import AnnotatedImage
from napari_spa.viewer.annotation.painting import PaintRecorder
from napari_spa.viewer.background import later
from napari_spa.viewer.compat import early_imports
from napari_spa.viewer.layers.mask import follow_space, unfollow_space
from napari_spa.viewer.layers.planes import (
    name_as_alike,
    name_as_sliders,
    name_axes,
    plane_on_slider,
    shown_plane,
    spatial_shape,
    unnamed_axes,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Region
    from napari_spa.viewer.autosave import AutosaveManager
    from napari_spa.viewer.background import Worker


_STEP_MS = 20
"""Between two layers that are made ahead, so that the window lives."""

_LEFT: WeakKeyDictionary[Image, tuple[Path, ReferenceType[Labels]]] = WeakKeyDictionary()
"""Of images whose dock was closed: where the work on them is kept, and its mask layer."""

_AXES = "TCZYX"
"""Axes of files whose names say something to a user."""

_ZOOMING_MS = 200
"""After the last turn of the wheel outlines get their width."""


class AnnotatedImages(QObject):
    """Keep what belongs to each image, and one of them as the one that is annotated."""

    changed = Signal()  # another image is annotated, or its objects changed
    # An image was removed or has other pixels now, and why in a sentence; what is under way on
    # this ``AnnotatedImage`` must not go on.
    lost = Signal(object, str)
    undo_wanted = Signal(bool)  # napari's own key was pressed on the objects layer; True: redo
    noticed = Signal(str)  # what happened to a layer of ours, in a sentence
    reframed = Signal(object)  # A user moved the frame of the field of view to a ``Box``
    # A user moved clicks of an ``AnnotatedImage`` in their layer or deleted them: by index, where
    # they are now or None.  And they added one: its world position.
    clicks_edited = Signal(object, object)
    click_added = Signal(object)
    made = Signal()  # what :meth:`get_ready` began is done, or there was nothing to do
    toggled = Signal(int, bool)  # A user showed or hid a candidate with napari's eye icon

    def __init__(
        self,
        viewer: ViewerModel,
        autosave: AutosaveManager,
        worker: Worker,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._autosave, self._worker = viewer, autosave, worker
        self.current: AnnotatedImage | None = None
        self.contrast = "automatic"
        self.framed = False
        self.filled = False
        self._all: dict[int, AnnotatedImage] = {}
        self._left: AnnotatedImage | None = None
        # What the files say that the axes of their images are; None until they have answered.
        self._axes: WeakKeyDictionary[Image, str | None] = WeakKeyDictionary()
        self._without_mask: AnnotatedImage | None = None  # whose mask layer was removed
        self.painting = PaintRecorder(worker, self)
        self.painting.counted.connect(self.changed)
        self._making: tuple[AnnotatedImage | None, Generator[None]] = None, (_ for _ in ())
        self._orphaned: list[AnnotatedImage] = []  # whose image was removed, and layers are there
        self._orphans_due = later(self, self._remove_orphans)
        self._make_due = later(self, self._on_make_due, _STEP_MS)
        self._zoomed = later(self, self._on_zoomed, _ZOOMING_MS)
        self._unpaint_due = later(self, self._unpaint)
        viewer.scene.camera.events.zoom.connect(self._on_zoom)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.layers.events.inserted.connect(self._on_layer_added)
        viewer.dims.events.current_step.connect(self._on_slider)
        # While layers come and go, sliders are called after what is there no more.
        self._named = later(self, self._on_sliders_named)
        viewer.dims.events.axis_labels.connect(self._on_slider_named)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return iter(list(self._all.values()))

    def annotate(self, image: Image, axes: tuple[int, int] | None = None) -> AnnotatedImage:
        """Return what belongs to an image, and make it the one that is annotated."""
        self._remove_orphans()
        annotated = self._all.get(id(image))
        if annotated is None:
            if image in self._viewer.layers:
                self._name_axes(image)
            axes = axes or shown_plane(self._viewer, image).axes
            annotated = AnnotatedImage(self._viewer, image, axes)
            annotated.left = _LEFT.pop(image, None)
            annotated.display = replace(annotated.display, contrast=self.contrast)
            annotated.mask.draw(filled=self.filled)
            if self._left is not None:
                annotated.take_over(self._left, saved=True)
                self._left = None
            annotated.mask.painted.connect(partial(self._on_painted, annotated))
            annotated.mask.touched.connect(partial(self._on_touched, annotated))
            annotated.painted_over.connect(lambda: self._unpaint_due.start())
            annotated.mask.undo_wanted.connect(self.undo_wanted.emit)
            annotated.mask.replaced.connect(partial(self._on_replaced, annotated))
            annotated.prompts.reframed.connect(lambda box: self.reframed.emit(box))
            annotated.prompts.edited.connect(
                lambda changes: self.clicks_edited.emit(annotated, changes)
            )
            annotated.prompts.added.connect(lambda position: self.click_added.emit(position))
            annotated.prompts.set_framed(self.framed)
            annotated.candidates.toggled.connect(lambda *shown: self.toggled.emit(*shown))
            image.events.data.connect(self._on_image_data)
            image.events.name.connect(annotated.rename)
            follow_space(image, annotated.place)
            self._all[id(image)] = annotated
        before = self.current
        if annotated is not before:
            self.painting.flush()
            if before is not None and before.active is not None:
                # There is one session, and it goes on with the other image.
                name = before.image.name
                self.lost.emit(before, f"The current object on {name} was discarded.")
            if before is not None:
                annotated.take_over(before)
            self.current = annotated
            self.changed.emit()
        return annotated

    def set_filled(self, filled: bool) -> None:
        """Fill the objects, or draw their outlines."""
        self.filled = filled
        for annotated in self:
            annotated.mask.draw(filled=filled)

    def get_ready(self) -> None:
        """Make the layers of the image on show before they are needed, when nothing else is on."""
        current = self.current
        if current is None or current.active is not None or current.left is not None:
            self.made.emit()
            return
        self._look_for_axes(current.image)
        self._making[1].close()
        self._making = current, current.ready()
        if early_imports.done or self._worker.busy:
            self._make_due.start()
        else:
            self._worker.submit_idle(early_imports, lambda _: self._make_due.start())

    def _on_make_due(self) -> None:
        annotated, steps = self._making
        # Those of an image that was left would come back without it.
        free = annotated is not None and annotated is self.current and annotated.active is None
        if free and next(steps, self) is not self:
            self._make_due.start()
        else:
            steps.close()
            self.made.emit()

    def _on_zoomed(self) -> None:
        for annotated in self:
            annotated.mask.draw(filled=self.filled)
            annotated.candidates.fit_lines()

    def settle(self) -> None:
        """Look at the labels on show once nothing has happened to them for a moment."""
        if self.current is not None:
            self._on_touched(self.current)

    def leave(self, annotated: AnnotatedImage, *, onward: bool = False) -> None:
        """Let an image and all layers of ours on it go; its log goes on another day."""
        if annotated.active is not None:
            annotated.drop()  # no record of it: it stays active in the log
        self._let_go(annotated, mask=True, layers=not onward)
        self.clear()
        self._left = annotated if onward else None

    def clear(self) -> None:
        """Take away layers that were kept for an image that did not come."""
        if self._left is not None:
            self._left.remove_layers(mask=True)
            self._left = None

    def close(self) -> None:
        """Listen to nothing any more; masks stay in the viewer."""
        for timer in self.findChildren(QTimer):
            timer.stop()
        self._making[1].close()
        self._viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        self._viewer.dims.events.current_step.disconnect(self._on_slider)
        self._viewer.dims.events.axis_labels.disconnect(self._on_slider_named)
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self._viewer.layers.events.inserted.disconnect(self._on_layer_added)
        self.clear()
        self._remove_orphans()
        for annotated in self:
            log, layer = self._autosave.log_of(annotated), annotated.mask.known
            self._let_go(annotated, mask=annotated.empty)
            if log is not None and layer is not None and annotated.mask.shown:
                _LEFT[annotated.image] = log.parent, ref(layer)

    def _let_go(
        self, annotated: AnnotatedImage, *, mask: bool = False, layers: bool = True
    ) -> None:
        self.painting.forget(annotated)
        if self._without_mask is annotated:
            self._without_mask = None
        self._all.pop(id(annotated.image), None)
        annotated.image.events.data.disconnect(self._on_image_data)
        annotated.image.events.name.disconnect(annotated.rename)
        unfollow_space(annotated.image, annotated.place)
        self._autosave.end(annotated)
        if layers:
            annotated.remove_layers(mask=mask)
        if self.current is annotated:
            self.current = None
            self.changed.emit()

    # ------------------------------------------------------------------ what happens to them

    def _on_layer_removed(self, event: Any) -> None:
        annotated = self._all.get(id(event.value))
        if annotated is not None:
            self.lost.emit(annotated, f"{annotated.image.name} was removed.")
            self._let_go(annotated, layers=False)
            # napari may be removing several layers, ours among them: not while it counts them.
            self._orphaned.append(annotated)
            self._orphans_due.start()
            return
        for annotated in self:
            if event.value in annotated.display.channels.others:
                channels = annotated.choices()[0]
                annotated.display = replace(annotated.display, channels=channels)
                name = annotated.image.name
                self.noticed.emit(f"{event.value.name} was removed; {name} is used alone.")
        owner = next((each for each in self if each.mask.owns(event.value)), None)
        if owner is not None:
            self._without_mask = owner
            self.noticed.emit("The mask layer was removed; it comes back when you go on.")

    def _remove_orphans(self) -> None:
        self._orphans_due.stop()
        orphaned, self._orphaned = self._orphaned, []
        for annotated in orphaned:
            annotated.remove_layers()

    def _on_layer_added(self, event: Any) -> None:
        without = self._without_mask
        if without is not None and without.mask.owns(event.value):
            self._without_mask = None
            self.noticed.emit("The mask layer is back.")

    def _on_image_data(self, event: Any) -> None:
        """Go on with new pixels of the same shape; let go of an image that is another now."""
        for annotated in self:
            if annotated.image is event.source:
                self.lost.emit(annotated, f"The pixels of {annotated.image.name} were replaced.")
                if annotated.same_data:
                    annotated.forget_pixels()
                else:
                    self._let_go(annotated)

    def _on_painted(self, annotated: AnnotatedImage, planes: Mapping[Plane, Region]) -> None:
        """Keep what was painted, which may be the first work on the image."""
        self._autosave.begin(annotated)
        self.painting.paint(annotated, planes)

    def _on_replaced(self, annotated: AnnotatedImage, planes: tuple[Plane, ...]) -> None:
        self.noticed.emit("The labels of the mask layer were replaced.")
        active = annotated.annotation.objects.values()
        planes = (*planes, *(part.plane for one in active for part in one.parts))
        self._on_painted(annotated, {plane: annotated.mask.whole(plane) for plane in planes})

    def _unpaint(self) -> None:
        """Take back what was painted on the active object's preview, once napari has painted it."""
        if self.current is not None:
            self.current.mask.unpaint()
            self.current.mask.forget_strokes()
        self.noticed.emit(
            "Accept the object in progress before you paint on it; "
            "Edit by hand (tab Objects) does both."
        )

    def _on_touched(self, annotated: AnnotatedImage) -> None:
        plane = plane_on_slider(self._viewer, annotated.image)
        if plane is not None:
            self.painting.touch(annotated, plane)

    def _on_zoom(self, event: Any) -> None:
        self._zoomed.start()

    def _on_slider(self, event: Any) -> None:
        if self.painting.due:
            self.painting.flush()
        if self.current is not None:
            self.current.follow_channel()

    def _on_slider_named(self, event: Any) -> None:
        self._named.start()

    def _on_sliders_named(self) -> None:
        if self._worker.busy:  # with a plane of the axes as they are
            self._named.start(_STEP_MS)
            return
        for annotated in self:
            if annotated.image in self._viewer.layers:
                self._name_axes(annotated.image)  # which tells of itself
        self.changed.emit()

    def _name_axes(self, image: Image) -> None:
        """Name the axes of an image by what a user said, else its file, else an image alike."""
        name_as_sliders(self._viewer, image)
        said = self._axes.get(image, None if image.source.path else "")
        if said is None:
            return
        if len(said) == image.ndim:
            name_axes(image, [axis.lower() if axis in _AXES else "" for axis in said])
        name_as_alike(self._viewer, image)

    def _look_for_axes(self, image: Image) -> None:
        """Ask the file of an image what its axes are: napari's own reader gives them no names."""
        path, shape = image.source.path, spatial_shape(image)
        if not path or image in self._axes or not unnamed_axes(image):
            return

        def look(_: object) -> str:
            from napari_spa.io.images import axes_in_file

            return axes_in_file(path, shape)

        self._axes[image] = None
        self._worker.submit_idle(look, partial(self._on_axes, image), surely=True)

    def _on_axes(self, image: Image, axes: str) -> None:
        self._axes[image] = axes
        self._named.start()


class ClassList(QObject):
    """The list of the project, or, for images of none, of the user; saved when it changes.

    Classes of objects that the list does not know, as those of a colleague's log, are shown
    with it, and saved with its next change.
    """

    changed = Signal()  # the list, or which class new objects get
    failed = Signal(str)  # the list could not be read or written, in one sentence

    def __init__(self, images: AnnotatedImages, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._images = images
        self._path: Path | None = None
        self._in_project = False  # whose folder is not made again
        self.entries: tuple[ObjectClass, ...] = ()
        self.current = ""
        self.by_class = False
        self._renamed: dict[int, tuple[str, str]] = {}  # by the group of the objects' changes
        self._filed: frozenset[str] = frozenset()  # names that the file held when it was last seen
        images.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Take the list of the image on show, and the classes that its objects are of."""
        annotated, entries = self._images.current, self.entries
        path = None if annotated is None else annotated.classes_file
        self._in_project = path is not None
        path = path or platformdirs.user_config_path("napari-spa", appauthor=False) / FILE_NAME
        if path != self._path:
            self._path, entries = path, self._read(path)
        if annotated is not None:
            active = annotated.annotation.objects.values()
            entries = with_unknown(entries, [one.class_name for one in active])
        if entries != self.entries:
            self._take(entries)

    def set_by_class(self, on: bool) -> None:
        """Draw objects in the colours of their classes, or each in one of its own."""
        if on != self.by_class:
            self.by_class = on
            self.changed.emit()

    def colours(self, notes: Mapping[int, ObjectNote]) -> dict[int, str] | None:
        """Return the colours that objects are drawn in; None for one of its own for each."""
        known = {one.name: one.colour for one in self.entries}
        said = ((number, known.get(note.class_name)) for number, note in notes.items())
        return {number: colour for number, colour in said if colour} if self.by_class else None

    def choose(self, name: str) -> None:
        """Give new objects this class; an empty name for none."""
        annotated = self._images.current
        if annotated is not None and annotated.active is not None:
            annotated.active = replace(annotated.active, class_name=None)
        if name != self.current and (not name or any(one.name == name for one in self.entries)):
            self.current = name
            self.changed.emit()

    def step(self) -> str:
        """Give new objects the next class of the list, after the last none; return its name."""
        names = ["", *(one.name for one in self.entries)]
        self.choose(names[(names.index(self.current) + 1) % len(names)])
        return self.current

    def add(self, name: str, colour: str | None = None) -> None:
        """Add a class, and give it to new objects; ``InputError`` when it cannot be."""
        new = make_class(name, colour, among=self.entries)
        self.replace((*self.entries, new))
        self.choose(new.name)

    def recolour(self, name: str, colour: str) -> None:
        """Give a class another colour."""
        entries = [
            make_class(one.name, colour if one.name == name else one.colour) for one in self.entries
        ]
        self.replace(entries)

    def remove(self, name: str) -> None:
        """Take a class out of the list; ``InputError`` while objects are of it."""
        elsewhere = self._elsewhere(name)
        used = self._used(self._images.current, name) + sum(elsewhere.values())
        if used:
            where = f" (also on {first_of([*elsewhere])})" if elsewhere else ""
            raise InputError(
                f"{counted(used, 'object')} {'is' if used == 1 else 'are'} {name}{where}; "
                "give them another class first."
            )
        self.replace([one for one in self.entries if one.name != name])

    def called(self, before: str, name: str) -> ObjectClass:
        """Return what a class is that gets a name: one of the list, or another of its colour."""
        others = [one for one in self.entries if one.name != before]
        wanted = clean_name(name).casefold()
        known = next((one for one in others if one.name.casefold() == wanted), None)
        colour = next((one.colour for one in self.entries if one.name == before), None)
        return known or make_class(name, colour, among=others)

    def rename(self, before: str, after: ObjectClass, group: int) -> str:
        """Put a class in the place of another, whose objects are of it now; say what stays.

        The other stays in the list while images that are not on show have objects of it.
        """
        elsewhere, chosen = self._elsewhere(before), self.current == before
        if after.name in {one.name for one in self.entries} - {before}:
            self.replace([one for one in self.entries if elsewhere or one.name != before])
        elif elsewhere:
            self.replace((*self.entries, after))
        else:
            self._renamed[group] = before, after.name
            self._swap(before, after.name)
        if chosen:
            self.current = after.name
            self.changed.emit()
        where = f" Objects on {first_of([*elsewhere])} stay {before}; rename it there, too."
        return where if elsewhere else ""

    def follow(self, group: int | None, *, redo: bool = False) -> None:
        """Call a class as before, or again, where a change of objects renamed it."""
        if group in self._renamed:
            before, after = self._renamed[group]
            self._swap(*((before, after) if redo else (after, before)))
        self.refresh()

    def _swap(self, before: str, after: str) -> None:
        current = after if self.current == before else self.current
        if any(one.name == before for one in self.entries):
            # One of the new name may be there by now.
            others = [one for one in self.entries if one.name != after]
            self.replace([replace(o, name=after) if o.name == before else o for o in others])
        self.choose(current)

    def _elsewhere(self, name: str) -> dict[str, int]:
        """Count the objects of a class on the other images of the list, by their names."""
        current = self._images.current
        if current is not None and current.classes_file is not None:
            location, folder = current.location, current.classes_file.parent
            return {} if location is None else count_of_class(folder, name, but=location.log)
        others = [e for e in self._images if e is not current and e.classes_file is None]
        return {str(e.image.name): count for e in others if (count := self._used(e, name))}

    @staticmethod
    def _used(annotated: AnnotatedImage | None, name: str) -> int:
        objects = {} if annotated is None else annotated.annotation.objects
        return sum(one.class_name == name for one in objects.values())

    def load(self, path: Path) -> None:
        """Take the classes of a file in place of these; ``DataError`` when it holds none."""
        self.replace(read_classes(path))

    def replace(self, entries: Sequence[ObjectClass]) -> None:
        """Take other classes and save them."""
        self._take(tuple(entries))
        try:
            if self._path is not None:
                self._save(self._path)
        except SpaError as error:
            self.failed.emit(f"the classes could not be saved: {error}")
        self.refresh()  # those that objects are of stay

    def _save(self, path: Path) -> None:
        """Write the list, with what another window wrote meanwhile; over nothing unreadable."""
        from napari_spa.io.profiles import locked

        within = path.parent if self._in_project else None
        with nullcontext() if self._in_project else locked(path):
            there = self._others(read_classes(path)) if path.exists() else []
            if there:
                kept = [one for one in self.entries if one.name in self._filed]
                new = [one for one in self.entries if one.name not in self._filed]
                self._take((*kept, *there, *new)[:MOST])
            write_classes(path, self.entries, within=within)
            self._filed = frozenset(one.name for one in self.entries)

    def _others(self, there: Sequence[ObjectClass]) -> list[ObjectClass]:
        """Return the classes of a file that are new in it, and not of this list."""
        mine = {one.name.casefold() for one in self.entries}
        return [o for o in there if o.name not in self._filed and o.name.casefold() not in mine]

    def _take(self, entries: tuple[ObjectClass, ...]) -> None:
        self.entries = entries
        if all(one.name != self.current for one in entries):
            self.current = ""
        self.changed.emit()

    def _read(self, path: Path) -> tuple[ObjectClass, ...]:
        found: tuple[ObjectClass, ...] = ()
        try:
            found = read_classes(path) if path.exists() else ()
        except SpaError as error:
            later(self, partial(self.failed.emit, str(error))).start()  # when someone listens
        self._filed = frozenset(one.name for one in found)
        return found
