"""Connects the parts about the image with the image that is annotated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, Signal  # type: ignore[attr-defined]

from napari_spa.core.presentation import capitalised
from napari_spa.errors import SpaError
from napari_spa.viewer.annotation.controller import HINT_OPEN, HINT_START, AnnotationController
from napari_spa.viewer.annotation.round import hint_of, on_another_slice
from napari_spa.viewer.background import later
from napari_spa.viewer.layers.planes import (
    DisplaySettings,
    plane_on_slider,
    spatial_shape,
    to_world,
)
from napari_spa.widgets.objects.presenter import list_objects

if TYPE_CHECKING:
    from napari_spa.core.plane import Plane
    from napari_spa.viewer.annotation.display import DisplayController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.stack import StackPropagation
    from napari_spa.widgets.refine.panel import RefinePanel


class ImageBinding(QObject):
    """Show which image is annotated, which slice is shown, and which objects it has.

    Follows the viewer: another image, slice or active object there is another one here.
    """

    changed = Signal()  # something else is shown; what can be done may have changed

    def __init__(
        self,
        controller: AnnotationController,
        looks: DisplayController,
        propagation: StackPropagation,
        parts: RefinePanel,
    ) -> None:
        super().__init__(parts)
        self._controller, self._display, self._propagation = controller, looks, propagation
        self._parts = parts
        self._images: list[Image] = []
        self._target_due = later(self, self._on_target)
        self._objects_due = later(self, self._on_objects)
        self._plane_due = later(self, self._on_plane)
        controller.objects_changed.connect(self._objects_due.start)
        controller.proposed.connect(lambda *_: self._objects_due.start())  # one of them
        controller.cleared.connect(self._objects_due.start)
        recovery = controller.recovery
        recovery.offered.connect(parts.recovery.set_offers)
        recovery.restored.connect(self._target_due.start)
        parts.recovery.restore_requested.connect(recovery.recover)
        parts.recovery.later_requested.connect(recovery.postpone)
        parts.recovery.forget_requested.connect(recovery.forget)
        parts.stack.propagate_one_requested.connect(propagation.propagate_one)
        parts.stack.propagate_requested.connect(propagation.propagate)
        parts.stack.slice_requested.connect(propagation.go)
        options = parts.options
        options.layer_requested.connect(self._on_layer_chosen)
        options.channels_requested.connect(self._on_channels)
        options.field_requested.connect(self._on_field)
        options.frame_requested.connect(looks.set_framed)
        layers, dims = controller.viewer.layers, controller.viewer.dims.events
        self._followed = (
            (layers.events.inserted, self._on_layers),
            (layers.events.removed, self._on_layers),
            (layers.selection.events.active, self._on_layers),
            (dims.axis_labels, self._on_layers),
            (dims.current_step, self._on_slider),
            (dims.order, self._on_slider),
        )
        for event, then in self._followed:
            event.connect(then)
        self._selected: object = None  # the layer that was selected last
        self._said_away: object = None  # the object that was said to be on another slice
        self._target_due.start()

    def close(self) -> None:
        """Follow the viewer no more."""
        for timer in (self._target_due, self._objects_due, self._plane_due):
            timer.stop()
        for event, then in self._followed:
            event.disconnect(then)

    def _on_layer_chosen(self, place: int) -> None:
        if 0 <= place < len(self._images):
            self._controller.viewer.layers.selection.active = self._images[place]

    def _on_channels(self, place: int) -> None:
        annotated = self._controller.current
        if annotated is not None:
            choice = annotated.choices()[place]
            self._display.set_display(DisplaySettings(choice, self._controller.images.contrast))
            self._target_due.start()

    def _on_field(self, name: str) -> None:
        if name == "automatic":
            self._display.look_as_at_first()
        else:
            self._display.look_at(scale=1.5 if name == "wider" else 1 / 1.5)

    def _on_layers(self, event: Any) -> None:
        self._target_due.start()

    def _on_slider(self, event: Any) -> None:
        self._plane_due.start()

    def _on_target(self) -> None:
        """Show which image is annotated and what may be chosen about it."""
        self._say_which()
        options, target = self._parts.options, self._controller.target()
        self._images = [x for x in self._controller.viewer.layers if isinstance(x, Image)]
        names = [image.name for image in self._images]
        place = self._images.index(target) if target in self._images else -1
        options.layer.show_entries(names, place)
        status = self._parts.status
        if target is None:
            if status.text() == HINT_START:
                status.setText(HINT_OPEN)
            options.set_channels((), -1)
            self._parts.prompts.set_limits(0, 0)
        else:
            annotated = self._annotated(target)
            choices = () if annotated is None else annotated.choices()
            wanted = None if annotated is None else annotated.display.channels
            names = [choice.name for choice in choices] if len(choices) > 1 else []
            options.set_channels(names, choices.index(wanted) if wanted in choices else 0)
        self._on_plane()
        self._on_objects()

    def _say_which(self) -> None:
        """Say once where clicks go while an object is active on an image that is not selected."""
        current = self._controller.current
        selected = self._controller.viewer.layers.selection.active
        if selected is self._selected:
            return
        self._selected = selected
        if current is None or current.active is None or selected is current.image:
            return
        if isinstance(selected, Image):
            self._controller.status_message.emit(
                f"Clicks are still for the current object of {current.image.name}; accept or "
                f"discard it to go on with {selected.name}."
            )

    def _annotated(self, image: Image) -> AnnotatedImage | None:
        """Make an image the one that is annotated; look for work on it, suggest a click."""
        before = self._controller.current
        try:
            annotated = self._controller.images.annotate(image)
        except SpaError:  # the viewer shows a volume
            return None
        if before is not None and annotated is not before and before.active is None:
            self._parts.status.setText(HINT_START)  # what was said is about another image
        elif before is None and self._parts.status.text().endswith(HINT_OPEN):
            self._parts.status.setText(HINT_START)
        self._controller.recovery.look(annotated)
        self._controller.images.get_ready()
        suggestion = image.metadata.get("napari-spa", {})
        if annotated.untouched and suggestion:
            click = suggestion["first_click"]
            annotated.prompts.suggest(click)
            if len(click) > 2 and annotated is not before:  # a stack opens in its middle
                viewer = self._controller.viewer
                viewer.dims.set_point(range(viewer.dims.ndim), to_world(viewer, image, click))
            self._parts.status.setText(suggestion["hint"])
        return annotated

    def _on_plane(self) -> None:
        """Show which slice of the stack it is."""
        target, viewer = self._controller.target(), self._controller.viewer
        count, current = self._propagation.slices() or (1, 0)
        self._parts.stack.set_slices(count, current, self._propagation.unit())
        self._parts.set_stack(count > 1)
        self._parts.stack.strip.set_results(self._propagation.results())
        plane = plane_on_slider(viewer, target)
        if target is not None and plane is not None:
            self._parts.prompts.set_limits(*plane.extent(spatial_shape(target)))
            self._say_where(plane)
        self.changed.emit()

    def _say_where(self, plane: Plane) -> None:
        """Say once that the current object is on another slice, and there again what to do."""
        current = self._controller.current
        active = None if current is None else current.active
        if current is None or active is None:
            return
        about, say = (active.number, active.plane), self._controller.status_message.emit
        if active.plane != plane and self._said_away != about:
            say(capitalised(on_another_slice(current.image, active)))
            self._said_away = about
        elif active.plane == plane and self._said_away == about:
            self._said_away = None
            if current.choice is not None:
                say(hint_of(self._controller.viewer, current.choice, None))

    def _on_objects(self) -> None:
        """Show the objects of the image that is annotated."""
        annotated = self._controller.current
        rows = [] if annotated is None else list_objects(annotated)
        self._parts.objects.set_rows(rows)
        self._parts.objects.select(self._controller.selected)
        self._parts.stack.strip.set_results(self._propagation.results())
        self.changed.emit()
