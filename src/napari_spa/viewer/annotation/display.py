"""How a user looks at the image and at what is drawn into it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject

from napari_spa.errors import Cancelled, SpaError
from napari_spa.refine.session.state import Phase
from napari_spa.viewer.annotation.click_target import accepted_at, is_elsewhere
from napari_spa.viewer.annotation.round import ActiveObject, display_record
from napari_spa.viewer.background import later
from napari_spa.viewer.layers.candidates import border_lines
from napari_spa.viewer.layers.planes import (
    DisplaySettings,
    click_in_plane,
    image_plane_of,
    logged_display,
    pixel_side,
    shown_plane,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel

    from napari_spa.core.plane import Plane
    from napari_spa.core.types import Box, DoubleArray
    from napari_spa.refine.annotation.objects import Part
    from napari_spa.refine.session.session import RefinementSession
    from napari_spa.viewer.annotation.controller import AnnotationController
    from napari_spa.viewer.annotation.image import AnnotatedImage
    from napari_spa.viewer.annotation.prompts import CanvasGestures
    from napari_spa.viewer.background import JobHandle

    Place = tuple[AnnotatedImage, Plane, tuple[float, float]]


class DisplayController(QObject):
    """Channels, contrast, field of view, and which of our layers are shown."""

    def __init__(self, controller: AnnotationController) -> None:
        super().__init__(controller)
        self._controller = controller
        controller.images.reframed.connect(self.look_at)

    def set_contrast(self, contrast: str) -> None:
        """Look at every image with the contrast of its planes or of its layer.

        The active object stays as it is; see :meth:`look_again`.
        """
        self._controller.images.contrast = contrast
        for annotated in self._controller.images:
            annotated.display = replace(annotated.display, contrast=contrast)

    def set_display(self, look: DisplaySettings) -> None:
        """Look at the image's channels and contrast another way; encodes in the background.

        While something is under way the active object stays as it is; the next one is
        looked at so.
        """
        annotated = self._controller.current
        if annotated is None or annotated.display == look:
            return
        annotated.display = look
        if look.channels.axis is not None and not self._controller.busy:
            annotated.share_channels(look.channels.axis)
        self.look_again()

    def look_again(self) -> None:
        """Go on with the active object as one looks now, in one more round of it."""
        choice = self._controller.choice
        if choice is None or not self._controller.ready():
            return
        annotated, active, shown = choice
        state, mask, before = shown.timeline.state, shown.mask, active.at_rest().look
        if before is None or replace(before, limits=None) == annotated.look:
            return  # undo went back to it
        looked = display_record(before, shown.session.sampler)  # called otherwise, maybe
        annotated.journal.shown(active.number, active.plane, shown.timeline, looked)
        self._controller.begin(
            annotated,
            replace(active, shown=None, look=None, looks=(*active.looks, before), ahead=None),
            lambda session, progress: session.look_again(
                state, mask, learnt=active.learnt, progress=progress
            ),
        )

    def look_as_at_first(self) -> None:
        """Look at the active object through the field of view that was found for it."""
        if self._controller.ready():
            view = self._controller.shown().timeline.state.decisions[0].view
            self._controller.run(
                lambda session, progress: session.set_view(view, progress=progress)
            )

    def look_at(self, box: Box | None = None, *, scale: float = 1.0) -> None:
        """Look at the active object through another field of view."""
        if not self._controller.ready():
            return
        view = self._controller.shown().timeline.state.view
        if box is not None:
            height, width = box.row1 - box.row0, box.column1 - box.column0
            view = replace(view, row=box.row0, column=box.column0, height=height, width=width)
        row, column = view.row + view.height / 2, view.column + view.width / 2
        wider = type(view).around(row, column, scale * max(view.height, view.width))
        self._controller.run(lambda session, progress: session.set_view(wider, progress=progress))

    def set_framed(self, framed: bool) -> None:
        """Draw the field of view into the image, where a user can move and resize it."""
        self._controller.images.framed = framed
        for annotated in self._controller.images:
            annotated.prompts.set_framed(framed)

    def set_overlays_hidden(self, hidden: bool) -> None:
        """Hide everything of ours for a moment, to see the image."""
        if self._controller.current is not None:
            self._controller.current.set_hidden(hidden)

    def set_candidate_visible(self, index: int, visible: bool) -> None:
        """Show or hide a candidate in the canvas."""
        if self._controller.current is not None:
            self._controller.current.candidates.set_visible(index, visible)

    def flip(self, index: int | None) -> None:
        """Show a candidate in the place of the recommendation for a moment; None ends it."""
        if self._controller.current is not None and not self._controller.busy:
            self._controller.current.flip(index)

    def preview_candidate(self, index: int | None) -> None:
        """Show only one candidate for a moment; None ends it."""
        if self._controller.current is not None:
            self._controller.current.candidates.solo(index)


_REST_MS = 120


class HoverPreview(QObject):
    """Draw what a click at the pointer would start, and have its answer ready.

    Only where a click would start an object, never while something runs, and never in blind
    mode: the outline would tell what is recommended.  A rough one is drawn from what is encoded
    already; then what the click would show is computed and drawn, as long as the pointer rests.
    """

    def __init__(self, controller: AnnotationController, gestures: CanvasGestures) -> None:
        super().__init__(controller)
        self._controller, self._gestures = controller, gestures
        self._on = True  # whether previews are drawn
        self._latest = 0  # the number of the latest rest of the pointer
        self._drawn: AnnotatedImage | None = None
        self._position: tuple[float, ...] = ()
        self._seen: tuple[object, ...] = ()  # the session and what it reads, and what that is
        self._rested = later(self, self._on_rested, _REST_MS)
        controller.viewer.mouse_move_callbacks.append(self._on_move)
        controller.viewer.events.mouse_over_canvas.connect(self._hide)
        controller.worker.busy_changed.connect(self._hide)
        controller.images.changed.connect(self._hide)
        controller.proposed.connect(self._on_proposed)

    def switch(self, on: bool) -> None:
        """Draw previews, or none."""
        self._on = on
        self._hide()

    def release(self) -> None:
        """Follow the pointer no more."""
        self._hide()
        viewer = self._controller.viewer
        viewer.events.mouse_over_canvas.disconnect(self._hide)
        callbacks = viewer.mouse_move_callbacks
        if self._on_move in callbacks:
            callbacks.remove(self._on_move)

    def _on_proposed(self, *_: object) -> None:
        choice = self._controller.choice
        if choice is not None:
            annotated, active, shown = choice
            look = active.look or annotated.look
            self._seen = _what_is_seen(shown.session, annotated, active.plane, look)

    def _on_move(self, viewer: ViewerModel, event: Any) -> None:
        self._hide()
        if self._on and not event.is_dragging:
            self._position = tuple(float(p) for p in event.position)
            self._rested.start()

    def _hide(self, _: object = None) -> None:
        self._rested.stop()
        self._latest += 1
        drawn, self._drawn = self._drawn, None
        if drawn is not None:
            drawn.prompts.show_outline(())

    def _on_rested(self) -> None:
        place, session = self._place(), self._controller.session
        if place is None or session is None:
            return
        number, (annotated, plane, point) = self._latest, place
        worker, look = self._controller.worker, annotated.look
        image_plane, side = None, None
        if self._seen != _what_is_seen(session, annotated, plane, look):
            if any(each.active is not None for each in self._controller.images):
                return  # the session would drop the object for another image
            image_plane = image_plane_of(annotated.image, plane, look)
            side = pixel_side(annotated.image, plane)

        def go_on(handle: JobHandle) -> None:
            handle.check()
            if number != self._latest:
                raise Cancelled("the pointer moved on.")

        def job(handle: JobHandle) -> tuple[tuple[object, ...], tuple[DoubleArray, ...]]:
            go_on(handle)
            if image_plane is not None:
                session.set_image(image_plane, source=annotated.source(), pixel_size=side)
            # Said here: by the time that it is heard another rest may have set another image.
            return _what_is_seen(session, annotated, plane, look), session.outline_at(point)

        def show(found: tuple[tuple[object, ...], tuple[DoubleArray, ...]]) -> None:
            self._seen, lines = found
            if number == self._latest:
                draw(lines)
                worker.submit_idle(ahead, draw, queued=True)

        def draw(lines: tuple[DoubleArray, ...]) -> None:
            if lines and number == self._latest:
                self._drawn = annotated
                annotated.prompts.show_outline(lines, plane)

        def ahead(handle: JobHandle) -> tuple[DoubleArray, ...]:
            # `begin` sets the image first, and what starts is its first object.
            proposal = session.look_ahead(point, number=1, progress=lambda *_: go_on(handle))
            if proposal is None:
                return ()
            mask, region = proposal.local_mask, proposal.region
            return tuple(border_lines(mask, np.zeros_like(mask), (region.row, region.column))[0])

        worker.submit_idle(job, show, queued=True)

    def _place(self) -> Place | None:
        """Return where a click would start an object; None elsewhere."""
        controller, annotated = self._controller, self._controller.current
        layer = controller.viewer.layers.selection.active
        moves = layer is None or str(layer.mode) == "pan_zoom"
        clicks = self._gestures.tool == "click" and not self._gestures.negative
        if controller.busy or controller.blind or annotated is None or not (moves and clicks):
            return None
        if controller.target() is not annotated.image:
            return None
        session = controller.session
        if session is None or session is not controller.model.session:
            return None  # the next object is another model's
        try:
            plane = shown_plane(controller.viewer, annotated.image)
            point = click_in_plane(controller.viewer, annotated.image, plane, self._position)
            height, width = plane.extent(annotated.mask.store.shape)
            if not (0 <= point[0] <= height - 1 and 0 <= point[1] <= width - 1):
                return None
            if accepted_at(annotated, plane, *point):
                return None
        except SpaError:
            return None  # a volume, say
        active = annotated.active
        if active is None:
            return annotated, plane, point
        if active.shown is None or active.blind or active.plane != plane:
            return None
        return (annotated, plane, point) if is_elsewhere(active.shown, [point]) else None


def _what_is_seen(
    session: RefinementSession, annotated: AnnotatedImage, plane: Plane, look: DisplaySettings
) -> tuple[object, ...]:
    """Say what a session reads, and what that is."""
    sampler = None if session.phase is Phase.NO_IMAGE else session.sampler
    return session, sampler, annotated, plane, replace(look, limits=None)


def looked(annotated: AnnotatedImage, source: Mapping[str, Any], plane: Plane) -> DisplaySettings:
    """Return how a log says that a plane was looked at, or how it is now where it does not."""
    record = source.get("look", {})
    axis = record.get("axis")
    if axis is not None and axis in [choice.axis for choice in annotated.choices()]:
        annotated.share_channels(axis)
    return logged_display(annotated.image, plane, record, annotated.look, annotated.choices())


def taken_up(annotated: AnnotatedImage, number: int, part: Part) -> ActiveObject:
    """Return what makes an accepted part active again: looked at, and computed, as it was made."""
    look = looked(annotated, part.source, part.plane)
    return ActiveObject(number, part.plane, look=look, model=part.model)
