"""The annotated images of a viewer, and what becomes of them when their layers change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal  # type: ignore[attr-defined]

from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.image import AnnotatedImage
from napari_spa.viewer.annotation.painting import PaintRecorder
from napari_spa.viewer.layers.planes import camera_of, shown_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Box
    from napari_spa.viewer.autosave.autosave import AutosaveManager

_STEP_MS = 20
"""Between two layers that are made ahead, so that the window lives."""

_ZOOMING_MS = 200
"""After the last turn of the wheel outlines get their width."""


class AnnotatedImages(QObject):
    """Keep what belongs to each image, and one of them as the one that is annotated."""

    changed = Signal()  # another image is annotated, or its objects changed
    # An image was removed or has other pixels now, and why in a sentence; what is under way on
    # this ``AnnotatedImage`` must not go on.
    lost = Signal(object, str)
    noticed = Signal(str)  # what happened to a layer of ours, in a sentence
    reframed = Signal(object)  # A user moved the frame of the field of view to a ``Box``
    toggled = Signal(int, bool)  # A user showed or hid a candidate with napari's eye icon

    def __init__(
        self, viewer: ViewerModel, keeper: AutosaveManager, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._viewer, self._keeper = viewer, keeper
        self.current: AnnotatedImage | None = None
        self.contrast = "automatic"
        self.framed = False
        self.filled = False
        self._all: dict[int, AnnotatedImage] = {}
        self._left: AnnotatedImage | None = None
        self.painting = PaintRecorder(self)
        self.painting.counted.connect(self.changed)
        self._making: tuple[AnnotatedImage | None, Iterator[None]] = None, iter(())
        self._make_due, self._zoomed = QTimer(self), QTimer(self)
        for timer, pause, act in (
            (self._make_due, _STEP_MS, self._on_make_due),
            (self._zoomed, _ZOOMING_MS, self._on_zoomed),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(act)
        camera_of(viewer).events.zoom.connect(self._on_zoom)
        viewer.layers.events.removed.connect(self._on_layer_removed)
        viewer.dims.events.current_step.connect(self._on_slider)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return iter(list(self._all.values()))

    def annotate(self, image: Image, axes: tuple[int, int] | None = None) -> AnnotatedImage:
        """Return what belongs to an image, and make it the one that is annotated."""
        work = self._all.get(id(image))
        if work is None:
            axes = axes or shown_plane(self._viewer, image).axes
            work = AnnotatedImage(self._viewer, image, axes)
            work.look = replace(work.look, contrast=self.contrast)
            work.mask.draw(filled=self.filled)
            if self._left is not None:
                work.take_over(self._left, saved=True)
                self._left = None
            work.mask.painted.connect(partial(self.painting.paint, work))
            work.mask.touched.connect(partial(self._on_touched, work))
            work.mask.replaced.connect(partial(self._on_replaced, work))
            work.prompts.reframed.connect(self._on_reframed)
            work.prompts.set_framed(self.framed)
            work.candidates.toggled.connect(self._on_toggled)
            image.events.data.connect(self._on_image_data)
            self._all[id(image)] = work
        before = self.current
        if work is not before:
            self.painting.flush()
            if before is not None and before.at_hand is not None:
                # There is one session, and it goes on with the other image.
                name = before.image.name
                self.lost.emit(before, f"The current object on {name} was discarded.")
            if before is not None:
                work.take_over(before)
            self.current = work
            self.changed.emit()
        return work

    def set_filled(self, filled: bool) -> None:
        """Fill the objects, or draw their outlines."""
        self.filled = filled
        for work in self:
            work.mask.draw(filled=filled)

    def get_ready(self) -> None:
        """Make the layers of the image on show before they are needed, when nothing else is on."""
        if self.current is not None and self.current.at_hand is None:
            self._making = self.current, self.current.ready()
            self._make_due.start()

    def _on_make_due(self) -> None:
        work, steps = self._making
        # Those of an image that was left would come back without it.
        free = work is not None and work is self.current and work.at_hand is None
        if free and next(steps, self) is not self:
            self._make_due.start()

    def _on_zoomed(self) -> None:
        for work in self:
            work.mask.draw(filled=self.filled)

    def settle(self) -> None:
        """Look at the labels on show once nothing has happened to them for a moment."""
        if self.current is not None:
            self._on_touched(self.current)

    def leave(self, work: AnnotatedImage, *, onward: bool = False) -> None:
        """Let an image and all layers of ours on it go; its log goes on another day."""
        if work.at_hand is not None:
            work.drop()  # no record of it: it stays active in the log
        self._let_go(work, mask=True, layers=not onward)
        self.clear()
        self._left = work if onward else None

    def clear(self) -> None:
        """Take away layers that were kept for an image that did not come."""
        if self._left is not None:
            self._left.remove_layers(mask=True)
            self._left = None

    def close(self) -> None:
        """Listen to nothing any more; masks stay in the viewer."""
        self.painting.stop()
        self._make_due.stop()
        self._zoomed.stop()
        camera_of(self._viewer).events.zoom.disconnect(self._on_zoom)
        self._viewer.dims.events.current_step.disconnect(self._on_slider)
        self._viewer.layers.events.removed.disconnect(self._on_layer_removed)
        self.clear()
        for work in self:
            self._let_go(work, mask=work.empty)

    def _let_go(self, work: AnnotatedImage, *, mask: bool = False, layers: bool = True) -> None:
        self.painting.forget(work)
        self._all.pop(id(work.image), None)
        work.image.events.data.disconnect(self._on_image_data)
        self._keeper.end(work)
        if layers:
            work.remove_layers(mask=mask)
        if self.current is work:
            self.current = None
            self.changed.emit()

    # ------------------------------------------------------------------ what happens to them

    def _on_layer_removed(self, event: Any) -> None:
        work = self._all.get(id(event.value))
        if work is not None:
            self.lost.emit(work, f"{work.image.name} was removed.")
            self._let_go(work)
        elif any(work.mask.owns(event.value) for work in self):
            self.noticed.emit("The mask layer was removed; it comes back when you go on.")

    def _on_image_data(self, event: Any) -> None:
        """Go on with new pixels of the same shape; let go of an image that is another now."""
        for work in self:
            if work.image is event.source:
                self.lost.emit(work, f"The pixels of {work.image.name} were replaced.")
                if work.same_data:
                    work.forget_pixels()
                else:
                    self._let_go(work)

    def _on_replaced(self, work: AnnotatedImage, planes: tuple[Plane, ...]) -> None:
        self.noticed.emit("The labels of the mask layer were replaced.")
        held = work.annotation.objects.values()
        self.painting.paint(work, (*planes, *(part.plane for one in held for part in one.parts)))

    def _on_touched(self, work: AnnotatedImage) -> None:
        try:
            self.painting.touch(work, shown_plane(self._viewer, work.image))
        except SpaError:  # the viewer shows a volume
            return

    def _on_zoom(self, event: Any) -> None:
        self._zoomed.start()

    def _on_slider(self, event: Any) -> None:
        if self.painting.due:
            self.painting.flush()

    def _on_reframed(self, box: Box) -> None:
        self.reframed.emit(box)

    def _on_toggled(self, index: int, visible: bool) -> None:
        self.toggled.emit(index, visible)
